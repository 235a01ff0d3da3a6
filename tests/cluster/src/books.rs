//! What one writer was told, and the check of that against the data.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use talon_tests_support::{Client, Value};

/// Keys asked for at once.
const PAGE: usize = 500;
/// Only so many complaints are kept: the first tell it all.
const COMPLAINTS_MAX: usize = 20;

/// What became of numbered writes of one kind, as far as the writer was told.
#[derive(Clone, Debug, Default)]
pub struct Fates {
    /// Must be there.
    pub acknowledged: Vec<u64>,
    /// Refused as not carried out: must not be there.
    pub refused: Vec<u64>,
    /// May be there.
    pub unknown: Vec<u64>,
}

impl Fates {
    fn bounds(&self) -> (u64, u64) {
        let acknowledged = self.acknowledged.len() as u64;
        (acknowledged, acknowledged + self.unknown.len() as u64)
    }
}

/// One writer's books.
#[derive(Clone, Debug, Default)]
pub struct Books {
    /// What its keys begin with.
    pub prefix: String,
    /// `SET prefix:u:n`, each key once.
    pub keys: Fates,
    /// `APPEND prefix:a n,`, each number once.
    pub markers: Fates,
    /// `INCR prefix:c`, by this writer alone.
    pub increments: Fates,
    /// `MULTI; SET prefix:p:a n; SET prefix:p:b n; INCR prefix:p:c; EXEC`.
    pub pairs: Fates,
    /// `INCR` of the counter of all writers.
    pub shared: Fates,
    /// What those answered.
    pub shared_answers: Vec<i64>,
    /// How many errors of which kind it met.
    pub errors: BTreeMap<String, u64>,
    /// What it saw that must not be.
    pub complaints: Vec<String>,
    /// The longest time without an acknowledgement.
    pub gap_max: Duration,
}

/// Figures of a check.
#[derive(Clone, Debug, Default)]
pub struct Totals {
    /// Acknowledged writes, all of them found.
    pub acknowledged: u64,
    /// Refused writes, none of them found.
    pub refused: u64,
    /// Writes of unknown fate.
    pub unknown: u64,
    /// How many of those that can be told apart were carried out.
    pub unknown_found: u64,
}

impl std::fmt::Display for Totals {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Totals { acknowledged, refused, unknown, unknown_found } = self;
        write!(
            out,
            "{acknowledged} acknowledged writes all there, {refused} refused and none there, {unknown} of unknown fate \
             (of which {unknown_found} found)"
        )
    }
}

impl std::ops::AddAssign<&Totals> for Totals {
    fn add_assign(&mut self, other: &Totals) {
        self.acknowledged += other.acknowledged;
        self.refused += other.refused;
        self.unknown += other.unknown;
        self.unknown_found += other.unknown_found;
    }
}

impl Books {
    /// Books with nothing in them.
    pub fn new(prefix: String) -> Books {
        Books { prefix, ..Books::default() }
    }

    /// Something that must not be.
    pub fn complain(&mut self, complaint: String) {
        if self.complaints.len() < COMPLAINTS_MAX {
            self.complaints.push(format!("{}: {complaint}", self.prefix));
        }
    }

    /// The value of the key with this number.
    pub fn value(&self, number: u64) -> String {
        format!("{}={number}/{}", self.prefix, "v".repeat((number % 200) as usize))
    }

    /// Compares the books with the data behind `client`, which must be the leader's.
    pub fn check(&mut self, client: &mut Client) -> Totals {
        let mut totals = Totals::default();
        for fates in [&self.keys, &self.markers, &self.increments, &self.pairs, &self.shared] {
            totals.acknowledged += fates.acknowledged.len() as u64;
            totals.refused += fates.refused.len() as u64;
            totals.unknown += fates.unknown.len() as u64;
        }
        totals.unknown_found += self.check_keys(client);
        totals.unknown_found += self.check_markers(client);
        let counter = self.number(client, "c");
        self.check_count("the counter", counter, self.increments.bounds());
        self.check_pairs(client);
        totals
    }

    fn check_keys(&mut self, client: &mut Client) -> u64 {
        let fates = self.keys.clone();
        let missing = self.find(client, &fates.acknowledged, false).1;
        if !missing.is_empty() {
            self.complain(format!("LOST {} acknowledged keys: {:?}", missing.len(), &missing[..missing.len().min(10)]));
        }
        let refused = self.find(client, &fates.refused, true).0;
        if !refused.is_empty() {
            self.complain(format!("refused writes are there: {:?}", &refused[..refused.len().min(10)]));
        }
        self.find(client, &fates.unknown, true).0.len() as u64
    }

    /// Which of the numbered keys are there, and which are not; a wrong value counts as not there and is complained of.
    fn find(&mut self, client: &mut Client, numbers: &[u64], may_miss: bool) -> (Vec<u64>, Vec<u64>) {
        let (mut found, mut missing) = (Vec::new(), Vec::new());
        for page in numbers.chunks(PAGE) {
            let keys = page.iter().map(|number| format!("{}:u:{number}", self.prefix));
            let words: Vec<String> = std::iter::once("MGET".to_owned()).chain(keys).collect();
            let Ok(Value::Array(values)) = client.call(&words) else {
                self.complain("MGET is not answered".to_owned());
                continue;
            };
            for (number, value) in page.iter().zip(values) {
                match value.text() {
                    Some(text) if text == self.value(*number) => found.push(*number),
                    None => missing.push(*number),
                    Some(text) => {
                        self.complain(format!("key {number} has the value {text} (may miss: {may_miss})"));
                        missing.push(*number);
                    }
                }
            }
        }
        (found, missing)
    }

    fn check_markers(&mut self, client: &mut Client) -> u64 {
        let text = self.text(client, "a").unwrap_or_default();
        let markers: Vec<u64> = text.split_terminator(',').filter_map(|marker| marker.parse().ok()).collect();
        let mut count: BTreeMap<u64, u64> = BTreeMap::new();
        for marker in &markers {
            *count.entry(*marker).or_default() += 1;
        }
        let twice: Vec<_> = count.iter().filter(|(_, times)| **times > 1).collect();
        if !twice.is_empty() {
            self.complain(format!("appended twice: {twice:?}"));
        }
        if !markers.is_sorted() {
            self.complain("markers were appended out of order".to_owned());
        }
        let lost: Vec<u64> =
            self.markers.acknowledged.iter().filter(|marker| !count.contains_key(marker)).copied().collect();
        if !lost.is_empty() {
            self.complain(format!("LOST {} acknowledged APPENDs: {:?}", lost.len(), &lost[..lost.len().min(10)]));
        }
        let known: BTreeSet<u64> = self.markers.acknowledged.iter().chain(&self.markers.unknown).copied().collect();
        let strangers: Vec<_> = count.keys().filter(|marker| !known.contains(marker)).collect();
        if !strangers.is_empty() {
            self.complain(format!("refused or unsent APPENDs are there: {strangers:?}"));
        }
        self.markers.unknown.iter().filter(|marker| count.contains_key(marker)).count() as u64
    }

    fn check_pairs(&mut self, client: &mut Client) {
        let (one, other) = (self.number(client, "p:a"), self.number(client, "p:b"));
        if one != other {
            self.complain(format!("half a transaction: {one:?} and {other:?}"));
        }
        let last = self.pairs.acknowledged.last().copied();
        let known = |number: &u64| self.pairs.acknowledged.contains(number) || self.pairs.unknown.contains(number);
        let number = one.map(i64::unsigned_abs);
        if number < last || number.is_some_and(|number| !known(&number)) {
            self.complain(format!("the last acknowledged transaction is {last:?}, and there is {number:?}"));
        }
        let count = self.number(client, "p:c");
        self.check_count("the counter of transactions", count, self.pairs.bounds());
    }

    /// A counter lies between what was acknowledged and that with what is unknown.
    pub fn check_count(&mut self, what: &str, value: Option<i64>, (least, most): (u64, u64)) {
        let value = value.unwrap_or(0).unsigned_abs();
        if value < least || value > most {
            self.complain(format!("{what} is {value}, which is not in {least}..={most}"));
        }
    }

    fn text(&mut self, client: &mut Client, key: &str) -> Option<String> {
        match client.call(&["GET", &format!("{}:{key}", self.prefix)]) {
            Ok(Value::Error(line)) => {
                self.complain(format!("GET {key}: {line}"));
                None
            }
            Ok(value) => value.text(),
            Err(error) => {
                self.complain(format!("GET {key}: {error}"));
                None
            }
        }
    }

    fn number(&mut self, client: &mut Client, key: &str) -> Option<i64> {
        self.text(client, key)?.parse().ok()
    }
}
