//! How fresh a read's answer has to be.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;

use crate::error::{NOT_AN_INTEGER, Refusal, SYNTAX};
use crate::numbers::parse_integer;

/// The longest bound of [`Consistency::Bounded`], ms: a day. Longer is as good as none.
pub const BOUND_MS_MAX: u64 = 86_400_000;

/// How a read is answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consistency {
    /// On the leader as [`Consistency::Lease`], on a follower as [`Consistency::Snapshot`].
    #[default]
    Default,
    /// On any node: everything that was acknowledged before the read was asked for is in the answer. Proved by a round to a
    /// quorum; no clock is relied on for who leads.
    Linearizable,
    /// Linearizable too, by the leader alone: while a quorum has acknowledged it lately, by its own monotonic clock; else as
    /// [`Consistency::Linearizable`]. Denied elsewhere.
    Lease,
    /// On any node: everything that was acknowledged so long before the read was asked for is in the answer. Else it is
    /// denied as stale.
    Bounded {
        /// So long, ms; 0 is linearizable by the leader's lease.
        ms: u64,
    },
    /// From the node's newest consistent view, wherever it is asked.
    Snapshot,
}

impl Consistency {
    /// From a level's name (in any case) and, behind `BOUNDED`, its bound in ms: what `CLIENT CONSISTENCY` takes.
    ///
    /// # Errors
    /// If it is none of them.
    pub fn parse(words: &[Bytes]) -> Result<Consistency, Refusal> {
        let (level, rest) = words.split_first().ok_or(SYNTAX)?;
        let consistency = match (level.to_ascii_lowercase().as_slice(), rest) {
            (b"default", []) => Consistency::Default,
            (b"linearizable", []) => Consistency::Linearizable,
            (b"lease", []) => Consistency::Lease,
            (b"snapshot", []) => Consistency::Snapshot,
            (b"bounded", [bound]) => {
                let ms = parse_integer(bound).ok_or(NOT_AN_INTEGER)?;
                let ms = u64::try_from(ms).ok().filter(|ms| *ms <= BOUND_MS_MAX);
                Consistency::Bounded { ms: ms.ok_or(Refusal::new("ERR the bound must be from 0 to 86400000 ms"))? }
            }
            _ => return Err(SYNTAX),
        };
        Ok(consistency)
    }
}

/// As [`Consistency::parse`] takes it, in lower case.
impl fmt::Display for Consistency {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Consistency::Default => out.write_str("default"),
            Consistency::Linearizable => out.write_str("linearizable"),
            Consistency::Lease => out.write_str("lease"),
            Consistency::Bounded { ms } => write!(out, "bounded {ms}"),
            Consistency::Snapshot => out.write_str("snapshot"),
        }
    }
}

impl FromStr for Consistency {
    type Err = String;

    fn from_str(text: &str) -> Result<Consistency, String> {
        let words: Vec<Bytes> = text.split_whitespace().map(|word| Bytes::copy_from_slice(word.as_bytes())).collect();
        Consistency::parse(&words).map_err(|_| {
            format!(
                "'{text}' is none of default, linearizable, lease, snapshot, or \"bounded N\" with N from 0 to {BOUND_MS_MAX} (ms)"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_level_is_written_as_it_is_read() {
        let levels = ["default", "linearizable", "lease", "bounded 0", "bounded 86400000", "snapshot"];
        for level in levels {
            assert_eq!(level.parse::<Consistency>().unwrap().to_string(), level);
            assert_eq!(level.to_uppercase().parse::<Consistency>().unwrap().to_string(), level);
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "strong", "lease 5", "bounded", "bounded x", "bounded -1", "bounded 86400001", "bounded 5 5"] {
            assert!(text.parse::<Consistency>().unwrap_err().contains("none of default"), "{text}");
        }
    }
}
