//! A run to judge: processes that do and say things, one after the other.

use std::collections::BTreeMap;
use std::sync::Arc;

use agentsight::deeds::deed::{
    Deed, Device, Exec, Exit, File, FileKind, Fork, Identity, Inode, Net, NetKind, Ptrace,
    PtraceRequest, Signal, Stdio, What,
};
use agentsight::deeds::path::{Form, Path};
use agentsight::dialog::{self, Asked, CallName, CallReport, Role, Said};
use agentsight::event::{Comm, Function, ProcessId};
use agentsight::proto::ExchangeId;
use agentsight::rules::{Engine, Finding, Rules};
use agentsight::semantics::{Call, Choice, Message, Operation, Part, Request, Response};
use agentsight::stream::{ConnName, Origin};
use serde_json::Value;

/// The observer.
pub const OBSERVER: u32 = 4242;

pub struct Scene {
    pub engine: Engine,
    pub found: Vec<Finding>,
    pub ts_ns: u64,
    last: u64,
    last_pid: u32,
    calls: u64,
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
        dev: Device(1 << 20),
        ino,
        generation: 1,
    }
}

/// Where a program is.
fn place(name: &str) -> String {
    match name.starts_with('/') {
        true => name.to_owned(),
        false => format!("/usr/bin/{name}"),
    }
}

impl Scene {
    pub fn new() -> Self {
        Self::with(
            Rules::built_in()
                .map_err(|error| format!("{error:#}"))
                .unwrap(),
        )
    }

    pub fn with(rules: Rules) -> Self {
        let mut engine = Engine::new(rules);
        engine.set_observer(OBSERVER);
        Self {
            engine,
            found: Vec::new(),
            ts_ns: 1_000_000_000_000,
            last: 0,
            last_pid: 100,
            calls: 0,
        }
    }

    /// With rules that are written here.
    pub fn of(rules: &str) -> Self {
        let mut all = Rules::default();
        all.add("here.yml", rules)
            .map_err(|error| format!("{error:#}"))
            .unwrap();
        Self::with(all)
    }

    /// The rules that found something, in order.
    pub fn ids(mut self) -> Vec<String> {
        self.engine.finish(&mut self.found);
        self.found
            .into_iter()
            .map(|finding| finding.detail.rule)
            .collect()
    }

    pub fn wait(&mut self, seconds: u64) {
        self.ts_ns += seconds * 1_000_000_000;
    }

    pub fn deed(&mut self, process: ProcessId, what: What) -> u64 {
        self.last += 1;
        self.ts_ns += 1_000_000;
        let deed = Deed {
            number: self.last,
            ts_ns: self.ts_ns,
            process,
            tid: process.pid,
            comm: Comm(*b"thread\0\0\0\0\0\0\0\0\0\0"),
            what,
        };
        self.engine.deed(&deed, &mut self.found);
        self.last
    }

    pub fn fork(&mut self, parent: ProcessId) -> ProcessId {
        self.last_pid += 1;
        let child = ProcessId {
            pid: self.last_pid,
            start_ns: self.ts_ns,
        };
        let fork = Fork {
            child_pid: child.pid,
            child,
            child_ns_pid: None,
        };
        self.deed(parent, What::Fork(fork));
        child
    }

    /// The first process of the tree.
    pub fn first(&mut self, args: &[&str]) -> ProcessId {
        let process = ProcessId {
            pid: 100,
            start_ns: 7,
        };
        self.exec(process, args);
        process
    }

    pub fn exec(&mut self, process: ProcessId, args: &[&str]) {
        self.exec_as(process, args, |_| {});
    }

    pub fn exec_as(&mut self, process: ProcessId, args: &[&str], change: impl FnOnce(&mut Exec)) {
        let exe = place(args[0]);
        let mut exec = Exec {
            filename: exe.clone(),
            exe_file: Some(inode(exe.bytes().map(u64::from).sum())),
            exe: Some(path(&exe)),
            args: args.iter().map(|word| (*word).to_owned()).collect(),
            cwd: Some(path("/home/me/project")),
            identity: Some(identity(1000, 1000)),
            env: BTreeMap::from([("PATH".to_owned(), "/usr/bin".to_owned())]),
            ..Exec::default()
        };
        change(&mut exec);
        self.deed(process, What::Exec(Box::new(exec)));
    }

    /// A child that runs this.
    pub fn run(&mut self, parent: ProcessId, args: &[&str]) -> ProcessId {
        let child = self.fork(parent);
        self.exec(child, args);
        child
    }

    pub fn exit(&mut self, process: ProcessId) {
        let exit = Exit {
            code: Some(0),
            signal: None,
            core: false,
            cpu_ns: 1,
            peak_rss: 4096,
        };
        self.deed(process, What::Exit(exit));
    }

    pub fn file(
        &mut self,
        process: ProcessId,
        kind: FileKind,
        name: &str,
        change: impl FnOnce(&mut File),
    ) {
        let mut file = File {
            path: Some(path(name)),
            ..File::default()
        };
        change(&mut file);
        self.deed(process, What::File(kind, Box::new(file)));
    }

    /// Opens a file for writing, writes and closes it.
    pub fn write(&mut self, process: ProcessId, name: &str, ino: u64) {
        self.file(process, FileKind::Open, name, |file| {
            file.flags = vec!["write", "create"];
            file.created = true;
            file.inode = Some(inode(ino));
        });
        self.file(process, FileKind::Write, name, |file| {
            file.inode = Some(inode(ino));
            file.bytes = Some(10);
            file.closed = true;
        });
    }

    pub fn read(&mut self, process: ProcessId, name: &str) {
        self.file(process, FileKind::Open, name, |file| {
            file.flags = vec!["read"];
            file.watched = true;
        });
    }

    pub fn rename(&mut self, process: ProcessId, from: &str, to: &str) {
        self.file(process, FileKind::Rename, from, |file| {
            file.to = Some(path(to))
        });
    }

    pub fn connect(&mut self, process: ProcessId, peer: &str, host: Option<&str>) {
        let net = Net {
            protocol: "tcp".to_owned(),
            peer: Some(peer.to_owned()),
            host: host.map(str::to_owned),
            ..Net::default()
        };
        self.deed(process, What::Net(NetKind::Connect, Box::new(net)));
    }

    pub fn stdio(&mut self, process: ProcessId, stream: &'static str, pipe: u64) {
        let stdio = Stdio {
            stream,
            direction: if stream == "stdin" { "read" } else { "write" },
            offset: 0,
            pipe,
            data: Some("echo hi\n".to_owned()),
            data_b64: None,
            missing: 0,
        };
        self.deed(process, What::Stdio(stdio));
    }

    pub fn signal(&mut self, process: ProcessId, name: &'static str, target: u32) {
        let signal = Signal {
            signal: 9,
            name: Some(name),
            target: target as i32,
            error: None,
        };
        self.deed(process, What::Signal(signal));
    }

    pub fn ptrace(&mut self, process: ProcessId, request: &'static str, target: u32) {
        let ptrace = Ptrace {
            request: PtraceRequest::Named(request),
            target: target as i32,
            error: None,
        };
        self.deed(process, What::Ptrace(ptrace));
    }

    pub fn become_user(&mut self, process: ProcessId, identity: Identity) {
        self.deed(process, What::Identity(identity));
    }

    /// A model is asked this, and answers with these parts. The call's name.
    pub fn call(&mut self, agent: ProcessId, asked: Vec<Part>, answer: Vec<Part>) -> u64 {
        self.calls += 1;
        let call = Call {
            provider: "anthropic".into(),
            operation: Operation::Chat,
            request: Request {
                messages: vec![Message::new("user", asked)],
                ..Request::default()
            },
            response: None,
        };
        let question = Asked {
            name: CallName(self.calls),
            call: call.clone(),
            authority: None,
            bytes: 10,
            thread: None,
            retry: None,
        };
        self.ts_ns += 1_000_000;
        let began_ns = self.ts_ns;
        self.say(agent, dialog::What::Asked(Box::new(question)));
        self.ts_ns += 500_000_000;
        let answer = Choice {
            message: Message::new("assistant", answer),
            ..Choice::default()
        };
        let report = CallReport {
            name: CallName(self.calls),
            dialect: "anthropic",
            authority: None,
            call: Call {
                response: Some(Response {
                    choices: vec![answer],
                    ..Response::default()
                }),
                ..call
            },
            status: Some(200),
            thread: None,
            retry: None,
            cost: None,
            timings: dialog::said::Timings {
                began_ns,
                first_token_ms: Some(300.0),
                ..Default::default()
            },
            error: None,
            incomplete: Vec::new(),
        };
        self.say(agent, dialog::What::Call(Box::new(report)));
        self.calls
    }

    fn say(&mut self, process: ProcessId, what: dialog::What) {
        let said = Said {
            origin: Origin {
                ts_ns: self.ts_ns,
                process,
                tid: process.pid,
                comm: Comm([0; 16]),
                function: Arc::new(Function {
                    library: "openssl".into(),
                    name: "SSL_write".into(),
                }),
                conn: ConnName(1),
                fd: None,
            },
            exchange: ExchangeId(1),
            role: Role::Client,
            is_understood: true,
            what,
        };
        self.engine.said(&said, &mut self.found);
    }
}

pub fn identity(uid: u32, euid: u32) -> Identity {
    Identity {
        uid,
        gid: uid,
        euid,
        egid: euid,
        error: None,
    }
}

pub fn text(text: &str) -> Part {
    Part::Text {
        content: text.to_owned(),
        citations: Vec::new(),
    }
}

pub fn tool_call(id: &str, command: &str) -> Part {
    Part::ToolCall {
        id: Some(id.to_owned()),
        name: "Bash".to_owned(),
        arguments: serde_json::json!({ "command": command }),
    }
}

pub fn tool_result(id: &str, text: &str) -> Part {
    Part::ToolCallResponse {
        id: Some(id.to_owned()),
        name: None,
        response: Value::String(text.to_owned()),
        is_error: false,
    }
}
