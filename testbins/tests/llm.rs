//! The mock LLM server means what it says: official SDKs understand it, and understand what its truth log tells.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use agentsight_testbins::llm::{MockServer, Options};
use serde_json::{Value, json};

/// Says what is missing, and fails if nothing may be.
fn skip<T>(what: &str) -> Option<T> {
    let all = std::env::var_os("AGENTSIGHT_TEST_REQUIRE").is_some_and(|value| value == "all");
    assert!(
        !all,
        "{what} is missing, and AGENTSIGHT_TEST_REQUIRE=all is set"
    );
    eprintln!("skipped: {what} missing");
    None
}

/// What `scripts/fetch-clients` installed for this language.
fn sdks(language: &str) -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).map(PathBuf::from);
    let cache = || set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
    let samples = set("AGENTSIGHT_SAMPLES").or_else(|| Some(cache()?.join("agentsight/samples")));
    let folder = samples.map(|samples| samples.join(".clients").join(language));
    let there = folder.filter(|folder| folder.join(".pins").exists());
    there.or_else(|| skip(&format!("{language} SDKs (scripts/fetch-clients)")))
}

fn driver(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("clients")
        .join(name)
}

fn run(command: &mut Command, server: &MockServer, name: &str) {
    for trust in ["AWS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE"] {
        command.env(trust, &server.ca);
    }
    let out = command
        .arg(driver(name))
        .arg(server.url())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    let complaint = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{name}: {said}{complaint}");
}

/// Lines of the truth log by the number that the answer carries.
fn by_id(truth: &[Value]) -> BTreeMap<String, &Value> {
    let numbered = truth.iter().filter_map(|line| {
        let id = line["response"]["id"].as_str()?;
        Some((id.to_owned(), line))
    });
    numbered.collect()
}

/// The truth log is not what the Python SDKs got: all that is measured against it is measured against nothing.
#[test]
fn python_sdks_understand_the_truth() {
    let Some(packages) = sdks("python") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let server = MockServer::start(Options::default(), dir.path()).unwrap();
    let log = dir.path().join("client.jsonl");
    let mut command = Command::new("/usr/bin/python3");
    command.env("PYTHONPATH", packages).env("CLIENT_LOG", &log);
    run(&mut command, &server, "calls.py");
    let truth = server.truth().unwrap();
    let truth = by_id(&truth);
    let mut compared = 0;
    for line in fs::read_to_string(&log).unwrap().lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        let said = truth[line["id"].as_str().unwrap()];
        let choices = said["response"]["choices"].as_array().unwrap();
        let texts: Vec<_> = choices.iter().map(|choice| &choice["text"]).collect();
        assert_eq!(line["texts"], json!(texts), "{said}");
        let calls = choices.iter().map(|choice| {
            let calls = choice["tool_calls"].as_array().unwrap().iter();
            let calls = calls.map(|call| json!([call["id"], call["name"], call["arguments"]]));
            calls.collect::<Value>()
        });
        if !line["tool_calls"].is_null() {
            assert_eq!(line["tool_calls"], calls.collect::<Value>(), "{said}");
        }
        compared += 1;
    }
    assert!(compared >= 30, "{compared}");
}

/// A client of the live tests would fail by itself.
#[test]
fn npm_sdks_understand_it() {
    let Some(packages) = sdks("node") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let server = MockServer::start(Options::default(), dir.path()).unwrap();
    for script in ["calls.mjs", "websocket.mjs"] {
        let mut command = Command::new("node");
        run(command.env("NODE_CLIENTS", &packages), &server, script);
    }
    assert!(server.truth().unwrap().len() > 80);
}

/// A failure could not be had again: the same seed must give the same answers.
#[test]
fn a_seed_is_an_answer() {
    let answers = [1, 1, 2].map(|seed| {
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            seed,
            ..Options::default()
        };
        let server = MockServer::start(options, dir.path()).unwrap();
        let url = format!("{}/v1/chat/completions", server.url());
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--cacert"]).arg(&server.ca);
        curl.args(["--data", "{\"model\":\"m\",\"messages\":[]}", &url]);
        let out = curl.output().unwrap();
        assert!(out.status.success());
        out.stdout
    });
    assert_eq!(answers[0], answers[1]);
    assert_ne!(answers[0], answers[2]);
}
