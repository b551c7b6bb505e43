//! Calls of models, for people: the question in short, the answer as it comes, what it took.

use std::fmt::Write as _;
use std::io::{self, Write};

use anstyle::AnsiColor;

use super::{Human, one_line};
use crate::bytes::printable;
use crate::dialog::said::{Asked, CallName, CallReport, Said};
use crate::semantics::dialect::DeltaKind;
use crate::semantics::mcp::{McpKind, McpMessage};
use crate::semantics::thread::Place;
use crate::semantics::{Call, Choice, Delta, Message, Part, Request, Response, Usage};

/// Calls of which it is remembered what was printed.
const TOLD_MAX: usize = 1 << 16;

/// What was printed of a call that has not ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct Told {
    question: bool,
    answer: bool,
}

/// A line that has not ended, and what it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    call: CallName,
    choice: u64,
    part: u64,
    /// It stands at the beginning of a line.
    is_at_start: bool,
}

impl<W: Write> Human<W> {
    pub(super) fn asked(&mut self, said: &Said, asked: &Asked) -> io::Result<()> {
        self.end_line()?;
        self.told_of(asked.name).question = true;
        let authority = asked.authority.as_deref();
        let question = question(&asked.call, authority, Some(asked.bytes));
        let text = format!("{} {question}", asked.name);
        self.headline(AnsiColor::Green, &said.origin, &text)?;
        self.new_messages(&asked.call.request, asked.thread.as_ref())
    }

    fn told_of(&mut self, call: CallName) -> &mut Told {
        if self.told.len() > TOLD_MAX {
            self.told.clear();
        }
        self.told.entry(call).or_default()
    }

    fn new_messages(&mut self, request: &Request, thread: Option<&Place>) -> io::Result<()> {
        // What the model says was told when it said it, and instructions are long.
        let is_told = |message: &&Message| {
            let role = message.role.as_str();
            !["assistant", "developer", "system"].contains(&role)
        };
        let known = thread.map_or(0, |place| place.new_from);
        let new = request.messages.iter().skip(known);
        for message in new.filter(is_told) {
            self.message_shown(message)?;
        }
        Ok(())
    }

    fn message_shown(&mut self, message: &Message) -> io::Result<()> {
        for part in &message.parts {
            let text = part_text(part);
            if !text.is_empty() {
                self.shown(&format!("{}: {text}", message.role))?;
            }
        }
        Ok(())
    }

    pub(super) fn delta(&mut self, said: &Said, call: CallName, delta: &Delta) -> io::Result<()> {
        let text = match &delta.kind {
            DeltaKind::Finish(_) => return Ok(()),
            DeltaKind::Reasoning(text) | DeltaKind::Text(text) | DeltaKind::ToolArguments(text) => {
                text.clone()
            }
            DeltaKind::ToolCall { name, .. } => format!("{} ", one_line(name)),
        };
        self.told_of(call).answer = true;
        let place = (call, delta.choice, delta.part);
        let cursor = self.cursor.as_ref();
        if cursor.map(|cursor| (cursor.call, cursor.choice, cursor.part)) != Some(place) {
            self.end_line()?;
            let kind = match &delta.kind {
                DeltaKind::Reasoning(_) => "thinks",
                DeltaKind::ToolCall { .. } | DeltaKind::ToolArguments(_) => "wants",
                _ => "says",
            };
            let text = format!("{call} {kind}");
            self.headline(AnsiColor::Cyan, &said.origin, &text)?;
            self.cursor = Some(Cursor {
                call,
                choice: delta.choice,
                part: delta.part,
                is_at_start: true,
            });
        }
        self.flow(&text)
    }

    /// Text that goes on where the last stopped.
    fn flow(&mut self, text: &str) -> io::Result<()> {
        let Some(cursor) = &mut self.cursor else {
            return Ok(());
        };
        for line in printable(text).split_inclusive('\n') {
            if cursor.is_at_start {
                self.out.write_all(b"  ")?;
            }
            self.out.write_all(line.as_bytes())?;
            cursor.is_at_start = line.ends_with('\n');
        }
        Ok(())
    }

    /// Something else comes now.
    pub(super) fn end_line(&mut self) -> io::Result<()> {
        match self.cursor.take() {
            Some(cursor) if !cursor.is_at_start => self.out.write_all(b"\n"),
            _ => Ok(()),
        }
    }

    pub(super) fn mcp(&mut self, said: &Said, message: &McpMessage) -> io::Result<()> {
        self.end_line()?;
        let (colour, arrow) = match message.kind {
            McpKind::Error => (AnsiColor::Red, "error of"),
            McpKind::Notification => (AnsiColor::Green, "notifies"),
            McpKind::Request => (AnsiColor::Green, "asks"),
            McpKind::Response => (AnsiColor::Cyan, "answers"),
        };
        let mut text = format!("mcp {arrow}");
        let words = [&message.method, &message.name, &message.uri];
        for word in words.into_iter().flatten() {
            let _ = write!(text, " {}", one_line(word));
        }
        self.headline(colour, &said.origin, &text)?;
        let content = [&message.params, &message.result, &message.error];
        match content.into_iter().flatten().next() {
            Some(content) => self.shown(&content.to_string()),
            None => Ok(()),
        }
    }

    pub(super) fn call(&mut self, said: &Said, report: &CallReport) -> io::Result<()> {
        self.end_line()?;
        // What was not told as it came: it came in one piece, or `--filter` let nothing else pass.
        let told = self.told.remove(&report.name).unwrap_or_default();
        if !told.question {
            let question = question(&report.call, report.authority.as_deref(), None);
            let text = format!("{} {question}", report.name);
            self.headline(AnsiColor::Green, &said.origin, &text)?;
            self.new_messages(&report.call.request, report.thread.as_ref())?;
        }
        if !told.answer
            && let Some(response) = &report.call.response
            && response.choices.iter().any(has_text)
        {
            let text = format!("{} says", report.name);
            self.headline(AnsiColor::Cyan, &said.origin, &text)?;
            for choice in &response.choices {
                self.message_shown(&choice.message)?;
            }
        }
        let colour = match report.error {
            Some(_) => AnsiColor::Red,
            None => AnsiColor::BrightBlack,
        };
        let text = format!("{} {}", report.name, result(report));
        self.headline(colour, &said.origin, &text)?;
        self.lacks(&report.incomplete)
    }
}

fn has_text(choice: &Choice) -> bool {
    let mut parts = choice.message.parts.iter();
    parts.any(|part| !part_text(part).is_empty())
}

/// What is asked, in a line.
pub(in crate::sink) fn question(
    call: &Call,
    authority: Option<&str>,
    bytes: Option<u64>,
) -> String {
    let request = &call.request;
    let mut text = format!("{} {}", one_line(&call.provider), model(request));
    if let Some(host) = authority {
        let _ = write!(text, " at {}", one_line(host));
    }
    let _ = write!(text, ": {} messages", request.messages.len());
    if let Some(bytes) = bytes {
        let _ = write!(text, ", {}", bytes_text(bytes));
    }
    if !request.tools.is_empty() {
        let _ = write!(text, ", {} tools", request.tools.len());
    }
    text
}

fn model(request: &Request) -> String {
    one_line(request.model.as_deref().unwrap_or("(no model named)"))
}

/// How it went, in a line.
pub(in crate::sink) fn result(report: &CallReport) -> String {
    let mut words = Vec::new();
    if let Some(error) = &report.error {
        words.push(format!("FAILED: {}", one_line(error)));
    }
    if let Some(response) = &report.call.response {
        words.extend(reasons(response));
        words.extend(response.usage.as_ref().map(usage_text));
    }
    if let Some(cost) = &report.cost {
        let about = if cost.is_estimate { "about " } else { "" };
        words.push(format!("{about}${:.4}", cost.usd));
    }
    let mut time = format!("{:.2} s", report.timings.end_ms / 1e3);
    if let Some(first) = report.timings.first_token_ms {
        let _ = write!(time, " (first token {:.2} s)", first / 1e3);
    }
    words.push(time);
    words.join(", ")
}

fn reasons(response: &Response) -> Option<String> {
    let reasons = response.choices.iter();
    let reasons: Vec<_> = reasons
        .filter_map(|choice| choice.finish_reason.as_deref().map(one_line))
        .collect();
    (!reasons.is_empty()).then(|| reasons.join(" "))
}

fn usage_text(usage: &Usage) -> String {
    let number = |tokens: Option<u64>| tokens.map_or_else(|| "?".into(), |n| n.to_string());
    let mut text = format!("{} tokens in", number(usage.input_tokens));
    if let Some(cached) = usage.cache_read_tokens.filter(|cached| *cached > 0) {
        let _ = write!(text, " ({cached} from cache)");
    }
    let _ = write!(text, ", {} out", number(usage.output_tokens));
    if let Some(reasoning) = usage.reasoning_tokens.filter(|tokens| *tokens > 0) {
        let _ = write!(text, " ({reasoning} reasoning)");
    }
    if usage.estimated_with.is_some() {
        text.push_str(" (estimated)");
    }
    text
}

fn bytes_text(bytes: u64) -> String {
    match bytes {
        0..10_000 => format!("{bytes} B"),
        10_000..10_000_000 => format!("{:.1} KB", bytes as f64 / 1e3),
        _ => format!("{:.1} MB", bytes as f64 / 1e6),
    }
}

/// A part of a message in short.
pub(in crate::sink) fn part_text(part: &Part) -> String {
    match part {
        Part::Blob {
            modality,
            mime_type,
            bytes,
            ..
        } => {
            let kind = mime_type.as_deref().unwrap_or(modality);
            format!("[{kind}, {bytes} B]")
        }
        Part::File { file_id } => format!("[file {file_id}]"),
        Part::Generic { kind, .. } => format!("[{kind}]"),
        Part::Reasoning { content, encrypted } => match (content.as_str(), encrypted) {
            ("", true) => "[thoughts that only the provider can read]".to_owned(),
            _ => format!("(thinks) {content}"),
        },
        Part::Refusal { content } => format!("(refuses) {content}"),
        Part::ServerToolCall {
            name, arguments, ..
        }
        | Part::ToolCall {
            name, arguments, ..
        } => format!("wants {name} {arguments}"),
        Part::ServerToolCallResponse { response, .. } | Part::ToolCallResponse { response, .. } => {
            match response.as_str() {
                Some(text) => format!("gets {text}"),
                None => format!("gets {response}"),
            }
        }
        Part::Text { content, .. } => content.clone(),
        Part::Uri { uri, modality, .. } => format!("[{modality} {uri}]"),
    }
}
