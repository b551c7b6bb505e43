mod bounds;
mod loss;
mod random;
mod streams;

use super::frame::*;
use super::*;
use crate::proto::item::{RequestHead, ResponseHead, Version};
use crate::proto::{ExchangeId, Field, Fields, Item, Outcome};

/// A frame, built by hand.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

fn padded(kind: u8, flags: u8, stream: u32, content: &[u8], padding: u8) -> Vec<u8> {
    let mut payload = vec![padding];
    payload.extend(content);
    payload.extend(vec![0; usize::from(padding)]);
    frame(kind, flags | PADDED, stream, &payload)
}

/// A block of literals that leave the table alone.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.extend([0, name.len() as u8]);
        block.extend(name.bytes());
        block.push(value.len() as u8);
        block.extend(value.bytes());
    }
    block
}

const GET: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "https"),
    (":path", "/a"),
    (":authority", "h"),
];

fn get(stream: u32, flags: u8) -> Vec<u8> {
    frame(HEADERS, flags | END_HEADERS, stream, &block(&GET))
}

fn answer(stream: u32, flags: u8, status: &str) -> Vec<u8> {
    frame(
        HEADERS,
        flags | END_HEADERS,
        stream,
        &block(&[(":status", status)]),
    )
}

/// What is said, as text: pieces of a body joined, times left out.
#[derive(Default)]
struct Said(Vec<String>, Option<(String, Vec<u8>)>);

impl Said {
    fn take(&mut self, item: Item<'_>) {
        if let Item::Body {
            id, side, bytes, ..
        } = item
        {
            let of = format!("{id} {side:?} body ");
            match &mut self.1 {
                Some((open, kept)) if *open == of => kept.extend(bytes),
                _ => {
                    self.flush();
                    self.1 = Some((of, bytes.to_vec()));
                }
            }
            return;
        }
        self.flush();
        self.0.push(match item {
            Item::Request { id, head, from, .. } => {
                let (method, target) = (
                    head.method.unwrap_or("?".into()),
                    head.target.unwrap_or("?".into()),
                );
                format!("{id} {from:?} {method} {target}{}", fields(&head.fields))
            }
            Item::Response { id, head, from, .. } => {
                let status = head.status.map_or("?".into(), |status| status.to_string());
                format!("{id} {from:?} {status}{}", fields(&head.fields))
            }
            Item::Gap {
                id, side, bytes, ..
            } => format!("{id} {side:?} gap {bytes:?}"),
            Item::Trailers {
                id,
                side,
                fields: all,
                ..
            } => format!("{id} {side:?} trailers{}", fields(&all)),
            Item::End {
                id, side, outcome, ..
            } => match outcome {
                Outcome::Broken(fault) => format!("{id} {side:?} broken: {}", fault.what),
                outcome => format!("{id} {side:?} {outcome:?}"),
            },
            Item::Upgraded { id, protocol, .. } => format!("{id} upgraded {protocol}"),
            Item::Unrecognised {
                from, bytes, fault, ..
            } => format!("{from:?} {bytes:?}: {}", fault.what),
            Item::WebSocket {
                id, from, message, ..
            } => {
                let text = String::from_utf8_lossy(message.bytes);
                let (kind, missing) = (message.kind, message.missing);
                format!("{id} {from:?} {kind:?} {text} {missing:?}")
            }
            other => format!("{other:?}"),
        });
    }

    fn flush(&mut self) {
        if let Some((of, bytes)) = self.1.take() {
            self.0.push(of + &String::from_utf8_lossy(&bytes));
        }
    }
}

fn fields(fields: &Fields) -> String {
    let texts = fields.0.iter().map(|field| {
        let value = field.value.as_deref().unwrap_or("?");
        format!(" {}={value}", field.name)
    });
    texts.collect()
}

/// One step of a connection.
#[derive(Clone)]
enum Step {
    Local(Vec<u8>),
    Peer(Vec<u8>),
    LostLocal(Option<u64>),
    Ends,
}
use Step::{Ends, Local, LostLocal, Peer};

fn run(from_start: bool, steps: &[Step]) -> Vec<String> {
    run_with(Http2::new(Limits::default(), from_start), steps, usize::MAX)
}

fn run_with(mut decoder: Http2, steps: &[Step], piece: usize) -> Vec<String> {
    run_into(&mut decoder, steps, piece)
}

fn run_into(decoder: &mut Http2, steps: &[Step], piece: usize) -> Vec<String> {
    let mut said = Said::default();
    let mut out = |item: Item<'_>| said.take(item);
    for step in steps {
        match step {
            Local(bytes) => bytes
                .chunks(piece)
                .for_each(|piece| decoder.data(Party::Local, 1, piece, &mut out)),
            Peer(bytes) => bytes
                .chunks(piece)
                .for_each(|piece| decoder.data(Party::Peer, 1, piece, &mut out)),
            LostLocal(bytes) => decoder.gap(Party::Local, 1, *bytes, &mut out),
            Ends => [Party::Local, Party::Peer]
                .map(|from| decoder.end(from, 1, &mut out))
                .into_iter()
                .collect(),
        }
    }
    said.flush();
    said.0
}

/// The start of a connection of which the local end is the client, and of what the peer says.
fn start() -> [Step; 2] {
    let mut client = PREFACE.to_vec();
    client.extend(frame(SETTINGS, 0, 0, &[0, 3, 0, 0, 0, 9]));
    [Local(client), Peer(frame(SETTINGS, 0, 0, &[]))]
}

fn after_start(steps: &[Step]) -> Vec<String> {
    run(true, &[&start(), steps].concat())
}

/// Everything that heads, bodies and trailers may look like.
fn varied() -> (Vec<u8>, Vec<u8>) {
    let mut client = PREFACE.to_vec();
    client.extend(frame(
        SETTINGS,
        0,
        0,
        &[0, 1, 0, 0, 16, 0, 0, 5, 0, 0, 64, 0],
    ));
    client.extend(frame(WINDOW_UPDATE, 0, 0, &[0, 1, 0, 0]));
    let whole = block(&GET);
    let (front, back) = whole.split_at(7);
    client.extend(frame(
        HEADERS,
        WITH_PRIORITY,
        1,
        &[&[0, 0, 0, 0, 9], front].concat(),
    ));
    client.extend(frame(CONTINUATION, 0, 1, &[]));
    client.extend(frame(CONTINUATION, END_HEADERS, 1, back));
    client.extend(padded(HEADERS, END_HEADERS | END_STREAM, 3, &whole, 9));
    client.extend(padded(DATA, 0, 1, b"one", 5));
    client.extend(padded(DATA, 0, 1, b"", 0));
    client.extend(frame(0xfa, 0xff, 0, b"unknown"));
    client.extend(frame(DATA, 0, 1, b" two"));
    client.extend(padded(DATA, END_STREAM, 1, b" three", 200));
    let mut server = frame(SETTINGS, 0, 0, &[]);
    server.extend(frame(SETTINGS, ACK, 0, &[]));
    server.extend(answer(1, 0, "103"));
    server.extend(answer(1, 0, "200"));
    server.extend(answer(3, END_STREAM, "204"));
    server.extend(frame(DATA, 0, 1, b"body"));
    server.extend(frame(PING, 0, 0, b"12345678"));
    server.extend(frame(
        HEADERS,
        END_HEADERS | END_STREAM,
        1,
        &block(&[("grpc-status", "0")]),
    ));
    server.extend(frame(GOAWAY, 0, 0, &[0, 0, 0, 3, 0, 0, 0, 0, b'x']));
    (client, server)
}

fn varied_says() -> Vec<&'static str> {
    vec![
        "1 Local GET /a",
        "2 Local GET /a",
        "2 Request Complete",
        "1 Request body one two three",
        "1 Request Complete",
        "1 Peer 103",
        "1 Peer 200",
        "2 Peer 204",
        "2 Response Complete",
        "1 Response body body",
        "1 Response trailers grpc-status=0",
        "1 Response Complete",
    ]
}

/// Some HTTP/2 client or server would not be understood, depending on how its bytes come.
#[test]
fn every_cut_says_the_same() {
    let (client, server) = varied();
    for late in [false, true] {
        let fresh = || Http2::new(Limits::default(), !late);
        for at in 0..=client.len() {
            let (front, back) = client.split_at(at);
            let steps = [
                Local(front.into()),
                Local(back.into()),
                Peer(server.clone()),
                Ends,
            ];
            assert_eq!(run_with(fresh(), &steps, usize::MAX), varied_says(), "{at}");
        }
        for at in 0..=server.len() {
            let (front, back) = server.split_at(at);
            let steps = [
                Local(client.clone()),
                Peer(front.into()),
                Peer(back.into()),
                Ends,
            ];
            assert_eq!(run_with(fresh(), &steps, usize::MAX), varied_says(), "{at}");
        }
        for piece in 1..20 {
            let steps = [Local(client.clone()), Peer(server.clone()), Ends];
            assert_eq!(run_with(fresh(), &steps, piece), varied_says());
        }
    }
}

/// The items have the fields that other layers read.
#[test]
fn heads_are_as_sent() {
    let mut items = Vec::new();
    let mut decoder = Http2::new(Limits::default(), true);
    let mut request = PREFACE.to_vec();
    let more = [
        (":method", "POST"),
        (":path", "/p?q"),
        ("Host", "example"),
        ("x", "\u{e9}"),
    ];
    request.extend(frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&more)));
    decoder.data(Party::Peer, 5, &request, &mut |item| {
        items.push(format!("{item:?}"))
    });
    let settings = [frame(SETTINGS, 0, 0, &[]), answer(1, END_STREAM, "404")].concat();
    decoder.data(Party::Local, 6, &settings, &mut |item| {
        items.push(format!("{item:?}"))
    });
    let field = |name: &str, value: &str| Field {
        name: name.into(),
        value: Some(value.into()),
    };
    let asked = Item::Request {
        id: ExchangeId(1),
        from: Party::Peer,
        head: Box::new(RequestHead {
            version: Version::Http2,
            method: Some("POST".into()),
            target: Some("/p?q".into()),
            authority: Some("example".into()),
            fields: Fields(vec![field("host", "example"), field("x", "\u{e9}")]),
        }),
        at_ns: 5,
    };
    let answered = Item::Response {
        id: ExchangeId(1),
        from: Party::Local,
        head: Box::new(ResponseHead {
            version: Version::Http2,
            status: Some(404),
            fields: Fields::default(),
        }),
        at_ns: 6,
    };
    assert_eq!(items[0], format!("{asked:?}"));
    assert_eq!(items[2], format!("{answered:?}"));
}

/// Bytes of other protocols would be taken for HTTP/2, or HTTP/2 for others.
#[test]
fn it_is_recognised() {
    let (client, server) = varied();
    assert_eq!(Http2::looks_like(&client), Some(true));
    assert_eq!(Http2::looks_like(&server), Some(true));
    assert_eq!(Http2::looks_like(&PREFACE[..10]), None);
    assert_eq!(Http2::looks_like(&client[..24]), Some(true));
    assert_eq!(Http2::looks_like(&server[..8]), None);
    // In the middle of a frame, then in the middle of a connection.
    let joined = [b"ing\":\"text\"}".to_vec(), server.clone()].concat();
    assert_eq!(Http2::looks_like(&joined), Some(true));
    assert_eq!(
        Http2::looks_like(&frame(DATA, 0, 1, b"data: {}\n\n")),
        Some(true)
    );
    let others: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\nhost: a\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        b"{\"jsonrpc\":\"2.0\"}\n",
        b"EHLO example.com\r\n",
        &[0; 4000],
        &[0x81, 0x05, b'h', b'e', b'l', b'l', b'o'],
    ];
    for other in others {
        assert_ne!(Http2::looks_like(other), Some(true), "{other:?}");
        let long = other.repeat(LOOK_MAX / other.len() + 1);
        assert_eq!(Http2::looks_like(&long), Some(false));
    }
}

/// A connection that has served many calls would not be recognised any more when it is joined.
#[test]
fn high_streams_are_recognised() {
    for stream in [65_537, 1_000_001, 0x7fff_ffff] {
        let data = frame(DATA, 0, stream, b"data: {\"a\": 1}\n\n");
        let head = answer(stream - 2, 0, "200");
        assert_eq!(Http2::looks_like(&data), Some(true), "all of a piece");
        let many = [head, frame(PING, 0, 0, &[0; 8]), data.repeat(4)].concat();
        assert_eq!(Http2::looks_like(&many[..many.len() - 3]), Some(true));
        let joined = [b"ing\":\"text\"}".to_vec(), many].concat();
        assert_eq!(Http2::looks_like(&joined), Some(true));
    }
    // As a table of numbers looks: nothing ties its rows together.
    let rows = (0..40_u32).map(|row| frame(DATA, 0, (row * 0x0101_0000) | 0x0100_0001, &[7; 7]));
    let table = [vec![1, 2, 3], rows.collect::<Vec<_>>().concat()].concat();
    assert_ne!(Http2::looks_like(&table), Some(true));
}
