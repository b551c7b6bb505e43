//! Go's crypto/tls, with the newest and the oldest toolchain at hand: plaintext, sockets and roles are
//! compared with what the programs know of themselves.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::capture::{Capture, Captured, Conn};
use crate::gobuild::{GoProgram, NEWEST, OLDEST, go_program};
use crate::{is_root, program};

const VERSIONS: [&str; 2] = [NEWEST, OLDEST];

/// A running program of ours.
struct Talk {
    child: Child,
    log: tempfile::TempDir,
}

impl Talk {
    fn start(program: &GoProgram, options: &[&str]) -> Self {
        let log = tempfile::tempdir().unwrap();
        let child = Command::new(&program.path)
            .args(options)
            .arg("-log")
            .arg(log.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child, log }
    }

    fn wait_ready(&mut self) {
        let mut line = String::new();
        let stdout = self.child.stdout.as_mut().unwrap();
        // The program prints nothing more until it is told to go on.
        BufReader::new(stdout).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
    }

    fn go(&mut self) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(b"\n").unwrap();
    }

    /// What each end knows of itself, by `local peer`; and what the program printed.
    fn finish(self) -> (BTreeMap<String, End>, String) {
        let output = self.child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", output.status);
        let mut ends = BTreeMap::new();
        for entry in fs::read_dir(self.log.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|ending| ending == "socket") {
                let (socket, end) = End::read(&path);
                assert!(ends.insert(socket, end).is_none());
            }
        }
        (ends, String::from_utf8(output.stdout).unwrap())
    }
}

/// One end of a connection as the program saw it.
struct End {
    role: String,
    fd: i64,
    /// Unknown where net/http did it.
    written: Option<Vec<u8>>,
    read: Option<Vec<u8>>,
}

impl End {
    fn read(path: &Path) -> (String, Self) {
        let text = fs::read_to_string(path).unwrap();
        let (socket, fd) = text.rsplit_once(' ').unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let end = Self {
            role: name.split('-').next().unwrap().to_owned(),
            fd: fd.parse().unwrap(),
            written: fs::read(path.with_extension("write")).ok(),
            read: fs::read(path.with_extension("read")).ok(),
        };
        (socket.to_owned(), end)
    }
}

fn socket(conn: &Conn) -> String {
    format!(
        "{} {}",
        conn.local.as_deref().unwrap_or("?"),
        conn.peer.as_deref().unwrap_or("?")
    )
}

/// The captured connections are the program's, end by end and byte by byte.
fn assert_same(what: &str, captured: &Captured, ends: &BTreeMap<String, End>) {
    captured.assert_whole();
    let ours: BTreeMap<_, _> = captured
        .conns
        .values()
        .map(|conn| (socket(conn), conn))
        .collect();
    assert_eq!(ours.len(), captured.conns.len(), "{what}: one socket twice");
    let names: Vec<_> = ours.keys().collect();
    assert_eq!(names, ends.keys().collect::<Vec<_>>(), "{what}");
    for (socket, end) in ends {
        let conn = ours[socket];
        assert_eq!(conn.library, "go-crypto-tls", "{what}");
        assert_eq!(conn.role.as_ref(), Some(&end.role), "{what}: {socket}");
        assert_eq!(conn.fd, Some(end.fd), "{what}: {socket}");
        for (ours, theirs) in [(&conn.written, &end.written), (&conn.read, &end.read)] {
            if let Some(theirs) = theirs {
                assert_eq!(ours.len(), theirs.len(), "{what}: {socket}");
                assert!(ours == theirs, "{what}: {socket}: other bytes");
            }
        }
    }
}

/// Runs the program from its start under a capture.
fn compare(program: &GoProgram, options: &[&str]) -> (Captured, String) {
    let capture = Capture::start(&program.path, &[]);
    let talk = Talk::start(program, options);
    let (ends, printed) = talk.finish();
    let captured = capture.stop();
    assert!(!ends.is_empty());
    assert_same(&format!("{options:?}"), &captured, &ends);
    assert!(captured.conns.values().all(|conn| conn.from_start));
    (captured, printed)
}

fn data_lines(captured: &Captured) -> impl Iterator<Item = &serde_json::Value> {
    let lines = captured.lines.iter();
    lines.filter(|line| line["type"] == "tls.data")
}

/// Many connections on many goroutines: each has exactly its own bytes, socket and side.
#[test]
fn root_go_64_connections() {
    for version in VERSIONS {
        let Some(talk) = go_program(version, "talk", &[]) else {
            return;
        };
        let (captured, _) = compare(&talk, &["-conns", "64", "-messages", "20"]);
        assert_eq!(captured.conns.len(), 128);
        assert!(captured.conns.values().all(|conn| conn.close.is_some()));
        // Goroutines wander between threads, and never change their number.
        let goroutines = data_lines(&captured).map(|line| line["goroutine"].as_u64().unwrap());
        assert!(goroutines.collect::<std::collections::BTreeSet<_>>().len() > 64);
    }
}

/// Nothing, four bytes at a time, ten million at once, too late, after the end.
#[test]
fn root_go_odd_calls() {
    for version in VERSIONS {
        let Some(talk) = go_program(version, "talk", &[]) else {
            return;
        };
        let (captured, _) = compare(&talk, &["-mode", "odd"]);
        let largest = data_lines(&captured).map(|line| line["call_len"].as_u64().unwrap());
        assert_eq!(largest.max(), Some(10_000_000));
    }
}

/// TLS 1.0 sends the first byte of a message alone, and is told as what the program asked for.
#[test]
fn root_go_old_tls() {
    for version in VERSIONS {
        let Some(talk) = go_program(version, "talk", &[]) else {
            return;
        };
        for tls in ["10", "12"] {
            compare(&talk, &["-tls", tls]);
        }
    }
}

/// A connection of our own type between TLS and TCP does not hide the socket.
#[test]
fn root_go_wrapped_sockets() {
    for version in VERSIONS {
        let Some(talk) = go_program(version, "talk", &[]) else {
            return;
        };
        compare(&talk, &["-wrap", "-conns", "3"]);
    }
}

/// Memory of a closed connection that is handed out again is another connection.
#[test]
fn root_go_reuse() {
    for version in VERSIONS {
        let Some(talk) = go_program(version, "talk", &[]) else {
            return;
        };
        let options = ["-mode", "reuse", "-conns", "40", "-messages", "2"];
        let (captured, _) = compare(&talk, &options);
        assert_eq!(captured.conns.len(), 80);
    }
}

/// Buffers on stacks that move between entry and return are found where they are now.
#[test]
fn root_go_moving_stacks() {
    for version in VERSIONS {
        let Some(talk) = go_program(version, "talk", &[]) else {
            return;
        };
        let (_, printed) = compare(&talk, &["-mode", "stack", "-messages", "30"]);
        let moved: u32 = printed
            .trim()
            .strip_prefix("moved ")
            .unwrap()
            .parse()
            .unwrap();
        assert!(moved > 0, "no stack moved: the test tests nothing");
    }
}

/// All ways of linking: the load bias is right, or no type would be recognised.
#[test]
fn root_go_builds() {
    let builds: &[&[&str]] = &[
        &["-buildmode=pie"],
        &["-ldflags=-s -w"],
        &["-buildmode=pie", "-ldflags=-s -w"],
        &["-gcflags=all=-N -l"],
        &["-cgo", "-ldflags=-linkmode=external"],
        &[
            "-cgo",
            "-buildmode=pie",
            "-ldflags=-linkmode=external -s -w",
        ],
    ];
    for version in VERSIONS {
        for options in builds {
            let Some(talk) = go_program(version, "talk", options) else {
                return;
            };
            compare(&talk, &["-conns", "4"]);
        }
    }
}

/// Older kernels: one link for each probe, no bpf_loop.
#[test]
fn root_go_without_new_features() {
    let Some(talk) = go_program(NEWEST, "talk", &[]) else {
        return;
    };
    for features in ["uprobe_multi", "bpf_loop", "uprobe_multi,bpf_loop"] {
        let capture = Capture::without(features, &talk.path);
        let running = Talk::start(&talk, &["-conns", "4", "-size", "40000"]);
        let (ends, _) = running.finish();
        assert_same(features, &capture.stop(), &ends);
    }
}

/// Goroutines that wait in Read when the observer comes: not even their first bytes are missed.
#[test]
fn root_go_blocked_reads() {
    for version in VERSIONS {
        let Some(talk) = go_program(version, "talk", &[]) else {
            return;
        };
        let mut running = Talk::start(&talk, &["-mode", "blocked"]);
        running.wait_ready();
        let capture = Capture::start(&talk.path, &[]);
        running.go();
        let (ends, _) = running.finish();
        let captured = capture.stop();
        assert_same(version, &captured, &ends);
        assert!(captured.conns.values().all(|conn| !conn.from_start));
    }
}

/// TLS inside of TLS: a call inside of a call on the same goroutine, each with its own bytes, on one
/// socket.
#[test]
fn root_go_nested_tls() {
    for version in VERSIONS {
        let Some(talk) = go_program(version, "talk", &[]) else {
            return;
        };
        let capture = Capture::start(&talk.path, &[]);
        let (ends, _) = Talk::start(&talk, &["-mode", "nested"]).finish();
        let captured = capture.stop();
        captured.assert_whole();
        assert_eq!(captured.conns.len(), 4);
        for (name, end) in &ends {
            let is_it =
                |conn: &&Conn| socket(conn) == *name && Some(&conn.written) == end.written.as_ref();
            let conn = captured.conns.values().find(is_it);
            let conn = conn.unwrap_or_else(|| panic!("{version}: no {name}"));
            assert_eq!(Some(&conn.read), end.read.as_ref());
            assert_eq!(
                (conn.fd, conn.role.as_ref()),
                (Some(end.fd), Some(&end.role))
            );
        }
    }
}

/// net/http on both sides, HTTP/1.1 and HTTP/2: what one side wrote is what the other side read, and
/// every question and answer is in it.
#[test]
fn root_go_http() {
    for version in VERSIONS {
        let Some(talk) = go_program(version, "talk", &[]) else {
            return;
        };
        for mode in ["h1", "h2"] {
            let options = ["-mode", mode, "-conns", "8", "-messages", "25"];
            let capture = Capture::start(&talk.path, &[]);
            let (_, printed) = Talk::start(&talk, &options).finish();
            assert_eq!(printed, "asked 200\n");
            let captured = capture.stop();
            captured.assert_whole();
            assert_both_ends_agree(&captured);
            let clients = captured.conns.values();
            let clients = clients.filter(|conn| conn.role.as_deref() == Some("client"));
            let (mut questions, mut answers) = (0, 0);
            for conn in clients {
                questions += count(&conn.written, b"canary-");
                answers += count(&conn.read, b"answer to canary-");
            }
            assert_eq!((questions, answers), (200, 200), "{version} {mode}");
        }
    }
}

fn assert_both_ends_agree(captured: &Captured) {
    for conn in captured.conns.values() {
        let mut others = captured.conns.values();
        let other = others.find(|other| (&other.local, &other.peer) == (&conn.peer, &conn.local));
        let Some(other) = other else {
            // A connection that net/http dialled and did not need: one side says hello, and nobody answers.
            assert!(conn.read.is_empty(), "nobody wrote {}", socket(conn));
            continue;
        };
        assert_ne!(other.role, conn.role);
        // At the end, not all that is sent is read.
        assert!(conn.written.starts_with(&other.read), "{}", socket(conn));
    }
}

fn count(bytes: &[u8], wanted: &[u8]) -> usize {
    bytes
        .windows(wanted.len())
        .filter(|part| *part == wanted)
        .count()
}

/// A library made of Go, in a program that knows nothing of it.
#[test]
fn root_go_shared_library() {
    let options = ["-cgo", "-buildmode=c-shared", "-ldflags=-s -w"];
    for version in VERSIONS {
        let Some(library) = go_program(version, "shared", &options) else {
            return;
        };
        let Some(python) = program("python3") else {
            return;
        };
        let capture = Capture::start(&library.path, &[]);
        let script = format!(
            "import ctypes; print(ctypes.CDLL({:?}).Talk(20))",
            library.path
        );
        let output = Command::new(python).args(["-c", &script]).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "100\n");
        let captured = capture.stop();
        captured.assert_whole();
        let streams = captured.streams();
        let hello = b"hello".repeat(20);
        assert_eq!(
            streams,
            [(hello.clone(), hello.clone()), (hello.clone(), hello)]
        );
    }
}

/// A busy program does not notice that observers come and go.
#[test]
fn root_go_coming_and_going_under_load() {
    if !is_root() {
        return;
    }
    for (version, cycles) in [(NEWEST, 100), (OLDEST, 20)] {
        let Some(talk) = go_program(version, "talk", &[]) else {
            return;
        };
        let mut running = Talk::start(&talk, &["-mode", "load", "-conns", "8", "-size", "2000"]);
        running.wait_ready();
        let seen = crate::direct::attach_and_detach(&talk.path, cycles);
        running.go();
        running.finish();
        assert!(seen > 0, "nothing was seen in any cycle");
    }
}
