//! Keys that are always written together are seen together.
//!
//! A group is a few keys that every write sets to one common value at once, by MSET or in a transaction, each time a new
//! one; or deletes at once. So a group is one register, whichever of its keys is read: a read of several has to find the
//! same in all of them, and the register has to be linearizable.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::linear::{self, Options};
use crate::parts::{Deed, Part, known_keys, parts};
use crate::{Action, History, Operation, Outcome, Reply, Ttl, Verdict, Word};

/// Checks each group. `checked` counts reads of groups; the reads of a group that was not always written together are
/// counted as undecided.
pub fn check(history: &History, groups: &[Vec<Word>], options: &Options) -> Verdict {
    let known = known_keys(history);
    let mut groups_of: HashMap<&Word, BTreeSet<usize>> = HashMap::new();
    for (number, group) in groups.iter().enumerate() {
        group.iter().for_each(|key| {
            groups_of.entry(key).or_default().insert(number);
        });
    }
    // What was done to each group. Answers that fit no question are named by `linear`.
    let mut done: Vec<Vec<Touched<'_>>> = groups.iter().map(|_| Vec::new()).collect();
    for operation in history.operations().iter().filter(|one| !matches!(one.outcome, Outcome::Refused(_))) {
        let mut shares: BTreeMap<usize, Vec<Part>> = BTreeMap::new();
        for part in parts(&operation.action, operation.reply(), &known).unwrap_or_default() {
            let other = match &part.deed {
                Deed::Rename { to } => groups_of.get(to),
                _ => None,
            };
            for number in groups_of.get(&part.key).into_iter().chain(other).flatten() {
                shares.entry(*number).or_default().push(part.clone());
            }
        }
        for (number, parts) in shares {
            done[number].push((operation, parts));
        }
    }
    let mut verdict = Verdict::default();
    for (group, done) in groups.iter().zip(done) {
        verdict.add(check_group(history, group, done, options));
    }
    verdict
}

/// An operation, and its parts that are about a group.
type Touched<'a> = (&'a Operation, Vec<Part>);

/// What an operation did to the whole group.
enum Share {
    Nothing,
    Set(Word, Option<Ttl>),
    Del,
    /// What was found: the same in all keys that were read.
    Read(Reply),
    /// A read that saw several writes, or half of one.
    Torn(String),
    /// The keys were not written together.
    Apart,
}

fn check_group(history: &History, group: &[Word], done: Vec<Touched<'_>>, options: &Options) -> Verdict {
    let mut verdict = Verdict::default();
    let keys: BTreeSet<&Word> = group.iter().collect();
    let name = Word::from(group.iter().map(ToString::to_string).collect::<Vec<_>>().join("+"));
    let mut register = History::new();
    let mut ids: Vec<u64> = Vec::new();
    let mut apart = false;
    for (operation, parts) in done {
        let (action, outcome) = match share(&parts, &keys) {
            Share::Nothing => continue,
            Share::Apart => {
                apart = true;
                continue;
            }
            Share::Torn(what) => {
                verdict.checked += 1;
                verdict.violation(format!("group {name:?}: #{} saw {what}", operation.id), [operation]);
                continue;
            }
            Share::Read(reply) => {
                verdict.checked += 1;
                (Action::Get(name.clone()), Outcome::Reply(reply))
            }
            Share::Set(value, ttl) => {
                let set = Action::Set { key: name.clone(), value, ttl, condition: None, get: false };
                (set, operation.outcome.clone())
            }
            Share::Del => (Action::DelPrefix(name.clone()), operation.outcome.clone()),
        };
        let outcome = match outcome {
            Outcome::Reply(_) if matches!(action, Action::Set { .. }) => Outcome::Reply(Reply::Ok),
            // How many were there is no matter for the register.
            Outcome::Reply(_) if matches!(action, Action::DelPrefix(_)) => Outcome::Reply(Reply::Int(1)),
            other => other,
        };
        register.push(Operation { action, outcome, ..operation.clone() });
        ids.push(operation.id);
    }
    if apart {
        return Verdict { undecided: verdict.checked.max(1), ..Verdict::default() };
    }
    let mut of_register = linear::check(&register, options);
    of_register.add(goes_back(&register, &name));
    verdict.undecided += of_register.undecided;
    for mut violation in of_register.violations {
        for operation in &mut violation.operations {
            *operation = history.operations()[ids[operation.id as usize] as usize].clone();
        }
        violation.what = format!("group {name:?}, as one register: {}", violation.what);
        verdict.violations.push(violation);
    }
    verdict
}

fn share(parts: &[Part], keys: &BTreeSet<&Word>) -> Share {
    let writes: Vec<&Part> = parts.iter().filter(|part| part.deed.writes()).collect();
    let written: BTreeSet<&Word> = writes.iter().map(|part| &part.key).collect();
    let Some(first) = writes.first() else { return read_share(parts) };
    if written != *keys {
        return Share::Apart;
    }
    match &first.deed {
        Deed::Set { value, ttl, condition: None, .. } if !writes.iter().any(|part| part.deed != first.deed) => {
            match writes.iter().any(|part| matches!(part.reply, Some(Reply::Error(_)))) {
                true => Share::Apart,
                false => Share::Set(value.clone(), *ttl),
            }
        }
        Deed::Del if writes.iter().all(|part| part.deed == Deed::Del) => Share::Del,
        _ => Share::Apart,
    }
}

fn read_share(parts: &[Part]) -> Share {
    let mut found: Option<&Part> = None;
    for part in parts.iter().filter(|part| part.deed == Deed::Get && part.reply.is_some()) {
        match found {
            Some(first) if first.reply != part.reply => {
                let text = |part: &Part| part.reply.as_ref().map_or_else(String::new, ToString::to_string);
                let what = format!("{:?} = {} and {:?} = {}", first.key, text(first), part.key, text(part));
                return Share::Torn(what);
            }
            Some(_) => {}
            None => found = Some(part),
        }
    }
    found.and_then(|part| part.reply.clone()).map_or(Share::Nothing, Share::Read)
}

/// What [`linear`] does not see, because it looks at linearizable reads only: reads of one session that go back to an
/// older write, and reads of what was not yet written.
fn goes_back(register: &History, name: &Word) -> Verdict {
    let mut verdict = Verdict::default();
    let mut writers: HashMap<&Word, Vec<&Operation>> = HashMap::new();
    let mut can_end = false;
    for operation in register.operations() {
        match &operation.action {
            Action::Set { value, ttl, .. } => {
                writers.entry(value).or_default().push(operation);
                can_end |= ttl.is_some();
            }
            Action::DelPrefix(_) => can_end = true,
            _ => {}
        }
    }
    let mut latest: HashMap<u32, (&Operation, &Word)> = HashMap::new();
    for read in register.operations() {
        let Some(reply) = read.reply().filter(|_| !read.action.writes()) else { continue };
        let value = match reply {
            Reply::Bytes(value) => Some(value),
            _ => None,
        };
        let by = value.and_then(|value| writers.get(value));
        let written = by.is_some_and(|by| by.iter().any(|write| Some(write.called_us) <= read.returned_us));
        if value.is_some() && !written {
            verdict.violation(format!("{name:?}: {reply} had not been written"), [read]);
            continue;
        }
        if !read.consistency.keeps_sessions() {
            continue;
        }
        if let Some((earlier, seen)) = latest.get(&read.client).filter(|(earlier, _)| earlier.before(read)) {
            let older = match by {
                // Each older than each writer of what was seen before.
                Some(by) => by.iter().all(|write| writers[*seen].iter().all(|newer| write.before(newer))),
                None => !can_end,
            };
            if older {
                let what = format!("client {} saw {seen:?} and then the older {reply}", read.client);
                verdict.violation(what, [*earlier, read]);
            }
        }
        if let Some(value) = value {
            latest.insert(read.client, (read, value));
        }
    }
    verdict
}
