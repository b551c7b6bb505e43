//! Lines of the tree: the time, the branches, the text.

use std::fmt::Write as _;
use std::io::{self, Write};

use anstyle::{AnsiColor, Style};

use super::Tree;
use crate::bytes::printable;
use crate::event::ProcessId;
use crate::sink::human::one_line;

/// Branches that are drawn; those of deeper processes are told as a number.
const BRANCHES_MAX: usize = 16;
/// Lines of one text that are shown.
const LINES_SHOWN: usize = 12;
/// Characters of one text that are shown.
const TEXT_SHOWN: usize = 1200;

impl<W: Write> Tree<W> {
    /// The line that a process begins with.
    pub(super) fn headline(
        &mut self,
        ts_ns: u64,
        process: ProcessId,
        text: &str,
    ) -> io::Result<()> {
        let depth = self.forest.depth(process);
        let mut branches = branches(depth.saturating_sub(1));
        if depth > 0 {
            branches.push_str("├─ ");
        }
        self.speaker = Some(process);
        let bold = Style::new().bold();
        let text = format!("{bold}{}{bold:#}", one_line(text));
        self.painted(ts_ns, &branches, &text)
    }

    /// A line below the process's own; it says whose it is, if the line before was another's.
    pub(super) fn line(
        &mut self,
        ts_ns: u64,
        process: ProcessId,
        colour: Option<AnsiColor>,
        text: &str,
    ) -> io::Result<()> {
        let branches = branches(self.forest.depth(process) + 1);
        let style = Style::new().fg_color(colour.map(Into::into));
        let mut words = String::new();
        if self.speaker.replace(process) != Some(process) {
            let _ = write!(words, "{}: ", process.pid);
        }
        let _ = write!(words, "{style}{}{style:#}", one_line(text));
        self.painted(ts_ns, &branches, &words)
    }

    /// Text of several lines, as much of it as people want to see.
    pub(super) fn text(&mut self, process: ProcessId, text: &str) -> io::Result<()> {
        let branches = branches(self.forest.depth(process) + 1);
        let end = text.char_indices().nth(TEXT_SHOWN).map(|(at, _)| at);
        let shown = end.and_then(|end| text.get(..end)).unwrap_or(text);
        let safe = printable(shown);
        let mut lines = safe.lines();
        for line in lines.by_ref().take(LINES_SHOWN) {
            self.below(&branches, line)?;
        }
        match lines.next().is_some() || end.is_some() {
            true => self.below(&branches, "…"),
            false => Ok(()),
        }
    }

    fn below(&mut self, branches: &str, text: &str) -> io::Result<()> {
        let dim = Style::new().dimmed();
        writeln!(self.out, "{:12} {dim}{branches}{dim:#}  {text}", "")
    }

    fn painted(&mut self, ts_ns: u64, branches: &str, text: &str) -> io::Result<()> {
        let time = self.clock.time(ts_ns);
        let time = time.to_zoned(jiff::tz::TimeZone::system());
        let dim = Style::new().dimmed();
        let time = time.strftime("%H:%M:%S%.3f");
        writeln!(self.out, "{dim}{time} {branches}{dim:#}{text}")
    }
}

/// The branches that pass by.
fn branches(depth: usize) -> String {
    match depth {
        0..=BRANCHES_MAX => "│  ".repeat(depth),
        _ => format!("{}({depth}) ", "│  ".repeat(BRANCHES_MAX)),
    }
}

/// The branches in front of a process when all is known: of each one above it, whether it is the last of its level.
pub fn last_branches(lasts: &[bool]) -> String {
    let Some((last, above)) = lasts.split_last() else {
        return String::new();
    };
    // Roots have no branch.
    let above = above.get(1..).unwrap_or_default();
    let mut text = String::new();
    for is_last in above.iter().take(BRANCHES_MAX) {
        text.push_str(if *is_last { "   " } else { "│  " });
    }
    if above.len() > BRANCHES_MAX {
        let _ = write!(text, "({}) ", above.len() + 1);
    }
    if lasts.len() > 1 {
        text.push_str(if *last { "└─ " } else { "├─ " });
    }
    text
}

/// A size as people read it.
pub fn bytes(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{:.1} KB", bytes as f64 / 1e3),
        10_000_000..10_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}
