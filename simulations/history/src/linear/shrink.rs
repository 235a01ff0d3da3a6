//! A violation in as few operations as can be found, each step of which keeps what it proves.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use porcupine_rs::CheckResult;

use super::keys::{Act, NEVER};
use super::prepare::Bundle;
use super::{Options, operations, try_orders};
use crate::{History, Violation, Word};

/// How long one try may take; a try without result removes nothing.
const TRY: Duration = Duration::from_secs(1);

/// How long all of it may take.
const ALL: Duration = Duration::from_secs(10);

/// How many places to start from are tried.
const STARTS_MAX: usize = 50;

/// Says which operations cannot have been.
pub(super) fn explain(history: &History, bundle: &Bundle, acts: Vec<Arc<Act>>, options: &Options) -> Violation {
    let (acts, last) = shrunk(acts, bundle.keys.len() == 1);
    let ids: BTreeSet<u64> = acts.iter().map(|act| act.id).collect();
    let operations = ids.iter().map(|id| history.operations()[*id as usize].clone()).collect();
    let named: Vec<String> = bundle.keys.iter().map(|key| format!("{key:?}")).collect();
    let named = named.join(", ");
    let what = match last {
        Some(id) => format!("key {named}: no order explains #{id}, given what else was answered"),
        None => format!("key {named}: no order explains all answers"),
    };
    let picture = options.pictures.as_deref().and_then(|folder| draw(history, &acts, folder, &bundle.keys[0]));
    Violation { what, operations, picture }
}

/// Fewer acts that still have no order, and the one without which there would be one.
fn shrunk(acts: Vec<Arc<Act>>, one_key: bool) -> (Vec<Arc<Act>>, Option<u64>) {
    let until = Instant::now() + ALL;
    let wrong = |acts: &[Arc<Act>]| Instant::now() < until && try_orders(acts, TRY) == CheckResult::Illegal;
    let Some((mut acts, id)) = shortest_beginning(&acts, wrong) else { return (acts, None) };
    acts = if one_key { latest_start(acts, wrong) } else { acts };
    // A read may be left out: fewer answers have more orders.
    let mut at = 0;
    while at < acts.len() {
        let mut fewer = acts.clone();
        let one = fewer.remove(at);
        if !one.writes && one.id != id && wrong(&fewer) {
            acts = fewer;
        } else {
            at += 1;
        }
    }
    acts = if one_key { latest_start(acts, wrong) } else { acts };
    (acts, Some(id))
}

/// Whether acts are wrong also when `all` are looked at, as far as that can be said of the few around the place where
/// `wrong` goes wrong.
pub(super) fn still_wrong(wrong: &[Arc<Act>], all: &[Arc<Act>], one_key: bool) -> Option<Vec<Arc<Act>>> {
    let until = Instant::now() + ALL;
    let is_wrong = |acts: &[Arc<Act>]| Instant::now() < until && try_orders(acts, TRY) == CheckResult::Illegal;
    let (begun, id) = shortest_beginning(wrong, is_wrong)?;
    let end = begun.iter().find(|act| act.id == id)?.returned;
    let begun = beginning(all, end);
    let few = if one_key { latest_start(begun, is_wrong) } else { begun };
    is_wrong(&few).then_some(few)
}

/// The shortest beginning that is wrong already, and the act that makes it so.
fn shortest_beginning(acts: &[Arc<Act>], wrong: impl Fn(&[Arc<Act>]) -> bool) -> Option<(Vec<Arc<Act>>, u64)> {
    let mut returns: Vec<(i64, u64)> =
        acts.iter().filter(|act| act.returned != NEVER).map(|act| (act.returned, act.id)).collect();
    returns.sort_unstable();
    let (mut right, mut known_wrong) = (0, returns.len());
    while right + 1 < known_wrong {
        let middle = usize::midpoint(right, known_wrong);
        match wrong(&beginning(acts, returns[middle - 1].0)) {
            true => known_wrong = middle,
            false => right = middle,
        }
    }
    let (end, id) = *returns.get(known_wrong.checked_sub(1)?)?;
    let start = beginning(acts, end);
    wrong(&start).then_some((start, id))
}

/// What was before a write that looks at nothing does not matter, if all that overlaps it can stand anywhere.
fn latest_start(mut acts: Vec<Arc<Act>>, wrong: impl Fn(&[Arc<Act>]) -> bool) -> Vec<Arc<Act>> {
    acts.sort_by_key(|act| act.called);
    let starts = (0..acts.len()).rev().filter_map(|at| since(&acts, &acts[at])).take(STARTS_MAX);
    let found = starts.into_iter().find(|later| wrong(later));
    found.unwrap_or(acts)
}

/// All that had been called by then; what had not returned is open.
fn beginning(acts: &[Arc<Act>], end: i64) -> Vec<Arc<Act>> {
    let begun = acts.iter().filter(|act| act.called <= end && (act.writes || act.returned <= end));
    begun.map(|act| if act.returned > end { Arc::new(act.open()) } else { Arc::clone(act) }).collect()
}

/// What is left without all that was over before `first` began, if that changes nothing.
fn since(acts: &[Arc<Act>], first: &Arc<Act>) -> Option<Vec<Arc<Act>>> {
    if !first.is_blind() || first.returned == NEVER {
        return None;
    }
    let later: Vec<Arc<Act>> = acts.iter().filter(|act| act.returned >= first.called).cloned().collect();
    later.iter().filter(|act| act.called <= first.returned).all(|act| act.never_fails()).then_some(later)
}

/// Writes the picture; `None` if it cannot be written, which is no reason to keep the violation back.
fn draw(history: &History, acts: &[Arc<Act>], folder: &Path, key: &Word) -> Option<std::path::PathBuf> {
    let named: Vec<Arc<Act>> = acts
        .iter()
        .map(|act| {
            let text = history.operations()[act.id as usize].to_string();
            Arc::new(Act { text, ..Act::clone(act) })
        })
        .collect();
    let (_, info) = porcupine_rs::check_operations_info_timeout(&operations(&named), TRY);
    let safe: String =
        key.to_string().chars().map(|char| if char.is_ascii_alphanumeric() { char } else { '_' }).collect();
    let path = folder.join(format!("linear-{safe}-{}.html", acts.first().map_or(0, |act| act.id)));
    porcupine_rs::visualize_path(&info, &path).ok()?;
    Some(path)
}
