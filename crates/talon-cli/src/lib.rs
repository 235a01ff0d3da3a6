//! The one binary, `talon`: its settings, the wiring of a server, the playground `talon dev`, and what operators ask of
//! a cluster.
//!
//! *Enters*: flags, environment, a settings file, signals. *Leaves*: a running node, exit codes, tables for people.
//! *Must never know*: what a command does, how a log entry looks.

mod cli;
pub mod cluster;
pub mod dev;
pub mod operator;
pub mod server;
pub mod settings;
pub mod signals;
pub mod telemetry;

pub use cli::main;
