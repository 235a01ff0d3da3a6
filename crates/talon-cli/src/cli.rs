//! The words on the command line.

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::cluster::ClusterCommand;
use crate::dev::DevCommand;
use crate::server;
use crate::settings::ServerCommand;

/// A key-value store for Redis clients, replicated with Raft: an acknowledged write is never lost, and expiry is the
/// same on every node.
#[derive(Debug, Parser)]
#[command(name = "talon", version, subcommand_required = true, arg_required_else_help = true)]
struct Talon {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one node.
    Server(Box<ServerCommand>),
    /// Try it out: a cluster of several nodes on this machine.
    Dev(DevCommand),
    /// See and change a running cluster.
    Cluster(ClusterCommand),
}

/// Does what the command line says.
pub fn main() -> ExitCode {
    #[cfg(feature = "lossy-disk")]
    eprintln!(
        "talon: BUILT FOR TESTS OF POWER CUTS: what is not synced is lost when this process is killed. Not for real data!"
    );
    let matches = Talon::command().get_matches();
    let talon = Talon::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let outcome = match talon.command {
        Command::Server(command) => {
            let own = matches.subcommand_matches("server").unwrap_or(&matches);
            server::run(&command, own).map_err(|error| error.to_string())
        }
        Command::Dev(command) => on_one_thread(async { command.run().await.map_err(|error| error.to_string()) }),
        Command::Cluster(command) => on_one_thread(async { command.run().await.map_err(|error| error.to_string()) }),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("talon: {}", error.trim_end());
        ExitCode::FAILURE
    })
}

/// Runs a command that mostly waits; on the main thread, for the children of `talon dev` are told to end when the thread
/// that started them does.
fn on_one_thread(work: impl Future<Output = Result<ExitCode, String>>) -> Result<ExitCode, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| format!("no runtime: {error}"))?.block_on(work)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_consistent() {
        Talon::command().debug_assert();
    }

    #[test]
    fn flags_of_all_commands_are_read() {
        for words in [
            "talon server --print-config --peers 1=a:6380,2=b:6380",
            "talon dev --nodes 5 --data /tmp/x --port 7000 --fresh --restart -- --log-level debug",
            "talon cluster status --json --at a:7380,b:7380",
            "talon cluster add 4=127.0.0.1:6383 --requirepass secret",
            "talon cluster promote 4",
            "talon cluster remove 4",
            "talon cluster transfer",
            "talon cluster transfer 2",
            "talon cluster verify",
        ] {
            Talon::try_parse_from(words.split(' ')).unwrap_or_else(|error| panic!("{words}: {error}"));
        }
        for words in ["talon", "talon dev --nodes 0", "talon dev --nodes 10", "talon cluster add nonsense"] {
            assert!(Talon::try_parse_from(words.split(' ')).is_err(), "{words}");
        }
    }
}
