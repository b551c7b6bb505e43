use flate2::{Compress, Compression, FlushCompress};
use proptest::prelude::*;

use super::*;
use crate::proto::Item;
use crate::proto::conversation::{Act, client, closed, every_split, server, tell};
use crate::proto::item::WebSocketKind;

const TAKEOVER: Deflate = Deflate {
    server_no_context_takeover: false,
    client_no_context_takeover: false,
};
const NO_TAKEOVER: Deflate = Deflate {
    server_no_context_takeover: true,
    client_no_context_takeover: true,
};

fn make(client: Party, deflate: Option<Deflate>) -> Box<dyn Decoder> {
    make_with(Limits::default(), client, deflate)
}

fn make_with(limits: Limits, client: Party, deflate: Option<Deflate>) -> Box<dyn Decoder> {
    Box::new(WebSocket::new(limits, ExchangeId(1), client, deflate))
}

fn says(acts: Vec<Act>) -> Vec<Act> {
    acts.into_iter().chain(closed()).collect()
}

/// A frame; `first` is its first byte.
fn frame(first: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let has_mask = if mask.is_some() { 0x80 } else { 0 };
    let mut frame = vec![first];
    match payload.len() {
        len @ ..=125 => frame.push(len as u8 | has_mask),
        len @ ..=65535 => {
            frame.push(126 | has_mask);
            frame.extend((len as u16).to_be_bytes());
        }
        len => {
            frame.push(127 | has_mask);
            frame.extend((len as u64).to_be_bytes());
        }
    }
    frame.extend(mask.unwrap_or_default().iter().filter(|_| mask.is_some()));
    let mask = mask.unwrap_or_default();
    frame.extend(
        payload
            .iter()
            .zip(mask.iter().cycle())
            .map(|(byte, key)| byte ^ key),
    );
    frame
}

const MASK: Option<[u8; 4]> = Some([0xa1, 0x07, 0x33, 0xfe]);

/// A message as RFC 7692 section 7.2.1 makes it.
fn compressed(stream: &mut Compress, text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() * 2 + 100);
    stream
        .compress_vec(text, &mut out, FlushCompress::Sync)
        .unwrap();
    assert!(out.ends_with(&[0, 0, 0xff, 0xff]));
    out.truncate(out.len() - 4);
    out
}

/// A message is told differently, depending on how it was cut into frames or reads.
#[test]
fn every_split_tells_the_same() {
    let long = "0123456789".repeat(20);
    let from_client = [
        frame(0x01, b"he", MASK),
        frame(0x89, b"are you there", MASK),
        frame(0x00, b"", MASK),
        frame(0x80, b"llo", MASK),
        frame(0x82, long.as_bytes(), MASK),
        frame(0x81, b"", MASK),
        frame(0x88, b"\x03\xe8bye", MASK),
    ];
    let from_server = [
        frame(0x81, long.as_bytes(), None),
        frame(0x8a, b"yes", None),
        frame(0x02, b"ab", None),
        frame(0x80, b"c", None),
        frame(0x88, b"", None),
    ];
    let acts = says(vec![
        client(from_client.concat()),
        server(from_server.concat()),
    ]);
    let told = every_split(&acts, |party| make(party, None));
    let expected = [
        "1 Local Ping are you there",
        "1 Local Text hello",
        &format!("1 Local Binary {long}"),
        "1 Local Text ",
        "1 Local Close(Some(1000)) bye",
        &format!("1 Peer Text {long}"),
        "1 Peer Pong yes",
        "1 Peer Binary abc",
        "1 Peer Close(None) ",
    ];
    assert_eq!(told.lines, expected);
}

/// Compressed messages, which most clients of models send, are garbage from the second on.
#[test]
fn compression_is_undone() {
    let texts = [
        "{\"type\":\"response.create\"}",
        "{\"type\":\"response.create\"}",
        "x",
    ];
    for deflate in [TAKEOVER, NO_TAKEOVER] {
        let mut stream = Compress::new(Compression::best(), false);
        let mut bytes = Vec::new();
        for text in texts {
            if deflate == NO_TAKEOVER {
                stream.reset();
            }
            let payload = compressed(&mut stream, text.as_bytes());
            let (a, b) = payload.split_at(payload.len() / 2);
            bytes.extend(frame(0x41, a, MASK));
            bytes.extend(frame(0x89, b"p", MASK));
            bytes.extend(frame(0x80, b, MASK));
            bytes.extend(frame(0x81, b"not compressed", MASK));
        }
        let told = every_split(&says(vec![client(bytes)]), |party| {
            make(party, Some(deflate))
        });
        let expected = texts.iter().flat_map(|text| {
            [
                "1 Local Ping p".to_owned(),
                format!("1 Local Text {text}"),
                "1 Local Text not compressed".to_owned(),
            ]
        });
        assert_eq!(told.lines, expected.collect::<Vec<_>>());
    }
}

/// A message whose compression ends with a last block (RFC 7692 section 7.2.3.4) cannot be read.
#[test]
fn last_blocks_are_read() {
    let mut stream = Compress::new(Compression::best(), false);
    let mut payload = Vec::with_capacity(100);
    stream
        .compress_vec(b"hello", &mut payload, FlushCompress::Finish)
        .unwrap();
    payload.push(0);
    let bytes = [frame(0xc1, &payload, None), frame(0xc1, &payload, None)].concat();
    let told = every_split(&says(vec![server(bytes)]), |party| {
        make(party, Some(NO_TAKEOVER))
    });
    assert_eq!(told.lines, ["1 Peer Text hello", "1 Peer Text hello"]);
}

/// What the server chose is not understood.
#[test]
fn what_was_agreed_on_is_read() {
    assert_eq!(Deflate::agreed(""), None);
    assert_eq!(Deflate::agreed("x-webkit-deflate-frame"), None);
    assert_eq!(Deflate::agreed("permessage-deflate"), Some(TAKEOVER));
    let no_takeover = "foo, Permessage-Deflate; server_no_context_takeover; \
                       client_no_context_takeover; server_max_window_bits=10";
    assert_eq!(Deflate::agreed(no_takeover), Some(NO_TAKEOVER));
    let one = Deflate::agreed("permessage-deflate; client_no_context_takeover").unwrap();
    assert!(one.client_no_context_takeover && !one.server_no_context_takeover);
}

/// A frame that may not be is read as if it were one, and with it all that follows.
#[test]
fn frames_that_may_not_be_end_it() {
    let cases = [
        ("reserved bit", frame(0xa1, b"ab", MASK)),
        (
            "compression that nobody agreed on",
            frame(0xc1, b"ab", MASK),
        ),
        ("reserved opcode", frame(0x83, b"ab", MASK)),
        ("fragmented control", frame(0x09, b"ab", MASK)),
        ("long control", frame(0x89, &[b'a'; 126], MASK)),
        ("nothing to continue", frame(0x80, b"ab", MASK)),
        ("no mask", frame(0x81, b"ab", None)),
        (
            "length",
            vec![0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        ),
    ];
    for (name, bytes) in cases {
        let count = bytes.len() as u64;
        let all = [
            frame(0x81, b"before", MASK),
            bytes,
            frame(0x81, b"after", MASK),
        ]
        .concat();
        let told = every_split(&says(vec![client(all)]), |party| make(party, None));
        assert_eq!(told.lines, ["1 Local Text before"], "{name}");
        assert_eq!(told.unrecognised, [count + 11, 0], "{name}");
    }
    let inside = [frame(0x01, b"a", MASK), frame(0x81, b"b", MASK)].concat();
    let told = every_split(&says(vec![client(inside)]), |party| make(party, None));
    assert_eq!(told.lines, ["1 Local Text a missing None"]);
}

/// Lost bytes of a message go untold, or end what could go on.
#[test]
fn gaps_inside_payloads_are_counted() {
    let bytes = frame(0x81, b"0123456789", MASK);
    let acts = [
        client(&bytes[..8]),
        Act::Loses(Party::Local, Some(5)),
        client(&bytes[13..]),
        client(frame(0x81, b"next", MASK)),
    ];
    let told = every_split(&says(acts.to_vec()), |party| make(party, None));
    assert_eq!(
        told.lines,
        ["1 Local Text 01789 missing Some(5)", "1 Local Text next"]
    );

    for lost in [Some(9), None] {
        let acts = [
            client(&bytes[..8]),
            Act::Loses(Party::Local, lost),
            client(frame(0x81, b"next", MASK)),
        ];
        let told = tell(&mut *make(Party::Local, None), &says(acts.to_vec()));
        assert_eq!(told.lines, ["1 Local Text 01 missing None"]);
        assert_eq!(told.unrecognised[0], lost.unwrap_or(0) + 10);
    }
}

/// One lost message costs all that follow it.
#[test]
fn frames_are_found_behind_a_loss() {
    for (mask, from) in [(MASK, Party::Local), (None, Party::Peer)] {
        let closing = says;
        let says = |bytes: Vec<u8>| Act::Says(from, bytes);
        let long = vec![b'l'; 300];
        let acts = [
            says(frame(0x81, b"before", mask)),
            Act::Loses(from, Some(100)),
            says(b"the rest of a payload, {\"with\": \"text\"}".to_vec()),
            says(frame(0x81, &long, mask)),
            says([frame(0x89, b"", mask), frame(0x01, b"in two ", mask)].concat()),
            says(frame(0x80, b"frames", mask)),
            says([frame(0x81, b"after", mask), frame(0x82, &long, mask)].concat()),
            says(frame(0x81, b"last", mask)),
        ];
        let lost = 39 + frame(0x81, &long, mask).len() + frame(0x89, b"", mask).len();
        let expected = [
            format!("1 {from:?} Text before"),
            format!("1 {from:?} Binary  missing None"),
            format!("1 {from:?} Text in two frames"),
            format!("1 {from:?} Text after"),
            format!("1 {from:?} Binary {}", "l".repeat(300)),
            format!("1 {from:?} Text last"),
        ];
        for size in [usize::MAX, 1, 3] {
            // Where pieces begin counts only up to the first frame.
            let mut cut = acts[..3].to_vec();
            for act in &acts[3..] {
                let Act::Says(_, bytes) = act else { continue };
                cut.extend(bytes.chunks(size).map(|piece| says(piece.to_vec())));
            }
            let told = tell(&mut *make(Party::Local, None), &closing(cut));
            assert_eq!(told.lines, expected, "{size}");
            assert_eq!(
                told.unrecognised[usize::from(from == Party::Peer)],
                100 + lost as u64
            );
        }
    }
}

/// Behind lost messages, one is made up of what another window holds.
#[test]
fn windows_are_lost_with_messages() {
    let mut takes_over = Compress::new(Compression::best(), false);
    let mut frames = Vec::new();
    for text in [&b"hello hello"[..]; 5] {
        frames.push(server(frame(
            0xc1,
            &compressed(&mut takes_over, text),
            None,
        )));
    }
    let mut acts = vec![frames[0].clone(), Act::Loses(Party::Peer, None)];
    acts.extend_from_slice(&frames[2..]);
    acts.push(server(frame(0x81, b"plain", None)));
    let told = tell(
        &mut *make(Party::Local, Some(TAKEOVER)),
        &says(acts.clone()),
    );
    let expected = [
        "1 Peer Text hello hello",
        "1 Peer Binary  missing None",
        "1 Peer Text  missing None",
        "1 Peer Text plain",
    ];
    assert_eq!(told.lines, expected);
    let mut forgets = Vec::new();
    for text in [&b"hello hello"[..]; 5] {
        let mut stream = Compress::new(Compression::best(), false);
        forgets.push(server(frame(0xc1, &compressed(&mut stream, text), None)));
    }
    forgets[1] = Act::Loses(Party::Peer, None);
    let told = tell(&mut *make(Party::Local, Some(NO_TAKEOVER)), &says(forgets));
    assert_eq!(told.lines, [expected[0], expected[1], expected[0]]);
}

/// Random bytes behind a loss are told as messages.
#[test]
fn what_only_looks_like_frames_is_not_believed() {
    let cases: [&[u8]; 4] = [
        b"{\"type\":\"response.output_text.delta\",\"delta\":\"AB\"}",
        // A row that breaks off, one that is too short, lengths that are not the shortest.
        b"\x81\x01a\x81\x01b\x83\x01c\x81\x01d",
        b"\x81\x01a\x81\x01b",
        b"\x81\x7e\x00\x01a\x81\x01b\x81\x01c\x81\x01d",
    ];
    for bytes in cases {
        let acts = vec![Act::Loses(Party::Peer, None), server(bytes)];
        let told = tell(&mut *make(Party::Local, None), &says(acts));
        assert_eq!(told.lines, [""; 0], "{bytes:?}");
        assert_eq!(told.unrecognised[1], bytes.len() as u64);
    }
}

/// After a loss in a compressed message, garbage is told as the next one.
#[test]
fn lost_windows_are_not_made_up() {
    let mut stream = Compress::new(Compression::best(), false);
    let first = frame(0xc1, &compressed(&mut stream, b"hello hello"), MASK);
    let second = frame(0xc1, &compressed(&mut stream, b"hello hello"), MASK);
    let lost = first.len() - 7;
    let acts = [
        client(&first[..7]),
        Act::Loses(Party::Local, Some(lost as u64)),
        client(second),
        client(frame(0x81, b"plain", MASK)),
    ];
    let told = tell(
        &mut *make(Party::Local, Some(TAKEOVER)),
        &says(acts.to_vec()),
    );
    assert_eq!(told.lines.len(), 3, "{:?}", told.lines);
    assert!(
        told.lines[..2]
            .iter()
            .all(|line| line.ends_with("missing None"))
    );
    assert_eq!(told.lines[1], "1 Local Text  missing None");
    assert_eq!(told.lines[2], "1 Local Text plain");
}

/// A message takes all memory.
#[test]
fn messages_have_a_limit() {
    let limits = Limits {
        message: 1000,
        decoded: 100_000,
        ..Limits::default()
    };
    let mut stream = Compress::new(Compression::best(), false);
    let zeros = compressed(&mut stream, &[b'0'; 50_000]);
    let bomb = compressed(&mut stream, &[b'0'; 500_000]);
    let bytes = [
        frame(0x82, &[b'a'; 1500], None),
        frame(0xc1, &zeros, None),
        frame(0xc1, &bomb, None),
    ];
    let mut decoder = make_with(limits, Party::Local, Some(TAKEOVER));
    let mut told = Vec::new();
    decoder.data(Party::Peer, 0, &bytes.concat(), &mut |item| {
        if let Item::WebSocket { message, .. } = item {
            told.push((message.kind, message.bytes.len(), message.missing));
        }
    });
    let expected = [
        (WebSocketKind::Binary, 1000, Some(Some(500))),
        (WebSocketKind::Text, 1000, Some(Some(49_000))),
        (WebSocketKind::Text, 1000, Some(None)),
    ];
    assert_eq!(told, expected);
    assert!(decoder.held() < 50_000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// A hostile peer ends the observer.
    #[test]
    fn arbitrary_bytes_are_survived(data in proptest::collection::vec(any::<u8>(), 0..600)) {
        fuzz_websocket(&data);
    }

    /// As above, with frames that are right but for some bytes.
    #[test]
    fn damaged_frames_are_survived(
        options in 0u8..16,
        frames in proptest::collection::vec((any::<u8>(), 0usize..60), 1..8),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
    ) {
        let mut stream = Compress::new(Compression::fast(), false);
        let mut data = vec![options];
        for (first, len) in frames {
            let text = vec![first; len];
            let payload = if first & 0x40 != 0 { compressed(&mut stream, &text) } else { text };
            let frame = frame(first & 0xc3, &payload, MASK);
            data.extend([8, frame.len() as u8]);
            data.extend(frame);
        }
        for (index, byte) in damage {
            let at = index.index(data.len());
            data[at] = byte;
        }
        fuzz_websocket(&data);
    }

    /// Any messages, cut into any frames, come out as they went in.
    #[test]
    fn messages_come_out_as_they_went_in(
        texts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 1..6),
        cuts in proptest::collection::vec(1usize..80, 1..10),
        is_compressed in any::<bool>(),
    ) {
        let mut stream = Compress::new(Compression::best(), false);
        let mut cuts = cuts.into_iter().cycle();
        let mut bytes = Vec::new();
        for text in &texts {
            let payload = if is_compressed { compressed(&mut stream, text) } else { text.clone() };
            let mut rest = payload.as_slice();
            let mut first = if is_compressed { 0x42 } else { 0x02 };
            loop {
                let (piece, behind) = rest.split_at(cuts.next().unwrap().min(rest.len()));
                let last = if behind.is_empty() { 0x80 } else { 0 };
                bytes.extend(frame(first | last, piece, MASK));
                first = 0;
                rest = behind;
                if rest.is_empty() {
                    break;
                }
            }
        }
        let mut told = Vec::new();
        let mut decoder = make(Party::Local, Some(TAKEOVER));
        for piece in bytes.chunks(cuts.next().unwrap()) {
            decoder.data(Party::Local, 0, piece, &mut |item| {
                if let Item::WebSocket { message, .. } = item {
                    assert_eq!(message.missing, None);
                    told.push(message.bytes.to_vec());
                }
            });
        }
        prop_assert_eq!(told, texts);
    }
}
