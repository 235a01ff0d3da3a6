//! What spans several commands of a connection, and several connections: WATCH, subscriptions, commands that wait.

mod support;

use std::sync::Arc;
use std::time::Duration;

use support::{Door, Wire, show};
use talon_core::Role;
use talon_server::resp::RespSettings;
use talon_server::{SnapshotLimits, Snapshots};

async fn door() -> Door {
    Door::open(3, RespSettings::default()).await
}

async fn script(client: &mut Wire, lines: &[(&str, &str)]) {
    for (line, reply) in lines {
        assert_eq!(client.say(line).await, *reply, "{line}");
    }
}

#[tokio::test]
async fn exec_depends_on_watched_keys() {
    let door = door().await;
    let (mut client, mut other) = (door.client().await, door.client().await);
    let attempt = [("MULTI", "OK"), ("SET out 1", "QUEUED")];
    for (before, between, goes) in [
        (&[][..], "SET other 1", true),
        (&["SET k 1"], "SET k 1", false),
        (&["SET k 1"], "SETNX k 2", true),
        (&["SET k 1"], "DEL k", false),
        (&["DEL k"], "DEL k", true),
        (&["DEL k"], "APPEND k x", false),
        (&["SET k 1"], "FLUSHALL", false),
        (&["DEL k"], "FLUSHALL", true),
        (&["SET k 1"], "DELPREFIX k", false),
        (&["SET k 1"], "PERSIST k", true),
        (&["SET k 1"], "EXPIRE k 1000", false),
        (&["SET k 1", "SET l 2"], "RENAME l k", false),
        (&["SET k 1"], "MSET a 1 k 1", false),
        (&["SET k 1"], "GET k", true),
    ] {
        for line in before {
            other.say(line).await;
        }
        script(&mut client, &[("WATCH nothing k", "OK")]).await;
        other.say(between).await;
        script(&mut client, &attempt).await;
        assert_eq!(client.say("EXEC").await, if goes { "[OK]" } else { "nil" }, "{before:?}, {between}");
    }
}

#[tokio::test]
async fn a_watched_key_that_ends_counts_and_one_that_had_ended_does_not() {
    let door = door().await;
    let mut client = door.client().await;
    script(&mut client, &[("SET k 1 PX 20", "OK"), ("WATCH k", "OK")]).await;
    tokio::time::sleep(Duration::from_millis(30)).await;
    script(&mut client, &[("MULTI", "OK"), ("GET k", "QUEUED"), ("EXEC", "nil")]).await;
    script(&mut client, &[("WATCH k", "OK"), ("MULTI", "OK"), ("GET k", "QUEUED"), ("EXEC", "[nil]")]).await;
}

#[tokio::test]
async fn what_ends_a_watch_and_what_does_not() {
    let door = door().await;
    let (mut client, mut other) = (door.client().await, door.client().await);
    for end in ["UNWATCH", "RESET"] {
        script(&mut client, &[("WATCH k", "OK")]).await;
        client.say(end).await;
        script(&mut other, &[("SET k 1", "OK")]).await;
        script(&mut client, &[("MULTI", "OK"), ("PING", "QUEUED"), ("EXEC", "[PONG]")]).await;
    }
    script(&mut client, &[("WATCH k", "OK"), ("MULTI", "OK"), ("DISCARD", "OK")]).await;
    script(&mut other, &[("SET k 2", "OK")]).await;
    script(&mut client, &[("MULTI", "OK"), ("PING", "QUEUED"), ("EXEC", "[PONG]")]).await;
    // Inside MULTI it is refused, and spoils nothing; UNWATCH is gathered, and comes too late.
    script(&mut client, &[("WATCH k", "OK"), ("MULTI", "OK"), ("UNWATCH", "QUEUED")]).await;
    script(&mut client, &[("WATCH l", "!ERR WATCH inside MULTI is not allowed"), ("GET k", "QUEUED")]).await;
    script(&mut other, &[("SET k 3", "OK")]).await;
    script(&mut client, &[("EXEC", "nil"), ("EXEC", "!ERR EXEC without MULTI")]).await;
    // What was refused while it was gathered is told first.
    script(&mut client, &[("WATCH k", "OK"), ("MULTI", "OK")]).await;
    client.say("NOSUCH").await;
    script(&mut client, &[("EXEC", "!EXECABORT Transaction discarded because of previous errors.")]).await;
    script(&mut other, &[("SET k 4", "OK")]).await;
    script(&mut client, &[("MULTI", "OK"), ("GET k", "QUEUED"), ("EXEC", "[\"4\"]")]).await;
}

#[tokio::test]
async fn in_a_pipeline_a_watch_comes_behind_the_write_before_it_and_sees_the_one_behind_it() {
    let door = door().await;
    let mut client = door.client().await;
    client.send(b"SET k 1\r\nWATCH k\r\nMULTI\r\nINCR k\r\nEXEC\r\nGET k\r\n").await;
    for expected in ["OK", "OK", "OK", "QUEUED", "[(2)]", "\"2\""] {
        assert_eq!(show(&client.reply().await.expect("an answer")), expected);
    }
    client.send(b"WATCH k\r\nSET k 5\r\nMULTI\r\nINCR k\r\nEXEC\r\nGET k\r\n").await;
    for expected in ["OK", "OK", "OK", "QUEUED", "nil", "\"5\""] {
        assert_eq!(show(&client.reply().await.expect("an answer")), expected);
    }
}

#[tokio::test]
async fn a_leader_change_ends_a_watch() {
    let door = door().await;
    let mut client = door.client().await;
    script(&mut client, &[("WATCH k", "OK")]).await;
    door.database.change_status(|status| status.term += 1);
    script(&mut client, &[("MULTI", "OK"), ("SET k 1", "QUEUED"), ("EXEC", "nil")]).await;
}

#[tokio::test]
async fn watched_keys_are_bounded() {
    let settings = RespSettings { watched_keys_max: 2, ..RespSettings::default() };
    let door = Door::open(1, settings).await;
    let mut client = door.client().await;
    let refused = "!ERR a client may watch 2 keys (watched_keys_max)";
    script(&mut client, &[("WATCH a b c", refused), ("WATCH a", "OK"), ("WATCH b", "OK"), ("WATCH c", refused)]).await;
    script(&mut client, &[("UNWATCH", "OK"), ("WATCH a b", "OK")]).await;
}

#[tokio::test]
async fn subscribers_are_told_of_a_new_leader_and_stay() {
    let door = door().await;
    let (mut listener, mut patterns) = (door.client().await, door.client().await);
    script(&mut listener, &[("SUBSCRIBE +switch-master", "[\"subscribe\", \"+switch-master\", (1)]")]).await;
    assert!(patterns.say("HELLO 3").await.starts_with('{'));
    script(&mut patterns, &[("PSUBSCRIBE +switch*", ">[\"psubscribe\", \"+switch*\", (1)]")]).await;
    let port = door.address.port();
    door.database.change_status(|status| (status.leader_id, status.role) = (None, Role::Follower));
    door.database.change_status(|status| status.leader_id = Some(3));
    let words = format!("talon 127.0.0.1 {port} 127.0.0.1 {}", port + 2);
    let told = listener.reply().await.expect("a message");
    assert_eq!(show(&told), format!("[\"message\", \"+switch-master\", \"{words}\"]"));
    let told = patterns.reply().await.expect("a message");
    assert_eq!(show(&told), format!(">[\"pmessage\", \"+switch*\", \"+switch-master\", \"{words}\"]"));
    // Nobody else says so.
    let mut client = door.client().await;
    let reserved = "!ERR this channel is for what the cluster itself tells of its leader and members";
    for line in ["PUBLISH +switch-master x", "PUBLISH -sdown x"] {
        script(&mut client, &[(line, reserved), ("MULTI", "OK"), (line, "QUEUED")]).await;
        script(&mut client, &[("EXEC", format!("[{reserved}]").as_str())]).await;
    }
    // Among messages, PING answers in their form, and nothing else is taken in RESP2.
    script(&mut listener, &[("PING", "[\"pong\", \"\"]"), ("PING hi", "[\"pong\", \"hi\"]")]).await;
    let refused = "!ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in \
                   this context";
    script(&mut listener, &[("GET k", refused), ("UNSUBSCRIBE", "[\"unsubscribe\", \"+switch-master\", (0)]")]).await;
    script(&mut listener, &[("GET k", "nil"), ("UNSUBSCRIBE", "[\"unsubscribe\", nil, (0)]")]).await;
    script(&mut patterns, &[("GET k", "nil"), ("PING", "PONG")]).await;
}

#[tokio::test]
async fn subscriptions_are_counted_and_bounded() {
    let settings = RespSettings { subscriptions_max: 2, ..RespSettings::default() };
    let door = Door::open(1, settings).await;
    let (mut client, mut other) = (door.client().await, door.client().await);
    client.send(b"SUBSCRIBE a a b c\r\n").await;
    for expected in [
        "[\"subscribe\", \"a\", (1)]",
        "[\"subscribe\", \"a\", (1)]",
        "[\"subscribe\", \"b\", (2)]",
        "!ERR a client may have 2 subscriptions (subscriptions_max)",
    ] {
        assert_eq!(show(&client.reply().await.expect("an answer")), expected);
    }
    script(&mut other, &[("PSUBSCRIBE b*", "[\"psubscribe\", \"b*\", (1)]")]).await;
    let mut third = door.client().await;
    script(
        &mut third,
        &[
            ("PUBSUB CHANNELS", "[\"a\", \"b\"]"),
            ("PUBSUB CHANNELS b*", "[\"b\"]"),
            ("PUBSUB NUMSUB a nope", "[\"a\", (1), \"nope\", (0)]"),
            ("PUBSUB NUMPAT", "(1)"),
        ],
    )
    .await;
    // Whoever leaves is forgotten.
    drop((client, other));
    while third.say("PUBSUB CHANNELS").await != "[]" || third.say("PUBSUB NUMPAT").await != "(0)" {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn replies_before_a_command_that_waits_come_at_once() {
    let door = door().await;
    let mut client = door.client().await;
    client.send(b"SET k 1\r\nWAIT 9 60000\r\nGET k\r\n").await;
    assert_eq!(show(&client.reply().await.expect("an answer")), "OK");
    assert!(client.is_quiet().await);
    // The one who waits is let go when its client hangs up.
    let mut other = door.client().await;
    drop(client);
    while other.say("CLIENT LIST").await.matches("id=").count() > 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The number of a snapshot that was made just now.
async fn snapshot(client: &mut Wire, line: &str) -> String {
    let made = client.say(line).await;
    let number = made.strip_prefix("[(").and_then(|rest| rest.split(')').next());
    number.unwrap_or_else(|| panic!("{line}: {made}")).to_owned()
}

#[tokio::test]
async fn reads_name_a_snapshot() {
    let door = door().await;
    let mut client = door.client().await;
    script(&mut client, &[("MSET a 1 ab 2", "OK")]).await;
    let id = snapshot(&mut client, "SNAPSHOT CREATE").await;
    script(&mut client, &[("SET a new", "OK"), ("DEL ab", "(1)")]).await;
    let mut other = door.client().await;
    assert_eq!(other.say(&format!("SNAPSHOT GET {id} a ab nope")).await, "[\"1\", \"2\", nil]");
    assert_eq!(other.say(&format!("SNAPSHOT SCAN {id} a 1 10")).await, "[[\"ab\", \"2\"]]");
    // From here on plain reads are answered from it, wherever they stand in a pipeline, and writes are not taken.
    let pipeline =
        format!("GET a\r\nSNAPSHOT USE {id}\r\nMGET a ab\r\nSET a 3\r\nKEYS *\r\nSNAPSHOT USE OFF\r\nGET a\r\n");
    other.send(pipeline.as_bytes()).await;
    let no_writes = "!ERR this connection reads from a snapshot and takes no writes (SNAPSHOT USE OFF ends that)";
    for expected in ["\"new\"", "OK", "[\"1\", \"2\"]", no_writes, "[\"a\", \"ab\"]", "OK", "\"new\""] {
        assert_eq!(show(&other.reply().await.expect("an answer")), expected);
    }
    let listed = client.say("SNAPSHOT LIST").await;
    assert!(listed.contains(&format!("[\"id\", ({id}), \"index\", (0)")), "{listed}");
    assert_eq!(client.say(&format!("SNAPSHOT EXTEND {id} PX 50000")).await, "OK");
    other.say(&format!("SNAPSHOT USE {id}")).await;
    assert_eq!(client.say(&format!("SNAPSHOT RELEASE {id}")).await, "OK");
    let gone = "!NOSNAPSHOT unknown or expired snapshot";
    script(&mut other, &[("GET a", gone), ("RESET", "RESET"), ("GET a", "\"new\"")]).await;
    for line in ["GET # a", "SCAN # a 0 1", "USE #", "EXTEND #", "RELEASE #"] {
        for number in [&*id, "0", "-1", "x", "18446744073709551616"] {
            let line = format!("SNAPSHOT {}", line.replace('#', number));
            assert_eq!(client.say(&line).await, gone, "{line}");
        }
    }
}

#[tokio::test]
async fn snapshots_are_limited_in_number_and_age() {
    let limits = SnapshotLimits { snapshots_max: 2, ttl_max: Duration::from_secs(60), ..SnapshotLimits::default() };
    let settings = RespSettings { snapshots: Arc::new(Snapshots::new(limits)), ..RespSettings::default() };
    let door = Door::open(1, settings).await;
    let mut client = door.client().await;
    let short = snapshot(&mut client, "SNAPSHOT CREATE PX 1").await;
    let long = snapshot(&mut client, "SNAPSHOT CREATE PX 60000").await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(client.say(&format!("SNAPSHOT GET {short} a")).await, "!NOSNAPSHOT unknown or expired snapshot");
    assert_eq!(client.say(&format!("SNAPSHOT GET {long} a")).await, "[nil]");
    snapshot(&mut client, "SNAPSHOT CREATE").await;
    let too_many = "!ERR there are 2 snapshots, and there may be no more: release one, or wait for one to end";
    let too_long = "!ERR a snapshot is kept for 60000 ms at most";
    script(
        &mut client,
        &[
            ("SNAPSHOT CREATE", too_many),
            ("SNAPSHOT CREATE PX 60001", too_long),
            ("SNAPSHOT CREATE PX 0", "!ERR invalid expire time in 'snapshot' command"),
            ("SNAPSHOT CREATE EX 1", "!ERR syntax error"),
            ("MULTI", "OK"),
            ("SNAPSHOT CREATE", "!ERR Command not allowed inside a transaction"),
            ("DISCARD", "OK"),
        ],
    )
    .await;
    let info = client.say("INFO talon").await;
    assert!(info.contains("talon_snapshots:2\r\n"), "{info}");
}

#[tokio::test]
async fn keys_of_a_slot_are_found() {
    let door = door().await;
    let mut client = door.client().await;
    script(&mut client, &[("CLUSTER KEYSLOT {a}1", "(15495)"), ("MSET {a}1 x {a}2 x b x", "OK")]).await;
    script(
        &mut client,
        &[
            ("CLUSTER COUNTKEYSINSLOT 15495", "(2)"),
            ("CLUSTER COUNTKEYSINSLOT 0", "(0)"),
            ("CLUSTER COUNTKEYSINSLOT 16384", "!ERR Invalid slot"),
            ("CLUSTER GETKEYSINSLOT 15495 10", "[\"{a}1\", \"{a}2\"]"),
            ("CLUSTER GETKEYSINSLOT 15495 1", "[\"{a}1\"]"),
            ("CLUSTER GETKEYSINSLOT 15495 0", "[]"),
            ("CLUSTER GETKEYSINSLOT 15495 -1", "!ERR Invalid slot or number of keys"),
        ],
    )
    .await;
}

#[tokio::test]
async fn leadership_is_handed_over() {
    let door = door().await;
    let mut client = door.client().await;
    let port = door.address.port();
    script(
        &mut client,
        &[
            ("FAILOVER TO 127.0.0.1 1", "!ERR FAILOVER target HOST and PORT is not a replica."),
            (&format!("FAILOVER TO 127.0.0.1 {port}"), "!ERR FAILOVER target HOST and PORT is not a replica."),
            ("FAILOVER TIMEOUT 0", "!ERR FAILOVER timeout must be greater than 0"),
            ("FAILOVER FORCE", "!ERR FAILOVER with force option requires both a timeout and target HOST and IP."),
            ("FAILOVER ABORT", "!ERR No failover in progress."),
            ("FAILOVER ABORT TIMEOUT 1", "!ERR syntax error"),
            ("FAILOVER NOW", "!ERR syntax error"),
            (&format!("FAILOVER TO 127.0.0.1 {} TIMEOUT 5000", port + 2), "OK"),
        ],
    )
    .await;
    assert!(client.rest().await.is_empty(), "this node leads no longer, so its clients have to look elsewhere");
    let mut other = door.client().await;
    script(&mut other, &[("FAILOVER", "!ERR FAILOVER is not valid when server is a replica.")]).await;
    let leader = other.say("SENTINEL GET-MASTER-ADDR-BY-NAME talon").await;
    assert_eq!(leader, format!("[\"127.0.0.1\", \"{}\"]", port + 2));
}

#[tokio::test]
async fn wait_counts_disks_too() {
    let door = door().await;
    let mut client = door.client().await;
    door.database.change_status(|status| {
        status.applied_index = 7;
        for member in &mut status.members {
            member.matched_index = Some(if member.id == 3 { 6 } else { 7 });
        }
    });
    script(
        &mut client,
        &[
            ("WAITAOF 1 1 1000", "[(1), (1)]"),
            ("WAITAOF 1 2 10", "[(1), (1)]"),
            ("WAITAOF 2 0 10", "!ERR value is out of range, must be between 0 and 1"),
            ("WAITAOF 1 -1 10", "!ERR value is out of range, must be positive"),
            ("WAITAOF 1 1 -1", "!ERR timeout is negative"),
            ("MULTI", "OK"),
            ("WAITAOF 0 0 0", "QUEUED"),
            ("EXEC", "[[(1), (1)]]"),
        ],
    )
    .await;
    door.database.change_status(|status| status.members[0].matched_index = Some(6));
    script(&mut client, &[("WAITAOF 1 0 10", "[(0), (1)]"), ("WAITAOF 0 0 10", "[(0), (1)]")]).await;
}

#[tokio::test]
async fn a_question_for_the_leader_waits_for_an_election() {
    let door = door().await;
    let lead =
        |leader| door.database.change_status(|status| (status.leader_id, status.role) = (leader, Role::Follower));
    lead(None);
    let mut client = door.client().await;
    // What comes behind it waits, too.
    client.send(b"SENTINEL GET-MASTER-ADDR-BY-NAME talon\r\nPING\r\n").await;
    assert!(client.is_quiet().await, "there is nobody to name");
    lead(Some(2));
    let leader = format!("[\"127.0.0.1\", \"{}\"]", door.address.port() + 1);
    for expected in [leader.as_str(), "PONG"] {
        assert_eq!(show(&client.reply().await.expect("an answer")), expected);
    }
    // Nobody waits for ever, nor inside a transaction.
    lead(None);
    script(&mut client, &[("MULTI", "OK"), ("SENTINEL MASTERS", "QUEUED"), ("EXEC", "[[]]")]).await;
    assert_eq!(client.say("SENTINEL GET-MASTER-ADDR-BY-NAME talon").await, "nil");
}

#[tokio::test]
async fn nobody_is_sent_to_a_leader_that_has_just_gone() {
    let door = door().await;
    let own = door.address.port();
    let (second, third) = (own + 1, own + 2);
    let mut client = door.client().await;
    let slots = |port: u16| format!("(16383), [\"127.0.0.1\", ({port}), ");
    let shards =
        |port: u16| format!("({port}), \"ip\", \"127.0.0.1\", \"endpoint\", \"127.0.0.1\", \"role\", \"master\"");
    let node = |port: u16| format!(":{port}@{} master", port + 2000);
    for (question, of_second, of_third) in [
        ("CLUSTER SLOTS", slots(second), slots(third)),
        ("CLUSTER SHARDS", shards(second), shards(third)),
        ("CLUSTER NODES", node(second), node(third)),
    ] {
        door.database.change_status(|status| (status.leader_id, status.role) = (Some(2), Role::Follower));
        let answer = client.say(question).await;
        assert!(answer.contains(&of_second) && !answer.contains(&of_third), "{question}: {answer}");
        door.database.lose_leader();
        client.send(format!("{question}\r\n").as_bytes()).await;
        assert!(client.is_quiet().await, "there is nobody to name");
        door.database.change_status(|status| status.leader_id = Some(3));
        let answer = show(&client.reply().await.expect("an answer"));
        assert!(answer.contains(&of_third) && !answer.contains(&of_second), "{question}: {answer}");
    }
    let lead = |leader| door.database.change_status(|status| status.leader_id = Some(leader));
    lead(2);
    door.database.lose_leader();
    client.send(b"SENTINEL GET-MASTER-ADDR-BY-NAME talon\r\n").await;
    assert!(client.is_quiet().await, "there is nobody to name");
    lead(3);
    assert_eq!(show(&client.reply().await.expect("an answer")), format!("[\"127.0.0.1\", \"{third}\"]"));
}

#[tokio::test]
async fn messages_reach_all_who_have_subscribed() {
    let door = door().await;
    let (mut listener, mut pattern, mut client) = (door.client().await, door.client().await, door.client().await);
    script(&mut listener, &[("SUBSCRIBE news other", "[\"subscribe\", \"news\", (1)]")]).await;
    assert_eq!(show(&listener.reply().await.expect("an answer")), "[\"subscribe\", \"other\", (2)]");
    assert!(pattern.say("HELLO 3").await.starts_with('{'));
    script(&mut pattern, &[("PSUBSCRIBE n*", ">[\"psubscribe\", \"n*\", (1)]")]).await;
    script(
        &mut client,
        &[
            ("PUBLISH news one", "(2)"),
            ("PUBLISH nothing two", "(1)"),
            ("PUBLISH else three", "(0)"),
            ("MULTI", "OK"),
            ("SET k v", "QUEUED"),
            ("PUBLISH other four", "QUEUED"),
            ("EXEC", "[OK, (1)]"),
            ("PUBLISH news", "!ERR wrong number of arguments for 'publish' command"),
        ],
    )
    .await;
    for expected in ["[\"message\", \"news\", \"one\"]", "[\"message\", \"other\", \"four\"]"] {
        assert_eq!(show(&listener.reply().await.expect("a message")), expected);
    }
    for (channel, message) in [("news", "one"), ("nothing", "two")] {
        let expected = format!(">[\"pmessage\", \"n*\", \"{channel}\", \"{message}\"]");
        assert_eq!(show(&pattern.reply().await.expect("a message")), expected);
    }
    // In RESP3, whoever listens may also speak, and hears itself.
    script(&mut pattern, &[("PUBLISH nice five", "(1)")]).await;
    assert_eq!(show(&pattern.reply().await.expect("a message")), ">[\"pmessage\", \"n*\", \"nice\", \"five\"]");
}

#[tokio::test]
async fn transactions_on_a_snapshot_read_it_and_write_nothing() {
    let door = door().await;
    let mut client = door.client().await;
    script(&mut client, &[("SET a old", "OK")]).await;
    let id = snapshot(&mut client, "SNAPSHOT CREATE").await;
    script(&mut client, &[("SET a new", "OK"), (&format!("SNAPSHOT USE {id}"), "OK")]).await;
    script(&mut client, &[("MULTI", "OK"), ("GET a", "QUEUED"), ("EXEC", "[\"old\"]")]).await;
    let no_writes = "!ERR this connection reads from a snapshot and takes no writes (SNAPSHOT USE OFF ends that)";
    for watch in [false, true] {
        if watch {
            script(&mut client, &[("WATCH a", "OK")]).await;
        }
        script(&mut client, &[("MULTI", "OK"), ("SET a x", "QUEUED"), ("GET a", "QUEUED"), ("EXEC", no_writes)]).await;
    }
    // RESET is for what comes behind it.
    client.send(b"SET a x\r\nRESET\r\nGET a\r\n").await;
    for expected in [no_writes, "RESET", "\"new\""] {
        assert_eq!(show(&client.reply().await.expect("an answer")), expected);
    }
    script(&mut client, &[(&format!("SNAPSHOT USE {id}"), "OK"), (&format!("SNAPSHOT RELEASE {id}"), "OK")]).await;
    let gone = "!NOSNAPSHOT unknown or expired snapshot";
    script(&mut client, &[("MULTI", "OK"), ("GET a", "QUEUED"), ("EXEC", gone), ("PING", "PONG")]).await;
}

#[tokio::test]
async fn a_key_that_is_watched_again_counts_once() {
    let settings = RespSettings { watched_keys_max: 2, ..RespSettings::default() };
    let door = Door::open(1, settings).await;
    let (mut client, mut other) = (door.client().await, door.client().await);
    for _ in 0..3 {
        script(&mut client, &[("WATCH a b a", "OK"), ("WATCH b", "OK")]).await;
    }
    script(&mut client, &[("WATCH c", "!ERR a client may watch 2 keys (watched_keys_max)")]).await;
    script(&mut other, &[("SET a 1", "OK")]).await;
    script(&mut client, &[("MULTI", "OK"), ("PING", "QUEUED"), ("EXEC", "nil")]).await;
}

#[tokio::test]
async fn behind_a_refused_write_a_watched_transaction_is_refused_too() {
    let door = door().await;
    let mut client = door.client().await;
    script(&mut client, &[("WATCH k", "OK")]).await;
    door.database.deny(Some(talon_core::Denied::NoLeader));
    client.send(b"SET k 1\r\nMULTI\r\nSET k 2\r\nEXEC\r\n").await;
    let down = "!CLUSTERDOWN The cluster is down";
    for expected in [down, "OK", "QUEUED", down] {
        assert_eq!(show(&client.reply().await.expect("an answer")), expected);
    }
}

#[tokio::test]
async fn a_client_that_leaves_a_pause_takes_its_commands_with_it() {
    let door = door().await;
    let (mut client, mut other) = (door.client().await, door.client().await);
    script(&mut other, &[("CLIENT PAUSE 60000 WRITE", "OK")]).await;
    client.send(b"SET ghost 1\r\n").await;
    assert!(client.is_quiet().await);
    drop(client);
    while other.say("CLIENT LIST").await.matches("id=").count() > 1 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    script(&mut other, &[("CLIENT UNPAUSE", "OK"), ("GET ghost", "nil")]).await;
}
