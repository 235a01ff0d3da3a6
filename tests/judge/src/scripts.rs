//! Golden scripts against a server behind a socket.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use talon_core::script::{Script, Target, render};
use talon_core::{Refusal, Reply};
use talon_tests_support::{Client, Value};

/// How much longer than asked is waited: both servers look at their clocks, and the machine may be busy.
const WAIT_MORE_MS: u64 = 5;

/// The scripts of a folder below `tests/scripts`, in the order of their names.
///
/// # Panics
/// If the folder or a script cannot be read, or holds none.
pub fn load(folder: &str) -> Vec<Script> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts").join(folder);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a readable folder").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    paths.sort();
    assert!(!paths.is_empty(), "{} holds no scripts", folder.display());
    let read = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Script::parse(&name, &text).unwrap_or_else(|error| panic!("{error}"))
    };
    paths.iter().map(read).collect()
}

/// A server that scripts run on.
#[derive(Debug)]
pub struct Server {
    client: Client,
}

impl Server {
    /// Connects, and empties it.
    ///
    /// # Errors
    /// If it does not answer.
    pub fn connect(address: SocketAddr, resp3: bool) -> std::io::Result<Server> {
        let mut client = Client::connect(address)?;
        client.call(&["FLUSHALL"])?;
        if resp3 {
            client.call(&["HELLO", "3"])?;
        }
        Ok(Server { client })
    }
}

impl Target for Server {
    fn execute(&mut self, words: &[Bytes]) -> Result<Reply, String> {
        self.client.call(words).map(reply).map_err(|error| error.to_string())
    }

    fn advance(&mut self, by_ms: u64) -> Result<(), String> {
        thread::sleep(Duration::from_millis(by_ms + WAIT_MORE_MS));
        Ok(())
    }
}

/// What was read, as the reply it was.
fn reply(value: Value) -> Reply {
    match value {
        Value::Simple(text) if text == "OK" => Reply::Ok,
        // A test may keep the few texts there are until it ends.
        Value::Simple(text) => Reply::Simple(text.leak()),
        Value::Error(line) => Reply::Error(Refusal::from_string(line)),
        Value::Integer(number) => Reply::Integer(number),
        Value::Bulk(bytes) => Reply::Bulk(bytes),
        Value::Null => Reply::Null,
        Value::Array(items) => Reply::Array(items.into_iter().map(reply).collect()),
        Value::Set(items) => Reply::Set(items.into_iter().map(reply).collect()),
        Value::Push(items) => Reply::Push(items.into_iter().map(reply).collect()),
        Value::Map(pairs) => Reply::Map(pairs.into_iter().map(|(key, value)| (reply(key), reply(value))).collect()),
        Value::Double(number) => Reply::Double(number),
        Value::Boolean(yes) => Reply::Boolean(yes),
        Value::Verbatim(text) => Reply::Verbatim(String::from_utf8_lossy(&text).into_owned()),
        Value::BigNumber(digits) => Reply::Simple(digits.leak()),
    }
}

/// A reply as scripts write it.
pub fn show(value: &Value) -> String {
    render(&reply(value.clone()))
}

/// A word in double quotes, as scripts and inline requests write it.
pub fn quote(word: &Bytes) -> String {
    render(&Reply::Bulk(word.clone()))
}

/// A command as scripts write it.
pub fn command_line(words: &[Bytes]) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-+.:*?[]^{}|".contains(byte);
    let plain = |word: &Bytes| !word.is_empty() && word.iter().all(is_plain);
    let words: Vec<String> = words
        .iter()
        .map(|word| if plain(word) { String::from_utf8_lossy(word).into_owned() } else { quote(word) })
        .collect();
    format!("> {}", words.join(" "))
}
