//! What is compared: the plain facts of a call, as our code tells them and as paths into the recorded JSON do.

use std::collections::BTreeMap;

use agentsight::semantics::{Call, DeltaKind, Message, Part};
use serde_json::Value;

use crate::Told;

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
    /// As our code tells them.
    pub fn of(call: &Call) -> Self {
        let request = &call.request;
        let mut facts = Self {
            provider: call.provider.clone(),
            operation: serde_json::to_value(call.operation)
                .unwrap()
                .as_str()
                .unwrap()
                .to_owned(),
            model_asked: request.model.clone(),
            stream: request.stream,
            system: request.system.iter().filter_map(text).collect(),
            tools: request.tools.iter().map(|tool| tool.name.clone()).collect(),
            ..Self::default()
        };
        for message in &request.messages {
            facts.message(message);
        }
        if let Some(response) = &call.response {
            facts.id = response.id.clone();
            facts.model = response.model.clone();
            for choice in &response.choices {
                let said = said(&choice.message, choice.finish_reason.clone());
                facts.said.insert(choice.index, said);
            }
            facts.results = response.results;
            facts.usage = response.usage.as_ref().map(|usage| {
                [
                    usage.input_tokens,
                    usage.output_tokens,
                    usage.cache_read_tokens,
                    usage.reasoning_tokens,
                ]
            });
            facts.reported = response.usage.as_ref().map(|usage| usage.reported.clone());
            facts.error = response
                .error
                .clone()
                .map(|error| [error.kind, error.code, error.message]);
        }
        facts
    }

    fn message(&mut self, message: &Message) {
        let text: String = message.parts.iter().filter_map(text).collect();
        self.ask(&message.role, &text);
        for part in &message.parts {
            match part {
                Part::ToolCall {
                    id,
                    name,
                    arguments,
                } => {
                    self.calls_before
                        .push((id.clone(), name.clone(), arguments.clone()));
                }
                Part::ToolCallResponse { id, .. } => self.results_before.push(id.clone()),
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

fn text(part: &Part) -> Option<&str> {
    match part {
        Part::Text { content, .. } => Some(content),
        _ => None,
    }
}

fn said(message: &Message, finish: Option<String>) -> Said {
    let mut said = Said {
        finish,
        ..Said::default()
    };
    for part in &message.parts {
        match part {
            Part::Text { content, citations } => {
                said.text.push_str(content);
                said.citations += citations.len();
            }
            Part::Refusal { content } => said.refusal.push_str(content),
            Part::Reasoning { content, .. } => said.reasoning.push_str(content),
            Part::ToolCall {
                id,
                name,
                arguments,
            } => {
                said.all_names.push_str(name);
                said.calls
                    .push((id.clone(), name.clone(), arguments.clone()));
            }
            Part::ServerToolCall { name, .. } => {
                said.all_names.push_str(name);
                said.server_calls.push(name.clone());
            }
            _ => {}
        }
    }
    said
}

/// What was told as it came is what is told in the end: of each choice the text, the thoughts, the calls, the reason.
pub fn of_deltas(told: &Told) -> Vec<String> {
    if told.deltas.is_empty() {
        return Vec::new();
    }
    let mut came: BTreeMap<u64, [String; 3]> = BTreeMap::new();
    for delta in &told.deltas {
        let [text, reasoning, names] = came.entry(delta.choice).or_default();
        match &delta.kind {
            DeltaKind::Text(more) => text.push_str(more),
            DeltaKind::Reasoning(more) => reasoning.push_str(more),
            DeltaKind::ToolCall { name, .. } => names.push_str(name),
            DeltaKind::Finish(_) | DeltaKind::ToolArguments(_) => {}
        }
    }
    let mut wrong = Vec::new();
    for (index, said) in Facts::of(&told.call).said {
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
        let finish = told
            .deltas
            .iter()
            .rev()
            .find_map(|delta| match &delta.kind {
                DeltaKind::Finish(reason) if delta.choice == index => Some(reason.clone()),
                _ => None,
            });
        if finish != said.finish {
            wrong.push(format!(
                "choice {index} ended as {finish:?}, in the end {:?}",
                said.finish
            ));
        }
    }
    wrong
}
