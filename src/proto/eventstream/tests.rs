use aws_smithy_eventstream::frame::{read_message_from, write_message_to};
use aws_smithy_types::DateTime;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message as Theirs};
use proptest::prelude::*;

use super::*;
use crate::proto::cuts::{every_way, pieces};

const LIMIT: usize = 1 << 20;

/// A message as it is kept for comparing: its headers, as the other reader prints them, and its payload.
type Kept = (Vec<(String, HeaderValue)>, Vec<u8>);

fn theirs(value: Value<'_>) -> HeaderValue {
    match value {
        Value::Bool(value) => HeaderValue::Bool(value),
        Value::Byte(value) => HeaderValue::Byte(value),
        Value::Int16(value) => HeaderValue::Int16(value),
        Value::Int32(value) => HeaderValue::Int32(value),
        Value::Int64(value) => HeaderValue::Int64(value),
        Value::Bytes(value) => HeaderValue::ByteArray(value.to_vec().into()),
        Value::Text(value) => HeaderValue::String(value.to_owned().into()),
        Value::Timestamp(value) => HeaderValue::Timestamp(DateTime::from_millis(value)),
        Value::Uuid(value) => HeaderValue::Uuid(u128::from_be_bytes(value)),
    }
}

fn ours(message: Message<'_>) -> Kept {
    let headers = message.headers();
    let headers = headers.map(|(name, value)| (name.to_owned(), theirs(value)));
    (headers.collect(), message.payload.to_vec())
}

fn kept(message: &Theirs) -> Kept {
    let headers = message.headers().iter();
    let headers = headers.map(|one| (one.name().as_str().to_owned(), one.value().clone()));
    (headers.collect(), message.payload().to_vec())
}

fn read(pieces: &[&[u8]]) -> Vec<Result<Kept, Fault>> {
    let mut all = Vec::new();
    let mut out = |said: Result<Message<'_>, Fault>| all.push(said.map(ours));
    let mut messages = Messages::new(LIMIT);
    for piece in pieces {
        messages.push(piece, &mut out);
    }
    messages.finish(&mut out);
    all
}

fn event(kind: &str, payload: &str) -> Theirs {
    let text = |text: &str| HeaderValue::String(text.to_owned().into());
    Theirs::new(payload.to_owned())
        .add_header(Header::new(":event-type", text(kind)))
        .add_header(Header::new(":content-type", text("application/json")))
        .add_header(Header::new(":message-type", text("event")))
}

fn encoded(messages: &[Theirs]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for message in messages {
        write_message_to(message, &mut bytes).unwrap();
    }
    bytes
}

fn answer() -> Vec<Theirs> {
    vec![
        event("messageStart", r#"{"role":"assistant"}"#),
        event("contentBlockDelta", r#"{"delta":{"text":"Hello"}}"#),
        Theirs::new(""),
        event("messageStop", "{}"),
    ]
}

/// Parts of an answer of Bedrock are missing, depending on how it came.
#[test]
fn messages_of_amazons_encoder_are_read_however_they_are_cut() {
    let said = every_way(&encoded(&answer()), read);
    let expected: Vec<_> = answer().iter().map(|message| Ok(kept(message))).collect();
    assert_eq!(said, expected);
}

/// An exception is shown as an event, or without its name.
#[test]
fn class_and_kind_are_those_of_the_headers() {
    let text = |text: &'static str| HeaderValue::String(text.into());
    let exception = Theirs::new("{}")
        .add_header(Header::new(":exception-type", text("throttlingException")))
        .add_header(Header::new(":message-type", text("exception")));
    let mut said = Vec::new();
    let both = [exception, event("messageStop", "{}")];
    Messages::new(LIMIT).push(&encoded(&both), &mut |message| {
        let message = message.unwrap();
        let own = |text: Option<&str>| text.map(String::from);
        said.push((own(message.class()), own(message.kind())));
    });
    let own = |class: &str, kind: &str| (Some(class.to_owned()), Some(kind.to_owned()));
    let expected = [
        own("exception", "throttlingException"),
        own("event", "messageStop"),
    ];
    assert_eq!(said, expected);
}

/// A loss whose length is known costs more than the message in which it lies, or gives a damaged one.
#[test]
fn behind_a_known_gap_the_next_message_is_read() {
    let bytes = encoded(&answer());
    let first = encoded(&answer()[..1]).len();
    let second = encoded(&answer()[..2]).len();
    for (from, to) in [
        (first + 12, second),
        (first + 20, first + 30),
        (first + 12, first + 13),
    ] {
        let mut said = Vec::new();
        let mut out = |one: Result<Message<'_>, Fault>| said.push(one.map(ours));
        let mut messages = Messages::new(LIMIT);
        messages.push(&bytes[..from], &mut out);
        messages.gap(Some((to - from) as u64), &mut out);
        messages.push(&bytes[to..], &mut out);
        messages.finish(&mut out);
        let answer = answer();
        let whole = |at: usize| Ok(kept(&answer[at]));
        assert_eq!(said, [whole(0), Err(LOST_INSIDE), whole(2), whole(3)]);
    }
    for gap in [None, Some(1000)] {
        let mut messages = Messages::new(LIMIT);
        let mut said = Vec::new();
        messages.push(&bytes[..first + 14], &mut |_| ());
        messages.gap(gap, &mut |one| said.push(one.map(ours)));
        messages.push(&bytes[second..], &mut |one| said.push(one.map(ours)));
        let answer = answer();
        let whole = |at: usize| Ok(kept(&answer[at]));
        assert_eq!(said, [Err(LOST), whole(2), whole(3)]);
    }
}

/// One loss, or one damaged byte, costs all messages behind it.
#[test]
fn the_next_message_is_found_wherever_bytes_are_lost() {
    let bytes = encoded(&answer());
    let ends: Vec<usize> = (1..=4)
        .map(|count| encoded(&answer()[..count]).len())
        .collect();
    let behind = |at: usize| {
        let begins = [0].iter().chain(&ends[..3]);
        let whole = answer()
            .into_iter()
            .zip(begins)
            .filter(move |(_, begin)| **begin >= at);
        whole
            .map(|(message, _)| Ok(kept(&message)))
            .collect::<Vec<_>>()
    };
    for at in 0..bytes.len() {
        let said = every_way(&bytes[at..], |pieces| {
            let mut said = Vec::new();
            let mut messages = Messages::new(LIMIT);
            messages.gap(None, &mut |one| said.push(one.map(ours)));
            for piece in pieces {
                messages.push(piece, &mut |one| said.push(one.map(ours)));
            }
            messages.finish(&mut |one| said.push(one.map(ours)));
            said
        });
        assert_eq!(said[0], Err(LOST));
        assert_eq!(said[1..], behind(at), "from {at} on");
    }
    for at in 0..ends[0] {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x40;
        let said = every_way(&damaged, read);
        let wrong = if at < PRELUDE_LEN {
            BAD_PRELUDE
        } else {
            BAD_SUM
        };
        assert_eq!(said[0], Err(wrong));
        assert_eq!(said[1..], behind(1), "damaged at {at}");
    }
}

/// Time grows with the square of what a hostile peer sends: preludes that promise long messages, one in the other.
#[test]
fn searching_is_linear() {
    let mut decoy = [&(1_u32 << 20).to_be_bytes()[..], &[0; 4]].concat();
    decoy.extend(crc32fast::hash(&decoy).to_be_bytes());
    let bytes = decoy.repeat(400_000);
    let began = std::time::Instant::now();
    let mut messages = Messages::new(1 << 20);
    messages.gap(None, &mut |_| ());
    messages.push(&bytes, &mut |one| assert!(one.is_err()));
    for piece in bytes.chunks(1000) {
        messages.push(piece, &mut |one| assert!(one.is_err()));
    }
    assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
}

/// A message of gigabytes takes all memory, or ends the reading of those behind it.
#[test]
fn a_message_beyond_the_limit_is_told_and_left_out() {
    let long = Theirs::new(vec![b'x'; 3000]);
    let bytes = encoded(&[long, event("messageStop", "{}")]);
    let said = every_way(&bytes, |pieces| {
        let mut said = Vec::new();
        let mut messages = Messages::new(1000);
        for piece in pieces {
            messages.push(piece, &mut |one| said.push(one.map(ours)));
        }
        assert!(messages.held() <= 4096);
        said
    });
    assert_eq!(said, [Err(TOO_LONG), Ok(kept(&event("messageStop", "{}")))]);
}

/// An answer that was cut off looks complete.
#[test]
fn a_cut_stream_is_told() {
    let bytes = encoded(&answer()[..2]);
    let first = encoded(&answer()[..1]).len();
    for len in 0..bytes.len() {
        let said = read(&[&bytes[..len]]);
        let whole = usize::from(len >= first);
        assert_eq!(said.iter().filter(|one| one.is_ok()).count(), whole);
        let inside = len != 0 && len != first;
        assert_eq!(said.contains(&Err(CUT_OFF)), inside, "cut at {len}");
    }
}

fn some_value() -> impl Strategy<Value = HeaderValue> {
    prop_oneof![
        any::<bool>().prop_map(HeaderValue::Bool),
        any::<i8>().prop_map(HeaderValue::Byte),
        any::<i16>().prop_map(HeaderValue::Int16),
        any::<i32>().prop_map(HeaderValue::Int32),
        any::<i64>().prop_map(HeaderValue::Int64),
        prop::collection::vec(any::<u8>(), 0..40)
            .prop_map(|bytes| HeaderValue::ByteArray(bytes.into())),
        "\\PC{0,20}".prop_map(|text| HeaderValue::String(text.into())),
        (-1i64 << 45..1 << 45)
            .prop_map(|millis| HeaderValue::Timestamp(DateTime::from_millis(millis))),
        any::<u128>().prop_map(HeaderValue::Uuid),
    ]
}

fn some_message() -> impl Strategy<Value = Theirs> {
    let headers = prop::collection::vec(("[a-z:-]{1,20}", some_value()), 0..6);
    let payload = prop::collection::vec(any::<u8>(), 0..200);
    (headers, payload).prop_map(|(headers, payload)| {
        let message = Theirs::new(payload);
        headers.into_iter().fold(message, |message, (name, value)| {
            message.add_header(Header::new(name, value))
        })
    })
}

proptest! {
    /// Some header or payload of Amazon's encoder reads as something else.
    #[test]
    fn any_message_reads_as_it_was_written(
        messages in prop::collection::vec(some_message(), 0..5),
        sizes in prop::collection::vec(1usize..60, 1..9),
    ) {
        let bytes = encoded(&messages);
        let expected: Vec<_> = messages.iter().map(|message| Ok(kept(message))).collect();
        prop_assert_eq!(read(&pieces(&bytes, &sizes)), expected);
    }

    /// A damaged message is shown, one that Amazon's decoder reads is not, or bytes of a stranger make the reader panic.
    #[test]
    fn damage_is_seen_where_amazons_decoder_sees_it(
        message in some_message(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        with_sums in any::<bool>(),
    ) {
        let mut bytes = encoded(&[message]);
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if with_sums {
            let sum = crc32fast::hash(&bytes[..8]).to_be_bytes();
            bytes[8..12].copy_from_slice(&sum);
            let end = bytes.len() - SUM_LEN;
            let sum = crc32fast::hash(&bytes[..end]).to_be_bytes();
            bytes[end..].copy_from_slice(&sum);
        }
        let said = read(&[&bytes]);
        match read_message_from(&bytes[..]) {
            Ok(message) => prop_assert_eq!(&said[0], &Ok(kept(&message))),
            Err(_) => prop_assert!(said[0].is_err()),
        }
        prop_assert_eq!(read(&pieces(&bytes, &[1, 5, 3])), said);
        fuzz_eventstream(&bytes);
    }
}
