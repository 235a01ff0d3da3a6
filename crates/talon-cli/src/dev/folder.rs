//! The folder of `talon dev`: what it is, what it remembers, and that nothing else is ever deleted.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::DevError;

/// The file that says that a folder is one of ours, and how its cluster was formed.
const REMEMBERED: &str = "talon-dev.toml";

/// How a cluster was formed; its log has these addresses in it, so a resumed one must have them too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// How many nodes.
    pub nodes: u16,
    /// The first RESP port.
    pub port: u16,
}

/// A folder for the nodes.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    /// How its cluster is, or will be, formed.
    pub shape: Shape,
    /// Whether there was no cluster in it.
    pub is_new: bool,
}

impl Folder {
    /// Looks at `path`, or makes it, and changes nothing in it before [`Folder::claim`]. `(nodes, port)` has what was asked for explicitly,
    /// and `default` what it is otherwise.
    ///
    /// # Errors
    /// If the folder holds something else, or a cluster of another shape than asked for, or the disk refuses.
    pub fn open(
        path: &Path,
        fresh: bool,
        (nodes, port): (Option<u16>, Option<u16>),
        default: Shape,
    ) -> Result<Folder, DevError> {
        let failed = |error: io::Error| DevError(format!("{}: {error}", path.display()));
        fs::create_dir_all(path).map_err(failed)?;
        let path = path.canonicalize().map_err(failed)?;
        let file = path.join(REMEMBERED);
        let remembered = match fs::read_to_string(&file) {
            Ok(text) => {
                Some(toml::from_str::<Shape>(&text).map_err(|error| DevError(format!("{}: {error}", file.display())))?)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed(error)),
        };
        if remembered.is_none() && fs::read_dir(&path).map_err(failed)?.next().is_some() {
            return Err(DevError(format!(
                "{} holds other things than the data of `talon dev`; name another folder with --data",
                path.display()
            )));
        }
        if let Some(shape) = remembered.filter(|_| !fresh) {
            let asked = Shape { nodes: nodes.unwrap_or(shape.nodes), port: port.unwrap_or(shape.port) };
            if asked != shape {
                return Err(DevError(format!(
                    "{} holds a cluster of {} nodes from port {} on: start it so (without --nodes and --port), name \
                     another folder with --data, or begin anew with --fresh",
                    path.display(),
                    shape.nodes,
                    shape.port
                )));
            }
            return Ok(Folder { path, shape, is_new: false });
        }
        let shape = Shape { nodes: nodes.unwrap_or(default.nodes), port: port.unwrap_or(default.port) };
        Ok(Folder { path, shape, is_new: true })
    }

    /// Makes it ready for the nodes, and remembers how they are formed.
    ///
    /// # Errors
    /// If the disk refuses.
    pub fn claim(&self) -> Result<(), DevError> {
        if !self.is_new {
            return Ok(());
        }
        let failed = |error: io::Error| DevError(format!("{}: {error}", self.path.display()));
        self.clear().map_err(failed)?;
        let text = toml::to_string(&self.shape).map_err(|error| DevError(format!("{REMEMBERED}: {error}")))?;
        fs::write(self.path.join(REMEMBERED), text).map_err(failed)
    }

    /// Removes the nodes' folders, and only them.
    fn clear(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix("node-"));
            if number.is_some_and(|number| number.parse::<u16>().is_ok()) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        Ok(())
    }

    /// The whole folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where a node keeps its data.
    pub fn of_node(&self, id: u16) -> PathBuf {
        self.path.join(format!("node-{id}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFAULT: Shape = Shape { nodes: 3, port: 6380 };

    #[test]
    fn a_cluster_is_resumed_as_it_was_formed() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("data");
        let first = Folder::open(&path, false, (Some(5), None), DEFAULT).unwrap();
        assert!(first.is_new);
        let other = Folder::open(&path, false, (Some(4), None), DEFAULT).unwrap();
        assert_eq!(other.shape.nodes, 4, "nobody has claimed it");
        first.claim().unwrap();
        fs::create_dir(first.of_node(1)).unwrap();
        let again = Folder::open(&path, false, (None, None), DEFAULT).unwrap();
        assert_eq!((again.shape, again.is_new), (Shape { nodes: 5, port: 6380 }, false));
        again.claim().unwrap();
        assert!(again.of_node(1).exists());
        let other = Folder::open(&path, false, (Some(3), None), DEFAULT).unwrap_err();
        assert!(other.0.contains("5 nodes") && other.0.contains("--fresh"), "{other}");
    }

    #[test]
    fn fresh_removes_the_nodes_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path(), false, (None, None), DEFAULT).unwrap();
        folder.claim().unwrap();
        fs::create_dir(folder.of_node(1)).unwrap();
        fs::write(root.path().join("notes"), "mine").unwrap();
        let fresh = Folder::open(root.path(), true, (None, Some(7000)), DEFAULT).unwrap();
        assert_eq!((fresh.shape, fresh.is_new), (Shape { nodes: 3, port: 7000 }, true));
        assert!(fresh.of_node(1).exists(), "not before it is certain that the nodes can start");
        fresh.claim().unwrap();
        assert!(!fresh.of_node(1).exists() && root.path().join("notes").exists());
    }

    #[test]
    fn a_strange_folder_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("notes"), "mine").unwrap();
        for fresh in [false, true] {
            assert!(Folder::open(root.path(), fresh, (None, None), DEFAULT).is_err());
        }
    }
}
