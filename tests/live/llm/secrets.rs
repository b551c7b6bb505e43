//! Secrets that real clients send and get, and what is left of them in every output; and what `--no-content` leaves.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use agentsight_testbins::llm::Options;
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};
use regex::bytes::Regex;
use serde_json::{Value, json};

use super::clients::{Scene, repository_file, sdks};
use super::libssl;
use crate::capture::signal;
use crate::support::require;
use crate::{is_root, program};

const AGENTSIGHT: &str = env!("CARGO_BIN_EXE_agentsight");

/// An `agentsight attach` of what this test starts.
pub struct Observer {
    child: Child,
    stderr: BufReader<ChildStderr>,
    file: PathBuf,
}

impl Observer {
    /// Everything goes to `file`, which an option before it names.
    pub fn start(file: PathBuf, options: &[&str]) -> Option<Self> {
        let mut child = Command::new(AGENTSIGHT)
            .args(["attach", "--pid", &std::process::id().to_string()])
            .arg("--binary")
            .arg(libssl()?)
            .args(options)
            .arg(&file)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        while !said.contains("attached: ") {
            let before = said.len();
            stderr.read_line(&mut said).unwrap();
            assert_ne!(before, said.len(), "ended early: {said}");
        }
        Some(Self {
            child,
            stderr,
            file,
        })
    }

    /// What it wrote, and what it said at its end.
    pub fn stop(mut self) -> (Vec<u8>, String) {
        signal(self.child.id(), "INT");
        let mut said = String::new();
        self.stderr.read_to_string(&mut said).unwrap();
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}: {said}");
        (fs::read(&self.file).unwrap(), said)
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn replay(recording: &Path, options: &[&str]) -> Output {
    let mut replay = Command::new(AGENTSIGHT);
    replay.arg("replay").args(options).arg(recording);
    replay.output().unwrap()
}

/// What it prints, which must be all.
pub fn replayed(recording: &Path, options: &[&str]) -> Vec<u8> {
    let output = replay(recording, options);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

pub fn lines(text: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(text).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Whether a text stands anywhere in it, also in base64, in hexadecimal digits or with escapes of JSON or URLs.
fn holds(all: &[u8], text: &str) -> bool {
    let find = |all: &[u8], text: &str| memchr::memmem::find(all, text.as_bytes()).is_some();
    let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    let percent: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let escaped: String = text.bytes().map(|byte| format!("\\u{byte:04x}")).collect();
    if [text, &hex, &percent, &escaped]
        .iter()
        .any(|form| find(all, form))
    {
        return true;
    }
    let coded = Regex::new("[A-Za-z0-9+/]{16,}").unwrap();
    coded.find_iter(all).any(|run| {
        (0..4).any(|skip| {
            let run = run.as_bytes().get(skip..).unwrap_or_default();
            let whole = run.get(..run.len() / 4 * 4).unwrap_or_default();
            let plain = BASE64_STANDARD
                .decode(whole)
                .or_else(|_| BASE64_STANDARD_NO_PAD.decode(whole));
            plain.is_ok_and(|plain| find(&plain, text))
        })
    })
}

fn assert_holds_none(what: &str, all: &[u8], secrets: &[&str]) {
    assert!(!all.is_empty(), "{what} is empty");
    for secret in secrets {
        assert!(!holds(all, secret), "{what} has {secret}");
    }
}

// None of them ever opened anything.
const HEADER: &str = concat!("sk-", "ant-api03-Hq8xK2vB7nM4wE9rT1yU6iO3pA5sD0fGhJkLzXcVb");
const QUERY: &str = concat!("AI", "zaSyQx7Rk2Wm9Tn4Vb8Lc3Zd6Fg1Hj5Kp0Ys");
const BODY: &str = concat!("sk-", "proj-Bw3Er6Ty9Ui2Op5As8Df1Gh4Jk7LzXcVbNm0QwErTy");
const FIELD: &str = "fieldHunter2Zq8xK2vB7nM4";
const USERINFO: &str = "userinfoPa55Zq8xK2vB7nM4";
const COOKIE: &str = "cookieZq8xK2vB7nM4wE9rT1yU6iO3";
const ANSWER: &str = concat!("gh", "p_An4Sw8Er1Tx5Yz9Ab3Cd7Ef2Gh6Ij0Kl4MnOp");
const ALL: [&str; 7] = [HEADER, QUERY, BODY, FIELD, USERINFO, COOKIE, ANSWER];
const MAIL: &str = "jane.doe@corp-mail.example";
const OWN: &str = "acme-0123456789abcdef0123456789abcdef";

/// Says all of them, over HTTP/1.1 and HTTP/2, and hears one of them, in deltas and whole, compressed and not.
fn talk(scene: &Scene) -> Option<usize> {
    let question = format!(
        "Use {BODY} for https://bob:{USERINFO}@db.example/x and write to {MAIL} about {OWN}."
    );
    let mut asked = 0;
    for version in ["--http1.1", "--http2"] {
        for streams in [true, false, true, false, true, false] {
            let tool = json!({"name": "echo", "input_schema": {"type": "object"}});
            let body = json!({"model": "claude-sonnet-4-5", "max_tokens": 100, "stream": streams, "tools": [tool],
                "metadata": {"password": FIELD}, "messages": [{"role": "user", "content": question}]});
            let mut curl = scene.curl()?;
            curl.args([version, "--compressed", "--data", &body.to_string()])
                .args(["--header", &format!("x-api-key: {HEADER}")])
                .args(["--header", &format!("authorization: Bearer {HEADER}")])
                .args(["--header", &format!("cookie: session={COOKIE}; theme=dark")])
                .arg(format!(
                    "{}/v1/messages?key={QUERY}&beta=true",
                    scene.server.url()
                ));
            assert!(scene.run(&mut curl).contains("ghp_") || streams);
            asked += 1;
        }
    }
    Some(asked)
}

fn scene(dir: &Path) -> Scene {
    let text = format!("Here it is: {ANSWER}, as you wanted.");
    let call = json!({"name": "echo", "arguments": {"token": ANSWER, "say": "and more"}});
    let turns = dir.join("turns.json");
    fs::write(
        &turns,
        json!([{"text": text, "tool_calls": [call]}]).to_string(),
    )
    .unwrap();
    Scene::set(Options {
        turns: Some(turns),
        ..Options::default()
    })
}

fn header_tags(lines: &[Value]) -> BTreeSet<String> {
    let requests = lines.iter().filter(|line| line["type"] == "http.request");
    let fields = requests.flat_map(|line| line["headers"].as_array().unwrap());
    let values = fields.filter(|field| field["name"] == "x-api-key");
    // How many stars follow goes by how long it was, as it was coded.
    let value = |field: &Value| {
        field["value"]
            .as_str()
            .unwrap()
            .trim_end_matches('*')
            .to_owned()
    };
    values.map(value).collect()
}

/// All that deltas say, call by call.
fn deltas(lines: &[Value]) -> Vec<u8> {
    let mut all = std::collections::BTreeMap::<String, String>::new();
    for line in lines.iter().filter(|line| line["type"] == "llm.delta") {
        let text = all
            .entry(format!(
                "{} {} {}",
                line["call"], line["choice"], line["part"]
            ))
            .or_default();
        text.push_str(line["text"].as_str().unwrap());
    }
    all.into_values()
        .collect::<Vec<_>>()
        .join("\n")
        .into_bytes()
}

/// A key of somebody whose agent is watched would stand on a screen, in a file, or in a recording.
#[test]
fn root_secrets_reach_no_output() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name);
    let start = |name: &str, options: &[&str]| Observer::start(file(name), options);
    let json = require!(start("json", &["--json", "-o"]));
    let again = require!(start("again", &["--json", "-o"]));
    let llm = require!(start("llm", &["--view", "llm", "-o"]));
    let http = require!(start("http", &["--view", "http", "-o"]));
    let raw = require!(start("raw", &["--raw", "-o"]));
    let recording = require!(start("masked.rec", &["--record"]));
    let whole = require!(start("whole.rec", &["--redact", "off", "--record"]));
    std::thread::sleep(std::time::Duration::from_millis(300));
    let scene = scene(dir.path());
    let asked = require!(talk(&scene));
    let (json, said) = json.stop();
    assert!(
        said.contains("lost: nothing") && said.contains("masked: "),
        "{said}"
    );
    assert_holds_none("json", &json, &ALL);
    let parsed = lines(&json);
    let calls = parsed.iter().filter(|line| line["type"] == "llm.call");
    assert_eq!(calls.count(), asked);
    assert_holds_none("deltas", &deltas(&parsed), &ALL);
    for (name, observer) in [("llm", llm), ("http", http), ("raw", raw)] {
        assert_holds_none(name, &observer.stop().0, &ALL);
    }
    // Equal secrets look equal, in one run.
    let tags = header_tags(&parsed);
    assert_eq!(tags.len(), 1, "{tags:?}");
    assert!(tags.first().unwrap().starts_with("<redacted:"), "{tags:?}");
    let other = header_tags(&lines(&again.stop().0));
    assert!(other.len() == 1 && other != tags, "{other:?} {tags:?}");
    let (_, said) = whole.stop();
    assert!(!said.contains("masked: "), "{said}");
    let (bytes, said) = recording.stop();
    assert_recording(&file("masked.rec"), &bytes, &said, asked);
    assert_rules(&file("whole.rec"));
}

/// Of a recording whose secrets are masked: whoever has it cannot bring them back.
fn assert_recording(path: &Path, bytes: &[u8], said: &str, asked: usize) {
    assert!(
        said.contains("lost: nothing") && said.contains("masked: "),
        "{said}"
    );
    assert!(said.contains("not recorded: the rest of "), "{said}");
    assert!(!said.contains("recorded as sent"), "{said}");
    assert_holds_none("the recording", bytes, &ALL);
    let json = replayed(path, &["--json", "--redact", "off"]);
    // What the server divides into deltas stands in none of its events.
    assert_holds_none(
        "what is replayed",
        &json,
        &[HEADER, QUERY, BODY, FIELD, USERINFO, COOKIE],
    );
    let parsed = lines(&json);
    let requests = parsed.iter().filter(|line| line["type"] == "http.request");
    assert_eq!(requests.count(), asked);
    assert_eq!(header_tags(&parsed).len(), 1, "HTTP/1.1 and HTTP/2 differ");
    for options in [
        &["--json"][..],
        &["--view", "llm"],
        &["--view", "http"],
        &["--raw"],
    ] {
        assert_holds_none("what is replayed", &replayed(path, options), &ALL);
    }
    let json = replayed(path, &["--json"]);
    assert_holds_none("deltas", &deltas(&lines(&json)), &ALL);
    assert_eq!(json, replayed(path, &["--json"]), "the second time");
}

/// Of a recording with everything in it: what the levels and rules of one's own mask.
fn assert_rules(path: &Path) {
    let all = |options: &[&str]| replayed(path, &[&["--json"], options].concat());
    let off = all(&["--redact", "off"]);
    for secret in ALL.iter().chain([&MAIL, &OWN]) {
        assert!(holds(&off, secret), "{secret} was never said");
    }
    let default = all(&[]);
    assert_holds_none("default", &default, &ALL);
    assert!(holds(&default, MAIL) && holds(&default, OWN));
    let strict = all(&["--redact", "strict"]);
    assert_holds_none("strict", &strict, &[&ALL[..], &[MAIL]].concat());
    let rules = path.with_extension("rules");
    let rule = json!({"id": "acme-token", "what": "Tokens of Acme",
        "text": [{"regex": "acme-[0-9a-f]{32}", "hints": ["acme-"], "ends": "word"}],
        "examples": ["token ⟨acme-{hex:32}⟩"], "counterexamples": ["acme-corp"]});
    fs::write(&rules, json!({"rules": [rule]}).to_string()).unwrap();
    let own = all(&["--redact-rules", rules.to_str().unwrap()]);
    assert_holds_none("rules of one's own", &own, &[&ALL[..], &[OWN]].concat());
    assert!(holds(&own, MAIL));
    fs::write(&rules, "{\"rules\": [{\"id\": 1}]}").unwrap();
    let refused = replay(path, &["--redact-rules", rules.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains(rules.to_str().unwrap()), "{said}");
}

fn websocket(compression: &str) {
    if !is_root() {
        return;
    }
    let packages = require!(sdks("python"));
    let python = require!(program("python3"));
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name);
    let json = require!(Observer::start(file("json"), &["--json", "-o"]));
    let http = require!(Observer::start(file("http"), &["--view", "http", "-o"]));
    let recording = require!(Observer::start(file("masked.rec"), &["--record"]));
    std::thread::sleep(std::time::Duration::from_millis(300));
    let scene = scene(dir.path());
    let mut command = scene.command(&python);
    command
        .env("PYTHONPATH", packages)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg(repository_file("tests/live/llm/websocket_secrets.py"))
        .arg(&scene.server.ca)
        .arg(scene.server.ca.with_file_name("key.pem"))
        .args([BODY, compression]);
    scene.run(&mut command);
    let (json, _) = json.stop();
    assert_holds_none("json", &json, &[BODY]);
    // Each of three is sent by one end and read by the other, and back.
    let said = |lines: &[Value], words: &str| {
        let messages = lines.iter().filter(|line| line["type"] == "ws.message");
        messages
            .filter(|line| {
                line["data"]
                    .as_str()
                    .is_some_and(|text| text.contains(words))
            })
            .count()
    };
    for words in ["the first words", "the key is <redacted:", "the last words"] {
        assert_eq!(said(&lines(&json), words), 4, "{words}");
    }
    assert_holds_none("http", &http.stop().0, &[BODY]);
    let (bytes, told) = recording.stop();
    assert_holds_none("the recording", &bytes, &[BODY]);
    let path = file("masked.rec");
    let replayed = replayed(&path, &["--json", "--redact", "off"]);
    assert_holds_none("what is replayed", &replayed, &[BODY]);
    let replayed = lines(&replayed);
    assert_eq!(said(&replayed, "the first words"), 4);
    match compression {
        "deflate" => assert!(
            told.contains("not recorded: the rest of 4 compressed"),
            "{told}"
        ),
        _ => assert_eq!(said(&replayed, "the key is <redacted:"), 4, "{told}"),
    }
    assert!(!told.contains("recorded as sent"), "{told}");
}

/// The same over a WebSocket, whose clients hide what they say under a key that they send along.
#[test]
fn root_secrets_in_websockets() {
    websocket("plain");
}

/// The same, compressed.
#[test]
fn root_secrets_in_compressed_websockets() {
    websocket("deflate");
}

/// What was said, of which nothing may be told.
const CONTENT: [&str; 7] = [
    "canary-system",
    "canary-question",
    "canary-description",
    "canary-metadata",
    "canary-query",
    "canary-answer",
    "canary-argument",
];

/// Who may know with whom an agent spoke, but not what, would read it.
#[test]
fn root_no_content_leaves_none() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name);
    let json = require!(Observer::start(
        file("json"),
        &["--no-content", "--json", "-o"]
    ));
    let llm = require!(Observer::start(file("llm"), &["--no-content", "-o"]));
    let whole = require!(Observer::start(
        file("whole.rec"),
        &["--redact", "off", "--record"]
    ));
    std::thread::sleep(std::time::Duration::from_millis(300));
    let call = json!({"name": "echo", "arguments": {"say": "canary-argument"}});
    let turns = json!([{"text": "the canary-answer is here", "thoughts": "canary-answer", "tool_calls": [call]}]);
    let path = dir.path().join("turns.json");
    fs::write(&path, turns.to_string()).unwrap();
    let scene = Scene::set(Options {
        turns: Some(path),
        ..Options::default()
    });
    for (version, path) in [
        ("--http1.1", "messages"),
        ("--http2", "messages"),
        ("--http2", "chat/completions"),
    ] {
        for streams in [true, false] {
            let tool = json!({"name": "echo", "description": "canary-description", "input_schema": {"type": "object"},
                "function": {"name": "echo", "description": "canary-description"}});
            let body = json!({"model": "claude-sonnet-4-5", "max_tokens": 100, "stream": streams, "tools": [tool],
                "system": "canary-system", "metadata": {"user_id": "canary-metadata"},
                "messages": [{"role": "user", "content": "canary-question"}]});
            let mut curl = require!(scene.curl());
            curl.args([version, "--compressed", "--data", &body.to_string()])
                .arg(format!("{}/v1/{path}?q=canary-query", scene.server.url()));
            scene.run(&mut curl);
        }
    }
    let (json, _) = json.stop();
    let (llm, _) = llm.stop();
    whole.stop();
    let whole = file("whole.rec");
    let off = replayed(&whole, &["--json", "--redact", "off"]);
    for content in CONTENT {
        assert!(holds(&off, content), "{content} was never said");
    }
    assert_holds_none("json", &json, &CONTENT);
    assert_holds_none("llm", &llm, &CONTENT);
    for options in [
        &["--json"][..],
        &["--view", "llm"],
        &["--view", "http"],
        &["--view", "raw"],
        &["--redact", "off", "--json"],
    ] {
        let replayed = replayed(&whole, &[&["--no-content"], options].concat());
        assert_holds_none(&format!("{options:?}"), &replayed, &CONTENT);
    }
    let calls = lines(&json);
    let calls: Vec<_> = calls
        .iter()
        .filter(|line| line["type"] == "llm.call")
        .collect();
    assert_eq!(calls.len(), 6);
    for call in calls {
        let tokens = &call["response"]["usage"]["input_tokens"];
        assert!(
            tokens.as_u64() > Some(0) || call["request"]["stream"] == true,
            "{call}"
        );
        assert_eq!(call["request"]["model"], "claude-sonnet-4-5");
    }
    // Where there would be nothing but content.
    for options in [&["--raw"][..], &["--hex"]] {
        let refused = replay(&whole, &[&["--no-content"], options].concat());
        assert_eq!(refused.status.code(), Some(2), "{options:?}");
    }
    let refused = Command::new(AGENTSIGHT)
        .args([
            "attach",
            "--all",
            "--no-content",
            "--record",
            "/tmp/never.rec",
        ])
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(2));
}
