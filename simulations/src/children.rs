//! Many runs: one process each, for a process that lives in simulated time can only do so once.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::report::Report;

/// How long a run may take in real time before it counts as hanging.
const REAL_TIME_MAX: Duration = Duration::from_secs(300);
/// How often a run is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How much of what a run said last is shown when it could not run, bytes.
const LAST_WORDS_BYTES: usize = 600;

/// One run to be done.
#[derive(Clone, Debug)]
pub struct Task {
    /// Its seed.
    pub seed: u64,
    /// Its length, simulated minutes.
    pub minutes: u64,
    /// Its scenario.
    pub scenario: String,
    /// How many clients; `None`: the seed decides.
    pub clients: Option<u32>,
    /// The bug to plant.
    pub plant: Option<String>,
    /// Where what shows a violation goes.
    pub out: PathBuf,
}

/// What came of it; an error says why it could not run.
pub type Ended = Result<Box<Report>, String>;

/// Does one run in a process of its own.
pub fn run(task: &Task) -> Ended {
    let failed = |what: &'static str| move |error: std::io::Error| format!("{what}: {error}");
    let program = std::env::current_exe().map_err(failed("where is this program"))?;
    let mut said = tempfile::tempfile().map_err(failed("no room for what it says"))?;
    let mut errors = tempfile::tempfile().map_err(failed("no room for what it says"))?;
    let to = |file: &File| file.try_clone().map(Stdio::from).map_err(failed("no room for what it says"));
    let mut command = Command::new(program);
    command.args(["--json", "--seed", &task.seed.to_string(), "--minutes", &task.minutes.to_string()]);
    command.args(["--scenario", &task.scenario]).arg("--out").arg(&task.out);
    if let Some(clients) = task.clients {
        command.args(["--clients", &clients.to_string()]);
    }
    if let Some(bug) = &task.plant {
        command.args(["--plant", bug]);
    }
    command.stdin(Stdio::null()).stdout(to(&said)?).stderr(to(&errors)?);
    let mut child = command.spawn().map_err(failed("it does not start"))?;
    let began = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().map_err(failed("it is gone"))? {
            break status;
        }
        if began.elapsed() > REAL_TIME_MAX {
            child.kill().and_then(|()| child.wait()).map_err(failed("it hangs, and cannot be killed"))?;
            return Err(format!("it hung: killed after {} s", REAL_TIME_MAX.as_secs()));
        }
        thread::sleep(LOOK_EVERY);
    };
    let mut text = String::new();
    said.rewind().and_then(|()| said.read_to_string(&mut text)).map_err(failed("what it said cannot be read"))?;
    let report = text.lines().find(|line| line.starts_with('{')).map(serde_json::from_str::<Report>);
    match report {
        Some(Ok(report)) => Ok(Box::new(report)),
        Some(Err(error)) => Err(format!("its report cannot be read: {error}")),
        None => {
            let mut last = Vec::new();
            errors
                .rewind()
                .and_then(|()| errors.read_to_end(&mut last))
                .map_err(failed("what it said cannot be read"))?;
            let last = String::from_utf8_lossy(&last[last.len().saturating_sub(LAST_WORDS_BYTES)..]).into_owned();
            Err(format!("it ended with {status}: {}", last.trim()))
        }
    }
}

/// Does all of the tasks, `jobs` at a time, and shows what came of each, until that says that it is enough.
pub fn run_all(jobs: usize, tasks: impl Iterator<Item = Task> + Send, mut ended: impl FnMut(Task, Ended) -> bool) {
    let tasks = Mutex::new(Some(tasks));
    let next = || tasks.lock().unwrap_or_else(PoisonError::into_inner).as_mut().and_then(Iterator::next);
    thread::scope(|scope| {
        let (send, receive) = mpsc::channel();
        for _ in 0..jobs.max(1) {
            let (send, next) = (send.clone(), &next);
            scope.spawn(move || {
                while let Some(task) = next() {
                    let end = run(&task);
                    if send.send((task, end)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(send);
        for (task, end) in receive {
            if !ended(task, end) {
                // Those under way still end.
                *tasks.lock().unwrap_or_else(PoisonError::into_inner) = None;
            }
        }
    });
}

/// As many as there are cores.
pub fn jobs_default() -> usize {
    thread::available_parallelism().map_or(1, std::num::NonZero::get)
}
