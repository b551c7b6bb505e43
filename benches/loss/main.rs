//! What is lost at which rate: a paced sweep up to flat out, on 1, 8 and 64 connections, with a small and
//! a large buffer, while agentsight runs at the lowest priority there is. A program with several
//! connections has a thread for each processor, so that the observer gets only what they leave.
//!
//! It fails if what did not come is not exactly what the gaps say. Needs root.
//!
//! `--rounds N` (7), `--seconds N` (3) of each round, `--only NAME` as in `64 connections`, `--json`,
//! `--from FILE`, `--plot FILE.svg`.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr)] // a bench prints

mod plot;
#[path = "../support/mod.rs"]
mod support;

use std::path::Path;
use std::thread;

use serde::{Deserialize, Serialize};

use support::observer::Attach;
use support::program::{Load, Program, Until};
use support::report::{Measured, table, thousands};
use support::rounds::{Round, Row};
use support::stats::Spread;
use support::{Options, Result, folder};

/// Bytes of a message.
const SIZE: u64 = 4096;
const BUFFERS: [&str; 2] = ["1M", "64M"];
const CONNECTIONS: [u64; 3] = [1, 8, 64];
/// Messages a second of all connections; the last one is flat out.
const RATES: [Option<u64>; 6] = [
    Some(2_000),
    Some(5_000),
    Some(10_000),
    Some(20_000),
    Some(40_000),
    None,
];

/// One point of the sweep.
#[derive(Serialize, Deserialize)]
struct Point {
    connections: u64,
    threads: u64,
    buffer: String,
    /// None is flat out.
    rate: Option<u64>,
    row: Row,
}

impl Point {
    /// Messages a second that the program came to.
    fn reached(&self) -> Option<Spread> {
        let rounds = self.row.rounds.iter();
        Spread::of(rounds.map(|round| round.messages as f64 / round.seconds))
    }

    /// Percent of the bytes that did not come.
    fn lost(&self) -> Option<Spread> {
        Spread::of(self.row.rounds.iter().filter_map(|round| {
            let expected = (2 * round.messages * SIZE) as f64;
            let seen = round.seen.as_ref()?.bytes as f64;
            Some(100.0 * (expected - seen).max(0.0) / expected)
        }))
    }

    /// What the plot and `--only` call its line.
    fn line(&self) -> String {
        let plural = if self.connections == 1 { "" } else { "s" };
        format!(
            "{} connection{plural}, {} buffer",
            self.connections, self.buffer
        )
    }
}

fn main() -> Result<()> {
    support::report::run("loss", measure, |points, options| {
        if let Some(file) = &options.plot {
            plot::draw(points, file)?;
        }
        Ok(show(points))
    })
}

fn measure(options: &Options) -> Result<Measured<Point>> {
    let folder = folder()?;
    let program = Program::build("OpenSSL", folder.path())?;
    let mut points: Vec<Point> = sweep();
    points.retain(|point| options.wants(&point.line()));
    let mut faults = Vec::new();
    let seconds = options.seconds.unwrap_or(3);
    for _ in 0..options.rounds.unwrap_or(7) {
        for point in &mut points {
            let round = run(&program, point, seconds, folder.path())?;
            let what = format!("{}, rate {:?}", point.line(), point.rate);
            faults.extend(round.fault(SIZE).map(|fault| format!("{what}: {fault}")));
            point.row.rounds.push(round);
        }
    }
    Ok(Measured {
        rows: points,
        faults,
    })
}

fn sweep() -> Vec<Point> {
    let processors = thread::available_parallelism().map_or(1, |number| number.get() as u64);
    let mut points = Vec::new();
    for connections in CONNECTIONS {
        for buffer in BUFFERS {
            points.extend(RATES.iter().map(|rate| Point {
                connections,
                threads: connections.min(processors),
                buffer: buffer.to_owned(),
                rate: *rate,
                row: Row::new("OpenSSL", "agentsight", SIZE),
            }));
        }
    }
    points
}

fn run(program: &Program, point: &Point, seconds: u64, folder: &Path) -> Result<Round> {
    let load = Load {
        size: SIZE,
        until: Until::Seconds(seconds),
        rate: point.rate,
        connections: point.connections,
        threads: point.threads,
    };
    let file = folder.join("output");
    let attach = Attach {
        buffer: Some(&point.buffer),
        is_nice: true,
        ..Attach::json(&program.path, &program.library, &file)
    };
    attach.observe(program, &load)
}

fn show(points: &[Point]) -> String {
    let heads = [
        "connections (threads)",
        "buffer",
        "wanted messages/s",
        "reached",
        "captured MB/s",
        "lost bytes, median (min – max)",
        "lost = told",
    ];
    let lines = points.iter().map(|point| {
        let reached = point.reached().map_or(0.0, |spread| spread.median);
        let lost = point.lost().map_or_else(String::new, |lost| {
            format!("{:.2} % ({:.2} – {:.2})", lost.median, lost.min, lost.max)
        });
        let kept = 1.0 - point.lost().map_or(0.0, |lost| lost.median) / 100.0;
        let captured = reached * kept * (2 * SIZE) as f64 / 1e6;
        [
            format!("{} ({})", point.connections, point.threads),
            point.buffer.clone(),
            point.rate.map_or_else(|| "flat out".to_owned(), thousands),
            thousands(reached.round() as u64),
            format!("{captured:.0}"),
            lost,
            point.row.told(),
        ]
    });
    let rounds = points.first().map_or(0, |point| point.row.rounds.len());
    format!(
        "Messages of {SIZE} bytes, each written once and read once; {rounds} rounds, all rows in turn; \
         agentsight with `nice -n 19`:\n\n{}",
        table(heads, lines)
    )
}
