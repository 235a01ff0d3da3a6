//! How what the core says becomes a gRPC status.
//!
//! | what happened | code | `talon-outcome` | besides |
//! |---|---|---|---|
//! | another node leads | FAILED_PRECONDITION | `not-applied` | `talon-leader: host:port` |
//! | nobody leads | UNAVAILABLE | `not-applied` | |
//! | in doubt | UNKNOWN | `indoubt` | never to be sent again blindly |
//! | a stale replica | UNAVAILABLE | `not-applied` | `talon-behind-ms`, `talon-bound-ms` |
//! | the node does not serve yet | UNAVAILABLE | `not-applied` | |
//! | larger than one request may be | RESOURCE_EXHAUSTED | `not-applied` | the limit in the message |
//! | too much is waiting | RESOURCE_EXHAUSTED | `not-applied` | |
//! | the node is going down | UNAVAILABLE | `indoubt` | |
//! | a storage fault | INTERNAL | `indoubt` | |
//! | the deadline is over | DEADLINE_EXCEEDED (a write: UNKNOWN) | `not-applied` (a write: `indoubt`) | |
//! | no such key, no such snapshot | NOT_FOUND | `refused` | |
//! | overflow, beyond a range | OUT_OF_RANGE | `refused` | |
//! | the stored value is of the wrong kind | FAILED_PRECONDITION | `refused` | |
//! | any other refusal | INVALID_ARGUMENT | `refused` | |
//! | no or a wrong password | UNAUTHENTICATED | `not-applied` | |
//! | protected mode | PERMISSION_DENIED | `not-applied` | |
//!
//! The message of a refusal is Redis's own line. What carries `indoubt` may or may not have been carried out if it
//! was a write; for a read it just failed.

use talon_core::{Denied, Member, Refusal};
use talon_proto::v1::denial::Reason;
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

/// The metadata that says what became of a request.
pub const OUTCOME: &str = "talon-outcome";
/// The metadata that names the leader's host and gRPC port.
pub const LEADER: &str = "talon-leader";
/// The metadata that says how many milliseconds ago a stale replica heard from a leader.
pub const BEHIND_MS: &str = "talon-behind-ms";
/// The metadata that says how many milliseconds ago it would have to be.
pub const BOUND_MS: &str = "talon-bound-ms";

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Certainly not carried out.
    NotApplied,
    /// A write may or may not have been carried out.
    InDoubt,
    /// Carried out, and refused.
    Refused,
}

impl Fate {
    /// The value of [`OUTCOME`].
    pub const fn name(self) -> &'static str {
        match self {
            Fate::NotApplied => "not-applied",
            Fate::InDoubt => "indoubt",
            Fate::Refused => "refused",
        }
    }
}

/// A status that says what became of the request.
pub fn status(code: Code, fate: Fate, message: impl Into<String>) -> Status {
    let mut status = Status::new(code, message);
    insert(status.metadata_mut(), OUTCOME, fate.name());
    status
}

/// A refusal that the core did not make: the request's message made no sense.
pub fn invalid(message: impl Into<String>) -> Status {
    status(Code::InvalidArgument, Fate::NotApplied, message)
}

fn insert(metadata: &mut MetadataMap, name: &'static str, value: &str) {
    // Whatever cannot stand in a header (a host name with odd characters) is still in the message.
    if let Ok(value) = value.parse() {
        metadata.insert(name, value);
    }
}

/// Where a member speaks gRPC: `host:port`, `[address]:port` for IPv6.
pub fn grpc_address(member: &Member) -> String {
    if member.host.contains(':') {
        format!("[{}]:{}", member.host, member.grpc_port)
    } else {
        format!("{}:{}", member.host, member.grpc_port)
    }
}

/// The words for why a call was not carried out.
pub fn denied_message(denied: &Denied) -> String {
    match denied {
        Denied::NotLeader { leader } => {
            format!("NOTLEADER this node does not lead; node {} does, at {}", leader.id, grpc_address(leader))
        }
        Denied::NoLeader => "CLUSTERDOWN The cluster is down".to_owned(),
        Denied::InDoubt => "INDOUBT the write may or may not have been applied".to_owned(),
        Denied::Stale { behind_ms, bound_ms } => {
            format!("STALE replica is {behind_ms} ms behind (bound {bound_ms} ms)")
        }
        Denied::Loading => "LOADING this node does not serve yet".to_owned(),
        Denied::TooLarge { size_bytes, bytes_max } => {
            format!("TOOLARGE a request of {size_bytes} bytes exceeds request_bytes_max of {bytes_max} bytes")
        }
        Denied::Busy => "BUSY too many requests are waiting".to_owned(),
        Denied::TooMuchWatched => "BUSY the clients of this node watch too much already".to_owned(),
        Denied::DiskFull { free_bytes, reserve_bytes } => format!(
            "DISKFULL a disk of the cluster has {free_bytes} bytes free, less than its reserve of {reserve_bytes} \
             (disk_reserve_bytes)"
        ),
        Denied::ShuttingDown => "SHUTDOWN this node is going down".to_owned(),
        Denied::Fault(text) => format!("FAULT {text}"),
    }
}

/// Why a call was not carried out, as a pipeline's answer says it.
pub fn denied_reason(denied: &Denied) -> Reason {
    match denied {
        Denied::NotLeader { .. } => Reason::NotLeader,
        Denied::NoLeader => Reason::NoLeader,
        Denied::InDoubt => Reason::InDoubt,
        Denied::Stale { .. } => Reason::Stale,
        Denied::Loading => Reason::Loading,
        Denied::TooLarge { .. } => Reason::TooLarge,
        Denied::Busy | Denied::TooMuchWatched => Reason::Busy,
        Denied::DiskFull { .. } => Reason::DiskFull,
        Denied::ShuttingDown => Reason::ShuttingDown,
        Denied::Fault(_) => Reason::Fault,
    }
}

/// Why a call was not carried out, as a status.
pub fn from_denied(denied: &Denied) -> Status {
    let (code, fate) = match denied {
        Denied::NotLeader { .. } => (Code::FailedPrecondition, Fate::NotApplied),
        Denied::NoLeader | Denied::Stale { .. } | Denied::Loading => (Code::Unavailable, Fate::NotApplied),
        Denied::InDoubt => (Code::Unknown, Fate::InDoubt),
        Denied::TooLarge { .. } | Denied::Busy | Denied::TooMuchWatched | Denied::DiskFull { .. } => {
            (Code::ResourceExhausted, Fate::NotApplied)
        }
        Denied::ShuttingDown => (Code::Unavailable, Fate::InDoubt),
        Denied::Fault(_) => (Code::Internal, Fate::InDoubt),
    };
    let mut status = status(code, fate, denied_message(denied));
    match denied {
        Denied::NotLeader { leader } => insert(status.metadata_mut(), LEADER, &grpc_address(leader)),
        Denied::Stale { behind_ms, bound_ms } => {
            insert(status.metadata_mut(), BEHIND_MS, &behind_ms.to_string());
            insert(status.metadata_mut(), BOUND_MS, &bound_ms.to_string());
        }
        _ => {}
    }
    status
}

/// The status of an operator's wish to a node that does not lead.
pub fn not_leader(leader: Option<&Member>) -> Status {
    match leader {
        Some(leader) => from_denied(&Denied::NotLeader { leader: leader.clone() }),
        None => from_denied(&Denied::NoLeader),
    }
}

/// A refusal, as a status.
pub fn from_refusal(refusal: &Refusal) -> Status {
    status(refusal_code(refusal.line()), Fate::Refused, refusal.line())
}

/// Refusals carry Redis's line and nothing else, so the line decides.
fn refusal_code(line: &str) -> Code {
    if line == talon_core::typed::UNEXPECTED.line() {
        Code::Internal
    } else if line == talon_core::error::NO_SUCH_KEY.line() || line.starts_with("NOSNAPSHOT ") {
        Code::NotFound
    } else if line.starts_with("WRONGTYPE ") {
        Code::FailedPrecondition
    } else if ["overflow", "out of range", "NaN or Infinity", "exceeds maximum"].iter().any(|part| line.contains(part))
    {
        Code::OutOfRange
    } else {
        Code::InvalidArgument
    }
}

#[cfg(test)]
mod tests {
    use talon_core::MemberRole;

    use super::*;

    fn outcome(status: &Status) -> &str {
        status.metadata().get(OUTCOME).expect("an outcome").to_str().expect("ascii")
    }

    #[test]
    fn denials_say_what_became_of_the_request() {
        let leader = Member {
            id: 2,
            host: "::1".into(),
            resp_port: 6380,
            grpc_port: 7380,
            raft_port: 8380,
            role: MemberRole::Voter,
            matched_index: None,
            silent_ms: None,
        };
        let rows = [
            (Denied::NotLeader { leader }, Code::FailedPrecondition, "not-applied"),
            (Denied::NoLeader, Code::Unavailable, "not-applied"),
            (Denied::InDoubt, Code::Unknown, "indoubt"),
            (Denied::Stale { behind_ms: 12, bound_ms: 10 }, Code::Unavailable, "not-applied"),
            (Denied::Loading, Code::Unavailable, "not-applied"),
            (Denied::TooLarge { size_bytes: 9, bytes_max: 8 }, Code::ResourceExhausted, "not-applied"),
            (Denied::Busy, Code::ResourceExhausted, "not-applied"),
            (Denied::TooMuchWatched, Code::ResourceExhausted, "not-applied"),
            (Denied::DiskFull { free_bytes: 1, reserve_bytes: 2 }, Code::ResourceExhausted, "not-applied"),
            (Denied::ShuttingDown, Code::Unavailable, "indoubt"),
            (Denied::Fault("disk".into()), Code::Internal, "indoubt"),
        ];
        for (denied, code, fate) in rows {
            let status = from_denied(&denied);
            assert_eq!((status.code(), outcome(&status)), (code, fate), "{denied:?}");
            assert_ne!(denied_reason(&denied), Reason::Unspecified);
        }
    }

    #[test]
    fn a_leader_is_named_where_it_can_be_reached() {
        let mut leader = Member {
            id: 2,
            host: "::1".into(),
            resp_port: 6380,
            grpc_port: 7380,
            raft_port: 8380,
            role: MemberRole::Voter,
            matched_index: None,
            silent_ms: None,
        };
        let status = from_denied(&Denied::NotLeader { leader: leader.clone() });
        assert_eq!(status.metadata().get(LEADER).expect("a leader"), "[::1]:7380");
        leader.host = "two.example".into();
        let status = not_leader(Some(&leader));
        assert_eq!(status.metadata().get(LEADER).expect("a leader"), "two.example:7380");
        assert!(not_leader(None).metadata().get(LEADER).is_none());
    }

    #[test]
    fn refusals_keep_their_words() {
        let rows = [
            ("ERR no such key", Code::NotFound),
            ("ERR increment or decrement would overflow", Code::OutOfRange),
            ("ERR value is not an integer or out of range", Code::OutOfRange),
            ("ERR increment would produce NaN or Infinity", Code::OutOfRange),
            ("WRONGTYPE Operation against a key holding the wrong kind of value", Code::FailedPrecondition),
            ("ERR value of 16777217 bytes exceeds the limit of 16777216 bytes", Code::InvalidArgument),
            ("ERR syntax error", Code::InvalidArgument),
        ];
        for (line, code) in rows {
            let status = from_refusal(&Refusal::new(line));
            assert_eq!((status.code(), status.message(), outcome(&status)), (code, line, "refused"));
        }
    }
}
