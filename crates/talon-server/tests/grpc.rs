//! Every method of the gRPC door over a real socket, with a database in memory behind it.

mod grpc_support;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use grpc_support::{Double, Served, Weather, member};
use talon_core::Denied;
use talon_proto::v1;
use talon_proto::v1::batch_write::Write;
use talon_proto::v1::cluster_client::ClusterClient;
use talon_proto::v1::kv_client::KvClient;
use talon_proto::v1::pipeline_request::Call as PipelineCall;
use talon_proto::v1::pipeline_response::Outcome as PipelineOutcome;
use talon_proto::v1::reply::Kind;
use talon_proto::v1::set_request::Ttl;
use talon_proto::v1::ttl_response::State;
use talon_server::grpc::Settings;
use talon_server::secret::Secret;
use talon_server::{SnapshotLimits, Snapshots};
use tokio_stream::StreamExt;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

const MB: usize = 1 << 20;

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

async fn channel(served: &Served) -> Channel {
    Endpoint::from_shared(served.url()).unwrap().connect().await.unwrap()
}

async fn kv(served: &Served) -> KvClient<Channel> {
    KvClient::new(channel(served).await).max_decoding_message_size(100 * MB).max_encoding_message_size(200 * MB)
}

fn set(key: &str, value: &str) -> v1::SetRequest {
    v1::SetRequest { key: bytes(key), value: bytes(value), ttl: None }
}

fn key(key: &str) -> v1::KeyRequest {
    v1::KeyRequest { key: bytes(key) }
}

fn read(key: &str) -> v1::ReadKeyRequest {
    v1::ReadKeyRequest { key: bytes(key), read: None }
}

fn pair(key: &str, value: &str) -> v1::KeyValueRequest {
    v1::KeyValueRequest { key: bytes(key), value: bytes(value) }
}

fn command(words: &[&str]) -> v1::Command {
    v1::Command { words: words.iter().map(|word| bytes(word)).collect() }
}

fn outcome(status: &Status) -> &str {
    status.metadata().get("talon-outcome").map_or("none", |value| value.to_str().unwrap())
}

async fn get(kv: &mut KvClient<Channel>, key: &str) -> Option<Bytes> {
    kv.get(read(key)).await.unwrap().into_inner().value
}

async fn keys(mut pages: Streaming<v1::KeysPage>) -> Vec<Bytes> {
    let mut keys = Vec::new();
    while let Some(page) = pages.next().await {
        keys.extend(page.unwrap().keys);
    }
    keys
}

async fn pairs(mut pages: Streaming<v1::PairsPage>) -> Vec<v1::KeyValue> {
    let mut pairs = Vec::new();
    while let Some(page) = pages.next().await {
        pairs.extend(page.unwrap().pairs);
    }
    pairs
}

#[tokio::test]
async fn writes() {
    let served = Served::start(Settings::default()).await;
    let mut kv = kv(&served).await;
    kv.set(set("a", "1")).await.unwrap();
    assert_eq!(get(&mut kv, "a").await, Some(bytes("1")));
    assert!(!kv.set_nx(set("a", "2")).await.unwrap().into_inner().yes);
    assert!(kv.set_nx(set("b", "2")).await.unwrap().into_inner().yes);

    let pairs = ["c", "d"].map(|key| v1::KeyValue { key: bytes(key), value: bytes("3") });
    kv.m_set(v1::MSetRequest { pairs: pairs.to_vec() }).await.unwrap();
    assert_eq!(get(&mut kv, "d").await, Some(bytes("3")));
    kv.m_set(v1::MSetRequest { pairs: vec![] }).await.unwrap();

    assert_eq!(kv.append(pair("c", "45")).await.unwrap().into_inner().length_bytes, 3);
    let range = v1::SetRangeRequest { key: bytes("e"), offset: 2, value: bytes("x") };
    assert_eq!(kv.set_range(range).await.unwrap().into_inner().length_bytes, 3);
    assert_eq!(get(&mut kv, "e").await, Some(bytes("\0\0x")));
    assert_eq!(kv.get_set(pair("c", "6")).await.unwrap().into_inner().value, Some(bytes("345")));
    assert_eq!(kv.get_set(pair("new", "6")).await.unwrap().into_inner().value, None);

    let rename = v1::RenameRequest { source: bytes("c"), destination: bytes("f") };
    kv.rename(rename.clone()).await.unwrap();
    assert_eq!((get(&mut kv, "c").await, get(&mut kv, "f").await), (None, Some(bytes("6"))));
    let missing = kv.rename(rename).await.unwrap_err();
    assert_eq!((missing.code(), missing.message(), outcome(&missing)), (Code::NotFound, "ERR no such key", "refused"));
}

#[tokio::test]
async fn a_batch_is_done_whole_or_not_at_all() {
    let served = Served::start(Settings::default()).await;
    let mut kv = kv(&served).await;
    kv.set(set("old", "1")).await.unwrap();
    let write = |write| v1::BatchWrite { write: Some(write) };
    let good =
        vec![write(Write::Set(set("a", "1"))), write(Write::Del(bytes("old"))), write(Write::Set(set("b", "2")))];
    let index = served.double.index();
    kv.batch(v1::BatchRequest { writes: good }).await.unwrap();
    assert_eq!(served.double.index(), index + 1, "one entry");
    assert_eq!((get(&mut kv, "a").await, get(&mut kv, "old").await), (Some(bytes("1")), None));

    let endless = v1::SetRequest { ttl: Some(Ttl::TtlSecs(0)), ..set("d", "1") };
    let bad = vec![write(Write::Set(set("c", "1"))), write(Write::Set(endless))];
    let refused = kv.batch(v1::BatchRequest { writes: bad }).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(get(&mut kv, "c").await, None);
    let empty = kv.batch(v1::BatchRequest { writes: vec![v1::BatchWrite { write: None }] }).await.unwrap_err();
    assert_eq!(empty.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn reads() {
    let served = Served::start(Settings::default()).await;
    let mut kv = kv(&served).await;
    assert_eq!(kv.random_key(v1::ReadRequest::default()).await.unwrap().into_inner().key, None);
    kv.set(set("text", "hello")).await.unwrap();
    kv.set(v1::SetRequest { key: bytes("raw"), value: Bytes::from_static(b"\xff"), ttl: None }).await.unwrap();

    let values = v1::MGetRequest { keys: vec![bytes("text"), bytes("none")], read: None };
    let values = kv.m_get(values).await.unwrap().into_inner().values;
    assert_eq!(values.iter().map(|value| value.value.clone()).collect::<Vec<_>>(), [Some(bytes("hello")), None]);
    assert!(kv.exists(read("text")).await.unwrap().into_inner().yes);
    assert!(!kv.exists(read("none")).await.unwrap().into_inner().yes);
    assert_eq!(kv.str_len(read("text")).await.unwrap().into_inner().number, Some(5));
    assert_eq!(kv.str_len(read("none")).await.unwrap().into_inner().number, None);
    let range = v1::GetRangeRequest { key: bytes("text"), start: -4, end: -2, read: None };
    assert_eq!(kv.get_range(range).await.unwrap().into_inner().value, Some(bytes("ell")));
    for (name, key_type) in [("text", "string"), ("raw", "bytes"), ("none", "none")] {
        assert_eq!(kv.key_type(read(name)).await.unwrap().into_inner().key_type, key_type);
    }
    let key = kv.random_key(v1::ReadRequest::default()).await.unwrap().into_inner().key;
    assert!(key == Some(bytes("text")) || key == Some(bytes("raw")));
    assert_eq!(kv.key_count(v1::ReadRequest::default()).await.unwrap().into_inner().count, 2);
    assert!(kv.disk_space(v1::ReadRequest::default()).await.unwrap().into_inner().count > 0);

    // The position only where it was asked for.
    assert_eq!(kv.get(read("text")).await.unwrap().into_inner().applied_index, None);
    let options = Some(v1::ReadOptions { with_index: true, ..Default::default() });
    let placed = kv.str_len(v1::ReadKeyRequest { read: options, ..read("text") }).await.unwrap().into_inner();
    assert_eq!((placed.number, placed.applied_index), (Some(5), Some(2)));
    let options = Some(v1::ReadOptions { consistency: 9, ..Default::default() });
    let unknown = kv.get(v1::ReadKeyRequest { read: options, ..read("text") }).await.unwrap_err();
    assert_eq!(unknown.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn deletes() {
    let served = Served::start(Settings::default()).await;
    let mut kv = kv(&served).await;
    for name in ["a", "b", "p:1", "p:2", "q"] {
        kv.set(set(name, "1")).await.unwrap();
    }
    assert!(kv.del(key("a")).await.unwrap().into_inner().yes);
    assert!(!kv.del(key("a")).await.unwrap().into_inner().yes);
    let several = v1::MDelRequest { keys: vec![bytes("a"), bytes("b")] };
    assert_eq!(kv.m_del(several).await.unwrap().into_inner().count, 1);
    assert_eq!(kv.m_del(v1::MDelRequest { keys: vec![] }).await.unwrap().into_inner().count, 0);
    assert_eq!(kv.del_prefix(v1::DelPrefixRequest { prefix: bytes("p:") }).await.unwrap().into_inner().count, 2);
    assert_eq!(kv.key_count(v1::ReadRequest::default()).await.unwrap().into_inner().count, 1);
}

#[tokio::test]
async fn times_to_live() {
    let served = Served::start(Settings::default()).await;
    let mut kv = kv(&served).await;
    let now_secs = 1_000;
    kv.set(v1::SetRequest { ttl: Some(Ttl::TtlMs(1_500)), ..set("k", "1") }).await.unwrap();
    let left = kv.p_ttl(read("k")).await.unwrap().into_inner();
    assert_eq!((left.state(), left.left), (State::Ends, 1_500));
    kv.expire(v1::ExpireRequest { key: bytes("k"), ttl_secs: 20 }).await.unwrap();
    assert_eq!(kv.ttl(read("k")).await.unwrap().into_inner().left, 20);
    assert_eq!(kv.expire_time(read("k")).await.unwrap().into_inner().number, Some(now_secs + 20));
    kv.p_expire(v1::PExpireRequest { key: bytes("k"), ttl_ms: 2_345 }).await.unwrap();
    assert_eq!(kv.p_ttl(read("k")).await.unwrap().into_inner().left, 2_345);
    let at = |expire_at_secs| v1::ExpireAtRequest { key: bytes("k"), expire_at_secs };
    assert!(kv.expire_at(at(now_secs + 7)).await.unwrap().into_inner().yes);
    assert_eq!(kv.ttl(read("k")).await.unwrap().into_inner().left, 7);
    assert!(kv.expire_at(at(0)).await.unwrap().into_inner().yes, "0 persists");
    assert_eq!(kv.ttl(read("k")).await.unwrap().into_inner().state(), State::NoTtl);
    assert_eq!(kv.expire_time(read("k")).await.unwrap().into_inner().number, Some(0));
    kv.expire(v1::ExpireRequest { key: bytes("k"), ttl_secs: 5 }).await.unwrap();
    assert!(kv.persist(key("k")).await.unwrap().into_inner().yes);
    assert!(!kv.persist(key("k")).await.unwrap().into_inner().yes);

    assert_eq!(kv.ttl(read("none")).await.unwrap().into_inner().state(), State::NoKey);
    assert_eq!(kv.expire_time(read("none")).await.unwrap().into_inner().number, None);
    let missing = kv.expire(v1::ExpireRequest { key: bytes("none"), ttl_secs: 5 }).await.unwrap_err();
    assert_eq!(missing.code(), Code::NotFound);
    let zero = kv.p_expire(v1::PExpireRequest { key: bytes("k"), ttl_ms: 0 }).await.unwrap_err();
    assert_eq!(zero.code(), Code::InvalidArgument);

    kv.set(v1::SetRequest { ttl: Some(Ttl::TtlSecs(2)), ..set("short", "1") }).await.unwrap();
    served.double.advance(2_000);
    assert_eq!(get(&mut kv, "short").await, None);
}

#[tokio::test]
async fn counters() {
    let served = Served::start(Settings::default()).await;
    let mut kv = kv(&served).await;
    let by = |by| v1::IncrByRequest { key: bytes("n"), by };
    assert_eq!(kv.incr(key("n")).await.unwrap().into_inner().value, 1);
    assert_eq!(kv.incr_by(by(9)).await.unwrap().into_inner().value, 10);
    assert_eq!(kv.decr(key("n")).await.unwrap().into_inner().value, 9);
    assert_eq!(kv.decr_by(by(-3)).await.unwrap().into_inner().value, 12);
    let overflow = kv.incr_by(by(i64::MAX)).await.unwrap_err();
    assert_eq!((overflow.code(), outcome(&overflow)), (Code::OutOfRange, "refused"));
    assert_eq!(get(&mut kv, "n").await, Some(bytes("12")), "unchanged");
    let float = |by| v1::IncrByFloatRequest { key: bytes("f"), by };
    assert_eq!(kv.incr_by_float(float(1.25)).await.unwrap().into_inner().value, 1.25);
    assert_eq!(kv.incr_by_float(float(f64::NAN)).await.unwrap_err().code(), Code::OutOfRange);
    kv.set(set("t", "text")).await.unwrap();
    assert_eq!(kv.incr(key("t")).await.unwrap_err().message(), "ERR value is not an integer or out of range");
}

#[tokio::test]
async fn scans_stream_thousands_of_keys_from_one_moment() {
    let served = Served::start(Settings { scan_page_rows_max: 100, ..Settings::default() }).await;
    let mut kv = kv(&served).await;
    served.double.fill((0..5_000).map(|n| (format!("k:{n:05}"), format!("v{n}").into_bytes())));
    served.double.fill([(String::new(), b"empty".to_vec()), ("other".into(), b"x".to_vec())]);

    let prefix = |prefix: &str| v1::KeysPrefixRequest { prefix: bytes(prefix), consistency: 0, max_staleness_ms: 0 };
    let mut pages = kv.keys_prefix(prefix("k:")).await.unwrap().into_inner();
    let first = pages.next().await.unwrap().unwrap();
    assert_eq!(first.applied_index, 2);
    // What is written while the scan goes on is not part of it.
    kv.set(set("k:00200x", "late")).await.unwrap();
    let mut found = first.keys;
    found.extend(keys(pages).await);
    assert_eq!(found, (0..5_000).map(|n| Bytes::from(format!("k:{n:05}"))).collect::<Vec<_>>());

    let all = keys(kv.keys_prefix(prefix("")).await.unwrap().into_inner()).await;
    assert_eq!((all.len(), all[0].len()), (5_003, 0), "the empty key, too");
    let pattern = v1::KeysMatchRequest { pattern: bytes("k:0[12]?00"), consistency: 0, max_staleness_ms: 0 };
    let matching = keys(kv.keys_match(pattern).await.unwrap().into_inner()).await;
    assert_eq!(matching.len(), 20);
    assert_eq!(matching[19], "k:02900");
    let nothing = v1::KeysMatchRequest { pattern: bytes("z*"), consistency: 0, max_staleness_ms: 0 };
    assert!(keys(kv.keys_match(nothing).await.unwrap().into_inner()).await.is_empty());

    let scan = |prefix: &str, offset, limit| v1::ScanRequest {
        prefix: bytes(prefix),
        offset,
        limit,
        consistency: 0,
        max_staleness_ms: 0,
    };
    let some = keys(kv.keys_prefix_limit(scan("k:", 4_990, 250)).await.unwrap().into_inner()).await;
    assert_eq!(some.len(), 11);
    let some = pairs(kv.scan_prefix_limit(scan("k:", 150, 250)).await.unwrap().into_inner()).await;
    assert_eq!((some.len(), &some[0].key[..], &some[0].value[..]), (250, &b"k:00150"[..], &b"v150"[..]));
    // Around the empty key, which is also where a scan begins.
    for (offset, limit, expected) in [(0, 1, "empty"), (1, 1, "v0"), (2, 1, "v1")] {
        let one = pairs(kv.scan_prefix_limit(scan("", offset, limit)).await.unwrap().into_inner()).await;
        assert_eq!((one.len(), &one[0].value[..]), (1, expected.as_bytes()), "{offset}");
    }
    let all = pairs(kv.scan_prefix_limit(scan("", 0, 0)).await.unwrap().into_inner()).await;
    assert_eq!(all.len(), 5_003);
}

#[tokio::test]
async fn the_number_of_scans_is_bounded_and_one_that_nobody_reads_ends() {
    let settings = Settings { scans_max: 1, scan_page_rows_max: 10, stream_idle_ms_max: 300, ..Settings::default() };
    let served = Served::start(settings).await;
    let mut kv = kv(&served).await;
    served.double.fill((0..400).map(|n| (format!("k:{n:05}"), vec![b'x'; 64 << 10])));
    let scan = v1::ScanRequest::default();
    let unread = kv.scan_prefix_limit(scan.clone()).await.unwrap().into_inner();
    let refused = kv.scan_prefix_limit(scan.clone()).await.unwrap_err();
    assert_eq!((refused.code(), outcome(&refused)), (Code::ResourceExhausted, "not-applied"));
    // Idle for too long, its place is free again.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(pairs(kv.scan_prefix_limit(scan).await.unwrap().into_inner()).await.len(), 400);
    drop(unread);
}

#[tokio::test]
async fn snapshots_keep_a_moment_until_their_time_is_over() {
    let ttl_max = Duration::from_secs(60);
    let snapshots = Snapshots::new(SnapshotLimits { snapshots_max: 2, ttl_max, ..SnapshotLimits::default() });
    let settings = Settings { snapshots: Arc::new(snapshots), ..Settings::default() };
    let served = Served::start(settings).await;
    let mut kv = kv(&served).await;
    kv.set(set("k", "then")).await.unwrap();
    let create = |ttl_ms| v1::CreateSnapshotRequest { ttl_ms, consistency: 0, max_staleness_ms: 0 };
    let snapshot = kv.create_snapshot(create(30_000)).await.unwrap().into_inner();
    assert_eq!((snapshot.applied_index, snapshot.clock_ms, snapshot.ttl_ms), (1, 1_000_000, 30_000));
    kv.set(set("k", "now")).await.unwrap();
    kv.set(set("l", "now")).await.unwrap();

    let get = |id, key: &str| v1::SnapshotGetRequest { id, key: bytes(key) };
    let then = kv.snapshot_get(get(snapshot.id, "k")).await.unwrap().into_inner();
    assert_eq!((then.value, then.applied_index), (Some(bytes("then")), Some(1)));
    assert_eq!(kv.snapshot_get(get(snapshot.id, "l")).await.unwrap().into_inner().value, None);
    let scan = v1::SnapshotScanRequest { id: snapshot.id, ..Default::default() };
    assert_eq!(pairs(kv.snapshot_scan(scan).await.unwrap().into_inner()).await.len(), 1);

    let short = kv.create_snapshot(create(50)).await.unwrap().into_inner();
    let too_many = kv.create_snapshot(create(50)).await.unwrap_err();
    assert_eq!(too_many.code(), Code::ResourceExhausted);
    let extend = |id, ttl_ms| v1::ExtendSnapshotRequest { id, ttl_ms };
    assert_eq!(kv.extend_snapshot(extend(snapshot.id, 40_000)).await.unwrap().into_inner().ttl_ms, 40_000);
    tokio::time::sleep(Duration::from_millis(80)).await;
    let ended = kv.snapshot_get(get(short.id, "k")).await.unwrap_err();
    assert_eq!((ended.code(), ended.message()), (Code::NotFound, "NOSNAPSHOT unknown or expired snapshot"));
    assert_eq!(kv.extend_snapshot(extend(short.id, 50)).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(kv.create_snapshot(create(60_001)).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(kv.create_snapshot(create(0)).await.unwrap().into_inner().ttl_ms, 60_000);

    assert!(kv.release_snapshot(v1::ReleaseSnapshotRequest { id: snapshot.id }).await.unwrap().into_inner().yes);
    assert!(!kv.release_snapshot(v1::ReleaseSnapshotRequest { id: snapshot.id }).await.unwrap().into_inner().yes);
    assert_eq!(kv.snapshot_get(get(snapshot.id, "k")).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn any_command_can_be_executed() {
    let served = Served::start(Settings::default()).await;
    let mut kv = kv(&served).await;
    let execute = |words: &[&str]| v1::ExecuteRequest { words: command(words).words, read: None, read_only: false };
    let reply = kv.execute(execute(&["SET", "k", "v"])).await.unwrap().into_inner().reply.unwrap();
    assert_eq!(reply.kind, Some(Kind::Ok(v1::Nothing {})));
    let reply = kv.execute(execute(&["mget", "k", "none"])).await.unwrap().into_inner().reply.unwrap();
    let Some(Kind::Array(list)) = reply.kind else { panic!("an array") };
    assert_eq!(list.items[0].kind, Some(Kind::Bulk(bytes("v"))));
    assert_eq!(list.items[1].kind, Some(Kind::Null(v1::Nothing {})));
    let read_only = v1::ExecuteRequest { read_only: true, ..execute(&["DEL", "k"]) };
    let reply = kv.execute(read_only).await.unwrap().into_inner().reply.unwrap();
    assert_eq!(reply.kind, Some(Kind::Error("ERR 'del' writes, and the request is read-only".into())));
    // Refusals are replies here.
    for (words, error) in [
        (&["INCR", "k"][..], "ERR value is not an integer or out of range"),
        (&["GET"], "ERR wrong number of arguments for 'get' command"),
        (&["NOPE", "x"], "ERR unknown command 'NOPE', with args beginning with: 'x' "),
        (
            &["talon.range", "", "", "1", "keys"],
            "ERR unknown command 'talon.range', with args beginning with: '' '' '1' 'keys' ",
        ),
        (&[], "ERR a command needs a name"),
    ] {
        let reply = kv.execute(execute(words)).await.unwrap().into_inner().reply.unwrap();
        assert_eq!(reply.kind, Some(Kind::Error(error.into())));
    }
    let read = Some(v1::ReadOptions { with_index: true, ..Default::default() });
    let placed = kv.execute(v1::ExecuteRequest { read, ..execute(&["GET", "k"]) }).await.unwrap().into_inner();
    assert_eq!(placed.applied_index, Some(2), "both writes, the refused one too, have a position");

    let commands =
        vec![command(&["SET", "n", "1"]), command(&["INCR", "n"]), command(&["INCR", "k"]), command(&["GET", "n"])];
    let transaction = v1::ExecuteTransactionRequest { commands, consistency: 0, max_staleness_ms: 0 };
    let replies = kv.execute_transaction(transaction).await.unwrap().into_inner().replies;
    assert_eq!(replies[1].kind, Some(Kind::Integer(2)));
    assert!(matches!(&replies[2].kind, Some(Kind::Error(_))));
    assert_eq!(replies[3].kind, Some(Kind::Bulk(bytes("2"))));
    let commands = vec![command(&["SET", "n", "7"]), command(&["NOPE"])];
    let refused = kv
        .execute_transaction(v1::ExecuteTransactionRequest { commands, consistency: 0, max_staleness_ms: 0 })
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(get(&mut kv, "n").await, Some(bytes("2")));
}

fn pipelined(id: u64, words: &[&str]) -> v1::PipelineRequest {
    v1::PipelineRequest { id, call: Some(PipelineCall::Command(command(words))), consistency: 0, max_staleness_ms: 0 }
}

#[tokio::test]
async fn a_pipeline_is_answered_in_order() {
    let served = Served::start(Settings { pipeline_calls_max: 7, ..Settings::default() }).await;
    let mut kv = kv(&served).await;
    let count = 2_000u64;
    let requests = tokio_stream::iter((0..count).map(|id| match id % 3 {
        0 => pipelined(id, &["INCR", "n"]),
        1 => pipelined(id, &["GET", "n"]),
        _ => pipelined(id, &["NOPE"]),
    }));
    let mut answers = kv.pipeline(requests).await.unwrap().into_inner();
    for id in 0..count {
        let answer = answers.next().await.unwrap().unwrap();
        assert_eq!(answer.id, id);
        let Some(PipelineOutcome::Reply(reply)) = answer.outcome else { panic!("a reply") };
        let sum = (id / 3 + 1) as i64;
        match id % 3 {
            0 => assert_eq!(reply.kind, Some(Kind::Integer(sum))),
            1 => assert_eq!(reply.kind, Some(Kind::Bulk(bytes(&sum.to_string()))), "a read sees the write before it"),
            _ => assert!(matches!(reply.kind, Some(Kind::Error(_)))),
        }
    }
    assert!(answers.next().await.is_none());
}

#[tokio::test]
async fn a_pipeline_goes_on_after_a_denial() {
    let served = Served::start(Settings { request_bytes_max: 1_000, ..Settings::default() }).await;
    let mut kv = kv(&served).await;
    let (requests, stream) = tokio::sync::mpsc::channel(8);
    let mut answers = kv.pipeline(tokio_stream::wrappers::ReceiverStream::new(stream)).await.unwrap().into_inner();
    let mut ask = async |request: v1::PipelineRequest| {
        requests.send(request).await.unwrap();
        answers.next().await.unwrap().unwrap()
    };
    served.double.weather(Weather::Denied(Denied::NotLeader { leader: member(2, 7_381) }));
    let answer = ask(pipelined(1, &["SET", "k", "v"])).await;
    let Some(PipelineOutcome::Denied(denial)) = answer.outcome else { panic!("a denial") };
    assert_eq!((denial.reason(), denial.leader.as_str()), (v1::denial::Reason::NotLeader, "127.0.0.1:7381"));
    served.double.weather(Weather::AppliedInDoubt);
    let answer = ask(pipelined(2, &["SET", "k", "v"])).await;
    let Some(PipelineOutcome::Denied(denial)) = answer.outcome else { panic!("a denial") };
    assert_eq!(denial.reason(), v1::denial::Reason::InDoubt);
    served.double.weather(Weather::Fair);
    let answer = ask(pipelined(3, &["SET", "k", &"v".repeat(1_000)])).await;
    let Some(PipelineOutcome::Denied(denial)) = answer.outcome else { panic!("a denial") };
    assert_eq!(denial.reason(), v1::denial::Reason::TooLarge);
    let commands = vec![command(&["SET", "k", "w"]), command(&["GET", "k"])];
    let transaction = Some(PipelineCall::Transaction(v1::Transaction { commands }));
    let answer = ask(v1::PipelineRequest { id: 4, call: transaction, consistency: 2, max_staleness_ms: 0 }).await;
    let Some(PipelineOutcome::Reply(v1::Reply { kind: Some(Kind::Array(list)) })) = answer.outcome else {
        panic!("an array")
    };
    assert_eq!(list.items[1].kind, Some(Kind::Bulk(bytes("w"))));
    let answer = ask(v1::PipelineRequest { id: 5, call: None, consistency: 0, max_staleness_ms: 0 }).await;
    let Some(PipelineOutcome::Reply(reply)) = answer.outcome else { panic!("a reply") };
    assert!(matches!(reply.kind, Some(Kind::Error(_))));
}

#[tokio::test]
async fn the_largest_value_passes_and_a_larger_one_is_refused_by_name() {
    let served = Served::start(Settings::default()).await;
    let mut kv = kv(&served).await;
    let large = Bytes::from(vec![7u8; 16 * MB]);
    kv.set(v1::SetRequest { key: bytes("k"), value: large.clone(), ttl: None }).await.unwrap();
    assert_eq!(get(&mut kv, "k").await, Some(large.clone()));
    let larger = Bytes::from(vec![7u8; 16 * MB + 1]);
    let refused = kv.set(v1::SetRequest { key: bytes("k"), value: larger, ttl: None }).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("16777216"), "{refused:?}");
    let long = Bytes::from(vec![b'k'; 65_537]);
    let refused = kv.set(v1::SetRequest { key: long, value: bytes("v"), ttl: None }).await.unwrap_err();
    assert!(refused.message().contains("65536"), "{refused:?}");

    // Three of them in one request are below 64 MB, four and their keys are not.
    let pairs =
        |count| (0..count).map(|n| v1::KeyValue { key: bytes(&format!("m{n}")), value: large.clone() }).collect();
    kv.m_set(v1::MSetRequest { pairs: pairs(3) }).await.unwrap();
    let refused = kv.m_set(v1::MSetRequest { pairs: pairs(4) }).await.unwrap_err();
    assert_eq!((refused.code(), outcome(&refused)), (Code::ResourceExhausted, "not-applied"));
    assert!(refused.message().contains("request_bytes_max of 67108864"), "{refused:?}");
    let scan = v1::ScanRequest { prefix: bytes("m"), ..Default::default() };
    assert_eq!(pairs_len(kv.scan_prefix_limit(scan).await.unwrap().into_inner()).await, 48 * MB);
}

async fn pairs_len(pages: Streaming<v1::PairsPage>) -> usize {
    pairs(pages).await.iter().map(|pair| pair.value.len()).sum()
}

#[tokio::test]
async fn denials_are_statuses_that_say_what_became_of_the_write() {
    let served = Served::start(Settings { request_ms_max: 200, ..Settings::default() }).await;
    let mut kv = kv(&served).await;
    let denials = [
        (Denied::NotLeader { leader: member(2, 7_381) }, Code::FailedPrecondition, "not-applied"),
        (Denied::NoLeader, Code::Unavailable, "not-applied"),
        (Denied::Loading, Code::Unavailable, "not-applied"),
        (Denied::InDoubt, Code::Unknown, "indoubt"),
        (Denied::Busy, Code::ResourceExhausted, "not-applied"),
    ];
    for (denied, code, fate) in denials {
        served.double.weather(Weather::Denied(denied));
        let status = kv.set(set("k", "v")).await.unwrap_err();
        assert_eq!((status.code(), outcome(&status)), (code, fate));
        if code == Code::FailedPrecondition {
            assert_eq!(status.metadata().get("talon-leader").unwrap(), "127.0.0.1:7381");
            assert!(status.message().contains("127.0.0.1:7381"));
        }
    }
    served.double.weather(Weather::Denied(Denied::Stale { behind_ms: 12_000, bound_ms: 10_000 }));
    let stale = kv.get(read("k")).await.unwrap_err();
    assert_eq!(
        (stale.code(), stale.metadata().get("talon-behind-ms").unwrap().to_str().unwrap()),
        (Code::Unavailable, "12000")
    );

    // A read that only the leader may answer, elsewhere.
    served.double.follow(member(2, 7_381));
    let options = |consistency| Some(v1::ReadOptions { consistency, ..Default::default() });
    let strict = v1::ReadKeyRequest { read: options(v1::Consistency::Lease.into()), ..read("k") };
    assert_eq!(kv.get(strict).await.unwrap_err().code(), Code::FailedPrecondition);
    let loose = v1::ReadKeyRequest { read: options(v1::Consistency::Snapshot.into()), ..read("k") };
    assert_eq!(kv.get(loose).await.unwrap().into_inner().value, None);

    // An answer that does not come: after the server's bound, or the client's own deadline, the write is in doubt.
    served.double.weather(Weather::AppliedAndSilent);
    let silent = kv.set(set("k", "v")).await.unwrap_err();
    assert_eq!((silent.code(), outcome(&silent)), (Code::Unknown, "indoubt"));
    let mut hurried = Request::new(set("k", "v"));
    hurried.metadata_mut().insert("grpc-timeout", "100m".parse().unwrap());
    let begun = std::time::Instant::now();
    let silent = kv.set(hurried).await.unwrap_err();
    assert_eq!((silent.code(), outcome(&silent)), (Code::Unknown, "indoubt"));
    assert!(begun.elapsed() < Duration::from_millis(180), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn the_password_is_asked_for() {
    let settings = Settings { password: Some(Secret::new("sesame")), ..Settings::default() };
    let served = Served::start(settings).await;
    let mut kv = kv(&served).await;
    let refused = kv.get(read("k")).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::Unauthenticated, "NOAUTH Authentication required."));
    let with = |name: &'static str, value: &str| {
        let mut request = Request::new(read("k"));
        request.metadata_mut().insert(name, value.parse().unwrap());
        request
    };
    assert_eq!(kv.get(with("authorization", "Bearer sesam")).await.unwrap_err().code(), Code::Unauthenticated);
    kv.get(with("authorization", "Bearer sesame")).await.unwrap();
    kv.get(with("password", "sesame")).await.unwrap();
    let mut cluster = ClusterClient::new(channel(&served).await);
    assert_eq!(cluster.status(v1::ClusterStatusRequest {}).await.unwrap_err().code(), Code::Unauthenticated);
    // Probes know no password.
    assert_eq!(health(&served, "").await, Ok(ServingStatus::Serving));
}

async fn health(served: &Served, service: &str) -> Result<ServingStatus, Code> {
    let mut client = HealthClient::new(channel(served).await);
    let answer = client.check(HealthCheckRequest { service: service.into() }).await;
    answer.map(|answer| answer.into_inner().status()).map_err(|status| status.code())
}

#[tokio::test]
async fn health_follows_whether_the_node_serves() {
    let served = Served::start(Settings::default()).await;
    assert_eq!(health(&served, "talon.v1.Kv").await, Ok(ServingStatus::Serving));
    assert_eq!(health(&served, "nobody").await, Err(Code::NotFound));
    let mut client = HealthClient::new(channel(&served).await);
    let mut watch = client.watch(HealthCheckRequest { service: "talon.v1.Kv".into() }).await.unwrap().into_inner();
    let first: HealthCheckResponse = watch.next().await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::Serving);
    let unchanged = tokio::time::timeout(Duration::from_millis(1_200), watch.next()).await;
    assert!(unchanged.is_err(), "a watcher hears of changes only");
    served.double.change_status(|status| status.serving = false);
    loop {
        let next = tokio::time::timeout(Duration::from_secs(5), watch.next()).await.expect("a change");
        if next.unwrap().unwrap().status() == ServingStatus::NotServing {
            break;
        }
    }
    assert_eq!(health(&served, "").await, Ok(ServingStatus::NotServing));
}

#[tokio::test]
async fn reflection_describes_the_services() {
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

    let served = Served::start(Settings::default()).await;
    let mut client = ServerReflectionClient::new(channel(&served).await);
    let ask = |message| ServerReflectionRequest { host: String::new(), message_request: Some(message) };
    let requests = tokio_stream::iter([
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol("talon.v1.Kv".into())),
        ask(MessageRequest::FileContainingSymbol("talon.v1.Raft".into())),
    ]);
    let mut answers = client.server_reflection_info(requests).await.unwrap().into_inner();
    let first = answers.next().await.unwrap().unwrap().message_response;
    let Some(MessageResponse::ListServicesResponse(list)) = first else { panic!("a list") };
    let names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    for name in ["talon.v1.Kv", "talon.v1.Cluster", "grpc.health.v1.Health"] {
        assert!(names.contains(&name), "{names:?}");
    }
    let second = answers.next().await.unwrap().unwrap().message_response;
    assert!(
        matches!(second, Some(MessageResponse::FileDescriptorResponse(file)) if !file.file_descriptor_proto.is_empty())
    );
    assert!(answers.next().await.unwrap().is_err(), "what nodes say to each other is not described");
}

#[tokio::test]
async fn operators_ask_the_node() {
    let served = Served::start(Settings::default()).await;
    let mut cluster = ClusterClient::new(channel(&served).await);
    let status = cluster.status(v1::ClusterStatusRequest {}).await.unwrap().into_inner();
    assert_eq!((status.node_id, status.leader_id, status.term), (1, Some(1), 3));
    assert_eq!((status.role(), status.members[1].grpc_port), (v1::NodeRole::Leader, 7_381));
    assert_eq!((status.applied_index, status.committed_index, status.last_log_index), (40, 41, 42));
    let node = v1::ClusterMember {
        id: 4,
        host: "four".into(),
        resp_port: 1,
        grpc_port: 2,
        raft_port: 3,
        ..Default::default()
    };
    cluster.add_learner(v1::AddLearnerRequest { member: Some(node.clone()) }).await.unwrap();
    cluster.promote(v1::PromoteRequest { id: 4 }).await.unwrap();
    cluster.transfer_leadership(v1::TransferLeadershipRequest { to: Some(4) }).await.unwrap();
    cluster.remove(v1::RemoveRequest { id: 4 }).await.unwrap();
    assert_eq!(cluster.mark_state(v1::MarkStateRequest {}).await.unwrap().into_inner().index, 99);
    let hash = cluster.state_hash(v1::StateHashRequest { index: 99 }).await.unwrap().into_inner();
    assert_eq!((hash.index, hash.rows, hash.digest.as_str()), (99, 6, "ab"));
    let wishes = served.double.wishes.lock().unwrap().join(", ");
    assert_eq!(wishes, "add 4 four 2, promote 4, transfer Some(4), remove 4, mark, hash 99");

    let odd = v1::ClusterMember { grpc_port: 70_000, ..node };
    let refused = cluster.add_learner(v1::AddLearnerRequest { member: Some(odd) }).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    served.double.weather(Weather::Denied(Denied::Busy));
    let refused = cluster.promote(v1::PromoteRequest { id: 4 }).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::FailedPrecondition, "it is the last voter"));
    served.double.weather(Weather::AppliedInDoubt);
    assert_eq!(cluster.promote(v1::PromoteRequest { id: 4 }).await.unwrap_err().code(), Code::DeadlineExceeded);
    served.double.follow(member(2, 7_381));
    let elsewhere = cluster.promote(v1::PromoteRequest { id: 4 }).await.unwrap_err();
    assert_eq!(elsewhere.metadata().get("talon-leader").unwrap(), "127.0.0.1:7381");
}

#[tokio::test]
async fn the_number_of_connections_is_bounded() {
    let served = Served::start(Settings { connections_max: 1, ..Settings::default() }).await;
    let mut first = kv(&served).await;
    first.set(set("k", "v")).await.unwrap();
    let second = Endpoint::from_shared(served.url()).unwrap().connect_lazy();
    KvClient::new(second).get(read("k")).await.expect_err("closed");
    drop(first);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(get(&mut kv(&served).await, "k").await, Some(bytes("v")));
}

#[tokio::test]
async fn a_stop_ends_streams_and_does_not_wait_for_ever() {
    let served = Served::start(Settings { drain_ms_max: 2_000, ..Settings::default() }).await;
    let mut kv = kv(&served).await;
    let (requests, stream) = tokio::sync::mpsc::channel(8);
    let mut answers = kv.pipeline(tokio_stream::wrappers::ReceiverStream::new(stream)).await.unwrap().into_inner();
    requests.send(pipelined(1, &["SET", "k", "v"])).await.unwrap();
    answers.next().await.unwrap().unwrap();
    // A watch never ends by itself.
    let mut health = HealthClient::new(channel(&served).await);
    let mut watch = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    watch.next().await.unwrap().unwrap();
    served.stop().await;
    let ended = answers.next().await.expect("a last word").unwrap_err();
    assert_eq!(ended.code(), Code::Unavailable);
    drop(requests);
}

#[tokio::test]
async fn a_database_without_a_cluster_is_served_too() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = talon_server::grpc::serve(listener, Double::new(), Settings::default(), std::future::pending());
    let server = tokio::spawn(server);
    let channel = Endpoint::from_shared(url).unwrap().connect().await.unwrap();
    KvClient::new(channel.clone()).set(set("k", "v")).await.unwrap();
    let status = ClusterClient::new(channel).status(v1::ClusterStatusRequest {}).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    server.abort();
}
