//! What people see: `attach` on a real terminal, while real clients talk to the mock server.

use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use agentsight_testbins::llm::Options;
use nix::pty::{Winsize, openpty};
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
use regex::Regex;
use serde_json::{Value, json};

use super::clients::Scene;
use super::libssl;
use crate::capture::{PATIENCE, signal};
use crate::support::require;
use crate::{is_root, program};

/// `agentsight attach` with a terminal of its own, which changes nothing of what is written to it.
pub struct Terminal {
    child: Child,
    said: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Terminal {
    /// Observes what this test starts, and waits until probes are in place.
    pub fn attach(columns: u16, binary: &Path, options: &[&str]) -> Self {
        let size = Winsize {
            ws_row: 24,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let pty = openpty(Some(&size), None).unwrap();
        let mut modes = tcgetattr(&pty.slave).unwrap();
        cfmakeraw(&mut modes);
        tcsetattr(&pty.slave, SetArg::TCSANOW, &modes).unwrap();
        let stdio = || Stdio::from(pty.slave.try_clone().unwrap());
        let child = Command::new(env!("CARGO_BIN_EXE_agentsight"))
            .args(["attach", "--pid", &std::process::id().to_string()])
            .arg("--binary")
            .arg(binary)
            .args(options)
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR")
            .stdin(stdio())
            .stdout(stdio())
            .stderr(stdio())
            .spawn()
            .unwrap();
        drop(pty.slave);
        let said = Arc::new(Mutex::new(Vec::new()));
        let reader = std::thread::spawn({
            let said = Arc::clone(&said);
            move || read(pty.master, &said)
        });
        let terminal = Self {
            child,
            said,
            reader: Some(reader),
        };
        terminal.wait_for("attached: ");
        std::thread::sleep(Duration::from_millis(150));
        terminal
    }

    /// All that was written to it.
    pub fn bytes(&self) -> Vec<u8> {
        self.said.lock().unwrap().clone()
    }

    /// What a person reads there: everything but colours must be text.
    pub fn text(&self) -> String {
        let text = String::from_utf8(self.bytes()).expect("no UTF-8 on the terminal");
        let colour = Regex::new("\x1b\\[[0-9;]*m").unwrap();
        colour.replace_all(&text, "").into_owned()
    }

    pub fn wait_for(&self, words: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !String::from_utf8_lossy(&self.bytes()).contains(words) {
            assert!(
                Instant::now() < deadline,
                "never {words:?}: {}",
                self.text()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends it as a person does: all that it said.
    pub fn stop(mut self) -> String {
        signal(self.child.id(), "INT");
        let status = self.child.wait().unwrap();
        self.reader.take().unwrap().join().unwrap();
        let text = self.text();
        assert!(status.success(), "{status}: {text}");
        text
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Up to where nobody holds the other end.
fn read(master: OwnedFd, said: &Mutex<Vec<u8>>) {
    let mut master = File::from(master);
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = master.read(&mut bytes) {
        said.lock().unwrap().extend_from_slice(&bytes[..count]);
    }
}

/// A script for the server.
fn script(dir: &Path, turns: &Value) -> std::path::PathBuf {
    let path = dir.join("turns.json");
    std::fs::write(&path, turns.to_string()).unwrap();
    path
}

const WORDS: &str = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma tau";

fn question(words: &str) -> Value {
    json!({"model": "claude-sonnet-4-5", "max_tokens": 100, "stream": true,
        "tools": [{"name": "get_weather", "input_schema": {"type": "object"}}],
        "messages": [{"role": "user", "content": words}]})
}

/// A person who watches an agent would see its question late, its answer only at the end, or another price than was paid.
#[test]
fn root_terminal_shows_calls_as_they_happen() {
    if !is_root() {
        return;
    }
    let libssl = require!(libssl());
    let dir = tempfile::tempdir().unwrap();
    let turns = json!([{"text": WORDS, "tool_calls": [{"name": "get_weather", "arguments": {"city": "Köln"}}]}]);
    let terminal = Terminal::attach(100, &libssl, &[]);
    let scene = Scene::set(Options {
        pause_ms: 150,
        coding: false,
        turns: Some(script(dir.path(), &turns)),
        ..Options::default()
    });
    let body = question("Why is the sky blue?").to_string();
    let mut curl = require!(scene.curl());
    let mut curl = curl
        .args([
            "--data",
            &body,
            &format!("{}/v1/messages", scene.server.url()),
        ])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    // In this order, and each before the server has said all.
    for words in [
        "1 messages, ",
        "  user: Why is the sky blue?",
        " says",
        "alpha",
        "wants",
        "get_weather ",
    ] {
        terminal.wait_for(words);
        assert!(curl.try_wait().unwrap().is_none(), "{words:?} comes late");
        assert!(
            !terminal.text().contains("first token"),
            "{words:?} comes late"
        );
    }
    assert!(curl.wait().unwrap().success());
    terminal.wait_for("first token");
    let text = terminal.stop();
    let line = format!(
        "k1 anthropic_compatible claude-sonnet-4-5 at 127.0.0.1:{}: 1 messages, {} B, 1 tools",
        scene.server.port,
        body.len()
    );
    assert!(text.contains(&line), "{line}: {text}");
    assert!(text.contains(&format!("  {WORDS}\n")), "{text}");
    assert!(
        text.contains("  get_weather {\"city\":\"Köln\"}\n"),
        "{text}"
    );
    assert!(
        text.contains("decoded: 1 requests, 1 of them calls of models"),
        "{text}"
    );
    assert_ends_with_usage(&text, &scene.server.truth().unwrap()[0]);
}

/// What the provider says that was used, what that costs by the table, and how long it took.
fn assert_ends_with_usage(text: &str, truth: &Value) {
    let usage = &truth["response"]["usage"];
    let count = |name: &str| usage[name].as_u64().unwrap_or(0);
    let cached = match count("cache_read_tokens") {
        0 => String::new(),
        cached => format!(" ({cached} from cache)"),
    };
    let tokens = format!(
        "tool_use, {} tokens in{cached}, {} out",
        count("input_tokens"),
        count("output_tokens")
    );
    let line = text.lines().find(|line| line.contains(&tokens));
    let line = line.unwrap_or_else(|| panic!("{tokens}: {text}"));
    let times =
        Regex::new(r", about \$([0-9.]+), ([0-9.]+) s \(first token ([0-9.]+) s\)$").unwrap();
    let found = times.captures(line).unwrap_or_else(|| panic!("{line}"));
    let [cost, whole, first] = [1, 2, 3].map(|at| found[at].parse::<f64>().unwrap());
    // 3, 0.3, 3.75 and 15 USD a million, says src/semantics/prices.json.
    let (read, written) = (count("cache_read_tokens"), count("cache_write_tokens"));
    let fresh = count("input_tokens") - read - written;
    let parts = [
        (fresh, 3.0),
        (read, 0.3),
        (written, 3.75),
        (count("output_tokens"), 15.0),
    ];
    let usd: f64 = parts
        .iter()
        .map(|(tokens, price)| *tokens as f64 * price / 1e6)
        .sum();
    assert!((cost - usd).abs() < 0.0001, "{line}: {usd}");
    assert!(first < whole && whole > 0.5, "{line}");
}

/// Two answers that come at once would be mixed up; or a narrow terminal would cost words.
#[test]
fn root_terminal_keeps_streams_apart() {
    if !is_root() {
        return;
    }
    let libssl = require!(libssl());
    let dir = tempfile::tempdir().unwrap();
    let texts = ["one ", "two "].map(|word| word.repeat(60).trim_end().to_owned());
    let turns = json!([{"text": texts[0]}, {"text": texts[1]}]);
    let terminal = Terminal::attach(20, &libssl, &["--color", "never"]);
    let scene = Scene::set(Options {
        pause_ms: 30,
        coding: false,
        turns: Some(script(dir.path(), &turns)),
        ..Options::default()
    });
    let first = question("count");
    let mut second = question("count");
    let result = json!({"type": "tool_result", "tool_use_id": "toolu_1", "content": "done"});
    let call = json!({"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {}});
    second["messages"] = json!([first["messages"][0], {"role": "assistant", "content": [call]}, {"role": "user", "content": [result]}]);
    let clients = [first, second].map(|body| {
        let mut curl = scene.curl().unwrap();
        let url = format!("{}/v1/messages", scene.server.url());
        curl.args(["--data", &body.to_string(), &url]);
        curl.stdout(Stdio::null()).spawn().unwrap()
    });
    for mut client in clients {
        assert!(client.wait().unwrap().success());
    }
    let deadline = Instant::now() + PATIENCE;
    while terminal.text().matches("first token").count() < 2 {
        assert!(Instant::now() < deadline, "{}", terminal.text());
        std::thread::sleep(Duration::from_millis(20));
    }
    let text = terminal.stop();
    let headline = Regex::new(r"^[0-9:.]{15} .* (k[0-9]+) (.*)$").unwrap();
    let mut said = std::collections::BTreeMap::<String, String>::new();
    let (mut call, mut turns) = (None, 0);
    for line in text.lines() {
        if let Some(found) = headline.captures(line) {
            call = (&found[2] == "says").then(|| found[1].to_owned());
            turns += usize::from(call.is_some());
        } else if let (Some(call), Some(line)) = (&call, line.strip_prefix("  ")) {
            said.entry(call.clone()).or_default().push_str(line);
        }
    }
    let mut said: Vec<String> = said.into_values().collect();
    said.sort();
    let plain = |text: &String| text.replace(' ', "");
    let (said, texts): (Vec<_>, Vec<_>) = (
        said.iter().map(plain).collect(),
        texts.iter().map(plain).collect(),
    );
    assert_eq!(said, texts, "{text}");
    assert!(turns > 2, "they did not come at once: {text}");
}

/// What does something to a terminal, and how it is spelled out there; first what JSON has escapes for.
const HOSTILE: &[(&str, &str)] = &[
    ("\u{1b}[2J", r"\u{1b}[2J"),
    ("\u{1b}]0;title\u{7}", r"\u{1b}]0;title\u{7}"),
    ("\u{8}\u{8}", r"\u{8}\u{8}"),
    ("\u{9b}31m", r"\u{9b}31m"),
    ("\u{7f}", r"\u{7f}"),
    ("\u{202e}gnp", r"\u{202e}gnp"),
    ("\u{2067}x\u{2069}", r"\u{2067}x\u{2069}"),
    ("\u{200f}", r"\u{200f}"),
    ("\u{61c}", r"\u{61c}"),
    ("\u{2028}", r"\u{2028}"),
];
/// Of these, those that JSON escapes.
const ESCAPED: usize = 3;

fn all_hostile() -> String {
    HOSTILE.iter().map(|(text, _)| *text).collect()
}

/// Events of an answer with everything that a name, an argument or a text may hold, and bytes that are no text.
fn hostile_body() -> Vec<u8> {
    let all = all_hostile();
    let event = |kind: &str, mut event: Value| {
        event["type"] = json!(kind);
        format!("event: {kind}\ndata: {event}\n\n").into_bytes()
    };
    let delta = |index: u64, delta: Value| {
        event(
            "content_block_delta",
            json!({"index": index, "delta": delta}),
        )
    };
    let usage = json!({"input_tokens": 3, "output_tokens": 5});
    let message = json!({"id": format!("msg_{all}"), "type": "message", "role": "assistant",
        "model": format!("model {all}"), "content": [], "usage": usage});
    let text = json!({"type": "text", "text": ""});
    let tool = json!({"type": "tool_use", "id": all, "name": format!("tool {all}\nk9 forged"), "input": {}});
    let arguments = json!({"argument": all}).to_string();
    [
        event("message_start", json!({"message": message})),
        event("content_block_start", json!({"index": 0, "content_block": text})),
        delta(0, json!({"type": "text_delta", "text": format!("text {all}\rover")})),
        // JSON has escapes for control characters; a sender may leave them away, and UTF-8 be broken.
        b"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":\
          {\"type\":\"text_delta\",\"text\":\"raw \x1b[5m \xc3 \xff\xfe end\"}}\n\n"
            .to_vec(),
        event("content_block_stop", json!({"index": 0})),
        event("content_block_start", json!({"index": 1, "content_block": tool})),
        delta(1, json!({"type": "input_json_delta", "partial_json": arguments})),
        event("content_block_stop", json!({"index": 1})),
        event("message_delta", json!({"delta": {"stop_reason": format!("stop {all}")}, "usage": usage})),
        event("message_stop", json!({})),
    ]
    .concat()
}

/// With `odd` bytes in its head.
fn hostile_answer(odd: &[u8]) -> Vec<u8> {
    let body = hostile_body();
    let mut answer = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-header: ".to_vec();
    answer.extend(odd);
    answer.extend(format!("\r\ncontent-length: {}\r\n\r\n", body.len()).bytes());
    answer.extend(body);
    answer
}

/// A server, or a client, could write to the terminal of whoever watches: move its cursor, set its title, hide lines, turn
/// text around. `odd` is in a header of each.
fn hostile(options: &[&str], odd: &[u8], target: &str) -> String {
    let libssl = libssl().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let raw = dir.path().join("answer");
    std::fs::write(&raw, hostile_answer(odd)).unwrap();
    let terminal = Terminal::attach(80, &libssl, options);
    let scene = Scene::set(Options {
        raw: Some(raw),
        ..Options::default()
    });
    let all = all_hostile();
    let mut body = question(&format!("question {all}"));
    body["model"] = json!(format!("asked {all}"));
    body["tools"][0]["name"] = json!(format!("tool {all}"));
    let mut header = b"x-ours: ".to_vec();
    header.extend(odd);
    let mut curl = scene.curl().unwrap();
    curl.args(["--request-target", target, "--header"])
        .arg(std::ffi::OsStr::from_bytes(&header))
        .args(["--data", &body.to_string()])
        .arg(format!("{}/v1/messages", scene.server.url()));
    let out = curl.stdin(Stdio::null()).output().unwrap();
    // It may say that the answer is no HTTP.
    eprintln!(
        "curl: {} {}",
        out.status,
        String::from_utf8_lossy(&out.stderr)
    );
    std::thread::sleep(Duration::from_millis(500));
    let text = terminal.stop();
    let does_something = |c: &char| {
        let is_bidi = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        is_bidi || (c.is_control() && !"\n\t".contains(*c))
    };
    let odd: Vec<char> = text.chars().filter(does_something).collect();
    assert!(odd.is_empty(), "{odd:?} of {text:?}");
    assert!(!text.lines().any(|line| line.starts_with("k9")), "{text}");
    text
}

fn assert_spelled(text: &str, words: &[&str]) {
    for wanted in words {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
}

/// In names, texts and arguments of a call.
#[test]
fn root_terminal_is_not_written_to_by_answers() {
    if !is_root() || libssl().is_none() || program("curl").is_none() {
        return;
    }
    let text = hostile(&["--view", "llm"], b"x", "/v1/messages");
    assert_spelled(
        &text,
        &[
            "says",
            "wants",
            "tool \\u{1b}[2J",
            "asked \\u{1b}[2J",
            "stop \\u{1b}[2J",
        ],
    );
    for (_, spelled) in HOSTILE {
        assert!(text.matches(spelled).count() >= 4, "{spelled}: {text}");
    }
}

/// In heads and events of an exchange.
#[test]
fn root_terminal_is_not_written_to_by_exchanges() {
    if !is_root() || libssl().is_none() || program("curl").is_none() {
        return;
    }
    let odd = "\u{202e}\u{9b}31m".as_bytes();
    let text = hostile(
        &["--view", "http", "--color", "never"],
        odd,
        "/v1/messages?\u{202e}=\u{2067}",
    );
    assert_spelled(
        &text,
        &[
            "POST https://",
            "x-ours: \\u{202e}\\u{9b}31m",
            "x-header: \\u{202e}\\u{9b}31m",
        ],
    );
    for (_, spelled) in &HOSTILE[ESCAPED..] {
        assert!(text.matches(spelled).count() >= 2, "{spelled}: {text}");
    }
}

/// In bytes that are no HTTP any more.
#[test]
fn root_terminal_is_not_written_to_by_bytes() {
    if !is_root() || libssl().is_none() || program("curl").is_none() {
        return;
    }
    let target = "/v1/messages?x=\u{1b}[6m\u{202e}";
    let text = hostile(&["--view", "raw"], b"\x1b[7m\xe2\x80\xae", target);
    assert_spelled(
        &text,
        &[
            "write ",
            "read ",
            "?x=\\u{1b}[6m\\u{202e} HTTP",
            "x-ours: \\u{1b}[7m\\u{202e}",
        ],
    );
    for (_, spelled) in &HOSTILE[ESCAPED..] {
        assert!(text.contains(spelled), "{spelled}: {text}");
    }
}
