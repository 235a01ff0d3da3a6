//! What the judge has to know of each kind of work.

use std::collections::{BTreeMap, BTreeSet};

use talon_history::linear::Absolute;
use talon_history::{Action, History, Word};

use super::WorkloadKind;
use crate::ambient::START_MS;

/// What the keys of a kind begin with. No prefix is the beginning of another.
pub const fn prefix(kind: WorkloadKind) -> &'static str {
    match kind {
        WorkloadKind::Registers => "r:",
        WorkloadKind::Counters => "c:",
        WorkloadKind::CompareAndSet => "e:",
        WorkloadKind::Groups => "m:",
        WorkloadKind::Expiries => "x:",
        WorkloadKind::Prefixes => "p:",
        WorkloadKind::Sessions => "s:",
        WorkloadKind::Snapshots => "n:",
        WorkloadKind::Once => "o:",
        WorkloadKind::Watched => "w:",
        WorkloadKind::Levels => "l:",
        WorkloadKind::Handles => "h:",
    }
}

/// Which checks have something to say about a kind. Positions ([`talon_history::session::positions`]) are about clients, so they are
/// for the whole history; so is the comparison of reads with the model at the position they name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checks {
    /// [`talon_history::linear`].
    pub linear: bool,
    /// [`talon_history::atomic`], with [`groups`]. It judges linearizability of the group as well.
    pub atomic: bool,
    /// [`talon_history::counters`].
    pub counters: bool,
    /// [`talon_history::durable`].
    pub durable: bool,
    /// [`talon_history::session::nil_stays_nil`].
    pub nil_stays_nil: bool,
    /// [`talon_history::session::ttl_never_grows`].
    pub ttl_never_grows: bool,
}

/// The checks of a kind.
pub const fn checks(kind: WorkloadKind) -> Checks {
    let ends = matches!(kind, WorkloadKind::Expiries | WorkloadKind::Sessions | WorkloadKind::Levels);
    Checks {
        linear: true,
        atomic: matches!(kind, WorkloadKind::Groups | WorkloadKind::Snapshots | WorkloadKind::Handles),
        counters: matches!(kind, WorkloadKind::Counters | WorkloadKind::Once),
        durable: !matches!(kind, WorkloadKind::Counters | WorkloadKind::Once),
        nil_stays_nil: ends,
        ttl_never_grows: ends,
    }
}

/// The part of a history that is about the keys of a kind: no operation is about keys of two kinds.
pub fn history_of(kind: WorkloadKind, history: &History) -> History {
    let mut part = History::new();
    for operation in history.operations().iter().filter(|one| is_about(&one.action, prefix(kind).as_bytes())) {
        part.push(operation.clone());
    }
    part
}

fn is_about(action: &Action, prefix: &[u8]) -> bool {
    match action {
        Action::DelPrefix(of) | Action::Scan(of) => of.starts_with(prefix),
        Action::Transaction(actions) => actions.iter().any(|action| is_about(action, prefix)),
        one => one.keys().iter().any(|key| key.starts_with(prefix)),
    }
}

/// The keys of a kind that are always written together, if it has such.
pub fn groups(kind: WorkloadKind, history: &History) -> Vec<Vec<Word>> {
    if !checks(kind).atomic {
        return Vec::new();
    }
    let mut groups: BTreeMap<&[u8], BTreeSet<&Word>> = BTreeMap::new();
    for key in history.operations().iter().flat_map(|operation| operation.action.keys()) {
        if key.starts_with(prefix(kind).as_bytes())
            && let Some(colon) = key.iter().rposition(|byte| *byte == b':')
        {
            groups.entry(&key[..colon]).or_default().insert(key);
        }
    }
    groups.into_values().map(|keys| keys.into_iter().cloned().collect()).collect()
}

/// How the Unix times that clients name lie on the history's clock; the bounds are those of a cluster whose clocks are right, or are outvoted.
pub const fn absolute(early_ms: u64, late_ms: u64) -> Absolute {
    Absolute { unix_ms_at_zero: START_MS as i64, early_ms, late_ms }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_of_one_kind() {
        let mut history = History::new();
        let actions = [
            Action::get("r:1"),
            Action::Scan("p:0:1:2:".into()),
            Action::Transaction(vec![Action::get("m:0:1:2:a"), Action::get("m:0:1:2:b")]),
            Action::Mset(vec![("m:0:1:2:b".into(), "v".into()), ("m:0:1:3:a".into(), "v".into())]),
        ];
        for action in actions {
            history.call(1, None, 0, action);
        }
        let lengths: Vec<usize> = WorkloadKind::ALL.iter().map(|kind| history_of(*kind, &history).len()).collect();
        assert_eq!(lengths, [1, 0, 0, 2, 0, 1, 0, 0, 0, 0, 0, 0]);
        let groups = groups(WorkloadKind::Groups, &history);
        assert_eq!(groups.len(), 2);
        assert_eq!(groups[0].len(), 2);
    }
}
