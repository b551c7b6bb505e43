//! What capture costs an agent: a node and a Python client that send prompts of 20 to 100 KB over HTTPS
//! and read streamed answers of 200 events, with and without `agentsight attach --binary CLIENT --json`.
//!
//! The server is another program (node of another version), which is not observed. Runs without and
//! with agentsight follow each other, the order changing from pair to pair; the ratio is the geometric
//! mean of all pairs, with Student's 95 % interval. It fails if anything of what the client said is missing
//! without a gap. Needs root, and `scripts/fetch-samples node-x64-20 node-x64-26`.
//!
//! `--rounds N` (20) pairs, `--seconds N` (4) of a streamed run, `--only NAME` of a client or a pace,
//! `--json`, `--from FILE`.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr)] // a bench prints

mod client;
#[path = "../support/mod.rs"]
mod support;

use std::path::Path;

use agentsight_testbins::rust::certificate;
use serde::{Deserialize, Serialize};

use client::{Client, Talk};
use support::https::Server;
use support::observer::Attach;
use support::report::{Measured, table};
use support::stats::{Interval, Spread};
use support::told::Lost;
use support::{Options, Result, folder};

/// Of one answer.
const EVENTS: u64 = 200;

/// One kind of run.
#[derive(Serialize, Deserialize)]
struct Row {
    client: String,
    pace: String,
    requests: u64,
    /// Between two events.
    pause_ms: u64,
    pairs: Vec<Pair>,
}

/// Two runs next to each other.
#[derive(Serialize, Deserialize)]
struct Pair {
    without: Figures,
    with: Figures,
    observer_cpu_s: f64,
    lost: Lost,
}

/// What a client measured of itself.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Figures {
    /// Of prompts and answers, as the client counts them.
    pub bytes: u64,
    /// Between the first request and the last answer.
    pub wall_s: f64,
    /// In the same time.
    pub cpu_s: f64,
}

impl Row {
    fn interval(&self, of: impl Fn(&Figures) -> f64) -> String {
        let pairs: Vec<_> = self
            .pairs
            .iter()
            .map(|pair| (of(&pair.without), of(&pair.with)))
            .collect();
        let percent = |ratio: f64| format!("{:+.2} %", 100.0 * (ratio - 1.0));
        Interval::of_pairs(&pairs).map_or_else(String::new, |interval| {
            let [low, high] = [interval.low, interval.high].map(percent);
            format!("{} ({low} … {high})", percent(interval.ratio))
        })
    }
}

fn main() -> Result<()> {
    support::report::run("agent", measure, |rows, _| Ok(show(rows)))
}

fn measure(options: &Options) -> Result<Measured<Row>> {
    let folder = folder()?;
    let keys = certificate(folder.path()).map_err(|why| format!("a certificate: {why}"))?;
    let Some(server) = Server::start(&keys)? else {
        return Err("no node to run the server with".into());
    };
    let mut rows: Vec<(Client, Row)> = Vec::new();
    for client in Client::all(folder.path())? {
        for (pace, pause_ms) in [("streamed, 5 ms between events", 5), ("flat out", 0)] {
            if !options.wants(client.name) && !options.wants(pace) {
                continue;
            }
            let seconds = options.seconds.unwrap_or(4);
            let requests = if pause_ms > 0 { seconds } else { 20 * seconds };
            let row = Row {
                client: client.name.to_owned(),
                pace: pace.to_owned(),
                requests,
                pause_ms,
                pairs: Vec::new(),
            };
            rows.push((client.clone(), row));
        }
    }
    let mut faults = Vec::new();
    for round in 0..options.rounds.unwrap_or(20) {
        for (client, row) in &mut rows {
            let talk = Talk {
                port: server.port,
                cert: &keys[0],
                requests: row.requests,
                events: EVENTS,
                pause_ms: row.pause_ms,
            };
            let pair = pair(client, &talk, round % 2 == 0, folder.path(), &mut faults)?;
            row.pairs.push(pair);
        }
    }
    let rows = rows.into_iter().map(|(_, row)| row).collect();
    Ok(Measured { rows, faults })
}

fn pair(
    client: &Client,
    talk: &Talk<'_>,
    bare_first: bool,
    folder: &Path,
    faults: &mut Vec<String>,
) -> Result<Pair> {
    let early = bare_first.then(|| client.start(talk)?.go()).transpose()?;
    let running = client.start(talk)?;
    let file = folder.join("output");
    let library = running.library()?;
    let observer = Attach::json(&client.program, &library, &file).start()?;
    let with = running.go()?;
    let ending = observer.stop()?;
    let came = ending.told.bytes + ending.told.lost_bytes();
    if came < with.bytes {
        // Heads and chunk sizes come on top of what the client counts.
        let missing = with.bytes - came;
        faults.push(format!(
            "{}: {missing} B are missing without a gap",
            client.name
        ));
    }
    let without = match early {
        Some(early) => early,
        None => client.start(talk)?.go()?,
    };
    Ok(Pair {
        without,
        with,
        observer_cpu_s: ending.cpu_seconds,
        lost: ending.told.lost,
    })
}

fn show(rows: &[Row]) -> String {
    let heads = [
        "client",
        "pace",
        "CPU s of a run, without",
        "CPU of the client, with : without",
        "wall time, with : without",
        "CPU s of agentsight in a run, its start included",
        "runs with loss",
    ];
    let lines = rows.iter().map(|row| {
        let median = |of: &dyn Fn(&Pair) -> f64| {
            let spread = Spread::of(row.pairs.iter().map(of));
            spread.map_or_else(String::new, |spread| format!("{:.2}", spread.median))
        };
        let lossy = row
            .pairs
            .iter()
            .filter(|pair| !pair.lost.is_empty())
            .count();
        [
            row.client.clone(),
            format!("{} requests, {}", row.requests, row.pace),
            median(&|pair| pair.without.cpu_s),
            row.interval(|figures| figures.cpu_s),
            row.interval(|figures| figures.wall_s),
            median(&|pair| pair.observer_cpu_s),
            format!("{lossy} of {}", row.pairs.len()),
        ]
    });
    let pairs = rows.first().map_or(0, |row| row.pairs.len());
    format!(
        "{pairs} pairs each; in parentheses the 95 % interval:\n\n{}",
        table(heads, lines)
    )
}
