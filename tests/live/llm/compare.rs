//! Are the `llm.call` lines what the mock server's truth log says? Each exchange must be there exactly once, and equal in
//! every field that both have.
//!
//! Both sides are brought into one plain form first, for two things are matters of taste and not of truth: how
//! neighbouring parts of one role are divided into messages, and whether what a tool gave is said by `tool` or by `user`.

use std::collections::HashMap;

use serde_json::{Value, json};

/// Of the usage, by the names of both.
const COUNTS: [&str; 5] = [
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
];

/// All that differs, exchange by exchange; empty if nothing does. The lines may hold others than `llm.call` and
/// `mcp.message`.
pub fn complaints(truth: &[Value], lines: &[Value]) -> Vec<String> {
    let of = |kind: &str| -> Vec<&Value> {
        let lines = lines.iter();
        lines.filter(|line| line["type"] == kind).collect()
    };
    let (mcp, llm): (Vec<_>, Vec<_>) = truth.iter().partition(|line| line["api"] == "mcp");
    let mut complaints = calls(&llm, &of("llm.call"));
    complaints.extend(messages(&mcp, &of("mcp.message")));
    complaints
}

fn calls(truth: &[&Value], calls: &[&Value]) -> Vec<String> {
    let mut complaints = Vec::new();
    let mut index = Index::of(calls);
    // Those that are known by their number leave the others fewer to choose from.
    let (numbered, others): (Vec<&Value>, Vec<&Value>) = truth
        .iter()
        .partition(|line| line["response"]["id"].is_string());
    for line in numbered.into_iter().chain(others) {
        let name = format!("{} {} {}", line["api"], line["id"], line["fault"]);
        match index.take(line) {
            None if line["warms"] == true => {}
            None => complaints.push(format!("{name}: no call, of {}", brief(&line["request"]))),
            Some(call) => {
                let differ = differences(line, call);
                complaints.extend(differ.into_iter().map(|one| format!("{name}: {one}")));
            }
        }
    }
    for call in index.left() {
        complaints.push(format!("a call that nobody made: {}", brief(call)));
    }
    complaints
}

/// Calls that no exchange has claimed yet.
struct Index<'c> {
    calls: Vec<Option<&'c Value>>,
    by_id: HashMap<&'c str, Vec<usize>>,
    by_request: HashMap<String, Vec<usize>>,
}

impl<'c> Index<'c> {
    fn of(calls: &[&'c Value]) -> Self {
        let mut index = Self {
            calls: calls.iter().copied().map(Some).collect(),
            by_id: HashMap::new(),
            by_request: HashMap::new(),
        };
        for (at, call) in calls.iter().enumerate() {
            if let Some(id) = call["response"]["id"].as_str() {
                index.by_id.entry(id).or_default().push(at);
            }
            let asked = asked_of_call(call);
            index.by_request.entry(asked).or_default().push(at);
        }
        index
    }

    /// By the response's number; else, of those that ask the same, the one that differs least.
    fn take(&mut self, truth: &Value) -> Option<&'c Value> {
        let id = truth["response"]["id"].as_str();
        let by_id = id.and_then(|id| self.by_id.get(id));
        let same = self.by_request.get(&asked_of_truth(truth));
        let free = |at: &&usize| self.calls[**at].is_some();
        let best = by_id.and_then(|all| all.iter().find(free)).or_else(|| {
            let free = same?.iter().filter(free);
            free.min_by_key(|at| differences(truth, self.calls[**at].unwrap()).len())
        });
        let best = *best?;
        self.calls[best].take()
    }

    fn left(&self) -> impl Iterator<Item = &'c Value> {
        self.calls.iter().filter_map(|call| *call)
    }
}

fn asked_of_truth(truth: &Value) -> String {
    let said = groups(
        list(&truth["request"]["messages"])
            .iter()
            .map(message_of_truth),
    );
    format!("{} {said:?}", truth["model"])
}

fn asked_of_call(call: &Value) -> String {
    let said = groups(
        list(&call["request"]["messages"])
            .iter()
            .map(message_of_call),
    );
    format!("{} {said:?}", call["request"]["model"])
}

/// What differs between an exchange and the call that it is.
pub fn differences(truth: &Value, call: &Value) -> Vec<String> {
    let mut differ = Differ::default();
    // Who speaks like OpenAI or Anthropic at an address that nobody knows is only said to be compatible.
    let provider = call["provider"].as_str().unwrap_or_default();
    let provider = json!(provider.strip_suffix("_compatible").unwrap_or(provider));
    differ.same("provider", &truth["provider"], &provider);
    differ.same("operation", &truth["operation"], &call["operation"]);
    differ.same("request.model", &truth["model"], &call["request"]["model"]);
    // A WebSocket's messages have no status.
    if truth["over"] == "http" {
        differ.same("status", &truth["status"], &call["status"]);
    }
    request(&truth["request"], &call["request"], &mut differ);
    if truth["error"].is_null() {
        response(truth, call, &mut differ);
    } else {
        let said = error_message(&truth["error"]);
        let seen = error_message(&call["response"]["error"]);
        differ.same("response.error.message", &said, &seen);
    }
    differ.0
}

fn request(truth: &Value, call: &Value, differ: &mut Differ) {
    let system = list(&call["system"]).iter().filter_map(text_of);
    let system: Vec<_> = system.filter(|text| !text.is_empty()).collect();
    differ.same("request.system", &filled(&truth["system"]), &json!(system));
    let said = groups(list(&truth["messages"]).iter().map(message_of_truth));
    let seen = groups(list(&call["messages"]).iter().map(message_of_call));
    differ.same("request.messages", &json!(said), &json!(seen));
    // Tools of the provider may have no name of their own, and are left out of the truth.
    let mut names = list(&call["tools"]).iter().map(|tool| &tool["name"]);
    for tool in list(&truth["tools"]) {
        if !names.any(|name| name == tool) {
            differ
                .0
                .push(format!("request.tools: no {tool} in its place"));
        }
    }
}

fn response(truth: &Value, call: &Value, differ: &mut Differ) {
    let (said, seen) = (&truth["response"], &call["response"]);
    let is_whole = call["incomplete"].is_null() || call["incomplete"] == false;
    let has_failed = !call["error"].is_null() || !seen["error"].is_null();
    let is_spoilt = !is_whole || has_failed;
    let fault = truth["fault"].as_str();
    match fault {
        None | Some("slow") => {
            if is_spoilt {
                let why = [&call["incomplete"], &call["error"], &seen["error"]];
                differ
                    .0
                    .push(format!("nothing went wrong, but it says {why:?}"));
            }
        }
        Some(fault) => {
            let is_told = match fault {
                "error-event" | "status" => has_failed,
                _ => is_spoilt,
            };
            if !is_told {
                differ.0.push(format!("{fault} is not told"));
            }
            // An error in place of an answer is all of it.
            if fault == "status" && !is_whole {
                let why = &call["incomplete"];
                differ
                    .0
                    .push(format!("nothing is missing, but it says {why}"));
            }
            partly(said, seen, differ);
            return;
        }
    }
    for field in ["id", "results"] {
        differ.same(&format!("response.{field}"), &said[field], &seen[field]);
    }
    let (meant, got) = (list(&said["choices"]), list(&seen["choices"]));
    if meant.len() != got.len() {
        let counts = format!("{} are {}", meant.len(), got.len());
        differ.0.push(format!("response.choices: {counts}"));
    }
    for (meant, got) in meant.iter().zip(got) {
        choice(meant, got, differ);
    }
    usage(said, &seen["usage"], differ);
}

/// Of an answer that broke off: the texts that went out.
fn partly(said: &Value, seen: &Value, differ: &mut Differ) {
    for (at, text) in list(&said["sent"]).iter().enumerate() {
        let choice = &seen["choices"][at];
        let got = joined(list(&choice["message"]["parts"]), "text");
        differ.same("the text that was sent", text, &json!(got));
    }
}

fn choice(said: &Value, seen: &Value, differ: &mut Differ) {
    let parts = list(&seen["message"]["parts"]);
    let name = |field: &str| format!("response.choices[{}].{field}", seen["index"]);
    differ.same(&name("text"), &said["text"], &json!(joined(parts, "text")));
    let reasoning = json!(joined(parts, "reasoning"));
    differ.same(&name("reasoning"), &said["reasoning"], &reasoning);
    let calls: Vec<Value> = of_type(parts, "tool_call").map(tool_call).collect();
    let meant: Vec<Value> = list(&said["tool_calls"]).iter().map(tool_call).collect();
    differ.same(&name("tool_calls"), &json!(meant), &json!(calls));
    let searches: Vec<_> = of_type(parts, "server_tool_call")
        .map(|part| &part["arguments"]["query"])
        .collect();
    differ.same(&name("searches"), &said["searches"], &json!(searches));
    let citations: Vec<_> = of_type(parts, "text")
        .flat_map(|part| list(&part["citations"]))
        .collect();
    differ.same(&name("citations"), &said["citations"], &json!(citations));
    let (meant, got) = (&said["finish_reason"], &seen["finish_reason"]);
    // OpenAI's responses say this twice: as the status, and why.
    if !(meant == "incomplete" && got == "max_output_tokens") {
        differ.same(&name("finish_reason"), meant, got);
    }
}

fn usage(said: &Value, seen: &Value, differ: &mut Differ) {
    let is_estimate = !seen["estimated_with"].is_null();
    if said["usage"].is_null() {
        if !seen.is_null() && !is_estimate {
            differ.0.push(format!("usage that nobody reported: {seen}"));
        }
        return;
    }
    if is_estimate {
        differ.0.push(format!("usage is estimated: {seen}"));
    }
    for field in COUNTS {
        differ.same(
            &format!("usage.{field}"),
            &said["usage"][field],
            &seen[field],
        );
    }
    let sent = said["usage_as_sent"].as_object();
    for (field, value) in sent.into_iter().flatten() {
        differ.same(
            &format!("usage.reported.{field}"),
            value,
            &seen["reported"][field],
        );
    }
}

/// Consecutive messages of one role: the role, and what it says by kind.
type Group = (String, [Vec<Value>; 4]);

/// The kinds: texts, reasoning, tool calls, what tools gave.
fn groups(messages: impl Iterator<Item = Group>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut push = |role: String, parts: [Vec<Value>; 4]| {
        if parts.iter().all(Vec::is_empty) {
            return;
        }
        match groups.last_mut() {
            Some((last, all)) if *last == role => {
                for (all, more) in all.iter_mut().zip(parts) {
                    all.extend(more);
                }
            }
            _ => groups.push((role, parts)),
        }
    };
    for (role, [texts, reasoning, calls, results]) in messages {
        push("tool".to_owned(), [vec![], vec![], vec![], results]);
        push(role, [texts, reasoning, calls, vec![]]);
    }
    groups
}

fn message_of_truth(message: &Value) -> Group {
    let calls = list(&message["tool_calls"]).iter().map(tool_call);
    let results = list(&message["tool_results"]).iter();
    let results = results.map(|one| json!([one["id"], plain(&one["content"])]));
    let parts = [
        list(&filled(&message["texts"])).to_vec(),
        list(&filled(&message["reasoning"])).to_vec(),
        calls.collect(),
        results.collect(),
    ];
    (role(&message["role"]), parts)
}

fn message_of_call(message: &Value) -> Group {
    let parts = list(&message["parts"]);
    let texts = |kind: &str| {
        let texts = of_type(parts, kind).filter_map(text_of);
        let texts = texts.filter(|text| !text.is_empty());
        texts.map(|text| json!(text)).collect()
    };
    let results = of_type(parts, "tool_call_response");
    let results = results.map(|one| json!([one["id"], plain(&one["response"])]));
    let parts = [
        texts("text"),
        texts("reasoning"),
        of_type(parts, "tool_call").map(tool_call).collect(),
        results.collect(),
    ];
    (role(&message["role"]), parts)
}

fn role(role: &Value) -> String {
    role.as_str()
        .unwrap_or_default()
        .replace("model", "assistant")
}

fn tool_call(call: &Value) -> Value {
    json!([call["id"], call["name"], call["arguments"]])
}

/// The texts of what a tool gave; anything else as it is.
fn plain(content: &Value) -> Value {
    match content {
        Value::Null => json!([]),
        Value::Array(blocks) => {
            let texts = blocks.iter().filter_map(|block| match block {
                Value::String(text) => Some(text.as_str()),
                _ => block["text"].as_str().or_else(|| block["content"].as_str()),
            });
            texts.collect()
        }
        other => json!([other]),
    }
}

fn error_message(error: &Value) -> Value {
    let found = [
        &error["error"]["message"],
        &error["message"],
        &error["error"],
        error,
    ];
    let mut texts = found.into_iter().filter(|value| value.is_string());
    texts.next().cloned().unwrap_or_default()
}

/// Of exchanges of MCP: each message must have been told once, with every field that it has and no other.
fn messages(truth: &[&Value], lines: &[&Value]) -> Vec<String> {
    let mut told: Vec<Value> = lines.iter().map(|line| message_of_line(line)).collect();
    let mut complaints = Vec::new();
    for line in truth {
        for said in messages_of_truth(line) {
            match told.iter().position(|told| *told == said) {
                Some(at) => drop(told.swap_remove(at)),
                None => complaints.push(format!("mcp {}: never told: {said}", line["id"])),
            }
        }
    }
    let told = told.iter();
    complaints.extend(told.map(|told| format!("mcp: told, but never said like that: {told}")));
    complaints
}

/// The fields that are of the message itself.
fn message_of_line(line: &Value) -> Value {
    const FIELDS: [&str; 11] = [
        "error",
        "id",
        "is_tool_error",
        "kind",
        "method",
        "name",
        "params",
        "protocol_version",
        "result",
        "session_id",
        "uri",
    ];
    let line = line.as_object().unwrap().iter();
    let own = line.filter(|(name, _)| FIELDS.contains(&name.as_str()));
    own.map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// What the two said to each other, in the fields that a line has.
fn messages_of_truth(line: &Value) -> Vec<Value> {
    let (request, reply, note) = (&line["request"], &line["response"], &line["note"]);
    let asked = |sent: &Value, kind: &str, session: &Value, version: &Value| {
        let named = match sent["params"]["protocolVersion"].is_null() {
            true => version,
            false => &sent["params"]["protocolVersion"],
        };
        json!({"kind": kind, "id": sent["id"], "method": sent["method"], "name": sent["params"]["name"],
            "uri": sent["params"]["uri"], "params": sent["params"], "session_id": session, "protocol_version": named})
    };
    let kind = if request["id"].is_null() {
        "notification"
    } else {
        "request"
    };
    let mut messages = vec![asked(
        request,
        kind,
        &line["sent_session"],
        &line["sent_version"],
    )];
    if !note.is_null() {
        messages.push(asked(note, "notification", &line["session"], &Value::Null));
    }
    if !reply.is_null() {
        let kind = if reply["error"].is_null() {
            "response"
        } else {
            "error"
        };
        let failed = reply["result"]["isError"] == true;
        messages.push(json!({"kind": kind, "id": reply["id"], "method": request["method"],
            "name": request["params"]["name"], "uri": request["params"]["uri"], "result": reply["result"],
            "error": reply["error"], "is_tool_error": failed.then_some(true), "session_id": line["session"],
            "protocol_version": reply["result"]["protocolVersion"]}));
    }
    let known = |message: Value| {
        let fields = message.as_object().unwrap().iter();
        let known = fields.filter(|(_, value)| !value.is_null());
        known
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    };
    messages.into_iter().map(known).collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn filled(texts: &Value) -> Value {
    list(texts)
        .iter()
        .filter(|text| *text != "")
        .cloned()
        .collect()
}

fn of_type<'p>(parts: &'p [Value], kind: &str) -> impl Iterator<Item = &'p Value> {
    parts.iter().filter(move |part| part["type"] == kind)
}

fn text_of(part: &Value) -> Option<&str> {
    part["content"].as_str()
}

fn joined(parts: &[Value], kind: &str) -> String {
    of_type(parts, kind).filter_map(text_of).collect()
}

/// What was found so far.
#[derive(Default)]
struct Differ(Vec<String>);

impl Differ {
    fn same(&mut self, field: &str, said: &Value, seen: &Value) {
        if said != seen {
            let (said, seen) = around(&said.to_string(), &seen.to_string());
            self.0.push(format!("{field}: said {said}, seen {seen}"));
        }
    }
}

/// Both from a little before where they part.
fn around(said: &str, seen: &str) -> (String, String) {
    let same = said
        .chars()
        .zip(seen.chars())
        .take_while(|(a, b)| a == b)
        .count();
    let cut = |text: &str| {
        text.chars()
            .skip(same.saturating_sub(40))
            .take(160)
            .collect()
    };
    (cut(said), cut(seen))
}

fn brief(value: &Value) -> String {
    value.to_string().chars().take(300).collect()
}

#[cfg(test)]
mod tests {
    use std::slice;

    use super::*;

    fn truth() -> Value {
        json!({"id": "01", "api": "anthropic.messages", "provider": "anthropic", "operation": "chat", "over": "http",
            "stream": true, "model": "m", "status": 200, "fault": null, "error": null,
            "request": {"system": ["Be brief."], "tools": ["read"], "messages": [
                {"role": "user", "texts": ["hi", ""], "reasoning": [], "tool_calls": [], "tool_results": []},
                {"role": "assistant", "texts": [], "reasoning": ["hm"], "tool_calls": [], "tool_results": []},
                {"role": "assistant", "texts": ["yes"], "reasoning": [],
                    "tool_calls": [{"id": "t1", "name": "read", "arguments": {"a": 1}}], "tool_results": []},
                {"role": "user", "texts": ["more"], "reasoning": [], "tool_calls": [],
                    "tool_results": [{"id": "t1", "content": [{"type": "text", "text": "given"}]}]}]},
            "response": {"id": "msg_01", "results": null, "sent": null, "usage": {"input_tokens": 3},
                "usage_as_sent": {"in": 3}, "choices": [{"text": "ab", "reasoning": "", "citations": [],
                    "searches": [], "finish_reason": "end_turn",
                    "tool_calls": [{"id": "t2", "name": "read", "arguments": {}}]}]}})
    }

    fn call() -> Value {
        json!({"type": "llm.call", "provider": "anthropic", "operation": "chat", "status": 200, "incomplete": null,
            "request": {"model": "m", "system": [{"type": "text", "content": "Be brief."}],
                "tools": [{"type": "web_search", "name": "web_search"}, {"type": "function", "name": "read"}],
                "messages": [
                    {"role": "user", "parts": [{"type": "text", "content": "hi"}]},
                    {"role": "assistant", "parts": [{"type": "reasoning", "content": "hm"},
                        {"type": "text", "content": "yes"},
                        {"type": "tool_call", "id": "t1", "name": "read", "arguments": {"a": 1}}]},
                    {"role": "tool", "parts": [{"type": "tool_call_response", "id": "t1", "response": "given"}]},
                    {"role": "user", "parts": [{"type": "text", "content": "more"}]}]},
            "response": {"id": "msg_01", "usage": {"input_tokens": 3, "reported": {"in": 3}}, "choices": [
                {"index": 0, "finish_reason": "end_turn", "message": {"role": "assistant", "parts": [
                    {"type": "text", "content": "a"}, {"type": "text", "content": "b"},
                    {"type": "tool_call", "id": "t2", "name": "read", "arguments": {}}]}}]}})
    }

    /// Right calls would be called wrong, for how they are divided into messages.
    #[test]
    fn equal_ones_are_equal() {
        assert_eq!(differences(&truth(), &call()), Vec::<String>::new());
        assert_eq!(complaints(&[truth()], &[call()]), Vec::<String>::new());
    }

    /// The tests of all clients would pass whatever was captured.
    #[test]
    fn every_field_counts() {
        let pointers = [
            "/provider",
            "/operation",
            "/status",
            "/request/model",
            "/request/system/0/content",
            "/request/tools/1/name",
            "/request/messages/0/role",
            "/request/messages/1/parts/0/content",
            "/request/messages/1/parts/1/content",
            "/request/messages/1/parts/2/arguments/a",
            "/request/messages/2/parts/0/id",
            "/request/messages/2/parts/0/response",
            "/response/id",
            "/response/usage/input_tokens",
            "/response/usage/reported/in",
            "/response/choices/0/finish_reason",
            "/response/choices/0/message/parts/1/content",
            "/response/choices/0/message/parts/2/id",
            "/response/choices/0/message/parts/2/name",
            "/response/choices/0/message/parts/2/arguments",
        ];
        for pointer in pointers {
            let mut wrong = call();
            *wrong.pointer_mut(pointer).unwrap() = json!("else");
            assert_eq!(differences(&truth(), &wrong).len(), 1, "{pointer}");
        }
        for (pointer, value) in [("/incomplete", true), ("/error", true)] {
            let mut wrong = call();
            wrong[pointer.trim_start_matches('/')] = json!(value);
            assert_eq!(differences(&truth(), &wrong).len(), 1, "{pointer}");
        }
    }

    /// A call that is missing, told twice, or made up would not be seen.
    #[test]
    fn each_is_there_once() {
        assert_eq!(complaints(&[truth()], &[]).len(), 1);
        assert_eq!(complaints(&[truth()], &[call(), call()]).len(), 1);
        assert_eq!(complaints(&[], &[call()]).len(), 1);
        let mut unnumbered = (truth(), call());
        unnumbered.0["response"]["id"] = Value::Null;
        unnumbered.1["response"]["id"] = Value::Null;
        let (truth, call) = unnumbered;
        assert_eq!(
            complaints(slice::from_ref(&truth), slice::from_ref(&call)),
            Vec::<String>::new()
        );
        assert_eq!(complaints(&[truth], &[call.clone(), call]).len(), 1);
    }

    /// An answer that was cut off would pass for a whole one, or its text would not be looked at.
    #[test]
    fn faults_must_be_told() {
        let mut cut = truth();
        cut["fault"] = json!("cut");
        cut["response"]["sent"] = json!(["ab"]);
        assert_eq!(differences(&cut, &call()).len(), 1);
        let mut told = call();
        told["incomplete"] = json!({"response": "cut off"});
        assert_eq!(differences(&cut, &told), Vec::<String>::new());
        cut["response"]["sent"] = json!(["abc"]);
        assert_eq!(differences(&cut, &told).len(), 1);
    }

    /// An error that is not told as one would pass, since something else is said to be wrong.
    #[test]
    fn errors_are_no_lacks() {
        let mut failed = truth();
        failed["fault"] = json!("status");
        let mut told = call();
        told["error"] = json!("HTTP 429: slow down");
        assert_eq!(differences(&failed, &told), Vec::<String>::new());
        told["incomplete"] = json!([{"why": "not a JSON array"}]);
        assert_eq!(differences(&failed, &told).len(), 1);
        told["error"] = Value::Null;
        assert_eq!(differences(&failed, &told).len(), 2);
    }
}
