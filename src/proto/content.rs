//! What the body of one half of an exchange holds: its coding undone, and the messages in it told apart: server-sent
//! events, lines or array elements of JSON, messages of AWS and of gRPC.
//!
//! The decoded bytes are given in any case. The media type decides how messages are framed; where it is missing or says
//! nothing, the first bytes do, if they leave no doubt. Who knows that several values were asked for can say so
//! ([`Content::may_be_several`]). What messages mean is not looked at, and a gRPC message that is compressed stays so.

mod first;

use self::first::First;
use super::coding::Decoding;
use super::eventstream::{self, Message, Messages};
use super::grpc::{GrpcMessage, GrpcMessages};
use super::json_array::Elements;
use super::lines::Lines;
use super::sse::{Event, Events};
use super::{Fault, Fields, Limits};

const NO_EVENTS: Fault = Fault {
    what: "JSON, though its head says that it is a stream of events",
};

/// How a body is divided into messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// `application/vnd.amazon.eventstream`.
    AwsEvents,
    /// `application/grpc`, and what begins with that.
    Grpc,
    /// The elements of a JSON array. No media type says so, and only for who expects it a body is divided so.
    JsonArray,
    /// `application/x-ndjson` and its other names.
    Lines,
    /// `text/event-stream`.
    Sse,
    /// It is one message.
    Whole,
}

/// What a media type says about framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    /// This one.
    Framing(Framing),
    /// Something that could be anything, or nothing at all.
    Nothing,
    /// Text or JSON: no binary framing.
    Text,
}

impl Told {
    /// Parameters do not matter, nor does case (RFC 9110 section 8.3.1).
    fn of(fields: &Fields) -> Self {
        let Some(value) = fields.get("content-type") else {
            return Self::Nothing;
        };
        let name = value.split(';').next().unwrap_or_default().trim();
        match name.to_ascii_lowercase().as_str() {
            "text/event-stream" => Self::Framing(Framing::Sse),
            "application/vnd.amazon.eventstream" => Self::Framing(Framing::AwsEvents),
            "application/json-lines"
            | "application/jsonl"
            | "application/jsonlines"
            | "application/ndjson"
            | "application/stream+json"
            | "application/x-json-lines"
            | "application/x-jsonl"
            | "application/x-jsonlines"
            | "application/x-ndjson" => Self::Framing(Framing::Lines),
            "" | "application/octet-stream" | "binary/octet-stream" => Self::Nothing,
            "application/json" | "text/json" | "text/plain" => Self::Text,
            // It is base64, and divided only below that.
            web if web.starts_with("application/grpc-web-text") => Self::Framing(Framing::Whole),
            grpc if grpc.starts_with("application/grpc") => Self::Framing(Framing::Grpc),
            _ => Self::Framing(Framing::Whole),
        }
    }
}

/// What a body holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'p> {
    /// A message of AWS.
    Aws(Message<'p>),
    /// Decoded content: all of it, in order, whatever else is given.
    Bytes(&'p [u8]),
    /// An element of a JSON array: the bytes as they were sent.
    Element(&'p [u8]),
    /// Something is not as it should be. What comes behind it may be missing.
    Fault(Fault),
    /// A message of gRPC.
    Grpc(GrpcMessage<'p>),
    /// Bytes were lost here; `None`: nobody knows how many. They are counted as they were sent: coded.
    Gap(Option<u64>),
    /// A line, without its end.
    Line(&'p [u8]),
    /// A server-sent event.
    Sse(Event<'p>),
}

/// Takes pieces, at once.
pub type Out<'o> = dyn FnMut(Piece<'_>) + 'o;

/// First bytes that are looked at. More is needed by white space only.
const SNIFFED: usize = 64;

enum Parser {
    Aws(Box<Messages>),
    Elements(Box<Elements>),
    Grpc(Box<GrpcMessages>),
    Lines(Box<Lines>),
    None,
    Sse(Box<Events>),
}

impl Parser {
    fn new(framing: Framing, limit: usize) -> Self {
        match framing {
            Framing::AwsEvents => Self::Aws(Box::new(Messages::new(limit))),
            Framing::Grpc => Self::Grpc(Box::new(GrpcMessages::new(limit))),
            Framing::JsonArray => Self::Elements(Box::new(Elements::new(limit))),
            Framing::Lines => Self::Lines(Box::new(Lines::new(limit))),
            Framing::Sse => Self::Sse(Box::new(Events::new(limit))),
            Framing::Whole => Self::None,
        }
    }

    fn push(&mut self, bytes: &[u8], out: &mut Out<'_>) {
        match self {
            Self::Aws(messages) => messages.push(bytes, &mut |said| out(piece(said, Piece::Aws))),
            Self::Elements(elements) => {
                elements.push(bytes, &mut |said| out(piece(said, Piece::Element)))
            }
            Self::Grpc(messages) => messages.push(bytes, &mut |message| out(Piece::Grpc(message))),
            Self::Lines(lines) => lines.push(bytes, &mut |said| out(piece(said, Piece::Line))),
            Self::None => {}
            Self::Sse(events) => events.push(bytes, &mut |said| out(piece(said, Piece::Sse))),
        }
    }

    fn gap(&mut self, bytes: Option<u64>, out: &mut Out<'_>) {
        match self {
            Self::Aws(messages) => messages.gap(bytes, &mut |said| out(piece(said, Piece::Aws))),
            Self::Elements(elements) => elements.gap(&mut |said| out(piece(said, Piece::Element))),
            Self::Grpc(messages) => messages.gap(bytes, &mut |message| out(Piece::Grpc(message))),
            Self::Lines(lines) => lines.gap(&mut |said| out(piece(said, Piece::Line))),
            Self::None => {}
            Self::Sse(events) => events.gap(&mut |said| out(piece(said, Piece::Sse))),
        }
    }

    fn finish(&mut self, complete: bool, out: &mut Out<'_>) {
        match self {
            Self::Aws(messages) => messages.finish(&mut |said| out(piece(said, Piece::Aws))),
            Self::Elements(elements) => {
                elements.finish(&mut |said| out(piece(said, Piece::Element)))
            }
            Self::Grpc(messages) => {
                let end = messages.finish(&mut |message| out(Piece::Grpc(message)));
                if let Err(fault) = end {
                    out(Piece::Fault(fault));
                }
            }
            Self::Lines(lines) => lines.finish(complete, &mut |said| out(piece(said, Piece::Line))),
            Self::None => {}
            Self::Sse(events) => events.finish(&mut |said| out(piece(said, Piece::Sse))),
        }
    }

    fn held(&self) -> usize {
        match self {
            Self::Aws(messages) => size_of_val(&**messages) + messages.held(),
            Self::Elements(elements) => size_of_val(&**elements) + elements.held(),
            Self::Grpc(messages) => size_of_val(&**messages) + messages.held(),
            Self::Lines(lines) => size_of_val(&**lines) + lines.held(),
            Self::None => 0,
            Self::Sse(events) => size_of_val(&**events) + events.held(),
        }
    }
}

fn piece<'p, T>(said: Result<T, Fault>, wrap: impl FnOnce(T) -> Piece<'p>) -> Piece<'p> {
    said.map_or_else(Piece::Fault, wrap)
}

/// The messages in decoded bytes.
struct Division {
    told: Told,
    /// For what may be several values, although its type says nothing of that.
    first: Option<First>,
    framing: Option<Framing>,
    parser: Parser,
    /// The first bytes, while they leave the framing open.
    head: Vec<u8>,
    limit: usize,
}

impl Division {
    fn push(&mut self, bytes: &[u8], out: &mut Out<'_>) {
        out(Piece::Bytes(bytes));
        if self.framing.is_some() {
            self.parser.push(bytes, out);
            return;
        }
        let mut head = std::mem::take(&mut self.head);
        let from = head.len();
        // What begins is to be seen in a few bytes: mostly without a copy.
        if from > 0 {
            head.extend_from_slice(bytes);
        }
        let seen = if from > 0 { head.as_slice() } else { bytes };
        match self.look(seen, from) {
            Some(framing) => self.settle(framing, seen, out),
            None if self.first.as_ref().is_some_and(First::is_blank) => {}
            None => {
                if from == 0 {
                    head.extend_from_slice(bytes);
                }
                self.head = head;
            }
        }
    }

    fn look(&mut self, head: &[u8], from: usize) -> Option<Framing> {
        let is_open = match self.told {
            Told::Nothing => head.first() != Some(&0),
            Told::Text => true,
            Told::Framing(_) => false,
        };
        match &mut self.first {
            Some(first) if is_open => first.push(head, from),
            first => {
                *first = None;
                sniff(self.told, head)
            }
        }
    }

    fn settle(&mut self, framing: Framing, head: &[u8], out: &mut Out<'_>) {
        if self.told == Told::Framing(Framing::Sse) && framing != Framing::Sse {
            out(Piece::Fault(NO_EVENTS));
        }
        self.framing = Some(framing);
        self.parser = Parser::new(framing, self.limit);
        self.parser.push(head, out);
    }

    fn settle_now(&mut self, out: &mut Out<'_>) {
        if self.framing.is_none() {
            let head = std::mem::take(&mut self.head);
            self.settle(self.told.or_whole(), &head, out);
        }
    }
}

impl Told {
    fn or_whole(self) -> Framing {
        match self {
            Self::Framing(framing) => framing,
            Self::Nothing | Self::Text => Framing::Whole,
        }
    }
}

/// The body of one half of an exchange.
pub struct Content {
    decoding: Decoding,
    division: Division,
}

impl Content {
    /// For the body behind a head with these fields. Holds next to nothing until its first byte.
    pub fn new(fields: &Fields, limits: Limits) -> Self {
        Self {
            decoding: Decoding::new(fields, limits),
            division: Division {
                told: Told::of(fields),
                first: None,
                framing: None,
                parser: Parser::None,
                head: Vec::new(),
                limit: limits.message,
            },
        }
    }

    /// How it is divided, as far as that is known: by what was told, or by the first bytes.
    pub fn framing(&self) -> Option<Framing> {
        match (self.division.framing, self.division.told) {
            (Some(framing), _) | (None, Told::Framing(framing)) => Some(framing),
            _ => None,
        }
    }

    /// Says that several values were asked for: JSON may be an array that is sent element by element, or lines. The first
    /// bytes decide; a media type that says how it is divided is believed more, and after the first byte nothing changes.
    pub fn may_be_several(&mut self) {
        let division = &mut self.division;
        if division.framing.is_none() && division.head.is_empty() {
            division.first = Some(First::Blank);
        }
    }

    /// Bytes of memory that it holds beside itself, with the windows of its codings. Takes no time to speak of.
    pub fn held(&self) -> usize {
        let division = self.division.head.capacity() + self.division.parser.held();
        division + self.decoding.held()
    }

    /// Bytes of the body, as they were sent, that came when its coding could not be undone any more.
    pub fn undecoded(&self) -> u64 {
        self.decoding.undecoded()
    }

    /// The next bytes of the body, as they were sent.
    pub fn push(&mut self, bytes: &[u8], out: &mut Out<'_>) {
        let Self { decoding, division } = self;
        decoding.push(bytes, &mut |said| match said {
            Ok([]) => {}
            Ok(bytes) => division.push(bytes, out),
            Err(fault) => out(Piece::Fault(fault)),
        });
    }

    /// Bytes of the body were lost; `None`: nobody knows how many.
    pub fn gap(&mut self, bytes: Option<u64>, out: &mut Out<'_>) {
        let Self { decoding, division } = self;
        let goes_on = decoding.gap(&mut |said| match said {
            Ok(bytes) => division.push(bytes, out),
            Err(fault) => out(Piece::Fault(fault)),
        });
        division.settle_now(out);
        division.parser.gap(bytes.filter(|_| goes_on), out);
        out(Piece::Gap(bytes));
    }

    /// The body ends here; `complete`: as its framing says.
    pub fn finish(&mut self, complete: bool, out: &mut Out<'_>) {
        let Self { decoding, division } = self;
        decoding.finish(&mut |said| match said {
            Ok(bytes) => division.push(bytes, out),
            Err(fault) => out(Piece::Fault(fault)),
        });
        if !division.head.is_empty() || division.first.is_some() {
            division.settle_now(out);
        }
        division.parser.finish(complete, out);
    }
}

/// How content is divided, as its type says and its first bytes show; `None`: more bytes are needed.
fn sniff(told: Told, head: &[u8]) -> Option<Framing> {
    let seen = head.get(..SNIFFED).unwrap_or(head);
    let full = || (seen.len() == SNIFFED).then(|| told.or_whole());
    sniff_seen(told, seen).or_else(full)
}

fn sniff_seen(told: Told, head: &[u8]) -> Option<Framing> {
    match told {
        Told::Framing(Framing::Sse) => {
            // No name of a field begins like this: such lines would all be ignored.
            let first = bare(head)?.trim_ascii_start().first()?;
            let json = matches!(first, b'{' | b'[');
            Some(if json { Framing::Whole } else { Framing::Sse })
        }
        Told::Framing(framing) => Some(framing),
        Told::Nothing if head.first() == Some(&0) => {
            let prelude = head.get(..eventstream::PRELUDE_LEN)?;
            let sound = eventstream::prelude(prelude).is_ok();
            Some(if sound {
                Framing::AwsEvents
            } else {
                Framing::Whole
            })
        }
        Told::Nothing | Told::Text => sniff_events(bare(head)?),
    }
}

/// Without the byte order mark; `None`: it is not known whether it is one.
fn bare(head: &[u8]) -> Option<&[u8]> {
    let mark = b"\xef\xbb\xbf";
    match head.strip_prefix(mark) {
        None if mark.starts_with(head) => None,
        bare => Some(bare.unwrap_or(head)),
    }
}

/// Names of fields, each with its colon, and a comment. JSON begins with none of them.
const EVENT_HEADS: [&[u8]; 5] = [b"data:", b"event:", b"id:", b"retry:", b": "];

fn sniff_events(head: &[u8]) -> Option<Framing> {
    if EVENT_HEADS.iter().any(|known| head.starts_with(known)) {
        Some(Framing::Sse)
    } else if EVENT_HEADS.iter().any(|known| known.starts_with(head)) {
        None
    } else {
        Some(Framing::Whole)
    }
}

/// For the fuzzer: the first byte chooses head and cut; every way to cut the rest gives the same content.
pub fn fuzz_content(data: &[u8]) {
    let [choice, cut, rest @ ..] = data else {
        return;
    };
    let types = [
        "text/event-stream",
        "application/x-ndjson",
        "application/vnd.amazon.eventstream",
        "application/grpc",
        "application/json",
        "",
    ];
    let codings = ["identity", "gzip", "deflate", "br", "zstd"];
    let field = |name: &str, values: &[&str], choice: usize| super::Field {
        name: String::from(name),
        value: values
            .get(choice % values.len())
            .map(|value| String::from(*value)),
    };
    let choice = usize::from(*choice);
    let fields = Fields(vec![
        field("content-type", &types, choice),
        field("content-encoding", &codings, choice / types.len()),
    ]);
    let said = |size: usize| {
        let (mut bytes, mut all, mut sound) = (Vec::new(), Vec::new(), true);
        let mut out = |piece: Piece<'_>| match piece {
            Piece::Bytes(more) => bytes.extend_from_slice(more),
            Piece::Fault(_) => sound = false,
            other => all.push(format!("{other:?}")),
        };
        let limits = Limits {
            decoded: 1 << 20,
            ratio: u64::MAX,
            ..Limits::default()
        };
        let mut content = Content::new(&fields, limits);
        if choice > 200 {
            content.may_be_several();
        }
        for piece in rest.chunks(size.max(1)) {
            content.push(piece, &mut out);
        }
        content.finish(true, &mut out);
        (bytes, all, sound)
    };
    let (whole, cut) = (said(rest.len()), said(usize::from(*cut)));
    // How much is given before damage is told depends on the pieces; of Brotli also whether it is (`fuzz_coding`).
    let is_brotli = fields.get("content-encoding") == Some("br");
    let is_damaged = !whole.2 && !cut.2 || is_brotli && !(whole.2 && cut.2);
    assert!(whole == cut || is_damaged);
}

#[cfg(test)]
mod tests;
