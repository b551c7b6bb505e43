//! What a recording's writer changes where it lies: header blocks of HTTP/2 and masked frames of WebSockets. Whoever decodes
//! it afterwards finds the same as before, but for what was changed.

use agentsight::proto::http2::{Http2, Literals};
use agentsight::proto::item::WebSocketKind;
use agentsight::proto::websocket::{Deflate, Part, Payloads, WebSocket};
use agentsight::proto::{Decoder, ExchangeId, Fields, Item, Limits, Outcome, Party};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// A piece of no bytes is a gap.
const GAP: &[u8] = &[];

/// Options (1: from the beginning), then pieces, each with its length. Values that are words become stars.
pub fn literals(data: &[u8]) {
    let Some((options, rest)) = data.split_first() else {
        return;
    };
    let from_start = options & 1 != 0;
    let mut pieces: Vec<Vec<u8>> = cut(rest);
    if from_start {
        pieces.insert(0, PREFACE.to_vec());
    }
    let mut literals = Literals::default();
    let mut changed = pieces.clone();
    for piece in &mut changed {
        if piece == GAP {
            literals.gap();
        }
        let len = piece.len();
        literals.push(piece, &mut |_, value| *value = starred(value));
        assert_eq!(piece.len(), len);
        assert!(literals.held() < 1 << 20);
    }
    // Where nobody saw the beginning, both guess where frames begin, each for itself.
    if from_start {
        let [before, after] = [&pieces, &changed].map(|pieces| {
            let limits = Limits::default();
            heard(&mut Http2::new(limits, true), pieces, Party::Local)
        });
        compare(&before, &after);
    }
}

/// As the redactor changes what it finds: as many characters, none of them longer.
fn starred(value: &str) -> String {
    let is_word = value.len() >= 4 && value.bytes().all(|byte| byte.is_ascii_lowercase());
    match is_word {
        true => "*".repeat(value.len()),
        false => value.to_owned(),
    }
}

fn cut(mut rest: &[u8]) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    while let Some((len, behind)) = rest.split_first() {
        let piece = behind.split_at_checked(usize::from(*len));
        let (piece, behind) = piece.unwrap_or((behind, &[]));
        pieces.push(piece.to_vec());
        rest = behind;
    }
    pieces
}

/// What a decoder tells.
#[derive(Debug, PartialEq)]
enum Heard {
    Head(ExchangeId, Vec<(String, Option<String>)>),
    Body(ExchangeId, Vec<u8>),
    End(ExchangeId),
    Message(WebSocketKind, Vec<u8>),
    /// From here on nothing is sure.
    Trouble,
}

fn heard(decoder: &mut dyn Decoder, pieces: &[Vec<u8>], from: Party) -> Vec<Heard> {
    let mut all = Vec::new();
    for piece in pieces {
        let mut out = |item: Item<'_>| all.push(Heard::of(item));
        match piece.as_slice() {
            GAP => decoder.gap(from, 0, None, &mut out),
            piece => decoder.data(from, 0, piece, &mut out),
        }
    }
    all
}

impl Heard {
    fn of(item: Item<'_>) -> Self {
        match item {
            Item::Request { id, head, .. } => {
                let named = [("path", head.target), ("method", head.method)];
                let named = named.map(|(name, value)| (name.to_owned(), value));
                Self::Head(id, named.into_iter().chain(pairs(head.fields)).collect())
            }
            Item::Response { id, head, .. } => Self::Head(id, pairs(head.fields).collect()),
            Item::Trailers { id, fields, .. } => Self::Head(id, pairs(fields).collect()),
            Item::Body { id, bytes, .. } => Self::Body(id, bytes.to_vec()),
            Item::End {
                id,
                outcome: Outcome::Complete,
                ..
            } => Self::End(id),
            Item::WebSocket { message, .. } if message.missing.is_none() => {
                Self::Message(message.kind, message.bytes.to_vec())
            }
            _ => Self::Trouble,
        }
    }
}

fn pairs(fields: Fields) -> impl Iterator<Item = (String, Option<String>)> {
    fields.0.into_iter().map(|field| (field.name, field.value))
}

/// Up to the first trouble, all is the same but for stars.
fn compare(before: &[Heard], after: &[Heard]) {
    for (n, heard) in before.iter().enumerate() {
        match (heard, after.get(n)) {
            (Heard::Trouble, _) => return,
            (Heard::Head(id, fields), Some(Heard::Head(other, changed))) => {
                assert_eq!((id, fields.len()), (other, changed.len()));
                for (one, other) in fields.iter().zip(changed) {
                    assert_eq!(one.0, other.0, "a name was changed");
                    let is_starred = other.1.as_deref().is_some_and(|text| text.contains('*'));
                    assert!(one.1 == other.1 || is_starred, "{one:?} became {other:?}");
                    // What gets longer takes more of the table, and drops others out of it.
                    let len = |text: &Option<String>| text.as_ref().map_or(0, String::len);
                    if len(&other.1) > len(&one.1) {
                        return;
                    }
                }
            }
            (one, other) => assert_eq!(Some(one), other),
        }
    }
}

/// Options (1: by the client, 2: not compressed, 4 and 8: windows of their own), then pieces, each with its length. Stars
/// take the place of each `s` that is under a mask, and what is compressed and has a `z` is left out.
pub fn payload(data: &[u8]) {
    let Some((options, rest)) = data.split_first() else {
        return;
    };
    let is_client = options & 1 != 0;
    let deflate = (options & 2 == 0).then_some(Deflate {
        server_no_context_takeover: options & 4 != 0,
        client_no_context_takeover: options & 8 != 0,
    });
    let pieces = cut(rest);
    let mut changed = pieces.clone();
    let mut payloads = Payloads::new(is_client, deflate, Limits::default());
    let (mut is_lost, mut left_out, mut open) = (false, 0, 0);
    for (piece, before) in changed.iter_mut().zip(&pieces) {
        if piece == GAP {
            payloads.gap();
        }
        payloads.push(piece, &mut |part| match part {
            Part::Open(bytes) => {
                open += bytes.iter().filter(|byte| **byte == b's').count();
                bytes.iter_mut().for_each(|byte| *byte = star(*byte));
                true
            }
            Part::Inflated(bytes) => !bytes.contains(&b'z'),
        });
        assert_eq!(piece.len(), before.len());
        left_out += payloads.take_left_out();
        is_lost |= payloads.is_lost();
    }
    assert!(
        open + left_out as usize > 0 || changed == pieces,
        "changed for nothing"
    );
    if !is_lost && left_out == 0 {
        let from = if is_client { Party::Local } else { Party::Peer };
        let [before, after] = [&pieces, &changed].map(|pieces| {
            let id = ExchangeId(1);
            heard(
                &mut WebSocket::new(Limits::default(), id, Party::Local, deflate),
                pieces,
                from,
            )
        });
        compare_messages(&before, &after);
    }
}

fn star(byte: u8) -> u8 {
    if byte == b's' { b'*' } else { byte }
}

fn compare_messages(before: &[Heard], after: &[Heard]) {
    assert_eq!(before.len(), after.len());
    for (before, after) in before.iter().zip(after) {
        match (before, after) {
            (Heard::Message(kind, bytes), Heard::Message(other, changed)) => {
                assert_eq!(kind, other);
                let starred: Vec<u8> = bytes.iter().map(|byte| star(*byte)).collect();
                assert!(
                    changed == bytes || *changed == starred,
                    "{bytes:?} became {changed:?}"
                );
            }
            (one, other) => assert_eq!(one, other),
        }
    }
}
