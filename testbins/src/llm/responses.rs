//! OpenAI's responses, over HTTP or a WebSocket.
//! Followed: <https://platform.openai.com/docs/api-reference/responses> and …/responses-streaming

use fastrand::Rng;
use serde_json::{Value, json};

use super::api::Api;
use super::chat;
use super::said::{Asked, Message, Said, ToolCall, Turn, decoded, list, text, texts};
use super::wire::{Frame, event, pieces};

/// The API.
pub struct Responses;

impl Api for Responses {
    fn name(&self) -> &'static str {
        "openai.responses"
    }

    fn provider(&self) -> &'static str {
        "openai"
    }

    fn asked(&self, body: &Value) -> Asked {
        let named = |tool: &Value| tool["name"].as_str().map(str::to_owned);
        Asked {
            model: body["model"].as_str().map(str::to_owned),
            stream: body["stream"].as_bool().unwrap_or_default(),
            system: texts(&body["instructions"]),
            messages: input(&body["input"]),
            tools: list(body, "tools").iter().filter_map(named).collect(),
            choices: 1,
            thinks: body["reasoning"].is_object(),
            previous: body["previous_response_id"].as_str().map(str::to_owned),
            wants_usage: true,
            ..Asked::default()
        }
    }

    fn response_id(&self, turn: &Turn) -> Option<String> {
        Some(format!("resp_{}", turn.id))
    }

    fn call_id(&self, call: &ToolCall) -> Option<String> {
        Some(format!("call_{}", call.id))
    }

    fn finish(&self, said: &Said) -> &'static str {
        if said.is_cut {
            "incomplete"
        } else {
            "completed"
        }
    }

    fn usage(&self, turn: &Turn) -> Value {
        let tokens = turn.tokens;
        json!({"input_tokens": tokens.input, "input_tokens_details": {"cached_tokens": tokens.cache_read},
            "output_tokens": tokens.output, "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
            "total_tokens": tokens.input + tokens.output})
    }

    fn counts(&self, turn: &Turn) -> Value {
        let tokens = turn.tokens;
        json!({"input_tokens": tokens.input, "output_tokens": tokens.output,
            "cache_read_tokens": tokens.cache_read, "reasoning_tokens": tokens.reasoning})
    }

    fn whole(&self, turn: &Turn) -> Value {
        let said = turn.said();
        let mut response = self.response(turn, self.finish(&said));
        response["output"] = self.items(turn).into_iter().map(|item| item.done).collect();
        response["usage"] = self.usage(turn);
        if said.is_cut {
            response["incomplete_details"] = json!({"reason": "max_output_tokens"});
        }
        response
    }

    fn stream(&self, turn: &Turn, rng: &mut Rng) -> Vec<Frame> {
        let events = self.events(turn, rng);
        let framed = events.into_iter().map(|(data, says)| {
            let frame = event(data["type"].as_str(), &data, rng);
            Frame { says, ..frame }
        });
        framed.collect()
    }

    fn error(&self, status: u16, message: &str) -> Value {
        chat::error(status, message)
    }

    fn error_frame(&self, message: &str, rng: &mut Rng) -> Option<Frame> {
        let data = json!({"type": "error", "code": "server_error", "message": message, "param": null,
            "sequence_number": 4});
        Some(event(Some("error"), &data, rng))
    }
}

/// An item of the output, and its text with where its deltas go.
struct Item {
    done: Value,
    /// As it is when it begins.
    added: Value,
    kind: Kind,
    text: String,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Custom,
    Function,
    Message,
    Reasoning,
}

/// An event, and the text that it adds.
pub type Event = (Value, Option<(usize, String)>);

impl Responses {
    /// What a stream says, without its framing.
    pub fn events(&self, turn: &Turn, rng: &mut Rng) -> Vec<Event> {
        let started = self.response(turn, "in_progress");
        let mut events: Vec<Event> = vec![
            (
                json!({"type": "response.created", "response": started}),
                None,
            ),
            (
                json!({"type": "response.in_progress", "response": started}),
                None,
            ),
        ];
        for (at, item) in self.items(turn).iter().enumerate() {
            let added = json!({"type": "response.output_item.added", "output_index": at, "item": item.added});
            events.push((added, None));
            events.extend(inner(at, item, rng));
            let done =
                json!({"type": "response.output_item.done", "output_index": at, "item": item.done});
            events.push((done, None));
        }
        let end = format!("response.{}", self.finish(&turn.said()));
        events.push((json!({"type": end, "response": self.whole(turn)}), None));
        for (number, (event, _)) in events.iter_mut().enumerate() {
            event["sequence_number"] = json!(number);
        }
        events
    }

    fn response(&self, turn: &Turn, status: &str) -> Value {
        let body = &turn.body;
        json!({"id": self.response_id(turn), "object": "response", "created_at": turn.created(), "status": status,
            "background": false, "error": null, "incomplete_details": null, "instructions": body["instructions"],
            "max_output_tokens": body["max_output_tokens"], "model": turn.model, "output": [],
            "parallel_tool_calls": true, "previous_response_id": body["previous_response_id"],
            "reasoning": {"effort": null, "summary": null}, "store": false, "temperature": 1.0,
            "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": list(body, "tools"), "top_p": 1.0,
            "truncation": "disabled", "usage": null, "user": null, "metadata": {}})
    }

    fn items(&self, turn: &Turn) -> Vec<Item> {
        let said = turn.said();
        let id = &turn.id;
        let mut items = Vec::new();
        if !said.thoughts.is_empty() {
            let summary = json!([{"type": "summary_text", "text": said.thoughts}]);
            let item = |summary: Value| json!({"id": format!("rs_{id}"), "type": "reasoning", "summary": summary});
            items.push(Item {
                done: item(summary),
                added: item(json!([])),
                kind: Kind::Reasoning,
                text: said.thoughts.clone(),
            });
        }
        if !said.text.is_empty() {
            let status = self.finish(&said);
            let item = |status: &str, content: Value| {
                json!({"id": format!("msg_{id}"), "type": "message", "status": status, "role": "assistant",
                    "content": content})
            };
            let content = json!([{"type": "output_text", "text": said.text, "annotations": [], "logprobs": []}]);
            items.push(Item {
                done: item(status, content),
                added: item("in_progress", json!([])),
                kind: Kind::Message,
                text: said.text.clone(),
            });
        }
        items.extend(said.calls.iter().map(|call| self.call(turn, call)));
        items
    }

    /// A call of a tool that takes any text is a custom one.
    fn call(&self, turn: &Turn, call: &ToolCall) -> Item {
        let mut tools = list(&turn.body, "tools").iter();
        let is_custom =
            tools.any(|tool| tool["name"] == call.name.as_str() && tool["type"] == "custom");
        let (kind, name, field, text) = match (is_custom, call.arguments.as_str()) {
            (true, Some(input)) => (Kind::Custom, "custom_tool_call", "input", input.to_owned()),
            _ => (Kind::Function, "function_call", "arguments", call.text()),
        };
        let item = |status: &str, text: &str| {
            json!({"id": format!("fc_{}", call.id), "type": name, "status": status, "call_id": self.call_id(call),
                "name": call.name, field: text})
        };
        Item {
            done: item("completed", &text),
            added: item("in_progress", ""),
            kind,
            text,
        }
    }
}

/// What is between the start and the end of an item.
fn inner(at: usize, item: &Item, rng: &mut Rng) -> Vec<Event> {
    let id = &item.done["id"];
    let (start, delta, field, index) = match item.kind {
        Kind::Custom => ("", "custom_tool_call_input", "input", ""),
        Kind::Function => ("", "function_call_arguments", "arguments", ""),
        Kind::Message => ("content_part", "output_text", "text", "content_index"),
        Kind::Reasoning => (
            "reasoning_summary_part",
            "reasoning_summary_text",
            "text",
            "summary_index",
        ),
    };
    let of = |kind: String, name: &str, value: Value| {
        let mut event = json!({"type": kind, "item_id": id, "output_index": at, name: value});
        if !index.is_empty() {
            event[index] = json!(0);
        }
        event
    };
    let part = |text: &str| match item.kind {
        Kind::Message => {
            json!({"type": "output_text", "text": text, "annotations": [], "logprobs": []})
        }
        _ => json!({"type": "summary_text", "text": text}),
    };
    let mut events = Vec::new();
    if !start.is_empty() {
        events.push((
            of(format!("response.{start}.added"), "part", part("")),
            None,
        ));
    }
    for piece in pieces(&item.text, rng) {
        let mut event = of(format!("response.{delta}.delta"), "delta", json!(piece));
        event["obfuscation"] = json!("x7");
        let says = (item.kind == Kind::Message).then_some((0, piece));
        events.push((event, says));
    }
    events.push((
        of(format!("response.{delta}.done"), field, json!(item.text)),
        None,
    ));
    if !start.is_empty() {
        events.push((
            of(format!("response.{start}.done"), "part", part(&item.text)),
            None,
        ));
    }
    events
}

fn input(input: &Value) -> Vec<Message> {
    if let Some(text) = input.as_str() {
        let mut message = Message::of("user");
        message.texts.push(text.to_owned());
        return vec![message];
    }
    let items = input.as_array().into_iter().flatten();
    items.filter_map(item).collect()
}

fn item(item: &Value) -> Option<Message> {
    let id = &item["call_id"];
    let mut message = Message::of("assistant");
    match item["type"].as_str() {
        None | Some("message") => {
            message.role = text(item, "role");
            message.texts = texts(&item["content"]);
        }
        Some("function_call") => {
            let arguments = decoded(&item["arguments"]);
            message.tool_calls =
                vec![json!({"id": id, "name": item["name"], "arguments": arguments})];
        }
        Some("custom_tool_call") => {
            message.tool_calls =
                vec![json!({"id": id, "name": item["name"], "arguments": item["input"]})];
        }
        Some("function_call_output" | "custom_tool_call_output") => {
            message.role = "tool".to_owned();
            message.tool_results = vec![json!({"id": id, "content": item["output"]})];
        }
        Some("reasoning") => message.reasoning = texts(&item["summary"]),
        _ => return None,
    }
    Some(message)
}
