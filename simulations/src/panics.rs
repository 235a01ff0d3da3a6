//! Panics of any task: the runtime catches them, so without this nobody would know.

use std::panic;
use std::sync::{Mutex, PoisonError};

static SEEN: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// From now on panics are taken down, and said through `tracing`.
pub fn watch() {
    panic::set_hook(Box::new(|info| {
        let text = info.to_string();
        tracing::error!(text, "a panic");
        SEEN.lock().unwrap_or_else(PoisonError::into_inner).push(text);
    }));
}

/// What was taken down so far.
pub fn seen() -> Vec<String> {
    SEEN.lock().unwrap_or_else(PoisonError::into_inner).clone()
}
