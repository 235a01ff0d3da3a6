//! Bytes that are no requests, or requests without an end.

use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use talon_hostile_tests::{Victim, command, shown};
use talon_tests_support::Client;

const MEGABYTE: u64 = 1024 * 1024;

#[test]
fn wrong_lengths_get_an_error_and_the_connection_is_closed() {
    let victim = Victim::start();
    for (bytes, answer) in [
        (&b"*2147483648\r\n"[..], "-ERR Protocol error: invalid multibulk length\r\n"),
        (b"*9223372036854775807\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
        (b"*18446744073709551616\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
        (b"*+1\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
        (b"*1 \r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
        (b"*0x10\r\n", "-ERR Protocol error: invalid multibulk length\r\n"),
        (b"*1\r\n$-1\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
        (b"*1\r\n$-9223372036854775808\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
        (b"*1\r\n$9223372036854775807\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
        (b"*1\r\n$4294967296\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
        (b"*1\r\n$+4\r\nPING\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
        // Arrays within arrays, RESP3's types, and replies instead of requests.
        (b"*1\r\n*1\r\n*1\r\n$4\r\nPING\r\n", "-ERR Protocol error: expected '$', got '*'\r\n"),
        (b"*1\r\n%1\r\n+a\r\n+b\r\n", "-ERR Protocol error: expected '$', got '%'\r\n"),
        (b"*2\r\n$4\r\nECHO\r\n:1\r\n", "-ERR Protocol error: expected '$', got ':'\r\n"),
    ] {
        assert_eq!(victim.answer_until_closed(bytes), answer, "{}", shown(bytes));
        victim.is_well(&shown(bytes));
    }
}

#[test]
fn arrays_nested_without_end_cost_nothing() {
    let mut victim = Victim::start();
    let before = victim.resident_bytes();
    let nested = b"*1\r\n".repeat(1_000_000);
    let answer = victim.answer_until_closed(&nested);
    assert!(answer.starts_with(b"-ERR Protocol error: expected '$', got '*'"), "{answer:?}");
    victim.is_well("deep nesting");
    assert!(victim.resident_bytes() < before + 64 * MEGABYTE);
}

#[test]
fn what_is_announced_and_never_sent_takes_no_room() {
    let mut victim = Victim::start();
    let before = victim.resident_bytes();
    // Each announces a million words, or a word of sixteen megabytes.
    let mut silent: Vec<Client> = Vec::new();
    for _ in 0..100 {
        for bytes in
            [&b"*1048576\r\n"[..], b"*1048576\r\n$4\r\nMSET\r\n", b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$16777216\r\n"]
        {
            let mut client = victim.connect();
            client.send_bytes(bytes).expect("sent");
            silent.push(client);
        }
    }
    victim.is_well("promises");
    let grown = victim.resident_bytes().saturating_sub(before);
    // Pages that are reserved and never written are not there; 1.6 GB were promised.
    assert!(grown < 256 * MEGABYTE, "{grown} bytes more");
}

#[test]
fn requests_without_an_end_are_cut_off() {
    let mut victim = Victim::start_with(&[("--query-bytes-max", "4194304")]);
    let before = victim.resident_bytes();
    for (start, more) in [
        // Words without end, a line without end, a count without end, a length without end.
        (&b"*1048576\r\n"[..], command(&[&[b'x'; 65_000]])[4..].to_vec()),
        (b"", vec![b'a'; 65_000]),
        (b"*", vec![b'1'; 65_000]),
        (b"*1\r\n$", vec![b'1'; 65_000]),
    ] {
        let mut client = victim.connect();
        client.send_bytes(start).expect("sent");
        let closed = (0..4000).any(|_| client.send_bytes(&more).is_err());
        assert!(closed, "{}: 260 MB were taken", shown(&more));
        victim.is_well(&shown(&more));
    }
    assert!(victim.resident_bytes() < before + 128 * MEGABYTE);
}

#[test]
fn a_million_words_are_a_request() {
    let mut victim = Victim::start();
    let mut request = b"*1048576\r\n$6\r\nEXISTS\r\n".to_vec();
    request.extend(b"$1\r\nk\r\n".repeat(1_048_575));
    let mut client = victim.connect();
    client.send_bytes(&request).expect("sent");
    victim.is_well("a million words");
    let answer = client.receive_bytes().expect("answered");
    assert!(answer.starts_with(b":0") || answer.starts_with(b"-ERR request of"), "{answer:?}");
    // One more is refused before it comes.
    assert_eq!(victim.answer_until_closed(b"*1048577\r\n"), "-ERR Protocol error: invalid multibulk length\r\n");
    assert!(victim.is_running());
}

#[test]
fn one_byte_at_a_time_keeps_nobody_waiting() {
    let victim = Victim::start();
    let request = command(&[b"SET", b"slow", b"1"]);
    let mut slow: Vec<Client> = (0..50).map(|_| victim.connect()).collect();
    for byte in &request[..request.len() - 1] {
        for client in &mut slow {
            client.send_bytes(std::slice::from_ref(byte)).expect("sent");
        }
        victim.is_well("a byte of each of fifty");
    }
    for client in &mut slow {
        client.send_bytes(b"\n").expect("sent");
        assert_eq!(&client.receive_bytes().expect("answered")[..], b"+OK\r\n");
    }
}

#[test]
fn with_an_idle_limit_a_request_that_does_not_go_on_is_closed() {
    let victim = Victim::start_with(&[("--timeout-s", "1")]);
    let mut client = victim.connect();
    client.send_bytes(b"*3\r\n$3\r\nSET\r\n$1\r\n").expect("sent");
    let begun = Instant::now();
    assert_eq!(client.receive_until_closed().expect("closed in time"), "");
    assert!(begun.elapsed() >= Duration::from_millis(900));
    victim.is_well("half a request");
}

#[test]
fn who_speaks_another_protocol_is_closed() {
    let victim = Victim::start();
    for (bytes, answer) in [
        (&b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 14\r\n\r\nSET stolen 1\r\n"[..], ""),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", ""),
        (b"host: x\r\nSET stolen 1\r\n", ""),
        (b"*1\r\n$4\r\nPoSt\r\n*3\r\n$3\r\nSET\r\n$6\r\nstolen\r\n$1\r\n1\r\n", ""),
    ] {
        assert_eq!(victim.answer_until_closed(bytes), answer, "{}", shown(bytes));
        victim.is_well(&shown(bytes));
    }
    let mut client = victim.connect();
    assert_eq!(&client.call_bytes(&["EXISTS", "stolen"]).expect("answered")[..], b":0\r\n");
    let log = victim.log();
    assert_eq!(log.matches("POST or Host:").count(), 1, "once a minute: {log}");
    // The beginnings of TLS, SSH, and of gRPC: none of them ends the node, or is taken for a command.
    for bytes in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03abc\r\n"[..],
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
    ] {
        let mut client = victim.connect();
        client.send_bytes(bytes).expect("sent");
        let answer = client.receive_bytes().expect("answered");
        assert!(answer.starts_with(b"-ERR"), "{}: {answer:?}", shown(bytes));
        victim.is_well(&shown(bytes));
    }
}

#[test]
fn inline_garbage_and_nuls_are_only_errors() {
    let victim = Victim::start();
    let all: Vec<u8> = (0..=255u8).filter(|byte| !matches!(byte, b'\n' | b'"' | b'\'')).collect();
    for bytes in [
        [&all[..], b"\r\n"].concat(),
        b"\0\0\0\0\r\n".to_vec(),
        b"PING\0PING\r\n".to_vec(),
        [&b"\xff".repeat(60_000)[..], b"\r\n"].concat(),
        b"\r\n\r\n\r\n\n\n\n".to_vec(),
        b"\"\\x00\\x0d\\x0a\"\r\n".to_vec(),
    ] {
        let mut client = victim.connect();
        client.send_bytes(&bytes).expect("sent");
        client.send_bytes(b"PING\r\n").expect("sent");
        client.finish_sending().expect("sent");
        let answer = client.receive_until_closed().expect("closed");
        assert!(answer.ends_with(b"\r\n") && !answer.is_empty(), "{}: {answer:?}", shown(&bytes));
        // Lines, each an answer of its own: nothing of the garbage begins one.
        for line in answer.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            assert!(line.starts_with(b"-ERR") || line == b"+PONG\r", "{}: {answer:?}", shown(&bytes));
        }
        victim.is_well(&shown(&bytes));
    }
}

#[test]
fn half_closed_and_reset_connections_leave_nothing_behind() {
    let victim = Victim::start();
    for _ in 0..200 {
        let mut client = victim.connect();
        client.send_bytes(b"*2\r\n$3\r\nGET\r\n$100\r\n").expect("sent");
        drop(client);
    }
    let mut half = victim.connect();
    half.send_bytes(b"PING\r\n*1\r\n$4\r\nPI").expect("sent");
    half.finish_sending().expect("sent");
    assert_eq!(half.receive_until_closed().expect("closed"), "+PONG\r\n");
    victim.is_well("two hundred hang-ups");
    let mut observer = victim.connect();
    let gone = talon_tests_support::wait_until(Duration::from_secs(10), || {
        let clients = observer.call(&["CLIENT", "LIST"]).expect("answered");
        clients.text().is_some_and(|text| text.lines().count() == 1)
    });
    assert!(gone, "connections are left");
}

#[test]
fn random_bytes_never_end_the_node() {
    let mut victim = Victim::start();
    let mut state = 0x9E37_79B9_7F4A_7C15u64;
    let mut next = || {
        // xorshift64: any bytes will do, the same in every run.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let threads: Vec<_> = (0..40)
        .map(|_| {
            let bytes: Vec<u8> = (0..4096).flat_map(|_| next().to_le_bytes()).collect();
            let address = victim.address();
            thread::spawn(move || {
                let mut stream = TcpStream::connect(address).expect("it listens");
                for chunk in bytes.chunks(997) {
                    if stream.write_all(chunk).is_err() {
                        break;
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("no panic");
    }
    victim.is_well("noise");
    assert!(victim.is_running());
}
