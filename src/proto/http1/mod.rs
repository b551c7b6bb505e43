//! HTTP/1.1 and 1.0 (RFC 9112), both directions of one connection. Heads are parsed by httparse ([`head`]), bodies are
//! delimited by [`framing`] and [`body`], requests and responses are paired by [`pairing`].
//!
//! Who the client is shows by who sends a request line. After lost bytes, and when the connection was joined late, a head is
//! looked for where a piece of data begins and behind empty lines; it must parse, and a request of HTTP/1.1 must have a
//! host, a response must say how long it is. Bytes up to there are told as not recognised.
//!
//! A response whose request is not known is taken to have a body: nobody knows whether it answers a HEAD.

mod body;
mod framing;
mod half;
mod head;
mod loss;
mod pairing;
pub(in crate::proto) mod start;
pub(in crate::proto) mod switch;
#[cfg(test)]
mod tests;

use std::mem;

use self::body::{Body, State};
use self::framing::Framing;
pub use self::half::Kept;
use self::half::{Half, Message, Next, Phase};
use self::head::{Head, Taken};
use self::pairing::{Asked, Open, Pairing};
pub use self::switch::Agreed;
use super::both::Both;
use super::skipped::tell;
use super::{
    Decoder, ExchangeId, Fault, Item, Limits, Out, Outcome, Party, RequestHead, ResponseHead, Side,
};

const JOINED_LATE: Fault = Fault {
    what: "the connection was joined in the middle of a message",
};
const LOST: Fault = Fault {
    what: "bytes were lost",
};
const NOT_A_HEAD: Fault = Fault {
    what: "no head of HTTP/1 where one was expected",
};
const TOO_LONG: Fault = Fault {
    what: "a head is too long",
};
const TOO_MANY: Fault = Fault {
    what: "too many requests are open",
};
const ROLE: Fault = Fault {
    what: "a request from the server, or a response from the client",
};
const CUT_HEAD: Fault = Fault {
    what: "the direction ended in a head",
};
const UNPAIRED: Fault = Fault {
    what: "bytes were lost: its response cannot be told from others",
};
const OTHER_PROTOCOL: Fault = Fault {
    what: "not HTTP/1 any more",
};

/// Decodes a connection that speaks HTTP/1.
#[derive(Debug)]
pub struct Http1 {
    limits: Limits,
    /// Of the last exchange.
    last_id: u64,
    client: Option<Party>,
    halves: Both<Half>,
    pairing: Pairing,
    /// What was answered with 1xx: the final response follows.
    interim: Option<Answer>,
    agreed: Option<Agreed>,
}

/// What a response answers.
#[derive(Debug)]
struct Answer {
    id: ExchangeId,
    request: Option<Open>,
}

impl Http1 {
    /// For a connection seen from its start, or joined late.
    pub fn new(limits: Limits, from_start: bool) -> Self {
        let phase = || match from_start {
            true => Phase::Head,
            false => Phase::Lost(JOINED_LATE),
        };
        Self {
            limits,
            last_id: 0,
            client: None,
            halves: Both::new(|| Half::new(phase())),
            pairing: Pairing::new(from_start),
            interim: None,
            agreed: None,
        }
    }

    /// Who sends requests, as soon as a head was seen.
    pub fn client(&self) -> Option<Party> {
        self.client
    }

    /// Whether a head was seen. `None`: not yet, and nothing else either.
    pub fn is_recognised(&self) -> Option<bool> {
        let parties = [Party::Local, Party::Peer];
        let is_skipping = |party: &Party| self.halves.get(*party).skipped.is_open();
        match self.client {
            Some(_) => Some(true),
            None => parties.iter().any(is_skipping).then_some(false),
        }
    }

    /// How many exchanges were numbered.
    pub fn exchanges(&self) -> u64 {
        self.last_id
    }

    /// What the two have agreed to speak; once.
    pub fn take_agreed(&mut self) -> Option<Agreed> {
        self.agreed.take()
    }

    /// Whether the next bytes from there are of the protocol that was agreed on.
    pub fn is_switched(&self, from: Party) -> bool {
        matches!(self.halves.get(from).phase, Phase::Switched)
    }

    /// Bytes of a switched direction that came before the agreement.
    pub fn take_kept(&mut self, from: Party) -> Kept {
        mem::take(&mut self.halves.get_mut(from).kept)
    }

    /// Takes bytes, and gives back those that are of the protocol that was agreed on.
    pub fn feed<'b>(
        &mut self,
        from: Party,
        at_ns: u64,
        bytes: &'b [u8],
        out: &mut Out<'_>,
    ) -> &'b [u8] {
        let mut rest = bytes;
        if self.client == Some(from.other()) && !bytes.is_empty() {
            self.pairing.hear();
        }
        while !rest.is_empty() {
            let is_start = rest.len() == bytes.len();
            let half = self.halves.get_mut(from);
            let used = match half.phase {
                Phase::Body(_) => self.body(from, at_ns, rest, out),
                Phase::Head => self.head(from, at_ns, rest, out),
                Phase::Held(_) => {
                    half.kept.data(at_ns, rest, self.limits.head);
                    rest.len()
                }
                Phase::Lost(fault) => self.search(from, at_ns, rest, is_start, fault, out),
                Phase::Switched => break,
            };
            rest = rest.get(used..).unwrap_or_default();
        }
        rest
    }

    fn head(&mut self, from: Party, at_ns: u64, rest: &[u8], out: &mut Out<'_>) -> usize {
        let half = self.halves.get_mut(from);
        if half.head.is_empty() {
            // RFC 9112 section 2.2: empty lines in front of a request are ignored.
            let is_line_end = |byte: &&u8| matches!(byte, b'\r' | b'\n');
            let empty = rest.iter().take_while(is_line_end).count();
            if empty > 0 {
                return empty;
            }
        }
        let (used, skipped, fault) = match half.head.take(rest, &self.limits) {
            Taken::More => return rest.len(),
            Taken::Not => (0, half.head.clear(), NOT_A_HEAD),
            Taken::TooLong { used, len } => (used, len, TOO_LONG),
            Taken::Head { parsed, used, len } => match parsed {
                Ok(head) if self.fits(from, &head) => {
                    self.begin(from, at_ns, head, out);
                    return used;
                }
                Ok(_) => (used, len, ROLE),
                Err(fault) => (used, len, fault),
            },
        };
        self.lose(from, at_ns, fault, out);
        let half = self.halves.get_mut(from);
        half.is_boundary = used > 0;
        half.skipped.skip(from, at_ns, skipped, fault, out);
        used
    }

    fn fits(&self, from: Party, head: &Head) -> bool {
        let client = match head {
            Head::Request(_) => from,
            Head::Response(_) => from.other(),
        };
        self.client.is_none_or(|known| known == client)
    }

    fn begin(&mut self, from: Party, at_ns: u64, head: Head, out: &mut Out<'_>) {
        self.halves.get_mut(from).phase = Phase::Head;
        match head {
            Head::Request(head) => {
                self.client = Some(from);
                self.request(from, at_ns, head, out);
            }
            Head::Response(head) => {
                self.client = Some(from.other());
                self.response(from, at_ns, head, out);
            }
        }
    }

    fn next_id(&mut self) -> ExchangeId {
        self.last_id += 1;
        ExchangeId(self.last_id)
    }

    fn request(&mut self, from: Party, at_ns: u64, head: Box<RequestHead>, out: &mut Out<'_>) {
        let id = self.next_id();
        let wants = switch::wanted(&head);
        let framing = framing::of_request(&head);
        let asked = match head.method.as_deref() {
            Some("CONNECT") => Asked::Connect,
            Some("HEAD") => Asked::Head,
            _ => Asked::Other,
        };
        let half = self.halves.get_mut(from);
        half.next = match wants {
            Some(_) => Next::Held,
            None => Next::Head,
        };
        let is_answering = self.interim.is_some() || self.is_in_body(from.other());
        let request = Open::new(id, asked, wants);
        let given_up = self.pairing.ask(request, is_answering);
        self.give_up(at_ns, given_up, UNPAIRED, out);
        out(Item::Request {
            id,
            from,
            head,
            at_ns,
        });
        if self.pairing.len() > self.limits.exchanges {
            let given_up = self.pairing.give_up();
            self.give_up(at_ns, given_up, TOO_MANY, out);
        }
        self.begin_body(from, at_ns, id, Side::Request, framing, out);
    }

    fn is_in_body(&self, from: Party) -> bool {
        matches!(self.halves.get(from).phase, Phase::Body(_))
    }

    fn response(&mut self, from: Party, at_ns: u64, head: Box<ResponseHead>, out: &mut Out<'_>) {
        let answer = self.answer(at_ns, out);
        let id = answer.id;
        let agreed = switch::agreed(id, &head, answer.request.as_ref());
        let asked = answer.request.as_ref().map(|request| request.asked);
        let framing = framing::of_response(&head, asked.unwrap_or(Asked::Other));
        let is_interim = matches!(head.status, Some(100 | 102..=199));
        out(Item::Response {
            id,
            from,
            head,
            at_ns,
        });
        if is_interim {
            self.interim = Some(answer);
        } else if let Some(agreed) = agreed {
            self.switch(from, at_ns, agreed, out);
        } else {
            self.release(from.other(), at_ns, id, out);
            self.begin_body(from, at_ns, id, Side::Response, framing, out);
        }
    }

    fn answer(&mut self, at_ns: u64, out: &mut Out<'_>) -> Answer {
        if let Some(answer) = self.interim.take() {
            return answer;
        }
        let (request, given_up) = self.pairing.answer();
        self.give_up(at_ns, given_up, UNPAIRED, out);
        let id = match &request {
            Some(request) => request.id,
            None => self.next_id(),
        };
        Answer { id, request }
    }

    fn begin_body(
        &mut self,
        from: Party,
        at_ns: u64,
        id: ExchangeId,
        side: Side,
        framing: Result<Framing, Fault>,
        out: &mut Out<'_>,
    ) {
        match framing.map(Body::new) {
            Ok(Some(body)) => {
                self.halves.get_mut(from).phase = Phase::Body(Message { id, side, body });
            }
            Ok(None) => self.end_message(from, at_ns, id, side, Outcome::Complete, out),
            Err(fault) => {
                self.end_message(from, at_ns, id, side, Outcome::Broken(fault), out);
            }
        }
    }

    fn end_message(
        &mut self,
        from: Party,
        at_ns: u64,
        id: ExchangeId,
        side: Side,
        outcome: Outcome,
        out: &mut Out<'_>,
    ) {
        out(end(id, side, outcome, at_ns));
        let half = self.halves.get_mut(from);
        half.phase = match mem::take(&mut half.next) {
            Next::Head => Phase::Head,
            Next::Held => Phase::Held(id),
            Next::Switched => Phase::Switched,
        };
        match outcome {
            Outcome::Complete if side == Side::Response => self.pairing.complete(),
            Outcome::Broken(fault) => self.lose(from, at_ns, fault, out),
            _ => {}
        }
    }

    fn body(&mut self, from: Party, at_ns: u64, rest: &[u8], out: &mut Out<'_>) -> usize {
        let Phase::Body(message) = &mut self.halves.get_mut(from).phase else {
            return rest.len();
        };
        let (id, side) = (message.id, message.side);
        let step = message.body.decode(rest, &self.limits);
        if !step.data.is_empty() {
            out(Item::Body {
                id,
                side,
                bytes: step.data,
                at_ns,
            });
        }
        match step.state {
            State::Going => {}
            State::Done(fields) => {
                if !fields.0.is_empty() {
                    out(Item::Trailers {
                        id,
                        side,
                        fields,
                        at_ns,
                    });
                }
                self.end_message(from, at_ns, id, side, Outcome::Complete, out);
            }
            State::Failed(fault) => {
                self.end_message(from, at_ns, id, side, Outcome::Broken(fault), out);
            }
        }
        step.used
    }

    /// One direction is over, by its end or because nobody looks any more.
    fn finish(&mut self, from: Party, at_ns: u64, is_closed: bool, out: &mut Out<'_>) {
        self.halves.get_mut(from).has_ended = true;
        self.end_half(from, at_ns, is_closed, out);
        let has_server_ended = match self.client {
            Some(client) => self.halves.get(client.other()).has_ended,
            None => false,
        };
        // What was kept behind one of them may hold more.
        while has_server_ended && (self.interim.is_some() || self.pairing.len() > 0) {
            self.end_open(at_ns, out);
        }
    }

    /// What a direction that is over has begun ends there.
    fn end_half(&mut self, from: Party, at_ns: u64, is_closed: bool, out: &mut Out<'_>) {
        if let Phase::Body(message) = &self.halves.get(from).phase {
            let (id, side) = (message.id, message.side);
            let outcome = match message.body {
                // RFC 9112 section 6.3, rule 8; section 8: "considered complete" only if the closure was seen.
                Body::Close if is_closed => Outcome::Complete,
                _ => Outcome::CutOff,
            };
            self.end_message(from, at_ns, id, side, outcome, out);
        }
        let half = self.halves.get_mut(from);
        let cut = half.head.clear();
        half.skipped.skip(from, at_ns, cut, CUT_HEAD, out);
        half.skipped.close(from, at_ns, out);
    }
}

/// For the fuzzer: bytes that say how they are cut ([`super::fuzz`]). Panics if what is told makes no sense.
pub fn fuzz_http1(data: &[u8]) {
    super::fuzz::run(data, |limits, from_start| {
        Box::new(Http1::new(limits, from_start))
    });
}

fn end(id: ExchangeId, side: Side, outcome: Outcome, at_ns: u64) -> Item<'static> {
    Item::End {
        id,
        side,
        outcome,
        at_ns,
    }
}

impl Decoder for Http1 {
    fn data(&mut self, from: Party, at_ns: u64, bytes: &[u8], out: &mut Out<'_>) {
        let rest = self.feed(from, at_ns, bytes, out);
        let half = self.halves.get_mut(from);
        let skipped = &mut half.skipped;
        skipped.skip(from, at_ns, rest.len(), OTHER_PROTOCOL, out);
    }

    fn gap(&mut self, from: Party, at_ns: u64, bytes: Option<u64>, out: &mut Out<'_>) {
        if bytes == Some(0) {
            return;
        }
        if self.client != Some(from) {
            self.pairing.doubt();
        }
        let half = self.halves.get_mut(from);
        match half.phase {
            Phase::Body(_) => self.lose_in_body(from, at_ns, bytes, out),
            Phase::Held(_) => half.kept.gap(at_ns, bytes),
            Phase::Switched => tell(from, at_ns, bytes, LOST, out),
            Phase::Head | Phase::Lost(_) => {
                let cut = half.head.clear();
                half.skipped.skip(from, at_ns, cut, LOST, out);
                half.skipped.close(from, at_ns, out);
                tell(from, at_ns, bytes, LOST, out);
                self.lose(from, at_ns, LOST, out);
            }
        }
    }

    fn end(&mut self, from: Party, at_ns: u64, out: &mut Out<'_>) {
        self.finish(from, at_ns, true, out);
    }

    fn stop(&mut self, from: Party, at_ns: u64, out: &mut Out<'_>) {
        self.finish(from, at_ns, false, out);
    }

    fn held(&self) -> usize {
        let halves = [Party::Local, Party::Peer].map(|party| self.halves.get(party).held());
        halves.iter().sum::<usize>() + self.pairing.held()
    }
}
