//! What is lost, comes early, or is never answered: it is told, and nothing is made up in its place.

use super::*;
use crate::proto::Outcome;

fn gap(direction: Direction, bytes: u64) -> Message<'static> {
    Message::Gap {
        origin: Some(origin(3_500_000)),
        gap: Gap {
            cause: Cause::RingFull,
            direction: Some(direction),
            offset: Some(0),
            bytes,
            records: 1,
        },
    }
}

/// A frame of HTTP/2 (RFC 9113 section 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A block of fields without any compression (RFC 7541 section 6.2.2).
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend(text.as_bytes());
        }
    }
    block
}

const END_HEADERS: u8 = 4;
const END_STREAM: u8 = 1;

/// A question over HTTP/2, from the connection's start.
fn question() -> Vec<u8> {
    let fields = block(&[
        (":method", "POST"),
        (":scheme", "https"),
        (":path", "/v1/chat/completions"),
        (":authority", "api.openai.com"),
        ("content-type", "application/json"),
    ]);
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(4, 0, 0, &[]),
        frame(1, END_HEADERS, 1, &fields),
        frame(0, END_STREAM, 1, BODY.as_bytes()),
    ]
    .concat()
}

fn responses(said: &[Said]) -> Vec<&HttpResponse> {
    let responses = said.iter().filter_map(|said| match &said.what {
        What::Response(response) => Some(&**response),
        _ => None,
    });
    responses.collect()
}

/// An answer whose head was lost would be no answer at all.
#[test]
fn answers_without_their_head_are_read() {
    let events = "data: {\"id\":\"x1\",\"object\":\"chat.completion.chunk\",\"model\":\"gpt-4o\",\"choices\":[{\"index\":0,\
                  \"delta\":{\"content\":\"Three\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    let head = frame(1, END_HEADERS, 1, &block(&[(":status", "200")]));
    let body = frame(0, END_STREAM, 1, events.as_bytes());
    let said = said(
        &mut Dialogs::default(),
        &[
            open(),
            data(Direction::Write, 1, &question()),
            data(Direction::Read, 2, &frame(4, 0, 0, &[])),
            gap(Direction::Read, head.len() as u64),
            data(Direction::Read, 4, &body),
            close(CloseReason::Freed),
        ],
    );
    let calls = calls(&said);
    assert_eq!(calls.len(), 1);
    assert!(text_of(calls[0]).contains("Three"), "{:?}", calls[0]);
    assert_eq!((calls[0].status, &calls[0].error), (None, &None));
    let mut lacks = calls[0].incomplete.iter();
    assert!(lacks.any(|lack| lack.why.contains("head was not seen")));
    assert_eq!(responses(&said).len(), 1);
}

/// Clients that hang up behind the last word would hide what was lost before.
#[test]
fn hanging_up_behind_the_last_word_hides_no_loss() {
    let events = "data: {\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Three\"},\
                  \"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
    let head = frame(1, END_HEADERS, 1, &block(&[(":status", "200")]));
    let body = frame(0, 0, 1, events.as_bytes());
    let begun = || vec![open(), data(Direction::Write, 1, b"")];
    let question = question();
    let ended = |lost: bool| {
        let mut messages = begun();
        messages.push(data(Direction::Write, 1, &question));
        let settings = frame(4, 0, 0, &[]);
        let first = match lost {
            true => settings.clone(),
            false => [settings.clone(), head.clone()].concat(),
        };
        messages.push(data(Direction::Read, 2, &first));
        if lost {
            messages.push(gap(Direction::Read, head.len() as u64));
        }
        messages.push(data(Direction::Read, 4, &body));
        messages.push(close(CloseReason::Freed));
        let said = said(&mut Dialogs::default(), &messages);
        let report = calls(&said)[0].clone();
        (report.error, report.incomplete.len())
    };
    assert_eq!(ended(false), (None, 0));
    let (error, lacks) = ended(true);
    assert!(error.is_none() && lacks > 0);
}

/// Bodies with something lost in their middle would be told as if somebody had said that.
#[test]
fn nothing_is_read_across_a_gap() {
    let answer = r#"{"id":"x","object":"chat.completion","model":"gpt-4o","choices":[{"index":0,"message":{"role":"assistant","content":"rm -rf /tmp/here/x"},"finish_reason":"stop"}]}"#;
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        answer.len()
    );
    let lost = "here/";
    let halves = |text: &str, word: &str| {
        let (before, after) = text.split_once(word).unwrap();
        (before.to_owned(), after.to_owned())
    };
    let (begin, end) = halves(answer, lost);
    let (ask, rest) = halves(BODY, "berry");
    let whole = said(
        &mut Dialogs::default(),
        &[
            open(),
            data(Direction::Write, 1, [REQUEST, &ask].concat().as_bytes()),
            gap(Direction::Write, 5),
            data(Direction::Write, 2, rest.as_bytes()),
            data(
                Direction::Read,
                3,
                [head.as_str(), &begin].concat().as_bytes(),
            ),
            gap(Direction::Read, lost.len() as u64),
            data(Direction::Read, 4, end.as_bytes()),
            close(CloseReason::Freed),
        ],
    );
    let calls = calls(&whole);
    assert_eq!(calls.len(), 1);
    let text = serde_json::to_string(&calls[0]).unwrap();
    assert!(
        !text.contains("straw") && !text.contains("rm -rf"),
        "{text}"
    );
    assert!(calls[0].error.is_some() && calls[0].call.response.is_none());
    let sides: Vec<_> = calls[0].incomplete.iter().map(|lack| lack.of).collect();
    assert!(sides.contains(&"request") && sides.contains(&"response"));
}

/// A question that is refused before all of it was sent would be told as empty.
#[test]
fn early_refusals_belong_to_the_whole_question() {
    let refusal = r#"{"error":{"message":"too much","type":"invalid_request_error"}}"#;
    let refusal = [
        frame(4, 0, 0, &[]),
        frame(
            1,
            END_HEADERS,
            1,
            &block(&[(":status", "413"), ("content-type", "application/json")]),
        ),
        frame(0, END_STREAM, 1, refusal.as_bytes()),
    ]
    .concat();
    let question = question();
    let (begin, end) = question.split_at(question.len() - 30);
    let said = said(
        &mut Dialogs::default(),
        &[
            open(),
            data(Direction::Write, 1, begin),
            data(Direction::Read, 2, &refusal),
            data(Direction::Write, 3, end),
            close(CloseReason::Freed),
        ],
    );
    let calls = calls(&said);
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].call.request.model.as_deref(), Some("gpt-4o"));
    assert_eq!(
        (calls[0].status, &*calls[0].incomplete),
        (Some(413), &[][..])
    );
    let error = calls[0].error.as_deref().unwrap();
    assert!(error.contains("too much"), "{error}");
}

/// A request that is reset, and is no call, would just stop.
#[test]
fn requests_without_an_answer_say_so() {
    let fields = block(&[
        (":method", "GET"),
        (":scheme", "https"),
        (":path", "/"),
        (":authority", "example.com"),
    ]);
    let request = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(4, 0, 0, &[]),
        frame(1, END_HEADERS | END_STREAM, 1, &fields),
    ]
    .concat();
    let mut dialogs = Dialogs::default();
    let said = said(
        &mut dialogs,
        &[
            open(),
            data(Direction::Write, 1, &request),
            data(Direction::Read, 2, &frame(4, 0, 0, &[])),
            data(Direction::Read, 3, &frame(3, 0, 1, &7_u32.to_be_bytes())),
        ],
    );
    let responses = responses(&said);
    assert_eq!(responses.len(), 1);
    assert_eq!(
        (responses[0].status, responses[0].outcome),
        (None, Outcome::Reset(7))
    );
    assert!(!responses[0].incomplete.is_empty());
    let authorities = dialogs.take_authorities();
    assert_eq!(authorities, [(ConnName(1), "example.com".to_owned())]);
    assert_eq!(dialogs.take_authorities(), []);
}

/// One connection could take all memory.
#[test]
fn what_is_held_has_an_end() {
    let mut dialogs = Dialogs::default();
    let mut out = Vec::new();
    let request = [REQUEST, BODY].concat();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
    let word = "x".repeat(1 << 20);
    let event = format!(
        "data: {{\"object\":\"chat.completion.chunk\",\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{word}\"}}}}]}}\n\n"
    );
    for message in [
        open(),
        data(Direction::Write, 1, request.as_bytes()),
        data(Direction::Read, 2, head.as_bytes()),
    ] {
        dialogs.take(&message, &mut out);
    }
    for _ in 0..300 {
        out.clear();
        dialogs.take(&data(Direction::Read, 3, event.as_bytes()), &mut out);
    }
    let held = Room::default().left() - dialogs.shared.room.left();
    assert!((100 << 20..160 << 20).contains(&held), "{held}");
    out.clear();
    dialogs.take(&close(CloseReason::Freed), &mut out);
    let calls = calls(&out);
    let mut lacks = calls[0].incomplete.iter();
    assert!(lacks.any(|lack| lack.why == "more of the answer than is kept"));
    assert_eq!(dialogs.shared.room.left(), Room::default().left());
}

/// A message of a WebSocket (RFC 6455 section 5.2); a client masks it, here with zeros.
fn message(text: &str, is_masked: bool) -> Vec<u8> {
    let length = u8::try_from(text.len()).unwrap();
    let mut message = match length {
        0..126 => vec![0x81, length],
        _ => vec![0x81, 126, 0, length],
    };
    if is_masked {
        message[1] |= 0x80;
        message.extend([0; 4]);
    }
    message.extend(text.as_bytes());
    message
}

/// A call over a WebSocket that fails would be told with the next one; one that lost something, as whole.
#[test]
fn calls_over_websockets_end_and_lack() {
    let upgrade = "GET /v1/responses HTTP/1.1\r\nHost: api.openai.com\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                   Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let agreed = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                  Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    let ask = r#"{"type":"response.create","model":"gpt-5","input":"hi"}"#;
    let failed =
        r#"{"type":"error","status":429,"error":{"type":"rate_limit","message":"slow down"}}"#;
    let delta = r#"{"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"word"}"#;
    let done = r#"{"type":"response.completed","response":{"id":"r","object":"response","status":"completed","output":[]}}"#;
    let (delta, half) = (message(delta, false), message(delta, false).len() / 2);
    let mut dialogs = Dialogs::default();
    let first = said(
        &mut dialogs,
        &[
            open(),
            data(Direction::Write, 1, upgrade.as_bytes()),
            data(Direction::Read, 2, agreed.as_bytes()),
            data(Direction::Write, 3, &message(ask, true)),
            data(Direction::Read, 4, &message(failed, false)),
        ],
    );
    let told = calls(&first);
    assert_eq!(told.len(), 1);
    let error = told[0].error.as_deref().unwrap();
    assert!(error.contains("slow down"), "{error}");
    let second = said(
        &mut dialogs,
        &[
            data(Direction::Write, 5, &message(ask, true)),
            data(Direction::Read, 6, &delta[..half]),
            gap(Direction::Read, 4),
            data(Direction::Read, 7, &delta[half + 4..]),
            data(Direction::Read, 8, &message(done, false)),
        ],
    );
    let told = calls(&second);
    assert_eq!(told.len(), 1, "{second:?}");
    assert!(!told[0].incomplete.is_empty(), "{:?}", told[0]);
}
