//! Amazon Bedrock's runtime (<https://docs.aws.amazon.com/bedrock/latest/APIReference/API_Operations_Amazon_Bedrock_Runtime.html>):
//! `Converse`, the same for all models, and `InvokeModel`, where each model has its own words. Streams are AWS event
//! streams. Guardrails, agents and knowledge bases are not calls of models here.

mod block;
mod converse;
mod flat;
mod invoke;

use super::dialect::{RequestView, Target};
use super::model::Operation;

pub use converse::Converse;
pub use invoke::Invoke;

/// Answers in one piece.
pub static CONVERSE: Converse = Converse { stream: false };
/// Answers in pieces.
pub static CONVERSE_STREAM: Converse = Converse { stream: true };
/// A model's own words.
pub static INVOKE: Invoke = Invoke { stream: false };
/// The same in pieces.
pub static INVOKE_STREAM: Invoke = Invoke { stream: true };

/// `/model/{model}/{verb}`, the model's name percent-encoded.
fn target(request: &RequestView<'_>, verb: &str) -> Option<Target> {
    let (place, last) = request.path.rsplit_once('/')?;
    let (_, model) = place.rsplit_once("/model/")?;
    let here = request.method == "POST" && last == verb && !model.is_empty();
    here.then(|| Target {
        provider: "aws.bedrock".into(),
        operation: Operation::Chat,
        model: Some(decoded(model)),
    })
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
