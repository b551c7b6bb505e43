//! From exec, and from dlopen, until the probes are in place: copies of a program and of a library that nobody has seen
//! before; with an empty cache, with a filled one, and once they are probed.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use agentsight_testbins as testbins;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::lines::{Lines, milliseconds};
use crate::support::child::Ended;
use crate::support::program::Program;
use crate::support::report::table;
use crate::support::stats::Spread;
use crate::support::watcher::Watcher;
use crate::support::{Options, Result};

/// Between two of them, so that each meets an observer at rest.
const PAUSE: Duration = Duration::from_millis(400);

/// Loads one library after the other: when each was there, on the wall clock.
const DLOPEN: &str = "import ctypes, sys, time
for path in sys.argv[1:]:
    ctypes.CDLL(path)
    print(path, time.clock_gettime_ns(time.CLOCK_REALTIME), flush=True)
    time.sleep(0.4)
time.sleep(1)";

const PROBED: &str = "probed already";

/// Milliseconds.
#[derive(Serialize, Deserialize)]
pub struct Times {
    event: String,
    state: String,
    files: usize,
    ms: Vec<f64>,
}

pub fn measure(options: &Options, folder: &Path) -> Result<Vec<Times>> {
    let files = options.rounds.unwrap_or(30);
    let built = testbins::build("openssl/load", "embedded").map_err(|why| why.to_string())?;
    let library = Program::build("OpenSSL", folder)?.library;
    let programs = copies(&built.path, "program", files, folder)?;
    let libraries = copies(&library, "library", files, folder)?;
    let cache = folder.join("latency-cache");
    fs::create_dir(&cache)?;
    let mut times = Vec::new();
    for states in [&["first time"][..], &["cached", PROBED]] {
        let variables = [("XDG_CACHE_HOME", cache.as_path())];
        let watcher = Watcher::start_with(&["--all"], &variables, folder)?;
        watcher.wait_idle(&built.path, folder)?;
        let mut since = Timestamp::now();
        let mut asked = Vec::new();
        for state in states {
            run(&programs)?;
            let loaded = load(&libraries)?;
            watcher.wait_idle(&built.path, folder)?;
            let until = Timestamp::now();
            asked.push((*state, since, until, loaded));
            since = until;
        }
        let lines = watcher.lines.clone();
        watcher.stop()?;
        let lines = Lines::read(&lines)?;
        for (state, since, until, loaded) in asked {
            let mut late = HashMap::new();
            for missed in &lines.missed {
                if (since..until).contains(&missed.until) {
                    late.insert(PathBuf::from(&missed.file), missed);
                }
            }
            let of_programs = programs.iter();
            let ms = of_programs.map(|path| late.get(path).map_or(0.0, |missed| missed.ms()));
            times.push(Times::new("exec", state, ms.collect()));
            let ms = loaded.iter().map(|(path, at)| {
                let late = late.get(path);
                late.map_or(0.0, |missed| milliseconds(*at, missed.until).max(0.0))
            });
            times.push(Times::new("dlopen", state, ms.collect()));
        }
    }
    Ok(times)
}

/// Those that were probed begin unseen.
pub fn faults(times: &[Times]) -> Vec<String> {
    let late = |times: &&Times| times.state == PROBED && times.ms.iter().any(|ms| *ms > 0.0);
    let name = |times: &Times| format!("{}: late although it was probed", times.event);
    times.iter().filter(late).map(name).collect()
}

impl Times {
    fn new(event: &str, state: &str, ms: Vec<f64>) -> Self {
        Self {
            event: event.to_owned(),
            state: state.to_owned(),
            files: ms.len(),
            ms,
        }
    }
}

/// With content that nothing knows: the cache goes by device and inode.
fn copies(file: &Path, name: &str, count: u32, folder: &Path) -> Result<Vec<PathBuf>> {
    let copy = |number| {
        let path = folder.join(format!("{name}-{number}"));
        fs::copy(file, &path)?;
        Ok(path)
    };
    (0..count).map(copy).collect()
}

/// Each stands, and waits for a word, until it is killed.
fn run(programs: &[PathBuf]) -> Result<()> {
    for program in programs {
        let child = Command::new(program)
            .args(["--messages", "1", "--size", "64"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()?;
        let _child = Ended(child);
        thread::sleep(PAUSE);
    }
    Ok(())
}

/// When each was loaded.
fn load(libraries: &[PathBuf]) -> Result<Vec<(PathBuf, Timestamp)>> {
    let child = Command::new("python3")
        .args(["-c", DLOPEN])
        .args(libraries)
        .stdout(Stdio::piped())
        .spawn()?;
    let mut child = Ended(child);
    let stdout = child.0.stdout.take().ok_or("no stdout")?;
    let mut loaded = Vec::new();
    for line in BufReader::new(stdout).lines() {
        let line = line?;
        let (path, at) = line.split_once(' ').ok_or("no time")?;
        loaded.push((path.into(), Timestamp::from_nanosecond(at.parse()?)?));
    }
    child.0.wait()?;
    Ok(loaded)
}

pub fn show(times: &[&Times]) -> String {
    let heads = [
        "from",
        "the file is",
        "files",
        "ms, median (min – max)",
        "9 of 10 within",
    ];
    let lines = times.iter().map(|of| {
        let spread = Spread::of(of.ms.iter().copied());
        let mut sorted = of.ms.clone();
        sorted.sort_by(f64::total_cmp);
        let most = sorted.get(sorted.len() * 9 / 10).copied().unwrap_or(0.0);
        [
            of.event.clone(),
            of.state.clone(),
            of.files.to_string(),
            spread.map_or_else(String::new, |ms| {
                format!("{:.1} ({:.1} – {:.1})", ms.median, ms.min, ms.max)
            }),
            format!("{most:.1}"),
        ]
    });
    format!(
        "Until the probes are in place, under `--all`; a program with OpenSSL inside, without names, and Debian's \
         libssl:\n\n{}",
        table(heads, lines)
    )
}
