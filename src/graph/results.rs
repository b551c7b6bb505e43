//! Whether what a process wrote into a pipe is what a tool's result says. Agents put words of their own around it, trim it,
//! and cut what is long; where they cut, they say so.

use serde_json::Value;

use super::node::Confidence;
use super::places::each_string;
use crate::deeds::deed::Inode;
use crate::event::ProcessId;

/// Bytes of one pipe that are kept.
const PIPE_MAX: usize = 256 << 10;
/// Processes that write into one pipe.
const WRITERS_MAX: usize = 64;
/// A shorter text stands in another by chance.
const PART_MIN: usize = 8;
/// Without anything else that ties a process to a tool call, texts must be longer.
const TIE_MIN: usize = 16;
/// Between what is left of a text that was cut: `… [12345 characters truncated] …`.
const MARK_MAX: usize = 240;
/// Of a text that was cut, so much must be left.
const LEFT_MIN: usize = 32;
/// What such marks say.
const MARKS: [&str; 4] = ["truncated", "omitted", "clipped", "elided"];

/// What went into a pipe.
#[derive(Clone, Debug, Default)]
pub struct Pipe {
    /// Its inode.
    pub inode: u64,
    text: String,
    is_cut: bool,
    /// Another process of the same tool call reads it: it is inside of the command, and none of its results.
    pub is_inside: bool,
    /// Who wrote, each with its program, if it began one.
    pub writers: Vec<(ProcessId, Option<u64>)>,
}

impl Pipe {
    /// A pipe into which nothing has gone yet.
    pub fn new(inode: u64) -> Self {
        Self {
            inode,
            ..Self::default()
        }
    }

    /// More went into it. `None`: it is no text. Returns how many bytes more are kept.
    pub fn write(
        &mut self,
        writer: (ProcessId, Option<u64>),
        text: Option<&str>,
        missing: u64,
    ) -> usize {
        if !self.writers.contains(&writer) && self.writers.len() < WRITERS_MAX {
            self.writers.push(writer);
        }
        let before = self.text.len();
        match text {
            Some(text) if !self.is_cut && before + text.len() <= PIPE_MAX => {
                self.text.push_str(text);
            }
            _ => self.is_cut = true,
        }
        self.is_cut |= missing > 0;
        self.text.len() - before
    }

    /// Bytes that are kept.
    pub fn held(&self) -> usize {
        self.text.len()
    }
}

/// A file that stands where a pipe could: some agents have commands write into one, and read it then.
#[derive(Clone, Debug)]
pub struct OutFile {
    /// It.
    pub inode: Inode,
    /// Who wrote into it.
    pub writers: Vec<ProcessId>,
    /// The agent has read it since.
    pub was_read: bool,
}

impl OutFile {
    /// A process writes into it.
    pub fn write(&mut self, writer: ProcessId) {
        if !self.writers.contains(&writer) && self.writers.len() < WRITERS_MAX {
            self.writers.push(writer);
        }
        self.was_read = false;
    }
}

/// Why a writer of such a file wrote the result: what it wrote is not seen.
pub const READ_BEFORE: &str =
    "its output went into a file that the agent read before it told the result";

const SAME: &str = "what it wrote is the result";
const PART: &str = "what it wrote is a part of the result";
const CUT: &str = "what it wrote is the result but for the part that was cut out";
const BEGINNING: &str = "what is known of what it wrote is a part of the result";

/// All texts of a result, those inside of JSON text included.
pub fn texts(response: &Value) -> Vec<String> {
    let mut all = Vec::new();
    each_string(response, &mut |_, text| {
        all.push(plain(text));
        if text.trim_start().starts_with(['{', '['])
            && let Ok(inner) = serde_json::from_str::<Value>(text)
        {
            each_string(&inner, &mut |_, text| all.push(plain(text)));
        }
    });
    all
}

/// How sure it is that what went into a pipe is in a result. `is_tied`: its writer is known to be begun for this tool call.
pub fn fit(pipe: &Pipe, texts: &[String], is_tied: bool) -> Option<(Confidence, &'static str)> {
    let wrote = plain(&pipe.text);
    if wrote.is_empty() || pipe.is_inside || (!is_tied && wrote.len() < TIE_MIN) {
        return None;
    }
    let found = texts
        .iter()
        .filter_map(|text| one(&wrote, text, pipe.is_cut))
        .max()?;
    match is_tied {
        true => Some(found),
        // The same text may come from elsewhere.
        false => Some((Confidence::Likely, found.1)).filter(|_| found.1 != BEGINNING),
    }
}

fn one(wrote: &str, text: &str, is_cut: bool) -> Option<(Confidence, &'static str)> {
    if is_cut {
        let is_part = wrote.len() >= PART_MIN && text.contains(wrote);
        return is_part.then_some((Confidence::Likely, BEGINNING));
    }
    if wrote == text {
        return Some((Confidence::Exact, SAME));
    }
    if wrote.len() >= PART_MIN && text.contains(wrote) {
        let confidence = match wrote.len() >= TIE_MIN {
            true => Confidence::Exact,
            false => Confidence::Likely,
        };
        return Some((confidence, PART));
    }
    // Little, but behind whatever the agent put before it.
    let before = text.strip_suffix(wrote);
    if before.is_some_and(|before| before.ends_with('\n')) {
        return Some((Confidence::Likely, PART));
    }
    is_cut_out(wrote, text).then_some((Confidence::Likely, CUT))
}

/// Whether `text` is `wrote` with a part of it replaced by a mark that says so.
fn is_cut_out(wrote: &str, text: &str) -> bool {
    let Some((at, mark)) = MARKS
        .iter()
        .find_map(|mark| text.find(mark).map(|at| (at, mark)))
    else {
        return false;
    };
    let (wrote, text) = (wrote.as_bytes(), text.as_bytes());
    let same =
        |pairs: &mut dyn Iterator<Item = (&u8, &u8)>| pairs.take_while(|(a, b)| a == b).count();
    let head = same(&mut wrote.iter().zip(text)).min(at);
    let tail = same(&mut wrote.iter().rev().zip(text.iter().rev()));
    let tail = tail.min(text.len().saturating_sub(at + mark.len()));
    let middle = text.len().saturating_sub(head + tail);
    head + tail >= LEFT_MIN && head + tail < wrote.len() && middle <= MARK_MAX
}

/// Without what agents and terminals change about a text.
fn plain(text: &str) -> String {
    let text = text.replace("\r\n", "\n");
    text.trim().to_owned()
}
