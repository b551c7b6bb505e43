//! How soon new processes and libraries are probed, what short-lived programs say unseen, and what that costs processes
//! that nobody asked for.
//!
//! It fails if a process is not seen from its first byte and that is not told, or if it began after its files were probed. Needs root, curl, Python,
//! and node of a sample for the server.
//!
//! `--rounds N` (30 files, 10 sets of files for curl, 7 rounds of forks), `--seconds N` (2) of each round of forks,
//! `--only latency|curl|forks`, `--json`, `--from FILE`.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr)] // a bench prints

mod curl;
mod forks;
mod latency;
mod lines;
#[path = "../support/mod.rs"]
mod support;

use serde::{Deserialize, Serialize};

use support::report::Measured;
use support::{Options, Result, folder};

#[derive(Serialize, Deserialize)]
#[serde(tag = "part", rename_all = "kebab-case")]
enum Part {
    Curl(curl::Way),
    Forks(forks::Way),
    Latency(latency::Times),
}

fn main() -> Result<()> {
    support::report::run("lifecycle", measure, |parts, _| Ok(show(parts)))
}

fn measure(options: &Options) -> Result<Measured<Part>> {
    let folder = folder()?;
    let (mut rows, mut faults) = (Vec::new(), Vec::new());
    if options.wants("latency") {
        let times = latency::measure(options, folder.path())?;
        faults.extend(latency::faults(&times));
        rows.extend(times.into_iter().map(Part::Latency));
    }
    if options.wants("curl") {
        let ways = curl::measure(options, folder.path())?;
        faults.extend(curl::faults(&ways));
        rows.extend(ways.into_iter().map(Part::Curl));
    }
    if options.wants("forks") {
        let ways = forks::measure(options, folder.path())?;
        rows.extend(ways.into_iter().map(Part::Forks));
    }
    Ok(Measured { rows, faults })
}

fn show(parts: &[Part]) -> String {
    let (mut times, mut curls, mut forks) = (Vec::new(), Vec::new(), Vec::new());
    for part in parts {
        match part {
            Part::Curl(way) => curls.push(way),
            Part::Forks(way) => forks.push(way),
            Part::Latency(of) => times.push(of),
        }
    }
    let mut tables = Vec::new();
    if !times.is_empty() {
        tables.push(latency::show(&times));
    }
    if !curls.is_empty() {
        tables.push(curl::show(&curls));
    }
    if !forks.is_empty() {
        tables.push(forks::show(&forks));
    }
    tables.join("\n\n")
}
