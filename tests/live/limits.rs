//! Bounds that a user sets, and losses: cut, counted and told, never silent.

use agentsight_testbins::run::{Running, read_logs};

use crate::capture::Capture;
use crate::testbins::testbin;

/// `--max-bytes` keeps the first bytes of each call and tells the rest as a gap.
#[test]
fn root_max_bytes_cuts_and_tells() {
    let Some(pair) = testbin("openssl/pair", "dyn-O2") else {
        return;
    };
    let log = tempfile::tempdir().unwrap();
    let capture = Capture::start(&pair.path, &["--max-bytes", "10"]);
    let options = [
        "--iterations",
        "3",
        "--size",
        "500",
        "--log",
        log.path().to_str().unwrap(),
    ];
    Running::start(&pair, &options).unwrap().finish().unwrap();
    let captured = capture.stop();
    let sent = read_logs(log.path()).unwrap();
    let expected = &sent
        .iter()
        .find(|end| end.role == "client")
        .unwrap()
        .written;
    let conn = captured
        .conns
        .values()
        .find(|conn| conn.written.len() >= 1000)
        .unwrap();
    for call in 0..3 {
        let at = call * 500;
        assert_eq!(conn.written[at..at + 10], expected[at..at + 10]);
    }
    assert!(captured.gaps.iter().all(|gap| gap["cause"] == "max-bytes"));
    let cut: u64 = captured
        .gaps
        .iter()
        .filter_map(|gap| gap["bytes"].as_u64())
        .sum();
    let all: usize = sent
        .iter()
        .map(|end| end.written.len() + end.read.len())
        .sum();
    let kept: u64 = captured
        .lines
        .iter()
        .filter(|line| line["type"] == "tls.data")
        .filter_map(|line| line["len"].as_u64())
        .sum();
    assert_eq!(cut + kept, all as u64);
    assert!(
        captured.stderr.contains(&format!("truncated: {cut} B")),
        "{}",
        captured.stderr
    );
    assert!(captured.stderr.contains("lost: nothing"));
}

/// A ring buffer that is far too small loses data, and every lost byte is accounted for.
#[test]
fn root_a_full_ring_shows_as_gaps() {
    let Some(pair) = testbin("openssl/pair", "dyn-O2") else {
        return;
    };
    let log = tempfile::tempdir().unwrap();
    let capture = Capture::start(&pair.path, &["--buffer", "32K"]);
    let options = [
        "--iterations",
        "2000",
        "--size",
        "16000",
        "--log",
        log.path().to_str().unwrap(),
    ];
    Running::start(&pair, &options).unwrap().finish().unwrap();
    let captured = capture.stop();
    let lost: u64 = captured
        .gaps
        .iter()
        .filter_map(|gap| gap["bytes"].as_u64())
        .sum();
    assert!(lost > 0, "32 KiB held 64 MB?");
    assert!(captured.gaps.iter().all(|gap| gap["cause"] == "ring-full"));
    let kept: u64 = captured
        .lines
        .iter()
        .filter(|line| line["type"] == "tls.data")
        .filter_map(|line| line["len"].as_u64())
        .sum();
    let logged = read_logs(log.path()).unwrap();
    let all: usize = logged
        .iter()
        .map(|end| end.written.len() + end.read.len())
        .sum();
    assert_eq!(lost + kept, all as u64, "{}", captured.stderr);
    assert!(
        captured.stderr.contains("lost: ring-full"),
        "{}",
        captured.stderr
    );
}

/// `--max-events` and `--duration` end a run by themselves.
#[test]
fn root_ends_by_itself() {
    let Some(pair) = testbin("openssl/pair", "dyn-O2") else {
        return;
    };
    let mut capture = Capture::start(&pair.path, &["--max-events", "5"]);
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
    let log = tempfile::tempdir().unwrap();
    let mut capture = Capture::without("uprobe_multi,bpf_loop", &pair.path);
    let options = [
        "--iterations",
        "3",
        "--size",
        "1000000",
        "--log",
        log.path().to_str().unwrap(),
    ];
    Running::start(&pair, &options).unwrap().finish().unwrap();
    crate::capture::signal(capture.pid(), "INT");
    let captured = capture.finish();
    captured.assert_whole();
    let mut logged: Vec<_> = read_logs(log.path())
        .unwrap()
        .into_iter()
        .map(|end| (end.written, end.read))
        .collect();
    logged.sort();
    assert!(captured.streams() == logged, "{}", captured.stderr);
}
