//! A call of a model, from its request to the end of its answer.

use serde_json::Value;

use super::Shared;
use super::background::Known;
use super::body::{Half, LACKS_MAX};
use super::guess::Guess;
use super::history::Retry;
use super::pace::Pace;
use super::room::Share;
use super::said::{Asked, Body, CallName, CallReport, Lack, Role, Said, What};
use crate::event::ProcessId;
use crate::proto::content::Piece as Content;
use crate::proto::{ExchangeId, Fields, Outcome, RequestHead};
use crate::semantics::dialect::DeltaKind;
use crate::semantics::recognise::COMPATIBLE;
use crate::semantics::thread::{Place, Question};
use crate::semantics::unplaced::Candidate;
use crate::semantics::{
    Call, Delta, Dialect, Merge, Operation, Piece, Request, RequestView, Response, Target, Usage,
    fetched, openai, provider_of, recognise,
};
use crate::stream::Origin;

/// Of the answer to one call that are kept while it is put together.
const MERGE_MAX: usize = 128 << 20;
/// What a piece of an answer takes beside its own bytes, at most about: pieces of new choices take most.
const PIECE_COST: usize = 512;

/// A call that has not ended.
pub struct Calling {
    name: CallName,
    dialect: &'static dyn Dialect,
    target: Target,
    request: Request,
    authority: Option<String>,
    lacks: Vec<Lack>,
    process: ProcessId,
    /// Of method, target and body: the same question has the same.
    question: [u8; 32],
    thread: Option<Place>,
    retry: Option<Retry>,
    status: Option<u16>,
    /// What the head of the answer says it took.
    counted: Option<Usage>,
    /// The number of an answer that is made in the background.
    fetched: Option<String>,
    /// What that answer was when it was asked for last.
    awaited: Option<Response>,
    /// Where it is asked for.
    over: Option<(Origin, ExchangeId, Role)>,
    merge: Option<Box<dyn Merge>>,
    /// Pieces of the answer.
    pieces: usize,
    /// Of these, those that its dialect does not know.
    strange: u64,
    share: Share,
    /// Too much of the answer came: no more of it is put together.
    is_full: bool,
    error: Option<String>,
    pace: Pace,
}

impl Calling {
    /// What this request asks of a model; `None`: nothing. `body`: what it says, if all of that is there.
    pub fn recognise(
        half: &Half<RequestHead>,
        body: Option<&Value>,
        process: ProcessId,
        shared: &mut Shared,
    ) -> Option<Box<Self>> {
        let head = &half.head;
        let method = head.method.as_deref()?;
        let (path, query) = path_of(head.target.as_deref()?);
        let host = head.authority.as_deref().map(host_of).unwrap_or_default();
        let view = RequestView {
            method,
            path,
            query,
            host: &host,
            fields: &head.fields,
            body,
        };
        if let Some((dialect, target, id)) = fetched(&view) {
            return Self::fetch((dialect, target), id, half, process, shared);
        }
        // No model is asked by another method, and a WebSocket begins with a GET.
        if !method.eq_ignore_ascii_case("POST") {
            return None;
        }
        let (dialect, target) = recognise(&view)?;
        let request = dialect.request(&target, body.unwrap_or(&Value::Null));
        let question = digest(half);
        let mut calling = Self::new(dialect, target, request, question, process, shared);
        calling.authority = head.authority.clone();
        calling.lacks = half.lacks.clone();
        calling.pace.began_ns = half.began_ns;
        Some(Box::new(calling))
    }

    /// The call whose answer is asked for by its number. If nobody saw the question, it is a call without one.
    fn fetch(
        (dialect, target): (&'static dyn Dialect, Target),
        id: &str,
        half: &Half<RequestHead>,
        process: ProcessId,
        shared: &mut Shared,
    ) -> Option<Box<Self>> {
        match shared.background.ask(process, id) {
            Known::Elsewhere => None,
            Known::Waits(calling) => Some(calling),
            // A path of this form alone says little.
            Known::Nothing if !id.starts_with("resp") => None,
            Known::Nothing => {
                shared.background.asked(process, id);
                let (_, query) = path_of(half.head.target.as_deref()?);
                let request = Request {
                    stream: query.split('&').any(|pair| pair == "stream=true"),
                    ..Request::default()
                };
                let question = digest(half);
                let mut calling = Self::new(dialect, target, request, question, process, shared);
                calling.authority = half.head.authority.clone();
                calling.pace.began_ns = half.began_ns;
                calling.fetched = Some(id.to_owned());
                Some(Box::new(calling))
            }
        }
    }

    /// What a message of a WebSocket asks of a model; `None`: nothing. Codex speaks to OpenAI so.
    pub fn of_message(
        bytes: &[u8],
        (authority, target): (Option<&str>, Option<&str>),
        process: ProcessId,
        at_ns: u64,
        shared: &mut Shared,
    ) -> Option<Self> {
        let body: Value = serde_json::from_slice(bytes).ok()?;
        let (path, _) = path_of(target.unwrap_or_default());
        // Realtime calls have messages of this name too.
        if target.is_some() && !path.trim_end_matches('/').ends_with("/responses") {
            return None;
        }
        let host = authority.map(host_of).unwrap_or_default();
        let provider = provider_of(&host, path).unwrap_or(COMPATIBLE);
        let target = Target {
            provider: provider.to_owned(),
            operation: Operation::Chat,
            model: None,
        };
        let request = openai::created(&target, &body)?;
        let question = *blake3::hash(bytes).as_bytes();
        let dialect = &openai::Responses;
        let mut calling = Self::new(dialect, target, request, question, process, shared);
        calling.authority = authority.map(str::to_owned);
        calling.pace.began_ns = at_ns;
        calling.pace.sent_ns = Some(at_ns);
        Some(calling)
    }

    /// What an answer has shown to be a call; it came in pieces if `streams`.
    pub fn of_guess(
        guess: Guess,
        chosen: Candidate,
        streams: bool,
        process: ProcessId,
        shared: &mut Shared,
    ) -> Self {
        let Candidate {
            dialect, target, ..
        } = chosen;
        let mut request = dialect.request(&target, &guess.body);
        // Gemini says so in its path.
        request.stream |= streams;
        let mut calling = Self::new(dialect, target, request, guess.question, process, shared);
        calling.authority = guess.authority;
        calling.lacks = guess.lacks;
        calling.pace.began_ns = guess.began_ns;
        calling.pace.sent_ns = guess.sent_ns;
        if let Some((status, fields, at_ns)) = guess.answered {
            calling.answered(status, &fields, at_ns);
        }
        calling
    }

    fn new(
        dialect: &'static dyn Dialect,
        target: Target,
        request: Request,
        question: [u8; 32],
        process: ProcessId,
        shared: &mut Shared,
    ) -> Self {
        shared.calls += 1;
        shared.counts.calls += 1;
        let name = CallName(shared.calls);
        let history = &mut shared.history;
        let asks = Question {
            operation: target.operation,
            request: &request,
            is_kept: dialect.keeps_conversations(),
        };
        let (thread, retry) = history.ask(process, name, question, &asks);
        Self {
            name,
            process,
            question,
            thread,
            retry,
            dialect,
            target,
            request,
            authority: None,
            lacks: Vec::new(),
            status: None,
            counted: None,
            fetched: None,
            awaited: None,
            over: None,
            merge: None,
            pieces: 0,
            strange: 0,
            share: Share::default(),
            is_full: false,
            error: None,
            pace: Pace::new(0),
        }
    }

    /// The question, as it is told when it is asked. `bytes`: of the request's body.
    pub fn asked(&self, bytes: u64) -> Asked {
        Asked {
            name: self.name,
            call: self.call(None),
            authority: self.authority.clone(),
            bytes,
            thread: self.thread.clone(),
            retry: self.retry,
        }
    }

    fn call(&self, response: Option<Response>) -> Call {
        Call {
            provider: self.target.provider.clone(),
            operation: self.target.operation,
            request: self.request.clone(),
            response,
        }
    }

    /// An answer in pieces was asked for.
    pub fn streams(&self) -> bool {
        self.request.stream
    }

    /// All of the request has passed.
    pub fn sent(&mut self, at_ns: u64) {
        self.pace.sent_ns.get_or_insert(at_ns);
    }

    /// The head of the answer is there.
    pub fn answered(&mut self, status: Option<u16>, fields: &Fields, at_ns: u64) {
        self.status = status;
        self.counted = self.dialect.counted(fields);
        self.pace.headers_ns.get_or_insert(at_ns);
    }

    /// No answer will come.
    pub fn unanswered(&mut self, why: &str) {
        self.error = Some(format!("no answer: {why}"));
    }

    /// Takes the next piece of the answer, and tells what is new. Returns whether it was one.
    pub fn take(&mut self, piece: &Content<'_>, at_ns: u64, told: &mut Vec<What>) -> bool {
        match piece {
            // Half an event says nothing that could be relied on; that it is cut off is told.
            Content::Sse(event) if !event.whole => true,
            piece => answer_piece(piece).is_some_and(|piece| self.hear(&piece, at_ns, told)),
        }
    }

    /// The same.
    pub fn hear(&mut self, piece: &Piece<'_>, at_ns: u64, told: &mut Vec<What>) -> bool {
        if self.is_full {
            return true;
        }
        let (dialect, target) = (self.dialect, &self.target);
        let merge = self.merge.get_or_insert_with(|| dialect.merge(target));
        let (name, pace) = (self.name, &mut self.pace);
        let is_known = merge.piece(piece, &mut |delta: Delta| {
            // Why it ends is no token.
            if !matches!(delta.kind, DeltaKind::Finish(_)) {
                pace.heard(at_ns);
            }
            told.push(What::Delta { call: name, delta });
        });
        self.pieces += 1;
        self.strange += u64::from(!is_known);
        is_known
    }

    /// The answer has said its last word.
    pub fn is_final(&self) -> bool {
        self.merge.as_ref().is_some_and(|merge| merge.is_final())
    }

    /// Something of question or answer is missing.
    pub fn lack(&mut self, lack: Lack) {
        // More of them tell nothing new.
        if self.lacks.len() < LACKS_MAX {
            self.lacks.push(lack);
        }
    }

    /// Counts what it holds. What is too much ends there.
    pub fn settle(&mut self, shared: &mut Shared) {
        let Some(merge) = &self.merge else {
            return;
        };
        let held = merge.held() + self.pieces * PIECE_COST;
        let fits = self.share.set(held, &mut shared.room) && held <= MERGE_MAX;
        if !fits && !self.is_full {
            self.is_full = true;
            self.lack(Lack {
                of: "response",
                why: "more of the answer than is kept".to_owned(),
                at: 0,
                bytes: None,
            });
        }
    }

    /// What came of it. `answer`: the body of an answer in one piece, and how it ended; `None`: there was none. Of what is
    /// missing, some was known before the end, and some showed with it.
    pub fn report(
        mut self: Box<Self>,
        answer: Option<(&Body, Outcome)>,
        [before, at_end]: [Vec<Lack>; 2],
        at_ns: u64,
        shared: &mut Shared,
    ) -> Option<CallReport> {
        // Some clients hang up behind the last word, and leave the rest of the framing unread.
        let is_final = self.is_final();
        self.share.set(0, &mut shared.room);
        let is_cut = |how: Outcome| matches!(how, Outcome::CutOff | Outcome::Reset(_));
        let cuts_nothing = is_final && answer.is_some_and(|(_, how)| is_cut(how));
        let merged = self.merge.take().map(Merge::finish);
        let mut response = match (merged, answer) {
            (Some(merged), _) => Some(merged),
            (None, Some((body, _))) => self.whole(body),
            (None, None) => None,
        };
        if let Some(response) = &mut response
            && response.error.is_none()
        {
            response.usage = response.usage.take().or(self.counted.take());
        }
        if self.is_to_come(response.as_ref()) {
            self = self.wait(response.take(), shared)?;
            return Some(self.unfetched(at_ns, shared));
        }
        let outcome = match cuts_nothing {
            true => Some(Outcome::Complete),
            false => answer.map(|(_, outcome)| outcome),
        };
        if self.error.is_none() {
            self.error = self.fault(response.as_ref(), outcome);
        }
        self.remember(response.as_ref(), shared);
        let history = &mut shared.history;
        if let Some(response) = &response {
            history.answer(self.process, self.name, response);
        }
        let has_failed = self.error.is_some();
        history.end(self.process, self.name, self.question, has_failed);
        let mut incomplete = std::mem::take(&mut self.lacks);
        let is_lack = |lack: &Lack| !cuts_nothing || lack.bytes.is_some();
        incomplete.extend(before);
        incomplete.extend(at_end.into_iter().filter(is_lack));
        if self.strange > 0 {
            incomplete.push(Lack {
                of: "response",
                why: format!("{} events were not understood", self.strange),
                at: 0,
                bytes: None,
            });
        }
        Some(self.told(response, incomplete, at_ns, shared))
    }

    fn told(
        self,
        response: Option<Response>,
        incomplete: Vec<Lack>,
        at_ns: u64,
        shared: &mut Shared,
    ) -> CallReport {
        let call = with_estimate(self.call(response));
        CallReport {
            name: self.name,
            dialect: self.dialect.name(),
            authority: self.authority.clone(),
            cost: shared.prices().of_call(&call),
            call,
            status: self.status,
            thread: self.thread.clone(),
            retry: self.retry,
            timings: self.pace.timings(at_ns),
            error: self.error,
            incomplete,
        }
    }

    /// The answer is made in the background, and was not there yet.
    fn is_to_come(&self, response: Option<&Response>) -> bool {
        if self.over.is_none() {
            return false;
        }
        let is_awaited = response.is_some_and(|response| {
            response.id.is_some() && self.dialect.is_awaited(&self.request, response)
        });
        // That one question for it failed says nothing of the answer.
        let is_there =
            response.is_some_and(|response| response.is_complete && response.error.is_none());
        is_awaited || self.awaited.is_some() && !(is_there || self.has_failed(response))
    }

    /// The answer itself says that nothing will come of it.
    fn has_failed(&self, response: Option<&Response>) -> bool {
        let is_fine = self.status.is_none_or(|status| status < 400);
        is_fine && response.is_some_and(|response| response.error.is_some())
    }

    /// That the answer was told, or may be asked for again.
    fn remember(&self, response: Option<&Response>, shared: &mut Shared) {
        let said = response.and_then(|response| response.id.as_deref());
        let Some(id) = said.or(self.fetched.as_deref()) else {
            return;
        };
        let is_told = response.is_some_and(|response| response.is_complete)
            && self.status.is_none_or(|status| status < 400);
        match is_told {
            true if self.dialect.keeps_answers() => shared.background.told(self.process, id),
            false if self.fetched.is_some() => shared.background.forget(self.process, id),
            _ => {}
        }
    }

    /// Waits for the client to ask for the answer; `Some`: too many do.
    fn wait(
        mut self: Box<Self>,
        response: Option<Response>,
        shared: &mut Shared,
    ) -> Option<Box<Self>> {
        self.pieces = 0;
        self.strange = 0;
        self.is_full = false;
        self.error = None;
        if let Some(response) = response.filter(|response| response.error.is_none()) {
            self.fetched = response.id.clone().or(self.fetched);
            self.awaited = Some(response);
        }
        let id = self.fetched.clone().unwrap_or_default();
        shared.background.wait(self.process, &id, self).err()
    }

    /// The answer was not asked for as long as this was seen.
    fn unfetched(mut self, at_ns: u64, shared: &mut Shared) -> CallReport {
        self.error = Some("the answer was not there yet when it was asked for last".to_owned());
        let (response, lacks) = (self.awaited.take(), std::mem::take(&mut self.lacks));
        self.told(response, lacks, at_ns, shared)
    }

    /// Says that, where it was asked for last.
    pub fn said_unfetched(mut self, shared: &mut Shared) -> Option<Said> {
        let (origin, exchange, role) = self.over.take()?;
        let report = self.unfetched(origin.ts_ns, shared);
        Some(Said {
            origin,
            exchange,
            role,
            is_understood: true,
            what: What::Call(Box::new(report)),
        })
    }

    /// It is asked for there.
    pub fn goes_over(&mut self, origin: Origin, exchange: ExchangeId, role: Role) {
        self.over = Some((origin, exchange, role));
    }

    /// Which call it is.
    pub fn name(&self) -> CallName {
        self.name
    }

    /// Its question was told before.
    pub fn is_fetched_again(&self) -> bool {
        self.awaited.is_some()
    }

    /// An answer in one piece.
    fn whole(&mut self, body: &Body) -> Option<Response> {
        if body.decoded == 0 {
            return None;
        }
        let Some(bytes) = body.whole() else {
            self.error = Some("parts of the answer were not seen".to_owned());
            return None;
        };
        match serde_json::from_slice(bytes) {
            Ok(body) => {
                let status = self.status.unwrap_or_default();
                Some(self.dialect.response(&self.target, status, &body))
            }
            Err(error) => {
                if self.status.is_some_and(|status| status < 400) {
                    self.error = Some(format!("the answer is no JSON: {error}"));
                }
                None
            }
        }
    }

    /// What is wrong with an answer.
    fn fault(&self, response: Option<&Response>, outcome: Option<Outcome>) -> Option<String> {
        let said = response.and_then(|response| response.error.as_ref());
        let status = self.status.filter(|status| *status >= 400);
        let words: Vec<String> = [
            status.map(|status| format!("HTTP {status}")),
            said.and_then(|error| error.kind.clone()),
            said.and_then(|error| error.message.clone()),
        ]
        .into_iter()
        .flatten()
        .collect();
        if !words.is_empty() {
            return Some(words.join(": "));
        }
        match outcome {
            Some(Outcome::Reset(code)) => {
                Some(format!("the answer was cut off: reset, code {code}"))
            }
            Some(Outcome::CutOff) => Some("the answer was cut off".to_owned()),
            Some(Outcome::Broken(fault)) => Some(format!("the answer is broken: {}", fault.what)),
            _ if response.is_some_and(|response| !response.is_complete) => {
                Some("the stream ended before the answer did".to_owned())
            }
            _ => None,
        }
    }
}

/// Where the provider tells nothing of what it took.
fn with_estimate(call: Call) -> Call {
    #[cfg(feature = "tokens")]
    if let Some(usage) = crate::semantics::tokens::estimate(&call) {
        let mut call = call;
        if let Some(response) = &mut call.response {
            response.usage = Some(usage);
        }
        return call;
    }
    call
}

/// A whole piece of content, as dialects take it.
pub fn answer_piece<'p>(piece: &Content<'p>) -> Option<Piece<'p>> {
    match piece {
        Content::Sse(event) => event.whole.then_some(Piece::Sse {
            event: event.event,
            data: event.data,
        }),
        Content::Line(bytes) | Content::Element(bytes) => Some(Piece::Json(bytes)),
        Content::Aws(message) => Some(Piece::Aws {
            kind: message.kind().unwrap_or_default(),
            class: message.class().unwrap_or_default(),
            payload: message.payload,
        }),
        Content::Bytes(_) | Content::Fault(_) | Content::Gap(_) | Content::Grpc(_) => None,
    }
}

/// What a request's body says, if all of it is there.
pub fn body_of(half: &Half<RequestHead>) -> Option<Value> {
    serde_json::from_slice(half.body.whole()?).ok()
}

/// Of a question, to know it again. One that is not all there is like no other.
pub fn digest(half: &Half<RequestHead>) -> [u8; 32] {
    let head = &half.head;
    let mut hasher = blake3::Hasher::new();
    for part in [&head.method, &head.target] {
        hasher.update(part.as_deref().unwrap_or_default().as_bytes());
        hasher.update(b" ");
    }
    hasher.update(&half.body.bytes);
    if half.body.whole().is_none() {
        hasher.update(&half.began_ns.to_le_bytes());
    }
    *hasher.finalize().as_bytes()
}

/// Path and query of a request's target, which a proxy gets with scheme and host (RFC 9112 section 3.2.2).
fn path_of(target: &str) -> (&str, &str) {
    let local = match target.split_once("://") {
        Some((_, rest)) => rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/"),
        None => target,
    };
    let local = local.split('#').next().unwrap_or(local);
    local.split_once('?').unwrap_or((local, ""))
}

/// A host without its port, in lower case.
pub fn host_of(authority: &str) -> String {
    let authority = authority.rsplit('@').next().unwrap_or(authority);
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    host.to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A call through a proxy, or to a port of its own, would not be recognised.
    #[test]
    fn targets_and_hosts() {
        assert_eq!(path_of("/v1/x?a=b?c#d"), ("/v1/x", "a=b?c"));
        assert_eq!(path_of("https://h:1/v1"), ("/v1", ""));
        assert_eq!(path_of("http://h"), ("/", ""));
        assert_eq!(host_of("API.openai.com:443"), "api.openai.com");
        assert_eq!(host_of("[::1]:8080"), "[::1]");
        assert_eq!(host_of("[::1]"), "[::1]");
    }
}
