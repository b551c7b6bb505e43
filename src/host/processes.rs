//! Running processes and the code that they have mapped.

use std::collections::HashSet;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use procfs::process::{MMPermissions, MMapPath, Process};

use crate::error::{Error, ErrorKind, Result};
use crate::event::{ProcessId, Thread};
use crate::image::{FileIdentity, ImageFile};

/// A file on a device.
pub type Inode = (u64, u64);

/// Processes whose executable is this file, in no order. Those that end meanwhile are left out.
pub fn running(executable: FileIdentity) -> Vec<i32> {
    let Ok(processes) = procfs::process::all_processes() else {
        return Vec::new();
    };
    processes
        .flatten()
        .map(|process| process.pid)
        .filter(|pid| {
            // The link leads to the very inode, even if its name was deleted or is another file's now.
            std::fs::metadata(format!("/proc/{pid}/exe"))
                .is_ok_and(|exe| (exe.dev(), exe.ino()) == (executable.dev, executable.ino))
        })
        .collect()
}

/// Whether the process has a thread of this id.
pub fn has_thread(thread: Thread) -> bool {
    Path::new(&format!("/proc/{}/task/{}", thread.pid, thread.tid)).exists()
}

/// Whether this very process still runs; a pid alone may be another one's by now.
pub fn is_alive(process: ProcessId) -> bool {
    let stat = i32::try_from(process.pid)
        .ok()
        .and_then(|pid| Process::new(pid).and_then(|process| process.stat()).ok());
    // The kernel tells the start in ticks of the boot clock.
    let tick_ns = 1_000_000_000 / procfs::ticks_per_second().max(1);
    stat.is_some_and(|stat| stat.starttime == process.start_ns / tick_ns)
}

/// A file that a process has mapped executable.
pub struct MappedFile {
    /// Device and inode as the kernel lists them in `maps`.
    pub inode: Inode,
    /// Its name in the process's own mount namespace.
    pub path: PathBuf,
    pid: i32,
    range: (u64, u64),
}

impl MappedFile {
    /// Opens the mapped file itself, whatever its name leads to by now.
    ///
    /// # Errors
    /// The process is gone, or the file cannot be reached from here.
    pub fn open(&self) -> Result<ImageFile> {
        let (start, end) = self.range;
        let by_range = format!("/proc/{}/map_files/{start:x}-{end:x}", self.pid);
        let inside = self.path.strip_prefix("/").unwrap_or(&self.path);
        let by_name = Path::new(&format!("/proc/{}/root", self.pid)).join(inside);
        // map_files wants more privileges than some set-ups give.
        let file = File::open(by_range)
            .or_else(|_| File::open(by_name))
            .map_err(|error| {
                let path = self.path.display();
                Error::new(
                    ErrorKind::NotFound,
                    format!("failed to open {path} of process {}: {error}", self.pid),
                )
            })?;
        ImageFile::from_file(&self.path, file)
    }
}

/// All files that a process has mapped executable, each once. Empty if it has ended.
pub fn mapped_files(pid: i32) -> Vec<MappedFile> {
    let Ok(maps) = Process::new(pid).and_then(|process| process.maps()) else {
        return Vec::new();
    };
    let mut seen = HashSet::new();
    maps.into_iter()
        .filter(|map| map.perms.contains(MMPermissions::EXECUTE) && map.inode != 0)
        .filter_map(|map| {
            let MMapPath::Path(path) = map.pathname else {
                return None;
            };
            let (major, minor) = map.dev;
            let dev = libc::makedev(major as u32, minor as u32);
            seen.insert((dev, map.inode)).then_some(MappedFile {
                inode: (dev, map.inode),
                path,
                pid,
                range: map.address,
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// This very test process is found by its executable, and its mapped executable opens as the same
    /// file.
    #[test]
    fn finds_itself() {
        let exe = ImageFile::open(&std::env::current_exe().unwrap()).unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(running(exe.identity()).contains(&own));
        let mapped = mapped_files(own);
        let opened: Vec<_> = mapped.iter().filter_map(|file| file.open().ok()).collect();
        assert!(opened.iter().any(|file| file.identity() == exe.identity()));
    }
}
