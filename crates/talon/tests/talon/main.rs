//! The embedded database and the state machine, from outside. One binary, because each links RocksDB.

mod concurrency;
mod crash;
mod database;
mod expiry;
mod functions;
mod machine;
mod scripts;
mod support;
