//! What processes run, and what commands will: names to programs, through scripts.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::roots::Root;
use super::selected::Executable;
use crate::image::ImageFile;

/// A running process's executable. If the process has ended already: what it was asked to run, by an absolute path in
/// this root. `None` if neither can be reached.
pub fn executable(pid: u32, named: &[u8], root: Option<&Root>) -> Option<ImageFile> {
    let link = PathBuf::from(format!("/proc/{pid}/exe"));
    let Some(exe) = Executable::of(pid.cast_signed()) else {
        let named = Path::new(OsStr::from_bytes(named));
        return root?.open_image(named).ok().filter(|_| named.is_absolute());
    };
    let file = File::open(link).ok()?;
    ImageFile::from_file(&exe.path, file).ok()
}

/// Interpreters of interpreters: the kernel goes no deeper (`exec_binprm`).
pub(super) const INTERPRETERS_MAX: usize = 5;
/// What the kernel reads of a script's first line (`BINPRM_BUF_SIZE`).
pub(super) const FIRST_LINE_MAX: usize = 256;

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
pub(super) fn first_words(script: &[u8]) -> Option<Vec<OsString>> {
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

/// Its mount namespace; `None`: it has ended.
pub fn mount_namespace(pid: u32) -> Option<u64> {
    let namespace = std::fs::metadata(format!("/proc/{pid}/ns/mnt")).ok()?;
    Some(namespace.ino())
}

/// Whether the process sees the same files as we do.
pub fn is_at_home(pid: u32) -> bool {
    mount_namespace(pid).is_some_and(|its| mount_namespace(std::process::id()) == Some(its))
}
