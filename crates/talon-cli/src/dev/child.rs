//! One server process of `talon dev`.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::screen::Screen;

/// How long a node may take to drain and hand leadership over before it is killed.
pub const END_TIMEOUT: Duration = Duration::from_secs(20);

/// How a process is started.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The node's number.
    pub node: u16,
    /// This very binary.
    pub program: PathBuf,
    /// `server` and its flags.
    pub arguments: Vec<OsString>,
}

/// A process has ended.
#[derive(Debug)]
pub struct Ended {
    /// The node's number.
    pub node: u16,
    /// How.
    pub status: io::Result<ExitStatus>,
    /// Whether it had to be killed, for it did not end in time.
    pub killed: bool,
}

impl Launch {
    /// Starts the process and watches it: its log lines go to `screen`, its end to `ended`; once `end` is cancelled it is
    /// told to end. Returns its process id.
    ///
    /// # Errors
    /// If the operating system refuses.
    pub fn start(&self, screen: &Screen, ended: mpsc::Sender<Ended>, end: CancellationToken) -> io::Result<u32> {
        let mut child = Command::new(&self.program)
            .args(&self.arguments)
            .arg("--parent-pid")
            .arg(std::process::id().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // A group of its own: a Ctrl-C on the terminal is for `talon dev`, which ends the nodes in order.
            .process_group(0)
            .spawn()?;
        let pid = child.id().ok_or_else(|| io::Error::other("the process ended at once"))?;
        for pipe in [child.stdout.take().map(readable), child.stderr.take().map(readable)].into_iter().flatten() {
            tokio::spawn(forward(pipe, self.node, screen.clone()));
        }
        let node = self.node;
        tokio::spawn(async move {
            let (status, killed) = watch(&mut child, pid, end).await;
            // Nobody listens only when `talon dev` itself is at its end.
            let _ = ended.send(Ended { node, status, killed }).await;
        });
        Ok(pid)
    }

    /// The words by which a person starts this node by hand; passwords are left for them to fill in.
    pub fn by_hand(&self) -> String {
        let mut words = vec![quoted(&self.program.to_string_lossy())];
        let mut is_secret = false;
        for word in self.arguments.iter().map(|word| word.to_string_lossy()) {
            let (flag, value) = word.split_once('=').map_or((&*word, None), |(flag, value)| (flag, Some(value)));
            words.push(match (SECRET_FLAGS.contains(&flag), value) {
                _ if is_secret => "SECRET".to_owned(),
                (true, Some(_)) => format!("{flag}=SECRET"),
                _ => quoted(&word),
            });
            is_secret = SECRET_FLAGS.contains(&flag) && value.is_none();
        }
        words.join(" ")
    }
}

/// The flags whose values are not shown.
const SECRET_FLAGS: [&str; 2] = ["--requirepass", "--cluster-secret"];

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./:=,@+".contains(letter);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

type Pipe = Box<dyn AsyncRead + Send + Unpin>;

fn readable(pipe: impl AsyncRead + Send + Unpin + 'static) -> Pipe {
    Box::new(pipe)
}

async fn forward(pipe: Pipe, node: u16, screen: Screen) {
    let mut reader = BufReader::new(pipe);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).await.is_ok_and(|count| count > 0) {
        screen.log(node, String::from_utf8_lossy(&line).trim_end());
        line.clear();
    }
}

/// Waits for the end of the process. It is not reaped before, so its id cannot belong to another meanwhile.
async fn watch(child: &mut Child, pid: u32, end: CancellationToken) -> (io::Result<ExitStatus>, bool) {
    tokio::select! {
        status = child.wait() => return (status, false),
        () = end.cancelled() => {}
    }
    if let Ok(pid) = i32::try_from(pid) {
        // It may have ended by itself in this moment; the wait below knows.
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
    match tokio::time::timeout(END_TIMEOUT, child.wait()).await {
        Ok(status) => (status, false),
        Err(_) => {
            let _ = child.start_kill();
            (child.wait().await, true)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_a_shell() {
        let launch = Launch {
            node: 1,
            program: "/usr/bin/talon".into(),
            arguments: ["server", "--data-dir", "/my data/it's"].map(OsString::from).into(),
        };
        assert_eq!(launch.by_hand(), "/usr/bin/talon server --data-dir '/my data/it'\\''s'");
    }

    #[test]
    fn secrets_are_left_out() {
        let arguments = ["server", "--requirepass", "open", "--cluster-secret=sesame", "--node-id", "1"];
        let launch = Launch { node: 1, program: "talon".into(), arguments: arguments.map(OsString::from).into() };
        assert_eq!(launch.by_hand(), "talon server --requirepass SECRET --cluster-secret=SECRET --node-id 1");
    }

    #[tokio::test]
    async fn a_process_is_watched_and_ended() {
        let (screen, _writer) = Screen::start();
        let (ended, mut ends) = mpsc::channel(4);
        let end = CancellationToken::new();
        // `sh -c … --parent-pid N`: the words behind the script are its arguments.
        let launch = |node, script: &str| Launch {
            node,
            program: "/bin/sh".into(),
            arguments: ["-c", script].map(OsString::from).into(),
        };
        launch(1, "exit 3").start(&screen, ended.clone(), end.clone()).unwrap();
        let first = ends.recv().await.unwrap();
        assert_eq!((first.node, first.status.unwrap().code(), first.killed), (1, Some(3), false));
        launch(2, "trap 'exit 0' TERM; while :; do sleep 0.05; done").start(&screen, ended, end.clone()).unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        end.cancel();
        let second = ends.recv().await.unwrap();
        assert_eq!((second.node, second.status.unwrap().code(), second.killed), (2, Some(0), false));
    }
}
