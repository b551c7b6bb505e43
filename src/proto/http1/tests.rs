use proptest::prelude::*;

use super::*;
use crate::proto::conversation::{Act, client, closed, every_split, pieces, server, tell};

pub(super) fn make(from_start: bool) -> Box<dyn Decoder> {
    Box::new(Http1::new(Limits::default(), from_start))
}

pub(super) fn says(acts: Vec<Act>) -> Vec<Act> {
    acts.into_iter().chain(closed()).collect()
}

pub(super) const GET: &str = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n";
pub(super) const GET_B: &str = "GET /b HTTP/1.1\r\nHost: x\r\n\r\n";
pub(super) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
pub(super) const B_OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nbb";

/// Its name, what is said, and what is told of it.
type Case = (&'static str, Vec<Act>, Vec<&'static str>);

/// Conversations without loss.
fn corpus() -> Vec<Case> {
    [bodies(), order(), tolerated()].concat()
}

/// Bodies and what delimits them.
fn bodies() -> Vec<Case> {
    vec![
        (
            "length",
            vec![
                client("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"),
                server(OK),
            ],
            vec![
                "1 POST /a",
                "1 Request: hello",
                "1 Request complete",
                "1 200",
                "1 Response: ok",
                "1 Response complete",
            ],
        ),
        (
            "chunked with extensions and trailers",
            vec![
                client(
                    "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n00\r\n\r\n",
                ),
                server(
                    "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\nA \r\n0123456789\r\n1\r\n!\r\n0\r\nX-Sum: 7\r\nY: z\r\n\r\n",
                ),
                client(GET_B),
            ],
            vec![
                "1 POST /a",
                "1 Request: hello",
                "1 Request complete",
                "1 200",
                "1 Response: 0123456789!",
                "1 Response trailers x-sum: 7, y: z",
                "1 Response complete",
                "2 GET /b",
                "2 Request complete",
                "2 Response cut off",
            ],
        ),
        (
            "until close",
            vec![
                client(GET),
                server("HTTP/1.0 200 OK\r\n\r\nall of it\r\n\r\n"),
            ],
            vec![
                "1 GET /a",
                "1 Request complete",
                "1 200",
                "1 Response: all of it\r\n\r\n",
                "1 Response complete",
            ],
        ),
        (
            "responses without bodies",
            vec![
                client("HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n"),
                server("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"),
                client(GET),
                server("HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n"),
                client(GET_B),
                server("HTTP/1.1 204\r\nTransfer-Encoding: chunked\r\n\r\n"),
            ],
            vec![
                "1 HEAD /a",
                "1 Request complete",
                "1 200",
                "1 Response complete",
                "2 GET /a",
                "2 Request complete",
                "2 304",
                "2 Response complete",
                "3 GET /b",
                "3 Request complete",
                "3 204",
                "3 Response complete",
            ],
        ),
    ]
}

/// Who answers what, and when.
fn order() -> Vec<Case> {
    vec![
        (
            "continue",
            vec![
                client(
                    "PUT /a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n",
                ),
                server("HTTP/1.1 100 Continue\r\n\r\n"),
                client("abc"),
                server(
                    "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n",
                ),
            ],
            vec![
                "1 PUT /a",
                "1 100",
                "1 Request: abc",
                "1 Request complete",
                "1 103",
                "1 201",
                "1 Response complete",
            ],
        ),
        (
            "pipelining",
            vec![client([GET, GET_B].concat()), server([OK, B_OK].concat())],
            vec![
                "1 GET /a",
                "1 Request complete",
                "2 GET /b",
                "2 Request complete",
                "1 200",
                "1 Response: ok",
                "1 Response complete",
                "2 200",
                "2 Response: bb",
                "2 Response complete",
            ],
        ),
        (
            "an early response",
            vec![
                client("POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhe"),
                server("HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n"),
                client("llo"),
                client(GET_B),
                server(B_OK),
            ],
            vec![
                "1 POST /a",
                "1 413",
                "1 Response complete",
                "1 Request: hello",
                "1 Request complete",
                "2 GET /b",
                "2 Request complete",
                "2 200",
                "2 Response: bb",
                "2 Response complete",
            ],
        ),
    ]
}

/// What is odd but happens.
fn tolerated() -> Vec<Case> {
    vec![
        (
            "bare line feeds, empty lines, folded fields",
            vec![
                client("\r\n\r\nGET /a HTTP/1.1\nHost: x\n\n"),
                server("HTTP/1.1 200 OK\nTransfer-Encoding:\r\n chunked\n\n2\nok\n0\n\n"),
                client(GET_B),
                server(B_OK),
            ],
            vec![
                "1 GET /a",
                "1 Request complete",
                "1 200",
                "1 Response: ok",
                "1 Response complete",
                "2 GET /b",
                "2 Request complete",
                "2 200",
                "2 Response: bb",
                "2 Response complete",
            ],
        ),
        (
            "a refused upgrade, with more behind it",
            vec![
                client("GET /a HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n"),
                client(GET_B),
                server([OK, B_OK].concat()),
            ],
            vec![
                "1 GET /a",
                "1 Request complete",
                "1 200",
                "2 GET /b",
                "2 Request complete",
                "1 Response: ok",
                "1 Response complete",
                "2 200",
                "2 Response: bb",
                "2 Response complete",
            ],
        ),
        (
            "a response that nobody asked for",
            vec![server("HTTP/1.1 408 Timeout\r\nContent-Length: 0\r\n\r\n")],
            vec!["1 408", "1 Response complete"],
        ),
        (
            "equal lengths",
            vec![
                client(
                    "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 2, 2\r\nContent-Length: 2\r\n\r\nab",
                ),
                server(OK),
            ],
            vec![
                "1 POST /a",
                "1 Request: ab",
                "1 Request complete",
                "1 200",
                "1 Response: ok",
                "1 Response complete",
            ],
        ),
    ]
}

/// A call is told differently, depending on how the library cut it into reads.
#[test]
fn every_split_tells_the_same() {
    for (name, acts, expected) in corpus() {
        let told = every_split(&says(acts), |_| make(true));
        assert_eq!(told.lines, expected, "{name}");
        assert_eq!(told.unrecognised, [0, 0], "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// As above, for pieces of any size.
    #[test]
    fn any_cut_tells_the_same(sizes in proptest::collection::vec(1usize..40, 1..50)) {
        for (name, acts, expected) in corpus() {
            let mut sizes = sizes.iter().cycle();
            let cut = pieces(&says(acts), || *sizes.next().unwrap());
            prop_assert_eq!(tell(&mut *make(true), &cut).lines, expected, "{}", name);
        }
    }

    /// A hostile peer ends the observer, or makes it tell what cannot be.
    #[test]
    fn arbitrary_bytes_are_survived(data in proptest::collection::vec(any::<u8>(), 0..600)) {
        fuzz_http1(&data);
    }

    /// As above, with bytes that were HTTP before they were damaged.
    #[test]
    fn damaged_conversations_are_survived(
        which in 0usize..11,
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        size in 1usize..60,
        options in any::<u8>(),
    ) {
        let (_, acts, _) = corpus().swap_remove(which);
        let mut data = vec![options];
        for act in pieces(&acts, || size) {
            if let Act::Says(party, bytes) = act {
                data.extend([8 | u8::from(party == Party::Peer), bytes.len() as u8]);
                data.extend(bytes);
            }
        }
        for (index, byte) in damage {
            let at = index.index(data.len());
            data[at] = byte;
        }
        fuzz_http1(&data);
    }
}

/// Bytes that are no message are passed over in silence, or told once for each piece.
#[test]
fn all_of_garbage_is_counted() {
    let garbage = "nonsense \r\n\r\n more GET of it\r\nHTTP/1.1 2x0\r\n\r\n{}".repeat(40);
    for size in [1, 7, 1000, 10_000] {
        let acts = pieces(&says(vec![server(&garbage)]), || size);
        let mut items = 0;
        let mut decoder = make(true);
        for act in &acts {
            if let Act::Says(from, bytes) = act {
                decoder.data(*from, 0, bytes, &mut |_| items += 1);
            }
        }
        decoder.end(Party::Peer, 0, &mut |_| items += 1);
        assert!(items <= 2, "{items}");
        let told = tell(&mut *make(true), &acts);
        assert_eq!(told.unrecognised, [0, garbage.len() as u64], "{size}");
    }
}

/// Framing on which a proxy and a server could disagree is decoded as one of them sees it, and no longer as sent.
#[test]
fn doubtful_framing_breaks_the_message() {
    for fields in [
        "Content-Length: 2\r\nContent-Length: 3",
        "Content-Length: 2, 3",
        "Content-Length: +2",
        "Content-Length: ",
        "Content-Length: 99999999999999999999",
        "Transfer-Encoding: gzip",
        "Transfer-Encoding: chunked, gzip",
        "Transfer-Encoding: chunked, chunked",
    ] {
        let request = format!("POST /a HTTP/1.1\r\nHost: x\r\n{fields}\r\n\r\nab");
        let told = every_split(&says(vec![client(request)]), |_| make(true));
        let expected = ["1 POST /a", "1 Request broken", "1 Response cut off"];
        assert_eq!(told.lines, expected, "{fields}");
        assert_eq!(told.unrecognised, [2, 0], "{fields}");
    }
    for body in [
        "x\r\n",
        "3\r\nabcd\r\n",
        "11111111111111111\r\n",
        "-1\r\n",
        "\r\n",
        "3 4\r\n",
    ] {
        let response = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        let told = tell(&mut *make(true), &says(vec![client(GET), server(response)]));
        assert_eq!(told.lines.last().unwrap(), "1 Response broken", "{body}");
    }
}

/// A request that stood behind one for another protocol would never end, if its client had gone before that was refused.
#[test]
fn what_was_kept_ends_with_its_direction() {
    let upgrade =
        "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    let half = "POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf";
    let [local, peer] = closed();
    let expected = [
        "1 GET /ws",
        "1 Request complete",
        "1 200",
        "2 POST /b",
        "2 Request: half",
        "2 Request cut off",
        "1 Response: ok",
        "1 Response complete",
        "2 Response cut off",
    ];
    let asked = client([upgrade, half].concat());
    let told = every_split(&[asked, local, server(OK), peer], |_| make(true));
    assert_eq!(told.lines, expected);
}

/// A head without end takes all memory.
#[test]
fn heads_have_a_limit() {
    let limits = Limits {
        head: 1000,
        ..Limits::default()
    };
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(2000));
    for size in [1, 100, 5000] {
        let mut decoder = Http1::new(limits, true);
        let acts = pieces(&says(vec![client(&long), client(GET), server(OK)]), || size);
        let told = tell(&mut decoder, &acts);
        assert_eq!(told.unrecognised[0], long.len() as u64, "{size}");
        assert!(told.lines.contains(&"1 GET /a".to_owned()), "{size}");
        assert!(decoder.held() < 4000, "{}", decoder.held());
    }
}

/// Fields beyond what fits without an allocation are lost.
#[test]
fn many_fields_are_kept() {
    let fields: String = (0..300).map(|n| format!("f{n}: {n}\r\n")).collect();
    let mut seen = 0;
    let request = format!("GET / HTTP/1.1\r\n{fields}\r\n");
    make(true).data(Party::Local, 0, request.as_bytes(), &mut |item| {
        if let Item::Request { head, .. } = item {
            seen = head.fields.0.len();
            assert_eq!(head.fields.get("f299"), Some("299"));
        }
    });
    assert_eq!(seen, 300);
}
