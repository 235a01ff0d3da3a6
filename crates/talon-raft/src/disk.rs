//! Room on the disk: looked at all the time, so that a node refuses before the disk does.
//!
//! Below the reserve, a leader refuses writes; below half of it, a follower takes no calls of a leader's. Both keep what they have, answer reads, hear and vote.
//! What is under way then, a new segment of the log, what memory still has to become a file, fits into the reserve. Once there is
//! room again, both go on by themselves.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use talon_core::{Denied, MemberRole};
use talon_proto::v1;

use crate::leadership::Leadership;
use crate::node::Inner;
use crate::transport::Network;
use crate::types::NodeAddress;

/// How often the room is looked at: a disk that takes a GB a second does not use the default reserve up in between.
const INTERVAL: Duration = Duration::from_millis(200);
/// How often a leader asks the other voters for theirs.
const ASK_INTERVAL: Duration = Duration::from_millis(500);
/// How often a leader without room tries to hand over, ms.
const HAND_OVER_INTERVAL_MS: u64 = 5_000;

/// What is known of the room on the disk.
#[derive(Debug)]
pub struct DiskRoom {
    /// Below so much free, the node takes nothing more, bytes; 0: it never refuses.
    reserve_bytes: u64,
    free_bytes: AtomicU64,
    low: AtomicBool,
    /// Since when a leader's entries are refused, monotonic ms; 0 = they are not.
    refused_since_ms: AtomicU64,
    /// On a leader: too many voters have too little room.
    others: Mutex<Option<Denied>>,
}

impl DiskRoom {
    /// With room, until it is looked.
    pub fn new(reserve_bytes: u64) -> DiskRoom {
        DiskRoom {
            reserve_bytes,
            free_bytes: AtomicU64::new(u64::MAX),
            low: AtomicBool::new(false),
            refused_since_ms: AtomicU64::new(0),
            others: Mutex::default(),
        }
    }

    fn others(&self) -> MutexGuard<'_, Option<Denied>> {
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What keeps the other voters from taking this leader's writes, if anything does.
    fn note_others(&self, denied: Option<Denied>) {
        let known = std::mem::replace(&mut *self.others(), denied.clone());
        match (known, denied) {
            (None, Some(_)) => {
                tracing::warn!("the disks of too many voters are full: no writes until there is room again")
            }
            (Some(_), None) => tracing::info!("enough voters have room on their disks again"),
            _ => {}
        }
    }

    /// So much is free now. Goes on only when an eighth more than the reserve is free, so that it does not turn to and fro.
    pub fn look(&self, free_bytes: u64) {
        self.free_bytes.store(free_bytes, Ordering::Relaxed);
        let reserve_bytes = self.reserve_bytes;
        let was_low = self.low.load(Ordering::Relaxed);
        let wanted_bytes = if was_low { reserve_bytes.saturating_add(reserve_bytes / 8) } else { reserve_bytes };
        let low = free_bytes < wanted_bytes;
        self.low.store(low, Ordering::Release);
        match (was_low, low) {
            (false, true) => tracing::warn!(
                free_bytes,
                reserve_bytes,
                "the disk is full up to the reserve (disk_reserve_bytes): this node takes no writes until there is room again"
            ),
            (true, false) => tracing::info!(free_bytes, "there is room on the disk again: this node takes writes"),
            _ => {}
        }
    }

    /// Whether there is too little.
    pub fn is_low(&self) -> bool {
        self.low.load(Ordering::Acquire)
    }

    /// How much has to be free, bytes.
    pub fn reserve_bytes(&self) -> u64 {
        self.reserve_bytes
    }

    /// How much is free, bytes, as far as it is known.
    pub fn free_bytes(&self) -> Option<u64> {
        let free_bytes = self.free_bytes.load(Ordering::Relaxed);
        (free_bytes != u64::MAX).then_some(free_bytes)
    }

    /// Why a write is not taken; `None` = it is.
    pub fn denial(&self) -> Option<Denied> {
        let free_bytes = self.free_bytes.load(Ordering::Relaxed);
        let own = self.is_low().then_some(Denied::DiskFull { free_bytes, reserve_bytes: self.reserve_bytes });
        own.or_else(|| self.others().clone())
    }

    /// Whether a leader's entries are taken now; remembers since when they are not. A leader refuses below the reserve, a follower
    /// below half of it: what was under way when the leader began to refuse still finds room.
    pub fn takes_entries(&self, now_ms: u64) -> bool {
        if !self.is_low() || self.free_bytes.load(Ordering::Relaxed) >= self.reserve_bytes / 2 {
            self.refused_since_ms.store(0, Ordering::Release);
            return true;
        }
        // Whoever was first counts.
        let _ = self.refused_since_ms.compare_exchange(0, now_ms.max(1), Ordering::AcqRel, Ordering::Acquire);
        false
    }

    /// How long this node has not taken what the leader sent, ms: so old its state may be.
    pub fn behind_ms(&self, now_ms: u64) -> u64 {
        match self.refused_since_ms.load(Ordering::Acquire) {
            0 => 0,
            since_ms => now_ms.saturating_sub(since_ms),
        }
    }
}

/// Looks at the room, for as long as the node runs.
pub(crate) async fn watch(inner: Arc<Inner>) {
    let mut said = false;
    loop {
        let (disks, folder) = (inner.environment.disks.clone(), inner.settings.data_dir.clone());
        let measured = inner.environment.workers.run(move || disks.free_bytes(&folder)).await.flatten();
        match measured {
            Ok(free_bytes) => inner.disk.look(free_bytes),
            Err(error) if !said => {
                said = true;
                tracing::warn!(%error, "how much room the disk has cannot be measured");
            }
            Err(_) => {}
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// A leader without room lets a voter with room lead: then writes go on. A leader with room refuses writes all the same while so many
/// voters have none that nothing can be committed: they would wait, and then nobody could say what became of them.
pub(crate) async fn mind_the_others(inner: Arc<Inner>, network: Network) {
    let mut handed_over_ms = None;
    loop {
        tokio::time::sleep(ASK_INTERVAL).await;
        if !matches!(*inner.leadership.borrow(), Leadership::Leading { .. }) {
            inner.disk.note_others(None);
            continue;
        }
        let others = ask_voters(&inner, &network).await;
        let low: Vec<&v1::HelloReply> =
            others.iter().map(|(_, reply)| reply).filter(|reply| reply.disk_is_low).collect();
        let voters = inner.status.borrow().members.iter().filter(|member| member.role == MemberRole::Voter).count();
        // So many may be missing, and a majority is left.
        let spare = voters.saturating_sub(1) / 2;
        let too_many = low.first().filter(|_| low.len() > spare);
        inner.disk.note_others(too_many.map(|reply| Denied::DiskFull {
            free_bytes: reply.disk_free_bytes,
            reserve_bytes: reply.disk_reserve_bytes,
        }));
        let now_ms = inner.time.monotonic_ms();
        let lately = handed_over_ms.is_some_and(|then_ms| now_ms.saturating_sub(then_ms) < HAND_OVER_INTERVAL_MS);
        let with_room = others.iter().find(|(_, reply)| !reply.disk_is_low);
        let Some((id, _)) = with_room.filter(|_| inner.disk.is_low() && !lately) else { continue };
        handed_over_ms = Some(now_ms);
        match inner.transfer_leadership(Some(*id)).await {
            Ok(()) => tracing::warn!(id, "handed leadership over: this node's disk is full"),
            Err(error) => tracing::warn!(id, %error, "leadership was not handed over, though this node's disk is full"),
        }
    }
}

/// What the other voters that answer say of themselves.
async fn ask_voters(inner: &Inner, network: &Network) -> Vec<(u64, v1::HelloReply)> {
    let members = inner.status.borrow().members.clone();
    let others =
        members.into_iter().filter(|member| member.role == MemberRole::Voter && member.id != inner.settings.node_id);
    let asked = others.map(|member| async move {
        let address = NodeAddress {
            host: member.host,
            resp_port: member.resp_port,
            grpc_port: member.grpc_port,
            raft_port: member.raft_port,
        };
        network.hello(member.id, &address, "").await.ok().map(|reply| (member.id, reply))
    });
    futures::future::join_all(asked).await.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_refuses_below_the_reserve_and_goes_on_with_an_eighth_more() {
        let room = DiskRoom::new(800);
        assert!(!room.is_low() && room.free_bytes().is_none() && room.takes_entries(5));
        room.look(800);
        assert!(room.denial().is_none());
        room.look(799);
        assert_eq!(room.denial(), Some(Denied::DiskFull { free_bytes: 799, reserve_bytes: 800 }));
        assert_eq!(room.behind_ms(9), 0, "nothing was sent yet");
        assert!(room.takes_entries(9), "what was under way finds room");
        room.look(399);
        assert!(!room.takes_entries(10) && !room.takes_entries(20));
        assert_eq!(room.behind_ms(25), 15, "counted from the first that was refused");
        room.look(899);
        assert!(room.is_low());
        room.look(900);
        assert!(room.denial().is_none() && room.takes_entries(30));
        assert_eq!(room.behind_ms(40), 0);
        let others = Denied::DiskFull { free_bytes: 1, reserve_bytes: 2 };
        room.note_others(Some(others.clone()));
        assert_eq!(room.denial(), Some(others));
        assert!(room.takes_entries(50), "what the others lack is no reason to take nothing");
        room.note_others(None);
        assert!(room.denial().is_none());
    }

    #[test]
    fn no_reserve_never_refuses() {
        let room = DiskRoom::new(0);
        room.look(0);
        assert!(room.denial().is_none());
    }
}
