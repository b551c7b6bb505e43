use super::*;
use crate::event::{Comm, Role};

fn names() -> Functions {
    let mut names = Functions::default();
    for (index, name) in [(0, "SSL_write"), (1, "SSL_read")] {
        let library = "openssl".into();
        let name = name.into();
        names.set(index, Arc::new(Function { library, name }));
    }
    names
}

fn caller(pid: u32, ts_ns: u64) -> Caller {
    Caller {
        ts_ns,
        process: ProcessId { pid, start_ns: 7 },
        tid: pid,
        comm: Comm(*b"node\0\0\0\0\0\0\0\0\0\0\0\0"),
    }
}

fn conn(id: u64) -> Conn {
    Conn {
        id: ConnId(id),
        ptr: 0xabc,
        fd: None,
        function: 0,
        born: false,
        half: None,
    }
}

fn data(id: u64, seq: u64, offset: u64, payload: &[u8]) -> Event<'_> {
    Event::Data {
        caller: caller(1, seq),
        conn: conn(id),
        data: Data {
            direction: Direction::Write,
            seq,
            offset,
            call_len: payload.len() as u64,
            more: false,
            early: false,
            goroutine: None,
            unseen: 0,
            missing: None,
            left_out: 0,
            payload: payload.into(),
        },
    }
}

fn close(id: u64, totals: [u64; 2]) -> Event<'static> {
    Event::Close {
        caller: caller(1, 99),
        conn: conn(id),
        totals,
        reused: false,
    }
}

/// One word per message: the snapshot form of these tests.
fn words(messages: &[Message<'_>]) -> Vec<String> {
    messages
        .iter()
        .map(|message| match message {
            Message::Close { origin, reason, .. } => {
                format!("close {} {}", origin.conn, reason.as_str())
            }
            Message::Data { origin, payload } => format!(
                "data {} @{} {}",
                origin.conn,
                payload.offset,
                String::from_utf8_lossy(&payload.bytes)
            ),
            Message::Gap { gap, .. } => format!(
                "gap {} @{} {}B {}r",
                gap.cause.as_str(),
                gap.offset.unwrap_or(0),
                gap.bytes,
                gap.records
            ),
            Message::Missed(missed) => format!("missed {}", missed.file),
            Message::Process(info) => format!("process {}", info.process.pid),
            Message::Open {
                origin,
                from_start,
                socket,
            } => {
                let role = socket.role.map_or("", |role| role.as_str());
                format!("open {} {from_start} {role}", origin.conn)
                    .trim_end()
                    .to_owned()
            }
            Message::Endpoint { origin, endpoint } => {
                let host = endpoint.host.as_ref();
                let host = host.map_or(String::new(), |(name, from)| {
                    format!(" {name} by {}", from.as_str())
                });
                let peer = endpoint.peer.map_or("?".into(), |peer| peer.to_string());
                let how = endpoint.confidence.as_str();
                format!("endpoint {} {peer} {how}{host}", origin.conn)
            }
            Message::Shutdown(origin) => format!("shutdown {}", origin.conn),
        })
        .collect()
}

fn run(events: Vec<Event<'_>>) -> (Vec<String>, Tracker) {
    let mut tracker = Tracker::default();
    let (names, mut messages) = (names(), Vec::new());
    for event in events {
        tracker.push(event, &names, &mut messages);
    }
    (words(&messages), tracker)
}

/// A record that never arrives shows as a gap of exactly its bytes, before the next one.
#[test]
fn lost_records_are_gaps() {
    let (words, tracker) = run(vec![
        data(1, 0, 0, b"ab"),
        data(1, 3, 10, b"cd"),
        close(1, [15, 4]),
    ]);
    assert_eq!(
        words,
        [
            "open c1 false",
            "data c1 @0 ab",
            "gap ring-full @2 8B 2r",
            "data c1 @10 cd",
            "gap ring-full @12 3B 0r",
            "gap ring-full @0 4B 0r",
            "close c1 freed",
        ]
    );
    assert_eq!(tracker.totals().gaps[&Cause::RingFull], (15, 2));
    assert_eq!(tracker.totals().bytes, [4, 0]);
}

/// The first records of a connection may be the lost ones.
#[test]
fn a_lost_beginning_is_a_gap() {
    let (words, _) = run(vec![data(1, 2, 100, b"x")]);
    assert_eq!(
        words,
        [
            "open c1 false",
            "gap ring-full @0 100B 2r",
            "data c1 @100 x"
        ]
    );
}

/// A connection whose every record was lost is still told at its end; an unused object is not.
#[test]
fn connections_without_a_record() {
    let (words, tracker) = run(vec![close(1, [5, 0]), close(2, [0, 0])]);
    assert_eq!(
        words,
        ["open c1 false", "gap ring-full @0 5B 0r", "close c1 freed"]
    );
    assert_eq!(tracker.totals().connections, 1);
}

/// What is known of the socket comes with the connection's announcement, and does not move the stream.
#[test]
fn sockets_are_announced() {
    let names = SocketNames {
        role: Some(Role::Client),
        ..SocketNames::default()
    };
    let socket = Event::Socket {
        caller: caller(1, 1),
        conn: conn(1),
        names,
    };
    let (words, _) = run(vec![socket.clone(), data(1, 0, 0, b"ab"), socket]);
    assert_eq!(words, ["open c1 false client", "data c1 @0 ab"]);
}

/// A socket that is known before its connection says anything waits for it, and makes none of what never does. What is
/// withdrawn is told, and does not count as known.
#[test]
fn endpoints_wait_for_their_connection() {
    let endpoint = |id: u64, trust: Trust| Event::Endpoint {
        caller: caller(1, id),
        conn: conn(id),
        names: SocketNames {
            trust,
            inode: Some(7),
            peer: "127.0.0.1:443"
                .parse()
                .ok()
                .filter(|_| trust == Trust::Exact),
            ..SocketNames::default()
        },
    };
    let (words, tracker) = run(vec![
        endpoint(1, Trust::Exact),
        endpoint(2, Trust::Exact),
        close(2, [0, 0]),
        data(1, 0, 0, b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n"),
        endpoint(1, Trust::Exact),
        endpoint(1, Trust::Apart),
        close(1, [35, 0]),
        data(3, 0, 0, b"x"),
        endpoint(3, Trust::Exact),
        close(3, [1, 0]),
    ]);
    assert_eq!(
        words,
        [
            "open c1 false",
            "endpoint c1 127.0.0.1:443 exact",
            "endpoint c1 127.0.0.1:443 exact a.example by host",
            "data c1 @0 GET / HTTP/1.1\r\nhost: a.example\r\n\r\n",
            "endpoint c1 ? none a.example by host",
            "close c1 freed",
            "open c2 false",
            "data c2 @0 x",
            "endpoint c2 127.0.0.1:443 exact",
            "close c2 freed",
        ]
    );
    let endpoints = &tracker.totals().endpoints;
    assert_eq!(endpoints.values().collect::<Vec<_>>(), [&(1, 2)]);
}

/// The end of a process ends its connections and nobody else's, whatever shares the pid.
#[test]
fn exits_close_the_own_connections_only() {
    let mut tracker = Tracker::default();
    let (names, mut told) = (names(), Vec::new());
    tracker.push(data(1, 0, 0, b"a"), &names, &mut told);
    let mut other = data(2, 0, 0, b"b");
    if let Event::Data { caller, .. } = &mut other {
        caller.process.start_ns = 8;
    }
    tracker.push(other, &names, &mut told);
    told.clear();
    tracker.push(Event::Exit(caller(1, 50)), &names, &mut told);
    assert_eq!(words(&told), ["close c1 exited"]);
    let state = ConnState {
        process: ProcessId {
            pid: 1,
            start_ns: 8,
        },
        id: ConnId(2),
        totals: [3, 0],
    };
    let left = tracker.finish(&[state]);
    assert_eq!(
        words(&left),
        ["gap ring-full @1 2B 0r", "close c2 detached"]
    );
}

/// What is cut off or unreadable is a gap behind the record, and the stream goes on after it.
#[test]
fn missing_bytes_keep_the_stream_in_step() {
    let mut cut = data(1, 0, 0, b"abcd");
    if let Event::Data { data, .. } = &mut cut {
        data.missing = Some((6, Missing::MaxBytes));
    }
    let (words, _) = run(vec![cut, data(1, 1, 10, b"ef")]);
    assert_eq!(
        words,
        [
            "open c1 false",
            "data c1 @0 abcd",
            "gap max-bytes @4 6B 0r",
            "data c1 @10 ef"
        ]
    );
}

/// What the queue had no room for is a gap of its own cause, in front of what the kernel left out.
#[test]
fn what_the_queue_left_out_is_told() {
    let mut stripped = data(1, 1, 2, b"");
    if let Event::Data { data, .. } = &mut stripped {
        data.left_out = 5;
        data.missing = Some((3, Missing::MaxBytes));
    }
    let (words, tracker) = run(vec![data(1, 0, 0, b"ab"), stripped, data(1, 2, 10, b"ef")]);
    assert_eq!(
        words,
        [
            "open c1 false",
            "data c1 @0 ab",
            "gap queue-full @2 5B 1r",
            "gap max-bytes @7 3B 0r",
            "data c1 @10 ef"
        ]
    );
    assert_eq!(tracker.totals().gaps.get(&Cause::QueueFull), Some(&(5, 1)));
}

/// Offsets at the edge of 64 bits, as only a hostile record would have, do not overflow.
#[test]
fn absurd_offsets_do_no_harm() {
    run(vec![data(1, u64::MAX, u64::MAX, b"x"), data(1, 0, 0, b"y")]);
}
