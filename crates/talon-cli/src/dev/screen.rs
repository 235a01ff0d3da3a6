//! What `talon dev` shows: its own words and the nodes' log lines, each behind its node's name.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use anstyle::{AnsiColor, Color, Style};

/// How many lines may wait for a slow terminal. What comes on top is dropped and counted: a stopped terminal
/// must never stop the nodes, whose log lines come through pipes.
const LINES_MAX: usize = 4096;

const COLORS: [AnsiColor; 6] =
    [AnsiColor::Cyan, AnsiColor::Yellow, AnsiColor::Magenta, AnsiColor::Green, AnsiColor::Blue, AnsiColor::Red];

/// Where lines go. Clones write to the same place.
#[derive(Clone)]
pub struct Screen {
    lines: SyncSender<String>,
    dropped: Arc<AtomicU64>,
    colored: bool,
}

impl Screen {
    /// Starts to write to standard output; the handle ends when all screens are gone and everything is written.
    pub fn start() -> (Screen, JoinHandle<()>) {
        let (lines, queue) = sync_channel(LINES_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&dropped);
        let writer = std::thread::spawn(move || write_lines(&queue, &counter));
        (Screen { lines, dropped, colored: io::stdout().is_terminal() }, writer)
    }

    /// A line of `talon dev` itself.
    pub fn say(&self, line: impl AsRef<str>) {
        let prefix = self.painted("talon dev", Style::new().bold());
        self.push(format!("{prefix} | {}\n", line.as_ref()));
    }

    /// A log line of a node.
    pub fn log(&self, node: u16, line: &str) {
        let color = COLORS[usize::from(node.saturating_sub(1)) % COLORS.len()];
        let prefix = self.painted(&format!("node {node}   "), Style::new().fg_color(Some(Color::Ansi(color))));
        self.push(format!("{prefix} | {line}\n"));
    }

    fn painted(&self, text: &str, style: Style) -> String {
        if self.colored { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    fn push(&self, line: String) {
        if let Err(TrySendError::Full(_)) = self.lines.try_send(line) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn write_lines(queue: &Receiver<String>, dropped: &AtomicU64) {
    let mut out = io::stdout();
    for line in queue {
        // Nobody reads any more: the nodes run on, and signals still end them.
        let _ = out.write_all(line.as_bytes());
        let count = dropped.swap(0, Ordering::Relaxed);
        if count > 0 {
            let _ = writeln!(out, "talon dev | {count} log lines were dropped, for nobody read them");
        }
        let _ = out.flush();
    }
}
