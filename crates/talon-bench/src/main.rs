//! Measures Talon.
//!
//! - `run` drives a running cluster over RESP or gRPC, or the embedded database: closed loop, or open loop at a fixed rate.
//! - `embedded` compares the embedded database with raw RocksDB calls for the same bytes.
//! - `compare` starts Talon, Redis and etcd in turns and drives them with the same clients.
//! - `scale` looks at a cluster with many keys, large values, and work that concerns many keys at once.
//! - `stages` shows where the processor time of a command goes, from profiles.
//!
//! *Enters*: addresses, or the binary `talon`, already built (`TALON_BIN`, else `release/talon` in the target folder). *Leaves*: tables for a
//! person, JSON for programs, SVG pictures. *Must never know*: how Talon does what it does; it sees what any
//! user sees. `crates/talon-bench/README.md` shows how to run each part.

#![warn(missing_docs)]

mod cluster;
mod compare;
mod embedded;
mod load;
mod machine;
mod picture;
mod report;
mod run;
mod scale;
mod stages;

use std::error::Error;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What can go wrong, in words for people.
pub type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Measures Talon.
#[derive(Debug, Parser)]
#[command(name = "talon-bench", version, about)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Options),
    Embedded(embedded::Options),
    Compare(compare::Options),
    Scale(scale::Options),
    Stages(stages::Options),
}

fn main() -> ExitCode {
    let done = match Options::parse().command {
        Command::Run(options) => run::run(&options),
        Command::Embedded(options) => embedded::run(&options),
        Command::Compare(options) => compare::run(&options),
        Command::Scale(options) => scale::run(&options),
        Command::Stages(options) => stages::run(&options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("talon-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn options_are_well_formed() {
        Options::command().debug_assert();
    }
}
