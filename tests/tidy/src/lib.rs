//! The shape of the house as rules over source text: which crate may depend on which, which calls are banned where,
//! what must not be left behind.
//!
//! *Enters*: file contents and paths. *Leaves*: complaints, one line each. *Must never know*: what the code does; the
//! rules are lexical on purpose, so that each can be read in a minute. `tests/tidy.rs` walks the real tree with them.
//!
//! An exception is written where it applies, on the line or the one above it, with its reason:
//! `// tidy: allow HashMap: looked up, never walked`.

mod source;

pub use source::{Line, Source};

/// Which workspace crates a crate's library or binary may depend on. `crates/README.md` has the same table for people,
/// and a test compares the two.
pub const ARROWS: &[(&str, &[&str])] = &[
    ("talon-core", &[]),
    ("talon-storage", &[]),
    ("talon", &["talon-core", "talon-storage"]),
    ("talon-proto", &[]),
    ("talon-raft", &["talon", "talon-core", "talon-storage", "talon-proto"]),
    ("talon-resp", &["talon-core"]),
    ("talon-server", &["talon-core", "talon-resp", "talon-proto"]),
    ("talon-client", &["talon-proto"]),
    (
        "talon-cli",
        &[
            "talon",
            "talon-client",
            "talon-core",
            "talon-proto",
            "talon-raft",
            "talon-resp",
            "talon-server",
            "talon-storage",
        ],
    ),
    ("talon-bench", &["talon", "talon-client", "talon-core"]),
];

/// Packages from outside that a crate must not depend on, because of what it must never know.
const BANNED_PACKAGES: &[(&str, &[&str])] = &[
    ("talon-core", &["tokio", "rand", "fastrand", "getrandom", "rocksdb", "openraft", "tonic", "tracing", "ahash"]),
    ("talon-storage", &["openraft", "tonic"]),
    ("talon", &["openraft", "tonic", "rocksdb"]),
    ("talon-resp", &["tokio", "rand", "rocksdb", "openraft", "tonic"]),
    ("talon-server", &["rocksdb", "openraft"]),
    ("talon-raft", &["rocksdb"]),
    ("talon-client", &["rocksdb", "openraft"]),
];

/// A text that must not occur in a part of the tree, and why.
pub struct Ban {
    /// The text, as it is written in code.
    pub text: &'static str,
    /// The paths (from the workspace's root) it is banned under.
    pub under: &'static [&'static str],
    /// Paths under these it is at home in: those that contain one of these texts.
    pub except: &'static [&'static str],
    /// Whether test code is held to it too.
    pub in_tests: bool,
    /// What to do instead.
    pub why: &'static str,
}

const CORE: &[&str] = &["crates/talon-core/"];
const PURE: &[&str] = &["crates/talon-core/", "crates/talon-resp/"];
const CRATES: &[&str] = &["crates/"];
const OUTSIDE_INPUT: &[&str] = &["crates/talon-resp/", "crates/talon-server/", "crates/talon-raft/"];
const CLOCKS: &[&str] = &["crates/talon-raft/src/clock", "crates/talon/src/clock"];

/// The calls that are banned, and where.
pub const BANS: &[Ban] = &[
    ban("SystemTime", CORE, "time is an argument of the core"),
    ban("Instant", CORE, "time is an argument of the core"),
    ban("rand::", CORE, "randomness comes as the entry's seed"),
    ban("HashMap", CORE, "its order differs between processes: use a BTreeMap or a sorted slice"),
    ban("HashSet", CORE, "its order differs between processes: use a BTreeSet or a sorted slice"),
    ban("RandomState", CORE, "it is seeded from the environment"),
    ban("std::env", CORE, "nothing ambient may reach a decision"),
    ban("std::thread", CORE, "the core is one call"),
    ban("std::fs", PURE, "no IO here"),
    ban("std::net", PURE, "no IO here"),
    ban("tokio::", PURE, "no IO here"),
    Ban {
        text: "SystemTime",
        under: CRATES,
        except: CLOCKS,
        in_tests: false,
        why: "the wall clock is read in the clock modules of talon-raft and talon only",
    },
    Ban {
        text: "Utc::now",
        under: CRATES,
        except: CLOCKS,
        in_tests: false,
        why: "the wall clock is read in the clock modules of talon-raft and talon only",
    },
    ban(
        ".unwrap()",
        OUTSIDE_INPUT,
        "what comes from outside is never trusted: return the error, or say why it cannot be",
    ),
    ban("unbounded_channel", CRATES, "every queue has a bound"),
    ban("mpsc::unbounded", CRATES, "every queue has a bound"),
    Ban { text: "todo!(", under: &[""], except: &["tests/tidy/"], in_tests: true, why: "finish it" },
    Ban { text: "unimplemented!(", under: &[""], except: &["tests/tidy/"], in_tests: true, why: "finish it" },
    Ban { text: "dbg!(", under: &[""], except: &["tests/tidy/"], in_tests: true, why: "a leftover of debugging" },
];

const fn ban(text: &'static str, under: &'static [&'static str], why: &'static str) -> Ban {
    Ban { text, under, except: &[], in_tests: false, why }
}

/// Words that say that something is unfinished; split here so that this file does not complain of itself.
const MARKERS: &[&str] = &[concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:"), concat!("HA", "CK:")];

/// A file longer than this holds more than one idea.
pub const LINES_MAX: usize = 700;

/// What is wrong with a crate's manifest.
///
/// # Errors
/// The text of the TOML error if it does not parse.
pub fn manifest_complaints(path: &str, text: &str) -> Result<Vec<String>, String> {
    let manifest: toml::Table = text.parse().map_err(|error| format!("{path}: {error}"))?;
    let name = manifest
        .get("package")
        .and_then(|package| package.get("name"))
        .and_then(toml::Value::as_str)
        .ok_or_else(|| format!("{path}: no package name"))?;
    let arrows = ARROWS.iter().find(|(from, _)| *from == name).map(|(_, to)| *to);
    let banned = BANNED_PACKAGES.iter().find(|(from, _)| *from == name).map_or(&[][..], |(_, packages)| packages);
    let mut complaints = Vec::new();
    if arrows.is_none() && path.starts_with("crates/") {
        complaints.push(format!("{path}: {name} has no row in the table of arrows (tests/tidy and crates/README.md)"));
    }
    if path.starts_with("crates/") && name != "talon-core" && text.contains("planted") {
        complaints.push(format!("{path}: bugs are planted by simulations alone"));
    }
    for dependency in dependencies(&manifest) {
        let inside = ARROWS.iter().any(|(crate_name, _)| *crate_name == dependency);
        if inside && arrows.is_some_and(|arrows| !arrows.contains(&dependency.as_str())) {
            complaints.push(format!("{path}: {name} must not depend on {dependency}"));
        }
        if banned.contains(&dependency.as_str()) {
            complaints.push(format!("{path}: {name} must never know {dependency}"));
        }
    }
    Ok(complaints)
}

/// Everything a manifest depends on outside its tests, for all targets.
fn dependencies(manifest: &toml::Table) -> Vec<String> {
    let targets = manifest.get("target").and_then(toml::Value::as_table);
    let tables = targets.into_iter().flat_map(|targets| targets.values().filter_map(toml::Value::as_table));
    let mut names = Vec::new();
    for table in std::iter::once(manifest).chain(tables) {
        for kind in ["dependencies", "build-dependencies"] {
            for (name, value) in table.get(kind).and_then(toml::Value::as_table).into_iter().flatten() {
                let package = value.get("package").and_then(toml::Value::as_str);
                names.push(package.unwrap_or(name).to_owned());
            }
        }
    }
    names
}

/// What is wrong with one source file.
pub fn source_complaints(path: &str, text: &str) -> Vec<String> {
    let mut complaints = Vec::new();
    let source = Source::new(path, text);
    if path.ends_with("src/lib.rs") && !text.starts_with("//!") {
        complaints.push(format!(
            "{path}: starts with what the crate does (`//!`): what enters, what leaves, what it must never know"
        ));
    }
    if source.lines.len() > LINES_MAX {
        complaints
            .push(format!("{path}: {} lines: look for the second idea (at most {LINES_MAX})", source.lines.len()));
    }
    for (number, line) in source.lines.iter().enumerate() {
        for ban in BANS {
            let covered = ban.under.iter().any(|under| path.starts_with(under))
                && !ban.except.iter().any(|except| path.starts_with(except));
            if covered
                && line.code.contains(ban.text)
                && (ban.in_tests || !line.is_test)
                && !source.allows(number, ban.text)
            {
                complaints.push(format!("{path}:{}: `{}`: {}", number + 1, ban.text, ban.why));
            }
        }
        complaints.extend(marker_complaint(path, number, line.whole));
    }
    complaints
}

/// What was left behind in a file of any kind.
pub fn leftover_complaints(path: &str, text: &str) -> Vec<String> {
    text.lines().enumerate().filter_map(|(number, line)| marker_complaint(path, number, line)).collect()
}

fn marker_complaint(path: &str, number: usize, line: &str) -> Option<String> {
    let marker = MARKERS.iter().find(|marker| line.contains(*marker))?;
    Some(format!("{path}:{}: `{marker}` was left behind", number + 1))
}

/// The table of arrows as a map (`crates/README.md`) states it: rows whose first cell is a crate's name in backticks,
/// and whose last cell names in backticks what it may depend on.
pub fn arrows_of_map(markdown: &str) -> Vec<(String, Vec<String>)> {
    let words = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    markdown
        .lines()
        .filter(|line| line.starts_with("| `talon"))
        .filter_map(|line| {
            let cells: Vec<&str> = line.trim().trim_matches('|').split('|').collect();
            let name = words(cells.first()?).into_iter().next()?;
            let mut to = words(cells.last()?);
            to.sort();
            Some((name, to))
        })
        .collect()
}
