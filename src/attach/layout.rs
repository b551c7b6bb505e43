//! Holds the Rust mirror of `bpf/event.h` against the types that the build generates from the object's
//! BTF, and against the header's own text.

use super::skel::types;
use crate::event::act;
use crate::event::process::{FACTS_LEN, Property, Sighting};
use crate::event::wire::{self, Counter, GoTypeKind};
use crate::event::{Comm, ConnId, Direction, Event, Missing, Role, Trust};

const HEADER: &str = include_str!("../../bpf/event.h");

/// The bytes of a generated type.
fn bytes_of<T: Copy>(value: &T) -> Vec<u8> {
    let start = (&raw const *value).cast::<u8>();
    // SAFETY: generated from C types without padding (-Wpadded holds there), so all bytes are set.
    unsafe { std::slice::from_raw_parts(start, size_of::<T>()) }.to_vec()
}

fn header() -> types::event_header {
    types::event_header {
        ts_ns: 1,
        process_start: 2,
        conn_id: 3,
        conn_ptr: 4,
        offset: 5,
        call_len: 6,
        seq: 7,
        missing: 8,
        goroutine: 14,
        unseen: 15,
        pid: 9,
        tid: 10,
        len: 3,
        fd: 12,
        function: 13,
        kind: 1,
        direction: 1,
        flags: 1 | 2 | 16 | 64,
        pad: [0; 2],
        comm: [b'n' as i8; 16],
    }
}

/// Every field of a record lands where the decoder reads it.
#[test]
fn records_decode_as_the_kernel_lays_them_out() {
    assert_eq!(size_of::<types::event_header>(), wire::HEADER_LEN);
    let mut record = bytes_of(&header());
    record.extend(b"abcxx");
    let Ok(Event::Data { caller, conn, data }) = wire::decode(&record) else {
        panic!("not decoded");
    };
    assert_eq!((caller.ts_ns, caller.tid), (1, 10));
    assert_eq!((caller.process.start_ns, caller.process.pid), (2, 9));
    assert_eq!(caller.comm, Comm([b'n'; 16]));
    assert_eq!((conn.id, conn.ptr, conn.fd), (ConnId(3), 4, Some(12)));
    assert_eq!((conn.function, conn.born), (13, true));
    assert_eq!((data.offset, data.call_len, data.seq), (5, 6, 7));
    assert_eq!(data.direction, Direction::Read);
    assert_eq!((data.more, data.early), (true, true));
    assert_eq!((data.goroutine, data.unseen), (Some(14), 15));
    assert_eq!(conn.half, None);
    assert_eq!(data.missing, Some((8, Missing::Unreadable)));
    assert_eq!(&*data.payload, b"abc");
}

/// The names of a socket land where the decoder reads them; IPv4 in either form is IPv4.
#[test]
fn sockets_decode_as_the_kernel_lays_them_out() {
    let mut local = [0; 16];
    local[10..].copy_from_slice(&[0xff, 0xff, 127, 0, 0, 1]);
    let names = types::socket_names {
        role: 2,
        local_len: 16,
        peer_len: 4,
        trust: 2,
        local_port: 443,
        peer_port: 50000,
        local,
        peer: [10, 0, 0, 7, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9],
        inode: 77,
    };
    assert_eq!(size_of_val(&names), wire::SOCKET_NAMES_LEN);
    let mut record = bytes_of(&types::event_header {
        kind: 7,
        flags: 256,
        len: wire::SOCKET_NAMES_LEN as u32,
        ..header()
    });
    record.extend(bytes_of(&names));
    let Ok(Event::Socket { conn, names, .. }) = wire::decode(&record) else {
        panic!("not decoded");
    };
    assert_eq!(conn.half, Some(Direction::Read));
    assert_eq!((names.trust, names.inode), (Trust::Exact, Some(77)));
    assert_eq!(names.role, Some(Role::Server));
    assert_eq!(names.local, "127.0.0.1:443".parse().ok());
    assert_eq!(names.peer, "10.0.0.7:50000".parse().ok());
}

/// A socket that is told of a whole connection, and a ClientHello, land where the decoder reads them.
#[test]
fn endpoints_decode_as_the_kernel_lays_them_out() {
    let names = types::socket_names {
        trust: 4,
        inode: 77,
        ..Default::default()
    };
    let mut record = bytes_of(&types::event_header {
        kind: 11,
        flags: 0,
        len: wire::SOCKET_NAMES_LEN as u32,
        ..header()
    });
    record.extend(bytes_of(&names));
    let Ok(Event::Endpoint { conn, names, .. }) = wire::decode(&record) else {
        panic!("not decoded");
    };
    assert_eq!((conn.id, names.trust), (ConnId(3), Trust::Apart));
    assert_eq!((names.inode, names.peer), (Some(77), None));
    let mut record = bytes_of(&types::event_header {
        kind: 12,
        flags: 0,
        ..header()
    });
    record.extend(b"abc and room that is not used");
    let Ok(Event::Hello { hello, .. }) = wire::decode(&record) else {
        panic!("not decoded");
    };
    assert_eq!((hello.inode, hello.direction), (5, Direction::Read));
    assert_eq!(&*hello.bytes, b"abc");
}

/// What a process did lands where the decoder reads it, and so do its texts.
#[test]
fn acts_decode_as_the_kernel_lays_them_out() {
    let act = types::act {
        result: -13,
        value: [1, 2, 3, 4],
        file: types::file_id {
            dev: 5,
            generation: 6,
            ino: 7,
        },
        lens: [8, 3, 0, 0],
        forms: [2, 1, 0, 0],
        flags: 1 | 8,
        pad: 0,
    };
    assert_eq!(size_of_val(&act), act::ACT_LEN);
    let mut record = bytes_of(&types::event_header {
        kind: 13,
        function: 5,
        flags: 0,
        len: act::ACT_LEN as u32 + 11,
        ..header()
    });
    record.extend(bytes_of(&act));
    record.extend(b"name\0to\0cwd");
    let Ok(Event::Act { act, .. }) = wire::decode(&record) else {
        panic!("not decoded");
    };
    assert_eq!(act.kind, act::ActKind::Open);
    assert_eq!((act.errno(), act.value), (Some(13), [1, 2, 3, 4]));
    assert_eq!((act.fd, act.file), (Some(12), wire::file_id(5, 6, 7)));
    assert!(act.flags.is_closed() && act.flags.was_written() && !act.flags.is_inherited());
    assert_eq!(&*act.text(0).unwrap().path(), b"/to/name");
    assert_eq!(act.text(1).unwrap().raw(), b"cwd");
    assert_eq!(act.text(2), None);
}

/// What user space tells of functions and Go types is what the kernel side reads.
#[test]
fn facts_encode_as_the_kernel_reads_them() {
    let function = types::function {
        vaddr: 1,
        first_word: 2,
        attached_ns: 3,
        go: 5,
        kin: 6,
        ..Default::default()
    };
    let facts = wire::FunctionFacts {
        vaddr: 1,
        first_word: 2,
        attached_ns: 3,
        go: Some(4),
        kin: 6,
    };
    assert_eq!(size_of_val(&function), wire::FUNCTION_LEN);
    assert_eq!(bytes_of(&function), facts.encode());
    let answers = types::function {
        passed: 6,
        failed: 7,
        ..function
    };
    assert_eq!(wire::guard_answers(&bytes_of(&answers)), Some((6, 7)));
    let places = types::go_facts {
        conn: 1,
        is_client: 2,
        sysfd: 3,
        local: 4,
        peer: 5,
        ip: 6,
        port: 7,
        goid: 8,
    };
    assert_eq!(bytes_of(&places), wire::go_facts([1, 2, 3, 4, 5, 6, 7, 8]));
    let key = types::go_type_key {
        rtype: 9,
        facts: 10,
        pad: 0,
    };
    let value = types::go_type {
        kind: 2,
        offset: 11,
    };
    let ours = wire::go_type(10, 9, GoTypeKind::Wrapper, 11);
    assert_eq!((bytes_of(&key), bytes_of(&value)), ours);
}

/// The table of connections reads as the kernel writes it.
#[test]
fn connections_decode_as_the_kernel_lays_them_out() {
    let key = types::conn_key {
        process: types::process_key {
            start_ns: 1,
            tgid: 2,
            exec_id: 3,
        },
        ptr: 4,
    };
    let conn = types::conn {
        id: 5,
        offset: [6, 7],
        ..Default::default()
    };
    assert_eq!(size_of_val(&key), wire::CONN_KEY_LEN);
    assert_eq!(size_of_val(&conn), wire::CONN_LEN);
    let state = wire::decode_conn(&bytes_of(&key), &bytes_of(&conn)).expect("long enough");
    assert_eq!((state.process.start_ns, state.process.pid), (1, 2));
    assert_eq!((state.id, state.totals), (ConnId(5), [6, 7]));
    let file = types::file_id {
        dev: 8,
        generation: 7,
        ino: 9,
    };
    assert_eq!(bytes_of(&file), wire::file_id(8, 7, 9).0);
}

/// What is told of a process lands where the decoder reads it, and is asked in the form that the kernel side looks up.
#[test]
fn processes_decode_as_the_kernel_lays_them_out() {
    let mut path = [0; 256];
    path[..3].copy_from_slice(&[b'a' as i8, b'/' as i8, b'b' as i8]);
    let facts = types::process_facts {
        values: [
            [1, 2],
            [u64::from_ne_bytes(*b"node\0\0\0\0"), 0],
            [3, 4],
            [5, 0],
        ],
        parent_start: 6,
        parent: 7,
        ns_pid: 8,
        path,
    };
    assert_eq!(size_of_val(&facts), FACTS_LEN);
    let mut record = bytes_of(&types::event_header {
        kind: 10,
        len: FACTS_LEN as u32,
        ..header()
    });
    record.extend(bytes_of(&facts));
    let Ok(Event::Process(sighted)) = wire::decode(&record) else {
        panic!("not decoded");
    };
    assert_eq!(sighted.why, Sighting::Asked);
    let facts = &sighted.facts;
    assert_eq!(facts.exe().0[..8], 1_u64.to_ne_bytes());
    assert_eq!((facts.comm().text(), facts.uid()), ("node".into(), 5));
    assert_eq!((facts.mount_namespace(), facts.ns_pid), (4, 8));
    assert_eq!((facts.parent.start_ns, facts.parent.pid), (6, 7));
    assert_eq!(facts.path, b"a/b");
    let question = types::question {
        value: [3, 4],
        kind: 2,
        pad: 0,
    };
    assert_eq!(
        bytes_of(&question),
        facts.question(Property::Place).encode()
    );
}

/// The table of halves reads as the kernel writes it.
#[test]
fn halves_decode_as_the_kernel_lays_them_out() {
    let key = types::half_key {
        process: types::process_key {
            start_ns: 1,
            tgid: 2,
            exec_id: 3,
        },
        context: 4,
        prefix: 5,
        direction: 1,
    };
    let half = types::half {
        id: 6,
        offset: 7,
        ..Default::default()
    };
    assert_eq!(size_of_val(&half), wire::HALF_LEN);
    let state = wire::decode_half(&bytes_of(&key), &bytes_of(&half)).expect("long enough");
    assert_eq!((state.process.start_ns, state.process.pid), (1, 2));
    assert_eq!((state.id, state.totals), (ConnId(6), [0, 7]));
}

/// Counters are read by their place in the header file's list.
#[test]
fn counters_are_in_the_order_of_the_header() {
    let list = HEADER
        .split("enum agentsight_counter {")
        .nth(1)
        .expect("the list");
    let list = list.split("};").next().expect("its end");
    let theirs: Vec<String> = list
        .lines()
        .filter_map(|line| line.trim().strip_prefix("COUNT_")?.split(',').next())
        .filter(|name| *name != "MAX")
        .map(|name| name.replace('_', ""))
        .collect();
    let ours: Vec<String> = Counter::ALL
        .iter()
        .map(|counter| format!("{counter:?}").to_uppercase())
        .collect();
    assert_eq!(ours, theirs);
    for (place, counter) in Counter::ALL.iter().enumerate() {
        assert_eq!(*counter as usize, place);
    }
}

/// Numbers that both sides write down are the same numbers.
#[test]
fn constants_agree_with_the_header() {
    // A long comment moves the number to the next line.
    let header = HEADER.split_whitespace().collect::<Vec<_>>().join(" ");
    let value = |name: &str| -> u64 {
        let place = header.find(&format!(" {name} = "));
        let place = place.unwrap_or_else(|| panic!("{name} is not in event.h"));
        let text = header[place..].split(['=', ',']).nth(1).unwrap();
        let number = text.trim().parse();
        number.unwrap_or_else(|_| panic!("{name}: {text}"))
    };
    let all = wire::CONSTANTS.iter().chain(crate::plan::COOKIE_CONSTANTS);
    for (name, number) in all.chain(act::CONSTANTS) {
        assert_eq!(value(name), *number, "{name}");
    }
}
