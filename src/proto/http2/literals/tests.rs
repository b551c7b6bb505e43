use loona_hpack::Decoder as Oracle;
use proptest::collection::vec;
use proptest::prelude::*;

use super::super::frame::DATA;
use super::*;

const SECRET: &str = concat!("Bearer sk-", "ant-api03-Zq8xK2vB7nM4wE9rT1yU6iO3pA5sD0fG");

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

fn string(out: &mut Vec<u8>, text: &str, is_huffman: bool) {
    let coded = match is_huffman {
        true => huffman::encode(text.bytes()),
        false => text.as_bytes().to_vec(),
    };
    let mark = if is_huffman { 0x80 } else { 0 };
    match coded.len() {
        len @ ..127 => out.push(mark | len as u8),
        len @ 127.. => out.extend([mark | 127, (len - 127) as u8]),
    }
    out.extend(coded);
}

/// Literals with new names; `first` says what they do to the table.
fn literals(first: u8, fields: &[(&str, &str)], is_huffman: bool) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(first);
        string(&mut block, name, is_huffman);
        string(&mut block, value, is_huffman);
    }
    block
}

const FIELDS: [(&str, &str); 4] = [
    (":path", "/v1/messages"),
    ("authorization", SECRET),
    ("x-trace", "a*b{|}"),
    ("accept", "*/*"),
];

/// A client that says the same twice: the second time by index, with a name by index for the secret, in two frames.
fn client(is_huffman: bool) -> Vec<u8> {
    let mut bytes = PREFACE.to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    let block = literals(0x40, &FIELDS, is_huffman);
    bytes.extend(frame(HEADERS, END_HEADERS, 1, &block));
    bytes.extend(frame(DATA, 1, 1, b"a body"));
    // The newest entry is 62.
    let mut block = vec![0x80 | 65, 0x80 | 64, 0x10 | 0xf, (64 - 15) as u8];
    string(&mut block, SECRET, is_huffman);
    let (first, second) = block.split_at(20);
    let mut padded = vec![3, 0, 0, 0, 0, 16];
    padded.extend(first);
    padded.extend([0; 3]);
    bytes.extend(frame(HEADERS, PADDED | WITH_PRIORITY, 3, &padded));
    bytes.extend(frame(CONTINUATION, END_HEADERS, 3, second));
    bytes
}

/// As the redactor does it: the scheme stays, then a tag, then stars.
fn mask(name: Option<&str>, value: &mut String) {
    if name == Some("authorization") {
        let stars = "*".repeat(value.len() - 26);
        *value = format!("Bearer <redacted:1a2b3c4d>{stars}");
    }
}

/// The fields that an independent decoder finds.
fn fields(bytes: &[u8]) -> Vec<(String, String)> {
    let mut oracle = Oracle::new();
    let (mut at, mut block, mut all) = (PREFACE.len(), Vec::new(), Vec::new());
    while let Some(header) = Header::parse(&bytes[at..]) {
        let payload = &bytes[at + HEADER..][..header.length()];
        at += HEADER + header.length();
        match header.kind {
            HEADERS if header.has(PADDED) => block.extend(&payload[6..payload.len() - 3]),
            HEADERS | CONTINUATION => block.extend(payload),
            _ => continue,
        }
        if header.has(END_HEADERS) {
            let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
            let decoded = oracle.decode(&std::mem::take(&mut block)).unwrap();
            all.extend(
                decoded
                    .into_iter()
                    .map(|(name, value)| (text(name), text(value))),
            );
        }
    }
    all
}

/// A key that HPACK has coded would stand in the file, or what stands beside it would be spoilt.
#[test]
fn secrets_are_masked_where_they_lie() {
    for is_huffman in [false, true] {
        let whole = client(is_huffman);
        let mut bytes = whole.clone();
        let mut literals = Literals::default();
        literals.push(&mut bytes, &mut mask);
        assert!(!literals.is_lost());
        assert_eq!(bytes.len(), whole.len());
        let (before, after) = (fields(&whole), fields(&bytes));
        assert_eq!(before.len(), 7);
        for (before, after) in before.iter().zip(&after) {
            assert_eq!(before.0, after.0);
            if before.0 != "authorization" {
                assert_eq!(before.1, after.1);
                continue;
            }
            assert_eq!(before.1, SECRET);
            let stars = after.1.strip_prefix("Bearer <redacted:1a2b3c4d>").unwrap();
            assert!(stars.bytes().all(|byte| byte == b'*'), "{stars}");
        }
    }
}

/// The same, wherever a header block is cut: a value that does not end with its piece is masked as a whole, since the piece
/// is written before the rest is known; everything else stays.
#[test]
fn secrets_are_masked_wherever_they_are_cut() {
    for is_huffman in [false, true] {
        let whole = client(is_huffman);
        let before = fields(&whole);
        for cut in 1..whole.len() {
            let mut bytes = whole.clone();
            let (first, second) = bytes.split_at_mut(cut);
            let mut literals = Literals::default();
            literals.push(first, &mut mask);
            // Only a preface that is whole is one.
            if cut < PREFACE.len() {
                continue;
            }
            literals.push(second, &mut mask);
            let after = fields(&bytes);
            let mut spoilt = 0;
            for (before, after) in before.iter().zip(&after) {
                let is_stars = after.1.bytes().all(|byte| byte == b'*');
                assert!(
                    before.0 == after.0 && !after.1.contains("sk-ant"),
                    "{cut}: {after:?}"
                );
                spoilt += usize::from(before.1 != after.1 && before.0 != "authorization");
                assert!(before.1 == after.1 || is_stars || before.0 == "authorization");
            }
            assert_eq!(after.len(), before.len());
            // The one that is cut, and where the table repeats it.
            assert!(spoilt <= 2, "{cut}: {after:?}");
        }
    }
}

/// On a connection that was joined late, a name of which only the index is known may be that of a key.
#[test]
fn unknown_names_are_told_as_such() {
    let mut block = vec![0x40 | 62];
    string(&mut block, SECRET, true);
    let mut bytes = frame(HEADERS, END_HEADERS, 5, &block);
    let mut names = Vec::new();
    Literals::default().push(&mut bytes, &mut |name, value| {
        names.push((name.map(str::to_owned), value.clone()));
    });
    assert_eq!(names, [(None, SECRET.to_owned())]);
}

/// What is no HTTP/2, or no more, would be changed.
#[test]
fn nothing_else_is_changed() {
    for text in ["GET / HTTP/1.1\r\n\r\n", "{\"a\": 1}", "\0\0\0", ""] {
        let mut bytes = text.as_bytes().to_vec();
        let mut literals = Literals::default();
        literals.push(&mut bytes, &mut |_, _| panic!("{text}"));
        assert!(literals.is_lost() && bytes == text.as_bytes());
    }
    let whole = client(true);
    let mut literals = Literals::default();
    let (front, rest) = whole.split_at(60);
    literals.push(&mut front.to_vec(), &mut |_, value| {
        value.make_ascii_uppercase()
    });
    literals.gap();
    assert!(literals.is_lost());
    let mut bytes = rest[7..].to_vec();
    literals.push(&mut bytes, &mut |_, _| panic!("in the middle"));
    assert_eq!(bytes, rest[7..]);
}

proptest! {
    /// Text would come out of the code as another one.
    #[test]
    fn what_is_encoded_decodes(text in vec(any::<u8>(), 0..200)) {
        let coded = huffman::encode(text.iter().copied());
        prop_assert_eq!(coded.len(), huffman::encoded_len(text.iter().copied()));
        let mut plain = Vec::new();
        prop_assert!(huffman::decode(&coded, &mut plain).is_some());
        prop_assert_eq!(plain, text);
    }

    /// Hostile bytes would end the recorder.
    #[test]
    fn any_bytes_are_survived(
        bytes in vec(any::<u8>(), 0..300), at in any::<prop::sample::Index>(), cut in any::<prop::sample::Index>(),
        is_client in any::<bool>()
    ) {
        let mut whole = if is_client { client(true) } else { Vec::new() };
        let at = at.index(whole.len() + 1);
        whole.splice(at.min(whole.len()).., bytes);
        let len = whole.len();
        let (first, second) = whole.split_at_mut(cut.index(len + 1));
        let mut literals = Literals::default();
        for part in [first, second] {
            literals.push(part, &mut |_, value| *value = "*".repeat(value.len()));
        }
        prop_assert!(literals.held() < 256 << 10);
    }
}
