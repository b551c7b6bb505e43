//! What a probe is told by a report: guards that keep wrong objects out, and Go's old calling convention,
//! for which no toolchain can be had any more.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use agentsight::discover::finding::{Abi, Report};
use agentsight::event::Event;
use agentsight::event::wire::Counter;
use agentsight::image::ImageFile;
use agentsight::symdb::Role;

use crate::direct::{self, Direct, Watched};
use crate::gobuild::{NEWEST, go_program};
use crate::{is_root, program};

/// A program that does one thing for each letter it is sent.
struct Obedient(Child);

impl Obedient {
    fn start(path: &Path) -> Self {
        let mut command = Command::new(path);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        Self(command.spawn().unwrap())
    }

    /// Sends the letters and waits until they are done.
    fn tell(&mut self, letters: &str) {
        let stdin = self.0.stdin.as_mut().unwrap();
        stdin.write_all(letters.as_bytes()).unwrap();
        stdin.write_all(b"\n").unwrap();
        let mut line = String::new();
        BufReader::new(self.0.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "done\n");
    }
}

impl Drop for Obedient {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn compile(dir: &tempfile::TempDir, options: &[&str]) -> Option<PathBuf> {
    let cc = program("cc")?;
    let path = dir.path().join("guard");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/live/guard.c");
    let status = Command::new(cc)
        .args(["-O2", "-o"])
        .arg(&path)
        .arg(source)
        .args(options)
        .status()
        .unwrap();
    assert!(status.success());
    Some(path)
}

fn guarded(path: &Path) -> Report {
    let watched = [
        Watched {
            symbol: "guarded_read",
            role: Role::Read,
        },
        Watched {
            symbol: "guarded_write",
            role: Role::Write,
        },
    ];
    let mut report = direct::report(path, "boringssl", Abi::C, &watched);
    report.findings[0].guard = Some(direct::address(path, "table"));
    report
}

fn counter(direct: &Direct, wanted: Counter) -> u64 {
    let counters = direct.session.counters().unwrap();
    counters
        .iter()
        .find(|(counter, _)| *counter == wanted)
        .unwrap()
        .1
}

/// Objects that begin with the table are connections; others are left out and counted, wherever the
/// program is loaded. A function that has seen a right object stays.
#[test]
fn root_guards_keep_wrong_objects_out() {
    if !is_root() {
        return;
    }
    for options in [&["-pie", "-fPIE"][..], &["-no-pie", "-fno-pie"]] {
        let dir = tempfile::tempdir().unwrap();
        let Some(path) = compile(&dir, options) else {
            return;
        };
        let mut direct = Direct::open();
        direct.attach(&ImageFile::open(&path).unwrap(), &guarded(&path));
        let mut running = Obedient::start(&path);
        running.tell("wrw");
        running.tell(&"w".repeat(100));
        direct.listen();
        assert_eq!(direct.calls(), [["w:right", "r:right"]]);
        assert_eq!(counter(&direct, Counter::WrongObject), 3 * 102);
        assert_eq!(direct.session.remove_misfits(), []);
        running.tell("r");
        direct.listen();
        assert_eq!(
            direct.calls(),
            [["w:right", "r:right", "w:right", "r:right"]]
        );
    }
}

/// A function that never sees a right object is not what it was taken for: its probes go away.
#[test]
fn root_misfits_are_removed() {
    if !is_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let Some(path) = compile(&dir, &[]) else {
        return;
    };
    let mut direct = Direct::open();
    direct.attach(&ImageFile::open(&path).unwrap(), &guarded(&path));
    let mut running = Obedient::start(&path);
    running.tell(&"w".repeat(63));
    // Two writes each time: only the reads are still in doubt.
    let names = |direct: &mut Direct| {
        let misfits = direct.session.remove_misfits();
        Vec::from_iter(misfits.into_iter().map(|misfit| misfit.function))
    };
    assert_eq!(names(&mut direct), ["guarded_write"]);
    running.tell("w");
    assert_eq!(names(&mut direct), ["guarded_read"]);
    let before = counter(&direct, Counter::WrongObject);
    running.tell("rw");
    assert_eq!(counter(&direct, Counter::WrongObject), before);
    direct.listen();
    // All processes are followed here, and others may connect meanwhile.
    direct
        .events
        .retain(|event| !matches!(event, Event::Hello { .. }));
    assert_eq!(direct.events, []);
}

/// ABI0, on real Go functions that have it: those in assembly language.
#[test]
fn root_go_stack_calls() {
    let Some(stack) = go_program(NEWEST, "stack", &[]) else {
        return;
    };
    let watched = [
        ("main.read.abi0", Role::Read),
        ("main.write.abi0", Role::Write),
        ("main.splitWrite.abi0", Role::Write),
        ("main.closeConn.abi0", Role::Close),
    ]
    .map(|(symbol, role)| Watched { symbol, role });
    let mut direct = Direct::open();
    let report = direct::report(&stack.path, "go-crypto-tls", Abi::GoStack, &watched);
    direct.attach(&ImageFile::open(&stack.path).unwrap(), &report);
    let mut command = Command::new(&stack.path);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    assert!(child.wait().unwrap().success());
    direct.listen();
    let expected: Vec<Vec<String>> = (0..3)
        .map(|i| {
            vec![
                format!("w:written on {i}"),
                "w:; and split".to_owned(),
                "r:zzzzzzzzzzzzzzzzzzzz".to_owned(),
                "end".to_owned(),
            ]
        })
        .collect();
    assert_eq!(direct.calls(), expected);
    assert_eq!(counter(&direct, Counter::BadResult), 0);
}
