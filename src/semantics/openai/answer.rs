//! What all answers have: number, model, choices, usage, error, and the rest.

use serde_json::Value;

use super::{error, usage};
use crate::semantics::rest::{Leftovers, Rest};
use crate::semantics::{Choice, Message, Response, Usage};

/// Members of chunks and of whole answers that the other form does not have, or has with another value: the type's name,
/// and padding that hides the length (OpenAI, Mistral).
pub const OF_ONE_FORM: [&str; 3] = ["object", "obfuscation", "p"];

/// Reads an answer whose choices `message` reads.
pub fn read(status: u16, body: &Value, message: fn(&mut Rest<'_>) -> Message) -> Response {
    let mut rest = rest_of(body);
    rest.skip(&OF_ONE_FORM);
    let mut of_choice = None;
    let choices = choices(&mut rest, message, &mut of_choice);
    let response = finish(status, rest, choices);
    Response {
        usage: response.usage.or(of_choice),
        ..response
    }
}

/// The body's members; Google wraps errors into an array of one. Anything else is kept as `body`.
pub fn rest_of(body: &Value) -> Rest<'_> {
    let body = match body.as_array().map(Vec::as_slice) {
        Some([only]) => only,
        _ => body,
    };
    let mut rest = Rest::of(body);
    if !body.is_object() {
        rest.keep("body", body.clone());
    }
    rest
}

/// Reads what is left when the choices were taken.
pub fn finish(status: u16, mut rest: Rest<'_>, choices: Vec<Choice>) -> Response {
    let is_error = status >= 400;
    let error = if is_error {
        Some(error::take_any(&mut rest))
    } else {
        error::take(&mut rest)
    };
    // Azure has no time in chunks that carry no choice.
    if rest.peek("created").and_then(Value::as_u64) == Some(0) {
        rest.skip(&["created"]);
    }
    Response {
        id: rest.string("id").filter(|id| !id.is_empty()),
        model: model(&mut rest),
        choices,
        results: None,
        usage: take_usage(&mut rest),
        error,
        extra: rest.left(),
        is_complete: true,
    }
}

/// watsonx has a name of its own for it.
fn model(rest: &mut Rest<'_>) -> Option<String> {
    let model = rest.string("model").filter(|model| !model.is_empty());
    match rest.peek("model_id").and_then(Value::as_str) {
        Some(id) if model.as_deref().is_none_or(|model| model == id) => rest.string("model_id"),
        _ => model,
    }
}

/// Groq reports that of a stream in a place of its own.
fn take_usage(rest: &mut Rest<'_>) -> Option<Usage> {
    let mut reported = rest.peek("usage").filter(|usage| usage.is_object());
    if reported.is_some() {
        rest.skip(&["usage"]);
    }
    if let Some(mut groq) = rest.object("x_groq") {
        let own = groq.peek("usage");
        if own.is_some() && (reported.is_none() || reported == own) {
            groq.skip(&["usage"]);
            reported = own;
        }
        rest.keep("x_groq", groq.left());
    }
    usage::read(reported?)
}

/// By index, as the pieces of a stream come in any order.
/// Moonshot reports the usage of a stream in its choice.
fn choices(
    body: &mut Rest<'_>,
    message: fn(&mut Rest<'_>) -> Message,
    of_choice: &mut Option<Usage>,
) -> Vec<Choice> {
    let is_told = body.peek("usage").is_some();
    let list = body.list("choices").unwrap_or_default();
    let read = |(position, value)| {
        let mut rest = Rest::of(value);
        if list.len() == 1 && !is_told {
            *of_choice = rest.take("usage").and_then(usage::read);
        }
        let choice = Choice {
            index: rest.number("index").unwrap_or(position as u64),
            message: message(&mut rest),
            finish_reason: rest
                .string("finish_reason")
                .filter(|reason| !reason.is_empty()),
        };
        (choice, rest.left())
    };
    let mut read: Vec<_> = list.iter().enumerate().map(read).collect();
    read.sort_by_key(|(choice, _)| choice.index);
    let mut leftovers = Leftovers::default();
    let mut choices = Vec::new();
    for (choice, left) in read {
        leftovers.add(choice.index, left);
        choices.push(choice);
    }
    body.keep("choices", leftovers);
    choices
}
