//! Many processes: deep below each other, as many as a user may have, a hundred thousand that end at once. Each writes down
//! itself; none is missing, none has another parent, and our memory does not grow with them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{AGENTSIGHT, Recorded, compile, compile_with};
use crate::support::require;

/// A process: its pid, and its start in ticks of the clock (USER_HZ is 100 everywhere).
type Process = (u64, u64);
const TICK_NS: u64 = 10_000_000;

/// What is known of a process: its parent, the status that it ended with, and programs that it ran.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Life {
    forks: u64,
    parent: u64,
    ends: u64,
    code: u64,
    execs: u64,
}

/// More memory than `record` of nothing needs: none of it may depend on how many processes there have been.
const MEMORY_MAX: u64 = 96 << 20;

/// A run of the program, and what came of it.
struct Crowd {
    place: Recorded,
    /// Forks that failed.
    failed: u64,
    truth: BTreeMap<Process, Life>,
    said: String,
}

impl Crowd {
    fn run(mode: &[&str]) -> Option<Self> {
        let place = Recorded::place()?;
        let program = compile("crowds", place.dir.path());
        let tiny = compile_with("tiny", place.dir.path(), &["-static", "-nostdlib"]);
        let log = place.path("log");
        let [program, log_path, tiny] = [&program, &log, &tiny].map(|path| path.to_str().unwrap());
        let command = [&[program, log_path], mode, &[tiny]].concat();
        let (before, _) = record(&place, &["/bin/true"]);
        let began = Instant::now();
        let (most, said) = record(&place, &command);
        let (failed, truth) = truth(&log);
        eprintln!(
            "{mode:?}: {} processes in {:.1} s; at most {} MiB of memory, {} MiB for nothing",
            truth.len(),
            began.elapsed().as_secs_f64(),
            most >> 20,
            before >> 20,
        );
        assert!(
            most < before + MEMORY_MAX,
            "{most} B, {before} B for nothing"
        );
        Some(Self {
            place,
            failed,
            truth,
            said,
        })
    }

    /// What was told is what was done, but for what is told to be lost.
    fn compare(&self) {
        let (seen, lost) = self.seen();
        let mut missing = 0;
        let mut wrong = Vec::new();
        for (process, done) in &self.truth {
            let told = seen.get(process).cloned().unwrap_or_default();
            let has_parent = told.forks == 0 || told.parent == done.parent;
            let has_code = told.ends == 0 || told.code == done.code;
            let is_more = told.forks > 1 || told.ends > 1 || told.execs > done.execs;
            missing += 2 + done.execs - (told.forks + told.ends + told.execs).min(2 + done.execs);
            if !has_parent || !has_code || is_more {
                wrong.push(format!("{process:?}: done {done:?}, told {told:?}"));
            }
        }
        eprintln!("{missing} missing, {lost} told to be lost");
        wrong.truncate(20);
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        // More may be lost than what is compared: what the program opened, its own beginning.
        assert!(
            missing <= lost,
            "{missing} missing, {lost} lost: {}",
            self.said
        );
    }

    /// What a replay tells of each process, and how much was lost.
    fn seen(&self) -> (BTreeMap<Process, Life>, u64) {
        let mut replay = Command::new(AGENTSIGHT)
            .args(["replay", "--json", "--redact", "off", "--quiet"])
            .arg(self.place.path("run.rec"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut seen: BTreeMap<Process, Life> = BTreeMap::new();
        let mut lost = 0;
        let lines = BufReader::new(replay.stdout.take().unwrap()).lines();
        for line in lines {
            let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
            let own = |name: &str| process(line[name].as_str().unwrap());
            match line["type"].as_str().unwrap() {
                "process.fork" => {
                    let life = seen.entry(own("child")).or_default();
                    life.forks += 1;
                    life.parent = line["pid"].as_u64().unwrap();
                }
                "process.exec" => seen.entry(own("process")).or_default().execs += 1,
                "process.exit" => {
                    let life = seen.entry(own("process")).or_default();
                    life.ends += 1;
                    life.code = line["code"].as_u64().unwrap_or(u64::MAX);
                }
                "tls.gap" => lost += line["records"].as_u64().unwrap_or_default(),
                _ => {}
            }
        }
        assert!(replay.wait().unwrap().success());
        (seen, lost)
    }
}

/// `pPID.START`
fn process(name: &str) -> Process {
    let (pid, start) = name[1..].split_once('.').unwrap();
    let start: u64 = start.parse().unwrap();
    (pid.parse().unwrap(), start / TICK_NS)
}

/// What the processes have written down: forks that failed, and each of them.
fn truth(log: &Path) -> (u64, BTreeMap<Process, Life>) {
    let bytes = fs::read(log).unwrap();
    let word = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap());
    let half = |at: usize| u64::from(u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap()));
    let count = usize::try_from(word(0)).unwrap();
    let life = |number: usize| {
        let at = 16 + 24 * number;
        let life = Life {
            forks: 1,
            parent: half(at + 4),
            ends: 1,
            code: half(at + 16),
            execs: half(at + 20),
        };
        ((half(at), word(at + 8)), life)
    };
    let lives: BTreeMap<_, _> = (0..count).map(life).collect();
    assert_eq!(lives.len(), count, "two processes of one name");
    (word(8), lives)
}

/// Records a command: the most memory that it took, and what it said.
fn record(place: &Recorded, command: &[&str]) -> (u64, String) {
    let said = place.path("said");
    let mut child = Command::new(AGENTSIGHT)
        .args(["record", "-o"])
        .arg(place.path("run.rec"))
        .arg("--")
        .args(command)
        .stdin(Stdio::null())
        .stderr(fs::File::create(&said).unwrap())
        .spawn()
        .unwrap();
    let (most, status) = watch(&mut child);
    let said = fs::read_to_string(said).unwrap();
    assert!(status.success(), "{said}");
    (most, said)
}

/// The most memory that a process has until it ends, as far as it shows.
fn watch(child: &mut Child) -> (u64, ExitStatus) {
    let file = PathBuf::from(format!("/proc/{}/status", child.id()));
    let mut most = 0;
    loop {
        let status = fs::read_to_string(&file).unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak.and_then(|peak| peak.trim().strip_suffix(" kB")?.parse().ok());
        most = peak.map_or(most, |peak: u64| most.max(peak << 10));
        if let Some(status) = child.try_wait().unwrap() {
            return (most, status);
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// An agent's deep tree would break off somewhere, or its processes would have other parents.
#[test]
fn root_a_thousand_generations_are_all_told() {
    let crowd = require!(Crowd::run(&["chain", "1000", "50"]));
    assert_eq!(crowd.truth.len(), 1000);
    crowd.compare();
    let parents: BTreeSet<_> = crowd.truth.values().map(|life| life.parent).collect();
    assert_eq!(parents.len(), 1000, "it was no chain");
}

/// A fork bomb would make us lose processes without a word, or take all memory.
#[test]
fn root_a_fork_bomb_is_told_up_to_its_limit() {
    let crowd = require!(Crowd::run(&["bomb", "1500"]));
    assert!(crowd.failed > 0 && crowd.truth.len() > 1000, "no bomb");
    crowd.compare();
}

/// Threads that leave together would end their process twice, or never.
#[test]
fn root_processes_end_once_whoever_leaves_last() {
    let crowd = require!(Crowd::run(&["threads", "2000"]));
    assert!(crowd.truth.len() > 2000);
    crowd.compare();
}

/// Process ids are used again, three times over, and memory would grow with each that was ever there.
#[test]
fn root_a_hundred_thousand_short_processes_are_all_told() {
    let crowd = require!(Crowd::run(&["short", "100000", "20"]));
    assert!(crowd.truth.len() > 100_000);
    crowd.compare();
}
