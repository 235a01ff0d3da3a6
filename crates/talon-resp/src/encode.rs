//! Replies into bytes, and a client's commands into bytes.

use bytes::{BufMut, Bytes, BytesMut};
use talon_core::Reply;

use crate::number::{format_double, put_line};

/// The version of the protocol that a connection speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Protocol {
    /// What every connection begins with.
    #[default]
    Resp2,
    /// After `HELLO 3`.
    Resp3,
}

impl Protocol {
    /// Its number, as in `HELLO`.
    pub const fn number(self) -> i64 {
        match self {
            Protocol::Resp2 => 2,
            Protocol::Resp3 => 3,
        }
    }
}

/// Appends one reply.
pub fn encode(reply: &Reply, protocol: Protocol, out: &mut BytesMut) {
    let resp3 = protocol == Protocol::Resp3;
    match reply {
        Reply::Ok => out.put_slice(b"+OK\r\n"),
        Reply::Simple(text) => {
            out.put_u8(b'+');
            put_clean(out, text.as_bytes());
            put_end(out);
        }
        Reply::Integer(number) => put_line(out, b':', *number),
        Reply::Bulk(bytes) => put_bulk(out, bytes),
        Reply::Null if resp3 => out.put_slice(b"_\r\n"),
        Reply::Null => out.put_slice(b"$-1\r\n"),
        Reply::NullArray if resp3 => out.put_slice(b"_\r\n"),
        Reply::NullArray => out.put_slice(b"*-1\r\n"),
        Reply::Array(items) => put_items(out, b'*', items, protocol),
        Reply::Set(items) => put_items(out, if resp3 { b'~' } else { b'*' }, items, protocol),
        Reply::Push(items) => put_items(out, if resp3 { b'>' } else { b'*' }, items, protocol),
        Reply::Map(pairs) => {
            if resp3 {
                put_line(out, b'%', pairs.len() as i64);
            } else {
                put_line(out, b'*', 2 * pairs.len() as i64);
            }
            for (key, value) in pairs {
                encode(key, protocol, out);
                encode(value, protocol, out);
            }
        }
        Reply::Double(number) => {
            let text = format_double(*number);
            if resp3 {
                out.put_u8(b',');
                out.put_slice(text.as_bytes());
                put_end(out);
            } else {
                put_bulk(out, text.as_bytes());
            }
        }
        Reply::Boolean(yes) if resp3 => out.put_slice(if *yes { b"#t\r\n" } else { b"#f\r\n" }),
        Reply::Boolean(yes) => put_line(out, b':', i64::from(*yes)),
        Reply::Verbatim(text) if resp3 => {
            put_line(out, b'=', text.len() as i64 + 4);
            out.put_slice(b"txt:");
            out.put_slice(text.as_bytes());
            put_end(out);
        }
        Reply::Verbatim(text) => put_bulk(out, text.as_bytes()),
        Reply::Error(refusal) => encode_error_line(refusal.line().as_bytes(), out),
    }
}

/// Appends an error, given with its prefix. Line ends inside become spaces: they would forge further replies.
pub fn encode_error_line(line: &[u8], out: &mut BytesMut) {
    out.put_u8(b'-');
    put_clean(out, line);
    put_end(out);
}

/// Appends a command the way clients send it.
pub fn encode_command(words: &[Bytes], out: &mut BytesMut) {
    put_line(out, b'*', words.len() as i64);
    for word in words {
        put_bulk(out, word);
    }
}

fn put_items(out: &mut BytesMut, mark: u8, items: &[Reply], protocol: Protocol) {
    put_line(out, mark, items.len() as i64);
    for item in items {
        encode(item, protocol, out);
    }
}

fn put_bulk(out: &mut BytesMut, bytes: &[u8]) {
    // Room for everything at once: a large value is copied, but nothing before it moves twice.
    out.reserve(bytes.len() + 32);
    put_line(out, b'$', bytes.len() as i64);
    out.put_slice(bytes);
    put_end(out);
}

fn put_end(out: &mut BytesMut) {
    out.put_slice(b"\r\n");
}

fn put_clean(out: &mut BytesMut, text: &[u8]) {
    if text.iter().any(|byte| matches!(byte, b'\r' | b'\n')) {
        out.extend(text.iter().map(|byte| if matches!(byte, b'\r' | b'\n') { b' ' } else { *byte }));
    } else {
        out.put_slice(text);
    }
}

#[cfg(test)]
mod tests {
    use talon_core::Refusal;

    use super::*;

    fn both(reply: &Reply) -> (String, String) {
        let text = |protocol| {
            let mut out = BytesMut::new();
            encode(reply, protocol, &mut out);
            String::from_utf8_lossy(&out).into_owned()
        };
        (text(Protocol::Resp2), text(Protocol::Resp3))
    }

    #[test]
    fn every_reply_in_both_protocols() {
        for (reply, resp2, resp3) in [
            (Reply::Ok, "+OK\r\n", "+OK\r\n"),
            (Reply::Simple("PONG"), "+PONG\r\n", "+PONG\r\n"),
            (Reply::Integer(-7), ":-7\r\n", ":-7\r\n"),
            (Reply::bulk("ab"), "$2\r\nab\r\n", "$2\r\nab\r\n"),
            (Reply::Null, "$-1\r\n", "_\r\n"),
            (Reply::NullArray, "*-1\r\n", "_\r\n"),
            (Reply::Array(vec![Reply::Integer(1), Reply::Null]), "*2\r\n:1\r\n$-1\r\n", "*2\r\n:1\r\n_\r\n"),
            (
                Reply::Map(vec![(Reply::bulk("a"), Reply::Integer(1))]),
                "*2\r\n$1\r\na\r\n:1\r\n",
                "%1\r\n$1\r\na\r\n:1\r\n",
            ),
            (Reply::Set(vec![Reply::Integer(1)]), "*1\r\n:1\r\n", "~1\r\n:1\r\n"),
            (Reply::Push(vec![Reply::Integer(1)]), "*1\r\n:1\r\n", ">1\r\n:1\r\n"),
            (Reply::Double(0.1), "$19\r\n0.10000000000000001\r\n", ",0.10000000000000001\r\n"),
            (Reply::Double(f64::INFINITY), "$3\r\ninf\r\n", ",inf\r\n"),
            (Reply::Boolean(true), ":1\r\n", "#t\r\n"),
            (Reply::Verbatim("hi".to_owned()), "$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n"),
            (Reply::Error(Refusal::new("ERR a\r\nb")), "-ERR a  b\r\n", "-ERR a  b\r\n"),
        ] {
            assert_eq!(both(&reply), (resp2.to_owned(), resp3.to_owned()), "{reply:?}");
        }
    }
}
