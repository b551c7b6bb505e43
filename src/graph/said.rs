//! What was said: answers that want tools, questions that carry their results, messages of MCP, requests to hosts.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

use super::Causes;
use super::node::{Confidence, Edge, Kind, Node, Thing, kept_text, process_id};
use super::results::{self, Pipe};
use super::{CALLS_MAX, Calling, lineage};
use crate::dialog::said::{CallReport, HttpRequest};
use crate::dialog::{CallName, Role, Said, What};
use crate::event::ProcessId;
use crate::semantics::dialect::DeltaKind;
use crate::semantics::mcp::{McpKind, McpMessage};
use crate::semantics::thread::Place;
use crate::semantics::{Part, Request};

/// Pieces of one answer that are told apart.
const PARTS_MAX: usize = 4096;

impl Causes {
    pub(super) fn take_said(&mut self, said: &Said, out: &mut Vec<Edge>) {
        if said.role == Role::Server && !matches!(said.what, What::Mcp(_)) {
            return;
        }
        match &said.what {
            What::Asked(asked) => {
                let request = &asked.call.request;
                self.asked(said, asked.name, request, asked.thread.as_ref(), out);
            }
            What::Call(report) => self.answered(said, report, out),
            What::Delta { call, delta } => {
                let is_tool = matches!(
                    delta.kind,
                    DeltaKind::ToolArguments(_) | DeltaKind::ToolCall { .. }
                );
                if let Some(calling) = self.calls.get_mut(call).filter(|_| is_tool)
                    && calling.heard.len() < PARTS_MAX
                {
                    let key = (delta.choice, delta.part);
                    calling.heard.insert(key, said.origin.ts_ns);
                }
            }
            What::Mcp(message) => self.mcp(said, message, out),
            What::Request(request) => self.requested(said, request, out),
            What::Event(_) | What::Response(_) | What::WebSocket(_) => {}
        }
    }

    /// A question carries the results of tools.
    fn asked(
        &mut self,
        said: &Said,
        name: CallName,
        request: &Request,
        thread: Option<&Place>,
        out: &mut Vec<Edge>,
    ) {
        let agent = said.origin.process;
        self.meet_agent(said, out);
        self.begin_call(name, agent);
        let call = call_node(name, agent, request, said.origin.ts_ns);
        let new_from = thread.map_or(0, |place| place.new_from);
        for message in request.messages.iter().skip(new_from) {
            for part in &message.parts {
                if let Part::ToolCallResponse {
                    id, name, response, ..
                } = part
                {
                    let of = (id.as_deref(), name.as_deref());
                    self.result(agent, of, response, &call, said.origin.ts_ns, out);
                }
            }
        }
    }

    fn begin_call(&mut self, name: CallName, agent: ProcessId) {
        if self.calls.contains_key(&name) {
            return;
        }
        let heard = HashMap::new();
        self.calls.insert(name, Calling { agent, heard });
        self.order.push_back(name);
        *self.answering.entry(agent).or_default() += 1;
        while self.order.len() > CALLS_MAX
            && let Some(oldest) = self.order.front().copied()
        {
            self.end_call(oldest);
        }
    }

    /// When the last pieces of its tool calls came.
    fn end_call(&mut self, name: CallName) -> HashMap<(u64, u64), u64> {
        self.order.retain(|other| *other != name);
        let Some(calling) = self.calls.remove(&name) else {
            return HashMap::new();
        };
        if let Some(left) = self.answering.get_mut(&calling.agent) {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.answering.remove(&calling.agent);
            }
        }
        calling.heard
    }

    fn meet_agent(&mut self, said: &Said, out: &mut Vec<Edge>) {
        let agent = said.origin.process;
        if let Some(known) = self.lineage.meet(agent) {
            known.comm = said.origin.comm;
        }
        if !self.lineage.is_now_agent(agent) {
            return;
        }
        if let Some(above) = self.lineage.agent_above(agent) {
            out.push(Edge {
                from: self.process_node(above),
                to: self.process_node(agent),
                kind: Kind::Subagent,
                reason: "it descends from the agent, and asks models itself",
                confidence: Confidence::Exact,
                event: None,
                ts_ns: said.origin.ts_ns,
            });
        }
    }

    /// A result, which ends the time of its tool call.
    fn result(
        &mut self,
        agent: ProcessId,
        (id, name): (Option<&str>, Option<&str>),
        response: &Value,
        call: &Node,
        ts_ns: u64,
        out: &mut Vec<Edge>,
    ) {
        let Some((number, confidence)) = self.tools.answered(agent, id, name) else {
            return;
        };
        let texts = &results::texts(response);
        let Some(tool) = self.tools.get(number).map(|tool| tool.node.clone()) else {
            return;
        };
        let text = texts.first().map(String::as_str).unwrap_or_default();
        let name = tool.id.strip_prefix("tool:").unwrap_or(&tool.id);
        let result = Node {
            id: format!("result:{name}"),
            thing: Thing::ToolResult {
                text: kept_text(text),
                ts_ns,
            },
        };
        let edge = |from: &Node, to: &Node, kind, (confidence, reason)| Edge {
            from: from.clone(),
            to: to.clone(),
            kind,
            reason,
            confidence,
            event: Some(call.id.clone()),
            ts_ns,
        };
        let by_id = match id {
            Some(_) => "the result names the tool call",
            None => "the result names the tool, and calls have no numbers",
        };
        out.push(edge(&tool, &result, Kind::Gives, (confidence, by_id)));
        let carried = (Confidence::Exact, "the question carries the result");
        out.push(edge(&result, call, Kind::Informs, carried));
        let (pipes, files) = self.tools.close(number);
        let files = files.iter().filter(|file| file.was_read);
        let writers: BTreeSet<_> = files.flat_map(|file| &file.writers).collect();
        for writer in writers {
            let from = self.process_node(*writer);
            let fit = (Confidence::Likely, results::READ_BEFORE);
            out.push(edge(&from, &result, Kind::Writes, fit));
        }
        for pipe in pipes {
            if let Some(fit) = results::fit(&pipe, texts, true) {
                let writers = self.writers(&pipe);
                out.extend(writers.map(|from| edge(&from, &result, Kind::Writes, fit)));
            }
        }
        self.explain_late(agent, number, (&tool, &result), texts, (call, ts_ns), out);
    }

    /// What a process wrote that nothing explained until now tells what it was run for.
    fn explain_late(
        &mut self,
        agent: ProcessId,
        number: u64,
        (tool, result): (&Node, &Node),
        texts: &[String],
        (call, ts_ns): (&Node, u64),
        out: &mut Vec<Edge>,
    ) {
        let fits = |pipe: &Pipe| results::fit(pipe, texts, false);
        for (pipe, (confidence, reason)) in self.tools.take_loose(agent, fits) {
            let edge = |from: Node, to: Node, kind| Edge {
                from,
                to,
                kind,
                reason,
                confidence,
                event: Some(call.id.clone()),
                ts_ns,
            };
            for (process, exec) in pipe.writers.iter().copied() {
                out.push(edge(
                    self.process_node(process),
                    result.clone(),
                    Kind::Writes,
                ));
                if self.lineage.standing(process).cause.is_some() {
                    continue;
                }
                let cause = lineage::Cause::new(number, confidence);
                self.lineage.explain(process, cause);
                if let Some(exec) = exec {
                    let exec = Node {
                        id: format!("e{exec}"),
                        thing: Thing::Exec {
                            process: process_id(process),
                            args: Vec::new(),
                            cwd: None,
                            ts_ns,
                        },
                    };
                    out.push(edge(tool.clone(), exec, Kind::Runs));
                }
            }
        }
    }

    fn writers(&self, pipe: &Pipe) -> impl Iterator<Item = Node> {
        pipe.writers
            .iter()
            .map(|(process, _)| self.process_node(*process))
    }

    /// An answer wants tools.
    fn answered(&mut self, said: &Said, report: &CallReport, out: &mut Vec<Edge>) {
        let agent = said.origin.process;
        let request = &report.call.request;
        let began_ns = report.timings.began_ns;
        if !self.calls.contains_key(&report.name) {
            self.asked(said, report.name, request, report.thread.as_ref(), out);
        }
        let heard = self.end_call(report.name);
        let call = call_node(report.name, agent, request, began_ns);
        let response = report.call.response.iter();
        for choice in response.flat_map(|response| &response.choices) {
            for (part, content) in choice.message.parts.iter().enumerate() {
                let Part::ToolCall {
                    id,
                    name,
                    arguments,
                } = content
                else {
                    continue;
                };
                let heard = heard.get(&(choice.index, part as u64));
                let from_ns = heard.copied().unwrap_or(said.origin.ts_ns);
                let tool = (id.as_deref(), name.as_str(), arguments);
                let number = self.tools.want(agent, (report.name, part), tool, from_ns);
                out.extend(self.tools.get(number).map(|tool| Edge {
                    from: call.clone(),
                    to: tool.node.clone(),
                    kind: Kind::Wants,
                    reason: "the answer wants it",
                    confidence: Confidence::Exact,
                    event: Some(call.id.clone()),
                    ts_ns: said.origin.ts_ns,
                }));
            }
        }
        let waiting = self.waiting.remove(&agent).unwrap_or_default();
        for deed in &waiting {
            self.match_deed(deed, out);
        }
    }

    /// Something was asked of a host, by the agent itself or by what it runs.
    fn requested(&mut self, said: &Said, request: &HttpRequest, out: &mut Vec<Edge>) {
        let Some(authority) = request.authority.as_deref() else {
            return;
        };
        let (name, port) = match authority.rsplit_once(':') {
            Some((name, port)) if port.parse::<u16>().is_ok() => (name, port.parse().ok()),
            _ => (authority, None),
        };
        let of = (said.origin.process, said.origin.ts_ns);
        self.reach(of, &[name], port, (name, None, None), out);
    }

    /// A message of MCP over HTTP.
    fn mcp(&mut self, said: &Said, message: &McpMessage, out: &mut Vec<Edge>) {
        if message.kind != McpKind::Request {
            return;
        }
        let (process, ts_ns) = (said.origin.process, said.origin.ts_ns);
        // Both ends of a session give a message the same name.
        let place = match &message.session_id {
            // The session's number opens the session to whoever knows it.
            Some(session) => {
                let digest = blake3::hash(session.as_bytes()).to_hex();
                digest.as_str().get(..16).unwrap_or_default().to_owned()
            }
            None => said.origin.conn.to_string(),
        };
        let node = mcp_node(&place, message, ts_ns);
        if said.role == Role::Server {
            out.push(Edge {
                from: node,
                to: self.process_node(process),
                kind: Kind::Requests,
                reason: "the process is asked it",
                confidence: Confidence::Exact,
                event: None,
                ts_ns,
            });
            return;
        }
        self.request_for(process, message, &node, ts_ns, out);
    }

    /// Ties a request of MCP to the tool call that it is made for.
    pub(super) fn request_for(
        &mut self,
        process: ProcessId,
        message: &McpMessage,
        node: &Node,
        ts_ns: u64,
        out: &mut Vec<Edge>,
    ) -> Option<u64> {
        let agent = self.lineage.standing(process).agent?;
        let name = message.name.as_deref()?;
        let params = message.params.as_ref();
        let arguments = params.and_then(|params| params.get("arguments"));
        let (cause, reason) = self.tools.request(agent, name, arguments, ts_ns)?;
        let tool = self.tools.get(cause.tool)?.node.clone();
        out.push(Edge {
            from: tool,
            to: node.clone(),
            kind: Kind::Requests,
            reason,
            confidence: cause.confidence,
            event: None,
            ts_ns,
        });
        Some(cause.tool)
    }
}

pub(super) fn mcp_node(place: &str, message: &McpMessage, ts_ns: u64) -> Node {
    let id = message.id.as_ref().map(ToString::to_string);
    Node {
        id: format!("mcp:{place}/{}", id.unwrap_or_default()),
        thing: Thing::Mcp {
            method: message.method.clone().unwrap_or_default(),
            name: message.name.clone(),
            ts_ns,
        },
    }
}

fn call_node(name: CallName, agent: ProcessId, request: &Request, ts_ns: u64) -> Node {
    Node {
        id: name.to_string(),
        thing: Thing::Call {
            process: process_id(agent),
            model: request.model.clone(),
            prompt: prompt(request),
            ts_ns,
        },
    }
}

/// What the user said last. Agents put words of their own into the user's messages, most of them in tags: those are taken only
/// if there are no others.
fn prompt(request: &Request) -> Option<String> {
    let messages = request.messages.iter().rev();
    let of_user = messages.filter(|message| message.role == "user");
    let texts = of_user.flat_map(|message| message.parts.iter().rev());
    let mut texts = texts.filter_map(|part| match part {
        Part::Text { content, .. } => Some(content.trim()).filter(|text| !text.is_empty()),
        _ => None,
    });
    let last = texts.next()?;
    let is_own = |text: &&str| !text.starts_with('<');
    let words = std::iter::once(last).chain(texts).find(is_own);
    Some(kept_text(words.unwrap_or(last)))
}
