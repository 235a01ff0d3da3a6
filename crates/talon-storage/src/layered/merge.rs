//! Rows of several levels as one, in key order. Where two levels know of a row, the newer one speaks.

use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;

use bytes::Bytes;

use super::generation::Generation;
use super::ordered::Ordered;
use super::run::{Run, TOUCHED_ROWS};
use super::table::{Found, Table};
use crate::Space;

/// How many rows of an ordered space are looked at under one lock, at first and later.
const PAGE_ROWS_MIN: usize = 8;
const PAGE_ROWS_MAX: usize = 256;

/// What generations know of the rows of a range.
pub(super) struct Merge<'a> {
    /// Newest first.
    levels: Vec<Level<'a>>,
}

struct Level<'a> {
    rows: LevelRows<'a>,
    head: Option<(Bytes, Found)>,
}

enum LevelRows<'a> {
    Run { table: &'a Table, run: Arc<Run>, next: usize, touch_at: usize, end: usize, at: u64 },
    Pages(Pages<'a>),
}

struct Pages<'a> {
    rows: &'a Ordered,
    /// Where the next page begins, if there is one.
    from: Option<Bound<Bytes>>,
    until: Option<Bytes>,
    page: VecDeque<(Bytes, Found)>,
    rows_max: usize,
    at: u64,
}

impl<'a> Merge<'a> {
    /// `generations` newest first, as a view at `at` sees them.
    pub fn new(
        generations: impl Iterator<Item = &'a Arc<Generation>>,
        space: Space,
        from: &[u8],
        until: Option<&[u8]>,
        at: u64,
    ) -> Merge<'a> {
        let mut levels: Vec<Level<'a>> = Vec::new();
        let mut push = |rows: LevelRows<'a>| {
            let mut level = Level { rows, head: None };
            level.advance();
            if level.head.is_some() {
                levels.push(level);
            }
        };
        for generation in generations {
            if space == Space::Data {
                for run in generation.runs() {
                    let next = run.seek(from);
                    let end = until.map_or(run.len(), |until| run.seek(until));
                    // Who reads only a few is not served by more.
                    let touch_at = next + TOUCHED_ROWS;
                    push(LevelRows::Run { table: &generation.data, run, next, touch_at, end, at });
                }
            } else {
                push(LevelRows::Pages(Pages {
                    rows: generation.ordered(space),
                    from: Some(Bound::Included(Bytes::copy_from_slice(from))),
                    until: until.map(Bytes::copy_from_slice),
                    page: VecDeque::new(),
                    rows_max: PAGE_ROWS_MIN,
                    at,
                }));
            }
        }
        Merge { levels }
    }

    /// The key that comes next.
    pub fn peek(&self) -> Option<&Bytes> {
        self.levels.iter().filter_map(|level| level.head.as_ref()).map(|(key, _)| key).min()
    }
}

impl Iterator for Merge<'_> {
    type Item = (Bytes, Found);

    fn next(&mut self) -> Option<(Bytes, Found)> {
        let heads = self.levels.iter().enumerate().filter_map(|(place, level)| Some((place, &level.head.as_ref()?.0)));
        // The first of equal ones: the newest.
        let (newest, _) = heads.min_by(|(_, one), (_, other)| one.cmp(other))?;
        let (key, found) = self.levels[newest].advance()?;
        for level in &mut self.levels[newest + 1..] {
            if level.head.as_ref().is_some_and(|(other, _)| *other == key) {
                level.advance();
            }
        }
        Some((key, found))
    }
}

impl Level<'_> {
    /// Gives the head, and reads the next one.
    fn advance(&mut self) -> Option<(Bytes, Found)> {
        let next = match &mut self.rows {
            LevelRows::Run { table, run, next, touch_at, end, at } => loop {
                if next >= end {
                    break None;
                }
                let place = *next;
                if place == *touch_at {
                    *touch_at = place + TOUCHED_ROWS;
                    run.touch(table, place, *end);
                }
                *next += 1;
                if let Some(found) = table.get_row(run.row(place), *at) {
                    break Some((run.shared_key(place), found));
                }
            },
            LevelRows::Pages(pages) => pages.next(),
        };
        std::mem::replace(&mut self.head, next)
    }
}

impl Pages<'_> {
    fn next(&mut self) -> Option<(Bytes, Found)> {
        while self.page.is_empty() {
            let from = self.from.take()?;
            let lower = match &from {
                Bound::Included(key) => Bound::Included(&**key),
                Bound::Excluded(key) => Bound::Excluded(&**key),
                Bound::Unbounded => Bound::Unbounded,
            };
            if let (Bound::Included(from) | Bound::Excluded(from), Some(until)) = (lower, &self.until)
                && **until <= *from
            {
                return None;
            }
            let (rows, last) = self.rows.page(lower, self.until.as_deref(), self.at, self.rows_max);
            self.from = last.map(Bound::Excluded);
            self.page = rows.into();
            self.rows_max = (self.rows_max * 4).min(PAGE_ROWS_MAX);
        }
        self.page.pop_front()
    }
}
