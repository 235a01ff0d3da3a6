//! What the figures were measured on, and how much of it others used meanwhile.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// How long one tick of the counters below /proc is; the kernel shows them in hundredths of a second on every platform.
const TICK: Duration = Duration::from_millis(10);
/// How many syncs of the disk are timed.
const SYNCS: usize = 200;

/// The machine, in the words of /proc.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    cpu: String,
    cores: usize,
    memory_gib: f64,
    kernel: String,
    sync_ms: f64,
    /// The commit of the sources in the current folder, `+` if they were changed since; none outside a repository.
    commit: Option<String>,
}

impl Machine {
    /// Looks at this machine, and at the disk below `folder`.
    ///
    /// # Errors
    /// If /proc or the folder cannot be used.
    pub fn look(folder: &Path) -> io::Result<Machine> {
        let cpus = fs::read_to_string("/proc/cpuinfo")?;
        let memory = fs::read_to_string("/proc/meminfo")?;
        let memory_kib: f64 =
            field(&memory, "MemTotal").and_then(|text| text.split(' ').next()?.parse().ok()).unwrap_or(0.0);
        Ok(Machine {
            cpu: field(&cpus, "model name").unwrap_or("a processor without a name").to_owned(),
            cores: std::thread::available_parallelism()?.get(),
            memory_gib: memory_kib / 1024.0 / 1024.0,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            sync_ms: time_of_a_sync(folder)?.as_secs_f64() * 1000.0,
            commit: commit(),
        })
    }

    /// The cores that programs may use.
    pub fn cores(&self) -> usize {
        self.cores
    }

    /// Whether a sync is so quick that there is no disk behind it.
    pub fn has_no_disk(&self) -> bool {
        self.sync_ms < 0.01
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine { cpu, cores, memory_gib, kernel, sync_ms, commit } = self;
        write!(
            f,
            "{cpu}, {cores} cores, {memory_gib:.0} GiB of memory, Linux {kernel}, fdatasync of 4 KiB {sync_ms:.2} ms"
        )?;
        commit.as_ref().map_or(Ok(()), |commit| write!(f, "; commit {commit}"))
    }
}

fn commit() -> Option<String> {
    let git = |words: &[&str]| {
        let output = Command::new("git").args(words).output().ok().filter(|output| output.status.success())?;
        String::from_utf8(output.stdout).ok().map(|text| text.trim().to_owned())
    };
    let commit = git(&["rev-parse", "--short=10", "HEAD"])?;
    let is_clean = git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|changes| changes.is_empty());
    Some(if is_clean { commit } else { format!("{commit}+") })
}

/// The resident memory of a process.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Memory {
    /// Now.
    pub resident_mib: f64,
    /// The most it ever was.
    pub peak_mib: f64,
}

impl Memory {
    /// Of a running process.
    ///
    /// # Errors
    /// If it is gone.
    pub fn of(pid: u32) -> io::Result<Memory> {
        let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let mib = |name| {
            let kib: Option<f64> = field(&text, name).and_then(|value| value.split(' ').next()?.parse().ok());
            kib.map_or(0.0, |kib| kib / 1024.0)
        };
        Ok(Memory { resident_mib: mib("VmRSS"), peak_mib: mib("VmHWM") })
    }
}

/// How many bytes a process has caused to be written to the disk, less those that were deleted before.
///
/// # Errors
/// If it is gone, or belongs to another user.
pub fn written_bytes(pid: u32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/io"))?;
    let bytes = |name| field(&text, name).and_then(|value| value.parse::<u64>().ok()).unwrap_or(0);
    Ok(bytes("write_bytes").saturating_sub(bytes("cancelled_write_bytes")))
}

/// The value behind `name` and a colon.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, value) = text.lines().filter_map(|line| line.split_once(':')).find(|(key, _)| key.trim() == name)?;
    Some(value.trim())
}

/// The median of writing 4 KiB and syncing it, over and over in one place, as a log does in its file.
fn time_of_a_sync(folder: &Path) -> io::Result<Duration> {
    let mut file: File = tempfile::tempfile_in(folder)?;
    let mut times = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        file.seek(SeekFrom::Start(0))?;
        let started = Instant::now();
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        times.push(started.elapsed());
    }
    times.sort();
    Ok(times[SYNCS / 2])
}

/// The load average over one minute.
pub fn load_average() -> f64 {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().and_then(|first| first.parse().ok()).unwrap_or(f64::NAN)
}

/// The processor time used so far by the machine, by this program with the loads it ran, and by the servers.
#[derive(Clone, Debug)]
pub struct Used {
    busy: Duration,
    own: Duration,
    servers: Vec<Duration>,
    at: Instant,
}

/// What was used between two looks.
#[derive(Clone, Debug)]
pub struct Usage {
    /// By each server, in the order they were asked for.
    pub servers: Vec<Duration>,
    /// By this program and the loads it ran that have ended.
    pub own: Duration,
    /// By processes that are none of this benchmark's, and by the machines beside a virtual one: 1 is the whole machine.
    pub others_share: f64,
}

impl Used {
    /// Looks now.
    ///
    /// # Errors
    /// If /proc cannot be read, so also if a server is gone.
    pub fn look(servers: &[u32]) -> io::Result<Used> {
        let of = |pid: u32| fs::read_to_string(format!("/proc/{pid}/stat")).map(|text| times_of_process(&text));
        let servers = servers.iter().map(|&pid| of(pid).map(|(own, _)| own)).collect::<io::Result<_>>()?;
        let (own, of_ended_children) = times_of_process(&fs::read_to_string("/proc/self/stat")?);
        let busy = time_of_machine(&fs::read_to_string("/proc/stat")?);
        Ok(Used { busy, own: own + of_ended_children, servers, at: Instant::now() })
    }

    /// What was used since `earlier`.
    pub fn since(&self, earlier: &Used, cores: usize) -> Usage {
        let pairs = self.servers.iter().zip(&earlier.servers);
        let servers: Vec<Duration> = pairs.map(|(now, then)| now.saturating_sub(*then)).collect();
        let own = self.own.saturating_sub(earlier.own);
        let ours = own + servers.iter().sum::<Duration>();
        let others = self.busy.saturating_sub(earlier.busy).saturating_sub(ours);
        let whole = (self.at - earlier.at).as_secs_f64() * cores as f64;
        Usage { servers, own, others_share: others.as_secs_f64() / whole.max(f64::MIN_POSITIVE) }
    }
}

fn ticks<'a>(texts: impl Iterator<Item = &'a str>) -> Duration {
    TICK * texts.filter_map(|text| text.parse::<u32>().ok()).sum::<u32>()
}

/// A process's own processor time and that of its children that ended, from its `stat`.
fn times_of_process(stat: &str) -> (Duration, Duration) {
    // The name, in parentheses, may hold anything; behind it come field 3 and the further ones.
    let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let at = |number: usize| fields.iter().skip(number - 3).take(2).copied();
    (ticks(at(14)), ticks(at(16)))
}

/// The machine's time spent on anything but idling and waiting for disks, from /proc/stat.
fn time_of_machine(stat: &str) -> Duration {
    const IDLE: std::ops::RangeInclusive<usize> = 3..=4;
    // user nice system idle iowait irq softirq steal; the guests' times behind them are counted in user already.
    let fields = stat.lines().next().unwrap_or_default().split_whitespace().skip(1).take(8);
    ticks(fields.enumerate().filter(|(place, _)| !IDLE.contains(place)).map(|(_, text)| text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_past_a_nasty_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 1 2 3 4 100 20 3 4 20 0 1 0";
        assert_eq!(times_of_process(stat), (Duration::from_millis(1200), Duration::from_millis(70)));
    }

    #[test]
    fn idling_and_waiting_are_no_use() {
        let stat = "cpu  1 2 3 1000 2000 4 5 6 7 8\ncpu0 1 1 1 1\n";
        assert_eq!(time_of_machine(stat), TICK * 21);
    }

    #[test]
    fn this_machine_can_be_read() {
        let machine = Machine::look(Path::new("/tmp")).unwrap();
        assert!(machine.memory_gib > 0.1 && machine.cores > 0, "{machine}");
        let before = Used::look(&[std::process::id()]).unwrap();
        let usage = Used::look(&[std::process::id()]).unwrap().since(&before, machine.cores());
        assert_eq!(usage.servers.len(), 1);
        let memory = Memory::of(std::process::id()).unwrap();
        assert!(memory.peak_mib >= memory.resident_mib && memory.resident_mib > 0.1, "{memory:?}");
        written_bytes(std::process::id()).unwrap();
        assert!(Used::look(&[u32::MAX]).is_err(), "a server that is gone is told");
    }
}
