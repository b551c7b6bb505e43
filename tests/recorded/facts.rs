//! What is compared: the plain facts of a call, as our output tells them and as paths into the recorded JSON do.

use std::collections::BTreeMap;

use serde_json::Value;

/// A tool call: number, name, arguments.
pub type ToolCall = (Option<String>, String, Value);

/// What a choice says.
#[derive(Clone, Debug, Default)]
pub struct Said {
    pub text: String,
    pub refusal: String,
    pub reasoning: String,
    pub calls: Vec<ToolCall>,
    /// Names of tools that the provider ran.
    pub server_calls: Vec<String>,
    pub citations: usize,
    /// Of all tools in order, those that the provider ran among them. Only ours: not compared.
    pub all_names: String,
    pub finish: Option<String>,
}

impl PartialEq for Said {
    fn eq(&self, other: &Self) -> bool {
        let plain = |said: &Self| {
            let words = [&said.text, &said.refusal, &said.reasoning].map(String::clone);
            let calls = (said.calls.clone(), said.server_calls.clone());
            (words, calls, said.citations, said.finish.clone())
        };
        plain(self) == plain(other)
    }
}

/// What a call says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    pub provider: String,
    pub operation: String,
    pub model_asked: Option<String>,
    pub stream: bool,
    /// Role and text of each message that has text, neighbours of one role joined.
    pub asked: Vec<(String, String)>,
    pub system: String,
    /// Names of tools, those that may be called and those that were.
    pub tools: Vec<String>,
    pub calls_before: Vec<ToolCall>,
    /// Numbers of calls whose results are in the question.
    pub results_before: Vec<Option<String>>,
    pub id: Option<String>,
    pub model: Option<String>,
    pub said: BTreeMap<u64, Said>,
    pub results: Option<u64>,
    /// Input, output, from a cache, reasoning.
    pub usage: Option<[Option<u64>; 4]>,
    pub reported: Option<Value>,
    pub error: Option<[Option<String>; 3]>,
}

impl Facts {
    /// As a line `llm.call` tells them.
    pub fn told(call: &Value) -> Self {
        let (request, response) = (&call["request"], &call["response"]);
        let names = |tool: &Value| text(&tool["name"]).unwrap();
        let mut facts = Self {
            provider: text(&call["provider"]).unwrap(),
            operation: text(&call["operation"]).unwrap(),
            model_asked: text(&request["model"]),
            stream: request["stream"] == true,
            system: list(&request["system"]).iter().filter_map(words).collect(),
            tools: list(&request["tools"]).iter().map(names).collect(),
            id: text(&response["id"]),
            model: text(&response["model"]),
            results: response["results"].as_u64(),
            ..Self::default()
        };
        for message in list(&request["messages"]) {
            facts.message(message);
        }
        for choice in list(&response["choices"]) {
            let index = choice["index"].as_u64().unwrap();
            facts.said.insert(index, said(choice));
        }
        let usage = &response["usage"];
        if usage.is_object() && usage["estimated_with"].is_null() {
            let count = |name: &str| usage[name].as_u64();
            facts.usage = Some([
                count("input_tokens"),
                count("output_tokens"),
                count("cache_read_tokens"),
                count("reasoning_tokens"),
            ]);
            facts.reported = Some(usage["reported"].clone());
        }
        let error = &response["error"];
        facts.error = error
            .is_object()
            .then(|| ["type", "code", "message"].map(|name| text(&error[name])));
        facts
    }

    fn message(&mut self, message: &Value) {
        let parts = list(&message["parts"]);
        let text: String = parts.iter().filter_map(words).collect();
        self.ask(message["role"].as_str().unwrap(), &text);
        for part in parts {
            match part["type"].as_str() {
                Some("tool_call") => self.calls_before.push(tool_call(part)),
                Some("tool_call_response") => self.results_before.push(self::text(&part["id"])),
                _ => {}
            }
        }
    }

    /// A message of the question.
    pub fn ask(&mut self, role: &str, text: &str) {
        match self.asked.last_mut() {
            _ if text.is_empty() => {}
            Some((last, before)) if last == role => before.push_str(text),
            _ => self.asked.push((role.to_owned(), text.to_owned())),
        }
    }

    /// What differs, in words.
    pub fn differences(&self, told: &Self) -> Vec<String> {
        let mut wrong = Vec::new();
        macro_rules! compare {
            ($($field:ident)*) => {$(
                if self.$field != told.$field {
                    wrong.push(format!(
                        "{}: recorded {:?}, told {:?}",
                        stringify!($field), self.$field, told.$field
                    ));
                }
            )*};
        }
        compare!(provider operation model_asked stream asked system tools calls_before results_before);
        compare!(id model said results usage reported error);
        wrong
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

/// Of a part that is text.
fn words(part: &Value) -> Option<&str> {
    (part["type"] == "text").then(|| part["content"].as_str().unwrap())
}

fn tool_call(part: &Value) -> ToolCall {
    let arguments = part["arguments"].clone();
    (text(&part["id"]), text(&part["name"]).unwrap(), arguments)
}

fn said(choice: &Value) -> Said {
    let mut said = Said {
        finish: text(&choice["finish_reason"]),
        ..Said::default()
    };
    for part in list(&choice["message"]["parts"]) {
        let content = part["content"].as_str().unwrap_or_default();
        let name = part["name"].as_str().unwrap_or_default();
        match part["type"].as_str() {
            Some("text") => {
                said.text.push_str(content);
                said.citations += list(&part["citations"]).len();
            }
            Some("refusal") => said.refusal.push_str(content),
            Some("reasoning") => said.reasoning.push_str(content),
            Some("tool_call") => {
                said.all_names.push_str(name);
                said.calls.push(tool_call(part));
            }
            Some("server_tool_call") => {
                said.all_names.push_str(name);
                said.server_calls.push(name.to_owned());
            }
            _ => {}
        }
    }
    said
}

/// What was told as it came (`llm.delta`) is what is told in the end: of each choice the text, the thoughts, the calls, the
/// reason.
pub fn of_deltas(call: &Value, deltas: &[&Value]) -> Vec<String> {
    if deltas.is_empty() {
        return Vec::new();
    }
    let mut came: BTreeMap<u64, [String; 3]> = BTreeMap::new();
    let mut finished = BTreeMap::new();
    for delta in deltas {
        let choice = delta["choice"].as_u64().unwrap();
        let [text, reasoning, names] = came.entry(choice).or_default();
        let more = delta["text"].as_str().unwrap();
        match delta["kind"].as_str() {
            Some("text") => text.push_str(more),
            Some("reasoning") => reasoning.push_str(more),
            Some("tool_call") => names.push_str(more),
            Some("finish") => {
                finished.insert(choice, more.to_owned());
            }
            _ => {}
        }
    }
    let mut wrong = Vec::new();
    for (index, said) in Facts::told(call).said {
        let names: String = said.calls.iter().map(|call| call.1.as_str()).collect();
        let mut parts = came.remove(&index).unwrap_or_default();
        // Tools that the provider ran are told too, where their beginning is an event.
        if parts[2] == said.all_names {
            parts[2].clone_from(&names);
        }
        let whole = [
            format!("{}{}", said.text, said.refusal),
            said.reasoning,
            names,
        ];
        if parts != whole {
            wrong.push(format!(
                "deltas of choice {index}: {parts:?}, in the end {whole:?}"
            ));
        }
        let finish = finished.remove(&index);
        if finish != said.finish {
            let last = said.finish;
            wrong.push(format!(
                "choice {index} ended as {finish:?}, in the end {last:?}"
            ));
        }
    }
    wrong
}
