//! Makes a stream of an unstreamed answer, the way the provider would: cut at random places, choices in any order.

use serde_json::{Map, Value, json};

use crate::recorded::exchange::OwnedPiece;
use crate::support::Random;

fn data(value: &Value) -> OwnedPiece {
    OwnedPiece::Sse(None, value.to_string())
}

/// Cuts a text at random places into pieces, of which some are empty.
pub fn cut(text: &str, random: &mut Random) -> Vec<String> {
    let mut pieces = vec![String::new()];
    for character in text.chars() {
        if random.below(4) == 0 {
            pieces.push(String::new());
        }
        pieces.last_mut().unwrap().push(character);
    }
    if random.below(4) == 0 {
        pieces.push(String::new());
    }
    pieces
}

/// Chunks of chat completions or completions.
pub fn chunks(body: &Value, random: &mut Random) -> Vec<OwnedPiece> {
    let mut base = body.as_object().unwrap().clone();
    let choices = base.remove("choices").unwrap();
    let usage = base.remove("usage");
    let filtered = base.remove("prompt_filter_results");
    base.insert("object".to_owned(), "chunk".into());
    let mut pieces = Vec::new();
    if let Some(filtered) = filtered {
        pieces.push(data(
            &json!({"id": "", "model": "", "created": 0, "object": "", "choices": [],
            "prompt_filter_results": filtered}),
        ));
    }
    let mut queues: Vec<_> = choices
        .as_array()
        .unwrap()
        .iter()
        .map(|choice| choice_deltas(choice, random).into_iter())
        .collect();
    while !queues.is_empty() {
        let place = random.below(queues.len());
        match queues[place].next() {
            Some(choice) => {
                let mut chunk = base.clone();
                chunk.insert("choices".to_owned(), json!([choice]));
                chunk.insert("usage".to_owned(), Value::Null);
                chunk.insert("obfuscation".to_owned(), "xyz".into());
                pieces.push(data(&Value::Object(chunk)));
            }
            None => {
                queues.remove(place);
            }
        }
    }
    let mut last = base.clone();
    last.insert("choices".to_owned(), json!([]));
    if random.below(3) == 0 && !base.contains_key("x_groq") {
        last.insert("x_groq".to_owned(), json!({"usage": usage}));
    } else if let Some(usage) = usage {
        last.insert("usage".to_owned(), usage);
    }
    pieces.push(data(&Value::Object(last)));
    pieces.push(OwnedPiece::Sse(None, "[DONE]".to_owned()));
    pieces
}

fn choice_deltas(choice: &Value, random: &mut Random) -> Vec<Value> {
    let mut rest = choice.as_object().unwrap().clone();
    let index = rest["index"].clone();
    let mut deltas = Vec::new();
    if let Some(Value::String(text)) = rest.remove("text") {
        for text in cut(&text, random) {
            deltas.push(json!({"index": index, "text": text, "finish_reason": null}));
        }
    }
    if let Some(Value::Object(message)) = rest.remove("message") {
        for delta in message_deltas(message, random) {
            deltas.push(
                json!({"index": index, "delta": delta, "finish_reason": null, "logprobs": null}),
            );
        }
        rest.insert("delta".to_owned(), json!({}));
    }
    deltas.push(Value::Object(rest));
    deltas
}

fn message_deltas(mut message: Map<String, Value>, random: &mut Random) -> Vec<Value> {
    let role = message.remove("role");
    let mut deltas = vec![json!({"role": role, "content": "", "refusal": null})];
    for name in ["reasoning_content", "reasoning", "content", "refusal"] {
        match message.remove(name) {
            Some(Value::String(text)) => {
                let pieces = cut(&text, random);
                deltas.extend(pieces.into_iter().map(|piece| json!({name: piece})));
            }
            Some(Value::Array(list)) => {
                for element in list {
                    deltas.extend(typed_deltas(&element, random));
                }
            }
            _ => {}
        }
    }
    for (index, call) in message
        .remove("tool_calls")
        .unwrap_or_default()
        .as_array()
        .into_iter()
        .flatten()
        .enumerate()
    {
        deltas.extend(call_deltas(index, call, random));
    }
    if let Some(Value::Object(call)) = message.remove("function_call") {
        deltas.push(json!({"function_call": {"name": call["name"], "arguments": ""}}));
        for piece in cut(call["arguments"].as_str().unwrap(), random) {
            deltas.push(json!({"function_call": {"arguments": piece}}));
        }
    }
    if !message.is_empty() {
        deltas.push(Value::Object(message));
    }
    deltas
}

/// Mistral: a part of `content`.
fn typed_deltas(element: &Value, random: &mut Random) -> Vec<Value> {
    let texts = |text: &str, random: &mut Random| cut(text, random).into_iter();
    match element["type"].as_str() {
        Some("text") => texts(element["text"].as_str().unwrap(), random)
            .map(|text| json!({"content": [{"type": "text", "text": text}]}))
            .collect(),
        Some("thinking") => texts(element["thinking"][0]["text"].as_str().unwrap(), random)
            .map(|text| json!({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": text}]}]}))
            .collect(),
        _ => vec![json!({"content": [element]})],
    }
}

fn call_deltas(index: usize, call: &Value, random: &mut Random) -> Vec<Value> {
    let function = &call["function"];
    let first = json!({"index": index, "id": call["id"], "type": "function",
        "function": {"name": function["name"], "arguments": ""}});
    let arguments = cut(function["arguments"].as_str().unwrap(), random).into_iter();
    let rest = arguments.map(|piece| json!({"index": index, "function": {"arguments": piece}}));
    [first]
        .into_iter()
        .chain(rest)
        .map(|piece| json!({"tool_calls": [piece]}))
        .collect()
}

/// How the events of a response end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With the whole answer.
    Whole,
    /// With the answer but for its items.
    Empty,
    /// Not: the connection was lost.
    Lost,
}

/// Events of responses.
pub fn events(body: &Value, end: End, random: &mut Random) -> Vec<OwnedPiece> {
    let mut pieces = Vec::new();
    let mut event = |value: Value| {
        let kind = value["type"].as_str().unwrap().to_owned();
        // Those over a WebSocket have no other name.
        let name = random.0.is_multiple_of(2).then_some(kind);
        pieces.push(OwnedPiece::Sse(name, value.to_string()));
    };
    let mut begun = body.clone();
    begun["output"] = json!([]);
    begun["status"] = "in_progress".into();
    begun["usage"] = Value::Null;
    event(json!({"type": "response.created", "response": begun}));
    event(json!({"type": "response.in_progress", "response": begun}));
    let mut cuts = Random(random.0 + 1);
    for (index, item) in body["output"].as_array().unwrap().iter().enumerate() {
        for value in item_events(index, item, &mut cuts) {
            event(value);
        }
    }
    let mut whole = body.clone();
    if end == End::Empty {
        whole["output"] = json!([]);
    }
    if end != End::Lost {
        let status = body["status"].as_str().unwrap();
        event(json!({"type": format!("response.{status}"), "response": whole}));
    }
    pieces
}

fn item_events(index: usize, item: &Value, random: &mut Random) -> Vec<Value> {
    let mut begun = item.clone();
    let mut events = Vec::new();
    let mut grow = |name: &str, kind: &str, place: usize, text: &Value, random: &mut Random| {
        for piece in cut(text.as_str().unwrap_or_default(), random) {
            events.push(
                json!({"type": format!("response.{kind}.delta"), "output_index": index,
                name: place, "delta": piece, "obfuscation": "xyz"}),
            );
        }
    };
    match item["type"].as_str().unwrap() {
        "message" => {
            begun["content"] = json!([]);
            for (place, part) in item["content"].as_array().unwrap().iter().enumerate() {
                match part["type"].as_str() {
                    Some("refusal") => {
                        grow("content_index", "refusal", place, &part["refusal"], random)
                    }
                    _ => grow("content_index", "output_text", place, &part["text"], random),
                }
            }
        }
        "reasoning" => {
            begun["summary"] = json!([]);
            for (place, part) in item["summary"].as_array().unwrap().iter().enumerate() {
                grow(
                    "summary_index",
                    "reasoning_summary_text",
                    place,
                    &part["text"],
                    random,
                );
            }
        }
        "function_call" => {
            begun["arguments"] = "".into();
            grow(
                "no_index",
                "function_call_arguments",
                0,
                &item["arguments"],
                random,
            );
        }
        "custom_tool_call" => {
            begun["input"] = "".into();
            grow(
                "no_index",
                "custom_tool_call_input",
                0,
                &item["input"],
                random,
            );
        }
        _ => {}
    }
    let mut all =
        vec![json!({"type": "response.output_item.added", "output_index": index, "item": begun})];
    all.append(&mut events);
    all.push(json!({"type": "response.output_item.done", "output_index": index, "item": item}));
    all
}
