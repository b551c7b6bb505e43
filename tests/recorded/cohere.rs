//! What the recorded JSON of Cohere's APIs says: paths, without any of our code.

use serde_json::Value;

use super::Family;
use super::exchange::{self, Exchange, OwnedPiece};
use super::facts::{Facts, Said};

pub const CHAT: Family = Family {
    name: "cohere chat, version 2",
    has: |exchange| exchange.path == "/v2/chat",
    expected: |exchange| {
        let body = exchange.request_json().unwrap();
        let mut facts = asked(&body, "chat");
        facts.tools = list(&body["tools"])
            .iter()
            .filter_map(|tool| string(&tool["function"]["name"]))
            .collect();
        for message in list(&body["messages"]) {
            if message["role"] == "tool" {
                facts.results_before.push(string(&message["tool_call_id"]));
                continue;
            }
            facts.ask(
                message["role"].as_str().unwrap(),
                &text(&message["content"]),
            );
            facts
                .calls_before
                .extend(list(&message["tool_calls"]).iter().map(call));
        }
        let mut said = Said::default();
        match exchange.events() {
            Some(events) => events
                .iter()
                .filter_map(OwnedPiece::json)
                .for_each(|event| more(&event, &mut said, &mut facts)),
            None => {
                let answer = exchange.response_json().unwrap();
                let message = &answer["message"];
                facts.id = string(&answer["id"]);
                said.text = text(&message["content"]);
                said.reasoning = string(&message["tool_plan"]).unwrap_or_default();
                said.calls = list(&message["tool_calls"]).iter().map(call).collect();
                said.citations = list(&message["citations"]).len();
                ended(&answer, &mut said, &mut facts);
            }
        }
        for call in &mut said.calls {
            if let Value::String(text) = &call.2 {
                call.2 = serde_json::from_str(text).unwrap();
            }
        }
        facts.said.insert(0, said);
        facts
    },
    pieces: Exchange::events,
    left_out,
};

pub const CHAT_V1: Family = Family {
    name: "cohere chat, version 1",
    has: |exchange| exchange.path == "/v1/chat" && exchange.host.contains("cohere"),
    expected: |exchange| {
        let body = exchange.request_json().unwrap();
        let mut facts = asked(&body, "chat");
        for turn in list(&body["chat_history"]) {
            let role = turn["role"].as_str().unwrap().to_lowercase();
            let role = role.replace("chatbot", "assistant");
            facts.ask(&role, turn["message"].as_str().unwrap());
        }
        facts.ask("user", body["message"].as_str().unwrap());
        let answer = match exchange::lines(exchange) {
            Some(lines) => lines.last().unwrap().json().unwrap()["response"].clone(),
            None => exchange.response_json().unwrap(),
        };
        if let Some(message) = string(&answer["message"]) {
            facts.error = Some([None, None, Some(message)]);
            return facts;
        }
        facts.id = string(&answer["generation_id"]);
        let said = Said {
            text: string(&answer["text"]).unwrap(),
            finish: string(&answer["finish_reason"]),
            ..Said::default()
        };
        facts.said.insert(0, said);
        used(&answer["meta"], &mut facts);
        facts
    },
    pieces: exchange::lines,
    left_out,
};

pub const EMBED: Family = Family {
    name: "cohere embed",
    has: |exchange| exchange.path.ends_with("/embed") && exchange.host.contains("cohere"),
    expected: |exchange| {
        let body = exchange.request_json().unwrap();
        let mut facts = asked(&body, "embeddings");
        list(&body["texts"])
            .iter()
            .for_each(|text| facts.ask("user", text.as_str().unwrap()));
        let answer = exchange.response_json().unwrap();
        facts.id = string(&answer["id"]);
        facts.results = Some(list(&answer["embeddings"]["float"]).len() as u64);
        used(&answer["meta"], &mut facts);
        facts
    },
    pieces: |_| None,
    // The server repeats the texts in its own spelling.
    left_out: |path| path.starts_with("/embeddings/") || path.starts_with("/texts/"),
};

pub const RERANK: Family = Family {
    name: "cohere rerank",
    has: |exchange| exchange.path.ends_with("/rerank"),
    expected: |exchange| {
        let body = exchange.request_json().unwrap();
        let mut facts = asked(&body, "rerank");
        facts.ask("user", body["query"].as_str().unwrap());
        let answer = exchange.response_json().unwrap();
        facts.id = string(&answer["id"]);
        facts.results = Some(list(&answer["results"]).len() as u64);
        used(&answer["meta"], &mut facts);
        facts
    },
    pieces: |_| None,
    left_out: |path| path.starts_with("/results/"),
};

/// Roles are told in our words.
fn left_out(path: &str) -> bool {
    path.ends_with("/type") || path.ends_with("/role")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn string(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn text(content: &Value) -> String {
    let texts = list(content)
        .iter()
        .filter_map(|content| content["text"].as_str());
    string(content).unwrap_or_else(|| texts.collect())
}

fn asked(body: &Value, operation: &str) -> Facts {
    Facts {
        provider: "cohere".into(),
        operation: operation.into(),
        model_asked: string(&body["model"]),
        stream: body["stream"] == true,
        ..Facts::default()
    }
}

fn call(call: &Value) -> (Option<String>, String, Value) {
    let function = &call["function"];
    let arguments = serde_json::from_str(function["arguments"].as_str().unwrap()).unwrap();
    (
        string(&call["id"]),
        string(&function["name"]).unwrap(),
        arguments,
    )
}

fn more(event: &Value, said: &mut Said, facts: &mut Facts) {
    let message = &event["delta"]["message"];
    let calls = &message["tool_calls"];
    match event["type"].as_str().unwrap() {
        "citation-start" => said.citations += 1,
        "content-delta" => said
            .text
            .push_str(message["content"]["text"].as_str().unwrap()),
        "message-end" => ended(&event["delta"], said, facts),
        "message-start" => facts.id = string(&event["id"]),
        "tool-call-delta" => {
            let arguments = said.calls.last_mut().unwrap();
            let before = arguments.2.as_str().unwrap().to_owned();
            arguments.2 = (before + calls["function"]["arguments"].as_str().unwrap()).into();
        }
        "tool-call-start" => {
            let arguments = calls["function"]["arguments"].clone();
            said.calls.push((
                string(&calls["id"]),
                string(&calls["function"]["name"]).unwrap(),
                arguments,
            ));
        }
        "tool-plan-delta" => said
            .reasoning
            .push_str(message["tool_plan"].as_str().unwrap()),
        _ => {}
    }
}

fn ended(place: &Value, said: &mut Said, facts: &mut Facts) {
    said.finish = string(&place["finish_reason"]);
    used(&place["usage"], facts);
}

fn used(usage: &Value, facts: &mut Facts) {
    let count = |name: &str| {
        let tokens = usage["tokens"][name].as_u64();
        tokens.or_else(|| usage["billed_units"][name].as_u64())
    };
    let cached = usage["cached_tokens"].as_u64();
    facts.usage = Some([count("input_tokens"), count("output_tokens"), cached, None]);
    facts.reported = Some(usage.clone());
}
