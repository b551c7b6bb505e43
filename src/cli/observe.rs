//! What attach and record share: how to observe, what is told on the way, and how a run ends.

use std::cell::RefCell;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, IsTerminal};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus};
use std::rc::Rc;

use super::args::ObserveArgs;
use super::output::DiscretionArgs;
use super::prices::Choices;
use super::rules::RuleArgs;
use super::{exit, output};
use crate::bytes::printable;
use crate::deeds::Watched;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::image::debug_file::DebugDirs;
use crate::pipeline::{Buffer, Consumer, Options, Outcome, Progress, invoking_user};
use crate::record::{Header, Recorder};
use crate::select::Selection;
use crate::sink::Clock;

/// More of what happens while a command has the terminal is not kept, but counted.
const HELD_MAX: usize = 64;

impl ObserveArgs {
    /// Checked. `records`: the command is observed even if others are.
    pub fn options(&self, command: &[OsString], records: bool) -> Result<Options> {
        let buffer = Buffer::divide(self.buffer).ok_or_else(|| {
            Error::new(
                ErrorKind::Usage,
                format!("--buffer {}: must be from 256K to 8G", self.buffer),
            )
        })?;
        Ok(Options {
            selection: self.selection(command, records)?,
            wait: self.select.wait,
            hold: self.hold,
            command: command.to_owned(),
            observes_command: !command.is_empty() && (records || !self.select.names_somebody()),
            tells_acts: !self.no_system,
            watched: Watched::new(&self.watch_reads)?,
            max_bytes: self.max_bytes.unwrap_or(u64::MAX),
            buffer,
            latency: self.latency,
            duration: self.duration,
            debug_dirs: DebugDirs {
                global: self.debug_dir.clone(),
            },
            cache: !self.no_cache,
            choice: Choices::new(self.probe_sites.sites())
                .of(std::env::consts::ARCH)
                .clone(),
        })
    }

    /// Whom to observe besides the command; `None`: everybody.
    fn selection(&self, command: &[OsString], records: bool) -> Result<Option<Selection>> {
        if !self.select.names_somebody() && !command.is_empty() {
            return Ok(Some(Selection {
                follow: !self.select.no_follow,
                ..Selection::default()
            }));
        }
        let selection = match records {
            true => self.select.selection_following(true)?,
            false => self.select.selection()?,
        };
        let is_somebody = selection.has_rules() || !selection.pids.is_empty();
        Ok(is_somebody.then_some(selection))
    }
}

/// What is told on stderr. While a command has the terminal, nothing is; what there was to tell comes at its end.
pub struct Notices {
    pub quiet: bool,
    recording: Option<Rc<RecordingFile>>,
    is_holding: bool,
    held: Vec<String>,
    left_out: usize,
}

impl Notices {
    pub fn new(quiet: bool, recording: Option<Rc<RecordingFile>>) -> Self {
        Self {
            quiet,
            recording,
            is_holding: false,
            held: Vec::new(),
            left_out: 0,
        }
    }

    fn print(&self, line: &str) {
        if !self.quiet {
            anstream::eprintln!("{}", printable(line));
        }
    }
}

impl Progress for Notices {
    fn notice(&mut self, line: &str) {
        if !self.is_holding {
            self.print(line);
        } else if self.held.len() < HELD_MAX {
            self.held.push(line.to_owned());
        } else {
            self.left_out += 1;
        }
    }

    fn command_begins(&mut self) {
        // Others that share the stream take whole lines, as from any two programs.
        self.is_holding = io::stderr().is_terminal();
        let kept = self.recording.as_ref().map(|recording| recording.keep());
        if let Some(Err(error)) = kept {
            self.notice(&format!("{error:#}"));
        }
    }

    fn command_ends(&mut self) {
        self.is_holding = false;
        for line in std::mem::take(&mut self.held) {
            self.print(&line);
        }
        let left_out = std::mem::take(&mut self.left_out);
        if left_out > 0 {
            self.print(&format!("and {left_out} more notices"));
        }
    }
}

/// Waits for the command, which goes on unobserved if it has not ended, tells what there was, and returns the command's
/// status.
pub fn finish(outcome: Outcome, notices: &mut Notices, rules: &RuleArgs) -> Result<ExitCode> {
    let status = match outcome.command {
        Some(command) => {
            if !notices.is_holding {
                notices.notice(&format!(
                    "no longer observing; waiting for process {} to end",
                    command.pid()
                ));
            }
            let status = command.wait();
            notices.command_ends();
            Some(status?)
        }
        None => outcome.status,
    };
    let summary = outcome.summary?;
    if !notices.quiet {
        anstream::eprint!("{summary}");
    }
    let ended = status.map_or(ExitCode::SUCCESS, exit_code);
    Ok(rules.judged(ended, &summary))
}

/// As a shell would tell it.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    ExitCode::from(
        code.and_then(|code| u8::try_from(code).ok())
            .unwrap_or(exit::FAILURE),
    )
}

/// The file of a recording: for its owner only, who is the user that called sudo. An earlier one becomes FILE.old, once
/// this run has something to observe.
pub struct RecordingFile {
    path: PathBuf,
    /// Where it is until then.
    temporary: RefCell<Option<PathBuf>>,
}

impl RecordingFile {
    pub fn new(path: &Path) -> Rc<Self> {
        Rc::new(Self {
            path: path.to_owned(),
            temporary: RefCell::new(None),
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Begins a recording, without the secrets that are to be masked.
    pub fn consumer(&self, discretion: &DiscretionArgs) -> Result<Consumer> {
        let tag_key = output::random_key()?;
        let redactor = discretion.redactor(tag_key)?;
        let header = Header {
            boot_to_unix_ns: Clock::now().boot_to_unix_ns(),
            tag_key,
            is_masked: redactor.is_some(),
        };
        let file = Box::new(self.create()?);
        let recorder = Recorder::with_redactor(file, &header, redactor)?;
        Ok(Consumer::Recorder(Box::new(recorder)))
    }

    fn create(&self) -> Result<File> {
        // Devices and pipes are as the user wants them.
        if fs::symlink_metadata(&self.path).is_ok_and(|old| !old.is_file()) {
            return output::create(&self.path);
        }
        let created = self.try_create();
        let created = created.context(|| format!("failed to create {}", self.path.display()));
        created.map_err(|error| error.with_kind(ErrorKind::Io))
    }

    fn try_create(&self) -> io::Result<File> {
        let user = invoking_user().map_err(io::Error::other)?;
        let user = user.map(|user| (user.uid.as_raw(), user.gid.as_raw()));
        let own = nix::unistd::geteuid().as_raw();
        if let Ok(old) = fs::symlink_metadata(&self.path)
            && old.uid() != own
            && user.is_none_or(|(uid, _)| uid != old.uid())
        {
            return Err(io::Error::other("it belongs to another user"));
        }
        let temporary = with_ending(&self.path, &format!(".{}", std::process::id()));
        let file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&temporary)?;
        self.temporary.replace(Some(temporary));
        if let Some((uid, gid)) = user {
            fchown(&file, Some(uid), Some(gid))?;
        }
        Ok(file)
    }

    /// It takes its place.
    pub fn keep(&self) -> Result<()> {
        let Some(temporary) = self.temporary.take() else {
            return Ok(());
        };
        let renamed = |from: &Path, to: &Path| {
            let failed = || format!("failed to rename {} to {}", from.display(), to.display());
            fs::rename(from, to).context(failed)
        };
        if self.path.exists() {
            renamed(&self.path, &with_ending(&self.path, ".old"))?;
        }
        renamed(&temporary, &self.path)
    }
}

impl Drop for RecordingFile {
    fn drop(&mut self) {
        if let Some(temporary) = self.temporary.take() {
            // Nothing was observed.
            let _ = fs::remove_file(temporary);
        }
    }
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}
