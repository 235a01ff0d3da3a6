//! Where Talon means to answer otherwise than Redis 7.0, each with its reason. The README's section is made of this table,
//! and a test carries the examples out on both servers: a deviation that is none any more has to leave the table.

/// One deviation.
#[derive(Clone, Copy, Debug)]
pub struct Deviation {
    /// What is asked.
    pub subject: &'static str,
    /// What Redis does.
    pub redis: &'static str,
    /// What Talon does.
    pub talon: &'static str,
    /// Why.
    pub reason: &'static str,
    /// Commands, the last of which shows it.
    pub example: Option<Example>,
}

/// Commands as golden scripts write them, and the beginnings of the replies to the last one.
#[derive(Clone, Copy, Debug)]
pub struct Example {
    /// The commands.
    pub commands: &'static [&'static str],
    /// How Redis's reply begins.
    pub redis: &'static str,
    /// How Talon's reply begins.
    pub talon: &'static str,
}

/// Sixteen values of 16 MB, each made by a few bytes.
const LARGE_TRANSACTION: [&str; 18] = [
    "MULTI",
    "SETBIT large:a 134217727 1",
    "SETBIT large:b 134217727 1",
    "SETBIT large:c 134217727 1",
    "SETBIT large:d 134217727 1",
    "SETBIT large:e 134217727 1",
    "SETBIT large:f 134217727 1",
    "SETBIT large:g 134217727 1",
    "SETBIT large:h 134217727 1",
    "SETBIT large:i 134217727 1",
    "SETBIT large:j 134217727 1",
    "SETBIT large:k 134217727 1",
    "SETBIT large:l 134217727 1",
    "SETBIT large:m 134217727 1",
    "SETBIT large:n 134217727 1",
    "SETBIT large:o 134217727 1",
    "SETBIT large:p 134217727 1",
    "EXEC",
];

/// All that are known.
pub const DEVIATIONS: &[Deviation] = &[
    Deviation {
        subject: "`DBSIZE`",
        redis: "counts keys that have ended until they are removed",
        talon: "counts living keys only",
        reason: "the count is the same on every node at the same position",
        example: Some(Example { commands: &["SET a 1 PXAT 1", "DBSIZE"], redis: "(integer) 1", talon: "(integer) 0" }),
    },
    Deviation {
        subject: "`KEYS`, `SCAN`",
        redis: "in no order; a page may hold a key twice",
        talon: "in the order of the keys' bytes, each key once",
        reason: "the store is ordered",
        example: None,
    },
    Deviation {
        subject: "`SCAN` with a cursor that this node has not given out, or long ago",
        redis: "takes every number, and an empty word, for a place in its table",
        talon: "`ERR invalid cursor`",
        reason: "a cursor stands for a key; going on anywhere else would leave keys out",
        example: Some(Example { commands: &["SCAN 5"], redis: "1) ", talon: "(error) ERR invalid cursor" }),
    },
    Deviation {
        subject: "`SCAN … PREFIX p`, `SCAN … WITHVALUES`",
        redis: "a syntax error",
        talon: "keys below a prefix; keys with their values",
        reason: "Talon's own options",
        example: Some(Example {
            commands: &["SET a 1", "SCAN 0 WITHVALUES"],
            redis: "(error) ERR syntax error",
            talon: "1) \"0\"",
        }),
    },
    Deviation {
        subject: "`SET … IFEQ comparison`, `SET … IFNE comparison`, `DELEX`",
        redis: "a syntax error; an unknown command",
        talon: "sets or removes a key only if it has this value, or another one, as Redis does since 8.4",
        reason: "compare and set without `WATCH` and scripts",
        example: Some(Example {
            commands: &["SET a 1", "SET a 2 IFEQ 1"],
            redis: "(error) ERR syntax error",
            talon: "OK",
        }),
    },
    Deviation {
        subject: "`OBJECT ENCODING`",
        redis: "depends on how the value came to be: what was appended to is `raw`",
        talon: "follows from the value alone: what Redis answers for one that was set as a whole",
        reason: "all values are held alike",
        example: Some(Example {
            commands: &["SET a 1", "APPEND a 2", "OBJECT ENCODING a"],
            redis: "\"raw\"",
            talon: "\"int\"",
        }),
    },
    Deviation {
        subject: "`OBJECT REFCOUNT`, `OBJECT IDLETIME`",
        redis: "small integers are shared, and counted as 2147483647; seconds since the last access",
        talon: "1; 0",
        reason: "no value is shared, and no access times are kept: a read would have to write",
        example: Some(Example {
            commands: &["SET a 1", "OBJECT REFCOUNT a"],
            redis: "(integer) 2147483647",
            talon: "(integer) 1",
        }),
    },
    Deviation {
        subject: "`MEMORY USAGE`",
        redis: "what its allocator has handed out, also for a key that has ended and is not removed yet",
        talon: "bytes of the key and the value, and 8 of a header; with a TTL 8 more and the key again, for the expiry index",
        reason: "the same on every node, and no structure takes more",
        example: Some(Example { commands: &["SET a 1", "MEMORY USAGE a"], redis: "(integer) ", talon: "(integer) 10" }),
    },
    Deviation {
        subject: "`MEMORY DOCTOR`, `MALLOC-STATS`, `PURGE`, `STATS`",
        redis: "are about its allocator",
        talon: "are unknown",
        reason: "Talon measures its memory elsewhere (metrics)",
        example: Some(Example {
            commands: &["MEMORY PURGE"],
            redis: "OK",
            talon: "(error) ERR unknown subcommand 'PURGE'. Try MEMORY HELP.",
        }),
    },
    Deviation {
        subject: "`HELP` of commands with subcommands",
        redis: "describes Redis's subcommands, in simple strings",
        talon: "describes Talon's, in bulk strings",
        reason: "the texts are made from the command table",
        example: Some(Example { commands: &["OBJECT HELP"], redis: " 1) OBJECT", talon: " 1) \"OBJECT" }),
    },
    Deviation {
        subject: "`BITFIELD` with an offset `#n` whose bit needs more than 64 bits",
        redis: "wraps around, perhaps to a bit that is there",
        talon: "is refused as out of range",
        reason: "Redis's way is an accident of C arithmetic",
        example: Some(Example {
            commands: &["BITFIELD a GET u8 #-9223372036854775808"],
            redis: "1) (integer) 0",
            talon: "(error) ERR bit offset is not an integer or out of range",
        }),
    },
    Deviation {
        subject: "`BITFIELD` that writes an integer across the end of the largest value",
        redis: "makes the value up to 8 bytes longer than is allowed",
        talon: "is refused as out of range",
        reason: "no value is larger than 16,777,216 bytes",
        example: Some(Example {
            commands: &["BITFIELD a SET u8 134217727 1"],
            redis: "1) (integer) 0",
            talon: "(error) ERR bit offset is not an integer or out of range",
        }),
    },
    Deviation {
        subject: "a key above 65,536 bytes",
        redis: "is taken",
        talon: "is refused when it is written, with an error that names the limit",
        reason: "every node has to hold and send it",
        example: None,
    },
    Deviation {
        subject: "a request of more than 1,048,576 words",
        redis: "is taken up to 2,147,483,647 words",
        talon: "`ERR Protocol error: invalid multibulk length`, and the connection is closed",
        reason: "what a client may make a node hold is bounded",
        example: None,
    },
    Deviation {
        subject: "one request, or all commands of one `MULTI`, above `request_bytes_max` (64 MB)",
        redis: "is taken",
        talon: "is refused before it is proposed, with an error that names the limit",
        reason: "it is one entry of the replicated log",
        example: None,
    },
    Deviation {
        subject: "an `EXEC` that would write, or be answered with, more than 268,435,456 bytes, and more than came with it",
        redis: "is carried out",
        talon: "`EXECABORT`: it is refused as a whole",
        reason: "every node holds all of it in memory until it is committed; what is written over counts once",
        example: Some(Example { commands: &LARGE_TRANSACTION, redis: " 1) (integer) 0", talon: "(error) EXECABORT " }),
    },
    Deviation {
        subject: "a NUL byte in an inline request, or in a line that announces a count or a length",
        redis: "waits for more, for ever, or until 64 KB have come",
        talon: "ends the inline request's words at the NUL, and judges the count or length as it stands",
        reason: "Redis's way is an accident of C strings, and leaves the client without an answer",
        example: None,
    },
    Deviation {
        subject: "an error that quotes the request",
        redis: "quotes any bytes",
        talon: "quotes text: bytes that are not UTF-8 come back as U+FFFD",
        reason: "errors are text in gRPC and in logs",
        example: None,
    },
    Deviation {
        subject: "`PUBLISH`",
        redis: "is answered with the subscribers of this node, and of a cluster's others nobody knows; a replica hears it out of order with writes, and who publishes to itself in a transaction in the middle of the reply to `EXEC`",
        talon: "travels through the log: subscribers of every node hear it in order with the writes around it; the answer counts this node's; it comes before the message",
        reason: "what a message tells of has happened when it comes",
        example: None,
    },
    Deviation {
        subject: "`SUBSCRIBE` and its family inside `MULTI`",
        redis: "are carried out by `EXEC`, whose reply then is not one array",
        talon: "are refused, and the transaction with them",
        reason: "no client could read the reply",
        example: Some(Example {
            commands: &["MULTI", "SUBSCRIBE a"],
            redis: "QUEUED",
            talon: "(error) ERR Command not allowed inside a transaction",
        }),
    },
    Deviation {
        subject: "`MULTI` with writes on a follower",
        redis: "each command is answered `MOVED`, and then `EXEC` is refused with `EXECABORT`",
        talon: "they are queued, and `EXEC` is answered `MOVED`; nothing was carried out",
        reason: "only when it is carried out is it known who leads then",
        example: None,
    },
    Deviation {
        subject: "`READONLY`",
        redis: "without it, a replica sends reads to the master",
        talon: "a follower answers reads to anybody; where its settings say `consistency = \"lease\"`, it does as Redis",
        reason: "clients that come by Sentinel never say it",
        example: None,
    },
    Deviation {
        subject: "`PUBLISH` to the channels of Sentinels' events (`+switch-master`, `+sdown`, …)",
        redis: "is taken: Sentinels are other servers",
        talon: "is refused",
        reason: "every node is a Sentinel, too, and what it says there sends all clients elsewhere",
        example: Some(Example {
            commands: &["PUBLISH +switch-master x"],
            redis: "(integer) 0",
            talon: "(error) ERR this channel is for what the cluster itself tells",
        }),
    },
    Deviation {
        subject: "`HELLO` within `MULTI`",
        redis: "changes the protocol in the middle of the reply to `EXEC`",
        talon: "changes it behind that reply",
        reason: "a reply is in one protocol",
        example: None,
    },
    Deviation {
        subject: "`FAILOVER`",
        redis: "answers at once and goes on in the background; not in cluster mode; `FORCE` promotes a replica that lags",
        talon: "answers when another node leads, or why none does; `FORCE` changes nothing",
        reason: "who asks wants to know; no node leads that does not hold every acknowledged write",
        example: None,
    },
    Deviation {
        subject: "`CLUSTER COUNTKEYSINSLOT`, `CLUSTER GETKEYSINSLOT`",
        redis: "take no longer with many keys",
        talon: "look at all keys",
        reason: "keys are kept in order, not by slot; slots never move",
        example: None,
    },
    Deviation {
        subject: "`WAITAOF`",
        redis: "unknown before 7.2",
        talon: "is there: this node's own disk, and those of so many followers",
        reason: "a majority of disks has every acknowledged write; this asks for more",
        example: Some(Example {
            commands: &["WAITAOF 0 0 0"],
            redis: "(error) ERR unknown command 'WAITAOF'",
            talon: "1) (integer)",
        }),
    },
    Deviation {
        subject: "`CLIENT SETINFO`",
        redis: "unknown before 7.2",
        talon: "is accepted",
        reason: "clients send it when they connect",
        example: Some(Example {
            commands: &["CLIENT SETINFO LIB-NAME x"],
            redis: "(error) ERR unknown subcommand 'SETINFO'",
            talon: "OK",
        }),
    },
    Deviation {
        subject: "other types than strings, scripts",
        redis: "are there",
        talon: "their commands are unknown",
        reason: "not there yet",
        example: Some(Example {
            commands: &["LPUSH a 1"],
            redis: "(integer) 1",
            talon: "(error) ERR unknown command 'LPUSH', with args beginning with: 'a' '1' ",
        }),
    },
    Deviation {
        subject: "`DELPREFIX`, `COUNTPREFIX`, `KEYSPREFIX`, `SCANPREFIX`, `DISKUSAGE`, `POSITION`, `ONCE`, `SNAPSHOT`, `WAITINDEX`, `CLIENT CONSISTENCY`, `CLIENT LASTINDEX`",
        redis: "are unknown",
        talon: "Talon's own commands",
        reason: "what an ordered, replicated store can do",
        example: Some(Example {
            commands: &["COUNTPREFIX a"],
            redis: "(error) ERR unknown command 'COUNTPREFIX'",
            talon: "(integer) 0",
        }),
    },
    Deviation {
        subject: "`COMMAND DOCS`",
        redis: "has the `arguments` of each command",
        talon: "has no `arguments`",
        reason: "the command table knows names, arity, flags and keys; a second list of arguments would only drift from what the parsers take",
        example: None,
    },
    Deviation {
        subject: "`ACL`",
        redis: "has users, and shows hashes of their passwords",
        talon: "tells of one user, `default`; a password is shown as `(set)`",
        reason: "one password for all; nothing of it is shown",
        example: None,
    },
    Deviation {
        subject: "`HELLO`, `INFO`, `ROLE`, `COMMAND`, `CONFIG GET`, `CLUSTER`, `SENTINEL`, `CLIENT ID/INFO/LIST`",
        redis: "describe a Redis server",
        talon: "describe this node in the same form",
        reason: "they are about the server; the differential test compares the kind of reply, or leaves them out",
        example: None,
    },
    Deviation {
        subject: "`TIME`, `RANDOMKEY`",
        redis: "its own clock, its own chance",
        talon: "the same, with others",
        reason: "no two servers agree on them; the differential test leaves `TIME` out and compares the kind of reply",
        example: None,
    },
];

/// The table as Markdown.
pub fn table() -> String {
    let mut lines = vec!["| what | Redis 7.0 | Talon | why |".to_owned(), "|---|---|---|---|".to_owned()];
    lines.extend(
        DEVIATIONS.iter().map(|row| format!("| {} | {} | {} | {} |", row.subject, row.redis, row.talon, row.reason)),
    );
    lines.join("\n")
}
