//! What operators ask of a node.

use std::collections::BTreeSet;
use std::io;
use std::time::{Duration, Instant};

use openraft::ChangeMembers;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::{ClientWriteError, RaftError};
use talon_core::commands::talon::MARK;
use talon_core::planted::{Bug, is_planted};
use talon_core::{AdminError, Administer, Call, Member, Request, StateHash};

use crate::leadership::Leadership;
use crate::node::{Inner, Node};
use crate::types::{NodeAddress, TypeConfig};

/// How long a change of the membership may take, a new node's catching up included.
const CHANGE_MAX: Duration = Duration::from_secs(600);
/// How long calls are held for the others to catch up before a transfer.
const DRAIN_MAX: Duration = Duration::from_millis(1000);
/// How long the new leader may take to show.
const TRANSFER_MAX: Duration = Duration::from_millis(3000);
/// How long a state hash may take to be reached and computed.
const HASH_MAX: Duration = Duration::from_secs(120);
/// How long one node may take to take over before another is asked.
const TAKE_OVER_MAX: Duration = Duration::from_millis(300);
/// How often it is looked whether any other voter still runs, and how long one may take to show.
const ALONE_LOOK: Duration = Duration::from_millis(100);
const ALONE_ANSWER_MAX: Duration = Duration::from_millis(500);
/// How often something that is waited for is looked at.
const LOOK: Duration = Duration::from_millis(5);

impl Inner {
    fn not_leader(&self) -> AdminError {
        AdminError::NotLeader { leader: self.status.borrow().leader().cloned() }
    }

    fn ensure_leading(&self) -> Result<(), AdminError> {
        match *self.leadership.borrow() {
            Leadership::Leading { .. } => Ok(()),
            _ => Err(self.not_leader()),
        }
    }

    fn refused(&self, error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> AdminError {
        match error {
            RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => self.not_leader(),
            other => AdminError::Refused(other.to_string()),
        }
    }

    async fn change(&self, change: ChangeMembers<u64, NodeAddress>, retain: bool) -> Result<(), AdminError> {
        self.ensure_leading()?;
        let changing = self.raft.change_membership(change, retain);
        match tokio::time::timeout(CHANGE_MAX, changing).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(self.refused(error)),
            Err(_) => Err(AdminError::TimedOut("the change of the membership".to_owned())),
        }
    }

    fn member(&self, id: u64) -> Result<Member, AdminError> {
        let status = self.status.borrow();
        let member = status.members.iter().find(|member| member.id == id).cloned();
        member.ok_or_else(|| AdminError::Refused(format!("node {id} is not in the cluster")))
    }

    /// The voters to hand leadership to: the one asked for, or all others, those that hold most of the log first.
    fn targets(&self, to: Option<u64>) -> Result<Vec<u64>, AdminError> {
        let own_id = self.settings.node_id;
        let status = self.status.borrow();
        let voters = status.members.iter().filter(|member| member.role == talon_core::MemberRole::Voter);
        let mut targets: Vec<&Member> =
            voters.filter(|member| member.id != own_id && to.is_none_or(|to| to == member.id)).collect();
        targets.sort_by_key(|member| std::cmp::Reverse(member.matched_index));
        if targets.is_empty() {
            return Err(AdminError::Refused(match to {
                Some(id) if id == own_id => "this node leads already".to_owned(),
                Some(id) => format!("node {id} is not a voter"),
                None => "there is no other voter".to_owned(),
            }));
        }
        Ok(targets.into_iter().map(|member| member.id).collect())
    }

    fn matched_index(&self, id: u64) -> Option<u64> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.replication.as_ref()?.get(&id)?.map(|position| position.index)
    }

    /// See [`Administer::transfer_leadership`].
    pub(crate) async fn transfer_leadership(&self, to: Option<u64>) -> Result<(), AdminError> {
        self.ensure_leading()?;
        let targets = self.targets(to)?;
        let another = || AdminError::Refused("a transfer of leadership is under way".to_owned());
        let _paused = self.proposer.pause().ok_or_else(another)?;
        // The target may be elected inside this node's lease. Reads go by read index from here on.
        if !is_planted(Bug::TransferKeepsLease) {
            self.lease.bar();
        }
        // Whoever was restarted just now stays out of elections for a lease and does not say so to raft: then the next one is
        // asked, and in the end the first one again.
        let deadline = Instant::now() + TRANSFER_MAX;
        let trying = async {
            let mut outcome = Ok(());
            for target in targets.into_iter().cycle() {
                outcome = self.hand_over(target).await;
                if outcome.is_ok() || Instant::now() >= deadline {
                    break;
                }
            }
            outcome
        };
        tokio::select! {
            outcome = trying => outcome,
            () = self.until_alone() => Err(AdminError::Refused("no other voter runs".to_owned())),
        }
    }

    /// Returns when no other voter listens any more: where a cluster ends as a whole, nobody is left to take over.
    pub(crate) async fn until_alone(&self) {
        loop {
            tokio::time::sleep(ALONE_LOOK).await;
            let Ok(others) = self.targets(None) else { return };
            let mut alone = true;
            for id in others {
                alone = alone && self.is_gone(id).await;
            }
            if alone {
                return;
            }
        }
    }

    /// Whether a member's machine says that nobody listens there. One that says nothing may be slow, or cut off.
    async fn is_gone(&self, id: u64) -> bool {
        let Ok(member) = self.member(id) else { return true };
        let connecting = self.environment.sockets.connect(member.host, member.raft_port);
        let answer = tokio::time::timeout(ALONE_ANSWER_MAX, connecting).await;
        matches!(answer, Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused)
    }

    async fn hand_over(&self, target: u64) -> Result<(), AdminError> {
        // The target takes over at once only if it holds the whole log.
        let drained = async {
            loop {
                let last = self.raft.metrics().borrow_watched().last_log_index;
                if self.proposer.is_idle() && self.matched_index(target) >= last {
                    return;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        if tokio::time::timeout(DRAIN_MAX, drained).await.is_err() {
            return Err(AdminError::TimedOut(format!("node {target} does not keep up")));
        }
        let failed = |error: openraft::errors::Fatal<TypeConfig>| AdminError::Refused(error.to_string());
        self.raft.trigger().transfer_leader(target).await.map_err(failed)?;
        let own_id = self.settings.node_id;
        let mut status = self.status.clone();
        let turned = status.wait_for(|status| status.leader_id.is_some_and(|leader| leader != own_id));
        match tokio::time::timeout(TAKE_OVER_MAX, turned).await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(AdminError::TimedOut("no other leader has shown yet".to_owned())),
        }
    }
}

/// That a leader ends and nobody takes over: nothing to warn of if nobody is there.
pub(crate) fn tell_of_kept_leadership(error: &AdminError) {
    match error {
        AdminError::Refused(_) => tracing::info!(%error, "leadership was not handed over"),
        _ => tracing::warn!(%error, "leadership was not handed over"),
    }
}

impl Administer for Node {
    async fn add_learner(&self, member: Member) -> Result<(), AdminError> {
        let inner = &self.inner;
        inner.ensure_leading()?;
        let (id, resp_port) = (member.id, member.resp_port);
        if id == 0 {
            return Err(AdminError::Refused("node numbers begin at 1".to_owned()));
        }
        let address = NodeAddress {
            host: member.host,
            raft_port: member.raft_port,
            resp_port: member.resp_port,
            grpc_port: member.grpc_port,
        };
        if let Ok(known) = inner.member(id) {
            let same = known.host == address.host && known.resp_port == resp_port;
            let what = if same { "in the cluster already" } else { "in the cluster under another address" };
            return Err(AdminError::Refused(format!("node {id} is {what}")));
        }
        let added = inner.raft.add_learner(id, address, false).await.map_err(|error| inner.refused(error))?;
        let caught_up = async {
            while inner.matched_index(id) < Some(added.log_id.index) {
                inner.ensure_leading()?;
                tokio::time::sleep(LOOK).await;
            }
            Ok(())
        };
        let late = || AdminError::TimedOut(format!("node {id} has been added but has not caught up yet"));
        tokio::time::timeout(CHANGE_MAX, caught_up).await.map_err(|_| late())?
    }

    async fn promote(&self, id: u64) -> Result<(), AdminError> {
        self.inner.ensure_leading()?;
        if self.inner.member(id)?.role == talon_core::MemberRole::Voter {
            return Err(AdminError::Refused(format!("node {id} votes already")));
        }
        self.inner.change(ChangeMembers::AddVoterIds(BTreeSet::from([id])), false).await
    }

    async fn remove(&self, id: u64) -> Result<(), AdminError> {
        self.inner.ensure_leading()?;
        let change = match self.inner.member(id)?.role {
            talon_core::MemberRole::Voter => ChangeMembers::RemoveVoters(BTreeSet::from([id])),
            talon_core::MemberRole::Learner => ChangeMembers::RemoveNodes(BTreeSet::from([id])),
        };
        self.inner.change(change, false).await
    }

    async fn transfer_leadership(&self, to: Option<u64>) -> Result<(), AdminError> {
        self.inner.transfer_leadership(to).await
    }

    async fn mark_state(&self) -> Result<u64, AdminError> {
        let inner = &self.inner;
        inner.ensure_leading()?;
        let mark = Call::One(Request::new(&MARK, Vec::new()));
        match inner.proposer.submit(vec![mark], inner.hold_deadline_ms()).await.as_slice() {
            [Ok(talon_core::Reply::Integer(index))] => {
                u64::try_from(*index).map_err(|_| AdminError::Refused("the mark has no index".to_owned()))
            }
            other => Err(AdminError::Refused(format!("the mark was not set: {other:?}"))),
        }
    }

    async fn state_hash(&self, index: u64) -> Result<StateHash, AdminError> {
        let inner = &self.inner;
        let reached = async {
            loop {
                if let Some(hash) = inner.stores.state_hash(index) {
                    return hash;
                }
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(HASH_MAX, reached)
            .await
            .map_err(|_| AdminError::TimedOut(format!("this node has no state hash at index {index}")))
    }
}
