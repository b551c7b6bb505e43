//! Exchanges that carry the Model Context Protocol, and the sessions that they belong to.

use std::collections::{HashMap, VecDeque};

use memchr::memmem;
use serde_json::Value;

use crate::proto::Fields;
use crate::semantics::mcp::{McpMessage, McpSession};

/// Sessions that are remembered; the oldest go first.
const SESSIONS_MAX: usize = 1024;

const SESSION: &str = "mcp-session-id";
/// Bytes of a session's id; they are UUIDs, or signed tokens.
const SESSION_MAX: usize = 4096;

/// All sessions of a run.
#[derive(Default)]
pub struct Sessions {
    known: HashMap<String, McpSession>,
    order: VecDeque<String>,
}

impl Sessions {
    fn get(&mut self, id: &str) -> &mut McpSession {
        if !self.known.contains_key(id) {
            self.order.push_back(id.to_owned());
            while self.order.len() > SESSIONS_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.known.remove(&oldest);
            }
        }
        self.known.entry(id.to_owned()).or_default()
    }
}

/// One exchange's part in a session.
pub struct Talk {
    /// As the request names it.
    session: Option<String>,
    /// Without one: what the exchange itself asks, and its answer tells.
    own: McpSession,
}

impl Talk {
    /// What a request says, if it is MCP's; one without a body opens a stream for the server. `None`: not all of the body is
    /// known.
    pub fn begin(
        fields: &Fields,
        body: Option<&[u8]>,
        sessions: &mut Sessions,
    ) -> Option<(Self, Vec<McpMessage>)> {
        let session = fields.get(SESSION).filter(|id| id.len() <= SESSION_MAX);
        let mut talk = Self {
            session: session.map(str::to_owned),
            own: McpSession::default(),
        };
        match body {
            None | Some([]) => talk.session.is_some().then(|| (talk, Vec::new())),
            Some(body) => {
                let said = talk.hear(fields, true, body, sessions)?;
                Some((talk, said))
            }
        }
    }

    /// What an answer, or an event of it, says.
    pub fn answer(
        &mut self,
        fields: &Fields,
        body: &[u8],
        sessions: &mut Sessions,
    ) -> Vec<McpMessage> {
        self.hear(fields, false, body, sessions).unwrap_or_default()
    }

    fn hear(
        &mut self,
        fields: &Fields,
        from_client: bool,
        body: &[u8],
        sessions: &mut Sessions,
    ) -> Option<Vec<McpMessage>> {
        memmem::find(body, b"\"jsonrpc\"")?;
        let body: Value = serde_json::from_slice(body).ok()?;
        let session = match &self.session {
            Some(id) => sessions.get(id),
            None => &mut self.own,
        };
        session.recognise(fields, from_client, &body)
    }
}
