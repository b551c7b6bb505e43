//! What decoding costs per byte, stage by stage, next to a copy of the same bytes: messages of a connection, the content of
//! their bodies, events of a stream, pieces of an answer merged, and all of that at once. `cargo bench --bench decode`.

#![allow(clippy::expect_used, clippy::indexing_slicing)] // a bench fails loudly

use std::io::Write as _;
use std::sync::Arc;

use agentsight::dialog::Dialogs;
use agentsight::event::{Comm, Direction, Function, ProcessId, SocketNames};
use agentsight::proto::content::{Content, Piece as Part};
use agentsight::proto::{Connection, Decoder, Field, Fields, Item, Limits, Party, Side};
use agentsight::semantics::dialect::{Dialect, Piece, Target};
use agentsight::semantics::{anthropic, bedrock, gemini, model::Operation, ollama, openai};
use agentsight::stream::{ConnName, Message, Origin, Payload};
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

/// Bytes of a stream of events.
const TOTAL: usize = 4 << 20;
/// Bytes that come at once: what a TLS record holds at most, and what programs often read.
const SIZES: [usize; 2] = [4 << 10, 16 << 10];
/// What a model says, again and again: words, code and quotes.
const WORDS: &[&str] = &[
    "The ",
    "function ",
    "returns ",
    "`None`",
    " if ",
    "nothing ",
    "was ",
    "found",
    ".\n",
    "    let ",
    "x ",
    "= \"",
    "it's ",
    "10%",
    "\";\n",
    "Grüße ",
];

fn main() {
    divan::main();
}

/// Events until they fill `TOTAL`, each with the next word.
fn events(make: impl Fn(&str) -> Value) -> Vec<String> {
    let mut bytes = 0;
    let words = WORDS.iter().cycle().map(|word| make(word).to_string());
    words
        .take_while(|event| {
            bytes += event.len();
            bytes <= TOTAL
        })
        .collect()
}

fn chat(word: &str) -> Value {
    json!({"id": "chatcmpl-ABCdef0123456789", "object": "chat.completion.chunk", "created": 1_750_000_000,
        "model": "gpt-4o-2024-08-06", "service_tier": "default", "system_fingerprint": "fp_0123456789",
        "choices": [{"index": 0, "delta": {"content": word}, "logprobs": null, "finish_reason": null}]})
}

fn response(word: &str) -> Value {
    json!({"type": "response.output_text.delta", "sequence_number": 5, "item_id": "msg_0123456789abcdef0123456789abcdef",
        "output_index": 0, "content_index": 0, "delta": word, "logprobs": [], "obfuscation": "k3J9s0aQ"})
}

fn message(word: &str) -> Value {
    json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}})
}

fn generated(word: &str) -> Value {
    json!({"candidates": [{"content": {"parts": [{"text": word}], "role": "model"}, "index": 0}],
        "usageMetadata": {"promptTokenCount": 8, "candidatesTokenCount": 12, "totalTokenCount": 20,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 8}]},
        "modelVersion": "gemini-2.5-flash", "responseId": "abcdefghijklmnop"})
}

fn converse(word: &str) -> Value {
    json!({"contentBlockIndex": 0, "delta": {"text": word}, "p": "abcdefghijklmnop"})
}

fn ollama_line(word: &str) -> Value {
    json!({"model": "llama3.2", "created_at": "2025-07-01T10:00:00.123456789Z",
        "message": {"role": "assistant", "content": word}, "done": false})
}

/// As server-sent events.
fn stream(make: impl Fn(&str) -> Value) -> Vec<String> {
    let events = events(make).into_iter();
    events.map(|event| format!("data: {event}\n\n")).collect()
}

/// A head, and a chunk for each part.
fn chunked<B: AsRef<[u8]>>(fields: &str, parts: &[B]) -> Vec<u8> {
    let mut body =
        format!("HTTP/1.1 200 OK\r\n{fields}transfer-encoding: chunked\r\n\r\n").into_bytes();
    for part in parts {
        let part = part.as_ref();
        body.extend(format!("{:x}\r\n", part.len()).into_bytes());
        body.extend_from_slice(part);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"0\r\n\r\n");
    body
}

const SSE: &str = "content-type: text/event-stream; charset=utf-8\r\n";

fn asking() -> Vec<u8> {
    let body = json!({"model": "gpt-4o", "stream": true, "messages": [{"role": "user", "content": "Why?"}]}).to_string();
    let head = "POST /v1/chat/completions HTTP/1.1\r\nhost: api.openai.com\r\ncontent-type: application/json\r\n";
    format!("{head}content-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len())
        .expect("a short frame")
        .to_be_bytes();
    let mut frame = vec![len[1], len[2], len[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// A request over HTTP/2 (RFC 9113), and the same stream as its response, an event in each frame.
fn http2(parts: &[String]) -> (Vec<u8>, Vec<u8>) {
    let mut asking = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    asking.extend(frame(4, 0, 0, &[]));
    // :method POST, :scheme https, :path /, and an authority, by RFC 7541 appendix A.
    asking.extend(frame(1, 5, 1, b"\x83\x87\x84\x41\x01a"));
    let mut answer = frame(4, 0, 0, &[]);
    answer.extend(frame(1, 4, 1, b"\x88\x5f\x11text/event-stream"));
    for part in parts {
        answer.extend(frame(0, 0, 1, part.as_bytes()));
    }
    answer.extend(frame(0, 1, 1, &[]));
    (asking, answer)
}

#[divan::bench]
fn baseline_copy(bencher: Bencher) {
    let data = stream(chat).concat();
    bencher
        .counter(BytesCount::new(data.len()))
        .bench_local(|| black_box(data.as_bytes()).to_vec());
}

/// A connection down to the events in its response's body; tells how many there were.
fn read(asking: &[u8], answer: &[u8], size: usize) -> usize {
    let mut decoder = Connection::new(Limits::default(), true);
    decoder.data(Party::Local, 0, asking, &mut |_| {});
    let mut content = None;
    let mut count = 0;
    let mut take = |part: Part<'_>| count += usize::from(matches!(part, Part::Sse(_)));
    for piece in answer.chunks(size) {
        decoder.data(Party::Peer, 0, black_box(piece), &mut |item| match item {
            Item::Response { head, .. } => {
                content = Some(Content::new(&head.fields, Limits::default()));
            }
            Item::Body {
                side: Side::Response,
                bytes,
                ..
            } => {
                content.as_mut().expect("a head").push(bytes, &mut take);
            }
            Item::End {
                side: Side::Response,
                ..
            } => {
                content.as_mut().expect("a head").finish(true, &mut take);
            }
            _ => {}
        });
    }
    count
}

fn reading(
    bencher: Bencher,
    bytes: usize,
    count: usize,
    (asking, answer): (Vec<u8>, Vec<u8>),
    size: usize,
) {
    assert_eq!(read(&asking, &answer, size), count);
    bencher
        .counter(BytesCount::new(bytes))
        .bench_local(|| read(&asking, &answer, size));
}

#[divan::bench(args = SIZES)]
fn http1_sse(bencher: Bencher, size: usize) {
    let parts = stream(chat);
    let answer = chunked(SSE, &parts);
    reading(bencher, answer.len(), parts.len(), (asking(), answer), size);
}

#[divan::bench(args = SIZES)]
fn http2_sse(bencher: Bencher, size: usize) {
    let parts = stream(chat);
    let conversation = http2(&parts);
    reading(
        bencher,
        conversation.1.len(),
        parts.len(),
        conversation,
        size,
    );
}

/// Bytes are those of the content.
#[divan::bench(args = SIZES)]
fn gzip_sse(bencher: Bencher, size: usize) {
    let parts = stream(chat);
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder
        .write_all(parts.concat().as_bytes())
        .expect("memory");
    let packed = encoder.finish().expect("memory");
    let packed: Vec<&[u8]> = packed.chunks(1 << 10).collect();
    let answer = chunked(&format!("{SSE}content-encoding: gzip\r\n"), &packed);
    reading(
        bencher,
        parts.concat().len(),
        parts.len(),
        (asking(), answer),
        size,
    );
}

/// Events alone, without a connection.
#[divan::bench]
fn sse(bencher: Bencher) {
    let text = stream(chat).concat();
    let field = Field {
        name: "content-type".into(),
        value: Some("text/event-stream".into()),
    };
    let fields = Fields(vec![field]);
    bencher
        .counter(BytesCount::new(text.len()))
        .bench_local(|| {
            let mut count = 0;
            let mut content = Content::new(&fields, Limits::default());
            for piece in text.as_bytes().chunks(16 << 10) {
                content.push(black_box(piece), &mut |part| {
                    count += usize::from(matches!(part, Part::Sse(_)));
                });
            }
            count
        });
}

fn merge(bencher: Bencher, dialect: &dyn Dialect, events: &[String], piece: fn(&str) -> Piece<'_>) {
    let target = Target {
        provider: "p".into(),
        operation: Operation::Chat,
        model: None,
    };
    let bytes = events.iter().map(String::len).sum::<usize>();
    bencher.counter(BytesCount::new(bytes)).bench_local(|| {
        let mut merge = dialect.merge(&target);
        let mut deltas = 0;
        for event in events {
            assert!(merge.piece(&piece(black_box(event)), &mut |_| deltas += 1));
        }
        // The first event may begin something, and be no news.
        assert!(deltas + 1 >= events.len());
        merge.finish()
    });
}

fn plain(data: &str) -> Piece<'_> {
    Piece::Sse { event: None, data }
}

#[divan::bench]
fn merge_openai_chat(bencher: Bencher) {
    merge(bencher, &openai::Chat, &events(chat), plain);
}

#[divan::bench]
fn merge_openai_responses(bencher: Bencher) {
    merge(bencher, &openai::Responses, &events(response), |data| {
        Piece::Sse {
            event: Some("response.output_text.delta"),
            data,
        }
    });
}

#[divan::bench]
fn merge_anthropic(bencher: Bencher) {
    let mut events = events(message);
    let start = json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}});
    events[0] = start.to_string();
    merge(bencher, &anthropic::MESSAGES, &events, |data| Piece::Sse {
        event: Some("content_block_delta"),
        data,
    });
}

#[divan::bench]
fn merge_gemini(bencher: Bencher) {
    merge(bencher, &gemini::STREAM_GENERATE, &events(generated), plain);
}

#[divan::bench]
fn merge_converse(bencher: Bencher) {
    merge(
        bencher,
        &bedrock::CONVERSE_STREAM,
        &events(converse),
        |payload| Piece::Aws {
            kind: "contentBlockDelta",
            class: "event",
            payload: payload.as_bytes(),
        },
    );
}

#[divan::bench]
fn merge_ollama(bencher: Bencher) {
    merge(bencher, &ollama::OLLAMA, &events(ollama_line), |line| {
        Piece::Json(line.as_bytes())
    });
}

fn origin() -> Origin {
    let function = Function {
        library: "openssl".into(),
        name: "SSL_read".into(),
    };
    Origin {
        ts_ns: 1,
        process: ProcessId {
            pid: 1,
            start_ns: 1,
        },
        tid: 1,
        comm: Comm(*b"agent\0\0\0\0\0\0\0\0\0\0\0"),
        function: Arc::new(function),
        conn: ConnName(1),
        fd: Some(5),
    }
}

fn data<'b>(origin: &Origin, direction: Direction, bytes: &'b [u8]) -> Message<'b> {
    Message::Data {
        origin: origin.clone(),
        payload: Payload {
            direction,
            seq: 0,
            offset: 0,
            call_len: bytes.len() as u64,
            early: false,
            goroutine: None,
            bytes: bytes.into(),
        },
    }
}

/// All that is done with one streamed call: connection, content, events, answer, and what is told of it.
#[divan::bench(args = SIZES)]
fn dialog(bencher: Bencher, size: usize) {
    let parts = stream(chat);
    let answer = chunked(SSE, &parts);
    let (asking, origin) = (asking(), origin());
    bencher
        .counter(BytesCount::new(answer.len()))
        .bench_local(|| {
            let mut dialogs = Dialogs::default();
            let mut out = Vec::new();
            let open = Message::Open {
                origin: origin.clone(),
                from_start: true,
                socket: SocketNames::default(),
            };
            dialogs.take(&open, &mut out);
            dialogs.take(&data(&origin, Direction::Write, &asking), &mut out);
            let mut said = 0;
            for piece in answer.chunks(size) {
                dialogs.take(&data(&origin, Direction::Read, black_box(piece)), &mut out);
                said += out.len();
                out.clear();
            }
            assert!(said > parts.len(), "it was not understood");
            assert_eq!(dialogs.counts().calls, 1);
        });
}
