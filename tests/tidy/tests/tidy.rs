//! The rules on the real tree; and each rule on a small text that breaks it, to see that it bites.

use std::fs;
use std::path::{Path, PathBuf};

use talon_tidy::{ARROWS, arrows_of_map, leftover_complaints, manifest_complaints, source_complaints};

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("tests/tidy lies two folders below the root").to_owned()
}

/// Every file of the project with this ending, as (path from the root, contents).
fn files(ending: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut folders: Vec<PathBuf> =
        ["crates", "tests", "simulations", "proto", "deploy", ".ci"].iter().map(|name| root().join(name)).collect();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.map(|entry| entry.expect("a readable folder")) {
            let path = entry.path();
            let name = entry.file_name().to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "target" && name != "node_modules" {
                    folders.push(path);
                }
            } else if name.ends_with(ending)
                && let Ok(text) = fs::read_to_string(&path)
            {
                let relative = path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
                found.push((relative, text));
            }
        }
    }
    found.sort();
    found
}

fn assert_none(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn arrows_between_crates_point_the_right_way() {
    let manifests = files("Cargo.toml");
    assert!(manifests.len() >= ARROWS.len(), "only {} manifests were found", manifests.len());
    let complaints =
        manifests.iter().flat_map(|(path, text)| manifest_complaints(path, text).unwrap_or_else(|error| vec![error]));
    assert_none(complaints.collect());
}

#[test]
fn map_shows_the_same_arrows() {
    let map = fs::read_to_string(root().join("crates/README.md")).expect("crates/README.md is the map of the house");
    let shown = arrows_of_map(&map);
    let meant: Vec<(String, Vec<String>)> = ARROWS
        .iter()
        .map(|(from, to)| {
            let mut to: Vec<String> = to.iter().map(|name| (*name).to_owned()).collect();
            to.sort();
            ((*from).to_owned(), to)
        })
        .collect();
    assert_eq!(shown, meant, "the table of crates/README.md (left) and of tests/tidy (right)");
}

#[test]
fn sources_keep_the_rules() {
    let sources = files(".rs");
    assert!(sources.len() > 20, "only {} sources were found", sources.len());
    assert_none(sources.iter().flat_map(|(path, text)| source_complaints(path, text)).collect());
}

#[test]
fn nothing_is_left_behind_elsewhere() {
    let mut complaints = Vec::new();
    for ending in [".toml", ".md", ".proto", ".sh", ".py", ".js", ".yaml", ".service", "Dockerfile", "run"] {
        complaints.extend(files(ending).iter().flat_map(|(path, text)| leftover_complaints(path, text)));
    }
    assert_none(complaints);
}

#[test]
fn wrong_arrows_are_seen() {
    let up = "[package]\nname = \"talon-core\"\n[dependencies]\ntalon-raft.workspace = true\n";
    assert_eq!(manifest_complaints("crates/talon-core/Cargo.toml", up).unwrap().len(), 1);
    let renamed = "[package]\nname = \"talon-server\"\n[dependencies]\nengine = { package = \"talon-raft\" }\n";
    assert_eq!(manifest_complaints("crates/talon-server/Cargo.toml", renamed).unwrap().len(), 1);
    let outside = "[package]\nname = \"talon-resp\"\n[target.'cfg(unix)'.dependencies]\ntokio = \"1\"\n";
    assert_eq!(manifest_complaints("crates/talon-resp/Cargo.toml", outside).unwrap().len(), 1);
    let stranger = "[package]\nname = \"talon-attic\"\n";
    assert_eq!(manifest_complaints("crates/talon-attic/Cargo.toml", stranger).unwrap().len(), 1);
    let planted = "[package]\nname = \"talon-raft\"\n[dependencies]\ntalon-core = { workspace = true, features = [\"planted\"] }\n";
    assert_eq!(manifest_complaints("crates/talon-raft/Cargo.toml", planted).unwrap().len(), 1);
    let for_tests = "[package]\nname = \"talon-resp\"\n[dev-dependencies]\ntokio = \"1\"\n";
    assert_eq!(manifest_complaints("crates/talon-resp/Cargo.toml", for_tests).unwrap().len(), 0);
}

#[test]
fn banned_calls_are_seen() {
    let core = "crates/talon-core/src/commands/set.rs";
    let seen = |path: &str, text: &str| source_complaints(path, text).len();
    assert_eq!(seen(core, "let now = Instant::now();"), 1);
    assert_eq!(seen(core, "// an Instant would be wrong here"), 0, "a comment is no call");
    assert_eq!(seen(core, "use std::collections::HashMap;"), 1);
    assert_eq!(seen(core, "// tidy: allow HashMap: looked up, never walked\nuse std::collections::HashMap;"), 0);
    assert_eq!(seen(core, "// tidy: allow HashMap\nuse std::collections::HashMap;"), 1, "an exception needs a reason");
    assert_eq!(seen("crates/talon-raft/src/log.rs", "SystemTime::now()"), 1);
    assert_eq!(seen("crates/talon-raft/src/clock.rs", "SystemTime::now()"), 0);
    assert_eq!(seen("crates/talon-server/src/resp.rs", "text.parse().unwrap()"), 1);
    assert_eq!(seen("crates/talon-server/tests/resp.rs", "text.parse().unwrap()"), 0);
    let module = "#[cfg(test)]\nmod tests {\n    x.unwrap();\n}\nfn after() { x.unwrap() }";
    assert_eq!(seen("crates/talon-resp/src/parse.rs", module), 1, "only the line behind the test module");
    assert_eq!(seen("crates/talon/src/lib.rs", "pub mod kv;"), 1, "a crate starts with what it does");
    assert_eq!(seen(core, &"\n".repeat(701)), 1);
    assert_eq!(seen("simulations/src/world.rs", "dbg!(state)"), 1);
}

#[test]
fn leftovers_are_seen() {
    let marker = ["FIX", "ME"].concat();
    assert_eq!(leftover_complaints("deploy/dev.sh", &format!("fine\n# {marker} later\n")).len(), 1);
    assert_eq!(source_complaints("crates/talon/src/kv.rs", &format!("// {marker} later\n")).len(), 1);
    assert_eq!(leftover_complaints("deploy/README.md", "nothing of the kind\n"), Vec::<String>::new());
}
