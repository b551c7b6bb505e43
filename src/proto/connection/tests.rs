use proptest::prelude::*;

use super::*;
use crate::proto::conversation::{Act, client, closed, every_split, server, tell};

fn make(from_start: bool) -> Box<dyn Decoder> {
    Box::new(Connection::new(Limits::default(), from_start))
}

fn says(acts: Vec<Act>) -> Vec<Act> {
    acts.into_iter().chain(closed()).collect()
}

const UPGRADE: &str =
    "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const SWITCHING: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\n\r\n";
const CONNECT: &str = "CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n";
const GET: &str = "GET /a HTTP/1.1\r\nHost: x\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// A WebSocket's messages are lost where the connection changes its protocol.
#[test]
fn a_websocket_begins_behind_the_handshake() {
    let hello = b"\x81\x05hello";
    let masked = b"\x81\x82\x01\x02\x03\x04ik"; // "hi"
    let acts = says(vec![
        client(UPGRADE),
        server([SWITCHING.as_bytes(), hello].concat()),
        client(masked),
        server(b"\x88\x02\x03\xe8"),
    ]);
    let told = every_split(&acts, |_| make(true));
    let expected = [
        "1 GET /ws",
        "1 Request complete",
        "1 101",
        "1 now websocket",
        "1 Response complete",
        "1 Peer Text hello",
        "1 Local Text hi",
        "1 Peer Close(Some(1000)) ",
    ];
    assert_eq!(told.lines, expected);
    assert_eq!(told.unrecognised, [0, 0]);
}

/// The first message of a client whose bytes are seen before the server's answer is lost.
#[test]
fn what_the_client_says_too_early_is_kept() {
    let acts = says(vec![
        client(UPGRADE),
        client(b"\x81\x82\x01\x02"),
        client(b"\x03\x04ik"),
        server(SWITCHING),
    ]);
    let told = every_split(&acts, |_| make(true));
    assert_eq!(told.lines.last().unwrap(), "1 Local Text hi");
    assert_eq!(told.unrecognised, [0, 0]);
}

/// Calls through a tunnel are not seen, or numbered like those outside.
#[test]
fn tunnels_are_looked_into() {
    let acts = says(vec![
        client(GET),
        server(OK),
        client(CONNECT),
        server("HTTP/1.1 200 Connected\r\n\r\n"),
        client(GET),
        server(OK),
    ]);
    let told = every_split(&acts, |_| make(true));
    let expected = [
        "1 GET /a",
        "1 Request complete",
        "1 200",
        "1 Response: ok",
        "1 Response complete",
        "2 CONNECT x:443",
        "2 Request complete",
        "2 200",
        "2 now connect",
        "2 Response complete",
        "3 GET /a",
        "3 Request complete",
        "3 200",
        "3 Response: ok",
        "3 Response complete",
    ];
    assert_eq!(told.lines, expected);
}

/// A tunnel in a tunnel in a tunnel takes the stack.
#[test]
fn tunnels_have_a_depth() {
    let acts: Vec<Act> = (0..500)
        .flat_map(|_| [client(CONNECT), server("HTTP/1.1 200 OK\r\n\r\n")])
        .collect();
    let told = tell(&mut *make(true), &says(acts));
    let tunnels = told
        .lines
        .iter()
        .filter(|line| line.contains("now connect"));
    assert_eq!(tunnels.count(), usize::from(DEPTH_MAX) + 1);
    assert!(told.unrecognised[0] > 400 * CONNECT.len() as u64);
}

/// A tunnel's ciphertext is told with each of its records.
#[test]
fn a_tunnel_of_something_else_is_counted() {
    let tls = [0x16, 3, 1, 0, 5, 1, 2, 3, 4, 5];
    let mut acts = vec![client(CONNECT), server("HTTP/1.1 200 OK\r\n\r\n")];
    acts.extend((0..100).flat_map(|_| [client(tls), server(tls)]));
    let told = tell(&mut *make(true), &says(acts));
    assert_eq!(told.unrecognised, [1000, 1000]);
    assert_eq!(told.lines.len(), 5);
}

/// A connection is taken for another protocol, or an unknown one is not shown as bytes.
#[test]
fn protocols_are_recognised() {
    let cases: &[(&[u8], Option<bool>)] = &[
        (b"", None),
        (b"POST", None),
        (b"POST /v1/messages HTTP/1.1\r\n", Some(true)),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Some(true)),
        (b"PRI * HTTP/2.0\r\n\r\nS", None),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", Some(false)),
        (b"EHLO example.com\r\n", Some(false)),
        (b"220 example.com ESMTP\r\n", Some(false)),
        (b"*1\r\n$4\r\nPING\r\n", Some(false)),
    ];
    for (bytes, expected) in cases {
        for from in [Party::Local, Party::Peer] {
            let mut connection = Connection::new(Limits::default(), true);
            // What is no HTTP is known as such from some dozen bytes on: until then it may be frames.
            let times = if expected == &Some(false) { 20 } else { 1 };
            for byte in bytes.repeat(times) {
                connection.data(from, 0, &[byte], &mut |_| {});
            }
            let text = String::from_utf8_lossy(bytes);
            let is_head = expected == &Some(true) && bytes.starts_with(b"POST");
            if is_head {
                connection.data(from, 0, b"Host: x\r\n\r\n", &mut |_| {});
            }
            assert_eq!(connection.is_recognised(), *expected, "{text}");
        }
    }
}

/// A client whose writes cannot be seen hides what the server answers.
#[test]
fn one_direction_is_enough() {
    let told = tell(&mut *make(true), &says(vec![server([OK, OK].concat())]));
    assert_eq!(
        told.lines
            .iter()
            .filter(|line| line.ends_with("200"))
            .count(),
        2
    );
    let told = tell(&mut *make(true), &says(vec![client([GET, GET].concat())]));
    assert_eq!(
        told.lines
            .iter()
            .filter(|line| line.ends_with("/a"))
            .count(),
        2
    );
}

/// Joined in the middle of an answer, nothing of the connection is understood any more.
#[test]
fn joined_late_begins_with_the_next_call() {
    let acts = says(vec![
        server("rest of an answer"),
        server("and more"),
        client(GET),
        server(OK),
    ]);
    let told = tell(&mut *make(false), &acts);
    assert_eq!(told.unrecognised, [0, 25]);
    assert_eq!(
        told.lines[2..],
        ["1 200", "1 Response: ok", "1 Response complete"]
    );
}

/// A connection of an unknown protocol fills the output, or memory.
#[test]
fn unknown_protocols_cost_nothing() {
    let mut connection = Connection::new(Limits::default(), true);
    let mut items = 0;
    for _ in 0..10_000 {
        connection.data(Party::Peer, 0, &[0xa5; 100], &mut |_| items += 1);
    }
    assert_eq!((items, connection.held()), (1, 0));
    let mut told = 0;
    connection.end(Party::Peer, 0, &mut |item| {
        if let Item::Unrecognised { bytes, .. } = item {
            told += bytes.unwrap();
        }
    });
    assert_eq!(told, 999_900);
}

/// A kept-alive connection takes more memory than it may.
#[test]
fn idle_connections_are_small() {
    let mut connection = Connection::new(Limits::default(), true);
    for _ in 0..100 {
        for byte in GET.bytes() {
            connection.data(Party::Local, 0, &[byte], &mut |_| {});
        }
        for byte in OK.bytes() {
            connection.data(Party::Peer, 0, &[byte], &mut |_| {});
        }
    }
    let held = size_of::<Connection>() + connection.held();
    assert!(held < 2048, "{held}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// A hostile peer ends the observer.
    #[test]
    fn arbitrary_bytes_are_survived(data in proptest::collection::vec(any::<u8>(), 0..600)) {
        fuzz_connection(&data);
    }

    /// As above, behind a switch of protocols.
    #[test]
    fn arbitrary_bytes_behind_switches_are_survived(
        is_tunnel in any::<bool>(),
        data in proptest::collection::vec(any::<u8>(), 0..600),
    ) {
        let (asks, agrees) = match is_tunnel {
            true => (CONNECT, "HTTP/1.1 200 OK\r\n\r\n"),
            false => (UPGRADE, SWITCHING),
        };
        let mut all = vec![0];
        all.extend([8, asks.len() as u8]);
        all.extend(asks.as_bytes());
        all.extend([9, agrees.len() as u8]);
        all.extend(agrees.as_bytes());
        all.extend(data);
        fuzz_connection(&all);
    }
}
