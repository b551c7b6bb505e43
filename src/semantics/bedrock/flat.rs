//! Models on Bedrock that take a prompt and give a text: Amazon Titan, Meta Llama, Mistral, AI21, Cohere Command; and those
//! that say `choices`, as OpenAI does. Embeddings and pictures of these makers are counted.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::super::dialect::{DeltaKind, Merge, Out, Piece, Target, say_of};
use super::super::functions;
use super::super::json;
use super::super::model::{Choice, Message, Part, Request, Response, Usage};
use super::super::openai;
use super::super::parts;
use super::super::rest::{Leftovers, Rest};

/// The lists of answers, by the name of the list and of the text in each.
const LISTS: &[(&str, &[&str])] = &[
    ("choices", &["message", "content"]),
    ("completions", &["data", "text"]),
    ("generations", &["text"]),
    ("outputs", &["text"]),
    ("results", &["outputText"]),
];
/// Names of counts that stand in the answer itself.
const COUNTS: &[&str] = &[
    "generation_token_count",
    "inputTextTokenCount",
    "prompt_token_count",
];
/// Names of why an answer ended.
const REASONS: &[&str] = &[
    "completionReason",
    "finishReason",
    "finish_reason",
    "stop_reason",
];

pub(super) fn request(target: &Target, body: &Value) -> Request {
    let mut fields = Rest::of(body);
    let mut request = Request {
        model: target.model.clone(),
        ..Request::default()
    };
    for name in ["prompt", "inputText"] {
        if let Some(prompt) = fields.text(name) {
            request.messages.push(user(parts::text(prompt)));
        }
    }
    if let Some(image) = fields.text("inputImage") {
        let image = parts::blob("image", None, image);
        request.messages.push(user(image));
    }
    let prompts = fields.list("text_prompts").unwrap_or_default();
    let prompts = prompts
        .iter()
        .filter_map(|prompt| json::text_at(prompt, &["text"]));
    let prompts = prompts.map(|prompt| user(parts::text(prompt)));
    request.messages.extend(prompts);
    let messages = fields.list("messages").unwrap_or_default();
    request.messages.extend(messages.iter().map(message));
    let tools = fields.list("tools").unwrap_or_default();
    request.tools = tools.iter().map(functions::tool).collect();
    request.parameters = fields.left_with_empty();
    request
}

fn user(part: Part) -> Message {
    Message::new("user", vec![part])
}

/// A message in OpenAI's words.
fn message(value: &Value) -> Message {
    let mut fields = Rest::of(value);
    let role = fields.text("role").unwrap_or("assistant");
    let mut parts_said = Vec::new();
    for name in ["reasoning_content", "reasoning"] {
        if let Some(content) = fields.string(name) {
            parts_said.push(Part::Reasoning {
                content,
                encrypted: false,
            });
        }
    }
    let answered = fields.string("tool_call_id");
    match fields.take("content") {
        Some(response) if role == "tool" => parts_said.push(Part::ToolCallResponse {
            id: answered,
            name: fields.string("name"),
            response: response.clone(),
            is_error: false,
        }),
        Some(Value::Array(blocks)) => parts_said.extend(blocks.iter().map(content)),
        Some(Value::String(text)) if !text.is_empty() => parts_said.push(parts::text(text)),
        _ => {}
    }
    let calls = fields.list("tool_calls").unwrap_or_default();
    parts_said.extend(calls.iter().map(functions::call));
    Message::new(role, parts_said)
}

fn content(block: &Value) -> Part {
    match json::text_at(block, &["text"]) {
        Some(text) => parts::text(text),
        None => match json::text_at(block, &["image_url", "url"]) {
            Some(url) => parts::media("image", None, url),
            None => json::generic(block, "content"),
        },
    }
}

pub(super) fn response(body: &Value) -> Response {
    let mut fields = Rest::of(body);
    let mut response = Response {
        id: fields.string("id"),
        model: fields.string("model"),
        is_complete: true,
        ..Response::default()
    };
    let usage = fields.take("usage");
    response.usage = usage
        .and_then(|usage| match usage.get("prompt_tokens") {
            Some(_) => openai::counted(usage),
            None => counted(usage, usage),
        })
        .or_else(|| counted(body, &Value::Null));
    fields.skip(COUNTS);
    fields.skip(&["object"]);
    if let Some(text) = fields.text("generation").or_else(|| fields.text("text")) {
        let reasons = REASONS.iter();
        let reason = reasons.copied().find_map(|name| fields.string(name));
        response
            .choices
            .push(choice(0, vec![parts::text(text)], reason));
    }
    for (list, way) in LISTS {
        let mut more = Leftovers::default();
        for (index, one) in fields.list(list).unwrap_or_default().iter().enumerate() {
            let choice = choice_of(index as u64, one, way);
            let mut rest = Rest::of(one);
            rest.skip(&[
                "data",
                "index",
                "message",
                "outputText",
                "text",
                "tokenCount",
            ]);
            rest.skip(REASONS);
            more.add(choice.index, rest.left());
            response.choices.push(choice);
        }
        fields.keep(list, more);
    }
    let vectors = fields.take("embedding").map(|_| 1);
    let pictures = ["images", "artifacts"]
        .into_iter()
        .find_map(|name| fields.list(name));
    response.results = vectors.or(pictures.map(|list| list.len() as u64));
    fields.skip(&["embeddingsByType"]);
    response.extra = fields.left();
    response
}

fn choice(index: u64, parts: Vec<Part>, finish_reason: Option<String>) -> Choice {
    Choice {
        index,
        message: Message::new("assistant", parts),
        finish_reason,
    }
}

fn choice_of(position: u64, one: &Value, way: &[&str]) -> Choice {
    let index = json::count(one, "index").unwrap_or(position);
    let word = |name: &&str| match one.get(*name)? {
        Value::String(word) => Some(word.clone()),
        // AI21 says `{"reason": …}`.
        other => json::text_at(other, &["reason"]).map(str::to_owned),
    };
    let reason = REASONS.iter().find_map(word);
    match one.get("message") {
        Some(said) => Choice {
            index,
            message: message(said),
            finish_reason: reason,
        },
        None => {
            let text = json::text_at(one, way).or_else(|| json::text_at(one, &["text"]));
            choice(index, text.map(parts::text).into_iter().collect(), reason)
        }
    }
}

/// Tokens, by whichever names there are; reported is the object they are in, or only they.
fn counted(place: &Value, reported: &Value) -> Option<Usage> {
    let count = |names: &[&str]| names.iter().find_map(|name| json::count(place, name));
    let results = place.get("results").and_then(Value::as_array);
    let results = results.into_iter().flatten();
    let of_each: Vec<_> = results
        .clone()
        .map(|one| json::count(one, "tokenCount"))
        .collect();
    let input = count(&[
        "inputTextTokenCount",
        "prompt_token_count",
        "prompt_tokens",
        "input_tokens",
    ]);
    let output = count(&[
        "generation_token_count",
        "completion_tokens",
        "output_tokens",
    ]);
    let output = output.or_else(|| json::sum(&of_each));
    if input.is_none() && output.is_none() {
        return None;
    }
    let mut names = Map::new();
    for name in COUNTS {
        names.extend(
            place
                .get(*name)
                .map(|value| ((*name).to_owned(), value.clone())),
        );
    }
    let of_results: Vec<_> = results
        .filter_map(|one| one.get("tokenCount"))
        .cloned()
        .collect();
    if !of_results.is_empty() {
        names.insert("tokenCount".into(), Value::Array(of_results));
    }
    Some(Usage {
        input_tokens: input,
        output_tokens: output,
        reported: match reported {
            Value::Null => Value::Object(names),
            reported => reported.clone(),
        },
        ..Usage::default()
    })
}

/// Of one answer, in pieces.
#[derive(Default)]
pub(super) struct FlatMerge {
    whole: Map<String, Value>,
    /// The answers, by the list they are in.
    lists: BTreeMap<&'static str, BTreeMap<u64, Map<String, Value>>>,
    text: Option<(&'static str, String)>,
    ended: bool,
    held: usize,
}

impl Merge for FlatMerge {
    fn piece(&mut self, piece: &Piece<'_>, out: Out<'_>) -> bool {
        let Some(event) = piece.read::<Map<String, Value>>() else {
            return false;
        };
        self.held += piece.data().len();
        if let Some(text) = event.get("outputText").and_then(Value::as_str) {
            self.titan(&event, text, out);
            return true;
        }
        let mut known = false;
        for (name, value) in &event {
            known |= self.field(name, value, out);
        }
        known
    }

    fn finish(mut self: Box<Self>) -> Response {
        for (list, answers) in self.lists {
            let answers = answers.into_values().map(Value::Object).collect();
            self.whole.insert(list.to_owned(), Value::Array(answers));
        }
        if let Some((name, text)) = self.text {
            self.whole.insert(name.to_owned(), text.into());
        }
        let response = match self.whole.is_empty() {
            true => Response::default(),
            false => response(&Value::Object(self.whole)),
        };
        response.streamed(self.ended, None)
    }

    fn held(&self) -> usize {
        self.held
    }
}

impl FlatMerge {
    /// Titan's pieces have other names than its whole answers.
    fn titan(&mut self, event: &Map<String, Value>, text: &str, out: Out<'_>) {
        let index = event.get("index").and_then(json::whole).unwrap_or_default();
        let result = self
            .lists
            .entry("results")
            .or_default()
            .entry(index)
            .or_default();
        json::append(result, "outputText", text);
        say_of(index, 0, DeltaKind::Text(text.to_owned()), out);
        for (name, value) in event.iter().filter(|(_, value)| !value.is_null()) {
            match (name.as_str(), value) {
                ("outputText" | "index" | "amazon-bedrock-invocationMetrics", _) => {}
                ("completionReason", Value::String(reason)) => {
                    self.ended = true;
                    result.insert(name.clone(), value.clone());
                    say_of(index, 0, DeltaKind::Finish(reason.clone()), out);
                }
                ("totalOutputTextTokenCount", value) => {
                    self.ended = true;
                    result.insert("tokenCount".into(), value.clone());
                }
                _ => {
                    self.whole.insert(name.clone(), value.clone());
                }
            }
        }
        if event.contains_key("amazon-bedrock-invocationMetrics") {
            self.ended = true;
        }
    }

    fn field(&mut self, name: &str, value: &Value, out: Out<'_>) -> bool {
        let list = LISTS.iter().find(|(list, _)| *list == name);
        match (name, value) {
            (_, Value::Array(answers)) if list.is_some() => {
                let list = list.map_or("choices", |(list, _)| list);
                for (position, one) in answers.iter().enumerate() {
                    self.answer(list, position as u64, one, out);
                }
                return !answers.is_empty();
            }
            ("generation" | "text", Value::String(more)) => {
                let name = if name == "text" { "text" } else { "generation" };
                let (_, text) = self.text.get_or_insert((name, String::new()));
                text.push_str(more);
                say_of(0, 0, DeltaKind::Text(more.clone()), out);
            }
            ("finish_reason" | "stop_reason", Value::String(reason)) => {
                self.ended = true;
                self.whole.insert(name.to_owned(), value.clone());
                say_of(0, 0, DeltaKind::Finish(reason.clone()), out);
            }
            ("amazon-bedrock-invocationMetrics", _) => self.ended = true,
            ("is_finished" | "object", _) | (_, Value::Null) => return false,
            _ => {
                self.whole.insert(name.to_owned(), value.clone());
                return false;
            }
        }
        true
    }

    fn answer(&mut self, list: &'static str, position: u64, one: &Value, out: Out<'_>) {
        let index = json::count(one, "index").unwrap_or(position);
        let answers = self.lists.entry(list).or_default();
        let answer = answers.entry(index).or_default();
        for (name, value) in one.as_object().into_iter().flatten() {
            match (name.as_str(), value) {
                (_, Value::Null) => {}
                ("delta" | "message", Value::Object(more)) => {
                    let said = answer.entry("message").or_insert_with(|| json!({}));
                    if let Value::Object(said) = said {
                        grow(said, more, index, out);
                    }
                }
                ("text", Value::String(more)) => {
                    json::append(answer, name, more);
                    say_of(index, 0, DeltaKind::Text(more.clone()), out);
                }
                (name, Value::String(reason)) if REASONS.contains(&name) => {
                    self.ended = true;
                    answer.insert(name.to_owned(), value.clone());
                    say_of(index, 0, DeltaKind::Finish(reason.clone()), out);
                }
                _ => {
                    answer.insert(name.clone(), value.clone());
                }
            }
        }
    }
}

/// More of a message in OpenAI's words.
fn grow(said: &mut Map<String, Value>, more: &Map<String, Value>, choice: u64, out: Out<'_>) {
    for (name, value) in more {
        match (name.as_str(), value) {
            ("content", Value::String(more)) => {
                json::append(said, name, more);
                say_of(choice, 0, DeltaKind::Text(more.clone()), out);
            }
            ("reasoning" | "reasoning_content", Value::String(more)) => {
                json::append(said, name, more);
                say_of(choice, 0, DeltaKind::Reasoning(more.clone()), out);
            }
            ("tool_calls", Value::Array(calls)) => {
                for call in calls {
                    grow_call(said, call);
                }
            }
            (_, Value::Null) => {}
            _ => {
                said.insert(name.clone(), value.clone());
            }
        }
    }
}

/// A call's number and name come first, and its arguments as pieces of text.
fn grow_call(said: &mut Map<String, Value>, more: &Value) {
    let index = json::count(more, "index");
    let Some(Value::Array(calls)) = said.get_mut("tool_calls") else {
        json::push(said, "tool_calls", more.clone());
        return;
    };
    // Calls come in order. One that is not where its index says is a new one.
    let at = index.and_then(|index| usize::try_from(index).ok());
    let known = at.and_then(|at| calls.get_mut(at));
    let known = known.filter(|known| json::count(known, "index") == index);
    let Some(known) = known else {
        calls.push(more.clone());
        return;
    };
    let arguments = json::text_at(more, &["function", "arguments"]).unwrap_or_default();
    if let Some(Value::Object(function)) = known.get_mut("function") {
        json::append(function, "arguments", arguments);
    }
}
