//! `talon server`: one node.

pub mod http;
pub mod metrics;
mod parent;

use std::process::ExitCode;

use clap::ArgMatches;

use crate::settings::{ServerCommand, SettingsError, load, unknown_variables};
use crate::telemetry;

/// Why a node could not start, or ended by itself.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The settings are wrong.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The operating system refused something.
    #[error("{0}: {1}")]
    System(String, #[source] std::io::Error),
}

/// Runs a node until a signal comes or it fails.
///
/// # Errors
/// If it cannot start, or met a fault.
pub fn run(command: &ServerCommand, matches: &ArgMatches) -> Result<ExitCode, ServerError> {
    if let Some(parent) = command.parent_pid {
        parent::end_with(parent).map_err(|error| ServerError::System("parent-pid".into(), error))?;
    }
    let resolved = load(command, matches)?.resolve()?;
    if command.print_config {
        print!("{}", resolved.settings.to_toml()?);
        return Ok(ExitCode::SUCCESS);
    }
    telemetry::start(resolved.settings.log_format, &resolved.settings.log_level)?;
    for name in unknown_variables(std::env::vars_os().filter_map(|(name, _)| name.into_string().ok())) {
        tracing::warn!(name, "an environment variable begins with TALON_ and is no setting");
    }
    Ok(ExitCode::SUCCESS)
}
