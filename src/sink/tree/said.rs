//! What a process said to models and others, below its line: the question with its new messages, the answer, what it took.

use std::fmt::Write as _;
use std::io::{self, Write};

use anstyle::AnsiColor;

use super::Tree;
use crate::dialog::said::{Asked, CallReport, HttpRequest, HttpResponse, Role};
use crate::dialog::{Said, What};
use crate::semantics::mcp::{McpKind, McpMessage};
use crate::semantics::thread::Place;
use crate::semantics::{Message, Request};
use crate::sink::human::llm;
use crate::sink::tree::paint;

/// Calls of which it is remembered that their question was told.
const ASKED_MAX: usize = 1 << 16;

impl<W: Write> Tree<W> {
    pub(super) fn spoken(&mut self, said: &Said) -> io::Result<()> {
        let is_silent = matches!(
            said.what,
            What::Delta { .. } | What::Event(_) | What::WebSocket(_)
        );
        if is_silent {
            return Ok(());
        }
        let origin = &said.origin;
        self.introduce(origin.ts_ns, origin.process, &origin.comm.text())?;
        match &said.what {
            What::Asked(asked) => self.asked(said, asked),
            What::Call(report) => self.call(said, report),
            What::Mcp(message) => self.mcp(said, message),
            What::Request(request) => self.request(said, request),
            What::Response(response) => self.response(said, response),
            What::Delta { .. } | What::Event(_) | What::WebSocket(_) => Ok(()),
        }
    }

    fn say(&mut self, said: &Said, colour: AnsiColor, text: &str) -> io::Result<()> {
        self.line(said.origin.ts_ns, said.origin.process, Some(colour), text)
    }

    fn asked(&mut self, said: &Said, asked: &Asked) -> io::Result<()> {
        self.tell_files(said.origin.ts_ns, said.origin.process)?;
        if self.asked.len() > ASKED_MAX {
            self.asked.clear();
        }
        self.asked.insert(asked.name);
        let question = llm::question(&asked.call, asked.authority.as_deref(), Some(asked.bytes));
        let text = format!("{} {} {question}", asked.name, verb(said));
        self.say(said, AnsiColor::Green, &text)?;
        self.new_messages(said, &asked.call.request, asked.thread.as_ref())
    }

    fn call(&mut self, said: &Said, report: &CallReport) -> io::Result<()> {
        if !self.asked.remove(&report.name) {
            let question = llm::question(&report.call, report.authority.as_deref(), None);
            let text = format!("{} {} {question}", report.name, verb(said));
            self.say(said, AnsiColor::Green, &text)?;
            self.new_messages(said, &report.call.request, report.thread.as_ref())?;
        }
        self.count(said, report);
        let colour = match report.error {
            Some(_) => AnsiColor::Red,
            None => AnsiColor::Cyan,
        };
        let text = format!("{} answered: {}", report.name, llm::result(report));
        self.say(said, colour, &text)?;
        let choices = report
            .call
            .response
            .iter()
            .flat_map(|response| &response.choices);
        for choice in choices {
            self.words(said, &choice.message)?;
        }
        Ok(())
    }

    fn count(&mut self, said: &Said, report: &CallReport) {
        let sums = &mut self.forest.node(said.origin.process).sums;
        sums.calls += 1;
        sums.failed_calls += u64::from(report.error.is_some());
        let usage = report
            .call
            .response
            .as_ref()
            .and_then(|response| response.usage.as_ref());
        if let Some(usage) = usage {
            let tokens = |tokens: Option<u64>| tokens.unwrap_or(0);
            sums.input_tokens = sums.input_tokens.saturating_add(tokens(usage.input_tokens));
            sums.output_tokens = sums
                .output_tokens
                .saturating_add(tokens(usage.output_tokens));
        }
        sums.usd += report.cost.as_ref().map_or(0.0, |cost| cost.usd);
    }

    fn new_messages(
        &mut self,
        said: &Said,
        request: &Request,
        thread: Option<&Place>,
    ) -> io::Result<()> {
        // What the model says was told when it said it, and instructions are long.
        let is_told = |message: &&Message| {
            !["assistant", "developer", "system"].contains(&message.role.as_str())
        };
        let known = thread.map_or(0, |place| place.new_from);
        for message in request.messages.iter().skip(known).filter(is_told) {
            self.words(said, message)?;
        }
        Ok(())
    }

    fn words(&mut self, said: &Said, message: &Message) -> io::Result<()> {
        for part in &message.parts {
            let text = llm::part_text(part);
            if !text.is_empty() {
                self.text(said.origin.process, &format!("{}: {text}", message.role))?;
            }
        }
        Ok(())
    }

    fn mcp(&mut self, said: &Said, message: &McpMessage) -> io::Result<()> {
        let (colour, verb) = match message.kind {
            McpKind::Error => (AnsiColor::Red, "error of"),
            McpKind::Notification => (AnsiColor::Green, "notifies"),
            McpKind::Request => (AnsiColor::Green, "asks"),
            McpKind::Response => (AnsiColor::Cyan, "answers"),
        };
        let mut text = format!("mcp {verb}");
        let words = [&message.method, &message.name, &message.uri];
        for word in words.into_iter().flatten() {
            let _ = write!(text, " {word}");
        }
        self.say(said, colour, &text)
    }

    fn request(&mut self, said: &Said, request: &HttpRequest) -> io::Result<()> {
        let text = format!(
            "{} {}{}",
            request.method.as_deref().unwrap_or("?"),
            request.authority.as_deref().unwrap_or_default(),
            request.target.as_deref().unwrap_or("?"),
        );
        self.say(said, AnsiColor::Green, &text)
    }

    fn response(&mut self, said: &Said, response: &HttpResponse) -> io::Result<()> {
        let status = response
            .status
            .map_or_else(|| "?".to_owned(), |status| status.to_string());
        let text = format!("gets {status}, {}", paint::bytes(response.body.decoded));
        self.say(said, AnsiColor::Cyan, &text)
    }
}

/// The process asks, or is asked.
fn verb(said: &Said) -> &'static str {
    match said.role {
        Role::Client => "asks",
        Role::Server => "is asked as",
    }
}
