//! File descriptors: as many as the system gives, and enough of them kept for the node itself.
//!
//! A node that runs out of them where it needs one (a new segment of the log, a table) has to stop. So clients get only what the node
//! does not need, as with Redis.

use std::io;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::ServerError;
use crate::settings::Settings;

/// What RocksDB keeps open, at most.
const TABLES: u64 = 512;
/// Clients that are told that there are too many.
const REFUSALS: u64 = 128;
/// Other nodes, metrics and probes, what the runtime needs.
const OTHERS: u64 = 160;

/// Raises the limit as far as it goes, and lowers `maxclients` if that is not far enough. Returns how many clients would fit.
///
/// # Errors
/// If there are too few for the node itself.
pub fn provide(settings: &mut Settings) -> Result<usize, ServerError> {
    let system = |error: nix::Error| ServerError::System("open files".into(), error.into());
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(system)?;
    let limit = if soft < hard && setrlimit(Resource::RLIMIT_NOFILE, hard, hard).is_ok() { hard } else { soft };
    let own = own(settings);
    let maxclients = clients_max(limit, own, settings.maxclients).ok_or_else(|| {
        let why = format!(
            "the limit of {limit} is too low: the node itself may need {own}, and clients some more. Raise it (ulimit -n, \
             LimitNOFILE)"
        );
        ServerError::System("open files".into(), io::Error::other(why))
    })?;
    if maxclients < settings.maxclients {
        tracing::warn!(
            "maxclients of {} needs {} open files, and the limit is {limit}: maxclients is reduced to {maxclients}. Raise the \
             limit (ulimit -n, LimitNOFILE) for more",
            settings.maxclients,
            own.saturating_add(2 * settings.maxclients as u64)
        );
        settings.maxclients = maxclients;
    }
    Ok(clients_max(limit, own, usize::MAX).unwrap_or(maxclients))
}

/// What the node keeps for itself: the log's segments among it, each of which stays open.
fn own(settings: &Settings) -> u64 {
    let log_bytes = settings.log_bytes_max.saturating_add(settings.log_bytes_before_checkpoint);
    TABLES + REFUSALS + OTHERS + log_bytes.div_ceil(settings.log_segment_bytes.max(1)) + 4
}

/// How many clients fit, for each door; `None`: not even one.
fn clients_max(limit: u64, own: u64, wanted: usize) -> Option<usize> {
    let fitting = limit.saturating_sub(own) / 2;
    (fitting > 0).then(|| usize::try_from(fitting).unwrap_or(usize::MAX).min(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_get_what_the_node_does_not_need() {
        assert_eq!(clients_max(21_000, 1_000, 10_000), Some(10_000));
        assert_eq!(clients_max(20_999, 1_000, 10_000), Some(9_999));
        assert_eq!(clients_max(1_002, 1_000, 10_000), Some(1));
        assert_eq!(clients_max(1_001, 1_000, 10_000), None);
        assert_eq!(clients_max(10, 1_000, 10_000), None);
        assert_eq!(clients_max(u64::MAX, 1_000, 10_000), Some(10_000), "no limit");
    }
}
