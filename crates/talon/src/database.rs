//! The embedded database as the front doors see it: a node of its own, which always leads.

use std::future::poll_fn;
use std::sync::{Arc, Weak};
use std::task::Poll;

use bytes::Bytes;
use talon_core::{
    Call, Consistency, Database, Denied, Fault, Listener, Member, MemberRole, Outcome, PointInTime, Reply, Request,
    Role, Source, Status, Watch,
};

use crate::committer::TERM;
use crate::embedded::Talon;

/// The number of the only node there is.
const NODE_ID: u64 = 1;

impl Talon {
    async fn carry_out(&self, calls: Vec<Call>, watches: Vec<Watch>) -> Result<Vec<Reply>, Denied> {
        let denied = |fault: Fault| Denied::Fault(fault.0);
        if !watches.is_empty() || calls.iter().any(Call::is_write) {
            match self.inner.hand_over(calls, watches).map_err(denied)? {
                Some(pending) => pending.await.map_err(denied),
                None => Err(Denied::Busy),
            }
        } else {
            self.inner.read(&calls).map_err(denied)
        }
    }
}

/// Every consistency is the same here: there is one node, and it is always up to date. Reads that go to the disk block the caller's
/// thread; writes do not.
impl Database for Talon {
    async fn execute(&self, calls: Vec<Call>, _consistency: Consistency) -> Vec<Outcome> {
        let bytes_max = self.inner.request_bytes_max;
        let count = calls.len();
        let mut denials: Vec<Option<Denied>> = calls.iter().map(|call| call.check_size(bytes_max).err()).collect();
        let admitted = calls.into_iter().zip(&denials).filter(|(_, denied)| denied.is_none()).map(|(call, _)| call);
        match self.carry_out(admitted.collect(), Vec::new()).await {
            Err(denied) => {
                (0..count).map(|place| Err(denials[place].take().unwrap_or_else(|| denied.clone()))).collect()
            }
            Ok(replies) => {
                let mut replies = replies.into_iter();
                let missing = || Denied::Fault("a call was not answered".into());
                denials
                    .into_iter()
                    .map(|denied| denied.map_or_else(|| replies.next().ok_or_else(missing), Err))
                    .collect()
            }
        }
    }

    async fn watch(&self, keys: Vec<Bytes>) -> Result<Watch, Denied> {
        let mut watch = self.machine().watch(&keys);
        // What is being carried out may have begun before anybody watched.
        let view = poll_fn(|context| match self.machine().begin_watch(&watch) {
            Some(view) => Poll::Ready(view),
            None => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
        })
        .await;
        let wanted: Vec<&[u8]> = keys.iter().map(|key| &**key).collect();
        let records = view.get_many(&wanted).map_err(|fault| Denied::Fault(fault.0))?;
        watch.judge(&records, self.inner.committer.now_ms().max(view.clock_ms()), TERM);
        Ok(watch.into())
    }

    async fn execute_if(&self, requests: Vec<Request>, watches: Vec<Watch>) -> Outcome {
        let call = Call::Transaction(requests);
        call.check_size(self.inner.request_bytes_max)?;
        let replies = self.carry_out(vec![call], watches).await?;
        replies.into_iter().next().ok_or_else(|| Denied::Fault("a call was not answered".into()))
    }

    async fn point_in_time(&self, _consistency: Consistency) -> Result<Arc<dyn PointInTime>, Denied> {
        let view = self.inner.settled_view().map_err(|fault| Denied::Fault(fault.0))?;
        Ok(view)
    }

    async fn read_at(&self, view: Arc<dyn PointInTime>, calls: Vec<Call>) -> Vec<Outcome> {
        view.read_all(&calls)
    }

    fn listen(&self, listener: Weak<dyn Listener>) {
        self.machine().listeners().add(listener);
    }

    fn status(&self) -> Arc<Status> {
        let applied = self.machine().applied();
        let itself = Member {
            id: NODE_ID,
            host: String::new(),
            resp_port: 0,
            grpc_port: 0,
            raft_port: 0,
            role: MemberRole::Voter,
            matched_index: Some(applied.index),
            silent_ms: Some(0),
        };
        Arc::new(Status {
            version: 1,
            node_id: NODE_ID,
            cluster_id: self.inner.folder_id.clone(),
            role: Role::Leader,
            clustered: false,
            leader_id: Some(NODE_ID),
            last_leader_id: Some(NODE_ID),
            led_ms_ago: Some(0),
            term: TERM,
            members: vec![itself],
            applied_index: applied.index,
            committed_index: applied.index,
            last_log_index: applied.index,
            first_log_index: applied.index,
            clock_ms: applied.clock_ms,
            serving: true,
            heard_from_leader_ms: 0,
            expired_keys: self.machine().expired_keys(),
        })
    }

    /// Nothing ever changes.
    async fn status_changed(&self, seen: u64) {
        if seen == 1 {
            std::future::pending().await
        }
    }
}
