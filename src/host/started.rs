//! What /proc tells of a program that has just begun, by which it is known what was run.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use procfs::process::Process;

use super::programs;
use super::selected::{self, Executable};

/// A process's program, as it was run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Started {
    /// Its executable, as the process sees it.
    pub exe: Executable,
    /// Where it runs, as the process sees it.
    pub cwd: PathBuf,
    /// What runs the file that was asked for, if that is a script: as it is written there.
    pub interpreter: Option<Vec<u8>>,
    /// Arguments, each with a zero behind it.
    pub args: Vec<u8>,
    /// Environment, in the same way.
    pub env: Vec<u8>,
    /// Real user and group, effective user and group.
    pub ids: [u32; 4],
    /// The device number of its controlling terminal; 0: none.
    pub tty: u32,
}

impl Started {
    /// Of a process that was asked to run `filename`. `None`: it has ended, or we may not look at it. It may have changed
    /// what it says of itself.
    pub fn of(pid: i32, filename: &[u8]) -> Option<Self> {
        let of_process = |name: &str| PathBuf::from(format!("/proc/{pid}/{name}"));
        let process = Process::new(pid).ok()?;
        let status = process.status().ok()?;
        let (major, minor) = process.stat().ok()?.tty_nr();
        let cwd = fs::read_link(of_process("cwd")).ok()?;
        Some(Self {
            exe: Executable::of(pid)?,
            cwd: selected::inside(pid, cwd),
            interpreter: interpreter(pid, filename),
            args: fs::read(of_process("cmdline")).ok()?,
            env: fs::read(of_process("environ")).ok()?,
            ids: [status.ruid, status.rgid, status.euid, status.egid],
            tty: (major.cast_unsigned() << 20) | minor.cast_unsigned(),
        })
    }
}

/// The last interpreter that a script names: it may be run by another script.
fn interpreter(pid: i32, filename: &[u8]) -> Option<Vec<u8>> {
    let mut file = filename.to_vec();
    let mut last = None;
    for _ in 0..programs::INTERPRETERS_MAX {
        let Some(next) = named_interpreter(pid, &file) else {
            break;
        };
        file.clone_from(&next);
        last = Some(next);
    }
    last
}

fn named_interpreter(pid: i32, filename: &[u8]) -> Option<Vec<u8>> {
    let name = Path::new(OsStr::from_bytes(filename));
    let from = match name.is_absolute() {
        true => format!("/proc/{pid}/root"),
        false => format!("/proc/{pid}/cwd"),
    };
    let name = name.strip_prefix("/").unwrap_or(name);
    let mut start = Vec::new();
    let file = File::open(Path::new(&from).join(name)).ok()?;
    let is_file = file.metadata().is_ok_and(|data| data.is_file());
    let mut file = is_file
        .then_some(file)?
        .take(programs::FIRST_LINE_MAX as u64);
    file.read_to_end(&mut start).ok()?;
    let words = programs::first_words(&start)?;
    Some(words.first()?.as_bytes().to_vec())
}
