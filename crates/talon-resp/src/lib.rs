//! The Redis serialization protocol, versions 2 and 3.
//!
//! *Enters*: bytes as they come from a socket, in any pieces; [`talon_core::Reply`]s.
//! *Leaves*: [`Words`] (a command's name and arguments, as slices of what was read, not copies); bytes for a socket.
//! *Must never know*: sockets, commands, sessions. It does no IO and holds no more than the [`Limits`] allow.
//!
//! - [`RequestDecoder`] is the server's reading side: multibulk and inline requests, Redis's protocol errors.
//! - [`encode`] is the server's writing side: one reply appended to one buffer.
//! - [`encode_command`] and [`ValueDecoder`] are a client's two sides, for tests and tools.

#![warn(missing_docs)]

mod encode;
mod inline;
mod number;
mod request;
mod value;

pub use encode::{Protocol, encode, encode_command, encode_error_line};
pub use inline::split_line;
pub use number::format_double;
pub use request::{Limits, Name, ProtocolError, RequestDecoder, Words};
pub use value::{BadReply, Value, ValueDecoder};
