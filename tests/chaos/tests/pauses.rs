//! The leader's process is stopped (SIGSTOP) under reads and writes, and goes on as if no time had passed.
//!
//! Requests wait at it while others take over and write, so that its first answers come when it does not know yet. Some wait on
//! connections that it served before; some were never accepted.

use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal::{SIGCONT, SIGSTOP};
use talon_chaos_tests::{
    Line, Load, Patience, Plan, Post, Recorder, Target, any, assert_equal_nodes, assert_right, is_long, targets,
    wait_until_whole,
};
use talon_history::{Action, History, Outcome};
use talon_tests_support::Cluster;

/// Clients that look elsewhere soon, and clients that wait for the node that sleeps.
const POSTS: [Patience; 5] = [Patience::SHORT, Patience::SHORT, Patience::SHORT, Patience::LONG, Patience::LONG];
const AWAKE: [usize; 3] = [0, 1, 2];
/// Writes that are under way when the leader is stopped: what the followers say to them is read only when it goes on. openraft
/// once took that for replies to what it had sent behind the pause, and let it read.
const UNDER_WAY: u64 = 4;
/// Within this time before the stop they are sent.
const UNDER_WAY_WITHIN: Duration = Duration::from_millis(3);
/// Requests that wait at the sleeping leader, on connections from before, and on new ones.
const WAITING: u64 = 12;
const KNOCKING: u64 = 4;
/// How many reads each of those makes in a row when the leader is awake again.
const READS_BEHIND: u64 = 50;
const GOES_ON: u64 = 10;
const GOES_ON_WITHIN: Duration = Duration::from_secs(60);

/// Someone with a request at the sleeping leader. It is sent at a random moment of the pause.
struct Waiting {
    line: Option<Line>,
    leader: Target,
    register: String,
    action: Action,
    recorder: Recorder,
}

impl Waiting {
    /// Sends it within so long, and reads on as soon as there is an answer.
    fn start(mut self, within: Duration) -> JoinHandle<(History, u64)> {
        thread::spawn(move || {
            let (mut history, mut answered) = (History::new(), 0);
            thread::sleep(Duration::from_micros(any(within.as_micros() as u64)));
            let opened = || Line::open(self.leader, Patience::LONG, &self.recorder).ok();
            let Some(mut line) = self.line.take().or_else(opened) else { return (history, answered) };
            let mut outcome = line.call(self.action, &mut history);
            for _ in 0..READS_BEHIND {
                if !matches!(outcome, Outcome::Reply(_)) {
                    break;
                }
                answered += u64::from(line.is_leaders);
                outcome = line.call(Action::get(self.register.as_str()), &mut history);
            }
            (history, answered)
        })
    }
}

fn round(number: usize, pause: Duration, cluster: &mut Cluster) {
    cluster.wait_until_serving();
    let (plan, recorder, targets) = (Plan::new(&format!("pause{number}")), Recorder::start(), targets(cluster));
    let posts = POSTS.map(|patience| Post { seat: None, patience });
    let load = Load::start(&posts, &targets, &plan, &recorder);
    assert!(load.goes_on(&[0, 1, 2, 3, 4], GOES_ON, GOES_ON_WITHIN), "before any fault: {:?}", load.answered());

    let place = cluster.leader();
    let leader = targets[place];
    let waiting = |line: Option<Line>, register: String, action: Action| Waiting {
        line,
        leader,
        register,
        action,
        recorder: recorder.clone(),
    };
    let open = || Line::open(leader, Patience::LONG, &recorder).expect("it serves");
    let under_way = (0..UNDER_WAY).map(|number| {
        let register = plan.register(number);
        waiting(Some(open()), register.clone(), Action::set(register, plan.new_value()))
    });
    let under_way: Vec<Waiting> = under_way.collect();
    let asleep = (0..WAITING + KNOCKING).map(|number| {
        // Most of them read what others overwrite meanwhile.
        let register = plan.register(number);
        let action = if number % 4 < 3 { Action::get(register.as_str()) } else { plan.any_action() };
        waiting((number < WAITING).then(open), register, action)
    });
    let asleep: Vec<Waiting> = asleep.collect();
    let mut running: Vec<_> = under_way.into_iter().map(|waiting| waiting.start(UNDER_WAY_WITHIN)).collect();
    thread::sleep(UNDER_WAY_WITHIN);
    cluster.nodes[place].process().expect("it runs").signal(SIGSTOP).expect("it can be stopped");
    let stopped = Instant::now();
    running.extend(asleep.into_iter().map(|waiting| waiting.start(pause)));
    let before: u64 = AWAKE.iter().map(|post| load.answered()[*post].writes).sum();
    thread::sleep(pause);
    let meanwhile = AWAKE.iter().map(|post| load.answered()[*post].writes).sum::<u64>() - before;
    cluster.nodes[place].process().expect("it runs").signal(SIGCONT).expect("it can go on");
    let paused = stopped.elapsed();

    let whole_after = wait_until_whole(cluster, &load, posts.len());
    let (mut histories, mut answered) = (load.stop(), 0);
    for waiting in running {
        let (history, count) = waiting.join().expect("it ends");
        histories.push(history);
        answered += count;
    }
    let seen = assert_right(histories, &plan, &targets, &recorder);
    assert_equal_nodes(cluster);
    println!(
        "round {number}: the leader slept {} ms, and the others acknowledged {meanwhile} writes; awake, it answered {answered} of the calls that \
         waited; whole after {} ms; {seen}",
        paused.as_millis(),
        whole_after.as_millis()
    );
}

#[test]
fn a_leader_that_slept_answers_nothing_old() {
    let mut cluster = Cluster::start(3);
    let pauses_ms: Vec<u64> = match is_long() {
        true => [1000, 1300, 2000, 5000, 10_000, 30_000].into_iter().cycle().take(24).collect(),
        false => vec![1000, 1000 + any(700), 1000 + any(700), 1600, 2000, 5000],
    };
    for (place, pause_ms) in pauses_ms.into_iter().enumerate() {
        round(place + 1, Duration::from_millis(pause_ms), &mut cluster);
    }
}
