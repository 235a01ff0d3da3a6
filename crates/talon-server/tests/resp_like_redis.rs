//! The same bytes to this front door and to a real redis-server 7.0 must bring the same bytes back: protocol errors, inline
//! quoting, the connection's commands and MULTI. Skipped, with a line that says so, where no redis-server is installed.

mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use support::{Door, Wire};
use talon_server::resp::RespSettings;
use tokio::net::{TcpListener, TcpStream};

/// The judge; it ends with the test.
struct Judge {
    process: Child,
    address: SocketAddr,
}

impl Drop for Judge {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Judge {
    async fn start(options: &[&str]) -> Option<Judge> {
        // An address of its own: nobody else in this program is given its port before the judge takes it.
        static JUDGES: AtomicU8 = AtomicU8::new(0);
        let host = Ipv4Addr::new(127, 0, 77, JUDGES.fetch_add(1, Ordering::Relaxed) + 1);
        let listener = TcpListener::bind((host, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        drop(listener);
        let process = Command::new("redis-server")
            .args([
                "--port",
                &address.port().to_string(),
                "--bind",
                &host.to_string(),
                "--save",
                "",
                "--databases",
                "1",
            ])
            .args(["--proto-max-bulk-len", "16777216", "--dir"])
            .arg(std::env::temp_dir())
            .args(options)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let Ok(process) = process else {
            eprintln!("SKIPPED: redis-server is not installed");
            return None;
        };
        let judge = Judge { process, address };
        for _ in 0..200 {
            if TcpStream::connect(address).await.is_ok() {
                return Some(judge);
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("redis-server does not answer");
    }
}

async fn bytes_back(address: SocketAddr, sent: &[u8]) -> String {
    let mut client = Wire::connect(address).await;
    client.send(sent).await;
    // A line that does not end is an error by itself.
    if sent.ends_with(b"\n") {
        client.send(b"QUIT\r\n").await;
    }
    String::from_utf8_lossy(&client.rest().await).into_owned()
}

async fn compare(judge: &Judge, door: &Door, scripts: &[&[u8]]) {
    let mut different = Vec::new();
    for script in scripts {
        let theirs = bytes_back(judge.address, script).await;
        let ours = bytes_back(door.address, script).await;
        if ours != theirs {
            let script = String::from_utf8_lossy(&script[..script.len().min(300)]).into_owned();
            different.push(format!("for    {script:?}\nours   {ours:?}\ntheirs {theirs:?}"));
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n\n"));
}

#[tokio::test]
async fn the_same_bytes_bring_the_same_bytes() {
    let Some(judge) = Judge::start(&[]).await else { return };
    let door = Door::open(1, RespSettings::default()).await;
    compare(
        &judge,
        &door,
        &[
            // The protocol.
            b"*x\r\n",
            b"*01\r\n",
            b"* 1\r\n",
            b"*99999999999999999999\r\n",
            b"*-5\r\nPING\r\n",
            b"*0\r\nPING\r\n",
            b"*1\r\nfoo\r\n",
            b"*1\r\n\r\n",
            b"*1\r\n$x\r\n",
            b"*1\r\n$-1\r\n",
            b"*1\r\n$16777217\r\n",
            b"*2\r\n$4\r\nECHO\r\n$0\r\n\r\n",
            b"*1\r\n$4\r\nPINGxx*1\r\n$4\r\nPING\r\n",
            b"\r\n\r\nPING\r\n",
            b"PING\n",
            // Quoting.
            b"ECHO \"a b\"\r\nECHO 'a b'\r\nECHO \"\\x41\\n\\q\"\r\nECHO 'it\\'s'\r\nECHO a\"b\"\r\nECHO \"\"\r\n",
            b"ECHO \"a\r\n",
            b"ECHO \"a\"b\r\n",
            b"ECHO 'a\r\n",
            // Names and arity.
            b"nosuch a b\r\nNOSUCH\r\n\"a\\r\\nb\" x\r\nGET\r\nGET a b\r\nclient\r\nCLIENT ID 1\r\nCLIENT FOO x\r\nECHO\r\n",
            b"PING\r\nPING a\r\nPING a b\r\nECHO x\r\nSELECT 0\r\nSELECT 1\r\nSELECT x\r\nSELECT 99999999999\r\n",
            // HELLO and AUTH.
            b"HELLO 4\r\nHELLO x\r\nHELLO 3 FOO\r\nHELLO 2 AUTH a\r\nHELLO 2 AUTH foo x\r\nHELLO 2 SETNAME\r\nAUTH x\r\nAUTH default x\r\nAUTH foo x\r\nAUTH a b c\r\n",
            b"RESET\r\nRESET x\r\n",
            // CLIENT.
            b"CLIENT GETNAME\r\nCLIENT SETNAME a\r\nCLIENT GETNAME\r\nCLIENT SETNAME \"a b\"\r\nCLIENT SETNAME \"\"\r\nCLIENT GETNAME\r\n",
            b"CLIENT KILL 1.1.1.1:1\r\nCLIENT KILL ID 99999\r\nCLIENT KILL ID x\r\nCLIENT KILL FOO x\r\nCLIENT KILL ID\r\nCLIENT KILL TYPE x\r\nCLIENT KILL TYPE pubsub\r\n",
            b"CLIENT LIST TYPE x\r\nCLIENT LIST ID x\r\nCLIENT LIST FOO\r\nCLIENT LIST TYPE pubsub\r\nCLIENT NO-EVICT on\r\nCLIENT NO-EVICT x\r\n",
            b"CLIENT REPLY SKIP\r\nPING\r\nECHO a\r\nCLIENT REPLY OFF\r\nECHO b\r\nCLIENT REPLY ON\r\nECHO c\r\nCLIENT REPLY x\r\n",
            // MULTI.
            b"MULTI\r\nSET a 1\r\nPING x\r\nGET a\r\nSELECT 9\r\nGET nope\r\nEXEC\r\nEXEC\r\nDISCARD\r\n",
            b"MULTI\r\nEXEC\r\nMULTI\r\nMULTI\r\nSET a 2\r\nEXEC\r\nGET a\r\nMULTI\r\nSET a 3\r\nDISCARD\r\nGET a\r\n",
            b"MULTI\r\nGET\r\nEXEC\r\nMULTI\r\nNOSUCH\r\nEXEC\r\nMULTI\r\nCLIENT FOO\r\nEXEC\r\nEXEC x\r\nMULTI\r\nEXEC x\r\nEXEC\r\n",
            b"MULTI\r\nWATCH a\r\nPING\r\nEXEC\r\nMULTI\r\nRESET\r\nEXEC\r\nUNWATCH\r\n",
            b"HELLO 3 FOO\r\nMULTI\r\nINCR n\r\nSET a x\r\nINCR a\r\nEXEC\r\nMULTI\r\nQUIT\r\n",
            // COMMAND.
            b"COMMAND INFO get append del mset rename exists\r\nCOMMAND INFO nosuch\r\nCOMMAND INFO client|id\r\n",
            b"COMMAND GETKEYS GET\r\nCOMMAND GETKEYS GET a\r\nCOMMAND GETKEYS PING a\r\nCOMMAND GETKEYS foo a\r\nCOMMAND GETKEYS mset a b c d\r\nCOMMAND GETKEYS get a b\r\n",
            b"COMMAND FOO\r\nCOMMAND COUNT x\r\nCOMMAND LIST FOO\r\nCOMMAND LIST FILTERBY MODULE x\r\nCOMMAND LIST FILTERBY FOO x\r\n",
            // CONFIG.
            b"CONFIG GET nosuch\r\nCONFIG GET databases\r\nCONFIG GET TIMEOU?\r\nCONFIG GET maxmemory\r\nCONFIG FOO\r\nCONFIG\r\n",
            b"CONFIG SET nosuch 1\r\nCONFIG SET databases 3\r\nCONFIG SET timeout x\r\nCONFIG SET timeout\r\nCONFIG SET timeout 1 databases 3\r\nCONFIG SET timeout 1 timeout 2\r\n",
            b"CONFIG RESETSTAT\r\nCONFIG SET timeout 0\r\n",
            // Cluster, replication, WAIT.
            b"CLUSTER SLOTS\r\nCLUSTER FOO\r\nCLUSTER KEYSLOT\r\nREADONLY\r\nREADWRITE\r\nASKING\r\nROLE\r\n",
            b"WAIT x 1\r\nWAIT 0 -1\r\nWAIT 0 x\r\nWAIT 0 10\r\nWAIT 1 20\r\n",
            b"SCAN x\r\nSCAN 0 COUNT 0\r\nSCAN\r\n",
        ],
    )
    .await;
    let long_line = vec![b'a'; 70_000];
    let long_count = [&b"*1\r\n$"[..], &vec![b'1'; 70_000]].concat();
    let long_total = [&b"*"[..], &vec![b'1'; 70_000]].concat();
    compare(&judge, &door, &[&long_line, &long_count, &long_total]).await;
}

#[tokio::test]
async fn before_authentication_too() {
    let Some(judge) = Judge::start(&["--requirepass", "open"]).await else { return };
    let settings =
        RespSettings { password: Some(talon_server::secret::Secret::new("open")), ..RespSettings::default() };
    let door = Door::open(1, settings).await;
    compare(
        &judge,
        &door,
        &[
            b"PING\r\nGET a\r\nNOSUCH\r\nGET\r\nHELLO\r\nHELLO 3\r\nHELLO 3 AUTH default x\r\nMULTI\r\nEXEC\r\n",
            b"AUTH x\r\nAUTH default open\r\nGET nope\r\nRESET\r\nGET a\r\n",
            b"*11\r\n",
            b"*2\r\n$16385\r\n",
            b"AUTH open\r\n*2\r\n$4\r\nECHO\r\n$2\r\nhi\r\n",
            b"QUIT\r\nPING\r\n",
        ],
    )
    .await;
}
