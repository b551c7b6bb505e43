//! HTTP exchanges and WebSockets, for people.

use std::fmt::Write as _;
use std::io::{self, Write};

use anstyle::{AnsiColor, Style as Colour};

use super::{Human, one_line};
use crate::bytes::printable;
use crate::dialog::said::{Body, HttpRequest, HttpResponse, Lack, Said, StreamEvent, WsMessage};
use crate::proto::{Fields, Outcome, Party};
use crate::sink::said::{outcome_name, ws_kind};

/// Characters of a body that are shown.
const BODY_SHOWN: usize = 4000;

/// In front of fields behind a body: gRPC tells there how a call ended.
const TRAILER: &str = "trailer ";

impl<W: Write> Human<W> {
    pub(super) fn request(&mut self, said: &Said, request: &HttpRequest) -> io::Result<()> {
        let method = request.method.as_deref().unwrap_or("?");
        let mut text = format!("{} {}", one_line(method), one_line(&url(request)));
        grpc(&mut text, &request.body);
        ended(&mut text, request.outcome);
        self.headline(AnsiColor::Green, &said.origin, &text)?;
        self.fields("", &request.fields)?;
        self.body(&request.body)?;
        self.fields(TRAILER, &request.trailers)?;
        self.lacks(&request.incomplete)
    }

    pub(super) fn response(&mut self, said: &Said, response: &HttpResponse) -> io::Result<()> {
        let status = response.status;
        let status = status.map_or_else(|| "?".to_owned(), |status| status.to_string());
        let mut text = format!("{} {status}", response.version);
        if response.events > 0 {
            let _ = write!(text, ", {} events", response.events);
        }
        grpc(&mut text, &response.body);
        ended(&mut text, response.outcome);
        self.headline(AnsiColor::Cyan, &said.origin, &text)?;
        self.fields("", &response.fields)?;
        self.body(&response.body)?;
        self.fields(TRAILER, &response.trailers)?;
        self.lacks(&response.incomplete)
    }

    pub(super) fn event(&mut self, said: &Said, event: &StreamEvent) -> io::Result<()> {
        let mut text = format!("event {}", event.number);
        if let Some(name) = &event.event {
            let _ = write!(text, " {}", one_line(name));
        }
        if event.is_cut_off {
            text.push_str(", CUT OFF");
        }
        self.headline(AnsiColor::Cyan, &said.origin, &text)?;
        self.shown(&event.data)
    }

    pub(super) fn web_socket(&mut self, said: &Said, message: &WsMessage) -> io::Result<()> {
        let (colour, arrow) = match message.from {
            Party::Local => (AnsiColor::Green, "write"),
            Party::Peer => (AnsiColor::Cyan, "read"),
        };
        let mut text = format!(
            "websocket {arrow} {} {} B",
            ws_kind(message.kind),
            message.bytes.len()
        );
        if message.is_incomplete {
            text.push_str(", INCOMPLETE");
        }
        self.headline(colour, &said.origin, &text)?;
        match std::str::from_utf8(&message.bytes) {
            Ok(text) => self.shown(text),
            Err(_) => self.hex(&message.bytes, 0, super::BINARY_SHOWN),
        }
    }

    fn fields(&mut self, what: &str, fields: &Fields) -> io::Result<()> {
        let dim = Colour::new().dimmed();
        for field in &fields.0 {
            let value = field.value.as_deref().unwrap_or("?");
            let (name, value) = (one_line(&field.name), one_line(value));
            writeln!(self.out, "  {dim}{what}{name}: {value}{dim:#}")?;
        }
        Ok(())
    }

    fn body(&mut self, body: &Body) -> io::Result<()> {
        match std::str::from_utf8(&body.bytes) {
            Ok("") => Ok(()),
            Ok(text) => self.shown(text),
            Err(_) => self.hex(&body.bytes, 0, super::BINARY_SHOWN),
        }
    }

    /// A text, as much of it as people want to see.
    pub(super) fn shown(&mut self, text: &str) -> io::Result<()> {
        let end = text.char_indices().nth(BODY_SHOWN).map(|(at, _)| at);
        let shown = end.and_then(|end| text.get(..end)).unwrap_or(text);
        for line in printable(shown).lines() {
            writeln!(self.out, "  {line}")?;
        }
        match text.len() - shown.len() {
            0 => Ok(()),
            left => writeln!(self.out, "  … {left} more bytes (--json has all)"),
        }
    }

    pub(super) fn lacks(&mut self, lacks: &[Lack]) -> io::Result<()> {
        let colour = Colour::new().fg_color(Some(AnsiColor::Red.into()));
        for lack in lacks {
            let bytes = lack.bytes.map(|bytes| format!("{bytes} B, "));
            let bytes = bytes.unwrap_or_default();
            writeln!(
                self.out,
                "  {colour}INCOMPLETE {}: {bytes}{} (at {}){colour:#}",
                lack.of,
                one_line(&lack.why),
                lack.at
            )?;
        }
        Ok(())
    }
}

fn grpc(text: &mut String, body: &Body) {
    if body.grpc_messages > 0 {
        let _ = write!(text, ", {} gRPC messages", body.grpc_messages);
    }
}

fn ended(text: &mut String, outcome: Outcome) {
    if outcome != Outcome::Complete {
        let _ = write!(text, ", {}", outcome_name(outcome).to_uppercase());
    }
}

/// With the host, if the target has none.
fn url(request: &HttpRequest) -> String {
    let target = request.target.as_deref().unwrap_or("?");
    match &request.authority {
        Some(host) if target.starts_with('/') => format!("https://{host}{target}"),
        _ => target.to_owned(),
    }
}
