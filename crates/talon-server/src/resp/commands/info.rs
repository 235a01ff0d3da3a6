//! The text of `INFO`.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use talon_core::{Member, Reply, Request, Status};

use super::info_constants;
use crate::resp::key_counts::{self, KeyCounts};
use crate::resp::session::Shared;
use crate::resp::topology;
use crate::resp::wall_clock::unix_time;

/// The Redis whose behaviour is followed.
pub(crate) const REDIS_VERSION: &str = "7.0.15";

/// What to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sections(BTreeSet<Section>);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Section {
    Server,
    Clients,
    Memory,
    Persistence,
    Stats,
    Replication,
    Cpu,
    Modules,
    Commandstats,
    Errorstats,
    Latencystats,
    Cluster,
    Keyspace,
    Talon,
}

impl Section {
    const ALL: [Section; 14] = [
        Section::Server,
        Section::Clients,
        Section::Memory,
        Section::Persistence,
        Section::Stats,
        Section::Replication,
        Section::Cpu,
        Section::Modules,
        Section::Commandstats,
        Section::Errorstats,
        Section::Latencystats,
        Section::Cluster,
        Section::Keyspace,
        Section::Talon,
    ];

    const fn title(self) -> &'static str {
        match self {
            Section::Server => "Server",
            Section::Clients => "Clients",
            Section::Memory => "Memory",
            Section::Persistence => "Persistence",
            Section::Stats => "Stats",
            Section::Replication => "Replication",
            Section::Cpu => "CPU",
            Section::Modules => "Modules",
            Section::Commandstats => "Commandstats",
            Section::Errorstats => "Errorstats",
            Section::Latencystats => "Latencystats",
            Section::Cluster => "Cluster",
            Section::Keyspace => "Keyspace",
            Section::Talon => "Talon",
        }
    }

    /// Told without being asked for.
    fn is_default(self) -> bool {
        !matches!(self, Section::Commandstats | Section::Latencystats)
    }
}

/// What is asked for, and the request that counts the keys if that is needed: by name it is always counted, otherwise
/// only when it never was. Those of a `snapshot` nobody else has counted.
pub(crate) fn plan(args: &[Bytes], shared: &Shared, snapshot: bool) -> (Sections, Option<Request>) {
    let mut sections = BTreeSet::new();
    let mut by_name = false;
    if args.is_empty() {
        sections.extend(Section::ALL.into_iter().filter(|section| section.is_default()));
    }
    for arg in args {
        match arg.to_ascii_lowercase().as_slice() {
            b"default" => sections.extend(Section::ALL.into_iter().filter(|section| section.is_default())),
            b"all" | b"everything" => sections.extend(Section::ALL),
            name => {
                let named =
                    Section::ALL.into_iter().filter(|section| section.title().as_bytes().eq_ignore_ascii_case(name));
                sections.extend(named);
                by_name |= name == b"keyspace";
            }
        }
    }
    let counts = sections.contains(&Section::Keyspace) && (by_name || snapshot || shared.key_counts.get().is_none());
    (Sections(sections), counts.then(key_counts::request))
}

/// The whole text, with these numbers of keys if they are known.
pub(crate) fn render(sections: &Sections, counts: Option<KeyCounts>, shared: &Shared, status: &Status) -> Reply {
    let mut out = String::new();
    for section in &sections.0 {
        if !out.is_empty() {
            out.push_str("\r\n");
        }
        let _ = write!(out, "# {}\r\n", section.title());
        let mut lines = Lines(&mut out);
        match section {
            Section::Server => server(&mut lines, shared, status),
            Section::Clients => clients(&mut lines, shared),
            // There are none.
            Section::Modules => {}
            Section::Latencystats => latency_stats(&mut lines, shared),
            Section::Memory => memory(&mut lines, shared),
            Section::Persistence => persistence(&mut lines, shared, status),
            Section::Stats => stats(&mut lines, shared, status),
            Section::Replication => replication(&mut lines, shared, status),
            Section::Cpu => cpu(&mut lines),
            Section::Commandstats => command_stats(&mut lines, shared),
            Section::Errorstats => {
                for (prefix, count) in shared.metrics.errors() {
                    lines.put(&format!("errorstat_{prefix}"), format_args!("count={count}"));
                }
            }
            Section::Cluster => lines.put("cluster_enabled", u8::from(status.clustered)),
            Section::Keyspace => match counts {
                Some(KeyCounts { keys, ending, left_ms }) if keys > 0 => {
                    lines.put("db0", format_args!("keys={keys},expires={ending},avg_ttl={left_ms}"));
                }
                _ => {}
            },
            Section::Talon => talon(&mut lines, shared, status),
        }
        info_constants::of(*section).iter().for_each(|(name, value)| lines.put(name, value));
    }
    Reply::Verbatim(out)
}

struct Lines<'a>(&'a mut String);

impl Lines<'_> {
    fn put(&mut self, name: &str, value: impl std::fmt::Display) {
        // Writing to a string cannot fail.
        let _ = write!(self.0, "{name}:{value}\r\n");
    }
}

fn server(lines: &mut Lines<'_>, shared: &Shared, status: &Status) {
    let uptime_s = shared.started.elapsed().as_secs();
    lines.put("redis_version", REDIS_VERSION);
    lines.put("talon_version", env!("CARGO_PKG_VERSION"));
    lines.put("redis_mode", if status.clustered { "cluster" } else { "standalone" });
    lines.put("os", operating_system());
    lines.put("arch_bits", usize::BITS);
    lines.put("process_id", std::process::id());
    lines.put("run_id", topology::node_name(status, status.node_id));
    lines.put("tcp_port", shared.port);
    lines.put("server_time_usec", unix_time().as_micros());
    lines.put("uptime_in_seconds", uptime_s);
    lines.put("uptime_in_days", uptime_s / 86_400);
    lines.put("executable", std::env::current_exe().unwrap_or_default().display());
    lines.put("config_file", shared.settings.parameters.file().display());
}

/// As `uname` has it where the system tells: name, release, machine.
fn operating_system() -> String {
    let kernel = |name: &str| std::fs::read_to_string(format!("/proc/sys/kernel/{name}"));
    match (kernel("ostype"), kernel("osrelease")) {
        (Ok(name), Ok(release)) => format!("{} {} {}", name.trim(), release.trim(), std::env::consts::ARCH),
        _ => format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
    }
}

fn clients(lines: &mut Lines<'_>, shared: &Shared) {
    lines.put("connected_clients", shared.clients.count());
    lines.put("maxclients", shared.tunables.clients_max.load(Ordering::Relaxed));
    lines.put("blocked_clients", shared.clients.blocked_count());
    // Nothing is tracked for anybody.
    lines.put("tracking_clients", 0);
}

fn memory(lines: &mut Lines<'_>, shared: &Shared) {
    let resident = process_bytes("VmRSS:");
    let peak = process_bytes("VmHWM:");
    let machine = system_bytes();
    lines.put("used_memory", resident);
    lines.put("used_memory_human", human(resident));
    lines.put("used_memory_rss", resident);
    lines.put("used_memory_rss_human", human(resident));
    lines.put("used_memory_peak", peak);
    lines.put("used_memory_peak_human", human(peak));
    lines.put("used_memory_peak_perc", format_args!("{:.2}%", resident as f64 * 100.0 / peak.max(1) as f64));
    lines.put("total_system_memory", machine);
    lines.put("total_system_memory_human", human(machine));
    let of_clients: usize = shared.clients.all().iter().map(|client| client.memory_bytes()).sum();
    lines.put("mem_clients_normal", of_clients);
}

/// What the system counts as this process's memory under this name; 0 where it does not tell. It is all that is known: what of
/// it the allocator holds for nobody is not.
fn process_bytes(name: &str) -> u64 {
    kilobytes("/proc/self/status", name) * 1024
}

/// The memory of the machine.
fn system_bytes() -> u64 {
    kilobytes("/proc/meminfo", "MemTotal:") * 1024
}

fn kilobytes(file: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse().ok()).unwrap_or(0)
}

fn human(bytes: u64) -> String {
    let bytes_float = bytes as f64;
    match bytes {
        0..1024 => format!("{bytes}B"),
        1024..1_048_576 => format!("{:.2}K", bytes_float / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.2}M", bytes_float / 1_048_576.0),
        _ => format!("{:.2}G", bytes_float / 1_073_741_824.0),
    }
}

fn persistence(lines: &mut Lines<'_>, shared: &Shared, status: &Status) {
    lines.put("loading", u8::from(!status.serving));
    lines.put("rdb_last_save_time", last_save_s(shared));
}

/// As in Redis where nothing was saved: when it was started, Unix seconds.
pub(crate) fn last_save_s(shared: &Shared) -> u64 {
    unix_time().saturating_sub(shared.started.elapsed()).as_secs()
}

fn stats(lines: &mut Lines<'_>, shared: &Shared, status: &Status) {
    let metrics = &shared.metrics;
    for (name, counter) in [
        ("total_connections_received", &metrics.connections_received),
        ("total_commands_processed", &metrics.commands_processed),
        ("total_net_input_bytes", &metrics.bytes_in),
        ("total_net_output_bytes", &metrics.bytes_out),
        ("rejected_connections", &metrics.connections_rejected),
        ("total_reads_processed", &metrics.reads),
        ("total_writes_processed", &metrics.writes),
    ] {
        lines.put(name, counter.load(Ordering::Relaxed));
    }
    let rates = shared.rates.now();
    lines.put("instantaneous_ops_per_sec", rates.commands);
    lines.put("instantaneous_input_kbps", format_args!("{:.2}", rates.bytes_in as f64 / 1024.0));
    lines.put("instantaneous_output_kbps", format_args!("{:.2}", rates.bytes_out as f64 / 1024.0));
    lines.put("total_error_replies", metrics.errors().values().sum::<u64>());
    lines.put("expired_keys", status.expired_keys.saturating_sub(metrics.expired_keys_before.load(Ordering::Relaxed)));
    let subscribed = shared.channels.totals();
    lines.put("pubsub_channels", subscribed.channels);
    lines.put("pubsub_patterns", subscribed.patterns);
}

fn replication(lines: &mut Lines<'_>, shared: &Shared, status: &Status) {
    if topology::leads(status) {
        lines.put("role", "master");
        lines.put("connected_slaves", topology::live_followers(status).count());
        for (place, member) in topology::live_followers(status).enumerate() {
            let Member { host, resp_port: port, .. } = member;
            let (offset, lag) = (member.matched_index.unwrap_or(0), member.silent_ms.unwrap_or(0) / 1000);
            lines.put(
                &format!("slave{place}"),
                format_args!("ip={host},port={port},state=online,offset={offset},lag={lag}"),
            );
        }
    } else {
        lines.put("role", "slave");
        let master = topology::master(status);
        lines.put("master_host", master.map_or("", |master| master.host.as_str()));
        lines.put("master_port", master.map_or(0, |master| master.resp_port));
        lines.put("master_link_status", if topology::link_up(status) { "up" } else { "down" });
        lines.put("master_last_io_seconds_ago", status.heard_from_leader_ms / 1000);
        lines.put("master_sync_in_progress", u8::from(!status.serving));
        lines.put("slave_read_repl_offset", status.last_log_index);
        lines.put("slave_repl_offset", status.applied_index);
        if !topology::link_up(status) {
            lines.put("master_link_down_since_seconds", status.heard_from_leader_ms / 1000);
        }
        lines.put("slave_priority", 100);
        lines.put("slave_read_only", u8::from(!shared.settings.forwards));
        lines.put("replica_announced", 1);
        lines.put("connected_slaves", 0);
    }
    let failover = if shared.failover.is_on() { "failover-in-progress" } else { "no-failover" };
    lines.put("master_failover_state", failover);
    lines.put("master_replid", topology::replication_name(status));
    lines.put("master_repl_offset", if topology::leads(status) { status.last_log_index } else { status.applied_index });
    // Offsets are places in the log, and of that so much is still there.
    lines.put("repl_backlog_first_byte_offset", status.first_log_index);
    lines.put("repl_backlog_histlen", (status.last_log_index + 1).saturating_sub(status.first_log_index));
}

fn cpu(lines: &mut Lines<'_>) {
    let process = cpu_ticks("/proc/self/stat");
    // The first thread has the number of the process.
    let main_thread = cpu_ticks(&format!("/proc/self/task/{}/stat", std::process::id()));
    for (name, ticks) in [
        ("used_cpu_sys", process[1]),
        ("used_cpu_user", process[0]),
        ("used_cpu_sys_children", process[3]),
        ("used_cpu_user_children", process[2]),
        ("used_cpu_sys_main_thread", main_thread[1]),
        ("used_cpu_user_main_thread", main_thread[0]),
    ] {
        lines.put(name, format_args!("{:.6}", ticks as f64 / 100.0));
    }
}

/// utime, stime, cutime and cstime: the fields from the 14th on, in ticks of 10 ms; the name before them may hold spaces. 0 where the
/// system does not tell.
fn cpu_ticks(file: &str) -> [u64; 4] {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let after_name = text.rsplit_once(')').map_or("", |(_, after_name)| after_name);
    let mut fields = after_name.split_whitespace().skip(11).map(|field| field.parse().unwrap_or(0));
    std::array::from_fn(|_| fields.next().unwrap_or(0))
}

fn command_stats(lines: &mut Lines<'_>, shared: &Shared) {
    for (name, counters) in shared.metrics.commands() {
        let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let (calls, usec) = (read(&counters.calls), read(&counters.usec));
        let (rejected, failed) = (read(&counters.rejected), read(&counters.failed));
        if calls + rejected == 0 {
            continue;
        }
        let each = usec as f64 / calls.max(1) as f64;
        lines.put(
            &format!("cmdstat_{name}"),
            format_args!(
                "calls={calls},usec={usec},usec_per_call={each:.2},rejected_calls={rejected},failed_calls={failed}"
            ),
        );
    }
}

/// The times of a command's batches, as `LATENCY HISTOGRAM` counts them.
fn latency_stats(lines: &mut Lines<'_>, shared: &Shared) {
    for (name, histogram) in shared.metrics.latencies().filter(|(_, histogram)| histogram.count() > 0) {
        let quantile = |share| format!("{:.3}", histogram.quantile_usec(share));
        lines.put(
            &format!("latency_percentiles_usec_{name}"),
            format_args!("p50={},p99={},p99.9={}", quantile(0.5), quantile(0.99), quantile(0.999)),
        );
    }
}

fn talon(lines: &mut Lines<'_>, shared: &Shared, status: &Status) {
    lines.put("talon_node_id", status.node_id);
    lines.put("talon_cluster_id", &status.cluster_id);
    lines.put("talon_leader_id", status.leader_id.map_or_else(String::new, |id| id.to_string()));
    lines.put("talon_term", status.term);
    lines.put("talon_members", status.members.len());
    lines.put("talon_serving", u8::from(status.serving));
    lines.put("talon_applied_index", status.applied_index);
    lines.put("talon_committed_index", status.committed_index);
    lines.put("talon_last_log_index", status.last_log_index);
    lines.put("talon_first_log_index", status.first_log_index);
    lines.put("talon_clock_ms", status.clock_ms);
    lines.put("talon_heard_from_leader_ms", status.heard_from_leader_ms);
    // What snapshots pin: everything that was written over since the oldest one.
    let snapshots = shared.settings.snapshots.list();
    lines.put("talon_snapshots", snapshots.len());
    if let Some(oldest) = snapshots.iter().min_by_key(|snapshot| snapshot.index) {
        lines.put("talon_snapshots_oldest_index", oldest.index);
        lines.put("talon_snapshots_oldest_age_ms", oldest.age.as_millis());
        lines.put("talon_snapshots_entries_since", status.applied_index.saturating_sub(oldest.index));
    }
    let metrics = &shared.metrics;
    for (name, counter) in [
        ("talon_batches", &metrics.batches),
        ("talon_protocol_errors", &metrics.protocol_errors),
        ("talon_connections_cut", &metrics.connections_cut),
        ("talon_connections_demoted", &metrics.connections_demoted),
    ] {
        lines.put(name, counter.load(Ordering::Relaxed));
    }
}
