//! Programs that run a second time are known, and not looked at again. What is new in them is seen all the same, and nothing is
//! said to be missed that was not.

use std::fs;
use std::path::Path;
use std::process::Command;

use jiff::Timestamp;
use serde_json::Value;

use super::{AGENTSIGHT, assert_missed_or_seen, logged, pair, replay};
use crate::capture::Captured;
use crate::support::require;
use crate::{is_root, program};

/// Records a shell's command.
fn record(dir: &Path, script: &str) -> Captured {
    let recording = dir.join("run.rec");
    let record = Command::new(AGENTSIGHT)
        .args(["record", "--no-redact", "-o"])
        .arg(&recording)
        .args(["--", "sh", "-ec", script])
        .env("AGENTSIGHT_CACHE", dir.join("cache"))
        .env_remove("SUDO_UID")
        .output()
        .unwrap();
    let said = String::from_utf8(record.stderr).unwrap();
    assert!(record.status.success(), "{said}");
    replay(&recording, &said)
}

fn missed(captured: &Captured) -> Vec<&Value> {
    let missed = captured.lines.iter();
    missed.filter(|line| line["type"] == "tls.missed").collect()
}

/// The new program would be taken for the one that its file held before: probes at wrong places, or none.
#[test]
fn root_a_known_program_that_is_rewritten_in_place_is_another_one() {
    let Some(pair) = pair("static") else { return };
    let dir = tempfile::tempdir().unwrap();
    let logs = ["first", "second"].map(|name| dir.path().join(name));
    for log in &logs {
        fs::create_dir(log).unwrap();
    }
    let script = format!(
        "cp /bin/true {dir}/agent; for i in 1 2 3; do {dir}/agent; done; sleep 0.3; cat {pair} > {dir}/agent; \
         {dir}/agent --iterations 50 --log {first} > {dir}/out; sleep 0.3; \
         {dir}/agent --iterations 50 --log {second} > {dir}/out",
        dir = dir.path().display(),
        pair = pair.path.display(),
        first = logs[0].display(),
        second = logs[1].display(),
    );
    let captured = record(dir.path(), &script);
    let expected = logs.each_ref().map(|log| logged(log));
    assert!(expected.iter().all(|said| !said.is_empty()));
    assert_missed_or_seen(&captured, &expected.concat());
    let streams = captured.streams();
    for stream in &expected[1] {
        assert!(streams.contains(stream), "{}", captured.stderr);
    }
}

/// A window would begin with the process, though its loader told that nothing new was there until a moment before.
#[test]
fn root_a_known_program_loads_a_new_library() {
    if !is_root() {
        return;
    }
    let python = require!(program("python3"));
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("load.py");
    let text = "import sys, time\nif sys.argv[1:]: time.sleep(1)\nimport ctypes\n\
                for name in sys.argv[1:]: ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)\n\
                if sys.argv[1:]: time.sleep(1)\n";
    fs::write(&script, text).unwrap();
    let mut copies = Vec::new();
    for name in ["libcrypto.so.3", "libssl.so.3"] {
        let library = Path::new("/usr/lib/x86_64-linux-gnu").join(name);
        if !library.exists() {
            return crate::skip(name);
        }
        let copy = dir.path().join(name);
        fs::copy(library, &copy).unwrap();
        copies.push(copy.to_str().unwrap().to_owned());
    }
    let run = format!("{} {}", python.display(), script.display());
    let script = format!("{run}; {run}; sleep 0.3; {run} {}", copies.join(" "));
    let captured = record(dir.path(), &script);
    let of_copy = missed(&captured).into_iter();
    let of_copy: Vec<_> = of_copy.filter(|line| line["file"] == copies[1]).collect();
    assert_eq!(of_copy.len(), 1, "{}", captured.stderr);
    let time = |name: &str| -> Timestamp { of_copy[0][name].as_str().unwrap().parse().unwrap() };
    let window = time("until").duration_since(time("from"));
    assert!(window.as_millis() < 700, "{window:?}");
}

/// Workers that a process forks have its libraries, with all probes in them: nothing of theirs is missed, however late they
/// are found.
#[test]
fn root_forked_workers_miss_nothing() {
    if !is_root() {
        return;
    }
    let python = require!(program("python3"));
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("fork.py");
    // Longer than it takes until all processes are looked for.
    let text = "import os, ssl, time\nssl.create_default_context()\n\
                for _ in range(3):\n    if not os.fork():\n        time.sleep(13)\n        os._exit(0)\n\
                while True:\n    try: os.wait()\n    except ChildProcessError: break\n";
    fs::write(&script, text).unwrap();
    let captured = record(
        dir.path(),
        &format!("{} {}", python.display(), script.display()),
    );
    let forks = captured.lines.iter();
    let forks = forks.filter(|line| line["type"] == "process.fork");
    let children: Vec<_> = forks.map(|line| line["child"].clone()).collect();
    assert!(children.len() >= 3, "{}", captured.stderr);
    let missed = missed(&captured);
    let theirs = missed
        .iter()
        .filter(|line| children.contains(&line["process"]));
    assert_eq!(theirs.count(), 0, "{missed:?}");
}
