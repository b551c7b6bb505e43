//! What it costs a tree of processes to be observed while it works: a build, short-lived processes, and many files. Next
//! to it the same work while another process is observed.
//!
//! Wall and processor time, as ratios of rounds that stand next to each other. It fails if the observer lost anything, or told
//! nothing. Needs root, gcc, make and git.
//!
//! `--rounds N` (7), `--only build|processes|files`, `--json`, `--from FILE`.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr)] // a bench prints

mod load;
mod worker;

#[path = "../support/mod.rs"]
mod support;

use std::path::Path;

use serde::{Deserialize, Serialize};

use load::Load;
use support::report::{Measured, table};
use support::stats::{Interval, Spread};
use support::watcher::Watcher;
use support::{Options, Result, folder};
use worker::{Cost, Worker};

const BARE: &str = "nobody observes";
const NO_SYSTEM: &str = "`--no-system --record`";

/// How it is observed.
struct Way {
    name: &'static str,
    /// `None`: not at all.
    command: Option<&'static [&'static str]>,
    /// The worker; or else a process beside it.
    observes_worker: bool,
}

const WAYS: [Way; 5] = [
    Way {
        name: BARE,
        command: None,
        observes_worker: false,
    },
    Way {
        name: "another process is recorded",
        command: Some(&["attach", "--record"]),
        observes_worker: false,
    },
    Way {
        name: NO_SYSTEM,
        command: Some(&["attach", "--no-system", "--record"]),
        observes_worker: true,
    },
    Way {
        name: "`--record`",
        command: Some(&["attach", "--record"]),
        observes_worker: true,
    },
    Way {
        name: "`--json`",
        command: Some(&["attach", "--json", "-o"]),
        observes_worker: true,
    },
];

/// One load in one way.
#[derive(Serialize, Deserialize)]
struct Row {
    load: String,
    way: String,
    /// Of each round.
    costs: Vec<Cost>,
    /// Processor seconds of the observer, of each round.
    observer: Vec<f64>,
}

fn main() -> Result<()> {
    support::report::run("acts", measure, |rows, _| Ok(show(rows)))
}

fn measure(options: &Options) -> Result<Measured<Row>> {
    let folder = folder()?;
    let mut measured = Measured {
        rows: Vec::new(),
        faults: Vec::new(),
    };
    for load in Load::ALL {
        if !options.wants(load.name) {
            continue;
        }
        load.prepare(folder.path())?;
        let first = measured.rows.len();
        measured.rows.extend(WAYS.iter().map(|way| Row {
            load: load.name.to_owned(),
            way: way.name.to_owned(),
            costs: Vec::new(),
            observer: Vec::new(),
        }));
        for _ in 0..options.rounds.unwrap_or(7) {
            for (row, way) in measured.rows.iter_mut().skip(first).zip(&WAYS) {
                let fault = round(&load, way, row, folder.path())?;
                measured.faults.extend(fault);
            }
        }
    }
    Ok(measured)
}

/// What is wrong with the observer's account, if something is.
fn round(load: &Load, way: &Way, row: &mut Row, folder: &Path) -> Result<Option<String>> {
    let mut worker = Worker::start(folder)?;
    let idle = Worker::start(folder)?;
    let observed = if way.observes_worker { &worker } else { &idle }.pid();
    let watcher = way
        .command
        .map(|command| Watcher::start_as(command, &["--pid", &observed, "--follow"], &[], folder))
        .transpose()?;
    // Everything is in the page cache, and known to the observer.
    worker.run(load.warm_up)?;
    let cost = worker.run(load.work)?;
    row.costs.push(cost);
    let Some(watcher) = watcher else {
        return Ok(None);
    };
    row.observer.push(watcher.child.cpu_seconds()?);
    let said = watcher.stop()?;
    let tells = way.name != NO_SYSTEM && way.observes_worker;
    let is_right =
        said.contains("lost: nothing") && said.contains("things that processes did") == tells;
    Ok((!is_right).then(|| format!("{}, {}: {said}", load.name, way.name)))
}

fn show(rows: &[Row]) -> String {
    let heads = [
        "",
        "",
        "s, median (min – max)",
        "wall time (95 %)",
        "processor time of the work (95 %)",
        "s of processor, observer",
    ];
    let lines = rows.iter().map(|row| {
        let bare = rows
            .iter()
            .find(|other| other.load == row.load && other.way == BARE);
        let ratio =
            |value: fn(&Cost) -> f64| bare.map_or_else(String::new, |bare| pairs(bare, row, value));
        [
            row.load.clone(),
            row.way.clone(),
            spread(row.costs.iter().map(|cost| cost.wall), 2),
            ratio(|cost| cost.wall),
            ratio(|cost| cost.processor),
            spread(row.observer.iter().copied(), 2),
        ]
    });
    let rounds = rows.first().map_or(0, |row| row.costs.len());
    let loads: Vec<String> = Load::ALL
        .iter()
        .map(|load| format!("*{}*: {}", load.name, load.what))
        .collect();
    format!(
        "{}; {rounds} rounds in turn:\n\n{}",
        loads.join("; "),
        table(heads, lines)
    )
}

fn spread(values: impl Iterator<Item = f64>, digits: usize) -> String {
    Spread::of(values).map_or_else(String::new, |of| {
        let Spread { median, min, max } = of;
        format!("{median:.digits$} ({min:.digits$} – {max:.digits$})")
    })
}

fn pairs(bare: &Row, row: &Row, value: fn(&Cost) -> f64) -> String {
    let pairs = bare
        .costs
        .iter()
        .map(value)
        .zip(row.costs.iter().map(value));
    Interval::of_pairs(&pairs.collect::<Vec<_>>()).map_or_else(String::new, |of| {
        format!("{:.3} ({:.3} – {:.3})", of.ratio, of.low, of.high)
    })
}
