//! What the recorded JSON of Gemini's APIs says: paths, without any of our code.

use serde_json::Value;

use super::Family;
use super::exchange::{Exchange, OwnedPiece};
use super::facts::{Facts, Said};

pub const GENERATE: Family = Family {
    name: "gemini generateContent",
    has: |exchange| exchange.path.to_lowercase().ends_with("generatecontent"),
    expected: |exchange| {
        let body = exchange.request_json().unwrap();
        let mut facts = Facts {
            stream: exchange.path.ends_with(":streamGenerateContent"),
            system: text(&body["systemInstruction"]["parts"], false),
            ..outline(exchange, "generate_content")
        };
        for tool in list(&body["tools"]) {
            for (name, settings) in tool.as_object().unwrap() {
                match name.as_str() {
                    "functionDeclarations" => facts
                        .tools
                        .extend(list(settings).iter().filter_map(|f| string(&f["name"]))),
                    name => facts.tools.push(name.into()),
                }
            }
        }
        for content in list(&body["contents"]) {
            let role = if content["role"] == "model" {
                "assistant"
            } else {
                "user"
            };
            facts.ask(role, &text(&content["parts"], false));
            for part in list(&content["parts"]) {
                if let Some(name) = string(&part["functionCall"]["name"]) {
                    facts
                        .calls_before
                        .push((None, name, part["functionCall"]["args"].clone()));
                }
                if part["functionResponse"].is_object() {
                    facts.results_before.push(None);
                }
            }
        }
        let chunks = match exchange.events() {
            Some(events) => events.iter().filter_map(OwnedPiece::json).collect(),
            None => match exchange.response_json().unwrap() {
                Value::Array(chunks) => chunks,
                whole => vec![whole],
            },
        };
        chunks.iter().for_each(|chunk| answered(chunk, &mut facts));
        facts
    },
    pieces: |exchange| match exchange.response_json() {
        Some(Value::Array(chunks)) => Some(
            chunks
                .iter()
                .map(|chunk| OwnedPiece::Json(chunk.to_string().into()))
                .collect(),
        ),
        _ => exchange.events(),
    },
    left_out: |path| {
        let ends = [
            "/avgLogprobs",
            "/data",
            "/index",
            "/role",
            "/thoughtSignature",
        ];
        ends.iter().any(|end| path.ends_with(end))
    },
};

pub const EMBED: Family = Family {
    name: "gemini embeddings",
    has: |exchange| {
        exchange.path.ends_with("EmbedContents") || exchange.path.ends_with(":embedContent")
    },
    expected: |exchange| {
        let mut facts = outline(exchange, "embeddings");
        for request in list(&exchange.request_json().unwrap()["requests"]) {
            facts.ask("user", &text(&request["content"]["parts"], false));
        }
        facts.results = Some(list(&exchange.response_json().unwrap()["embeddings"]).len() as u64);
        facts
    },
    pieces: Exchange::events,
    left_out: |path| path.contains("/values/") || path.ends_with("/model"),
};

pub const INTERACTIONS: Family = Family {
    name: "gemini interactions",
    has: |exchange| exchange.path.ends_with("/interactions"),
    expected: |exchange| {
        let body = exchange.request_json().unwrap();
        let mut facts = Facts {
            provider: "gcp.gemini".into(),
            operation: "generate_content".into(),
            model_asked: string(&body["model"]),
            stream: body["stream"] == true,
            ..Facts::default()
        };
        let input = &body["input"];
        let texts = list(input)
            .iter()
            .filter_map(|content| content["text"].as_str());
        facts.ask("user", input.as_str().unwrap_or(&texts.collect::<String>()));
        let mut said = Said::default();
        let mut whole = exchange.response_json().unwrap_or_default();
        for event in exchange
            .events()
            .iter()
            .flatten()
            .filter_map(OwnedPiece::json)
        {
            let delta = &event["delta"];
            said.text
                .push_str(delta["text"].as_str().unwrap_or_default());
            said.reasoning
                .push_str(delta["content"]["text"].as_str().unwrap_or_default());
            if event["event_type"] == "interaction.completed" {
                whole = event["interaction"].clone();
            }
        }
        for step in list(&whole["steps"]) {
            let texts = list(&step["content"])
                .iter()
                .filter_map(|content| content["text"].as_str());
            said.text.extend(texts);
        }
        said.finish = string(&whole["status"]);
        facts.said.insert(0, said);
        facts.id = string(&whole["id"]);
        facts.model = string(&whole["model"]);
        let usage = &whole["usage"];
        let count = |name: &str| usage[name].as_u64();
        facts.usage = Some([
            count("total_input_tokens")
                .map(|tokens| tokens + count("total_tool_use_tokens").unwrap()),
            count("total_output_tokens")
                .map(|tokens| tokens + count("total_thought_tokens").unwrap()),
            count("total_cached_tokens"),
            count("total_thought_tokens"),
        ]);
        facts.reported = Some(usage.clone());
        facts
    },
    pieces: Exchange::events,
    left_out: |path| {
        ["/data", "/resolution", "/signature", "/type"]
            .iter()
            .any(|end| path.ends_with(end))
    },
};

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn string(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// Provider and model stand in the address.
fn outline(exchange: &Exchange, operation: &str) -> Facts {
    let model = exchange
        .path
        .rsplit('/')
        .next()
        .unwrap()
        .split(':')
        .next()
        .unwrap();
    let is_vertex = exchange.host.contains("aiplatform");
    Facts {
        provider: if is_vertex {
            "gcp.vertex_ai"
        } else {
            "gcp.gemini"
        }
        .into(),
        operation: operation.into(),
        model_asked: Some(model.into()),
        ..Facts::default()
    }
}

fn text(parts: &Value, thought: bool) -> String {
    let parts = list(parts)
        .iter()
        .filter(|part| (part["thought"] == true) == thought);
    parts.filter_map(|part| part["text"].as_str()).collect()
}

fn answered(chunk: &Value, facts: &mut Facts) {
    facts.id = string(&chunk["responseId"]);
    facts.model = string(&chunk["modelVersion"]);
    for candidate in list(&chunk["candidates"]) {
        let said = facts
            .said
            .entry(candidate["index"].as_u64().unwrap_or(0))
            .or_default();
        let parts = &candidate["content"]["parts"];
        said.text.push_str(&text(parts, false));
        said.reasoning.push_str(&text(parts, true));
        for part in list(parts) {
            let call = &part["functionCall"];
            if let Some(name) = string(&call["name"]) {
                said.calls
                    .push((string(&call["id"]), name, call["args"].clone()));
            }
            if part["executableCode"].is_object() {
                said.server_calls.push("code_execution".into());
            }
        }
        match &candidate["finishReason"] {
            Value::Null => {}
            reason => said.finish = Some(reason.as_str().map_or(reason.to_string(), str::to_owned)),
        }
    }
    let usage = &chunk["usageMetadata"];
    let add = |a: &str, b: &str| match (usage[a].as_u64(), usage[b].as_u64()) {
        (None, None) => None,
        (a, b) => Some(a.unwrap_or(0) + b.unwrap_or(0)),
    };
    facts.usage = Some([
        add("promptTokenCount", "toolUsePromptTokenCount"),
        add("candidatesTokenCount", "thoughtsTokenCount"),
        usage["cachedContentTokenCount"].as_u64(),
        usage["thoughtsTokenCount"].as_u64(),
    ]);
    facts.reported = Some(usage.clone());
}
