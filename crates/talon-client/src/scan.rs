//! Scans: streams of keys or pairs, page by page from one moment, at the pace of whoever reads them.

use std::time::Duration;

use bytes::Bytes;
use talon_proto::v1;
use tonic::Streaming;

use crate::client::{Client, Kind};
use crate::error::{Error, Verdict, judge};

/// A key and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The key.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
}

/// The pages of a scan as they come.
struct Pages<P> {
    stream: Streaming<P>,
    /// How long the node may take for one page.
    page_time: Duration,
}

impl<P> Pages<P> {
    async fn next(&mut self) -> Result<Option<P>, Error> {
        match tokio::time::timeout(self.page_time, self.stream.message()).await {
            Ok(Ok(page)) => Ok(page),
            // A scan is of one moment on one node, so it cannot go on elsewhere.
            Ok(Err(status)) => Err(match judge(&status) {
                Verdict::Tell(error) => error,
                Verdict::Redirect(text) | Verdict::TryElsewhere(text) | Verdict::Unknown(text) => {
                    Error::Unavailable(text)
                }
            }),
            Err(_) => Err(Error::Unavailable("the next page of a scan did not come in time".to_owned())),
        }
    }
}

/// Keys in order, as of one moment. It ends with an error if its node goes down; begin again then.
pub struct KeyScan {
    pages: Pages<v1::KeysPage>,
    page: std::vec::IntoIter<Bytes>,
    applied_index: Option<u64>,
}

/// Keys and values in order of the keys, as of one moment. It ends with an error if its node goes down; begin again then.
pub struct PairScan {
    pages: Pages<v1::PairsPage>,
    page: std::vec::IntoIter<v1::KeyValue>,
    applied_index: Option<u64>,
}

impl KeyScan {
    fn new(stream: Streaming<v1::KeysPage>, page_time: Duration) -> KeyScan {
        KeyScan { pages: Pages { stream, page_time }, page: Vec::new().into_iter(), applied_index: None }
    }

    /// The next key; `None` = that was all.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            if let Some(key) = self.page.next() {
                return Ok(Some(key));
            }
            let Some(page) = self.pages.next().await? else { return Ok(None) };
            self.applied_index = Some(page.applied_index);
            self.page = page.keys.into_iter();
        }
    }

    /// All that are left, in memory.
    pub async fn collect(mut self) -> Result<Vec<Bytes>, Error> {
        let mut keys = Vec::new();
        while let Some(key) = self.next().await? {
            keys.push(key);
        }
        Ok(keys)
    }

    /// The log position the scan stands at, once it has answered anything.
    pub fn applied_index(&self) -> Option<u64> {
        self.applied_index
    }
}

impl PairScan {
    pub(crate) fn new(stream: Streaming<v1::PairsPage>, page_time: Duration) -> PairScan {
        PairScan { pages: Pages { stream, page_time }, page: Vec::new().into_iter(), applied_index: None }
    }

    /// The next pair; `None` = that was all.
    pub async fn next(&mut self) -> Result<Option<Pair>, Error> {
        loop {
            if let Some(v1::KeyValue { key, value }) = self.page.next() {
                return Ok(Some(Pair { key, value }));
            }
            let Some(page) = self.pages.next().await? else { return Ok(None) };
            self.applied_index = Some(page.applied_index);
            self.page = page.pairs.into_iter();
        }
    }

    /// All that are left, in memory.
    pub async fn collect(mut self) -> Result<Vec<Pair>, Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = self.next().await? {
            pairs.push(pair);
        }
        Ok(pairs)
    }

    /// The log position the scan stands at, once it has answered anything.
    pub fn applied_index(&self) -> Option<u64> {
        self.applied_index
    }
}

/// Begins a scan: `stream!(self, keys_prefix, message)`.
macro_rules! stream {
    ($client:expr, $method:ident, $message:expr) => {
        $client
            .inner
            .call(Kind::Read, $message, |mut kv, request| async move { kv.$method(request).await })
            .await
            .map(|(stream, _node)| stream)
    };
}

/// Scans, answered by the node that the [`crate::ReadPreference`] chooses.
impl Client {
    fn scan_request(&self, prefix: impl AsRef<[u8]>, offset: u64, limit: u64) -> v1::ScanRequest {
        let prefix = Bytes::copy_from_slice(prefix.as_ref());
        let (consistency, max_staleness_ms) = self.inner.consistency();
        v1::ScanRequest { prefix, offset, limit, consistency, max_staleness_ms }
    }

    /// Keys that begin with a prefix: `limit` of them (0 = all) after the first `offset`.
    pub async fn keys_prefix(&self, prefix: impl AsRef<[u8]>, offset: u64, limit: u64) -> Result<KeyScan, Error> {
        let stream = stream!(self, keys_prefix_limit, self.scan_request(prefix, offset, limit))?;
        Ok(KeyScan::new(stream, self.inner.options.deadline))
    }

    /// Keys that match a pattern (`*`, `?`, `[..]`, `\`).
    pub async fn keys_match(&self, pattern: impl AsRef<[u8]>) -> Result<KeyScan, Error> {
        let pattern = Bytes::copy_from_slice(pattern.as_ref());
        let (consistency, max_staleness_ms) = self.inner.consistency();
        let message = v1::KeysMatchRequest { pattern, consistency, max_staleness_ms };
        let stream = stream!(self, keys_match, message)?;
        Ok(KeyScan::new(stream, self.inner.options.deadline))
    }

    /// Keys and values whose keys begin with a prefix: `limit` of them (0 = all) after the first `offset`.
    pub async fn scan_prefix(&self, prefix: impl AsRef<[u8]>, offset: u64, limit: u64) -> Result<PairScan, Error> {
        let stream = stream!(self, scan_prefix_limit, self.scan_request(prefix, offset, limit))?;
        Ok(PairScan::new(stream, self.inner.options.deadline))
    }
}
