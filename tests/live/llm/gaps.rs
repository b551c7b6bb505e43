//! An observer that is not let run loses bytes in the middle of calls: what is lost is told, calls that it touches say so,
//! and none is made up or gets the answer of another one. Behind the loss, on the same connections, all is told again.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::compare;
use super::phases::{Runtime, Stage, question};
use crate::capture::{Capture, Captured, sum};
use crate::is_root;
use crate::support::require;

/// That are kept.
const CONNECTIONS: u32 = 4;
/// Calls before, during and behind the losses. A loss shows with the next bytes of its direction: the first calls behind it
/// may be touched, one on each connection.
const BEFORE: usize = 24;
const DURING: usize = 600;
const SHOWING: usize = 2 * CONNECTIONS as usize;
const BEHIND: usize = 40;
/// Of those in which bytes are lost: they make more than the buffer holds.
const STARVED: usize = 300;

/// What is wrong with the calls that were told, and how many say that something is missing.
#[derive(Default)]
struct Judged {
    wrong: Vec<String>,
    marked: usize,
    whole: usize,
    missing: usize,
}

fn judge(truth: &[Value], captured: &Captured) -> Judged {
    let mut judged = Judged::default();
    let mut told: BTreeMap<u64, &Value> = BTreeMap::new();
    for call in captured
        .lines
        .iter()
        .filter(|line| line["type"] == "llm.call")
    {
        match question(call) {
            Some(number) => {
                if told.insert(number, call).is_some() {
                    judged
                        .wrong
                        .push(format!("question {number} is told twice"));
                }
            }
            None if is_marked(call) => judged.marked += 1,
            None => judged.wrong.push(format!("nobody asked this: {call}")),
        }
    }
    for (at, line) in truth.iter().enumerate() {
        let number = question(line).unwrap();
        let is_spared = !(BEFORE..BEFORE + DURING + SHOWING).contains(&at);
        let Some(call) = told.remove(&number) else {
            judged.missing += 1;
            if is_spared {
                judged.wrong.push(format!("question {number} is not told"));
            }
            continue;
        };
        let is_marked = is_marked(call);
        judged.marked += usize::from(is_marked);
        judged.whole += usize::from(!is_marked);
        if is_marked && !is_spared {
            judged.wrong.extend(other_answer(line, call));
        } else {
            let differ = compare::differences(line, call);
            judged.wrong.extend(
                differ
                    .into_iter()
                    .map(|one| format!("question {number}: {one}")),
            );
        }
    }
    let left = told.keys();
    judged
        .wrong
        .extend(left.map(|number| format!("question {number} was never asked")));
    judged
}

/// It says what it lacks, and where.
fn is_marked(call: &Value) -> bool {
    let lacks = call["incomplete"].as_array();
    let is_placed = |lack: &Value| lack["of"].is_string() && lack["at"].is_u64();
    lacks.is_some_and(|lacks| !lacks.is_empty() && lacks.iter().all(is_placed))
}

/// What came of an answer is of the question's own answer.
fn other_answer(truth: &Value, call: &Value) -> Option<String> {
    let (said, seen) = (&truth["response"], &call["response"]);
    let id = &seen["id"];
    if !id.is_null() && *id != said["id"] {
        return Some(format!("{} is told with the answer {id}", truth["id"]));
    }
    let mut choices = seen["choices"].as_array().into_iter().flatten();
    let other = choices.find(|choice| {
        let index = choice["index"].as_u64().unwrap() as usize;
        let meant = said["choices"][index]["text"].as_str().unwrap_or_default();
        let parts = choice["message"]["parts"].as_array().unwrap().iter();
        let texts = parts.filter(|part| part["type"] == "text");
        let text: String = texts
            .map(|part| part["content"].as_str().unwrap())
            .collect();
        !is_part(&text, meant)
    });
    other.map(|choice| format!("{} never said {}", truth["id"], choice["message"]))
}

/// All of its characters are there, in this order.
fn is_part(part: &str, whole: &str) -> bool {
    let mut rest = whole.chars();
    part.chars().all(|c| rest.any(|other| other == c))
}

/// Bytes that the summary says were lost.
fn lost(captured: &Captured) -> u64 {
    let lines = captured.stderr.lines();
    let lost = lines.filter_map(|line| line.trim().strip_prefix("lost: "));
    let bytes = lost.filter_map(|line| {
        line.split_once('(')?
            .1
            .split_once(" B")?
            .0
            .parse::<u64>()
            .ok()
    });
    bytes.sum()
}

/// Calls meanwhile, so that losses begin and end in the middle of them.
fn starve(stage: &mut Stage, capture: &Capture) {
    let Stage { client, server, .. } = stage;
    std::thread::scope(|scope| {
        let calls = scope.spawn(|| client.order(&DURING.to_string()));
        capture.signal("STOP");
        while !calls.is_finished() && server.truth().unwrap().len() < BEFORE + STARVED {
            std::thread::sleep(Duration::from_millis(20));
        }
        while !calls.is_finished() {
            capture.signal("CONT");
            std::thread::sleep(Duration::from_millis(40));
            capture.signal("STOP");
            std::thread::sleep(Duration::from_millis(200));
        }
        capture.signal("CONT");
    });
}

fn starved(runtime: Runtime, version: &str) {
    if !is_root() {
        return;
    }
    let mut stage = require!(Stage::set(runtime, version, CONNECTIONS, 0));
    let pid = stage.client.pid().to_string();
    let witness = Capture::start_alone(&stage.observed, &["--pid", &pid, "--no-system"]);
    let capture = Capture::start_alone(
        &stage.observed,
        &["--pid", &pid, "--no-system", "--buffer", "512K"],
    );
    stage.client.order(&BEFORE.to_string());
    std::thread::sleep(Duration::from_millis(300));
    starve(&mut stage, &capture);
    std::thread::sleep(Duration::from_millis(700));
    stage.client.order(&SHOWING.to_string());
    std::thread::sleep(Duration::from_millis(300));
    stage.client.order(&BEHIND.to_string());
    stage.client.end();
    let captured = capture.stop();
    let witness = witness.stop();
    witness.assert_whole();
    let truth = stage.server.truth().unwrap();
    assert_eq!(truth.len(), BEFORE + DURING + SHOWING + BEHIND);
    let told = sum(&captured.gaps, "tls.gap", "bytes");
    let kept = sum(&captured.lines, "tls.data", "len");
    let judged = judge(&truth, &captured);
    eprintln!(
        "{runtime:?} {version}: {told} B lost, {} calls whole, {} marked, {} missing",
        judged.whole, judged.marked, judged.missing
    );
    assert!(told > 0, "nothing was lost: {}", captured.stderr);
    assert_eq!(lost(&captured), told, "{}", captured.stderr);
    let all = sum(&witness.lines, "tls.data", "len");
    assert_eq!(told + kept, all, "{}", captured.stderr);
    assert!(judged.wrong.is_empty(), "{}", judged.wrong.join("\n"));
    assert!(judged.marked + judged.missing > 0);
    let seen = judge(&truth, &witness);
    assert_eq!(
        (seen.wrong.as_slice(), seen.marked, seen.missing),
        (&[][..], 0, 0)
    );
}

/// On connections of HTTP/1.1, calls are paired wrong where bytes are lost, or stay lost for good.
#[test]
fn root_gaps_http1() {
    starved(Runtime::Node, "h1");
}

/// The same of HTTP/2, where the table of header fields is lost too.
#[test]
fn root_gaps_http2() {
    starved(Runtime::Node, "h2");
}

/// The same, with paths in that table.
#[test]
fn root_gaps_http2_without_paths() {
    starved(Runtime::Python, "h2");
}
