mod loss;

use std::borrow::Cow;
use std::sync::Arc;

use super::*;
use crate::event::{Comm, Function, ProcessId, SocketNames, Trust};
use crate::stream::{Cause, Gap, Payload};

const REQUEST: &str = "POST /v1/chat/completions HTTP/1.1\r\nHost: api.openai.com\r\ncontent-type: application/json\r\n\
                       content-length: 104\r\n\r\n";
const BODY: &str = r#"{"model":"gpt-4o","stream":true,"messages":[{"role":"user","content":"How many r in strawberry, say?"}]}"#;
const HEAD: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

fn origin(ts_ns: u64) -> Origin {
    Origin {
        ts_ns,
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
        conn: ConnName(1),
        fd: None,
    }
}

fn open() -> Message<'static> {
    Message::Open {
        origin: origin(0),
        from_start: true,
        socket: SocketNames::default(),
    }
}

fn data(direction: Direction, ts_ns: u64, bytes: &[u8]) -> Message<'_> {
    Message::Data {
        origin: origin(ts_ns),
        payload: Payload {
            direction,
            seq: 0,
            offset: 0,
            call_len: bytes.len() as u64,
            early: false,
            goroutine: None,
            bytes: Cow::Borrowed(bytes),
        },
    }
}

fn close(reason: CloseReason) -> Message<'static> {
    Message::Close {
        origin: origin(9_000_000_000),
        reason,
        trust: Trust::Exact,
        is_attributed: false,
        totals: [0, 0],
    }
}

/// The chunks of an answer that says these words.
fn answer(words: &[&str]) -> String {
    let mut text = String::from(HEAD);
    let mut chunk = |data: &str| {
        let event = format!("data: {data}\n\n");
        text.push_str(&format!("{:x}\r\n{event}\r\n", event.len()));
    };
    for word in words {
        chunk(&format!(
            r#"{{"id":"x1","object":"chat.completion.chunk","model":"gpt-4o-2","choices":[{{"index":0,"delta":{{"role":"assistant","content":"{word}"}},"finish_reason":null}}]}}"#
        ));
    }
    chunk(
        r#"{"id":"x1","object":"chat.completion.chunk","model":"gpt-4o-2","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
    );
    chunk(
        r#"{"id":"x1","object":"chat.completion.chunk","model":"gpt-4o-2","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":3,"total_tokens":12}}"#,
    );
    chunk("[DONE]");
    text.push_str("0\r\n\r\n");
    text
}

/// What is said with these messages.
fn said(dialogs: &mut Dialogs, messages: &[Message<'_>]) -> Vec<Said> {
    let mut out = Vec::new();
    for message in messages {
        dialogs.take(message, &mut out);
    }
    out
}

fn calls(said: &[Said]) -> Vec<&CallReport> {
    said.iter()
        .filter_map(|said| match &said.what {
            What::Call(report) => Some(&**report),
            _ => None,
        })
        .collect()
}

fn text_of(report: &CallReport) -> String {
    serde_json::to_string(&report.call.response).unwrap()
}

/// However the bytes are cut, the same call is told, in the same words, with nothing left over.
#[test]
fn a_call_is_the_same_wherever_it_is_cut() {
    let request = [REQUEST, BODY].concat();
    let answer = answer(&["Th", "ree"]);
    let mut first = None;
    for at in (0..answer.len()).step_by(7) {
        let (left, right) = answer.as_bytes().split_at(at);
        let (asked, rest) = request.as_bytes().split_at(at % request.len());
        let mut dialogs = Dialogs::default();
        let said = said(
            &mut dialogs,
            &[
                open(),
                data(Direction::Write, 1_000_000, asked),
                data(Direction::Write, 2_000_000, rest),
                data(Direction::Read, 3_000_000, left),
                data(Direction::Read, 4_000_000, right),
                close(CloseReason::Freed),
            ],
        );
        let calls = calls(&said);
        assert_eq!(calls.len(), 1, "{at}");
        assert_eq!(
            (&calls[0].error, calls[0].incomplete.len()),
            (&None, 0),
            "{at}"
        );
        let text = text_of(calls[0]);
        assert!(
            text.contains("Three") && text.contains("\"input_tokens\":9"),
            "{text}"
        );
        assert_eq!(first.get_or_insert_with(|| text.clone()), &text);
        let deltas: String = said
            .iter()
            .filter_map(|said| match &said.what {
                What::Delta { delta, .. } => match &delta.kind {
                    crate::semantics::DeltaKind::Text(text) => Some(text.as_str()),
                    _ => None,
                },
                _ => None,
            })
            .collect();
        assert_eq!(deltas, "Three");
        assert_eq!(dialogs.shared.room.left(), Room::default().left());
        assert!(dialogs.conns.is_empty());
    }
}

/// Bytes that are missing in the middle of an answer, and an answer that never ends, are a call all the same, which says
/// what it lacks.
#[test]
fn what_is_missing_is_told() {
    let request = [REQUEST, BODY].concat();
    let answer = answer(&["One", "Two", "Three"]);
    let at = answer.find("Two").unwrap();
    let (before, rest) = answer.as_bytes().split_at(at - 20);
    let gap = Message::Gap {
        origin: Some(origin(3_500_000)),
        gap: Gap {
            cause: Cause::RingFull,
            direction: Some(Direction::Read),
            offset: Some(0),
            bytes: 40,
            records: 1,
        },
    };
    let mut dialogs = Dialogs::default();
    let with_gap = said(
        &mut dialogs,
        &[
            open(),
            data(Direction::Write, 1, request.as_bytes()),
            data(Direction::Read, 3, before),
            gap,
            data(Direction::Read, 4, &rest[40..]),
            close(CloseReason::Freed),
        ],
    );
    let reports = calls(&with_gap);
    assert_eq!(reports.len(), 1);
    assert!(!reports[0].incomplete.is_empty());
    let text = text_of(reports[0]);
    assert!(text.contains("One") && !text.contains("Two"), "{text}");

    let cut = said(
        &mut Dialogs::default(),
        &[
            open(),
            data(Direction::Write, 1, request.as_bytes()),
            data(Direction::Read, 3, before),
            close(CloseReason::Exited),
        ],
    );
    let reports = calls(&cut);
    assert_eq!(reports[0].error.as_deref(), Some("the answer was cut off"));
    assert!(text_of(reports[0]).contains("One"));
    assert_eq!(
        reports[0].incomplete.last().unwrap().why,
        "the process ended"
    );

    let unanswered = said(
        &mut Dialogs::default(),
        &[
            open(),
            data(Direction::Write, 1, request.as_bytes()),
            close(CloseReason::Detached),
        ],
    );
    let reports = calls(&unanswered);
    assert_eq!(reports.len(), 1);
    assert!(reports[0].error.is_some());
}

/// A question that is asked again after it failed would look like two.
#[test]
fn retries_and_threads_are_tied() {
    let request = [REQUEST, BODY].concat();
    let failed = "HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/json\r\ncontent-length: 69\r\n\r\n\
                  {\"error\":{\"message\":\"slow down\",\"type\":\"rate_limit\",\"code\":\"limit\"}} ";
    let answer = answer(&["Three"]);
    let said = said(
        &mut Dialogs::default(),
        &[
            open(),
            data(Direction::Write, 1, request.as_bytes()),
            data(Direction::Read, 2, failed.as_bytes()),
            data(Direction::Write, 3, request.as_bytes()),
            data(Direction::Read, 4, answer.as_bytes()),
            close(CloseReason::Freed),
        ],
    );
    let calls = calls(&said);
    assert_eq!(calls.len(), 2);
    assert_eq!(
        calls[0].error.as_deref(),
        Some("HTTP 429: rate_limit: slow down")
    );
    let retry = calls[1].retry.unwrap();
    assert_eq!((retry.of, retry.attempt), (calls[0].name, 2));
    let place = |call: &CallReport| call.thread.as_ref().map(|place| (place.thread, place.turn));
    assert_eq!(place(calls[0]), place(calls[1]));
    assert_eq!(calls[1].status, Some(200));
}
