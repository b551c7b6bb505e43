//! Through which files the processes of a command spoke TLS when it last ran: with probes in these before it begins, its
//! next run is seen from the first byte. A hint and no more: whatever stands there is examined as any other file.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::store::{self, default_dir};

const FORMAT: &str = "agentsight-companions-1";
/// Paths of some hundred bytes.
const BYTES_MAX: u64 = 64 << 10;
/// The latest ones. Shells run many programs, and each probed file takes time before the start.
const FILES_MAX: usize = 32;

/// The files of one command.
#[derive(Debug)]
pub struct Companions {
    /// `None`: there can be no cache.
    path: Option<PathBuf>,
    files: Vec<String>,
}

impl Companions {
    /// Of the command of this name, whatever its arguments.
    pub fn of(command: &OsStr) -> Self {
        let name = blake3::hash(command.as_bytes()).to_hex();
        let path = default_dir().map(|dir| dir.join(format!("companions-{name}.json")));
        let read = path.as_ref().and_then(|path| {
            let text = store::read_ours(path, BYTES_MAX).ok()?.ok()?;
            store::decode(FORMAT, &text)
        });
        Self {
            path,
            files: read.unwrap_or_default(),
        }
    }

    /// What was used, the latest first.
    pub fn files(&self) -> &[String] {
        &self.files
    }

    /// These were used now. What cannot be kept is found anew.
    pub fn keep(&mut self, used: impl IntoIterator<Item = String>) {
        let mut files: Vec<String> = used.into_iter().collect();
        let earlier = std::mem::take(&mut self.files).into_iter();
        files.extend(
            earlier
                .filter(|file| !files.contains(file))
                .collect::<Vec<_>>(),
        );
        files.truncate(FILES_MAX);
        if let (Some(path), Ok(text)) = (&self.path, store::encode(FORMAT, &files)) {
            let _ = store::write_ours(path, &text);
        }
        self.files = files;
    }
}
