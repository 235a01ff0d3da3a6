//! What must be refused: a second process on a folder, a node with another secret, strangers.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use talon_cluster_tests::{talon, verify};
use talon_tests_support::{Client, Cluster, ClusterOptions, Node, Value, free_ports, wait_until};
use tempfile::TempDir;

use crate::alone;

#[test]
fn a_second_process_on_the_same_folder_is_refused() {
    let _turn = alone();
    let mut cluster = Cluster::start(3);
    let ports = free_ports(4);
    let names = ["--resp-port", "--grpc-port", "--raft-port", "--http-port"];
    let data = cluster.nodes[0].data.to_string_lossy().into_owned();
    let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
    let mut words = vec!["server", "--node-id", "1", "--data-dir", &data];
    words.extend(names.iter().zip(&ports).flat_map(|(name, port)| [*name, port.as_str()]));
    let refused = talon(&words);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.complaint.contains(&data) && refused.complaint.contains("process"), "{refused:?}");
    println!("a second process on the same folder: {}", refused.complaint.trim());
    // Nor on the same ports; and the first goes on.
    let port = cluster.nodes[0].resp_port.to_string();
    let other = cluster.folder().join("other").to_string_lossy().into_owned();
    let refused = talon(&["server", "--data-dir", &other, "--resp-port", &port]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.complaint.contains("resp_port") && refused.complaint.contains(&port), "{refused:?}");
    println!("a second process on the same port: {}", refused.complaint.trim());
    // Nor another node's number on this folder.
    let last = cluster.nodes.len() - 1;
    cluster.nodes[last].kill();
    let data = cluster.nodes[last].data.to_string_lossy().into_owned();
    let mut words = vec!["server", "--node-id", "9", "--data-dir", &data];
    words.extend(names.iter().zip(&ports).flat_map(|(name, port)| [*name, port.as_str()]));
    let refused = talon(&words);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.complaint.contains('9') && refused.complaint.contains('3'), "{refused:?}");
    println!("another node's folder: {}", refused.complaint.trim());
    cluster.nodes[last].start().expect("it can be started again");
    cluster.wait_until_serving();
    verify(&cluster);
}

#[test]
fn a_node_with_another_secret_is_kept_out() {
    let _turn = alone();
    let mut cluster = Cluster::start_with(&ClusterOptions::nodes(3).flag("--cluster-secret", "open"));
    let outsider = (cluster.leader() + 1) % 3;
    cluster.nodes[outsider].kill();
    cluster.nodes[outsider].set_flag("--cluster-secret", "sesame");
    cluster.nodes[outsider].start().expect("it can be started");
    let mut leader = cluster.connect_to_leader();
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(leader.call(&["SET", "key", "value"]).expect("an answer"), Value::Simple("OK".to_owned()));
    let role = cluster.nodes[outsider].role();
    assert_ne!(role.as_deref(), Some("master"));
    let log = std::fs::read_to_string(&cluster.nodes[outsider].log).expect("its log");
    let others = cluster.nodes.iter().enumerate().filter(|(place, _)| *place != outsider);
    let logs: String = others.map(|(_, node)| std::fs::read_to_string(&node.log).expect("its log")).collect();
    assert!(!logs.contains("sesame") && !log.contains("sesame"), "a secret is in the log");
    let words = [log.as_str(), logs.as_str()].concat();
    let named: Vec<&str> = words.lines().filter(|line| line.contains("secret")).collect();
    assert!(!named.is_empty(), "no log says why:\n{words}");
    println!("another secret: {}", named[0]);
    cluster.nodes[outsider].kill();
    cluster.nodes[outsider].set_flag("--cluster-secret", "open");
    cluster.nodes[outsider].start().expect("it can be started");
    cluster.wait_until_serving();
    verify(&cluster);
}

/// An address of this machine that is not loopback; a connection to it comes from it.
fn outer_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // Nothing is sent: the kernel only chooses the way.
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|ip| !ip.is_loopback() && !ip.is_unspecified())
}

#[test]
fn strangers_are_refused_until_there_is_a_password() {
    let _turn = alone();
    let Some(outer) = outer_address() else {
        println!("SKIPPED: this machine has no address but loopback");
        return;
    };
    let data = cluster_folder().path().join("never").to_string_lossy().into_owned();
    let refused = talon(&["server", "--listen", "0.0.0.0", "--data-dir", &data]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.complaint.contains("cluster_secret"), "{refused:?}");

    let open = ClusterOptions::nodes(1).flag("--listen", "0.0.0.0").flag("--cluster-secret", "s");
    let cluster = Cluster::start_with(&open);
    let stranger = SocketAddr::new(outer, cluster.nodes[0].resp_port);
    let mut client = Client::connect(stranger).expect("the door is there");
    let said = String::from_utf8_lossy(&client.receive_until_closed().expect("it is closed")).into_owned();
    assert!(said.starts_with("-DENIED"), "{said}");
    println!("a stranger reads: {}", said.trim());
    let mut local = cluster.nodes[0].connect().expect("it serves");
    assert_eq!(local.call(&["PING"]).expect("an answer"), Value::Simple("PONG".to_owned()));
    drop(cluster);

    let folder = cluster_folder();
    let words = ["--listen", "0.0.0.0", "--cluster-secret", "s", "--requirepass", "sesame"];
    let node = guarded_node(folder.path(), &words);
    let stranger = SocketAddr::new(outer, node.resp_port);
    let mut client = Client::connect(stranger).expect("the door is there");
    for (words, answer) in [
        (&["GET", "key"][..], "NOAUTH Authentication required."),
        (&["AUTH", "wrong"], "WRONGPASS invalid username-password pair or user is disabled."),
        (&["AUTH", "sesame"], "OK"),
        (&["SET", "key", "value"], "OK"),
    ] {
        assert_eq!(client.call(words).expect("an answer").text().as_deref(), Some(answer), "{words:?}");
    }
    let at = format!("{outer}:{}", node.grpc_port);
    assert_ne!(talon(&["cluster", "status", "--at", &at]).code, Some(0), "without the password");
    let status = talon(&["cluster", "status", "--at", &at, "--requirepass", "sesame"]);
    assert_eq!(status.code, Some(0), "{status:?}");
    let log = std::fs::read_to_string(&node.log).expect("its log");
    assert!(!log.contains("sesame"), "the password is in the log");
}

/// A folder for a node that is no part of a [`Cluster`].
fn cluster_folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

/// A node alone that asks for a password.
fn guarded_node(folder: &Path, words: &[&str]) -> Node {
    let flags: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
    let mut node = Node::new(1, folder, &flags);
    node.start().expect("it can be started");
    assert!(wait_until(Duration::from_secs(30), || node.connect().is_ok()), "it does not serve");
    node
}

#[test]
fn without_the_password_nothing_is_told() {
    let _turn = alone();
    let folder = cluster_folder();
    let node = guarded_node(folder.path(), &["--requirepass", "sesame"]);
    let mut client = node.connect().expect("it serves");
    for words in [&["INFO"][..], &["CLUSTER", "SLOTS"], &["SENTINEL", "MASTERS"], &["ROLE"], &["FLUSHALL"]] {
        let said = client.call(words).expect("an answer").text().unwrap_or_default();
        assert!(said.starts_with("NOAUTH "), "{words:?}: {said}");
    }
    let hello = client.call(&["HELLO", "3", "AUTH", "default", "sesame"]).expect("an answer");
    assert!(matches!(hello, Value::Map(_)), "{hello:?}");
}

#[test]
fn what_config_set_changed_is_there_after_a_restart_once_it_was_written() {
    let _turn = alone();
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("talon.toml");
    std::fs::write(&file, "# Ours.\nmaxclients = 100 # enough\nmaster_name = \"ours\"\n").expect("written");
    let mut cluster = Cluster::start_with(&ClusterOptions::nodes(1).flag("--config", &file.to_string_lossy()));
    let setting = |client: &mut Client, name: &str| {
        let Value::Array(words) = client.call(&["CONFIG", "GET", name]).expect("an answer") else { panic!("no list") };
        words[1].text().expect("a text")
    };
    let ok = Value::Simple("OK".to_owned());
    let mut client = cluster.connect_to_leader();
    assert_eq!(setting(&mut client, "maxclients"), "100");
    let words = ["CONFIG", "SET", "maxclients", "50", "timeout", "600", "loglevel", "debug"];
    assert_eq!(client.call(&words).expect("an answer"), ok);
    assert_eq!((setting(&mut client, "loglevel"), setting(&mut client, "log_level")), ("debug".into(), "debug".into()));
    assert_eq!(client.call(&["CONFIG", "REWRITE"]).expect("an answer"), ok);
    let text = std::fs::read_to_string(&file).expect("it is there");
    let expected =
        "# Ours.\nmaxclients = 50 # enough\nmaster_name = \"ours\"\nlog_level = \"debug\"\ntimeout_s = 600\n";
    assert_eq!(text, expected);
    cluster.nodes[0].terminate().expect("it ends");
    cluster.nodes[0].start().expect("it can be started again");
    cluster.wait_until_serving();
    let mut client = cluster.connect_to_leader();
    assert_eq!((setting(&mut client, "maxclients"), setting(&mut client, "timeout_s")), ("50".into(), "600".into()));
    assert_eq!(setting(&mut client, "master_name"), "ours");
    // The flag that these nodes are started with is stronger.
    assert_eq!(setting(&mut client, "log_level"), "info");
}
