//! The binary `talon`; everything it does is in the library beside it.

use std::process::ExitCode;

fn main() -> ExitCode {
    talon_cli::main()
}
