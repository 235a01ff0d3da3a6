//! What the kernel says about a process's memory.

use std::{fs, io};

/// Resident memory of a process, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Now.
    pub resident_bytes: u64,
    /// The most since its start, or since [`forget_peak`].
    pub peak_bytes: u64,
}

/// A process's memory.
///
/// # Errors
/// If the process is gone.
pub fn memory(pid: u32) -> io::Result<Memory> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let bytes = |name: &str| -> io::Result<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        let kilobytes = line.split_whitespace().next().and_then(|word| word.parse::<u64>().ok());
        kilobytes.map(|kilobytes| kilobytes * 1024).ok_or_else(|| io::Error::other(format!("no {name} of {pid}")))
    };
    Ok(Memory { resident_bytes: bytes("VmRSS:")?, peak_bytes: bytes("VmHWM:")? })
}

/// Lets the peak begin anew at what is resident now.
///
/// # Errors
/// If the process is gone, or belongs to somebody else.
pub fn forget_peak(pid: u32) -> io::Result<()> {
    fs::write(format!("/proc/{pid}/clear_refs"), "5")
}
