use std::io::Write;

use proptest::prelude::*;

use super::*;
use crate::proto::Field;
use crate::proto::cuts::{every_way, pieces};

/// Pieces as they are kept for comparing: bytes joined, the others printed.
#[derive(Debug, Default, PartialEq)]
struct Said {
    bytes: Vec<u8>,
    pieces: Vec<String>,
}

impl Said {
    fn take(&mut self, piece: Piece<'_>) {
        match piece {
            Piece::Bytes(bytes) => self.bytes.extend_from_slice(bytes),
            Piece::Sse(event) => self.pieces.push(format!("event {}", event.data)),
            Piece::Line(line) => self
                .pieces
                .push(format!("line {}", String::from_utf8_lossy(line))),
            Piece::Element(one) => {
                self.pieces
                    .push(format!("element {}", String::from_utf8_lossy(one)));
            }
            Piece::Grpc(message) => {
                let (bytes, missing) = (message.bytes.len(), message.missing);
                self.pieces
                    .push(format!("grpc {bytes} B, {missing} missing"));
            }
            Piece::Aws(message) => self.pieces.push(format!("aws {:?}", message.kind())),
            Piece::Fault(fault) => self.pieces.push(format!("fault {}", fault.what)),
            Piece::Gap(bytes) => self.pieces.push(format!("gap {bytes:?}")),
        }
    }
}

fn head(fields: &[(&str, &str)]) -> Fields {
    let fields = fields.iter().map(|(name, value)| Field {
        name: (*name).into(),
        value: Some((*value).into()),
    });
    Fields(fields.collect())
}

fn read(fields: &Fields, several: bool, pieces: &[&[u8]]) -> Said {
    let mut said = Said::default();
    let mut content = Content::new(fields, Limits::default());
    if several {
        content.may_be_several();
    }
    for piece in pieces {
        content.push(piece, &mut |piece| said.take(piece));
    }
    content.finish(true, &mut |piece| said.take(piece));
    assert!(content.framing().is_some() || said.bytes.is_empty());
    said
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn aws() -> Vec<u8> {
    use aws_smithy_types::event_stream::{Header, HeaderValue, Message};
    let kind = HeaderValue::String("messageStart".into());
    let message = Message::new("{}").add_header(Header::new(":event-type", kind));
    let mut bytes = Vec::new();
    aws_smithy_eventstream::frame::write_message_to(&message, &mut bytes).unwrap();
    bytes
}

const EVENTS: &[u8] = b"data: a\n\ndata: b\n\n";

/// Messages of some answer are not told apart, since its type is written otherwise or missing.
#[test]
fn types_and_first_bytes_decide_how_content_is_divided() {
    let aws = aws();
    let cases: [(&str, &[u8], &[&str]); 19] = [
        ("text/event-stream", EVENTS, &["event a", "event b"]),
        (
            "Text/Event-Stream;charset=utf-8",
            EVENTS,
            &["event a", "event b"],
        ),
        ("", EVENTS, &["event a", "event b"]),
        ("text/plain", b"event: x\ndata: a\n\n", &["event a"]),
        ("application/json", EVENTS, &["event a", "event b"]),
        ("text/plain", b": hi\n\ndata: a\n\n", &["event a"]),
        ("text/plain", b"dat", &[]),
        ("text/html", EVENTS, &[]),
        ("application/json", b"{\"data\":1}", &[]),
        (
            "application/x-ndjson",
            b"{\"a\":1}\n{}",
            &["line {\"a\":1}", "line {}"],
        ),
        ("application/stream+json", b"{}\n", &["line {}"]),
        (
            "application/vnd.amazon.eventstream",
            &aws,
            &["aws Some(\"messageStart\")"],
        ),
        ("", &aws, &["aws Some(\"messageStart\")"]),
        (
            "application/octet-stream",
            b"\0\0\0\0\0\0\0\0\0\0\0\0\0",
            &[],
        ),
        (
            "text/event-stream",
            b" {\"error\":{}}",
            &["fault JSON, though its head says that it is a stream of events"],
        ),
        (
            "application/grpc+proto",
            b"\0\0\0\0\x02ab\x01\0\0\0\0",
            &["grpc 2 B, 0 missing", "grpc 0 B, 0 missing"],
        ),
        (
            "application/grpc",
            b"\0\0\0\0\x03ab",
            &["grpc 2 B, 1 missing"],
        ),
        ("application/grpc-web-text", b"AAAAAAJhYg==", &[]),
        (
            "application/grpc",
            b"\0\0\0",
            &["fault the body ends in the middle of a gRPC message's prefix"],
        ),
    ];
    for (name, body, pieces) in cases {
        let fields = match name {
            "" => head(&[]),
            name => head(&[("content-type", name)]),
        };
        let said = every_way(body, |pieces| read(&fields, false, pieces));
        assert_eq!(said.bytes, body, "{name}");
        assert_eq!(said.pieces, pieces, "{name}");
    }
}

/// An error, or a stream under a type that says nothing of it, is told as a broken array because pieces were asked for.
#[test]
fn what_was_asked_for_in_pieces_is_seen_by_its_first_bytes() {
    let events = ["event a", "event b"];
    let cases: [(&str, &[u8], &[&str]); 14] = [
        (
            "application/json",
            b"\n [{\"a\":1},\n{\"b\":2}]",
            &["element {\"a\":1}", "element {\"b\":2}"],
        ),
        (
            "application/json; charset=UTF-8",
            b"{\"error\":{\"message\":\"slow down\"}}",
            &[],
        ),
        (
            "application/json",
            b"{\"choices\":[{\"a\":\"}\\\"\"}]}\n",
            &[],
        ),
        ("application/json", b"{\n  \"error\": 1\n}\n{}\n", &[]),
        ("application/json", b"{\"a\":1} {\"b\":2}", &[]),
        (
            "application/json",
            b"{\"a\":\"{\"}\r\n{\"b\":2}\n",
            &["line {\"a\":\"{\"}", "line {\"b\":2}"],
        ),
        ("text/plain", b"{}\n\n{}", &["line {}", "line {}"]),
        ("", b"{}\n{}\n", &["line {}", "line {}"]),
        ("application/json", EVENTS, &events),
        ("application/json", b"\n\ndata: a\n\ndata: b\n\n", &events),
        (
            "application/json",
            b"\xef\xbb\xbfdata: a\n\ndata: b\n\n",
            &events,
        ),
        ("text/event-stream", EVENTS, &events),
        ("application/json", b"  \n  ", &[]),
        ("application/json", b"Internal Server Error", &[]),
    ];
    for (name, body, pieces) in cases {
        let fields = match name {
            "" => head(&[]),
            name => head(&[("content-type", name)]),
        };
        let said = every_way(body, |pieces| read(&fields, true, pieces));
        assert_eq!(said.bytes, body, "{name}");
        assert_eq!(said.pieces, pieces, "{name} {body:?}");
    }
}

/// White space that keeps a connection alive, or a first line without an end, takes memory without an end.
#[test]
fn a_first_value_is_not_kept_for_long() {
    let json = head(&[("content-type", "application/json")]);
    let mut content = Content::new(&json, Limits::default());
    content.may_be_several();
    for _ in 0..1000 {
        content.push(&[b' '; 1000], &mut |_| ());
    }
    assert_eq!(content.held(), 0);
    content.push(b"{\"a\":\"", &mut |_| ());
    for _ in 0..1000 {
        content.push(&[b'a'; 1000], &mut |_| ());
        assert!(content.held() <= 256 << 10, "{}", content.held());
    }
    assert_eq!(content.framing(), Some(Framing::Whole));
    assert_eq!(content.held(), 0);
}

/// Compressed answers are not told apart.
#[test]
fn coded_content_is_divided() {
    let fields = head(&[
        ("content-type", "text/event-stream"),
        ("content-encoding", "gzip"),
    ]);
    let said = every_way(&gzip(EVENTS), |pieces| read(&fields, false, pieces));
    assert_eq!(
        (said.bytes, said.pieces),
        (EVENTS.into(), vec!["event a".into(), "event b".into()])
    );
    let said = every_way(EVENTS, |pieces| read(&fields, false, pieces));
    let told = "fault not coded, though its head says so";
    assert_eq!(said.pieces, [told, "event a", "event b"]);
}

/// A loss is passed over in silence, or the events behind it are lost as well.
#[test]
fn gaps_are_told_and_passed_where_that_can_be() {
    let gapped = |fields: &[(&str, &str)], left: &[u8], right: &[u8]| {
        let mut said = Said::default();
        let mut content = Content::new(&head(fields), Limits::default());
        content.push(left, &mut |piece| said.take(piece));
        content.gap(Some(7), &mut |piece| said.take(piece));
        content.push(right, &mut |piece| said.take(piece));
        content.finish(true, &mut |piece| said.take(piece));
        said.pieces.retain(|piece| !piece.starts_with("fault"));
        (said, content.undecoded())
    };
    let events = ("content-type", "text/event-stream");
    let (said, undecoded) = gapped(&[events], b"data: a\n\ndata: b", b"c\n\ndata: d\n\n");
    assert_eq!(
        said.pieces,
        ["event a", "event b", "gap Some(7)", "event d"]
    );
    assert_eq!(undecoded, 0);
    let coded = gzip(EVENTS);
    let fields = [events, ("content-encoding", "gzip")];
    let (said, undecoded) = gapped(&fields, &coded[..12], &coded[19..]);
    assert_eq!(said.pieces, ["gap Some(7)"]);
    assert_eq!(undecoded, coded.len() as u64 - 19);
    let (said, _) = gapped(&[], b"", EVENTS);
    assert_eq!(said.pieces, ["gap Some(7)"]);
    assert_eq!(said.bytes, EVENTS);
}

/// A thousand idle connections take megabytes.
#[test]
fn idle_content_is_small() {
    let fields = head(&[
        ("content-type", "text/event-stream"),
        ("content-encoding", "br"),
    ]);
    let mut content = Content::new(&fields, Limits::default());
    assert_eq!(content.held(), 0);
    assert!(size_of::<Content>() <= 256, "{}", size_of::<Content>());
    let fields = head(&[("content-type", "text/event-stream")]);
    content = Content::new(&fields, Limits::default());
    content.push(EVENTS, &mut |_| ());
    assert!(content.held() <= 512, "{}", content.held());
}

/// Windows of many bodies take gigabytes that nobody has counted.
#[test]
fn windows_count() {
    let text: Vec<u8> = (0..3_000_000_u32)
        .flat_map(|n| n.wrapping_mul(0x9e37_79b1).to_be_bytes())
        .collect();
    let mut brotli = ::brotli::CompressorWriter::new(Vec::new(), 4096, 1, 22);
    brotli.write_all(&text).unwrap();
    let mut zstd = ::zstd::Encoder::new(Vec::new(), 1).unwrap();
    zstd.window_log(23).unwrap();
    zstd.write_all(&text).unwrap();
    let cases = [
        ("br", brotli.into_inner(), 4 << 20, 8 << 20),
        ("zstd", zstd.finish().unwrap(), 8 << 20, 12 << 20),
        ("gzip", gzip(&text), 32 << 10, 128 << 10),
    ];
    for (name, coded, least, most) in cases {
        let fields = head(&[("content-encoding", name), ("content-type", "image/png")]);
        let mut content = Content::new(&fields, Limits::default());
        content.push(&coded[..coded.len() - 20], &mut |_| ());
        let held = content.held();
        assert!((least..most).contains(&held), "{name}: {held}");
    }
}

proptest! {
    /// Bytes of a stranger make a decoder panic, or read otherwise in other pieces.
    #[test]
    fn any_bytes_are_read(
        choice in any::<u8>(),
        cut in any::<u8>(),
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut data = vec![choice, cut];
        data.extend(&bytes);
        fuzz_content(&data);
        data.truncate(2);
        data.extend(gzip(&bytes));
        fuzz_content(&data);
    }

    /// Some plain body comes out changed.
    #[test]
    fn bytes_are_always_given(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        name in prop::sample::select(vec!["text/event-stream", "", "text/plain", "application/jsonl"]),
        sizes in prop::collection::vec(1usize..50, 1..9),
        several in any::<bool>(),
    ) {
        let said = read(&head(&[("content-type", name)]), several, &pieces(&bytes, &sizes));
        prop_assert_eq!(said.bytes, bytes);
    }
}
