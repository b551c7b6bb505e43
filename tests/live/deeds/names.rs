//! Whoever chooses a name, of a file, a process, a socket, a host, forges nothing with it: each line is what was done, there
//! is no other, and a terminal is not moved.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::{AGENTSIGHT, Recorded};
use crate::program;
use crate::support::require;

/// Of these, nothing may be told that was not done.
const COUNTED: [&str; 11] = [
    "file.memfd",
    "file.mkdir",
    "file.rename",
    "file.symlink",
    "file.unlink",
    "finding",
    "net.bind",
    "net.connect",
    "net.dns",
    "process.exec",
    "process.fork",
];
/// In them, all that was written down is compared; the last two are the program's own and its log's.
const EXTRA: [(&str, usize); 1] = [("process.exec", 1)];

/// Whether a line says all that was written down, and of names no more.
fn says(line: &Value, done: &Value) -> bool {
    let fields = done.as_object().unwrap();
    let is_odd = |name: &str| name.ends_with("_b64") && !fields.contains_key(name);
    let mut told = line.as_object().unwrap().keys();
    fields
        .iter()
        .all(|(name, value)| line.get(name) == Some(value))
        && !told.any(|name| is_odd(name))
}

/// What the program does, and says that it did.
fn run() -> Option<(Recorded, Vec<Value>)> {
    let (place, python) = (Recorded::place()?, program("python3")?);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/live/deeds/names.py");
    let (log, folder) = (place.path("log"), place.path("folder"));
    fs::create_dir(&folder).unwrap();
    let paths = [&python, &script, &log, &folder].map(|path| path.to_str().unwrap().to_owned());
    let [python, script, log_path, folder] = &paths;
    let said = place.run(&[python, script, log_path, folder, "/bin/true"]);
    assert!(said.contains("lost: nothing"), "{said}");
    let done = fs::read_to_string(log).unwrap();
    let done = done.lines().map(|line| serde_json::from_str(line).unwrap());
    Some((place, done.collect()))
}

/// A program could write other lines than its own into the story, or hide behind another name.
#[test]
fn root_names_forge_no_line() {
    let (place, done) = require!(run());
    let mut lines = place.lines();
    let counts = count(&lines);
    let mut untold = Vec::new();
    for done in &done {
        match lines.iter().position(|line| says(line, done)) {
            Some(at) => drop(lines.remove(at)),
            None => untold.push(done),
        }
    }
    let near = |done: &Value| {
        let is_near = |line: &&Value| line["type"] == done["type"] && line["pid"] == done["pid"];
        lines.iter().find(is_near).cloned()
    };
    let untold: Vec<_> = untold.iter().map(|done| (done, near(done))).collect();
    assert!(untold.is_empty(), "not told: {untold:#?}");
    let expected = count(&done);
    for kind in COUNTED {
        let extra = EXTRA.iter().find(|(of, _)| *of == kind);
        let extra = extra.map_or(0, |(_, count)| *count);
        let of = |counts: &BTreeMap<String, usize>| counts.get(kind).copied().unwrap_or(0);
        if kind == "finding" {
            assert!(lines.iter().all(|line| line.get("forged").is_none()));
            continue;
        }
        assert_eq!(of(&counts), of(&expected) + extra, "{kind}");
    }
}

fn count(lines: &[Value]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for line in lines {
        *counts
            .entry(line["type"].as_str().unwrap().to_owned())
            .or_default() += 1;
    }
    counts
}

/// A program could clear the terminal of whoever watches it, or write a line there.
#[test]
fn root_names_move_no_terminal() {
    let (place, done) = require!(run());
    for view in [&[][..], &["--view", "tree"]] {
        let output = Command::new(AGENTSIGHT)
            .args(["replay", "--redact", "off"])
            .args(view)
            .arg(place.path("run.rec"))
            .output()
            .unwrap();
        let shown = String::from_utf8(output.stdout).unwrap();
        let odd: Vec<_> = shown
            .lines()
            .filter(|line| line.chars().any(is_odd))
            .collect();
        assert!(odd.is_empty(), "{odd:#?}");
        assert!(shown.lines().count() > done.len() / 4, "{shown}");
        // The name of a forged line stands in lines, and begins none.
        assert!(shown.contains("bash[1] $ forged"), "{shown}");
        assert!(!shown.contains("\n12:34:56.789012 bash[1]"), "{shown}");
    }
}

/// What moves a cursor, or turns the text round.
fn is_odd(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    turns || c.is_control()
}
