//! Random sequences of commands.
//!
//! The two servers are not asked at the same moment, so a sequence must not depend on when exactly it is carried out:
//! - A time to live is more than a quarter of an hour, and no two of a sequence are less than `TIME_STEP_S` apart, so
//!   that GT and LT judge alike; or it is refused or long past. Absolute times are decades away, or long past.
//! - A short time to live is waited for before the next command.

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::Step;
use crate::arguments::{
    bad_time, bit_offset, field_number, field_offset, field_type, float, integer, junk, key, offset, pattern, place,
    value,
};
use crate::random::Random;

/// The shortest time to live, in seconds.
const TIME_MIN_S: usize = 1_000;
/// Times to live are multiples of this, in seconds.
const TIME_STEP_S: usize = 50;
/// A short time to live, in ms, and how long is waited for its end.
const SHORT_TIME_MS: &str = "8";
const SHORT_WAIT_MS: u64 = 30;

/// What a command is made of, behind its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Key,
    /// One to four keys.
    Keys,
    /// One to four keys, each with a value.
    Pairs,
    Value,
    Integer,
    Place,
    Offset,
    Float,
    Pattern,
    /// From now, in seconds and ms.
    Seconds,
    Millis,
    /// Since the epoch, in seconds and ms.
    UnixSeconds,
    UnixMillis,
    /// The number of a bit, and its value.
    BitOffset,
    Bit,
    /// BIT or BYTE, or nothing.
    Unit,
    /// The steps of a BITFIELD; only reading ones.
    Fields,
    ReadFields,
    /// Options of SET, GETEX, the EXPIRE family, COPY, LCS, SCAN and FLUSHALL.
    SetOptions,
    GetexOptions,
    ExpireOptions,
    CopyOptions,
    LcsOptions,
    ScanOptions,
    FlushOptions,
    /// Another command as arguments.
    Command,
    Word(&'static str),
}

use Part::*;

/// Every shared command, once for each form.
const FORMS: &[(&str, &[Part])] = &[
    ("SET", &[Key, Value]),
    ("SET", &[Key, Value, SetOptions]),
    ("SET", &[Key, Value, SetOptions]),
    ("GET", &[Key]),
    ("DEL", &[Keys]),
    ("UNLINK", &[Keys]),
    ("EXISTS", &[Keys]),
    ("TOUCH", &[Keys]),
    ("MSET", &[Pairs]),
    ("MSETNX", &[Pairs]),
    ("MGET", &[Keys]),
    ("SETNX", &[Key, Value]),
    ("SETEX", &[Key, Seconds, Value]),
    ("PSETEX", &[Key, Millis, Value]),
    ("GETSET", &[Key, Value]),
    ("GETDEL", &[Key]),
    ("GETEX", &[Key, GetexOptions]),
    ("GETEX", &[Key]),
    ("APPEND", &[Key, Value]),
    ("STRLEN", &[Key]),
    ("GETRANGE", &[Key, Place, Place]),
    ("SUBSTR", &[Key, Place, Place]),
    ("SETRANGE", &[Key, Offset, Value]),
    ("INCR", &[Key]),
    ("DECR", &[Key]),
    ("INCRBY", &[Key, Integer]),
    ("DECRBY", &[Key, Integer]),
    ("INCRBYFLOAT", &[Key, Float]),
    ("LCS", &[Key, Key, LcsOptions]),
    ("SETBIT", &[Key, BitOffset, Bit]),
    ("SETBIT", &[Key, BitOffset, Bit]),
    ("GETBIT", &[Key, BitOffset]),
    ("BITCOUNT", &[Key]),
    ("BITCOUNT", &[Key, Place, Place, Unit]),
    ("BITPOS", &[Key, Bit]),
    ("BITPOS", &[Key, Bit, Place]),
    ("BITPOS", &[Key, Bit, Place, Place, Unit]),
    ("BITOP", &[Word("AND"), Key, Keys]),
    ("BITOP", &[Word("OR"), Key, Keys]),
    ("BITOP", &[Word("XOR"), Key, Keys]),
    ("BITOP", &[Word("NOT"), Key, Key]),
    ("BITFIELD", &[Key, Fields]),
    ("BITFIELD", &[Key, Fields]),
    ("BITFIELD_RO", &[Key, ReadFields]),
    ("EXPIRE", &[Key, Seconds, ExpireOptions]),
    ("PEXPIRE", &[Key, Millis, ExpireOptions]),
    ("EXPIREAT", &[Key, UnixSeconds, ExpireOptions]),
    ("PEXPIREAT", &[Key, UnixMillis, ExpireOptions]),
    ("TTL", &[Key]),
    ("PTTL", &[Key]),
    ("EXPIRETIME", &[Key]),
    ("PEXPIRETIME", &[Key]),
    ("PERSIST", &[Key]),
    ("RENAME", &[Key, Key]),
    ("RENAMENX", &[Key, Key]),
    ("COPY", &[Key, Key, CopyOptions]),
    ("TYPE", &[Key]),
    ("RANDOMKEY", &[]),
    ("KEYS", &[Pattern]),
    ("SCAN", &[Word("0"), ScanOptions, Word("COUNT"), Word("1000")]),
    ("OBJECT", &[Word("ENCODING"), Key]),
    ("OBJECT", &[Word("REFCOUNT"), Key]),
    ("OBJECT", &[Word("IDLETIME"), Key]),
    ("OBJECT", &[Word("FREQ"), Key]),
    ("MEMORY", &[Word("USAGE"), Key]),
    ("MEMORY", &[Word("USAGE"), Key, Word("SAMPLES"), Integer]),
    ("DBSIZE", &[]),
    ("PING", &[]),
    ("PING", &[Value]),
    ("ECHO", &[Value]),
];

/// Those that come less often: they empty everything, or belong to the connection.
const RARE_FORMS: &[(&str, &[Part])] = &[
    ("FLUSHALL", &[FlushOptions]),
    ("FLUSHDB", &[FlushOptions]),
    ("SELECT", &[Integer]),
    ("MOVE", &[Key, Integer]),
    ("SWAPDB", &[Word("0"), Word("0")]),
    ("SWAPDB", &[Integer, Integer]),
    ("OBJECT", &[Word("nosuch"), Key]),
    ("OBJECT", &[Word("HELP")]),
    ("MEMORY", &[Word("HELP")]),
    ("HELLO", &[Word("2")]),
    ("HELLO", &[Word("3")]),
    ("HELLO", &[Integer]),
    ("CLIENT", &[Word("GETNAME")]),
    ("CLIENT", &[Word("SETNAME"), Value]),
    ("CLIENT", &[Word("nosuch"), Value]),
    ("CLIENT", &[Word("NO-EVICT"), Word("on")]),
    ("COMMAND", &[Word("GETKEYS"), Command]),
    ("AUTH", &[Value]),
    ("AUTH", &[Value, Value]),
    ("MULTI", &[]),
    ("EXEC", &[]),
    ("DISCARD", &[]),
    ("WATCH", &[Keys]),
    ("WATCH", &[Keys]),
    ("UNWATCH", &[]),
    ("PUBLISH", &[Key, Value]),
    ("RESET", &[]),
    ("nosuch", &[Key, Value]),
    ("", &[Key]),
    ("GE\r\nT", &[Key]),
    (
        "\u{fc}ber-long-name-of-a-command-that-nobody-knows-and-that-goes-on-and-on-and-on-and-on-and-on-and-on-and-on-\
      and-on-beyond-a-hundred-and-twenty-eight-bytes",
        &[Key, Value, Value],
    ),
];

/// The names of the commands that sequences are mostly made of.
pub fn names() -> BTreeSet<String> {
    FORMS.iter().map(|(name, _)| name.to_ascii_lowercase()).collect()
}

/// A sequence in the making.
struct Sequence {
    random: Random,
    steps: Vec<Step>,
    /// The times to live that were used.
    times_s: BTreeSet<usize>,
}

/// About so many commands from a seed.
pub fn sequence(seed: u64, commands: usize) -> Vec<Step> {
    let mut sequence = Sequence { random: Random::new(seed), steps: Vec::new(), times_s: BTreeSet::new() };
    // How many in a hundred are sent together with the next one.
    let joined = sequence.random.pick(&[0, 60, 95]);
    while sequence.steps.len() < commands {
        sequence.add();
        if let Some(last) = sequence.steps.last_mut() {
            last.joined = last.wait_ms == 0 && sequence.random.percent(joined);
            last.inline = sequence.random.percent(4) && last.words.iter().map(Bytes::len).sum::<usize>() < 4096;
        }
    }
    let mut steps = sequence.steps;
    for place in 0..steps.len() {
        // What sees ended keys goes alone, for the judge is prepared for it; and nothing comes before a wait but its own command.
        let alone = |step: &Step| step.wait_ms > 0 || step.sees_ended_keys();
        let next_alone = steps.get(place + 1).is_none_or(alone);
        if next_alone || alone(&steps[place]) {
            steps[place].joined = false;
        }
    }
    steps
}

impl Sequence {
    fn add(&mut self) {
        match self.random.below(100) {
            0..=1 => {
                self.steps.push(Step::new(vec![Bytes::from("MULTI")]));
                for _ in 0..self.random.below(8) {
                    let words = self.command(3);
                    self.steps.push(Step::new(words));
                }
                let end = self.random.pick(&["EXEC", "EXEC", "exec", "EXEC", "DISCARD", "RESET"]);
                self.steps.push(Step::new(vec![Bytes::from(end)]));
            }
            2 => self.short_time(),
            3..=6 => {
                let words = self.form(RARE_FORMS, 10);
                self.steps.push(Step::new(words));
            }
            _ => {
                let words = self.command(15);
                self.steps.push(Step::new(words));
            }
        }
    }

    fn command(&mut self, broken_percent: usize) -> Vec<Bytes> {
        self.form(FORMS, broken_percent)
    }

    /// Gives a key a short time to live, and waits until it has ended.
    fn short_time(&mut self) {
        let short = Bytes::from(SHORT_TIME_MS);
        let key = key(&mut self.random);
        let word = Bytes::from_static;
        let words = match self.random.below(4) {
            0 => vec![word(b"SET"), key, value(&mut self.random), word(b"PX"), short],
            1 => vec![word(b"PSETEX"), key, short, value(&mut self.random)],
            2 => vec![word(b"GETEX"), key, word(b"PX"), short],
            _ => vec![word(b"PEXPIRE"), key, short],
        };
        self.steps.push(Step { wait_ms: SHORT_WAIT_MS, ..Step::new(words) });
    }

    fn form(&mut self, forms: &'static [(&'static str, &'static [Part])], broken_percent: usize) -> Vec<Bytes> {
        let (name, parts) = self.random.pick(forms);
        let mut words = vec![self.in_any_case(name)];
        for part in parts {
            self.fill(*part, &mut words);
        }
        if self.random.percent(broken_percent) {
            self.break_one(&mut words);
        }
        words
    }

    /// Leaves a word out, doubles one, adds one, or puts junk in its place.
    fn break_one(&mut self, words: &mut Vec<Bytes>) {
        let place = self.random.below(words.len());
        // SCAN keeps its cursor and its count: what one page holds is each server's own matter.
        let ways = if words[0].eq_ignore_ascii_case(b"SCAN") { 1 } else { 5 };
        match self.random.below(ways) + 5 - ways {
            // Only the last one where a value that moves up could become a time to live.
            0 if words.len() > 1 => {
                let place = if is_time(&words[0]) { words.len() - 1 } else { place.max(1) };
                words.remove(place);
            }
            1 => words.insert(place.max(1).min(words.len()), junk(&mut self.random)),
            2 if place > 0 => words[place] = junk(&mut self.random),
            3 if place > 0 && !is_time(&words[0]) => words[place] = integer(&mut self.random),
            _ => words.push(junk(&mut self.random)),
        }
    }

    fn in_any_case(&mut self, word: &str) -> Bytes {
        match self.random.below(4) {
            0 => Bytes::from(word.to_ascii_lowercase()),
            1 => {
                let flip = |byte: u8| if self.random.percent(50) { byte.to_ascii_lowercase() } else { byte };
                word.bytes().map(flip).collect()
            }
            _ => Bytes::from(word.to_owned()),
        }
    }

    fn word(&mut self, word: &'static str, words: &mut Vec<Bytes>) {
        let word = self.in_any_case(word);
        words.push(word);
    }

    fn fill(&mut self, part: Part, words: &mut Vec<Bytes>) {
        let random = &mut self.random;
        match part {
            Key => words.push(key(random)),
            Keys => (0..=random.below(4)).for_each(|_| words.push(key(random))),
            Pairs => (0..=random.below(4)).for_each(|_| words.extend([key(random), value(random)])),
            Value => words.push(value(random)),
            Integer => words.push(integer(random)),
            Place => words.push(place(random)),
            Offset => words.push(offset(random)),
            BitOffset => words.push(bit_offset(random)),
            Bit => words.push(if random.percent(90) { random.pick(&["0", "1"]).into() } else { integer(random) }),
            Unit => match random.below(8) {
                0..=2 => {}
                3..=6 => self.word("BIT", words),
                _ => self.word("BYTE", words),
            },
            ReadFields => (0..=random.below(4)).for_each(|_| self.field("GET", words)),
            Fields => {
                for _ in 0..=random.below(5) {
                    match self.random.below(8) {
                        0 | 1 => self.field("GET", words),
                        2..=4 => {
                            self.field("SET", words);
                            words.push(field_number(&mut self.random));
                        }
                        5 | 6 => {
                            self.field("INCRBY", words);
                            words.push(field_number(&mut self.random));
                        }
                        _ => {
                            self.word("OVERFLOW", words);
                            let how = self.random.pick(&["WRAP", "SAT", "SAT", "FAIL"]);
                            self.word(how, words);
                        }
                    }
                }
            }
            Float => words.push(float(random)),
            Pattern => words.push(pattern(random)),
            Seconds => {
                let time =
                    self.time_s().map_or_else(|| bad_time(&mut self.random), |time| Bytes::from(time.to_string()));
                words.push(time);
            }
            Millis => {
                let time = self.time_s().map(|time| Bytes::from((time * 1000 + 7).to_string()));
                words.push(time.unwrap_or_else(|| bad_time(&mut self.random)));
            }
            UnixSeconds => words.push(match random.below(6) {
                0 => bad_time(random),
                1 => Bytes::from_static(b"1000000000"),
                _ => Bytes::from((5_000_000_000 + random.below(50) * 1000).to_string()),
            }),
            UnixMillis => words.push(match random.below(6) {
                0 => bad_time(random),
                1 => Bytes::from_static(b"1000000000123"),
                _ => Bytes::from((5_000_000_000_123 + random.below(50) * 1_000_000).to_string()),
            }),
            SetOptions => {
                for _ in 0..=random.below(3) {
                    match self.random.below(9) {
                        0 => self.word("NX", words),
                        1 => self.word("XX", words),
                        2 | 3 => self.word("GET", words),
                        4 => self.word("KEEPTTL", words),
                        _ => self.end_option(words),
                    }
                }
            }
            GetexOptions => {
                for _ in 0..=random.below(10) / 8 {
                    match self.random.below(4) {
                        0 => self.word("PERSIST", words),
                        _ => self.end_option(words),
                    }
                }
            }
            ExpireOptions => {
                for _ in 0..(random.below(6) / 2) {
                    let option = self.random.pick(&["NX", "XX", "GT", "LT"]);
                    self.word(option, words);
                }
            }
            CopyOptions => match random.below(8) {
                0..=2 => {}
                3..=5 => self.word("REPLACE", words),
                6 => {
                    self.word("DB", words);
                    words.push(Bytes::from_static(b"0"));
                }
                _ => {
                    self.word("DB", words);
                    words.push(integer(&mut self.random));
                    self.word("REPLACE", words);
                }
            },
            LcsOptions => {
                for _ in 0..random.below(4) {
                    match self.random.below(6) {
                        0 => self.word("LEN", words),
                        1 | 2 => self.word("IDX", words),
                        3 | 4 => self.word("WITHMATCHLEN", words),
                        _ => {
                            self.word("MINMATCHLEN", words);
                            words.push(integer(&mut self.random));
                        }
                    }
                }
            }
            ScanOptions => {
                if random.percent(50) {
                    self.word("MATCH", words);
                    words.push(pattern(&mut self.random));
                }
                if self.random.percent(20) {
                    self.word("TYPE", words);
                    let kind = self.random.pick(&["string", "STRING", "list", "hash", "zset"]);
                    words.push(Bytes::from(kind));
                }
            }
            FlushOptions => match random.below(6) {
                0 => self.word("ASYNC", words),
                1 => self.word("SYNC", words),
                _ => {}
            },
            Command => {
                let inner = self.command(20);
                words.extend(inner);
            }
            Word(word) => self.word(word, words),
        }
    }

    /// A step of a BITFIELD, up to its offset.
    fn field(&mut self, step: &'static str, words: &mut Vec<Bytes>) {
        self.word(step, words);
        words.push(field_type(&mut self.random));
        words.push(field_offset(&mut self.random));
    }

    /// One of EX, PX, EXAT and PXAT with its time.
    fn end_option(&mut self, words: &mut Vec<Bytes>) {
        let (name, part) =
            self.random.pick(&[("EX", Seconds), ("PX", Millis), ("EXAT", UnixSeconds), ("PXAT", UnixMillis)]);
        self.word(name, words);
        self.fill(part, words);
    }

    /// A time to live that was not used yet; sometimes none.
    fn time_s(&mut self) -> Option<usize> {
        if self.random.percent(20) {
            return None;
        }
        let time_s = TIME_MIN_S + TIME_STEP_S * self.random.below(2_000_000);
        self.times_s.insert(time_s).then_some(time_s)
    }
}

/// Whether a word of this command may be a time to live, so that no small number may come there by chance.
fn is_time(name: &[u8]) -> bool {
    let name = name.to_ascii_lowercase();
    [&b"set"[..], b"setex", b"psetex", b"getex", b"expire", b"pexpire"].contains(&&name[..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sequence_depends_on_its_seed_alone() {
        assert_eq!(sequence(3, 500), sequence(3, 500));
        assert_ne!(sequence(3, 500), sequence(4, 500));
    }

    #[test]
    fn no_short_time_goes_by_unwaited() {
        for seed in 0..20 {
            for step in sequence(seed, 2_000).iter().filter(|step| step.wait_ms == 0) {
                if !is_time(&step.words[0]) {
                    continue;
                }
                let is_named = |name: &Bytes| name.eq_ignore_ascii_case(b"EX") || name.eq_ignore_ascii_case(b"PX");
                let named = step.words.windows(2).filter(|pair| is_named(&pair[0])).map(|pair| &pair[1]);
                let placed = step.words.get(2).filter(|_| !step.words[0].eq_ignore_ascii_case(b"SET"));
                for time in named.chain(placed) {
                    let time: Option<i64> = std::str::from_utf8(time).ok().and_then(|time| time.parse().ok());
                    assert!(time.is_none_or(|time| !(1..TIME_MIN_S as i64).contains(&time)), "{step:?}");
                }
            }
        }
    }
}
