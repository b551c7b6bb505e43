//! What connections cost that are open and silent: memory of ten thousand of each kind, counted where it is allocated.

#![allow(clippy::unwrap_used)] // a test fails loudly

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use agentsight::dialog::{Dialogs, Said};
use agentsight::event::{Comm, Direction, Function, ProcessId, SocketNames};
use agentsight::stream::{ConnName, Message, Origin, Payload};

/// Connections of a kind.
const CONNS: u64 = 10_000;
/// Bytes of one connection, at most.
const EACH_MAX: usize = 8 << 10;

/// The system's allocator, with a sum of what is in use: as asked for, without its own overhead.
struct Counting;

static USED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all is handed to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        USED.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: as our caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        USED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as our caller promises.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn origin(conn: u64, function: &Arc<Function>) -> Origin {
    Origin {
        ts_ns: conn,
        process: ProcessId {
            pid: 1,
            start_ns: 1,
        },
        tid: 1,
        comm: Comm([0; 16]),
        function: Arc::clone(function),
        conn: ConnName(conn),
        fd: None,
    }
}

/// What passes on each connection before it falls silent, and whether it is seen from its beginning.
struct Kind {
    name: &'static str,
    from_start: bool,
    parts: Vec<(Direction, Vec<u8>)>,
}

const REQUEST: &str = "POST /v1/chat/completions HTTP/1.1\r\nHost: api.openai.com\r\nAccept: application/json\r\n\
    Content-Type: application/json\r\nUser-Agent: OpenAI/Python 1.99.0\r\nX-Stainless-Lang: python\r\n\
    X-Stainless-Package-Version: 1.99.0\r\nX-Stainless-OS: Linux\r\nX-Stainless-Runtime: CPython\r\n\
    Authorization: Bearer sk-proj-0123456789012345678901234567890123456789\r\n";
const ANSWER_FIELDS: &str = "Date: Tue, 01 Jul 2025 10:00:00 GMT\r\nx-request-id: req_0123456789abcdef0123456789abcdef\r\n\
    openai-organization: user-0123456789\r\nopenai-processing-ms: 512\r\nopenai-version: 2020-10-01\r\n\
    x-ratelimit-limit-requests: 10000\r\nx-ratelimit-remaining-tokens: 199999\r\nServer: cloudflare\r\n\
    Set-Cookie: __cf_bm=0123456789abcdefghijklmnopqrstuvwxyz; path=/; HttpOnly; Secure\r\n";
const QUESTION: &str = r#"{"model":"gpt-4o","stream":true,"messages":[{"role":"system","content":"You are a helpful assistant."},{"role":"user","content":"Write a haiku about memory."}]}"#;

fn ask() -> Vec<u8> {
    format!(
        "{REQUEST}Content-Length: {}\r\n\r\n{QUESTION}",
        QUESTION.len()
    )
    .into_bytes()
}

fn event(words: &str) -> String {
    let choice = format!(r#"{{"index":0,"delta":{{"content":"{words}"}},"finish_reason":null}}"#);
    let event = format!(
        r#"data: {{"id":"chatcmpl-1","object":"chat.completion.chunk","model":"gpt-4o","choices":[{choice}]}}"#
    );
    format!("{event}\n\n")
}

fn http1() -> Kind {
    let body = r#"{"id":"chatcmpl-1","object":"chat.completion","model":"gpt-4o","choices":[{"index":0,"message":{"role":"assistant","content":"Bits."},"finish_reason":"stop"}]}"#;
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{ANSWER_FIELDS}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    Kind {
        name: "HTTP/1 after one exchange",
        from_start: true,
        parts: vec![
            (Direction::Write, ask()),
            (Direction::Read, answer.into_bytes()),
        ],
    }
}

fn streaming() -> Kind {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{ANSWER_FIELDS}Transfer-Encoding: chunked\r\n\r\n"
    );
    let mut parts = vec![
        (Direction::Write, ask()),
        (Direction::Read, head.into_bytes()),
    ];
    for word in 0..20 {
        let event = event(&format!("word {word} "));
        let chunk = format!("{:x}\r\n{event}\r\n", event.len());
        parts.push((Direction::Read, chunk.into_bytes()));
    }
    // In the middle of an event.
    let event = event("cut");
    let chunk = format!("{:x}\r\n{}", event.len(), &event[..60]);
    parts.push((Direction::Read, chunk.into_bytes()));
    Kind {
        name: "a stream of events in its middle",
        from_start: true,
        parts,
    }
}

/// A frame of RFC 9113 section 4.1.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![len[1], len[2], len[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// All fields with incremental indexing and a name of their own (RFC 7541 section 6.2.1), so that the tables fill.
fn block(first: &[u8], fields: &str) -> Vec<u8> {
    let mut block = first.to_vec();
    for line in fields.split("\r\n").filter(|line| line.contains(": ")) {
        let (name, value) = line.split_once(": ").unwrap();
        block.extend([0x40, u8::try_from(name.len()).unwrap()]);
        block.extend(name.to_ascii_lowercase().into_bytes());
        block.push(u8::try_from(value.len()).unwrap());
        block.extend_from_slice(value.as_bytes());
    }
    block
}

fn http2() -> Kind {
    let mut asking = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    asking.extend(frame(4, 0, 0, &[0, 3, 0, 0, 0, 100, 0, 4, 0, 1, 0, 0]));
    asking.extend(frame(8, 0, 0, &[0, 0x3f, 0, 1]));
    let fields = REQUEST.split_once("\r\n").unwrap().1;
    // :method POST, :scheme https, :path.
    let head = block(b"\x83\x87\x44\x14/v1/chat/completions", fields);
    asking.extend(frame(1, 4, 1, &head));
    asking.extend(frame(0, 1, 1, QUESTION.as_bytes()));
    let mut answer = frame(4, 0, 0, &[]);
    answer.extend(frame(4, 1, 0, &[]));
    // :status 200.
    let head = block(b"\x88\x5f\x11text/event-stream", ANSWER_FIELDS);
    answer.extend(frame(1, 4, 1, &head));
    for word in 0..20 {
        answer.extend(frame(0, 0, 1, event(&format!("word {word} ")).as_bytes()));
    }
    answer.extend(frame(0, 1, 1, b"data: [DONE]\n\n"));
    Kind {
        name: "HTTP/2 after one exchange",
        from_start: true,
        parts: vec![(Direction::Write, asking), (Direction::Read, answer)],
    }
}

fn kinds() -> Vec<Kind> {
    let undecided = Kind {
        name: "undecided",
        from_start: true,
        parts: vec![(Direction::Write, b"PO".to_vec())],
    };
    let unknown = Kind {
        name: "a protocol that is not known",
        from_start: false,
        parts: vec![
            (Direction::Write, vec![0; 2000]),
            (Direction::Read, (0..=255).cycle().take(2000).collect()),
        ],
    };
    vec![http1(), http2(), streaming(), undecided, unknown]
}

/// Opens them all and lets them fall silent. What is told is taken away, as sinks do.
fn open(dialogs: &mut Dialogs, kind: &Kind, function: &Arc<Function>) -> usize {
    let mut told = 0;
    let mut out: Vec<Said> = Vec::new();
    for conn in 0..CONNS {
        let origin = origin(conn, function);
        let message = Message::Open {
            origin: origin.clone(),
            from_start: kind.from_start,
            socket: SocketNames::default(),
        };
        dialogs.take(&message, &mut out);
        for (direction, bytes) in &kind.parts {
            let payload = Payload {
                direction: *direction,
                seq: 0,
                offset: 0,
                call_len: bytes.len() as u64,
                early: false,
                goroutine: None,
                bytes: bytes.as_slice().into(),
            };
            let origin = origin.clone();
            dialogs.take(&Message::Data { origin, payload }, &mut out);
        }
        told += out.len();
        out.clear();
    }
    told
}

/// Agents keep thousands of connections open: the observer would grow by gigabytes.
#[test]
fn silent_connections_take_little_memory() {
    let function = Function {
        library: "openssl".into(),
        name: "SSL_read".into(),
    };
    let function = Arc::new(function);
    for kind in kinds() {
        let before = USED.load(Ordering::Relaxed);
        let mut dialogs = Dialogs::default();
        let told = open(&mut dialogs, &kind, &function);
        let used = USED.load(Ordering::Relaxed).saturating_sub(before);
        let each = used / usize::try_from(CONNS).unwrap();
        println!("{}: {each} bytes each", kind.name);
        let is_understood = dialogs.counts().calls >= CONNS;
        let is_call = kind.parts.len() > 1 && kind.from_start;
        assert_eq!(is_understood, is_call, "{}", kind.name);
        assert_eq!(told > 0, is_call, "{}", kind.name);
        assert!(each > 0, "{}: nothing was counted", kind.name);
        assert!(each <= EACH_MAX, "{}: {each} bytes each", kind.name);
    }
}
