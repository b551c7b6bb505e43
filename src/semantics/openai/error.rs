//! Errors of OpenAI's APIs and of those who follow them. The form differs: `{"error": {…}}`, `{"error": "text"}`,
//! Mistral's `{"object": "error", "message": …}`, FastAPI's `{"detail": …}`, Google's array of one.

use serde_json::Value;

use crate::semantics::model::ProviderError;
use crate::semantics::rest::Rest;

/// Takes the error out of a body, if there is one. What it says beyond our model is kept in the body's rest.
pub fn take(body: &mut Rest<'_>) -> Option<ProviderError> {
    if let Some(text) = body.text("error") {
        return Some(ProviderError {
            kind: None,
            code: body.take("code").map(plain),
            message: Some(text.to_owned()),
        });
    }
    let mut error = body.object("error")?;
    let read = read(&mut error);
    body.keep("error", error.left());
    Some(read)
}

/// Of an answer whose status says that it failed: takes what is there, in whichever form.
pub fn take_any(body: &mut Rest<'_>) -> ProviderError {
    take(body).unwrap_or_else(|| read(body))
}

fn read(error: &mut Rest<'_>) -> ProviderError {
    ProviderError {
        kind: error.string("type"),
        code: error.take("code").map(plain),
        message: error
            .take("message")
            .or_else(|| error.take("detail"))
            .map(plain),
    }
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
