//! The truth log: one JSON line for each exchange, by the server that knows what it meant.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Mutex;

use serde_json::{Value, json};

use super::anthropic;
use super::api::Api;
use super::fault::Fault;
use super::said::{Asked, Said, Turn};

/// Where lines go.
#[derive(Debug)]
pub struct Log(Mutex<File>);

impl Log {
    /// Starts an empty one.
    pub fn create(path: &Path) -> io::Result<Self> {
        File::create(path).map(|file| Self(Mutex::new(file)))
    }

    /// A whole line at once, before the answer goes out: who has its last byte may look for it here.
    pub fn write(&self, line: &Value) {
        let mut file = self
            .0
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        // A test that misses a line fails by itself.
        let _ = file.write_all(format!("{line}\n").as_bytes());
    }
}

/// The lines of a log up to now; one that is just being written comes with the next reading.
pub fn read(path: &Path) -> io::Result<Vec<Value>> {
    let bytes = fs::read(path)?;
    let lines = bytes.split_inclusive(|byte| *byte == b'\n');
    let whole = lines.filter(|line| line.ends_with(b"\n"));
    Ok(whole
        .map(serde_json::from_slice)
        .collect::<Result<_, _>>()?)
}

/// What is known of an exchange before its answer goes out.
pub struct Exchange<'e> {
    pub api: &'e dyn Api,
    pub turn: &'e Turn,
    pub status: u16,
    pub fault: Option<Fault>,
    /// Whether it is streamed.
    pub stream: bool,
    /// `http` or `websocket`.
    pub over: &'static str,
    /// Of a stream that breaks off or ends with an error: the texts of its whole events, by choice.
    pub sent: Option<Vec<String>>,
    /// A client warms its connection up: nothing is generated.
    pub warms: bool,
    /// The error as it is sent, and nothing else is.
    pub error: Option<Value>,
}

impl Exchange<'_> {
    /// Its line.
    pub fn line(&self) -> Value {
        let turn = self.turn;
        let is_answered = self.error.is_none();
        let response = is_answered.then(|| self.response());
        json!({
            "id": turn.id,
            "api": self.api.name(),
            "provider": self.api.provider(),
            "operation": self.api.operation(),
            "over": self.over,
            "stream": self.stream,
            "warms": self.warms,
            "model": turn.model,
            "request": request(&turn.asked),
            "response": response,
            "error": self.error,
            "status": self.status,
            "fault": self.fault.map(Fault::name),
        })
    }

    fn response(&self) -> Value {
        let turn = self.turn;
        let choices: Vec<_> = turn.choices.iter().map(|said| self.choice(said)).collect();
        let counts = self.api.counts(turn);
        let usage = if counts.is_null() {
            Value::Null
        } else {
            self.api.usage(turn)
        };
        json!({
            "id": self.api.response_id(turn),
            "choices": choices,
            "results": (turn.asked.inputs > 0).then_some(turn.asked.inputs),
            "usage": counts,
            "usage_as_sent": usage,
            "sent": self.sent,
        })
    }

    fn choice(&self, said: &Said) -> Value {
        let is_anthropic =
            self.api.name().starts_with("anthropic") || self.api.name() == "bedrock.invoke";
        let calls = said.calls.iter().map(|call| {
            json!({"id": self.api.call_id(call), "name": call.name, "arguments": call.arguments})
        });
        json!({
            "text": said.text,
            "reasoning": said.thoughts,
            "tool_calls": calls.collect::<Vec<_>>(),
            "searches": said.search.iter().map(|[words, _]| words).collect::<Vec<_>>(),
            "citations": if is_anthropic { anthropic::citations(said) } else { Vec::new() },
            "finish_reason": self.api.finish(said),
        })
    }
}

fn request(asked: &Asked) -> Value {
    json!({"system": asked.system, "messages": asked.messages, "tools": asked.tools})
}
