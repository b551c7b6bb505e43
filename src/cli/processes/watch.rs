//! `discover --watch`: a table that stays true on a terminal; elsewhere a line for each change.
//!
//! The table is redrawn in place, only if it has changed, by moving the cursor up (ECMA-48 CUU, ED; autowrap off
//! meanwhile, so that the terminal cuts what is too wide). What was on the screen before stays there.

use std::collections::HashMap;
use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::{flag, low_level};

use super::{View, plain, summary, table};
use crate::cli::args::DiscoverArgs;
use crate::cli::discover::written;
use crate::error::{Context, Error, Result};
use crate::survey::{Library, Process, Round, Survey, Visibility};

/// Between two rounds, milliseconds.
const INTERVAL: u16 = 1000;
/// Lines of a terminal that does not tell.
const HEIGHT: usize = 24;

/// Until a signal comes, or nobody reads any more.
pub fn run(survey: &mut Survey<'_>, view: &View, args: &DiscoverArgs) -> Result<ExitCode> {
    let signals = signals()?;
    let stdout = io::stdout();
    let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
    let mut out: Box<dyn Output> = if args.json {
        Box::new(Lines::new(Form::Json))
    } else if stdout.is_terminal() && !is_dumb {
        Box::new(Screen::default())
    } else {
        Box::new(Lines::new(Form::Text))
    };
    loop {
        let text = out.round(&survey.look(), view)?;
        let is_read = text.is_empty() || {
            let mut stdout = stdout.lock();
            written(
                stdout
                    .write_all(text.as_bytes())
                    .and_then(|()| stdout.flush()),
            )?
        };
        if !is_read || !pause(&signals)? {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

/// The first signal is read here; a second one ends everything.
fn signals() -> Result<UnixStream> {
    let (signals, writer) = UnixStream::pair().context(|| "failed to catch signals")?;
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        let writer = writer.try_clone();
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&stop))
            .and_then(|_| flag::register(signal, Arc::clone(&stop)))
            .and_then(|_| low_level::pipe::register(signal, writer?))
            .context(|| "failed to catch signals")?;
    }
    Ok(signals)
}

/// Waits for the next round; `false`: there is none. A reader that hangs up is noticed at once, not with the next line.
fn pause(signals: &UnixStream) -> Result<bool> {
    let stdout = io::stdout();
    let mut files = [
        PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        PollFd::new(stdout.as_fd(), PollFlags::empty()),
    ];
    match poll(&mut files, PollTimeout::from(INTERVAL)) {
        Ok(ready) => Ok(ready == 0),
        // A signal: the pipe says which.
        Err(nix::errno::Errno::EINTR) => Ok(true),
        Err(error) => Err(io::Error::from(error)).context(|| "failed to wait"),
    }
}

/// What a round is told as.
trait Output {
    fn round(&mut self, round: &Round, view: &View) -> Result<String>;
}

/// A table that is redrawn.
#[derive(Default)]
struct Screen {
    shown: String,
}

impl Output for Screen {
    fn round(&mut self, round: &Round, view: &View) -> Result<String> {
        let size = terminal_size::terminal_size();
        let height = size.map_or(HEIGHT, |(_, height)| usize::from(height.0));
        let table = table::text(round, view);
        let mut lines: Vec<&str> = table.lines().collect();
        // The cursor stands below the last line, and cannot move up beyond the first one of the screen.
        let room = height.saturating_sub(3).max(1);
        let hidden = lines.len().saturating_sub(room);
        lines.truncate(room);
        let more = format!("   … and {hidden} lines more");
        if hidden > 0 {
            lines.push(&more);
        }
        let summary = match round.processes.is_empty() {
            true => format!("no process fits yet, of {}", round.running),
            false => summary(round, view),
        };
        lines.push(&summary);
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        if text == self.shown {
            return Ok(String::new());
        }
        let up = match self.shown.lines().count() {
            0 => String::new(),
            lines => format!("\x1b[{lines}A\x1b[J"),
        };
        let drawn = format!("\x1b[?7l{up}{text}\x1b[?7h");
        self.shown = text;
        Ok(drawn)
    }
}

/// Lines of what?
#[derive(Clone, Copy, PartialEq)]
enum Form {
    Json,
    Text,
}

/// A line for each change.
struct Lines {
    form: Form,
    known: Option<HashMap<String, Rc<Process>>>,
}

/// What happened to a process.
#[derive(Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Change {
    Running,
    Appeared,
    Changed,
    Ended,
}

impl Lines {
    fn new(form: Form) -> Self {
        Self { form, known: None }
    }
}

impl Output for Lines {
    fn round(&mut self, round: &Round, view: &View) -> Result<String> {
        let new = match self.known {
            Some(_) => Change::Appeared,
            None => Change::Running,
        };
        let mut known = self.known.take().unwrap_or_default();
        let mut now = HashMap::with_capacity(round.processes.len());
        let mut text = String::new();
        for process in &round.processes {
            let before = known.remove(&process.process);
            let change = match &before {
                None => Some(new),
                Some(before) if Rc::ptr_eq(before, process) || before == process => None,
                Some(_) => Some(Change::Changed),
            };
            if let Some(change) = change {
                text.push_str(&self.form.line(change, process, before.as_deref(), view)?);
            }
            now.insert(process.process.clone(), Rc::clone(process));
        }
        let mut ended: Vec<_> = known.into_values().collect();
        ended.sort_by_key(|process| process.pid);
        for process in ended {
            text.push_str(&self.form.line(Change::Ended, &process, None, view)?);
        }
        self.known = Some(now);
        Ok(text)
    }
}

impl Form {
    fn line(
        self,
        change: Change,
        process: &Process,
        before: Option<&Process>,
        view: &View,
    ) -> Result<String> {
        if self == Self::Json {
            return json_line(change, process);
        }
        let was_shown = before.is_some_and(|before| view.shows(before));
        if !view.shows(process) && !was_shown {
            return Ok(String::new());
        }
        let time = jiff::Zoned::now().strftime("%H:%M:%S");
        let what = match (change, before) {
            (Change::Running, _) => format!("running: {}", state(process)),
            (Change::Appeared, _) => format!("appeared: {}", state(process)),
            (Change::Ended, _) => "ended".to_owned(),
            (Change::Changed, before) => changes(before, process),
        };
        let user = process.user.as_deref().unwrap_or("?");
        let (pid, comm) = (process.pid, plain(&process.comm));
        Ok(format!("{time} {comm}[{pid}] ({}) {what}\n", plain(user)))
    }
}

fn json_line(change: Change, process: &Process) -> Result<String> {
    #[derive(Serialize)]
    struct Line<'p> {
        change: Change,
        ts: String,
        process: &'p Process,
    }
    let line = serde_json::to_string(&Line {
        change,
        ts: jiff::Timestamp::now().to_string(),
        process,
    });
    let line = line.map_err(|error| Error::invalid(format!("failed to write JSON: {error}")))?;
    Ok(line + "\n")
}

/// What attach would see of it.
fn state(process: &Process) -> String {
    let libraries: Vec<String> = process.libraries.iter().map(title).collect();
    let reason = process.reason.as_deref().map(plain).unwrap_or_default();
    match process.visibility {
        Visibility::Attachable => format!("attachable: {}", libraries.join(", ")),
        Visibility::Refused => format!("refused: {reason}"),
        Visibility::Unreadable => format!("not known: {reason}"),
        Visibility::Waiting | Visibility::None => reason,
    }
}

fn title(library: &Library) -> String {
    format!("{} in {}", plain(&library.title()), plain(&library.file))
}

/// What is different now.
fn changes(before: Option<&Process>, process: &Process) -> String {
    let Some(before) = before.filter(|before| before.exe == process.exe) else {
        let exe = process.exe.as_deref().map(plain).unwrap_or_default();
        return format!("runs {exe} now: {}", state(process));
    };
    let only = |these: &Process, those: &Process| -> Vec<String> {
        let others = &those.libraries;
        let own = these.libraries.iter();
        own.filter(|library| !others.contains(library))
            .map(title)
            .collect()
    };
    let (loaded, gone) = (only(process, before), only(before, process));
    match (loaded.as_slice(), gone.as_slice()) {
        ([], []) => format!("changed: {}", state(process)),
        ([], gone) => format!("unloaded {}: {}", gone.join(", "), state(process)),
        (loaded, _) => format!("loaded {}: {}", loaded.join(", "), state(process)),
    }
}
