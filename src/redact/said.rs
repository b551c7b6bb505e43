//! Secrets out of what was said: heads, bodies, events, questions and answers.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::{Redactor, TextKey};
use crate::dialog::said::{Body, CallReport, Said, What};
use crate::proto::Fields;
use crate::semantics::dialect::DeltaKind;
use crate::semantics::walk::Visitor;
use crate::semantics::{Delta, Part};

/// What a text of a part is told as.
type Kind = fn(String) -> DeltaKind;

/// By connection, exchange and choice: the part whose text came last.
pub type Speaking = HashMap<(u64, u64, u64), (u64, Kind)>;

/// Answers of which that is known at a time.
const SPEAKING_MAX: usize = 1 << 14;

impl Redactor {
    /// Masks the secrets in something that was said. It may become several: what was held back of a text comes before what
    /// ends it.
    pub fn said(&mut self, said: Said) -> Vec<Said> {
        let sent = self.pen.masked;
        let all = self.mask_said(said);
        self.masked_in_said += self.pen.masked - sent;
        self.pen.masked = sent;
        all
    }

    fn mask_said(&mut self, mut said: Said) -> Vec<Said> {
        let place = (said.origin.conn.0, said.exchange.0);
        let mut before = Vec::new();
        match &mut said.what {
            What::Asked(asked) => {
                asked.call.visit(self);
                asked.authority.iter_mut().for_each(|of| self.authority(of));
            }
            What::Call(report) => {
                before = self.held_back(place, report);
                self.report(report);
            }
            What::Delta { call, delta } => {
                let ended = self.ended_before(place, delta);
                let call = *call;
                before.extend(ended.map(|delta| What::Delta { call, delta }));
                self.delta(place, delta);
            }
            What::Event(event) => {
                self.text(&mut event.data);
                self.texts([&mut event.event, &mut event.id]);
            }
            What::Mcp(message) => message.visit(self),
            What::Request(request) => {
                if let Some(target) = &mut request.target {
                    self.target(target);
                }
                if let Some(authority) = &mut request.authority {
                    self.authority(authority);
                }
                self.texts([&mut request.method]);
                self.fields(&mut request.fields);
                self.fields(&mut request.trailers);
                self.body(&mut request.body);
            }
            What::Response(response) => {
                self.fields(&mut response.fields);
                self.fields(&mut response.trailers);
                self.body(&mut response.body);
            }
            What::WebSocket(message) => self.bytes(&mut message.bytes),
        }
        let mut all: Vec<Said> = before
            .into_iter()
            .map(|what| Said {
                what,
                ..said.clone()
            })
            .collect();
        all.push(said);
        all
    }

    fn fields(&mut self, fields: &mut Fields) {
        for field in &mut fields.0 {
            match &mut field.value {
                // HTTP/2 has the request's target and host among its fields.
                Some(value) if field.name == ":path" => self.target(value),
                Some(value) if field.name == ":authority" => self.authority(value),
                Some(value) => self.field(&field.name, value),
                None => {}
            }
        }
    }

    fn texts<'t>(&mut self, texts: impl IntoIterator<Item = &'t mut Option<String>>) {
        for text in texts.into_iter().flatten() {
            Self::text(self, text);
        }
    }

    fn body(&mut self, body: &mut Body) {
        self.bytes(&mut body.bytes);
    }

    fn bytes(&mut self, bytes: &mut Vec<u8>) {
        match String::from_utf8(std::mem::take(bytes)) {
            Ok(mut text) => {
                self.text(&mut text);
                *bytes = text.into_bytes();
            }
            // What is binary has no names to go by; keys have their shape all the same.
            Err(error) => {
                let mut text = std::borrow::Cow::Owned(error.into_bytes());
                let key = (u64::MAX, crate::event::Direction::Write);
                self.mask(key, 0, &mut text);
                self.forget(u64::MAX);
                *bytes = text.into_owned();
            }
        }
    }

    fn report(&mut self, report: &mut CallReport) {
        report.call.visit(self);
        if let Some(authority) = &mut report.authority {
            self.authority(authority);
        }
        self.texts([&mut report.error]);
        let answer = report.call.response.as_mut();
        if let Some(usage) = answer.and_then(|answer| answer.usage.as_mut()) {
            Self::json(self, &mut usage.reported);
        }
        let results = report.thread.iter_mut();
        for result in results.flat_map(|place| &mut place.tool_results) {
            Self::text(self, &mut result.name);
            self.texts([&mut result.id]);
        }
    }

    fn delta(&mut self, (conn, exchange): (u64, u64), delta: &mut Delta) {
        let key = TextKey {
            conn,
            exchange,
            choice: delta.choice,
            part: delta.part,
        };
        match &mut delta.kind {
            DeltaKind::Reasoning(text) | DeltaKind::Text(text) | DeltaKind::ToolArguments(text) => {
                self.stream_text(key, text);
            }
            DeltaKind::Finish(reason) => Self::text(self, reason),
            DeltaKind::ToolCall { id, name } => {
                Self::text(self, name);
                self.texts([id]);
            }
        }
    }

    /// What was held back of the part before, if another part of the answer begins now, or nothing more comes.
    fn ended_before(&mut self, (conn, exchange): (u64, u64), delta: &Delta) -> Option<Delta> {
        let kind: Option<Kind> = match &delta.kind {
            DeltaKind::Finish(_) | DeltaKind::ToolCall { .. } => None,
            DeltaKind::Reasoning(_) => Some(DeltaKind::Reasoning),
            DeltaKind::Text(_) => Some(DeltaKind::Text),
            DeltaKind::ToolArguments(_) => Some(DeltaKind::ToolArguments),
        };
        let choice = delta.choice;
        let place = (conn, exchange, choice);
        if self.speaking.len() >= SPEAKING_MAX {
            self.speaking.clear();
        }
        let before = match kind {
            Some(kind) => self.speaking.insert(place, (delta.part, kind)),
            None => self.speaking.remove(&place),
        };
        let is_same = |part: u64| kind.is_some() && part == delta.part;
        let (part, kind) = before.filter(|(part, _)| !is_same(*part))?;
        let text = self.let_go(TextKey {
            conn,
            exchange,
            choice,
            part,
        });
        let kind = kind(text);
        let is_empty = matches!(&kind, DeltaKind::Reasoning(text) | DeltaKind::Text(text)
            | DeltaKind::ToolArguments(text) if text.is_empty());
        (!is_empty).then_some(Delta { choice, part, kind })
    }

    /// What was held back of the texts of a call that has ended.
    fn held_back(&mut self, (conn, exchange): (u64, u64), report: &CallReport) -> Vec<What> {
        let mut deltas = Vec::new();
        let choices = report
            .call
            .response
            .iter()
            .flat_map(|answer| &answer.choices);
        for choice in choices {
            self.speaking.remove(&(conn, exchange, choice.index));
            for (part, content) in choice.message.parts.iter().enumerate() {
                let part = part as u64;
                let key = TextKey {
                    conn,
                    exchange,
                    choice: choice.index,
                    part,
                };
                let text = self.flush(key);
                if text.is_empty() {
                    continue;
                }
                let kind = match content {
                    Part::Reasoning { .. } => DeltaKind::Reasoning(text),
                    Part::ToolCall { .. } | Part::ServerToolCall { .. } => {
                        DeltaKind::ToolArguments(text)
                    }
                    _ => DeltaKind::Text(text),
                };
                let delta = Delta {
                    choice: choice.index,
                    part,
                    kind,
                };
                let call = report.name;
                deltas.push(What::Delta { call, delta });
            }
        }
        deltas
    }
}

impl Visitor for Redactor {
    fn name(&mut self, name: &mut String) {
        Self::text(self, name);
    }

    fn object(&mut self, fields: &mut Map<String, Value>) {
        Self::object(self, fields);
    }

    fn text(&mut self, text: &mut String) {
        Self::text(self, text);
    }

    fn json(&mut self, value: &mut Value) {
        Self::json(self, value);
    }
}
