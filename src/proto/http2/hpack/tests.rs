use loona_hpack::decoder::DecoderError;
use loona_hpack::{Decoder as Oracle, Encoder};
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::proto::http2::table::DEFAULT_MAX;

type Fields = Vec<(Vec<u8>, Vec<u8>)>;

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let bytes = digits
        .chunks(2)
        .map(|pair| std::str::from_utf8(pair).unwrap());
    bytes
        .map(|pair| u8::from_str_radix(pair, 16).unwrap())
        .collect()
}

/// With names and values as text, `?` for a value that is not known.
fn decoded(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<(String, String)>, Fault> {
    let mut fields = Vec::new();
    decoder.decode(block, &mut |name, value| {
        let value = value.map_or("?".into(), |value| {
            String::from_utf8_lossy(value).into_owned()
        });
        fields.push((name.text().into_owned(), value));
    })?;
    Ok(fields)
}

fn raw(decoder: &mut Decoder, block: &[u8]) -> Result<Fields, Fault> {
    let mut fields = Vec::new();
    decoder.decode(block, &mut |name, value| {
        fields.push((name.known().unwrap().to_vec(), value.unwrap().to_vec()));
    })?;
    Ok(fields)
}

const DATE_21: &str = "Mon, 21 Oct 2013 20:13:21 GMT";
const DATE_22: &str = "Mon, 21 Oct 2013 20:13:22 GMT";
const COOKIE: &str = "foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1";

/// RFC 7541 C.3 and C.4: the same three requests, plain and in Huffman code.
fn requests() -> [Vec<(&'static str, &'static str)>; 3] {
    let first = |scheme, path| {
        vec![
            (":method", "GET"),
            (":scheme", scheme),
            (":path", path),
            (":authority", "www.example.com"),
        ]
    };
    let mut all = [
        first("http", "/"),
        first("http", "/"),
        first("https", "/index.html"),
    ];
    all[1].push(("cache-control", "no-cache"));
    all[2].push(("custom-key", "custom-value"));
    all
}

/// RFC 7541 C.5 and C.6, with a table of 256 bytes.
fn responses() -> [Vec<(&'static str, &'static str)>; 3] {
    let head = |status, date| {
        vec![
            (":status", status),
            ("cache-control", "private"),
            ("date", date),
            ("location", "https://www.example.com"),
        ]
    };
    let mut all = [
        head("302", DATE_21),
        head("307", DATE_21),
        head("200", DATE_22),
    ];
    all[2].extend([("content-encoding", "gzip"), ("set-cookie", COOKIE)]);
    all
}

fn check(size: usize, blocks: [&str; 3], expected: [Vec<(&'static str, &'static str)>; 3]) {
    let mut decoder = Decoder::new(true);
    decoder.table.resize(size);
    for (block, expected) in blocks.into_iter().zip(expected) {
        let fields = decoded(&mut decoder, &unhex(block)).unwrap();
        let fields: Vec<_> = fields
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        assert_eq!(fields, expected);
    }
}

/// Every header of every HTTP/2 connection would be wrong.
#[test]
fn the_examples_of_the_rfc_decode() {
    let c3 = [
        "8286 8441 0f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "8286 84be 5808 6e6f 2d63 6163 6865",
        "8287 85bf 400a 6375 7374 6f6d 2d6b 6579 0c63 7573 746f 6d2d 7661 6c75 65",
    ];
    let c4 = [
        "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff",
        "8286 84be 5886 a8eb 1064 9cbf",
        "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf",
    ];
    let c5 = [
        "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3120 474d 546e
         1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        "4803 3330 37c1 c0bf",
        "88c1 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a 3133 3a32 3220 474d 54c0 5a04 677a 6970 7738 666f 6f3d
         4153 444a 4b48 514b 425a 584f 5157 454f 5049 5541 5851 5745 4f49 553b 206d 6178 2d61 6765 3d33 3630 303b 2076 6572
         7369 6f6e 3d31",
    ];
    let c6 = [
        "4882 6402 5885 aec3 771a 4b61 96d0 7abe 9410 54d4 44a8 2005 9504 0b81 66e0 82a6 2d1b ff6e 919d 29ad 1718 63c7 8f0b
         97c8 e9ae 82ae 43d3",
        "4883 640e ffc1 c0bf",
        "88c1 6196 d07a be94 1054 d444 a820 0595 040b 8166 e084 a62d 1bff c05a 839b d9ab 77ad 94e7 821d d7f2 e6c7 b335 dfdf
         cd5b 3960 d5af 2708 7f36 72c1 ab27 0fb5 291f 9587 3160 65c0 03ed 4ee5 b106 3d50 07",
    ];
    check(DEFAULT_MAX, c3, requests());
    check(DEFAULT_MAX, c4, requests());
    check(256, c5, responses());
    check(256, c6, responses());
}

/// Someone who attaches to a running agent would see no headers until it connects anew, or wrong ones.
#[test]
fn a_block_with_unknown_entries_is_decoded_around_them() {
    let mut late = Decoder::new(false);
    // The second request of C.4: its authority was sent before. Then the third one: custom-key is new.
    let fields = decoded(&mut late, &unhex("8286 84be 5886 a8eb 1064 9cbf")).unwrap();
    assert_eq!(fields[3], ("?62".into(), "?".into()));
    assert_eq!(fields[4], ("cache-control".into(), "no-cache".into()));
    let third = unhex("8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf");
    let fields = decoded(&mut late, &third).unwrap();
    assert_eq!(fields[3], ("?63".into(), "?".into()));
    // By now, 62 is custom-key, 63 cache-control, and 64 the authority that nobody has seen.
    let fields = decoded(&mut late, &[0xbe, 0xbf, 0xc0]).unwrap();
    assert_eq!(fields[0], ("custom-key".into(), "custom-value".into()));
    assert_eq!(fields[1], ("cache-control".into(), "no-cache".into()));
    assert_eq!(fields[2], ("?64".into(), "?".into()));
    // A new value of a name that is not known, and the entry that it makes.
    let fields = decoded(&mut late, &[0x40 | 0x3f, 1, 1, b'v', 0xbe]).unwrap();
    assert_eq!(
        fields,
        [("?64".into(), "v".into()), ("?64".into(), "v".into())]
    );
}

/// After a header block is lost, entries would be taken for others: headers of one call in another.
#[test]
fn what_was_known_before_a_loss_is_not_believed() {
    let mut decoder = Decoder::new(true);
    let first = unhex("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff");
    decoded(&mut decoder, &first).unwrap();
    decoder.lost();
    assert_eq!(
        decoded(&mut decoder, &[0xbe]).unwrap(),
        [("?62".into(), "?".into())]
    );
    decoded(&mut decoder, &first).unwrap();
    assert_eq!(
        decoded(&mut decoder, &[0xbe]).unwrap()[0].1,
        "www.example.com"
    );
    // An empty table is known (section 4.3); what comes then is exact, and an index beyond it is wrong.
    assert_eq!(
        decoded(&mut decoder, &[0x20, 0x3f, 0xe1, 0x1f]).unwrap(),
        []
    );
    assert!(decoded(&mut decoder, &[0xbe]).is_err());
}

/// A peer that announces a smaller or larger table would garble all headers behind it.
#[test]
fn the_size_of_the_table_follows_settings() {
    let resize = |size: u32| {
        let mut block = vec![0x3f];
        let mut rest = size - 31;
        while rest >= 128 {
            block.push(rest as u8 | 0x80);
            rest >>= 7;
        }
        block.push(rest as u8);
        block
    };
    let mut decoder = Decoder::new(true);
    assert!(decoder.decode(&resize(4097), &mut |_, _| {}).is_err());
    let mut decoder = Decoder::new(true);
    decoder.settings(None);
    decoder.settings(Some(100));
    decoder.acknowledged();
    assert!(decoder.decode(&resize(4096), &mut |_, _| {}).is_ok());
    decoder.acknowledged();
    assert!(decoder.decode(&resize(4096), &mut |_, _| {}).is_err());
    let mut decoder = Decoder::new(true);
    decoder.settings(Some(1 << 20));
    decoder.acknowledged();
    assert!(decoder.decode(&resize(1 << 20), &mut |_, _| {}).is_ok());
    // More entries than are kept: the oldest are unknown then, and the newest right.
    for number in 0..600_u32 {
        let mut block = vec![0x40, 1, b'n', 0x7f, 73];
        block.extend(format!("{number:0200}").bytes());
        decoder.decode(&block, &mut |_, _| {}).unwrap();
    }
    assert!(decoder.held() < 96 << 10, "{}", decoder.held());
    assert_eq!(
        decoded(&mut decoder, &[0xbe]).unwrap()[0].1,
        format!("{:0200}", 599)
    );
    let oldest = 62 + 599;
    let block = [
        0xff,
        ((oldest - 127) & 0x7f) as u8 | 0x80,
        ((oldest - 127) >> 7) as u8,
    ];
    assert_eq!(
        decoded(&mut decoder, &block).unwrap(),
        [(format!("?{oldest}"), "?".into())]
    );
}

/// Numbers and strings that claim to be huge would take memory, or overflow.
#[test]
fn numbers_are_bounded() {
    for block in [
        "ff ffff ffff ff7f",
        "7f 8080 8080 8000",
        "00 7f ffff ff7f",
        "40 01 61 7f 80ff ff7f",
        "ff",
    ] {
        assert!(
            decoded(&mut Decoder::new(true), &unhex(block)).is_err(),
            "{block}"
        );
    }
}

fn arbitrary_fields() -> impl Strategy<Value = Vec<Fields>> {
    let names = prop_oneof![
        Just(b":method".to_vec()),
        Just(b"cookie".to_vec()),
        Just(b"x-long".to_vec()),
        vec(any::<u8>(), 1..20),
    ];
    let values = prop_oneof![
        vec(any::<u8>(), 0..40),
        vec(any::<u8>(), 0..1500),
        Just(b"again".to_vec())
    ];
    vec(vec((names, values), 0..12), 1..20)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// What another encoder says would be read as something else.
    #[test]
    fn what_another_encoder_says_is_read(blocks in arbitrary_fields()) {
        let mut encoder = Encoder::new();
        let mut decoder = Decoder::new(true);
        for fields in blocks {
            let block = encoder.encode(fields.iter().map(|(name, value)| (&name[..], &value[..])));
            prop_assert_eq!(raw(&mut decoder, &block).unwrap(), fields);
        }
    }

    /// The same, of a connection that was joined in its middle: each field is right or unknown.
    #[test]
    fn fields_of_a_late_connection_are_right_or_unknown(blocks in arbitrary_fields(), from in 0_usize..20) {
        let mut encoder = Encoder::new();
        let mut late = Decoder::new(false);
        for (number, fields) in blocks.iter().enumerate() {
            let block = encoder.encode(fields.iter().map(|(name, value)| (&name[..], &value[..])));
            if number < from {
                continue;
            }
            let mut index = 0;
            late.decode(&block, &mut |name, value| {
                let (expected, content) = &fields[index];
                assert!(name.known().is_none_or(|name| name == &expected[..]));
                assert!(value.is_none_or(|value| value == &content[..]));
                index += 1;
            }).unwrap();
            prop_assert_eq!(index, fields.len());
        }
    }

    /// Blocks that another decoder refuses would be believed, or the other way round.
    #[test]
    fn any_bytes_mean_what_another_decoder_says(
        blocks in vec(prop_oneof![
            vec(any::<u8>(), 0..60),
            vec(prop_oneof![Just(0x40_u8), Just(0x82), Just(0xbe), Just(0x81), 0x60..0x80_u8, 1..4_u8], 0..60),
        ], 1..6),
    ) {
        let mut oracle = Oracle::new();
        let mut decoder = Decoder::new(true);
        for block in blocks {
            let expected = oracle.decode(&block);
            let fields = raw(&mut decoder, &block);
            // It accepts changes of the size behind fields (section 4.2), and of any size.
            if matches!(fields, Err(LATE_RESIZE | BAD_RESIZE)) {
                return Ok(());
            }
            match (fields, expected) {
                (Ok(fields), Ok(expected)) => prop_assert_eq!(fields, expected),
                // Which nothing forbids.
                (Ok(_), Err(DecoderError::SizeUpdateAtEnd)) => return Ok(()),
                (Err(_), Err(_)) => return Ok(()),
                (fields, expected) => prop_assert!(false, "{:02x?}: {:?} {:?}", block, fields, expected),
            }
        }
    }

    /// Strings in Huffman code would be read as others.
    #[test]
    fn any_huffman_string_means_what_another_decoder_says(string in vec(any::<u8>(), 0..60), ones in 0_usize..4) {
        let mut string = string;
        string.extend(vec![0xff; ones]);
        let mut block = vec![0x00, 1, b'n', 0x80 | string.len() as u8];
        block.extend(&string);
        let expected = Oracle::new().decode(&block).ok();
        prop_assert_eq!(raw(&mut Decoder::new(true), &block).ok(), expected);
    }

    /// Any bytes could end the observer.
    #[test]
    fn nothing_panics(data in vec(any::<u8>(), 0..600)) {
        fuzz_hpack(&data);
    }
}
