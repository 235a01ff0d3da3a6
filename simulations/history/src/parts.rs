//! What an operation did to each key: the form in which the checks look at it.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Action, Condition, Deadline, History, Operation, Outcome, Reply, Ttl, Word};

/// What is done to one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    Get,
    Exists,
    Pttl,
    Set { value: Word, ttl: Option<Ttl>, condition: Option<Condition>, get: bool },
    Del,
    IncrBy(i64),
    Append(Word),
    GetSet(Word),
    Expire(Deadline),
    Persist,
    Rename { to: Word },
}

impl Deed {
    pub(crate) fn writes(&self) -> bool {
        !matches!(self, Deed::Get | Deed::Exists | Deed::Pttl)
    }
}

/// A deed, and what was answered to it; `None`: the answer is not known, or does not say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) key: Word,
    pub(crate) deed: Deed,
    pub(crate) reply: Option<Reply>,
}

impl Part {
    /// Whether this can have left `value` under `key`, for all that its own answer says.
    pub(crate) fn can_leave(&self, key: &Word, value: &Word) -> bool {
        match &self.deed {
            Deed::Rename { to } => to == key && !matches!(self.reply, Some(Reply::Error(_))),
            _ if self.key != *key => false,
            Deed::Set { value: new, .. } => new == value && !self.was_nothing(),
            Deed::GetSet(new) => new == value,
            Deed::IncrBy(_) => self.reply.as_ref().map_or(value.integer().is_some(), |reply| match reply {
                Reply::Int(number) => value.integer() == Some(*number),
                _ => false,
            }),
            Deed::Append(tail) => value.ends_with(tail),
            _ => false,
        }
    }

    /// Whether its answer says that it changed nothing.
    pub(crate) fn was_nothing(&self) -> bool {
        match (&self.deed, &self.reply) {
            (_, Some(Reply::Error(_))) => true,
            (Deed::Set { get: false, condition: Some(_), .. }, Some(Reply::Nil)) => true,
            (Deed::Del | Deed::Expire(_) | Deed::Persist, Some(Reply::Int(0))) => true,
            (deed, _) => !deed.writes(),
        }
    }
}

/// What an operation did to one key, and the operation.
pub(crate) type Touch<'a> = (&'a Operation, Part);

/// What was done to each key by all that may have happened: all but refused operations. A rename is in the lists of both
/// of its keys. Answers that fit no question are left out; [`crate::linear`] names them.
pub(crate) fn touches(history: &History) -> BTreeMap<Word, Vec<Touch<'_>>> {
    let known = known_keys(history);
    let mut touches: BTreeMap<Word, Vec<Touch<'_>>> = BTreeMap::new();
    for operation in history.operations() {
        if matches!(operation.outcome, Outcome::Refused(_)) {
            continue;
        }
        for part in parts(&operation.action, operation.reply(), &known).unwrap_or_default() {
            if let Deed::Rename { to } = &part.deed
                && *to != part.key
            {
                touches.entry(to.clone()).or_default().push((operation, part.clone()));
            }
            touches.entry(part.key.clone()).or_default().push((operation, part));
        }
    }
    touches
}

/// All keys that a history names, those in answers to scans not counted.
pub(crate) fn known_keys(history: &History) -> BTreeSet<Word> {
    history.operations().iter().flat_map(|operation| operation.action.keys()).cloned().collect()
}

/// An action as deeds. `known` are the keys that a prefix can mean.
///
/// # Errors
/// What is wrong with an answer that does not fit the question at all.
pub(crate) fn parts(action: &Action, reply: Option<&Reply>, known: &BTreeSet<Word>) -> Result<Vec<Part>, String> {
    let part = |key: &Word, deed, reply: Option<Reply>| Part { key: key.clone(), deed, reply };
    let one = |key: &Word, deed| Ok(vec![part(key, deed, reply.cloned())]);
    match action {
        Action::Get(key) => one(key, Deed::Get),
        Action::Set { key, value, ttl, condition, get } => {
            one(key, Deed::Set { value: value.clone(), ttl: *ttl, condition: condition.clone(), get: *get })
        }
        Action::IncrBy(key, by) => one(key, Deed::IncrBy(*by)),
        Action::Append(key, tail) => one(key, Deed::Append(tail.clone())),
        Action::GetSet(key, value) => one(key, Deed::GetSet(value.clone())),
        Action::Expire(key, deadline) => one(key, Deed::Expire(*deadline)),
        Action::Persist(key) => one(key, Deed::Persist),
        Action::Pttl(key) => one(key, Deed::Pttl),
        Action::Exists(key) => one(key, Deed::Exists),
        Action::Rename { from, to } => one(from, Deed::Rename { to: to.clone() }),
        Action::Del(keys) => {
            let keys: BTreeSet<&Word> = keys.iter().collect();
            let each = match reply {
                Some(Reply::Int(0)) => Some(Reply::Int(0)),
                Some(Reply::Int(number)) if *number == keys.len() as i64 => Some(Reply::Int(1)),
                // How many, but not which.
                Some(Reply::Int(number)) if (1..keys.len() as i64).contains(number) => None,
                other => other.cloned(),
            };
            Ok(keys.into_iter().map(|key| part(key, Deed::Del, each.clone())).collect())
        }
        Action::DelPrefix(prefix) => {
            let each = reply.filter(|reply| !matches!(reply, Reply::Int(1..)));
            Ok(under(prefix, known).map(|key| part(key, Deed::Del, each.cloned())).collect())
        }
        Action::Mset(pairs) => {
            let set = |value: &Word| Deed::Set { value: value.clone(), ttl: None, condition: None, get: false };
            Ok(pairs.iter().map(|(key, value)| part(key, set(value), reply.cloned())).collect())
        }
        Action::Mget(keys) => {
            let replies = several(reply, keys.len())?;
            Ok(keys.iter().zip(replies).map(|(key, reply)| part(key, Deed::Get, reply)).collect())
        }
        Action::Scan(prefix) => {
            let Some(reply) = reply else { return Ok(Vec::new()) };
            let mut pairs = pairs(reply)?;
            let gets = under(prefix, known).map(|key| {
                let at = pairs.iter().position(|(name, _)| *name == key);
                let value = at.map_or(Reply::Nil, |at| Reply::Bytes(pairs.swap_remove(at).1.clone()));
                part(key, Deed::Get, Some(value))
            });
            let gets = gets.collect();
            match pairs.first() {
                None => Ok(gets),
                Some((key, _)) => Err(format!("the scan answered the key {key:?}, twice or that nobody ever named")),
            }
        }
        Action::Transaction(actions) => {
            let replies = several(reply, actions.len())?;
            let mut all = Vec::new();
            for (action, reply) in actions.iter().zip(replies) {
                all.extend(parts(action, reply.as_ref(), known)?);
            }
            Ok(all)
        }
        Action::Watched { seen, actions, .. } => {
            let replies = several(reply, actions.len())?;
            let mut all = Vec::new();
            for (action, reply) in actions.iter().zip(replies) {
                all.extend(parts(action, reply.as_ref(), known)?);
            }
            for (key, value) in seen {
                compare(&mut all, key, value.as_ref(), reply.is_some());
            }
            Ok(all)
        }
        Action::Once { action, .. } => parts(action, reply, known),
    }
}

/// A transaction that depends on a key is done only if that still is what it was seen as: a comparison, and then what is done.
fn compare(parts: &mut Vec<Part>, key: &Word, seen: Option<&Word>, is_done: bool) {
    match parts.iter_mut().find(|part| part.key == *key && part.deed.writes()) {
        Some(Part { deed: Deed::Set { condition: condition @ None, get: false, .. }, .. }) => {
            *condition = Some(seen.map_or(Condition::Missing, |value| Condition::Equals(value.clone())));
        }
        // What was only looked at was so at that moment, if there was one.
        None if is_done => {
            let reply = Some(seen.map_or(Reply::Nil, |value| Reply::Bytes(value.clone())));
            parts.insert(0, Part { key: key.clone(), deed: Deed::Get, reply });
        }
        _ => {}
    }
}

fn under<'a>(prefix: &'a Word, known: &'a BTreeSet<Word>) -> impl Iterator<Item = &'a Word> {
    known.range(prefix..).take_while(|key| key.starts_with(prefix))
}

fn several(reply: Option<&Reply>, count: usize) -> Result<Vec<Option<Reply>>, String> {
    match reply {
        None => Ok(vec![None; count]),
        Some(Reply::Many(replies)) if replies.len() == count => Ok(replies.iter().cloned().map(Some).collect()),
        Some(other) => Err(format!("{other} is no answer to a question for {count} things")),
    }
}

/// The keys and values that a scan answered.
fn pairs<'a>(reply: &'a Reply) -> Result<Vec<(&'a Word, &'a Word)>, String> {
    let Reply::Many(replies) = reply else { return Err(format!("{reply} is no answer to a scan")) };
    let pair = |reply: &'a Reply| match reply {
        Reply::Many(pair) => match &pair[..] {
            [Reply::Bytes(key), Reply::Bytes(value)] => Ok((key, value)),
            _ => Err(format!("{reply} is no pair of key and value")),
        },
        _ => Err(format!("{reply} is no pair of key and value")),
    };
    replies.iter().map(pair).collect()
}
