//! The reference model, carried along the ledger: what each committed entry does and answers by the rules alone.

use std::collections::BTreeMap;

use talon_core::{Call, Request};
use talon_history::model::Entry;
use talon_history::{Action, Condition, Deadline, Model, Operation, Reply, Ttl, Word};

use crate::ledger::{Committed, CommittedContent};

/// What one call of an entry did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// What was asked for; a transaction's actions one after the other, in one.
    pub actions: Vec<Action>,
    /// What a correct Talon answers, one reply an action.
    pub replies: Vec<Reply>,
}

impl Done {
    /// Whether this can be what an operation was acknowledged for.
    pub fn answers(&self, operation: &Operation) -> bool {
        let Some(reply) = operation.reply() else { return false };
        let actions = flat(&operation.action);
        let replies = flat_replies(&operation.action, reply);
        let mut pairs = self.actions.iter().zip(&self.replies).zip(&replies);
        self.actions.iter().eq(actions)
            && self.replies.len() == replies.len()
            && pairs.all(|((action, expected), reply)| agrees(action, expected, reply))
    }
}

/// The model, and up to where it has come.
#[derive(Clone, Debug, Default)]
pub struct Replay {
    model: Model,
    next: Option<u64>,
}

impl Replay {
    /// Carries out the next entry.
    ///
    /// # Errors
    /// If it is not the next one, or asks for something that the model does not know.
    pub fn step(&mut self, index: u64, entry: &Committed) -> Result<Vec<Done>, String> {
        self.each(index, entry, |_| {})
    }

    /// The same, and shows the model after the entry's clock has come, and after each call.
    ///
    /// # Errors
    /// As [`Replay::step`].
    pub fn each(
        &mut self,
        index: u64,
        entry: &Committed,
        mut between: impl FnMut(&mut Model),
    ) -> Result<Vec<Done>, String> {
        if let Some(next) = self.next.filter(|next| *next != index) {
            return Err(format!("entry {index} was applied before anybody had applied entry {next}"));
        }
        self.next = Some(index + 1);
        let CommittedContent::Writes { stamp_ms, calls, .. } = &entry.content else { return Ok(Vec::new()) };
        let stamp_ms = i64::try_from(*stamp_ms).map_err(|_| format!("entry {index} has the stamp {stamp_ms}"))?;
        self.model.raise_clock(stamp_ms);
        between(&mut self.model);
        let mut all_done = Vec::with_capacity(calls.len());
        for call in calls {
            let actions = actions(call)?;
            let replies = actions.iter().map(|action| self.model.carry_out(stamp_ms, action)).collect();
            between(&mut self.model);
            all_done.push(Done { actions, replies });
        }
        Ok(all_done)
    }

    /// The index of the entry it has carried out last, if any.
    pub fn index(&self) -> Option<u64> {
        self.next?.checked_sub(1)
    }

    /// The clock `T` there, Unix ms.
    pub fn clock_ms(&self) -> i64 {
        self.model.clock_ms()
    }

    /// The keys that are visible there.
    pub fn entries(&self) -> &BTreeMap<Word, Entry> {
        self.model.entries()
    }

    /// The model there, to read from.
    pub fn model(&mut self) -> &mut Model {
        &mut self.model
    }
}

/// What a model answers to a read, where it stands.
pub fn read(model: &mut Model, action: &Action) -> Reply {
    let clock_ms = model.clock_ms();
    model.carry_out(clock_ms, action)
}

/// Whether a reply is the one that the model gave. A leader answers PTTL by its own clock, which is not behind `T`.
pub fn agrees(action: &Action, expected: &Reply, reply: &Reply) -> bool {
    match (action, expected, reply) {
        (Action::Pttl(_), Reply::Int(expected @ 0..), Reply::Int(left @ 0..)) => left <= expected,
        _ => expected == reply,
    }
}

/// The actions that an action is made of: a transaction's one by one.
pub fn flat(action: &Action) -> Vec<&Action> {
    match action {
        Action::Transaction(actions) | Action::Watched { actions, .. } => actions.iter().flat_map(flat).collect(),
        one => vec![one],
    }
}

/// The reply to each of [`flat`]'s actions.
pub fn flat_replies<'a>(action: &Action, reply: &'a Reply) -> Vec<&'a Reply> {
    match (action, reply) {
        (Action::Transaction(actions) | Action::Watched { actions, .. }, Reply::Many(replies))
            if actions.len() == replies.len() =>
        {
            actions.iter().zip(replies).flat_map(|(action, reply)| flat_replies(action, reply)).collect()
        }
        (_, reply) => vec![reply],
    }
}

/// What a call asks of the model. Talon's own housekeeping asks nothing of it.
///
/// # Errors
/// A command that the model does not know.
pub fn actions(call: &Call) -> Result<Vec<Action>, String> {
    let requests = match call {
        Call::One(request) => std::slice::from_ref(request),
        Call::Transaction(requests) => requests,
    };
    requests.iter().filter_map(|request| action(request).transpose()).collect()
}

fn action(request: &Request) -> Result<Option<Action>, String> {
    let args: Vec<Word> = request.args.iter().cloned().map(Word::from).collect();
    let name = request.command.facts.name;
    let unknown = || format!("the model does not know {name} with {args:?}");
    let number = |word: &Word| word.integer().ok_or_else(unknown);
    Ok(Some(match (name, &args[..]) {
        ("talon.purge" | "talon.mark" | "position", _) => return Ok(None),
        ("get", [key]) => Action::Get(key.clone()),
        ("set", [key, value, options @ ..]) => set(key, value, options).ok_or_else(unknown)?,
        ("del", keys) => Action::Del(keys.to_vec()),
        ("incrby", [key, by]) => Action::IncrBy(key.clone(), number(by)?),
        ("append", [key, tail]) => Action::Append(key.clone(), tail.clone()),
        ("getset", [key, value]) => Action::GetSet(key.clone(), value.clone()),
        ("pexpire", [key, ms]) => Action::Expire(key.clone(), Deadline::AfterMs(number(ms)?)),
        ("pexpireat", [key, ms]) => Action::Expire(key.clone(), Deadline::AtMs(number(ms)?)),
        ("persist", [key]) => Action::Persist(key.clone()),
        ("pttl", [key]) => Action::Pttl(key.clone()),
        ("exists", [key]) => Action::Exists(key.clone()),
        ("rename", [from, to]) => Action::Rename { from: from.clone(), to: to.clone() },
        ("mset", pairs) if pairs.len().is_multiple_of(2) => {
            Action::Mset(pairs.chunks(2).map(|pair| (pair[0].clone(), pair[1].clone())).collect())
        }
        ("mget", keys) => Action::Mget(keys.to_vec()),
        ("delprefix", [prefix]) => Action::DelPrefix(prefix.clone()),
        ("scanprefix", [prefix, ..]) => Action::Scan(prefix.clone()),
        ("once", [session, sequence, _, ..]) => {
            let [_, _, name, own @ ..] = &request.args[..] else { return Err(unknown()) };
            let inner = Request::parse(name, own.to_vec()).map_err(|_| unknown())?;
            let inner = action(&inner)?.ok_or_else(unknown)?;
            let sequence = u64::try_from(number(sequence)?).map_err(|_| unknown())?;
            Action::Once { session: session.clone(), sequence, action: Box::new(inner) }
        }
        _ => return Err(unknown()),
    }))
}

fn set(key: &Word, value: &Word, options: &[Word]) -> Option<Action> {
    let (mut ttl, mut condition, mut get) = (None, None, false);
    let mut options = options.iter();
    while let Some(option) = options.next() {
        match &option.to_ascii_uppercase()[..] {
            b"NX" => condition = Some(Condition::Missing),
            b"XX" => condition = Some(Condition::Exists),
            b"IFEQ" => condition = Some(Condition::Equals(options.next()?.clone())),
            b"GET" => get = true,
            b"KEEPTTL" => ttl = Some(Ttl::Keep),
            b"PX" => ttl = Some(Ttl::Until(Deadline::AfterMs(options.next()?.integer()?))),
            b"PXAT" => ttl = Some(Ttl::Until(Deadline::AtMs(options.next()?.integer()?))),
            _ => return None,
        }
    }
    Some(Action::Set { key: key.clone(), value: value.clone(), ttl, condition, get })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn what_clients_send_comes_back_as_what_they_meant() {
        let all = [
            Action::get("a"),
            Action::set("a", "1"),
            Action::set_for_ms("a", "1", 20),
            Action::Set {
                key: "a".into(),
                value: "2".into(),
                ttl: Some(Ttl::Keep),
                condition: Some(Condition::Exists),
                get: true,
            },
            Action::Del(vec!["a".into(), "b".into()]),
            Action::incr_by("n", -2),
            Action::Append("a".into(), "x".into()),
            Action::GetSet("a".into(), "y".into()),
            Action::Expire("a".into(), Deadline::AfterMs(5)),
            Action::Expire("a".into(), Deadline::AtMs(7)),
            Action::Persist("a".into()),
            Action::Pttl("a".into()),
            Action::Exists("a".into()),
            Action::Rename { from: "a".into(), to: "b".into() },
            Action::Mset(vec![("a".into(), "1".into()), ("b".into(), "1".into())]),
            Action::Mget(vec!["a".into(), "b".into()]),
            Action::DelPrefix("p".into()),
            Action::Scan("p".into()),
            Action::Once { session: "s".into(), sequence: 3, action: Box::new(Action::incr_by("n", 2)) },
        ];
        for action in all {
            let words: Vec<Bytes> = action.commands().remove(0).into_iter().map(Bytes::from).collect();
            let request = Request::parse(&words[0], words[1..].to_vec()).expect("a command of Talon");
            assert_eq!(actions(&Call::One(request)), Ok(vec![action]));
        }
    }

    #[test]
    fn what_the_model_does_not_know_is_said() {
        let request = Request::parse(b"INCRBYFLOAT", vec!["a".into(), "1".into()]).expect("a command of Talon");
        assert!(actions(&Call::One(request)).is_err());
    }

    #[test]
    fn an_entry_that_was_left_out_is_noticed() {
        let blank = Committed { term: 1, content: CommittedContent::Blank, first: (1, 0) };
        let mut replay = Replay::default();
        assert_eq!(replay.step(3, &blank), Ok(Vec::new()));
        assert!(replay.step(5, &blank).is_err());
    }
}
