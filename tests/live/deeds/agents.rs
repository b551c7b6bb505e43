//! Agents that do what a model's script says: which words led to which program, file, host and process, by the graph, is held
//! against the script.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use agentsight_testbins::llm::{MockServer, Options};
use serde_json::{Value, json};

use super::score::{Run, Score, wanted};
use super::script::{Script, Surroundings, Tools, call};
use super::{AGENTSIGHT, observe};
use crate::llm::agents;
use crate::llm::clients::{Scene, leave_network, sdks};
use crate::support::{repository, require, sample};
use crate::{is_extended, is_root, program};

/// Of the small agent, and of Claude Code.
const TOOLS: Tools = Tools {
    shell: |command| call("Bash", &json!({"command": command})),
    write: Some(|path, content| call("Write", &json!({"file_path": path, "content": content}))),
    edit: Some(|path, old, new| {
        let arguments = json!({"file_path": path, "old_string": old, "new_string": new});
        call("Edit", &arguments)
    }),
    read: Some(|path| call("Read", &json!({"file_path": path}))),
    fetch: Some(|url| call("Fetch", &json!({"url": url}))),
    mcp: Some(|tool, arguments| call(&format!("mcp__things__{tool}"), &arguments)),
};

/// Of the agent of LangChain.
const LANGCHAIN_TOOLS: Tools = Tools {
    shell: |command| call("run_command", &json!({"command": command})),
    write: Some(|path, content| call("write_file", &json!({"path": path, "content": content}))),
    edit: Some(|path, old, new| call("edit_file", &json!({"path": path, "old": old, "new": new}))),
    read: Some(|path| call("read_file", &json!({"path": path}))),
    fetch: Some(|url| call("fetch", &json!({"url": url}))),
    mcp: Some(|tool, arguments| call(tool, &arguments)),
};

/// Of codex, which takes patches out of the commands that it is to run, and applies them itself.
const CODEX_TOOLS: Tools = Tools {
    shell: |command| call("exec_command", &json!({"cmd": command})),
    write: Some(|path, content| {
        let lines: String = content.lines().map(|line| format!("+{line}\n")).collect();
        patch(&format!("*** Add File: {path}\n{lines}"))
    }),
    edit: Some(|path, old, new| patch(&format!("*** Update File: {path}\n@@\n-{old}\n+{new}\n"))),
    read: None,
    fetch: None,
    // It wants those of a server in a namespace, which the mock server does not speak.
    mcp: None,
};

fn patch(change: &str) -> Value {
    let patch = format!("*** Begin Patch\n{change}*** End Patch\n");
    (CODEX_TOOLS.shell)(&format!("apply_patch <<'EOF'\n{patch}EOF"))
}

/// A server with a script, another for a sub-agent, pages, and where all that is.
struct Stage {
    scene: Scene,
    below: MockServer,
    scripts: [Script; 2],
    folder: tempfile::TempDir,
    python: PathBuf,
}

impl Stage {
    fn set(tools: &Tools, python: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().canonicalize().unwrap();
        leave_network();
        let sub_script = Script::of_sub_agent(&path, &TOOLS);
        // Numbers of tool calls are drawn from the seed.
        let options = Options {
            seed: 2,
            turns: Some(sub_script.save("All done below.")),
            ..Options::default()
        };
        let below = path.join("below");
        fs::create_dir(&below).unwrap();
        let below = MockServer::start(options, &below).unwrap();
        let source = agents::small_source();
        let url = below.url();
        let sub_agent = [python, &source, Path::new(&url), &below.ca];
        let around = Surroundings {
            pages: pages("127.0.0.12"),
            more_pages: pages("127.0.0.13"),
            agent: sub_agent.map(|word| word.to_str().unwrap()).join(" "),
            model: SocketAddr::from(([127, 0, 0, 1], below.port)),
        };
        let script = Script::of_everything(&path, tools, &around);
        let scene = Scene::set_here(Options {
            turns: Some(script.save("All done.")),
            ..Options::default()
        });
        Self {
            scene,
            below,
            scripts: [script, sub_script],
            folder,
            python: python.to_owned(),
        }
    }

    /// The words that run the server of MCP.
    fn server(&self) -> [PathBuf; 3] {
        let source = repository().join("tests/live/deeds/mcp_server.py");
        [self.python.clone(), source, self.log()]
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("asked.jsonl")
    }

    /// Runs the agent to its end, and demands that the graph is what the scripts say.
    fn judge(&self, what: &str, agent: &Command) {
        let lines = observe(&self.scene, agent);
        let folder = self.folder.path().canonicalize().unwrap();
        let truth = [self.scene.server.truth(), self.below.truth()];
        let truth = truth.map(Result::unwrap).concat();
        let asked = fs::read_to_string(self.log()).unwrap_or_default();
        let asked = asked
            .lines()
            .map(|line| serde_json::from_str(line).unwrap());
        let asked: Vec<Value> = asked.collect();
        let scripts = self.scripts.each_ref();
        let run = Run::new(&lines, (&folder, &scripts), (&truth, &asked));
        let scores: Vec<(&str, Score)> = wanted(&scripts)
            .into_iter()
            .map(|(kind, wanted)| match kind {
                "why" => (kind, run.why(&wanted, |what| self.why(what))),
                kind => (kind, run.score(kind, &wanted)),
            })
            .collect();
        for (kind, score) in &scores {
            eprintln!("{}", score.row(what, kind));
        }
        let wrong: Vec<_> = scores
            .iter()
            .filter(|(_, score)| !score.is_right())
            .collect();
        assert!(wrong.is_empty(), "{what}: {wrong:#?}");
    }

    fn why(&self, what: &str) -> Value {
        let said = Command::new(AGENTSIGHT)
            .args(["why", "--json", what])
            .arg(self.scene.dir.path().join("run.rec"))
            .output()
            .unwrap();
        // What nobody did has no chain.
        serde_json::from_slice(&said.stdout).unwrap_or_default()
    }
}

/// Serves pages at this address of the loopback device.
fn pages(address: &str) -> SocketAddr {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let at = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            page(stream.unwrap());
        }
    });
    at
}

fn page(mut stream: TcpStream) {
    let mut head = BufReader::new(stream.try_clone().unwrap()).lines();
    let first = head.next().unwrap().unwrap();
    let _rest = head.find(|line| line.as_ref().unwrap().is_empty());
    let body = format!("This page was asked for by {first}.\n");
    let length = body.len();
    let answer =
        format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}");
    stream.write_all(answer.as_bytes()).unwrap();
}

/// An agent's program, file or host would be put down to words that did not cause it, or to none.
#[test]
fn root_deeds_of_a_python_agent_have_their_causes() {
    if !is_root() {
        return;
    }
    let python = require!(program("python3"));
    let packages = require!(sdks("langchain"));
    let stage = Stage::set(&TOOLS, &python);
    let mut agent = agents::small(&stage.scene, &python);
    agent
        .args(stage.server())
        .env("PYTHONPATH", packages)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    stage.judge("Python", &agent);
}

/// The same of an agent on a framework.
#[test]
fn root_deeds_of_langchain_have_their_causes() {
    if !is_root() {
        return;
    }
    let python = require!(program("python3"));
    let packages = require!(sdks("langchain"));
    let stage = Stage::set(&LANGCHAIN_TOOLS, &python);
    let mut agent = agents::langchain(&stage.scene, &python, &packages);
    agent.args(stage.server());
    stage.judge("LangChain", &agent);
}

/// The same of Claude Code.
#[test]
fn root_deeds_of_claude_code_have_their_causes() {
    if !is_root() || !is_extended() {
        return;
    }
    let claude = require!(sample("claude-code-x64")).path;
    let python = require!(program("python3"));
    let packages = require!(sdks("langchain"));
    let tools = Tools {
        fetch: None,
        ..TOOLS
    };
    let stage = Stage::set(&tools, &python);
    let [python, source, log] = stage.server();
    let servers = json!({"mcpServers": {"things": {
        "command": python, "args": [source, log],
        "env": {"PYTHONPATH": packages, "PYTHONDONTWRITEBYTECODE": "1"}}}});
    let servers = servers.to_string();
    let folder = stage.folder.path().to_str().unwrap();
    let allowed = ["Bash", "Edit", "Read", "Write", "mcp__things"];
    let more = ["--add-dir", folder, "--mcp-config", &servers];
    let agent = agents::claude_code(&stage.scene, &claude, &allowed, &more);
    stage.judge("Claude Code", &agent);
}

/// The same of codex.
#[test]
fn root_deeds_of_codex_have_their_causes() {
    if !is_root() || !is_extended() {
        return;
    }
    let codex = require!(sample("codex-x64-new")).path;
    let python = require!(program("python3"));
    let stage = Stage::set(&CODEX_TOOLS, &python);
    let agent = agents::codex(&stage.scene, &codex, "");
    stage.judge("codex", &agent);
}
