//! What the recorded JSON of Ollama's API says: paths, without any of our code.

use serde_json::{Map, Value};

use super::Family;
use super::exchange::{self, Exchange, OwnedPiece};
use super::facts::{Facts, Said};

pub const CHAT: Family = Family {
    name: "ollama chat",
    has: |exchange| exchange.path == "/api/chat",
    expected: |exchange| {
        let body = exchange.request_json().unwrap();
        let mut facts = asked(&body, "chat");
        for message in list(&body["messages"]) {
            let role = message["role"].as_str().unwrap();
            let content = message["content"].as_str().unwrap_or_default();
            match role {
                "tool" => facts.results_before.push(None),
                role => facts.ask(role, content),
            }
            facts
                .calls_before
                .extend(list(&message["tool_calls"]).iter().map(call));
        }
        answered(exchange, &mut facts);
        facts
    },
    pieces: exchange::lines,
    left_out,
};

pub const GENERATE: Family = Family {
    name: "ollama generate",
    has: |exchange| exchange.path == "/api/generate",
    expected: |exchange| {
        let body = exchange.request_json().unwrap();
        let mut facts = asked(&body, "text_completion");
        facts.ask("user", body["prompt"].as_str().unwrap());
        facts.system = string(&body["system"]).unwrap_or_default();
        answered(exchange, &mut facts);
        facts
    },
    pieces: exchange::lines,
    left_out,
};

pub const EMBED: Family = Family {
    name: "ollama embeddings",
    has: |exchange| exchange.path == "/api/embeddings" || exchange.path == "/api/embed",
    expected: |exchange| {
        let body = exchange.request_json().unwrap();
        let mut facts = asked(&body, "embeddings");
        facts.stream = false;
        facts.ask("user", body["prompt"].as_str().unwrap());
        facts.results = Some(1);
        facts
    },
    pieces: |_| None,
    left_out: |path| path.contains("/embedding/"),
};

fn left_out(path: &str) -> bool {
    path.ends_with("/type")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn string(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn asked(body: &Value, operation: &str) -> Facts {
    let tools = list(&body["tools"]).iter();
    Facts {
        provider: "ollama".into(),
        operation: operation.into(),
        model_asked: string(&body["model"]),
        stream: body["stream"] != false,
        tools: tools
            .filter_map(|tool| string(&tool["function"]["name"]))
            .collect(),
        ..Facts::default()
    }
}

fn call(call: &Value) -> (Option<String>, String, Value) {
    let function = &call["function"];
    (
        string(&call["id"]),
        string(&function["name"]).unwrap(),
        function["arguments"].clone(),
    )
}

fn answered(exchange: &Exchange, facts: &mut Facts) {
    let lines = match exchange::lines(exchange) {
        Some(lines) => lines.iter().filter_map(OwnedPiece::json).collect(),
        None => vec![exchange.response_json().unwrap()],
    };
    let mut said = Said::default();
    for line in &lines {
        if let Some(message) = string(&line["error"]) {
            facts.error = Some([None, None, Some(message)]);
            return;
        }
        let place = if line["message"].is_object() {
            &line["message"]
        } else {
            line
        };
        for text in [&place["content"], &place["response"]] {
            said.text.push_str(text.as_str().unwrap_or_default());
        }
        said.reasoning
            .push_str(place["thinking"].as_str().unwrap_or_default());
        said.calls
            .extend(list(&place["tool_calls"]).iter().map(call));
    }
    let last = lines.last().unwrap();
    said.finish = string(&last["done_reason"]);
    facts.model = string(&last["model"]);
    facts.said.insert(0, said);
    let mut reported = Map::new();
    for name in ["eval_count", "prompt_eval_count"] {
        reported.extend(
            last[name]
                .as_u64()
                .map(|count| (name.to_owned(), count.into())),
        );
    }
    if !reported.is_empty() {
        facts.usage = Some([
            last["prompt_eval_count"].as_u64(),
            last["eval_count"].as_u64(),
            None,
            None,
        ]);
        facts.reported = Some(reported.into());
    }
}
