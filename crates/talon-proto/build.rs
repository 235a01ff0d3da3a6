//! Compiles every `*.proto` in `proto/talon/v1`, without a system `protoc`.

use std::error::Error;
use std::path::{Path, PathBuf};

use prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    let folder = root.join("talon/v1");
    println!("cargo:rerun-if-changed={}", folder.display());

    let mut files = Vec::new();
    for entry in std::fs::read_dir(&folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "proto") {
            println!("cargo:rerun-if-changed={}", path.display());
            files.push(path);
        }
    }
    // The order of a directory differs between machines; what is generated must not.
    files.sort();

    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    // Clients may ask the reflection service about the front door; what nodes say to each other is not their business.
    let public: Vec<&PathBuf> = files.iter().filter(|file| !file.ends_with("raft.proto")).collect();
    std::fs::write(out.join("public.fds"), protox::compile(public, [&root])?.encode_to_vec())?;

    tonic_prost_build::configure()
        .bytes(".")
        .emit_rerun_if_changed(false)
        .include_file("packages.rs")
        .compile_fds(protox::compile(&files, [&root])?)?;
    Ok(())
}
