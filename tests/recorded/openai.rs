//! What the recorded JSON of OpenAI's APIs says, and of those who follow them: paths, without any of our code.

use std::collections::BTreeMap;

use serde_json::Value;

use super::Family;
use super::exchange::{Exchange, OwnedPiece};
use super::facts::{Facts, Said, ToolCall};

pub const CHAT: Family = Family {
    name: "chat completions",
    has: |exchange| {
        let is_writer = exchange.path == "/v1/chat" && exchange.host.ends_with("writer.com");
        exchange.path.ends_with("/chat/completions") || is_writer
    },
    expected: |exchange| {
        let mut facts = asked(exchange, "chat");
        for message in list(&exchange.request_json().unwrap()["messages"]) {
            message_asked(message, &mut facts);
        }
        match exchange.events() {
            Some(events) => chunks(&events, &mut facts),
            None => whole(
                &exchange.response_json().unwrap(),
                exchange.status,
                &mut facts,
            ),
        }
        facts
    },
    pieces: Exchange::events,
    left_out,
};

pub const COMPLETIONS: Family = Family {
    name: "completions",
    has: |exchange| {
        exchange.path.ends_with("/completions") && !exchange.path.ends_with("/chat/completions")
    },
    expected: |exchange| {
        let mut facts = asked(exchange, "text_completion");
        inputs(&exchange.request_json().unwrap()["prompt"], &mut facts);
        match exchange.events() {
            Some(events) => chunks(&events, &mut facts),
            None => whole(
                &exchange.response_json().unwrap(),
                exchange.status,
                &mut facts,
            ),
        }
        facts
    },
    pieces: Exchange::events,
    left_out,
};

pub const EMBEDDINGS: Family = Family {
    name: "embeddings",
    // Ollama's has `prompt`.
    has: |exchange| {
        let body = exchange.request_json().unwrap_or_default();
        exchange.path.ends_with("/embeddings") && !body["input"].is_null()
    },
    expected: |exchange| {
        let mut facts = asked(exchange, "embeddings");
        inputs(&exchange.request_json().unwrap()["input"], &mut facts);
        let body = exchange.response_json().unwrap();
        whole(&body, exchange.status, &mut facts);
        facts.results = body["data"].as_array().map(|data| data.len() as u64);
        // Voyage reports the total alone.
        if let Some([input @ None, None, ..]) = &mut facts.usage {
            *input = body["usage"]["total_tokens"].as_u64();
        }
        facts
    },
    pieces: Exchange::events,
    left_out: |path| path.ends_with("/embedding") || path.contains("/embedding/") || left_out(path),
};

pub const IMAGES: Family = Family {
    name: "images",
    has: |exchange| exchange.path.ends_with("/images/generations"),
    expected: |exchange| {
        let mut facts = asked(exchange, "image_generation");
        inputs(&exchange.request_json().unwrap()["prompt"], &mut facts);
        let body = exchange.response_json().unwrap();
        whole(&body, exchange.status, &mut facts);
        if let Some(data) = body["data"].as_array() {
            facts.results = Some(data.len() as u64);
            facts.said.insert(0, Said::default());
        }
        facts
    },
    pieces: Exchange::events,
    left_out: |path| path.ends_with("/b64_json") || left_out(path),
};

pub const RESPONSES: Family = Family {
    name: "responses",
    has: |exchange| exchange.method == "POST" && exchange.path.ends_with("/responses"),
    expected: |exchange| {
        let mut facts = asked(exchange, "chat");
        let body = exchange.request_json().unwrap();
        facts.system = string(&body["instructions"]).unwrap_or_default();
        match &body["input"] {
            Value::String(text) => facts.ask("user", text),
            items => list(items)
                .iter()
                .for_each(|item| item_asked(item, &mut facts)),
        }
        match exchange.events() {
            Some(events) => events_of_responses(&events, &mut facts),
            None => response(
                &exchange.response_json().unwrap(),
                exchange.status,
                &mut facts,
            ),
        }
        facts
    },
    pieces: Exchange::events,
    left_out: |path| {
        let data = ["/encrypted_content", "/result"];
        data.iter().any(|end| path.ends_with(end)) || left_out(path)
    },
};

pub const RUNS: Family = Family {
    name: "assistants (streamed)",
    has: |exchange| {
        let is_streamed = exchange.request_json().unwrap_or_default()["stream"] == true;
        exchange.path.contains("/threads/") && exchange.path.ends_with("/runs") && is_streamed
    },
    expected: |exchange| {
        let mut facts = asked(exchange, "chat");
        let body = exchange.request_json().unwrap();
        facts.system = string(&body["instructions"]).unwrap_or_default();
        events_of_run(&exchange.events().unwrap(), &mut facts);
        facts
    },
    pieces: Exchange::events,
    left_out,
};

/// The name of the type, and what the kind of a part says.
fn left_out(path: &str) -> bool {
    path.ends_with("/object") || path.ends_with("/type") || path.ends_with("/index")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn string(value: &Value) -> Option<String> {
    value
        .as_str()
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
}

/// `a` or, if that is not there, `b`.
fn either<'v>(a: &'v Value, b: &'v Value) -> &'v Value {
    if a.is_null() { b } else { a }
}

fn provider(exchange: &Exchange) -> &'static str {
    let hosts = [
        ("openai.azure.com", "azure.ai.openai"),
        ("openai.com", "openai"),
        ("groq.com", "groq"),
        ("mistral.ai", "mistral_ai"),
        ("deepseek.com", "deepseek"),
        ("together.ai", "together"),
        ("together.xyz", "together"),
        ("writer.com", "writer"),
        ("voyageai.com", "voyage_ai"),
    ];
    let known = hosts.iter().find(|(host, _)| exchange.host.ends_with(host));
    known.map_or("openai_compatible", |(_, provider)| provider)
}

fn asked(exchange: &Exchange, operation: &str) -> Facts {
    let body = exchange.request_json().unwrap();
    let segments: Vec<_> = exchange.path.split('/').collect();
    let deployment = segments
        .iter()
        .position(|segment| *segment == "deployments");
    let deployment = deployment.map(|at| segments[at + 1].to_owned());
    let mut facts = Facts {
        provider: provider(exchange).to_owned(),
        operation: operation.to_owned(),
        model_asked: string(&body["model"]).or(deployment),
        stream: body["stream"] == true,
        ..Facts::default()
    };
    for tool in list(&body["tools"]).iter().chain(list(&body["functions"])) {
        let name = either(&tool["name"], &tool["server_label"]);
        let name = either(&tool["function"]["name"], name);
        facts
            .tools
            .push(string(either(name, &tool["type"])).unwrap());
    }
    facts
}

fn call(id: &Value, function: &Value) -> ToolCall {
    let text = function["arguments"].as_str().unwrap_or_default();
    let arguments = serde_json::from_str(text).unwrap_or_else(|_| text.into());
    (
        string(id),
        string(&function["name"]).unwrap_or_default(),
        arguments,
    )
}

fn texts(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        other => list(other)
            .iter()
            .filter_map(|part| part["text"].as_str())
            .collect(),
    }
}

fn message_asked(message: &Value, facts: &mut Facts) {
    let role = message["role"].as_str().unwrap();
    if role == "tool" {
        facts.results_before.push(string(&message["tool_call_id"]));
        return;
    }
    if role == "function" {
        facts.results_before.push(None);
        return;
    }
    facts.ask(role, &texts(&message["content"]));
    for made in list(&message["tool_calls"]) {
        facts
            .calls_before
            .push(call(&made["id"], &made["function"]));
    }
    if message["function_call"].is_object() {
        facts
            .calls_before
            .push(call(&Value::Null, &message["function_call"]));
    }
}

fn inputs(input: &Value, facts: &mut Facts) {
    match input {
        Value::Array(texts) if texts.iter().all(Value::is_string) => {
            texts
                .iter()
                .for_each(|text| facts.ask("user", text.as_str().unwrap()));
        }
        Value::String(text) => facts.ask("user", text),
        _ => {}
    }
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn error(error: &Value) -> Option<[Option<String>; 3]> {
    let told = || {
        [
            plain(&error["type"]),
            plain(&error["code"]),
            plain(&error["message"]),
        ]
    };
    error.is_object().then(told)
}

/// Servers that say what went wrong in a member of the body.
fn failed(body: &Value, status: u16) -> Option<[Option<String>; 3]> {
    (status >= 400).then(|| [None, None, plain(&body["detail"])])
}

fn usage(usage: &Value, facts: &mut Facts) {
    if !usage.is_object() {
        return;
    }
    let input = either(&usage["prompt_tokens"], &usage["input_tokens"]).as_u64();
    let output = either(&usage["completion_tokens"], &usage["output_tokens"]).as_u64();
    let cached = [
        &usage["prompt_tokens_details"]["cached_tokens"],
        &usage["input_tokens_details"]["cached_tokens"],
        &usage["prompt_token_details"]["cached_tokens"],
        &usage["prompt_cache_hit_tokens"],
        &usage["cached_tokens"],
    ];
    let reasoning = [
        &usage["completion_tokens_details"]["reasoning_tokens"],
        &usage["output_tokens_details"]["reasoning_tokens"],
        &usage["completion_token_details"]["reasoning_tokens"],
    ];
    let first = |values: &[&Value]| values.iter().find_map(|value| value.as_u64());
    facts.usage = Some([input, output, first(&cached), first(&reasoning)]);
    facts.reported = Some(usage.clone());
}

fn whole(body: &Value, status: u16, facts: &mut Facts) {
    facts.id = string(&body["id"]);
    facts.model = string(&body["model"]);
    usage(&body["usage"], facts);
    facts.error = error(&body["error"]).or_else(|| failed(body, status));
    for (index, choice) in list(&body["choices"]).iter().enumerate() {
        let message = &choice["message"];
        let mut said = Said {
            text: string(&choice["text"]).unwrap_or_else(|| texts(&message["content"])),
            refusal: string(&message["refusal"]).unwrap_or_default(),
            reasoning: string(either(&message["reasoning_content"], &message["reasoning"]))
                .unwrap_or_default(),
            citations: list(&message["annotations"]).len(),
            finish: string(&choice["finish_reason"]),
            ..Said::default()
        };
        for made in list(&message["tool_calls"]) {
            said.calls.push(call(&made["id"], &made["function"]));
        }
        if message["function_call"].is_object() {
            said.calls
                .push(call(&Value::Null, &message["function_call"]));
        }
        facts
            .said
            .insert(choice["index"].as_u64().unwrap_or(index as u64), said);
    }
}

fn chunks(events: &[OwnedPiece], facts: &mut Facts) {
    // Number, name and arguments of each call, by choice and index.
    let mut calls: BTreeMap<(u64, u64), (Value, String, String)> = BTreeMap::new();
    for chunk in events.iter().filter_map(OwnedPiece::json) {
        facts.id = string(&chunk["id"]).or(facts.id.take());
        facts.model = string(&chunk["model"]).or(facts.model.take());
        usage(either(&chunk["usage"], &chunk["x_groq"]["usage"]), facts);
        if let Some(text) = chunk["value"].as_str() {
            facts.said.entry(0).or_default().text.push_str(text);
        }
        for choice in list(&chunk["choices"]) {
            let index = choice["index"].as_u64().unwrap_or_default();
            let delta = &choice["delta"];
            let said = facts.said.entry(index).or_default();
            let text = if delta.is_object() {
                &delta["content"]
            } else {
                &choice["text"]
            };
            said.text.push_str(&texts(text));
            said.refusal
                .push_str(delta["refusal"].as_str().unwrap_or_default());
            let reasoning = either(&delta["reasoning_content"], &delta["reasoning"]);
            said.reasoning
                .push_str(reasoning.as_str().unwrap_or_default());
            said.finish = string(&choice["finish_reason"]).or(said.finish.take());
            for piece in list(&delta["tool_calls"]) {
                let key = (index, piece["index"].as_u64().unwrap_or_default());
                let call = calls.entry(key).or_default();
                if piece["id"].is_string() {
                    call.0 = piece["id"].clone();
                }
                call.1
                    .push_str(piece["function"]["name"].as_str().unwrap_or_default());
                call.2
                    .push_str(piece["function"]["arguments"].as_str().unwrap_or_default());
            }
        }
    }
    for ((index, _), (id, name, arguments)) in calls {
        let function = serde_json::json!({"name": name, "arguments": arguments});
        facts
            .said
            .get_mut(&index)
            .unwrap()
            .calls
            .push(call(&id, &function));
    }
}

fn item_asked(item: &Value, facts: &mut Facts) {
    facts.calls_before.extend(client_call(item));
    match item["type"].as_str().unwrap_or("message") {
        "message" => facts.ask(item["role"].as_str().unwrap(), &texts(&item["content"])),
        "function_call_output" | "custom_tool_call_output" | "apply_patch_call_output" => {
            facts.results_before.push(string(&item["call_id"]));
        }
        "tool_search_output" if item["execution"] == "client" => {
            facts.results_before.push(string(&item["call_id"]));
        }
        _ => {}
    }
}

/// A call of a tool that runs where the client is.
fn client_call(item: &Value) -> Option<ToolCall> {
    let id = string(&item["call_id"]);
    match item["type"].as_str()? {
        "function_call" => Some(call(&item["call_id"], item)),
        "custom_tool_call" => Some((id, string(&item["name"]).unwrap(), item["input"].clone())),
        kind @ ("shell_call" | "local_shell_call" | "computer_call" | "apply_patch_call") => {
            let name = kind.strip_suffix("_call").unwrap().to_owned();
            let arguments = either(
                &item["action"],
                either(&item["actions"], &item["operation"]),
            );
            Some((id, name, arguments.clone()))
        }
        "tool_search_call" if item["execution"] == "client" => {
            Some((id, "tool_search".to_owned(), item["arguments"].clone()))
        }
        _ => None,
    }
}

fn response(body: &Value, status: u16, facts: &mut Facts) {
    facts.id = string(&body["id"]);
    facts.model = string(&body["model"]);
    usage(&body["usage"], facts);
    facts.error = error(&body["error"]).or_else(|| failed(body, status));
    if !body["output"].is_array() {
        return;
    }
    let said = facts.said.entry(0).or_default();
    let reason = string(&body["incomplete_details"]["reason"]);
    said.finish = reason.or(string(&body["status"]));
    for item in list(&body["output"]) {
        said.calls.extend(client_call(item));
        match item["type"].as_str().unwrap() {
            "message" => {
                said.text.push_str(&texts(&item["content"]));
                let content = list(&item["content"]).iter();
                said.citations += content
                    .map(|part| list(&part["annotations"]).len())
                    .sum::<usize>();
            }
            "reasoning" => said.reasoning.push_str(&texts(&item["summary"])),
            "mcp_call" => said.server_calls.push(string(&item["name"]).unwrap()),
            kind @ ("web_search_call"
            | "file_search_call"
            | "code_interpreter_call"
            | "image_generation_call") => {
                said.server_calls
                    .push(kind.strip_suffix("_call").unwrap().to_owned());
            }
            "tool_search_call" if item["execution"] != "client" => {
                said.server_calls.push("tool_search".to_owned());
            }
            _ => {}
        }
    }
}

/// The last event has all of it, and the events before it say the same text.
fn events_of_responses(events: &[OwnedPiece], facts: &mut Facts) {
    let mut text = String::new();
    for event in events.iter().filter_map(OwnedPiece::json) {
        match event["type"].as_str().unwrap() {
            "response.output_text.delta" => text.push_str(event["delta"].as_str().unwrap()),
            "response.completed" | "response.incomplete" => {
                response(&event["response"], 200, facts)
            }
            _ => {}
        }
    }
    let last = facts.said.get(&0).map(|said| said.text.as_str());
    assert_eq!(last.unwrap_or_default(), text);
}

fn events_of_run(events: &[OwnedPiece], facts: &mut Facts) {
    let said = facts.said.entry(0).or_default();
    let mut last = Value::Null;
    for piece in events {
        let OwnedPiece::Sse(kind, data) = piece else {
            continue;
        };
        let kind = kind.as_deref().unwrap_or_default();
        let event: Value = serde_json::from_str(data).unwrap_or_default();
        if kind == "thread.message.delta" {
            let content = list(&event["delta"]["content"]).iter();
            said.text
                .extend(content.filter_map(|part| part["text"]["value"].as_str()));
        }
        if kind == "thread.run.step.completed" {
            let calls = list(&event["step_details"]["tool_calls"]).iter();
            said.server_calls
                .extend(calls.filter_map(|call| string(&call["type"])));
        }
        if kind.starts_with("thread.run.") && !kind.starts_with("thread.run.step") {
            last = event;
        }
    }
    said.finish = string(&last["status"]);
    facts.id = string(&last["id"]);
    facts.model = string(&last["model"]);
    usage(&last["usage"], facts);
}
