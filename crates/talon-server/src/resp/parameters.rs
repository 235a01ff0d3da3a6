//! What `CONFIG` shows and changes of the node behind the front door, which knows nothing of where settings come from.

use std::fmt;
use std::path::PathBuf;

/// The settings of a node, under their own names.
pub trait Parameters: fmt::Debug + Send + Sync {
    /// Every setting with its value as text. Secrets are masked.
    fn all(&self) -> Vec<(String, String)>;

    /// The file the node was started with; empty = none.
    fn file(&self) -> PathBuf;

    /// Which log lines are written.
    fn log_level(&self) -> String;

    /// Whether [`Parameters::set_log_level`] would take this.
    ///
    /// # Errors
    /// Why not.
    fn check_log_level(&self, level: &str) -> Result<(), String>;

    /// Writes other log lines from now on.
    ///
    /// # Errors
    /// Why that cannot be.
    fn set_log_level(&self, level: &str) -> Result<(), String>;

    /// Puts these settings into the file the node was started with. Blocking; nobody else calls it meanwhile.
    ///
    /// # Errors
    /// If there is none, or it cannot be written; it is then as it was.
    fn rewrite(&self, changed: &[(&'static str, Changed)]) -> Result<(), RewriteError>;
}

/// The value of a setting that was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    /// A number.
    Number(i64),
    /// A text.
    Text(String),
}

/// Why the file of settings was not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RewriteError {
    /// The node was started without one.
    NoFile,
    /// What the system or the file's contents say.
    Failed(String),
}

/// For a front door without a node's settings behind it.
#[derive(Debug)]
pub(crate) struct NoParameters;

impl Parameters for NoParameters {
    fn all(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    fn file(&self) -> PathBuf {
        PathBuf::new()
    }

    fn log_level(&self) -> String {
        "info".to_owned()
    }

    fn check_log_level(&self, _: &str) -> Result<(), String> {
        Err("can't set immutable config".to_owned())
    }

    fn set_log_level(&self, level: &str) -> Result<(), String> {
        self.check_log_level(level)
    }

    fn rewrite(&self, _: &[(&'static str, Changed)]) -> Result<(), RewriteError> {
        Err(RewriteError::NoFile)
    }
}
