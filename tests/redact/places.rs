//! The ways of captured text to an output: one secret, in every form in which agents write one, sent through every place of an
//! exchange, and looked for in all that is told of it.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use agentsight::dialog::Dialogs;
use agentsight::event::process::ProcessInfo;
use agentsight::event::{Comm, Direction, Function, ProcessId, SocketNames, Trust};
use agentsight::redact::{Level, Redactor, Rules, example};
use agentsight::sink::{Clock, Human, JsonLines, Raw, Sink, Style, View};
use agentsight::stream::{CloseReason, ConnName, Message, Origin, Payload};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};

/// A way to write a secret.
struct Form {
    name: &'static str,
    /// As JSON, with the secret in it.
    json: Value,
    /// As text.
    text: String,
}

/// What is random, and no shape of any key.
fn secret(seed: u64) -> String {
    example::expand("q7{base62:22}", seed).text
}

/// In JSON, and in the text of that, or of what agents write beside it.
fn forms(secret: &str) -> Vec<Form> {
    let mut forms: Vec<_> = [keys(secret), nested(secret)]
        .concat()
        .into_iter()
        .map(|(name, json)| Form {
            name,
            text: json.to_string(),
            json,
        })
        .collect();
    for (name, text) in [
        (
            "a form",
            format!("grant_type=refresh_token&client_secret={secret}&scope=a"),
        ),
        (
            "a line of a head",
            format!("> GET / HTTP/1.1\n> Host: a\n> Authorization: Bearer {secret}\n>\n"),
        ),
        (
            "assigned in code",
            format!("client = Client(api_key=\"{secret}\")\n"),
        ),
    ] {
        let json = json!({"stdout": text});
        forms.push(Form { name, text, json });
    }
    forms.extend(escaped(secret));
    forms
}

/// Behind names of all kinds.
fn keys(secret: &str) -> Vec<(&'static str, Value)> {
    let bearer = format!("Bearer {secret}");
    vec![
        ("snake case", json!({"api_key": secret})),
        ("camel case", json!({"apiKey": secret})),
        ("Pascal case", json!({"ApiKey": secret})),
        ("behind capitals", json!({"OpenAIApiKey": secret})),
        ("upper case", json!({"OPENAI_API_KEY": secret})),
        ("kebab case", json!({"api-key": secret})),
        ("a password", json!({"user": "me", "password": secret})),
        ("a token that is random", json!({"token": secret})),
        (
            "authorization_token",
            json!({"authorization_token": secret}),
        ),
        (
            "fields of a head",
            json!({"headers": {"Authorization": bearer, "Accept": "*/*"}}),
        ),
        ("a bare field", json!({"authorization": secret})),
        ("x-api-key", json!({"headers": {"X-Api-Key": secret}})),
        (
            "a gateway's field",
            json!({"headers": {"cf-aig-authorization": bearer}}),
        ),
    ]
}

/// In lists, in strings, and in text.
fn nested(secret: &str) -> Vec<(&'static str, Value)> {
    let bearer = format!("Bearer {secret}");
    vec![
        (
            "fields in pairs",
            json!({"headers": [["accept", "*/*"], ["authorization", bearer]]}),
        ),
        (
            "fields by name",
            json!({"headers": [{"name": "Authorization", "value": bearer}]}),
        ),
        (
            "variables by name",
            json!({"env": [{"name": "MY_API_KEY", "value": secret}]}),
        ),
        (
            "a field of several values",
            json!({"authorization": [bearer, bearer]}),
        ),
        ("a list", json!({"api_keys": [secret, secret]})),
        (
            "nested lists",
            json!({"all": [[{"n": 1}, {"password": secret}]]}),
        ),
        (
            "JSON in a string",
            json!({"arguments": json!({"password": secret}).to_string()}),
        ),
        (
            "JSON in strings of strings",
            json!({"a": json!({"b": json!({"api_key": secret}).to_string()}).to_string()}),
        ),
        (
            "a query",
            json!({"url": format!("https://a.example/v1?x=1&access_token={secret}&y=2")}),
        ),
        (
            "a key in a query",
            json!({"url": format!("https://a.example/v1?key={secret}")}),
        ),
        (
            "a URL's password",
            json!({"url": format!("https://me:{secret}@a.example/x.git")}),
        ),
        (
            "a command",
            json!({"command": format!("curl -H 'Authorization: Bearer {secret}' https://a.example/")}),
        ),
        (
            "settings",
            json!({"content": format!("PORT=80\nMY_API_KEY={secret}\nDEBUG=1\n")}),
        ),
    ]
}

/// As serialisers write it that escape more than they must.
fn escaped(secret: &str) -> Vec<Form> {
    let inner = json!({"password": secret}).to_string();
    let all = |text: &str| -> String {
        let letters = text.bytes();
        letters.map(|byte| format!("\\u{byte:04x}")).collect()
    };
    let dotnet = format!("{{\"arguments\":\"{}\"}}", inner.replace('"', "\\u0022"));
    let letters = format!("{{\"api_key\":\"{}\"}}", all(secret));
    let keys = format!("{{\"{}\":\"{secret}\"}}", all("api_key"));
    let go = format!("{{\"url\":\"https://a.example/?a=1\\u0026token={secret}\"}}");
    let texts = [
        ("quotes escaped", dotnet),
        ("letters escaped", letters),
        ("a key escaped", keys),
        ("signs escaped", go),
    ];
    let forms = texts.into_iter().map(|(name, text)| Form {
        name,
        json: serde_json::from_str(&text).unwrap(),
        text,
    });
    forms.collect()
}

/// Secrets that are more than one word, each with what must not be seen of it.
fn long_forms(seed: u64) -> Vec<(Form, String)> {
    let form = |name, json: Value| Form {
        name,
        text: json.to_string(),
        json,
    };
    let line = example::expand("{base64:64}", seed).text;
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{line}\n{line}\n-----END PRIVATE KEY-----\n");
    let pem = [
        form("PEM", json!({"content": pem})),
        form("PEM behind a name", json!({"private_key": pem})),
        form(
            "PEM in strings of strings",
            json!({"a": json!({"b": pem}).to_string()}),
        ),
    ];
    let basic = BASE64_STANDARD.encode(format!("me:{}", secret(seed)));
    let basic_form = json!({"headers": {"Authorization": format!("Basic {basic}")}});
    let cookie = secret(seed);
    let cookies = format!("session={cookie}; theme=dark");
    let mut all: Vec<_> = pem.into_iter().map(|form| (form, line.clone())).collect();
    all.push((form("basic", basic_form), basic));
    all.push((form("cookies", json!({"Cookie": cookies})), cookie.clone()));
    all.push((
        form(
            "cookies in a command",
            json!({"command": format!("curl -H 'Cookie: {cookies}' x")}),
        ),
        cookie,
    ));
    all
}

fn origin(conn: u64) -> Origin {
    Origin {
        ts_ns: 1,
        process: ProcessId {
            pid: 7,
            start_ns: 1,
        },
        tid: 7,
        comm: Comm::default(),
        function: Arc::new(Function {
            library: "openssl".into(),
            name: "SSL_write".into(),
        }),
        conn: ConnName(conn),
        fd: None,
    }
}

/// What a program writes, and what it reads.
type Talk = Vec<(Direction, Vec<u8>)>;

fn http(target: &str, fields: &str, body: &str, status: &str, kind: &str, answer: &str) -> Talk {
    let length = body.len();
    let asked = format!(
        "POST {target} HTTP/1.1\r\nHost: api.example\r\n{fields}content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    let length = answer.len();
    let answered = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{answer}"
    );
    vec![
        (Direction::Write, asked.into_bytes()),
        (Direction::Read, answered.into_bytes()),
    ]
}

/// A place's name, the types of lines in which it has to show a mask, and what is said.
type Place = (&'static str, Vec<&'static str>, Talk);

/// The places.
fn places(form: &Form) -> Vec<Place> {
    let Form { json, text, .. } = form;
    let mut all = [asked(form), answered(form)].concat();
    all.push(claude(form));
    all.push((
        "MCP",
        vec!["mcp.message", "http.request", "http.response"],
        mcp(text, json),
    ));
    all.push((
        "a stream",
        vec!["sse.event", "llm.delta", "llm.call"],
        stream(text),
    ));
    all.push(("a WebSocket", vec!["ws.message"], web_socket(text)));
    let unknown = http("/x", "", text, "200 OK", "text/plain", text);
    all.push((
        "an unknown API",
        vec!["http.request", "http.response"],
        unknown,
    ));
    if !text.contains(['\n', '\r']) {
        let field = format!("x-debug: {text}\r\n");
        let field = http("/x", &field, "{}", "200 OK", "text/plain", "");
        all.push(("a field", vec!["http.request"], field));
        all.push(("trailers", vec!["http.response"], trailers(text)));
    }
    all
}

fn chat(body: &Value, status: &str, answer: &str) -> Talk {
    let path = "/v1/chat/completions";
    http(
        path,
        "",
        &body.to_string(),
        status,
        "application/json",
        answer,
    )
}

/// A question, with these fields.
fn question(more: &Value) -> Value {
    let mut body = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
    for (key, value) in more.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

fn says(message: &Value) -> Value {
    json!({"id": "c", "object": "chat.completion", "choices": [{"index": 0, "finish_reason": "stop", "message": message}]})
}

fn wants(arguments: &str) -> Value {
    json!({"role": "assistant", "tool_calls": [
        {"id": "t1", "type": "function", "function": {"name": "run", "arguments": arguments}}]})
}

fn asked(form: &Form) -> Vec<Place> {
    let Form { json, text, .. } = form;
    let history = json!({"messages": [
        {"role": "system", "content": text}, {"role": "user", "content": [{"type": "text", "text": text}]}, wants(text),
        {"role": "tool", "tool_call_id": "t1", "content": text}, {"role": "user", "content": [{"type": "odd", "odd": json}]}]});
    let tools = json!({"tools": [{"type": "function", "function": {"name": "t", "description": text, "parameters": json}}]});
    let ok = says(&json!({"role": "assistant", "content": "ok"})).to_string();
    let all = [
        ("messages of a question", &history),
        ("parameters", json),
        ("tools", &tools),
    ];
    let all = all.map(|(name, more)| {
        let talk = chat(&question(more), "200 OK", &ok);
        (name, vec!["http.request", "llm.call"], talk)
    });
    all.to_vec()
}

fn answered(form: &Form) -> Vec<Place> {
    let Form { json, text, .. } = form;
    let mut more = says(&json!({"role": "assistant", "content": "ok"}));
    let fields = json.as_object().unwrap().clone();
    more.as_object_mut().unwrap().extend(fields);
    let error = json!({"error": {"message": text, "type": "invalid", "more": json}});
    let said = says(&json!({"role": "assistant", "content": text}));
    let all = [
        ("an answer", "200 OK", said),
        ("a tool call", "200 OK", says(&wants(text))),
        ("what else is answered", "200 OK", more),
        ("an error", "400 Bad Request", error),
    ];
    let all = all.map(|(name, status, answer)| {
        let talk = chat(&question(&json!({})), status, &answer.to_string());
        (name, vec!["http.response", "llm.call"], talk)
    });
    all.to_vec()
}

/// Parts that are JSON, and one that nobody knows.
fn claude(form: &Form) -> Place {
    let Form { json, text, .. } = form;
    let asked = json!({"model": "claude", "max_tokens": 9, "mcp_servers": [json], "messages": [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "run", "input": json}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": text}, {"type": "new", "more": json}]}]});
    let answer = json!({"id": "m", "type": "message", "role": "assistant", "content": [
        {"type": "thinking", "thinking": text, "signature": "s"}, {"type": "tool_use", "id": "t2", "name": "run", "input": json}]});
    let (asked, answer) = (asked.to_string(), answer.to_string());
    let fields = "anthropic-version: 2023-06-01\r\n";
    let talk = http(
        "/v1/messages",
        fields,
        &asked,
        "200 OK",
        "application/json",
        &answer,
    );
    (
        "Anthropic's parts",
        vec!["http.request", "http.response", "llm.call"],
        talk,
    )
}

fn mcp(text: &str, json: &Value) -> Talk {
    let ask = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "run", "arguments": json}});
    let answer = json!({"jsonrpc": "2.0", "id": 1, "result": {"structuredContent": json, "content": [{"type": "text", "text": text}]}});
    let (ask, answer) = (ask.to_string(), answer.to_string());
    http("/mcp", "", &ask, "200 OK", "application/json", &answer)
}

/// An answer in small pieces: of text, and of a tool's arguments.
fn stream(text: &str) -> Talk {
    let letters: Vec<char> = text.chars().collect();
    let mut events = String::new();
    let mut event = |delta: Value, reason: Value| {
        let chunk = json!({"id": "c", "object": "chat.completion.chunk",
            "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]});
        events += &format!("data: {chunk}\n\n");
    };
    event(json!({"role": "assistant", "content": "x"}), Value::Null);
    for piece in letters.chunks(5) {
        let piece: String = piece.iter().collect();
        event(json!({"content": piece}), Value::Null);
    }
    event(
        json!({"tool_calls": [{"index": 0, "id": "t1", "type": "function", "function": {"name": "run", "arguments": ""}}]}),
        Value::Null,
    );
    for piece in letters.chunks(7) {
        let piece: String = piece.iter().collect();
        event(
            json!({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}),
            Value::Null,
        );
    }
    event(json!({}), json!("stop"));
    // Told as one event of a server that streams another thing.
    events += &format!(
        "data: {}\n\ndata: [DONE]\n\n",
        json!({"id": "c", "object": "chat.completion.chunk", "choices": [], "note": text})
    );
    let body =
        json!({"model": "m", "stream": true, "messages": [{"role": "user", "content": "hi"}]});
    let path = "/v1/chat/completions";
    http(
        path,
        "",
        &body.to_string(),
        "200 OK",
        "text/event-stream",
        &events,
    )
}

/// A field behind a body (RFC 9112 section 7.1.2).
fn trailers(text: &str) -> Talk {
    let answer = format!(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-debug\r\n\r\n2\r\nok\r\n0\r\nx-debug: {text}\r\n\r\n"
    );
    let asked = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_vec();
    vec![
        (Direction::Write, asked),
        (Direction::Read, answer.into_bytes()),
    ]
}

/// One message of text each way (RFC 6455 section 5).
fn web_socket(text: &str) -> Talk {
    let asked = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                 Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let answered = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    let mut frame = vec![0x81, 126];
    frame.extend(u16::try_from(text.len()).unwrap().to_be_bytes());
    frame.extend(text.as_bytes());
    vec![
        (Direction::Write, asked.into()),
        (Direction::Read, answered.into()),
        (Direction::Read, frame),
    ]
}

/// A writer that can be read.
#[derive(Clone, Default)]
struct Page(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Page {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Page {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

/// All that is told of a conversation: as JSON lines, for people, and the bytes themselves, whole and in chunks.
fn told(redactor: &mut Redactor, talk: &Talk) -> (String, String, String) {
    let (lines, page, whole, chunked) = Default::default();
    let pages: [&Page; 4] = [&lines, &page, &whole, &chunked];
    let clock = Clock::fixed(0);
    let mut sinks: [Box<dyn Sink>; 2] = [
        Box::new(JsonLines::new(lines.clone(), clock)),
        Box::new(Human::new(page.clone(), clock, Style::Auto, View::All)),
    ];
    let mut dialogs = Dialogs::default();
    let mut said = Vec::new();
    let open = Message::Open {
        origin: origin(1),
        from_start: true,
        socket: SocketNames::default(),
    };
    dialogs.take(&open, &mut said);
    for (direction, bytes) in talk {
        dialogs.take(&data(1, *direction, 0, bytes), &mut said);
    }
    let close = Message::Close {
        origin: origin(1),
        reason: CloseReason::Freed,
        trust: Trust::Exact,
        is_attributed: false,
        totals: [0, 0],
    };
    dialogs.take(&close, &mut said);
    for said in said.into_iter().flat_map(|said| redactor.said(said)) {
        sinks.iter_mut().for_each(|sink| sink.said(&said).unwrap());
    }
    for (conn, size, raw) in [(2, usize::MAX, &whole), (3, 11, &chunked)] {
        let mut sent = Raw::new(raw.clone());
        for (direction, bytes) in talk {
            let mut offset = 0;
            for chunk in bytes.chunks(size) {
                let mut message = data(conn, *direction, offset, chunk);
                offset += chunk.len() as u64;
                redactor.apply(&mut message);
                sent.message(&message).unwrap();
                if size == usize::MAX {
                    sinks
                        .iter_mut()
                        .for_each(|sink| sink.message(&message).unwrap());
                }
            }
        }
        redactor.forget(conn);
    }
    sinks.iter_mut().for_each(|sink| sink.flush().unwrap());
    let [lines, page, whole, chunked] = pages.map(Page::text);
    (lines, page + &whole, chunked)
}

fn data(conn: u64, direction: Direction, offset: u64, bytes: &[u8]) -> Message<'_> {
    Message::Data {
        origin: origin(conn),
        payload: Payload {
            direction,
            seq: 0,
            offset,
            call_len: bytes.len() as u64,
            early: false,
            goroutine: None,
            bytes: Cow::Borrowed(bytes),
        },
    }
}

/// The parts of a secret that must not be seen: what comes before it was known to be one may be, where chunks cut it.
fn seen<'t>(text: &'t str, secret: &str) -> Option<&'t str> {
    let end = &secret[secret.len() / 2..];
    let at = text.find(end)?;
    let mut from = at.saturating_sub(120);
    while !text.is_char_boundary(from) {
        from -= 1;
    }
    Some(&text[from..at + end.len()])
}

/// The tags of the masks of a text.
fn tags(text: &str) -> BTreeSet<&str> {
    let tags = text.split("<redacted:").skip(1);
    tags.filter_map(|tag| tag.get(..8)).collect()
}

/// Where each tag was seen first.
type Tags = BTreeMap<String, String>;

fn redactor() -> Redactor {
    Redactor::with_rules(Rules::new(Level::Default).unwrap(), [7; 32]).unwrap()
}

/// A secret would be told in one place that is masked in another; or could not be known again there.
#[test]
fn one_secret_is_masked_alike_in_every_place() {
    let mut redactor = redactor();
    let secret = secret(11);
    let mut all_tags = Tags::new();
    let mut wrong = Vec::new();
    let mut tried = 0;
    for form in forms(&secret) {
        for (place, kinds, talk) in places(&form) {
            tried += 1;
            wrong.extend(judge(
                &mut redactor,
                &form,
                place,
                &kinds,
                &talk,
                &secret,
                &mut all_tags,
            ));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {tried}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(tried > 300, "{tried}");
    assert_eq!(all_tags.len(), 1, "{all_tags:#?}");
}

/// The same of secrets of several lines or words.
#[test]
fn long_secrets_are_masked_alike_in_every_place() {
    let mut redactor = redactor();
    let mut wrong = Vec::new();
    let mut by_secret: BTreeMap<String, Tags> = BTreeMap::new();
    for (form, secret) in long_forms(13) {
        for (place, kinds, talk) in places(&form) {
            let tags = by_secret.entry(secret.clone()).or_default();
            wrong.extend(judge(
                &mut redactor,
                &form,
                place,
                &kinds,
                &talk,
                &secret,
                tags,
            ));
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", wrong.len(), wrong.join("\n"));
    for (secret, tags) in by_secret {
        assert_eq!(tags.len(), 1, "{secret} has tags {tags:?}");
    }
}

/// What is wrong with a place; its tags go to `all`.
fn judge(
    redactor: &mut Redactor,
    form: &Form,
    place: &str,
    kinds: &[&str],
    talk: &Talk,
    secret: &str,
    all: &mut Tags,
) -> Vec<String> {
    let (lines, others, chunked) = told(redactor, talk);
    let mut wrong = Vec::new();
    for line in lines.lines() {
        for tag in tags(line) {
            let at = || format!("{}, {place}", form.name);
            all.entry(tag.to_owned()).or_insert_with(at);
        }
        if let Some(seen) = seen(line, secret) {
            let kind: Value = serde_json::from_str(line).unwrap();
            wrong.push(format!("{}, {place}, {}: {seen}", form.name, kind["type"]));
        }
    }
    wrong.extend(
        seen(&others, secret).map(|seen| format!("{}, {place}, for people: {seen}", form.name)),
    );
    // What makes it a secret is the sign behind it: until that comes, it has been sent.
    if form.name != "a URL's password"
        && let Some(seen) = seen(&chunked, secret)
    {
        wrong.push(format!("{}, {place}, in chunks: {seen}", form.name));
    }
    for kind in kinds {
        let mut of_kind = lines
            .lines()
            .filter(|line| line.contains(&format!("{{\"type\":\"{kind}\"")));
        let masked = |line: &str| line.contains("<redacted:");
        // In pieces of five letters, a mask is cut.
        if !of_kind.any(masked) && *kind != "sse.event" {
            wrong.push(format!("{}, {place}: no {kind} shows a mask", form.name));
        }
    }
    wrong
}

/// Heads are not JSON: a secret in the request's line, its host or a cookie would be told.
#[test]
fn heads_are_masked() {
    let mut redactor = redactor();
    let secret = secret(17);
    let url = format!("https://me:{secret}@a.example");
    let field = |name: &str, value: &str| format!("{name}: {value}\r\n");
    let basic = BASE64_STANDARD.encode(format!("me:{secret}"));
    let heads = [
        (format!("/x?access_token={secret}"), String::new()),
        (
            format!("/v1beta/models/gemini-2.5-pro:generateContent?key=AQ.{secret}{secret}"),
            String::new(),
        ),
        (format!("{url}/x"), String::new()),
        (
            "/x".into(),
            field("authorization", &format!("Bearer {secret}")),
        ),
        (
            "/x".into(),
            field("Cf-Aig-Authorization", &format!("Bearer {secret}")),
        ),
        (
            "/x".into(),
            field("cookie", &format!("a=b; session={secret}")),
        ),
        ("/x".into(), field("x-api-key", &secret)),
        (
            "/x".into(),
            field("authorization", &format!("Basic {basic}")),
        ),
        ("/x".into(), field("referer", &format!("{url}/y"))),
    ];
    for (target, fields) in heads {
        let talk = http(&target, &fields, "{}", "200 OK", "text/plain", "");
        let (lines, others, _) = told(&mut redactor, &talk);
        for hidden in [secret.as_str(), basic.as_str()] {
            assert_eq!(seen(&lines, hidden), None, "{target} {fields}");
            assert_eq!(seen(&others, hidden), None, "{target} {fields}");
        }
    }
    let mut authority = format!("me:{secret}@a.example:443");
    redactor.authority(&mut authority);
    assert!(authority.starts_with("me:<redacted:") && authority.ends_with("@a.example:443"));
    for whole in ["a.example:443", "[::1]:8080", "me@a.example"] {
        let mut authority = whole.to_owned();
        redactor.authority(&mut authority);
        assert_eq!(authority, whole);
    }
}

/// What is told of a process would hold a secret that its paths have.
#[test]
fn processes_are_masked() {
    let secret = secret(19);
    let mut info = Arc::new(ProcessInfo {
        process: ProcessId {
            pid: 7,
            start_ns: 1,
        },
        since_ns: 1,
        comm: "sh".into(),
        uid: 0,
        parent: ProcessId {
            pid: 1,
            start_ns: 0,
        },
        ns_pid: None,
        exe: Some(format!("/tmp/MY_API_KEY={secret}")),
        cgroup: None,
        container: None,
    });
    let known = Arc::clone(&info);
    redactor().process(&mut info);
    let exe = info.exe.as_deref().unwrap();
    assert!(exe.starts_with("/tmp/MY_API_KEY=<redacted:"), "{exe}");
    assert_eq!(info.comm, known.comm);
}
