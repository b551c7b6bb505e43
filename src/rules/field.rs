//! Fields of events: those of the JSON lines by their names there, and some that are made of what was seen before. `docs/rules.md`
//! lists them.

use std::borrow::Cow;
use std::net::IpAddr;

use serde::Deserialize;
use serde_json::Value;

use super::facts::{Facts, Known};
use super::lineage::Program;
use super::talk::Standing;

/// A field.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Field {
    /// `ancestors`: names of its program and of all that it comes from.
    Ancestors,
    /// `by.…`: the process.
    By(OfProcess),
    /// `changes`: paths of files that have, or get, another content or name.
    Changes,
    /// `conversation.…`
    Conversation(OfConversation),
    /// `direct`: an agent runs this, with nothing but shells between.
    Direct,
    /// Of the line, by the names that lead to it.
    Line(Vec<String>),
    /// `parent.…`: the process that made this one.
    Parent(OfProcess),
    /// `peer.ip`, without the port.
    PeerIp,
    /// `peer.is_local`: it does not leave this machine.
    PeerIsLocal,
    /// `runs`: paths of what is executed: the program, and the script if it reads one.
    Runs,
    /// `target.…`: the process that a signal or ptrace is for.
    Target(OfTarget),
    /// `type`
    Type,
}

/// Of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfProcess {
    /// `args`
    Args,
    /// `command`: arguments, with spaces between.
    Command,
    /// `euid`
    Euid,
    /// `exe`
    Exe,
    /// `is_agent`: it speaks to models.
    IsAgent,
    /// `name`
    Name,
    /// `script`
    Script,
    /// `uid`
    Uid,
}

/// Of what was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfConversation {
    /// `denied`
    Denied,
    /// `mentioned`
    Mentioned,
    /// `tool_call`
    ToolCall,
}

/// Of another process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OfTarget {
    /// `is_agent`
    IsAgent,
    /// `is_observer`
    IsObserver,
    /// `is`: `self`, `child`, `parent`, `kin`, `stranger`
    Relation,
}

impl Field {
    /// By its name.
    ///
    /// # Errors
    /// There is no such field; in words.
    pub fn parse(name: &str) -> Result<Self, String> {
        let unknown = || format!("there is no field {name:?}");
        let of_process = |part: &str| {
            Ok(match part {
                "args" => OfProcess::Args,
                "command" => OfProcess::Command,
                "euid" => OfProcess::Euid,
                "exe" => OfProcess::Exe,
                "is_agent" => OfProcess::IsAgent,
                "name" => OfProcess::Name,
                "script" => OfProcess::Script,
                "uid" => OfProcess::Uid,
                _ => return Err(unknown()),
            })
        };
        Ok(match name.split_once('.') {
            Some(("by", part)) => Self::By(of_process(part)?),
            Some(("parent", part)) => Self::Parent(of_process(part)?),
            Some(("conversation", "denied")) => Self::Conversation(OfConversation::Denied),
            Some(("conversation", "mentioned")) => Self::Conversation(OfConversation::Mentioned),
            Some(("conversation", "tool_call")) => Self::Conversation(OfConversation::ToolCall),
            Some(("target", "is")) => Self::Target(OfTarget::Relation),
            Some(("target", "is_agent")) => Self::Target(OfTarget::IsAgent),
            Some(("target", "is_observer")) => Self::Target(OfTarget::IsObserver),
            Some(("peer", "ip")) => Self::PeerIp,
            Some(("peer", "is_local")) => Self::PeerIsLocal,
            Some(("conversation" | "target" | "peer", _)) => return Err(unknown()),
            _ => match name {
                "" => return Err(unknown()),
                "ancestors" => Self::Ancestors,
                "changes" => Self::Changes,
                "direct" => Self::Direct,
                "runs" => Self::Runs,
                "type" => Self::Type,
                name => Self::Line(name.split('.').map(str::to_owned).collect()),
            },
        })
    }

    /// What it is for an event.
    pub fn seen<'f>(&self, facts: &'f Facts, known: &Known<'f>) -> Seen<'f> {
        match self {
            Self::Ancestors => ancestors(facts, known),
            Self::By(of) => of_process(*of, facts.process, known),
            Self::Changes => Seen::texts(&facts.changes),
            Self::Conversation(of) => of_conversation(*of, facts, known),
            Self::Direct => Seen::Truth(facts.is_direct),
            Self::Line(names) => facts.line(names),
            Self::Parent(of) => {
                let process = known.processes.process(facts.process);
                match process.and_then(|process| process.parent) {
                    Some(parent) => of_process(*of, parent, known),
                    None => Seen::Absent,
                }
            }
            Self::PeerIp => match facts.peer_ip() {
                Some(ip) => Seen::Text(Cow::Owned(ip.to_string())),
                None => Seen::Absent,
            },
            Self::PeerIsLocal => match facts.peer_ip() {
                Some(ip) => Seen::Truth(is_local(ip)),
                None => Seen::Absent,
            },
            Self::Runs => Seen::texts(&facts.runs),
            Self::Target(of) => of_target(*of, facts, known),
            Self::Type => Seen::Text(Cow::Borrowed(facts.kind)),
        }
    }

    /// Whether it depends on what was said, which may be told a little later than what was done.
    pub fn is_of_conversation(&self) -> bool {
        matches!(self, Self::Conversation(_))
    }
}

impl TryFrom<String> for Field {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        Self::parse(&name)
    }
}

/// What a field is.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen<'f> {
    /// The event has none.
    Absent,
    /// JSON that is none of the others.
    Json(&'f Value),
    /// A text.
    Text(Cow<'f, str>),
    /// Several.
    Texts(Vec<&'f str>),
    /// Yes or no.
    Truth(bool),
    /// It is not known yet.
    Unknown,
}

impl<'f> Seen<'f> {
    fn texts(texts: &'f [String]) -> Self {
        match texts {
            [] => Self::Absent,
            texts => Self::Texts(texts.iter().map(String::as_str).collect()),
        }
    }

    /// A value of a line.
    pub fn json(value: &'f Value) -> Self {
        match value {
            Value::Null => Self::Absent,
            Value::Bool(is) => Self::Truth(*is),
            Value::String(text) => Self::Text(Cow::Borrowed(text)),
            value => Self::Json(value),
        }
    }

    /// Each of its values as text.
    pub fn each_text(&self, take: &mut dyn FnMut(&str)) {
        match self {
            Self::Absent | Self::Unknown => {}
            Self::Text(text) => take(text),
            Self::Texts(texts) => texts.iter().for_each(|text| take(text)),
            Self::Truth(is) => take(if *is { "true" } else { "false" }),
            Self::Json(Value::Array(values)) => {
                values
                    .iter()
                    .for_each(|value| Seen::json(value).each_text(take));
            }
            Self::Json(value) => take(&value.to_string()),
        }
    }
}

fn ancestors<'f>(facts: &Facts, known: &Known<'f>) -> Seen<'f> {
    let mut names: Vec<&str> = Vec::new();
    let mut last: *const Program = std::ptr::null();
    for process in known.processes.line(facts.process) {
        let Some(process) = known.processes.process(process) else {
            break;
        };
        // A child runs what its parent runs until it says otherwise.
        let program: &Program = &process.program;
        if !std::ptr::eq(program, last) {
            names.extend(program.names.iter().map(String::as_str));
            last = program;
        }
    }
    Seen::Texts(names)
}

fn of_process<'f>(of: OfProcess, process: crate::event::ProcessId, known: &Known<'f>) -> Seen<'f> {
    if of == OfProcess::IsAgent {
        return Seen::Truth(known.talk.is_agent(process));
    }
    let Some(process) = known.processes.process(process) else {
        return Seen::Absent;
    };
    let program = &process.program;
    let number = |number: Option<u32>| match number {
        Some(number) => Seen::Text(Cow::Owned(number.to_string())),
        None => Seen::Absent,
    };
    match of {
        OfProcess::Args => Seen::texts(&program.args),
        OfProcess::Command if program.args.is_empty() => Seen::Absent,
        OfProcess::Command => Seen::Text(Cow::Owned(program.args.join(" "))),
        OfProcess::Euid => number(process.user.map(|(_, euid)| euid)),
        OfProcess::Exe if program.exe.is_empty() => Seen::Absent,
        OfProcess::Exe => Seen::Text(Cow::Borrowed(&program.exe)),
        OfProcess::IsAgent => Seen::Absent,
        OfProcess::Name => Seen::texts(&program.names),
        OfProcess::Script => match &program.script {
            Some(script) => Seen::Text(Cow::Borrowed(script)),
            None => Seen::Absent,
        },
        OfProcess::Uid => number(process.user.map(|(uid, _)| uid)),
    }
}

fn of_conversation<'f>(of: OfConversation, facts: &Facts, known: &Known<'f>) -> Seen<'f> {
    if !known.is_settled {
        return Seen::Unknown;
    }
    let truth = |truth: Option<bool>| truth.map_or(Seen::Absent, Seen::Truth);
    match of {
        OfConversation::Denied => truth(known.talk.has_denied(facts, known.processes)),
        OfConversation::Mentioned => truth(known.talk.has_mentioned(facts, known.processes)),
        OfConversation::ToolCall => match known.talk.standing(facts, known.processes) {
            Some(Standing::Agent) => Seen::Text(Cow::Borrowed("agent")),
            Some(Standing::Inside) => Seen::Text(Cow::Borrowed("inside")),
            Some(Standing::Outside) => Seen::Text(Cow::Borrowed("outside")),
            None => Seen::Absent,
        },
    }
}

fn of_target<'f>(of: OfTarget, facts: &Facts, known: &Known<'f>) -> Seen<'f> {
    let Some(pid) = facts.target_pid() else {
        return Seen::Absent;
    };
    let target = known.processes.running(pid);
    match of {
        OfTarget::IsAgent => Seen::Truth(target.is_some_and(|target| known.talk.is_agent(target))),
        OfTarget::IsObserver => Seen::Truth(known.observer == Some(pid)),
        OfTarget::Relation => {
            let comes_from = |one, other| known.processes.line(one).any(|process| process == other);
            Seen::Text(Cow::Borrowed(match target {
                _ if pid == facts.process.pid => "self",
                None => "stranger",
                Some(target) if comes_from(target, facts.process) => "child",
                Some(target) if comes_from(facts.process, target) => "parent",
                Some(target)
                    if known.processes.root(target) == known.processes.root(facts.process) =>
                {
                    "kin"
                }
                Some(_) => "stranger",
            }))
        }
    }
}

fn is_local(ip: IpAddr) -> bool {
    let is_link = match ip {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    ip.is_loopback() || ip.is_unspecified() || ip.is_multicast() || is_link
}
