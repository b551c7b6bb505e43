//! Bytes that were lost, and connections that were joined late.

use super::*;

/// Bytes that were lost inside of a frame would cost more than these, or not be told.
#[test]
fn a_loss_inside_of_a_frame_costs_no_other() {
    let data = frame(DATA, END_STREAM, 1, b"0123456789");
    let said = after_start(&[
        Local([get(1, 0), data[..HEADER + 3].to_vec()].concat()),
        LostLocal(Some(4)),
        Local([&data[HEADER + 7..], &get(3, END_STREAM)].concat()),
    ]);
    let expected = [
        "1 Local GET /a",
        "1 Request body 012",
        "1 Request gap Some(4)",
        "1 Request body 789",
        "1 Request Complete",
        "2 Local GET /a",
        "2 Request Complete",
    ];
    assert_eq!(said, expected);
    // Padding that was lost, or of which nobody knows how long it is.
    let data = padded(DATA, END_STREAM, 1, b"01234", 5);
    for (from, to, told) in [
        (HEADER + 4, HEADER + 8, "Some(2)"),
        (HEADER, HEADER + 4, "None"),
    ] {
        let said = after_start(&[
            Local([get(1, 0), data[..from].to_vec()].concat()),
            LostLocal(Some((to - from) as u64)),
            Local(data[to..].to_vec()),
        ]);
        let gap = format!("1 Request gap {told}");
        assert!(
            said.contains(&gap) && said.last().unwrap() == "1 Request Complete",
            "{said:?}"
        );
    }
}

/// After a header block is lost, later calls would have the headers of others.
#[test]
fn a_lost_header_block_makes_the_table_unknown() {
    let indexed = |value: &str| [&[0x40, 1, b'n', value.len() as u8], value.as_bytes()].concat();
    let request = |stream, more: &[u8]| {
        frame(
            HEADERS,
            END_HEADERS | END_STREAM,
            stream,
            &[&[0x82, 0x84, 0x87], more].concat(),
        )
    };
    let lost = request(3, &indexed("two"));
    let said = after_start(&[
        Local([request(1, &indexed("one")), lost[..HEADER + 2].to_vec()].concat()),
        LostLocal(Some((lost.len() - HEADER - 2) as u64)),
        // 62 is "two" and 63 "one", but that is not known; then "three" is 62.
        Local(
            [
                request(5, &[0xbf]),
                request(7, &indexed("three")),
                request(9, &[0xbe]),
            ]
            .concat(),
        ),
    ]);
    let expected = [
        "1 Local GET / n=one",
        "1 Request Complete",
        "2 Request gap None",
        "2 Request Complete",
        "3 Local GET / ?63=?",
        "3 Request Complete",
        "4 Local GET / n=three",
        "4 Request Complete",
        "5 Local GET / n=three",
        "5 Request Complete",
    ];
    assert_eq!(said, expected);
}

/// After a loss beyond one frame, nothing more would be seen of the connection, or bytes would be given to wrong streams.
#[test]
fn frames_are_found_again_after_a_loss() {
    let body = frame(DATA, 0, 1, &vec![b'x'; 3000]);
    let rest = [
        body[2000..].to_vec(),
        frame(DATA, 0, 1, b"later"),
        get(5, END_STREAM),
        frame(DATA, END_STREAM, 1, b""),
    ];
    for lost in [Some(10_000), None] {
        let said = after_start(&[
            Local([get(1, 0), get(3, 0), body[..1000].to_vec()].concat()),
            LostLocal(lost),
            Local(rest.concat()),
            Peer([answer(1, END_STREAM, "200"), answer(5, END_STREAM, "200")].concat()),
        ]);
        let skipped = body.len() - 2000;
        let expected = [
            "1 Local GET /a".to_owned(),
            "2 Local GET /a".to_owned(),
            format!("1 Request body {}", "x".repeat(1000 - HEADER)),
            "1 Request gap None".to_owned(),
            "2 Request gap None".to_owned(),
            format!(
                "Local Some({skipped}): bytes were lost, and so the place where the next frame begins"
            ),
            "1 Request body later".to_owned(),
            "3 Local GET /a".to_owned(),
            "3 Request Complete".to_owned(),
            "1 Request Complete".to_owned(),
            "1 Peer 200".to_owned(),
            "1 Response Complete".to_owned(),
            "3 Peer 200".to_owned(),
            "3 Response Complete".to_owned(),
        ];
        assert_eq!(said, expected);
    }
}

/// What comes of streams that began before we joined would be lost, or be taken for whole.
#[test]
fn a_late_connection_says_what_it_has_not_seen() {
    let said = run(
        false,
        &[
            Peer(
                [
                    b"rest of a frame".to_vec(),
                    frame(DATA, 0, 1, b"early"),
                    frame(DATA, 0, 1, b"bird"),
                ]
                .concat(),
            ),
            Local(get(9, END_STREAM)),
            Peer([frame(DATA, END_STREAM, 1, b"tail"), answer(9, 0, "200")].concat()),
            Peer(
                [
                    frame(DATA, END_STREAM, 9, b"all"),
                    answer(7, END_STREAM, "429"),
                ]
                .concat(),
            ),
            Ends,
        ],
    );
    let unknown = "the connection was joined late, and who is the client is not known yet";
    let expected = [
        "Peer Some(15): the connection was joined in the middle of a frame".to_owned(),
        format!("Peer Some(5): {unknown}"),
        format!("Peer Some(4): {unknown}"),
        "1 Local GET /a".to_owned(),
        "1 Request Complete".to_owned(),
        "2 Response gap None".to_owned(),
        "2 Response body tail".to_owned(),
        "2 Response Complete".to_owned(),
        "1 Peer 200".to_owned(),
        "1 Response body all".to_owned(),
        "1 Response Complete".to_owned(),
        "3 Peer 429".to_owned(),
        "3 Response Complete".to_owned(),
    ];
    assert_eq!(said, expected);
}
