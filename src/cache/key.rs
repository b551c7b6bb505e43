//! What an answer depends on: who gives it, about which file, with which debug files.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::image::debug_file::{self, DebugDirs};
use crate::image::{Image, ImageFile};

/// File systems keep times in steps of up to this long (FAT: two seconds): a file that changed since
/// may change once more and look the same.
const SETTLED_AFTER_S: u64 = 2;

/// One state of one file, as the kernel tells it. Owners can set the time of the last write, but not
/// that of the last change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileState {
    dev: u64,
    ino: u64,
    size: u64,
    /// Seconds since 1970, and nanoseconds.
    written: (i64, i64),
    /// As above, of the inode.
    changed: (i64, i64),
}

impl FileState {
    /// Of an open file, now.
    pub(super) fn of(file: &ImageFile) -> Option<Self> {
        file.file()
            .metadata()
            .ok()
            .map(|metadata| Self::from(&metadata))
    }

    /// Any later change will show.
    pub(super) fn is_settled(&self) -> bool {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let last = self.written.0.max(self.changed.0);
        match (now, u64::try_from(last)) {
            (Ok(now), Ok(last)) => now.as_secs() > last.saturating_add(SETTLED_AFTER_S),
            _ => false,
        }
    }
}

impl From<&Metadata> for FileState {
    fn from(metadata: &Metadata) -> Self {
        Self {
            dev: metadata.dev(),
            ino: metadata.ino(),
            size: metadata.size(),
            written: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// What an entry is found by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Key {
    analyzer: String,
    /// Hexadecimal.
    build_id: Option<String>,
    /// Only of files without a build ID: copies of them are not recognised.
    state: Option<FileState>,
    /// Bytes.
    size: u64,
    /// Debug files that belong to it, by path.
    debug_files: Vec<(String, FileState)>,
}

impl Key {
    pub(super) fn new(
        analyzer: &str,
        file: &ImageFile,
        image: &Image<'_>,
        state: FileState,
        dirs: &DebugDirs,
    ) -> Self {
        let build_id = image.build_id.as_ref().map(ToString::to_string);
        Self {
            analyzer: analyzer.to_owned(),
            state: build_id.is_none().then_some(state),
            build_id,
            size: file.bytes().len() as u64,
            debug_files: debug_file::candidates(file.path(), image, dirs)
                .into_iter()
                .filter_map(|(path, _)| {
                    let metadata = fs::metadata(&path).ok()?;
                    let path = path.to_string_lossy().into_owned();
                    Some((path, FileState::from(&metadata)))
                })
                .collect(),
        }
    }
}

/// This program, so exactly that no change of a finder or of the symbol database goes unnoticed: its
/// version and its own build ID, or the state of its file. `None`: it cannot be told.
pub fn analyzer() -> Option<String> {
    let own = ImageFile::open(Path::new("/proc/self/exe")).ok()?;
    let build = match own.image().ok()?.build_id {
        Some(id) => id.to_string(),
        None => serde_json::to_string(&FileState::of(&own)?).ok()?,
    };
    Some(format!("{} {build}", env!("CARGO_PKG_VERSION")))
}
