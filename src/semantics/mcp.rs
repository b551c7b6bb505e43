//! The Model Context Protocol over HTTP (<https://modelcontextprotocol.io/specification/2025-11-25/basic/transports>): JSON-RPC
//! 2.0 messages in bodies and in the data of server-sent events. Other JSON-RPC (language servers, Ethereum) is refused:
//! only MCP's own methods, its headers, or the session that a message belongs to make it MCP.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::json;
use crate::proto::Fields;

/// Calls of one session that wait for their answers at once; beyond, the oldest is forgotten.
const PENDING_MAX: usize = 4096;

/// Methods that are MCP's alone.
const METHODS: &[&str] = &[
    "completion/complete",
    "elicitation/create",
    "logging/setLevel",
    "notifications/cancelled",
    "notifications/elicitation/complete",
    "notifications/initialized",
    "notifications/message",
    "notifications/progress",
    "notifications/prompts/list_changed",
    "notifications/resources/list_changed",
    "notifications/resources/updated",
    "notifications/roots/list_changed",
    "notifications/tasks/status",
    "notifications/tools/list_changed",
    "prompts/get",
    "prompts/list",
    "resources/list",
    "resources/read",
    "resources/subscribe",
    "resources/templates/list",
    "resources/unsubscribe",
    "roots/list",
    "sampling/createMessage",
    "tools/call",
    "tools/list",
];

/// What a message is (JSON-RPC 2.0 sections 4 and 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum McpKind {
    /// Answers a request: it could not be done.
    Error,
    /// Wants no answer.
    Notification,
    /// Wants an answer.
    Request,
    /// Answers a request.
    Response,
}

/// One message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct McpMessage {
    /// What it is.
    pub kind: McpKind,
    /// A string or a number, as sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<Value>,
    /// `tools/call`, …; of answers that of the request, if that was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The tool or prompt; of answers that of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The resource; of answers that of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uri: Option<String>,
    /// With what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<Value>,
    /// What came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// What went wrong: `code`, `message`, `data`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Value>,
    /// A tool says, in its result, that it failed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_tool_error: bool,
    /// `2025-11-25`, …: from the message, or else from the header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol_version: Option<String>,
    /// From the header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
}

/// The JSON-RPC 2.0 messages of a body, one or a batch of them; `None`: it is none. Whether they are MCP's,
/// [`McpSession::recognise`] says.
pub fn messages(body: &Value) -> Option<Vec<McpMessage>> {
    match body {
        Value::Array(batch) if !batch.is_empty() => batch.iter().map(message).collect(),
        body => Some(vec![message(body)?]),
    }
}

fn message(value: &Value) -> Option<McpMessage> {
    const NAMES: &[&str] = &["error", "id", "jsonrpc", "method", "params", "result"];
    let object = value.as_object()?;
    let known = object.keys().all(|name| NAMES.contains(&name.as_str()));
    if !known || object.get("jsonrpc")?.as_str()? != "2.0" {
        return None;
    }
    let get = |name: &str| object.get(name).cloned();
    let method = json::text_at(value, &["method"]).map(str::to_owned);
    let id = get("id").filter(|id| id.is_string() || id.is_i64() || id.is_u64());
    let error = get("error").filter(Value::is_object);
    let kind = match (&method, &id, object.get("result"), &error) {
        (Some(_), Some(_), None, None) => McpKind::Request,
        (Some(_), None, None, None) => McpKind::Notification,
        (None, Some(_), Some(_), None) => McpKind::Response,
        // An error about a message that could not be read has no number.
        (None, _, None, Some(_)) => McpKind::Error,
        _ => return None,
    };
    let text = |way: &[&str]| json::text_at(value, way).map(str::to_owned);
    let version = text(&["params", "protocolVersion"]);
    Some(McpMessage {
        kind,
        id,
        name: text(&["params", "name"]).or_else(|| text(&["params", "ref", "name"])),
        uri: text(&["params", "uri"]).or_else(|| text(&["params", "ref", "uri"])),
        params: get("params"),
        result: get("result"),
        error,
        is_tool_error: value.pointer("/result/isError") == Some(&Value::Bool(true)),
        protocol_version: version.or_else(|| text(&["result", "protocolVersion"])),
        session_id: None,
        method,
    })
}

impl McpMessage {
    /// Whether it can be nothing but MCP's. `initialize` is a language server's too, but without a version; agents that
    /// speak to editors say a number there.
    fn is_certain(&self) -> bool {
        match self.method.as_deref() {
            Some("initialize") => self.protocol_version.is_some(),
            Some(method) => METHODS.contains(&method),
            None => false,
        }
    }
}

/// What is known of the requests of one session, or of one exchange where no session is named: pairs answers with them by
/// their numbers.
#[derive(Clone, Debug, Default)]
pub struct McpSession {
    /// By who asks, and the number as JSON text: both ends number their requests from the same start.
    pending: BTreeMap<(bool, String), Asked>,
    order: std::collections::VecDeque<(bool, String)>,
    is_mcp: bool,
}

#[derive(Clone, Debug)]
struct Asked {
    method: Option<String>,
    name: Option<String>,
    uri: Option<String>,
}

impl McpSession {
    /// The messages of a body, or of the data of one event, if they are MCP's. `fields` are the headers of its half of
    /// the exchange, `from_client` says which.
    pub fn recognise(
        &mut self,
        fields: &Fields,
        from_client: bool,
        body: &Value,
    ) -> Option<Vec<McpMessage>> {
        let mut all = messages(body)?;
        let session = fields.get("mcp-session-id");
        let version = fields.get("mcp-protocol-version");
        self.is_mcp |= session.is_some() || version.is_some();
        self.is_mcp |= all.iter().any(McpMessage::is_certain);
        if !self.is_mcp {
            return None;
        }
        for message in &mut all {
            message.session_id = session.map(str::to_owned);
            if message.protocol_version.is_none() {
                message.protocol_version = version.map(str::to_owned);
            }
            self.pair(from_client, message);
        }
        Some(all)
    }

    /// Requests that wait for their answer.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    fn pair(&mut self, from_client: bool, message: &mut McpMessage) {
        let Some(id) = message.id.as_ref().map(Value::to_string) else {
            return;
        };
        match message.kind {
            McpKind::Notification => {}
            McpKind::Request => self.ask((from_client, id), message),
            McpKind::Error | McpKind::Response => {
                let key = (!from_client, id);
                if let Some(asked) = self.pending.remove(&key) {
                    message.method = asked.method;
                    message.name = asked.name;
                    message.uri = asked.uri;
                }
            }
        }
    }

    fn ask(&mut self, key: (bool, String), message: &McpMessage) {
        let asked = Asked {
            method: message.method.clone(),
            name: message.name.clone(),
            uri: message.uri.clone(),
        };
        if self.pending.insert(key.clone(), asked).is_none() {
            self.order.push_back(key);
        }
        while self.pending.len() > PENDING_MAX || self.order.len() > 2 * PENDING_MAX {
            let Some(oldest) = self.order.pop_front() else {
                break;
            };
            if self.pending.len() > PENDING_MAX {
                self.pending.remove(&oldest);
            }
        }
    }
}

/// Feeds anything to the reader of messages: for fuzzing.
pub fn fuzz_mcp(data: &[u8]) {
    let mut session = McpSession::default();
    for line in data.split(|byte| *byte == b'\n') {
        if let Ok(body) = serde_json::from_slice::<Value>(line) {
            session.recognise(&Fields::default(), line.len() % 2 == 0, &body);
        }
    }
}

#[cfg(test)]
mod tests;
