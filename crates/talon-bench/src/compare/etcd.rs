//! etcd: three nodes, and a client for the two calls that are measured.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use talon_tests_support::{Process, free_ports};
use tempfile::TempDir;
use tonic::Request as GrpcRequest;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use crate::Outcome;
use crate::load::{Counts, Kind, Request, Session, Target, key};

const NODES: usize = 3;
const START_TIMEOUT: Duration = Duration::from_secs(60);
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// The least that etcd takes writes with; its default of 2 GB ends a long run early.
const QUOTA_BYTES: &str = "8589934592";

/// Starts three nodes with fresh data and waits until one leads.
///
/// # Errors
/// If they do not come to it.
pub fn start(folder: &TempDir) -> Outcome<Vec<(Process, SocketAddr)>> {
    let ports = free_ports(2 * NODES);
    let (clients, peers) = ports.split_at(NODES);
    let url = |port: u16| format!("http://127.0.0.1:{port}");
    let members: Vec<String> =
        peers.iter().enumerate().map(|(place, &port)| format!("n{place}={}", url(port))).collect();
    let mut nodes = Vec::new();
    for place in 0..NODES {
        let data = folder.path().join(format!("etcd-{place}"));
        let (name, client, peer) = (format!("n{place}"), url(clients[place]), url(peers[place]));
        let flags = [
            ("--name", name.clone()),
            ("--data-dir", data.to_string_lossy().into_owned()),
            ("--listen-client-urls", client.clone()),
            ("--advertise-client-urls", client),
            ("--listen-peer-urls", peer.clone()),
            ("--initial-advertise-peer-urls", peer),
            ("--initial-cluster", members.join(",")),
            ("--quota-backend-bytes", QUOTA_BYTES.into()),
            ("--log-level", "error".into()),
        ];
        let arguments: Vec<String> = flags.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect();
        let log = folder.path().join(format!("etcd-{place}.log"));
        let process = Process::start(&name, Path::new("etcd"), &arguments, &log)
            .map_err(|error| format!("etcd (apt-get install etcd-server): {error}"))?;
        nodes.push((process, SocketAddr::from((Ipv4Addr::LOCALHOST, clients[place]))));
    }
    let leader = leader(&mut nodes)?;
    nodes[..=leader].rotate_right(1);
    Ok(nodes)
}

fn leader(nodes: &mut [(Process, SocketAddr)]) -> Outcome<usize> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut leader = None;
    talon_tests_support::wait_until(START_TIMEOUT, || {
        leader = nodes.iter().position(|(_, address)| runtime.block_on(leads(*address)).unwrap_or(false));
        leader.is_some() || nodes.iter_mut().any(|(process, _)| !process.is_running())
    });
    leader.ok_or_else(|| {
        let lines: Vec<String> = nodes.iter().map(|(process, _)| process.last_lines()).collect();
        format!("etcd does not come to serve:\n{}", lines.join("\n")).into()
    })
}

async fn leads(address: SocketAddr) -> Outcome<bool> {
    let mut caller = Caller { grpc: Grpc::new(connect(address).await?) };
    let status: StatusResponse = caller.call(StatusRequest {}, "/etcdserverpb.Maintenance/Status").await?;
    Ok(status.leader != 0 && status.header.is_some_and(|header| header.member_id == status.leader))
}

async fn connect(address: SocketAddr) -> Outcome<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?.tcp_nodelay(true).timeout(CALL_TIMEOUT);
    Ok(endpoint.connect().await?)
}

// The messages of etcd's rpc.proto, with the fields that are needed.

#[derive(Clone, PartialEq, prost::Message)]
struct PutRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct PutResponse {}

#[derive(Clone, PartialEq, prost::Message)]
struct RangeRequest {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RangeResponse {
    #[prost(int64, tag = "4")]
    count: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StatusRequest {}

#[derive(Clone, PartialEq, prost::Message)]
struct ResponseHeader {
    #[prost(uint64, tag = "2")]
    member_id: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    header: Option<ResponseHeader>,
    #[prost(uint64, tag = "4")]
    leader: u64,
}

/// A node of etcd.
#[derive(Clone, Copy, Debug)]
pub struct Etcd {
    /// Where it takes clients.
    pub at: SocketAddr,
}

impl Target for Etcd {
    type Session = Caller;

    fn depth(&self, _: usize) -> usize {
        1
    }

    async fn connect(&self, _: usize, sessions: usize) -> Outcome<Vec<Caller>> {
        let channel = connect(self.at).await?;
        Ok((0..sessions).map(|_| Caller { grpc: Grpc::new(channel.clone()) }).collect())
    }
}

/// One of the clients that share a connection.
pub struct Caller {
    grpc: Grpc<Channel>,
}

impl Caller {
    async fn call<M, R>(&mut self, message: M, path: &'static str) -> Outcome<R>
    where
        M: prost::Message + 'static,
        R: prost::Message + Default + 'static,
    {
        self.grpc.ready().await?;
        let codec = ProstCodec::<M, R>::default();
        let path = PathAndQuery::from_static(path);
        Ok(self.grpc.unary(GrpcRequest::new(message), path, codec).await?.into_inner())
    }

    async fn carry_out(&mut self, request: &Request<'_>, counts: &mut Counts) -> Outcome<()> {
        let key = Bytes::copy_from_slice(&key(request.number));
        match request.kind {
            Kind::Set => {
                let message = PutRequest { key, value: Bytes::copy_from_slice(request.value) };
                let _: PutResponse = self.call(message, "/etcdserverpb.KV/Put").await?;
            }
            Kind::Get => {
                let found: RangeResponse = self.call(RangeRequest { key }, "/etcdserverpb.KV/Range").await?;
                counts.get(found.count > 0);
            }
            Kind::Incr | Kind::Scan => return Err("etcd has no such command".into()),
        }
        Ok(())
    }
}

impl Session for Caller {
    async fn exchange(&mut self, requests: &[Request<'_>], counts: &mut Counts) -> Outcome<()> {
        for request in requests {
            if let Err(error) = self.carry_out(request, counts).await {
                counts.error(error.to_string());
            }
        }
        Ok(())
    }
}
