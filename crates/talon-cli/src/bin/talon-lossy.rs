//! `talon` on a disk that forgets what was not synced when the process is killed, for the tests of power cuts.

use std::process::ExitCode;

fn main() -> ExitCode {
    talon_cli::main()
}
