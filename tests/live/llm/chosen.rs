//! What is chosen by `--filter`, and what calls cost by `--prices`: of what real clients said, live and from a recording.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use agentsight_testbins::llm::Options;
use serde_json::{Value, json};

use super::clients::{Scene, sdks};
use super::libssl;
use super::secrets::{Observer, lines, replay, replayed};
use crate::support::require;
use crate::{is_root, program};

/// Calls by curl, and messages of MCP by its SDK: a recording of them.
fn recording(dir: &Path, live: &[&str]) -> Option<(PathBuf, Vec<u8>)> {
    let packages = sdks("python")?;
    let python = program("python3")?;
    let path = dir.join("run.rec");
    let recording = Observer::start(path.clone(), &["--redact", "off", "--record"])?;
    let live = Observer::start(dir.join("live"), &[live, &["-o"]].concat())?;
    std::thread::sleep(std::time::Duration::from_millis(300));
    let scene = Scene::set(Options::default());
    let models = [
        ("chat/completions", "gpt-5"),
        ("messages", "claude-sonnet-4-5"),
        ("messages", "model-that-nobody-knows"),
    ];
    for (path, model) in models {
        for streams in [true, false] {
            let body = json!({"model": model, "stream": streams, "stream_options": {"include_usage": true},
                "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]});
            let mut curl = scene.curl()?;
            curl.args(["--data", &body.to_string()]);
            curl.arg(format!("{}/v1/{path}", scene.server.url()));
            scene.run(&mut curl);
        }
    }
    let mut failing = scene.curl()?;
    failing.args([
        "--data",
        r#"{"model": "gpt-5", "messages": []}"#,
        "--header",
        "x-mock-fault: 429",
    ]);
    scene.run(failing.arg(format!("{}/v1/chat/completions", scene.server.url())));
    let mut command = scene.command(&python);
    command
        .env("PYTHONPATH", packages)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg(super::driver("calls.py"))
        .arg(scene.server.url())
        .arg("mcp");
    scene.run(&mut command);
    recording.stop();
    Some((path, live.stop().0))
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// An expression, and whether it means a line.
type Meaning = (&'static str, fn(&Value) -> bool);

const MEANINGS: &[Meaning] = &[
    ("type == 'llm.call' && status >= 400", |line| {
        line["type"] == "llm.call" && line["status"].as_u64() >= Some(400)
    }),
    (
        "type == 'llm.call' && request.model.startsWith('gpt')",
        |line| line["type"] == "llm.call" && line["request"]["model"] == "gpt-5",
    ),
    (
        "type == 'llm.call' && has(line.cost) && cost.usd > 0.0",
        |line| line["type"] == "llm.call" && line["cost"]["usd"].as_f64() > Some(0.0),
    ),
    (
        "type == 'llm.call' && has(response.usage) && response.usage.output_tokens > 1000",
        |line| {
            line["type"] == "llm.call"
                && line["response"]["usage"]["output_tokens"].as_u64() > Some(1000)
        },
    ),
    ("type == 'llm.delta' && kind == 'text'", |line| {
        line["type"] == "llm.delta" && line["kind"] == "text"
    }),
    (
        "type == 'http.request' && method == 'POST' && target.contains('/mcp')",
        |line| {
            line["type"] == "http.request" && line["method"] == "POST" && line["target"] == "/mcp"
        },
    ),
    (
        "type == 'http.response' && headers.exists(h, h.name == 'content-type' && h.value == 'text/event-stream')",
        |line| {
            let is_stream = |field: &Value| {
                field["name"] == "content-type" && field["value"] == "text/event-stream"
            };
            line["type"] == "http.response"
                && line["headers"].as_array().unwrap().iter().any(is_stream)
        },
    ),
    (
        "type == 'mcp.message' && method == 'tools/call' && name == 'echo' && kind == 'response'",
        |line| {
            line["type"] == "mcp.message"
                && line["method"] == "tools/call"
                && line["kind"] == "response"
        },
    ),
    ("has(line.call) || type.startsWith('mcp.')", |line| {
        !line["call"].is_null() || line["type"] == "mcp.message"
    }),
    ("comm == 'curl' && type == 'tls.open'", |line| {
        line["comm"] == "curl" && line["type"] == "tls.open"
    }),
];

/// Somebody who filters would get other lines than were meant, or some that were cut.
#[test]
fn root_filters_choose_what_they_mean() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let filter = MEANINGS[1].0;
    let (recording, live) = require!(recording(dir.path(), &["--json", "--filter", filter]));
    let all = lines(&replayed(&recording, &["--json"]));
    for (filter, is_meant) in MEANINGS {
        let chosen = lines(&replayed(&recording, &["--json", "--filter", filter]));
        let meant: Vec<_> = all.iter().filter(|line| is_meant(line)).cloned().collect();
        assert!(
            !meant.is_empty() && meant.len() < all.len(),
            "{filter}: {}",
            meant.len()
        );
        assert_eq!(chosen, meant, "{filter}");
    }
    let live = lines(&live);
    assert!(
        live.len() == 3 && live.iter().all(MEANINGS[1].1),
        "{live:?}"
    );
    // For people, too.
    let text = replayed(&recording, &["--filter", MEANINGS[0].0]);
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("FAILED") && !text.contains("mcp "), "{text}");
}

/// A mistake in an expression would be found out at the end of a run, or by its silence.
#[test]
fn root_filters_that_are_wrong_are_refused() {
    if !is_root() {
        return;
    }
    let libssl = require!(libssl());
    for (filter, place) in [
        ("type == ", "1:"),
        ("type ==\n 'a' &&& status", "2:"),
        ("(", "1:"),
    ] {
        let refused = Command::new(env!("CARGO_BIN_EXE_agentsight"))
            .args(["attach", "--filter", filter, "--binary"])
            .arg(&libssl)
            .output()
            .unwrap();
        let said = said(&refused);
        assert_eq!(refused.status.code(), Some(2), "{filter}: {said}");
        assert!(said.contains(place), "{filter}: no place in {said}");
    }
}

fn costs(recording: &Path, options: &[&str]) -> Vec<(String, Option<Value>)> {
    let lines = lines(&replayed(recording, &[&["--json"], options].concat()));
    let calls = lines
        .iter()
        .filter(|line| line["type"] == "llm.call" && line["status"] == 200);
    let cost = |call: &Value| {
        let model = call["request"]["model"].as_str().unwrap().to_owned();
        (model, call.get("cost").cloned())
    };
    calls.map(cost).collect()
}

/// A user's own price would not count, a model without one would cost nothing, or a broken table pass in silence.
#[test]
fn root_prices_are_as_the_user_says() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (recording, _) = require!(recording(dir.path(), &["--json"]));
    let built_in = costs(&recording, &[]);
    assert_eq!(built_in.len(), 6);
    for (model, cost) in &built_in {
        let is_known = model != "model-that-nobody-knows";
        assert_eq!(cost.is_some(), is_known, "{model}: {cost:?}");
        // Nobody knows whose server it is.
        let is_certain = cost
            .as_ref()
            .is_some_and(|cost| cost["is_estimate"] != true);
        assert!(!is_certain, "{model}: {cost:?}");
    }
    let prices = dir.path().join("prices.json");
    let own = |text: &str| {
        std::fs::write(&prices, text).unwrap();
        prices.to_str().unwrap().to_owned()
    };
    let entry = |provider: &str, model: &str| {
        json!({"provider": provider, "models": [model],
            "input": 1000, "output": 2000, "cache_read": 500, "cache_write": 700})
    };
    let entries = [
        entry("openai_compatible", "gpt-5"),
        entry("anthropic_compatible", "claude-sonnet-4-5"),
    ];
    let table = json!({"version": "mine", "prices": entries}).to_string();
    let calls = lines(&replayed(&recording, &["--json", "--prices", &own(&table)]));
    let calls = calls
        .iter()
        .filter(|line| line["type"] == "llm.call" && line["status"] == 200);
    let mut priced = 0;
    for call in calls {
        if call["request"]["model"] == "model-that-nobody-knows" {
            assert_eq!(call.get("cost"), None, "{call}");
            continue;
        }
        priced += 1;
        let count = |name: &str| call["response"]["usage"][name].as_f64().unwrap_or(0.0);
        let (read, written) = (count("cache_read_tokens"), count("cache_write_tokens"));
        let fresh = count("input_tokens") - read - written;
        let usd = fresh * 1000.0 + read * 500.0 + written * 700.0 + count("output_tokens") * 2000.0;
        assert_eq!(call["cost"]["table"], "mine", "{call}");
        assert!(
            (call["cost"]["usd"].as_f64().unwrap() - usd / 1e6).abs() < 1e-9,
            "{call}"
        );
    }
    assert_eq!(priced, 4);
    let broken = [
        ("", "no table of prices"),
        ("{\"version\": \"1\"}", "prices"),
        (
            r#"{"version": "1", "prices": [{"provider": "openai", "models": ["a"], "output": 1}]}"#,
            "no price for input",
        ),
        (
            r#"{"version": "1", "prices": [{"provider": "openai", "models": ["a"], "input": -1}]}"#,
            "openai/a",
        ),
        (
            r#"{"version": "1", "prices": [{"provider": "openai", "models": ["a", "a"], "input": 1}]}"#,
            "two prices",
        ),
        (
            r#"{"version": "1", "prices": [{"provider": "openai", "models": ["a"], "input": 1, "inptu": 2}]}"#,
            "inptu",
        ),
    ];
    for (text, wanted) in broken {
        let path = own(text);
        let refused = replay(&recording, &["--prices", &path]);
        let said = said(&refused);
        assert_eq!(refused.status.code(), Some(2), "{text}: {said}");
        assert!(
            said.contains(&path) && said.contains(wanted),
            "{text}: {said}"
        );
    }
    let refused = replay(&recording, &["--prices", "/nonexistent"]);
    assert!(
        said(&refused).contains("/nonexistent"),
        "{}",
        said(&refused)
    );
}
