//! The way from the kernel to the output: slow readers, little memory, the age of what arrives, and
//! recordings.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use agentsight_testbins::Testbin;
use agentsight_testbins::run::Running;
use jiff::Timestamp;
use serde_json::Value;

use crate::capture::{Capture, Captured, read, signal, sum, wait_for};
use crate::testbins::{logged_bytes, run_pair, testbin};

/// A capture whose lines the test reads itself, or does not.
struct Unread {
    child: Child,
    said: std::path::PathBuf,
    _dir: tempfile::TempDir,
}

impl Unread {
    fn start(binary: &Path, options: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let said = dir.path().join("said");
        let child = Command::new(env!("CARGO_BIN_EXE_agentsight"))
            .args(["attach", "--json", "--binary"])
            .arg(binary)
            .args(options)
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&said).unwrap())
            .spawn()
            .unwrap();
        let unread = Self {
            child,
            said,
            _dir: dir,
        };
        wait_for("attaching", || unread.said().contains("attached: "));
        // The other libraries of the program follow.
        thread::sleep(Duration::from_millis(300));
        unread
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.said).unwrap()
    }

    /// Peak of its memory, in bytes.
    fn peak(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(path).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1));
        kib.unwrap().parse::<u64>().unwrap() << 10
    }

    /// Ends it, and reads all that it has to say.
    fn finish(mut self) -> (Vec<Value>, String) {
        signal(self.child.id(), "INT");
        let mut text = String::new();
        let mut stdout = self.child.stdout.take().unwrap();
        stdout.read_to_string(&mut text).unwrap();
        assert!(self.child.wait().unwrap().success(), "{}", self.said());
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        (lines.collect(), self.said())
    }
}

/// A reader that stops reading would lose data in silence, take all memory, or slow the program down.
#[test]
fn root_an_unread_pipe_loses_what_gaps_tell() {
    let Some(pair) = testbin("openssl/pair", "dyn-O2") else {
        return;
    };
    let buffer = 32 << 20;
    let capture = Unread::start(&pair.path, &["--buffer", "32M"]);
    let at_rest = capture.peak();
    let logged = run_pair(&pair, "3000", "16000");
    let grown = capture.peak() - at_rest;
    // The ring's pages count twice, since it is mapped twice.
    assert!(
        grown < buffer + (16 << 20) + (12 << 20),
        "{grown} bytes more"
    );
    // The queue is half of it, less what is kept for headers.
    assert!(grown > buffer / 8 * 3, "{grown} bytes: nothing waited");
    let (lines, said) = capture.finish();
    let gaps: Vec<_> = lines
        .iter()
        .filter(|line| line["type"] == "tls.gap")
        .collect();
    let of = |cause: &str| gaps.iter().filter(|gap| gap["cause"] == cause).count();
    assert_eq!(of("queue-full") + of("ring-full"), gaps.len(), "{said}");
    assert!(of("queue-full") > 0, "{said}");
    let (kept, lost) = (
        sum(&lines, "tls.data", "len"),
        sum(&lines, "tls.gap", "bytes"),
    );
    assert_eq!(kept + lost, logged_bytes(&logged), "{said}");
    assert!(kept > buffer / 2, "{kept} bytes kept: {said}");
    let close = lines.iter().filter(|line| line["type"] == "tls.close");
    assert_eq!(close.count(), 2, "marks come through: {said}");
    assert!(said.contains("lost: queue-full"), "{said}");
}

/// A burst that fits into the memory that was given would lose data because nobody reads meanwhile.
#[test]
fn root_a_burst_waits_for_its_reader() {
    let Some(pair) = testbin("openssl/pair", "dyn-O2") else {
        return;
    };
    let capture = Unread::start(&pair.path, &["--buffer", "128M"]);
    let logged = run_pair(&pair, "1000", "16000");
    thread::sleep(Duration::from_secs(1));
    let (lines, said) = capture.finish();
    assert!(said.contains("lost: nothing"), "{said}");
    assert_eq!(sum(&lines, "tls.data", "len"), logged_bytes(&logged));
}

/// Milliseconds from each call to its line; `pause` between two runs of the program.
fn ages(pair: &Testbin, options: &[&str], runs: u32, pause: Duration) -> Vec<i64> {
    let mut capture = Unread::start(&pair.path, options);
    let stdout = BufReader::new(capture.child.stdout.take().unwrap());
    let reader = thread::spawn(move || {
        let mut ages = Vec::new();
        for line in stdout.lines() {
            let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
            if line["type"] == "tls.data" {
                let made: Timestamp = line["ts"].as_str().unwrap().parse().unwrap();
                ages.push(Timestamp::now().as_millisecond() - made.as_millisecond());
            }
        }
        ages
    });
    for _ in 0..runs {
        thread::sleep(pause);
        let running = Running::start(pair, &["--iterations", "1"]).unwrap();
        running.finish().unwrap();
    }
    thread::sleep(Duration::from_millis(300));
    signal(capture.child.id(), "INT");
    assert!(capture.child.wait().unwrap().success());
    let mut ages = reader.join().unwrap();
    ages.sort_unstable();
    eprintln!("{options:?}, every {pause:?}: {ages:?} ms");
    ages
}

fn median(ages: &[i64]) -> i64 {
    ages[ages.len() / 2]
}

/// What a program says after a pause, when the reader sleeps, would come a second late; what it says now and
/// then would come later than was asked for.
#[test]
fn root_nothing_arrives_late() {
    let Some(pair) = testbin("openssl/pair", "dyn-O2") else {
        return;
    };
    // The machine may be busy: what is asked for, and time for threads to get their turn.
    let idle = ages(&pair, &[], 5, Duration::from_millis(1200));
    assert!(!idle.is_empty());
    assert!(median(&idle) < 10 + 50, "{idle:?}");
    let trickle = ages(&pair, &[], 20, Duration::from_millis(30));
    assert!(median(&trickle) < 10 + 50, "{trickle:?}");
    // And the other way round: a longer time is made use of.
    let patient = ages(&pair, &["--latency", "400ms"], 8, Duration::from_millis(30));
    assert!(*patient.last().unwrap() > 60, "{patient:?}");
    assert!(median(&patient) < 400 + 50, "{patient:?}");
}

/// Replays a recording into lines.
fn replay(recording: &Path, options: &[&str]) -> (Captured, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    let lines = dir.path().join("lines");
    let replayed = Command::new(env!("CARGO_BIN_EXE_agentsight"))
        .args(["replay", "--json"])
        .arg(recording)
        .arg("-o")
        .arg(&lines)
        .args(options)
        .output()
        .unwrap();
    let said = String::from_utf8(replayed.stderr).unwrap();
    assert!(replayed.status.success(), "{said}");
    (read(&lines, said), fs::read(&lines).unwrap())
}

/// A recording would hold something else than the program said, or replay otherwise each time; and a torn one
/// would be useless, or look whole.
#[test]
fn root_a_recording_replays() {
    let Some(pair) = testbin("openssl/pair", "dyn-O2") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("run.rec");
    let recorded = ["--record", file.to_str().unwrap()];
    let capture = Capture::start_printing_nothing(&pair.path, &recorded);
    let logged = run_pair(&pair, "300", "3000");
    let said = capture.stop_recording();
    assert!(said.contains("lost: nothing"), "{said}");
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let (captured, lines) = replay(&file, &[]);
    captured.assert_whole();
    let mut expected: Vec<_> = logged
        .into_iter()
        .map(|end| (end.written, end.read))
        .collect();
    expected.sort();
    assert!(captured.streams() == expected, "{}", captured.stderr);
    assert_eq!(captured.stderr, said[said.find("captured:").unwrap()..]);
    assert!(replay(&file, &[]).1 == lines, "another output each time");
    let (few, _) = replay(&file, &["-c", "3"]);
    assert_eq!(
        few.lines
            .iter()
            .filter(|line| line["type"] == "tls.data")
            .count(),
        3
    );

    let bytes = fs::read(&file).unwrap();
    let torn = crate::capture::temp_file(&dir, "torn", &bytes[..bytes.len() / 2]);
    let replayed = Command::new(env!("CARGO_BIN_EXE_agentsight"))
        .args(["replay", "--json"])
        .arg(torn)
        .output()
        .unwrap();
    assert_eq!(replayed.status.code(), Some(1));
    let said = String::from_utf8(replayed.stderr).unwrap();
    assert!(
        said.contains("ends too early, in the frame at byte"),
        "{said}"
    );
    let some = String::from_utf8(replayed.stdout).unwrap();
    let whole = String::from_utf8(lines).unwrap();
    let data = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| line.contains("\"tls.data\""));
        lines.map(str::to_owned).collect()
    };
    assert!(!data(&some).is_empty());
    assert!(data(&whole).starts_with(&data(&some)));
}
