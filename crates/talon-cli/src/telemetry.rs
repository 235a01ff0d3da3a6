//! Log lines: for people on a terminal, as JSON on request; to standard error, so that standard output stays the
//! commands' own.

use std::fmt;
use std::io::{self, IsTerminal};

use tracing::level_filters::LevelFilter;
use tracing_subscriber::{EnvFilter, reload};

use crate::settings::{LogFormat, SettingsError};

/// The log lines of this process, whose level can change while they are written.
pub struct LogLines(Box<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>);

impl fmt::Debug for LogLines {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("LogLines").finish_non_exhaustive()
    }
}

impl LogLines {
    /// Writes lines of another level from now on.
    ///
    /// # Errors
    /// If the filters in `level` do not parse.
    pub fn set_level(&self, level: &str) -> Result<(), SettingsError> {
        (self.0)(filter(level)?).map_err(|error| SettingsError(format!("log_level: {error}")))
    }

    /// Whether [`LogLines::set_level`] would take this.
    ///
    /// # Errors
    /// If the filters in `level` do not parse.
    pub fn check(level: &str) -> Result<(), SettingsError> {
        filter(level).map(|_| ())
    }

    /// Those of a test, which are not written.
    #[cfg(test)]
    pub fn silent() -> LogLines {
        LogLines(Box::new(|_| Ok(())))
    }
}

/// Starts to write log lines. Once a process.
///
/// # Errors
/// If the filters in `level` do not parse.
pub fn start(format: LogFormat, level: &str) -> Result<LogLines, SettingsError> {
    let filter = filter(level)?;
    // A log line that cannot be written (the reader of a pipe is gone) must not end the node: the layer would report it
    // with a macro that panics then.
    let subscriber =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).log_internal_errors(false);
    let (started, lines) = match format {
        LogFormat::Human => {
            let subscriber = subscriber.with_ansi(io::stderr().is_terminal()).with_filter_reloading();
            let handle = subscriber.reload_handle();
            (subscriber.try_init(), LogLines(Box::new(move |filter| handle.reload(filter))))
        }
        LogFormat::Json => {
            let subscriber = subscriber.json().flatten_event(true).with_ansi(false).with_filter_reloading();
            let handle = subscriber.reload_handle();
            (subscriber.try_init(), LogLines(Box::new(move |filter| handle.reload(filter))))
        }
    };
    started.map(|()| lines).map_err(|error| SettingsError(format!("log lines cannot be written: {error}")))
}

fn filter(level: &str) -> Result<EnvFilter, SettingsError> {
    let wrong = |why: &str| SettingsError(format!("log_level: `{level}`: {why}"));
    // A misspelt level would be taken for the name of a module, and nothing else would be shown.
    let mut bare = level.split(',').map(str::trim).filter(|word| !word.contains(['=', '[']));
    if let Some(word) = bare.find(|word| word.is_empty() || word.parse::<LevelFilter>().is_err()) {
        return Err(wrong(&format!("`{word}` is not off, error, warn, info, debug or trace, and no `module=level`")));
    }
    EnvFilter::try_new(quietened(level)).map_err(|error| wrong(&error.to_string()))
}

/// openraft reports each of its steps as `info`, warns at every attempt to reach a node that is away, and its debug lines may show
/// what is in an entry; so only its errors are shown unless it is asked by name.
fn quietened(level: &str) -> String {
    if level.contains("openraft") { level.to_owned() } else { format!("{level},openraft=error") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openraft_speaks_only_when_asked_by_name() {
        for (level, filters) in [("debug", "debug,openraft=error"), ("info,openraft=info", "info,openraft=info")] {
            assert_eq!(quietened(level), filters);
            assert!(filter(level).is_ok());
        }
    }

    #[test]
    fn a_misspelt_level_is_refused() {
        for level in ["inof", "info,talon_raft", "talon_raft=loud", ""] {
            assert!(filter(level).is_err_and(|error| error.to_string().starts_with("log_level")), "{level}");
        }
    }
}
