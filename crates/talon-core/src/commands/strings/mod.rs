//! Commands on strings.

mod append;
mod counter;
mod decr;
mod decrby;
mod delex;
mod get;
mod getdel;
mod getex;
mod getrange;
mod getset;
mod incr;
mod incrby;
mod incrbyfloat;
mod lcs;
mod mget;
mod mset;
mod msetnx;
mod options;
mod psetex;
mod set;
mod setex;
mod setnx;
mod setrange;
mod strlen;
mod substr;

pub use append::APPEND;
pub use decr::DECR;
pub use decrby::DECRBY;
pub use delex::DELEX;
pub use get::GET;
pub use getdel::GETDEL;
pub use getex::GETEX;
pub use getrange::GETRANGE;
pub use getset::GETSET;
pub use incr::INCR;
pub use incrby::INCRBY;
pub use incrbyfloat::INCRBYFLOAT;
pub use lcs::LCS;
pub use mget::MGET;
pub use mset::MSET;
pub use msetnx::MSETNX;
pub use psetex::PSETEX;
pub use set::SET;
pub use setex::SETEX;
pub use setnx::SETNX;
pub use setrange::SETRANGE;
pub use strlen::STRLEN;
pub use substr::SUBSTR;

use crate::command::Command;

/// The rows of this family.
pub static ROWS: &[&Command] = &[
    &GET,
    &SET,
    &MGET,
    &MSET,
    &MSETNX,
    &SETNX,
    &SETEX,
    &PSETEX,
    &GETSET,
    &GETEX,
    &GETDEL,
    &DELEX,
    &APPEND,
    &STRLEN,
    &GETRANGE,
    &SUBSTR,
    &SETRANGE,
    &INCR,
    &INCRBY,
    &DECR,
    &DECRBY,
    &INCRBYFLOAT,
    &LCS,
];
