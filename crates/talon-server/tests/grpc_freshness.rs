//! How fresh a read over gRPC is asked to be.

mod grpc_support;

use grpc_support::Served;
use talon_core::Consistency;
use talon_proto::v1;
use talon_proto::v1::kv_client::KvClient;
use talon_server::grpc::Settings;
use tonic::Code;

#[tokio::test]
async fn every_kind_of_read_says_how_fresh_it_has_to_be() {
    let settings = Settings { consistency: Consistency::Bounded { ms: 70 }, ..Settings::default() };
    let served = Served::start(settings).await;
    let mut kv = KvClient::connect(served.url()).await.unwrap();
    let command = || v1::Command { words: vec!["GET".into(), "k".into()] };
    let levels = [
        (v1::Consistency::Default, 0, Consistency::Bounded { ms: 70 }),
        (v1::Consistency::Linearizable, 0, Consistency::Linearizable),
        (v1::Consistency::Snapshot, 0, Consistency::Snapshot),
        (v1::Consistency::Lease, 0, Consistency::Lease),
        (v1::Consistency::Bounded, 250, Consistency::Bounded { ms: 250 }),
        (v1::Consistency::Bounded, 86_400_000, Consistency::Bounded { ms: 86_400_000 }),
    ];
    for (level, max_staleness_ms, asked) in levels {
        let consistency = level.into();
        let read = || Some(v1::ReadOptions { consistency, max_staleness_ms, with_index: false });
        kv.get(v1::ReadKeyRequest { key: "k".into(), read: read() }).await.unwrap();
        kv.get(v1::ReadKeyRequest {
            key: "k".into(),
            read: Some(v1::ReadOptions { with_index: true, ..read().unwrap() }),
        })
        .await
        .unwrap();
        kv.m_get(v1::MGetRequest { keys: vec!["k".into()], read: read() }).await.unwrap();
        kv.execute(v1::ExecuteRequest { words: command().words, read: read(), ..Default::default() }).await.unwrap();
        let commands = vec![command()];
        let transaction = v1::ExecuteTransactionRequest { commands, consistency, max_staleness_ms };
        kv.execute_transaction(transaction).await.unwrap();
        kv.keys_prefix(v1::KeysPrefixRequest { prefix: "k".into(), consistency, max_staleness_ms }).await.unwrap();
        kv.keys_match(v1::KeysMatchRequest { pattern: "k*".into(), consistency, max_staleness_ms }).await.unwrap();
        let scan = || v1::ScanRequest { prefix: "k".into(), consistency, max_staleness_ms, ..Default::default() };
        kv.keys_prefix_limit(scan()).await.unwrap();
        kv.scan_prefix_limit(scan()).await.unwrap();
        kv.create_snapshot(v1::CreateSnapshotRequest { ttl_ms: 0, consistency, max_staleness_ms }).await.unwrap();
        let call = Some(v1::pipeline_request::Call::Command(command()));
        let request = v1::PipelineRequest { id: 1, call, consistency, max_staleness_ms };
        let mut answers = kv.pipeline(tokio_stream::iter([request])).await.unwrap().into_inner();
        assert_eq!(answers.message().await.unwrap().unwrap().id, 1);
        let seen = std::mem::take(&mut *served.double.consistencies.lock().unwrap());
        assert_eq!(seen, [asked; 11], "{level:?}");
    }
    let too_old = v1::ReadOptions {
        consistency: v1::Consistency::Bounded.into(),
        max_staleness_ms: 86_400_001,
        with_index: false,
    };
    let refused = kv.get(v1::ReadKeyRequest { key: "k".into(), read: Some(too_old) }).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("max_staleness_ms"), "{refused}");
}
