//! Scans as streams: page by page from one point in time. The next page is read when the client has taken the one
//! before, so a scan of any length holds two pages in memory.

use std::sync::Arc;

use bytes::Bytes;
use talon_core::commands::talon::RANGE;
use talon_core::glob::Glob;
use talon_core::{Database, PointInTime, Reply, Request};
use talon_proto::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use super::door::{Door, broken_read};
use super::status::{self, Fate};

/// The pages of a scan.
pub(super) type Pages<P> = ReceiverStream<Result<P, Status>>;

/// A key and, where they were asked for, its value.
pub(super) struct Row {
    key: Bytes,
    value: Bytes,
}

/// A message that carries part of a scan.
pub(super) trait Page: Send + 'static {
    /// Whether it has values.
    const PAIRS: bool;
    /// The message.
    fn new(rows: Vec<Row>, applied_index: u64) -> Self;
}

impl Page for v1::KeysPage {
    const PAIRS: bool = false;

    fn new(rows: Vec<Row>, applied_index: u64) -> v1::KeysPage {
        v1::KeysPage { keys: rows.into_iter().map(|row| row.key).collect(), applied_index }
    }
}

impl Page for v1::PairsPage {
    const PAIRS: bool = true;

    fn new(rows: Vec<Row>, applied_index: u64) -> v1::PairsPage {
        let pairs = rows.into_iter().map(|row| v1::KeyValue { key: row.key, value: row.value }).collect();
        v1::PairsPage { pairs, applied_index }
    }
}

/// Which rows are wanted.
pub(super) struct Wanted {
    prefix: Bytes,
    pattern: Option<Glob>,
    /// How many matching rows are still to be passed over.
    offset: u64,
    /// How many are still to be answered.
    limit: u64,
}

impl Wanted {
    /// The keys that begin with `prefix`: `limit` of them (0 = all) after the first `offset`.
    pub(super) fn prefix(prefix: Bytes, offset: u64, limit: u64) -> Wanted {
        Wanted { prefix, pattern: None, offset, limit: if limit == 0 { u64::MAX } else { limit } }
    }

    /// The keys that match `pattern`.
    pub(super) fn pattern(pattern: &Bytes) -> Wanted {
        let glob = Glob::new(pattern);
        let prefix = Bytes::from(glob.literal_prefix());
        Wanted { prefix, pattern: Some(glob), offset: 0, limit: u64::MAX }
    }
}

/// Starts a scan of `view`.
pub(super) fn run<D: Database, P: Page>(
    door: &Arc<Door<D>>,
    view: Arc<dyn PointInTime>,
    wanted: Wanted,
) -> Result<Pages<P>, Status> {
    let place = Arc::clone(&door.scans)
        .try_acquire_owned()
        .map_err(|_| status::status(Code::ResourceExhausted, Fate::NotApplied, "BUSY too many scans are running"))?;
    let (pages, stream) = mpsc::channel(1);
    let door = Arc::clone(door);
    tokio::spawn(async move {
        let _place = place;
        let idle = door.settings.stream_idle();
        let mut walk = Walk { view, wanted, after: Bytes::new(), rows_max: door.settings.scan_page_rows_max.max(1) };
        loop {
            // Room first, then the page: nothing is read that nobody takes.
            let room = tokio::select! {
                room = pages.reserve() => room,
                () = tokio::time::sleep(idle) => return,
                () = door.stopping.cancelled() => {
                    let stopped = status::status(Code::Unavailable, Fate::NotApplied, "SHUTDOWN this node is going down");
                    let _ = pages.try_send(Err(stopped));
                    return;
                }
            };
            let Ok(room) = room else { return };
            let step = tokio::task::spawn_blocking(move || {
                let page = walk.page::<P>();
                (walk, page)
            });
            match step.await {
                Ok((next, Ok(Some(page)))) => {
                    walk = next;
                    room.send(Ok(page));
                }
                Ok((_, Ok(None))) => return,
                Ok((_, Err(status))) => return room.send(Err(status)),
                Err(_) => return room.send(Err(broken_read())),
            }
        }
    });
    Ok(ReceiverStream::new(stream))
}

/// Where a scan is.
struct Walk {
    view: Arc<dyn PointInTime>,
    wanted: Wanted,
    /// The last key that was read; empty = none yet.
    after: Bytes,
    rows_max: usize,
}

impl Walk {
    /// The next page that holds anything; `None` = that was all. Blocking.
    fn page<P: Page>(&mut self) -> Result<Option<P>, Status> {
        while self.wanted.limit > 0 {
            // Rows that are only passed over are read without their values. A page of one row may hold two (if the first is the
            // empty key), so a single row to pass over is read with what comes behind it.
            let passing = self.wanted.offset > 1;
            let mut rows_max = self.rows_max as u64;
            if self.wanted.pattern.is_none() {
                rows_max = rows_max.min(if passing { self.wanted.offset } else { self.wanted.limit.saturating_add(1) });
            }
            let read = self.read(rows_max, P::PAIRS && !passing)?;
            let Some(last) = read.last() else { return Ok(None) };
            self.after = last.key.clone();
            let kept = self.keep(read);
            if !kept.is_empty() {
                return Ok(Some(P::new(kept, self.view.index())));
            }
        }
        Ok(None)
    }

    fn read(&self, rows_max: u64, pairs: bool) -> Result<Vec<Row>, Status> {
        let what = if pairs { "pairs" } else { "keys" };
        let args = vec![
            self.wanted.prefix.clone(),
            self.after.clone(),
            Bytes::from(rows_max.to_string()),
            Bytes::from_static(what.as_bytes()),
        ];
        let reply = self.view.read(&Request::new(&RANGE, args)).map_err(|denied| status::from_denied(&denied))?;
        let rows = match reply {
            Reply::Array(rows) => rows.into_iter().map(row).collect::<Option<Vec<Row>>>(),
            Reply::Error(refusal) => return Err(status::from_refusal(&refusal)),
            _ => None,
        };
        rows.ok_or_else(broken_read)
    }

    fn keep(&mut self, mut rows: Vec<Row>) -> Vec<Row> {
        if let Some(pattern) = &self.wanted.pattern {
            rows.retain(|row| pattern.matches(&row.key));
        }
        let passed = self.wanted.offset.min(rows.len() as u64);
        self.wanted.offset -= passed;
        rows.drain(..passed as usize);
        rows.truncate(usize::try_from(self.wanted.limit).unwrap_or(usize::MAX));
        self.wanted.limit -= rows.len() as u64;
        rows
    }
}

/// A key, or a key and its value.
fn row(reply: Reply) -> Option<Row> {
    match reply {
        Reply::Bulk(key) => Some(Row { key, value: Bytes::new() }),
        Reply::Array(pair) => match <[Reply; 2]>::try_from(pair).ok()? {
            [Reply::Bulk(key), Reply::Bulk(value)] => Some(Row { key, value }),
            _ => None,
        },
        _ => None,
    }
}
