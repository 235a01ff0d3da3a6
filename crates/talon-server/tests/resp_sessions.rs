//! What spans several commands of a connection, and several connections: WATCH, subscriptions, commands that wait.

mod support;

use std::time::Duration;

use support::{Door, Wire, show};
use talon_core::Role;
use talon_server::resp::RespSettings;

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
    script(&mut client, &[("WATCH a b c", refused), ("WATCH a", "OK"), ("WATCH b", "OK"), ("WATCH a", refused)]).await;
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
