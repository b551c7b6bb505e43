//! What ends a stream or makes something else of it: resets, GOAWAY, CONNECT, push.

use super::*;

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
        frame(DATA, 0, 1, b"\x81\x02ws"),
    ];
    let said = after_start(&[Local(client.concat()), Peer(server.concat())]);
    let expected = [
        "1 Local CONNECT /chat",
        "2 Local CONNECT h:443",
        "1 Peer 200",
        "1 upgraded websocket",
        "2 Peer 502",
        "1 Peer Text ws None",
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

/// Calls over a WebSocket on a stream are not seen, or those of two streams are mixed.
#[test]
fn websockets_on_streams_are_read() {
    let asks = |stream| {
        let fields = [
            (":method", "CONNECT"),
            (":protocol", "websocket"),
            (":scheme", "https"),
            (":path", "/chat"),
            (":authority", "h"),
        ];
        frame(HEADERS, END_HEADERS, stream, &block(&fields))
    };
    let agrees = block(&[
        (":status", "200"),
        ("sec-websocket-extensions", "permessage-deflate"),
    ]);
    let agrees = frame(HEADERS, END_HEADERS, 3, &agrees);
    // RFC 7692 section 7.2.3.1.
    let hello = b"\xc1\x07\xf2\x48\xcd\xc9\xc9\x07\x00";
    let masked = b"\x81\x82\x01\x02\x03\x04ik";
    let steps = [
        Local([asks(1), asks(3)].concat()),
        Peer([answer(1, 0, "200"), agrees].concat()),
        Peer(
            [
                frame(DATA, 0, 1, b"\x01\x02a"),
                padded(DATA, 0, 3, hello, 3),
            ]
            .concat(),
        ),
        Local([frame(DATA, 0, 1, &masked[..5]), frame(DATA, 0, 3, masked)].concat()),
        Local(frame(DATA, END_STREAM, 1, &masked[5..])),
        Peer(
            [
                frame(DATA, END_STREAM, 1, b"b\x80\x01c"),
                frame(DATA, 0, 3, b"\x81\x05ab"),
            ]
            .concat(),
        ),
        Peer(frame(RST_STREAM, 0, 3, &[0, 0, 0, 8])),
    ];
    let steps = [&start()[..], &steps, &[Ends]].concat();
    let expected = [
        "1 Local CONNECT /chat",
        "2 Local CONNECT /chat",
        "1 Peer 200",
        "1 upgraded websocket",
        "2 Peer 200 sec-websocket-extensions=permessage-deflate",
        "2 upgraded websocket",
        "2 Peer Text Hello None",
        "2 Local Text hi None",
        "1 Local Text hi None",
        "1 Request Complete",
        "1 Peer Text abc None",
        "1 Response Complete",
        "2 Request Reset(8)",
        "2 Peer Text ab Some(None)",
        "2 Response Reset(8)",
    ];
    for piece in 1..60 {
        let mut decoder = Http2::new(Limits::default(), true);
        let said = run_into(&mut decoder, &steps, piece);
        assert_eq!(said, expected, "in pieces of {piece}");
        assert!(decoder.held() < 4096, "{}", decoder.held());
    }
}
