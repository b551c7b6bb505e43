use proptest::collection::vec;
use proptest::prelude::*;

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

/// A cancelled call would look as if it were still running, or as if it were whole.
#[test]
fn resets_and_goaway_end_streams() {
    let requests = [get(1, END_STREAM), get(3, 0), get(5, 0)].concat();
    let peer = [answer(1, 0, "200"), frame(DATA, 0, 1, b"par")].concat();
    let said = after_start(&[
        Local(requests),
        Peer(peer),
        Local(frame(RST_STREAM, 0, 1, &[0, 0, 0, 8])),
        Peer(frame(DATA, 0, 1, b"tial")),
        Peer(frame(GOAWAY, 0, 0, &[0, 0, 0, 3, 0, 0, 0, 2])),
        Ends,
    ]);
    let expected = [
        "1 Local GET /a",
        "1 Request Complete",
        "2 Local GET /a",
        "3 Local GET /a",
        "1 Peer 200",
        "1 Response body par",
        "1 Response Reset(8)",
        "Peer Some(4): it belongs to a stream that has ended, or is not followed",
        "3 Request Reset(2)",
        "3 Response Reset(2)",
        "2 Request CutOff",
        "2 Response CutOff",
    ];
    assert_eq!(said, expected);
}

/// A WebSocket or a tunnel would be taken for a body that never ends.
#[test]
fn connect_is_told_as_an_upgrade() {
    let websocket = [
        (":method", "CONNECT"),
        (":protocol", "websocket"),
        (":scheme", "https"),
        (":path", "/chat"),
        (":authority", "h"),
    ];
    let tunnel = [(":method", "CONNECT"), (":authority", "h:443")];
    let client = [
        frame(HEADERS, END_HEADERS, 1, &block(&websocket)),
        frame(HEADERS, END_HEADERS, 3, &block(&tunnel)),
    ];
    let server = [
        answer(1, 0, "200"),
        answer(3, 0, "502"),
        frame(DATA, 0, 1, b"ws"),
    ];
    let said = after_start(&[Local(client.concat()), Peer(server.concat())]);
    let expected = [
        "1 Local CONNECT /chat",
        "2 Local CONNECT h:443",
        "1 Peer 200",
        "1 upgraded websocket",
        "2 Peer 502",
        "1 Response body ws",
    ];
    assert_eq!(said, expected);
}

/// A server that pushes would garble the headers of every call behind that, or its pushes would be taken for answers.
#[test]
fn push_is_decoded_and_not_followed() {
    // Adds x: y to the table, which the answer uses.
    let mut promise = vec![0, 0, 0, 2];
    promise.extend([0x40, 1, b'x', 1, b'y', 0x82]);
    let server = [
        padded(PUSH_PROMISE, 0, 1, &promise, 3),
        frame(CONTINUATION, END_HEADERS, 1, &block(&GET[1..])),
        answer(2, 0, "200"),
        frame(HEADERS, END_HEADERS, 1, &[0x88, 0xbe]),
        frame(DATA, END_STREAM, 2, b"pushed"),
        frame(DATA, END_STREAM, 1, b"asked"),
    ];
    let said = after_start(&[Local(get(1, END_STREAM)), Peer(server.concat())]);
    let push = |bytes: usize| format!("Peer Some({bytes}): server push is not followed");
    let promised = 1 + promise.len() + 3 + block(&GET[1..]).len();
    let expected = [
        "1 Local GET /a".to_owned(),
        "1 Request Complete".to_owned(),
        push(promised),
        push(block(&[(":status", "200")]).len()),
        "1 Peer 200 x=y".to_owned(),
        push(6),
        "1 Response body asked".to_owned(),
        "1 Response Complete".to_owned(),
    ];
    assert_eq!(said, expected);
}

/// Bytes that were lost inside of a frame would cost more than these, or not be told.
#[test]
fn a_loss_inside_of_a_frame_costs_no_other() {
    let data = frame(DATA, END_STREAM, 1, b"0123456789");
    let said = after_start(&[
        Local([get(1, 0), data[..HEADER + 3].to_vec()].concat()),
        LostLocal(Some(4)),
        Local([&data[HEADER + 7..], &get(3, END_STREAM)].concat()),
    ]);
    let expected = [
        "1 Local GET /a",
        "1 Request body 012",
        "1 Request gap Some(4)",
        "1 Request body 789",
        "1 Request Complete",
        "2 Local GET /a",
        "2 Request Complete",
    ];
    assert_eq!(said, expected);
    // Padding that was lost, or of which nobody knows how long it is.
    let data = padded(DATA, END_STREAM, 1, b"01234", 5);
    for (from, to, told) in [
        (HEADER + 4, HEADER + 8, "Some(2)"),
        (HEADER, HEADER + 4, "None"),
    ] {
        let said = after_start(&[
            Local([get(1, 0), data[..from].to_vec()].concat()),
            LostLocal(Some((to - from) as u64)),
            Local(data[to..].to_vec()),
        ]);
        let gap = format!("1 Request gap {told}");
        assert!(
            said.contains(&gap) && said.last().unwrap() == "1 Request Complete",
            "{said:?}"
        );
    }
}

/// After a header block is lost, later calls would have the headers of others.
#[test]
fn a_lost_header_block_makes_the_table_unknown() {
    let indexed = |value: &str| [&[0x40, 1, b'n', value.len() as u8], value.as_bytes()].concat();
    let request = |stream, more: &[u8]| {
        frame(
            HEADERS,
            END_HEADERS | END_STREAM,
            stream,
            &[&[0x82, 0x84, 0x87], more].concat(),
        )
    };
    let lost = request(3, &indexed("two"));
    let said = after_start(&[
        Local([request(1, &indexed("one")), lost[..HEADER + 2].to_vec()].concat()),
        LostLocal(Some((lost.len() - HEADER - 2) as u64)),
        // 62 is "two" and 63 "one", but that is not known; then "three" is 62.
        Local(
            [
                request(5, &[0xbf]),
                request(7, &indexed("three")),
                request(9, &[0xbe]),
            ]
            .concat(),
        ),
    ]);
    let expected = [
        "1 Local GET / n=one",
        "1 Request Complete",
        "2 Request gap None",
        "2 Request Complete",
        "3 Local GET / ?63=?",
        "3 Request Complete",
        "4 Local GET / n=three",
        "4 Request Complete",
        "5 Local GET / n=three",
        "5 Request Complete",
    ];
    assert_eq!(said, expected);
}

/// After a loss beyond one frame, nothing more would be seen of the connection, or bytes would be given to wrong streams.
#[test]
fn frames_are_found_again_after_a_loss() {
    let body = frame(DATA, 0, 1, &vec![b'x'; 3000]);
    let rest = [
        body[2000..].to_vec(),
        frame(DATA, 0, 1, b"later"),
        get(5, END_STREAM),
        frame(DATA, END_STREAM, 1, b""),
    ];
    for lost in [Some(10_000), None] {
        let said = after_start(&[
            Local([get(1, 0), get(3, 0), body[..1000].to_vec()].concat()),
            LostLocal(lost),
            Local(rest.concat()),
            Peer([answer(1, END_STREAM, "200"), answer(5, END_STREAM, "200")].concat()),
        ]);
        let skipped = body.len() - 2000;
        let expected = [
            "1 Local GET /a".to_owned(),
            "2 Local GET /a".to_owned(),
            format!("1 Request body {}", "x".repeat(1000 - HEADER)),
            "1 Request gap None".to_owned(),
            "2 Request gap None".to_owned(),
            format!(
                "Local Some({skipped}): bytes were lost, and so the place where the next frame begins"
            ),
            "1 Request body later".to_owned(),
            "3 Local GET /a".to_owned(),
            "3 Request Complete".to_owned(),
            "1 Request Complete".to_owned(),
            "1 Peer 200".to_owned(),
            "1 Response Complete".to_owned(),
            "3 Peer 200".to_owned(),
            "3 Response Complete".to_owned(),
        ];
        assert_eq!(said, expected);
    }
}

/// What comes of streams that began before we joined would be lost, or be taken for whole.
#[test]
fn a_late_connection_says_what_it_has_not_seen() {
    let said = run(
        false,
        &[
            Peer(
                [
                    b"rest of a frame".to_vec(),
                    frame(DATA, 0, 1, b"early"),
                    frame(DATA, 0, 1, b"bird"),
                ]
                .concat(),
            ),
            Local(get(9, END_STREAM)),
            Peer([frame(DATA, END_STREAM, 1, b"tail"), answer(9, 0, "200")].concat()),
            Peer(
                [
                    frame(DATA, END_STREAM, 9, b"all"),
                    answer(7, END_STREAM, "429"),
                ]
                .concat(),
            ),
            Ends,
        ],
    );
    let unknown = "the connection was joined late, and who is the client is not known yet";
    let expected = [
        "Peer Some(15): the connection was joined in the middle of a frame".to_owned(),
        format!("Peer Some(5): {unknown}"),
        format!("Peer Some(4): {unknown}"),
        "1 Local GET /a".to_owned(),
        "1 Request Complete".to_owned(),
        "2 Response gap None".to_owned(),
        "2 Response body tail".to_owned(),
        "2 Response Complete".to_owned(),
        "1 Peer 200".to_owned(),
        "1 Response body all".to_owned(),
        "1 Response Complete".to_owned(),
        "3 Peer 429".to_owned(),
        "3 Response Complete".to_owned(),
    ];
    assert_eq!(said, expected);
}

/// A peer could make the observer keep anything: headers without end, streams without end, or tables without end.
#[test]
fn what_is_kept_is_bounded() {
    let limits = Limits {
        head: 20_000,
        fields: 8,
        exchanges: 4,
        ..Limits::default()
    };
    let fresh = || Http2::new(limits, true);
    let mut steps = start().to_vec();
    let many: Vec<u8> = (0..10).flat_map(|number| get(2 * number + 1, 0)).collect();
    steps.push(Local(many));
    let said = run_with(fresh(), &steps, usize::MAX);
    assert_eq!(
        said.iter().filter(|line| line.ends_with("GET /a")).count(),
        4
    );
    let refused = said
        .iter()
        .filter(|line| line.ends_with("more streams are open at once than are followed"));
    assert_eq!(refused.count(), 6);

    let mut endless = start().to_vec();
    endless.push(Local(frame(HEADERS, 0, 1, &block(&GET))));
    endless.extend((0..100).map(|_| Local(frame(CONTINUATION, 0, 1, &vec![0; 16_000]))));
    endless.push(Local(
        [frame(CONTINUATION, END_HEADERS, 1, &[]), get(3, 0)].concat(),
    ));
    assert_eq!(
        run_with(fresh(), &endless, usize::MAX),
        ["1 Request gap None", "2 Local GET /a"]
    );

    let large = [&GET[..], &[("a", "b"); 9]].concat();
    let steps = [
        &start()[..],
        &[Local(frame(HEADERS, END_HEADERS, 1, &block(&large)))],
    ]
    .concat();
    let said = run_with(fresh(), &steps, usize::MAX);
    assert_eq!(
        said[1],
        "1 Request broken: the head is larger, or has more fields, than is kept"
    );

    let mut decoder = fresh();
    let mut ignore = |_: Item<'_>| {};
    decoder.data(Party::Local, 0, PREFACE, &mut ignore);
    for _ in 0..10_000 {
        decoder.data(
            Party::Local,
            0,
            &frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 9]),
            &mut ignore,
        );
    }
    assert!(decoder.held() < 4096, "{}", decoder.held());
}

/// A connection that does nothing would cost more memory than there is for thousands of them.
#[test]
fn an_idle_connection_is_small() {
    let mut decoder = Http2::new(Limits::default(), true);
    let (client, server) = varied();
    let mut ignore = |_: Item<'_>| {};
    for piece in client.chunks(1000) {
        decoder.data(Party::Local, 0, piece, &mut ignore);
    }
    decoder.data(Party::Peer, 0, &server[..server.len() - 30], &mut ignore);
    let held = decoder.held() + size_of::<Http2>();
    assert!(held < 2048, "{held}");
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

/// Time per byte would grow with the connection: someone sends what looks like frames and is not.
#[test]
fn searching_is_linear() {
    let header = &frame(DATA, 0, 1, &[0; 9])[..HEADER];
    let mut decoys = header.repeat(20_000);
    decoys.extend(frame(PING, 9, 0, &[0; 8]).repeat(5000));
    let began = std::time::Instant::now();
    for piece in [1, 1000, usize::MAX] {
        let steps = [
            &start()[..],
            &[LostLocal(None), Local(decoys.clone()), Ends],
        ]
        .concat();
        run_with(Http2::new(Limits::default(), true), &steps, piece);
    }
    assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
}

/// Frames at random, so that properties reach what random bytes do not.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let one = (0..11_u8, any::<u8>(), 0..8_u32, vec(any::<u8>(), 0..40)).prop_map(
        |(kind, flags, stream, payload)| {
            let wanted = match kind {
                PRIORITY => 5,
                RST_STREAM | WINDOW_UPDATE => 4,
                PING => 8,
                _ => payload.len(),
            };
            let stream = if matches!(kind, SETTINGS | PING | GOAWAY) {
                0
            } else {
                stream
            };
            let payload: Vec<u8> = payload.into_iter().chain([0; 9]).take(wanted).collect();
            match kind {
                SETTINGS => frame(
                    kind,
                    flags & ACK,
                    stream,
                    if flags & ACK == 0 {
                        &[0, 1, 0, 0, 0, 0]
                    } else {
                        &[]
                    },
                ),
                HEADERS if flags & 2 == 0 => get(stream, flags & END_STREAM),
                HEADERS if flags & 16 == 0 => answer(stream, flags & END_STREAM, "200"),
                _ => frame(kind, flags, stream, &payload),
            }
        },
    );
    vec(one, 0..30).prop_map(|frames| frames.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// What is said would depend on how the bytes come.
    #[test]
    fn random_cuts_say_the_same(client in frames(), server in frames(), cuts in vec(0..400_usize, 0..8)) {
        let client = [PREFACE.to_vec(), client].concat();
        let server = [frame(SETTINGS, 0, 0, &[]), server].concat();
        let cut = |bytes: &[u8], step: fn(Vec<u8>) -> Step| {
            let mut cuts: Vec<usize> = cuts.iter().map(|at| at % (bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            cuts.windows(2).map(|pair| step(bytes[pair[0]..pair[1]].to_vec())).collect::<Vec<_>>()
        };
        let pieces = [cut(&client, Local), cut(&server, Peer), vec![Ends]].concat();
        let whole = run(true, &[Local(client), Peer(server), Ends]);
        let ends = |said: &[String]| said.iter().filter(|line| !line.contains("gap")).cloned().collect::<Vec<_>>();
        // What follows a fault may be found sooner or later.
        if !whole.iter().any(|line| line.starts_with("Local Some") || line.starts_with("Peer Some")) {
            prop_assert_eq!(ends(&run(true, &pieces)), ends(&whole));
        }
    }

    /// Any bytes, cuts and losses could end the observer.
    #[test]
    fn nothing_panics(how in any::<u8>(), data in vec(any::<u8>(), 0..300), client in frames(), server in frames()) {
        fuzz_http2(&[&[how], &data[..]].concat());
        let mut mixed = vec![how];
        for (number, piece) in client.chunks(50).chain(server.chunks(63)).enumerate() {
            mixed.push((piece.len() as u8) << 2 | number as u8 & 1);
            mixed.extend(piece);
        }
        fuzz_http2(&mixed);
        mixed[0] |= 1;
        fuzz_http2(&mixed);
    }

    /// Random bytes would be taken for HTTP/2.
    #[test]
    fn random_bytes_are_not_recognised(bytes in vec(any::<u8>(), 0..5000)) {
        prop_assert_ne!(Http2::looks_like(&bytes), Some(true));
    }
}
