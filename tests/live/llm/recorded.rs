//! Recorded exchanges with real providers, had again over real TLS: real clients ask what was asked, a replaying server
//! answers what was answered, and what `attach` tells must be what the recorded JSON says.

use std::collections::HashMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use agentsight_testbins::replay::{self, ReplayServer};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

use super::clients::{command, driver, leave_network, run, sdks};
use super::libssl;
use crate::capture::{Capture, Captured};
use crate::recorded::exchange::{frames, lines};
use crate::recorded::table::Row;
use crate::recorded::{self, Exchange, Family, Table};
use crate::support::{Random, require, sample};
use crate::{is_extended, is_root, program};

/// Of curl, Python and node, over HTTP/1.1 and HTTP/2.
const CLIENTS: &[&str] = &[
    "curl", "curl-h2", "requests", "httpx", "httpx-h2", "https", "fetch", "http2",
];

/// Fields that a client sets itself.
const FRAMING: &[&str] = &[
    "connection",
    "content-encoding",
    "content-length",
    "expect",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// The usual port, which some clients cannot leave; in a network of one's own it is free.
const PORT: u16 = 443;

/// A question that is asked once more.
struct Play<'e> {
    exchange: &'e Exchange,
    client: &'static str,
}

/// Real conversations over real connections are shown wrong, or not at all; or exchanges that ask no model are shown as
/// such, or with other bytes than they had.
#[test]
fn root_recorded_exchanges_over_tls() {
    if !is_root() {
        return;
    }
    let exchanges = require!(recorded::corpus());
    let tools = require!(Tools::find());
    let own = std::process::id().to_string();
    // A library has many users: ours are what this test starts.
    let captures = [
        Capture::start_alone(&tools.libssl, &["--pid", &own]),
        Capture::start_alone(&tools.node, &[]),
    ];
    leave_network();
    let seed = std::env::var("AGENTSIGHT_SEED").ok();
    let seed = seed.and_then(|seed| seed.split(',').next()?.parse().ok());
    let seed = seed.unwrap_or(1);
    eprintln!("seed {seed} (AGENTSIGHT_SEED)");
    let plays = plays(&exchanges, seed);
    let dir = tempfile::tempdir().unwrap();
    let asked = plays.iter().map(|play| play.exchange.0.clone()).collect();
    let server = ReplayServer::start(asked, seed, PORT, dir.path()).unwrap();
    let node = tools.ask(&plays, dir.path());
    let [library, program] = captures;
    let captured = [library.stop(), program.stop_of(node)];
    let played = by_number(&server.played().unwrap());
    let mut table = Table::default();
    let mut seen = Seen::of(&captured);
    for (number, play) in plays.iter().enumerate() {
        let of_play = seen.by_number.remove(&number).unwrap_or_default();
        judge(play, &played[&(number as u64)], &of_play, &mut table);
    }
    table.print();
    captured.iter().for_each(Captured::assert_whole);
    assert_eq!(seen.strange, Vec::<&Value>::new(), "calls that nobody made");
    assert_eq!(table.differing(), 0);
}

/// Each exchange with one client; with all, where time is no matter.
fn plays(exchanges: &[Exchange], seed: u64) -> Vec<Play<'_>> {
    let random = &mut Random(seed);
    let is_extended = is_extended();
    let mut plays = Vec::new();
    for exchange in exchanges {
        let clients = match is_extended {
            true => CLIENTS,
            false => std::slice::from_ref(random.pick(CLIENTS)),
        };
        plays.extend(clients.iter().map(|client| Play { exchange, client }));
    }
    plays
}

fn by_number(played: &[Value]) -> HashMap<u64, Value> {
    let number = |line: &Value| line["number"].as_u64().unwrap();
    played
        .iter()
        .map(|line| (number(line), line.clone()))
        .collect()
}

/// What asks.
struct Tools {
    curl: PathBuf,
    python: PathBuf,
    packages: PathBuf,
    libssl: PathBuf,
    node: PathBuf,
}

impl Tools {
    fn find() -> Option<Self> {
        Some(Self {
            curl: program("curl")?,
            python: program("python3")?,
            packages: sdks("python")?,
            libssl: libssl()?,
            node: sample("node-x64-20")?.path,
        })
    }

    /// Asks all questions; the number of node's process.
    fn ask(&self, plays: &[Play<'_>], dir: &Path) -> u64 {
        let ca = dir.join("cert.pem");
        let mut curl = command(&self.curl, dir, &ca);
        run(curl.arg("--config").arg(curl_config(plays, dir)));
        let mut python = command(&self.python, dir, &ca);
        python
            .env("PYTHONPATH", &self.packages)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .arg(driver("replay.py"));
        let clients = ["requests", "httpx", "httpx-h2"];
        run(python.arg(PORT.to_string()).arg(plan(plays, &clients, dir)));
        let mut node = command(&self.node, dir, &ca);
        // Nobody has certificates for the names of providers.
        node.env("NODE_TLS_REJECT_UNAUTHORIZED", "0")
            .arg(driver("replay.mjs"));
        let clients = ["https", "fetch", "http2"];
        let (pid, _) = run(node.arg(PORT.to_string()).arg(plan(plays, &clients, dir)));
        pid
    }
}

impl Play<'_> {
    /// Those that were recorded, and its number.
    fn headers(&self, number: usize) -> Vec<(&str, String)> {
        let recorded = self.exchange.request_headers.iter();
        let recorded = recorded
            .filter(|(name, _)| !FRAMING.contains(&name.as_str()))
            .map(|(name, value)| (name.as_str(), value.clone()));
        recorded
            .chain([(replay::NUMBER, number.to_string())])
            .collect()
    }

    fn authority(&self) -> &str {
        match self.exchange.authority.as_str() {
            "" => "localhost",
            authority => authority,
        }
    }

    fn url(&self) -> String {
        format!("https://{}{}", self.authority(), self.exchange.target())
    }
}

/// What the drivers are to ask with these clients.
fn plan(plays: &[Play<'_>], clients: &[&str], dir: &Path) -> PathBuf {
    let mut text = String::new();
    for (number, play) in plays.iter().enumerate() {
        if !clients.contains(&play.client) {
            continue;
        }
        let headers: HashMap<_, _> = play.headers(number).into_iter().collect();
        let line = json!({
            "client": play.client,
            "method": play.exchange.method,
            "url": play.url(),
            "authority": play.authority(),
            "target": play.exchange.target(),
            "headers": headers,
            "body": BASE64_STANDARD.encode(&play.exchange.request),
            "status": play.exchange.status,
        });
        writeln!(text, "{line}").unwrap();
    }
    let path = dir.join(format!("{}.plan", clients[0]));
    std::fs::write(&path, text).unwrap();
    path
}

/// What curl is to ask: in one process, on connections that it keeps.
fn curl_config(plays: &[Play<'_>], dir: &Path) -> PathBuf {
    let mut text = String::new();
    for (number, play) in plays.iter().enumerate() {
        let version = match play.client {
            "curl" => "http1.1",
            "curl-h2" => "http2",
            _ => continue,
        };
        let mut set = |name: &str, value: &str| {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"");
            writeln!(text, "{name} = \"{value}\"").unwrap();
        };
        set("url", &play.url());
        set("request", &play.exchange.method);
        set("connect-to", &format!("::127.0.0.1:{PORT}"));
        set("output", "/dev/null");
        for (name, value) in play.headers(number) {
            set("header", &format!("{name}: {value}"));
        }
        if !play.exchange.request.is_empty() {
            let body = dir.join(format!("{number}.body"));
            std::fs::write(&body, &play.exchange.request).unwrap();
            set("data-binary", &format!("@{}", body.display()));
            if version == "http1.1" && number % 5 == 0 {
                set("header", "expect: 100-continue");
            }
        }
        writeln!(
            text,
            "{version}\ninsecure\nsilent\nshow-error\ngloboff\npath-as-is\nnext"
        )
        .unwrap();
    }
    let path = dir.join("curl.config");
    std::fs::write(&path, text.trim_end_matches("next\n")).unwrap();
    path
}

/// What was told of one exchange.
#[derive(Default)]
struct Told<'l> {
    requests: Vec<&'l Value>,
    responses: Vec<&'l Value>,
    events: Vec<&'l Value>,
    calls: Vec<&'l Value>,
    deltas: Vec<&'l Value>,
}

/// What was told, by the number of the question.
struct Seen<'l> {
    by_number: HashMap<usize, Told<'l>>,
    /// Lines of calls in other exchanges.
    strange: Vec<&'l Value>,
}

impl<'l> Seen<'l> {
    fn of(captured: &'l [Captured]) -> Self {
        let mut seen = Self {
            by_number: HashMap::new(),
            strange: Vec::new(),
        };
        for captured in captured {
            seen.add(&captured.lines);
        }
        seen
    }

    fn add(&mut self, lines: &'l [Value]) {
        let place = |line: &'l Value| Some((line["conn"].as_str()?, line["exchange"].as_u64()?));
        let numbers: HashMap<_, _> = lines
            .iter()
            .filter(|line| line["type"] == "http.request")
            .filter_map(|line| Some((place(line)?, number(line)?)))
            .collect();
        for line in lines {
            let number = place(line).and_then(|place| numbers.get(&place));
            let Some(number) = number else {
                let is_call = line["type"] == "llm.call";
                self.strange.extend(is_call.then_some(line));
                continue;
            };
            let told = self.by_number.entry(*number).or_default();
            match line["type"].as_str() {
                Some("http.request") => told.requests.push(line),
                Some("http.response") => told.responses.push(line),
                Some("llm.call") => told.calls.push(line),
                Some("llm.delta") => told.deltas.push(line),
                Some("sse.event") => told.events.push(line),
                _ => {}
            }
        }
    }
}

fn number(request: &Value) -> Option<usize> {
    let headers = request["headers"].as_array()?;
    let header = headers
        .iter()
        .find(|header| header["name"] == replay::NUMBER)?;
    header["value"].as_str()?.parse().ok()
}

fn judge(play: &Play<'_>, played: &Value, told: &Told<'_>, table: &mut Table) {
    let family = Family::of(play.exchange);
    let row = table.row(play.exchange, family);
    let mut wrong = Vec::new();
    if played["differs"] != json!([]) {
        wrong.push(format!("was asked otherwise: {}", played["differs"]));
    }
    request(play.exchange, &told.requests, &mut wrong);
    response(play.exchange, played, told, &mut wrong);
    match (family, told.calls.as_slice()) {
        (None, []) if told.deltas.is_empty() => {}
        (None, _) => wrong.push("taken for a call".to_owned()),
        (Some(family), [call]) => {
            wrong.extend(family.differences(play.exchange, call, &told.deltas));
            outcome(play.exchange, call, &mut wrong);
        }
        (Some(_), calls) => wrong.push(format!("{} calls", calls.len())),
    }
    count(row, play, family.is_some(), told, wrong, played);
}

fn count(
    row: &mut Row,
    play: &Play<'_>,
    is_call: bool,
    told: &Told<'_>,
    mut wrong: Vec<String>,
    played: &Value,
) {
    let call = told.calls.first();
    let is_complete = call.is_some_and(|call| call["response"]["is_complete"] == true);
    let is_recognised = match is_call {
        true => call.is_some(),
        false => !told.responses.is_empty(),
    };
    if !wrong.is_empty() {
        let (client, coding) = (play.client, &played["coding"]);
        wrong.insert(0, format!("by {client}, coding {coding}"));
    }
    if is_recognised {
        let is_complete = is_complete || (!is_call && wrong.is_empty());
        row.judge(play.exchange, is_complete, &wrong);
    } else {
        row.wrong(play.exchange, &wrong.join("; "));
    }
}

/// One whole request with these bytes.
fn request(exchange: &Exchange, told: &[&Value], wrong: &mut Vec<String>) {
    let [line] = told else {
        return wrong.push(format!("{} requests", told.len()));
    };
    let target = exchange.target();
    same("method", line, &json!(exchange.method), wrong);
    same("target", line, &json!(target), wrong);
    same("body_bytes", line, &json!(exchange.request.len()), wrong);
    same("outcome", line, &json!("complete"), wrong);
    same("incomplete", line, &Value::Null, wrong);
    if body(line) != exchange.request {
        wrong.push("request: another body".to_owned());
    }
}

fn response(exchange: &Exchange, played: &Value, told: &Told<'_>, wrong: &mut Vec<String>) {
    let [line] = told.responses[..] else {
        return wrong.push(format!("{} responses", told.responses.len()));
    };
    same("status", line, &json!(exchange.status), wrong);
    same("outcome", line, &json!("complete"), wrong);
    same("incomplete", line, &Value::Null, wrong);
    same("wire_bytes", line, &played["wire"], wrong);
    same("body_bytes", line, &json!(exchange.response.len()), wrong);
    let is_aws = exchange.response.first() == Some(&0);
    let pieces = if is_aws {
        frames(exchange)
    } else {
        exchange.events()
    };
    if let Some(pieces) = &pieces {
        let meant: Vec<_> = pieces.iter().map(|piece| piece.data()).collect();
        let data = |line: &&Value| line["data"].as_str().unwrap().to_owned();
        let came: Vec<_> = told.events.iter().map(data).collect();
        if meant != came {
            wrong.push(format!("{} events are {}", meant.len(), came.len()));
        }
    } else if body(line) != exchange.response && lines(exchange).is_none() && !is_array(exchange) {
        wrong.push("response: another body".to_owned());
    }
}

/// Elements that are told as they come leave no body.
fn is_array(exchange: &Exchange) -> bool {
    exchange.response.first() == Some(&b'[')
}

fn same(field: &str, line: &Value, meant: &Value, wrong: &mut Vec<String>) {
    if line[field] != *meant {
        let kind = &line["type"];
        wrong.push(format!("{kind}.{field}: {} for {meant}", line[field]));
    }
}

fn body(line: &Value) -> Vec<u8> {
    match line["body_b64"].as_str() {
        Some(coded) => BASE64_STANDARD.decode(coded).unwrap(),
        None => line["body"].as_str().unwrap_or_default().into(),
    }
}

/// Nothing went wrong but what the provider says.
fn outcome(exchange: &Exchange, call: &Value, wrong: &mut Vec<String>) {
    same("status", call, &json!(exchange.status), wrong);
    same("incomplete", call, &Value::Null, wrong);
    let has_failed = exchange.status >= 400 || !call["response"]["error"].is_null();
    if has_failed == call["error"].is_null() {
        wrong.push(format!("error: {}", call["error"]));
    }
}
