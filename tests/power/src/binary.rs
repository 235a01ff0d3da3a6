//! The binary that forgets.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// `TALON_LOSSY_BIN`; else `release/talon-lossy` in the target folder of the running program, which is brought up to date first.
///
/// # Panics
/// If it cannot be built.
pub fn talon_lossy() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    BINARY.get_or_init(|| std::env::var_os("TALON_LOSSY_BIN").map_or_else(build, PathBuf::from))
}

fn build() -> PathBuf {
    let program = std::env::current_exe().expect("this program's own path");
    // A test is <target>/<profile>/deps/<test>.
    let target = program.ancestors().nth(3).expect("a target folder");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    // By itself, as the product is: so no feature of other tests is in it.
    let built = Command::new(cargo)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .args(["build", "--release", "-p", "talon-cli", "--bin", "talon-lossy", "--features", "lossy-disk"])
        .arg("--target-dir")
        .arg(target)
        .status();
    assert!(built.is_ok_and(|status| status.success()), "talon-lossy cannot be built");
    target.join("release/talon-lossy")
}
