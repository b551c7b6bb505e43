use std::io::Write;

use flate2::write::GzEncoder;
use flate2::{Compress, Compression, FlushCompress};

use super::*;

const SECRET: &str = concat!("sk-", "ant-api03-Zq8xK2vB7nM4wE9rT1yU6iO3pA5sD0fGhJkL");
const LOCAL: Direction = Direction::Write;
const PEER: Direction = Direction::Read;

/// What passes on one connection, in order.
struct Tape {
    mask: Mask,
    said: Vec<(Direction, Vec<u8>)>,
    ends: [u64; 2],
}

impl Tape {
    fn new() -> Self {
        let redactor = Redactor::new([5; 32]).unwrap();
        Self {
            mask: Mask::new(redactor),
            said: Vec::new(),
            ends: [0; 2],
        }
    }

    fn says(&mut self, direction: Direction, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        let end = &mut self.ends[usize::from(direction == PEER)];
        self.mask.data(ConnId(1), direction, *end, &mut bytes);
        *end += bytes.len() as u64;
        self.said.push((direction, bytes));
    }

    fn in_pieces(&mut self, direction: Direction, bytes: &[u8], size: usize) {
        bytes
            .chunks(size)
            .for_each(|piece| self.says(direction, piece));
    }

    fn end(&self) -> End {
        let mut end = End::default();
        self.mask.tell(&mut end);
        end
    }

    /// All that a reader of the recording can make of it: the bytes, and what is decoded of them.
    fn readable(&self) -> Vec<u8> {
        let mut all = Vec::new();
        let raw = self.said.iter().flat_map(|(_, bytes)| bytes.clone());
        let mut decoder = Connection::new(Limits::default(), true);
        let mut bodies = HashMap::new();
        for (direction, bytes) in &self.said {
            decoder.data(party(*direction), 0, bytes, &mut |item| match item {
                Item::Request { id, head, .. } => {
                    all.extend(format!("{head:?}").bytes());
                    bodies.insert(
                        (id, Side::Request),
                        Decoding::new(&head.fields, Limits::default()),
                    );
                }
                Item::Response { id, head, .. } => {
                    all.extend(format!("{head:?}").bytes());
                    bodies.insert(
                        (id, Side::Response),
                        Decoding::new(&head.fields, Limits::default()),
                    );
                }
                Item::Body {
                    id, side, bytes, ..
                } => {
                    let body = bodies.get_mut(&(id, side)).unwrap();
                    body.push(bytes, &mut |piece| all.extend(piece.unwrap_or_default()));
                }
                Item::WebSocket { message, .. } => all.extend(message.bytes),
                _ => {}
            });
        }
        all.extend(raw);
        all
    }

    /// No eight bytes of the secret in a row, from so many of them on.
    fn assert_kept(&self, from: usize) {
        let all = self.readable();
        for part in SECRET.as_bytes()[from..].windows(8) {
            let place = memchr::memmem::find(&all, part);
            assert_eq!(place, None, "{}", String::from_utf8_lossy(&all));
        }
    }

    fn holds(&self, text: &str) -> bool {
        memchr::memmem::find(&self.readable(), text.as_bytes()).is_some()
    }
}

fn answer(body: &[u8], coding: &str) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-encoding: {coding}\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// With so much around it that it is worth compressing: what is not, stands in the code as it is.
fn told(text: &str) -> String {
    let filling = include_str!("../../stream/mod.rs").get(..3000).unwrap();
    format!("{filling}{text}{filling}")
}

/// Flushed behind each part, as events of a stream are.
fn gzip(parts: &[&str]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    for part in parts {
        encoder.write_all(part.as_bytes()).unwrap();
        encoder.flush().unwrap();
    }
    encoder.finish().unwrap()
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: h\r\n\r\n";

/// A secret in a compressed answer would stand in the file; or answers without one would be spoilt.
#[test]
fn compressed_bodies_end_where_a_secret_is() {
    let filling = "nothing to see here; ".repeat(40);
    let told = told(&format!("the key is {SECRET}, keep it"));
    let harmless = answer(&gzip(&[&filling, "all of it"]), "gzip");
    let secret = answer(
        &gzip(&["first words; ", &filling, &told, "last words"]),
        "gzip",
    );
    for size in [1, 2, 7, 100_000] {
        let mut tape = Tape::new();
        for body in [&harmless, &secret, &harmless] {
            tape.says(LOCAL, GET);
            tape.in_pieces(PEER, body, size);
        }
        // What was written before it was found is there.
        let is_small = size < 100;
        tape.assert_kept(if is_small { 36 } else { 13 });
        assert_eq!(tape.holds("first words"), is_small, "{size}");
        assert_eq!(tape.end().left_out, 1, "{size}");
        assert_eq!(tape.end().unread, 0, "{size}");
        assert!(tape.holds("all of it") && !tape.holds("last words"));
        let said: Vec<u8> = tape.said.into_iter().flat_map(|(_, bytes)| bytes).collect();
        assert!(said.ends_with(&harmless), "the next answer is whole");
    }
}

/// The same of what a client sends, in the other codings.
#[test]
fn every_coding_is_read() {
    let text = told(&format!("{{\"say\": \"{SECRET}\"}}"));
    let mut brotli = Vec::new();
    let mut writer = brotli::CompressorWriter::new(&mut brotli, 4096, 3, 20);
    writer.write_all(text.as_bytes()).unwrap();
    drop(writer);
    let zstd = zstd::bulk::compress(text.as_bytes(), 1).unwrap();
    for (body, coding) in [(gzip(&[&text]), "gzip"), (brotli, "br"), (zstd, "zstd")] {
        let head = format!(
            "POST / HTTP/1.1\r\nhost: h\r\ncontent-encoding: {coding}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let mut tape = Tape::new();
        tape.says(LOCAL, head.as_bytes());
        tape.says(LOCAL, &body);
        tape.assert_kept(13);
        assert_eq!(tape.end().left_out, 1, "{coding}");
    }
}

fn frame(first: u8, payload: &[u8], mask: Option<[u8; 4]>) -> Vec<u8> {
    let has_mask = if mask.is_some() { 0x80 } else { 0 };
    let mut frame = vec![first];
    match payload.len() {
        len @ ..=125 => frame.push(len as u8 | has_mask),
        len => {
            frame.push(126 | has_mask);
            frame.extend((len as u16).to_be_bytes());
        }
    }
    frame.extend(mask.iter().flatten());
    let key = mask.unwrap_or_default();
    frame.extend(
        payload
            .iter()
            .zip(key.iter().cycle())
            .map(|(byte, key)| byte ^ key),
    );
    frame
}

fn compressed(stream: &mut Compress, text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() * 2 + 100);
    stream
        .compress_vec(text.as_bytes(), &mut out, FlushCompress::Sync)
        .unwrap();
    out.truncate(out.len() - 4);
    out
}

const UPGRADE: &[u8] = b"GET /v1 HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
    sec-websocket-key: x\r\nsec-websocket-version: 13\r\nsec-websocket-extensions: permessage-deflate\r\n\r\n";

fn switching(extensions: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n{extensions}\r\n"
    )
    .into_bytes()
}

const KEY: Option<[u8; 4]> = Some([0xa1, 0x07, 0x33, 0xfe]);

/// What a client says over a WebSocket stands in the file under a key that stands beside it.
#[test]
fn secrets_under_a_mask_are_masked() {
    let told = format!("{{\"type\": \"auth\", \"say\": \"{SECRET}\", \"more\": true}}");
    let (first, second) = told.split_at(40);
    let frames = [
        frame(0x81, b"hello there", KEY),
        frame(0x81, told.as_bytes(), KEY),
        frame(0x01, first.as_bytes(), KEY),
        frame(0x89, b"ping", KEY),
        frame(0x80, second.as_bytes(), Some([9, 8, 7, 6])),
        frame(0x81, b"goodbye", KEY),
    ]
    .concat();
    for size in [100_000, 64, 1000] {
        let mut tape = Tape::new();
        tape.says(LOCAL, UPGRADE);
        // The server's first word comes with its answer.
        tape.says(
            PEER,
            &[switching(""), frame(0x81, b"welcome", None)].concat(),
        );
        tape.in_pieces(LOCAL, &frames, size);
        for text in ["hello there", "welcome", "goodbye", "\"more\": true"] {
            assert!(tape.holds(text), "{size}: {text}");
        }
        if size > 64 {
            assert!(tape.holds("<redacted:"));
            tape.assert_kept(13);
        }
        assert!(!tape.holds(SECRET));
        assert_eq!((tape.end().left_out, tape.end().unread), (0, 0));
    }
}

/// The same of compressed messages, which are left out; those before, and those behind with a window of their own, stay.
#[test]
fn secrets_in_compressed_messages_are_left_out() {
    let told = told(&format!("{{\"say\": \"{SECRET}\"}}"));
    let says = |direction| {
        let mask = if direction == LOCAL { KEY } else { None };
        let mut frames = Vec::new();
        for text in ["{\"say\": \"hello\"}", &told, "{\"say\": \"goodbye\"}"] {
            let mut stream = Compress::new(Compression::default(), false);
            frames.extend(frame(0xc1, &compressed(&mut stream, text), mask));
        }
        frames
    };
    let extensions = "sec-websocket-extensions: permessage-deflate; server_no_context_takeover; client_no_context_takeover\r\n";
    for direction in [LOCAL, PEER] {
        let mut tape = Tape::new();
        tape.says(LOCAL, UPGRADE);
        tape.says(PEER, &switching(extensions));
        tape.says(direction, &says(direction));
        tape.assert_kept(13);
        assert!(tape.holds("hello") && tape.holds("goodbye"));
        assert_eq!((tape.end().left_out, tape.end().unread), (1, 0));
    }
}

/// Where nobody knows how a WebSocket goes on, secrets may stand in the file: that is told.
#[test]
fn what_cannot_be_read_is_counted() {
    let mut tape = Tape::new();
    tape.says(LOCAL, UPGRADE);
    tape.says(PEER, &switching(""));
    tape.says(LOCAL, &frame(0x81, b"hello there", KEY));
    tape.ends[0] += 10;
    tape.says(LOCAL, &frame(0x81, b"hello again", KEY));
    assert_eq!(tape.end().unread, 1);
}

/// Memory would grow with each connection that ends.
#[test]
fn ended_connections_are_forgotten() {
    let mut tape = Tape::new();
    tape.says(LOCAL, GET);
    tape.says(PEER, &answer(&gzip(&["text"]), "gzip")[..100]);
    assert_eq!(tape.mask.conns.len(), 1);
    tape.mask.forget(ConnId(1));
    assert!(tape.mask.conns.is_empty());
}
