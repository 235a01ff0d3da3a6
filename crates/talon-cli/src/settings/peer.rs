//! One voter of the first start, as a person writes it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::SettingsError;

/// A voter: its number and where it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its number in the cluster.
    pub id: u64,
    /// The host name or address it advertises.
    pub host: String,
    /// Where it speaks RESP.
    pub resp_port: u16,
    /// Where it speaks gRPC.
    pub grpc_port: u16,
    /// Where it speaks raft.
    pub raft_port: u16,
}

/// How far the gRPC port lies above the RESP port unless it is set.
pub(super) const GRPC_OFFSET: u16 = 1000;
/// How far the raft port lies above the RESP port unless it is set.
pub(super) const RAFT_OFFSET: u16 = 2000;
/// How far the HTTP port lies above the RESP port unless it is set.
pub(super) const HTTP_OFFSET: u16 = 3000;

/// The port at `offset` above `base`, unless it is set.
pub(super) fn port_above(setting: &str, set: Option<u16>, base: u16, offset: u16) -> Result<u16, SettingsError> {
    match set.or_else(|| base.checked_add(offset)) {
        Some(port) if port > 0 => Ok(port),
        Some(_) => Err(SettingsError(format!("{setting}: port 0 is none"))),
        None => Err(SettingsError(format!("{setting}: {base} + {offset} is no port; set it"))),
    }
}

/// As a table in the settings file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    id: u64,
    host: String,
    resp_port: u16,
    grpc_port: Option<u16>,
    raft_port: Option<u16>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "expected \"id=host:resp_port\" or a table with id, host and resp_port")]
enum Written {
    Line(String),
    Table(Table),
}

impl Peer {
    fn new(table: Table) -> Result<Peer, SettingsError> {
        let Table { id, host, resp_port, grpc_port, raft_port } = table;
        if id == 0 {
            return Err(SettingsError("peers: a node's number starts at 1".into()));
        }
        if host.is_empty() || host.contains(char::is_whitespace) {
            return Err(SettingsError(format!("peers: node {id} has no host")));
        }
        let resp_port = port_above("peers: resp_port", Some(resp_port), 0, 0)?;
        let grpc_port = port_above("peers: grpc_port", grpc_port, resp_port, GRPC_OFFSET)?;
        let raft_port = port_above("peers: raft_port", raft_port, resp_port, RAFT_OFFSET)?;
        Ok(Peer { id, host, resp_port, grpc_port, raft_port })
    }
}

impl FromStr for Peer {
    type Err = SettingsError;

    fn from_str(text: &str) -> Result<Peer, SettingsError> {
        let wrong = || {
            SettingsError(format!(
                "peers: `{text}` is not `id=host:resp_port` or `id=host:resp_port:grpc_port:raft_port`"
            ))
        };
        let (id, place) = text.trim().split_once('=').ok_or_else(wrong)?;
        // An IPv6 address stands in brackets, for it has colons of its own.
        let (host, ports) = match place.strip_prefix('[') {
            Some(rest) => rest.split_once("]:").ok_or_else(wrong)?,
            None => place.split_once(':').ok_or_else(wrong)?,
        };
        let ports: Vec<u16> = ports.split(':').map(str::parse).collect::<Result<_, _>>().map_err(|_| wrong())?;
        let (resp_port, grpc_port, raft_port) = match ports[..] {
            [resp] => (resp, None, None),
            [resp, grpc, raft] => (resp, Some(grpc), Some(raft)),
            _ => return Err(wrong()),
        };
        let id = id.trim().parse().map_err(|_| wrong())?;
        Peer::new(Table { id, host: host.to_owned(), resp_port, grpc_port, raft_port })
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        let Peer { id, host, resp_port, grpc_port, raft_port } = self;
        write!(out, "{id}={open}{host}{close}:{resp_port}:{grpc_port}:{raft_port}")
    }
}

impl Serialize for Peer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Peer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Peer, D::Error> {
        let peer = match Written::deserialize(deserializer)? {
            Written::Line(line) => line.parse(),
            Written::Table(table) => Peer::new(table),
        };
        peer.map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_and_written() {
        let short: Peer = "2=talon-2:6381".parse().unwrap();
        assert_eq!(short, Peer { id: 2, host: "talon-2".into(), resp_port: 6381, grpc_port: 7381, raft_port: 8381 });
        let long: Peer = "3=[::1]:1:2:3".parse().unwrap();
        assert_eq!((long.host.as_str(), long.resp_port, long.grpc_port, long.raft_port), ("::1", 1, 2, 3));
        for peer in [short, long] {
            assert_eq!(peer.to_string().parse::<Peer>().unwrap(), peer);
        }
    }

    #[test]
    fn wrong_lines_are_refused() {
        for line in [
            "",
            "1",
            "1=",
            "1=host",
            "1=host:",
            "x=host:1",
            "0=host:1",
            "1=:1",
            "1=host:0",
            "1=host:1:2",
            "1=host:65000",
        ] {
            assert!(line.parse::<Peer>().is_err(), "{line}");
        }
    }
}
