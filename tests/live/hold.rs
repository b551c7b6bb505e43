//! New processes that wait for their probes: nothing of them is missed, they never wait longer than they may, and whoever
//! kills the observer sets them free.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use agentsight_testbins::Testbin;
use serde_json::Value;

use crate::capture::{Captured, read, signal, wait_for};
use crate::is_root;
use crate::testbins::{logged_bytes, run_pair, testbin};

/// No process is held longer.
const BOUND: Duration = Duration::from_millis(200);
/// What a busy machine may add.
const SLACK: Duration = Duration::from_millis(900);
/// Names a program for which the observer is slower than it may be.
const SLOW: &str = "AGENTSIGHT_TEST_SLOW_TO_COVER";

/// An observer of the whole machine, which knows no file from before.
struct Machine {
    child: Child,
    dir: tempfile::TempDir,
}

impl Machine {
    fn start(options: &[&str], slow: Option<&Path>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_agentsight"))
            .args([
                "attach",
                "--all",
                "--no-cache",
                "--json",
                "--no-redact",
                "-o",
            ])
            .arg(dir.path().join("lines"))
            .args(options)
            .env(SLOW, slow.unwrap_or(Path::new("")))
            .stderr(fs::File::create(dir.path().join("said")).unwrap())
            .spawn()
            .unwrap();
        let machine = Self { child, dir };
        // It opens its output once all that runs is covered.
        wait_for("covering what runs", || {
            machine.dir.path().join("lines").exists()
        });
        if options.contains(&"--hold") {
            wait_for("holding", || machine.said().contains("holding: "));
        }
        machine
    }

    fn said(&self) -> String {
        fs::read_to_string(self.dir.path().join("said")).unwrap()
    }

    fn stop(mut self) -> Captured {
        signal(self.child.id(), "INT");
        assert!(self.child.wait().unwrap().success(), "{}", self.said());
        read(&self.dir.path().join("lines"), self.said())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Both fail if it was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How often probes of this file came late.
fn missed(captured: &Captured, file: &Path) -> usize {
    let is_it = |line: &&Value| {
        line["type"] == "tls.missed" && line["file"].as_str() == Some(file.to_str().unwrap())
    };
    captured.lines.iter().filter(is_it).count()
}

/// Bytes of this program that were seen on connections from their start, which it wrote and read.
fn seen(captured: &Captured, pair: &Testbin) -> u64 {
    let exe = pair.path.to_str().unwrap();
    let is_its = |line: &&Value| line["type"] == "process" && line["exe"] == exe;
    let pids: Vec<_> = captured.lines.iter().filter(is_its).collect();
    let pids: Vec<u64> = pids
        .iter()
        .map(|line| line["pid"].as_u64().unwrap())
        .collect();
    let conns = captured.conns.values();
    let conns = conns.filter(|conn| conn.from_start && pids.contains(&conn.pid));
    conns
        .map(|conn| (conn.written.len() + conn.read.len()) as u64)
        .sum()
}

/// Without it the beginning of a program that nobody knew would be lost, though told; with it nothing may be, in a program
/// with TLS inside and in one with a library.
#[test]
fn root_a_held_program_is_seen_from_its_first_byte() {
    for variant in ["static", "dyn-O2"] {
        let (Some(unheld), Some(held)) = (
            testbin("openssl/pair", variant),
            testbin("openssl/pair", variant),
        ) else {
            return;
        };
        let machine = Machine::start(&[], None);
        run_pair(&unheld, "20", "500");
        let captured = machine.stop();
        if variant == "static" {
            assert_eq!(missed(&captured, &unheld.path), 1, "{}", captured.stderr);
        }

        assert!(
            is_held(&held) || is_held(&held),
            "{variant}: in vain, twice"
        );
    }
}

/// Whether a program was held for as long as it took, which a busy machine may not allow; then it is told.
fn is_held(pair: &Testbin) -> bool {
    let machine = Machine::start(&["--hold"], None);
    let logged = run_pair(pair, "20", "500");
    let captured = machine.stop();
    assert!(captured.stderr.contains("held: "), "{}", captured.stderr);
    let missed = missed(&captured, &pair.path);
    let is_whole = seen(&captured, pair) == logged_bytes(&logged);
    assert!(is_whole || missed > 0, "{}", captured.stderr);
    if missed > 0 {
        assert!(captured.stderr.contains("in vain"), "{}", captured.stderr);
    }
    missed == 0
}

/// A copy of `true` that nobody has run yet.
fn fresh_true(dir: &Path, number: u32) -> PathBuf {
    let path = dir.join(format!("true-{number}"));
    fs::copy("/bin/true", &path).unwrap();
    path
}

fn time(program: &Path) -> Duration {
    let began = Instant::now();
    assert!(Command::new(program).status().unwrap().success());
    began.elapsed()
}

/// An observer that is slow would hold programs for as long, or say nothing about it.
#[test]
fn root_nobody_is_held_for_long() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let program = fresh_true(dir.path(), 0);
    let machine = Machine::start(&["--hold"], Some(&program));
    let held = time(&program);
    assert!(held >= BOUND, "{held:?}: it was not held");
    assert!(held < BOUND + SLACK, "{held:?}");
    eprintln!("held for {held:?}");
    wait_for("a word", || {
        machine.said().contains("let go: ") && machine.said().contains("true-0")
    });
    let captured = machine.stop();
    let told = captured
        .stderr
        .lines()
        .find(|line| line.starts_with("held: "));
    let told = told.expect("no summary of it");
    assert!(!told.contains(", 0 of them in vain"), "{told}");
}

/// Starts it in a thread: until it has become its program, whoever starts it waits, too.
fn start(program: PathBuf) -> std::thread::JoinHandle<Instant> {
    std::thread::spawn(move || {
        let mut child = Command::new(program)
            .arg("gone")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut text = String::new();
        child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, "gone\n");
        child.wait().unwrap();
        Instant::now()
    })
}

/// An observer that is killed would leave programs waiting for ever. It is stopped before, so that not even its bound can
/// let them go.
#[test]
fn root_a_killed_observer_holds_nobody() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let program = dir.path().join("echo");
    fs::copy("/bin/echo", &program).unwrap();
    let mut machine = Machine::start(&["--hold"], None);
    let observer = i32::try_from(machine.child.id()).unwrap();
    // No program can be run meanwhile, `kill` neither.
    let send = |signal| {
        // SAFETY: it changes nothing but our own child.
        assert_eq!(unsafe { libc::kill(observer, signal) }, 0);
    };
    send(libc::SIGSTOP);
    let starting = start(program);
    std::thread::sleep(Duration::from_millis(120));
    let has_begun = starting.is_finished();
    let killed = Instant::now();
    send(libc::SIGKILL);
    let ended = starting.join().unwrap();
    machine.child.wait().unwrap();
    assert!(!has_begun, "it was not held");
    let late = ended.duration_since(killed);
    eprintln!("gone on {late:?} after the kill");
    assert!(late < SLACK, "{late:?}");
}

/// Of 200 processes at a time, the time of each.
fn stampede(program: &Path) -> Duration {
    let began = Instant::now();
    let mut children: Vec<_> = (0..200)
        .map(|_| Command::new(program).spawn().unwrap())
        .collect();
    for child in &mut children {
        assert!(child.wait().unwrap().success());
    }
    began.elapsed() / 200
}

/// Programs that nobody asked for would be held all the same, or be refused for want of descriptors.
#[test]
fn root_the_unselected_are_not_slowed() {
    let Some(pair) = testbin("openssl/pair", "dyn-O2") else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let program = fresh_true(dir.path(), 0);
    let median = |mut times: Vec<Duration>| {
        times.sort_unstable();
        times[times.len() / 2]
    };
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        without.push(stampede(&program));
        let said = dir.path().join("said");
        let mut child = Command::new(env!("CARGO_BIN_EXE_agentsight"))
            .args(["attach", "--hold", "--binary"])
            .arg(&pair.path)
            .env(SLOW, &program)
            .stdout(Stdio::null())
            .stderr(fs::File::create(&said).unwrap())
            .spawn()
            .unwrap();
        wait_for("holding", || {
            fs::read_to_string(&said).unwrap().contains("holding: ")
        });
        with.push(stampede(&program));
        signal(child.id(), "INT");
        assert!(child.wait().unwrap().success());
        let said = fs::read_to_string(&said).unwrap();
        assert!(!said.contains("held: "), "{said}");
    }
    let (without, with) = (median(without), median(with));
    eprintln!("a process takes {without:?} without, {with:?} with --hold");
    assert!(
        with < without * 2 + Duration::from_millis(1),
        "{with:?}, {without:?} without"
    );
}
