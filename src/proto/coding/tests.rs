use std::io::Write;

use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use flate2::{Compression, GzBuilder};
use proptest::prelude::*;

use super::*;
use crate::proto::Field;
use crate::proto::cuts::{every_way, pieces};

/// What a coding is called, and how a real encoder does it: of texts that are flushed one by one.
type Coder = (&'static str, fn(&[&[u8]]) -> Vec<Vec<u8>>);

const CODERS: &[Coder] = &[
    ("gzip", |texts| {
        flushed(
            GzEncoder::new(Vec::new(), Compression::default()),
            texts,
            |it| {
                it.try_finish().unwrap();
                it.get_ref().clone()
            },
            |it| it.get_ref().len(),
        )
    }),
    ("deflate", |texts| {
        flushed(
            ZlibEncoder::new(Vec::new(), Compression::default()),
            texts,
            |it| {
                it.try_finish().unwrap();
                it.get_ref().clone()
            },
            |it| it.get_ref().len(),
        )
    }),
    ("Deflate", |texts| {
        flushed(
            DeflateEncoder::new(Vec::new(), Compression::default()),
            texts,
            |it| {
                it.try_finish().unwrap();
                it.get_ref().clone()
            },
            |it| it.get_ref().len(),
        )
    }),
    ("br", brotli_encoded),
    ("zstd", |texts| {
        let mut encoder = ::zstd::Encoder::new(Vec::new(), 3).unwrap();
        encoder.include_checksum(true).unwrap();
        flushed(
            encoder,
            texts,
            |it| {
                it.do_finish().unwrap();
                it.get_ref().clone()
            },
            |it| it.get_ref().len(),
        )
    }),
];

/// The pieces that an encoder gives: one for each text, and what ends them.
fn flushed<E: Write>(
    mut encoder: E,
    texts: &[&[u8]],
    finish: impl Fn(&mut E) -> Vec<u8>,
    len: impl Fn(&E) -> usize,
) -> Vec<Vec<u8>> {
    let mut ends = vec![0];
    for text in texts {
        encoder.write_all(text).unwrap();
        encoder.flush().unwrap();
        ends.push(len(&encoder));
    }
    let all = finish(&mut encoder);
    ends.push(all.len());
    ends.windows(2)
        .map(|pair| all[pair[0]..pair[1]].to_vec())
        .collect()
}

fn brotli_encoded(texts: &[&[u8]]) -> Vec<Vec<u8>> {
    let mut encoder = ::brotli::CompressorWriter::new(Vec::new(), 4096, 5, 22);
    let mut ends = vec![0];
    for text in texts {
        encoder.write_all(text).unwrap();
        encoder.flush().unwrap();
        ends.push(encoder.get_ref().len());
    }
    let all = encoder.into_inner();
    ends.push(all.len());
    ends.windows(2)
        .map(|pair| all[pair[0]..pair[1]].to_vec())
        .collect()
}

fn encoded(name: &str, text: &[u8]) -> Vec<u8> {
    let (_, coder) = CODERS.iter().find(|(known, _)| *known == name).unwrap();
    coder(&[text]).concat()
}

fn head(coding: &str) -> Fields {
    Fields(vec![Field {
        name: "content-encoding".into(),
        value: Some(coding.into()),
    }])
}

fn decode(coding: &str, limits: Limits, pieces: &[&[u8]]) -> (Vec<u8>, Vec<Fault>) {
    let mut said = (Vec::new(), Vec::new());
    let mut out = |one: Result<&[u8], Fault>| match one {
        Ok(bytes) => said.0.extend_from_slice(bytes),
        Err(fault) => said.1.push(fault),
    };
    let mut decoding = Decoding::new(&head(coding), limits);
    for piece in pieces {
        decoding.push(piece, &mut out);
    }
    decoding.finish(&mut out);
    said
}

fn decoded(coding: &str, bytes: &[u8]) -> (Vec<u8>, Vec<Fault>) {
    decode(coding, Limits::default(), &[bytes])
}

fn text() -> Vec<u8> {
    let words = (0..200).map(|n| format!("data: {{\"delta\":\"word {}\"}}\n\n", n * n % 71));
    words.collect::<String>().into_bytes()
}

/// A body is garbled or cut short, depending on how it came.
#[test]
fn every_coding_is_undone_however_it_is_cut() {
    for (name, _) in CODERS {
        let coded = encoded(name, &text());
        let said = every_way(&coded, |pieces| decode(name, Limits::default(), pieces));
        assert_eq!(said, (text(), vec![]), "{name}");
    }
}

/// A streamed answer is shown only when it is over.
#[test]
fn what_the_sender_flushed_comes_out_at_once() {
    let texts: [&[u8]; 4] = [
        b"data: one\n\n",
        b"data: two\n\n",
        b"data: three\n\n",
        &text(),
    ];
    for (name, coder) in CODERS {
        let mut decoding = Decoding::new(&head(name), Limits::default());
        for (coded, text) in coder(&texts).iter().zip(texts) {
            let mut came = Vec::new();
            decoding.push(coded, &mut |said| came.extend_from_slice(said.unwrap()));
            assert_eq!(came, text, "{name}");
        }
    }
}

/// Codings over one another are undone in the wrong order, or names are not known.
#[test]
fn names_and_chains_are_those_of_the_rfc() {
    let inner = encoded("gzip", &text());
    let chains: [(&str, Vec<u8>); 5] = [
        ("gzip, br", encoded("br", &inner)),
        ("GZIP ,identity, zstd", encoded("zstd", &inner)),
        ("x-gzip", inner.clone()),
        ("identity", text()),
        ("", text()),
    ];
    for (name, coded) in chains {
        assert_eq!(decoded(name, &coded), (text(), vec![]), "{name}");
        let by_bytes: Vec<_> = coded.chunks(1).collect();
        let said = decode(name, Limits::default(), &by_bytes);
        assert_eq!(said, (text(), vec![]), "{name}");
    }
    let two = Fields([head("gzip").0, head("zstd").0].concat());
    assert_eq!(Coding::of(&two), Ok(vec![Coding::Gzip, Coding::Zstd]));
    assert_eq!(decoded("compress", b"x"), (vec![], vec![UNKNOWN]));
    assert_eq!(decoded("br,br,br,br,br", b"x"), (vec![], vec![MANY]));
}

/// Part of what servers send as gzip is lost or refused: members, names, comments, extra fields.
#[test]
fn gzip_may_have_members_and_all_fields() {
    let builder = GzBuilder::new()
        .filename("a.json")
        .comment("c")
        .extra(vec![7; 300]);
    let mut encoder = builder.write(Vec::new(), Compression::fast());
    encoder.write_all(b"one").unwrap();
    let mut coded = encoder.finish().unwrap();
    let plain = encoded("gzip", b"two");
    coded.extend_from_slice(&plain);
    // With a sum over its head (RFC 1952 section 2.3.1, FHCRC).
    let mut summed = plain[..10].to_vec();
    summed[3] |= 2;
    let sum = crc32fast::hash(&summed).to_le_bytes();
    summed.extend_from_slice(&sum[..2]);
    summed.extend_from_slice(&plain[10..]);
    coded.extend_from_slice(&summed);
    let said = every_way(&coded, |pieces| decode("gzip", Limits::default(), pieces));
    assert_eq!(said, (b"onetwotwo".to_vec(), vec![]));
    summed[10] ^= 1;
    assert_eq!(decoded("gzip", &summed), (vec![], vec![SUM_WRONG]));
}

const SUM_WRONG: Fault = fault("the sum of the coded content is wrong");

/// What follows a body unseen is dropped in silence.
#[test]
fn bytes_behind_the_end_are_told() {
    for (name, _) in CODERS {
        let coded = [encoded(name, &text()), b"garbage".to_vec()].concat();
        let said = every_way(&coded, |pieces| decode(name, Limits::default(), pieces));
        assert_eq!(said, (text(), vec![BEHIND]), "{name}");
    }
}

/// A body that was cut off looks complete, or none of it is shown.
#[test]
fn a_cut_body_is_told_and_what_came_is_shown() {
    for (name, _) in CODERS {
        let coded = encoded(name, &text());
        for len in 1..coded.len() {
            let said = decoded(name, &coded[..len]);
            assert!(text().starts_with(&said.0), "{name} {len}");
            // A brotli stream may be over before its last byte.
            let whole = said.0 == text() && said.1.is_empty();
            assert!(
                said.1 == [CUT_OFF] || whole && len + 1 == coded.len(),
                "{name} {len}"
            );
        }
        assert_eq!(decoded(name, b""), (vec![], vec![]));
    }
}

/// Damage goes unnoticed although the format has a sum against it.
#[test]
fn wrong_sums_are_told() {
    for (name, behind) in [("gzip", 8), ("gzip", 1), ("deflate", 1), ("zstd", 1)] {
        let mut coded = encoded(name, &text());
        let at = coded.len() - behind;
        coded[at] ^= 0x10;
        let said = decoded(name, &coded);
        assert!(!said.1.is_empty(), "{name}");
        assert!(said.1[0] != CUT_OFF, "{name}");
    }
}

/// Recordings whose bodies were decoded by the recorder cannot be read.
#[test]
fn content_that_is_not_coded_is_taken_as_it_is() {
    let bodies = [
        "{\"id\":\"chatcmpl-1\",\"choices\":[]}",
        "[\n  {\"candidates\": []}]",
        "data: {\"type\":\"message_start\"}\n\n",
        "event: ping\ndata: {}\n\n",
        ": OPENROUTER PROCESSING\n\n",
        "{\"text\":\"\u{4f60}\u{597d}\u{4f60}\u{597d}\"}",
        "{}",
    ];
    for body in bodies {
        for name in ["gzip", "deflate", "br", "zstd", "gzip, br"] {
            let said = every_way(body.as_bytes(), |pieces| {
                decode(name, Limits::default(), pieces)
            });
            assert_eq!(said, (body.into(), vec![NOT_CODED]), "{name}");
        }
    }
}

/// Compressed bodies that happen to begin as text does are shown as garbage.
#[test]
fn coded_content_that_begins_like_text_is_decoded() {
    // A stored block: of its first byte, five bits may be anything (RFC 1951 section 3.2.4).
    let text = [b'x'; 100];
    let coded = [b"id\0\x9b\xff", &text[..]].concat();
    let said = every_way(&coded, |pieces| {
        decode("deflate", Limits::default(), pieces)
    });
    assert_eq!(said, (text.to_vec(), vec![]));
}

/// Bodies of a connection that was joined late, whose head is not known, stay coded.
#[test]
fn what_nobody_knows_is_guessed_by_its_first_bytes() {
    let unknown = Fields(vec![Field {
        name: "?62".into(),
        value: None,
    }]);
    let bodies = [
        encoded("gzip", &text()),
        encoded("zstd", &text()),
        encoded("deflate", &text()),
        text(),
        b"\x1f".to_vec(),
    ];
    for (at, coded) in bodies.iter().enumerate() {
        let said = every_way(coded, |pieces| {
            let mut came = Vec::new();
            let mut out = |said: Result<&[u8], Fault>| came.extend_from_slice(said.unwrap());
            let mut decoding = Decoding::new(&unknown, Limits::default());
            for piece in pieces {
                decoding.push(piece, &mut out);
            }
            decoding.finish(&mut out);
            came
        });
        assert_eq!(said, if at == 4 { b"\x1f".to_vec() } else { text() });
    }
}

/// What is compressed in a way that nobody saw is told as the plain words of an answer.
#[test]
fn what_may_be_coded_is_not_taken_for_plain() {
    let guessed = |kind: Option<&str>, body: &[u8]| {
        let field = |name: &str, value: Option<&str>| Field {
            name: name.into(),
            value: value.map(String::from),
        };
        let mut fields = Fields(vec![field("?62", None)]);
        fields
            .0
            .extend(kind.map(|kind| field("content-type", Some(kind))));
        every_way(body, |pieces| {
            let mut said = (Vec::new(), Vec::new());
            let mut out = |one: Result<&[u8], Fault>| match one {
                Ok(bytes) => said.0.extend_from_slice(bytes),
                Err(fault) => said.1.push(fault),
            };
            let mut decoding = Decoding::new(&fields, Limits::default());
            for piece in pieces {
                decoding.push(piece, &mut out);
            }
            decoding.finish(&mut out);
            let undecoded = decoding.undecoded();
            (said, undecoded)
        })
    };
    let refused = |body: &[u8]| ((Vec::new(), vec![UNSEEN]), body.len() as u64);
    let taken = |body: &[u8]| ((body.to_vec(), Vec::new()), 0);
    for name in ["br", "Deflate"] {
        let coded = encoded(name, &text());
        for kind in [
            None,
            Some("application/json"),
            Some("text/event-stream; charset=utf-8"),
        ] {
            assert_eq!(guessed(kind, &coded), refused(&coded), "{name} {kind:?}");
        }
        assert_eq!(guessed(Some("image/png"), &coded), taken(&coded), "{name}");
    }
    let plain: [&[u8]; 7] = [
        b"<html>\r\n\t<body>",
        "\u{feff}{\"gr\u{fc}n\": 1}".as_bytes(),
        b"12",
        b"\0\0\0\0\x02\x0a\0",
        b"\x01\0\0\0\x02\x0a\0",
        b"\0",
        b"",
    ];
    for body in plain {
        assert_eq!(guessed(None, body), taken(body), "{body:?}");
    }
}

/// A body that is compressed under its chunks is told as it was sent, without a mark.
#[test]
fn transfer_codings_are_undone() {
    let fields = |named: &[(&str, &str)]| {
        let fields = named.iter().map(|(name, value)| Field {
            name: (*name).into(),
            value: Some((*value).into()),
        });
        Fields(fields.collect())
    };
    let read = |fields: &Fields, body: &[u8]| {
        let mut said = (Vec::new(), Vec::new());
        let mut out = |one: Result<&[u8], Fault>| match one {
            Ok(bytes) => said.0.extend_from_slice(bytes),
            Err(fault) => said.1.push(fault),
        };
        let mut decoding = Decoding::new(fields, Limits::default());
        decoding.push(body, &mut out);
        decoding.finish(&mut out);
        said
    };
    let gzip = encoded("gzip", &text());
    for value in ["gzip, chunked", "chunked, GZIP", "x-gzip"] {
        let under = fields(&[("transfer-encoding", value)]);
        assert_eq!(read(&under, &gzip), (text(), vec![]), "{value}");
    }
    let both = fields(&[
        ("transfer-encoding", "gzip"),
        ("content-encoding", "br"),
        ("transfer-encoding", "Chunked"),
    ]);
    let coded = encoded("gzip", &encoded("br", &text()));
    assert_eq!(read(&both, &coded), (text(), vec![]));
    let plain = fields(&[("transfer-encoding", "chunked")]);
    assert_eq!(read(&plain, &gzip), (gzip.clone(), vec![]));
    let strange = fields(&[("transfer-encoding", "compress, chunked")]);
    assert_eq!(read(&strange, &gzip), (vec![], vec![UNKNOWN]));
}

/// What comes behind a loss is decoded to nonsense.
#[test]
fn a_gap_ends_decoding() {
    for (name, _) in CODERS {
        let coded = encoded(name, &text());
        let (left, right) = coded.split_at(coded.len() / 2);
        let mut said = (Vec::new(), Vec::new());
        let mut out = |one: Result<&[u8], Fault>| match one {
            Ok(bytes) => said.0.extend_from_slice(bytes),
            Err(fault) => said.1.push(fault),
        };
        let mut decoding = Decoding::new(&head(name), Limits::default());
        decoding.push(left, &mut out);
        assert!(!decoding.gap(&mut out));
        decoding.push(&right[1..], &mut out);
        decoding.finish(&mut out);
        assert_eq!(decoding.undecoded(), right.len() as u64 - 1);
        assert_eq!(said.1, [GAP]);
        assert!(text().starts_with(&said.0));
    }
    let mut plain = Decoding::new(&head("identity"), Limits::default());
    assert!(plain.gap(&mut |_| ()));
}

/// A few kilobytes of a stranger take all memory or all time.
#[test]
fn bombs_are_refused() {
    let zeros = vec![0; 4 << 20];
    for name in ["gzip", "deflate", "br", "zstd"] {
        let coded = encoded(name, &zeros);
        let small = Limits {
            decoded: 3 << 20,
            // Of zeros, brotli makes a quarter of a million from one.
            ratio: u64::MAX,
            ..Limits::default()
        };
        let said = decode(name, small, &[&coded]);
        assert_eq!((said.0.len(), said.1), (3 << 20, vec![TOO_LARGE]), "{name}");
        let strict = Limits {
            ratio: 1,
            ..Limits::default()
        };
        let said = decode(name, strict, &[&coded]);
        let most = (1 << 20) + coded.len();
        assert_eq!((said.0.len(), said.1), (most, vec![TOO_LARGE]), "{name}");
    }
    let nested = encoded("gzip", &encoded("gzip", &zeros));
    let strict = Limits {
        ratio: 100,
        ..Limits::default()
    };
    let said = decode("gzip, gzip", strict, &[&nested]);
    let most = (1 << 20) + nested.len() * 100;
    assert_eq!((said.0.len(), said.1), (most, vec![TOO_LARGE]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Some content, in some pieces, comes out changed.
    #[test]
    fn any_content_survives(
        text in prop::collection::vec(any::<u8>(), 0..3000),
        repeat in 1usize..4,
        coder in prop::sample::select(CODERS.to_vec()),
        sizes in prop::collection::vec(1usize..400, 1..9),
    ) {
        let text = text.repeat(repeat);
        let coded = coder.1(&[&text]).concat();
        let said = decode(coder.0, Limits::default(), &pieces(&coded, &sizes));
        prop_assert_eq!(said, (text, vec![]));
    }

    /// Damaged bodies, or bytes of a stranger, make a decoder panic, or grow beyond the limits.
    #[test]
    fn damaged_bodies_are_survived(
        coder in prop::sample::select(CODERS.to_vec()),
        choice in any::<u8>(),
        cut in any::<u8>(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let mut data = vec![choice, cut];
        data.extend(coder.1(&[&text()]).concat());
        for (at, value) in damage {
            let at = at.index(data.len());
            data[at] = value;
        }
        fuzz_coding(&data);
    }
}
