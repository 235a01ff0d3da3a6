//! Writes settings that were changed while the node ran back into its file: the rest of the file, comments included, stays as it
//! is, and there is never half a file.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

use talon_server::resp::Changed;
use toml_edit::{DocumentMut, Item, Value};

use super::SettingsError;

/// Ends the name of the file that is written before it takes the place of the old one.
const TEMPORARY: &str = "rewrite";

/// Puts `changed` into the file at `path`.
///
/// # Errors
/// If it cannot be read or written, or is no TOML any more; it is as it was then.
pub fn rewrite(path: &Path, changed: &[(&'static str, Changed)]) -> Result<(), SettingsError> {
    let failed =
        |what: &str, error: &dyn std::fmt::Display| SettingsError(format!("{}: {what}: {error}", path.display()));
    // A link stays one.
    let path = &fs::canonicalize(path).map_err(|error| failed("cannot be found", &error))?;
    let text = fs::read_to_string(path).map_err(|error| failed("cannot be read", &error))?;
    let mut document: DocumentMut = text.parse().map_err(|error: toml_edit::TomlError| {
        // Not the line itself: a password may stand in it.
        failed("is no TOML", &error.message())
    })?;
    for (name, value) in changed {
        let new = match value {
            Changed::Number(number) => Value::from(*number),
            Changed::Text(text) => Value::from(text.as_str()),
        };
        put(&mut document, name, new);
    }
    replace(path, document.to_string().as_bytes()).map_err(|error| failed("cannot be written", &error))
}

/// In the place of the old value, with the comment behind it; else at the end.
fn put(document: &mut DocumentMut, name: &str, mut new: Value) {
    match document.get_mut(name) {
        Some(Item::Value(old)) => {
            *new.decor_mut() = old.decor().clone();
            *old = new;
        }
        _ => {
            document.insert(name, Item::Value(new));
        }
    }
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = path.parent().ok_or_else(|| io::Error::other("it is in no folder"))?;
    let mut name = path.file_name().ok_or_else(|| io::Error::other("it has no name"))?.to_owned();
    name.push(format!(".{}.{TEMPORARY}", std::process::id()));
    let temporary = folder.join(name);
    let written = write_synced(&temporary, bytes, path).and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        // It may not even be there.
        let _ = fs::remove_file(&temporary);
    }
    written?;
    File::open(folder)?.sync_all()
}

/// With the rights of the old file from the beginning: there may be a password in it.
fn write_synced(temporary: &Path, bytes: &[u8], old: &Path) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let permissions = fs::metadata(old)?.permissions();
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(temporary)?;
    file.set_permissions(permissions)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_the_changed_values_change() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("talon.toml");
        let before = "# A node.\nnode_id = 3\nmaxclients = 50 # enough\nrequirepass = \"sesame\"\n\n[[peers]]\nid = 3\nhost = \"a\"\nresp_port = 6380\n";
        fs::write(&path, before).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let changes = [
            ("maxclients", Changed::Number(60)),
            ("timeout_s", Changed::Number(9)),
            ("log_level", Changed::Text("warn".into())),
        ];
        rewrite(&path, &changes).unwrap();
        let after = fs::read_to_string(&path).unwrap();
        let expected = before
            .replace("50 # enough", "60 # enough")
            .replace("\"sesame\"\n", "\"sesame\"\ntimeout_s = 9\nlog_level = \"warn\"\n");
        assert_eq!(after, expected);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_file_that_cannot_be_understood_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("talon.toml");
        fs::write(&path, "node_id = \n").unwrap();
        let complaint = rewrite(&path, &[("maxclients", Changed::Number(60))]).unwrap_err().to_string();
        assert!(complaint.contains("is no TOML"), "{complaint}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "node_id = \n");
        assert!(rewrite(&folder.path().join("none"), &[]).is_err());
    }

    #[test]
    fn a_link_stays_one() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real.toml"), folder.path().join("link.toml"));
        fs::write(&real, "").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        rewrite(&link, &[("timeout_s", Changed::Number(1))]).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&real).unwrap(), "timeout_s = 1\n");
    }
}
