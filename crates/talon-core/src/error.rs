//! The two kinds of failure, which must never be mixed: a [`Refusal`] is an answer, the same on every
//! node; a [`Fault`] means that the data could not be read or written, and stops the node.

use std::borrow::Cow;

/// Why a command was not carried out, in the words a Redis client reads: a prefix (`ERR`,
/// `WRONGTYPE`, …), a space, and the text; no leading `-` and no line end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub Cow<'static, str>);

impl Refusal {
    /// A refusal with the whole line, prefix included, as `"ERR syntax error"`.
    pub const fn new(line: &'static str) -> Refusal {
        Refusal(Cow::Borrowed(line))
    }

    /// A refusal whose line was put together at run time.
    pub fn from_string(line: String) -> Refusal {
        Refusal(Cow::Owned(line))
    }

    /// The whole line, prefix included.
    pub fn line(&self) -> &str {
        &self.0
    }
}

/// Redis's words for an option or a number of options it cannot read.
pub const SYNTAX: Refusal = Refusal::new("ERR syntax error");
/// Redis's words for an argument or a value that is no 64-bit integer.
pub const NOT_AN_INTEGER: Refusal = Refusal::new("ERR value is not an integer or out of range");
/// Redis's words for an argument or a value that is no float.
pub const NOT_A_FLOAT: Refusal = Refusal::new("ERR value is not a valid float");
/// Redis's words for a key that must exist and does not.
pub const NO_SUCH_KEY: Refusal = Refusal::new("ERR no such key");

/// The storage could not do what was asked. Whoever receives it must stop and never answer from doubt.
#[derive(Clone, Debug, thiserror::Error)]
#[error("storage fault: {0}")]
pub struct Fault(pub String);

/// What executing a command can end in other than a reply.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// An answer to the client.
    #[error(transparent)]
    Refusal(#[from] Refusal),
    /// The end of this node.
    #[error(transparent)]
    Fault(#[from] Fault),
}
