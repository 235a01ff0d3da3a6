//! The keys of one slot. Keys are not kept by slot, so all of them are looked at, page by page, at one point in time.

use std::ops::ControlFlow;

use bytes::Bytes;
use talon_core::commands::talon::RANGE;
use talon_core::limits::SCAN_KEYS_MAX;
use talon_core::{Call, Consistency, Database, Denied, Outcome, Reply, Request};

use super::slot::key_slot;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotKeys {
    pub slot: u16,
    /// So many keys; `None` = only how many there are.
    pub keys_max: Option<usize>,
}

impl SlotKeys {
    pub async fn carry_out<D: Database>(self, database: &D, consistency: Consistency) -> Outcome {
        let view = database.point_in_time(consistency).await?;
        let (mut keys, mut count) = (Vec::new(), 0);
        let mut after = Bytes::new();
        loop {
            let page = Request::new(
                &RANGE,
                vec![Bytes::new(), after, Bytes::from(SCAN_KEYS_MAX.to_string()), Bytes::from_static(b"keys")],
            );
            let mut outcomes = database.read_at(view.clone(), vec![Call::One(page)]).await;
            let page = outcomes.pop().unwrap_or(Err(Denied::NoLeader))?;
            let Reply::Array(page) = page else { return Ok(page) };
            match page.last() {
                Some(Reply::Bulk(last)) => after = last.clone(),
                _ => break,
            }
            let full = page.into_iter().try_for_each(|key| match key {
                Reply::Bulk(key) if key_slot(&key) == self.slot => {
                    if self.keys_max == Some(keys.len()) {
                        return ControlFlow::Break(());
                    }
                    count += 1;
                    if self.keys_max.is_some() {
                        keys.push(Reply::Bulk(key));
                    }
                    ControlFlow::Continue(())
                }
                _ => ControlFlow::Continue(()),
            });
            if full.is_break() {
                break;
            }
        }
        Ok(if self.keys_max.is_some() { Reply::Array(keys) } else { Reply::Integer(count) })
    }
}
