//! `crates/talon-server/COMMANDS.md` says which commands there are.

use std::path::Path;

use talon_judge::commands::{Commands, Described, page};
use talon_resp::Value;
use talon_tests_support::{Client, Cluster, RedisServer};

/// What a server says of its commands.
fn described(client: &mut Client) -> Commands {
    let mut commands = Commands::new();
    add(&client.call(&["COMMAND", "DOCS"]).expect("an answer"), &mut commands);
    commands
}

fn text(value: &Value) -> String {
    match value {
        Value::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        Value::Simple(text) => text.clone(),
        other => panic!("no text: {other:?}"),
    }
}

/// A flat list of names and values.
fn pairs(value: &Value) -> Vec<(String, &Value)> {
    let Value::Array(items) = value else { panic!("no pairs: {value:?}") };
    items.chunks_exact(2).map(|pair| (text(&pair[0]), &pair[1])).collect()
}

fn add(docs: &Value, commands: &mut Commands) {
    for (name, facts) in pairs(docs) {
        let facts = pairs(facts);
        let fact = |wanted: &str| facts.iter().find(|(name, _)| name == wanted).map(|(_, value)| *value);
        let line = |wanted: &str| fact(wanted).map(text).unwrap_or_default();
        commands.insert(name.to_ascii_lowercase(), Described { group: line("group"), summary: line("summary") });
        if let Some(subcommands) = fact("subcommands") {
            add(subcommands, commands);
        }
    }
}

#[test]
fn the_table_is_up_to_date() {
    let redis = RedisServer::start(&[]);
    let cluster = Cluster::start(1);
    let mut judge = Client::connect(redis.address()).expect("redis-server answers");
    let mut talon = cluster.nodes[0].connect().expect("the node answers");
    let page = match page(&described(&mut judge), &described(&mut talon)) {
        Ok(page) => page,
        Err(unexplained) => {
            panic!("tests/judge/src/commands.rs says too little or too much:\n{}", unexplained.join("\n"))
        }
    };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/talon-server/COMMANDS.md");
    if std::env::var_os("TALON_WRITE").is_some() {
        std::fs::write(&path, &page).expect("the file can be written");
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "crates/talon-server/COMMANDS.md is out of date: TALON_WRITE=1 cargo test --release -p talon-judge --test commands_table"
    );
}
