//! The command line as users meet it: help, errors, exit codes, and the shape of the output.

// A test fails by panicking.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr
)]

use std::process::{Command, Output};

fn agentsight(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_agentsight"))
        .args(arguments)
        .env("COLUMNS", "100")
        .env("AGENTSIGHT_CACHE", "/dev/null") // no directory, so nothing is kept
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The help texts are part of the interface: a change of them is seen in review.
#[cfg(feature = "bpf")]
#[test]
fn help_texts() {
    for command in [
        "", "attach", "check", "discover", "doctor", "record", "replay",
    ] {
        let arguments: Vec<&str> = [command, "--help"]
            .into_iter()
            .filter(|word| !word.is_empty())
            .collect();
        let output = agentsight(&arguments);
        assert_eq!(output.status.code(), Some(0));
        insta::assert_snapshot!(format!("help_{command}"), stdout(&output));
    }
}

/// Each kind of unusable file is named with what is wrong with it, and does not stop the others.
#[test]
fn one_bad_file_does_not_stop_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let own = std::fs::read(env!("CARGO_BIN_EXE_agentsight")).unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let empty = write("empty", b"");
    let text = write("text", b"hello");
    let script = write("script", b"#!/usr/bin/env node\n");
    let cut = write("cut", &own[..4096]);
    let tiny = write("tiny", &own[..20]);
    let whole = write("whole", &own);
    let missing = dir.path().join("missing").to_str().unwrap().to_owned();
    let output = agentsight(&[
        "discover", "--json", &empty, &text, &script, &cut, &tiny, &missing, &whole,
    ]);
    assert_eq!(output.status.code(), Some(1));
    let objects: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(objects.len(), 7, "one object for each that was named");
    let messages = stderr(&output);
    for (path, reason) in [
        (&empty, "empty"),
        (&text, "not an ELF file"),
        (&script, "/usr/bin/env node"),
        (&cut, "truncated"),
        (&tiny, "truncated"),
        (&missing, "No such file"),
    ] {
        let line = messages.lines().find(|line| line.contains(path.as_str()));
        assert!(
            line.is_some_and(|line| line.contains(reason)),
            "{path} {reason}: {messages}"
        );
    }
    assert_eq!(objects[6]["path"], whole.as_str());
    assert!(objects[6]["findings"].as_array().unwrap().is_empty());
}

/// A directory gives an object for each ELF file in it and passes over everything else.
#[test]
fn directories_are_searched() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("sub")).unwrap();
    std::fs::copy(
        env!("CARGO_BIN_EXE_agentsight"),
        dir.path().join("sub/program"),
    )
    .unwrap();
    std::fs::write(dir.path().join("notes.txt"), "no ELF").unwrap();
    std::os::unix::fs::symlink("/dev/zero", dir.path().join("endless")).unwrap();
    let output = agentsight(&["discover", "--json", dir.path().to_str().unwrap()]);
    let objects: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(objects.len(), 1, "{}", stderr(&output));
    assert_eq!(
        output.status.code(),
        Some(4),
        "nothing found, nothing failed"
    );
    assert_eq!(stderr(&output), "");
    let broken = dir.path().join("sub/broken");
    std::fs::write(&broken, b"\x7fELF and no more").unwrap();
    let output = agentsight(&["discover", "--json", dir.path().to_str().unwrap()]);
    let objects: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(objects[0]["path"], broken.to_str().unwrap());
    assert_eq!(output.status.code(), Some(1));
}

/// A file's names may not drive the terminal of whoever looks at it.
#[test]
fn names_do_not_act_on_terminals() {
    let dir = tempfile::tempdir().unwrap();
    let evil = dir.path().join("\x1b]0;owned\x07");
    std::fs::copy(env!("CARGO_BIN_EXE_agentsight"), &evil).unwrap();
    let output = agentsight(&["discover", evil.to_str().unwrap(), "/no\x1bsuch"]);
    assert!(!stdout(&output).contains('\x1b') && stdout(&output).contains("owned"));
    assert!(!stderr(&output).contains('\x1b') && stderr(&output).contains("such"));
}

/// Scripts go by exit codes: wrong usage is 2, an unknown file of `discover` 1.
#[test]
fn exit_codes() {
    assert_eq!(agentsight(&["discover"]).status.code(), Some(2));
    assert_eq!(agentsight(&["no-such-command"]).status.code(), Some(2));
    assert_eq!(
        agentsight(&["discover", "/nonexistent"]).status.code(),
        Some(1)
    );
    assert_eq!(agentsight(&["--version"]).status.code(), Some(0));
    #[cfg(feature = "bpf")]
    assert_eq!(
        agentsight(&["attach", "--binary", "x", "--json", "--hex"])
            .status
            .code(),
        Some(2)
    );
}

/// A reader that hangs up early is no failure and no panic.
#[test]
fn broken_pipes_are_quiet() {
    let pipe = format!(
        "{} discover --explain /usr/lib/x86_64-linux-gnu/libc.so.6 | true; exit ${{PIPESTATUS[0]}}",
        env!("CARGO_BIN_EXE_agentsight")
    );
    let output = Command::new("bash").args(["-c", &pipe]).output().unwrap();
    assert!(matches!(output.status.code(), Some(0 | 4)), "{output:?}");
    assert_eq!(stderr(&output), "");
}

/// Man pages, completions and the schema come out of the binary itself.
#[test]
fn generated_texts() {
    assert!(stdout(&agentsight(&["man"])).contains(".TH agentsight 1"));
    assert!(stdout(&agentsight(&["man", "discover"])).contains("agentsight\\-discover"));
    for shell in ["bash", "fish", "zsh"] {
        assert!(stdout(&agentsight(&["completions", shell])).contains("discover"));
    }
    let schema: serde_json::Value =
        serde_json::from_slice(&agentsight(&["schema"]).stdout).unwrap();
    assert!(jsonschema::validator_for(&schema).is_ok());
}
