use serde_json::{Value, json};

use super::*;
use crate::semantics::{Dialect, Target, anthropic, cohere, gemini, ollama, openai};

fn text(role: &str, text: &str) -> Message {
    Message {
        role: role.into(),
        name: None,
        parts: vec![Part::Text {
            content: text.into(),
            citations: Vec::new(),
        }],
    }
}

fn ask(messages: &[Message]) -> Request {
    Request {
        model: Some("m".into()),
        messages: messages.to_vec(),
        ..Request::default()
    }
}

/// An agent that speaks to models.
#[derive(Default)]
struct Agent {
    threads: Threads<u8>,
    calls: u64,
}

impl Agent {
    /// Asks as process 1.
    fn asks(&mut self, request: &Request) -> Place {
        self.asks_as(1, request)
    }

    fn asks_as(&mut self, owner: u8, request: &Request) -> Place {
        self.calls += 1;
        let question = Question {
            operation: Operation::Chat,
            request,
            is_kept: false,
        };
        self.threads.place(owner, self.calls, &question).unwrap()
    }

    /// Asks in the words of a provider, as they are on the wire.
    fn sends(&mut self, dialect: &dyn Dialect, body: &Value) -> Place {
        self.calls += 1;
        let request = dialect.request(&target(), body);
        let question = Question {
            operation: Operation::Chat,
            request: &request,
            is_kept: dialect.keeps_conversations(),
        };
        self.threads.place(1, self.calls, &question).unwrap()
    }

    /// The last call is answered.
    fn hears(&mut self, dialect: &dyn Dialect, body: &Value) {
        self.hears_of(self.calls, dialect, body);
    }

    fn hears_of(&mut self, call: u64, dialect: &dyn Dialect, body: &Value) {
        let response = dialect.response(&target(), 200, body);
        self.threads.answered(1, call, &response);
        self.threads.ended(call, false);
    }
}

fn target() -> Target {
    Target {
        provider: "p".into(),
        operation: Operation::Chat,
        model: None,
    }
}

fn stands(place: &Place) -> (u64, u64, usize) {
    (place.thread.0, place.turn, place.new_from)
}

/// Who wanted it, which part of that answer, and by which number and name.
fn results(place: &Place) -> Vec<(u64, u64, Option<&str>, &str)> {
    let results = place.tool_results.iter();
    results
        .map(|of| (of.wanted_by, of.part, of.id.as_deref(), of.name.as_str()))
        .collect()
}

/// A conversation would fall apart, or two would become one.
#[test]
fn calls_that_go_on_are_one_thread() {
    let mut agent = Agent::default();
    let list = [
        text("system", "s"),
        text("user", "a"),
        text("assistant", "b"),
        text("user", "c"),
    ];
    assert_eq!(stands(&agent.asks(&ask(&list[..2]))), (1, 1, 0));
    assert_eq!(stands(&agent.asks(&ask(&list))), (1, 2, 2));
    assert_eq!(stands(&agent.asks(&ask(&[text("user", "x")]))), (2, 1, 0));
    assert_eq!(stands(&agent.asks_as(2, &ask(&list))), (3, 1, 0));
}

/// A change of instructions, tools or model in the middle of a conversation would not be seen.
#[test]
fn changes_are_marked() {
    let mut agent = Agent::default();
    agent.asks(&ask(&[text("system", "be good"), text("user", "a")]));
    let mut list = vec![
        text("system", "be bad"),
        text("user", "a"),
        text("assistant", "b"),
        text("user", "c"),
    ];
    let mut next = ask(&list);
    next.model = Some("other".into());
    let place = agent.asks(&next);
    assert_eq!((place.thread, place.turn), (ThreadId(1), 2));
    assert_eq!(place.changes, [Change::Model, Change::System]);
    list.extend([text("assistant", "d"), text("user", "e")]);
    next.messages = list;
    next.tools.push(crate::semantics::Tool::default());
    assert_eq!(agent.asks(&next).changes, [Change::Tools]);
}

/// Vectors and pictures would be told as turns of a conversation.
#[test]
fn only_conversations_have_threads() {
    let mut threads = Threads::<u8>::default();
    let request = ask(&[text("user", "a")]);
    let all = [
        (Operation::Chat, true),
        (Operation::Embeddings, false),
        (Operation::GenerateContent, true),
        (Operation::ImageGeneration, false),
        (Operation::Rerank, false),
        (Operation::TextCompletion, false),
    ];
    for ((operation, is_placed), call) in all.into_iter().zip(1..) {
        let question = Question {
            operation,
            request: &request,
            is_kept: false,
        };
        let place = threads.place(1, call, &question);
        assert_eq!(place.is_some(), is_placed, "{operation:?}");
    }
}

fn claude(session: &str, system: &str, messages: Value) -> Value {
    let name = format!("user_0f_account__session_{session}");
    json!({"model": "claude-sonnet-4-5", "max_tokens": 32000, "stream": true, "system": [{"type": "text", "text": system}],
        "metadata": {"user_id": name}, "messages": messages})
}

/// Titles, helpers and what was compacted, all of one session of Claude Code, would be turns of the main conversation.
#[test]
fn a_session_of_claude_code_is_several_threads() {
    let mut agent = Agent::default();
    let dialect = &anthropic::Messages;
    let says = |text: &str| json!({"id": "msg_1", "type": "message", "role": "assistant", "content": [{"type": "text", "text": text}]});
    let wants = |id: &str| json!({"type": "tool_use", "id": id, "name": "Task", "input": {"prompt": "look"}});
    let user = |text: &str| json!({"role": "user", "content": [{"type": "text", "text": text}]});

    let title = claude(
        "s1",
        "Summarize this as a title",
        json!([user("fix the bug")]),
    );
    assert_eq!(stands(&agent.sends(dialect, &title)), (1, 1, 0));
    // The same words, at the same time.
    let first = claude("s1", "You are Claude Code", json!([user("fix the bug")]));
    assert_eq!(stands(&agent.sends(dialect, &first)), (2, 1, 0));
    agent.hears_of(1, dialect, &says("{\"title\": \"Bug\"}"));
    let answer = json!({"id": "msg_2", "type": "message", "role": "assistant", "stop_reason": "tool_use",
        "content": [{"type": "text", "text": "Let me look.\n"}, wants("toolu_1"), wants("toolu_2")]});
    agent.hears_of(2, dialect, &answer);

    let helper = claude(
        "s1",
        "You are an agent for Claude Code",
        json!([user("look")]),
    );
    assert_eq!(stands(&agent.sends(dialect, &helper)), (3, 1, 0));
    agent.hears(dialect, &says("found"));
    let other = claude(
        "s1",
        "You are an agent for Claude Code",
        json!([user("look")]),
    );
    assert_eq!(stands(&agent.sends(dialect, &other)), (4, 1, 0));
    agent.hears(dialect, &says("nothing"));

    let mut messages = json!([user("fix the bug"),
        {"role": "assistant", "content": [{"type": "text", "text": "Let me look."}, wants("toolu_1"), wants("toolu_2")]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "toolu_2", "content": "nothing"},
            {"type": "tool_result", "tool_use_id": "toolu_1", "content": "found", "cache_control": {"type": "ephemeral"}}]}]);
    let second = claude("s1", "You are Claude Code", messages.clone());
    let place = agent.sends(dialect, &second);
    assert_eq!(stands(&place), (2, 2, 1));
    assert_eq!(place.changes, []);
    let wanted = [
        (2, 2, Some("toolu_2"), "Task"),
        (2, 1, Some("toolu_1"), "Task"),
    ];
    assert_eq!(results(&place), wanted);
    agent.hears(dialect, &says("Done."));

    let list = messages.as_array_mut().unwrap();
    list.push(json!({"role": "assistant", "content": [{"type": "text", "text": "Done."}]}));
    let summary = [
        list.clone(),
        vec![user("Your task is to create a detailed summary")],
    ]
    .concat();
    let summary = claude(
        "s1",
        "You are a helpful AI assistant tasked with summarizing",
        summary.into(),
    );
    assert_eq!(stands(&agent.sends(dialect, &summary)), (2, 3, 3));
    agent.hears(dialect, &says("<summary>bug</summary>"));
    let compacted = json!([
        user("This session is being continued: <summary>bug</summary>"),
        user("go on")
    ]);
    let compacted = claude("s1", "You are Claude Code", compacted);
    assert_eq!(stands(&agent.sends(dialect, &compacted)), (5, 1, 0));
}

/// As above, of Gemini's CLI: its helpers have the number of its session.
#[test]
fn a_session_of_gemini_cli_is_several_threads() {
    let mut agent = Agent::default();
    let body = |text: &str| {
        json!({"model": "gemini-2.5-pro", "project": "p", "request": {"session_id": "s-1",
        "contents": [{"role": "user", "parts": [{"text": text}]}]}})
    };
    for (thread, words) in [(1, "fix the bug"), (2, "who speaks next?")] {
        let place = agent.sends(&gemini::STREAM_GENERATE, &body(words));
        assert_eq!(stands(&place), (thread, 1, 0));
    }
}

/// A conversation that Cohere keeps would fall apart.
#[test]
fn a_conversation_of_cohere_is_one_thread() {
    let mut agent = Agent::default();
    for (turn, words) in [(1, "hi"), (2, "and?")] {
        let body = json!({"message": words, "conversation_id": "c-1"});
        let place = agent.sends(&cohere::V1, &body);
        assert_eq!(stands(&place), (1, turn, 0));
    }
}

/// Runs that begin with the same words, in one process or in two, would be one conversation.
#[test]
fn runs_that_begin_alike_are_threads_of_their_own() {
    let dialect = &openai::Chat;
    let body = |messages: Value| json!({"model": "gpt-4o", "messages": messages});
    let user = json!({"role": "user", "content": "solve it"});
    let says = |text: &str| {
        json!({"id": "c", "object": "chat.completion", "choices": [{"index": 0, "finish_reason": "stop",
        "message": {"role": "assistant", "content": text}}]})
    };
    let goes_on = |text: &str| {
        body(
            json!([user, {"role": "assistant", "content": text}, {"role": "user", "content": "and?"}]),
        )
    };

    let mut agent = Agent::default();
    for call in 1..=3 {
        let place = agent.sends(dialect, &body(json!([user])));
        assert_eq!(stands(&place), (call, 1, 0));
    }
    for (call, answer) in [(3, "three"), (1, "one"), (2, "two")] {
        agent.hears_of(call, dialect, &says(answer));
    }
    assert_eq!(stands(&agent.sends(dialect, &goes_on("two"))), (2, 2, 1));
    assert_eq!(stands(&agent.sends(dialect, &goes_on("one"))), (1, 2, 1));
    assert_eq!(stands(&agent.sends(dialect, &goes_on("three"))), (3, 2, 1));
    let strange = agent.sends(dialect, &goes_on("something else"));
    assert_eq!(stands(&strange), (4, 1, 0), "it could be any of them");

    let mut alike = Agent::default();
    for _ in 0..2 {
        alike.sends(dialect, &body(json!([user])));
        alike.hears(dialect, &says("same"));
    }
    let next = [(); 2].map(|()| stands(&alike.sends(dialect, &goes_on("same"))));
    assert_eq!(next, [(1, 2, 1), (2, 2, 1)]);

    let mut threads = Agent::default();
    let request = ask(&[text("user", "solve it")]);
    assert_eq!(stands(&threads.asks_as(1, &request)), (1, 1, 0));
    assert_eq!(stands(&threads.asks_as(2, &request)), (2, 1, 0));
}

/// A question that failed and is asked again, perhaps of another model, would begin a new conversation.
#[test]
fn what_failed_is_asked_again_in_its_thread() {
    let mut agent = Agent::default();
    let list = [text("user", "a"), text("assistant", "b"), text("user", "c")];
    agent.asks(&ask(&list[..1]));
    agent.threads.ended(1, true);
    assert_eq!(stands(&agent.asks(&ask(&list[..1]))), (1, 1, 1));
    assert_eq!(stands(&agent.asks(&ask(&list))), (1, 2, 1));
    agent.threads.ended(3, true);
    let mut other = ask(&list);
    other.model = Some("smaller".into());
    let place = agent.asks(&other);
    assert_eq!(stands(&place), (1, 2, 3));
    assert_eq!(place.changes, [Change::Model]);
    // In parallel and in vain: each attempt is one of another question.
    let mut parallel = Agent::default();
    for call in 1..=2 {
        assert_eq!(stands(&parallel.asks(&ask(&list[..1]))), (call, 1, 0));
    }
    for call in 1..=2 {
        parallel.threads.ended(call, true);
    }
    let again = [(); 2].map(|()| stands(&parallel.asks(&ask(&list[..1]))));
    assert_eq!(again, [(1, 1, 1), (2, 1, 1)]);
}

/// Results of tools without numbers would not be tied to the answer that wanted them; of two calls of one tool, to one.
#[test]
fn results_without_numbers_are_paired_by_name_and_order() {
    let mut agent = Agent::default();
    let dialect = &gemini::GENERATE;
    let call = |city: &str| json!({"functionCall": {"name": "weather", "args": {"city": city}}});
    let time = json!({"functionCall": {"name": "time", "args": {}}});
    let ask = json!({"role": "user", "parts": [{"text": "weather in Rome and Oslo?"}]});
    agent.sends(dialect, &json!({"contents": [ask]}));
    let said =
        json!({"role": "model", "parts": [{"text": "I look."}, call("Rome"), time, call("Oslo")]});
    agent.hears(
        dialect,
        &json!({"candidates": [{"index": 0, "finishReason": "STOP", "content": said}]}),
    );
    let gives = |name: &str, what: &str| json!({"functionResponse": {"name": name, "response": {"output": what}}});
    let given = json!({"role": "user", "parts": [gives("weather", "sun"), gives("weather", "snow"), gives("time", "noon")]});
    let place = agent.sends(dialect, &json!({"contents": [ask, said, given]}));
    assert_eq!(stands(&place), (1, 2, 1));
    let expected = [
        (1, 1, None, "weather"),
        (1, 3, None, "weather"),
        (1, 2, None, "time"),
    ];
    assert_eq!(results(&place), expected);
    // Told once.
    agent.hears(
        dialect,
        &json!({"candidates": [{"index": 0, "finishReason": "STOP", "content": {"role": "model", "parts": [{"text": "Sun."}]}}]}),
    );
    let more = json!({"contents": [ask, said, given, {"role": "model", "parts": [{"text": "Sun."}]},
        {"role": "user", "parts": [{"text": "thanks"}]}]});
    assert_eq!(results(&agent.sends(dialect, &more)), []);

    // Gemini CLI gives numbers of its own to calls that have none.
    let mut cli = Agent::default();
    cli.sends(dialect, &json!({"contents": [ask]}));
    cli.hears(
        dialect,
        &json!({"candidates": [{"index": 0, "content": {"role": "model", "parts": [call("Rome")]}}]}),
    );
    let given = json!({"role": "user", "parts": [{"functionResponse": {"id": "weather-17", "name": "weather", "response": {}}}]});
    let said = json!({"role": "model", "parts": [{"functionCall": {"id": "weather-17", "name": "weather", "args": {"city": "Rome"}}}]});
    let place = cli.sends(dialect, &json!({"contents": [ask, said, given]}));
    assert_eq!(results(&place), [(1, 0, Some("weather-17"), "weather")]);
}

/// As above: of Ollama, whose results may have no name either, and of OpenAI's older form.
#[test]
fn results_without_names_are_paired_by_order() {
    let mut agent = Agent::default();
    let dialect = &ollama::Ollama;
    let ask = json!({"role": "user", "content": "list both"});
    let call = |path: &str| json!({"function": {"name": "ls", "arguments": {"path": path}}});
    let said = json!({"role": "assistant", "content": "", "tool_calls": [call("/a"), call("/b")]});
    agent.sends(dialect, &json!({"model": "qwen3", "messages": [ask]}));
    agent.hears(
        dialect,
        &json!({"model": "qwen3", "message": said, "done": true, "done_reason": "stop"}),
    );
    let body = json!({"model": "qwen3", "messages": [ask, said,
        {"role": "tool", "tool_name": "ls", "content": "x"}, {"role": "tool", "content": "y"}]});
    let place = agent.sends(dialect, &body);
    assert_eq!(results(&place), [(1, 0, None, "ls"), (1, 1, None, "ls")]);

    let mut older = Agent::default();
    let dialect = &openai::Chat;
    let ask = json!({"role": "user", "content": "time?"});
    let said = json!({"role": "assistant", "content": null, "function_call": {"name": "now", "arguments": "{}"}});
    older.sends(dialect, &json!({"model": "gpt-4", "messages": [ask]}));
    older.hears(
        dialect,
        &json!({"id": "c", "object": "chat.completion", "choices": [{"index": 0, "message": said, "finish_reason": "function_call"}]}),
    );
    let body = json!({"model": "gpt-4", "messages": [ask, said, {"role": "function", "name": "now", "content": "noon"}]});
    assert_eq!(results(&older.sends(dialect, &body)), [(1, 0, None, "now")]);
}

/// A conversation that the provider keeps would fall apart; one of another process, or two that go on with the same word,
/// would be joined.
#[test]
fn kept_conversations_are_tied() {
    let mut agent = Agent::default();
    let dialect = &openai::Responses;
    let body = |input: &str, before: Option<&str>| json!({"model": "gpt-5", "input": input, "previous_response_id": before});
    let says = |id: &str, item: Value| json!({"id": id, "object": "response", "status": "completed", "model": "gpt-5", "output": [item]});
    let message = |text: &str| json!({"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]});
    for (call, id) in [(1, "resp_a"), (2, "resp_b")] {
        assert_eq!(
            stands(&agent.sends(dialect, &body("start", None))),
            (call, 1, 0)
        );
        agent.hears(dialect, &says(id, message("ok")));
    }
    let place = agent.sends(dialect, &body("go on", Some("resp_a")));
    assert_eq!(stands(&place), (1, 2, 0));
    let call =
        json!({"type": "function_call", "call_id": "call_1", "name": "ls", "arguments": "{}"});
    agent.hears(dialect, &says("resp_c", call));
    assert_eq!(
        stands(&agent.sends(dialect, &body("go on", Some("resp_b")))),
        (2, 2, 0)
    );
    let given = json!({"model": "gpt-5", "previous_response_id": "resp_c", "input": [
        {"type": "function_call_output", "call_id": "call_1", "output": "x"}]});
    let place = agent.sends(dialect, &given);
    assert_eq!(stands(&place), (1, 3, 0));
    assert_eq!(results(&place), [(3, 0, Some("call_1"), "ls")]);
    // What is new of a kept conversation is no whole one.
    let whole = json!({"model": "gpt-5", "input": [{"role": "user", "content": "go on"}, {"role": "assistant", "content": "x"},
        {"role": "user", "content": "y"}]});
    assert_eq!(stands(&agent.sends(dialect, &whole)), (3, 1, 0));
    assert_eq!(
        stands(&agent.sends(dialect, &body("go on", Some("resp_unseen")))),
        (4, 1, 0)
    );

    let named =
        |input: &str| json!({"model": "gpt-5", "input": input, "conversation": {"id": "conv_1"}});
    assert_eq!(stands(&agent.sends(dialect, &named("one"))), (5, 1, 0));
    assert_eq!(stands(&agent.sends(dialect, &named("two"))), (5, 2, 0));
}

/// Calls that differ in nothing would take memory without end, or time that grows with their number.
#[test]
fn what_is_remembered_is_bounded() {
    let mut agent = Agent::default();
    let same = ask(&[text("user", "a")]);
    for _ in 0..3 * ALIKE_MAX {
        agent.asks(&same);
    }
    assert!(
        agent
            .threads
            .places
            .values()
            .all(|alike| alike.len() <= ALIKE_MAX)
    );
    for number in 0..KNOWN_MAX {
        agent.asks(&ask(&[text("user", &number.to_string())]));
    }
    assert_eq!(agent.threads.known.len(), KNOWN_MAX);
    assert!(agent.threads.places.len() <= KNOWN_MAX);
}
