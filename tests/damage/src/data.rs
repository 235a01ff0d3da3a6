//! Data whose every byte the test knows.

use std::collections::BTreeMap;
use std::io;

use talon_tests_support::{Client, Value};

use crate::random::Random;

/// Keys asked for, or written, at once.
const PAGE: usize = 200;

/// What the cluster must hold.
#[derive(Clone, Debug, Default)]
pub struct Data {
    rows: BTreeMap<String, String>,
}

impl Data {
    /// Nothing.
    pub fn new() -> Data {
        Data::default()
    }

    /// How many keys.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Writes `keys` keys `prefix:n` with values of about `value_bytes`; every fourth ends in a distant future.
    ///
    /// # Errors
    /// If the node does not take them.
    pub fn write(
        &mut self,
        client: &mut Client,
        random: &mut Random,
        prefix: &str,
        keys: usize,
        value_bytes: usize,
    ) -> io::Result<()> {
        let numbers: Vec<usize> = (0..keys).collect();
        for page in numbers.chunks(PAGE) {
            for number in page {
                let (key, value) = (format!("{prefix}:{number}"), random.text(value_bytes));
                match number % 4 {
                    0 => client.send(&["SET", &key, &value, "EX", "1000000"])?,
                    _ => client.send(&["SET", &key, &value])?,
                }
                self.rows.insert(key, value);
            }
            for _ in page {
                expect_ok(client.receive()?)?;
            }
        }
        Ok(())
    }

    /// A key that was written elsewhere.
    pub fn insert(&mut self, key: &str, value: &str) {
        self.rows.insert(key.to_owned(), value.to_owned());
    }

    /// Deletes all keys that begin with `prefix`.
    ///
    /// # Errors
    /// If the node does not do it.
    pub fn delete_prefix(&mut self, client: &mut Client, prefix: &str) -> io::Result<()> {
        match client.call(&["DELPREFIX", prefix])? {
            Value::Integer(_) => {}
            other => return Err(io::Error::other(format!("DELPREFIX: {other:?}"))),
        }
        self.rows.retain(|key, _| !key.starts_with(prefix));
        Ok(())
    }

    /// Reads everything. `Ok(None)`: exactly this data; `Ok(Some(…))`: what is wrong.
    ///
    /// # Errors
    /// If the node does not answer, or answers an error: then it served nothing, which is not wrong.
    pub fn compare(&self, client: &mut Client) -> io::Result<Option<String>> {
        let keys: Vec<&String> = self.rows.keys().collect();
        for page in keys.chunks(PAGE) {
            let words: Vec<&str> = std::iter::once("MGET").chain(page.iter().map(|key| key.as_str())).collect();
            let values = match client.call(&words)? {
                Value::Array(values) if values.len() == page.len() => values,
                Value::Error(line) => return Err(io::Error::other(line)),
                other => return Ok(Some(format!("MGET answers {other:?}"))),
            };
            for (key, value) in page.iter().zip(values) {
                let (wanted, found) = (&self.rows[*key], value.text());
                if found.as_ref() != Some(wanted) {
                    let shown = found.map(|text| text.chars().take(40).collect::<String>());
                    return Ok(Some(format!("{key} is {shown:?}, not {:?}…", &wanted[..wanted.len().min(40)])));
                }
            }
        }
        match client.call(&["DBSIZE"])? {
            Value::Integer(count) if count == self.rows.len() as i64 => Ok(None),
            Value::Integer(count) => Ok(Some(format!("there are {count} keys, not {}", self.rows.len()))),
            Value::Error(line) => Err(io::Error::other(line)),
            other => Ok(Some(format!("DBSIZE answers {other:?}"))),
        }
    }
}

fn expect_ok(value: Value) -> io::Result<()> {
    match value {
        Value::Simple(text) if text == "OK" => Ok(()),
        other => Err(io::Error::other(format!("{other:?}"))),
    }
}
