//! `agentsight attach` with any selection. What it says goes to a file: a pipe that nobody reads would stop it.

use std::cell::Cell;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::Result;
use super::child::Ended;

/// This build of it.
pub const AGENTSIGHT: &str = env!("CARGO_BIN_EXE_agentsight");

/// How long any step may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// After so long without a word it has looked at all that runs.
const SETTLE: Duration = Duration::from_millis(700);

/// agentsight at work; killed when dropped.
pub struct Watcher {
    pub child: Ended,
    said: PathBuf,
    canaries: Cell<u32>,
    /// JSON lines.
    pub lines: PathBuf,
}

impl Watcher {
    /// Starts it with these options, and waits until it has nothing more to say of what runs already.
    ///
    /// # Errors
    /// It ends early, or never comes to rest.
    pub fn start(options: &[&str], folder: &Path) -> Result<Self> {
        Self::start_with(options, &[], folder)
    }

    /// The same with variables in its environment.
    ///
    /// # Errors
    /// As above.
    pub fn start_with(
        options: &[&str],
        variables: &[(&str, &Path)],
        folder: &Path,
    ) -> Result<Self> {
        Self::start_as(&["attach", "--json", "-o"], options, variables, folder)
    }

    /// The same of another subcommand, whose last word takes the name of its output.
    ///
    /// # Errors
    /// As above.
    pub fn start_as(
        command: &[&str],
        options: &[&str],
        variables: &[(&str, &Path)],
        folder: &Path,
    ) -> Result<Self> {
        let (said, lines) = (folder.join("said"), folder.join("lines"));
        // The last one's: it is waited for.
        let _ = fs::remove_file(&lines);
        let child = Command::new(AGENTSIGHT)
            .envs(variables.iter().copied())
            .args(command)
            .arg(&lines)
            .args(options)
            .stdout(Stdio::null())
            .stderr(File::create(&said)?)
            .spawn()?;
        let mut watcher = Self {
            child: Ended(child),
            said,
            canaries: Cell::new(0),
            lines,
        };
        watcher.wait_settled()?;
        Ok(watcher)
    }

    fn wait_settled(&mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        let (mut before, mut since) = (0, Instant::now());
        loop {
            if self.child.0.try_wait()?.is_some() || Instant::now() > deadline {
                return Err(format!("agentsight did not attach: {}", self.said()?).into());
            }
            let now = fs::metadata(&self.said)?.len();
            // It makes its output file once all that runs is covered.
            if now != before || !self.lines.exists() {
                (before, since) = (now, Instant::now());
            } else if since.elapsed() > SETTLE {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Runs a program that nobody has seen before, until it is noticed: only then everything before is done.
    ///
    /// # Errors
    /// That never happens, or the program cannot be copied.
    pub fn wait_idle(&self, program: &Path, folder: &Path) -> Result<()> {
        let turn = self.canaries.get();
        self.canaries.set(turn + 1);
        let fresh = folder.join(format!("canary-{}-{turn}", self.child.0.id()));
        fs::copy(program, &fresh)?;
        let deadline = Instant::now() + PATIENCE;
        let name = fresh.display().to_string();
        while !self.said()?.contains(&name) {
            if Instant::now() > deadline {
                return Err(format!("agentsight never came to rest: {}", self.said()?).into());
            }
            let standing = Command::new(&fresh)
                .args(["--messages", "1", "--size", "64"])
                .stdin(Stdio::piped())
                .stdout(Stdio::null())
                .spawn()?;
            let _standing = Ended(standing);
            thread::sleep(Duration::from_millis(500));
        }
        Ok(())
    }

    /// Its notices and its summary, as far as they have come.
    ///
    /// # Errors
    /// They cannot be read.
    pub fn said(&self) -> Result<String> {
        Ok(fs::read_to_string(&self.said)?)
    }

    /// Ends it: what it said.
    ///
    /// # Errors
    /// It fails.
    pub fn stop(mut self) -> Result<String> {
        self.child.interrupt()?;
        let status = self.child.0.wait()?;
        let said = self.said()?;
        if status.success() {
            Ok(said)
        } else {
            Err(format!("agentsight failed: {said}").into())
        }
    }
}
