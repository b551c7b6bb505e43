//! Streamed runs of assistants (OpenAI's older API for agents). Only where they are streamed does an answer carry what the
//! model says; unstreamed, the client asks for the run's state and for the thread's messages later, which stays HTTP.
//!
//! Source: <https://platform.openai.com/docs/api-reference/assistants-streaming>.

use serde_json::{Map, Value};

use super::grow::{Texts, grow};
use super::{answer, claim, content, message, question};
use crate::semantics::rest::{Leftovers, Rest};
use crate::semantics::{
    Choice, Delta, DeltaKind, Dialect, Merge, Message, Operation, Part, Piece, Request,
    RequestView, Response, Target, parts,
};

/// Runs of assistants.
#[derive(Clone, Copy, Debug)]
pub struct Threads;

impl Dialect for Threads {
    fn name(&self) -> &'static str {
        "OpenAI assistants"
    }

    fn claims(&self, request: &RequestView<'_>) -> Option<Target> {
        let (_, behind) = request.path.split_once("/threads/")?;
        let segments: Vec<_> = behind.trim_end_matches('/').split('/').take(5).collect();
        if !matches!(
            segments.as_slice(),
            ["runs"] | [_, "runs"] | [_, "runs", _, "submit_tool_outputs"]
        ) {
            return None;
        }
        let is_streamed = |body: &Value| body.get("stream") == Some(&Value::Bool(true));
        request.body.filter(|body| is_streamed(body))?;
        claim::post(request, Operation::Chat, is_streamed)
    }

    fn request(&self, target: &Target, body: &Value) -> Request {
        let mut system = Vec::new();
        let request = question::read(target, body, |rest| {
            for name in ["instructions", "additional_instructions"] {
                system.extend(rest.text(name).map(parts::text));
            }
            let mut messages = messages(rest, "additional_messages");
            if let Some(mut thread) = rest.object("thread") {
                messages.extend(self::messages(&mut thread, "messages"));
                rest.keep("thread", thread.left());
            }
            messages.extend(tool_outputs(rest));
            messages
        });
        Request { system, ..request }
    }

    fn response(&self, _: &Target, status: u16, body: &Value) -> Response {
        let mut rest = answer::rest_of(body);
        let choice = choice(&mut rest, Vec::new());
        answer::finish(status, rest, choice.into_iter().collect())
    }

    fn merge(&self, _: &Target) -> Box<dyn Merge> {
        Box::new(Run::default())
    }
}

fn messages(rest: &mut Rest<'_>, name: &'static str) -> Vec<Message> {
    let mut leftovers = Leftovers::default();
    let mut messages = Vec::new();
    for (index, value) in rest.list(name).into_iter().flatten().enumerate() {
        let (message, left) = message::read(value, "user");
        messages.push(message);
        leftovers.add(index as u64, left);
    }
    rest.keep(name, leftovers);
    messages
}

fn tool_outputs(rest: &mut Rest<'_>) -> Vec<Message> {
    let mut leftovers = Leftovers::default();
    let mut messages = Vec::new();
    for (index, value) in rest.list("tool_outputs").into_iter().flatten().enumerate() {
        let mut output = Rest::of(value);
        let part = Part::ToolCallResponse {
            id: output.string("tool_call_id"),
            name: None,
            response: output.take("output").cloned().unwrap_or_default(),
            is_error: false,
        };
        messages.push(Message {
            role: "tool".to_owned(),
            name: None,
            parts: vec![part],
        });
        leftovers.add(index as u64, output.left());
    }
    rest.keep("tool_outputs", leftovers);
    messages
}

/// What a run says: its messages and steps, then the calls that it waits for.
fn choice(run: &mut Rest<'_>, said: Vec<Part>) -> Option<Choice> {
    run.skip(&answer::OF_ONE_FORM);
    let status = run.string("status")?;
    let mut parts = said;
    if let Some(mut action) = run.object("required_action") {
        if let Some(mut outputs) = action.object("submit_tool_outputs") {
            let calls = outputs.take("tool_calls").cloned().unwrap_or_default();
            let calls = Value::Object(Map::from_iter([("tool_calls".to_owned(), calls)]));
            let (message, left) = message::read(&calls, "assistant");
            parts.extend(message.parts);
            outputs.keep("tool_calls", left);
            action.keep("submit_tool_outputs", outputs.left());
        }
        run.keep("required_action", action.left());
    }
    let is_open = ["queued", "in_progress", "cancelling"].contains(&status.as_str());
    Some(Choice {
        index: 0,
        message: Message {
            role: "assistant".to_owned(),
            name: None,
            parts,
        },
        finish_reason: Some(status).filter(|_| !is_open),
    })
}

/// A message or a step of a run, as far as it has grown.
#[derive(Debug)]
struct Piecemeal {
    id: String,
    part: u64,
    members: Map<String, Value>,
}

/// A streamed run.
#[derive(Debug, Default)]
struct Run {
    run: Map<String, Value>,
    said: Vec<Piecemeal>,
    parts: u64,
    error: Option<Value>,
    is_done: bool,
    is_damaged: bool,
    held: usize,
}

impl Run {
    fn event(
        &mut self,
        kind: &str,
        mut event: Map<String, Value>,
        out: &mut dyn FnMut(Delta),
    ) -> bool {
        match kind {
            "error" => {
                self.error = Some(event.remove("error").unwrap_or(Value::Object(event)));
            }
            "thread.message.delta" | "thread.run.step.delta" => self.grow(event, out),
            kind if kind.starts_with("thread.run.step.") => self.whole(event, "step_details"),
            kind if kind.starts_with("thread.message.") => self.whole(event, "content"),
            kind if kind.starts_with("thread.run.") => self.state(event, out),
            kind => return kind.starts_with("thread."),
        }
        true
    }

    fn state(&mut self, run: Map<String, Value>, out: &mut dyn FnMut(Delta)) {
        let status = run
            .get("status")
            .and_then(Value::as_str)
            .unwrap_or_default();
        if !["", "queued", "in_progress", "cancelling"].contains(&status) {
            self.is_done = true;
            out(Delta {
                choice: 0,
                part: self.parts.saturating_sub(1),
                kind: DeltaKind::Finish(status.to_owned()),
            });
        }
        self.run = run;
    }

    fn piecemeal(&mut self, event: &Map<String, Value>) -> Option<&mut Piecemeal> {
        let id = event.get("id")?.as_str()?;
        // What grows is among the latest; a search of all would be quadratic.
        let recent = self.said.len().saturating_sub(8);
        let behind = self.said.iter().skip(recent);
        let place = behind.map(|one| one.id.as_str()).position(|one| one == id);
        let place = match place {
            Some(place) => recent + place,
            None => {
                let part = self.parts;
                self.parts += 1;
                self.said.push(Piecemeal {
                    id: id.to_owned(),
                    part,
                    members: Map::new(),
                });
                self.said.len() - 1
            }
        };
        self.said.get_mut(place)
    }

    fn whole(&mut self, mut event: Map<String, Value>, name: &str) {
        let whole = event.remove(name);
        if let Some(said) = self.piecemeal(&event)
            && let Some(whole) = whole
        {
            said.members.insert(name.to_owned(), whole);
        }
    }

    fn grow(&mut self, mut event: Map<String, Value>, out: &mut dyn FnMut(Delta)) {
        let Some(Value::Object(delta)) = event.remove("delta") else {
            return;
        };
        let Some(said) = self.piecemeal(&event) else {
            return;
        };
        for content in delta
            .get("content")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let text = content.pointer("/text/value").and_then(Value::as_str);
            if let Some(text) = text.filter(|text| !text.is_empty()) {
                out(Delta {
                    choice: 0,
                    part: said.part,
                    kind: DeltaKind::Text(text.to_owned()),
                });
            }
        }
        grow(&mut said.members, delta, Texts::GoOn);
    }
}

impl Merge for Run {
    fn piece(&mut self, piece: &Piece<'_>, out: &mut dyn FnMut(Delta)) -> bool {
        let Piece::Sse { event, data } = piece else {
            return false;
        };
        if data.trim() == "[DONE]" {
            self.is_done = true;
            return true;
        }
        let Ok(Value::Object(members)) = serde_json::from_str(data) else {
            self.is_damaged = true;
            return false;
        };
        self.held += data.len();
        self.event(event.unwrap_or_default(), members, out)
    }

    fn finish(self: Box<Self>) -> Response {
        let is_complete = self.is_done && !self.is_damaged && self.error.is_none();
        let mut said = Vec::new();
        for one in &self.said {
            read(&one.members, &mut said);
        }
        let mut run = self.run;
        if let Some(error) = self.error {
            run.insert("error".to_owned(), error);
        }
        let run = Value::Object(run);
        let mut rest = answer::rest_of(&run);
        let choice = choice(&mut rest, said);
        Response {
            is_complete,
            ..answer::finish(200, rest, choice.into_iter().collect())
        }
    }

    fn held(&self) -> usize {
        self.held
    }
}

fn read(members: &Map<String, Value>, into: &mut Vec<Part>) {
    for element in members
        .get("content")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        into.push(part(element));
    }
    let calls = members
        .get("step_details")
        .and_then(|details| details.get("tool_calls")?.as_array());
    for call in calls.into_iter().flatten() {
        server_call(call, into);
    }
}

fn part(element: &Value) -> Part {
    let kind = element.get("type").and_then(Value::as_str);
    let text = element.pointer("/text/value").and_then(Value::as_str);
    let file = element
        .pointer("/image_file/file_id")
        .and_then(Value::as_str);
    match (text, file) {
        (Some(text), _) => {
            let citations = element
                .pointer("/text/annotations")
                .and_then(Value::as_array);
            Part::Text {
                content: text.to_owned(),
                citations: citations.cloned().unwrap_or_default(),
            }
        }
        (None, Some(file)) => Part::File {
            file_id: file.to_owned(),
        },
        _ => content::unknown(kind, element),
    }
}

/// A step of a tool that OpenAI runs. Calls of functions are what the run waits for, and told there.
fn server_call(call: &Value, into: &mut Vec<Part>) {
    let kind = call.get("type").and_then(Value::as_str).unwrap_or_default();
    let Some(inner) = call.get(kind).filter(|_| kind != "function") else {
        return;
    };
    let id = call.get("id").and_then(Value::as_str).map(str::to_owned);
    let mut arguments = inner.as_object().cloned().unwrap_or_default();
    let outputs = arguments
        .remove("outputs")
        .or_else(|| arguments.remove("results"));
    into.push(Part::ServerToolCall {
        id: id.clone(),
        name: kind.to_owned(),
        arguments: Value::Object(arguments),
    });
    if let Some(response) = outputs.filter(|outputs| !crate::semantics::rest::is_nothing(outputs)) {
        into.push(Part::ServerToolCallResponse {
            id,
            response: parts::without_data(&response),
            is_error: false,
        });
    }
}
