//! Answers that are made in the background.

use super::*;

fn posted(body: &str) -> String {
    format!(
        "POST /v1/responses HTTP/1.1\r\nHost: api.openai.com\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn asked_for(id: &str, query: &str) -> String {
    format!("GET /v1/responses/{id}?{query} HTTP/1.1\r\nHost: api.openai.com\r\n\r\n")
}

fn json(status: u16, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn stands(status: &str) -> String {
    format!(
        r#"{{"id":"resp_1","object":"response","background":true,"status":"{status}","model":"gpt-4o-2024-08-06","output":[],"usage":null,"error":null}}"#
    )
}

const GIVEN: &str = r#"{"id":"resp_1","object":"response","background":true,"status":"completed","model":"gpt-4o-2024-08-06","output":[{"type":"message","role":"assistant","status":"completed","content":[{"type":"output_text","text":"Four.","annotations":[]}]}],"usage":{"input_tokens":15,"output_tokens":9,"total_tokens":24},"error":null}"#;

const QUESTION: &str =
    r#"{"background":true,"input":"What is 2 + 2?","model":"gpt-4o","stream":false}"#;

fn events(events: &[(&str, String)]) -> String {
    let mut text = String::from(HEAD);
    for (kind, rest) in events {
        let event = format!("event: {kind}\ndata: {{\"type\":\"{kind}\",{rest}}}\n\n");
        text.push_str(&format!("{:x}\r\n{event}\r\n", event.len()));
    }
    text
}

/// Questions and answers in turns, and then the end of the connection.
fn talk(turns: &[(String, String)]) -> Vec<Said> {
    let mut dialogs = Dialogs::default();
    let mut messages = vec![open()];
    for (at, (asked, answered)) in (1..).zip(turns) {
        messages.push(data(Direction::Write, at * 1_000_000, asked.as_bytes()));
        messages.push(data(
            Direction::Read,
            at * 1_000_000 + 1,
            answered.as_bytes(),
        ));
    }
    messages.push(close(CloseReason::Freed));
    let mut said = said(&mut dialogs, &messages);
    dialogs.finish(None, &mut said);
    said
}

fn questions(said: &[Said]) -> usize {
    let is_asked = |said: &&Said| matches!(said.what, What::Asked(_));
    said.iter().filter(is_asked).count()
}

/// The answer for which a client asks by its number is not shown, or as an empty one with invented tokens.
#[test]
fn an_answer_from_the_background_is_one_call() {
    let said = talk(&[
        (posted(QUESTION), json(200, &stands("queued"))),
        (
            asked_for("resp_1", "stream=false"),
            json(200, &stands("in_progress")),
        ),
        (asked_for("resp_1", "stream=false"), json(502, "{}")),
        (asked_for("resp_1", "stream=false"), json(200, GIVEN)),
        // Once more: nothing new, and no more tokens.
        (asked_for("resp_1", "stream=false"), json(200, GIVEN)),
    ]);
    let calls = calls(&said);
    assert_eq!((calls.len(), questions(&said)), (1, 1));
    let call = calls[0];
    assert_eq!((&call.error, call.status), (&None, Some(200)));
    assert!(text_of(call).contains("Four."));
    assert_eq!(call.call.request.messages.len(), 1);
    let response = call.call.response.as_ref().unwrap();
    assert!(response.is_complete);
    let usage = response.usage.as_ref().unwrap();
    assert_eq!(
        (usage.output_tokens, &usage.estimated_with),
        (Some(9), &None)
    );
    assert!(
        (call.timings.end_ms - 3.0).abs() < 0.1,
        "{:?}",
        call.timings
    );
}

/// Nobody asked for the answer: it looks as if there were none, or as if it were empty.
#[test]
fn an_answer_that_nobody_fetched_is_told_as_missing() {
    let said = talk(&[(posted(QUESTION), json(200, &stands("queued")))]);
    let calls = calls(&said);
    assert_eq!(calls.len(), 1);
    assert!(calls[0].error.is_some());
    assert_eq!(calls[0].cost, None);
    let response = calls[0].call.response.as_ref().unwrap();
    assert!(!response.is_complete && response.usage.is_none());
}

/// A stream that broke off and was gone on with is shown as two halves.
#[test]
fn a_stream_from_the_background_can_be_gone_on_with() {
    let created = format!("\"response\":{}", stands("queued"));
    let delta = |text: &str| format!("\"output_index\":0,\"content_index\":0,\"delta\":\"{text}\"");
    let asked = QUESTION.replace("\"stream\":false", "\"stream\":true");
    let first = events(&[
        ("response.created", created),
        ("response.output_text.delta", delta("Fo")),
    ]);
    let rest = events(&[
        ("response.output_text.delta", delta("ur.")),
        ("response.completed", format!("\"response\":{GIVEN}")),
    ]);
    let fetched = asked_for("resp_1", "stream=true&starting_after=1");
    let (asked, rest) = (posted(&asked), rest + "0\r\n\r\n");
    let mut dialogs = Dialogs::default();
    let said = said(
        &mut dialogs,
        &[
            open(),
            data(Direction::Write, 1_000_000, asked.as_bytes()),
            data(Direction::Read, 2_000_000, first.as_bytes()),
            close(CloseReason::Freed),
            open(),
            data(Direction::Write, 3_000_000, fetched.as_bytes()),
            data(Direction::Read, 4_000_000, rest.as_bytes()),
            close(CloseReason::Freed),
        ],
    );
    let calls = calls(&said);
    assert_eq!((calls.len(), questions(&said)), (1, 1));
    assert_eq!(
        (&calls[0].error, &calls[0].incomplete),
        (&None, &Vec::new())
    );
    assert!(text_of(calls[0]).contains("Four."));
    let deltas = said
        .iter()
        .filter(|said| matches!(&said.what, What::Delta { call, .. } if *call == calls[0].name));
    assert_eq!(deltas.count(), 3);
}

/// An answer whose question nobody saw is not shown.
#[test]
fn an_answer_without_its_question_is_a_call() {
    let said = talk(&[
        (asked_for("resp_1", "stream=false"), json(500, "{}")),
        (
            asked_for("resp_1", "stream=false"),
            json(200, &stands("queued")),
        ),
        (asked_for("resp_1", "stream=false"), json(200, GIVEN)),
    ]);
    let calls = calls(&said);
    assert_eq!(calls.len(), 2);
    assert!(calls[0].error.is_some());
    assert_eq!(calls[1].error, None);
    assert!(text_of(calls[1]).contains("Four."));
    // What others keep under such a path is no answer of a model.
    let said = talk(&[(asked_for("5", ""), json(200, GIVEN))]);
    assert!(self::calls(&said).is_empty());
}

/// An answer that was told counts twice, since the client asked for it again.
#[test]
fn what_was_told_is_not_told_again() {
    let question = r#"{"input":"What is 2 + 2?","model":"gpt-4o"}"#;
    let given = GIVEN.replace("\"background\":true", "\"background\":false");
    let said = talk(&[
        (posted(question), json(200, &given)),
        (asked_for("resp_1", ""), json(200, &given)),
    ]);
    assert_eq!(calls(&said).len(), 1);
}

/// An answer that will never come is waited for.
#[test]
fn what_fails_in_the_background_is_told() {
    let failed = stands("failed").replace(
        "\"error\":null",
        "\"error\":{\"code\":\"server_error\",\"message\":\"m\"}",
    );
    for end in [failed, stands("cancelled")] {
        let cancel = "POST /v1/responses/resp_1/cancel HTTP/1.1\r\nHost: api.openai.com\r\ncontent-length: 0\r\n\r\n";
        let said = talk(&[
            (posted(QUESTION), json(200, &stands("queued"))),
            (cancel.to_owned(), json(200, &end)),
        ]);
        let calls = calls(&said);
        assert_eq!(calls.len(), 1);
        let response = calls[0].call.response.as_ref().unwrap();
        assert!(response.is_complete);
        assert_eq!(calls[0].error.is_some(), end.contains("server_error"));
    }
}

/// An agent of Google's that works for minutes is shown as an empty answer.
#[test]
fn googles_agents_answer_from_the_background_too() {
    let ask = |text: String| {
        text.replace("/v1/responses", "/v1beta/interactions")
            .replace("api.openai.com", "generativelanguage.googleapis.com")
    };
    let question = r#"{"agent":"deep-research","background":true,"input":"q"}"#;
    let stands = |status: &str, rest: &str| {
        format!(r#"{{"id":"v1_x","object":"interaction","status":"{status}"{rest}}}"#)
    };
    let given = r#","outputs":[{"type":"text","text":"Found."}],"usage":{"total_input_tokens":3,"total_output_tokens":2}"#;
    let said = talk(&[
        (ask(posted(question)), json(200, &stands("in_progress", ""))),
        (
            ask(asked_for("v1_x", "")),
            json(200, &stands("in_progress", "")),
        ),
        (
            ask(asked_for("v1_x", "")),
            json(200, &stands("completed", given)),
        ),
    ]);
    let calls = calls(&said);
    assert_eq!((calls.len(), questions(&said)), (1, 1));
    assert_eq!(calls[0].error, None);
    assert!(text_of(calls[0]).contains("Found."));
    assert_eq!(calls[0].call.request.messages.len(), 1);
}

/// What Replicate's models say is never shown.
#[test]
fn replicate_answers_later() {
    let host = |text: String| text.replace("api.openai.com", "api.replicate.com");
    let ask = host(posted(r#"{"input":{"prompt":"q","max_tokens":9}}"#))
        .replace("/v1/responses", "/v1/models/meta/llama/predictions");
    let poll = host(asked_for("p1", "")).replace("/v1/responses", "/v1/predictions");
    let stands = |status: &str, output: &str| {
        format!(
            r#"{{"id":"p1","model":"meta/llama","input":{{"prompt":"q"}},"output":{output},"status":"{status}","error":null,"metrics":{{"input_token_count":3,"output_token_count":2}}}}"#
        )
    };
    let said = talk(&[
        (ask, json(201, &stands("starting", "null"))),
        (poll.clone(), json(200, &stands("processing", r#"["Fo"]"#))),
        (
            poll.clone(),
            json(200, &stands("succeeded", r#"["Fo","ur."]"#)),
        ),
        (poll, json(200, &stands("succeeded", r#"["Fo","ur."]"#))),
    ]);
    let calls = calls(&said);
    assert_eq!((calls.len(), questions(&said)), (1, 1));
    assert_eq!(
        (&calls[0].error, calls[0].call.provider.as_str()),
        (&None, "replicate")
    );
    assert!(text_of(calls[0]).contains("Four."));
    assert_eq!(calls[0].call.request.model.as_deref(), Some("meta/llama"));
    let response = calls[0].call.response.as_ref().unwrap();
    assert_eq!(response.usage.as_ref().unwrap().output_tokens, Some(2));
}
