//! Entries on disk: one file each, complete or not at all, for our eyes only.
//!
//! A file is one line with the format and the hash of the rest, then JSON. Any number of processes may
//! read and write: files appear by rename, and the last one wins. The directory and each file must
//! belong to us or to root, and nobody else may write to them.

use std::fs::{self, DirBuilder, File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::entry::Entry;
use super::key::Key;

/// First word of an entry; its number changes with the format.
const FORMAT: &str = "agentsight-discovery-1";

/// A report of some hundred functions, with all its evidence, takes a tenth of it.
const ENTRY_BYTES_MAX: u64 = 4 << 20;

/// All entries together.
const BYTES_MAX: u64 = 64 << 20;

/// Number of entries.
const ENTRIES_MAX: usize = 2048;

/// The directory is tidied up each time that a process has written so many entries.
const TIDY_EVERY: u32 = 64;

/// A process that writes an entry is done long before.
const LEFTOVER_AGE: Duration = Duration::from_secs(3600);

/// A directory of entries of one analyzer; other analyzers' entries may lie beside them.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    analyzer: String,
    written: AtomicU32,
}

/// What a look for an entry gave.
pub(super) enum Load {
    /// It was written for this key.
    Found(Box<Entry>),
    Absent,
    /// There is one that cannot be used.
    Rejected(&'static str),
}

impl Store {
    /// In `dir`, which need not exist.
    pub fn new(dir: PathBuf, analyzer: impl Into<String>) -> Self {
        Self {
            dir,
            analyzer: analyzer.into(),
            written: AtomicU32::new(0),
        }
    }

    pub(super) fn analyzer(&self) -> &str {
        &self.analyzer
    }

    fn path(&self, key: &Key) -> io::Result<PathBuf> {
        let key = serde_json::to_vec(key)?;
        Ok(self
            .dir
            .join(format!("{}.json", blake3::hash(&key).to_hex())))
    }

    /// The entry for `key`.
    pub(super) fn load(&self, key: &Key) -> Load {
        match self.try_load(key) {
            Ok(Ok(entry)) if entry.key == *key => Load::Found(Box::new(entry)),
            Ok(Ok(_)) => Load::Rejected("it is about something else"),
            Ok(Err(why)) => Load::Rejected(why),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Load::Absent,
            Err(_) => Load::Rejected("it cannot be read"),
        }
    }

    fn try_load(&self, key: &Key) -> io::Result<Result<Entry, &'static str>> {
        let read = read_ours(&self.path(key)?, ENTRY_BYTES_MAX)?;
        Ok(read.and_then(|text| decode(FORMAT, &text).ok_or("it is damaged")))
    }

    /// For the fuzzer: reads an entry as from disk, whether or not its hash fits. Tells whether what was
    /// read, if anything, could be written and read again.
    #[doc(hidden)]
    pub fn fuzz_entry(text: &[u8]) -> bool {
        let entry = decode(FORMAT, text).or_else(|| serde_json::from_slice(text).ok());
        let again = entry.map(|entry: Entry| encode(FORMAT, &entry));
        again.is_none_or(|text| text.is_ok_and(|text| decode::<Entry>(FORMAT, &text).is_some()))
    }

    /// Writes the entry for `key` in the place of any other one.
    pub(super) fn save(&self, key: &Key, entry: &Entry) -> io::Result<()> {
        let text = encode(FORMAT, entry)?;
        if text.len() as u64 > ENTRY_BYTES_MAX {
            return Err(io::Error::other("the report is too large"));
        }
        let written = write_ours(&self.path(key)?, &text);
        let before = self.written.fetch_add(1, Ordering::Relaxed);
        if before.is_multiple_of(TIDY_EVERY) {
            self.tidy();
        }
        written
    }

    /// Removes the oldest entries if there are too many, and what killed processes have left.
    fn tidy(&self) {
        let mut entries = Vec::new();
        for file in fs::read_dir(&self.dir).into_iter().flatten().flatten() {
            let name = file.file_name();
            let (Some(name), Ok(metadata)) = (name.to_str(), file.metadata()) else {
                continue;
            };
            let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            if name.starts_with(".new-") {
                let age = modified.elapsed().unwrap_or_default();
                if age > LEFTOVER_AGE {
                    let _ = fs::remove_file(file.path());
                }
            } else if name.ends_with(".json") {
                entries.push((modified, metadata.len(), file.path()));
            }
        }
        entries.sort();
        let mut count = entries.len();
        let mut bytes: u64 = entries.iter().map(|(_, size, _)| size).sum();
        for (_, size, path) in entries {
            if count <= ENTRIES_MAX && bytes <= BYTES_MAX {
                break;
            }
            let _ = fs::remove_file(path);
            count -= 1;
            bytes -= size;
        }
    }
}

/// A file's text: what it is, a hash, and `value` as JSON.
pub(super) fn encode(format: &str, value: &impl Serialize) -> io::Result<Vec<u8>> {
    let json = serde_json::to_vec(value)?;
    let mut text = format!("{format} {}\n", blake3::hash(&json).to_hex()).into_bytes();
    text.extend(json);
    Ok(text)
}

/// What [`encode`] wrote; `None`: it is damaged, or something else.
pub(super) fn decode<T: DeserializeOwned>(format: &str, text: &[u8]) -> Option<T> {
    let end = memchr::memchr(b'\n', text)?;
    let (head, json) = (text.get(..end)?, text.get(end + 1..)?);
    let head = std::str::from_utf8(head).ok()?;
    let hash = head.strip_prefix(format)?.strip_prefix(' ')?;
    if blake3::hash(json).to_hex().as_str() != hash {
        return None;
    }
    serde_json::from_slice(json).ok()
}

/// The content of a file of ours in a directory of ours, up to `max` bytes; or why it is not believed.
pub(super) fn read_ours(path: &Path, max: u64) -> io::Result<Result<Vec<u8>, &'static str>> {
    const OTHERS: &str = "others may write to it";
    let dir = path.parent().unwrap_or(Path::new("."));
    if !is_safe_dir(&fs::symlink_metadata(dir)?) {
        return Ok(Err(OTHERS));
    }
    let file = File::options()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(path)?;
    if !is_safe_file(&file.metadata()?) {
        return Ok(Err(OTHERS));
    }
    let mut text = Vec::new();
    file.take(max.saturating_add(1)).read_to_end(&mut text)?;
    if text.len() as u64 > max {
        return Ok(Err("it is too large"));
    }
    Ok(Ok(text))
}

/// Puts a file in the place of any other one of that name; makes its directory if there is none.
pub(super) fn write_ours(path: &Path, text: &[u8]) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    if !is_safe_dir(&fs::symlink_metadata(dir)?) {
        return Err(io::Error::other("others may write to the cache"));
    }
    let fresh = fresh_name(dir);
    let written = write(&fresh, text).and_then(|()| fs::rename(&fresh, path));
    if written.is_err() {
        let _ = fs::remove_file(&fresh);
    }
    written
}

fn fresh_name(dir: &Path) -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    let pid = std::process::id();
    dir.join(format!(".new-{pid}-{number}-{}", now.as_nanos()))
}

fn write(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text)
}

/// Nobody but us and root has a hand in it.
fn is_ours(metadata: &Metadata) -> bool {
    let owner = metadata.uid();
    (owner == 0 || owner == own_uid()) && metadata.mode() & 0o022 == 0
}

fn is_safe_dir(metadata: &Metadata) -> bool {
    metadata.is_dir() && is_ours(metadata)
}

/// Files with other names might be somebody's bait: an old entry of ours, linked from elsewhere.
fn is_safe_file(metadata: &Metadata) -> bool {
    metadata.is_file() && is_ours(metadata) && metadata.nlink() == 1
}

fn own_uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}

/// The user's cache: `$AGENTSIGHT_CACHE`, else `agentsight/discovery` in the cache directory.
///
/// Under sudo, `HOME` may still be that of the caller. Root must not believe what lies there, nor leave
/// files that the caller cannot remove: then it is the home that the user database knows.
///
/// `None` too for a program with more rights than its user (file capabilities): an entry that the user has
/// written would steer probes in the processes of others.
pub fn default_dir() -> Option<PathBuf> {
    // SAFETY: reads a word that the kernel handed to this process; no arguments but a number.
    if unsafe { libc::getauxval(libc::AT_SECURE) } != 0 {
        return None;
    }
    let set = |name| {
        let value = std::env::var_os(name).filter(|value| !value.is_empty());
        value.map(PathBuf::from)
    };
    if let Some(dir) = set("AGENTSIGHT_CACHE") {
        return Some(dir);
    }
    let xdg = set("XDG_CACHE_HOME").filter(|dir| dir.is_absolute());
    let home = set("HOME").filter(|dir| dir.is_dir());
    let own_home = || {
        let user = nix::unistd::User::from_uid(nix::unistd::geteuid());
        Some(user.ok()??.dir.join(".cache"))
    };
    xdg.filter(|dir| belongs_to_us(dir))
        .or_else(|| {
            home.map(|dir| dir.join(".cache"))
                .filter(|dir| belongs_to_us(dir))
        })
        .or_else(own_home)
        .map(|dir| dir.join("agentsight/discovery"))
}

/// It, or the directory that it would be made in.
fn belongs_to_us(dir: &Path) -> bool {
    let mut existing = dir.ancestors().filter_map(|dir| fs::metadata(dir).ok());
    existing
        .next()
        .is_some_and(|metadata| metadata.uid() == own_uid())
}

#[cfg(test)]
mod tests;
