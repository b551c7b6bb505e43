use proptest::prelude::*;

use crate::proto::conversation::{Act, client, closed, every_split, pieces, server, tell};
use crate::proto::http1::tests::{B_OK, GET, GET_B, OK, make, says};
use crate::proto::{Item, Party};

/// Bytes lost inside a body of known length make the rest of the connection unreadable, or go untold.
#[test]
fn gaps_inside_known_lengths_are_passed_over() {
    let head = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123";
    let acts = [
        client(GET),
        server(head),
        Act::Loses(Party::Peer, Some(4)),
        server("89"),
        client(GET_B),
        server("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nab"),
        Act::Loses(Party::Peer, Some(3)),
        server("f\r\n0\r\n\r\n"),
    ];
    let told = every_split(&says(acts.to_vec()), |_| make(true));
    let expected = [
        "1 GET /a",
        "1 Request complete",
        "1 200",
        "1 Response: 0123",
        "1 Response gap Some(4)",
        "1 Response: 89",
        "1 Response complete",
        "2 GET /b",
        "2 Request complete",
        "2 200",
        "2 Response: ab",
        "2 Response gap Some(3)",
        "2 Response: f",
        "2 Response complete",
    ];
    assert_eq!(told.lines, expected);
}

/// After a loss in a stream, the next call of the connection is not seen or gets another one's answer.
#[test]
fn gaps_across_boundaries_end_the_message() {
    let acts = [
        client(GET),
        server("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nab"),
        Act::Loses(Party::Peer, Some(30)),
        server("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfake"),
        client(GET_B),
        server(B_OK),
    ];
    let told = tell(&mut *make(true), &says(acts.to_vec()));
    let expected = [
        "1 GET /a",
        "1 Request complete",
        "1 200",
        "1 Response: ab",
        "1 Response gap Some(30)",
        "1 Response broken",
        "2 GET /b",
        "2 Request complete",
        "2 200",
        "2 Response: bb",
        "2 Response complete",
    ];
    assert_eq!(
        told.lines, expected,
        "nobody asked for what looks like a response"
    );
    assert!(told.unrecognised[1] >= 30);
}

/// Joined late, the first whole call is missed, or begins in the middle of another one.
#[test]
fn joined_late_begins_at_the_next_head() {
    let acts = [
        server("the end of something\r\n{\"a\": 1}"),
        client(GET),
        server(OK),
        client(GET_B),
        server(B_OK),
    ];
    let told = tell(&mut *make(false), &says(acts.to_vec()));
    assert_eq!(told.lines[..3], ["1 GET /a", "1 Request complete", "1 200"]);
    assert_eq!(told.lines.last().unwrap(), "2 Response complete");
    assert_eq!(told.unrecognised, [0, 30]);
}

/// An answer of which only the connection's middle was seen is taken for that of the next question.
#[test]
fn an_answer_without_its_question_stands_alone() {
    let told = tell(
        &mut *make(false),
        &says(vec![server(OK), client(GET_B), server(B_OK)]),
    );
    let expected = [
        "1 200",
        "1 Response: ok",
        "1 Response complete",
        "2 GET /b",
        "2 Request complete",
        "2 200",
        "2 Response: bb",
        "2 Response complete",
    ];
    assert_eq!(told.lines, expected);
}

/// What a lossy connection of `count` exchanges tells of pairs: (request's number, response's number).
fn pairs(acts: &[Act], from_start: bool) -> Vec<(String, String)> {
    let mut asked = std::collections::BTreeMap::new();
    let mut pairs = Vec::new();
    let mut decoder = make(from_start);
    let mut sense = crate::proto::fuzz::Sense::default();
    for act in acts.iter().chain(&closed()) {
        let mut out = |item: Item<'_>| {
            sense.check(&item);
            match item {
                Item::Request { id, head, .. } => {
                    asked.insert(id, head.target.unwrap());
                }
                Item::Response { id, head, .. } => {
                    if let Some(target) = asked.get(&id) {
                        let number = head.fields.get("x-number").unwrap().to_owned();
                        pairs.push((target.clone(), number));
                    }
                }
                _ => {}
            }
        };
        match act {
            Act::Says(from, bytes) => decoder.data(*from, 0, bytes, &mut out),
            Act::Loses(from, bytes) => decoder.gap(*from, 0, *bytes, &mut out),
            Act::Ends(from) => decoder.end(*from, 0, &mut out),
        }
    }
    sense.finish();
    pairs
}

fn question(number: usize) -> Vec<u8> {
    let body = "x".repeat(number % 5 * 7);
    let (head, body) = match number % 3 {
        0 => ("Content-Length: 0".to_owned(), String::new()),
        1 => (format!("Content-Length: {}", body.len()), body),
        _ => (
            "Transfer-Encoding: chunked".to_owned(),
            "5\r\nhello\r\n3\r\nyou\r\n0\r\n\r\n".to_owned(),
        ),
    };
    format!("POST {number} HTTP/1.1\r\nHost: x\r\n{head}\r\n\r\n{body}").into_bytes()
}

fn answer(number: usize) -> Vec<u8> {
    let (head, body) = match number % 2 {
        0 => ("Content-Length: 40".to_owned(), "y".repeat(40)),
        _ => (
            "Transfer-Encoding: chunked".to_owned(),
            "1e\r\ndata: 0123456789 0123456789 \n\n\r\n0\r\n\r\n".to_owned(),
        ),
    };
    format!("HTTP/1.1 200 OK\r\nX-Number: {number}\r\n{head}\r\n\r\n{body}").into_bytes()
}

/// Pieces of 40 bytes, those in `lost` of which (by number) are lost.
fn lossy(acts: &[Act], lost: &[usize]) -> Vec<Act> {
    let pieces = pieces(acts, || 40);
    let lossy = pieces
        .into_iter()
        .enumerate()
        .map(|(index, act)| match act {
            Act::Says(from, bytes) if lost.contains(&index) => {
                let count = bytes.len() as u64;
                Act::Loses(from, (index % 3 > 0).then_some(count))
            }
            act => act,
        });
    lossy.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// After lost bytes, a call gets the answer of another one; or a client that waits for its answers is not understood any
    /// more.
    #[test]
    fn lossy_turns_are_never_paired_wrong(
        lost in proptest::collection::vec(0usize..80, 0..6),
        late in any::<bool>(),
    ) {
        let turns = (1..=14).flat_map(|n| [client(question(n)), server(answer(n))]);
        let turns: Vec<_> = turns.collect();
        let last = pieces(&turns[..22], || 40).len();
        let lost: Vec<_> = lost.into_iter().filter(|index| *index < last).collect();
        let pairs = pairs(&lossy(&turns, &lost), !late);
        for (asked, answered) in &pairs {
            prop_assert_eq!(asked, answered);
        }
        // Nothing is lost of the last three, and trust is back after one.
        prop_assert!(pairs.iter().any(|(asked, _)| asked == "14"), "{:?}", pairs);
    }

    /// As above, of a client that asks all its questions before it reads.
    #[test]
    fn lossy_pipelines_are_never_paired_wrong(
        lost in proptest::collection::vec(0usize..60, 0..5),
        count in 3usize..12,
    ) {
        let questions: Vec<u8> = (1..=count).flat_map(question).collect();
        let answers: Vec<u8> = (1..=count).flat_map(answer).collect();
        let acts = lossy(&[client(questions), server(answers)], &lost);
        for (asked, answered) in pairs(&acts, true) {
            prop_assert_eq!(asked, answered);
        }
    }
}
