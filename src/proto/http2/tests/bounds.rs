//! What is kept, and how long it takes, whatever is sent.

use super::*;

/// A peer could make the observer keep anything: headers without end, streams without end, or tables without end.
#[test]
fn what_is_kept_is_bounded() {
    let limits = Limits {
        head: 20_000,
        fields: 8,
        exchanges: 4,
        ..Limits::default()
    };
    let fresh = || Http2::new(limits, true);
    let mut steps = start().to_vec();
    let many: Vec<u8> = (0..10).flat_map(|number| get(2 * number + 1, 0)).collect();
    steps.push(Local(many));
    let said = run_with(fresh(), &steps, usize::MAX);
    assert_eq!(
        said.iter().filter(|line| line.ends_with("GET /a")).count(),
        4
    );
    let refused = said
        .iter()
        .filter(|line| line.ends_with("more streams are open at once than are followed"));
    assert_eq!(refused.count(), 6);

    let mut endless = start().to_vec();
    endless.push(Local(frame(HEADERS, 0, 1, &block(&GET))));
    endless.extend((0..100).map(|_| Local(frame(CONTINUATION, 0, 1, &vec![0; 16_000]))));
    endless.push(Local(
        [frame(CONTINUATION, END_HEADERS, 1, &[]), get(3, 0)].concat(),
    ));
    assert_eq!(
        run_with(fresh(), &endless, usize::MAX),
        ["1 Request gap None", "2 Local GET /a"]
    );

    let large = [&GET[..], &[("a", "b"); 9]].concat();
    let steps = [
        &start()[..],
        &[Local(frame(HEADERS, END_HEADERS, 1, &block(&large)))],
    ]
    .concat();
    let said = run_with(fresh(), &steps, usize::MAX);
    assert_eq!(
        said[1],
        "1 Request broken: the head is larger, or has more fields, than is kept"
    );

    let mut decoder = fresh();
    let mut ignore = |_: Item<'_>| {};
    decoder.data(Party::Local, 0, PREFACE, &mut ignore);
    for _ in 0..10_000 {
        decoder.data(
            Party::Local,
            0,
            &frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 9]),
            &mut ignore,
        );
    }
    assert!(decoder.held() < 4096, "{}", decoder.held());
}

/// A connection that does nothing would cost more memory than there is for thousands of them.
#[test]
fn an_idle_connection_is_small() {
    let mut decoder = Http2::new(Limits::default(), true);
    let (client, server) = varied();
    let mut ignore = |_: Item<'_>| {};
    for piece in client.chunks(1000) {
        decoder.data(Party::Local, 0, piece, &mut ignore);
    }
    decoder.data(Party::Peer, 0, &server[..server.len() - 30], &mut ignore);
    let held = decoder.held() + size_of::<Http2>();
    assert!(held < 2048, "{held}");
}

/// Time per byte would grow with the connection: someone sends what looks like frames and is not.
#[test]
fn searching_is_linear() {
    let header = &frame(DATA, 0, 1, &[0; 9])[..HEADER];
    let mut decoys = header.repeat(20_000);
    decoys.extend(frame(PING, 9, 0, &[0; 8]).repeat(5000));
    let began = std::time::Instant::now();
    for piece in [1, 1000, usize::MAX] {
        let steps = [
            &start()[..],
            &[LostLocal(None), Local(decoys.clone()), Ends],
        ]
        .concat();
        run_with(Http2::new(Limits::default(), true), &steps, piece);
    }
    assert!(began.elapsed().as_secs() < 5, "{:?}", began.elapsed());
}
