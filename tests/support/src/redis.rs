//! A real redis-server, the judge.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use crate::{Client, Process, free_ports, wait_until};

/// A redis-server with one database, no persistence and Talon's limit for one string.
#[derive(Debug)]
pub struct RedisServer {
    process: Process,
    address: SocketAddr,
    _folder: TempDir,
}

impl RedisServer {
    /// Starts one with further flags, and waits until it answers.
    ///
    /// # Panics
    /// If it cannot be started; the message says why.
    pub fn start(flags: &[&str]) -> RedisServer {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let [port] = free_ports(1)[..] else { panic!("one port was asked for") };
        let (port_text, folder_text) = (port.to_string(), folder.path().to_string_lossy().into_owned());
        let mut args = vec!["--port", &port_text, "--bind", "127.0.0.1", "--dir", &folder_text, "--save", ""];
        args.extend(["--databases", "1", "--proto-max-bulk-len", "16777216"]);
        args.extend(flags);
        let log = folder.path().join("redis.log");
        let mut process = Process::start("redis-server", Path::new("redis-server"), &args, &log)
            .expect("redis-server is the judge and must be installed: apt-get install redis-server");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let ready = || !process.is_running() || Client::connect(address).is_ok();
        let in_time = wait_until(Duration::from_secs(20), ready);
        assert!(
            in_time && process.is_running(),
            "redis-server does not run (is it installed? apt-get install redis-server):\n{}",
            process.last_lines()
        );
        RedisServer { process, address, _folder: folder }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}
