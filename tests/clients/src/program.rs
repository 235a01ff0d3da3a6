//! Programs that write with a client until they are told to end, and scripts that run to their end.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use talon_tests_support::wait_until;

use crate::{Outcome, Runner};

/// How many outcomes of a program are kept: minutes of writing.
const OUTCOMES_MAX: usize = 200_000;
/// How much of a program's complaints is kept.
const COMPLAINTS_BYTES_MAX: usize = 64 * 1024;
/// How long a program may take to end when its input has ended.
const END_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a script may run.
const SCRIPT_TIMEOUT: Duration = Duration::from_secs(120);

/// A program that writes until its input ends.
#[derive(Debug)]
pub struct Program {
    name: String,
    child: Child,
    outcomes: Arc<Mutex<Vec<Outcome>>>,
    complaints: Arc<Mutex<String>>,
    readers: Vec<thread::JoinHandle<()>>,
}

impl Program {
    /// Starts it with these words. Its name is for people.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(name: &str, runner: &Runner, words: &[String]) -> Program {
        let mut child = runner
            .command()
            .args(words)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let outcomes: Arc<Mutex<Vec<Outcome>>> = Arc::default();
        let (written, out) = (Arc::clone(&outcomes), BufReader::new(child.stdout.take().expect("its output")));
        let of_outcomes = thread::spawn(move || {
            for outcome in out.lines().map_while(Result::ok).filter_map(|line| Outcome::parse(&line)) {
                let mut all = written.lock().unwrap_or_else(PoisonError::into_inner);
                if all.len() < OUTCOMES_MAX {
                    all.push(outcome);
                }
            }
        });
        let complaints: Arc<Mutex<String>> = Arc::default();
        let (said, errors) = (Arc::clone(&complaints), child.stderr.take().expect("its errors"));
        let of_complaints = thread::spawn(move || keep_text(errors, &said));
        Program { name: name.to_owned(), child, outcomes, complaints, readers: vec![of_outcomes, of_complaints] }
    }

    /// How many of its writes have been acknowledged.
    ///
    /// # Panics
    /// If it has ended by itself.
    pub fn acknowledged(&mut self) -> usize {
        if let Some(ended) = self.child.try_wait().expect("its state") {
            self.readers.drain(..).for_each(|reader| reader.join().expect("a reader ends"));
            panic!("{} ended by itself, {ended}: {}", self.name, self.complaints());
        }
        let outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        outcomes.iter().filter(|outcome| matches!(outcome, Outcome::Acknowledged { .. })).count()
    }

    /// Waits until so many more writes have been acknowledged.
    ///
    /// # Panics
    /// If that takes longer than `timeout`.
    pub fn goes_on(&mut self, more: usize, timeout: Duration) {
        let target = self.acknowledged() + more;
        if !wait_until(timeout, || self.acknowledged() >= target) {
            let outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
            let last = &outcomes[outcomes.len().saturating_sub(3)..];
            panic!(
                "{} does not go on; {} outcomes, the last {last:?}: {}",
                self.name,
                outcomes.len(),
                self.complaints()
            );
        }
    }

    /// Ends it, and gives all outcomes.
    ///
    /// # Panics
    /// If it does not end.
    pub fn finish(mut self) -> Vec<Outcome> {
        drop(self.child.stdin.take());
        let ended = wait_until(END_TIMEOUT, || self.child.try_wait().expect("its state").is_some());
        assert!(ended, "{} does not end: {}", self.name, self.complaints());
        self.readers.drain(..).for_each(|reader| reader.join().expect("a reader ends"));
        std::mem::take(&mut *self.outcomes.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn complaints(&self) -> String {
        self.complaints.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads to the end, and keeps the beginning.
fn keep_text(from: impl Read, kept: &Mutex<String>) {
    for line in BufReader::new(from).lines().map_while(Result::ok) {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < COMPLAINTS_BYTES_MAX {
            kept.push_str(&line);
            kept.push('\n');
        }
    }
}

/// Runs a script to its end, and gives what it wrote.
///
/// # Panics
/// If it cannot be started, fails, or takes too long.
pub fn run(runner: &Runner, words: &[String]) -> String {
    let begun = Instant::now();
    let text = finish(runner.command().args(words), SCRIPT_TIMEOUT);
    let text = text.unwrap_or_else(|error| panic!("{}: {error}", runner.name()));
    println!("{}: {} ms", runner.name(), begun.elapsed().as_millis());
    text
}

/// Runs a command to its end; what it wrote, or why it failed.
pub(crate) fn finish(command: &mut Command, timeout: Duration) -> Result<String, String> {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.map_err(|error| format!("{command:?}: {error}"))?;
    let texts: [Arc<Mutex<String>>; 2] = Default::default();
    let (out, errors) = (child.stdout.take().expect("its output"), child.stderr.take().expect("its errors"));
    let [out_text, errors_text] = texts.clone();
    let readers =
        [thread::spawn(move || keep_text(out, &out_text)), thread::spawn(move || keep_text(errors, &errors_text))];
    let ended = wait_until(timeout, || child.try_wait().is_ok_and(|status| status.is_some()));
    // It may have ended already.
    let _ = child.kill();
    let status = child.wait().map_err(|error| error.to_string())?;
    readers.into_iter().for_each(|reader| reader.join().expect("a reader ends"));
    let [out, errors] = texts.map(|text| std::mem::take(&mut *text.lock().unwrap_or_else(PoisonError::into_inner)));
    match (ended, status.success()) {
        (true, true) => Ok(out),
        (true, false) => Err(format!("{command:?}: {status}\n{out}{errors}")),
        (false, _) => Err(format!("{command:?}: not ended after {timeout:?}\n{out}{errors}")),
    }
}
