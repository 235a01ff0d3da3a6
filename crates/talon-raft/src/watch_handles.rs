//! What the leader watches for clients of this node: which of it is still needed, and which is to be released there.

use std::collections::BTreeSet;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use talon_core::{Releaser, RemoteWatch, WatchId};
use tokio::sync::Notify;

/// How many released watches wait to be told to the leader. What is more is not told: there, it ends by itself.
const RELEASED_MAX: usize = 10_000;

/// All of them. There are no more than the sessions hold.
#[derive(Debug, Default)]
pub(crate) struct WatchHandles {
    table: Mutex<Table>,
    /// Something was released.
    pub released: Notify,
}

#[derive(Debug, Default)]
struct Table {
    held: BTreeSet<WatchId>,
    released: Vec<WatchId>,
}

impl WatchHandles {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The leader watches these keys under this name.
    pub fn hold(self: &Arc<WatchHandles>, id: WatchId, keys: &[Bytes]) -> RemoteWatch {
        self.table().held.insert(id);
        RemoteWatch::new(id, keys, self.clone())
    }

    /// The leader has these no more.
    pub fn forget(&self, watches: Vec<RemoteWatch>) {
        let mut table = self.table();
        for watch in watches {
            table.held.remove(&watch.id());
            watch.forget();
        }
    }

    /// The numbers of what was released since this was last asked, and of what is held, if a node keeps it. What another one was to keep
    /// has ended with its term.
    pub fn take_news(&self, node_id: Option<u64>) -> (Vec<u64>, Vec<u64>) {
        let of_node = |id: &&WatchId| Some(id.node_id) == node_id;
        let mut table = self.table();
        let released = mem::take(&mut table.released);
        let held = table.held.iter().filter(of_node).map(|id| id.number).collect();
        (released.iter().filter(of_node).map(|id| id.number).collect(), held)
    }
}

impl Releaser for WatchHandles {
    fn release(&self, id: WatchId) {
        let mut table = self.table();
        table.held.remove(&id);
        if table.released.len() < RELEASED_MAX {
            table.released.push(id);
        }
        drop(table);
        self.released.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(node_id: u64, number: u64) -> WatchId {
        WatchId { node_id, term: 1, number }
    }

    #[test]
    fn what_is_dropped_is_released_once_and_what_is_gone_is_not() {
        let handles = Arc::new(WatchHandles::default());
        let [kept, dropped, gone, other] = [id(1, 1), id(1, 2), id(1, 3), id(2, 4)].map(|id| handles.hold(id, &[]));
        assert_eq!(handles.take_news(Some(1)), (vec![], vec![1, 2, 3]));
        drop((dropped, other));
        handles.forget(vec![gone]);
        assert_eq!(handles.take_news(Some(1)), (vec![2], vec![1]));
        assert_eq!(handles.take_news(Some(1)), (vec![], vec![1]));
        drop(kept);
        assert_eq!(handles.take_news(None), (vec![], vec![]), "nobody to tell");
    }

    #[test]
    fn what_waits_to_be_told_is_bounded() {
        let handles = Arc::new(WatchHandles::default());
        (0..=RELEASED_MAX as u64).for_each(|number| drop(handles.hold(id(1, number), &[])));
        let (released, held) = handles.take_news(Some(1));
        assert_eq!((released.len(), held.len()), (RELEASED_MAX, 0));
    }
}
