//! The run as a story: each process at its place in the tree, under it what it did and what it said to models, in the
//! order of time; at the end all of the tree, with sums. It is printed as it happens, line by line, so that it works in a
//! pipe too: nothing that was printed is changed. Names and texts are hostile: control characters are shown, never obeyed.
//!
//! Of a file that is written again and again the first time is told, and the sum at the end of the process.

mod forest;
mod paint;
mod said;
mod summary;

use std::collections::HashSet;
use std::io::{self, Write};

use anstyle::AnsiColor;

use self::forest::{End, FileNote, Forest};
use super::human::{deeds, findings};
use super::{Clock, Sink};
use crate::deeds::deed::{Deed, Exec, Exit, File, FileKind, Net, NetKind, What};
use crate::dialog::{CallName, Said};
use crate::event::ProcessId;
use crate::event::process::ProcessInfo;
use crate::rules::Finding;
use crate::stream::{Gap, Message};

/// Characters of a command that are shown.
const COMMAND_SHOWN: usize = 200;

/// Prints the story. Colours are always written: the stream under it strips them.
pub struct Tree<W> {
    out: W,
    clock: Clock,
    forest: Forest,
    /// Whose line was the last one.
    speaker: Option<ProcessId>,
    /// Calls whose question was told.
    asked: HashSet<CallName>,
    is_finished: bool,
}

impl<W: Write> Tree<W> {
    /// Writes to `out`, which should be buffered.
    pub fn new(out: W, clock: Clock) -> Self {
        Self {
            out,
            clock,
            forest: Forest::default(),
            speaker: None,
            asked: HashSet::new(),
            is_finished: false,
        }
    }

    fn learn(&mut self, info: &ProcessInfo) {
        let node = self.forest.node(info.process);
        if node.name.is_empty() {
            node.name = match &info.exe {
                Some(exe) => cut(exe),
                None => format!("({})", info.comm),
            };
        }
        self.forest.place(info.process, info.parent);
    }

    /// The process has a line of its own from now on.
    fn introduce(&mut self, ts_ns: u64, process: ProcessId, comm: &str) -> io::Result<()> {
        if self.forest.node(process).name.is_empty() {
            self.forest.node(process).name = format!("({comm})");
        }
        // Those above it come first, though they did nothing but start it.
        for process in self.forest.introduced_with(process) {
            let node = self.forest.node(process);
            let text = format!("{} {}", process.pid, node.name);
            self.headline(ts_ns, process, &text)?;
        }
        Ok(())
    }

    fn exec(&mut self, deed: &Deed, exec: &Exec) -> io::Result<()> {
        if let Some(error) = &exec.error {
            let text = format!("could not run {}: {}", cut(&exec.filename), error.0);
            self.forest.node(deed.process).failed = Some(text);
            return Ok(());
        }
        let node = self.forest.node(deed.process);
        // A shell looks for a program in many places.
        node.failed = None;
        node.name = command(exec);
        if !node.is_introduced {
            return self.introduce(deed.ts_ns, deed.process, "");
        }
        let name = node.name.clone();
        self.line(deed.ts_ns, deed.process, Some(AnsiColor::Yellow), &name)
    }

    fn exit(&mut self, deed: &Deed, exit: &Exit) -> io::Result<()> {
        let end = End {
            code: exit.code,
            signal: exit.signal,
            lasted_ns: deed.ts_ns.saturating_sub(deed.process.start_ns),
        };
        let is_fine = exit.code == Some(0);
        if is_fine && !self.forest.has_news(deed.process) {
            // It did nothing, and nothing is wrong.
            self.forest.end(deed.process, end);
            return Ok(());
        }
        self.before(deed)?;
        self.tell_files(deed.ts_ns, deed.process)?;
        let colour = if is_fine {
            AnsiColor::BrightBlack
        } else {
            AnsiColor::Red
        };
        let text = end.text();
        self.line(deed.ts_ns, deed.process, Some(colour), &text)?;
        self.forest.end(deed.process, end);
        Ok(())
    }

    /// What must stand in front of a deed's own line.
    fn before(&mut self, deed: &Deed) -> io::Result<()> {
        self.introduce(deed.ts_ns, deed.process, &deed.comm.text())?;
        match self.forest.node(deed.process).failed.take() {
            Some(text) => self.line(deed.ts_ns, deed.process, Some(AnsiColor::Red), &text),
            None => Ok(()),
        }
    }

    fn file(&mut self, deed: &Deed, kind: FileKind, file: &File) -> io::Result<()> {
        self.forest.count_file(deed.process, kind, file);
        let is_summed_up = matches!(kind, FileKind::Open | FileKind::Write) && file.error.is_none();
        if !is_summed_up || file.watched {
            if let Some(path) = file.path.as_ref().filter(|_| file.error.is_none()) {
                // What was written before it is told before it.
                if let Some((path, note)) = self.forest.take_file(deed.process, &path.text()) {
                    self.file_line(deed.ts_ns, deed.process, &path, note)?;
                }
            }
            return self.told(deed);
        }
        if !file.created && file.bytes.unwrap_or(0) == 0 {
            return Ok(());
        }
        let path = match (&file.path, &file.inode) {
            (Some(path), _) => path.text().into_owned(),
            (None, Some(inode)) => format!("a file that was open before (inode {})", inode.ino),
            (None, None) => "a file that was open before".to_owned(),
        };
        let news = FileNote {
            is_created: file.created,
            bytes: file.bytes.unwrap_or(0),
            times: u64::from(file.bytes.is_some()),
            is_told: false,
        };
        match self
            .forest
            .note_file(deed.process, &path, news, file.closed)
        {
            Some(note) => {
                self.before(deed)?;
                self.file_line(deed.ts_ns, deed.process, &path, note)
            }
            None => Ok(()),
        }
    }

    fn file_line(
        &mut self,
        ts_ns: u64,
        process: ProcessId,
        path: &str,
        note: FileNote,
    ) -> io::Result<()> {
        match note.text(path) {
            Some(text) => self.line(ts_ns, process, None, &text),
            None => Ok(()),
        }
    }

    /// What was written and not told yet.
    fn tell_files(&mut self, ts_ns: u64, process: ProcessId) -> io::Result<()> {
        for (path, note) in self.forest.take_files(process) {
            self.file_line(ts_ns, process, &path, note)?;
        }
        Ok(())
    }

    fn net(&mut self, deed: &Deed, kind: NetKind, net: &Net) -> io::Result<()> {
        self.forest.count_net(deed.process, kind, net);
        let (NetKind::Close, Some(peer)) = (kind, &net.peer) else {
            return self.told(deed);
        };
        let (sent, received) = (net.sent.unwrap_or(0), net.received.unwrap_or(0));
        if sent == 0 && received == 0 {
            return Ok(());
        }
        self.before(deed)?;
        let name = match &net.host {
            Some(host) => format!("{host} ({peer})"),
            None => peer.clone(),
        };
        let text = format!(
            "ends with {name}: {} sent, {} received",
            paint::bytes(sent),
            paint::bytes(received)
        );
        self.line(deed.ts_ns, deed.process, None, &text)
    }

    /// A line as in other views.
    fn told(&mut self, deed: &Deed) -> io::Result<()> {
        let Some(text) = deeds::text(&deed.what) else {
            return Ok(());
        };
        self.before(deed)?;
        self.line(deed.ts_ns, deed.process, None, &text)
    }

    fn gap(&mut self, at: Option<(u64, ProcessId)>, gap: &Gap) -> io::Result<()> {
        let text = format!(
            "MISSING {} B in {} records: {}",
            gap.bytes,
            gap.records,
            gap.cause.as_str()
        );
        match at {
            Some((ts_ns, process)) => self.line(ts_ns, process, Some(AnsiColor::Red), &text),
            None => writeln!(self.out, "{text}"),
        }
    }
}

impl<W: Write> Sink for Tree<W> {
    fn message(&mut self, message: &Message<'_>) -> io::Result<()> {
        match message {
            Message::Gap { origin, gap } => {
                if let Some(origin) = origin {
                    self.introduce(origin.ts_ns, origin.process, &origin.comm.text())?;
                }
                let at = origin.as_ref().map(|origin| (origin.ts_ns, origin.process));
                self.gap(at, gap)
            }
            Message::Missed(missed) => {
                self.introduce(missed.until_ns, missed.process, &missed.comm)?;
                let text = format!("MAYBE MISSED: what it said with {}", missed.file);
                self.line(missed.until_ns, missed.process, Some(AnsiColor::Red), &text)
            }
            Message::Process(info) => {
                self.learn(info);
                Ok(())
            }
            Message::Close { .. }
            | Message::Data { .. }
            | Message::Endpoint { .. }
            | Message::Open { .. }
            | Message::Shutdown(_) => Ok(()),
        }
    }

    fn said(&mut self, said: &Said) -> io::Result<()> {
        self.spoken(said)
    }

    fn deed(&mut self, deed: &Deed) -> io::Result<()> {
        match &deed.what {
            What::Exec(exec) => self.exec(deed, exec),
            What::Exit(exit) => self.exit(deed, exit),
            What::File(kind, file) => self.file(deed, *kind, file),
            What::Fork(fork) => {
                self.forest.node(deed.process);
                let child = self.forest.node(fork.child);
                if child.name.is_empty() {
                    child.name = format!("({})", deed.comm);
                }
                self.forest.place(fork.child, deed.process);
                Ok(())
            }
            What::Net(kind, net) => self.net(deed, *kind, net),
            _ => self.told(deed),
        }
    }

    fn finding(&mut self, finding: &Finding) -> io::Result<()> {
        self.introduce(finding.ts_ns, finding.process, &finding.comm.text())?;
        let detail = &finding.detail;
        let text = format!(
            "{}: {}: {} (by {})",
            detail.severity.as_str(),
            detail.title,
            detail.message,
            detail.rule
        );
        let colour = findings::colour(detail.severity);
        self.line(finding.ts_ns, finding.process, Some(colour), &text)
    }

    fn finish(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.is_finished, true) {
            return Ok(());
        }
        self.summary()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// The command as a shell takes it.
fn command(exec: &Exec) -> String {
    if exec.args.is_empty() {
        return format!("$ {}", cut(&exec.filename));
    }
    let args = exec.args.iter().map(String::as_str);
    let line = shlex::try_join(args).unwrap_or_else(|_| exec.args.join(" "));
    format!("$ {}", cut(&line))
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(COMMAND_SHOWN) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
