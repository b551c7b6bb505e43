//! For people at a terminal: conversations, HTTP exchanges, or a headline and the text of each piece of plaintext. What
//! processes sent is hostile: control characters are shown, never obeyed.

pub(super) mod deeds;
pub(super) mod findings;
mod http;
pub(super) mod llm;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::{self, Write};

use anstyle::{AnsiColor, Style as Colour};

use super::{Clock, Sink, View};
use crate::bytes::printable;
use crate::deeds::deed::Deed;
use crate::dialog::{CallName, Said, What};
use crate::event::process::{Missed, ProcessInfo};
use crate::event::{Direction, Role, SocketNames, Trust};
use crate::rules::Finding;
use crate::select::Container;
use crate::stream::{Confidence, Endpoint, Gap, Message, Origin, Payload};

/// Bytes of binary data shown without `--hex`.
const BINARY_SHOWN: usize = 64;
const HEX_WIDTH: usize = 16;

/// How payloads are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Text as text, the start of binary data as a hex dump.
    Auto,
    /// All as a hex dump.
    Hex,
}

/// Prints blocks for people. Colours are always written: the stream under it strips them.
pub struct Human<W> {
    out: W,
    clock: Clock,
    style: Style,
    view: View,
    /// Where the last line stands that has not ended.
    cursor: Option<llm::Cursor>,
    /// What was printed of calls that have not ended.
    told: HashMap<CallName, llm::Told>,
}

impl<W: Write> Human<W> {
    /// Writes to `out`, which should be buffered.
    pub fn new(out: W, clock: Clock, style: Style, view: View) -> Self {
        Self {
            out,
            clock,
            style,
            view,
            cursor: None,
            told: HashMap::new(),
        }
    }

    fn headline(&mut self, colour: AnsiColor, origin: &Origin, text: &str) -> io::Result<()> {
        let time = self.clock.time(origin.ts_ns);
        let time = time.to_zoned(jiff::tz::TimeZone::system());
        let colour = Colour::new().fg_color(Some(colour.into()));
        let dim = Colour::new().dimmed();
        writeln!(
            self.out,
            "{dim}{}{dim:#} {colour}{}[{}] {} {} {text}{colour:#}",
            time.strftime("%H:%M:%S%.6f"),
            one_line(&origin.comm.to_string()),
            origin.process.pid,
            one_line(&origin.function.library),
            origin.conn,
        )
    }

    /// A line about a process, and none of its connections.
    fn process_line(&mut self, at_ns: u64, comm: &str, pid: u32, text: &str) -> io::Result<()> {
        let time = self.clock.time(at_ns);
        let time = time.to_zoned(jiff::tz::TimeZone::system());
        let dim = Colour::new().dimmed();
        writeln!(
            self.out,
            "{dim}{} {}[{pid}] {}{dim:#}",
            time.strftime("%H:%M:%S%.6f"),
            one_line(comm),
            one_line(text),
        )
    }

    fn process(&mut self, info: &ProcessInfo) -> io::Result<()> {
        let mut text = info.exe.clone().unwrap_or_else(|| "?".into());
        if let Some(ns_pid) = info.ns_pid {
            let _ = write!(text, ", process {ns_pid} of its namespace");
        }
        if let Some(container) = &info.container {
            let _ = write!(text, ", in {}", described(container));
        }
        self.process_line(info.since_ns, &info.comm, info.process.pid, &text)
    }

    fn missed(&mut self, missed: &Missed) -> io::Result<()> {
        let window = missed.until_ns.saturating_sub(missed.from_ns);
        let what = match missed.libraries.as_slice() {
            [] => format!("{}, which ended before it could be examined", missed.file),
            libraries => {
                let libraries = libraries.join(" and ");
                let file = &missed.file;
                format!("{libraries} of {file} before its probes were in place")
            }
        };
        let seconds = window as f64 / 1e9;
        let text = format!("MAYBE MISSED: what it said with {what} ({seconds:.3} s)");
        self.process_line(missed.until_ns, &missed.comm, missed.process.pid, &text)
    }

    fn data(&mut self, origin: &Origin, payload: &Payload<'_>) -> io::Result<()> {
        let (colour, arrow) = match payload.direction {
            Direction::Write => (AnsiColor::Green, "write"),
            Direction::Read => (AnsiColor::Cyan, "read"),
        };
        let len = payload.bytes.len();
        let mut text = format!("{arrow} {len} B");
        if payload.call_len != len as u64 {
            let _ = write!(text, " of {} (at {})", payload.call_len, payload.offset);
        }
        if payload.early {
            text.push_str(" early data");
        }
        if let Some(goroutine) = payload.goroutine {
            let _ = write!(text, " (goroutine {goroutine})");
        }
        self.headline(colour, origin, &text)?;
        match (self.style, as_text(&payload.bytes)) {
            (Style::Auto, Some(text)) => self.text(&text),
            (Style::Auto, None) => self.hex(&payload.bytes, payload.offset, BINARY_SHOWN),
            (Style::Hex, _) => self.hex(&payload.bytes, payload.offset, usize::MAX),
        }
    }

    fn text(&mut self, text: &str) -> io::Result<()> {
        let text = printable(text);
        self.out.write_all(text.as_bytes())?;
        if text.ends_with('\n') {
            Ok(())
        } else {
            self.out.write_all(b"\n")
        }
    }

    fn hex(&mut self, bytes: &[u8], offset: u64, limit: usize) -> io::Result<()> {
        let shown = bytes.get(..limit.min(bytes.len())).unwrap_or_default();
        for (n, row) in shown.chunks(HEX_WIDTH).enumerate() {
            let hex = row.iter().fold(String::new(), |mut hex, byte| {
                let _ = write!(hex, "{byte:02x} ");
                hex
            });
            let text: String = row.iter().map(|byte| visible(*byte)).collect();
            let at = offset.saturating_add((n * HEX_WIDTH) as u64);
            writeln!(self.out, "  {at:08x}  {hex:<48} |{text}|")?;
        }
        match bytes.len() - shown.len() {
            0 => Ok(()),
            left => writeln!(
                self.out,
                "  … {left} more bytes of binary data (--hex shows all)"
            ),
        }
    }

    fn gap(&mut self, origin: Option<&Origin>, gap: &Gap) -> io::Result<()> {
        let mut text = String::from("MISSING");
        if gap.bytes > 0 {
            let _ = write!(text, " {} B", gap.bytes);
        }
        if gap.records > 0 {
            let _ = write!(text, " in {} records", gap.records);
        }
        if let Some(direction) = gap.direction {
            let _ = write!(text, " {direction}");
        }
        let _ = write!(text, ": {}", gap.cause.as_str());
        match origin {
            Some(origin) => self.headline(AnsiColor::Red, origin, &text),
            None => writeln!(self.out, "{text}"),
        }
    }
}

impl<W: Write> Sink for Human<W> {
    fn message(&mut self, message: &Message<'_>) -> io::Result<()> {
        let is_frame = matches!(
            message,
            Message::Close { .. } | Message::Endpoint { .. } | Message::Open { .. }
        );
        if is_frame && matches!(self.view, View::Http | View::Llm | View::Tree) {
            return Ok(());
        }
        self.end_line()?;
        match message {
            Message::Close {
                origin,
                reason,
                totals: [written, read],
                ..
            } => {
                let text = format!(
                    "closed ({}): {written} B written, {read} B read",
                    reason.as_str()
                );
                self.headline(AnsiColor::BrightBlack, origin, &text)
            }
            Message::Data { origin, payload } => self.data(origin, payload),
            Message::Endpoint { origin, endpoint } => {
                self.headline(AnsiColor::BrightBlack, origin, &endpoint_text(endpoint))
            }
            Message::Gap { origin, gap } => self.gap(origin.as_ref(), gap),
            Message::Missed(missed) => self.missed(missed),
            Message::Open {
                origin,
                from_start,
                socket,
            } => {
                let mut text = opened(socket, origin.fd);
                if *from_start {
                    text.insert_str(0, "opened");
                } else {
                    text.insert_str(0, "joined");
                    text.push_str(": what came before was not seen");
                }
                self.headline(AnsiColor::BrightBlack, origin, &text)
            }
            Message::Process(info) => self.process(info),
            Message::Shutdown(_) => Ok(()), // the close that follows tells more
        }
    }

    fn said(&mut self, said: &Said) -> io::Result<()> {
        match &said.what {
            What::Asked(asked) => self.asked(said, asked),
            What::Call(call) => self.call(said, call),
            What::Delta { call, delta } => self.delta(said, *call, delta),
            What::Event(event) => self.event(said, event),
            What::Mcp(message) => self.mcp(said, message),
            What::Request(request) => self.request(said, request),
            What::Response(response) => self.response(said, response),
            What::WebSocket(message) => self.web_socket(said, message),
        }
    }

    fn deed(&mut self, deed: &Deed) -> io::Result<()> {
        self.deed_line(deed)
    }

    fn finding(&mut self, finding: &Finding) -> io::Result<()> {
        self.finding_line(finding)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// A container as people call it.
fn described(container: &Container) -> String {
    let name = container.name.as_deref();
    let short = container.id.get(..12).unwrap_or(&container.id);
    let mut text = format!(
        "{} container {}",
        container.engine.as_deref().unwrap_or("a"),
        name.unwrap_or(short)
    );
    if let (Some(pod), Some(namespace)) = (&container.pod, &container.namespace) {
        let _ = write!(text, ", pod {namespace}/{pod}");
    }
    text
}

/// Where a connection goes, as far as it is known.
fn endpoint_text(endpoint: &Endpoint) -> String {
    let mut text = String::from("endpoint");
    if let (Some(local), Some(peer)) = (endpoint.local, endpoint.peer) {
        let arrow = match endpoint.role {
            Some(Role::Server) => "<-",
            _ => "->",
        };
        let _ = write!(text, " {local} {arrow} {peer}");
    }
    if let Some((host, from)) = &endpoint.host {
        let _ = write!(text, " {} (by {})", one_line(host), from.as_str());
    }
    if let Some(protocol) = endpoint.protocol {
        let _ = write!(text, " {protocol}");
    }
    match endpoint.confidence {
        Confidence::None => text.push_str(" (its socket is not known)"),
        Confidence::Guess | Confidence::Likely => {
            let _ = write!(text, " ({})", endpoint.confidence.as_str());
        }
        Confidence::Exact | Confidence::Told => {}
    }
    text
}

/// Which side of which socket, as far as it is known.
fn opened(socket: &SocketNames, fd: Option<i32>) -> String {
    let mut text = String::new();
    if let Some(role) = socket.role {
        let _ = write!(text, " as {}", role.as_str());
    }
    if let (Some(local), Some(peer)) = (socket.local, socket.peer) {
        let arrow = match socket.role {
            Some(Role::Server) => "<-",
            _ => "->",
        };
        let _ = write!(text, " {local} {arrow} {peer}");
        if let Some(fd) = fd {
            let _ = write!(text, " (fd {fd})");
        }
    }
    if let Some(doubt) = doubt(socket.trust) {
        let _ = write!(text, " ({doubt})");
    }
    text
}

/// What is not sure about a connection that was put together of its two directions.
fn doubt(trust: Trust) -> Option<&'static str> {
    match trust {
        Trust::Apart => Some("one direction, its socket is not known"),
        Trust::Guessed => Some("its directions are put together by a guess"),
        Trust::Likely => Some("its directions are put together by their sums"),
        Trust::Exact | Trust::Told => None,
    }
}

/// The bytes as text, if people would call them that: UTF-8 but for characters cut at either end, and
/// no control characters that text does not have.
fn as_text(bytes: &[u8]) -> Option<String> {
    let is_continuation = |byte: &&u8| **byte & 0xc0 == 0x80;
    let cut_before = bytes.iter().take(3).take_while(is_continuation).count();
    let inner = bytes.get(cut_before..)?;
    let valid = match std::str::from_utf8(inner) {
        Ok(_) => inner.len(),
        // `None`: the input ended in the middle of a character.
        Err(error) if error.error_len().is_none() => error.valid_up_to(),
        Err(_) => return None,
    };
    let odd = |byte: &&u8| **byte < 0x20 && !b"\t\n\r\x1b".contains(*byte);
    if inner.iter().take(valid).any(|byte| odd(&byte)) {
        return None;
    }
    Some(String::from_utf8_lossy(bytes).into_owned())
}

fn visible(byte: u8) -> char {
    if byte.is_ascii_graphic() || byte == b' ' {
        char::from(byte)
    } else {
        '.'
    }
}

/// Names in a headline: whoever chose them forges no other line, and moves no cursor.
pub(super) fn one_line(name: &str) -> String {
    printable(name).replace(['\n', '\t'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Nothing a process sends reaches the terminal as a control.
        #[test]
        fn no_controls_survive(text in any::<String>()) {
            prop_assert!(!printable(&text).chars().any(|c| c.is_control() && c != '\n' && c != '\t'));
        }

        /// Any split of a text is still shown as text.
        #[test]
        fn split_text_is_text(text in "[a-zä€😀\n ]{4,40}", at in 0usize..160) {
            let at = at.min(text.len());
            let (a, b) = text.as_bytes().split_at(at);
            prop_assert!(as_text(a).is_some());
            prop_assert!(as_text(b).is_some());
        }
    }

    /// Binary data is not taken for text.
    #[test]
    fn binary_is_binary() {
        assert_eq!(as_text(b"\x00\x01\x02"), None);
        assert_eq!(
            as_text(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x12\x04"),
            None
        );
        assert_eq!(as_text(&[0xff, 0xfe, b'a']), None);
        assert!(as_text(b"GET / HTTP/1.1\r\n\r\n").is_some());
    }

    /// An escape sequence is spelled out, line ends are kept.
    #[test]
    fn escapes_are_spelled_out() {
        assert_eq!(
            printable("a\x1b[2Jb\r\nc\u{202e}"),
            "a\\u{1b}[2Jb\nc\\u{202e}"
        );
    }
}
