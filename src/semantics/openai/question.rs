//! What all questions have: the model, tools, and parameters, which are all that has no other place.

use serde_json::Value;

use super::tools;
use crate::semantics::rest::Rest;
use crate::semantics::{Message, Request, Target};

/// Reads a question whose messages `messages` takes out.
pub fn read<'v>(
    target: &Target,
    body: &'v Value,
    messages: impl FnOnce(&mut Rest<'v>) -> Vec<Message>,
) -> Request {
    let mut rest = Rest::of(body);
    Request {
        messages: messages(&mut rest),
        model: model(&mut rest).or_else(|| target.model.clone()),
        system: Vec::new(),
        tools: tools::take(&mut rest),
        stream: rest.truth("stream").unwrap_or_default(),
        previous_response_id: rest.string("previous_response_id"),
        conversation_id: conversation(&mut rest),
        parameters: rest.left_with_empty(),
    }
}

/// watsonx has a name of its own for it.
fn model(rest: &mut Rest<'_>) -> Option<String> {
    rest.string("model").or_else(|| rest.string("model_id"))
}

/// A number, or an object with that.
fn conversation(rest: &mut Rest<'_>) -> Option<String> {
    if let Some(mut conversation) = rest.object("conversation") {
        let id = conversation.string("id");
        rest.keep("conversation", conversation.left());
        return id;
    }
    rest.string("conversation")
}
