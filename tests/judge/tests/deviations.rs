//! The table of deviations is true, and is what the README says.

use talon_core::script::{Target, render, split_words};
use talon_judge::deviations::{DEVIATIONS, table};
use talon_judge::scripts::Server;
use talon_tests_support::{Cluster, RedisServer};

#[test]
fn each_deviation_that_can_be_shown_is_one() {
    let redis = RedisServer::start(&[]);
    let cluster = Cluster::start(1);
    for deviation in DEVIATIONS {
        let Some(example) = deviation.example else { continue };
        for (address, expected) in [(redis.address(), example.redis), (cluster.nodes[0].address(), example.talon)] {
            let mut server = Server::connect(address, false).expect("the server answers");
            let mut last = String::new();
            for command in example.commands {
                let words = split_words(command).expect("a readable command");
                last = render(&server.execute(&words).expect("a reply"));
            }
            assert!(last.starts_with(expected), "{}: {last}", deviation.subject);
        }
    }
}

#[test]
fn the_readme_has_the_table() {
    let readme = include_str!("../README.md");
    let table = table();
    assert!(readme.contains(&table), "tests/judge/README.md must hold this table:\n{table}");
}
