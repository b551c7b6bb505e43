use proptest::prelude::*;

use super::*;
use crate::proto::cuts::{every_way, pieces};

/// An event as it is kept for comparing: type, data, identifier, retry, whole.
type Kept = (Option<String>, String, Option<String>, Option<u64>, bool);

fn kept(event: Event<'_>) -> Kept {
    let own = |text: Option<&str>| text.map(String::from);
    let data = event.data.to_owned();
    (
        own(event.event),
        data,
        own(event.id),
        event.retry,
        event.whole,
    )
}

fn read_up_to(limit: usize, pieces: &[&[u8]]) -> Vec<Result<Kept, Fault>> {
    let mut all = Vec::new();
    let mut out = |said: Result<Event<'_>, Fault>| all.push(said.map(kept));
    let mut events = Events::new(limit);
    for piece in pieces {
        events.push(piece, &mut out);
    }
    events.finish(&mut out);
    all
}

fn read(pieces: &[&[u8]]) -> Vec<Result<Kept, Fault>> {
    read_up_to(1 << 20, pieces)
}

/// Reads a whole stream as the standard words it, character by character.
fn by_the_standard(bytes: &[u8]) -> Vec<Kept> {
    let text = String::from_utf8_lossy(bytes);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let text = text.replace("\r\n", "\n").replace('\r', "\n");
    let (mut data, mut kind, mut retry) = (String::new(), String::new(), None);
    // Given with the next event, once: here, nobody connects again.
    let mut id = None;
    let mut events = Vec::new();
    let ended = text.rfind('\n').map_or("", |end| &text[..end]);
    for line in ended.split('\n') {
        if line.is_empty() {
            if let Some(data) = data.strip_suffix('\n') {
                let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
                events.push((some(&kind), data.to_owned(), id.take(), retry, true));
            }
            (data, kind, retry) = (String::new(), String::new(), None);
            continue;
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "data" => data.extend([value, "\n"]),
            "event" => kind = value.to_owned(),
            "id" if !value.contains('\0') => id = Some(value.to_owned()),
            "retry" if !value.is_empty() && value.chars().all(|c| c.is_ascii_digit()) => {
                retry = value.parse().ok().or(retry);
            }
            _ => {}
        }
    }
    events
}

fn whole_ones(said: &[Result<Kept, Fault>]) -> Vec<Kept> {
    let events = said.iter().flatten();
    events.filter(|event| event.4).cloned().collect()
}

/// Streams in which every rule of the standard matters.
const STREAMS: &[&[u8]] = &[
    b"data: YHOO\ndata: +2\ndata: 10\n\n",
    b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
    b"data\n\ndata\ndata\n\ndata:",
    b"data:test\n\ndata: test\n\n",
    b"\xef\xbb\xbfdata: marked\n\n\xef\xbb\xbfdata: not a mark\n\n",
    b"\n\xef\xbb\xbfdata: too late\n\n",
    b"\xef\xbb\xbf\n\ndata: x\n\n",
    b"data: a\r\ndata: b\r\n\r\ndata: c\r\rdata: d\n\r\ndata: e\r\n\n\r\r\n",
    b"\r\n\r\ndata: \xff\xfe\xe2\x82\ndata: \xe2\x82\xac\n\n",
    b"id: 7\nevent: ping\nretry: 250\ndata: {}\n\nid: a\0b\nretry: 2x\ndata: [DONE]\n\n",
    b"id: 8\n\ndata: later\n\nevent: \ndata: no type\n\nevent: lone\n\n:\n: c\n\nretry\ndata: z\n\n",
    b"data : space in the name\nDATA: case\ndata:: colon\ndata: trailing \n\n",
];

/// Tokens of an answer are missing, doubled or joined, in one of the ways in which servers write streams.
#[test]
fn streams_read_as_the_standard_says_however_they_are_cut() {
    for stream in STREAMS {
        let said = every_way(stream, read);
        assert_eq!(whole_ones(&said), by_the_standard(stream));
    }
}

/// One long identifier is copied into every later event, until the memory is full.
#[test]
fn an_identifier_is_short_and_told_once() {
    let long = "x".repeat(ID_MAX + 1);
    let most = "y".repeat(ID_MAX);
    let stream = format!("id: {long}\ndata: a\n\ndata: b\n\nid: {most}\ndata: c\n\ndata: d\n\n");
    let said = read(&[stream.as_bytes()]);
    let event = |data: &str, id: Option<String>| Ok((None, data.to_owned(), id, None, true));
    let expected = [
        Err(ID_TOO_LONG),
        event("a", None),
        event("b", None),
        event("c", Some(most)),
        event("d", None),
    ];
    assert_eq!(said, expected);
}

/// The last words of an answer that was cut off are lost, or told as if they were complete.
#[test]
fn an_unfinished_event_is_given_with_a_mark() {
    let said = every_way(b"data: one\n\nevent: delta\ndata: tw", read);
    let last = (Some("delta".into()), "tw".into(), None, None, false);
    assert_eq!(said[1..], [Ok(last)]);
    assert_eq!(every_way(b"data: one\n\n: ping\n", read).len(), 1);
    let said = every_way(b"data: one\n\nevent: message_st", read);
    assert_eq!(said[1..], [Err(CUT_OFF)]);
}

/// After a loss, a piece of one event is taken for the whole of another.
#[test]
fn a_gap_breaks_the_event_in_which_it_lies() {
    // The first line feed may end a line of which the rest was lost: it is no blank line.
    for behind in ["ree\n", "\n", "\r\n"] {
        let mut said = Vec::new();
        let mut out = |one: Result<Event<'_>, Fault>| said.push(one.map(kept));
        let mut events = Events::new(1000);
        events.push(b"data: one\n\ndata: tw", &mut out);
        events.gap(&mut out);
        events.push(behind.as_bytes(), &mut out);
        events.push(b"data: half\n\ndata: four\n\n", &mut out);
        events.finish(&mut out);
        let event = |data: &str, whole| Ok((None, data.into(), None, None, whole));
        let expected = [
            event("one", true),
            event("tw", false),
            Err(LOST),
            event("four", true),
        ];
        assert_eq!(said, expected, "{behind:?}");
    }
}

/// One endless event takes all memory, or ends the reading of those behind it.
#[test]
fn an_event_beyond_the_limit_is_told_and_left_out() {
    let long = format!("data: {}\n\ndata: next\n\n", "x".repeat(5000));
    let said = every_way(long.as_bytes(), |pieces| read_up_to(1000, pieces));
    assert_eq!(said[0], Err(TOO_LONG));
    assert_eq!(said.len(), 2);
    let mut events = Events::new(1000);
    for _ in 0..10_000 {
        events.push(b"data: never ends\n", &mut |_| ());
    }
    assert!(events.held() <= 4096, "{}", events.held());
}

/// A stream that comes byte by byte takes the square of its length.
#[test]
fn time_is_linear_in_single_bytes() {
    let stream = format!("data: {}\n\n", "x".repeat(4 << 20));
    let start = std::time::Instant::now();
    let mut events = Events::new(8 << 20);
    let mut count = 0;
    for byte in stream.as_bytes().chunks(1) {
        events.push(byte, &mut |_| count += 1);
    }
    assert_eq!(count, 1);
    assert!(start.elapsed().as_secs() < 10, "{:?}", start.elapsed());
}

fn some_stream() -> impl Strategy<Value = Vec<u8>> {
    let parts = prop::sample::select(vec![
        "data",
        ":",
        " ",
        "\n",
        "\r",
        "\r\n",
        "\n\n",
        "data: ",
        "id",
        "id: 5",
        "event: e",
        "retry: 9",
        "\0",
        "x",
        "\u{feff}",
        "é",
        "\u{1F600}",
    ]);
    let part = prop_oneof![
        8 => parts.prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..3),
    ];
    prop::collection::vec(part, 0..40).prop_map(|parts| parts.concat())
}

proptest! {
    /// Some mixture of line ends, fields and broken text reads otherwise than in a browser.
    #[test]
    fn any_stream_reads_as_the_standard_says(
        stream in some_stream(),
        sizes in prop::collection::vec(1usize..9, 1..9),
    ) {
        let said = read(&[&stream]);
        prop_assert_eq!(whole_ones(&said), by_the_standard(&stream));
        prop_assert_eq!(read(&pieces(&stream, &sizes)), said);
    }

    /// Bytes of a stranger make the reader panic.
    #[test]
    fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzz_sse(&bytes);
    }
}
