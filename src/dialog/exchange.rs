//! One exchange: a request, its response, and the call of a model that they may be.

use super::body::Half;
use super::call::Calling;
use super::conn::Teller;
use super::mcp::Talk;
use super::said::{HttpRequest, HttpResponse, Role, StreamEvent, What, WsMessage};
use crate::proto::content::{Framing, Piece};
use crate::proto::item::WebSocketKind;
use crate::proto::{ExchangeId, Fields, Outcome, Party, RequestHead, ResponseHead, Side};
use crate::semantics::dialect::DeltaKind;
use crate::semantics::mcp::McpMessage;

/// Interim responses (RFC 9110 section 15.2); 101 is the last one of its exchange.
fn is_interim(status: Option<u16>) -> bool {
    status.is_some_and(|status| (100..200).contains(&status) && status != 101)
}

/// A half.
enum State<H> {
    /// It has not begun, or was not seen.
    Unseen,
    /// It has begun.
    Open(Box<Half<H>>),
    /// It was told.
    Over,
}

/// An exchange that has not ended.
pub struct Exchange {
    /// Which of its connection.
    pub id: ExchangeId,
    client: Party,
    request: State<RequestHead>,
    response: State<ResponseHead>,
    reader: Reader,
    /// It was found out what the request is.
    is_looked_at: bool,
    is_upgraded: bool,
    mcp: Option<Box<Talk>>,
    /// Host and target of the request.
    place: (Option<String>, Option<String>),
}

impl Exchange {
    /// Nothing of it was seen yet.
    pub fn new(id: ExchangeId, client: Party) -> Self {
        Self {
            id,
            client,
            request: State::Unseen,
            response: State::Unseen,
            reader: Reader::default(),
            is_looked_at: false,
            is_upgraded: false,
            mcp: None,
            place: (None, None),
        }
    }

    /// The observed process's part in it.
    pub fn role(&self) -> Role {
        match self.client {
            Party::Local => Role::Client,
            Party::Peer => Role::Server,
        }
    }

    /// It is a call.
    pub fn is_understood(&self) -> bool {
        self.reader.calling.is_some() || self.mcp.is_some()
    }

    /// Nothing more comes of it.
    pub fn is_over(&self) -> bool {
        let is_over = matches!(self.response, State::Over);
        is_over && !matches!(self.request, State::Open(_)) && !self.is_upgraded
    }

    /// It becomes a connection of another kind.
    pub fn upgrade(&mut self) {
        self.is_upgraded = true;
    }

    pub fn request_begins(&mut self, head: Box<RequestHead>, at_ns: u64, teller: &mut Teller<'_>) {
        teller.shared.counts.requests += 1;
        self.place = (head.authority.clone(), head.target.clone());
        let fields = head.fields.clone();
        let half = Half::new(Side::Request, head, &fields, at_ns, teller.shared);
        self.request = State::Open(Box::new(half));
    }

    pub fn response_begins(
        &mut self,
        head: Box<ResponseHead>,
        at_ns: u64,
        teller: &mut Teller<'_>,
    ) {
        if is_interim(head.status) {
            return;
        }
        if matches!(self.request, State::Unseen) {
            teller.shared.counts.unpaired += 1;
        }
        // An answer that comes before its question is complete: the question is what it is so far.
        self.look_at(at_ns, teller);
        let fields = head.fields.clone();
        if let Some(calling) = &mut self.reader.calling {
            calling.answered(head.status, at_ns);
        }
        let mut half = Half::new(Side::Response, head, &fields, at_ns, teller.shared);
        if self.reader.wants_elements(&fields) {
            half.expect(Framing::JsonArray);
        }
        self.response = State::Open(Box::new(half));
    }

    pub fn body(&mut self, side: Side, bytes: &[u8], at_ns: u64, teller: &mut Teller<'_>) {
        match side {
            Side::Request => {
                if let State::Open(half) = &mut self.request {
                    half.push(bytes, teller.shared, &mut |_| {});
                }
            }
            Side::Response => {
                self.read(at_ns, teller, |half, teller, take| {
                    half.push(bytes, teller.shared, take);
                });
            }
        }
    }

    pub fn gap(&mut self, side: Side, bytes: Option<u64>, at_ns: u64, teller: &mut Teller<'_>) {
        match side {
            Side::Request => {
                if let State::Open(half) = &mut self.request {
                    half.gap(bytes, teller.shared, &mut |_| {});
                }
            }
            Side::Response => self.read(at_ns, teller, |half, teller, take| {
                half.gap(bytes, teller.shared, take);
            }),
        }
    }

    pub fn trailers(&mut self, side: Side, fields: Fields) {
        match (side, &mut self.request, &mut self.response) {
            (Side::Request, State::Open(half), _) => half.trailers = fields,
            (Side::Response, _, State::Open(half)) => half.trailers = fields,
            _ => {}
        }
    }

    pub fn end(&mut self, side: Side, outcome: Outcome, at_ns: u64, teller: &mut Teller<'_>) {
        match side {
            Side::Request => self.end_request(outcome, at_ns, teller),
            Side::Response => self.end_response(outcome, at_ns, teller),
        }
    }

    /// A message of the WebSocket that it became.
    pub fn web_socket(&mut self, message: WsMessage, at_ns: u64, teller: &mut Teller<'_>) {
        let is_text = message.kind == WebSocketKind::Text && !message.is_incomplete;
        let mut told = Vec::new();
        if is_text && message.from == self.client {
            self.ask_by_message(&message.bytes, at_ns, &mut told, teller);
        } else if is_text && let Some(calling) = &mut self.reader.calling {
            calling.take(&Piece::Line(&message.bytes), at_ns, &mut told);
        }
        teller.tell(at_ns, self, What::WebSocket(message));
        let has_ended = told.iter().any(is_finish);
        for what in told {
            teller.tell(at_ns, self, what);
        }
        if has_ended {
            self.end_call_of_messages(at_ns, teller);
        }
    }

    /// A message that asks a model ends what was asked before.
    fn ask_by_message(
        &mut self,
        bytes: &[u8],
        at_ns: u64,
        told: &mut Vec<What>,
        teller: &mut Teller<'_>,
    ) {
        let (authority, target) = &self.place;
        let place = (authority.as_deref(), target.as_deref());
        let process = teller.process();
        let calling = Calling::of_message(bytes, place, process, at_ns, teller.shared);
        let Some(calling) = calling else {
            return;
        };
        self.end_call_of_messages(at_ns, teller);
        told.push(What::Asked(Box::new(calling.asked(bytes.len() as u64))));
        self.reader.calling = Some(Box::new(calling));
    }

    fn end_call_of_messages(&mut self, at_ns: u64, teller: &mut Teller<'_>) {
        if let Some(calling) = self.reader.calling.take() {
            let report = calling.report(None, Vec::new(), at_ns, teller.shared);
            let report = What::Call(Box::new(report));
            teller.say(at_ns, self.id, self.role(), true, report);
        }
    }

    /// What the response holds, as it comes.
    fn read(
        &mut self,
        at_ns: u64,
        teller: &mut Teller<'_>,
        act: impl FnOnce(&mut Half<ResponseHead>, &mut Teller<'_>, &mut dyn FnMut(&Piece<'_>)),
    ) {
        let State::Open(half) = &mut self.response else {
            return;
        };
        let mut told = Vec::new();
        let reader = &mut self.reader;
        act(half, teller, &mut |piece| {
            reader.take(piece, at_ns, &mut told)
        });
        if reader.streams && !half.streams {
            half.streams = true;
            let body = half.release(teller.shared);
            half.body.wire = body.wire;
            half.body.decoded = body.decoded;
        }
        for what in told {
            let heard = match &what {
                What::Event(event) => self.hear(event.data.as_bytes(), teller),
                _ => Vec::new(),
            };
            teller.tell(at_ns, self, what);
            self.tell_mcp(heard, at_ns, teller);
        }
    }

    /// What the answer, or an event of it, says in MCP.
    fn hear(&mut self, bytes: &[u8], teller: &mut Teller<'_>) -> Vec<McpMessage> {
        let (Some(mcp), State::Open(half)) = (&mut self.mcp, &self.response) else {
            return Vec::new();
        };
        mcp.answer(&half.head.fields, bytes, &mut teller.shared.sessions)
    }

    fn tell_mcp(&self, messages: Vec<McpMessage>, at_ns: u64, teller: &mut Teller<'_>) {
        for message in messages {
            teller.shared.counts.mcp += 1;
            teller.tell(at_ns, self, What::Mcp(Box::new(message)));
        }
    }

    fn end_request(&mut self, outcome: Outcome, at_ns: u64, teller: &mut Teller<'_>) {
        let State::Open(half) = &mut self.request else {
            return;
        };
        let is_complete = outcome == Outcome::Complete;
        half.finish(is_complete, teller.shared, &mut |_| {});
        if outcome == Outcome::CutOff {
            half.lack(teller.why, None);
        }
        self.look_at(at_ns, teller);
        if let Some(calling) = &mut self.reader.calling {
            calling.sent(at_ns);
        }
        let State::Open(mut half) = std::mem::replace(&mut self.request, State::Over) else {
            return;
        };
        let body = half.release(teller.shared);
        teller.shared.counts.incomplete += u64::from(!half.lacks.is_empty() || !is_complete);
        let head = *half.head;
        let request = HttpRequest {
            version: head.version.as_str(),
            method: head.method,
            target: head.target,
            authority: head.authority,
            fields: head.fields,
            trailers: half.trailers,
            body,
            began_ns: half.began_ns,
            outcome,
            incomplete: half.lacks,
        };
        teller.tell(at_ns, self, What::Request(Box::new(request)));
    }

    fn end_response(&mut self, outcome: Outcome, at_ns: u64, teller: &mut Teller<'_>) {
        if matches!(self.response, State::Unseen) {
            return self.end_unanswered(outcome, at_ns, teller);
        }
        let is_complete = outcome == Outcome::Complete;
        self.read(at_ns, teller, |half, teller, take| {
            half.finish(is_complete, teller.shared, take);
            if outcome == Outcome::CutOff {
                half.lack(teller.why, None);
            }
        });
        let heard = match &self.response {
            State::Open(half) if self.mcp.is_some() && !half.streams => {
                let bytes = half.body.bytes.clone();
                self.hear(&bytes, teller)
            }
            _ => Vec::new(),
        };
        let State::Open(mut half) = std::mem::replace(&mut self.response, State::Over) else {
            return;
        };
        let body = half.release(teller.shared);
        teller.shared.counts.incomplete += u64::from(!half.lacks.is_empty() || !is_complete);
        let is_understood = self.is_understood();
        let calling = self.reader.calling.take();
        let (id, role) = (self.id, self.role());
        let report = calling.map(|calling| {
            let lacks = half.lacks.clone();
            calling.report(Some((&body.bytes, outcome)), lacks, at_ns, teller.shared)
        });
        let head = *half.head;
        let response = HttpResponse {
            version: head.version.as_str(),
            status: head.status,
            fields: head.fields,
            trailers: half.trailers,
            body,
            events: self.reader.events,
            began_ns: half.began_ns,
            outcome,
            incomplete: half.lacks,
        };
        let response = What::Response(Box::new(response));
        teller.say(at_ns, id, role, is_understood, response);
        self.tell_mcp(heard, at_ns, teller);
        if let Some(report) = report {
            teller.say(at_ns, id, role, true, What::Call(Box::new(report)));
        }
    }

    /// The connection is over: what is open stays as it is.
    pub fn give_up(mut self, teller: &mut Teller<'_>) {
        let now_ns = teller.now_ns();
        self.end(Side::Request, Outcome::CutOff, now_ns, teller);
        self.end(Side::Response, Outcome::CutOff, now_ns, teller);
        // Over a WebSocket, an answer may be on its way.
        self.end_call_of_messages(now_ns, teller);
    }

    /// No answer was seen, and none will come.
    fn end_unanswered(&mut self, outcome: Outcome, at_ns: u64, teller: &mut Teller<'_>) {
        // A request that goes on without an answer is told when it ends.
        if let State::Open(_) = self.request {
            self.end_request(outcome, at_ns, teller);
        }
        self.response = State::Over;
        teller.shared.counts.unpaired += 1;
        let Some(mut calling) = self.reader.calling.take() else {
            return;
        };
        match outcome {
            Outcome::Broken(fault) => calling.unanswered(fault.what),
            Outcome::Reset(code) => calling.unanswered(&format!("reset, code {code}")),
            Outcome::Complete | Outcome::CutOff => calling.unanswered(teller.why),
        }
        let report = calling.report(None, Vec::new(), at_ns, teller.shared);
        let report = What::Call(Box::new(report));
        teller.say(at_ns, self.id, self.role(), true, report);
    }

    /// Finds out, once, whether the request is a call.
    fn look_at(&mut self, at_ns: u64, teller: &mut Teller<'_>) {
        let State::Open(half) = &self.request else {
            return;
        };
        if std::mem::replace(&mut self.is_looked_at, true) {
            return;
        }
        let Some(calling) = Calling::recognise(half, teller.process(), teller.shared) else {
            let (fields, body) = (&half.head.fields, &half.body.bytes);
            if let Some((talk, said)) = Talk::begin(fields, body, &mut teller.shared.sessions) {
                self.mcp = Some(Box::new(talk));
                self.tell_mcp(said, at_ns, teller);
            }
            return;
        };
        let asked = calling.asked(half.body.decoded);
        self.reader.calling = Some(Box::new(calling));
        teller.tell(at_ns, self, What::Asked(Box::new(asked)));
    }
}

fn is_finish(what: &What) -> bool {
    matches!(what, What::Delta { delta, .. } if matches!(delta.kind, DeltaKind::Finish(_)))
}

/// What a response holds.
#[derive(Default)]
struct Reader {
    calling: Option<Box<Calling>>,
    /// That were told.
    events: u64,
    /// It comes in pieces that are told or merged as they come.
    streams: bool,
}

impl Reader {
    /// The answer may be a JSON array that is sent element by element.
    fn wants_elements(&self, fields: &Fields) -> bool {
        let kind = fields.get("content-type").unwrap_or_default();
        let is_json = kind.trim_start().starts_with("application/json");
        let calling = self.calling.as_ref();
        is_json && calling.is_some_and(|calling| calling.streams())
    }

    fn take(&mut self, piece: &Piece<'_>, at_ns: u64, told: &mut Vec<What>) {
        if let Some(event) = self.event(piece) {
            self.streams = true;
            self.events += 1;
            told.push(What::Event(event));
        }
        if let Some(calling) = &mut self.calling {
            self.streams |= calling.take(piece, at_ns, told);
        }
    }

    fn event(&self, piece: &Piece<'_>) -> Option<StreamEvent> {
        let number = self.events + 1;
        match piece {
            Piece::Sse(event) => Some(StreamEvent {
                number,
                event: event.event.map(str::to_owned),
                id: event.id.map(str::to_owned),
                data: event.data.to_owned(),
                is_cut_off: !event.whole,
            }),
            Piece::Aws(message) => Some(StreamEvent {
                number,
                event: message.kind().map(str::to_owned),
                id: None,
                data: String::from_utf8_lossy(message.payload).into_owned(),
                is_cut_off: false,
            }),
            _ => None,
        }
    }
}
