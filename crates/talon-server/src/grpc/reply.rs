//! The core's replies as messages.

use talon_core::{Denied, Outcome, Reply};
use talon_proto::v1;
use talon_proto::v1::pipeline_response::Outcome as PipelineOutcome;
use talon_proto::v1::reply::Kind;

use super::status;

/// A reply as a message: one kind for each of the core's.
pub fn to_message(reply: Reply) -> v1::Reply {
    let list = |items: Vec<Reply>| v1::ReplyList { items: items.into_iter().map(to_message).collect() };
    let kind = match reply {
        Reply::Ok => Kind::Ok(v1::Nothing {}),
        Reply::Simple(text) => Kind::Simple(text.to_owned()),
        Reply::Integer(number) => Kind::Integer(number),
        Reply::Bulk(bytes) => Kind::Bulk(bytes),
        Reply::Null => Kind::Null(v1::Nothing {}),
        Reply::NullArray => Kind::NullArray(v1::Nothing {}),
        Reply::Array(items) => Kind::Array(list(items)),
        Reply::Map(pairs) => Kind::Map(v1::ReplyMap {
            pairs: pairs
                .into_iter()
                .map(|(key, value)| v1::ReplyPair { key: Some(to_message(key)), value: Some(to_message(value)) })
                .collect(),
        }),
        Reply::Set(items) => Kind::Set(list(items)),
        Reply::Double(number) => Kind::Double(number),
        Reply::Boolean(yes) => Kind::Boolean(yes),
        Reply::Verbatim(text) => Kind::Verbatim(text),
        Reply::Push(items) => Kind::Push(list(items)),
        Reply::Error(refusal) => Kind::Error(refusal.line().to_owned()),
    };
    v1::Reply { kind: Some(kind) }
}

/// An outcome as a pipeline's answer has it.
pub fn to_outcome(outcome: Outcome) -> PipelineOutcome {
    match outcome {
        Ok(reply) => PipelineOutcome::Reply(to_message(reply)),
        Err(denied) => PipelineOutcome::Denied(v1::Denial {
            reason: status::denied_reason(&denied).into(),
            message: status::denied_message(&denied),
            leader: match &denied {
                Denied::NotLeader { leader } => status::grpc_address(leader),
                _ => String::new(),
            },
        }),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use talon_core::Refusal;

    use super::*;

    #[test]
    fn each_kind_of_reply_has_its_own_message() {
        let nested = Reply::Map(vec![(Reply::bulk("k"), Reply::Array(vec![Reply::Integer(-1), Reply::Null]))]);
        let Some(Kind::Map(map)) = to_message(nested).kind else { panic!("a map") };
        let pair = &map.pairs[0];
        assert_eq!(pair.key.as_ref().and_then(|key| key.kind.clone()), Some(Kind::Bulk(Bytes::from("k"))));
        let Some(Kind::Array(list)) = pair.value.as_ref().and_then(|value| value.kind.clone()) else {
            panic!("an array")
        };
        assert_eq!(list.items[0].kind, Some(Kind::Integer(-1)));
        assert_eq!(list.items[1].kind, Some(Kind::Null(v1::Nothing {})));
        let rows = [
            (Reply::Ok, Kind::Ok(v1::Nothing {})),
            (Reply::Simple("PONG"), Kind::Simple("PONG".into())),
            (Reply::NullArray, Kind::NullArray(v1::Nothing {})),
            (Reply::Set(vec![]), Kind::Set(v1::ReplyList::default())),
            (Reply::Double(1.5), Kind::Double(1.5)),
            (Reply::Boolean(true), Kind::Boolean(true)),
            (Reply::Verbatim("text".into()), Kind::Verbatim("text".into())),
            (Reply::Push(vec![]), Kind::Push(v1::ReplyList::default())),
            (Reply::Error(Refusal::new("ERR no")), Kind::Error("ERR no".into())),
        ];
        for (reply, kind) in rows {
            assert_eq!(to_message(reply).kind, Some(kind));
        }
    }
}
