//! What real clients say to a mock LLM server, and what it says to them, is what `attach` tells: call by call and field by
//! field, against the server's own log.

pub mod agents;
mod chosen;
pub mod clients;
mod compare;
mod gaps;
mod late;
mod phases;
mod recorded;
mod secrets;
mod terminal;

use std::path::{Path, PathBuf};

use agentsight_testbins::llm::Options;

use crate::rust_agent::named;
use crate::support::{require, sample};
use crate::{is_extended, is_root, program, skip};
use clients::{Scene, driver, sdks};

/// OpenSSL of the system, which its Python and its curl use.
pub fn libssl() -> Option<PathBuf> {
    let path = Path::new("/usr/lib/x86_64-linux-gnu/libssl.so.3");
    if path.exists() {
        return path.canonicalize().ok();
    }
    skip("libssl.so.3");
    None
}

/// Runs `calls.py` for these APIs.
fn python(apis: &[&str], at_least: usize) {
    if !is_root() {
        return;
    }
    let packages = require!(sdks("python"));
    let python = require!(program("python3"));
    let (scene, capture) = Scene::start(&require!(libssl()), Options::default());
    let mut command = scene.command(&python);
    command
        .env("PYTHONPATH", packages)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg(driver("calls.py"))
        .arg(scene.server.url())
        .args(apis);
    scene.run(&mut command);
    scene.compare(&format!("Python {apis:?}"), capture, at_least);
}

/// Runs `calls.mjs`, or another driver for JavaScript, in this sample.
fn javascript(runtime: &str, script: &str, apis: &[&str], at_least: usize) {
    if !is_root() {
        return;
    }
    let packages = require!(sdks("node"));
    let runtime = require!(sample(runtime)).path;
    let (scene, capture) = Scene::start(&runtime, Options::default());
    let mut command = scene.command(&runtime);
    command
        .env("NODE_CLIENTS", packages)
        .arg(driver(script))
        .arg(scene.server.url())
        .args(apis);
    scene.run(&mut command);
    scene.compare(
        &format!("{} {apis:?}", runtime.display()),
        capture,
        at_least,
    );
}

/// The calls of OpenAI's Python SDK are told wrong: chat, responses, embeddings, tools, retries, faults, HTTP/2.
#[test]
fn root_python_openai() {
    python(&["openai"], 40);
}

/// The same of Azure's deployments.
#[test]
fn root_python_azure() {
    python(&["azure"], 3);
}

/// The same of Anthropic's Python SDK: thinking, searches, citations, tools, faults.
#[test]
fn root_python_anthropic() {
    python(&["anthropic"], 20);
}

/// The same of Google's Python SDK, and of streams that are one JSON array.
#[test]
fn root_python_google() {
    python(&["google", "array"], 15);
}

/// The same of boto3: event streams.
#[test]
fn root_python_bedrock() {
    python(&["bedrock"], 12);
}

/// What a client of the Model Context Protocol and its server say is not told.
#[test]
fn root_python_mcp() {
    python(&["mcp"], 8);
}

/// Lines of JSON, and Cohere's events, are told wrong.
#[test]
fn root_python_ollama_cohere() {
    python(&["ollama", "cohere"], 10);
}

/// The calls of OpenAI's npm SDK in node are told wrong.
#[test]
fn root_node_openai() {
    javascript("node-x64-20", "calls.mjs", &["openai"], 35);
}

/// The same of Anthropic's.
#[test]
fn root_node_anthropic() {
    javascript("node-x64-20", "calls.mjs", &["anthropic"], 25);
}

/// The same of Google's.
#[test]
fn root_node_google() {
    javascript("node-x64-20", "calls.mjs", &["google"], 11);
}

/// Exchanges on a WebSocket are not told, or not in their order.
#[test]
fn root_node_websocket() {
    javascript("node-x64-20", "websocket.mjs", &[], 3);
}

/// The calls of the npm SDKs in bun are told wrong.
#[test]
fn root_bun() {
    javascript(
        "bun-x64-1.4",
        "calls.mjs",
        &["openai", "anthropic", "google"],
        75,
    );
}

/// Calls of curl over HTTP/1.1 and HTTP/2 on kept connections are told wrong.
#[test]
fn root_curl() {
    if !is_root() {
        return;
    }
    let curl = require!(program("curl"));
    let (scene, capture) = Scene::start(&require!(libssl()), Options::default());
    let mut command = scene.command(Path::new("/bin/bash"));
    command.arg(driver("curl.sh")).arg(scene.server.url());
    scene.run(command.arg(&scene.server.ca).arg(curl));
    scene.compare("curl", capture, 12);
}

/// Calls by reqwest and ureq over rustls, HTTP/1.1 and HTTP/2, are told wrong.
#[test]
fn root_rustls() {
    let Some(agent) = named("0.23-ring-http.lto.pie.strip") else {
        return;
    };
    let (scene, capture) = Scene::start(agent.path(), Options::default());
    let body = scene.dir.path().join("body.json");
    let chat = "{\"model\":\"gpt-5\",\"stream\":true,\"messages\":[{\"role\":\"user\",\"content\":\"hi é\"}]}";
    std::fs::write(&body, chat).unwrap();
    let port = scene.server.port.to_string();
    for client in [
        &["reqwest", "--http", "1"][..],
        &["reqwest", "--http", "2"],
        &["ureq"],
    ] {
        let mut command = scene.command(agent.path());
        command
            .args(client)
            .args(["--port", &port, "--messages", "4"]);
        command.args(["--connections", "2", "--post", "/v1/chat/completions"]);
        command.arg("--body").arg(&body);
        scene.run(command.arg("--ca").arg(&scene.server.ca));
    }
    scene.compare("rustls", capture, 24);
}

/// Of many calls at once, on connections that are kept and on connections that several share, one is told with the answer of
/// another, or not at all.
#[test]
fn root_pairing() {
    if !is_root() {
        return;
    }
    let node = require!(sample("node-x64-20")).path;
    let (scene, capture) = Scene::start(&node, Options::default());
    let calls = if is_extended() { 20_000 } else { 2_000 };
    let mut command = scene.command(&node);
    command.arg(driver("load.mjs")).arg(scene.server.url());
    scene.run(command.args([&calls.to_string(), "64"]));
    scene.compare("64 connections", capture, calls);
}

/// What Claude Code asks, which tools it runs and what they gave are told wrong.
#[test]
fn root_claude_code() {
    if !is_root() || !is_extended() {
        return;
    }
    let claude = require!(sample("claude-code-x64")).path;
    let options = Options {
        turns: Some(driver("claude-turns.json")),
        ..Options::default()
    };
    let (scene, capture) = Scene::start(&claude, options);
    let mut command = agents::claude_code(&scene, &claude, &["Bash"], &[]);
    let answer = scene.run(&mut command);
    assert!(answer.contains("All done: \"42\""), "{answer}");
    scene.compare("Claude Code", capture, 3);
}

fn codex(more: &str, at_least: usize) {
    if !is_root() || !is_extended() {
        return;
    }
    let codex = require!(sample("codex-x64-new")).path;
    let options = Options {
        turns: Some(driver("codex-turns.json")),
        ..Options::default()
    };
    let (scene, capture) = Scene::start(&codex, options);
    let mut command = agents::codex(&scene, &codex, more);
    let answer = scene.run(&mut command);
    assert!(answer.contains("All done: \"42\""), "{answer}");
    scene.compare(&format!("codex {more}"), capture, at_least);
}

/// The same of codex.
#[test]
fn root_codex() {
    codex("", 2);
}

/// The same over a WebSocket, where each request goes on from the answer before.
#[test]
fn root_codex_websocket() {
    codex("supports_websockets = true", 3);
}
