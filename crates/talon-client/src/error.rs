//! What can become of a call, and what a node's status says of it.

use tonic::{Code, Status};

/// Why a call has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An endpoint is no address.
    #[error("no endpoint: {0}")]
    Endpoint(String),
    /// The command was refused, in Redis's words: the same on every node, so there is no use in sending it again.
    #[error("{0}")]
    Refused(String),
    /// A write may or may not have been carried out. The client never sends such a write again.
    #[error("in doubt: {0}")]
    InDoubt(String),
    /// Not carried out: no node could do it before the deadline.
    #[error("not carried out: {0}")]
    Unavailable(String),
    /// Not carried out: no or a wrong password, or a node that refuses strangers.
    #[error("not allowed: {0}")]
    NotAllowed(String),
    /// Not carried out: larger than a node takes or sends.
    #[error("too large: {0}")]
    TooLarge(String),
    /// The node answered something that this client does not understand.
    #[error("not understood: {0}")]
    Protocol(String),
}

/// What to do after a status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Ask the node at this address, which leads.
    Redirect(String),
    /// It was not carried out, and may be elsewhere or later.
    TryElsewhere(String),
    /// A read: it may be elsewhere or later. A write: in doubt.
    Unknown(String),
    /// Tell the program.
    Tell(Error),
}

/// Judges a status that a node sent, or that stands for the lack of an answer.
pub(crate) fn judge(status: &Status) -> Verdict {
    let message = status.message().to_owned();
    if talon_proto::not_even_sent(status) {
        return Verdict::TryElsewhere(message);
    }
    let metadata = |name| status.metadata().get(name).and_then(|value| value.to_str().ok());
    match metadata("talon-outcome") {
        Some("not-applied") => match status.code() {
            Code::FailedPrecondition => match metadata("talon-leader") {
                Some(leader) => Verdict::Redirect(leader.to_owned()),
                None => Verdict::TryElsewhere(message),
            },
            Code::Unauthenticated | Code::PermissionDenied => Verdict::Tell(Error::NotAllowed(message)),
            Code::ResourceExhausted if message.starts_with("TOOLARGE") => Verdict::Tell(Error::TooLarge(message)),
            Code::InvalidArgument => Verdict::Tell(Error::Refused(message)),
            _ => Verdict::TryElsewhere(message),
        },
        Some("refused") => Verdict::Tell(Error::Refused(message)),
        Some(_) => Verdict::Unknown(message),
        // These are made by gRPC itself, before the node has looked at the request.
        None if status.code() == Code::Unimplemented => Verdict::Tell(Error::Protocol(message)),
        None => Verdict::Unknown(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: Code, outcome: Option<&str>, leader: Option<&str>) -> Status {
        let mut status = Status::new(code, "TOOLARGE or not");
        for (name, value) in [("talon-outcome", outcome), ("talon-leader", leader)] {
            if let Some(value) = value {
                status.metadata_mut().insert(name, value.parse().unwrap());
            }
        }
        status
    }

    #[test]
    fn only_what_was_certainly_not_carried_out_may_be_sent_again() {
        let not_applied = Some("not-applied");
        let text = || "TOOLARGE or not".to_owned();
        let rows = [
            (status(Code::FailedPrecondition, not_applied, Some("b:1")), Verdict::Redirect("b:1".into())),
            (status(Code::Unavailable, not_applied, None), Verdict::TryElsewhere(text())),
            (status(Code::ResourceExhausted, not_applied, None), Verdict::Tell(Error::TooLarge(text()))),
            (status(Code::Unauthenticated, not_applied, None), Verdict::Tell(Error::NotAllowed(text()))),
            (status(Code::Unknown, Some("indoubt"), None), Verdict::Unknown(text())),
            (status(Code::Unavailable, Some("indoubt"), None), Verdict::Unknown(text())),
            // A broken connection has the code of a node that is not there, and is not the same.
            (status(Code::Unavailable, None, None), Verdict::Unknown(text())),
            (status(Code::DeadlineExceeded, None, None), Verdict::Unknown(text())),
            (status(Code::Cancelled, None, None), Verdict::Unknown(text())),
            (status(Code::Internal, Some("something new"), None), Verdict::Unknown(text())),
            (status(Code::FailedPrecondition, None, Some("b:1")), Verdict::Unknown(text())),
            (status(Code::OutOfRange, Some("refused"), None), Verdict::Tell(Error::Refused(text()))),
        ];
        for (status, verdict) in rows {
            assert_eq!(judge(&status), verdict, "{status:?}");
        }
    }
}
