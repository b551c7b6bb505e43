//! Events of the eunomia project, read with the types that its own parsers have: `Event` of
//! agentsight-capture/src/event.rs, and what `parse_json_event` of agentsight-capture/src/runners/common.rs asks for.

use std::collections::BTreeMap;

use agentsight::deeds::deed::{File, FileKind, What};
use agentsight::event::Direction;
use agentsight::sink::{Clock, Eunomia, Sink};
use agentsight::stream::{Cause, Gap, Message};
use serde::Deserialize;
use serde_json::Value;

use crate::made::{self, deed, exec, exit, fork, path};
use crate::spoken;

/// Seconds from 1970 to boot.
const BOOT_NS: i128 = 1_700_000_000_000_000_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Event {
    timestamp: u64,
    source: String,
    pid: u32,
    comm: String,
    data: Value,
}

fn written(write: impl FnOnce(&mut Eunomia<&mut Vec<u8>>)) -> Vec<Event> {
    let mut out = Vec::new();
    let mut sink = Eunomia::new(&mut out, Clock::fixed(BOOT_NS));
    write(&mut sink);
    sink.flush().unwrap();
    drop(sink);
    let text = String::from_utf8(out).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The clock of the event is the calendar's, that of the data the machine's; who did it is in both.
fn hold_together(event: &Event) {
    let field = match event.source.as_str() {
        "ssl" => "timestamp_ns",
        "process" => "timestamp",
        source => panic!("{source}"),
    };
    let boot_ns = event.data[field].as_u64().unwrap();
    let milliseconds = (BOOT_NS + i128::from(boot_ns)) / 1_000_000;
    assert_eq!(i128::from(event.timestamp), milliseconds);
    assert_eq!(event.data["pid"].as_u64(), Some(event.pid.into()));
    assert_eq!(event.data["comm"].as_str(), Some(event.comm.as_str()));
}

/// The fields that each kind of process event has at least there.
fn required(event: &str) -> &'static [&'static str] {
    match event {
        "EXEC" => &["filename", "full_command"],
        "EXIT" => &["exit_code", "duration_ms", "vm_hwm_kb"],
        "FILE_OPEN" => &["count", "filepath", "flags"],
        "SUMMARY" => &["process_start_ns", "type", "detail", "count"],
        other => panic!("{other}"),
    }
}

/// A deed becomes an event that no viewer knows, or that lacks a field.
#[test]
fn every_deed_is_an_event_that_its_parsers_take_or_none() {
    let events = written(|sink| {
        for mut deed in made::all() {
            sink.deed(&deed).unwrap();
            // Most of them failed: the same as if they had not.
            if let What::File(_, file) = &mut deed.what {
                file.error = None;
            }
            if let What::Net(_, net) = &mut deed.what {
                net.error = None;
            }
            sink.deed(&deed).unwrap();
        }
    });
    let mut kinds = BTreeMap::new();
    for event in &events {
        hold_together(event);
        let name = event.data["event"].as_str().unwrap();
        for field in required(name) {
            assert!(!event.data[*field].is_null(), "{field}: {}", event.data);
        }
        let kind = event.data["type"].as_str().unwrap_or_default();
        *kinds.entry(format!("{name} {kind}")).or_insert(0) += 1;
    }
    let expected = [
        "EXEC ",
        "EXIT ",
        "FILE_OPEN ",
        "SUMMARY DIR_CREATE",
        "SUMMARY FILE_DELETE",
        "SUMMARY FILE_RENAME",
        "SUMMARY FILE_TRUNCATE",
        "SUMMARY MMAP_SHARED",
        "SUMMARY NET_ACCEPT",
        "SUMMARY NET_BIND",
        "SUMMARY NET_CONNECT",
        "SUMMARY NET_LISTEN",
        "SUMMARY PROC_FORK",
        "SUMMARY SIGNAL_SEND",
        "SUMMARY WRITE",
    ];
    assert_eq!(kinds.keys().collect::<Vec<_>>(), expected);
}

/// The viewer's tree is made of `ppid`; numbers and paths are others than what was done.
#[test]
fn a_run_reads_as_it_was() {
    let opened = File {
        path: Some(path("/w/log")),
        flags: vec!["write", "create", "append"],
        ..File::default()
    };
    let wrote = File {
        path: Some(path("/w/log")),
        fd: Some(3),
        bytes: Some(12),
        calls: Some(2),
        ..File::default()
    };
    let events = written(|sink| {
        for deed in [
            deed(10, 22, fork(11)),
            deed(11, 23, exec(&["sh", "-c", "make > log"])),
            deed(11, 24, What::File(FileKind::Open, Box::new(opened))),
            deed(11, 25, What::File(FileKind::Write, Box::new(wrote))),
            deed(11, 35, exit(2)),
        ] {
            sink.deed(&deed).unwrap();
        }
    });
    let [_, exec, open, write, exit] = events.as_slice() else {
        panic!("{}", events.len());
    };
    assert_eq!(exec.data["ppid"], 10);
    assert_eq!(exec.data["full_command"], "sh -c make > log");
    assert_eq!(open.data["filepath"], "/w/log");
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND;
    assert_eq!(open.data["flags"], flags);
    assert_eq!(write.data["detail"], "/w/log");
    assert_eq!(write.data["total_bytes"], 12);
    assert_eq!(write.data["count"], 2);
    assert_eq!(
        (&exit.data["exit_code"], &exit.data["ppid"]),
        (&2.into(), &10.into())
    );
    // From 11 µs to 35 ms after boot.
    assert_eq!(exit.data["duration_ms"], 34);
}

/// Plaintext comes out changed, in the wrong direction, or a loss is not told.
#[test]
fn plaintext_is_what_went() {
    let binary = b"\x00\x01\xff\xfeabc".to_vec();
    let gap = Message::Gap {
        origin: Some(spoken::origin(10, 33_000_000)),
        gap: Gap {
            cause: Cause::RingFull,
            direction: Some(Direction::Read),
            offset: Some(7),
            bytes: 4096,
            records: 1,
        },
    };
    let events = written(|sink| {
        let text = spoken::data(10, 31_000_000, Direction::Write, "häl\"lo\n".into());
        sink.message(&text).unwrap();
        let data = spoken::data(10, 32_000_000, Direction::Read, binary.clone());
        sink.message(&data).unwrap();
        sink.message(&gap).unwrap();
    });
    let [text, data, gap] = events.as_slice() else {
        panic!("{}", events.len());
    };
    for event in &events {
        hold_together(event);
        for field in ["tid", "connection_id", "len", "buf_size"] {
            assert!(event.data[field].is_u64(), "{field}: {}", event.data);
        }
        assert_eq!(event.data["is_handshake"], false);
    }
    assert_eq!(text.data["function"], "WRITE/SEND");
    assert_eq!(text.data["data"], "häl\"lo\n");
    assert!(text.data["data_hex"].is_null());
    assert_eq!(data.data["function"], "READ/RECV");
    assert_eq!(data.data["data_hex"], "0001fffe616263");
    // One character for each byte, as its reader takes them back.
    let bytes: Vec<u8> = data.data["data"]
        .as_str()
        .unwrap()
        .chars()
        .map(|c| c as u8)
        .collect();
    assert_eq!(bytes, binary);
    assert_eq!(
        (&gap.data["truncated"], &gap.data["bytes_lost"]),
        (&true.into(), &4096.into())
    );
    assert_eq!(gap.data["data"], Value::Null);
}

/// A prompt or its answer is not seen as one.
#[test]
fn messages_of_http_are_told_for_its_readers() {
    let (_, said) = spoken::call(10);
    let events = written(|sink| {
        for said in &said {
            sink.said(said).unwrap();
        }
    });
    let [request, response] = events.as_slice() else {
        panic!("{}", events.len());
    };
    assert_eq!((request.source.as_str(), request.pid), ("http_parser", 10));
    assert_eq!(request.data["message_type"], "request");
    assert_eq!(request.data["method"], "POST");
    assert_eq!(request.data["path"], "/v1/chat/completions");
    assert_eq!(request.data["headers"]["host"], "api.openai.com");
    let body: Value = serde_json::from_str(request.data["body"].as_str().unwrap()).unwrap();
    assert_eq!(body["model"], "gpt-4o-mini");
    assert_eq!(response.data["message_type"], "response");
    assert_eq!(response.data["status_code"], 200);
    for event in &events {
        for field in ["tid", "total_size", "content_length"] {
            assert!(event.data[field].is_u64(), "{field}: {}", event.data);
        }
        assert_eq!(event.data["has_body"], true);
        assert_eq!(event.data["is_chunked"], false);
    }
}
