//! This program started once more as a child that plays a part in a check. They talk in lines: the
//! child's begin with a mark, so that what else its output holds (a test harness's words) is skipped.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};

use crate::error::{Context, Error, ErrorKind, Result};

/// The hidden subcommand that leads to [`super::selftest_peer`].
pub const PEER_COMMAND: &str = "__selftest-peer";

const MARK: &str = "agentsight-peer: ";

/// How to start this program so that it ends up in [`super::selftest_peer`].
#[derive(Clone, Debug)]
pub struct Launcher {
    program: PathBuf,
    args: Vec<OsString>,
}

impl Launcher {
    /// Starts `program` with these arguments; the part to play follows as the last one.
    pub fn new<A: Into<OsString>>(
        program: impl Into<PathBuf>,
        args: impl IntoIterator<Item = A>,
    ) -> Self {
        Self {
            program: program.into(),
            args: args.into_iter().map(Into::into).collect(),
        }
    }

    /// The very file that is running, whatever its name leads to by now.
    pub fn this_program() -> Self {
        Self::new("/proc/self/exe", [PEER_COMMAND])
    }

    /// The program's file.
    pub(super) fn file(&self) -> Result<File> {
        File::open(&self.program).context(|| format!("failed to open {}", self.program.display()))
    }
}

/// A part to play.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Calls a function behind a strict seccomp filter.
    Sandbox,
    /// Talks TLS with itself.
    Tls,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Sandbox, Self::Tls];

    /// As on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sandbox => "sandbox",
            Self::Tls => "tls",
        }
    }
}

/// A running child. Dropping it kills it.
pub struct Child {
    process: std::process::Child,
    lines: Receiver<String>,
    deadline: Instant,
}

impl Child {
    /// Starts it; all waiting for it ends at `deadline`.
    pub fn start(launcher: &Launcher, part: Part, deadline: Instant) -> Result<Self> {
        let mut process = Command::new(&launcher.program)
            .args(&launcher.args)
            .arg(part.as_str())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context(|| format!("failed to start {}", launcher.program.display()))?;
        let (sender, lines) = bounded(16);
        if let Some(output) = process.stdout.take() {
            // Ends with the child, which is killed at the latest when it is dropped.
            thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if let Some(said) = line.strip_prefix(MARK)
                        && sender.send(said.to_owned()).is_err()
                    {
                        return;
                    }
                }
            });
        }
        Ok(Self {
            process,
            lines,
            deadline,
        })
    }

    /// The next line that the child says. `None` if it has ended instead.
    pub fn hear(&self) -> Result<Option<String>> {
        match self.lines.recv_deadline(self.deadline) {
            Ok(line) => Ok(Some(line)),
            Err(error) if error.is_timeout() => Err(late()),
            Err(_) => Ok(None),
        }
    }

    /// Tells the child one line.
    pub fn tell(&mut self, line: &str) -> Result<()> {
        let Some(input) = &mut self.process.stdin else {
            return Err(Error::invalid("the peer has no input"));
        };
        writeln!(input, "{line}").context(|| "failed to talk to the peer")
    }

    /// Waits for its end.
    pub fn end(&mut self) -> Result<ExitStatus> {
        loop {
            let ended = self.process.try_wait();
            if let Some(status) = ended.context(|| "failed to wait for the peer")? {
                return Ok(status);
            }
            if Instant::now() >= self.deadline {
                return Err(late());
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

fn late() -> Error {
    Error::new(ErrorKind::Io, "the peer did not answer in time")
}

impl Drop for Child {
    fn drop(&mut self) {
        // Both fail only for a child that has ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The child's side: says a line.
pub fn say(line: &str) -> Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "{MARK}{line}")
        .and_then(|()| output.flush())
        .context(|| "failed to talk to the parent")
}

/// The child's side: a whole line for [`super::sys::say_and_exit`].
pub fn marked(line: &str) -> String {
    format!("{MARK}{line}\n")
}

/// The child's side: waits for a line. `None` if the parent is gone.
pub fn listen() -> Result<Option<String>> {
    let mut line = String::new();
    let read = std::io::stdin().lock().read_line(&mut line);
    let read = read.context(|| "failed to listen to the parent")?;
    Ok((read > 0).then(|| line.trim_end().to_owned()))
}
