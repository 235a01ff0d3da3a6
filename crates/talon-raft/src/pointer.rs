//! The small file that names the live state's folder. A wrong name would let the real folder be taken for a leftover and be
//! removed, so a checksum stands behind the name.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use talon_core::Fault;

use crate::identity::write_durably;

/// The first live folder.
const FIRST: &str = "live-1";

/// Where it is.
pub(crate) fn path(state: &Path) -> PathBuf {
    state.join("CURRENT")
}

/// The name of the live folder in the state's folder; begins with the first one where there is nothing yet.
///
/// # Errors
/// If it cannot be read, is damaged, or does not fit what is there.
pub(crate) fn read_or_begin(state: &Path) -> Result<String, Fault> {
    let path = path(state);
    let io = |error: io::Error| Fault(format!("{}: {error}", path.display()));
    let damaged = |what: &str| Fault(format!("the file {} is damaged: {what}", path.display()));
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if has_state(state).map_err(io)? {
                return Err(damaged("it is not there, and the state that it named is"));
            }
            write(state, FIRST).map_err(io)?;
            return Ok(FIRST.to_owned());
        }
        Err(error) => return Err(io(error)),
    };
    let name = decode(&bytes).ok_or_else(|| damaged("its checksum does not match"))?;
    // The first folder comes after the file that names it.
    if !state.join(&name).is_dir() && (name != FIRST || has_state(state).map_err(io)?) {
        return Err(damaged(&format!("it names the folder {name}, which is not there")));
    }
    Ok(name)
}

/// Names another live folder, durably.
///
/// # Errors
/// The operating system's.
pub(crate) fn write(state: &Path, name: &str) -> io::Result<()> {
    write_durably(&path(state), encode(name).as_bytes())
}

fn encode(name: &str) -> String {
    format!("{name} {:08x}\n", crc32c::crc32c(name.as_bytes()))
}

fn decode(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (name, _) = text.split_once(' ')?;
    (encode(name) == text).then(|| name.to_owned())
}

fn has_state(state: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(state)? {
        if entry?.file_name().to_string_lossy().starts_with("live-") {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_back_and_any_damage_to_it_is_seen() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let state = folder.path();
        assert_eq!(read_or_begin(state)?, FIRST);
        assert_eq!(read_or_begin(state)?, FIRST, "killed before the folder was made");
        fs::create_dir(state.join("live-1"))?;
        fs::create_dir(state.join("live-2"))?;
        write(state, "live-2")?;
        assert_eq!(read_or_begin(state)?, "live-2");
        let whole = fs::read(path(state))?;
        let harmed = (0..whole.len() * 8).map(|bit| {
            let mut flipped = whole.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            flipped
        });
        for bytes in harmed.chain((0..whole.len()).map(|length| whole[..length].to_vec())) {
            fs::write(path(state), &bytes)?;
            let fault = read_or_begin(state).err().ok_or("damage was not seen")?;
            assert!(fault.0.contains("CURRENT"), "{}", fault.0);
        }
        write(state, "live-3")?;
        assert!(read_or_begin(state).is_err_and(|fault| fault.0.contains("live-3")), "a folder that is not there");
        fs::remove_file(path(state))?;
        assert!(read_or_begin(state).is_err_and(|fault| fault.0.contains("CURRENT")));
        Ok(())
    }
}
