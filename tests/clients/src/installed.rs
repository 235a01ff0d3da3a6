//! Clients for Python and Node.js, installed once below the target folder with the versions that are pinned in
//! `programs/`, and again when those change.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::program::finish;

/// How long an installation may take.
const INSTALL_TIMEOUT: Duration = Duration::from_secs(600);

/// One installation at a time: tests run beside each other.
static INSTALLING: Mutex<()> = Mutex::new(());

/// A program, and the words it is called with before a test's own.
#[derive(Clone, Debug)]
pub struct Runner {
    program: PathBuf,
    script: Option<PathBuf>,
}

impl Runner {
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        // Nothing is to be written beside the scripts.
        command.args(&self.script).env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }

    /// What it is, for people.
    pub fn name(&self) -> String {
        let file = self.script.as_ref().unwrap_or(&self.program).file_name();
        file.map_or_else(String::new, |name| name.to_string_lossy().into_owned())
    }
}

/// Where the programs are.
fn programs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("programs")
}

/// A folder `name` below the target folder that `install` has filled for these `pins`.
fn installed(name: &str, pins: &str, install: impl FnOnce(&Path)) -> PathBuf {
    let _one = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    // The program is in <target>/<profile>/deps.
    let program = std::env::current_exe().expect("this program's own path");
    let target = program.ancestors().nth(3).expect("a target folder");
    let folder = target.join("tmp/clients").join(name);
    let mark = folder.join("installed");
    if fs::read_to_string(&mark).ok().as_deref() != Some(pins) {
        let begun = Instant::now();
        // It may not be there.
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder for what is installed");
        install(&folder);
        fs::write(&mark, pins).expect("a mark");
        println!("installed {name} in {} ms", begun.elapsed().as_millis());
    }
    folder
}

fn succeed(command: &mut Command, needs: &str) {
    if let Err(error) = finish(command, INSTALL_TIMEOUT) {
        panic!("{error}\nis it installed? apt-get install {needs}");
    }
}

/// A script in `programs/python`, run with the packages of `programs/python/<requirements>.txt`.
///
/// # Panics
/// If they cannot be installed.
pub fn python(requirements: &str, script: &str) -> Runner {
    let file = programs().join("python").join(requirements).with_extension("txt");
    let pins = fs::read_to_string(&file).expect("the pinned versions");
    let folder = installed(requirements, &pins, |folder| {
        succeed(Command::new("python3").args(["-m", "venv"]).arg(folder), "python3-venv");
        let mut pip = Command::new(folder.join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "-r"]).arg(&file);
        succeed(&mut pip, "python3-venv");
    });
    Runner { program: folder.join("bin/python"), script: Some(programs().join("python").join(script)) }
}

/// The oldest Node.js that the pinned clients run on; Debian 12 has an older one.
const NODE_VERSION_MIN: u32 = 20;

fn node_version() -> Option<u32> {
    let text = finish(Command::new("node").arg("--version"), INSTALL_TIMEOUT).ok()?;
    text.trim().strip_prefix('v')?.split('.').next()?.parse().ok()
}

/// A script in `programs/node`, run with the packages of `programs/node/package-lock.json`. None, and a word about it, if
/// there is no Node.js that they run on.
///
/// # Panics
/// If they cannot be installed.
pub fn node(script: &str) -> Option<Runner> {
    if node_version().is_none_or(|version| version < NODE_VERSION_MIN) {
        println!("SKIPPED {script}: it needs Node.js {NODE_VERSION_MIN} or newer");
        return None;
    }
    let from = programs().join("node");
    let pins = fs::read_to_string(from.join("package-lock.json")).expect("the pinned versions");
    let folder = installed("node", &pins, |folder| {
        for name in ["package.json", "package-lock.json"] {
            fs::copy(from.join(name), folder.join(name)).expect("a copy");
        }
        succeed(Command::new("npm").args(["ci", "--silent", "--no-audit", "--no-fund", "--prefix"]).arg(folder), "npm");
    });
    // Node.js looks for packages beside the script.
    let _one = INSTALLING.lock().unwrap_or_else(PoisonError::into_inner);
    for entry in fs::read_dir(&from).expect("the scripts") {
        let path = entry.expect("a readable folder").path();
        if path.extension().is_some_and(|extension| extension == "mjs") {
            fs::copy(&path, folder.join(path.file_name().expect("a name"))).expect("a copy");
        }
    }
    Some(Runner { program: PathBuf::from("node"), script: Some(folder.join(script)) })
}

/// A program of this crate.
pub fn program(program: &str) -> Runner {
    Runner { program: PathBuf::from(program), script: None }
}
