//! Our own sample programs in all their ways of calling a TLS library.

use std::ops::Deref;
use std::path::{Path, PathBuf};

use agentsight_testbins::run::{Endpoint, Running, read_logs};
use agentsight_testbins::{Testbin, Unbuilt};

use crate::capture::{Capture, Captured};
use crate::{is_root, skip};

/// A copy of a sample program that no other test observes or runs.
pub struct Own {
    testbin: Testbin,
    _dir: tempfile::TempDir,
}

impl Deref for Own {
    type Target = Testbin;

    fn deref(&self) -> &Testbin {
        &self.testbin
    }
}

impl Own {
    /// The same program at another place.
    pub fn at(&self, path: &Path) -> Testbin {
        let mut testbin = self.testbin.clone();
        testbin.path = path.to_owned();
        testbin
    }
}

/// With all that lies beside it: its debug file, its library.
pub fn own(mut testbin: Testbin) -> Own {
    let dir = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(testbin.path.parent().unwrap()).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), dir.path().join(entry.file_name())).unwrap();
        }
    }
    testbin.path = dir.path().join(testbin.path.file_name().unwrap());
    Own { testbin, _dir: dir }
}

/// Builds a sample program, or skips by the name of what is missing.
pub fn testbin(program: &str, variant: &str) -> Option<Own> {
    if !is_root() {
        return None;
    }
    match agentsight_testbins::build(program, variant) {
        Ok(testbin) => Some(own(testbin)),
        Err(Unbuilt::Missing(what)) => {
            skip(&what);
            None
        }
        Err(Unbuilt::Failed(why)) => panic!("{program} {variant}: {why}"),
    }
}

fn streams(endpoints: &[Endpoint]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut streams: Vec<_> = endpoints
        .iter()
        .map(|end| (end.written.clone(), end.read.clone()))
        .filter(|(written, read)| !written.is_empty() || !read.is_empty())
        .collect();
    streams.sort();
    streams
}

fn assert_same(what: &str, captured: &Captured, logged: &[Endpoint]) {
    let (ours, theirs) = (captured.streams(), streams(logged));
    let sizes = |streams: &[(Vec<u8>, Vec<u8>)]| -> Vec<(usize, usize)> {
        streams.iter().map(|(w, r)| (w.len(), r.len())).collect()
    };
    assert_eq!(sizes(&ours), sizes(&theirs), "{what}: {}", captured.stderr);
    assert!(!theirs.is_empty(), "{what}: the program did nothing");
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert!(ours == theirs, "{what}: same lengths, other bytes");
    }
}

/// Runs the pair to its end: what it says that it wrote and read.
pub fn run_pair(pair: &Testbin, iterations: &str, size: &str) -> Vec<Endpoint> {
    let log = tempfile::tempdir().unwrap();
    let options = ["--iterations", iterations, "--size", size];
    let running = Running::start(pair, &with_log(&options, log.path())).unwrap();
    running.finish().unwrap();
    read_logs(log.path()).unwrap()
}

/// In both directions of all ends.
pub fn logged_bytes(logged: &[Endpoint]) -> u64 {
    let lengths = logged.iter().map(|end| end.written.len() + end.read.len());
    lengths.sum::<usize>() as u64
}

fn with_log<'o>(options: &[&'o str], log: &'o Path) -> Vec<&'o str> {
    let log = ["--log", log.to_str().unwrap()];
    options.iter().copied().chain(log).collect()
}

/// Runs a single program under capture and compares all ends of all connections.
fn compare_pair(testbin: &Testbin, options: &[&str]) -> Captured {
    compare_pair_under(
        || Capture::start(&testbin.path, &debug_dir(testbin)),
        testbin,
        options,
    )
}

/// The same under a capture of one's own choice.
pub fn compare_pair_under(
    start: impl FnOnce() -> Capture,
    testbin: &Testbin,
    options: &[&str],
) -> Captured {
    let log = tempfile::tempdir().unwrap();
    let capture = start();
    let running = Running::start(testbin, &with_log(options, log.path())).unwrap();
    running.finish().unwrap();
    let captured = capture.stop();
    let what = format!("{} {} {options:?}", testbin.program, testbin.variant);
    captured.assert_whole();
    assert_same(&what, &captured, &read_logs(log.path()).unwrap());
    captured
}

fn debug_dir(testbin: &Testbin) -> Vec<&str> {
    let root = testbin.debug_root.as_ref();
    let dir = root.map(|root| root.join("usr/lib/debug"));
    // The few paths that tests make live as long as the process.
    let dir: Option<&'static str> =
        dir.map(|dir| &*Box::leak(dir.into_os_string().into_string().unwrap().into_boxed_str()));
    dir.map_or(Vec::new(), |dir| vec!["--debug-dir", dir])
}

/// A client and a server of one family; only the client is observed.
fn compare_client(
    family: &str,
    variant: &str,
    client: &[&str],
    server: &[&str],
) -> Option<Captured> {
    let client_bin = testbin(&format!("{family}/client"), variant)?;
    let server_bin = testbin(&format!("{family}/server"), "dyn-O2")?;
    let log = tempfile::tempdir().unwrap();
    let mut server = Running::start(&server_bin, server).unwrap();
    let port = server.port().unwrap().to_string();
    let capture = Capture::start(&client_bin.path, &debug_dir(&client_bin));
    let mut options = with_log(client, log.path());
    options.extend(["--port", &port]);
    Running::start(&client_bin, &options)
        .unwrap()
        .finish()
        .unwrap();
    server.finish().unwrap();
    let captured = capture.stop();
    let what = format!("{family} {variant} {client:?}");
    captured.assert_whole();
    assert_same(&what, &captured, &read_logs(log.path()).unwrap());
    Some(captured)
}

/// Every way of calling OpenSSL gives exactly the bytes that the program sent and received: nothing
/// twice for retries and peeks, nothing merged when objects are reused.
#[test]
fn root_openssl_pair() {
    let Some(pair) = testbin("openssl/pair", "dyn-O2") else {
        return;
    };
    let cases: &[&[&str]] = &[
        &["--iterations", "200"],
        &["--iterations", "50", "--ex", "--binary"],
        &["--iterations", "50", "--peek"],
        &["--iterations", "50", "--peek", "--ex"],
        &["--iterations", "20", "--retry"],
        &["--iterations", "5", "--size", "100000", "--partial"],
        &[
            "--iterations",
            "5",
            "--size",
            "100000",
            "--retry",
            "--partial",
        ],
        &["--iterations", "20", "--size", "16384", "--binary"],
        &["--iterations", "3", "--size", "40000"],
    ];
    for options in cases {
        let captured = compare_pair(&pair, options);
        assert_eq!(captured.conns.len(), 2, "{options:?}");
        assert!(captured.conns.values().all(|conn| conn.from_start));
    }
}

/// Objects that are freed and made anew at the same address, or cleared, are other connections.
#[test]
fn root_openssl_reuse() {
    let Some(pair) = testbin("openssl/pair", "dyn-O2") else {
        return;
    };
    for extra in [&[][..], &["--clear"], &["--upref"]] {
        let options = [&["--iterations", "3", "--reuse", "10"], extra].concat();
        let captured = compare_pair(&pair, &options);
        assert_eq!(captured.conns.len(), 20, "{options:?}");
        assert!(captured.conns.values().all(|conn| conn.close.is_some()));
    }
}

/// Static, stripped with separate names, renamed: wherever the names are, the bytes are the same.
#[test]
fn root_openssl_variants() {
    for variant in [
        "dyn-O0",
        "dyn-nopie",
        "static",
        "static-pie",
        "static-pie.debuglink",
        "static.build-id",
        "embedded.debugdata",
        "exported.nosections",
        "prefixed",
        "prefixed-so",
    ] {
        let Some(pair) = testbin("openssl/pair", variant) else {
            return;
        };
        compare_pair(&pair, &["--iterations", "20", "--reuse", "2"]);
    }
}

/// Many connections on many threads at once.
#[test]
fn root_openssl_64_connections_on_8_threads() {
    let client = ["--connections", "64", "--threads", "8", "--messages", "20"];
    let server = ["--accept", "64"];
    if let Some(captured) = compare_client("openssl", "dyn-O2", &client, &server) {
        assert_eq!(captured.conns.len(), 64);
    }
}

/// A body of 10 MB in one call arrives whole, both ways.
#[test]
fn root_openssl_10_mb() {
    for variant in ["dyn-O2", "static"] {
        let big = 10 << 20;
        let client = ["--messages", "1", "--big", &big.to_string()];
        let Some(captured) = compare_client("openssl", variant, &client, &["--accept", "1"]) else {
            return;
        };
        let largest = captured
            .lines
            .iter()
            .filter_map(|line| line["call_len"].as_u64())
            .max();
        assert_eq!(largest, Some(big), "one call of 10 MB was seen as one");
    }
}

/// One connection on several threads, and connections that cross a fork.
#[test]
fn root_openssl_shared_and_forked() {
    let cases: &[(&[&str], &[&str])] = &[
        (
            &["--shared", "--threads", "4", "--connections", "2"],
            &["--accept", "2"],
        ),
        (
            &["--fork", "--connections", "3", "--messages", "2"],
            &["--accept", "3"],
        ),
        (&["--fork-split", "--connections", "2"], &["--accept", "2"]),
        (&["--bio", "--ex", "--connections", "2"], &["--accept", "2"]),
        (
            &["--retry", "--connections", "2", "--big", "300000"],
            &["--accept", "2"],
        ),
    ];
    for (client, server) in cases {
        compare_client("openssl", "dyn-O2", client, server);
    }
}

/// GnuTLS: tail calls count once, corked and retried records are neither lost nor doubled.
#[test]
fn root_gnutls() {
    let cases: &[&[&str]] = &[
        &["--connections", "4", "--threads", "2", "--messages", "10"],
        &["--send2", "--messages", "5"],
        &["--cork", "--messages", "5"],
        &["--retry", "--messages", "20"],
        &["--recv-packet", "--messages", "10"],
        &["--big", "1000000"],
    ];
    for client in cases {
        let connections = if client.contains(&"--connections") {
            "4"
        } else {
            "1"
        };
        compare_client("gnutls", "dyn-O2", client, &["--accept", connections]);
    }
    compare_client(
        "gnutls",
        "embedded",
        &["--messages", "5"],
        &["--accept", "1"],
    );
}

/// NSS: plaintext of TLS descriptors only, never that of files and sockets that pass the same functions.
#[test]
fn root_nss() {
    for options in [
        &["--messages", "5"][..],
        &["--messages", "5", "--send-recv"],
    ] {
        let Some(captured) = compare_client("nss", "dyn-O2", options, &["--accept", "1"]) else {
            return;
        };
        let bytes = captured.all_bytes();
        assert!(memchr::memmem::find(&bytes, b"PLAIN-").is_none());
        assert!(captured.conns.values().all(|conn| conn.library == "nss"));
    }
}

/// A connection that was open before we came is joined, marked as such, and complete from there on.
#[test]
fn root_joins_a_running_process() {
    for (family, variant) in [
        ("openssl", "dyn-O2"),
        ("openssl", "static"),
        ("gnutls", "dyn-O2"),
        ("nss", "dyn-O2"),
    ] {
        let (Some(client_bin), Some(server_bin)) = (
            testbin(&format!("{family}/client"), variant),
            testbin(&format!("{family}/server"), "dyn-O2"),
        ) else {
            return;
        };
        let log = tempfile::tempdir().unwrap();
        let mut server = Running::start(&server_bin, &["--accept", "1"]).unwrap();
        let port = server.port().unwrap().to_string();
        let mut options = with_log(&["--wait-late", "--messages", "5"], log.path());
        options.extend(["--port", &port]);
        let mut client = Running::start(&client_bin, &options).unwrap();
        client.wait_ready().unwrap();
        let capture = Capture::start(&client_bin.path, &[]);
        client.go().unwrap();
        client.finish().unwrap();
        server.finish().unwrap();
        let captured = capture.stop();
        captured.assert_whole();
        assert_same(family, &captured, &read_logs(log.path()).unwrap());
        assert!(
            captured.conns.values().all(|conn| !conn.from_start),
            "{family}"
        );
    }
}

/// A library shows everybody who uses it: client and server agree crosswise.
#[test]
fn root_library_shows_both_ends() {
    let (Some(client_bin), Some(server_bin)) = (
        testbin("openssl/client", "dyn-O2"),
        testbin("openssl/server", "dyn-O2"),
    ) else {
        return;
    };
    let Some(library) = mapped_library(&client_bin, "libssl.so") else {
        panic!("the client has no libssl");
    };
    let log = tempfile::tempdir().unwrap();
    let capture = Capture::start(&library, &[]);
    let mut server =
        Running::start(&server_bin, &with_log(&["--accept", "2"], log.path())).unwrap();
    let port = server.port().unwrap().to_string();
    let mut options = with_log(&["--connections", "2"], log.path());
    options.extend(["--port", &port]);
    let client = Running::start(&client_bin, &options).unwrap();
    let pids = [u64::from(client.pid()), u64::from(server.pid())];
    client.finish().unwrap();
    server.finish().unwrap();
    let mut captured = capture.stop();
    captured.assert_whole();
    // Others on this machine may use the library meanwhile.
    captured.conns.retain(|_, conn| pids.contains(&conn.pid));
    assert_same("libssl", &captured, &read_logs(log.path()).unwrap());
}

fn mapped_library(testbin: &Testbin, name: &str) -> Option<PathBuf> {
    let out = std::process::Command::new("ldd")
        .arg(&testbin.path)
        .output()
        .ok()?;
    let text = String::from_utf8(out.stdout).ok()?;
    let line = text.lines().find(|line| line.contains(name))?;
    line.split_once("=> ")?
        .1
        .split(' ')
        .next()
        .map(PathBuf::from)
}

/// Of an executable, only its own processes: the same library in another program stays unseen.
#[test]
fn root_reports_the_target_only() {
    let (Some(pair), Some(other)) = (
        testbin("openssl/pair", "dyn-O2"),
        testbin("openssl/pair", "dyn-O2"),
    ) else {
        return;
    };
    let capture = Capture::start(&pair.path, &[]);
    let unseen = Running::start(&other, &["--iterations", "20"]).unwrap();
    let seen = Running::start(&pair, &["--iterations", "20"]).unwrap();
    let pid = u64::from(seen.pid());
    seen.finish().unwrap();
    unseen.finish().unwrap();
    let captured = capture.stop();
    assert_eq!(captured.conns.len(), 2);
    assert!(captured.conns.values().all(|conn| conn.pid == pid));
}
