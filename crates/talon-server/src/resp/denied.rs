//! Why the database did not carry out a call, in words that Redis clients act upon.
//!
//! - Another node leads: `MOVED`, for calls with and without keys alike. Cluster clients follow it; Sentinel clients lose
//!   their connection anyway when a leader steps down. A call without keys names slot 0: all slots are on one shard.
//!   A node never names itself.
//! - Nobody leads, or nobody can be named: `CLUSTERDOWN`, which clients may retry because nothing was carried out.
//! - No room on the disk: `MISCONF`, as Redis says it when its disk is full (it cannot write its append-only file or its dump): writes are
//!   refused, reads go on. Clients show it and do not resend. (`OOM` is about memory and would send people looking there.)
//! - Unknown fate: `INDOUBT`, a prefix that no client resends by itself.

use bytes::Bytes;
use talon_core::{Denied, Refusal, Status};

use super::slot::key_slot;

const CLUSTER_DOWN: Refusal = Refusal::new("CLUSTERDOWN The cluster is down");

/// The error for the client; `None` = no answer can be trusted, the connection has to be closed.
pub(crate) fn refusal(denied: &Denied, first_key: Option<&Bytes>, status: &Status) -> Option<Refusal> {
    Some(match denied {
        Denied::NotLeader { leader } if leader.id == status.node_id => CLUSTER_DOWN,
        Denied::NotLeader { leader } => {
            let slot = first_key.map_or(0, |key| key_slot(key));
            Refusal::from_string(format!("MOVED {slot} {}:{}", leader.host, leader.resp_port))
        }
        Denied::NoLeader | Denied::ShuttingDown => CLUSTER_DOWN,
        Denied::InDoubt => Refusal::new("INDOUBT the write may or may not have been applied"),
        Denied::Stale { behind_ms, bound_ms } => {
            Refusal::from_string(format!("STALE replica is {behind_ms} ms behind (bound {bound_ms} ms)"))
        }
        Denied::Loading => Refusal::new("LOADING Talon is loading the dataset in memory"),
        Denied::TooLarge { size_bytes, bytes_max } => too_large(*size_bytes, *bytes_max),
        Denied::Busy => Refusal::new("TRYAGAIN too many requests are waiting already"),
        Denied::TooMuchWatched => {
            Refusal::new("ERR the clients of this node watch too much already: the leader keeps no more for it")
        }
        Denied::DiskFull { free_bytes, reserve_bytes } => Refusal::from_string(format!(
            "MISCONF Talon takes no writes: a disk of the cluster has {free_bytes} bytes free, less than its reserve of \
             {reserve_bytes} (disk_reserve_bytes). Make room there; reads go on, and writes will by themselves"
        )),
        Denied::Fault(_) => return None,
    })
}

/// Whether clients take the error as a hint to send the same call again by themselves, to the leader or later.
pub(crate) fn is_sent_again(denied: &Denied) -> bool {
    matches!(denied, Denied::NotLeader { .. } | Denied::NoLeader | Denied::ShuttingDown | Denied::Busy)
}

/// The error for a request that is larger than one may be.
pub(crate) fn too_large(size_bytes: usize, bytes_max: usize) -> Refusal {
    Refusal::from_string(format!("ERR request of {size_bytes} bytes exceeds request_bytes_max of {bytes_max} bytes"))
}
