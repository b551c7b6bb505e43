//! Amazon Bedrock's runtime (<https://docs.aws.amazon.com/bedrock/latest/APIReference/API_Operations_Amazon_Bedrock_Runtime.html>):
//! `Converse`, the same for all models, and `InvokeModel`, where each model has its own words. Streams are AWS event
//! streams. Guardrails, agents and knowledge bases are not calls of models here.

mod block;
mod converse;
mod flat;
mod invoke;

use serde_json::Value;

use super::dialect::{Piece, RequestView, Target};
use super::json;
use super::model::{Operation, ProviderError};

pub use converse::Converse;
pub use invoke::Invoke;

/// Answers in one piece.
pub static CONVERSE: Converse = Converse(Way {
    name: "Bedrock Converse",
    verb: "converse",
    stream: false,
});
/// Answers in pieces.
pub static CONVERSE_STREAM: Converse = Converse(Way {
    name: "Bedrock ConverseStream",
    verb: "converse-stream",
    stream: true,
});
/// A model's own words.
pub static INVOKE: Invoke = Invoke(Way {
    name: "Bedrock InvokeModel",
    verb: "invoke",
    stream: false,
});
/// The same in pieces.
pub static INVOKE_STREAM: Invoke = Invoke(Way {
    name: "Bedrock InvokeModelWithResponseStream",
    verb: "invoke-with-response-stream",
    stream: true,
});

/// An operation that gives its answer in one piece, or in several.
#[derive(Clone, Copy, Debug)]
struct Way {
    name: &'static str,
    /// The end of its path.
    verb: &'static str,
    stream: bool,
}

impl Way {
    /// `/model/{model}/{verb}`, the model's name percent-encoded.
    fn target(&self, request: &RequestView<'_>) -> Option<Target> {
        let (place, last) = request.path.rsplit_once('/')?;
        let (_, model) = place.rsplit_once("/model/")?;
        let here = request.method == "POST" && last == self.verb && !model.is_empty();
        here.then(|| Target {
            provider: "aws.bedrock".into(),
            operation: Operation::Chat,
            model: Some(decoded(model)),
        })
    }
}

/// A frame of a stream.
enum Frame<'p> {
    /// Its name.
    Event(&'p str),
    /// Its name says what went wrong.
    Exception(ProviderError),
}

impl<'p> Frame<'p> {
    /// `None`: the piece is no frame, or is no JSON.
    fn of(piece: &Piece<'p>) -> Option<Self> {
        match *piece {
            Piece::Aws {
                kind,
                class: "event",
                ..
            } => Some(Self::Event(kind)),
            Piece::Aws { kind, .. } => Some(Self::Exception(ProviderError {
                kind: Some(kind.to_owned()),
                ..json::error(&piece.read::<Value>()?)
            })),
            Piece::Json(_) | Piece::Sse { .. } => None,
        }
    }
}

/// Without percent-encoding (RFC 3986 section 2.1); what is none stays.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let digits = after.get(..2).filter(|_| *first == b'%');
        let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        let byte = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = match byte {
            Some(_) => after.get(2..).unwrap_or_default(),
            None => after,
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Feeds anything to what reads Bedrock's answers: for fuzzing.
pub fn fuzz_bedrock(data: &[u8]) {
    super::fuzz::merge(Box::new(converse::ConverseMerge::default()), data);
    super::fuzz::merge(Box::new(invoke::InvokeMerge::default()), data);
    super::fuzz::whole(&CONVERSE, data);
    super::fuzz::whole(&INVOKE, data);
}

#[cfg(test)]
mod tests;
