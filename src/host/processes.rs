//! Running processes and the code that they have mapped.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
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

/// What a deleted file's path ends with in /proc.
const DELETED: &str = " (deleted)";

/// The path of a process's executable as the process sees it, without a word about its deletion.
pub fn exe_path(pid: u32) -> Option<PathBuf> {
    let path = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let text = path.to_str().and_then(|path| path.strip_suffix(DELETED));
    Some(text.map(PathBuf::from).unwrap_or(path))
}

/// A running process's executable. If the process has ended already: what it was asked to run, by an absolute path.
/// `None` if neither can be reached.
pub fn executable(pid: u32, named: &[u8]) -> Option<ImageFile> {
    let link = PathBuf::from(format!("/proc/{pid}/exe"));
    let Some(path) = exe_path(pid) else {
        let named = Path::new(OsStr::from_bytes(named));
        return named.is_absolute().then(|| ImageFile::open(named).ok())?;
    };
    let file = File::open(link).ok()?;
    ImageFile::from_file(&path, file).ok()
}

/// Interpreters of interpreters: the kernel goes no deeper (`exec_binprm`).
const INTERPRETERS_MAX: usize = 5;
/// What the kernel reads of a script's first line (`BINPRM_BUF_SIZE`).
const FIRST_LINE_MAX: usize = 256;

/// What runs when a command of this name is started: its program, or the one that runs the script, and, for
/// `/usr/bin/env NAME`, what that leads to.
pub fn programs_of(name: &OsStr) -> Vec<ImageFile> {
    let mut programs = Vec::new();
    let mut waiting = vec![name.to_owned()];
    for _ in 0..INTERPRETERS_MAX {
        let Some(file) = waiting.pop().and_then(|name| find_program(&name)) else {
            break;
        };
        match first_words(file.bytes()) {
            Some(words) => {
                let is_env = |word: &OsString| Path::new(word).file_name() == Some("env".as_ref());
                let mut words = words.into_iter();
                let interpreter = words.next();
                if interpreter.as_ref().is_some_and(is_env) {
                    // `env -S node --flag`: options and variables come before the name.
                    let is_name = |word: &OsString| {
                        !word.as_bytes().starts_with(b"-") && !word.as_bytes().contains(&b'=')
                    };
                    waiting.extend(words.find(is_name));
                } else {
                    waiting.extend(interpreter);
                }
            }
            None => programs.push(file),
        }
    }
    programs
}

/// The words after `#!`.
fn first_words(script: &[u8]) -> Option<Vec<OsString>> {
    let line = script.strip_prefix(b"#!")?;
    let line = line.get(..line.len().min(FIRST_LINE_MAX))?;
    let line = line.split(|byte| *byte == b'\n').next()?;
    let words = line.split(|byte| byte.is_ascii_whitespace());
    let words = words.filter(|word| !word.is_empty());
    Some(
        words
            .map(|word| OsStr::from_bytes(word).to_owned())
            .collect(),
    )
}

/// As `execvp` finds it.
fn find_program(name: &OsStr) -> Option<ImageFile> {
    if name.as_bytes().contains(&b'/') {
        return ImageFile::open(Path::new(name)).ok();
    }
    let dirs = std::env::var_os("PATH")?;
    let is_executable = |path: &PathBuf| {
        let metadata = std::fs::metadata(path);
        metadata.is_ok_and(|data| data.is_file() && data.mode() & 0o111 != 0)
    };
    let candidates = std::env::split_paths(&dirs).map(|dir| dir.join(name));
    candidates
        .filter(is_executable)
        .find_map(|path| ImageFile::open(&path).ok())
}

/// Its name.
pub fn comm(pid: u32) -> Option<String> {
    let comm = std::fs::read(format!("/proc/{pid}/comm")).ok()?;
    Some(String::from_utf8_lossy(comm.trim_ascii_end()).into_owned())
}

/// Where we find what a process calls `path`.
pub fn path_inside(pid: u32, path: &Path) -> PathBuf {
    let inside = path.strip_prefix("/").unwrap_or(path);
    Path::new(&format!("/proc/{pid}/root")).join(inside)
}

/// Its mount namespace; `None`: it has ended.
pub fn mount_namespace(pid: u32) -> Option<u64> {
    let namespace = std::fs::metadata(format!("/proc/{pid}/ns/mnt")).ok()?;
    Some(namespace.ino())
}

/// Whether the process sees the same files as we do.
pub fn is_at_home(pid: u32) -> bool {
    mount_namespace(pid).is_some_and(|its| mount_namespace(std::process::id()) == Some(its))
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
