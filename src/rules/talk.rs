//! What the conversation says about what is done: which tool calls were under way when, which words were said, and which
//! commands were denied. An agent is a process that asks models.

use std::collections::{HashMap, HashSet, VecDeque};

use serde_json::Value;

use super::facts::Facts;
use super::field::Seen;
use super::join::{Key, text_key};
use super::lineage::{Processes, is_shell, last_part};
use crate::dialog::said::Role;
use crate::dialog::{CallReport, Said, What};
use crate::event::ProcessId;
use crate::semantics::{Message, Part, Request};

/// Agents of a run.
const AGENTS_MAX: usize = 256;
/// Tool calls of an agent that are remembered.
const TOOL_CALLS_MAX: usize = 512;
/// Different words of a conversation: behind them, nothing can be said to be absent.
const WORDS_MAX: usize = 1 << 16;
/// Texts of a conversation that are known already: each request repeats all before.
const TEXTS_MAX: usize = 1 << 15;
/// Denied commands of an agent.
const DENIED_MAX: usize = 64;
/// Bytes in which a denial has to be said: what a program printed is longer.
const DENIAL_MAX: usize = 2000;

/// Where an event stands in the conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The process is an agent itself.
    Agent,
    /// A tool call is under way, or was when the process (or one between it and the agent) was made.
    Inside,
    /// There is none.
    Outside,
}

/// A tool call.
#[derive(Clone, Debug)]
pub struct ToolCall {
    /// The model's number for it.
    pub id: Option<String>,
    /// The tool.
    pub name: String,
    /// The call of the model that asked for it.
    pub asked_in: String,
    from_ns: u64,
    until_ns: Option<u64>,
    command: Option<String>,
}

#[derive(Default)]
struct Agent {
    /// When it asked first.
    since_ns: u64,
    tool_calls: VecDeque<ToolCall>,
    words: HashSet<Key>,
    texts: HashSet<Key>,
    /// When, and which.
    denied: VecDeque<(u64, String)>,
    /// Something that was said is not known.
    has_gaps: bool,
}

/// What was said in a run.
#[derive(Default)]
pub struct Talk {
    agents: HashMap<ProcessId, Agent>,
    /// Agents for which there was no room.
    pub dropped: u64,
}

/// What a tool gave.
pub struct ToolResult {
    /// Of which call.
    pub call: ToolCall,
    /// It.
    pub text: String,
    /// It failed.
    pub is_error: bool,
}

impl Talk {
    /// A question to a model: what tools gave is in it, and is told once.
    pub fn asked(&mut self, said: &Said) -> Vec<ToolResult> {
        let What::Asked(asked) = &said.what else {
            return Vec::new();
        };
        match self.agent(said) {
            Some(agent) => agent.hear(&asked.call.request, said.origin.ts_ns),
            None => Vec::new(),
        }
    }

    /// A call has ended: the tool calls that the model asks for.
    pub fn called(&mut self, said: &Said, report: &CallReport) -> Vec<(ToolCall, Value)> {
        let ts_ns = said.origin.ts_ns;
        let Some(agent) = self.agent(said) else {
            return Vec::new();
        };
        agent.has_gaps |= !report.incomplete.is_empty();
        agent.hear(&report.call.request, ts_ns);
        let first_ns = report.timings.first_token_ms.unwrap_or_default().max(0.0) * 1e6;
        let from_ns = report
            .timings
            .began_ns
            .saturating_add(first_ns as u64)
            .min(ts_ns);
        let choices = report
            .call
            .response
            .iter()
            .flat_map(|response| &response.choices);
        let mut calls = Vec::new();
        for part in choices.flat_map(|choice| &choice.message.parts) {
            agent.hear_part(part);
            if let Part::ToolCall {
                id,
                name,
                arguments,
            } = part
            {
                let call = ToolCall {
                    id: id.clone(),
                    name: name.clone(),
                    asked_in: report.name.to_string(),
                    from_ns,
                    until_ns: None,
                    command: command(arguments),
                };
                calls.push((call.clone(), arguments.clone()));
                agent.remember(call);
            }
        }
        calls
    }

    /// It asks models.
    pub fn is_agent(&self, process: ProcessId) -> bool {
        self.agents.contains_key(&process)
    }

    /// An agent runs what this process runs, with nothing but shells between.
    pub fn is_direct(&self, process: ProcessId, processes: &Processes) -> bool {
        for parent in processes.line(process).skip(1) {
            if self.is_agent(parent) {
                return !self.is_agent(process);
            }
            let program = processes.process(parent).map(|parent| &parent.program);
            if !program.is_some_and(|program| program.names.iter().any(|name| is_shell(name))) {
                return false;
            }
        }
        false
    }

    /// Where an event stands; `None`: no agent is known to be behind it.
    pub fn standing(&self, facts: &Facts, processes: &Processes) -> Option<Standing> {
        let mut born = Vec::new();
        for process in processes.line(facts.process) {
            if let Some(agent) = self.known(process, facts) {
                let is_inside = |ts_ns: &u64| agent.is_calling(*ts_ns);
                return Some(match process == facts.process {
                    true => Standing::Agent,
                    false if is_inside(&facts.ts_ns) || born.iter().any(is_inside) => {
                        Standing::Inside
                    }
                    false => Standing::Outside,
                });
            }
            born.extend(processes.process(process).map(|process| process.born_ns));
        }
        None
    }

    /// Whether the conversation has the name of the program that is run; `None`: that cannot be said.
    pub fn has_mentioned(&self, facts: &Facts, processes: &Processes) -> Option<bool> {
        let agent = self.behind(facts, processes)?;
        let mut names = vec![last_part(facts.text("filename")?)];
        names.extend(facts.runs.iter().map(|path| last_part(path)));
        let is_known = names
            .iter()
            .any(|name| agent.words.contains(&text_key(name)));
        let can_tell =
            !agent.has_gaps && agent.words.len() < WORDS_MAX && agent.texts.len() < TEXTS_MAX;
        match is_known {
            true => Some(true),
            false => can_tell.then_some(false),
        }
    }

    /// Whether a person denied the command that is run; `None`: no agent is known to be behind it.
    pub fn has_denied(&self, facts: &Facts, processes: &Processes) -> Option<bool> {
        let agent = self.behind(facts, processes)?;
        let mut words = Vec::new();
        let Seen::Json(Value::Array(args)) = facts.line(&["args".to_owned()]) else {
            return Some(false);
        };
        words.extend(args.iter().filter_map(Value::as_str).map(normal));
        let whole = normal(&words.join(" "));
        let mut denied = agent
            .denied
            .iter()
            .filter(|(ts_ns, _)| *ts_ns <= facts.ts_ns);
        Some(denied.any(|(_, command)| {
            // A short one may be part of many others.
            let is_long = command.contains(' ') || command.len() >= 8;
            let is_in = |word: &String| is_long && word.contains(command.as_str());
            whole == *command || words.iter().any(|word| word == command || is_in(word))
        }))
    }

    fn behind(&self, facts: &Facts, processes: &Processes) -> Option<&Agent> {
        let mut line = processes.line(facts.process);
        line.find_map(|process| self.known(process, facts))
    }

    /// An agent that was one then already.
    fn known(&self, process: ProcessId, facts: &Facts) -> Option<&Agent> {
        self.agents
            .get(&process)
            .filter(|agent| agent.since_ns <= facts.ts_ns)
    }

    fn agent(&mut self, said: &Said) -> Option<&mut Agent> {
        if said.role != Role::Client {
            return None;
        }
        let process = said.origin.process;
        if self.agents.len() >= AGENTS_MAX && !self.agents.contains_key(&process) {
            self.dropped += 1;
            return None;
        }
        let new = || Agent {
            since_ns: said.origin.ts_ns,
            ..Agent::default()
        };
        Some(self.agents.entry(process).or_insert_with(new))
    }
}

impl Agent {
    fn is_calling(&self, ts_ns: u64) -> bool {
        let mut calls = self.tool_calls.iter();
        calls.any(|call| {
            call.from_ns <= ts_ns && call.until_ns.is_none_or(|until_ns| ts_ns <= until_ns)
        })
    }

    fn remember(&mut self, call: ToolCall) {
        self.tool_calls.push_back(call);
        if self.tool_calls.len() > TOOL_CALLS_MAX {
            self.tool_calls.pop_front();
        }
    }

    fn hear(&mut self, request: &Request, ts_ns: u64) -> Vec<ToolResult> {
        request.system.iter().for_each(|part| self.hear_part(part));
        for tool in &request.tools {
            self.hear_text(&tool.name);
            tool.description
                .iter()
                .for_each(|text| self.hear_text(text));
        }
        let mut results = Vec::new();
        for part in request
            .messages
            .iter()
            .flat_map(|message: &Message| &message.parts)
        {
            self.hear_part(part);
            if let Part::ToolCallResponse {
                id,
                name,
                response,
                is_error,
            } = part
            {
                let result = self.answered(id, name, response, *is_error, ts_ns);
                results.extend(result);
            }
        }
        results
    }

    /// The first answer to a tool call ends it.
    fn answered(
        &mut self,
        id: &Option<String>,
        name: &Option<String>,
        response: &Value,
        is_error: bool,
        ts_ns: u64,
    ) -> Option<ToolResult> {
        let is_it = |call: &&mut ToolCall| {
            let is_named = match (id, &call.id) {
                (Some(id), Some(of)) => id == of,
                (None, None) => name.as_ref() == Some(&call.name),
                _ => false,
            };
            call.until_ns.is_none() && is_named
        };
        let call = self.tool_calls.iter_mut().find(is_it)?;
        call.until_ns = Some(ts_ns);
        let call = call.clone();
        let mut text = String::new();
        each_text(response, 0, &mut |piece| {
            if text.len() <= DENIAL_MAX {
                text.push_str(piece);
                text.push('\n');
            }
        });
        if let Some(command) = call.command.clone().filter(|_| is_denial(&text)) {
            self.denied.push_back((ts_ns, command));
            if self.denied.len() > DENIED_MAX {
                self.denied.pop_front();
            }
        }
        Some(ToolResult {
            call,
            text,
            is_error,
        })
    }

    fn hear_part(&mut self, part: &Part) {
        match part {
            Part::Text { content, .. }
            | Part::Reasoning { content, .. }
            | Part::Refusal { content } => {
                self.hear_text(content);
            }
            Part::ToolCall {
                name,
                arguments: value,
                ..
            }
            | Part::ServerToolCall {
                name,
                arguments: value,
                ..
            } => {
                self.hear_text(name);
                each_text(value, 0, &mut |text| self.hear_text(text));
            }
            Part::ToolCallResponse {
                response: value, ..
            }
            | Part::ServerToolCallResponse {
                response: value, ..
            } => {
                each_text(value, 0, &mut |text| self.hear_text(text));
            }
            Part::Generic { content, .. } => {
                content
                    .values()
                    .for_each(|value| each_text(value, 0, &mut |text| self.hear_text(text)));
            }
            Part::Blob { .. } | Part::File { .. } | Part::Uri { .. } => {}
        }
    }

    fn hear_text(&mut self, text: &str) {
        if self.texts.len() >= TEXTS_MAX || !self.texts.insert(text_key(text)) {
            return;
        }
        for word in text.split(|c: char| !(c.is_alphanumeric() || "_.+-".contains(c))) {
            let word = word.trim_matches(['.', '-']);
            if !word.is_empty() && self.words.len() < WORDS_MAX {
                self.words.insert(text_key(word));
            }
        }
    }
}

/// JSON in JSON.
const DEPTH_MAX: usize = 64;

fn each_text(value: &Value, depth: usize, take: &mut dyn FnMut(&str)) {
    match value {
        _ if depth > DEPTH_MAX => {}
        Value::String(text) => take(text),
        Value::Array(values) => values
            .iter()
            .for_each(|value| each_text(value, depth + 1, take)),
        Value::Object(fields) => {
            fields
                .values()
                .for_each(|value| each_text(value, depth + 1, take));
        }
        _ => {}
    }
}

/// The command line that a tool is to run, by the names that the tools of agents have for it.
fn command(arguments: &Value) -> Option<String> {
    let names = ["command", "cmd", "script", "code"];
    let value = names.iter().find_map(|name| arguments.get(name))?;
    let text = match value {
        Value::String(text) => normal(text),
        Value::Array(words) => {
            let words: Vec<_> = words.iter().filter_map(Value::as_str).collect();
            match words.as_slice() {
                // bash -lc 'COMMAND'
                [shell, option, command] if is_shell(last_part(shell)) && option.ends_with('c') => {
                    normal(command)
                }
                words => normal(&words.join(" ")),
            }
        }
        _ => return None,
    };
    (!text.is_empty()).then_some(text)
}

/// One space where there is any.
fn normal(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// As Claude Code, codex and Gemini CLI tell the model that a person said no. What an operating system says (`Permission
/// denied`) is none of these.
const DENIALS: [&str; 10] = [
    "doesn't want to proceed with this tool use",
    "tool use was rejected",
    "rejected by user",
    "rejected by the user",
    "denied by user",
    "denied by the user",
    "user denied",
    "user rejected",
    "user declined",
    "has been denied.",
];

fn is_denial(text: &str) -> bool {
    if text.len() > DENIAL_MAX {
        return false;
    }
    let text = text.to_lowercase();
    DENIALS.iter().any(|denial| text.contains(denial))
}
