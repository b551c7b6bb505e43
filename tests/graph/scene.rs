//! A run that is made up: an agent, its calls, and what processes do.

use std::sync::Arc;

use agentsight::deeds::deed::{
    Deed, Device, Dns, Exec, Exit, File, FileKind, Fork, Inode, Net, NetKind, Question, Stdio, What,
};
use agentsight::deeds::path::{Form, Path};
use agentsight::dialog::said::{CallReport, Timings};
use agentsight::dialog::{Asked, CallName, Role, Said, What as Words};
use agentsight::event::{Comm, Function, ProcessId};
use agentsight::graph::{Causes, Confidence, Edge, Graph, Kind};
use agentsight::proto::ExchangeId;
use agentsight::semantics::{
    Call, Choice, Delta, DeltaKind, Message, Operation, Part, Request, Response,
};
use agentsight::stream::{ConnName, Origin};
use serde_json::Value;

pub const AGENT: ProcessId = process(100);

pub const fn process(pid: u32) -> ProcessId {
    ProcessId {
        pid,
        start_ns: pid as u64,
    }
}

/// A run that goes on.
pub struct Scene {
    pub causes: Causes,
    pub edges: Vec<Edge>,
    pub now: u64,
    events: u64,
    calls: u64,
}

impl Default for Scene {
    fn default() -> Self {
        let mut scene = Self {
            causes: Causes::for_graph(),
            edges: Vec::new(),
            now: 1000,
            events: 0,
            calls: 0,
        };
        scene.exec(AGENT, &["agent"]);
        scene
    }
}

impl Scene {
    pub fn deed(&mut self, process: ProcessId, what: What) -> String {
        self.events += 1;
        self.now += 10;
        let deed = Deed {
            number: self.events,
            ts_ns: self.now,
            process,
            tid: process.pid,
            comm: Comm(*b"name\0\0\0\0\0\0\0\0\0\0\0\0"),
            what,
        };
        self.causes.see(&deed, &mut self.edges);
        format!("e{}", self.events)
    }

    pub fn fork(&mut self, parent: ProcessId, child: ProcessId) {
        self.deed(
            parent,
            What::Fork(Fork {
                child_pid: child.pid,
                child,
                child_ns_pid: None,
            }),
        );
    }

    pub fn exec(&mut self, process: ProcessId, args: &[&str]) -> String {
        let exec = Exec {
            args: args.iter().map(|word| (*word).to_owned()).collect(),
            cwd: Some(path("/home/me")),
            ..Exec::default()
        };
        self.deed(process, What::Exec(Box::new(exec)))
    }

    /// A child of the agent that runs a program.
    pub fn child(&mut self, pid: u32, args: &[&str]) -> String {
        self.fork(AGENT, process(pid));
        self.exec(process(pid), args)
    }

    pub fn exit(&mut self, process: ProcessId) {
        self.deed(
            process,
            What::Exit(Exit {
                code: Some(0),
                signal: None,
                core: false,
                cpu_ns: 0,
                peak_rss: 0,
            }),
        );
    }

    pub fn file(&mut self, process: ProcessId, kind: FileKind, file: File) -> String {
        self.deed(process, What::File(kind, Box::new(file)))
    }

    pub fn write(&mut self, process: ProcessId, at: &str, ino: u64) -> String {
        let file = File {
            path: Some(path(at)),
            inode: Some(inode(ino)),
            flags: vec!["write"],
            created: true,
            bytes: Some(5),
            ..File::default()
        };
        self.file(process, FileKind::Open, file.clone());
        self.file(process, FileKind::Write, file)
    }

    pub fn connect(&mut self, process: ProcessId, peer: &str, host: Option<&str>) -> String {
        let net = Net {
            protocol: "tcp".to_owned(),
            peer: Some(peer.to_owned()),
            host: host.map(str::to_owned),
            ..Net::default()
        };
        self.deed(process, What::Net(NetKind::Connect, Box::new(net)))
    }

    pub fn dns(&mut self, process: ProcessId, name: &str) -> String {
        let dns = Dns {
            direction: "write",
            questions: vec![Question {
                name: name.to_owned(),
                kind: "A".to_owned(),
            }],
            ..Dns::default()
        };
        self.deed(process, What::Dns(dns))
    }

    pub fn stdio(&mut self, process: ProcessId, stream: &'static str, pipe: u64, data: &str) {
        let direction = if stream == "stdin" { "read" } else { "write" };
        self.deed(
            process,
            What::Stdio(Stdio {
                stream,
                direction,
                offset: 0,
                pipe,
                data: Some(data.to_owned()),
                data_b64: None,
                missing: 0,
            }),
        );
    }

    pub fn say(&mut self, process: ProcessId, what: Words) {
        self.say_as(Role::Client, process, what);
    }

    pub fn say_as(&mut self, role: Role, process: ProcessId, what: Words) {
        self.now += 10;
        let said = Said {
            origin: Origin {
                ts_ns: self.now,
                process,
                tid: process.pid,
                comm: Comm(*b"agent\0\0\0\0\0\0\0\0\0\0\0"),
                function: function(),
                conn: ConnName(1),
                fd: None,
            },
            exchange: ExchangeId(1),
            role,
            is_understood: true,
            what,
        };
        self.causes.hear(&said, &mut self.edges);
    }

    /// A question, with results of tools.
    pub fn ask(&mut self, process: ProcessId, results: &[(&str, &str)]) -> CallName {
        self.calls += 1;
        let name = CallName(self.calls);
        let asked = Asked {
            name,
            call: call(results),
            authority: None,
            bytes: 0,
            thread: None,
            retry: None,
        };
        self.say(process, Words::Asked(Box::new(asked)));
        name
    }

    /// Its answer, which wants tools.
    pub fn answer(&mut self, process: ProcessId, name: CallName, tools: &[(&str, &str, Value)]) {
        let parts = tools.iter().map(|(id, tool, arguments)| Part::ToolCall {
            id: (!id.is_empty()).then(|| (*id).to_owned()),
            name: (*tool).to_owned(),
            arguments: arguments.clone(),
        });
        let response = Response {
            choices: vec![Choice {
                index: 0,
                message: Message::new("assistant", parts.collect()),
                finish_reason: None,
            }],
            is_complete: true,
            ..Response::default()
        };
        let report = CallReport {
            name,
            dialect: "anthropic",
            authority: None,
            call: Call {
                response: Some(response),
                ..call(&[])
            },
            status: Some(200),
            thread: None,
            retry: None,
            cost: None,
            timings: Timings::default(),
            error: None,
            incomplete: Vec::new(),
        };
        self.say(process, Words::Call(Box::new(report)));
    }

    /// A question and its answer.
    pub fn want(&mut self, tools: &[(&str, &str, Value)]) -> CallName {
        let name = self.ask(AGENT, &[]);
        self.answer(AGENT, name, tools);
        name
    }

    pub fn delta(&mut self, call: CallName, part: u64, kind: DeltaKind) {
        let choice = 0;
        let delta = Delta { choice, part, kind };
        self.say(AGENT, Words::Delta { call, delta });
    }

    /// Edges of a kind, each as from, to and confidence.
    pub fn told(&self, kind: Kind) -> Vec<(String, String, Confidence)> {
        let edges = self.edges.iter().filter(|edge| edge.kind == kind);
        let edges = edges.map(|edge| (edge.from.id.clone(), edge.to.id.clone(), edge.confidence));
        edges.collect()
    }

    pub fn graph(&self) -> Graph {
        let mut graph = Graph::default();
        self.edges.iter().cloned().for_each(|edge| graph.add(edge));
        graph
    }
}

pub fn exact(from: &str, to: &str) -> (String, String, Confidence) {
    (from.to_owned(), to.to_owned(), Confidence::Exact)
}

pub fn likely(from: &str, to: &str) -> (String, String, Confidence) {
    (from.to_owned(), to.to_owned(), Confidence::Likely)
}

pub fn path(text: &str) -> Path {
    Path {
        bytes: text.as_bytes().to_vec(),
        form: Form::Resolved,
        is_deleted: false,
    }
}

pub fn inode(ino: u64) -> Inode {
    Inode {
        dev: Device(8 << 20 | 1),
        ino,
        generation: 0,
    }
}

fn function() -> Arc<Function> {
    Arc::new(Function {
        library: "openssl".into(),
        name: "SSL_write".into(),
    })
}

fn call(results: &[(&str, &str)]) -> Call {
    let prompt = Part::Text {
        content: "please do it".to_owned(),
        citations: Vec::new(),
    };
    let mut messages = vec![Message::new("user", vec![prompt])];
    for (id, text) in results {
        let result = Part::ToolCallResponse {
            id: (!id.is_empty()).then(|| (*id).to_owned()),
            name: None,
            response: Value::String((*text).to_owned()),
            is_error: false,
        };
        messages.push(Message::new("tool", vec![result]));
    }
    Call {
        provider: "anthropic".to_owned(),
        operation: Operation::Chat,
        request: Request {
            model: Some("a-model".to_owned()),
            messages,
            ..Request::default()
        },
        response: None,
    }
}
