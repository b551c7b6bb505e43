//! Memory of the observer: its resident pages, and what its BPF maps take in the kernel.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use procfs::process::Process;
use serde::{Deserialize, Serialize};

use crate::support::observer::{Attach, Observer};
use crate::support::program::{Load, Program, Until};
use crate::support::report::table;
use crate::support::stats::Spread;
use crate::support::{Options, Result};

const BUFFERS: [&str; 3] = ["1M", "64M", "256M"];
const SIZE: u64 = 16 << 10;

/// With one size of the buffer, in megabytes (1,000,000).
#[derive(Serialize, Deserialize)]
pub struct Use {
    buffer: String,
    rounds: Vec<Round>,
}

#[derive(Serialize, Deserialize)]
struct Round {
    /// Resident memory with probes in place and nothing to do; the ring's pages that were touched are in it.
    rest_mb: f64,
    /// The most, while a program talks flat out.
    load_mb: f64,
    /// Locked by maps, the ring included.
    maps_mb: f64,
}

pub fn measure(program: &Program, options: &Options, folder: &Path) -> Result<Vec<Use>> {
    let mut uses = BUFFERS.map(|buffer| Use {
        buffer: buffer.to_owned(),
        rounds: Vec::new(),
    });
    for _ in 0..options.rounds.unwrap_or(7) {
        for used in &mut uses {
            let seconds = options.seconds.unwrap_or(3);
            used.rounds
                .push(round(program, &used.buffer, seconds, folder)?);
        }
    }
    Ok(uses.into())
}

fn round(program: &Program, buffer: &str, seconds: u64, folder: &Path) -> Result<Round> {
    let load = Load::flat_out(SIZE, Until::Seconds(seconds));
    let running = program.start(&load)?;
    let file = folder.join("output");
    let attach = Attach {
        buffer: Some(buffer),
        ..Attach::json(&program.path, &program.library, &file)
    };
    let observer = attach.start()?;
    thread::sleep(Duration::from_secs(1));
    let process = observer.child.process()?;
    let [rest_mb, _] = resident_mb(&process)?;
    let maps_mb = maps_mb(&observer)?;
    running.go()?;
    let [_, load_mb] = resident_mb(&process)?;
    observer.stop()?;
    fs::remove_file(&file)?;
    Ok(Round {
        rest_mb,
        load_mb,
        maps_mb,
    })
}

/// Now, and at most until now.
fn resident_mb(process: &Process) -> Result<[f64; 2]> {
    let status = process.status()?;
    let mb = |kib: Option<u64>| kib.unwrap_or(0) as f64 * 1024.0 / 1e6;
    Ok([mb(status.vmrss), mb(status.vmhwm)])
}

/// The sum over all maps that the process holds, each counted once.
fn maps_mb(observer: &Observer) -> Result<f64> {
    let folder = format!("/proc/{}/fdinfo", observer.child.0.id());
    let mut maps = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        // A descriptor may be closed meanwhile.
        let text = fs::read_to_string(entry?.path()).unwrap_or_default();
        let number = |name: &str| {
            let mut lines = text.lines();
            let value = lines.find_map(|line| line.strip_prefix(name))?;
            value.trim().parse::<u64>().ok()
        };
        if let (Some(map), Some(bytes)) = (number("map_id:"), number("memlock:")) {
            maps.insert(map, bytes);
        }
    }
    Ok(maps.values().sum::<u64>() as f64 / 1e6)
}

pub fn show(uses: &[&Use]) -> String {
    let heads = [
        "`--buffer`",
        "resident at rest",
        "resident at most, under load",
        "BPF maps, ring included",
    ];
    let lines = uses.iter().map(|used| {
        let median = |of: &dyn Fn(&Round) -> f64| {
            let spread = Spread::of(used.rounds.iter().map(of));
            spread.map_or_else(String::new, |spread| format!("{:.0} MB", spread.median))
        };
        [
            used.buffer.clone(),
            median(&|round| round.rest_mb),
            median(&|round| round.load_mb),
            median(&|round| round.maps_mb),
        ]
    });
    let rounds = uses.first().map_or(0, |used| used.rounds.len());
    format!(
        "Memory of `attach --json`, median of {rounds}; the load is 16 KiB messages flat out:\n\n{}",
        table(heads, lines)
    )
}
