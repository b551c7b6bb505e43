//! One exchange: a request, its response, and the call of a model that they may be.

use super::body::Half;
use super::call::{Calling, body_of};
use super::conn::Teller;
use super::guess::Guess;
use super::mcp::Talk;
use super::reader::Reader;
use super::said::{Body, HttpRequest, HttpResponse, Lack, Role, What};
use crate::proto::content::Piece;
use crate::proto::item::Version;
use crate::proto::{ExchangeId, Field, Fields, Outcome, Party, RequestHead, ResponseHead, Side};
use crate::semantics::mcp::McpMessage;

/// Interim responses (RFC 9110 section 15.2); 101 is the last one of its exchange.
fn is_interim(status: Option<u16>) -> bool {
    status.is_some_and(|status| (100..200).contains(&status) && status != 101)
}

/// Of an answer that came before its question was complete.
const EARLY_MAX: usize = 1 << 20;

const ANSWER_LOST: &str = "bytes were lost on its connection, and its answer may be among them";
const HEAD_LOST: &str = "its head was not seen";
/// Why something is missing.
pub const UNSEEN: &str = "bytes were not seen";

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
    /// Who asks.
    pub client: Party,
    request: State<RequestHead>,
    response: State<ResponseHead>,
    /// What the response says.
    pub reader: Reader,
    /// It was found out what the request is.
    is_looked_at: bool,
    /// It has become something else.
    pub is_upgraded: bool,
    /// It is a stream of HTTP/2: what it was upgraded to ends with it.
    is_stream: bool,
    /// Bytes of the server were lost on the connection since it began.
    may_be_answered: bool,
    mcp: Option<Box<Talk>>,
    /// Host and target of the request.
    pub place: (Option<String>, Option<String>),
    version: Version,
    /// Bytes of the response that were lost before its head came.
    lost: Option<Option<u64>>,
    early: Option<Box<Early>>,
}

/// An answer that was told before the request was complete.
struct Early {
    body: Body,
    fields: Fields,
    status: Option<u16>,
    outcome: Outcome,
    lacks: Vec<Lack>,
    began_ns: u64,
    ended_ns: u64,
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
            is_stream: false,
            may_be_answered: false,
            mcp: None,
            place: (None, None),
            version: Version::Http11,
            lost: None,
            early: None,
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
        let goes_on = self.is_upgraded && !self.is_stream;
        is_over && !matches!(self.request, State::Open(_)) && !goes_on
    }

    /// Bytes of its connection were lost, perhaps of others.
    pub fn lose(&mut self, from: Party) {
        self.may_be_answered |= from != self.client;
    }

    /// It becomes a connection of another kind.
    pub fn upgrade(&mut self) {
        self.is_upgraded = true;
        let version = match &self.response {
            State::Open(half) => Some(half.head.version),
            State::Over | State::Unseen => None,
        };
        self.is_stream = version == Some(Version::Http2);
    }

    pub fn request_begins(&mut self, head: Box<RequestHead>, at_ns: u64, teller: &mut Teller<'_>) {
        teller.shared.counts.requests += 1;
        self.place = (head.authority.clone(), head.target.clone());
        self.version = head.version;
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
        let fields = head.fields.clone();
        self.open_response(head, &fields, at_ns, teller);
    }

    /// What comes behind a head that was lost is still worth reading.
    fn response_goes_on(&mut self, at_ns: u64, teller: &mut Teller<'_>) {
        let head = ResponseHead {
            version: self.version,
            status: None,
            fields: Fields::default(),
        };
        // It may have said anything.
        let fields = Fields(vec![Field {
            name: "?".to_owned(),
            value: None,
        }]);
        self.open_response(Box::new(head), &fields, at_ns, teller);
        if let State::Open(half) = &mut self.response {
            half.lack(HEAD_LOST, None);
        }
    }

    fn open_response(
        &mut self,
        head: Box<ResponseHead>,
        fields: &Fields,
        at_ns: u64,
        teller: &mut Teller<'_>,
    ) {
        self.look_at(false, at_ns, teller);
        if let Some(calling) = &mut self.reader.calling {
            calling.answered(head.status, fields, at_ns);
        }
        if let Some(guess) = &mut self.reader.guess {
            guess.answered = Some((head.status, fields.clone(), at_ns));
        }
        if let State::Open(before) = &mut self.response {
            before.release(teller.shared);
        }
        let mut half = Half::new(Side::Response, head, fields, at_ns, teller.shared);
        if self.reader.wants_several() {
            half.may_be_several();
        }
        if let Some(bytes) = self.lost.take() {
            half.lack(UNSEEN, bytes);
        }
        self.response = State::Open(Box::new(half));
    }

    pub fn body(&mut self, side: Side, bytes: &[u8], at_ns: u64, teller: &mut Teller<'_>) {
        match side {
            Side::Request => match &mut self.request {
                State::Open(half) => half.push(bytes, teller.shared, &mut |_| {}),
                State::Over | State::Unseen => teller.unrecognised(bytes.len() as u64),
            },
            Side::Response if matches!(self.response, State::Over) => {
                teller.unrecognised(bytes.len() as u64);
            }
            Side::Response => {
                if matches!(self.response, State::Unseen) {
                    self.response_goes_on(at_ns, teller);
                }
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
            Side::Response if matches!(self.response, State::Unseen) => {
                let before = self.lost.unwrap_or(Some(0));
                let sum = before.zip(bytes);
                self.lost = Some(sum.map(|(before, bytes)| before.saturating_add(bytes)));
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
            half.body = Body {
                bytes: Vec::new(),
                ..body
            };
        }
        let untold = std::mem::take(&mut reader.untold);
        if untold > 0 {
            half.lack(
                format!("{untold} events at once are too many to be told"),
                None,
            );
        }
        self.settle(at_ns, &mut told, teller);
        if let Some(calling) = &mut self.reader.calling {
            calling.settle(teller.shared);
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

    /// The answer, which comes in pieces, may have shown that the request is a call.
    fn settle(&mut self, at_ns: u64, told: &mut Vec<What>, teller: &mut Teller<'_>) {
        let guess = self.reader.guess.as_mut();
        let Some((chosen, pieces)) = guess.and_then(|guess| guess.settled()) else {
            return;
        };
        let Some(guess) = self.reader.guess.take() else {
            return;
        };
        let bytes = guess.bytes;
        let process = teller.origin.process;
        let mut calling = Calling::of_guess(*guess, chosen, true, process, teller.shared);
        calling.goes_over(teller.origin.clone(), self.id, self.role());
        told.push(What::Asked(Box::new(calling.asked(bytes))));
        for piece in pieces {
            calling.hear(&piece.borrow(), at_ns, told);
        }
        self.reader.calling = Some(Box::new(calling));
    }

    /// The same of an answer in one piece.
    fn settle_by(&mut self, answer: &Body, at_ns: u64, teller: &mut Teller<'_>) {
        let Some(guess) = self.reader.guess.take() else {
            return;
        };
        let chosen = answer.whole().and_then(|answer| guess.settled_by(answer));
        let Some(chosen) = chosen else {
            return;
        };
        let bytes = guess.bytes;
        let process = teller.origin.process;
        let mut calling = Calling::of_guess(*guess, chosen, false, process, teller.shared);
        calling.goes_over(teller.origin.clone(), self.id, self.role());
        let asked = calling.asked(bytes);
        self.reader.calling = Some(Box::new(calling));
        teller.tell(at_ns, self, What::Asked(Box::new(asked)));
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
        self.look_at(true, at_ns, teller);
        if let (true, Some(calling)) = (is_complete, &mut self.reader.calling) {
            calling.sent(at_ns);
        }
        if let (true, Some(guess)) = (is_complete, &mut self.reader.guess) {
            guess.sent_ns = Some(at_ns);
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
        self.end_early(teller);
    }

    /// The call whose answer is over already.
    fn end_early(&mut self, teller: &mut Teller<'_>) {
        let Some(early) = self.early.take() else {
            return;
        };
        let Some(mut calling) = self.reader.calling.take() else {
            return;
        };
        calling.answered(early.status, &early.fields, early.began_ns);
        let answer = Some((&early.body, early.outcome));
        let report = calling.report(
            answer,
            [early.lacks, Vec::new()],
            early.ended_ns,
            teller.shared,
        );
        if let Some(report) = report {
            let report = What::Call(Box::new(report));
            teller.say(teller.now_ns(), self.id, self.role(), true, report);
        }
    }

    fn end_response(&mut self, outcome: Outcome, at_ns: u64, teller: &mut Teller<'_>) {
        if matches!(self.response, State::Unseen) {
            return self.end_unanswered(outcome, at_ns, teller);
        }
        if self.is_upgraded && self.is_stream {
            self.end_call_of_messages(at_ns, teller);
        }
        let known = match &self.response {
            State::Open(half) => half.lacks.len(),
            State::Over | State::Unseen => 0,
        };
        let is_complete = outcome == Outcome::Complete;
        self.read(at_ns, teller, |half, teller, take| {
            half.finish(is_complete, teller.shared, take);
            if outcome == Outcome::CutOff {
                half.lack(teller.why, None);
            }
        });
        let heard = match &self.response {
            State::Open(half) if self.mcp.is_some() && !half.streams => {
                let bytes = half.body.whole().map(<[u8]>::to_vec);
                self.hear(&bytes.unwrap_or_default(), teller)
            }
            _ => Vec::new(),
        };
        let State::Open(mut half) = std::mem::replace(&mut self.response, State::Over) else {
            return;
        };
        let body = half.release(teller.shared);
        self.settle_by(&body, at_ns, teller);
        teller.shared.counts.incomplete += u64::from(!half.lacks.is_empty() || !is_complete);
        let is_understood = self.is_understood();
        let calling = self.reader.calling.take();
        let (id, role) = (self.id, self.role());
        let report = calling.and_then(|calling| {
            let mut lacks = half.lacks.clone();
            let at_end = lacks.split_off(known.min(lacks.len()));
            calling.report(
                Some((&body, outcome)),
                [lacks, at_end],
                at_ns,
                teller.shared,
            )
        });
        if !self.is_looked_at && matches!(self.request, State::Open(_)) {
            self.early = Some(Box::new(Early::new(&half, &body, outcome, at_ns)));
        }
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
        let why = match outcome {
            Outcome::Broken(fault) => fault.what.to_owned(),
            Outcome::Complete => HEAD_LOST.to_owned(),
            Outcome::CutOff if self.may_be_answered => ANSWER_LOST.to_owned(),
            Outcome::CutOff => teller.why.to_owned(),
            Outcome::Reset(code) => format!("reset, code {code}"),
        };
        let lost = self.lost.take();
        let lacks = vec![Lack {
            of: "response",
            why: format!("no answer: {why}"),
            at: 0,
            bytes: lost.flatten(),
        }];
        let is_understood = self.is_understood();
        let calling = self.reader.calling.take();
        let response = HttpResponse {
            version: self.version.as_str(),
            status: None,
            fields: Fields::default(),
            trailers: Fields::default(),
            body: Body::default(),
            events: 0,
            began_ns: at_ns,
            outcome,
            incomplete: lacks.clone(),
        };
        let (id, role) = (self.id, self.role());
        let response = What::Response(Box::new(response));
        teller.say(at_ns, id, role, is_understood, response);
        if let Some(mut calling) = calling {
            calling.unanswered(&why);
            let is_lost = lost.is_some() || self.may_be_answered;
            let is_lost = is_lost || matches!(outcome, Outcome::Broken(_));
            let lacks = if is_lost { lacks } else { Vec::new() };
            let lacks = [lacks, Vec::new()];
            if let Some(report) = calling.report(None, lacks, at_ns, teller.shared) {
                teller.say(at_ns, id, role, true, What::Call(Box::new(report)));
            }
        }
    }

    /// Finds out, once, whether the request is a call. `is_over`: nothing more of it comes; before, it may be read if what
    /// has come is JSON already.
    fn look_at(&mut self, is_over: bool, at_ns: u64, teller: &mut Teller<'_>) {
        let State::Open(half) = &self.request else {
            return;
        };
        let body = match self.is_looked_at {
            false => body_of(half),
            true => return,
        };
        if !is_over && body.is_none() {
            return;
        }
        self.is_looked_at = true;
        let shared = &mut *teller.shared;
        let process = teller.origin.process;
        let Some(mut calling) = Calling::recognise(half, body.as_ref(), process, shared) else {
            self.reader.guess = Guess::of(half, body).map(Box::new);
            let (fields, body) = (&half.head.fields, half.body.whole());
            if let Some((talk, said)) = Talk::begin(fields, body, &mut teller.shared.sessions) {
                self.mcp = Some(Box::new(talk));
                self.tell_mcp(said, at_ns, teller);
            }
            return;
        };
        calling.goes_over(teller.origin.clone(), self.id, self.role());
        let is_new = !calling.is_fetched_again();
        let asked = is_new.then(|| calling.asked(half.body.decoded));
        self.reader.calling = Some(calling);
        if let Some(asked) = asked {
            teller.tell(at_ns, self, What::Asked(Box::new(asked)));
        }
    }
}

impl Early {
    fn new(half: &Half<ResponseHead>, body: &Body, outcome: Outcome, ended_ns: u64) -> Self {
        let bytes = body.bytes.get(..EARLY_MAX).unwrap_or(&body.bytes);
        Self {
            body: Body {
                bytes: bytes.to_vec(),
                ..*body
            },
            fields: half.head.fields.clone(),
            status: half.head.status,
            outcome,
            lacks: half.lacks.clone(),
            began_ns: half.began_ns,
            ended_ns,
        }
    }
}
