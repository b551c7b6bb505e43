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

/// One burst of loss, which is told late, leaves all later calls of a connection without their answers.
#[test]
fn one_burst_does_not_spoil_the_connection() {
    let streamed = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nabcdef\r\n";
    let mut acts = vec![client(GET), server(streamed)];
    // The end of this response and all of the next one are lost.
    acts.extend([client(GET_B), client(GET_B), Act::Loses(Party::Peer, None)]);
    acts.extend([
        server(B_OK),
        client(GET),
        server(OK),
        client(GET),
        server(OK),
    ]);
    let told = tell(&mut *make(true), &says(acts));
    let answers = told.lines.iter().filter(|line| line.ends_with(" 200"));
    assert_eq!(
        answers.collect::<Vec<_>>(),
        ["1 200", "4 200", "5 200", "6 200"]
    );
    assert!(told.lines.contains(&"5 GET /a".to_owned()));
    assert!(told.lines.contains(&"6 GET /a".to_owned()));
}

/// A response that comes behind bytes nobody understands goes to an older request.
#[test]
fn what_is_not_understood_may_be_an_answer() {
    let streamed = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nabc";
    let acts = [
        client(GET),
        server(streamed),
        Act::Loses(Party::Peer, Some(5)),
        client(GET_B),
        server(["0\r\n", B_OK].concat()),
        client(GET),
        server(OK),
    ];
    let told = tell(&mut *make(true), &says(acts.to_vec()));
    assert!(
        !told.lines.contains(&"2 200".to_owned()),
        "{:?}",
        told.lines
    );
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

/// The same as a monitor learns of it: a loss is told with the next bytes of its direction.
fn told_late(acts: Vec<Act>) -> Vec<Act> {
    let mut late = Vec::new();
    let mut lost: [Option<Option<u64>>; 2] = [None, None];
    for act in acts {
        match act {
            Act::Loses(from, bytes) => {
                let lost = &mut lost[usize::from(from == Party::Peer)];
                *lost = Some(match *lost {
                    None => bytes,
                    Some(before) => before.zip(bytes).map(|(a, b)| a + b),
                });
            }
            Act::Says(from, bytes) => {
                let lost = lost[usize::from(from == Party::Peer)].take();
                late.extend(lost.map(|bytes| Act::Loses(from, bytes)));
                late.push(Act::Says(from, bytes));
            }
            act => late.push(act),
        }
    }
    late
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
        burst in 0usize..12,
        late in any::<bool>(),
        is_told_late in any::<bool>(),
    ) {
        let turns = (1..=14).flat_map(|n| [client(question(n)), server(answer(n))]);
        let turns: Vec<_> = turns.collect();
        let last = pieces(&turns[..22], || 40).len();
        let begin = lost.first().copied().unwrap_or(last);
        let lost = lost.into_iter().chain(begin..begin + burst);
        let lost: Vec<_> = lost.filter(|index| *index < last).collect();
        let mut acts = lossy(&turns, &lost);
        if is_told_late {
            acts = told_late(acts);
        }
        let pairs = pairs(&acts, !late);
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
        is_told_late in any::<bool>(),
    ) {
        let questions: Vec<u8> = (1..=count).flat_map(question).collect();
        let answers: Vec<u8> = (1..=count).flat_map(answer).collect();
        let mut acts = lossy(&[client(questions), server(answers)], &lost);
        if is_told_late {
            acts = told_late(acts);
        }
        for (asked, answered) in pairs(&acts, true) {
            prop_assert_eq!(asked, answered);
        }
    }
}
