//! The binary `talon`; everything it does is in the library beside it.

use std::process::ExitCode;

/// Values of megabytes come and go. glibc gives their memory back to the system each time, and the system clears it page by page for the
/// next one: half of the time of a SET of 16 MB. It also kept a third more memory than this one.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// jemalloc's own settings, found by this name where it stands in for the system's `malloc` (as on Linux with glibc). By default it, too, gives
/// everything from 8 MB on back at once.
#[unsafe(export_name = "malloc_conf")]
pub static ALLOCATOR_SETTINGS: &[u8] = b"oversize_threshold:0\0";

fn main() -> ExitCode {
    talon_cli::main()
}
