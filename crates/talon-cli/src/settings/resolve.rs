//! The check at the start: from settings as they were written to what the node runs with.

use std::net::IpAddr;
use std::path::Path;

use talon_core::limits::{KEY_BYTES_MAX, VALUE_BYTES_MAX};

use super::peer::{GRPC_OFFSET, HTTP_OFFSET, RAFT_OFFSET, port_above};
use super::{Peer, Secret, Settings, SettingsError};

/// The ports of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// RESP.
    pub resp: u16,
    /// gRPC.
    pub grpc: u16,
    /// Raft.
    pub raft: u16,
    /// Metrics and probes.
    pub http: u16,
}

/// Settings that have been checked, with everything filled in that follows from others.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// As written, with ports and advertised host filled in; secrets from files are beside it.
    pub settings: Settings,
    /// The address to listen on.
    pub listen: IpAddr,
    /// The host that others reach this node by.
    pub advertise_host: String,
    /// The ports.
    pub ports: Ports,
    /// The clients' password.
    pub requirepass: Option<Secret>,
    /// The nodes' secret.
    pub cluster_secret: Option<Secret>,
}

/// A frame's own bytes around a key and a value of the largest size.
const REQUEST_OVERHEAD_BYTES: usize = 4096;
/// Less room for requests or replies would only cut clients off.
const BUFFER_BYTES_MIN: usize = 1024 * 1024;
/// An entry may take a few kilobytes.
const SLOWLOG_ENTRIES_MOST: usize = 1024 * 1024;

impl Settings {
    /// Checks everything that can be checked without starting.
    ///
    /// # Errors
    /// The first thing that is wrong, by the setting's name.
    pub fn resolve(mut self) -> Result<Resolved, SettingsError> {
        let wrong = |setting: &str, why: String| Err(SettingsError(format!("{setting}: {why}")));
        if self.node_id == 0 {
            return wrong("node_id", "a node's number starts at 1".into());
        }
        let listen = self.listen_address()?;
        let ports = self.resolve_ports()?;
        let own = self.own_peer(ports)?.cloned();
        let advertise_host = match (self.advertise_host.take(), own) {
            (Some(host), Some(own)) if host != own.host => {
                return wrong("advertise_host", format!("`{host}`, but `peers` has node {} at `{}`", own.id, own.host));
            }
            (Some(host), _) if host.trim().is_empty() => return wrong("advertise_host", "is empty".into()),
            (Some(host), _) => host,
            (None, Some(own)) => own.host,
            (None, None) => default_host(listen)?,
        };
        if !self.peers.is_empty() && !self.join.is_empty() {
            return wrong("join", "a node either forms a cluster (peers) or joins one (join)".into());
        }
        for seed in &self.join {
            let port = seed.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port.parse::<u16>());
            if !matches!(port, Some(Ok(1..))) {
                return wrong("join", format!("`{seed}` is not `host:grpc_port`"));
            }
        }
        let requirepass = secret("requirepass", self.requirepass.clone(), self.requirepass_file.as_deref())?;
        let cluster_secret =
            secret("cluster_secret", self.cluster_secret.clone(), self.cluster_secret_file.as_deref())?;
        if self.protected_mode && cluster_secret.is_none() && !listen.is_loopback() {
            return wrong(
                "cluster_secret",
                format!(
                    "is needed while `listen` ({}) reaches beyond this machine, for whoever reaches the raft port could \
                     write the log (set cluster_secret or cluster_secret_file, or protected_mode = false to go without)",
                    self.listen
                ),
            );
        }
        self.check_bounds()?;
        self.advertise_host = Some(advertise_host.clone());
        (self.grpc_port, self.raft_port, self.http_port) = (Some(ports.grpc), Some(ports.raft), Some(ports.http));
        Ok(Resolved { settings: self, listen, advertise_host, ports, requirepass, cluster_secret })
    }

    fn listen_address(&self) -> Result<IpAddr, SettingsError> {
        match self.listen.trim() {
            "localhost" => Ok(IpAddr::from([127, 0, 0, 1])),
            text => text.parse().map_err(|_| SettingsError(format!("listen: `{text}` is no IP address"))),
        }
    }

    fn resolve_ports(&self) -> Result<Ports, SettingsError> {
        let resp = port_above("resp_port", Some(self.resp_port), 0, 0)?;
        let ports = Ports {
            resp,
            grpc: port_above("grpc_port", self.grpc_port, resp, GRPC_OFFSET)?,
            raft: port_above("raft_port", self.raft_port, resp, RAFT_OFFSET)?,
            http: port_above("http_port", self.http_port, resp, HTTP_OFFSET)?,
        };
        let named =
            [("resp_port", resp), ("grpc_port", ports.grpc), ("raft_port", ports.raft), ("http_port", ports.http)];
        for (place, (name, port)) in named.iter().enumerate() {
            if let Some((other, _)) = named[..place].iter().find(|(_, taken)| taken == port) {
                return Err(SettingsError(format!("{name}: {port} is already {other}")));
            }
        }
        Ok(ports)
    }

    /// This node among the peers; none if there are no peers.
    fn own_peer(&self, ports: Ports) -> Result<Option<&Peer>, SettingsError> {
        for (place, peer) in self.peers.iter().enumerate() {
            if self.peers[..place].iter().any(|other| other.id == peer.id) {
                return Err(SettingsError(format!("peers: node {} is there twice", peer.id)));
            }
        }
        if self.peers.is_empty() {
            return Ok(None);
        }
        let Some(own) = self.peers.iter().find(|peer| peer.id == self.node_id) else {
            return Err(SettingsError(format!("peers: node {} itself (node_id) is missing", self.node_id)));
        };
        let (written, meant) = ((own.resp_port, own.grpc_port, own.raft_port), (ports.resp, ports.grpc, ports.raft));
        if written != meant {
            return Err(SettingsError(format!(
                "peers: node {} itself has ports {written:?} there, and {meant:?} by its own settings (RESP, gRPC, raft)",
                own.id
            )));
        }
        Ok(Some(own))
    }

    fn check_bounds(&self) -> Result<(), SettingsError> {
        let request_bytes_min = VALUE_BYTES_MAX + KEY_BYTES_MAX + REQUEST_OVERHEAD_BYTES;
        let checks = [
            (self.maxclients >= 1, "maxclients: at least 1".to_owned()),
            (
                self.request_bytes_max >= request_bytes_min && self.request_bytes_max <= 128 << 20,
                format!("request_bytes_max: from {request_bytes_min} (one SET of the largest value) to {}", 128 << 20),
            ),
            (
                self.query_bytes_max.is_none_or(|bytes| bytes >= BUFFER_BYTES_MIN),
                format!("query_bytes_max: at least {BUFFER_BYTES_MIN}"),
            ),
            (self.output_bytes_max >= BUFFER_BYTES_MIN, format!("output_bytes_max: at least {BUFFER_BYTES_MIN}")),
            (self.slowlog_slower_than_us >= -1, "slowlog_slower_than_us: at least -1".into()),
            (
                self.slowlog_entries_max <= SLOWLOG_ENTRIES_MOST,
                format!("slowlog_entries_max: at most {SLOWLOG_ENTRIES_MOST}"),
            ),
            (
                self.worker_threads.is_none_or(|threads| (1..=1024).contains(&threads)),
                "worker_threads: 1 to 1024".into(),
            ),
            (self.heartbeat_ms >= 10, "heartbeat_ms: at least 10".into()),
            (
                self.election_timeout_ms_min >= 2 * self.heartbeat_ms,
                "election_timeout_ms_min: at least two heartbeats (heartbeat_ms)".into(),
            ),
            (
                self.election_timeout_ms_max > self.election_timeout_ms_min,
                "election_timeout_ms_max: more than election_timeout_ms_min".into(),
            ),
            (self.election_timeout_ms_max <= 60_000, "election_timeout_ms_max: at most a minute".into()),
            (self.hold_ms_max <= 600_000, "hold_ms_max: at most ten minutes".into()),
            (self.memory_bytes >= 16 << 20, "memory_bytes: at least 16 MB (16777216)".into()),
            (self.log_segment_bytes >= 1 << 20, "log_segment_bytes: at least 1 MB (1048576)".into()),
            (
                self.log_bytes_before_checkpoint >= self.log_segment_bytes,
                "log_bytes_before_checkpoint: at least log_segment_bytes".into(),
            ),
            (
                self.log_bytes_max >= self.log_bytes_before_checkpoint,
                "log_bytes_max: at least log_bytes_before_checkpoint".into(),
            ),
            (
                !self.master_name.is_empty() && !self.master_name.contains(char::is_whitespace),
                "master_name: one word".into(),
            ),
            (!self.data_dir.as_os_str().is_empty(), "data_dir: is empty".into()),
        ];
        match checks.into_iter().find(|(holds, _)| !holds) {
            Some((_, complaint)) => Err(SettingsError(complaint)),
            None => Ok(()),
        }
    }
}

/// A secret from its setting or from the file named instead (without the line end that editors leave).
fn secret(name: &str, text: Option<Secret>, file: Option<&Path>) -> Result<Option<Secret>, SettingsError> {
    let secret = match (text, file) {
        (Some(_), Some(_)) => return Err(SettingsError(format!("{name}: give {name} or {name}_file, not both"))),
        (text, None) => text,
        (None, Some(path)) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| SettingsError(format!("{name}_file: {} cannot be read: {error}", path.display())))?;
            Some(Secret::new(text.trim_end_matches(['\n', '\r'])))
        }
    };
    match secret {
        Some(secret) if secret.expose().is_empty() => Err(SettingsError(format!("{name}: is empty"))),
        secret => Ok(secret),
    }
}

fn default_host(listen: IpAddr) -> Result<String, SettingsError> {
    if !listen.is_unspecified() {
        return Ok(listen.to_string());
    }
    let name = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()).filter(|name| !name.is_empty());
    name.ok_or_else(|| SettingsError("advertise_host: this machine has no name; set it".into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;

    fn resolve(arguments: &[&str]) -> Result<Resolved, SettingsError> {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        Settings::of_arguments(&arguments)?.resolve()
    }

    #[test]
    fn defaults_hold_together() {
        let resolved = resolve(&[]).unwrap();
        assert_eq!(resolved.ports, Ports { resp: 6380, grpc: 7380, raft: 8380, http: 9380 });
        assert_eq!(resolved.advertise_host, "127.0.0.1");
        assert_eq!(resolved.settings.http_port, Some(9380), "filled in for --print-config");
    }

    #[test]
    fn own_host_comes_from_the_peers() {
        let resolved = resolve(&[
            "--listen",
            "0.0.0.0",
            "--cluster-secret",
            "s",
            "--node-id",
            "2",
            "--peers",
            "1=a:6380,2=b:6380",
        ]);
        assert_eq!(resolved.unwrap().advertise_host, "b");
    }

    #[test]
    fn secrets_come_from_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        std::fs::write(&path, "open sesame\n").unwrap();
        let resolved = resolve(&["--requirepass-file", path.to_str().unwrap()]).unwrap();
        assert_eq!(resolved.requirepass, Some(Secret::new("open sesame")));
        std::fs::write(&path, "\n").unwrap();
        assert!(resolve(&["--requirepass-file", path.to_str().unwrap()]).is_err());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let cases: &[(&[&str], &str)] = &[
            (&["--node-id", "0"], "node_id"),
            (&["--listen", "everywhere"], "listen"),
            (&["--listen", "0.0.0.0"], "cluster_secret"),
            (&["--resp-port", "0"], "resp_port"),
            (&["--resp-port", "65000"], "grpc_port"),
            (&["--grpc-port", "6380"], "grpc_port"),
            (&["--http-port", "8380"], "http_port"),
            (&["--peers", "2=b:6380"], "peers"),
            (&["--peers", "1=a:6380,1=b:6380"], "peers"),
            (&["--peers", "1=a:6390"], "peers"),
            (&["--peers", "1=a:6380", "--advertise-host", "b"], "advertise_host"),
            (&["--peers", "1=a:6380", "--join", "c:7380"], "join"),
            (&["--join", "c"], "join"),
            (&["--join", "c:0"], "join"),
            (&["--requirepass", ""], "requirepass"),
            (&["--requirepass", "a", "--requirepass-file", "/b"], "requirepass"),
            (&["--cluster-secret-file", "/nowhere/secret"], "cluster_secret_file"),
            (&["--maxclients", "0"], "maxclients"),
            (&["--worker-threads", "0"], "worker_threads"),
            (&["--query-bytes-max", "1000"], "query_bytes_max"),
            (&["--output-bytes-max", "1000"], "output_bytes_max"),
            (&["--slowlog-slower-than-us", "-2"], "slowlog_slower_than_us"),
            (&["--slowlog-entries-max", "9999999"], "slowlog_entries_max"),
            (&["--request-bytes-max", "1000"], "request_bytes_max"),
            (&["--election-timeout-ms-min", "150"], "election_timeout_ms_min"),
            (&["--election-timeout-ms-max", "400"], "election_timeout_ms_max"),
            (&["--log-bytes-before-checkpoint", "1"], "log_bytes_before_checkpoint"),
            (&["--master-name", "two words"], "master_name"),
        ];
        for (arguments, name) in cases {
            let complaint = resolve(arguments).expect_err(&format!("{arguments:?}")).to_string();
            assert!(complaint.starts_with(name), "{arguments:?}: {complaint}");
        }
    }
}
