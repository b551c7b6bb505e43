//! The whole tree at the end of a run: each process with how it ended and what it did, in sums.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};

use super::Tree;
use super::forest::{Folded, Node, Sums};
use super::paint::{bytes, last_branches};
use crate::sink::human::one_line;

impl<W: Write> Tree<W> {
    pub(super) fn summary(&mut self) -> io::Result<()> {
        self.leftovers()?;
        let mut lines: io::Result<()> = Ok(());
        let out = &mut self.out;
        let mut is_first = true;
        self.forest.walk(|process, node, lasts| {
            if lines.is_err() {
                return;
            }
            if std::mem::take(&mut is_first) {
                lines = writeln!(out);
            }
            let branches = last_branches(lasts);
            let told = write_node(out, &branches, &process.pid.to_string(), node);
            lines = std::mem::replace(&mut lines, Ok(())).and(told);
        });
        lines?;
        let folded = self.forest.folded;
        match folded.processes {
            0 => Ok(()),
            _ => writeln!(self.out, "{}", folded_text(&folded)),
        }
    }

    /// Files of processes that have not ended.
    fn leftovers(&mut self) -> io::Result<()> {
        let mut living = Vec::new();
        self.forest.walk(|process, node, _| {
            if node.end.is_none() {
                living.push(*process);
            }
        });
        for process in living {
            for (path, note) in self.forest.take_files(process) {
                if let Some(text) = note.text(&path) {
                    let pid = process.pid;
                    writeln!(self.out, "{pid}: {}", one_line(&text))?;
                }
            }
        }
        Ok(())
    }
}

fn write_node(out: &mut impl Write, branches: &str, pid: &str, node: &Node) -> io::Result<()> {
    let dim = Style::new().dimmed();
    let bold = Style::new().bold();
    let name = one_line(&node.name);
    write!(out, "{dim}{branches}{dim:#}{bold}{pid} {name}{bold:#}")?;
    match &node.end {
        Some(end) if end.code == Some(0) => write!(out, "  {dim}{}{dim:#}", end.text())?,
        Some(end) => {
            let red = Style::new().fg_color(Some(AnsiColor::Red.into()));
            write!(out, "  {red}{}{red:#}", end.text())?;
        }
        None => write!(out, "  {dim}has not ended{dim:#}")?,
    }
    let sums = sums_text(&node.sums);
    if !sums.is_empty() {
        write!(out, ": {sums}")?;
    }
    if node.folded.processes > 0 {
        write!(out, "; {}", folded_text(&node.folded))?;
    }
    writeln!(out)
}

fn folded_text(folded: &Folded) -> String {
    let mut text = format!("and {} more processes", folded.processes);
    if folded.failed > 0 {
        text += &format!(", {} of them failed", folded.failed);
    }
    let sums = sums_text(&folded.sums);
    if !sums.is_empty() {
        text += &format!(": {sums}");
    }
    text
}

/// What is not nothing.
fn sums_text(sums: &Sums) -> String {
    let mut words = Vec::new();
    let counted = |number: u64, one: &str, many: &str| match number {
        1 => format!("1 {one}"),
        _ => format!("{number} {many}"),
    };
    if sums.created > 0 {
        words.push(counted(sums.created, "file created", "files created"));
    }
    if sums.bytes > 0 {
        words.push(format!("{} written to files", bytes(sums.bytes)));
    }
    if sums.removed > 0 {
        words.push(format!("{} removed", sums.removed));
    }
    if sums.connections > 0 {
        words.push(counted(sums.connections, "connection", "connections"));
    }
    if sums.sent > 0 || sums.received > 0 {
        words.push(format!(
            "{} sent, {} received",
            bytes(sums.sent),
            bytes(sums.received)
        ));
    }
    if sums.calls > 0 {
        words.push(calls_text(sums, counted(sums.calls, "call", "calls")));
    }
    words.join(", ")
}

fn calls_text(sums: &Sums, calls: String) -> String {
    let mut text = calls;
    if sums.failed_calls > 0 {
        text += &format!(", {} of them failed", sums.failed_calls);
    }
    text += &format!(
        " ({} tokens in, {} out",
        sums.input_tokens, sums.output_tokens
    );
    if sums.usd > 0.0 {
        text += &format!(", ${:.4}", sums.usd);
    }
    text.push(')');
    text
}
