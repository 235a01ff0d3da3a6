//! The one binary, `talon`.
