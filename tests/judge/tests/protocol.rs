//! The protocol on the wire, beside redis-server's: bad frames, frames in pieces, inline requests, sizes at their limits.

use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use talon_judge::arguments;
use talon_judge::random::Random;
use talon_tests_support::{Bytes, Client, Cluster, RedisServer, Value, free_ports};

const VALUE_BYTES_MAX: usize = 16 * 1024 * 1024;
const KEY_BYTES_MAX: usize = 64 * 1024;

/// Frames that are no requests, each with a request behind it that must not be answered.
fn bad_frames() -> Vec<Vec<u8>> {
    let mut frames: Vec<Vec<u8>> = [
        // The number of words.
        &b"*x\r\n"[..],
        b"* 1\r\n",
        b"*1x\r\n",
        b"*+1\r\n",
        b"*01\r\n",
        b"*2147483648\r\n",
        b"*9223372036854775808\r\n",
        b"*-9223372036854775809\r\n",
        b"*1.5\r\n",
        // What should be a length.
        b"*1\r\nPING\r\n",
        b"*1\r\n\r\n",
        b"*1\r\n:1\r\n",
        b"*1\r\n+OK\r\n",
        b"*1\r\n*1\r\n$4\r\nPING\r\n",
        b"*1\r\n\xff\r\n",
        // A length.
        b"*1\r\n$x\r\n",
        b"*1\r\n$-1\r\n",
        b"*1\r\n$-0\r\n",
        b"*1\r\n$ 4\r\nPING\r\n",
        b"*1\r\n$4x\r\nPING\r\n",
        b"*1\r\n$+4\r\nPING\r\n",
        b"*1\r\n$04\r\nPING\r\n",
        b"*1\r\n$16777217\r\n",
        b"*1\r\n$536870913\r\n",
        b"*1\r\n$9223372036854775807\r\n",
        b"*1\r\n$9223372036854775808\r\n",
        b"*1\r\n$\r\n",
        // Not the first word.
        b"*2\r\n$4\r\nECHO\r\n$x\r\n",
        b"*2\r\n$4\r\nECHO\r\nhello\r\n",
        b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n-1\r\n",
        // Behind a good request, whose reply comes first.
        b"*1\r\n$4\r\nPING\r\n*x\r\n",
        b"PING\r\n*1\r\n$x\r\n",
        // A word that is longer than was said: its rest begins the next request.
        b"*2\r\n$4\r\nECHO\r\n$2\r\nabcd*1\r\n$x\r\n",
        // Inline.
        b"ECHO \"a\r\n",
        b"ECHO 'a\r\n",
        b"ECHO \"a\"b\r\n",
        b"ECHO 'a'b\r\n",
        b"ECHO \"\\\"\r\n",
        b"ECHO \"\\x4\r\n",
        b"\"\r\n",
    ]
    .iter()
    .map(|frame| frame.to_vec())
    .collect();
    // Lines without an end.
    frames.extend([&b"*"[..], b"*1\r\n$", b""].iter().map(|start| [start, &vec![b'1'; 70_000][..]].concat()));
    frames
}

/// Everything a server answers to these bytes, up to its closing the connection.
fn answer(address: SocketAddr, sent: &[u8]) -> Bytes {
    let mut client = Client::connect(address).expect("connected");
    client.send_bytes(sent).expect("sent");
    client
        .receive_until_closed()
        .unwrap_or_else(|error| panic!("{address} and {}: {error}", sent[..sent.len().min(60)].escape_ascii()))
}

#[test]
fn bad_frames_get_their_error_and_close_only_their_connection() {
    let redis = RedisServer::start(&[]);
    let cluster = Cluster::start(1);
    let talon = cluster.nodes[0].address();
    let mut other = Client::connect(talon).expect("connected");
    other.call(&["SET", "kept", "1"]).expect("answered");
    other.send(&["MULTI"]).expect("sent");
    assert_eq!(&other.receive_bytes().expect("answered")[..], b"+OK\r\n");
    for frame in bad_frames() {
        let (ours, theirs) = (answer(talon, &frame), answer(redis.address(), &frame));
        let shown = frame[..frame.len().min(60)].escape_ascii().to_string();
        assert_eq!(ours, theirs, "{shown}");
        let errors =
            ours.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"-ERR Protocol error: ")).count();
        assert_eq!(errors, 1, "{shown}: {ours:?}");
        // The other connection lives on, with what it had begun.
        assert_eq!(&other.call_bytes(&["GET", "kept"]).expect("answered")[..], b"+QUEUED\r\n", "{shown}");
    }
    let Value::Array(got) = other.call(&["EXEC"]).expect("answered") else { panic!("EXEC answers an array") };
    assert_eq!(got, vec![Value::Bulk(Bytes::from("1")); bad_frames().len()]);
}

/// The deviations that scripts cannot show.
#[test]
fn odd_bytes_are_answered_as_the_deviations_say() {
    let redis = RedisServer::start(&[]);
    let cluster = Cluster::start(1);
    let silent = |sent: &[u8]| {
        let mut client = Client::connect(redis.address()).expect("connected");
        client.set_timeout(Duration::from_millis(200)).expect("a time");
        client.send_bytes(sent).expect("sent");
        client.receive_bytes().is_err()
    };
    let ours = |sent: &[u8]| {
        let mut client = Client::connect(cluster.nodes[0].address()).expect("connected");
        client.send_bytes(sent).expect("sent");
        client.receive_bytes().expect("answered")
    };
    for (sent, reply) in [
        (&b"*1048577\r\n"[..], &b"-ERR Protocol error: invalid multibulk length\r\n"[..]),
        (b"*\x001\r\n", b"-ERR Protocol error: invalid multibulk length\r\n"),
        (b"*1\r\n\x00\r\n", b"-ERR Protocol error: expected '$', got '\x00'\r\n"),
        (b"ECHO a\x00b c\r\n", b"$1\r\na\r\n"),
    ] {
        assert_eq!(ours(sent), reply, "{}", sent.escape_ascii());
        assert!(silent(sent), "Redis answers {}", sent.escape_ascii());
    }
    let line = |name: &str| format!("-ERR unknown command '{name}', with args beginning with: \r\n");
    assert_eq!(ours(b"\xff\r\n"), line("\u{fffd}"));
}

#[test]
fn random_bytes_get_what_redis_answers() {
    let redis = RedisServer::start(&[]);
    let cluster = Cluster::start(1);
    let pieces: &[&[u8]] = &[
        b"*",
        b"$",
        b"\r\n",
        b"\n",
        b"\r",
        b"0",
        b"1",
        b"2",
        b"4",
        b"-1",
        b"PING",
        b"ECHO",
        b"*1\r\n$4\r\nPING\r\n",
        b" ",
        b"\"",
        b"'",
        b"\\",
        b"\xff",
        b"*2\r\n$4\r\nECHO\r\n$1\r\na\r\n",
        b"GET",
        b"*3\r\n",
        b"$3\r\nGET\r\n",
    ];
    for seed in 0..300 {
        let mut random = Random::new(seed);
        let mut sent: Vec<u8> = (0..1 + random.below(14)).flat_map(|_| random.pick(pieces).to_vec()).collect();
        let answers = [cluster.nodes[0].address(), redis.address()].map(|address| {
            let mut client = Client::connect(address).expect("connected");
            client.send_bytes(&sent).expect("sent");
            // What is not complete stays unanswered; the server closes when nothing more can come.
            client.finish_sending().expect("sent");
            // Error lines are text in Talon (see the deviations).
            String::from_utf8_lossy(&client.receive_until_closed().expect("closed")).into_owned()
        });
        sent.truncate(200);
        assert_eq!(answers[0], answers[1], "seed {seed}: {}", sent.escape_ascii());
    }
}

#[test]
fn a_request_may_come_byte_by_byte() {
    let redis = RedisServer::start(&[]);
    let cluster = Cluster::start(1);
    let sent: &[u8] = b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$5\r\nb\r\n\r\n\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\nECHO \"x \\x41\"\r\n\r\n*0\r\n\
        *-1\r\nPING\n*2\r\n$3\r\nGET\r\n$0\r\n\r\n*1\r\n$0\r\n\r\nQUIT\r\n";
    let whole = answer(redis.address(), sent);
    for address in [cluster.nodes[0].address(), redis.address()] {
        let mut client = Client::connect(address).expect("connected");
        for byte in sent {
            client.send_bytes(&[*byte]).expect("sent");
            // Long enough for the server to read it alone, mostly.
            thread::sleep(Duration::from_micros(300));
        }
        assert_eq!(client.receive_until_closed().expect("closed"), whole);
    }
}

#[test]
fn inline_requests_are_split_as_redis_splits_them() {
    let redis = RedisServer::start(&[]);
    let cluster = Cluster::start(1);
    let lines: &[&[u8]] = &[
        b"PING",
        b"  PING  ",
        b"\tping\t",
        b"ECHO hello",
        b"ECHO \"hello world\"",
        b"ECHO 'hello world'",
        b"ECHO \"\"",
        b"ECHO ''",
        b"ECHO \"\\x41\\x00\\xff\\n\\r\\t\\a\\b\\\\\\\"\\q\"",
        b"ECHO '\\n\\'\\x41'",
        b"ECHO a\"b c\"",
        b"ECHO a'b c'",
        b"ECHO \"\\xzz\"",
        b"ECHO \xff\xfe",
        b"ECHO a\x0bb",
        b"ECHO $1",
        b"$4",
        b"ECHO *1",
        b"SET \"a b\" 'c d'",
        b"GET \"a b\"",
        b"nosuch \"a b\" 'c'",
        b"",
        b"   ",
    ];
    for line in lines {
        for end in [&b"\r\n"[..], b"\n"] {
            let sent = [line, end, b"QUIT\r\n"].concat();
            let [ours, theirs] = [cluster.nodes[0].address(), redis.address()].map(|address| answer(address, &sent));
            assert_eq!(ours, theirs, "{}", sent.escape_ascii());
        }
    }
}

#[test]
fn the_largest_value_goes_and_comes_and_a_larger_one_is_refused() {
    let redis = RedisServer::start(&[]);
    let cluster = Cluster::start(3);
    let mut random = Random::new(1);
    let largest: Vec<u8> = (0..VALUE_BYTES_MAX / 8).flat_map(|_| random.number().to_le_bytes()).collect();
    let leader = cluster.nodes[cluster.leader()].address();
    for address in [leader, redis.address()] {
        let mut client = Client::connect(address).expect("connected");
        let set = client.call(&[b"SET", &b"large"[..], &largest]).expect("answered");
        assert_eq!(set, Value::Simple("OK".to_owned()));
        let got = client.call(&["GET", "large"]).expect("answered");
        assert!(got == Value::Bulk(Bytes::from(largest.clone())), "what comes is not what went");
        // Made larger in place: refused, and nothing is changed.
        let appended = client.call(&["APPEND", "large", "x"]).expect("answered");
        let set_range = client.call(&["SETRANGE", "large", "16777216", "x"]).expect("answered");
        for refused in [appended, set_range] {
            let Value::Error(line) = &refused else { panic!("{refused:?}") };
            assert_eq!(line, "ERR string exceeds maximum allowed size (proto-max-bulk-len)");
        }
        assert_eq!(client.call(&["STRLEN", "large"]).expect("answered"), Value::Integer(VALUE_BYTES_MAX as i64));
        assert_eq!(client.call(&["SETRANGE", "end", "16777215", "x"]).expect("answered"), Value::Integer(16_777_216));
        client.call(&["DEL", "large", "end"]).expect("answered");
        // A larger word is no request at all.
        client.send_bytes(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$16777217\r\n").expect("sent");
        let refused = client.receive_until_closed().expect("closed");
        assert_eq!(&refused[..], b"-ERR Protocol error: invalid bulk length\r\n");
    }
    let mut client = Client::connect(leader).expect("connected");
    let longest = vec![b'k'; KEY_BYTES_MAX];
    let set = client.call(&[b"SET", &longest[..], b"1"]).expect("answered");
    assert_eq!(set, Value::Simple("OK".to_owned()));
    assert_eq!(client.call(&[b"INCR", &longest[..]]).expect("answered"), Value::Integer(2));
    let longer = vec![b'k'; KEY_BYTES_MAX + 1];
    let refused: Vec<Value> = [
        client.call(&[b"SET", &longer[..], b"1"]),
        client.call(&[&b"MSET"[..], b"a", b"1", &longer[..], b"1"]),
        client.call(&[b"RENAME", &longest[..], &longer[..]]),
        client.call(&[b"INCR", &longer[..]]),
    ]
    .into_iter()
    .map(|reply| reply.expect("answered"))
    .collect();
    for refused in refused {
        assert!(refused.text().is_some_and(|line| line.starts_with("ERR ") && line.contains("65536")), "{refused:?}");
    }
    assert_eq!(client.call(&["EXISTS", "a"]).expect("answered"), Value::Integer(0), "MSET is all or nothing");
}

#[test]
fn a_scan_visits_every_key_and_slots_are_rediss() {
    // By itself it takes one from those that the system hands to outgoing connections.
    let bus_port = free_ports(1)[0].to_string();
    let cluster_flags =
        ["--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf", "--cluster-port", &bus_port];
    let redis = RedisServer::start(&cluster_flags);
    let cluster = Cluster::start(3);
    let mut ours = cluster.connect_to_leader();
    let mut theirs = Client::connect(redis.address()).expect("connected");
    let mut random = Random::new(2);
    for _ in 0..300 {
        let mut key = arguments::value(&mut random).to_vec();
        if random.percent(50) {
            key.extend_from_slice(random.pick(&[&b"{a}"[..], b"{}x", b"}{", b"{{b}}", b"{c"]));
        }
        let command = [&b"CLUSTER"[..], b"KEYSLOT", &key];
        let replies = [ours.call_bytes(&command), theirs.call_bytes(&command)].map(|reply| reply.expect("answered"));
        assert_eq!(replies[0], replies[1], "{}", key.escape_ascii());
    }

    let redis = RedisServer::start(&[]);
    let mut theirs = Client::connect(redis.address()).expect("connected");
    for client in [&mut ours, &mut theirs] {
        let mut expected = Vec::new();
        for number in 0..500 {
            let key = format!("{}:{number}", if number % 3 == 0 { "x" } else { "y" });
            client.send(&["SET", &key, "1"]).expect("sent");
            expected.push(key);
        }
        for _ in 0..500 {
            assert_eq!(&client.receive_bytes().expect("answered")[..], b"+OK\r\n");
        }
        expected.sort();
        for count in ["1", "7", "1000"] {
            assert_eq!(scan(client, &["COUNT", count]), expected);
            let of_x: Vec<String> = expected.iter().filter(|key| key.starts_with('x')).cloned().collect();
            assert_eq!(scan(client, &["MATCH", "x:*", "COUNT", count]), of_x);
        }
        assert!(scan(client, &["TYPE", "list", "COUNT", "100"]).is_empty());
    }
}

/// Every key of a whole iteration, in order, each once.
fn scan(client: &mut Client, options: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let mut cursor = "0".to_owned();
    loop {
        let Value::Array(page) = client.call(&[&["SCAN", &cursor], options].concat()).expect("answered") else {
            panic!("SCAN answers an array");
        };
        let [next, Value::Array(keys)] = &page[..] else { panic!("SCAN answers a cursor and keys") };
        found.extend(keys.iter().filter_map(Value::text));
        cursor = next.text().expect("a cursor");
        assert!(cursor.parse::<u64>().is_ok(), "{cursor}");
        if cursor == "0" {
            found.sort();
            found.dedup();
            return found;
        }
    }
}
