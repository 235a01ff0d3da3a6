//! A small disk of its own for a node: a tmpfs.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::fcntl::{FallocateFlags, fallocate};
use nix::sys::statvfs::statvfs;

/// A mounted tmpfs; unmounted when dropped.
#[derive(Debug)]
pub struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// Mounts one of so many bytes on `folder`, which is made.
    ///
    /// # Errors
    /// If this may not be done here (it takes root); the error says what mount said.
    pub fn mount(folder: &Path, size_bytes: u64) -> io::Result<SmallDisk> {
        fs::create_dir_all(folder)?;
        let size = format!("size={size_bytes}");
        let output = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder).output()?;
        if output.status.success() {
            Ok(SmallDisk { folder: folder.to_owned() })
        } else {
            Err(io::Error::other(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
        }
    }

    /// How much is free.
    ///
    /// # Errors
    /// The operating system's.
    pub fn free_bytes(&self) -> io::Result<u64> {
        let room = statvfs(&self.folder)?;
        Ok(room.blocks_available() * room.fragment_size())
    }

    /// Takes room away until so much is left.
    ///
    /// # Errors
    /// The operating system's.
    pub fn fill_up_to(&self, left_bytes: u64) -> io::Result<()> {
        let taken = self.free_bytes()?.saturating_sub(left_bytes);
        if taken == 0 {
            return Ok(());
        }
        let file = File::options().create(true).truncate(false).write(true).open(self.filler())?;
        let offset = file.metadata()?.len();
        let signed = |bytes: u64| i64::try_from(bytes).map_err(io::Error::other);
        fallocate(&file, FallocateFlags::empty(), signed(offset)?, signed(taken)?)?;
        Ok(())
    }

    /// Gives back what was taken.
    ///
    /// # Errors
    /// The operating system's.
    pub fn make_room(&self) -> io::Result<()> {
        match fs::remove_file(self.filler()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn filler(&self) -> PathBuf {
        self.folder.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // At once for the names, for the rest when the node is gone.
        let _ = Command::new("umount").arg("--lazy").arg(&self.folder).status();
    }
}
