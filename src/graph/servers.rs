//! Servers of the Model Context Protocol that speak through their standard input and output: lines of JSON-RPC
//! (<https://modelcontextprotocol.io/specification/2025-11-25/basic/transports#stdio>).

use std::collections::HashMap;

use serde_json::Value;

use crate::event::ProcessId;
use crate::proto::Fields;
use crate::semantics::mcp::{McpKind, McpMessage, McpSession};

/// Processes whose lines are put together.
const SERVERS_MAX: usize = 1024;
/// Bytes of a line; what is longer is no message here.
const LINE_MAX: usize = 1 << 20;
/// Of all lines that are not whole.
const HELD_MAX: usize = 32 << 20;
/// Requests that a server answers at once.
const PENDING_MAX: usize = 256;

#[derive(Default)]
struct Line {
    bytes: Vec<u8>,
    is_skipped: bool,
}

#[derive(Default)]
struct Server {
    session: McpSession,
    lines: [Line; 2],
    /// Numbers of requests that have no answer yet, and the tool calls that they are for.
    pending: Vec<(String, Option<u64>)>,
}

/// All servers.
#[derive(Default)]
pub struct Servers {
    all: HashMap<ProcessId, Server>,
    held: usize,
}

impl Servers {
    /// Takes what a process reads (`from_client`) or writes. The messages of MCP that are whole now.
    pub fn hear(&mut self, process: ProcessId, from_client: bool, bytes: &[u8]) -> Vec<McpMessage> {
        if !self.all.contains_key(&process) {
            let is_message = bytes.trim_ascii_start().starts_with(b"{");
            if !is_message || self.all.len() >= SERVERS_MAX {
                return Vec::new();
            }
        }
        let server = self.all.entry(process).or_default();
        let [read, written] = &mut server.lines;
        let line = if from_client { read } else { written };
        let before = line.bytes.len();
        let mut messages = Vec::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let is_whole = piece.ends_with(b"\n");
            line.is_skipped |= line.bytes.len() + piece.len() > LINE_MAX;
            line.is_skipped |= self.held + piece.len() > HELD_MAX;
            if !line.is_skipped {
                line.bytes.extend_from_slice(piece);
            }
            if !is_whole {
                continue;
            }
            let text = std::mem::take(&mut line.bytes);
            if !std::mem::take(&mut line.is_skipped)
                && let Ok(body) = serde_json::from_slice::<Value>(&text)
            {
                let session = &mut server.session;
                let said = session.recognise(&Fields::default(), from_client, &body);
                messages.extend(said.unwrap_or_default());
            }
        }
        self.held = (self.held + line.bytes.len()).saturating_sub(before);
        messages
    }

    /// Notes a request that the server is to answer, or its answer.
    pub fn note(&mut self, process: ProcessId, message: &McpMessage, tool: Option<u64>) {
        let (Some(server), Some(id)) = (self.all.get_mut(&process), &message.id) else {
            return;
        };
        let id = id.to_string();
        match message.kind {
            McpKind::Request if server.pending.len() < PENDING_MAX => {
                server.pending.push((id, tool))
            }
            McpKind::Error | McpKind::Response => server.pending.retain(|(waits, _)| *waits != id),
            McpKind::Notification | McpKind::Request => {}
        }
    }

    /// The tool call that a server works for now, if it is one alone.
    pub fn works_for(&self, process: ProcessId) -> Option<u64> {
        match self.all.get(&process)?.pending.as_slice() {
            [(_, tool)] => *tool,
            _ => None,
        }
    }

    /// It has ended.
    pub fn forget(&mut self, process: ProcessId) {
        if let Some(server) = self.all.remove(&process) {
            let held: usize = server.lines.iter().map(|line| line.bytes.len()).sum();
            self.held = self.held.saturating_sub(held);
        }
    }
}
