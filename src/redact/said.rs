//! Secrets out of what was said: heads, bodies, events, questions and answers.

use serde_json::Value;

use super::{Redactor, TextKey};
use crate::dialog::said::{Body, CallReport, Said, What};
use crate::proto::Fields;
use crate::semantics::dialect::DeltaKind;
use crate::semantics::walk::Visitor;
use crate::semantics::{Delta, Part};

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
            What::Asked(asked) => asked.call.visit(self),
            What::Call(report) => {
                before = self.held_back(place, report);
                self.report(report);
            }
            What::Delta { delta, .. } => self.delta(place, delta),
            What::Event(event) => self.text(&mut event.data),
            What::Mcp(message) => message.visit(self),
            What::Request(request) => {
                if let Some(target) = &mut request.target {
                    self.target(target);
                }
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
            if let Some(value) = &mut field.value {
                self.field(&field.name, value);
            }
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
        if let Some(error) = &mut report.error {
            self.text(error);
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
            DeltaKind::Finish(_) | DeltaKind::ToolCall { .. } => {}
        }
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
    fn text(&mut self, text: &mut String) {
        Self::text(self, text);
    }

    fn json(&mut self, value: &mut Value) {
        Self::json(self, value);
    }
}
