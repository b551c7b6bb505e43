use proptest::prelude::*;

use super::*;
use crate::proto::cuts::{every_way, pieces};

fn read(pieces: &[&[u8]]) -> Vec<Result<Vec<u8>, Fault>> {
    let mut all = Vec::new();
    let mut out = |said: Result<&[u8], Fault>| all.push(said.map(<[u8]>::to_vec));
    let mut lines = Lines::new(64);
    for piece in pieces {
        lines.push(piece, &mut out);
    }
    lines.finish(true, &mut out);
    all
}

fn expected(bytes: &[u8]) -> Vec<Vec<u8>> {
    let lines = bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    lines
        .filter(|line| !line.is_empty())
        .map(<[u8]>::to_vec)
        .collect()
}

/// A line of an answer is lost or divided by the way in which it came, or by its end.
#[test]
fn lines_are_given_however_they_are_cut() {
    let body = b"{\"a\":1}\n\r\n{\"b\":2}\r\n\n  \n{\"c\":\"\\n\"}\n{\"last\":true}";
    let said = every_way(body, read);
    let said: Vec<_> = said.into_iter().map(Result::unwrap).collect();
    assert_eq!(said, expected(body));
    assert_eq!(said.len(), 4);
}

/// A line with a hole, or one whose end never came, is taken for a whole one.
#[test]
fn what_is_not_whole_is_told() {
    let mut said = Vec::new();
    let mut out = |one: Result<&[u8], Fault>| said.push(one.map(<[u8]>::to_vec));
    let mut lines = Lines::new(64);
    lines.push(b"one\ntw", &mut out);
    lines.gap(&mut out);
    lines.push(b"ree\nfour\nfi", &mut out);
    lines.finish(false, &mut out);
    let line = |text: &[u8]| Ok(text.to_vec());
    assert_eq!(
        said,
        [
            line(b"one"),
            Err(LOST),
            line(b"four"),
            line(b"fi"),
            Err(CUT_OFF)
        ]
    );
}

/// A line without an end takes all memory, or hides what follows.
#[test]
fn a_line_beyond_the_limit_is_told_and_left_out() {
    let body = [&b"x".repeat(65)[..], b"\nnext\n", &b"y".repeat(64)].concat();
    let said = every_way(&body, read);
    assert_eq!(
        said,
        [Err(TOO_LONG), Ok(b"next".to_vec()), Ok(b"y".repeat(64))]
    );
    let mut lines = Lines::new(1000);
    for _ in 0..10_000 {
        lines.push(b"never ends", &mut |_| ());
    }
    assert!(lines.held() <= 4096);
}

proptest! {
    /// Some way to cut a body gives other lines, or makes the reader panic.
    #[test]
    fn any_body_reads_the_same(
        body in prop::collection::vec(prop::sample::select(b"ab\n\r \xff".to_vec()), 0..200),
        sizes in prop::collection::vec(1usize..9, 1..9),
    ) {
        let said = read(&[&body]);
        if said.iter().all(Result::is_ok) {
            let lines: Vec<_> = said.iter().cloned().map(Result::unwrap).collect();
            prop_assert_eq!(lines, expected(&body));
        }
        prop_assert_eq!(read(&pieces(&body, &sizes)), said);
        fuzz_lines(&body);
    }
}
