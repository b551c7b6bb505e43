//! Every text of a call, for those who change texts: masking, and leaving them out.

use serde_json::{Map, Value};

use super::mcp::McpMessage;
use super::model::{Call, Choice, Message, Part, ProviderError, Request, Response, Tool};

/// Changes texts.
pub trait Visitor {
    /// By what something is called: a model, a tool, a message, a reason.
    fn name(&mut self, _name: &mut String) {}

    /// The fields of an object, whose names say what they are.
    fn object(&mut self, fields: &mut Map<String, Value>) {
        fields.values_mut().for_each(|value| self.json(value));
    }

    /// A text for people or models.
    fn text(&mut self, text: &mut String);

    /// JSON with texts inside.
    fn json(&mut self, value: &mut Value);
}

fn names<'n>(names: impl IntoIterator<Item = &'n mut Option<String>>, visitor: &mut dyn Visitor) {
    for name in names.into_iter().flatten() {
        visitor.name(name);
    }
}

impl Call {
    /// Shows all texts of question and answer to a visitor.
    pub fn visit(&mut self, visitor: &mut dyn Visitor) {
        self.request.visit(visitor);
        if let Some(response) = &mut self.response {
            response.visit(visitor);
        }
    }
}

impl McpMessage {
    /// Shows all texts of a message to a visitor.
    pub fn visit(&mut self, visitor: &mut dyn Visitor) {
        let content = [&mut self.params, &mut self.result, &mut self.error];
        for value in content.into_iter().flatten() {
            visitor.json(value);
        }
        if let Some(uri) = &mut self.uri {
            visitor.text(uri);
        }
        let of_message = [&mut self.method, &mut self.name];
        names(of_message, visitor);
        names([&mut self.protocol_version, &mut self.session_id], visitor);
        if let Some(Value::String(id)) = &mut self.id {
            visitor.name(id);
        }
    }
}

impl Request {
    fn visit(&mut self, visitor: &mut dyn Visitor) {
        for part in &mut self.system {
            part.visit(visitor);
        }
        for message in &mut self.messages {
            message.visit(visitor);
        }
        for tool in &mut self.tools {
            tool.visit(visitor);
        }
        visitor.object(&mut self.parameters);
        let kept = [&mut self.previous_response_id, &mut self.conversation_id];
        names(kept.into_iter().chain([&mut self.model]), visitor);
    }
}

impl Tool {
    fn visit(&mut self, visitor: &mut dyn Visitor) {
        visitor.name(&mut self.kind);
        visitor.name(&mut self.name);
        if let Some(text) = &mut self.description {
            visitor.text(text);
        }
        if let Some(schema) = &mut self.parameters {
            visitor.json(schema);
        }
    }
}

impl Response {
    fn visit(&mut self, visitor: &mut dyn Visitor) {
        for Choice {
            message,
            finish_reason,
            ..
        } in &mut self.choices
        {
            message.visit(visitor);
            names([finish_reason], visitor);
        }
        visitor.object(&mut self.extra);
        names([&mut self.id, &mut self.model], visitor);
        if let Some(ProviderError {
            kind,
            code,
            message,
        }) = &mut self.error
        {
            names([kind, code], visitor);
            if let Some(text) = message {
                visitor.text(text);
            }
        }
    }
}

impl Message {
    fn visit(&mut self, visitor: &mut dyn Visitor) {
        visitor.name(&mut self.role);
        names([&mut self.name], visitor);
        for part in &mut self.parts {
            part.visit(visitor);
        }
    }
}

impl Part {
    fn visit(&mut self, visitor: &mut dyn Visitor) {
        match self {
            Self::Blob {
                modality,
                mime_type,
                ..
            } => {
                visitor.name(modality);
                names([mime_type], visitor);
            }
            Self::File { file_id } => visitor.name(file_id),
            Self::Generic { kind, content } => {
                visitor.name(kind);
                visitor.object(content);
            }
            Self::Reasoning { content, .. } | Self::Refusal { content } => visitor.text(content),
            Self::ServerToolCall {
                id,
                name,
                arguments,
            }
            | Self::ToolCall {
                id,
                name,
                arguments,
            } => {
                names([id], visitor);
                visitor.name(name);
                visitor.json(arguments);
            }
            Self::ServerToolCallResponse { id, response, .. } => {
                names([id], visitor);
                visitor.json(response);
            }
            Self::ToolCallResponse {
                id, name, response, ..
            } => {
                names([id, name], visitor);
                visitor.json(response);
            }
            Self::Text { content, citations } => {
                visitor.text(content);
                for citation in citations {
                    visitor.json(citation);
                }
            }
            Self::Uri {
                modality,
                mime_type,
                uri,
            } => {
                visitor.name(modality);
                names([mime_type], visitor);
                visitor.text(uri);
            }
        }
    }
}
