//! A child process with its log in a file.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How many of the last lines of a log are shown when a test fails.
const LOG_LINES_SHOWN: usize = 40;
/// How often [`wait_until`] looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

type Start = (Command, mpsc::Sender<io::Result<Child>>);

/// The thread that starts all children. The kernel ends them when the thread that started them ends, and a test's own
/// thread may end long before the process that other tests still use.
static STARTER: LazyLock<Mutex<mpsc::SyncSender<Start>>> = LazyLock::new(|| {
    let (sender, receiver) = mpsc::sync_channel::<Start>(16);
    thread::spawn(move || {
        for (mut command, answer) in receiver {
            // Nobody waits for the answer any more only if the asking thread is gone.
            let _ = answer.send(command.spawn());
        }
    });
    Mutex::new(sender)
});

/// A running child. It is killed when this is dropped, and by the kernel when the test's process dies.
#[derive(Debug)]
pub struct Process {
    child: Child,
    name: String,
    log: PathBuf,
}

impl Process {
    /// Starts `program`; what it writes is added to the file `log`.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start<A: AsRef<std::ffi::OsStr>>(name: &str, program: &Path, args: &[A], log: &Path) -> io::Result<Process> {
        let file = File::options().create(true).append(true).open(log)?;
        // setpriv becomes the program, so the process id is the program's own.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--"]).arg(program).args(args);
        // What is meant for the tests would look like misspelt settings to a node.
        command.env_remove("TALON_BIN").env_remove("TALON_LONG");
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let (answer, answered) = mpsc::channel();
        let gone = |_| io::Error::other("the starting thread is gone");
        let starter = STARTER.lock().unwrap_or_else(PoisonError::into_inner).clone();
        starter.send((command, answer)).map_err(|_| io::Error::other("the starting thread is gone"))?;
        let child = answered.recv().map_err(gone)??;
        Ok(Process { child, name: name.to_owned(), log: log.to_owned() })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// How it ended; `None` while it runs.
    pub fn exit_status(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends a signal, such as SIGSTOP.
    ///
    /// # Errors
    /// If the process is gone.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        kill(Pid::from_raw(self.child.id() as i32), signal).map_err(io::Error::from)
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Errors
    /// If it does not end in time; then it is killed.
    pub fn terminate(&mut self, timeout: Duration) -> io::Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        let mut status = None;
        let child = &mut self.child;
        let in_time = wait_until(timeout, || {
            status = child.try_wait().ok().flatten();
            status.is_some()
        });
        match status.filter(|_| in_time) {
            Some(status) => Ok(status),
            None => {
                self.kill();
                Err(io::Error::other(format!("{} did not end within {timeout:?}", self.name)))
            }
        }
    }

    /// The last lines it wrote.
    pub fn last_lines(&self) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            eprintln!("--- the last lines of {}\n{}", self.name, self.last_lines());
        }
    }
}

/// Looks again and again until `is_so`; whether it was in time.
pub fn wait_until(timeout: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + timeout;
    loop {
        if is_so() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        thread::sleep(LOOK_EVERY);
    }
}
