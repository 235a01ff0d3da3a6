//! Bugs that simulations plant on purpose, to see whether their judge catches them.
//!
//! Only with the feature `planted`, which no product is built with. Without it no bug can be planted, and asking costs nothing.

/// A bug that can be planted. Each undoes one rule that Talon's promises rest on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Bug {
    /// The log reports entries as durable before they are synced.
    AcknowledgeBeforeSync,
    /// Followers carry out the calls of an entry in the wrong order.
    ApplyOutOfOrder,
    /// Votes are not kept.
    ForgetVote,
    /// openraft's leader restore is left on.
    LeaderRestore,
    /// A leader answers reads for as long as it believes that it leads, without a lease and without a read index.
    ReadWithoutLease,
    /// The lease is counted by a clock that stands still while the machine is suspended.
    LeaseByStoppingClock,
    /// Reads judge expiry by the node's own wall clock.
    ExpireByLocalClock,
    /// A purge removes what the stored expiry index names, also if it was written anew since, in the same batch.
    PurgeIgnoresRewrites,
    /// A new leader's clock starts below `T`, and apply takes a stamp as it comes.
    TickGoesBack,
    /// That a checkpoint was installed is not written down: a restart finds the position before it.
    LosePositionOnInstall,
    /// The calls of a transaction are proposed one by one.
    HalfTransaction,
    /// The storage flushes each space by itself.
    FlushSpacesApart,
    /// A transfer of leadership leaves lease reads on.
    TransferKeepsLease,
    /// A restarted voter votes at once.
    VoteWithinOldLease,
    /// What was appended is refused after a loss of leadership, so that its client proposes it again.
    ProposeTwice,
    /// The rows of a received checkpoint are served before its position and its clock are there.
    HalfInstalledCheckpoint,
    /// Replies are matched to requests by their place in the log.
    ReplyByIndex,
    /// A transaction with watched keys goes ahead although an entry that is under way may touch them.
    ExecDoesNotWait,
    /// A sequence of `ONCE` that comes again is carried out again.
    OnceForgets,
    /// A fresh read on a follower does not wait until its state has come to where the leader's was.
    FollowerDoesNotCatchUp,
    /// Reads through a snapshot's handle are answered from the newest state.
    HandleMovesOn,
    /// What is left of a key's time is counted from `T` alone where a clock ahead of it was shown before.
    TimeLeftGrows,
    /// Forwarded calls whose answer was lost are sent again.
    ForwardTwice,
    /// Plain reads do not wait for what was written by way of the leader.
    ForwardForgets,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 24] = [
        Bug::AcknowledgeBeforeSync,
        Bug::ApplyOutOfOrder,
        Bug::ForgetVote,
        Bug::LeaderRestore,
        Bug::ReadWithoutLease,
        Bug::LeaseByStoppingClock,
        Bug::ExpireByLocalClock,
        Bug::PurgeIgnoresRewrites,
        Bug::TickGoesBack,
        Bug::LosePositionOnInstall,
        Bug::HalfTransaction,
        Bug::FlushSpacesApart,
        Bug::TransferKeepsLease,
        Bug::VoteWithinOldLease,
        Bug::ProposeTwice,
        Bug::HalfInstalledCheckpoint,
        Bug::ReplyByIndex,
        Bug::ExecDoesNotWait,
        Bug::OnceForgets,
        Bug::FollowerDoesNotCatchUp,
        Bug::HandleMovesOn,
        Bug::TimeLeftGrows,
        Bug::ForwardTwice,
        Bug::ForwardForgets,
    ];
}

#[cfg(feature = "planted")]
mod switch {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::Bug;

    static PLANTED: AtomicU32 = AtomicU32::new(0);

    /// Plants a bug in this process, for good.
    pub fn plant(bug: Bug) {
        PLANTED.fetch_or(1 << bug as u8, Ordering::Relaxed);
    }

    /// Whether the bug is planted.
    pub fn is_planted(bug: Bug) -> bool {
        PLANTED.load(Ordering::Relaxed) & (1 << bug as u8) != 0
    }
}

#[cfg(not(feature = "planted"))]
mod switch {
    /// Whether the bug is planted: no.
    #[inline(always)]
    pub const fn is_planted(_bug: super::Bug) -> bool {
        false
    }
}

pub use switch::*;
