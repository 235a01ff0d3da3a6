//! The golden scripts, through the embedded database as a front door would.

use std::path::Path;

use bytes::Bytes;
use talon_core::script::{Script, Target};
use talon_core::{Call, Consistency, Database, Reply, Request};

use crate::support::{World, block_on};

struct Embedded<'a>(&'a World);

impl Target for Embedded<'_> {
    fn execute(&mut self, words: &[Bytes]) -> Result<Reply, String> {
        let (name, args) = words.split_first().ok_or("no command")?;
        let request = match Request::parse(name, args.to_vec()) {
            Ok(request) => request,
            Err(refusal) => return Ok(Reply::Error(refusal)),
        };
        let mut outcomes = block_on(self.0.db().execute(vec![Call::One(request)], Consistency::Default));
        outcomes.pop().ok_or("no outcome")?.map_err(|denied| format!("{denied:?}"))
    }

    fn advance(&mut self, by_ms: u64) -> Result<(), String> {
        self.0.clock.pass(by_ms);
        Ok(())
    }
}

#[test]
fn golden_scripts_run_on_the_embedded_database() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/scripts");
    let mut count = 0;
    for folder in ["redis", "talon"] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            let script = Script::parse(&path.display().to_string(), &text).unwrap();
            let world = World::new();
            if let Err(error) = script.run(&mut Embedded(&world)) {
                panic!("{error}");
            }
            count += 1;
        }
    }
    assert!(count >= 10, "only {count} scripts were found");
}
