use super::*;
use crate::event::{Comm, Role};

const INODE: u64 = 77;

fn caller(pid: u32, ts_ns: u64) -> Caller {
    Caller {
        ts_ns,
        process: ProcessId { pid, start_ns: 7 },
        tid: pid,
        comm: Comm::default(),
    }
}

fn half(id: u64, direction: Direction) -> Conn {
    Conn {
        id: ConnId(id),
        ptr: 0xabc,
        fd: Some(3),
        function: 0,
        born: false,
        half: Some(direction),
    }
}

fn data(id: u64, direction: Direction, seq: u64, offset: u64, text: &str) -> Event<'static> {
    Event::Data {
        caller: caller(1, seq),
        conn: half(id, direction),
        data: Data {
            direction,
            seq,
            offset,
            call_len: text.len() as u64,
            more: false,
            early: false,
            goroutine: None,
            unseen: 0,
            missing: None,
            left_out: 0,
            payload: text.as_bytes().to_vec().into(),
        },
    }
}

fn socket(id: u64, direction: Direction, inode: u64) -> Event<'static> {
    Event::Socket {
        caller: caller(1, 1),
        conn: half(id, direction),
        names: SocketNames {
            role: (direction == Read).then_some(Role::Client),
            trust: Trust::Exact,
            inode: Some(inode),
            ..SocketNames::default()
        },
    }
}

fn close(id: u64, direction: Direction, total: u64, reused: bool) -> Event<'static> {
    Event::Close {
        caller: caller(1, 99),
        conn: half(id, direction),
        totals: match direction {
            Write => [total, 0],
            Read => [0, total],
        },
        reused,
    }
}

/// One word per event.
fn words(events: &[Event<'_>]) -> Vec<String> {
    let word = |event: &Event| match event {
        Event::Data { conn, data, .. } => {
            assert_eq!(conn.half, None);
            let text = String::from_utf8_lossy(&data.payload);
            format!(
                "{}{}@{}#{} {text}",
                data.direction, conn.id.0, data.offset, data.seq
            )
        }
        Event::Socket { conn, names, .. } => format!("open{} {}", conn.id.0, names.trust.as_str()),
        Event::Close { conn, totals, .. } => format!("close{} {totals:?}", conn.id.0),
        other => format!("{other:?}"),
    };
    events.iter().map(word).collect()
}

fn run(events: Vec<Event<'_>>) -> Vec<String> {
    let mut joiner = Joiner::default();
    let out: Vec<Event<'_>> = events
        .into_iter()
        .flat_map(|event| joiner.push(event))
        .collect();
    words(&out)
}

use Direction::{Read, Write};

/// A request would be told apart from its answer.
#[test]
fn halves_of_one_socket_are_one_connection() {
    let told = run(vec![
        data(5, Write, 0, 0, "ask"),
        socket(5, Write, INODE),
        socket(6, Read, INODE),
        data(6, Read, 0, 0, "answer"),
        data(5, Write, 1, 3, "more"),
        close(5, Write, 7, false),
        close(6, Read, 6, false),
    ]);
    let expected = [
        "open5 bytes",
        "write5@0#0 ask",
        "open5 bytes",
        "read5@0#0 answer",
        "write5@3#1 more",
        "close5 [7, 6]",
    ];
    assert_eq!(told.iter().filter(|word| *word != "open5 bytes").count(), 4);
    assert_eq!(told.last().unwrap(), expected[5]);
    assert_eq!(&told[..2], &expected[..2]);
}

/// A KeyUpdate would make the stream begin anew, or be taken for the end.
#[test]
fn a_stream_goes_on_under_another_key() {
    let told = run(vec![
        socket(4, Write, INODE), // of the handshake: no data
        close(4, Write, 0, true),
        socket(5, Write, INODE),
        data(5, Write, 0, 0, "one"),
        close(5, Write, 3, true),
        socket(8, Write, INODE),
        data(8, Write, 0, 0, "two"),
        close(8, Write, 3, false),
    ]);
    assert_eq!(
        told.into_iter()
            .filter(|word| !word.starts_with("open"))
            .collect::<Vec<_>>(),
        ["write4@0#0 one", "write4@3#1 two", "close4 [6, 0]"]
    );
}

/// Data would wait for ever, or two connections become one.
#[test]
fn what_has_no_socket_is_let_go() {
    let mut joiner = Joiner::default();
    assert!(joiner.push(data(5, Write, 0, 0, "ask")).is_empty());
    assert!(joiner.tick(PATIENCE_NS).is_empty());
    assert_eq!(
        words(&joiner.tick(PATIENCE_NS + 1)),
        ["open5 none", "write5@0#0 ask"]
    );
    assert!(joiner.push(data(6, Read, 0, 0, "answer")).is_empty());
    assert_eq!(words(&joiner.finish()), ["open5 guess", "read5@0#0 answer"]);
    // A third one belongs to none of them.
    joiner.push(data(9, Write, 0, 0, "other"));
    assert_eq!(words(&joiner.finish()), ["open9 none", "write9@0#0 other"]);
}

/// Another connection's answer would be put into one whose socket is known, or one of several be guessed.
#[test]
fn only_what_is_alone_is_guessed() {
    let mut joiner = Joiner::default();
    joiner.push(data(5, Write, 0, 0, "ask"));
    joiner.push(socket(5, Write, INODE));
    joiner.push(data(6, Read, 0, 0, "stranger"));
    assert_eq!(
        words(&joiner.finish()),
        ["open6 none", "read6@0#0 stranger"]
    );
    joiner.push(data(7, Write, 0, 0, "one"));
    joiner.push(data(8, Write, 0, 0, "other"));
    let told = words(&joiner.finish());
    assert!(told.contains(&"open7 none".to_owned()), "{told:?}");
    assert!(!told.iter().any(|word| word.ends_with("guess")), "{told:?}");
    // Both wait, and nothing else does.
    let mut joiner = Joiner::default();
    joiner.push(data(5, Write, 0, 0, "ask"));
    joiner.push(data(6, Read, 0, 0, "answer"));
    let told = words(&joiner.finish());
    assert_eq!(told[0], "open6 guess");
    assert_eq!(
        told.iter().filter(|word| word.starts_with("open")).count(),
        1
    );
}

/// A program that makes up contexts would fill our memory, or take our time.
#[test]
fn connections_are_bounded() {
    let mut joiner = Joiner::default();
    for n in 0..HALVES_MAX as u64 + 5000 {
        joiner.push(data(n, Write, 0, 0, "x"));
        if n % 64 == 0 {
            joiner.finish();
        }
    }
    assert!(joiner.halves.len() <= HALVES_MAX);
    assert!(joiner.conns.len() <= HALVES_MAX);
    assert!(joiner.waiting.len() <= 64 && joiner.apart.len() <= CANDIDATES_MAX);
}

/// What waits is lost when its process ends.
#[test]
fn the_end_of_a_process_lets_go_before() {
    let mut joiner = Joiner::default();
    joiner.push(data(5, Write, 0, 0, "ask"));
    let told = joiner.push(Event::Exit(caller(1, 3)));
    assert_eq!(words(&told)[..2], ["open5 none", "write5@0#0 ask"]);
    assert_eq!(told.len(), 3);
    joiner.forget_process(caller(1, 3).process);
    assert!(joiner.halves.is_empty() && joiner.conns.is_empty() && joiner.held_bytes == 0);
}

/// Memory would grow with what waits.
#[test]
fn waiting_is_bounded() {
    let mut joiner = Joiner::default();
    let text = "x".repeat(HELD_BYTES_MAX / 4);
    let told: usize = (0..8)
        .map(|n| {
            joiner
                .push(data(5, Write, n, n * text.len() as u64, &text))
                .len()
        })
        .sum();
    assert_eq!(told, 8 + 1);
    assert_eq!(joiner.held_bytes, 0);
}

/// What the kernel's tables say of the end would be about streams that nobody knows.
#[test]
fn states_are_told_of_connections() {
    let mut joiner = Joiner::default();
    for event in [
        socket(5, Write, INODE),
        data(5, Write, 0, 0, "ask"),
        socket(6, Read, INODE),
        data(6, Read, 0, 0, "answer"),
    ] {
        joiner.push(event);
    }
    let state = |id: u64, totals| ConnState {
        process: caller(1, 0).process,
        id: ConnId(id),
        totals,
    };
    let states = joiner.states(vec![state(5, [9, 0]), state(6, [0, 8]), state(70, [1, 2])]);
    let told: Vec<_> = states
        .iter()
        .map(|state| (state.id.0, state.totals))
        .collect();
    assert_eq!(told, [(5, [9, 8]), (70, [1, 2])]);
}
