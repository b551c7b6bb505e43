//! A request whose path was not seen (HTTP/2 that was joined late), and which may be a call: its answer decides. Until then
//! nothing is told of it but HTTP, and if the answer is none of a model's, nothing ever is.

use serde_json::Value;

use super::body::Half;
use super::call::{digest, host_of};
use super::said::Lack;
use crate::proto::{Fields, RequestHead, Side};
use crate::semantics::unplaced::{Candidate, candidates};
use crate::semantics::{Piece, RequestView};

/// Pieces of an answer that nobody understands, before it is given up.
const STRANGE_MAX: u32 = 4;

/// Such a request.
pub struct Guess {
    candidates: Vec<Candidate>,
    chosen: Option<Candidate>,
    /// Of the answer, those that showed what it is, and what came with them.
    kept: Vec<OwnedPiece>,
    strange: u32,
    /// Its body.
    pub body: Value,
    /// Bytes of its body.
    pub bytes: u64,
    /// As [`super::call::Calling`] has it.
    pub question: [u8; 32],
    /// Where it goes, should that be known.
    pub authority: Option<String>,
    /// What is missing of it.
    pub lacks: Vec<Lack>,
    /// When its head was complete.
    pub began_ns: u64,
    /// When all of it had passed.
    pub sent_ns: Option<u64>,
    /// Status and fields of the answer, and when they were there.
    pub answered: Option<(Option<u16>, Fields, u64)>,
}

impl Guess {
    /// `None`: its path is known, or it is no question to a model. `body`: what it says, if all of that is there.
    pub fn of(half: &Half<RequestHead>, body: Option<Value>) -> Option<Self> {
        let head = &half.head;
        let method = head.method.as_deref().unwrap_or("POST");
        if head.target.is_some() || method != "POST" {
            return None;
        }
        let body = body?;
        let host = head.authority.as_deref().map(host_of).unwrap_or_default();
        let candidates = candidates(&RequestView {
            method,
            path: "",
            query: "",
            host: &host,
            fields: &head.fields,
            body: Some(&body),
        });
        (!candidates.is_empty()).then(|| Self {
            candidates,
            chosen: None,
            kept: Vec::new(),
            strange: 0,
            bytes: half.body.decoded,
            question: digest(half),
            authority: head.authority.clone(),
            lacks: half.lacks.clone(),
            began_ns: half.began_ns,
            sent_ns: None,
            answered: None,
            body,
        })
    }

    /// Takes a piece of the answer; returns whether it is one of a model's.
    pub fn take(&mut self, piece: &Piece<'_>) -> bool {
        if self.chosen.is_none() && self.strange < STRANGE_MAX {
            let mut candidates = self.candidates.iter();
            self.chosen = candidates.find(|one| one.begins(piece)).cloned();
            self.strange += u32::from(self.chosen.is_none());
        }
        if self.chosen.is_some() {
            self.kept.push(OwnedPiece::of(piece));
        }
        self.chosen.is_some()
    }

    /// What its answer has shown it to be, and the pieces of that.
    pub fn settled(&mut self) -> Option<(Candidate, Vec<OwnedPiece>)> {
        let chosen = self.chosen.take()?;
        Some((chosen, std::mem::take(&mut self.kept)))
    }

    /// What an answer in one piece shows it to be.
    pub fn settled_by(&self, answer: &[u8]) -> Option<Candidate> {
        let answer: Value = serde_json::from_slice(answer).ok()?;
        let status = self.answered.as_ref().and_then(|(status, ..)| *status);
        let status = status.unwrap_or_default();
        let mut candidates = self.candidates.iter();
        candidates.find(|one| one.answers(status, &answer)).cloned()
    }
}

/// A piece of an answer that has its own copy of what it says.
pub enum OwnedPiece {
    Aws(String, String, Vec<u8>),
    Json(Vec<u8>),
    Sse(Option<String>, String),
}

impl OwnedPiece {
    fn of(piece: &Piece<'_>) -> Self {
        match piece {
            Piece::Aws {
                kind,
                class,
                payload,
            } => Self::Aws((*kind).to_owned(), (*class).to_owned(), payload.to_vec()),
            Piece::Json(json) => Self::Json(json.to_vec()),
            Piece::Sse { event, data } => Self::Sse(event.map(str::to_owned), (*data).to_owned()),
        }
    }

    /// It, as dialects take it.
    pub fn borrow(&self) -> Piece<'_> {
        match self {
            Self::Aws(kind, class, payload) => Piece::Aws {
                kind,
                class,
                payload,
            },
            Self::Json(json) => Piece::Json(json),
            Self::Sse(event, data) => Piece::Sse {
                event: event.as_deref(),
                data,
            },
        }
    }
}

/// For the fuzzer: the first line is the body of a question, the others are pieces of its answer, each of which may also be
/// all of it. What makes a piece the first of an answer is understood by whoever said so.
pub fn fuzz_guess(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let body = serde_json::from_slice(lines.next().unwrap_or_default()).ok();
    let Some(mut guess) = Guess::of(&unplaced(), body) else {
        return;
    };
    for line in lines {
        let text = String::from_utf8_lossy(line);
        let (event, data) = text.split_once('\t').unwrap_or(("", &text));
        let piece = match line {
            [b'#', json @ ..] => Piece::Json(json),
            [b'@', ..] => Piece::Aws {
                kind: event.trim_start_matches('@'),
                class: "event",
                payload: data.as_bytes(),
            },
            _ => Piece::Sse {
                event: Some(event).filter(|event| !event.is_empty()),
                data,
            },
        };
        guess.take(&piece);
        if let Some(candidate) = guess.settled_by(line) {
            assert!(!candidate.dialect.name().is_empty());
        }
    }
    let Some((candidate, pieces)) = guess.settled() else {
        return;
    };
    let mut merge = candidate.dialect.merge(&candidate.target);
    for (number, piece) in pieces.iter().enumerate() {
        let is_understood = merge.piece(&piece.borrow(), &mut |_| {});
        assert!(is_understood || number > 0, "the first is not understood");
    }
    merge.finish();
    assert!(guess.settled().is_none(), "settled twice");
}

/// The head of a request of which nothing is known.
fn unplaced() -> Half<RequestHead> {
    let head = Box::new(RequestHead {
        version: crate::proto::item::Version::Http2,
        method: None,
        target: None,
        authority: None,
        fields: Fields::default(),
    });
    let shared = super::Shared::default();
    Half::new(Side::Request, head, &Fields::default(), 0, &shared)
}
