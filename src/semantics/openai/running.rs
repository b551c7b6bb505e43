//! An item of a streamed response while it grows, until the event that has all of it.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::item;
use crate::semantics::{DeltaKind, Part};

/// What of an item an event adds to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Growth {
    /// The arguments of a call.
    Arguments,
    /// The code of an interpreter.
    Code,
    /// One of the commands for a shell.
    Command,
    /// What is said to a tool in free text.
    Input,
    /// Words of declining.
    Refusal,
    /// A summary of thoughts.
    Summary,
    /// Text.
    Text,
    /// Thoughts.
    Thought,
}

impl Growth {
    /// By the event's type; `None`: it is no such event.
    pub fn of(kind: &str) -> Option<Self> {
        Some(match kind {
            "response.output_text.delta" => Self::Text,
            "response.refusal.delta" => Self::Refusal,
            "response.function_call_arguments.delta" | "response.mcp_call_arguments.delta" => {
                Self::Arguments
            }
            "response.custom_tool_call_input.delta" => Self::Input,
            "response.code_interpreter_call_code.delta" => Self::Code,
            "response.shell_call_command.delta" => Self::Command,
            "response.reasoning_summary_text.delta" => Self::Summary,
            "response.reasoning_text.delta" => Self::Thought,
            _ => return None,
        })
    }

    /// As it is told.
    pub fn delta(self, text: String) -> Option<DeltaKind> {
        if text.is_empty() {
            return None;
        }
        Some(match self {
            Self::Arguments | Self::Code | Self::Command | Self::Input => {
                DeltaKind::ToolArguments(text)
            }
            Self::Refusal | Self::Text => DeltaKind::Text(text),
            Self::Summary | Self::Thought => DeltaKind::Reasoning(text),
        })
    }
}

/// An item that grows.
#[derive(Debug, Default)]
pub struct Running {
    first_part: u64,
    /// Counted once: what comes late does not move those behind.
    parts: Option<u64>,
    begun: Map<String, Value>,
    done: Option<Value>,
    grown: BTreeMap<(Growth, u64), String>,
    annotations: BTreeMap<u64, Vec<Value>>,
}

impl Running {
    /// Whose parts begin at this number.
    pub fn new(first_part: u64) -> Self {
        Self {
            first_part,
            ..Self::default()
        }
    }

    /// The number of its first part.
    pub fn first_part(&self) -> u64 {
        self.first_part
    }

    /// The number behind its last part, as far as it has grown.
    pub fn next_part(&mut self) -> u64 {
        if self.parts.is_none() {
            let parts = match &self.done {
                Some(done) => item::answered(done).parts.len(),
                None => item::answered(&self.value()).parts.len(),
            };
            self.parts = Some(parts as u64);
        }
        self.first_part
            .saturating_add(self.parts.unwrap_or_default())
    }

    /// It begins, perhaps as a call.
    pub fn begin(&mut self, item: Value) -> Option<DeltaKind> {
        let call = match item::answered(&item).parts.into_iter().next() {
            Some(Part::ToolCall { id, name, .. } | Part::ServerToolCall { id, name, .. }) => {
                Some(DeltaKind::ToolCall { id, name })
            }
            _ => None,
        };
        if let Value::Object(item) = item {
            self.begun = item;
        }
        call
    }

    /// All of it.
    pub fn done(&mut self, item: Value) {
        if item.is_object() {
            self.done = Some(item);
            self.grown.clear();
            self.annotations.clear();
        }
    }

    /// More of one of its texts; returns the number of the part.
    pub fn grow(&mut self, growth: Growth, index: u64, text: &str) -> u64 {
        let within = match growth {
            Growth::Refusal | Growth::Summary | Growth::Text => index,
            Growth::Thought => {
                let summaries = self.grown.range((Growth::Summary, 0)..(Growth::Text, 0));
                index.saturating_add(summaries.count() as u64)
            }
            _ => 0,
        };
        if self.done.is_none() {
            self.grown
                .entry((growth, index))
                .or_default()
                .push_str(text);
        }
        self.first_part.saturating_add(within)
    }

    /// A source of one of its texts.
    pub fn annotate(&mut self, index: u64, annotation: Value) {
        if self.done.is_none() {
            self.annotations.entry(index).or_default().push(annotation);
        }
    }

    /// As far as it has grown.
    fn value(&self) -> Value {
        let mut item = self.begun.clone();
        let mut content = BTreeMap::new();
        let mut summary = BTreeMap::new();
        let mut commands = Vec::new();
        for ((growth, index), text) in &self.grown {
            let whole = match growth {
                Growth::Arguments => ("arguments", json!(text)),
                Growth::Code => ("code", json!(text)),
                Growth::Command => {
                    commands.push(json!(text));
                    continue;
                }
                Growth::Input => ("input", json!(text)),
                Growth::Refusal => {
                    content.insert(*index, json!({"type": "refusal", "refusal": text}));
                    continue;
                }
                Growth::Summary => {
                    summary.insert(*index, json!({"type": "summary_text", "text": text}));
                    continue;
                }
                Growth::Text => {
                    let annotations = self.annotations.get(index);
                    let text =
                        json!({"type": "output_text", "text": text, "annotations": annotations});
                    content.insert(*index, text);
                    continue;
                }
                Growth::Thought => {
                    content.insert(*index, json!({"type": "reasoning_text", "text": text}));
                    continue;
                }
            };
            item.insert(whole.0.to_owned(), whole.1);
        }
        for (name, list) in [("content", content), ("summary", summary)] {
            if !list.is_empty() {
                item.insert(name.to_owned(), list.into_values().collect());
            }
        }
        if !commands.is_empty() {
            item.insert("action".to_owned(), json!({"commands": commands}));
        }
        if !item.contains_key("type") {
            let is_thought = item.contains_key("summary");
            let kind = if is_thought { "reasoning" } else { "message" };
            item.insert("type".to_owned(), kind.into());
        }
        Value::Object(item)
    }

    /// All of it, or as far as it has grown.
    pub fn into_value(mut self) -> Value {
        match self.done.take() {
            Some(done) => done,
            None => self.value(),
        }
    }
}
