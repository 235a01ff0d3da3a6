//! Commands as others may see them, in the slow log and on a monitor: without passwords.

use bytes::Bytes;
use talon_core::request::Args;
use talon_resp::Name;

use super::table::Entry;

/// What stands in a password's place.
const REDACTED: &[u8] = b"(redacted)";

/// A command's words as they were sent.
#[derive(Clone, Debug)]
pub(crate) struct Shown {
    pub entry: &'static Entry,
    pub name: Name,
    pub args: Args,
}

impl Shown {
    pub fn new(entry: &'static Entry, name: &[u8], args: &Args) -> Shown {
        Shown { entry, name: Name::from_slice(name), args: args.clone() }
    }

    /// All words, with passwords replaced.
    pub fn words(&self) -> Vec<Bytes> {
        let mut words = Vec::with_capacity(self.args.len() + 1);
        words.push(Bytes::copy_from_slice(&self.name));
        words.extend(self.args.iter().cloned());
        redact(self.entry.facts().name, &mut words[1..]);
        words
    }
}

fn redact(command: &str, args: &mut [Bytes]) {
    let hide = |arg: &mut Bytes| *arg = Bytes::from_static(REDACTED);
    match command {
        "auth" => args.iter_mut().for_each(hide),
        "hello" => {
            // Where it stands is only known if everything before it is right: whatever comes behind the word is hidden.
            // (It may be somebody's name, too: then there is another one.)
            let is_auth: Vec<bool> = args.iter().map(|arg| arg.eq_ignore_ascii_case(b"auth")).collect();
            for place in (0..args.len()).filter(|place| is_auth[*place]) {
                args.iter_mut().skip(place + 1).take(2).for_each(hide);
            }
        }
        "config" | "config|set" => {
            let is_secret = |name: &Bytes| {
                let name = String::from_utf8_lossy(name).to_ascii_lowercase();
                ["pass", "auth", "secret"].iter().any(|word| name.contains(word))
            };
            for pair in args.get_mut(1..).unwrap_or_default().chunks_exact_mut(2) {
                if is_secret(&pair[0]) {
                    hide(&mut pair[1]);
                }
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::table;

    fn shown(line: &'static str) -> String {
        let mut words = line.split(' ');
        let name = words.next().unwrap();
        let args: Args = words.map(Bytes::from).collect::<Vec<_>>().into();
        let words = Shown::new(table::lookup(name.as_bytes()).unwrap(), name.as_bytes(), &args).words();
        words.iter().map(|word| String::from_utf8_lossy(word).into_owned()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn no_password_is_shown() {
        for (line, expected) in [
            ("AUTH sesame", "AUTH (redacted)"),
            ("Auth me sesame", "Auth (redacted) (redacted)"),
            ("HELLO 3 SETNAME n AUTH me sesame", "HELLO 3 SETNAME n AUTH (redacted) (redacted)"),
            ("hello 3 auth me sesame setname n", "hello 3 auth (redacted) (redacted) setname n"),
            ("HELLO 3 SETNAME auth AUTH me sesame", "HELLO 3 SETNAME auth (redacted) (redacted) (redacted)"),
            ("HELLO 3 auth me", "HELLO 3 auth (redacted)"),
            ("CONFIG SET timeout 1 requirepass sesame", "CONFIG SET timeout 1 requirepass (redacted)"),
            ("CONFIG GET requirepass", "CONFIG GET requirepass"),
            ("SET auth sesame", "SET auth sesame"),
        ] {
            assert_eq!(shown(line), expected);
        }
    }
}
