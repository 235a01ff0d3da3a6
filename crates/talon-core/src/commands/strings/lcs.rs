//! `LCS key1 key2 [LEN] [IDX] [MINMATCHLEN length] [WITHMATCHLEN]`

use bytes::Bytes;

use crate::command::{Command, Facts, Flag, Group, KeySpec, Kind};
use crate::error::{Error, Refusal, SYNTAX};
use crate::limits::VALUE_BYTES_MAX;
use crate::numbers::integer;
use crate::reply::Reply;
use crate::transaction::Transaction;

/// The row.
pub static LCS: Command = Command {
    id: 22,
    kind: Kind::Read,
    facts: Facts {
        name: "lcs",
        arity: -3,
        flags: &[Flag::Readonly],
        keys: KeySpec::FIRST_TWO,
        group: Group::String,
        summary: "Returns the longest sequence of bytes that two values have in common, in this order.",
        since: "7.0.0",
        complexity: "O(N*M) where N and M are the lengths of the two values.",
    },
    execute,
};

fn execute(transaction: &mut Transaction<'_>, args: &[Bytes]) -> Result<Reply, Error> {
    let options = Options::parse(&args[2..])?;
    let a = transaction.get(&args[0])?.map(|record| record.value).unwrap_or_default();
    let b = transaction.get(&args[1])?.map(|record| record.value).unwrap_or_default();
    let table = Table::fill(&a, &b)?;
    if options.index {
        let matches = table.walk_back().0;
        let matches = matches.into_iter().filter(|found| found.length >= options.length_min);
        return Ok(Reply::Map(vec![
            (Reply::bulk("matches"), Reply::Array(matches.map(|found| found.reply(options.with_lengths)).collect())),
            (Reply::bulk("len"), Reply::Integer(i64::from(table.length()))),
        ]));
    }
    if options.length {
        return Ok(Reply::Integer(i64::from(table.length())));
    }
    Ok(Reply::Bulk(Bytes::from(table.walk_back().1)))
}

#[derive(Default)]
struct Options {
    length: bool,
    index: bool,
    length_min: i64,
    with_lengths: bool,
}

impl Options {
    fn parse(mut args: &[Bytes]) -> Result<Options, Refusal> {
        let mut options = Options::default();
        while let [option, rest @ ..] = args {
            args = rest;
            if option.eq_ignore_ascii_case(b"IDX") {
                options.index = true;
            } else if option.eq_ignore_ascii_case(b"LEN") {
                options.length = true;
            } else if option.eq_ignore_ascii_case(b"WITHMATCHLEN") {
                options.with_lengths = true;
            } else if option.eq_ignore_ascii_case(b"MINMATCHLEN")
                && let [length, rest @ ..] = rest
            {
                options.length_min = integer(length)?;
                args = rest;
            } else {
                return Err(SYNTAX);
            }
        }
        if options.index && options.length {
            return Err(Refusal::new("ERR If you want both the length and indexes, please just use IDX."));
        }
        Ok(options)
    }
}

/// A run of bytes that both values have: where it begins in each, and its length.
struct Match {
    a: usize,
    b: usize,
    length: i64,
}

impl Match {
    fn reply(&self, with_length: bool) -> Reply {
        let range = |start: usize| {
            Reply::Array(vec![Reply::Integer(start as i64), Reply::Integer(start as i64 + self.length - 1)])
        };
        let mut parts = vec![range(self.a), range(self.b)];
        parts.extend(with_length.then_some(Reply::Integer(self.length)));
        Reply::Array(parts)
    }
}

/// For each pair of beginnings of the two values, the length of what they have in common.
struct Table<'a> {
    a: &'a [u8],
    b: &'a [u8],
    lengths: Vec<u32>,
}

impl<'a> Table<'a> {
    /// Refuses, in Redis's words, when the table would take more memory than the largest value.
    fn fill(a: &'a [u8], b: &'a [u8]) -> Result<Table<'a>, Refusal> {
        let cells = (a.len() + 1) * (b.len() + 1);
        if cells * size_of::<u32>() > VALUE_BYTES_MAX {
            return Err(Refusal::new("ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len"));
        }
        let mut table = Table { a, b, lengths: vec![0; cells] };
        for (i, byte) in a.iter().enumerate() {
            for (j, other) in b.iter().enumerate() {
                let length =
                    if byte == other { table.at(i, j) + 1 } else { table.at(i, j + 1).max(table.at(i + 1, j)) };
                let cell = table.cell(i + 1, j + 1);
                table.lengths[cell] = length;
            }
        }
        Ok(table)
    }

    fn cell(&self, i: usize, j: usize) -> usize {
        i * (self.b.len() + 1) + j
    }

    fn at(&self, i: usize, j: usize) -> u32 {
        self.lengths[self.cell(i, j)]
    }

    fn length(&self) -> u32 {
        self.lengths.last().copied().unwrap_or(0)
    }

    /// The matching runs, last first, and the common bytes. Of several answers, the one that Redis picks: where both ways
    /// are equally good, the second value is shortened.
    fn walk_back(&self) -> (Vec<Match>, Vec<u8>) {
        let (mut matches, mut common) = (Vec::new(), Vec::new());
        let (mut i, mut j) = (self.a.len(), self.b.len());
        while i > 0 && j > 0 {
            let end = i;
            while i > 0 && j > 0 && self.a[i - 1] == self.b[j - 1] {
                (i, j) = (i - 1, j - 1);
                common.push(self.a[i]);
            }
            if i < end {
                matches.push(Match { a: i, b: j, length: (end - i) as i64 });
            } else if self.at(i - 1, j) > self.at(i, j - 1) {
                i -= 1;
            } else {
                j -= 1;
            }
        }
        common.reverse();
        (matches, common)
    }
}
