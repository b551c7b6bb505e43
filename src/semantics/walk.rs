//! Every text of a call, for those who change texts: masking, and leaving them out.

use serde_json::Value;

use super::mcp::McpMessage;
use super::model::{Call, Message, Part, Request, Response};

/// Changes texts.
pub trait Visitor {
    /// A text for people or models.
    fn text(&mut self, text: &mut String);

    /// JSON with texts inside.
    fn json(&mut self, value: &mut Value);
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
            if let Some(text) = &mut tool.description {
                visitor.text(text);
            }
            if let Some(schema) = &mut tool.parameters {
                visitor.json(schema);
            }
        }
        for value in self.parameters.values_mut() {
            visitor.json(value);
        }
    }
}

impl Response {
    fn visit(&mut self, visitor: &mut dyn Visitor) {
        for choice in &mut self.choices {
            choice.message.visit(visitor);
        }
        for value in self.extra.values_mut() {
            visitor.json(value);
        }
        if let Some(text) = self.error.as_mut().and_then(|error| error.message.as_mut()) {
            visitor.text(text);
        }
    }
}

impl Message {
    fn visit(&mut self, visitor: &mut dyn Visitor) {
        for part in &mut self.parts {
            part.visit(visitor);
        }
    }
}

impl Part {
    fn visit(&mut self, visitor: &mut dyn Visitor) {
        match self {
            Self::Blob { .. } | Self::File { .. } => {}
            Self::Generic { content, .. } => {
                for value in content.values_mut() {
                    visitor.json(value);
                }
            }
            Self::Reasoning { content, .. } | Self::Refusal { content } => visitor.text(content),
            Self::ServerToolCall { arguments, .. } | Self::ToolCall { arguments, .. } => {
                visitor.json(arguments);
            }
            Self::ServerToolCallResponse { response, .. }
            | Self::ToolCallResponse { response, .. } => visitor.json(response),
            Self::Text { content, citations } => {
                visitor.text(content);
                for citation in citations {
                    visitor.json(citation);
                }
            }
            Self::Uri { uri, .. } => visitor.text(uri),
        }
    }
}
