//! Processes and sockets: a program does what programs do, and each thing that it has written down is told, once.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::Recorded;
use crate::program;

/// Of these, nothing may be told that was not done.
const COUNTED: [&str; 10] = [
    "net.accept",
    "net.bind",
    "net.connect",
    "net.connected",
    "net.dns",
    "net.listen",
    "net.send",
    "process.ptrace",
    "process.setid",
    "process.signal",
];

/// Whether a line says all that was written down.
fn says(line: &Value, done: &Value) -> bool {
    let fields = done.as_object().unwrap();
    fields
        .iter()
        .all(|(name, value)| line.get(name) == Some(value))
}

/// An agent's command, or whom it spoke to, would not be known, or be another one.
#[test]
fn root_deeds_of_processes_and_sockets_are_all_told() {
    let (Some(place), Some(python)) = (Recorded::place(), program("python3")) else {
        return;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/live/deeds/acts.py");
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let log = place.path("log");
    let folder = place.path("folder");
    fs::create_dir(&folder).unwrap();
    place.run(&[&text(&python), &text(&script), &text(&log), &text(&folder)]);
    let mut lines = place.lines();
    let done = fs::read_to_string(&log).unwrap();
    let done: Vec<Value> = done
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let mut untold = Vec::new();
    for done in &done {
        match lines.iter().position(|line| says(line, done)) {
            Some(place) => drop(lines.remove(place)),
            None => untold.push(done),
        }
    }
    let own: BTreeSet<u64> = done
        .iter()
        .map(|done| done["pid"].as_u64().unwrap())
        .collect();
    let made_up: Vec<_> = lines
        .iter()
        .filter(|line| COUNTED.contains(&line["type"].as_str().unwrap()))
        .filter(|line| own.contains(&line["pid"].as_u64().unwrap()))
        .collect();
    assert!(
        untold.is_empty() && made_up.is_empty(),
        "not told: {untold:#?}\nmade up: {made_up:#?}"
    );
}

/// What a variable holds that nobody asked for would be kept.
#[test]
fn root_deeds_keep_secrets_out_of_recordings() {
    let Some(place) = Recorded::place() else {
        return;
    };
    let secret = ["sk-ant-api03-", &"Zq9".repeat(27), "AA"].concat();
    let command = "OTHER=value-$WORD TOKEN=$KEY /bin/echo --token $KEY | cat >&2";
    place.run_with(
        &[("WORD", "nobody-asked-for"), ("KEY", &secret)],
        &["/bin/sh", "-c", command],
    );
    let kept = place.kept();
    let holds = |text: &str| memchr::memmem::find(&kept, text.as_bytes()).is_some();
    // The variables' names are there, and the option before the secret.
    assert!(holds("OTHER=") && holds("--token"));
    for secret in ["value-nobody-asked-for", &secret] {
        assert!(!holds(secret), "{secret}");
    }
}
