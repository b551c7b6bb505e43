//! Files in which engines keep what they know about containers: read in bounds, parsed once per state. They are
//! replaced while we look, and some are written by users (rootless engines): a broken one is an error that names
//! it, and stops nothing else.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Context, Error, Result};
use crate::host::roots::Root;
use crate::select::Container;

/// An OCI configuration has 10 to 100 kB, podman's list 500 bytes a container.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// Files that are remembered; a machine has some hundred containers.
const FILES_MAX: usize = 16 << 10;
/// Containers of one file.
const CONTAINERS_MAX: usize = 16 << 10;

/// Containers that a file tells of.
pub(super) type Known = Arc<[Container]>;
/// How one kind of file is read.
pub(super) type Parse = fn(&[u8]) -> Result<Vec<Container>, serde_json::Error>;

/// State files below one root.
pub(super) struct StateFiles {
    pub(super) root: Root,
    kept: Mutex<HashMap<PathBuf, Kept>>,
}

struct Kept {
    stamp: Stamp,
    known: Result<Known, String>,
}

/// What changes when a file does.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    place: (u64, u64),
    size: u64,
    changed: (i64, i64),
}

impl StateFiles {
    pub(super) fn new(root: Root) -> Self {
        Self {
            root,
            kept: Mutex::default(),
        }
    }

    /// What a file tells; `None` if it is not there.
    ///
    /// # Errors
    /// It cannot be read, is too big, or is not what it should be.
    pub(super) fn read(&self, path: &Path, parse: Parse) -> Result<Option<Known>> {
        let name = || self.root.outside(path).display().to_string();
        let file = match self.root.open(path) {
            Ok(file) => file,
            Err(error) if is_absent(&error) => return Ok(None),
            Err(error) => return Err(error).context(|| format!("failed to open {}", name())),
        };
        let metadata = file.metadata();
        let metadata = metadata.context(|| format!("failed to look at {}", name()))?;
        let stamp = Stamp::of(&metadata);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let known = match kept.get(path) {
            Some(kept) if kept.stamp == stamp => kept.known.clone(),
            _ => {
                if kept.len() >= FILES_MAX {
                    kept.clear();
                }
                let known = load(file, &metadata, parse);
                let entry = Kept {
                    stamp,
                    known: known.clone(),
                };
                kept.insert(path.to_owned(), entry);
                known
            }
        };
        match known {
            Ok(known) => Ok(Some(known)),
            Err(why) => Err(Error::invalid(format!("failed to read {}: {why}", name()))),
        }
    }
}

impl Stamp {
    fn of(file: &Metadata) -> Self {
        Self {
            place: (file.dev(), file.ino()),
            size: file.size(),
            changed: (file.ctime(), file.ctime_nsec()),
        }
    }
}

pub(super) fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn load(file: File, metadata: &Metadata, parse: Parse) -> Result<Known, String> {
    if !metadata.is_file() {
        return Err("not a regular file".into());
    }
    let bytes = bounded(file, FILE_BYTES_MAX).map_err(|error| error.to_string())?;
    let mut containers = parse(&bytes).map_err(|error| error.to_string())?;
    containers.truncate(CONTAINERS_MAX);
    Ok(containers.into())
}

/// All of a file, or an error if it has more.
pub(super) fn bounded(file: File, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::other(format!("it has more than {limit} bytes")));
    }
    Ok(bytes)
}
