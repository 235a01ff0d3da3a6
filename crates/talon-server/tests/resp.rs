//! The RESP front door on a real socket, over a database in memory.

mod support;

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use support::{Door, Wire, show};
use talon_core::{Database, Denied, Role};
use talon_resp::{Value, encode_command};
use talon_server::resp::RespSettings;
use talon_server::secret::Secret;
use tokio::io::AsyncWriteExt;

async fn door() -> Door {
    Door::open(1, RespSettings::default()).await
}

#[tokio::test]
async fn a_pipeline_is_answered_in_order_by_one_call() {
    let door = door().await;
    let mut client = door.client().await;
    client.send(b"SET a 1\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\nPING\r\nGET nope\r\nNOSUCH x\r\nECHO hi\r\n").await;
    for expected in
        ["OK", "\"1\"", "PONG", "nil", "!ERR unknown command 'NOSUCH', with args beginning with: 'x' ", "\"hi\""]
    {
        assert_eq!(show(&client.reply().await.expect("an answer")), expected);
    }
    assert_eq!(door.database.batches(), [3]);
}

#[tokio::test]
async fn a_request_may_come_byte_by_byte() {
    let door = door().await;
    let mut client = door.client().await;
    client.stream.set_nodelay(true).expect("an option");
    for byte in b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nab\r\nc\r\n" {
        client.send(&[*byte]).await;
        tokio::task::yield_now().await;
    }
    assert_eq!(show(&client.reply().await.expect("an answer")), "OK");
    assert_eq!(client.ask("GET k").await, Value::Bulk(Bytes::from_static(b"ab\r\nc")));
}

#[tokio::test]
async fn a_long_pipeline_that_is_sent_before_any_reply_is_read() {
    let door = door().await;
    let mut client = door.client().await;
    let value = "v".repeat(1000);
    assert_eq!(client.say(&format!("SET k {value}")).await, "OK");
    // Far more replies than all socket buffers hold: the server has to go on reading while it cannot write.
    let count = 40_000;
    let mut out = BytesMut::new();
    for _ in 0..count {
        encode_command(&[Bytes::from_static(b"GET"), Bytes::from_static(b"k")], &mut out);
    }
    tokio::time::timeout(Duration::from_secs(20), client.stream.write_all(&out)).await.expect("taken").expect("sent");
    for _ in 0..count {
        assert_eq!(client.reply().await, Some(Value::Bulk(Bytes::from(value.clone()))));
    }
}

#[tokio::test]
async fn batches_are_bounded() {
    let settings = RespSettings { pipeline_calls_max: 4, ..RespSettings::default() };
    let door = Door::open(1, settings).await;
    let mut client = door.client().await;
    client.send(&b"SET a 1\r\n".repeat(10)).await;
    for _ in 0..10 {
        assert_eq!(show(&client.reply().await.expect("an answer")), "OK");
    }
    assert!(door.database.batches().iter().all(|calls| *calls <= 4));
    assert_eq!(door.database.batches().iter().sum::<usize>(), 10);
}

#[tokio::test]
async fn sixteen_megabytes_go_in_and_out() {
    let door = door().await;
    let mut client = door.client().await;
    let value = Bytes::from(vec![b'z'; 16 * 1024 * 1024]);
    let mut out = BytesMut::new();
    encode_command(&[Bytes::from_static(b"SET"), Bytes::from_static(b"k"), value.clone()], &mut out);
    client.send(&out).await;
    assert_eq!(show(&client.reply().await.expect("an answer")), "OK");
    assert_eq!(client.ask("GET k").await, Value::Bulk(value));
    // One byte more is no request at all.
    client.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$16777217\r\n").await;
    assert_eq!(client.rest().await, b"-ERR Protocol error: invalid bulk length\r\n");
}

#[tokio::test]
async fn a_protocol_error_is_told_and_closes_only_its_connection() {
    let door = door().await;
    let mut bystander = door.client().await;
    for (sent, answer) in [
        (&b"SET a 1\r\n*x\r\nPING\r\n"[..], &b"+OK\r\n-ERR Protocol error: invalid multibulk length\r\n"[..]),
        (b"*1\r\nPING\r\n", b"-ERR Protocol error: expected '$', got 'P'\r\n"),
        (b"*1\r\n$-5\r\n", b"-ERR Protocol error: invalid bulk length\r\n"),
        (b"GET \"a\r\n", b"-ERR Protocol error: unbalanced quotes in request\r\n"),
    ] {
        let mut client = door.client().await;
        client.send(sent).await;
        assert_eq!(client.rest().await, answer);
    }
    let mut client = door.client().await;
    client.send(&vec![b'a'; 70_000]).await;
    assert_eq!(client.rest().await, b"-ERR Protocol error: too big inline request\r\n");
    assert_eq!(bystander.say("PING").await, "PONG");
}

#[tokio::test]
async fn multi_gathers_and_exec_carries_out_at_once() {
    let door = door().await;
    let mut client = door.client().await;
    for (line, reply) in [
        ("MULTI", "OK"),
        ("SET a 1", "QUEUED"),
        ("PING there", "QUEUED"),
        ("GET a", "QUEUED"),
        ("SELECT 9", "QUEUED"),
        ("EXEC", "[OK, \"there\", \"1\", !ERR DB index is out of range]"),
        ("EXEC", "!ERR EXEC without MULTI"),
        ("DISCARD", "!ERR DISCARD without MULTI"),
        ("MULTI", "OK"),
        ("EXEC", "[]"),
        ("MULTI", "OK"),
        ("SET a 2", "QUEUED"),
        ("DISCARD", "OK"),
        ("GET a", "\"1\""),
        ("MULTI", "OK"),
        ("MULTI", "!ERR MULTI calls can not be nested"),
        ("SET a 3", "QUEUED"),
        ("GET", "!ERR wrong number of arguments for 'get' command"),
        ("EXEC", "!EXECABORT Transaction discarded because of previous errors."),
        ("MULTI", "OK"),
        ("WATCH a", "!ERR WATCH inside MULTI is not allowed"),
        ("DISCARD", "OK"),
        ("WATCH a", "OK"),
        ("UNWATCH", "OK"),
        ("MULTI", "OK"),
        ("EXEC now", "!EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command"),
        ("EXEC", "!ERR EXEC without MULTI"),
        ("GET a", "\"1\""),
    ] {
        assert_eq!(client.say(line).await, reply, "{line}");
    }
    assert_eq!(door.database.batches()[0], 1, "the transaction is one call");
}

#[tokio::test]
async fn a_transaction_larger_than_a_request_is_refused() {
    let settings = RespSettings { request_bytes_max: 100, ..RespSettings::default() };
    let door = Door::open(1, settings).await;
    let mut client = door.client().await;
    assert_eq!(client.say("MULTI").await, "OK");
    assert_eq!(client.say(&format!("SET a {}", "x".repeat(50))).await, "QUEUED");
    let refusal = client.say(&format!("SET a {}", "x".repeat(50))).await;
    assert!(refusal.starts_with("!ERR request of ") && refusal.ends_with("exceeds request_bytes_max of 100 bytes"));
    assert_eq!(client.say("EXEC").await, "!EXECABORT Transaction discarded because of previous errors.");
}

#[tokio::test]
async fn hello_agrees_on_the_protocol() {
    let door = door().await;
    let mut client = door.client().await;
    let hello = |proto: u8| {
        format!(
            "\"server\": \"redis\", \"version\": \"7.0.15\", \"proto\": ({proto}), \"id\": (1), \"mode\": \"standalone\", \
             \"role\": \"master\", \"modules\": []"
        )
    };
    assert_eq!(client.say("HELLO 3 SETNAME me").await, format!("{{{}}}", hello(3)));
    assert_eq!(client.say("CLIENT GETNAME").await, "\"me\"");
    assert_eq!(client.ask("GET nope").await, Value::Null);
    assert!(matches!(client.ask("COMMAND INFO get").await, Value::Array(_)));
    assert_eq!(client.say("HELLO 4").await, "!NOPROTO unsupported protocol version");
    assert_eq!(client.say("HELLO x").await, "!ERR Protocol version is not an integer or out of range");
    assert_eq!(client.say("HELLO 3 FOO").await, "!ERR Syntax error in HELLO option 'FOO'");
    assert_eq!(client.say("RESET").await, "RESET");
    assert_eq!(client.say("CLIENT GETNAME").await, "nil");
    assert_eq!(client.say("HELLO").await, format!("[{}]", hello(2).replace("\": ", "\", ")));
    // Each reply is in the protocol of its moment.
    client.send(b"GET nope\r\nHELLO 3\r\nGET nope\r\nQUIT\r\nPING\r\n").await;
    let all = String::from_utf8(client.rest().await).expect("text");
    assert!(all.starts_with("$-1\r\n%7\r\n") && all.ends_with("_\r\n+OK\r\n"), "{all}");
}

#[tokio::test]
async fn nothing_goes_before_the_password() {
    let settings = RespSettings { password: Some(Secret::new("open")), ..RespSettings::default() };
    let door = Door::open(1, settings).await;
    let mut client = door.client().await;
    const WRONG: &str = "!WRONGPASS invalid username-password pair or user is disabled.";
    for (line, reply) in [
        ("GET a", "!NOAUTH Authentication required."),
        ("PING", "!NOAUTH Authentication required."),
        ("NOSUCH", "!ERR unknown command 'NOSUCH', with args beginning with: "),
        ("AUTH wrong", WRONG),
        ("AUTH other open", WRONG),
        ("AUTH a b c", "!ERR syntax error"),
        ("HELLO 3 AUTH default wrong", WRONG),
        ("AUTH open", "OK"),
        ("GET a", "nil"),
        ("AUTH wrong", WRONG),
        ("GET a", "nil"),
        ("RESET", "RESET"),
        ("GET a", "!NOAUTH Authentication required."),
        ("AUTH default open", "OK"),
        ("CONFIG GET requirepass", "[\"requirepass\", \"(set)\"]"),
    ] {
        assert_eq!(client.say(line).await, reply, "{line}");
    }
    let mut stranger = door.client().await;
    assert!(stranger.say("HELLO 3").await.starts_with("!NOAUTH HELLO must be called"));
    assert!(stranger.say("HELLO 3 AUTH default open").await.starts_with("{\"server\""));
    let mut stranger = door.client().await;
    stranger.send(b"*11\r\n").await;
    assert_eq!(stranger.rest().await, b"-ERR Protocol error: unauthenticated multibulk length\r\n");
    // Authentication counts from the next request of the same pipeline on.
    let mut client = door.client().await;
    client.send(b"AUTH open\r\n*11\r\n").await;
    client.send(&b"$4\r\nPING\r\n".repeat(11)).await;
    assert_eq!(show(&client.reply().await.expect("an answer")), "OK");
    assert_eq!(show(&client.reply().await.expect("an answer")), "!ERR wrong number of arguments for 'ping' command");
}

#[tokio::test]
async fn without_a_password_auth_is_told_so() {
    let door = door().await;
    let mut client = door.client().await;
    assert!(client.say("AUTH x").await.starts_with("!ERR AUTH <password> called without any password configured"));
    assert_eq!(client.say("AUTH default x").await, "OK");
}

#[tokio::test]
async fn replies_can_be_switched_off() {
    let door = door().await;
    let mut client = door.client().await;
    client
        .send(b"CLIENT REPLY SKIP\r\nPING\r\nECHO a\r\nCLIENT REPLY OFF\r\nECHO b\r\nCLIENT REPLY ON\r\nECHO c\r\n")
        .await;
    for expected in ["\"a\"", "OK", "\"c\""] {
        assert_eq!(show(&client.reply().await.expect("an answer")), expected);
    }
}

#[tokio::test]
async fn scan_cursors_are_numbers() {
    let door = door().await;
    let mut client = door.client().await;
    for number in 0..50 {
        assert_eq!(client.say(&format!("SET k{number:02} v")).await, "OK");
    }
    let mut cursor = "0".to_owned();
    let mut keys = Vec::new();
    let mut rounds = 0;
    loop {
        // Every other page inside a transaction.
        let page = if rounds % 2 == 0 {
            client.ask(&format!("SCAN {cursor} COUNT 10")).await
        } else {
            assert_eq!(client.say("MULTI").await, "OK");
            assert_eq!(client.say(&format!("SCAN {cursor} COUNT 10")).await, "QUEUED");
            let Value::Array(mut replies) = client.ask("EXEC").await else { panic!("no array") };
            replies.remove(0)
        };
        let Value::Array(page) = page else { panic!("no array: {page:?}") };
        cursor = page[0].text().expect("a cursor");
        let Value::Array(page) = &page[1] else { panic!("no keys") };
        keys.extend(page.iter().filter_map(Value::text));
        rounds += 1;
        if cursor == "0" {
            break;
        }
        assert!(cursor.parse::<u64>().is_ok(), "{cursor}");
    }
    assert!(rounds >= 5, "{rounds}");
    assert_eq!(keys, (0..50).map(|number| format!("k{number:02}")).collect::<Vec<_>>());
    assert_eq!(client.say("SCAN x").await, "!ERR invalid cursor");
    assert_eq!(client.say("SCAN 7").await, "!ERR invalid cursor");
}

fn follow(door: &Door, leader: u64) {
    door.database.change_status(|status| {
        status.role = if leader == status.node_id { Role::Leader } else { Role::Follower };
        status.leader_id = (leader != 0).then_some(leader);
    });
}

#[tokio::test]
async fn a_node_that_loses_leadership_lets_its_clients_go() {
    let door = Door::open(3, RespSettings::default()).await;
    let mut idle = door.client().await;
    assert_eq!(idle.say("PING").await, "PONG");
    let mut reader = door.client().await;
    assert_eq!(reader.say("READONLY").await, "OK");
    follow(&door, 2);
    assert_eq!(idle.rest().await, b"");
    // Who reads from replicas stays, and writes are sent on.
    assert_eq!(reader.say("GET a").await, "nil");
    let leader = format!("127.0.0.1:{}", door.address.port() + 1);
    assert_eq!(reader.say("SET foo 1").await, format!("!MOVED 12182 {leader}"));
    // Who comes now stays, too.
    let mut late = door.client().await;
    assert_eq!(late.say("SET {foo}x 1").await, format!("!MOVED 12182 {leader}"));
    assert_eq!(late.say("FLUSHALL").await, format!("!MOVED 0 {leader}"));
    assert_eq!(late.say("MULTI").await, "OK");
    assert_eq!(late.say("SET bar 1").await, "QUEUED");
    assert_eq!(late.say("EXEC").await, format!("!MOVED 5061 {leader}"));
    follow(&door, 0);
    assert_eq!(late.say("SET foo 1").await, "!CLUSTERDOWN The cluster is down");
    assert!(late.is_quiet().await);
    follow(&door, 1);
    assert_eq!(late.say("SET foo 1").await, "OK");
    follow(&door, 3);
    assert_eq!(late.rest().await, b"");
    assert_eq!(reader.say("READWRITE").await, "OK");
    follow(&door, 1);
    assert_eq!(reader.say("PING").await, "PONG");
    follow(&door, 2);
    assert_eq!(reader.rest().await, b"");
}

#[tokio::test]
async fn behind_a_refused_write_a_pipeline_is_not_answered_from_an_old_state() {
    // Each call is a batch of its own, so the order has to be kept from batch to batch.
    let settings = RespSettings { pipeline_calls_max: 1, ..RespSettings::default() };
    let door = Door::open(3, settings).await;
    follow(&door, 2);
    let mut client = door.client().await;
    let moved = format!("!MOVED 12182 127.0.0.1:{}", door.address.port() + 1);
    let pipeline = b"GET foo\r\nSET foo 1\r\nGET foo\r\nMULTI\r\nGET foo\r\nEXEC\r\nPING\r\nGET foo\r\n";
    client.send(pipeline).await;
    for expected in ["nil", &moved, &moved, "OK", "QUEUED", &moved, "PONG", &moved] {
        assert_eq!(show(&client.reply().await.expect("an answer")), expected);
    }
    // A new pipeline is none of its business.
    assert_eq!(client.say("GET foo").await, "nil");
    // Who reads from replicas is answered.
    assert_eq!(client.say("READONLY").await, "OK");
    client.send(b"SET foo 1\r\nGET foo\r\n").await;
    for expected in [&moved, "nil"] {
        assert_eq!(show(&client.reply().await.expect("an answer")), expected);
    }
}

#[tokio::test]
async fn the_rest_of_a_refused_pipeline_is_refused_by_the_leader_it_comes_to_as_well() {
    let settings = RespSettings { pipeline_calls_max: 1, ..RespSettings::default() };
    let door = Door::open(3, settings).await;
    let mut client = door.client().await;
    assert_eq!(client.say("SET foo 0").await, "OK");
    // Refused as if nobody led, and meanwhile the node may lead again; the request has not come to its end.
    door.database.deny(Some(Denied::NoLeader));
    client.send(b"SET foo 1\r\nGET fo").await;
    assert_eq!(show(&client.reply().await.expect("an answer")), "!CLUSTERDOWN The cluster is down");
    door.database.deny(None);
    client.send(b"o\r\n").await;
    assert_eq!(show(&client.reply().await.expect("an answer")), "!CLUSTERDOWN The cluster is down");
    assert_eq!(client.say("GET foo").await, "\"0\"");
    // A pipeline without an end is not refused for ever.
    door.database.deny(Some(Denied::NoLeader));
    client.send(b"SET foo 1\r\nGET fo").await;
    assert_eq!(show(&client.reply().await.expect("an answer")), "!CLUSTERDOWN The cluster is down");
    door.database.deny(None);
    tokio::time::sleep(Duration::from_millis(150)).await;
    client.send(b"o\r\n").await;
    assert_eq!(show(&client.reply().await.expect("an answer")), "\"0\"");
}

#[tokio::test]
async fn every_denial_has_its_words() {
    let door = Door::open(3, RespSettings::default()).await;
    let mut client = door.client().await;
    let own = door.database.status().leader().cloned().expect("node 1 leads");
    for (denied, line) in [
        (Denied::NotLeader { leader: own }, "!CLUSTERDOWN The cluster is down"),
        (Denied::NoLeader, "!CLUSTERDOWN The cluster is down"),
        (Denied::ShuttingDown, "!CLUSTERDOWN The cluster is down"),
        (Denied::InDoubt, "!INDOUBT the write may or may not have been applied"),
        (Denied::Stale { behind_ms: 5, bound_ms: 3 }, "!STALE replica is 5 ms behind (bound 3 ms)"),
        (Denied::Loading, "!LOADING Talon is loading the dataset in memory"),
        (
            Denied::TooLarge { size_bytes: 9, bytes_max: 8 },
            "!ERR request of 9 bytes exceeds request_bytes_max of 8 bytes",
        ),
        (
            Denied::TooMuchWatched,
            "!ERR the clients of this node watch too much already: the leader keeps no more for it",
        ),
        (Denied::Busy, "!TRYAGAIN too many requests are waiting already"),
        (
            Denied::DiskFull { free_bytes: 7, reserve_bytes: 9 },
            "!MISCONF Talon takes no writes: a disk of the cluster has 7 bytes free, less than its reserve of 9 \
             (disk_reserve_bytes). Make room there; reads go on, and writes will by themselves",
        ),
    ] {
        door.database.deny(Some(denied));
        assert_eq!(client.say("SET a 1").await, line);
    }
    // INFO tells what it can.
    assert!(client.say("INFO").await.contains("redis_version:7.0.15"));
    // A fault is no answer at all, but what was answered before it is.
    door.database.deny(Some(Denied::Fault("disk".to_owned())));
    client.send(b"PING\r\nSET a 1\r\nPING\r\n").await;
    assert_eq!(client.rest().await, b"+PONG\r\n");
}

#[tokio::test]
async fn too_many_clients_are_turned_away() {
    let door = Door::open(1, RespSettings { clients_max: 1, ..RespSettings::default() }).await;
    let mut first = door.client().await;
    assert_eq!(first.say("PING").await, "PONG");
    let mut second = door.client().await;
    assert_eq!(second.rest().await, b"-ERR max number of clients reached\r\n");
    assert_eq!(first.say("CONFIG SET maxclients 2").await, "OK");
    let mut third = door.client().await;
    assert_eq!(third.say("PING").await, "PONG");
    drop(third);
    drop(first);
}

#[tokio::test]
async fn idle_clients_are_closed_when_asked_for() {
    let door = Door::open(1, RespSettings { idle_timeout: Duration::from_secs(1), ..RespSettings::default() }).await;
    let mut client = door.client().await;
    assert_eq!(client.say("PING").await, "PONG");
    assert_eq!(client.rest().await, b"");
}

#[tokio::test]
async fn an_endless_request_is_cut_off() {
    let settings = RespSettings { query_bytes_max: 100_000, ..RespSettings::default() };
    let door = Door::open(1, settings).await;
    let mut client = door.client().await;
    let mut out = BytesMut::from(&b"*1000\r\n"[..]);
    for _ in 0..20 {
        out.extend_from_slice(b"$10000\r\n");
        out.extend_from_slice(&[b'x'; 10_000]);
        out.extend_from_slice(b"\r\n");
    }
    // The other side may close before everything is sent.
    let _ = client.stream.write_all(&out).await;
    assert_eq!(client.rest().await, b"");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut_off() {
    let settings = RespSettings {
        output_stall_max: Duration::from_millis(300),
        query_bytes_max: 1024 * 1024,
        ..RespSettings::default()
    };
    let door = Door::open(1, settings).await;
    let mut client = door.client().await;
    let value = "v".repeat(1_000_000);
    assert_eq!(client.say(&format!("SET k {value}")).await, "OK");
    client.send(&b"GET k\r\n".repeat(40)).await;
    let metrics = door.settings.metrics.clone();
    let cut = async {
        while metrics.connections_cut.load(std::sync::atomic::Ordering::Relaxed) == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), cut).await.expect("cut off");
}

#[tokio::test]
async fn clients_see_and_close_each_other() {
    let door = door().await;
    let mut one = door.client().await;
    let mut two = door.client().await;
    assert_eq!(two.say("CLIENT SETINFO LIB-NAME test").await, "OK");
    assert_eq!(two.say("CLIENT ID").await, "(2)");
    assert_eq!(one.say("CLIENT SETNAME one").await, "OK");
    let list = one.say("CLIENT LIST").await;
    assert_eq!(list.lines().count(), 3, "two lines and the closing quote: {list}");
    assert!(list.contains("name=one") && list.contains("cmd=client|list") && list.contains("lib-name=test"), "{list}");
    assert_eq!(one.say("CLIENT KILL ID 99").await, "(0)");
    assert_eq!(one.say("CLIENT KILL ID 2").await, "(1)");
    assert_eq!(two.rest().await, b"");
    let own = one.stream.local_addr().expect("an address");
    assert_eq!(one.say(&format!("CLIENT KILL {own}")).await, "OK");
    assert_eq!(one.rest().await, b"");
}

#[tokio::test]
async fn the_cluster_is_one_shard_with_the_leader_first() {
    let door = Door::open(3, RespSettings::default()).await;
    let mut client = door.client().await;
    let port = door.address.port();
    let name = |id: u64| format!("0123456789abcdef01234567{id:016x}");
    let node = |id: u64| format!("[\"127.0.0.1\", ({}), \"{}\", []]", u64::from(port) + id - 1, name(id));
    assert_eq!(client.say("CLUSTER SLOTS").await, format!("[[(0), (16383), {}, {}, {}]]", node(1), node(2), node(3)));
    assert_eq!(client.say("CLUSTER MYID").await, format!("\"{}\"", name(1)));
    assert_eq!(client.say("CLUSTER KEYSLOT foo").await, "(12182)");
    assert!(client.say("CLUSTER INFO").await.contains("cluster_state:ok"));
    let nodes = client.say("CLUSTER NODES").await;
    assert!(nodes.contains(&format!(
        "{} 127.0.0.1:{port}@{} myself,master - 0 0 1 connected 0-16383\n",
        name(1),
        port + 2000
    )));
    assert!(nodes.contains(&format!("slave {} 0 0 1 connected\n", name(1))));
    assert!(client.say("INFO replication").await.contains("role:master\r\nconnected_slaves:2\r\nslave0:ip=127.0.0.1,"));
    assert!(client.say("ROLE").await.starts_with("[\"master\", (0), [[\"127.0.0.1\""));
    assert_eq!(client.say("SENTINEL GET-MASTER-ADDR-BY-NAME talon").await, format!("[\"127.0.0.1\", \"{port}\"]"));
    assert_eq!(client.say("SENTINEL GET-MASTER-ADDR-BY-NAME other").await, "nil");
    assert_eq!(client.say("SENTINEL MASTER other").await, "!ERR No such master with that name");
    assert!(client.say("SENTINEL MASTERS").await.contains("\"flags\", \"master\""));
    follow(&door, 2);
    let mut client = door.client().await;
    assert_eq!(client.say("CLUSTER SLOTS").await, format!("[[(0), (16383), {}, {}, {}]]", node(2), node(1), node(3)));
    assert!(client.say("INFO replication").await.contains(&format!(
        "role:slave\r\nmaster_host:127.0.0.1\r\nmaster_port:{}\r\nmaster_link_status:up",
        port + 1
    )));
    assert_eq!(client.say("ROLE").await, format!("[\"slave\", \"127.0.0.1\", ({}), \"connected\", (0)]", port + 1));
}

#[tokio::test]
async fn without_a_cluster_there_are_no_cluster_commands() {
    let door = door().await;
    let mut client = door.client().await;
    for line in ["CLUSTER SLOTS", "CLUSTER NODES", "READONLY", "ASKING", "CLUSTER KEYSLOT a"] {
        assert_eq!(client.say(line).await, "!ERR This instance has cluster support disabled", "{line}");
    }
    assert_eq!(client.say("CLUSTER FOO").await, "!ERR unknown subcommand 'FOO'. Try CLUSTER HELP.");
}

#[tokio::test]
async fn wait_counts_followers_that_hold_the_writes() {
    let door = Door::open(3, RespSettings::default()).await;
    door.database.change_status(|status| {
        status.applied_index = 10;
        status.members[1].matched_index = Some(10);
        status.members[2].matched_index = Some(9);
    });
    let mut client = door.client().await;
    // What comes behind it waits, too.
    client.send(b"SET a 1\r\nWAIT 1 1000\r\nGET a\r\nWAIT 2 50\r\nPING\r\n").await;
    for expected in ["OK", "(1)", "\"1\"", "(1)", "PONG"] {
        assert_eq!(show(&client.reply().await.expect("an answer")), expected);
    }
    assert_eq!(client.say("WAIT 0 -1").await, "!ERR timeout is negative");
    client.send(b"WAIT 2 0\r\n").await;
    assert!(client.is_quiet().await);
    door.database.change_status(|status| status.members[2].matched_index = Some(11));
    assert_eq!(show(&client.reply().await.expect("an answer")), "(2)");
}

#[tokio::test]
async fn config_answers_by_pattern_and_changes_what_can_change() {
    let door = door().await;
    let mut client = door.client().await;
    for (line, reply) in [
        ("CONFIG GET save", "[\"save\", \"\"]"),
        ("CONFIG GET append*", "[\"appendfsync\", \"always\", \"appendonly\", \"yes\"]"),
        ("CONFIG GET TIMEOUT databases", "[\"databases\", \"1\", \"timeout\", \"0\"]"),
        ("CONFIG GET nosuch", "[]"),
        ("CONFIG SET timeout 100", "OK"),
        ("CONFIG GET timeout", "[\"timeout\", \"100\"]"),
        (
            "CONFIG SET timeout x",
            "!ERR CONFIG SET failed (possibly related to argument 'timeout') - argument couldn't be parsed into an integer",
        ),
        (
            "CONFIG SET databases 2",
            "!ERR CONFIG SET failed (possibly related to argument 'databases') - can't set immutable config",
        ),
        ("CONFIG SET nosuch 2", "!ERR Unknown option or number of arguments for CONFIG SET - 'nosuch'"),
        (
            "CONFIG SET timeout 1 databases 2",
            "!ERR CONFIG SET failed (possibly related to argument 'databases') - can't set immutable config",
        ),
        ("CONFIG GET timeout", "[\"timeout\", \"100\"]"),
        ("CONFIG RESETSTAT", "OK"),
        ("CONFIG FOO", "!ERR unknown subcommand 'FOO'. Try CONFIG HELP."),
        ("CONFIG", "!ERR wrong number of arguments for 'config' command"),
    ] {
        assert_eq!(client.say(line).await, reply, "{line}");
    }
}

#[tokio::test]
async fn what_happened_is_counted() {
    let door = door().await;
    let mut client = door.client().await;
    for line in ["SET a 1", "SET a 2", "GET a", "GET", "NOSUCH"] {
        client.say(line).await;
    }
    let info = client.say("INFO commandstats").await;
    assert!(info.contains("cmdstat_set:calls=2,") && info.contains("rejected_calls=1"), "{info}");
    assert!(client.say("INFO errorstats").await.contains("errorstat_ERR:count=2"));
    let metrics = &door.settings.metrics;
    assert_eq!(metrics.connections.load(std::sync::atomic::Ordering::Relaxed), 1);
    assert!(metrics.bytes_in.load(std::sync::atomic::Ordering::Relaxed) > 50);
}

#[tokio::test]
async fn a_shutdown_ends_everything() {
    let door = door().await;
    let mut client = door.client().await;
    assert_eq!(client.say("PING").await, "PONG");
    door.shutdown.cancel();
    assert_eq!(client.rest().await, b"");
    tokio::time::timeout(Duration::from_secs(2), door.task).await.expect("in time").expect("no panic");
    assert!(tokio::net::TcpStream::connect(door.address).await.is_err());
}

#[tokio::test]
async fn strangers_are_refused_in_protected_mode() {
    // A listener beyond loopback; this machine's own address stands for a stranger's, where it has one.
    let Some(own) = own_address() else { return };
    for (settings, refused) in [
        (RespSettings::default(), true),
        (RespSettings { protected_mode: false, ..RespSettings::default() }, false),
        (RespSettings { password: Some(Secret::new("open")), ..RespSettings::default() }, false),
    ] {
        let listener = tokio::net::TcpListener::bind("0.0.0.0:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let database = std::sync::Arc::new(support::memory::MemoryDatabase::new(1, port));
        let shutdown = tokio_util::sync::CancellationToken::new();
        let settings = std::sync::Arc::new(settings);
        let task = tokio::spawn(talon_server::resp::serve(listener, database, settings, shutdown.clone()));
        let mut stranger = Wire::connect((own, port).into()).await;
        if refused {
            assert!(stranger.rest().await.starts_with(b"-DENIED "));
        } else {
            assert!(matches!(stranger.say("PING").await.as_str(), "PONG" | "!NOAUTH Authentication required."));
        }
        let mut local = Wire::connect(([127, 0, 0, 1], port).into()).await;
        assert!(matches!(local.say("PING").await.as_str(), "PONG" | "!NOAUTH Authentication required."));
        shutdown.cancel();
        task.await.expect("no panic");
    }
}

/// This machine's address on a network; found without sending anything.
fn own_address() -> Option<std::net::IpAddr> {
    let socket = std::net::UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback()).then_some(address)
}
