//! A cluster whose nodes are killed again and again while clients write.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use talon_cluster_tests::{AllBooks, Load, LoadOptions, Totals, verify};
use talon_tests_support::{Cluster, ClusterOptions, Node};

use crate::{Ballast, any, talon_lossy};

const WRITERS: usize = 6;
/// Between two writes of one writer. There is more to gain from more kills than from more writes.
const WRITER_REST: Duration = Duration::from_millis(4);
/// So many writes are acknowledged between two kills, if the nodes are to get that far at all.
const WRITES_BETWEEN: u64 = 30;
/// The same where only kills of all nodes are wanted.
const WRITES_BETWEEN_ALL: u64 = 600;
/// How long writes may take to go on.
const GOES_ON_MAX: Duration = Duration::from_secs(30);
/// So many kills, then quiet, and the books are checked.
const KILLS_A_ROUND: u64 = 10;
/// How long a node may be left alone, after it was started or while it is down, ms.
const REST_MS_MAX: u64 = 300;
/// Once a round one is down until the others have written so much: more than they keep for it, if they have made a
/// checkpoint meanwhile.
const ABSENCE_BYTES: u64 = 6 << 20;

/// Who loses power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Victims {
    /// One, two or all nodes, in each state they can be in.
    Any,
    /// All nodes at once, and only after many writes.
    All,
}

/// What was done, and what came of it.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Kills of one, of two, and of all three nodes.
    pub kills: [u64; 3],
    /// How many of them came before the nodes served again after the last one.
    pub during_start: u64,
    /// How often a node found a torn write at the end of its log.
    pub torn: u64,
    /// Checkpoints that were installed.
    pub installed: u64,
    /// What became of the writes.
    pub totals: Totals,
    /// The longest time in which nothing was acknowledged.
    pub gap_max: Duration,
    /// Rows of each node at the end.
    pub rows: u64,
}

/// A cluster that is being killed.
#[derive(Debug)]
pub struct Kills {
    cluster: Cluster,
    victims: Victims,
    report: Report,
    rounds: Vec<AllBooks>,
}

impl Kills {
    /// Starts three nodes: `talon-lossy` with these words before it, and these flags.
    ///
    /// # Panics
    /// If they do not come to serve, or are of another build.
    pub fn start(words: &[&str], flags: &[(&str, &str)], victims: Victims) -> Kills {
        let program = words.iter().map(|word| (*word).to_owned()).chain([talon_lossy().display().to_string()]);
        let options = ClusterOptions::nodes(3).program(program);
        let options = flags.iter().fold(options, |options, (flag, value)| options.flag(flag, value));
        let cluster = Cluster::start_with(&options);
        let forgets = said(&cluster.nodes[0], "BUILT FOR TESTS OF POWER CUTS") > 0;
        assert!(forgets, "this is an ordinary build: a kill would take nothing");
        Kills { cluster, victims, report: Report::default(), rounds: Vec::new() }
    }

    /// Kills so many times, with a check after every few; and a last check of everything.
    ///
    /// # Panics
    /// If an acknowledged write is lost, a refused one is there, a counter is out of its bounds, or the nodes differ.
    pub fn run(mut self, kills: u64) -> Report {
        let mut left = kills;
        while left > 0 {
            let round = left.min(KILLS_A_ROUND);
            self.round(round);
            left -= round;
        }
        // What later rounds did must not have touched the earlier ones.
        let mut leader = self.cluster.connect_to_leader();
        for books in &mut self.rounds {
            books.check(&mut leader);
        }
        for node in &self.cluster.nodes {
            self.report.torn += said(node, "cut a torn write off the log");
            self.report.installed += said(node, "the checkpoint is installed");
        }
        self.report
    }

    fn round(&mut self, kills: u64) {
        let begun = Instant::now();
        let prefix = format!("round{}", self.rounds.len() + 1);
        let addresses: Vec<SocketAddr> = self.cluster.nodes.iter().map(Node::address).collect();
        let options = LoadOptions { rest: WRITER_REST, ..LoadOptions::new(&prefix, WRITERS) };
        let load = Load::start(&addresses, &options);
        let ballast = Ballast::start(&addresses, &prefix);
        for kill in 0..kills {
            // Now and then in the middle of a start, even of the first election after it.
            let during_start = kill > 0 && self.victims == Victims::Any && any(4) == 0;
            if during_start {
                self.report.during_start += 1;
            } else {
                self.cluster.wait_until_serving();
                let writes = if self.victims == Victims::All { WRITES_BETWEEN_ALL } else { WRITES_BETWEEN };
                assert!(load.goes_on(writes, GOES_ON_MAX), "writes do not go on");
            }
            if kill == kills / 2 && self.victims == Victims::Any {
                self.absence(&ballast);
            } else {
                self.kill(&load, during_start);
            }
        }
        self.cluster.wait_until_serving();
        assert!(load.goes_on(WRITES_BETWEEN, GOES_ON_MAX), "writes do not go on after all nodes are back");
        let gap = load.gap();
        let mut books = load.stop();
        let mut leader = self.cluster.connect_to_leader();
        let totals = books.check(&mut leader);
        ballast.check(&prefix, &mut leader);
        self.report.rows = verify(&self.cluster);
        println!(
            "{prefix}: {kills} kills; {totals}; {} looks; longest gap {} ms; errors {:?}; {} rows equal on all nodes; {} ms",
            books.observations,
            gap.as_millis(),
            books.errors(),
            self.report.rows,
            begun.elapsed().as_millis()
        );
        self.report.totals += &totals;
        self.report.gap_max = self.report.gap_max.max(gap);
        self.rounds.push(books);
    }

    /// One node loses power and gets it back so late that the log alone hardly brings it up to date.
    fn absence(&mut self, ballast: &Ballast) {
        let node = &mut self.cluster.nodes[any(3) as usize];
        node.kill();
        assert!(ballast.goes_on(ABSENCE_BYTES, GOES_ON_MAX), "two of three nodes do not go on");
        node.start().expect("it can be started again");
        self.report.kills[0] += 1;
    }

    /// One, two or all nodes lose power and get it back.
    fn kill(&mut self, load: &Load, anyone: bool) {
        let count = if self.victims == Victims::All { 3 } else { 1 + any(3) as usize };
        // The leader is among them half of the time, if there is one.
        let first =
            if anyone { any(3) as usize } else { self.cluster.leader() + any(2) as usize * (1 + any(2) as usize) };
        let places: Vec<usize> = (first..first + count).map(|place| place % 3).collect();
        std::thread::sleep(Duration::from_millis(any(REST_MS_MAX)));
        // SIGKILL to all of them first: waiting for one to be gone would give the others time.
        for place in &places {
            let process = self.cluster.nodes[*place].process().expect("it was started");
            assert!(process.is_running(), "node {place} ended by itself: {}", process.last_lines());
            process.signal(Signal::SIGKILL).expect("it can be killed");
        }
        places.iter().for_each(|place| self.cluster.nodes[*place].kill());
        if count == 1 && !anyone {
            assert!(load.goes_on(WRITES_BETWEEN, GOES_ON_MAX), "two of three nodes do not go on");
        }
        std::thread::sleep(Duration::from_millis(any(REST_MS_MAX)));
        for place in places {
            self.cluster.nodes[place].start().expect("it can be started again");
        }
        self.report.kills[count - 1] += 1;
    }
}

/// How often a node has said this in its log.
fn said(node: &Node, words: &str) -> u64 {
    std::fs::read_to_string(&node.log).expect("its log").matches(words).count() as u64
}
