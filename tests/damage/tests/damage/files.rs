//! Files are damaged while a node is down: it refuses them by name, or gets from its peers what it lacks, and never serves
//! wrong data.
//!
//! `DAMAGE_SEED` and `DAMAGE_PLACES` choose other places, or one of them again.

use std::io;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use talon_cluster_tests::{is_long, talon};
use talon_damage_tests::{Data, FileKind, Harm, Random, Report, Verdict, choose, copy_folder, files_below};
use talon_tests_support::{Client, Cluster, ClusterOptions, Node, Process};

use crate::alone;

/// How long a damaged node may take until it serves, or ends.
const START_MAX: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(5);

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Three nodes with some MB: several tables and segments, ranges deleted, and entries behind the last checkpoint.
fn cluster_with_data(random: &mut Random) -> (Cluster, Data) {
    let options = ClusterOptions::nodes(3)
        .flag("--log-segment-bytes", "1048576")
        .flag("--log-bytes-before-checkpoint", "1048576")
        .flag("--log-bytes-max", "33554432");
    let cluster = Cluster::start_with(&options);
    let mut leader = cluster.connect_to_leader();
    let mut data = Data::new();
    for round in 0..6 {
        data.write(&mut leader, random, &format!("r{round}"), 1200, 900).expect("writes are taken");
        data.write(&mut leader, random, "again", 200, 300).expect("writes are taken");
        data.write(&mut leader, random, &format!("gone{round}"), 300, 100).expect("writes are taken");
        data.delete_prefix(&mut leader, &format!("gone{round}")).expect("a prefix is deleted");
        // The node looks twice a second whether a checkpoint is due.
        sleep(Duration::from_millis(700));
    }
    data.write(&mut leader, random, "last", 300, 400).expect("writes are taken");
    // A checkpoint made while the node is down would come to it and cover the damage.
    sleep(Duration::from_millis(1_500));
    (cluster, data)
}

#[test]
fn a_node_with_a_damaged_file_never_serves_wrong_data() {
    let _turn = alone();
    let seed = number("DAMAGE_SEED", 20);
    let places = number("DAMAGE_PLACES", if is_long() { 2_000 } else { 200 });
    let mut random = Random::new(seed);
    let (mut cluster, data) = cluster_with_data(&mut random);
    let victim = (cluster.leader() + 1) % 3;
    cluster.nodes[victim].kill();
    let folder = cluster.nodes[victim].data.clone();
    let pristine = cluster.folder().join("pristine");
    copy_folder(&folder, &pristine).expect("a copy");
    let files = files_below(&pristine).expect("its files");
    println!("seed {seed}, {places} places, {} keys; the files: {}", data.len(), describe(&pristine, &files));
    let (mut report, mut wrongs, begun) = (Report::default(), Vec::new(), Instant::now());
    for place in 1..=places {
        let harm = choose(&pristine, &files, &mut random).expect("a place");
        copy_folder(&pristine, &folder).expect("a copy");
        harm.strike(&folder).expect("a blow");
        match judge(&mut cluster, victim, &data, &harm) {
            Ok(verdict) => report.add(&harm, &verdict),
            Err(wrong) => {
                println!("WRONG, seed {seed}, place {place}, {harm}: {wrong}");
                wrongs.push(format!("place {place}, {harm}"));
                cluster.nodes[victim].kill();
            }
        }
    }
    println!("{report}{places} places in {:.1} s", begun.elapsed().as_secs_f64());
    assert!(wrongs.is_empty(), "seed {seed}: {wrongs:#?}");
    assert_eq!(report.places(), places);
    assert!(report.noticed() * 4 > places, "less than a quarter was noticed: the blows do not hit");
    // And the folder as it was is as good as ever.
    copy_folder(&pristine, &folder).expect("a copy");
    cluster.nodes[victim].start().expect("it can be started");
    cluster.wait_until_serving();
    talon_cluster_tests::verify(&cluster);
}

fn describe(folder: &Path, files: &[PathBuf]) -> String {
    let sizes = files.iter().map(|file| {
        let bytes = std::fs::metadata(folder.join(file)).map_or(0, |metadata| metadata.len());
        format!("{} ({bytes})", file.display())
    });
    sizes.collect::<Vec<_>>().join(", ")
}

/// Starts the node on what is in its folder, and says how it took it. An error is what must never be.
fn judge(cluster: &mut Cluster, victim: usize, data: &Data, harm: &Harm) -> Result<Verdict, String> {
    let others = cluster.leader();
    let node = &mut cluster.nodes[victim];
    std::fs::write(&node.log, "").map_err(|error| error.to_string())?;
    node.start().map_err(|error| error.to_string())?;
    let served = until_served(node)?;
    let compared = match served {
        None => return refusal(node, harm, false),
        Some(mut client) => data.compare(&mut client),
    };
    match compared {
        Ok(Some(wrong)) => return Err(format!("WRONG DATA: {wrong}\n{}", words(node))),
        Ok(None) => {}
        Err(error) => return stopped(node, harm, &error),
    }
    // What no client has asked for (rows that have ended, the expiry index) is in the hash.
    let grpc = format!("127.0.0.1:{}", cluster.nodes[others].grpc_port);
    let verified = talon(&["cluster", "verify", "--json", "--at", &grpc]);
    let node = &mut cluster.nodes[victim];
    if verified.code != Some(0) {
        let error = io::Error::other(format!("verify: {} {}", verified.out.trim(), verified.complaint.trim()));
        return stopped(node, harm, &error);
    }
    if !node.is_running() {
        return Err(format!("it ended after it was found equal:\n{}", words(node)));
    }
    node.kill();
    let log = words(node);
    let mending = ["cut a torn write", "installed a checkpoint", "damaged", "was not kept"];
    let mended = log.lines().find(|line| mending.iter().any(|word| line.contains(word)));
    Ok(mended.map_or(Verdict::Harmless, |line| Verdict::Repaired(plain(line))))
}

/// Waits until it serves; `None` if it ends instead.
fn until_served(node: &mut Node) -> Result<Option<Client>, String> {
    let end = Instant::now() + START_MAX;
    while node.is_running() {
        if let Ok(client) = node.connect() {
            client.set_timeout(Duration::from_secs(20)).map_err(|error| error.to_string())?;
            return Ok(Some(client));
        }
        if Instant::now() > end {
            return Err(format!("it neither serves nor ends:\n{}", words(node)));
        }
        sleep(LOOK_EVERY);
    }
    Ok(None)
}

/// It did not answer: then it must have stopped, and said why.
fn stopped(node: &mut Node, harm: &Harm, error: &io::Error) -> Result<Verdict, String> {
    let end = Instant::now() + START_MAX;
    while node.is_running() {
        if Instant::now() > end {
            return Err(format!("it does not answer ({error}) and does not end:\n{}", words(node)));
        }
        sleep(LOOK_EVERY);
    }
    refusal(node, harm, true)
}

/// It has ended: with an exit code of its own, and words that name the file.
fn refusal(node: &mut Node, harm: &Harm, served: bool) -> Result<Verdict, String> {
    let status = node.process().and_then(Process::exit_status).ok_or("it has not ended")?;
    let log = words(node);
    if status.code() != Some(1) {
        return Err(format!("it ended with {status}:\n{log}"));
    }
    let name = harm.file_name();
    let complaint = |line: &&str| line.starts_with("talon: ") || plain(line).contains(" ERROR ");
    // Of a table whose list of properties is bad, RocksDB names only the MANIFEST that speaks of the table.
    let unnamed = |line: &&str| harm.kind == FileKind::Table && line.contains("properties") && line.contains("live-1");
    let named = log.lines().filter(complaint).find(|line| line.contains(&name) || unnamed(line));
    let Some(line) = named else {
        return Err(format!("it ended and did not name {name}:\n{log}"));
    };
    let message = plain(line);
    Ok(if served { Verdict::Stopped(message) } else { Verdict::Refused(message) })
}

fn words(node: &Node) -> String {
    String::from_utf8_lossy(&std::fs::read(&node.log).unwrap_or_default()).into_owned()
}

/// A line without its colours, the time, and the folder.
fn plain(line: &str) -> String {
    let mut text = String::new();
    let mut coloured = false;
    for letter in line.chars() {
        match letter {
            '\u{1b}' => coloured = true,
            'm' if coloured => coloured = false,
            _ if !coloured => text.push(letter),
            _ => {}
        }
    }
    text
}
