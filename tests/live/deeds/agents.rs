//! Agents that do what a model's script says: which tool call led to which program and file is held against the script.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use agentsight_testbins::llm::Options;
use serde_json::{Value, json};

use super::AGENTSIGHT;
use crate::llm::clients::Scene;
use crate::llm::codex_home;
use crate::support::{require, sample};
use crate::{is_extended, is_root, program};

/// What the tools of an agent are called.
struct Tools {
    shell: &'static str,
    command: &'static str,
    /// A tool that writes files, if it has one.
    write: Option<&'static str>,
}

/// A script, with a word in each command that is in no other.
struct Script {
    turns: PathBuf,
    /// By the word: what is to be run.
    commands: BTreeMap<String, String>,
    /// What is to be written by a tool.
    file: Option<PathBuf>,
}

impl Script {
    fn write(folder: &Path, tools: &Tools) -> Self {
        let file = folder.join("made.sh");
        let made = file.to_str().unwrap();
        let mut texts = vec![
            format!("cat {}/private.txt; echo word-one", folder.display()),
            "echo \"it's word-two\" | wc -c".to_owned(),
            "false; echo word-three >&2".to_owned(),
            "cd / && ls | head -2 # word-four".to_owned(),
        ];
        let mut turns = Vec::new();
        let call = |text: &str| json!({"name": tools.shell, "arguments": {tools.command: text}});
        if let Some(write) = tools.write {
            let content = "#!/bin/sh\necho made >&2\n";
            let arguments = json!({"file_path": made, "content": content});
            turns.push(json!({"tool_calls": [{"name": write, "arguments": arguments}]}));
            texts.push(format!("chmod +x {made} && {made} word-five"));
        }
        turns.push(json!({"text": "First one.", "tool_calls": [call(&texts[0])]}));
        turns.push(json!({"tool_calls": [call(&texts[1]), call(&texts[2])]}));
        turns.extend(
            texts[3..]
                .iter()
                .map(|text| json!({"tool_calls": [call(text)]})),
        );
        turns.push(json!({"text": "All done."}));
        fs::write(folder.join("private.txt"), "nobody's business\n").unwrap();
        let path = folder.join("turns.json");
        fs::write(&path, serde_json::to_vec(&turns).unwrap()).unwrap();
        let word = |text: &str| {
            let start = text.find("word-").unwrap();
            let word = text[start..].split([' ', '"']).next().unwrap();
            word.to_owned()
        };
        Self {
            turns: path,
            commands: texts
                .iter()
                .map(|text| (word(text), text.clone()))
                .collect(),
            file: tools.write.map(|_| file),
        }
    }
}

/// Edges of one kind against the script.
#[derive(Debug, Default)]
struct Score {
    wanted: usize,
    right: usize,
    wrong: Vec<String>,
}

/// Runs an agent under `record`; the lines of its replay.
pub fn observe(scene: &Scene, agent: &mut Command) -> Vec<Value> {
    let recording = scene.dir.path().join("run.rec");
    let mut record = scene.command(Path::new(AGENTSIGHT));
    record
        .arg("record")
        .arg("-q")
        .arg("-o")
        .arg(&recording)
        .arg("--");
    record.arg(agent.get_program()).args(agent.get_args());
    record.envs(
        agent
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    let answer = scene.run(&mut record);
    assert!(answer.contains("All done."), "{answer}");
    let replayed = Command::new(AGENTSIGHT)
        .args(["replay", "--json", "--view", "llm", "-q"])
        .arg(&recording)
        .output()
        .unwrap();
    let lines = replayed.stdout.split(|byte| *byte == b'\n');
    let lines = lines.filter(|line| !line.is_empty());
    lines
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect()
}

/// The arguments of each tool call, by its node.
fn arguments(lines: &[Value]) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for call in lines.iter().filter(|line| line["type"] == "llm.call") {
        let name = call["call"].as_str().unwrap();
        for choice in call["response"]["choices"].as_array().into_iter().flatten() {
            for part in choice["message"]["parts"].as_array().unwrap() {
                if part["type"] == "tool_call" {
                    let node = format!("tool:{name}/{}", part["id"].as_str().unwrap());
                    all.insert(node, part["arguments"].to_string());
                }
            }
        }
    }
    all
}

/// Which program each tool call has run.
fn runs(lines: &[Value], script: &Script) -> Score {
    let arguments = arguments(lines);
    let execs: BTreeMap<&str, String> = lines
        .iter()
        .filter(|line| line["type"] == "process.exec")
        .map(|line| (line["event"].as_str().unwrap(), line["args"].to_string()))
        .collect();
    let mut score = Score {
        wanted: script.commands.len(),
        ..Score::default()
    };
    let mut found = BTreeSet::new();
    for edge in edges(lines, "runs") {
        let wanted = &arguments[edge["from"].as_str().unwrap()];
        let run = &execs[edge["to"].as_str().unwrap()];
        let word = script.commands.keys().find(|word| wanted.contains(*word));
        match word.filter(|word| run.contains(*word)) {
            Some(word) => drop(found.insert(word.clone())),
            None => score.wrong.push(format!("{wanted} -> {run}")),
        }
    }
    score.right = found.len();
    score
}

fn edges<'l>(lines: &'l [Value], kind: &'l str) -> impl Iterator<Item = &'l Value> {
    let edges = lines.iter().filter(|line| line["type"] == "graph.edge");
    edges.filter(move |edge| edge["kind"] == kind && edge["confidence"] == "exact")
}

/// Which file the writing tool has touched.
fn touches(lines: &[Value], script: &Script) -> Score {
    let arguments = arguments(lines);
    let mut score = Score {
        wanted: usize::from(script.file.is_some()),
        ..Score::default()
    };
    for edge in edges(lines, "touches") {
        let wanted = &arguments[edge["from"].as_str().unwrap()];
        let file = edge["to_name"].as_str().unwrap();
        match wanted.contains(file) {
            true => score.right = 1,
            false => score.wrong.push(format!("{wanted} -> {file}")),
        }
    }
    score
}

/// An agent's program would be put down to words that did not cause it, or to none.
fn judge(what: &str, lines: &[Value], script: &Script) {
    for (kind, score) in [
        ("runs", runs(lines, script)),
        ("touches", touches(lines, script)),
    ] {
        eprintln!(
            "{what}: {kind}: {} of {}, {} wrong",
            score.right,
            score.wanted,
            score.wrong.len()
        );
        assert!(score.wrong.is_empty(), "{what}: {kind}: {:#?}", score.wrong);
        assert_eq!(score.right, score.wanted, "{what}: {kind}");
    }
}

fn scene(tools: &Tools) -> (Scene, Script, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let script = Script::write(&folder.path().canonicalize().unwrap(), tools);
    let scene = Scene::set(Options {
        turns: Some(script.turns.clone()),
        ..Options::default()
    });
    (scene, script, folder)
}

#[test]
fn root_deeds_of_a_python_agent_have_their_causes() {
    if !is_root() {
        return;
    }
    let python = require!(program("python3"));
    let tools = Tools {
        shell: "Bash",
        command: "command",
        write: Some("Write"),
    };
    let (scene, script, _folder) = scene(&tools);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/live/deeds/agent.py");
    let mut agent = Command::new(python);
    agent
        .arg(source)
        .arg(scene.server.url())
        .arg(&scene.server.ca);
    let lines = observe(&scene, &mut agent);
    judge("Python", &lines, &script);
}

#[test]
fn root_deeds_of_claude_code_have_their_causes() {
    if !is_root() || !is_extended() {
        return;
    }
    let claude = require!(sample("claude-code-x64")).path;
    let tools = Tools {
        shell: "Bash",
        command: "command",
        write: Some("Write"),
    };
    let (scene, script, folder) = scene(&tools);
    let mut agent = Command::new(claude);
    agent
        .args(["-p", "--allowedTools", "Bash", "Write", "--add-dir"])
        .arg(folder.path())
        .args(["--", "please do it"])
        .env("ANTHROPIC_API_KEY", "not-a-real-key")
        .env("ANTHROPIC_BASE_URL", scene.server.url())
        .env("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1")
        .env("CLAUDE_CODE_TMPDIR", scene.dir.path())
        .env("DISABLE_AUTOUPDATER", "1")
        .env("DISABLE_ERROR_REPORTING", "1")
        .env("DISABLE_TELEMETRY", "1");
    let lines = observe(&scene, &mut agent);
    judge("Claude Code", &lines, &script);
}

#[test]
fn root_deeds_of_codex_have_their_causes() {
    if !is_root() || !is_extended() {
        return;
    }
    let codex = require!(sample("codex-x64-new")).path;
    let tools = Tools {
        shell: "exec_command",
        command: "cmd",
        write: None,
    };
    let (scene, script, _folder) = scene(&tools);
    let home = codex_home(&scene, "");
    let mut agent = Command::new(codex);
    agent
        .args(["exec", "--skip-git-repo-check", "please do it"])
        .env("CODEX_HOME", &home)
        .env("CODEX_CA_CERTIFICATE", &scene.server.ca)
        .env("DEMO_KEY", "not-a-real-key");
    let lines = observe(&scene, &mut agent);
    judge("codex", &lines, &script);
}
