//! What a connection asks of its reads, and where its writes stand.

mod support;

use std::time::{Duration, Instant};

use support::{Door, Wire};
use talon_core::{Consistency, Denied, Role};
use talon_server::resp::RespSettings;

async fn script(client: &mut Wire, lines: &[(&str, &str)]) {
    for (line, reply) in lines {
        assert_eq!(client.say(line).await, *reply, "{line}");
    }
}

#[tokio::test]
async fn a_connection_chooses_how_its_reads_are_answered() {
    let door = Door::open(3, RespSettings::default()).await;
    let mut client = door.client().await;
    script(&mut client, &[("CLIENT CONSISTENCY", "\"default\""), ("GET k", "nil")]).await;
    assert_eq!(door.database.take_consistencies(), [Consistency::Lease], "it is talking to the leader");
    for (chosen, shown, asked) in [
        ("LINEARIZABLE", "\"linearizable\"", Consistency::Linearizable),
        ("lease", "\"lease\"", Consistency::Lease),
        ("Bounded 250", "\"bounded 250\"", Consistency::Bounded { ms: 250 }),
        ("SNAPSHOT", "\"snapshot\"", Consistency::Snapshot),
        ("DEFAULT", "\"default\"", Consistency::Lease),
    ] {
        script(&mut client, &[(&format!("CLIENT CONSISTENCY {chosen}"), "OK"), ("CLIENT CONSISTENCY", shown)]).await;
        script(&mut client, &[("GET k", "nil")]).await;
        assert_eq!(door.database.take_consistencies(), [asked], "{chosen}");
    }
    for (line, error) in [
        ("CLIENT CONSISTENCY STRONG", "!ERR syntax error"),
        ("CLIENT CONSISTENCY BOUNDED", "!ERR syntax error"),
        ("CLIENT CONSISTENCY BOUNDED x", "!ERR value is not an integer or out of range"),
        ("CLIENT CONSISTENCY BOUNDED 86400001", "!ERR the bound must be from 0 to 86400000 ms"),
    ] {
        script(&mut client, &[(line, error), ("CLIENT CONSISTENCY", "\"default\"")]).await;
    }
    script(&mut client, &[("CLIENT CONSISTENCY SNAPSHOT", "OK"), ("RESET", "RESET")]).await;
    script(&mut client, &[("CLIENT CONSISTENCY", "\"default\"")]).await;
    script(&mut client, &[("MULTI", "OK")]).await;
    let refused = "!ERR Command not allowed inside a transaction";
    script(&mut client, &[("CLIENT CONSISTENCY SNAPSHOT", refused), ("CLIENT LASTINDEX", refused)]).await;
}

#[tokio::test]
async fn the_settings_say_how_reads_are_answered_at_first() {
    let settings = RespSettings { consistency: Consistency::Bounded { ms: 500 }, ..RespSettings::default() };
    let door = Door::open(3, settings).await;
    let mut client = door.client().await;
    script(&mut client, &[("CLIENT CONSISTENCY", "\"bounded 500\""), ("GET k", "nil")]).await;
    assert_eq!(door.database.take_consistencies(), [Consistency::Bounded { ms: 500 }]);
    script(&mut client, &[("CLIENT CONSISTENCY LEASE", "OK"), ("GET k", "nil")]).await;
    script(&mut client, &[("CLIENT CONSISTENCY DEFAULT", "OK"), ("CLIENT CONSISTENCY", "\"bounded 500\"")]).await;
    assert_eq!(door.database.take_consistencies(), [Consistency::Lease]);
}

#[tokio::test]
async fn readonly_lifts_the_lease_that_the_node_asks_for_and_no_choice_of_the_clients() {
    let settings = RespSettings { consistency: Consistency::Lease, ..RespSettings::default() };
    let door = Door::open(3, settings).await;
    door.database.change_status(|status| (status.leader_id, status.role) = (Some(2), Role::Follower));
    let mut client = door.client().await;
    for (line, asked) in [
        ("PING", Consistency::Lease),
        ("READONLY", Consistency::Default),
        ("READWRITE", Consistency::Lease),
        ("READONLY", Consistency::Default),
        ("CLIENT CONSISTENCY LEASE", Consistency::Lease),
        ("CLIENT CONSISTENCY LINEARIZABLE", Consistency::Linearizable),
        ("CLIENT CONSISTENCY DEFAULT", Consistency::Default),
        ("RESET", Consistency::Lease),
    ] {
        client.say(line).await;
        script(&mut client, &[("GET k", "nil")]).await;
        assert_eq!(door.database.take_consistencies(), [asked], "{line}");
    }
}

#[tokio::test]
async fn who_comes_to_a_node_that_led_until_lately_gets_no_old_state() {
    let door = Door::open(3, RespSettings::default()).await;
    for (led_ms_ago, asked) in [
        (None, Consistency::Default),
        (Some(0), Consistency::Linearizable),
        (Some(59_999), Consistency::Linearizable),
        (Some(60_000), Consistency::Default),
    ] {
        door.database.change_status(|status| {
            (status.leader_id, status.role, status.led_ms_ago) = (Some(2), Role::Follower, led_ms_ago);
        });
        let mut client = door.client().await;
        script(&mut client, &[("GET k", "nil"), ("READONLY", "OK"), ("GET k", "nil")]).await;
        assert_eq!(door.database.take_consistencies(), [asked, Consistency::Default], "{led_ms_ago:?}");
        script(&mut client, &[("RESET", "RESET"), ("CLIENT CONSISTENCY SNAPSHOT", "OK"), ("GET k", "nil")]).await;
        assert_eq!(door.database.take_consistencies(), [Consistency::Snapshot]);
    }
}

#[tokio::test]
async fn a_pipeline_is_carried_out_as_it_was_asked_for() {
    let door = Door::open(3, RespSettings::default()).await;
    let mut client = door.client().await;
    let pipeline = b"CLIENT CONSISTENCY LINEARIZABLE\r\nGET a\r\nGET b\r\nCLIENT CONSISTENCY SNAPSHOT\r\nGET c\r\n";
    client.send(pipeline).await;
    for reply in ["OK", "nil", "nil", "OK", "nil"] {
        assert_eq!(support::show(&client.reply().await.unwrap()), reply);
    }
    assert_eq!(door.database.take_consistencies(), [Consistency::Linearizable, Consistency::Snapshot]);
}

#[tokio::test]
async fn a_connection_knows_where_its_writes_stand() {
    let door = Door::open(3, RespSettings::default()).await;
    let (mut client, mut other) = (door.client().await, door.client().await);
    script(&mut client, &[("GET k", "nil"), ("CLIENT LASTINDEX", "(0)")]).await;
    door.database.change_status(|status| status.applied_index = 7);
    // In one pipeline: it is behind the write.
    client.send(b"SET k 1\r\nCLIENT LASTINDEX\r\n").await;
    for reply in ["OK", "(7)"] {
        assert_eq!(support::show(&client.reply().await.unwrap()), reply);
    }
    door.database.change_status(|status| status.applied_index = 9);
    script(&mut client, &[("GET k", "\"1\""), ("CLIENT LASTINDEX", "(7)")]).await;
    script(&mut other, &[("CLIENT LASTINDEX", "(0)")]).await;
    for line in ["MULTI", "INCR k", "EXEC"] {
        client.say(line).await;
    }
    script(&mut client, &[("CLIENT LASTINDEX", "(9)"), ("WATCH k", "OK"), ("MULTI", "OK"), ("INCR k", "QUEUED")]).await;
    door.database.change_status(|status| status.applied_index = 12);
    script(&mut client, &[("EXEC", "[(3)]"), ("CLIENT LASTINDEX", "(12)")]).await;
    door.database.deny(Some(Denied::NoLeader));
    door.database.change_status(|status| status.applied_index = 15);
    assert!(client.say("SET k 1").await.starts_with("!CLUSTERDOWN"));
    script(&mut client, &[("CLIENT LASTINDEX", "(12)")]).await;
}

#[tokio::test]
async fn an_index_is_waited_for() {
    let door = Door::open(3, RespSettings::default()).await;
    let mut client = door.client().await;
    door.database.change_status(|status| (status.applied_index, status.role) = (7, Role::Follower));
    let begun = Instant::now();
    script(&mut client, &[("WAITINDEX 7 1000", "OK"), ("WAITINDEX 0 0", "OK")]).await;
    script(&mut client, &[("WAITINDEX 8 120", "!STALE replica is at index 7, not yet at 8")]).await;
    assert!(begun.elapsed() >= Duration::from_millis(120));
    let database = door.database.clone();
    let later = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        database.change_status(|status| status.applied_index = 8);
    });
    // What comes behind it waits, too.
    client.send(b"WAITINDEX 8 0\r\nECHO behind\r\n").await;
    assert_eq!(support::show(&client.reply().await.unwrap()), "OK");
    later.await.unwrap();
    assert_eq!(support::show(&client.reply().await.unwrap()), "\"behind\"");
    for (line, error) in [
        ("WAITINDEX x 0", "!ERR value is not an integer or out of range"),
        ("WAITINDEX -1 0", "!ERR value is not an integer or out of range"),
        ("WAITINDEX 1 x", "!ERR timeout is not an integer or out of range"),
        ("WAITINDEX 1 -1", "!ERR timeout is negative"),
        ("WAITINDEX 1", "!ERR wrong number of arguments for 'waitindex' command"),
    ] {
        script(&mut client, &[(line, error)]).await;
    }
}
