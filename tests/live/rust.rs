//! rustls in Rust programs without names, over versions, providers, profiles and ways of linking: plaintext,
//! sockets and roles are compared with what the programs know of themselves.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use agentsight_testbins::run::read_logs;

use crate::capture::{Capture, Captured, Conn};
use crate::rust_agent::{Agent, Run, agents, assert_same, named};
use crate::{is_extended, program};

/// Many connections at once, with all that fits into a record or two.
const MANY: &[&str] = &[
    "--connections",
    "32",
    "--messages",
    "6",
    "--sizes",
    "1,17,3000",
    "--answers",
    "20000,1,500",
];
/// Few, with a megabyte each way.
const BIG: &[&str] = &[
    "--connections",
    "2",
    "--messages",
    "2",
    "--sizes",
    "1,1000000",
    "--answers",
    "1000000,1",
];

/// Threads and tasks, both versions of TLS, all AEADs.
const TALKS: &[(&str, &str, &str, &[&str])] = &[
    ("pair", "1.3", "aes256", MANY),
    ("tokio", "1.2", "chacha20", MANY),
    ("pair", "1.2", "aes128", BIG),
    ("tokio", "1.3", "chacha20", BIG),
    ("tokio", "1.3", "aes128", MANY),
    ("pair", "1.2", "chacha20", BIG),
];

/// Whatever rustls, its provider, the compiler's options and the linker are.
#[test]
fn root_rust_every_build() {
    for agent in agents() {
        // The first is what programs have nearly always.
        for provider in agent.providers() {
            let begun = std::time::Instant::now();
            let name = agent.combination.name();
            let capture = Capture::start(agent.path(), &[]);
            let done: Vec<_> = TALKS
                .iter()
                .take(if agent.is_slow() { 4 } else { TALKS.len() })
                .map(|(part, tls, suite, sizes)| {
                    let talk = [
                        *part,
                        "--tls",
                        tls,
                        "--suite",
                        suite,
                        "--provider",
                        provider,
                    ];
                    (talk, agent.run(&[&talk, *sizes].concat()))
                })
                .collect();
            let captured = capture.stop();
            for (talk, done) in &done {
                assert_same(&format!("{name} {talk:?}"), &captured, done);
            }
            let bytes = captured.all_bytes().len();
            eprintln!(
                "{name} {provider}: {} connections, {bytes} bytes, {:.1} s",
                captured.conns.len(),
                begun.elapsed().as_secs_f64()
            );
            assert!(captured.conns.values().all(|conn| conn.from_start));
        }
    }
}

/// On kernels that lack something, everything is the same.
#[test]
fn root_rust_without_new_features() {
    for name in [
        "0.23-ring-http.lto.pie.strip",
        "0.23-aws-lc-http.lto.pie.strip",
    ] {
        let Some(agent) = named(name) else {
            return;
        };
        for features in [
            "socket_lengths",
            "bpf_loop",
            "uprobe_multi",
            "socket_lengths,bpf_loop,uprobe_multi",
        ] {
            let capture = Capture::without(features, agent.path());
            let threads = agent.run(&[&["pair", "--tls", "1.3"], MANY].concat());
            let tasks = agent.run(&[&["tokio", "--tls", "1.2"], BIG].concat());
            let captured = capture.stop();
            for done in [threads, tasks] {
                assert_same(&format!("{name} without {features}"), &captured, &done);
            }
        }
    }
}

/// A connection that is older than the observer: both directions, one connection, its own socket.
#[test]
fn root_rust_connections_under_way() {
    for name in [
        "0.23-ring-http.lto.pie.strip",
        "0.23-aws-lc-http.lto.pie.strip",
        "0.21-ring.lto.pie.strip",
    ] {
        let Some(agent) = named(name) else {
            return;
        };
        for part in ["pair", "tokio"] {
            for tls in ["1.2", "1.3"] {
                let what = format!("{name} {part} {tls}");
                let options = [part, "--wait-late", "--tls", tls, "--sizes", "1,40000"];
                let mut run = agent.start(&options);
                run.running.wait_ready().unwrap();
                let sockets = sockets(&run);
                let capture = Capture::start(agent.path(), &[]);
                run.running.go().unwrap();
                let mut done = run.finish();
                let captured = capture.stop();
                // Its tickets have passed.
                done.tells_role = false;
                assert_same(&what, &captured, &done);
                assert!(captured.conns.values().all(|conn| !conn.from_start));
                let seen: BTreeSet<_> = captured.conns.values().map(socket).collect();
                assert_eq!(seen, sockets, "{what}");
            }
        }
    }
}

/// A descriptor with its own and its peer's address.
type Socket = (i64, String, String);

fn socket(conn: &Conn) -> Socket {
    let text = |address: &Option<String>| address.clone().unwrap_or_default();
    (conn.fd.unwrap_or(-1), text(&conn.local), text(&conn.peer))
}

/// The connections of a process, as the kernel lists them.
fn sockets(run: &Run) -> BTreeSet<Socket> {
    let process = Path::new("/proc").join(run.running.pid().to_string());
    let table = fs::read_to_string(process.join("net/tcp")).unwrap();
    let established = table.lines().filter_map(|line| {
        let words: Vec<_> = line.split_whitespace().collect();
        let is_established = words.get(3) == Some(&"01");
        is_established.then(|| {
            (
                address(words[1]),
                address(words[2]),
                format!("socket:[{}]", words[9]),
            )
        })
    });
    let connections: Vec<_> = established.collect();
    let fds = fs::read_dir(process.join("fd")).unwrap().map(|entry| {
        let entry = entry.unwrap();
        let fd = entry.file_name().to_str().unwrap().parse().unwrap();
        (fd, fs::read_link(entry.path()).unwrap())
    });
    fds.filter_map(|(fd, to): (i64, _)| {
        let mut all = connections.iter();
        let (local, peer, _) = all.find(|(.., name)| to == Path::new(name))?;
        Some((fd, local.clone(), peer.clone()))
    })
    .collect()
}

/// `0100007F:1F90`: an address as a number of this machine, and a port.
fn address(words: &str) -> String {
    let (ip, port) = words.split_once(':').unwrap();
    let ip = u32::from_str_radix(ip, 16).unwrap().to_ne_bytes();
    let port = u16::from_str_radix(port, 16).unwrap();
    SocketAddr::from((Ipv4Addr::from(ip), port)).to_string()
}

/// HTTP/1.1 and HTTP/2 as programs speak it: what the server logged is what was captured of it, and what the clients
/// wrote and read.
#[test]
fn root_rust_http() {
    let clients: [&[&str]; 4] = [
        &["ureq"],
        &["reqwest", "--http", "1"],
        &["reqwest", "--http", "2"],
        &["reqwest", "--tls", "1.2", "--suite", "chacha20"],
    ];
    for agent in agents().filter(|agent| agent.combination.stack.has_http()) {
        for client in clients {
            http(&agent, client);
        }
    }
}

fn http(agent: &Agent, client: &[&str]) {
    let what = format!("{} {client:?}", agent.combination.name());
    let capture = Capture::start(agent.path(), &[]);
    let mut server = agent.start(&["server", "--accept", "4"]);
    let port = server.running.port().unwrap().to_string();
    let sizes = [
        "--messages",
        "4",
        "--sizes",
        "100000,1",
        "--answers",
        "300000,1",
    ];
    let to = ["--port", &port, "--connections", "4"];
    let client = agent.run(&[client, &to, &sizes].concat());
    let server = server.finish();
    let captured = capture.stop();
    captured.assert_whole();
    let of = |pid| {
        captured
            .conns
            .values()
            .filter(move |conn: &&Conn| conn.pid == pid)
    };
    let mut served: Vec<_> = of(server.pid)
        .map(|conn| (conn.written.clone(), conn.read.clone()))
        .collect();
    let mut logged: Vec<_> = server
        .ends
        .iter()
        .map(|end| (end.written.clone(), end.read.clone()))
        .collect();
    served.sort();
    logged.sort();
    let sizes = |all: &[(Vec<u8>, Vec<u8>)]| -> Vec<_> {
        all.iter().map(|(w, r)| (w.len(), r.len())).collect()
    };
    assert_eq!(sizes(&served), sizes(&logged), "{what}");
    assert!(served == logged, "{what}: other bytes");
    assert_eq!(of(client.pid).count(), 4, "{what}");
    for conn in of(client.pid) {
        assert_crosswise(&what, conn, &captured);
        assert!(
            conn.written.len() > 200_000 && conn.read.len() > 600_000,
            "{what}"
        );
    }
}

/// The other end of a connection read what this one wrote, but for its last words, and the other way round.
fn assert_crosswise(what: &str, client: &Conn, captured: &Captured) {
    let mut others = captured.conns.values();
    let server = others.find(|other| (&other.local, &other.peer) == (&client.peer, &client.local));
    let server = server.unwrap_or_else(|| panic!("{what}: no other end of {:?}", client.local));
    for conn in [client, server] {
        assert_eq!(
            (conn.library.as_str(), conn.joined_by.as_str()),
            ("rustls", "bytes"),
            "{what}"
        );
        assert!(conn.from_start, "{what}");
    }
    assert!(client.written.starts_with(&server.read), "{what}");
    assert!(server.written.starts_with(&client.read), "{what}");
}

/// Loads two libraries, and talks through the one and the other.
const TWO: &str = "import ctypes, sys\n\
    words = sys.argv[1:]\n\
    agents = [(ctypes.CDLL(words[n]), words[n + 1]) for n in (0, 2)]\n\
    sys.exit(sum(library.agent(line.encode()) for library, line in agents))";

/// A Python process with two such libraries at once, loaded while we watch it.
#[test]
fn root_rust_two_libraries_in_python() {
    const RING: &str = "0.23-ring.lto.shared.strip";
    let second = match is_extended() {
        true => "0.23-aws-lc.lto.shared.strip",
        false => RING,
    };
    let (Some(first), Some(second)) = (named(RING), named(second)) else {
        return;
    };
    let Some(python) = program("python3") else {
        return;
    };
    let logs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let talk = ["pair", "--connections", "3", "--sizes", "1,20000"];
    let mut command = Command::new(&python);
    command.args(["-c", TWO]).arg(first.path());
    // Both are loaded when the first stands still.
    let waits = [&talk[..], &["--wait"]].concat();
    command.arg(first.words(&waits, logs[0].path()).join(" "));
    command.arg(second.path());
    command.arg(second.words(&talk, logs[1].path()).join(" "));
    let capture = Capture::start_alone(&python, &[]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    // Probes follow the loader's word within moments.
    std::thread::sleep(Duration::from_millis(1500));
    drop(child.stdin.take());
    let pid = u64::from(child.id());
    assert!(child.wait().unwrap().success());
    let captured = capture.stop_of(pid);
    captured.assert_whole();
    let ends = logs.iter().flat_map(|log| read_logs(log.path()).unwrap());
    let mut logged: Vec<_> = ends.map(|end| (end.written, end.read)).collect();
    logged.sort();
    assert_eq!(logged.len(), 12);
    assert!(captured.streams() == logged, "{}", captured.stderr);
    assert!(
        captured
            .conns
            .values()
            .all(|conn| conn.joined_by == "bytes")
    );
}
