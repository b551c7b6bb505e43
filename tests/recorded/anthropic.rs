//! What the recorded JSON of Anthropic's APIs says: paths, without any of our code.

use serde_json::{Value, json};

use super::Family;
use super::exchange::{Exchange, OwnedPiece};
use super::facts::{Facts, Said};

pub const MESSAGES: Family = Family {
    name: "anthropic messages",
    has: |exchange| exchange.path.ends_with("/v1/messages"),
    expected: |exchange| {
        let mut facts = asked(&exchange.request_json().unwrap());
        facts.provider = "anthropic".into();
        answered(
            &answer(exchange.response_json(), exchange.events()),
            &mut facts,
        );
        facts
    },
    pieces: Exchange::events,
    left_out,
};

pub const COMPLETE: Family = Family {
    name: "anthropic completions",
    has: |exchange| exchange.path.ends_with("/v1/complete"),
    expected: |exchange| {
        let body = exchange.request_json().unwrap();
        let events = exchange.events().unwrap_or_default();
        let mut answer = exchange.response_json().unwrap_or_default();
        for event in events.iter().filter_map(OwnedPiece::json) {
            if event["type"] == "completion" {
                let before = answer["completion"].as_str().unwrap_or_default().to_owned();
                answer = event.clone();
                answer["completion"] = (before + event["completion"].as_str().unwrap()).into();
            }
        }
        let mut facts = Facts {
            provider: "anthropic".into(),
            operation: "text_completion".into(),
            stream: body["stream"] == true,
            model_asked: string(&body["model"]),
            id: string(&answer["id"]),
            model: string(&answer["model"]),
            ..Facts::default()
        };
        facts.ask("user", body["prompt"].as_str().unwrap());
        let said = Said {
            text: string(&answer["completion"]).unwrap(),
            finish: string(&answer["stop_reason"]),
            ..Said::default()
        };
        facts.said.insert(0, said);
        facts
    },
    pieces: Exchange::events,
    left_out,
};

pub fn left_out(path: &str) -> bool {
    let ends = ["/type", "/signature", "/data", "/cache_control/ttl"];
    ends.iter().any(|end| path.ends_with(end))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn string(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

pub fn asked(body: &Value) -> Facts {
    let mut facts = Facts {
        operation: "chat".into(),
        model_asked: string(&body["model"]),
        stream: body["stream"] == true,
        system: text(&body["system"]),
        tools: list(&body["tools"])
            .iter()
            .filter_map(|tool| string(&tool["name"]))
            .collect(),
        ..Facts::default()
    };
    for message in list(&body["messages"]) {
        facts.ask(
            message["role"].as_str().unwrap(),
            &text(&message["content"]),
        );
        for block in list(&message["content"]) {
            if block["type"] == "tool_use" {
                let name = string(&block["name"]).unwrap();
                facts
                    .calls_before
                    .push((string(&block["id"]), name, block["input"].clone()));
            }
            if block["type"] == "tool_result" {
                facts.results_before.push(string(&block["tool_use_id"]));
            }
        }
    }
    facts
}

/// All text of a string or of blocks.
fn text(content: &Value) -> String {
    let of_blocks = || {
        let texts = list(content).iter().filter(|block| block["type"] == "text");
        texts.filter_map(|block| block["text"].as_str()).collect()
    };
    string(content).unwrap_or_else(of_blocks)
}

/// The message, or the events added up in the plainest way.
pub fn answer(whole: Option<Value>, events: Option<Vec<OwnedPiece>>) -> Value {
    let Some(events) = events else {
        return whole.unwrap();
    };
    let mut message = Value::Null;
    let mut content: Vec<Value> = Vec::new();
    for event in events.iter().filter_map(OwnedPiece::json) {
        match event["type"].as_str().unwrap() {
            "content_block_delta" => {
                let block = content.last_mut().unwrap();
                let delta = &event["delta"];
                for (from, to) in [
                    ("text", "text"),
                    ("thinking", "thinking"),
                    ("partial_json", "json"),
                ] {
                    if let Some(more) = delta[from].as_str() {
                        block[to] =
                            (block[to].as_str().unwrap_or_default().to_owned() + more).into();
                    }
                }
            }
            "content_block_start" => content.push(event["content_block"].clone()),
            "content_block_stop" => {
                let block = content.last_mut().unwrap();
                if let Some(json) = block["json"].as_str() {
                    block["input"] = serde_json::from_str(json).unwrap_or_else(|_| json!({}));
                }
            }
            "message_delta" => {
                message["stop_reason"] = event["delta"]["stop_reason"].clone();
                for (name, count) in event["usage"].as_object().unwrap() {
                    message["usage"][name] = count.clone();
                }
            }
            "message_start" => message = event["message"].clone(),
            _ => {}
        }
    }
    message["content"] = content.into();
    message
}

pub fn answered(body: &Value, facts: &mut Facts) {
    facts.id = string(&body["id"]);
    facts.model = string(&body["model"]);
    let blocks = |kind: &'static str| {
        list(&body["content"])
            .iter()
            .filter(move |block| block["type"] == kind)
    };
    let said = Said {
        text: text(&body["content"]),
        reasoning: blocks("thinking")
            .filter_map(|block| block["thinking"].as_str())
            .collect(),
        calls: blocks("tool_use")
            .map(|block| {
                (
                    string(&block["id"]),
                    string(&block["name"]).unwrap(),
                    block["input"].clone(),
                )
            })
            .collect(),
        finish: string(&body["stop_reason"]),
        ..Said::default()
    };
    facts.said.insert(0, said);
    let count = |name: &str| body["usage"][name].as_u64();
    let cached = count("cache_read_input_tokens");
    let input = count("input_tokens").unwrap()
        + cached.unwrap_or(0)
        + count("cache_creation_input_tokens").unwrap_or(0);
    let thought = body["usage"]["output_tokens_details"]["thinking_tokens"].as_u64();
    facts.usage = Some([Some(input), count("output_tokens"), cached, thought]);
    facts.reported = Some(body["usage"].clone());
}
