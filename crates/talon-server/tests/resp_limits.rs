//! The front door's limits, each at its edge.

mod support;

use std::time::Duration;

use support::{Door, Wire, show};
use talon_resp::Value;
use talon_server::resp::RespSettings;
use talon_server::secret::Secret;
use tokio::io::AsyncWriteExt;

async fn guarded() -> Door {
    Door::open(1, RespSettings { password: Some(Secret::new("sesame")), ..RespSettings::default() }).await
}

fn bulks(words: usize, length: usize) -> Vec<u8> {
    let mut out = format!("*{words}\r\n").into_bytes();
    for _ in 0..words {
        out.extend(format!("${length}\r\n").bytes());
        out.extend(std::iter::repeat_n(b'x', length));
        out.extend(b"\r\n");
    }
    out
}

#[tokio::test]
async fn a_stranger_may_send_ten_words_of_sixteen_kilobytes() {
    let door = guarded().await;
    for (frame, answer) in [
        (bulks(10, 16_384), "-NOAUTH Authentication required.\r\n"),
        (bulks(11, 1), "-ERR Protocol error: unauthenticated multibulk length\r\n"),
        (bulks(1, 16_385), "-ERR Protocol error: unauthenticated bulk length\r\n"),
    ] {
        let mut client = door.client().await;
        client.send(b"*2\r\n$4\r\nAUTH\r\n$5\r\nwrong\r\n").await;
        client.send(&frame).await;
        let _ = client.stream.shutdown().await;
        let said = String::from_utf8_lossy(&client.rest().await).into_owned();
        let (first, second) = said.split_once("\r\n").expect("two answers");
        assert!(first.starts_with("-WRONGPASS"), "{first}");
        if answer.starts_with("-NOAUTH") {
            assert!(second.starts_with("-ERR unknown command 'xxx"), "{second}");
        } else {
            assert_eq!(second, answer);
        }
    }
    // Who has said it may send more.
    let mut client = door.client().await;
    assert_eq!(client.say("AUTH sesame").await, "OK");
    client.send(&bulks(11, 16_385)).await;
    assert!(support::show(&client.reply().await.expect("answered")).starts_with("!ERR unknown command"));
}

#[tokio::test]
async fn a_stranger_that_reads_nothing_is_not_read_ahead_for_ever() {
    let door = guarded().await;
    let mut client = door.client().await;
    // Each answer is longer than its question.
    let questions = b"AUTH x\r\n".repeat(16 * 1024);
    let flood = async { while client.stream.write_all(&questions).await.is_ok() {} };
    assert!(tokio::time::timeout(Duration::from_secs(3), flood).await.is_err(), "it was read without end");
    let read = door.settings.metrics.bytes_in.load(std::sync::atomic::Ordering::Relaxed);
    // What was answered, which the system's buffers took, and a megabyte more.
    let written = door.settings.metrics.bytes_out.load(std::sync::atomic::Ordering::Relaxed);
    assert!(read < written + 4 * 1024 * 1024, "{read} bytes read, {written} answered");
    let mut other = door.client().await;
    assert_eq!(other.say("AUTH sesame").await, "OK");
}

#[tokio::test]
async fn multi_gathers_so_many_commands() {
    let door = Door::open(1, RespSettings { queue_calls_max: 3, ..RespSettings::default() }).await;
    let mut client = door.client().await;
    for (last, answer) in
        [(3, "[PONG, PONG, PONG]"), (4, "!EXECABORT Transaction discarded because of previous errors.")]
    {
        assert_eq!(client.say("MULTI").await, "OK");
        for place in 1..=last {
            let said = client.say("PING").await;
            let expected = if place <= 3 { "QUEUED" } else { "!ERR too many commands in MULTI: at most 3" };
            assert_eq!(said, expected);
        }
        assert_eq!(client.say("EXEC").await, answer);
    }
}

#[tokio::test]
async fn replies_beyond_the_limit_cut_the_client_off() {
    let megabyte = 1024 * 1024;
    let door = Door::open(1, RespSettings { output_bytes_max: 2 * megabyte, ..RespSettings::default() }).await;
    let mut client = door.client().await;
    // A bulk's own bytes take twelve more: its sign, seven digits, two line ends.
    let value = "v".repeat(2 * megabyte - 12);
    assert_eq!(client.say(&format!("SET k {value}")).await, "OK");
    client.send(b"GET k\r\n").await;
    let reply = client.reply().await.expect("exactly as much as may be");
    assert_eq!(support::show(&reply).len(), value.len() + 2);
    assert_eq!(client.say("APPEND k v").await, format!("({})", value.len() + 1));
    client.send(b"GET k\r\n").await;
    assert_eq!(client.rest().await, b"");
    let mut other = door.client().await;
    assert_eq!(other.say("CONFIG SET output_bytes_max 3mb").await, "OK");
    other.send(b"GET k\r\n").await;
    assert!(other.reply().await.is_some());
}

async fn closed_without_a_word(client: &mut Wire) {
    assert_eq!(client.rest().await, b"");
}

#[tokio::test]
async fn who_speaks_http_gets_no_word() {
    let door = Door::open(1, RespSettings::default()).await;
    for bytes in [
        &b"POST / HTTP/1.1\r\nHost: x\r\n\r\nSET stolen 1\r\n"[..],
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\nSET stolen 1\r\n",
        b"PING\r\n*1\r\n$5\r\nHOST:\r\n*3\r\n$3\r\nSET\r\n$6\r\nstolen\r\n$1\r\n1\r\n",
        b"MULTI\r\npost\r\nSET stolen 1\r\nEXEC\r\n",
    ] {
        let mut client = door.client().await;
        client.send(bytes).await;
        closed_without_a_word(&mut client).await;
    }
    let mut other = door.client().await;
    assert_eq!(other.say("EXISTS stolen").await, "(0)");
    assert_eq!(other.say("ECHO POST").await, "\"POST\"");
}

#[tokio::test]
async fn what_the_server_itself_answers_in_a_transaction_is_bounded() {
    const QUESTIONS: usize = 2_000;
    let door = Door::open(1, RespSettings::default()).await;
    let mut client = door.client().await;
    let mut bytes = b"MULTI\r\n".to_vec();
    bytes.extend(b"COMMAND DOCS\r\n".repeat(QUESTIONS));
    bytes.extend(b"CLIENT SETNAME late\r\nSET a 1\r\nEXEC\r\n");
    client.send(&bytes).await;
    for _ in 0..QUESTIONS + 3 {
        client.reply().await.expect("an answer");
    }
    let Some(Value::Array(replies)) = client.reply().await else { panic!("an array") };
    let answered = replies.iter().take_while(|reply| matches!(reply, Value::Array(_))).count();
    assert!((2..QUESTIONS).contains(&answered), "{answered}");
    let refused = "!ERR not carried out: the replies of this transaction are too large";
    assert!(replies[answered..QUESTIONS + 1].iter().all(|reply| show(reply) == refused));
    assert_eq!(show(&replies[QUESTIONS + 1]), "OK", "data has a bound of its own");
    assert_eq!(client.say("CLIENT GETNAME").await, "nil");
}
