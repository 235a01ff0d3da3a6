//! How the sources are merged.
//!
//! clap reads flags, environment and defaults, and knows of each value where it came from; a value from the file
//! counts where clap only had the default.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches};
use toml::Table;

use super::{Secret, Settings, SettingsError};

/// `talon server`: run one node.
#[derive(Clone, Debug, Args)]
#[command(args_override_self = true)]
pub struct ServerCommand {
    /// A TOML file with settings.
    #[arg(long, env = "TALON_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Print the settings in force as TOML, secrets masked, and end.
    #[arg(long)]
    pub print_config: bool,

    /// Accept this time that the wall clock is further than `clock_jump_ms_max` past the stored clock.
    #[arg(long)]
    pub accept_clock_jump: bool,

    /// End when the process with this number, the parent, does (`talon dev` gives it).
    #[arg(long, hide = true)]
    pub parent_pid: Option<i32>,

    /// The node's settings, without those of the file.
    #[command(flatten)]
    pub settings: Settings,
}

/// The settings in force, from what clap found and the file it names.
///
/// # Errors
/// If the file cannot be read, is no TOML, or has an unknown setting or a value of the wrong type.
pub fn load(command: &ServerCommand, matches: &ArgMatches) -> Result<Settings, SettingsError> {
    let Some(path) = &command.config else { return Ok(command.settings.clone()) };
    let text = std::fs::read_to_string(path)
        .map_err(|error| SettingsError(format!("config: {} cannot be read: {error}", path.display())))?;
    let file: Table = text.parse().map_err(|error| SettingsError(format!("config: {}: {error}", path.display())))?;
    let table = to_table(&command.settings)?;
    // Every value of the file is checked, also those that a flag or a variable replaces.
    let mut all = table.clone();
    all.extend(file.clone());
    from_table(all, path)?;
    let mut merged = table;
    merged.extend(file.into_iter().filter(|(name, _)| !given(matches, name)));
    from_table(merged, path)
}

/// Whether a flag or a variable gave this value.
fn given(matches: &ArgMatches, name: &str) -> bool {
    matches!(matches.value_source(name), Some(ValueSource::CommandLine | ValueSource::EnvVariable))
}

fn to_table(settings: &Settings) -> Result<Table, SettingsError> {
    Table::try_from(settings).map_err(|error| SettingsError(format!("settings: {error}")))
}

fn from_table(table: Table, path: &Path) -> Result<Settings, SettingsError> {
    table.try_into().map_err(|error| SettingsError(format!("config: {}: {error}", path.display())))
}

impl Settings {
    /// What `talon server ARGS…` would run with.
    ///
    /// # Errors
    /// As clap and [`load`] report them.
    pub fn of_arguments(arguments: &[OsString]) -> Result<Settings, SettingsError> {
        #[derive(clap::Parser)]
        struct Server {
            #[command(flatten)]
            command: ServerCommand,
        }
        let words = std::iter::once(OsString::from("talon server")).chain(arguments.iter().cloned());
        let matches =
            Server::command().try_get_matches_from(words).map_err(|error| SettingsError(error.to_string()))?;
        let server = Server::from_arg_matches(&matches).map_err(|error| SettingsError(error.to_string()))?;
        load(&server.command, &matches)
    }

    /// The settings as a TOML file, secrets masked.
    ///
    /// # Errors
    /// If a path is no UTF-8 and so cannot stand in TOML.
    pub fn to_toml(&self) -> Result<String, SettingsError> {
        toml::to_string_pretty(&self.to_masked_table()?).map_err(|error| SettingsError(format!("settings: {error}")))
    }

    /// The settings by name, secrets masked.
    ///
    /// # Errors
    /// If a path is no UTF-8 and so cannot stand in TOML.
    pub fn to_masked_table(&self) -> Result<Table, SettingsError> {
        let mut masked = self.clone();
        for secret in [&mut masked.requirepass, &mut masked.cluster_secret] {
            *secret = secret.is_some().then(|| Secret::new(Secret::MASK));
        }
        to_table(&masked)
    }
}

/// The environment variables that look as if they were meant for Talon and are not: likely misspelt.
pub fn unknown_variables(names: impl Iterator<Item = String>) -> Vec<String> {
    let command = ServerCommand::augment_args(clap::Command::new("server"));
    let known: Vec<String> = command
        .get_arguments()
        .filter_map(|arg| arg.get_env())
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    let mut unknown: Vec<String> = names.filter(|name| name.starts_with("TALON_") && !known.contains(name)).collect();
    unknown.sort();
    unknown
}

#[cfg(test)]
mod tests {
    use super::*;
    use talon_core::Consistency;

    use crate::settings::{LogFormat, WritesOnFollower};

    fn of(arguments: &[&str]) -> Result<Settings, SettingsError> {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        Settings::of_arguments(&arguments)
    }

    fn with_file(text: &str, arguments: &[&str]) -> Result<Settings, SettingsError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("talon.toml");
        std::fs::write(&path, text).unwrap();
        let mut all = vec!["--config", path.to_str().unwrap()];
        all.extend(arguments);
        of(&all)
    }

    #[test]
    fn flags_are_stronger_than_the_file_and_that_than_defaults() {
        let file = "resp_port = 7000\nnode_id = 4\nlog_format = \"json\"\npeers = [\"4=a:7000\", { id = 5, host = \"b\", resp_port = 7001 }]";
        let settings = with_file(file, &["--node-id", "9"]).unwrap();
        assert_eq!((settings.node_id, settings.resp_port, settings.heartbeat_ms), (9, 7000, 100));
        assert_eq!(settings.log_format, LogFormat::Json);
        assert_eq!(settings.peers.iter().map(|peer| peer.raft_port).collect::<Vec<_>>(), [9000, 9001]);
        assert_eq!(of(&["--resp-port", "1", "--resp-port", "2"]).unwrap().resp_port, 2, "the last one counts");
    }

    #[test]
    fn how_reads_are_answered_is_one_text() {
        assert_eq!(of(&[]).unwrap().consistency, Consistency::Default);
        let file = "consistency = \"bounded 500\"\nwrites_on_follower = \"forward\"";
        let settings = with_file(file, &[]).unwrap();
        assert_eq!(settings.consistency, Consistency::Bounded { ms: 500 });
        assert_eq!(settings.writes_on_follower, WritesOnFollower::Forward);
        let printed = settings.to_toml().unwrap();
        assert!(printed.contains(file.lines().next().unwrap()), "{printed}");
        let flag = with_file(file, &["--consistency", "LINEARIZABLE"]).unwrap();
        assert_eq!(flag.consistency, Consistency::Linearizable);
        for wrong in ["strong", "bounded", "bounded 86400001"] {
            let error = with_file(&format!("consistency = \"{wrong}\""), &[]).unwrap_err().to_string();
            assert!(error.contains("none of default, linearizable"), "{error}");
            assert!(of(&["--consistency", wrong]).is_err());
        }
    }

    #[test]
    fn errors_name_the_setting() {
        let complaint = |file, arguments: &[&str]| with_file(file, arguments).unwrap_err().to_string();
        assert!(complaint("rsep_port = 1", &[]).contains("rsep_port"));
        assert!(complaint("resp_port = \"many\"", &[]).contains("resp_port"));
        assert!(complaint("resp_port = \"many\"", &["--resp-port", "1"]).contains("resp_port"));
        assert!(complaint("resp_port = 70000", &[]).contains("resp_port"));
        assert!(complaint("peers = [\"nonsense\"]", &[]).contains("peers"));
        assert!(complaint("", &["--heartbeat-ms", "soon"]).contains("heartbeat-ms"));
        assert!(of(&["--config", "/nowhere/talon.toml"]).unwrap_err().to_string().contains("/nowhere/talon.toml"));
    }

    #[test]
    fn printed_settings_read_back_and_hide_secrets() {
        let settings = of(&["--requirepass", "open sesame", "--peers", "1=a:6380,2=b:6380"]).unwrap();
        let printed = settings.to_toml().unwrap();
        assert!(!printed.contains("sesame") && printed.contains(Secret::MASK), "{printed}");
        assert!(!format!("{settings:?}").contains("sesame"));
        let again = with_file(&printed, &[]).unwrap();
        assert_eq!(again.peers, settings.peers);
        assert_eq!(again.to_toml().unwrap(), printed);
    }

    #[test]
    fn misspelt_variables_are_found() {
        let names = ["TALON_RESP_PORT", "TALON_RSEP_PORT", "PATH", "TALON_CONFIG"].map(String::from);
        assert_eq!(unknown_variables(names.into_iter()), ["TALON_RSEP_PORT"]);
    }
}
