//! A thousand short-lived curl runs: how many were seen from their first byte. They come in sets, each with its own copies
//! of curl and of its TLS libraries, so that each set has a first run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use agentsight_testbins::{self as testbins, rust::certificate};
use serde::{Deserialize, Serialize};

use crate::lines::Lines;
use crate::support::https::Server;
use crate::support::report::table;
use crate::support::watcher::Watcher;
use crate::support::{Options, Result};

/// Of a set.
const RUNS: usize = 100;
const SETS: u32 = 10;
/// The first runs of a set may all be over before its files are probed: they take 10 ms each.
const SOON: usize = 5;
/// What is copied of what curl needs.
const COPIED: [&str; 3] = ["libcurl.so", "libssl.so", "libcrypto.so"];

/// One way of observing.
#[derive(Default, Serialize, Deserialize)]
pub struct Way {
    way: String,
    holds: bool,
    /// First runs of a set, and those of them that were seen from their first byte.
    first: [usize; 2],
    /// The same of all others.
    later: [usize; 2],
    /// Those that were not, and of which the observer said so (`tls.missed`).
    told: usize,
    /// The last run of any set that was not seen from its first byte, counted from 1.
    last: usize,
    /// What the summary says of those that were held.
    held: String,
}

pub fn measure(options: &Options, folder: &Path) -> Result<Vec<Way>> {
    let keys = certificate(folder).map_err(|why| format!("a certificate: {why}"))?;
    let Some(server) = Server::start(&keys)? else {
        return Err("no node to run the server with: scripts/fetch-samples node-x64-20".into());
    };
    let sets = options.rounds.unwrap_or(SETS);
    let mut ways = Vec::new();
    for (holds, name) in [(false, "plain"), (true, "hold")] {
        let own = folder.join(name);
        fs::create_dir(&own)?;
        let curls: Vec<_> = (0..sets)
            .map(|set| Curl::copy(&own.join(set.to_string())))
            .collect::<Result<_>>()?;
        for cache in ["empty", "filled"] {
            let way = format!("{name}-{cache}");
            let seen = watch(&curls, holds, &way, &own, server.port)?;
            ways.push(seen);
        }
    }
    Ok(ways)
}

/// What was lost without a word, and a file that still is probed late after so many runs.
pub fn faults(ways: &[Way]) -> Vec<String> {
    let lost = |way: &Way| {
        let unseen = |[all, seen]: [usize; 2]| all - seen;
        unseen(way.first) + unseen(way.later) - way.told
    };
    let is_faulty = |way: &&Way| lost(way) > 0 || way.last > SOON;
    let name = |way: &Way| {
        format!(
            "{}: {} runs not seen whole and not told; the last that was not seen whole is the {}th of its set",
            way.way,
            lost(way),
            way.last
        )
    };
    ways.iter().filter(is_faulty).map(name).collect()
}

/// A copy of curl, with libraries of its own.
struct Curl {
    program: PathBuf,
    libraries: PathBuf,
}

impl Curl {
    fn copy(folder: &Path) -> Result<Self> {
        fs::create_dir(folder)?;
        let program = folder.join("curl");
        fs::copy("/usr/bin/curl", &program)?;
        let listed = Command::new("ldd").arg(&program).output()?;
        for line in String::from_utf8(listed.stdout)?.lines() {
            let Some((name, rest)) = line.trim().split_once(" => ") else {
                continue;
            };
            if COPIED.iter().any(|copied| name.starts_with(copied)) {
                let path = rest.split(' ').next().unwrap_or_default();
                fs::copy(path, folder.join(name))?;
            }
        }
        Ok(Self {
            program,
            libraries: folder.to_owned(),
        })
    }

    /// Returns its process's number.
    fn run(&self, url: &str) -> Result<u32> {
        let child = Command::new(&self.program)
            .args(["-sk", "--max-time", "60", url])
            .env("LD_LIBRARY_PATH", &self.libraries)
            .stdout(Stdio::piped())
            .spawn()?;
        let pid = child.id();
        let output = child.wait_with_output()?;
        if output.status.success() && output.stdout.starts_with(b"event: ") {
            Ok(pid)
        } else {
            Err(format!("{url}: curl failed: {}", output.status).into())
        }
    }
}

fn watch(curls: &[Curl], holds: bool, way: &str, own: &Path, port: u16) -> Result<Way> {
    let cache = own.join("cache");
    fs::create_dir_all(&cache)?;
    let mut options = vec!["--all"];
    if holds {
        options.push("--hold");
    }
    let watcher = Watcher::start_with(&options, &[("XDG_CACHE_HOME", &cache)], own)?;
    let canary = testbins::build("openssl/load", "embedded").map_err(|why| why.to_string())?;
    watcher.wait_idle(&canary.path, own)?;
    let name = |set: usize, run: usize| format!("/?events=1&pause=0&run={way}-{set}-{run}");
    let mut pids = Vec::new();
    for (set, curl) in curls.iter().enumerate() {
        for run in 0..RUNS {
            let pid = curl.run(&format!("https://127.0.0.1:{port}{}", name(set, run)))?;
            pids.push((set, run, pid));
        }
    }
    let lines = watcher.lines.clone();
    let said = watcher.stop()?;
    let lines = Lines::read(&lines)?;
    let is_seen = |set, run| {
        let request = format!("GET {} HTTP/1.1\r\n", name(set, run));
        lines.conns.values().any(|conn| {
            conn.from_start
                && conn.written.starts_with(&request)
                && conn.written.ends_with("\r\n\r\n")
        })
    };
    let held = said.lines().find_map(|line| line.strip_prefix("held: "));
    let mut result = Way {
        way: way.to_owned(),
        holds,
        held: held.unwrap_or_default().to_owned(),
        ..Way::default()
    };
    for (set, run, pid) in pids {
        let is_told = lines.missed.iter().any(|missed| missed.pid == pid);
        result.count(run, is_seen(set, run), is_told);
    }
    Ok(result)
}

impl Way {
    fn count(&mut self, run: usize, is_seen: bool, is_told: bool) {
        let counts = match run {
            0 => &mut self.first,
            _ => &mut self.later,
        };
        counts[0] += 1;
        counts[1] += usize::from(is_seen);
        if !is_seen {
            self.told += usize::from(is_told);
            self.last = self.last.max(run + 1);
        }
    }
}

pub fn show(ways: &[&Way]) -> String {
    let heads = [
        "`--hold`, cache",
        "first runs seen from their first byte",
        "later runs",
        "others, told as late",
        "the last of a set that was not",
        "held",
    ];
    let lines = ways.iter().map(|way| {
        let share = |[all, seen]: [usize; 2]| {
            format!(
                "{seen} of {all} ({:.1} %)",
                100.0 * seen as f64 / all.max(1) as f64
            )
        };
        let cache = way.way.rsplit('-').next().unwrap_or_default();
        [
            format!("{}, {cache}", if way.holds { "yes" } else { "no" }),
            share(way.first),
            share(way.later),
            way.told.to_string(),
            format!("number {}", way.last),
            way.held.clone(),
        ]
    });
    format!(
        "`curl https://127.0.0.1/` under `--all`, in sets of {RUNS} runs with copies of curl and its libraries of their \
         own:\n\n{}",
        table(heads, lines)
    )
}
