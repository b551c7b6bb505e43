//! What /proc tells about the processes of a root, as far as containers need it. Not `procfs`: the host's /proc
//! may be mounted elsewhere.

use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A group's path has at most 4096 bytes, and there are up to 13 hierarchies.
const FILE_BYTES_MAX: u64 = 128 << 10;
const PIDS_MAX: usize = 1 << 20;

/// The processes below one /proc.
pub(super) struct Processes {
    proc: PathBuf,
}

impl Processes {
    pub(super) fn new(root: &Path) -> Self {
        Self {
            proc: root.join("proc"),
        }
    }

    fn file(&self, pid: i32, name: &str) -> PathBuf {
        self.proc.join(pid.to_string()).join(name)
    }

    fn read(&self, pid: i32, name: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let file = fs::File::open(self.file(pid, name))?;
        file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// All that there are.
    pub(super) fn pids(&self) -> Vec<i32> {
        let entries = fs::read_dir(&self.proc).into_iter().flatten().flatten();
        let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.take(PIDS_MAX).collect()
    }

    /// Its cgroups, as cgroups(7) lays them out.
    pub(super) fn cgroup(&self, pid: i32) -> Option<String> {
        let bytes = self.read(pid, "cgroup").ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Names its mount namespace.
    pub(super) fn mounts(&self, pid: i32) -> Option<PathBuf> {
        fs::read_link(self.file(pid, "ns/mnt")).ok()
    }

    /// When it started, in ticks since boot.
    pub(super) fn start(&self, pid: i32) -> Option<u64> {
        self.stat(pid, 22)?.parse().ok()
    }

    /// Who started it, or inherited it.
    pub(super) fn parent(&self, pid: i32) -> Option<i32> {
        self.stat(pid, 4)?.parse().ok()
    }

    /// A field of stat, counted from 1 as proc(5) does.
    fn stat(&self, pid: i32, field: usize) -> Option<String> {
        let stat = self.read(pid, "stat").ok()?;
        // The name before may have spaces and brackets.
        let end = stat.iter().rposition(|byte| *byte == b')')?;
        let rest = String::from_utf8_lossy(stat.get(end + 1..)?).into_owned();
        let fields = rest.split_whitespace().nth(field.checked_sub(3)?)?;
        Some(fields.to_owned())
    }

    /// The name of its executable.
    pub(super) fn comm(&self, pid: i32) -> Option<String> {
        let bytes = self.read(pid, "comm").ok()?;
        Some(String::from_utf8_lossy(&bytes).trim_end().to_owned())
    }

    /// Its arguments.
    pub(super) fn arguments(&self, pid: i32) -> Vec<PathBuf> {
        let bytes = self.read(pid, "cmdline").unwrap_or_default();
        let arguments = bytes.split(|byte| *byte == 0);
        arguments
            .map(|argument| PathBuf::from(std::ffi::OsStr::from_bytes(argument)))
            .collect()
    }

    /// Whose it is.
    pub(super) fn user(&self, pid: i32) -> Option<u32> {
        let metadata = fs::metadata(self.proc.join(pid.to_string())).ok()?;
        Some(metadata.uid())
    }
}
