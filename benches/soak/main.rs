//! Processes come and go for half an hour, fifty at a time, and the observer must not grow: its memory, its descriptors,
//! its BPF objects and the entries of its tables are looked at each second.
//!
//! What is not needed is given back late, so that all of it goes up and down: what grows is the floor. It fails if a line
//! through the least values of a dozen equal spans rises by more than the bound that is named in the table. Needs root.
//!
//! `--minutes N` (30), `--json`, `--csv FILE`, `--from FILE`, `--plot FILE.svg`.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr)] // a bench prints

mod load;
mod plot;
mod sample;
#[path = "../support/mod.rs"]
mod support;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::thread;
use std::time::{Duration, Instant};

use agentsight_testbins::rust::certificate;

use load::Load;
use sample::{SERIES, Sample, Series};
use support::https::Server;
use support::program::Program;
use support::report::{Measured, table, thousands};
use support::stats::{Line, Spread};
use support::watcher::Watcher;
use support::{Options, Result, folder};

/// Of the run, at its start: caches fill, the ring is written for the first time.
const WARM_UP: f64 = 0.2;
/// Of the rest, one value of each is looked at: the least. They must be longer than what is not needed is kept (a minute).
const SPANS: usize = 12;

fn main() -> Result<()> {
    support::report::run("soak", measure, |samples, options| {
        if let Some(file) = &options.plot {
            plot::draw(samples, file)?;
        }
        Ok(show(samples))
    })
}

fn measure(options: &Options) -> Result<Measured<Sample>> {
    let folder = folder()?;
    let keys = certificate(folder.path()).map_err(|why| format!("a certificate: {why}"))?;
    let Some(server) = Server::start(&keys)? else {
        return Err("no node to run the server with: scripts/fetch-samples node-x64-20".into());
    };
    let program = Program::build("OpenSSL", folder.path())?;
    // Nobody but the load: what else runs on the machine is not what is measured.
    let own = std::process::id().to_string();
    let watcher = Watcher::start(&["--pid", &own, "--buffer", "4M"], folder.path())?;
    let mut csv = options.csv.as_ref().map(File::create).transpose()?;
    if let Some(csv) = &mut csv {
        writeln!(csv, "{}", sample::HEAD)?;
    }
    let load = Load::start(server.port, &program, folder.path())?;
    let time = Duration::from_secs_f64(options.minutes.unwrap_or(30.0) * 60.0);
    let began = Instant::now();
    let mut samples = Vec::new();
    while began.elapsed() < time {
        thread::sleep(Duration::from_secs(1));
        let sample = Sample::take(&watcher, &load, began)?;
        if let Some(csv) = &mut csv {
            writeln!(csv, "{}", sample.line())?;
        }
        samples.push(sample);
        // The lines themselves are of no interest, and would fill the memory.
        File::options()
            .write(true)
            .open(&watcher.lines)?
            .set_len(0)?;
    }
    drop(load);
    let said = watcher.stop()?;
    let mut log = BufWriter::new(std::io::stderr());
    writeln!(
        log,
        "{}",
        said.lines().rev().take(12).collect::<Vec<_>>().join("\n")
    )?;
    let faults = faults(&samples);
    Ok(Measured {
        rows: samples,
        faults,
    })
}

/// What grew.
fn faults(samples: &[Sample]) -> Vec<String> {
    let grows = |series: &&Series| {
        let growth = growth(samples, series);
        growth.is_none_or(|growth| growth > series.bound(samples))
    };
    let name = |series: &Series| format!("{} grows", series.name);
    SERIES.iter().filter(grows).map(name).collect()
}

/// From the end of the warm-up to the end of the run, along the line through the least value of each span.
fn growth(samples: &[Sample], series: &Series) -> Option<f64> {
    let counted = counted(samples);
    let time = counted.last()?.second - counted.first()?.second;
    let spans = counted.chunks(counted.len().div_ceil(SPANS).max(1));
    let points: Vec<(f64, f64)> = spans
        .filter_map(|span| {
            let values = span.iter().map(|sample| (series.of)(sample));
            Some((span.first()?.second, values.reduce(f64::min)?))
        })
        .collect();
    Some(Line::fit(&points)?.slope * time)
}

/// Those after the warm-up.
fn counted(samples: &[Sample]) -> &[Sample] {
    let from = (samples.len() as f64 * WARM_UP).ceil() as usize;
    samples.get(from..).unwrap_or_default()
}

fn show(samples: &[Sample]) -> String {
    let heads = ["of the observer", "median (min – max)", "growth", "bound"];
    let lines = SERIES.iter().map(|series| {
        let values = counted(samples).iter().map(series.of);
        let spread = Spread::of(values).map_or_else(String::new, |spread| {
            format!(
                "{:.1} ({:.1} – {:.1})",
                spread.median, spread.min, spread.max
            )
        });
        let growth = growth(samples, series);
        [
            series.name.to_owned(),
            spread,
            growth.map_or_else(String::new, |growth| format!("{growth:+.2}")),
            format!("{:.2}", series.bound(samples)),
        ]
    });
    let last = samples.last();
    let minutes = last.map_or(0.0, |last| last.second / 60.0);
    let started = last.map_or(0, |last| last.started);
    let alive = Spread::of(counted(samples).iter().map(|sample| sample.alive as f64));
    format!(
        "{minutes:.0} minutes, {} processes came and went, {:.0} at a time; growth along a least-squares line through \
         the least values of {SPANS} equal spans, from minute {:.1} on:\n\n{}",
        thousands(started),
        alive.map_or(0.0, |alive| alive.median),
        minutes * WARM_UP,
        table(heads, lines)
    )
}
