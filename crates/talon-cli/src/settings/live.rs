//! The settings of a running node, as `CONFIG` shows and changes them.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;

use talon_server::resp::{Changed, Parameters, RewriteError};
use toml::Value;

use super::rewrite::rewrite;
use super::{Settings, SettingsError};
use crate::telemetry::LogLines;

/// What `CONFIG` stands on.
#[derive(Debug)]
pub struct LiveSettings {
    /// As the node was started, secrets masked.
    all: Vec<(String, String)>,
    file: Option<PathBuf>,
    log: LogLines,
    log_level: Mutex<String>,
}

impl LiveSettings {
    /// Of a node that was started with `settings`, and with the file they are from, if there is one.
    ///
    /// # Errors
    /// If a path is no UTF-8.
    pub fn new(settings: &Settings, file: Option<PathBuf>, log: LogLines) -> Result<LiveSettings, SettingsError> {
        let mut all: Vec<(String, String)> =
            settings.to_masked_table()?.into_iter().map(|(name, value)| (name, text(value))).collect();
        for unset in ["requirepass", "requirepass_file", "cluster_secret", "cluster_secret_file", "worker_threads"] {
            if !all.iter().any(|(name, _)| name == unset) {
                all.push((unset.to_owned(), String::new()));
            }
        }
        Ok(LiveSettings { all, file, log, log_level: Mutex::new(settings.log_level.clone()) })
    }
}

fn text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        Value::Array(items) => items.into_iter().map(text).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

impl Parameters for LiveSettings {
    fn all(&self) -> Vec<(String, String)> {
        self.all.clone()
    }

    fn file(&self) -> PathBuf {
        self.file.clone().unwrap_or_default()
    }

    fn log_level(&self) -> String {
        self.log_level.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn check_log_level(&self, level: &str) -> Result<(), String> {
        LogLines::check(level).map_err(|error| error.to_string())
    }

    fn set_log_level(&self, level: &str) -> Result<(), String> {
        self.log.set_level(level).map_err(|error| error.to_string())?;
        *self.log_level.lock().unwrap_or_else(PoisonError::into_inner) = level.to_owned();
        Ok(())
    }

    fn rewrite(&self, changed: &[(&'static str, Changed)]) -> Result<(), RewriteError> {
        let file = self.file.as_ref().ok_or(RewriteError::NoFile)?;
        rewrite(file, changed).map_err(|error| RewriteError::Failed(error.to_string()))?;
        tracing::info!(file = %file.display(), settings = changed.len(), "CONFIG REWRITE has written the file of settings");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_shown_and_no_secret() {
        let words = ["--requirepass", "open sesame", "--cluster-secret", "abracadabra", "--peers", "1=a:6380,2=b:6380"];
        let settings = Settings::of_arguments(&words.map(Into::into)).unwrap();
        let live = LiveSettings::new(&settings, None, LogLines::silent()).unwrap();
        let all = live.all();
        assert!(all.iter().all(|(_, value)| !value.contains("sesame") && !value.contains("abra")), "{all:?}");
        let value = |wanted: &str| all.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
        assert_eq!(value("heartbeat_ms"), Some("100"));
        assert_eq!(value("worker_threads"), Some(""));
        assert!(value("peers").is_some_and(|peers| peers.contains("a:6380")), "{all:?}");
        assert_eq!(live.rewrite(&[]), Err(RewriteError::NoFile));
    }

    #[test]
    fn a_level_is_checked_before_it_is_set() {
        let settings = Settings::of_arguments(&[]).unwrap();
        let live = LiveSettings::new(&settings, None, LogLines::silent()).unwrap();
        assert!(live.check_log_level("loud").is_err() && live.set_log_level("loud").is_err());
        assert_eq!(live.log_level(), "info");
        live.set_log_level("warn,talon_raft=debug").unwrap();
        assert_eq!(live.log_level(), "warn,talon_raft=debug");
    }
}
