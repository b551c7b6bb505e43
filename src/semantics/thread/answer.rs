//! What an answer said, as far as later questions can be told by it: by what they repeat of it, and by the results of the
//! tools that it wanted.

use super::{Digest, digest};
use crate::semantics::{Message, Part, Response};

/// Parts of an answer that are remembered, and tools that it wanted.
const PARTS_MAX: usize = 256;

/// An answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    /// Its parts.
    marks: Vec<Digest>,
    /// In the order in which they are wanted.
    pub wanted: Vec<Want>,
}

/// A tool that an answer wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Want {
    pub id: Option<String>,
    pub name: String,
    /// Which part of its message it is.
    pub part: u64,
}

impl Answer {
    pub fn new(response: &Response) -> Self {
        let messages = || response.choices.iter().map(|choice| &choice.message);
        let wanted = messages().flat_map(|message| message.parts.iter().zip(0..));
        let wanted = wanted.filter_map(|(part, number)| want(part, number));
        let marks = messages().flat_map(|message| message.parts.iter().filter_map(mark));
        Self {
            marks: marks.take(PARTS_MAX).collect(),
            wanted: wanted.take(PARTS_MAX).collect(),
        }
    }

    /// How many of its parts are among these.
    pub fn repeated(&self, marks: &[Digest]) -> usize {
        let own = self.marks.iter();
        own.filter(|mark| marks.contains(mark)).count()
    }

    /// Nothing of it was seen.
    pub fn is_unknown(&self) -> bool {
        self.marks.is_empty()
    }
}

fn want(part: &Part, number: u64) -> Option<Want> {
    let Part::ToolCall { id, name, .. } = part else {
        return None;
    };
    Some(Want {
        id: id.clone().filter(|id| !id.is_empty()),
        name: name.clone(),
        part: number,
    })
}

/// A model says it.
pub(super) fn is_said(message: &Message) -> bool {
    message.role == "assistant"
}

/// The parts that a model said at the beginning of these messages.
pub(super) fn marks(messages: &[Message]) -> Vec<Digest> {
    let said = messages.iter().take_while(|message| is_said(message));
    let marks = said.flat_map(|message| message.parts.iter().filter_map(mark));
    marks.take(PARTS_MAX).collect()
}

/// Of what agents repeat as it was: texts, but for the blanks around them, and tool calls. Thoughts are often left out.
fn mark(part: &Part) -> Option<Digest> {
    match part {
        Part::Text { content, .. } | Part::Refusal { content } => {
            let text = content.trim();
            (!text.is_empty()).then(|| digest(&("text", text)))
        }
        Part::ToolCall { id: Some(id), .. } => Some(digest(&("call", id))),
        Part::ToolCall {
            name, arguments, ..
        } => Some(digest(&("call", name, arguments))),
        _ => None,
    }
}

/// Which of these a result with this number, under this name, is of: by number, else by name and order if `is_unnumbered`:
/// some providers give no number, some clients give one of their own, and some drop it.
pub(super) fn place(
    open: &[&Want],
    id: Option<&str>,
    name: Option<&str>,
    is_unnumbered: bool,
) -> Option<usize> {
    let by_number = open
        .iter()
        .position(|want| id.is_some() && want.id.as_deref() == id);
    let takes = |want: &&Want| {
        (want.id.is_none() || id.is_none()) && name.is_none_or(|name| name == want.name)
    };
    by_number.or_else(|| open.iter().position(takes).filter(|_| is_unnumbered))
}
