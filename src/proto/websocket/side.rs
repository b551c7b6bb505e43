//! The frames of one direction, and the message that they make.

use super::deflate::Inflater;
use super::frame::{HEADER_MAX, Header, Opcode, Rules, unmask};
use super::trail::Trail;
use crate::proto::item::{WebSocketKind, WebSocketMessage};
use crate::proto::skipped::{Skipped, tell};
use crate::proto::{ExchangeId, Fault, Item, Limits, Out, Party};

const LOST: Fault = Fault {
    what: "bytes of a WebSocket were lost: what follows, up to frames in a row, is not read",
};
const CUT_HEADER: Fault = Fault {
    what: "the direction ended in the header of a frame",
};
const NO_MESSAGE: Fault = Fault {
    what: "a WebSocket frame continues no message",
};
const OPEN_MESSAGE: Fault = Fault {
    what: "a WebSocket message begins inside another one",
};

/// Room that is kept between messages.
const KEPT: usize = 1 << 10;

/// What does not change while a piece of bytes is decoded.
pub(super) struct Context {
    pub(super) id: ExchangeId,
    pub(super) from: Party,
    pub(super) at_ns: u64,
    pub(super) limits: Limits,
}

impl Context {
    fn tell(
        &self,
        kind: WebSocketKind,
        bytes: &[u8],
        missing: Option<Option<u64>>,
        out: &mut Out<'_>,
    ) {
        out(Item::WebSocket {
            id: self.id,
            from: self.from,
            message: WebSocketMessage {
                kind,
                bytes,
                missing,
            },
            at_ns: self.at_ns,
        });
    }
}

/// One direction.
pub(super) struct Frames {
    rules: Rules,
    inflater: Inflater,
    state: State,
    /// The beginning of a header that came in pieces: `header_len` bytes of it.
    header: [u8; HEADER_MAX],
    header_len: usize,
    /// The message whose fragments come.
    message: Option<Message>,
    /// Of `message`.
    bytes: Vec<u8>,
    control: Message,
    control_bytes: Vec<u8>,
    skipped: Skipped,
}

enum State {
    /// The next byte is of a header.
    Header,
    /// Nothing is understood any more, for this reason; frames are looked for if bytes were lost.
    Lost(Fault, Option<Trail>),
    Payload(Payload),
}

struct Payload {
    header: Header,
    /// Bytes that have passed. `at <= header.len`.
    at: u64,
}

/// A message that is not complete.
#[derive(Clone, Copy)]
struct Message {
    kind: Opcode,
    is_compressed: bool,
    /// As in [`WebSocketMessage::missing`].
    missing: Option<Option<u64>>,
}

impl Message {
    fn miss(&mut self, bytes: Option<u64>) {
        self.missing = Some(match self.missing {
            None => bytes,
            Some(before) => before.zip(bytes).map(|(a, b)| a.saturating_add(b)),
        });
    }
}

impl Frames {
    pub(super) fn new(rules: Rules, inflater: Inflater) -> Self {
        Self {
            rules,
            inflater,
            state: State::Header,
            header: [0; HEADER_MAX],
            header_len: 0,
            message: None,
            bytes: Vec::new(),
            control: Message {
                kind: Opcode::Ping,
                is_compressed: false,
                missing: None,
            },
            control_bytes: Vec::new(),
            skipped: Skipped::default(),
        }
    }

    pub(super) fn held(&self) -> usize {
        self.bytes.capacity() + self.control_bytes.capacity() + self.inflater.held()
    }

    pub(super) fn data(&mut self, context: &Context, bytes: &[u8], out: &mut Out<'_>) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let is_start = rest.len() == bytes.len();
            let used = match self.state {
                State::Header => self.header(context, rest, out),
                State::Payload(_) => self.payload(context, rest, out),
                State::Lost(_, Some(_)) => self.look(context, rest, is_start, out),
                State::Lost(..) => {
                    self.skip(context, rest.len(), out);
                    rest.len()
                }
            };
            rest = rest.get(used..).unwrap_or_default();
        }
    }

    /// The header that begins with the bytes that are kept, or with `rest`: with how many bytes it has.
    fn parse(&mut self, rest: &[u8]) -> Result<Option<(Header, usize)>, Fault> {
        let before = self.header_len;
        if before == 0
            && let Some(found) = Header::parse(rest, self.rules)?
        {
            return Ok(Some(found));
        }
        let room = self.header.get_mut(before..).unwrap_or_default();
        for (to, from) in room.iter_mut().zip(rest) {
            *to = *from;
        }
        let len = (before + rest.len()).min(HEADER_MAX);
        let parsed = Header::parse(self.header.get(..len).unwrap_or_default(), self.rules);
        self.header_len = match parsed {
            Ok(None) => len,
            _ => 0,
        };
        parsed
    }

    fn header(&mut self, context: &Context, rest: &[u8], out: &mut Out<'_>) -> usize {
        let before = self.header_len;
        match self.parse(rest) {
            Ok(Some((header, used))) => {
                if let Err(fault) = self.begin(header) {
                    self.fail(context, fault, out);
                    self.skip(context, before, out);
                    return 0;
                }
                let used = used.saturating_sub(before);
                let behind = rest.get(used..).unwrap_or_default();
                used + self.whole(context, header, behind, out)
            }
            Ok(None) => rest.len(),
            Err(fault) => {
                self.fail(context, fault, out);
                self.skip(context, before, out);
                0
            }
        }
    }

    /// Looks for frames in a row. They begin where a piece does: those who write frames write them whole.
    fn look(&mut self, context: &Context, rest: &[u8], is_start: bool, out: &mut Out<'_>) -> usize {
        let State::Lost(_, Some(trail)) = &mut self.state else {
            return rest.len();
        };
        if !trail.is_followed(is_start) {
            self.skip(context, rest.len(), out);
            return rest.len();
        }
        let passed = trail.pass(rest);
        if passed > 0 {
            self.skip(context, passed, out);
            return passed;
        }
        let before = self.header_len;
        let parsed = self.parse(rest);
        let State::Lost(_, Some(trail)) = &mut self.state else {
            return rest.len();
        };
        match parsed {
            Ok(None) => rest.len(),
            Ok(Some((header, used))) if trail.follows(&header, used, context.limits.message) => {
                let own = used.saturating_sub(before);
                if !trail.is_believed() {
                    self.skip(context, used, out);
                    return own;
                }
                self.resume(context, header, out);
                let behind = rest.get(own..).unwrap_or_default();
                own + self.whole(context, header, behind, out)
            }
            _ => {
                trail.leave();
                self.skip(context, before + rest.len(), out);
                rest.len()
            }
        }
    }

    /// Frames are read again, beginning with this one. What was missed before it is told as a message without content.
    fn resume(&mut self, context: &Context, header: Header, out: &mut Out<'_>) {
        self.skipped.close(context.from, context.at_ns, out);
        self.inflater.restart();
        context.tell(WebSocketKind::Binary, &[], Some(None), out);
        // What a trail follows can begin here.
        let _ = self.begin(header);
    }

    fn skip(&mut self, context: &Context, bytes: usize, out: &mut Out<'_>) {
        let fault = match self.state {
            State::Lost(fault, _) => fault,
            _ => LOST,
        };
        let (from, at_ns) = (context.from, context.at_ns);
        self.skipped.skip(from, at_ns, bytes, fault, out);
    }

    fn begin(&mut self, header: Header) -> Result<(), Fault> {
        let message = Message {
            kind: header.opcode,
            is_compressed: header.is_compressed,
            missing: None,
        };
        if header.opcode.is_control() {
            self.control = message;
        } else if header.opcode == Opcode::Continuation {
            if self.message.is_none() {
                return Err(NO_MESSAGE);
            }
        } else if self.message.is_some() {
            // RFC 6455 section 5.4: fragments of messages are not interleaved.
            return Err(OPEN_MESSAGE);
        } else {
            self.message = Some(message);
        }
        self.state = State::Payload(Payload { header, at: 0 });
        Ok(())
    }

    /// Tells a message whose only frame lies in `behind` from its first to its last byte, without a copy. Returns the bytes used.
    fn whole(
        &mut self,
        context: &Context,
        header: Header,
        behind: &[u8],
        out: &mut Out<'_>,
    ) -> usize {
        let is_plain = header.is_last
            && header.mask.is_none()
            && !header.is_compressed
            && matches!(header.opcode, Opcode::Text | Opcode::Binary);
        let len = usize::try_from(header.len).unwrap_or(usize::MAX);
        if let Some(bytes) = behind.get(..len)
            && is_plain
            && len <= context.limits.message
        {
            self.message = None;
            self.state = State::Header;
            context.tell(kind(header.opcode, bytes).0, bytes, None, out);
            return len;
        }
        if header.len == 0 {
            self.end_frame(context, header, out);
        }
        0
    }

    fn payload(&mut self, context: &Context, rest: &[u8], out: &mut Out<'_>) -> usize {
        let State::Payload(payload) = &mut self.state else {
            return rest.len();
        };
        let left = payload.header.len - payload.at;
        let count = usize::try_from(left).unwrap_or(usize::MAX);
        let piece = rest.get(..count).unwrap_or(rest);
        let (header, at) = (payload.header, payload.at);
        payload.at += piece.len() as u64;
        let is_end = payload.at == header.len;
        self.take(context, header, at, piece);
        if is_end {
            self.end_frame(context, header, out);
        }
        piece.len()
    }

    fn take(&mut self, context: &Context, header: Header, at: u64, piece: &[u8]) {
        let limits = &context.limits;
        if header.opcode.is_control() {
            append(&mut self.control_bytes, piece, header.mask, at);
            return;
        }
        let Some(message) = &mut self.message else {
            return;
        };
        if message.is_compressed {
            self.inflate(limits, header, at, piece);
            return;
        }
        let room = limits.message.saturating_sub(self.bytes.len());
        let kept = piece.get(..room).unwrap_or(piece);
        append(&mut self.bytes, kept, header.mask, at);
        if kept.len() < piece.len() {
            message.miss(Some((piece.len() - kept.len()) as u64));
        }
    }

    fn inflate(&mut self, limits: &Limits, header: Header, at: u64, piece: &[u8]) {
        let mut at = at;
        let mut room = [0; 4096];
        for part in piece.chunks(room.len()) {
            let Some(plain) = room.get_mut(..part.len()) else {
                return;
            };
            plain.copy_from_slice(part);
            if let Some(mask) = header.mask {
                unmask(plain, mask, at);
            }
            at += part.len() as u64;
            if !self.inflater.decode(plain, &mut self.bytes, limits)
                && let Some(message) = &mut self.message
            {
                message.miss(None);
            }
        }
    }

    fn end_frame(&mut self, context: &Context, header: Header, out: &mut Out<'_>) {
        self.state = State::Header;
        if header.opcode.is_control() {
            self.end_control(context, out);
        } else if header.is_last {
            self.end_message(context, out);
        }
    }

    fn end_control(&mut self, context: &Context, out: &mut Out<'_>) {
        let control = self.control;
        let (kind, bytes) = kind(control.kind, &self.control_bytes);
        context.tell(kind, bytes, control.missing, out);
        self.control_bytes = Vec::new();
    }

    fn end_message(&mut self, context: &Context, out: &mut Out<'_>) {
        let Some(mut message) = self.message.take() else {
            return;
        };
        if message.is_compressed {
            match self.inflater.finish(&mut self.bytes, &context.limits) {
                None => message.miss(None),
                Some(decoded) => {
                    let missing = decoded.saturating_sub(self.bytes.len() as u64);
                    if missing > 0 {
                        message.miss(Some(missing));
                    }
                }
            }
        }
        let (kind, bytes) = kind(message.kind, &self.bytes);
        context.tell(kind, bytes, message.missing, out);
        self.bytes.clear();
        self.bytes.shrink_to(KEPT);
    }

    /// What is open ends here, and is not whole.
    fn cut(&mut self, context: &Context, out: &mut Out<'_>) {
        if let State::Payload(payload) = &self.state
            && payload.header.opcode.is_control()
        {
            self.control.miss(Some(payload.header.len - payload.at));
            self.end_control(context, out);
        }
        if let Some(message) = &mut self.message {
            message.miss(None);
            self.inflater.lose();
            self.end_message(context, out);
        }
    }

    fn fail(&mut self, context: &Context, fault: Fault, out: &mut Out<'_>) {
        self.cut(context, out);
        self.state = State::Lost(fault, None);
    }

    pub(super) fn gap(&mut self, context: &Context, bytes: Option<u64>, out: &mut Out<'_>) {
        if bytes == Some(0) {
            return;
        }
        if let (State::Payload(payload), Some(lost)) = (&mut self.state, bytes)
            && lost <= payload.header.len - payload.at
        {
            payload.at += lost;
            let (header, is_end) = (payload.header, payload.at == payload.header.len);
            self.miss(header, lost);
            if is_end {
                self.end_frame(context, header, out);
            }
            return;
        }
        let (from, at_ns) = (context.from, context.at_ns);
        self.fail(context, LOST, out);
        self.state = State::Lost(LOST, Some(Trail::default()));
        let cut = std::mem::take(&mut self.header_len);
        self.skip(context, cut, out);
        self.skipped.close(from, at_ns, out);
        tell(from, at_ns, bytes, LOST, out);
    }

    fn miss(&mut self, header: Header, lost: u64) {
        if header.opcode.is_control() {
            self.control.miss(Some(lost));
        } else if let Some(message) = &mut self.message {
            if message.is_compressed {
                self.inflater.lose();
                message.miss(None);
            } else {
                message.miss(Some(lost));
            }
        }
    }

    pub(super) fn end(&mut self, context: &Context, out: &mut Out<'_>) {
        let (from, at_ns) = (context.from, context.at_ns);
        self.cut(context, out);
        if matches!(self.state, State::Payload(_)) {
            self.state = State::Header;
        }
        let cut = std::mem::take(&mut self.header_len);
        self.skipped.skip(from, at_ns, cut, CUT_HEADER, out);
        self.skipped.close(from, at_ns, out);
    }
}

fn append(to: &mut Vec<u8>, piece: &[u8], mask: Option<[u8; 4]>, at: u64) {
    let before = to.len();
    to.extend_from_slice(piece);
    if let (Some(mask), Some(added)) = (mask, to.get_mut(before..)) {
        unmask(added, mask, at);
    }
}

/// What it is for people, with its content: a close begins with its code (RFC 6455 section 5.5.1).
fn kind(opcode: Opcode, bytes: &[u8]) -> (WebSocketKind, &[u8]) {
    match opcode {
        Opcode::Binary | Opcode::Continuation => (WebSocketKind::Binary, bytes),
        Opcode::Close => match bytes.split_first_chunk::<2>() {
            Some((code, reason)) => (
                WebSocketKind::Close(Some(u16::from_be_bytes(*code))),
                reason,
            ),
            None => (WebSocketKind::Close(None), bytes),
        },
        Opcode::Ping => (WebSocketKind::Ping, bytes),
        Opcode::Pong => (WebSocketKind::Pong, bytes),
        Opcode::Text => (WebSocketKind::Text, bytes),
    }
}
