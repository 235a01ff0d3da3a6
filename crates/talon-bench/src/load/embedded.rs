//! The database as a library. A connection is a thread that calls it; with a pipeline, it hands in so many calls at once.

use bytes::Bytes;
use talon::{Kv, Talon};
use talon_core::commands::{strings, talon as own};
use talon_core::{Call, Database, Reply};

use super::keys::{counter, key, prefix};
use super::{Counts, Kind, Request, Session, Target};
use crate::Outcome;

/// An open database.
#[derive(Clone, Debug)]
pub struct Embedded {
    /// The database.
    pub db: Talon,
}

impl Target for Embedded {
    type Session = Caller;

    fn depth(&self, pipeline: usize) -> usize {
        pipeline
    }

    async fn connect(&self, _: usize, sessions: usize) -> Outcome<Vec<Caller>> {
        let kv = self.db.kv()?;
        Ok((0..sessions).map(|_| Caller { db: self.db.clone(), kv: kv.clone() }).collect())
    }
}

/// One caller.
pub struct Caller {
    db: Talon,
    kv: Kv,
}

impl Caller {
    fn call(&self, request: &Request<'_>, counts: &mut Counts) -> Result<(), talon::Error> {
        match request.kind {
            Kind::Get => counts.get(self.kv.get(&key(request.number))?.is_some()),
            Kind::Set => self.kv.set(&key(request.number), request.value, None)?,
            Kind::Incr => drop(self.kv.incr(&counter(request.number))?),
            Kind::Scan => {
                let prefix = prefix(request.number, request.scan_keys);
                counts.scanned += self.kv.scan_prefix_limit(&prefix, 0, request.scan_keys as usize)?.len() as u64;
            }
        }
        Ok(())
    }
}

impl Session for Caller {
    async fn exchange(&mut self, requests: &[Request<'_>], counts: &mut Counts) -> Outcome<()> {
        if let [request] = requests {
            if let Err(error) = self.call(request, counts) {
                counts.error(error.to_string());
            }
            return Ok(());
        }
        let calls = requests.iter().map(|request| Call::One(as_command(request))).collect();
        let outcomes = self.db.execute(calls, talon_core::Consistency::Default).await;
        for (request, outcome) in requests.iter().zip(outcomes) {
            match outcome {
                Err(denied) => counts.error(format!("{denied:?}")),
                Ok(Reply::Error(refusal)) => counts.error(format!("{refusal:?}")),
                Ok(reply) => match request.kind {
                    Kind::Get => counts.get(reply != Reply::Null),
                    Kind::Scan => {
                        counts.scanned += if let Reply::Array(items) = reply { items.len() as u64 } else { 0 }
                    }
                    Kind::Set | Kind::Incr => {}
                },
            }
        }
        Ok(())
    }
}

fn as_command(request: &Request<'_>) -> talon_core::Request {
    let copy = Bytes::copy_from_slice;
    let (command, args) = match request.kind {
        Kind::Get => (&strings::GET, vec![copy(&key(request.number))]),
        Kind::Set => (&strings::SET, vec![copy(&key(request.number)), copy(request.value)]),
        Kind::Incr => (&strings::INCR, vec![copy(&counter(request.number))]),
        Kind::Scan => {
            let limit = request.scan_keys.to_string().into();
            (&own::SCANPREFIX, vec![prefix(request.number, request.scan_keys).into(), Bytes::from_static(b"0"), limit])
        }
    };
    talon_core::Request::new(command, args)
}
