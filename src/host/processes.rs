//! Running processes and the code that they have mapped.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use procfs::FromRead;
use procfs::process::{LimitValue, MMPermissions, MMapPath, MemoryMap, MemoryMaps, Process};

use super::inodes::CodeInode;
use super::roots::Root;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::event::{ProcessId, Thread};
use crate::image::ImageFile;

/// A file on a device.
pub type Inode = (u64, u64);

/// Processes whose executable is this file, through whatever mount they see it, in no order. Those that end
/// meanwhile are left out.
pub fn running(executable: &CodeInode) -> Vec<i32> {
    let Ok(processes) = procfs::process::all_processes() else {
        return Vec::new();
    };
    processes
        .flatten()
        .map(|process| process.pid)
        .filter(|pid| runs(*pid, executable))
        .collect()
}

fn runs(pid: i32, executable: &CodeInode) -> bool {
    // The link leads to the very inode, even if its name was deleted or is another file's now.
    let link = format!("/proc/{pid}/exe");
    let Ok(exe) = fs::metadata(&link) else {
        return false;
    };
    executable.may_be(&exe)
        && (exe.dev() == executable.dev()
            || File::open(link)
                .and_then(|exe| CodeInode::of(&exe))
                .is_ok_and(|exe| exe.is_same(executable)))
}

/// Who started it, or adopted it; `None`: it has ended.
pub fn parent(pid: u32) -> Option<u32> {
    let process = Process::new(i32::try_from(pid).ok()?).ok()?;
    u32::try_from(process.stat().ok()?.ppid).ok()
}

/// Its effective user; `None`: it has ended.
pub fn effective_user(pid: u32) -> Option<u32> {
    let process = Process::new(i32::try_from(pid).ok()?).ok()?;
    Some(process.status().ok()?.euid)
}

/// How many files this very process can open still; `None`: without end.
pub fn spare_descriptors() -> Option<u64> {
    let process = Process::myself().ok()?;
    let LimitValue::Value(most) = process.limits().ok()?.max_open_files.soft_limit else {
        return None;
    };
    Some(most.saturating_sub(process.fd_count().ok()? as u64))
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
    stat.is_some_and(|stat| stat.starttime == process.start_ns / tick_ns())
}

/// When a process started, on the boot clock: /proc tells it in ticks.
pub fn ticks_to_ns(ticks: u64) -> u64 {
    ticks.saturating_mul(tick_ns())
}

fn tick_ns() -> u64 {
    1_000_000_000 / procfs::ticks_per_second().max(1)
}

/// A file that a process has mapped executable.
pub struct MappedFile {
    /// Device and inode as `stat` tells them.
    pub inode: Inode,
    /// Its name in the process's own mount namespace.
    pub path: PathBuf,
    pid: i32,
    range: (u64, u64),
}

fn map_file(pid: i32, (start, end): (u64, u64)) -> String {
    format!("/proc/{pid}/map_files/{start:x}-{end:x}")
}

impl MappedFile {
    /// Opens the mapped file itself, whatever its name leads to by now.
    ///
    /// # Errors
    /// The process is gone, or the file cannot be reached from here.
    pub fn open(&self) -> Result<ImageFile> {
        ImageFile::from_file(&self.path, self.open_file()?)
    }

    /// As [`Self::open`], without mapping it here.
    ///
    /// # Errors
    /// As above.
    pub fn open_file(&self) -> Result<File> {
        // map_files wants more privileges than some set-ups give.
        let file = File::open(map_file(self.pid, self.range)).or_else(|_| self.open_by_name());
        file.map_err(|error| {
            let path = self.path.display();
            Error::new(
                ErrorKind::NotFound,
                format!("failed to open {path} of process {}: {error}", self.pid),
            )
        })
    }

    /// Only if the name still leads to what is mapped.
    fn open_by_name(&self) -> io::Result<File> {
        let root = Root::of_process(self.pid).map_err(io::Error::other)?;
        let file = root.open(&self.path)?;
        let (now, (_, ino)) = (file.metadata()?, self.inode);
        // Without map_files the device may be that of maps, which is another one on overlayfs and btrfs.
        if now.is_file() && now.ino() == ino {
            Ok(file)
        } else {
            Err(io::Error::other("its name is another file's by now"))
        }
    }
}

/// All files that a process has mapped executable, each once. Empty if it has ended.
pub fn mapped_files(pid: i32) -> Vec<MappedFile> {
    readable_files(pid).unwrap_or_default()
}

/// As [`mapped_files`].
///
/// # Errors
/// It has ended, or we may not look at it.
pub fn readable_files(pid: i32) -> Result<Vec<MappedFile>> {
    let maps: MemoryMaps = read(&format!("/proc/{pid}/maps"))?;
    let mut seen = HashSet::new();
    let files = maps.into_iter();
    let files = files
        .filter(|map| map.perms.contains(MMPermissions::EXECUTE) && map.inode != 0)
        .filter_map(|map| {
            let inode = inode_of(pid, &map);
            let MMapPath::Path(path) = map.pathname else {
                return None;
            };
            seen.insert(inode).then_some(MappedFile {
                inode,
                path,
                pid,
                range: map.address,
            })
        });
    Ok(files.collect())
}

/// The name of a file whose name is gone, without the word that the kernel adds.
pub fn without_deleted(path: &str) -> Option<&str> {
    path.strip_suffix(" (deleted)")
}

/// A file of /proc. Names in it are whatever somebody chose, UTF-8 or not.
///
/// # Errors
/// It cannot be read, or is not what it should be.
pub(super) fn read<T: FromRead>(path: &str) -> Result<T> {
    let bytes = fs::read(path).context(|| format!("failed to read {path}"))?;
    let text = String::from_utf8_lossy(&bytes);
    T::from_read(text.as_bytes()).map_err(|error| Error::invalid(format!("{path}: {error}")))
}

/// Where no disk is below (device 0:N), numbers in maps are not those of `stat`, and files of several layers or
/// snapshots may share them (see [`super::inodes`]).
fn inode_of(pid: i32, map: &MemoryMap) -> Inode {
    let (major, minor) = map.dev;
    let listed = (libc::makedev(major as u32, minor as u32), map.inode);
    if major != 0 {
        return listed;
    }
    fs::metadata(map_file(pid, map.address)).map_or(listed, |file| (file.dev(), file.ino()))
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
        let inode = CodeInode::of(exe.file()).unwrap();
        assert!(running(&inode).contains(&own));
        let mapped = mapped_files(own);
        let opened: Vec<_> = mapped.iter().filter_map(|file| file.open().ok()).collect();
        assert!(opened.iter().any(|file| file.identity() == exe.identity()));
    }
}
