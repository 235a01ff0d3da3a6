//! What operators ask of a server: the slow log, latency, monitors, pauses, and other clients.

mod support;

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use support::{Door, Wire, show};
use talon_resp::Value;
use talon_server::resp::{Changed, Parameters, RespSettings, RewriteError};
use talon_server::secret::Secret;

async fn door() -> Door {
    Door::open(3, RespSettings::default()).await
}

async fn says(client: &mut Wire, line: &str, reply: &str) {
    assert_eq!(client.say(line).await, reply, "{line}");
}

/// The words of each entry of the slow log, the newest first.
async fn slow(client: &mut Wire) -> Vec<String> {
    let Value::Array(entries) = client.ask("SLOWLOG GET -1").await else { panic!("an array") };
    entries
        .iter()
        .map(|entry| match entry {
            Value::Array(parts) if parts.len() == 6 => show(&parts[3]),
            other => panic!("{other:?}"),
        })
        .collect()
}

#[tokio::test]
async fn the_slow_log_has_what_took_long_and_no_password() {
    let settings = RespSettings {
        password: Some(Secret::new("sesame")),
        slowlog_slower_than_us: 0,
        slowlog_entries_max: 3,
        ..RespSettings::default()
    };
    let door = Door::open(1, settings).await;
    let mut client = door.client().await;
    says(&mut client, "AUTH default sesame", "OK").await;
    says(&mut client, "HELLO 2 AUTH default sesame SETNAME me", "[\"server\", \"redis\", \"version\", \"7.0.15\", \"proto\", (2), \"id\", (1), \"mode\", \"standalone\", \"role\", \"master\", \"modules\", []]").await;
    assert_eq!(
        slow(&mut client).await,
        [
            "[\"HELLO\", \"2\", \"AUTH\", \"(redacted)\", \"(redacted)\", \"SETNAME\", \"me\"]",
            "[\"AUTH\", \"(redacted)\", \"(redacted)\"]"
        ]
    );
    // One entry a batch: the command that is not fast, else the largest.
    client.send(b"GET a\r\nKEYS x\r\nGET a-longer-key\r\n").await;
    for _ in 0..3 {
        client.reply().await.expect("an answer");
    }
    client.send(b"MULTI\r\nSET a 1\r\nSET a 12345\r\nEXEC\r\n").await;
    for _ in 0..4 {
        client.reply().await.expect("an answer");
    }
    let entries = slow(&mut client).await;
    assert_eq!(entries[..2], ["[\"set\", \"a\", \"12345\"]", "[\"KEYS\", \"x\"]"], "{entries:?}");
    says(&mut client, "SLOWLOG LEN", "(3)").await;
    says(&mut client, "CONFIG SET slowlog-log-slower-than 1000000 slowlog-max-len 2", "OK").await;
    says(&mut client, "SLOWLOG RESET", "OK").await;
    says(&mut client, "GET a", "\"12345\"").await;
    says(&mut client, "SLOWLOG LEN", "(0)").await;
    for (line, reply) in [
        ("SLOWLOG GET -2", "!ERR count should be greater than or equal to -1"),
        ("SLOWLOG GET x", "!ERR count should be greater than or equal to -1"),
        ("SLOWLOG GET 1 2", "!ERR unknown subcommand or wrong number of arguments for 'GET'. Try SLOWLOG HELP."),
    ] {
        says(&mut client, line, reply).await;
    }
}

#[tokio::test]
async fn what_is_carried_out_behind_a_batch_has_its_own_time() {
    let door = Door::open(1, RespSettings { slowlog_slower_than_us: 0, ..RespSettings::default() }).await;
    let mut client = door.client().await;
    says(&mut client, "WATCH w", "OK").await;
    client.send(b"GET before\r\nMULTI\r\nSET a 12345\r\nGET b\r\nEXEC\r\n").await;
    for _ in 0..5 {
        client.reply().await.expect("an answer");
    }
    let entries = slow(&mut client).await;
    assert_eq!(entries[0], "[\"set\", \"a\", \"12345\"]", "of EXEC: {entries:?}");
    for batch in ["[\"GET\", \"before\"]", "[\"WATCH\", \"w\"]"] {
        assert!(entries[1..].iter().any(|entry| entry == batch), "{batch}: {entries:?}");
    }
    says(&mut client, "CONFIG SET slowlog-log-slower-than -1", "OK").await;
    says(&mut client, "SLOWLOG RESET", "OK").await;
    says(&mut client, "KEYS *", "[\"a\"]").await;
    says(&mut client, "SLOWLOG LEN", "(0)").await;
}

#[tokio::test]
async fn latency_is_counted_for_each_command() {
    let door = door().await;
    let mut client = door.client().await;
    client.send(&b"SET a 1\r\n".repeat(10)).await;
    for _ in 0..10 {
        client.reply().await.expect("an answer");
    }
    says(&mut client, "CLIENT SETNAME me", "OK").await;
    let histogram = client.say("LATENCY HISTOGRAM set client get").await;
    assert!(histogram.starts_with("[\"set\", [\"calls\", (10), \"histogram_usec\", [("), "{histogram}");
    assert!(histogram.contains("\"client|setname\", [\"calls\", (1)"), "{histogram}");
    assert!(!histogram.contains("\"get\""), "{histogram}");
    let stats = client.say("INFO latencystats commandstats").await;
    assert!(
        stats.contains("latency_percentiles_usec_set:p50=") && stats.contains("cmdstat_client|setname:calls=1"),
        "{stats}"
    );
    says(&mut client, "LATENCY LATEST", "[]").await;
    says(&mut client, "CONFIG RESETSTAT", "OK").await;
    says(&mut client, "LATENCY HISTOGRAM set", "[]").await;
    assert!(client.say("LATENCY DOCTOR").await.contains("not watched"));
    // A millisecond is long here, and a scan over many keys takes it.
    says(&mut client, "CONFIG SET latency-monitor-threshold 1", "OK").await;
    let pairs: String = (0..60_000).map(|number| format!(" key:{number:010} v")).collect();
    says(&mut client, &format!("MSET{pairs}"), "OK").await;
    let begun = Instant::now();
    while client.say("LATENCY HISTORY command").await == "[]" {
        assert!(begun.elapsed() < Duration::from_secs(10), "nothing took a millisecond");
        client.ask("KEYS *").await;
    }
    let latest = client.say("LATENCY LATEST").await;
    assert!(latest.starts_with("[[\"command\", ("), "{latest}");
    assert!(client.say("LATENCY DOCTOR").await.contains("- command: in "));
    says(&mut client, "LATENCY RESET nosuch", "(0)").await;
    let all = client.say("LATENCY RESET").await;
    assert!(all == "(1)" || all == "(2)", "{all}");
}

#[tokio::test]
async fn a_monitor_sees_what_is_carried_out() {
    let door = Door::open(1, RespSettings { password: Some(Secret::new("sesame")), ..RespSettings::default() }).await;
    let mut monitor = door.client().await;
    says(&mut monitor, "AUTH sesame", "OK").await;
    says(&mut monitor, "MONITOR", "OK").await;
    let mut client = door.client().await;
    client.send(b"AUTH sesame\r\n").await;
    client.send(b"*3\r\n$3\r\nSet\r\n$1\r\na\r\n$4\r\nx\r\n\"\r\n").await;
    client.send(b"GET\r\nNOSUCH\r\nCONFIG GET save\r\nMULTI\r\nGET a\r\nEXEC\r\nCLIENT ID\r\n").await;
    for _ in 0..9 {
        client.reply().await.expect("an answer");
    }
    let mut seen = Vec::new();
    for _ in 0..6 {
        let Some(Value::Simple(line)) = monitor.reply().await else { panic!("a line") };
        let (time, rest) = line.split_once(' ').expect("a time");
        assert!(time.split_once('.').is_some_and(|(_, micros)| micros.len() == 6), "{line}");
        let (address, words) = rest.split_once("] ").expect("an address");
        assert!(address.starts_with("[0 127.0.0.1:"), "{line}");
        seen.push(words.to_owned());
    }
    let expected = [
        "\"AUTH\" \"(redacted)\"",
        "\"Set\" \"a\" \"x\\r\\n\\\"\"",
        "\"MULTI\"",
        "\"get\" \"a\"",
        "\"EXEC\"",
        "\"CLIENT\" \"ID\"",
    ];
    assert_eq!(seen, expected);
    assert!(client.say("CLIENT LIST").await.contains(" flags=O "));
    says(&mut monitor, "RESET", "RESET").await;
    says(&mut client, "PING", "PONG").await;
    assert!(monitor.is_quiet().await);
}

#[tokio::test]
async fn a_monitor_that_does_not_read_is_cut_off() {
    let door = Door::open(1, RespSettings { push_bytes_max: 100_000, ..RespSettings::default() }).await;
    let mut monitor = door.client().await;
    says(&mut monitor, "MONITOR", "OK").await;
    let mut client = door.client().await;
    let value = "v".repeat(50_000);
    let begun = Instant::now();
    while client.say("CLIENT LIST").await.matches("id=").count() == 2 {
        assert!(begun.elapsed() < Duration::from_secs(10), "it is still there");
        says(&mut client, &format!("SET a {value}"), "OK").await;
    }
}

#[tokio::test]
async fn only_so_many_monitor() {
    let door = door().await;
    let mut monitors = Vec::new();
    for _ in 0..16 {
        let mut monitor = door.client().await;
        says(&mut monitor, "MONITOR", "OK").await;
        monitors.push(monitor);
    }
    let mut another = door.client().await;
    says(&mut another, "MONITOR", "!ERR too many monitors: at most 16").await;
    monitors.pop();
    let begun = Instant::now();
    while another.say("MONITOR").await != "OK" {
        assert!(begun.elapsed() < Duration::from_secs(10), "a place that is free is not given away");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_pause_lets_batches_wait() {
    let door = door().await;
    let (mut operator, mut client) = (door.client().await, door.client().await);
    // Not the batch that it came in, but what is behind it.
    operator.send(b"SET a 1\r\nCLIENT PAUSE 60000 WRITE\r\nGET a\r\nSET a 2\r\n").await;
    for reply in ["OK", "OK"] {
        assert_eq!(show(&operator.reply().await.expect("an answer")), reply);
    }
    assert!(operator.is_quiet().await, "a batch with a write waits as a whole");
    says(&mut client, "GET a", "\"1\"").await;
    says(&mut client, "MULTI", "OK").await;
    says(&mut client, "APPEND a 3", "QUEUED").await;
    client.send(b"EXEC\r\n").await;
    assert!(client.is_quiet().await);
    let mut other = door.client().await;
    says(&mut other, "CLIENT UNPAUSE", "OK").await;
    for reply in ["\"1\"", "OK"] {
        assert_eq!(show(&operator.reply().await.expect("an answer")), reply);
    }
    assert_eq!(show(&client.reply().await.expect("an answer")), "[(2)]");
    says(&mut other, "CLIENT PAUSE 300", "OK").await;
    let begun = Instant::now();
    says(&mut client, "GET nothing", "nil").await;
    assert!(begun.elapsed() >= Duration::from_millis(250), "{:?}", begun.elapsed());
    for (line, reply) in [
        ("CLIENT PAUSE x", "!ERR timeout is not an integer or out of range"),
        ("CLIENT PAUSE -1", "!ERR timeout is negative"),
        ("CLIENT PAUSE 1 SOME", "!ERR CLIENT PAUSE mode must be WRITE or ALL"),
        ("CLIENT PAUSE 1 ALL x", "!ERR unknown subcommand or wrong number of arguments for 'PAUSE'. Try CLIENT HELP."),
    ] {
        says(&mut other, line, reply).await;
    }
    // The end of the server does not wait for it.
    says(&mut other, "CLIENT PAUSE 60000", "OK").await;
    client.send(b"PING\r\n").await;
    assert!(client.is_quiet().await);
    door.shutdown.cancel();
    tokio::time::timeout(Duration::from_secs(5), door.task).await.expect("in time").expect("no panic");
}

#[tokio::test]
async fn waiting_can_be_ended_by_others() {
    let door = door().await;
    let (mut waiting, mut other) = (door.client().await, door.client().await);
    let Value::Integer(id) = waiting.ask("CLIENT ID").await else { panic!("a number") };
    says(&mut other, &format!("CLIENT UNBLOCK {id}"), "(0)").await;
    for (how, reply) in [("", "(2)"), (" TIMEOUT", "(2)"), (" ERROR", "!UNBLOCKED client unblocked via CLIENT UNBLOCK")]
    {
        waiting.send(b"WAIT 9 0\r\n").await;
        let begun = Instant::now();
        while other.say(&format!("CLIENT UNBLOCK {id}{how}")).await != "(1)" {
            assert!(begun.elapsed() < Duration::from_secs(10), "it never waits");
        }
        assert_eq!(show(&waiting.reply().await.expect("an answer")), reply, "{how}");
    }
    waiting.send(b"WAIT 9 0\r\n").await;
    let begun = Instant::now();
    while !other.say("INFO clients").await.contains("blocked_clients:1") {
        assert!(begun.elapsed() < Duration::from_secs(10), "it is not counted");
    }
    assert!(other.say("CLIENT LIST").await.contains(" flags=b "));
    for (line, reply) in [
        ("CLIENT UNBLOCK x", "!ERR value is not an integer or out of range"),
        ("CLIENT UNBLOCK 1 SOME", "!ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"),
        ("CLIENT UNBLOCK -1", "(0)"),
    ] {
        says(&mut other, line, reply).await;
    }
}

#[tokio::test]
async fn clients_are_listed_and_closed_by_what_they_are() {
    let door = door().await;
    let mut operator = door.client().await;
    let mut listener = door.client().await;
    listener.send(b"SUBSCRIBE a b\r\n").await;
    for _ in 0..2 {
        listener.reply().await.expect("an answer");
    }
    let line = operator.say("CLIENT LIST TYPE pubsub").await;
    assert!(line.contains(" flags=P ") && line.contains(" sub=2 ") && line.contains(" cmd=subscribe "), "{line}");
    assert!(!line.contains(" fd=-1 ") && !line.contains(" tot-mem=0 "), "{line}");
    let own = operator.say("CLIENT LIST TYPE normal").await;
    assert!(own.contains(" cmd=client|list ") && own.matches("id=").count() == 1, "{own}");
    for (line, reply) in [
        ("CLIENT LIST TYPE normal ID 1", "!ERR syntax error"),
        ("CLIENT KILL MAXAGE x", "!ERR maxage is not an integer or out of range"),
        ("CLIENT KILL MAXAGE 0", "!ERR maxage should be greater than 0"),
        ("CLIENT KILL MAXAGE 1000 SKIPME no", "(0)"),
        ("CLIENT KILL TYPE pubsub ID 1", "(0)"),
        ("CLIENT KILL TYPE replica", "(0)"),
        ("CLIENT KILL TYPE pubsub", "(1)"),
        ("CLIENT KILL USER default LADDR 1.2.3.4:5", "(0)"),
        ("CLIENT GETREDIR", "(-1)"),
        ("CLIENT TRACKING on", "!ERR unknown subcommand 'TRACKING'. Try CLIENT HELP."),
    ] {
        says(&mut operator, line, reply).await;
    }
    assert_eq!(listener.rest().await, b"");
    says(&mut operator, "CLIENT KILL USER default SKIPME no", "(1)").await;
    assert_eq!(operator.rest().await, b"");
}

#[tokio::test]
async fn several_settings_change_together_or_not_at_all() {
    let door = Door::open(1, RespSettings { clients_most: 5000, ..RespSettings::default() }).await;
    let mut client = door.client().await;
    let failed =
        |name: &str, why: &str| format!("!ERR CONFIG SET failed (possibly related to argument '{name}') - {why}");
    for (line, reply) in [
        (
            "CONFIG SET timeout 5 slowlog-max-len x",
            failed("slowlog-max-len", "argument couldn't be parsed into an integer"),
        ),
        ("CONFIG SET timeout 5 timeout_s 6", failed("timeout_s", "duplicate parameter")),
        (
            "CONFIG SET timeout 5 maxclients 5001",
            failed(
                "maxclients",
                "The operating system is not able to handle the specified number of clients, try with 5000",
            ),
        ),
        ("CONFIG SET timeout -1", failed("timeout", "argument must be between 0 and 2147483647 inclusive")),
        ("CONFIG SET timeout 5 dir", "!ERR syntax error".to_owned()),
        (
            "CONFIG SET loglevel loud",
            failed("loglevel", "argument(s) must be one of the following: debug, verbose, notice, warning"),
        ),
        ("CONFIG GET timeout*", "[\"timeout\", \"0\", \"timeout_s\", \"0\"]".to_owned()),
        ("CONFIG SET timeout 5 client-query-buffer-limit 2mb slowlog_slower_than_us -1", "OK".to_owned()),
        (
            "CONFIG GET timeout query_bytes_max slowlog-log-slower-than",
            "[\"query_bytes_max\", \"2097152\", \"slowlog-log-slower-than\", \"-1\", \"timeout\", \"5\"]".to_owned(),
        ),
        ("CONFIG REWRITE", "!ERR The server is running without a config file".to_owned()),
    ] {
        assert_eq!(client.say(line).await, reply, "{line}");
    }
}

#[tokio::test]
async fn keys_of_a_command_line_are_found_with_what_is_done_to_them() {
    let door = door().await;
    let mut client = door.client().await;
    for (line, reply) in [
        ("GET a", "[[\"a\", [RO, access]]]"),
        ("SET a b", "[[\"a\", [OW, update]]]"),
        ("SET a b GET", "[[\"a\", [RW, access, update]]]"),
        ("SET a GET", "[[\"a\", [OW, update]]]"),
        ("SET a b EX 5 GET", "[[\"a\", [RW, access, update]]]"),
        ("MSET a 1 b 2", "[[\"a\", [OW, update]], [\"b\", [OW, update]]]"),
        ("RENAME a b", "[[\"a\", [RW, access, delete]], [\"b\", [OW, update]]]"),
        ("CONFIG GET a", "!ERR The command has no key arguments"),
        ("CONFIG FOO a", "!ERR Invalid command specified"),
        ("NOSUCH a", "!ERR Invalid command specified"),
        ("SET a", "!ERR Invalid number of arguments specified for command"),
        ("talon.range a b 1 keys", "!ERR Invalid command specified"),
    ] {
        says(&mut client, &format!("COMMAND GETKEYSANDFLAGS {line}"), reply).await;
    }
}

#[tokio::test]
async fn info_says_what_is_true_of_the_keys() {
    let door = door().await;
    let mut client = door.client().await;
    for line in ["SET a 1", "SET b 2 PX 100000", "SET c 3 PX 300000"] {
        says(&mut client, line, "OK").await;
    }
    let info = client.say("INFO keyspace").await;
    let (counts, average) = info.trim_end_matches(['"', '\r', '\n']).split_once(",avg_ttl=").expect("a time");
    assert!(counts.ends_with("db0:keys=3,expires=2"), "{info}");
    let average: u64 = average.parse().expect("a number");
    assert!((190_000..=200_000).contains(&average), "{info}");
    let all = client.say("INFO everything").await;
    for field in
        ["instantaneous_ops_per_sec:", "used_memory_peak:", "tracking_clients:0", "pubsub_channels:0", "executable:"]
    {
        assert!(all.contains(field), "{field}");
    }
    assert!(!all.contains("keyspace_hits"), "what is not counted is not there");
}

#[tokio::test]
async fn what_a_snapshot_holds_is_said_to_nobody_else() {
    let door = door().await;
    let (mut client, mut reader) = (door.client().await, door.client().await);
    says(&mut client, "SET a 1", "OK").await;
    let Value::Array(made) = client.ask("SNAPSHOT CREATE").await else { panic!("a snapshot") };
    says(&mut client, "MSET b 2 c 3", "OK").await;
    says(&mut reader, &format!("SNAPSHOT USE {}", show(&made[0]).trim_matches(['(', ')'])), "OK").await;
    for _ in 0..2 {
        assert!(reader.say("INFO").await.contains("db0:keys=1,"), "the snapshot has one key");
        assert!(client.say("INFO").await.contains("db0:keys=3,"), "there are three by now");
    }
    says(&mut reader, "MULTI", "OK").await;
    says(&mut reader, "INFO keyspace", "QUEUED").await;
    assert!(reader.say("EXEC").await.contains("db0:keys=1,"));
}

/// Writes as long as the test wants.
#[derive(Debug)]
struct SlowFile {
    writing: AtomicUsize,
    go: Mutex<mpsc::Receiver<()>>,
}

impl Parameters for SlowFile {
    fn all(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    fn file(&self) -> PathBuf {
        PathBuf::from("talon.toml")
    }

    fn log_level(&self) -> String {
        "info".to_owned()
    }

    fn check_log_level(&self, _: &str) -> Result<(), String> {
        Ok(())
    }

    fn set_log_level(&self, _: &str) -> Result<(), String> {
        Ok(())
    }

    fn rewrite(&self, changed: &[(&'static str, Changed)]) -> Result<(), RewriteError> {
        assert_eq!(self.writing.fetch_add(1, Ordering::AcqRel), 0, "one at a time");
        assert_eq!(changed, [("timeout_s", Changed::Number(5))]);
        let gone = self.go.lock().expect("nobody panicked").recv_timeout(Duration::from_secs(10));
        self.writing.fetch_sub(1, Ordering::AcqRel);
        gone.map_err(|_| RewriteError::Failed("nobody lets it go on".to_owned()))
    }
}

#[tokio::test]
async fn the_file_of_settings_is_written_by_one_at_a_time_and_nobody_waits_for_it() {
    let (go, going) = mpsc::channel();
    let parameters = Arc::new(SlowFile { writing: AtomicUsize::new(0), go: Mutex::new(going) });
    let door = Door::open(1, RespSettings { parameters, ..RespSettings::default() }).await;
    let (mut one, mut two, mut other) = (door.client().await, door.client().await, door.client().await);
    says(&mut one, "CONFIG SET timeout 5", "OK").await;
    one.send(b"CONFIG REWRITE\r\n").await;
    two.send(b"CONFIG REWRITE\r\n").await;
    assert!(one.is_quiet().await && two.is_quiet().await);
    says(&mut other, "PING", "PONG").await;
    for client in [&mut one, &mut two] {
        go.send(()).expect("it is waited for");
        assert_eq!(show(&client.reply().await.expect("an answer")), "OK");
    }
    says(&mut other, "MULTI", "OK").await;
    says(&mut other, "CONFIG REWRITE", "QUEUED").await;
    says(&mut other, "EXEC", "[!ERR Command not allowed inside a transaction]").await;
}

#[tokio::test]
async fn who_is_sent_a_lot_has_a_turn_for_own_commands() {
    const MESSAGES: usize = 40;
    let door = Door::open(1, RespSettings { push_bytes_max: 64 << 20, ..RespSettings::default() }).await;
    let (mut listener, mut client) = (door.client().await, door.client().await);
    assert!(listener.say("HELLO 3").await.starts_with('{'));
    says(&mut listener, "SUBSCRIBE news", ">[\"subscribe\", \"news\", (1)]").await;
    // More than the system takes for somebody who does not read.
    let publish = format!("PUBLISH news {}", "x".repeat(1 << 20));
    for _ in 0..MESSAGES {
        assert_eq!(client.say(&publish).await, "(1)");
    }
    listener.send(b"PING\r\n").await;
    let mut before = 0;
    while matches!(listener.reply().await.expect("a message"), Value::Push(_)) {
        before += 1;
    }
    assert!(before < MESSAGES, "the answer came behind all {before} messages");
    for _ in before..MESSAGES {
        assert!(matches!(listener.reply().await, Some(Value::Push(_))));
    }
    let stats = client.say("INFO commandstats").await;
    assert!(stats.contains("cmdstat_subscribe:calls=1,"), "{stats}");
}
