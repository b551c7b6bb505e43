//! What the recorded JSON of APIs that say `generated_text` says: paths, without any of our code.

use serde_json::json;

use super::Family;
use super::exchange::Exchange;
use super::facts::{Facts, Said};

pub const GENERATION: Family = Family {
    name: "text generation",
    has: |exchange| {
        let body = exchange.request_json().unwrap_or_default();
        body["inputs"].is_string() && body["parameters"].is_object()
    },
    expected: |exchange| {
        let body = exchange.request_json().unwrap();
        let mut facts = Facts {
            provider: match exchange.host.ends_with("amazonaws.com") {
                true => "aws.sagemaker".to_owned(),
                false => "huggingface".to_owned(),
            },
            operation: "text_completion".to_owned(),
            model_asked: exchange.path.split('/').nth(2).map(str::to_owned),
            ..Facts::default()
        };
        facts.ask("user", body["inputs"].as_str().unwrap());
        for (index, one) in (0..).zip(exchange.response_json().unwrap().as_array().unwrap()) {
            let text = one["generated_text"].as_str().unwrap().to_owned();
            let details = &one["details"];
            if let Some(tokens) = details["generated_tokens"].as_u64() {
                facts.usage = Some([None, Some(tokens), None, None]);
                facts.reported = Some(json!({"generated_tokens": tokens}));
            }
            let said = Said {
                text,
                finish: details["finish_reason"].as_str().map(str::to_owned),
                ..Said::default()
            };
            facts.said.insert(index, said);
        }
        facts
    },
    pieces: Exchange::events,
    // The tokens of the text, one by one.
    left_out: |path| path.contains("/details/tokens/"),
};
