//! The end of the log of one node is damaged, when that node and one that lagged behind are all there is: what was
//! acknowledged must not be lost, for two of three disks are whole.

use std::time::Duration;

use talon_cluster_tests::verify;
use talon_damage_tests::{Data, Random, copy_folder, files_below, last_segment};
use talon_tests_support::{Cluster, wait_until};

use crate::alone;

/// How long two nodes are watched: an election takes a second.
const WATCH: Duration = Duration::from_secs(6);

#[test]
fn the_damaged_end_of_one_log_does_not_help_to_lose_an_acknowledged_write() {
    let _turn = alone();
    let mut random = Random::new(9);
    let mut cluster = Cluster::start(3);
    let (leader, mut data) = (cluster.leader(), Data::new());
    let (witness, laggard) = ((leader + 1) % 3, (leader + 2) % 3);
    let mut client = cluster.connect_to_leader();
    data.write(&mut client, &mut random, "first", 200, 100).expect("writes are taken");
    std::thread::sleep(Duration::from_millis(300));
    cluster.nodes[laggard].kill();
    // Acknowledged by the leader and one follower.
    data.write(&mut client, &mut random, "second", 20, 100).expect("writes are taken");
    for node in [leader, witness] {
        cluster.nodes[node].kill();
    }
    let folders: Vec<_> = cluster.nodes.iter().map(|node| node.data.clone()).collect();
    let pristine: Vec<_> = (0..3).map(|node| cluster.folder().join(format!("pristine-{node}"))).collect();
    for (from, to) in folders.iter().zip(&pristine) {
        copy_folder(from, to).expect("a copy");
    }
    let files = files_below(&pristine[witness]).expect("its files");
    let segment = last_segment(&files).expect("a segment");
    let whole = std::fs::read(pristine[witness].join(segment)).expect("its bytes");
    let end = whole.iter().rposition(|byte| *byte != 0).expect("it was written to") + 1;
    let (mut refused, mut led) = (0, 0);
    let name = segment.file_name().expect("a name").to_string_lossy().into_owned();
    // One bit, the rest of the file gone, the rest overwritten with zeros: at places from the last byte on back.
    for (round, back) in
        [1, 20, 60, 150, 400, 1500, 3000].into_iter().flat_map(|back| [(0, back), (1, back), (2, back)])
    {
        for (from, to) in pristine.iter().zip(&folders) {
            copy_folder(from, to).expect("a copy");
        }
        let mut bytes = whole.clone();
        let at = end - back;
        match round {
            0 => bytes[at] ^= 16,
            1 => bytes.truncate(at),
            _ => bytes[at..].fill(0),
        }
        std::fs::write(folders[witness].join(segment), bytes).expect("damage");
        let what = ["a flipped bit", "a cut", "zeros"][round];
        for node in [witness, laggard] {
            std::fs::write(&cluster.nodes[node].log, "").expect("its log is emptied");
            cluster.nodes[node].start().expect("it can be started");
        }
        // Either it refuses its log, or the two agree: then nothing that matters was damaged.
        let mut leads = None;
        wait_until(WATCH, || {
            leads =
                [witness, laggard].into_iter().find(|node| cluster.nodes[*node].role().as_deref() == Some("master"));
            leads.is_some() || !cluster.nodes[witness].is_running()
        });
        match leads {
            Some(leads) => {
                led += 1;
                let mut client = cluster.nodes[leads].connect().expect("it serves");
                let wrong = data.compare(&mut client).expect("the leader answers");
                assert_eq!(wrong, None, "LOST: {what} {back} bytes before the end of {name}");
            }
            None => {
                refused += 1;
                let log = std::fs::read_to_string(&cluster.nodes[witness].log).expect("its log");
                assert!(!cluster.nodes[witness].is_running(), "it neither leads nor stops:\n{log}");
                assert!(log.contains(&name), "it does not name {name}:\n{log}");
                if refused == 1 {
                    println!("{what} {back} bytes before the end: {}", log.lines().last().unwrap_or_default());
                }
                // Wiped, as it asks for, it joins again and gets everything back once the third is there.
                std::fs::remove_dir_all(&folders[witness]).expect("it is wiped");
                cluster.nodes[witness].start().expect("it can be started");
            }
        }
        cluster.nodes[leader].start().expect("it can be started");
        cluster.wait_until_serving();
        let wrong = data.compare(&mut cluster.connect_to_leader()).expect("the leader answers");
        assert_eq!(wrong, None, "LOST in the end: {what} {back} bytes before the end of {name}");
        verify(&cluster);
        (0..3).for_each(|node| cluster.nodes[node].kill());
    }
    println!("the end of one log damaged in {} places: {refused} refused, {led} led on, nothing lost", refused + led);
    assert!(refused >= 10, "only {refused} were noticed");
}
