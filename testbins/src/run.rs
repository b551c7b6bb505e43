//! Running a program and reading what it logged.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use crate::Testbin;

/// A running program; it is killed when dropped before [`Running::finish`].
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Running {
    /// Starts the program with these options.
    pub fn start(testbin: &Testbin, options: &[&str]) -> io::Result<Self> {
        let mut child = Command::new(&testbin.path)
            .args(options)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(stdin), Some(stdout)) => Ok(Self {
                child,
                stdin,
                stdout: BufReader::new(stdout),
            }),
            _ => Err(io::Error::other("a pipe of the child is gone")),
        }
    }

    /// The process, for a tracer to attach to.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The port that a server said it listens on.
    pub fn port(&mut self) -> io::Result<u16> {
        let line = self.line("listening ")?;
        line.parse().map_err(io::Error::other)
    }

    /// Waits until a program started with `--wait` or `--wait-late` stands still.
    pub fn wait_ready(&mut self) -> io::Result<()> {
        self.line("ready").map(drop)
    }

    /// Lets a program go on that stands still.
    pub fn go(&mut self) -> io::Result<()> {
        self.stdin.write_all(b"\n")
    }

    /// Waits for the end. Returns the rest of stdout, or what went to stderr as the error.
    pub fn finish(mut self) -> io::Result<String> {
        let mut printed = String::new();
        let mut complaint = String::new();
        self.stdout.read_to_string(&mut printed)?;
        if let Some(stderr) = &mut self.child.stderr {
            stderr.read_to_string(&mut complaint)?;
        }
        let status = self.child.wait()?;
        if status.success() {
            Ok(printed)
        } else {
            Err(io::Error::other(format!("{status}: {complaint}")))
        }
    }

    /// What follows `start` on the next line of stdout.
    fn line(&mut self, start: &str) -> io::Result<String> {
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        match line.strip_prefix(start) {
            Some(rest) => Ok(rest.trim_end().to_owned()),
            None => Err(io::Error::other(format!(
                "expected '{start}', got {line:?}"
            ))),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail after finish(), where there is nothing left to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What one end of one connection wrote and read, as `--log` recorded it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    /// `client` or `server`.
    pub role: String,
    /// The connection.
    pub number: usize,
    /// Whether a forked child did it.
    pub in_child: bool,
    /// The plaintext it wrote.
    pub written: Vec<u8>,
    /// The plaintext it read.
    pub read: Vec<u8>,
}

/// Reads a `--log` folder; sorted by role, number and parent before child.
pub fn read_logs(folder: &Path) -> io::Result<Vec<Endpoint>> {
    let mut endpoints = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path
            .file_stem()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if path.extension().is_some_and(|ending| ending == "write") {
            endpoints.push(endpoint(&path, name)?);
        }
    }
    endpoints.sort();
    Ok(endpoints)
}

fn endpoint(path: &Path, name: &str) -> io::Result<Endpoint> {
    let in_child = name.ends_with("-child");
    let parts = name.trim_end_matches("-child").split_once('-');
    let (role, number) = parts.ok_or_else(|| io::Error::other(format!("odd log {name}")))?;
    Ok(Endpoint {
        role: role.to_owned(),
        number: number.parse().map_err(io::Error::other)?,
        in_child,
        written: fs::read(path)?,
        read: fs::read(path.with_extension("read"))?,
    })
}
