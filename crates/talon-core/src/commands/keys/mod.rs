//! Commands on any key.

mod copy;
mod database;
mod dbsize;
mod del;
mod exists;
mod expire;
mod expireat;
mod expiretime;
mod expiry;
mod flushall;
mod flushdb;
#[expect(clippy::module_inception, reason = "a file is named after its command")]
mod keys;
mod r#move;
mod persist;
mod pexpire;
mod pexpireat;
mod pexpiretime;
mod pttl;
mod randomkey;
mod rename;
mod renamenx;
mod scan;
mod swapdb;
mod touch;
mod ttl;
mod r#type;
mod unlink;

pub use copy::COPY;
pub use dbsize::DBSIZE;
pub use del::DEL;
pub use exists::EXISTS;
pub use expire::EXPIRE;
pub use expireat::EXPIREAT;
pub use expiretime::EXPIRETIME;
pub use flushall::FLUSHALL;
pub use flushdb::FLUSHDB;
pub use keys::KEYS;
pub use r#move::MOVE;
pub use persist::PERSIST;
pub use pexpire::PEXPIRE;
pub use pexpireat::PEXPIREAT;
pub use pexpiretime::PEXPIRETIME;
pub use pttl::PTTL;
pub use randomkey::RANDOMKEY;
pub use rename::RENAME;
pub use renamenx::RENAMENX;
pub use scan::SCAN;
pub use swapdb::SWAPDB;
pub use touch::TOUCH;
pub use ttl::TTL;
pub use r#type::TYPE;
pub use unlink::UNLINK;

use crate::command::Command;

/// The rows of this family.
pub static ROWS: &[&Command] = &[
    &DEL,
    &UNLINK,
    &EXISTS,
    &TOUCH,
    &TYPE,
    &EXPIRE,
    &PEXPIRE,
    &EXPIREAT,
    &PEXPIREAT,
    &TTL,
    &PTTL,
    &EXPIRETIME,
    &PEXPIRETIME,
    &PERSIST,
    &RENAME,
    &RENAMENX,
    &COPY,
    &MOVE,
    &RANDOMKEY,
    &KEYS,
    &SCAN,
    &DBSIZE,
    &FLUSHALL,
    &FLUSHDB,
    &SWAPDB,
];
