//! Observers that come when connections have long been in use: later calls are told like those of a connection that was seen
//! from its start. What stands in a table of HTTP/2 that was not seen is told as unknown.

use std::collections::BTreeMap;

use serde_json::Value;

use super::clients::{command, driver, leave_network};
use super::compare;
use super::phases::{Peer, Runtime, Stage, question};
use crate::capture::{Capture, Captured};
use crate::is_root;
use crate::support::{require, sample};

/// Fields whose name or value nobody could know.
fn placeholders(captured: &Captured) -> usize {
    let heads = captured.lines.iter();
    let heads = heads.filter(|line| line["type"] == "http.request");
    let fields = heads.flat_map(|line| line["headers"].as_array().unwrap());
    let unknown = fields.filter(|field| field["value"].is_null());
    unknown
        .inspect(|field| assert!(field["name"].is_string()))
        .count()
}

/// Calls on three connections, attached after each has been in use; `orders` go before and behind.
fn late(runtime: Runtime, version: &str, [before, behind]: [&[&str]; 2]) -> Option<Captured> {
    if !is_root() {
        return None;
    }
    let mut stage = Stage::set(runtime, version, 3, 2)?;
    before.iter().for_each(|order| stage.client.order(order));
    let unseen = stage.server.truth().unwrap().len();
    let pid = stage.client.pid().to_string();
    let capture = Capture::start_alone(&stage.observed, &["--pid", &pid]);
    behind.iter().for_each(|order| stage.client.order(order));
    stage.client.end();
    let captured = capture.stop();
    captured.assert_whole();
    let truth = stage.server.truth().unwrap().split_off(unseen);
    assert!(truth.len() >= 8, "{}", truth.len());
    let complaints = compare::complaints(&truth, &captured.lines);
    eprintln!(
        "{runtime:?} {version}: {} later calls, {} complaints, {} placeholders",
        truth.len(),
        complaints.len(),
        placeholders(&captured)
    );
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    Some(captured)
}

/// Calls on connections of HTTP/1.1 that are kept are not told by who comes late.
#[test]
fn root_late_http1() {
    for runtime in [Runtime::Node, Runtime::Python] {
        let captured = require!(late(runtime, "h1", [&["9"], &["17"]]));
        assert_eq!(placeholders(&captured), 0);
    }
}

/// The same of HTTP/2, of a client that keeps paths out of the table.
#[test]
fn root_late_http2() {
    let captured = require!(late(Runtime::Node, "h2", [&["30"], &["40"]]));
    assert!(placeholders(&captured) > 0, "the table was known?");
}

/// The same of one that has paths in the table: what a call is, its body must tell.
#[test]
fn root_late_http2_without_paths() {
    let captured = require!(late(Runtime::Python, "h2", [&["12"], &["24"]]));
    let pathless = captured.lines.iter().filter(|line| {
        line["type"] == "http.request" && line["target"].is_null() && line["authority"].is_null()
    });
    assert_eq!(pathless.count(), 24);
}

/// Who comes in the middle of an answer takes its rest for something else, or loses what comes behind it.
#[test]
fn root_late_in_an_answer() {
    for version in ["h1", "h2"] {
        let orders: [&[&str]; 2] = [&["6", "begin"], &["rest", "12"]];
        require!(late(Runtime::Python, version, orders));
    }
}

/// A server that is observed late tells other calls than its client.
#[test]
fn root_late_at_both_ends() {
    if !is_root() {
        return;
    }
    let node = require!(sample("node-x64-20")).path;
    leave_network();
    let dir = tempfile::tempdir().unwrap();
    agentsight_testbins::rust::certificate(dir.path()).unwrap();
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| dir.path().join(name));
    let start = |words: &[&str]| {
        let mut command = command(&node, dir.path(), &cert);
        Peer::start(command.arg(driver("phases.mjs")).args(words))
    };
    let mut server = start(&["--server", cert.to_str().unwrap(), key.to_str().unwrap()]);
    let said = server.line();
    let port = said.strip_prefix("listening ").unwrap();
    let mut client = start(&[&format!("https://127.0.0.1:{port}"), "h2", "2", "chat"]);
    client.order("20");
    let pids = format!("{},{}", client.pid(), server.pid());
    let capture = Capture::start_alone(&node, &["--pid", &pids]);
    client.order("25");
    client.end();
    server.end();
    let captured = capture.stop();
    captured.assert_whole();
    assert!(placeholders(&captured) > 0, "the table was known?");
    let mut seen: BTreeMap<(u64, &str), usize> = BTreeMap::new();
    for call in of_kind(&captured, "llm.call") {
        assert_eq!(call["incomplete"], Value::Null, "{call}");
        assert_eq!(
            said_in(&call["response"]["choices"][0]["message"]),
            said_in(&call["request"]["messages"][0])
        );
        let role = call["role"].as_str().unwrap();
        *seen.entry((question(call).unwrap(), role)).or_default() += 1;
    }
    let meant = (20..45).flat_map(|number| [(number, "client"), (number, "server")]);
    let meant: BTreeMap<_, _> = meant.map(|call| (call, 1)).collect();
    assert_eq!(seen, meant, "{}", captured.stderr);
}

fn of_kind<'l>(captured: &'l Captured, kind: &'static str) -> impl Iterator<Item = &'l Value> {
    captured
        .lines
        .iter()
        .filter(move |line| line["type"] == kind)
}

fn said_in(message: &Value) -> String {
    let parts = message["parts"].as_array().unwrap().iter();
    parts
        .map(|part| part["content"].as_str().unwrap())
        .collect()
}
