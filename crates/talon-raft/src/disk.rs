//! Room on the disk: looked at all the time, so that a node refuses before the disk does.
//!
//! Below the reserve, a leader refuses writes and a follower takes no entries; both keep what they have, answer reads, hear and vote.
//! What is under way then, a new segment of the log, what memory still has to become a file, fits into the reserve. Once there is
//! room again, both go on by themselves.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use talon_core::{Denied, MemberRole};

use crate::leadership::Leadership;
use crate::node::Inner;
use crate::transport::Network;
use crate::types::NodeAddress;

/// How often the room is looked at: a disk that takes a GB a second does not use the default reserve up in between.
const INTERVAL: Duration = Duration::from_millis(200);
/// How often a leader without room looks for a voter that has some.
const HAND_OVER_INTERVAL: Duration = Duration::from_secs(2);

/// What is known of the room on the disk.
#[derive(Debug)]
pub struct DiskRoom {
    /// Below so much free, the node takes nothing more, bytes; 0: it never refuses.
    reserve_bytes: u64,
    free_bytes: AtomicU64,
    low: AtomicBool,
    /// Since when a leader's entries are refused, monotonic ms; 0 = they are not.
    refused_since_ms: AtomicU64,
}

impl DiskRoom {
    /// With room, until it is looked.
    pub fn new(reserve_bytes: u64) -> DiskRoom {
        DiskRoom {
            reserve_bytes,
            free_bytes: AtomicU64::new(u64::MAX),
            low: AtomicBool::new(false),
            refused_since_ms: AtomicU64::new(0),
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

    /// How much is free, bytes, as far as it is known.
    pub fn free_bytes(&self) -> Option<u64> {
        let free_bytes = self.free_bytes.load(Ordering::Relaxed);
        (free_bytes != u64::MAX).then_some(free_bytes)
    }

    /// Why a write is not taken; `None` = it is.
    pub fn denial(&self) -> Option<Denied> {
        let free_bytes = self.free_bytes.load(Ordering::Relaxed);
        self.is_low().then_some(Denied::DiskFull { free_bytes, reserve_bytes: self.reserve_bytes })
    }

    /// Whether a leader's entries are taken now; remembers since when they are not.
    pub fn takes_entries(&self, now_ms: u64) -> bool {
        if !self.is_low() {
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

/// A leader without room lets a voter with room lead: then writes go on.
pub(crate) async fn hand_over_when_full(inner: Arc<Inner>, network: Network) {
    loop {
        tokio::time::sleep(HAND_OVER_INTERVAL).await;
        let leads = matches!(*inner.leadership.borrow(), Leadership::Leading { .. });
        if !leads || !inner.disk.is_low() {
            continue;
        }
        let Some(id) = voter_with_room(&inner, &network).await else { continue };
        match inner.transfer_leadership(Some(id)).await {
            Ok(()) => tracing::warn!(id, "handed leadership over: this node's disk is full"),
            Err(error) => tracing::warn!(id, %error, "leadership was not handed over, though this node's disk is full"),
        }
    }
}

async fn voter_with_room(inner: &Inner, network: &Network) -> Option<u64> {
    let members = inner.status.borrow().members.clone();
    let own_id = inner.settings.node_id;
    for member in members.iter().filter(|member| member.role == MemberRole::Voter && member.id != own_id) {
        let address = NodeAddress {
            host: member.host.clone(),
            resp_port: member.resp_port,
            grpc_port: member.grpc_port,
            raft_port: member.raft_port,
        };
        if network.hello(member.id, &address, "").await.is_ok_and(|reply| !reply.disk_is_low) {
            return Some(member.id);
        }
    }
    None
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
        assert!(!room.takes_entries(10) && !room.takes_entries(20));
        assert_eq!(room.behind_ms(25), 15, "counted from the first that was refused");
        room.look(899);
        assert!(room.is_low());
        room.look(900);
        assert!(room.denial().is_none() && room.takes_entries(30));
        assert_eq!(room.behind_ms(40), 0);
    }

    #[test]
    fn no_reserve_never_refuses() {
        let room = DiskRoom::new(0);
        room.look(0);
        assert!(room.denial().is_none());
    }
}
