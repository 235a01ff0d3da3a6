//! A server that `talon dev` started must not outlive it, however that ends.

use std::io;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::unistd::getppid;

/// Lets the kernel send this process SIGTERM when its parent dies.
///
/// # Errors
/// If the parent is not `parent` (it is dead already), or the kernel refuses.
pub fn end_with(parent: i32) -> io::Result<()> {
    set_pdeathsig(Signal::SIGTERM)?;
    // The parent may have died before the line above, and then no signal comes.
    let now = getppid().as_raw();
    if now != parent {
        return Err(io::Error::other(format!("the parent process {parent} is gone")));
    }
    Ok(())
}
