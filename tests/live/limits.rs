//! Bounds that a user sets, and losses: cut, counted and told, never silent.

use agentsight_testbins::run::Running;

use crate::capture::{Capture, sum};
use crate::testbins::{logged_bytes, run_pair, testbin};

/// `--max-bytes` keeps the first bytes of each call and tells the rest as a gap.
#[test]
fn root_max_bytes_cuts_and_tells() {
    let Some(pair) = testbin("openssl/pair", "dyn-O2") else {
        return;
    };
    let capture = Capture::start_alone(&pair.path, &["--max-bytes", "10"]);
    let logged = run_pair(&pair, "3", "500");
    let captured = capture.stop();
    let client = logged.iter().find(|end| end.role == "client").unwrap();
    let mut conns = captured.conns.values();
    let conn = conns.find(|conn| conn.written.len() >= 1000).unwrap();
    for call in 0..3 {
        let at = call * 500;
        assert_eq!(conn.written[at..at + 10], client.written[at..at + 10]);
    }
    assert!(captured.gaps.iter().all(|gap| gap["cause"] == "max-bytes"));
    let cut = sum(&captured.gaps, "tls.gap", "bytes");
    let kept = sum(&captured.lines, "tls.data", "len");
    assert_eq!(cut + kept, logged_bytes(&logged));
    let said = &captured.stderr;
    assert!(said.contains(&format!("truncated: {cut} B")), "{said}");
    assert!(said.contains("lost: nothing"), "{said}");
}

/// Far too little memory loses data, and every lost byte is accounted for.
#[test]
fn root_too_little_memory_shows_as_gaps() {
    let Some(pair) = testbin("openssl/pair", "dyn-O2") else {
        return;
    };
    let capture = Capture::start_alone(&pair.path, &["--buffer", "256K"]);
    let logged = run_pair(&pair, "2000", "16000");
    let captured = capture.stop();
    let lost = sum(&captured.gaps, "tls.gap", "bytes");
    assert!(lost > 0, "256 KiB held 64 MB?");
    let is_full =
        |gap: &serde_json::Value| gap["cause"] == "ring-full" || gap["cause"] == "queue-full";
    assert!(captured.gaps.iter().all(is_full));
    let kept = sum(&captured.lines, "tls.data", "len");
    let said = &captured.stderr;
    assert_eq!(lost + kept, logged_bytes(&logged), "{said}");
    assert!(said.contains("-full ("), "{said}");
}

/// An observer that gets no turn at all: the kernel side finds no room, and what it counts is what the gaps tell.
#[test]
fn root_a_full_ring_shows_as_gaps() {
    let Some(pair) = testbin("openssl/pair", "dyn-O2") else {
        return;
    };
    let capture = Capture::start_alone(&pair.path, &["--buffer", "256K"]);
    capture.signal("STOP");
    let logged = run_pair(&pair, "500", "16000");
    capture.signal("CONT");
    let captured = capture.stop();
    let said = &captured.stderr;
    assert!(
        captured.gaps.iter().any(|gap| gap["cause"] == "ring-full"),
        "{said}"
    );
    let lost = sum(&captured.gaps, "tls.gap", "bytes");
    let kept = sum(&captured.lines, "tls.data", "len");
    assert_eq!(lost + kept, logged_bytes(&logged), "{said}");
    assert!(said.contains("lost: ring-full ("), "{said}");
}

/// `--max-events` and `--duration` end a run by themselves.
#[test]
fn root_ends_by_itself() {
    let Some(pair) = testbin("openssl/pair", "dyn-O2") else {
        return;
    };
    let mut capture = Capture::start_alone(&pair.path, &["--max-events", "5"]);
    Running::start(&pair, &["--iterations", "50"])
        .unwrap()
        .finish()
        .unwrap();
    let captured = capture.finish();
    let data = captured
        .lines
        .iter()
        .filter(|line| line["type"] == "tls.data");
    assert_eq!(data.count(), 5);

    let started = std::time::Instant::now();
    let captured = Capture::run(&pair.path, &["--duration", "500ms"]);
    assert!(started.elapsed() >= std::time::Duration::from_millis(500));
    assert!(captured.conns.is_empty());
}

/// A command is started under observation, seen from its first byte, and its status is passed on.
#[test]
fn root_runs_a_command() {
    let Some(pair) = testbin("openssl/pair", "static") else {
        return;
    };
    let path = pair.path.to_str().unwrap();
    let captured = Capture::run(&pair.path, &["--", path, "--iterations", "7"]);
    captured.assert_whole();
    assert_eq!(captured.conns.len(), 2);
    let status = std::process::Command::new(env!("CARGO_BIN_EXE_agentsight"))
        .args([
            "attach", "-q", "--binary", path, "--", "sh", "-c", "exit 42",
        ])
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(42));
    for (command, code) in [("/nonexistent", 127), ("/etc/passwd", 126)] {
        let status = std::process::Command::new(env!("CARGO_BIN_EXE_agentsight"))
            .args(["attach", "-q", "--binary", path, "--", command])
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(code), "{command}");
    }
}

/// What newer kernels offer is not needed: single links and a bounded loop give the same bytes.
#[test]
fn root_older_kernels_capture_the_same() {
    let Some(pair) = testbin("openssl/pair", "dyn-O2") else {
        return;
    };
    let capture = Capture::without("uprobe_multi,bpf_loop", &pair.path);
    let logged = run_pair(&pair, "3", "1000000");
    let captured = capture.stop();
    captured.assert_whole();
    let mut logged: Vec<_> = logged
        .into_iter()
        .map(|end| (end.written, end.read))
        .collect();
    logged.sort();
    assert!(captured.streams() == logged, "{}", captured.stderr);
}
