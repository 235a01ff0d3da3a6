//! gRPC, with Talon's own client. A connection's pipeline is as many calls at once.

use talon_client::{Client, Options, ReadPreference};

use super::keys::{counter, key, prefix};
use super::{Counts, Kind, Request, Session, Target};
use crate::Outcome;

/// A cluster's doors for gRPC.
#[derive(Clone, Debug)]
pub struct Grpc {
    /// `host:port` of the nodes.
    pub endpoints: Vec<String>,
    /// Which node answers reads.
    pub read_preference: ReadPreference,
}

impl Target for Grpc {
    type Session = Caller;

    fn depth(&self, _: usize) -> usize {
        1
    }

    async fn connect(&self, _: usize, sessions: usize) -> Outcome<Vec<Caller>> {
        let options = Options { read_preference: self.read_preference, ..Options::default() };
        let client = Client::connect(&self.endpoints, options).await?;
        Ok((0..sessions).map(|_| Caller { client: client.clone() }).collect())
    }
}

/// One of the callers that share a connection.
pub struct Caller {
    client: Client,
}

impl Caller {
    async fn call(&self, request: &Request<'_>, counts: &mut Counts) -> Result<(), talon_client::Error> {
        match request.kind {
            Kind::Get => counts.get(self.client.get(key(request.number)).await?.is_some()),
            Kind::Set => self.client.set(key(request.number), request.value).await?,
            Kind::Incr => drop(self.client.incr(counter(request.number)).await?),
            Kind::Scan => {
                let prefix = prefix(request.number, request.scan_keys);
                let mut scan = self.client.scan_prefix(prefix, 0, request.scan_keys).await?;
                while scan.next().await?.is_some() {
                    counts.scanned += 1;
                }
            }
        }
        Ok(())
    }
}

impl Session for Caller {
    async fn exchange(&mut self, requests: &[Request<'_>], counts: &mut Counts) -> Outcome<()> {
        for request in requests {
            if let Err(error) = self.call(request, counts).await {
                counts.error(error.to_string());
            }
        }
        Ok(())
    }
}
