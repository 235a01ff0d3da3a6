//! The client against real sockets, with databases in memory behind them: what it finds, what it sends again, and above all what it
//! never sends again.

#[path = "../../talon-server/tests/grpc_support/mod.rs"]
mod grpc_support;

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use grpc_support::{Served, Weather, member};
use talon_client::{Client, Consistency, Error, KeyType, Options, ReadPreference, Reply, TimeLeft, Write};
use talon_core::Denied;
use talon_server::grpc::Settings;
use talon_server::secret::Secret;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

async fn served() -> Served {
    Served::start(Settings::default()).await
}

fn quick() -> Options {
    Options {
        deadline: Duration::from_millis(1_500),
        pause: Duration::from_millis(20),
        connect_time: Duration::from_millis(300),
        ..Options::default()
    }
}

async fn client(nodes: &[&Served]) -> Client {
    Client::connect(nodes.iter().map(|node| node.url()), quick()).await.unwrap()
}

/// A way to a node that can be cut at any moment.
struct Wire {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Wire {
    async fn to(node: &Served) -> Wire {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let target = node.address;
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((mut from, _)) = listener.accept().await {
                connections.spawn(async move {
                    let mut to = TcpStream::connect(target).await.unwrap();
                    let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
                });
            }
        });
        Wire { address, task }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// All connections break, and no new ones are accepted.
    async fn cut(self) {
        self.task.abort();
        let _ = self.task.await;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn every_function_has_a_method() {
    let node = served().await;
    let client = client(&[&node]).await;
    client.set("a", "1").await.unwrap();
    client.set_for("short", "1", Duration::from_millis(2_500)).await.unwrap();
    assert_eq!(client.ttl("short").await.unwrap(), TimeLeft::Left(Duration::from_millis(2_500)));
    assert_eq!(
        (client.ttl("a").await.unwrap(), client.ttl("none").await.unwrap()),
        (TimeLeft::Endless, TimeLeft::NoKey)
    );
    assert!(!client.setnx("a", "2", None).await.unwrap());
    assert!(client.setnx("b", "2", Some(Duration::from_secs(9))).await.unwrap());
    client.mset([("c", "3"), ("d", "4")]).await.unwrap();
    let batch = [Write::Set { key: "e".into(), value: "5".into(), ttl: None }, Write::Del { key: "d".into() }];
    client.batch(batch).await.unwrap();
    assert_eq!(client.mget(["c", "d", "e"]).await.unwrap(), [Some("3".into()), None, Some("5".into())]);
    assert_eq!(client.append("e", "67").await.unwrap(), 3);
    assert_eq!(client.setrange("e", 3, "8").await.unwrap(), 4);
    assert_eq!(client.getrange("e", -2, -1).await.unwrap(), "78");
    assert_eq!(client.getset("e", "9").await.unwrap(), Some("5678".into()));
    client.rename("e", "f").await.unwrap();
    assert_eq!(client.rename("e", "f").await, Err(Error::Refused("ERR no such key".into())));
    assert!(client.exists("f").await.unwrap());
    assert_eq!((client.strlen("f").await.unwrap(), client.strlen("e").await.unwrap()), (Some(1), None));
    client.set("raw", [0xff]).await.unwrap();
    assert_eq!(client.key_type("raw").await.unwrap(), KeyType::Bytes);
    assert_eq!(
        (client.key_type("f").await.unwrap(), client.key_type("e").await.unwrap()),
        (KeyType::Text, KeyType::None)
    );
    client.expire("f", Duration::from_secs(7)).await.unwrap();
    assert_eq!(client.expire_time("f").await.unwrap(), Some(1_007));
    assert!(client.persist("f").await.unwrap());
    assert!(client.expire_at("f", 2_000).await.unwrap());
    assert_eq!(client.ttl("f").await.unwrap(), TimeLeft::Left(Duration::from_secs(1_000)));
    assert_eq!((client.incr("n").await.unwrap(), client.incrby("n", 9).await.unwrap()), (1, 10));
    assert_eq!((client.decr("n").await.unwrap(), client.decrby("n", 4).await.unwrap()), (9, 5));
    assert_eq!(client.incrbyfloat("x", 0.5).await.unwrap(), 0.5);
    assert!(client.del("n").await.unwrap());
    assert_eq!(client.mdel(["x", "n"]).await.unwrap(), 1);
    assert_eq!(client.key_count().await.unwrap(), 6);
    assert_eq!(client.del_prefix("").await.unwrap(), 6);
    assert_eq!(client.random_key().await.unwrap(), None);
    assert_eq!(client.disk_space().await.unwrap(), 0);

    assert_eq!(client.execute(["SET", "k", "v"]).await.unwrap(), Reply::Ok);
    assert_eq!(client.query(["GET", "k"]).await.unwrap(), Reply::Bulk("v".into()));
    assert!(matches!(client.query(["DEL", "k"]).await.unwrap(), Reply::Error(line) if line.contains("read-only")));
    assert!(matches!(client.execute(["NOPE"]).await.unwrap(), Reply::Error(_)));
    let replies = client.execute_transaction([vec!["INCR", "n"], vec!["MGET", "n", "none"]]).await.unwrap();
    let values = Reply::Array(vec![Reply::Bulk("1".into()), Reply::Null]);
    assert_eq!(replies, [Reply::Integer(1), values]);

    let large = Bytes::from(vec![7; 16 << 20]);
    client.set("large", &large).await.unwrap();
    assert_eq!(client.get("large").await.unwrap(), Some(large));
    let larger = vec![7; (16 << 20) + 1];
    assert!(matches!(client.set("large", &larger).await, Err(Error::Refused(line)) if line.contains("16777216")));
}

#[tokio::test]
async fn calls_can_be_spawned() {
    let node = served().await;
    let client = client(&[&node]).await;
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.incr("n").await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(client.get("n").await.unwrap(), Some("50".into()));
}

#[tokio::test]
async fn scans_and_snapshots() {
    let node = served().await;
    let client = client(&[&node]).await;
    node.double.fill((0..3_000).map(|n| (format!("k:{n:05}"), format!("v{n}").into_bytes())));
    let snapshot = client.snapshot(Some(Duration::from_secs(20))).await.unwrap();
    assert_eq!((snapshot.applied_index(), snapshot.clock_ms(), snapshot.ttl().as_secs()), (1, 1_000_000, 20));
    client.set("k:00000", "later").await.unwrap();
    let mut scan = client.scan_prefix("k:", 0, 0).await.unwrap();
    let first = scan.next().await.unwrap().unwrap();
    assert_eq!((&first.key[..], &first.value[..], scan.applied_index()), (&b"k:00000"[..], &b"later"[..], Some(2)));
    assert_eq!(scan.collect().await.unwrap().len(), 2_999);
    assert_eq!(client.keys_prefix("k:", 10, 20).await.unwrap().collect().await.unwrap().len(), 20);
    let matching = client.keys_match("k:0000[0-4]").await.unwrap().collect().await.unwrap();
    assert_eq!(matching.len(), 5);

    assert_eq!(snapshot.get("k:00000").await.unwrap(), Some("v0".into()));
    assert_eq!(snapshot.scan_prefix("k:", 0, 0).await.unwrap().collect().await.unwrap().len(), 3_000);
    snapshot.extend(Duration::from_millis(30)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert!(matches!(snapshot.get("k:00000").await, Err(Error::Refused(line)) if line.starts_with("NOSNAPSHOT")));
    client.snapshot(None).await.unwrap().release().await.unwrap();
}

#[tokio::test]
async fn a_write_follows_the_leader() {
    let (a, b) = (served().await, served().await);
    a.double.follow(member(2, b.address.port()));
    // Only the follower is known; it says where the leader is.
    let client = client(&[&a]).await;
    client.set("k", "1").await.unwrap();
    assert_eq!((a.double.value("k"), b.double.value("k")), (None, Some(b"1".to_vec())));
    assert_eq!((a.writes_asked(), b.writes_asked()), (1, 1));
    client.set("k", "2").await.unwrap();
    assert_eq!((a.writes_asked(), b.writes_asked()), (1, 2), "it remembers");

    // Leadership goes back.
    a.double.weather(Weather::Fair);
    b.double.follow(member(1, a.address.port()));
    client.set("k", "3").await.unwrap();
    assert_eq!(a.double.value("k"), Some(b"3".to_vec()));

    // Reads that must be linearizable go the same way.
    assert_eq!(client.get("k").await.unwrap(), Some("3".into()));
}

#[tokio::test]
async fn nodes_that_send_it_round_and_round_do_not_hold_it_for_ever() {
    let (a, b) = (served().await, served().await);
    a.double.follow(member(2, b.address.port()));
    b.double.follow(member(1, a.address.port()));
    let client = client(&[&a, &b]).await;
    let refused = client.set("k", "1").await.unwrap_err();
    assert!(matches!(refused, Error::Unavailable(_)), "{refused:?}");
    assert!(a.writes_asked() + b.writes_asked() < 400, "with pauses");
}

#[tokio::test]
async fn a_write_that_was_certainly_not_carried_out_is_sent_again() {
    let (a, b) = (served().await, served().await);
    let no_leader = Weather::Denied(Denied::NoLeader);
    a.double.weather(no_leader.clone());
    b.double.weather(Weather::Denied(Denied::Loading));
    let client = client(&[&a, &b]).await;
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.incr("n").await }
    });
    tokio::time::sleep(Duration::from_millis(200)).await;
    b.double.weather(Weather::Fair);
    assert_eq!(waiting.await.unwrap(), Ok(1));
    assert!(a.writes_asked() >= 2);

    b.double.weather(no_leader);
    let over = client.incr("n").await.unwrap_err();
    assert!(matches!(over, Error::Unavailable(_)), "{over:?}");
    assert_eq!(b.double.value("n"), Some(b"1".to_vec()));
}

#[tokio::test]
async fn a_write_in_doubt_is_never_sent_again() {
    let (a, b) = (served().await, served().await);
    let client = client(&[&a, &b]).await;
    client.set("n", "0").await.unwrap();
    let (leader, other) = if a.writes_asked() == 1 { (&a, &b) } else { (&b, &a) };

    // The node says so.
    leader.double.weather(Weather::AppliedInDoubt);
    assert!(matches!(client.incr("n").await, Err(Error::InDoubt(_))));
    assert_eq!(leader.double.value("n"), Some(b"1".to_vec()));
    // The node says nothing.
    leader.double.weather(Weather::AppliedAndSilent);
    assert!(matches!(client.incr("n").await, Err(Error::InDoubt(_))));
    assert_eq!(leader.double.value("n"), Some(b"2".to_vec()));
    // The node is going down, or stops for a fault.
    for denied in [Denied::ShuttingDown, Denied::Fault("disk".into())] {
        leader.double.weather(Weather::Denied(denied));
        assert!(matches!(client.execute(["INCR", "n"]).await, Err(Error::InDoubt(_))));
    }
    assert_eq!((leader.writes_asked(), other.writes_asked()), (5, 0), "each was sent once");
}

#[tokio::test]
async fn a_write_whose_connection_breaks_is_in_doubt_and_a_read_is_not() {
    let (a, b) = (served().await, served().await);
    let wire = Wire::to(&a).await;
    let client = Client::connect([wire.url(), b.url()], quick()).await.unwrap();
    let leader = Client::connect([wire.url()], quick()).await.unwrap();
    leader.set("n", "0").await.unwrap();
    let (asked_a, asked_b) = (a.writes_asked(), b.writes_asked());
    a.double.weather(Weather::AppliedAndSilent);
    let waiting = tokio::spawn(async move { leader.incr("n").await });
    while a.writes_asked() == asked_a {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    wire.cut().await;
    let broken = waiting.await.unwrap();
    assert!(matches!(broken, Err(Error::InDoubt(_))), "{broken:?}");
    assert_eq!((a.writes_asked(), b.writes_asked()), (asked_a + 1, asked_b));

    // The node behind the wire is not there any more: what cannot even be sent goes elsewhere.
    b.double.fill([("n".into(), b"10".to_vec())]);
    assert_eq!(client.get("n").await.unwrap(), Some("10".into()));
    assert_eq!(client.incr("n").await.unwrap(), 11);
}

#[tokio::test]
async fn a_node_that_is_not_there_is_passed_by() {
    let a = served().await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let client = Client::connect([format!("{nobody}"), a.url()], quick()).await.unwrap();
    for _ in 0..3 {
        client.incr("n").await.unwrap();
    }
    assert_eq!(a.writes_asked(), 3);
    let begun = std::time::Instant::now();
    let alone = Client::connect([format!("{nobody}")], quick()).await.unwrap_err();
    assert!(matches!(alone, Error::Unavailable(_)), "{alone:?}");
    assert!(begun.elapsed() < Duration::from_secs(3));
    assert!(matches!(Client::connect(["no address"], quick()).await, Err(Error::Endpoint(_))));
}

#[tokio::test]
async fn a_write_to_a_node_that_went_away_before_it_was_sent_goes_elsewhere() {
    let (a, b) = (served().await, served().await);
    let wire = Wire::to(&a).await;
    let client = Client::connect([wire.url(), b.url()], quick()).await.unwrap();
    let only_a = Client::connect([wire.url()], quick()).await.unwrap();
    only_a.set("k", "1").await.unwrap();
    wire.cut().await;
    assert!(matches!(only_a.set("k", "2").await, Err(Error::Unavailable(_))), "refused before it was sent");
    client.set("k", "2").await.unwrap();
    assert_eq!(b.double.value("k"), Some(b"2".to_vec()));
}

#[tokio::test]
async fn reads_go_where_they_are_wanted() {
    let (leader, follower) = (served().await, served().await);
    follower.double.follow(member(1, leader.address.port()));
    leader.double.fill([("k".into(), b"new".to_vec())]);
    follower.double.fill([("k".into(), b"old".to_vec())]);
    let client = client(&[&leader, &follower]).await;
    client.set("other", "1").await.unwrap();
    let from_follower = client.with_read_preference(ReadPreference::Follower);
    for _ in 0..4 {
        assert_eq!(client.get("k").await.unwrap(), Some("new".into()));
        assert_eq!(from_follower.get("k").await.unwrap(), Some("old".into()));
    }
    let any = client.with_read_preference(ReadPreference::Any);
    let mut seen = Vec::new();
    for _ in 0..4 {
        seen.push(any.get("k").await.unwrap().unwrap());
    }
    assert!(seen.contains(&"new".into()) && seen.contains(&"old".into()), "{seen:?}");

    // A replica that is too far behind says so, and another node is asked.
    follower.double.weather(Weather::Denied(Denied::Stale { behind_ms: 20_000, bound_ms: 10_000 }));
    assert_eq!(from_follower.get("k").await.unwrap(), Some("new".into()));
    assert!(follower.double.reads_asked.load(Ordering::SeqCst) > 0);
}

#[tokio::test]
async fn reads_are_as_fresh_as_they_are_wanted() {
    use talon_core::Consistency as Asked;
    let node = served().await;
    let client = client(&[&node]).await;
    let any = client.with_read_preference(ReadPreference::Any);
    let asked = [
        (client.clone(), Asked::Lease),
        (any.clone(), Asked::Snapshot),
        (client.with_consistency(Consistency::Linearizable), Asked::Linearizable),
        (any.with_consistency(Consistency::Lease), Asked::Lease),
        (any.with_consistency(Consistency::Bounded { ms: 250 }), Asked::Bounded { ms: 250 }),
        (client.with_consistency(Consistency::Snapshot), Asked::Snapshot),
    ];
    for (client, asked) in asked {
        assert_eq!(client.get("k").await.unwrap(), None);
        assert_eq!(std::mem::take(&mut *node.double.consistencies.lock().unwrap()), [asked]);
    }
}

#[tokio::test]
async fn the_password_is_shown() {
    for password in ["sesame", "sésame ouvre-toi"] {
        let settings = Settings { password: Some(Secret::new(password)), ..Settings::default() };
        let node = Served::start(settings).await;
        let with = |password: Option<&str>| Options { password: password.map(str::to_owned), ..quick() };
        let client = Client::connect([node.url()], with(Some(password))).await.unwrap();
        client.set("k", "v").await.unwrap();
        for wrong in [None, Some("sesam")] {
            let client = Client::connect([node.url()], with(wrong)).await.unwrap();
            assert!(matches!(client.get("k").await, Err(Error::NotAllowed(_))));
        }
        assert!(!format!("{client:?}").contains(password));
    }
}

#[tokio::test]
async fn what_is_too_large_is_not_sent_again() {
    let node = Served::start(Settings { request_bytes_max: 1_000, ..Settings::default() }).await;
    let client = client(&[&node]).await;
    let refused = client.set("k", vec![b'x'; 1_100]).await.unwrap_err();
    assert!(matches!(&refused, Error::TooLarge(text) if text.contains("request_bytes_max of 1000")), "{refused:?}");
    assert_eq!(node.writes_asked(), 0);
}
