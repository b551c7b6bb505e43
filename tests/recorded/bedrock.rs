//! What the recorded JSON of Bedrock says: paths, without any of our code.

use base64::Engine;
use serde_json::{Value, json};

use super::exchange::{self, Exchange, OwnedPiece};
use super::facts::{Facts, Said};
use super::{Family, anthropic};

pub const CONVERSE: Family = Family {
    name: "bedrock converse",
    has: |exchange| {
        exchange.path.ends_with("/converse") || exchange.path.ends_with("/converse-stream")
    },
    expected: |exchange| {
        let mut facts = asked(exchange);
        converse_asked(&exchange.request_json().unwrap(), &mut facts);
        match exchange::frames(exchange) {
            Some(frames) => {
                let mut said = Said::default();
                for frame in &frames {
                    let OwnedPiece::Aws(kind, _, _) = frame else {
                        unreachable!()
                    };
                    event(kind, &frame.json().unwrap(), &mut said, &mut facts);
                }
                finished(said, &mut facts);
            }
            None => converse_answered(&exchange.response_json().unwrap(), &mut facts),
        }
        facts
    },
    pieces: exchange::frames,
    left_out,
};

pub const INVOKE: Family = Family {
    name: "bedrock invoke",
    has: |exchange| {
        exchange.path.ends_with("/invoke")
            || exchange.path.ends_with("/invoke-with-response-stream")
    },
    expected: |exchange| {
        let body = exchange.request_json().unwrap();
        let mut facts = asked(exchange);
        let outline = facts.clone();
        let chunks: Option<Vec<Value>> =
            exchange::frames(exchange).map(|frames| frames.iter().map(chunk).collect());
        match () {
            () if body["anthropic_version"].is_string() => {
                facts = Facts {
                    provider: outline.provider,
                    model_asked: outline.model_asked,
                    stream: outline.stream,
                    ..anthropic::asked(&body)
                };
                let events = chunks.map(|chunks| {
                    chunks
                        .iter()
                        .map(|chunk| OwnedPiece::Json(chunk.to_string().into()))
                        .collect()
                });
                anthropic::answered(
                    &anthropic::answer(exchange.response_json(), events),
                    &mut facts,
                );
            }
            () if body["messages"].is_array() => {
                converse_asked(&body, &mut facts);
                match chunks {
                    Some(chunks) => {
                        let mut said = Said::default();
                        for (name, inner) in
                            chunks.iter().flat_map(|chunk| chunk.as_object().unwrap())
                        {
                            event(name, inner, &mut said, &mut facts);
                        }
                        finished(said, &mut facts);
                    }
                    None => converse_answered(&exchange.response_json().unwrap(), &mut facts),
                }
            }
            () => flat(exchange, &body, chunks, &mut facts),
        }
        facts
    },
    pieces: exchange::frames,
    left_out,
};

fn left_out(path: &str) -> bool {
    path.ends_with("/bytes") || anthropic::left_out(path)
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn string(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn asked(exchange: &Exchange) -> Facts {
    let model = exchange.path.split('/').nth(2).unwrap().replace("%3A", ":");
    Facts {
        provider: "aws.bedrock".into(),
        operation: "chat".into(),
        model_asked: Some(model),
        stream: exchange.path.ends_with("stream"),
        ..Facts::default()
    }
}

fn chunk(frame: &OwnedPiece) -> Value {
    let frame = frame.json().unwrap();
    let bytes = base64::engine::general_purpose::STANDARD.decode(frame["bytes"].as_str().unwrap());
    serde_json::from_slice(&bytes.unwrap()).unwrap()
}

fn text(blocks: &Value) -> String {
    list(blocks)
        .iter()
        .filter_map(|block| block["text"].as_str())
        .collect()
}

fn converse_asked(body: &Value, facts: &mut Facts) {
    facts.system = text(&body["system"]);
    let tools = list(&body["toolConfig"]["tools"]).iter();
    facts.tools = tools
        .filter_map(|tool| string(&tool["toolSpec"]["name"]))
        .collect();
    for message in list(&body["messages"]) {
        facts.ask(
            message["role"].as_str().unwrap(),
            &text(&message["content"]),
        );
        for block in list(&message["content"]) {
            let (call, result) = (&block["toolUse"], &block["toolResult"]);
            if let Some(name) = string(&call["name"]) {
                facts
                    .calls_before
                    .push((string(&call["toolUseId"]), name, call["input"].clone()));
            }
            if result.is_object() {
                facts.results_before.push(string(&result["toolUseId"]));
            }
        }
    }
}

fn converse_answered(body: &Value, facts: &mut Facts) {
    let content = &body["output"]["message"]["content"];
    let calls = list(content)
        .iter()
        .map(|block| &block["toolUse"])
        .filter(|call| call.is_object());
    let said = Said {
        text: text(content),
        calls: calls
            .map(|call| {
                (
                    string(&call["toolUseId"]),
                    string(&call["name"]).unwrap(),
                    call["input"].clone(),
                )
            })
            .collect(),
        finish: string(&body["stopReason"]),
        ..Said::default()
    };
    facts.said.insert(0, said);
    used(&body["usage"], facts);
}

fn used(usage: &Value, facts: &mut Facts) {
    let count = |name: &str| usage[name].as_u64();
    let read = count("cacheReadInputTokens").or_else(|| count("cacheReadInputTokenCount"));
    let written = count("cacheWriteInputTokens").or_else(|| count("cacheWriteInputTokenCount"));
    let input = count("inputTokens").map(|input| input + read.unwrap_or(0) + written.unwrap_or(0));
    if usage.is_object() {
        facts.usage = Some([input, count("outputTokens"), read, None]);
        facts.reported = Some(usage.clone());
    }
}

fn event(kind: &str, event: &Value, said: &mut Said, facts: &mut Facts) {
    let (delta, start) = (&event["delta"], &event["start"]["toolUse"]);
    match kind {
        "contentBlockDelta" => {
            said.text
                .push_str(delta["text"].as_str().unwrap_or_default());
            if let Some(more) = delta["toolUse"]["input"].as_str() {
                let call = said.calls.last_mut().unwrap();
                call.2 = (call.2.as_str().unwrap().to_owned() + more).into();
            }
        }
        "contentBlockStart" if start.is_object() => {
            said.calls.push((
                string(&start["toolUseId"]),
                string(&start["name"]).unwrap(),
                json!(""),
            ));
        }
        "messageStop" => said.finish = string(&event["stopReason"]),
        "metadata" => used(&event["usage"], facts),
        _ => {}
    }
}

fn finished(mut said: Said, facts: &mut Facts) {
    for call in &mut said.calls {
        call.2 = serde_json::from_str(call.2.as_str().unwrap()).unwrap();
    }
    facts.said.insert(0, said);
}

/// Titan and Llama: a prompt and a text.
fn flat(exchange: &Exchange, body: &Value, chunks: Option<Vec<Value>>, facts: &mut Facts) {
    facts.operation = "text_completion".into();
    let prompt = string(&body["inputText"]).or_else(|| string(&body["prompt"]));
    facts.ask("user", &prompt.unwrap());
    let mut said = Said::default();
    let (mut input, mut output) = (None, None);
    let (mut reported, mut tokens) = (json!({}), Value::Null);
    let number = |value: &Value| value.as_f64().map(|number| number as u64);
    for place in chunks.unwrap_or_else(|| vec![exchange.response_json().unwrap()]) {
        let inner = if place["results"].is_array() {
            &place["results"][0]
        } else {
            &place
        };
        for name in ["outputText", "generation"] {
            said.text.push_str(inner[name].as_str().unwrap_or_default());
        }
        for name in ["completionReason", "stop_reason"] {
            said.finish = string(&inner[name]).or(said.finish);
        }
        for name in ["inputTextTokenCount", "prompt_token_count"] {
            input = number(&place[name]).or(input);
            if !place[name].is_null() {
                reported[name] = place[name].clone();
            }
        }
        for name in [
            "tokenCount",
            "totalOutputTextTokenCount",
            "generation_token_count",
        ] {
            output = number(&inner[name]).or(output);
            if !inner[name].is_null() {
                tokens = inner[name].clone();
            }
        }
    }
    facts.said.insert(0, said);
    facts.usage = Some([input, output, None, None]);
    if body["inputText"].is_string() {
        tokens = json!([tokens]);
    }
    let of_output = if body["inputText"].is_string() {
        "tokenCount"
    } else {
        "generation_token_count"
    };
    reported[of_output] = tokens;
    facts.reported = Some(reported);
}
