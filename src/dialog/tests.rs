mod background;
mod elsewhere;
mod loss;

use std::borrow::Cow;
use std::sync::Arc;

use super::call::Calling;
use super::*;
use crate::event::{Comm, Function, ProcessId, SocketNames, Trust};
use crate::proto::Outcome;
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

/// An answer that only the connection's end delimits counts as whole because nobody looks any more.
#[test]
fn what_is_not_followed_to_its_end_is_not_whole() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n\r\nthe beginning";
    for (reason, outcome) in [
        (CloseReason::Detached, Outcome::CutOff),
        (CloseReason::Evicted, Outcome::CutOff),
        (CloseReason::Exited, Outcome::CutOff),
        (CloseReason::Freed, Outcome::Complete),
    ] {
        let said = said(
            &mut Dialogs::default(),
            &[
                open(),
                data(Direction::Write, 1, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
                data(Direction::Read, 2, answer.as_bytes()),
                close(reason),
            ],
        );
        let response = said.iter().find_map(|said| match &said.what {
            What::Response(response) => Some(response),
            _ => None,
        });
        let response = response.unwrap();
        assert_eq!(response.outcome, outcome, "{reason:?}");
        assert_eq!(response.incomplete.is_empty(), outcome == Outcome::Complete);
    }
}

/// An error is told as a broken stream because a stream was asked for, and a stream under another type is lost.
#[test]
fn what_was_asked_for_as_a_stream_may_come_otherwise() {
    let request = [REQUEST, BODY].concat();
    let answered = |head: &str, body: &str| {
        let answer = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
        said(
            &mut Dialogs::default(),
            &[
                open(),
                data(Direction::Write, 1, request.as_bytes()),
                data(Direction::Read, 2, answer.as_bytes()),
                close(CloseReason::Freed),
            ],
        )
    };
    let error = r#"{"error":{"message":"slow down","type":"rate_limit","code":"limit"}}"#;
    for status in [
        "401 Unauthorized",
        "429 Too Many Requests",
        "529 Overloaded",
    ] {
        let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\n");
        let said = answered(&head, error);
        let report = calls(&said)[0];
        assert!(report.incomplete.is_empty(), "{:?}", report.incomplete);
        let expected = format!("HTTP {}: rate_limit: slow down", &status[..3]);
        assert_eq!(report.error.as_deref(), Some(expected.as_str()));
    }
    let chunk = |text: &str| {
        format!(
            r#"{{"id":"x1","object":"chat.completion.chunk","model":"m","choices":[{{"index":0,"delta":{{"content":"{text}"}},"finish_reason":null}}]}}"#
        )
    };
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";
    let events = format!(
        "data: {}\n\ndata: {}\n\ndata: [DONE]\n\n",
        chunk("Th"),
        chunk("ree")
    );
    let lines = format!("{}\n{}\n", chunk("Th"), chunk("ree"));
    for body in [events, lines] {
        let said = answered(head, &body);
        let report = calls(&said)[0];
        assert!(
            text_of(report).contains("Three"),
            "{body}: {}",
            text_of(report)
        );
        assert!(report.incomplete.is_empty(), "{:?}", report.incomplete);
    }
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let len = u8::try_from(payload.len()).unwrap();
    [&[0, 0, len, kind, flags, 0, 0, 0, stream], payload].concat()
}

fn head(stream: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.extend([0, name.len() as u8]);
        block.extend(name.bytes());
        block.push(value.len() as u8);
        block.extend(value.bytes());
    }
    frame(1, 4, stream, &block)
}

/// Every WebSocket or tunnel over HTTP/2 is kept until its connection ends, or calls over it are not told.
#[test]
fn streams_that_were_upgraded_end() {
    let mut ask = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    ask.extend(frame(4, 0, 0, &[]));
    let connect = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "https"),
        (":path", "/v1/responses"),
        (":authority", "api.openai.com"),
    ];
    ask.extend(head(1, &connect));
    let question = r#"{"type":"response.create","model":"gpt-5","input":"How many?"}"#;
    let mut text = vec![
        0x81,
        0x80 | u8::try_from(question.len()).unwrap(),
        0,
        0,
        0,
        0,
    ];
    text.extend(question.bytes());
    let agree = [frame(4, 0, 0, &[]), head(1, &[(":status", "200")])].concat();
    let mut dialogs = Dialogs::default();
    let said = said(
        &mut dialogs,
        &[
            open(),
            data(Direction::Write, 1, &ask),
            data(Direction::Read, 2, &agree),
            data(Direction::Write, 3, &frame(0, 0, 1, &text)),
            data(
                Direction::Write,
                4,
                &frame(0, 1, 1, &[0x88, 0x80, 0, 0, 0, 0]),
            ),
            data(Direction::Read, 5, &frame(0, 1, 1, &[0x88, 0])),
        ],
    );
    let messages = said
        .iter()
        .filter(|said| matches!(said.what, What::WebSocket(_)));
    assert_eq!(messages.count(), 3);
    assert_eq!(calls(&said).len(), 1);
    assert_eq!(dialogs.conns.values().map(Conn::open).sum::<usize>(), 0);
}
