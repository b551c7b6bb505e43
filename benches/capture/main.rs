//! What capture costs a program that does nothing but TLS, and whether all of it arrives: OpenSSL flat
//! out for ten seconds, bare, under `agentsight attach` in several ways, and under other tracers with the
//! same job. Then a burst of 128 MB into each output, of which nothing may be lost.
//!
//! It fails if what did not come is not exactly what the gaps say. Needs root; tracers that are not
//! there are named and passed over.
//!
//! `--rounds N` (7), `--seconds N` (10) of each round, `--only NAME` of a way or `burst`, `--json`,
//! `--from FILE` prints the tables of what `--json` printed before.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr)] // a bench prints

mod burst;
mod others;
#[path = "../support/mod.rs"]
mod support;
mod way;

use serde::{Deserialize, Serialize};

use support::observer::{Abilities, Attach, Output, read_lines, replayed};
use support::program::{Load, Program, Until};
use support::report::{Measured, table};
use support::rounds::{Round, Row};
use support::told::Told;
use support::{Options, Result, folder};
use way::Way;

/// Bytes of a message: a token of a stream, and a whole TLS record.
const SIZES: [u64; 2] = [256, 16 << 10];

/// Messages of the runs whose whole output is read and checked.
const CHECKED: u64 = 2_000;

#[derive(Serialize, Deserialize)]
#[serde(tag = "part", rename_all = "kebab-case")]
enum Part {
    Sustained(Row),
    Burst(Row),
}

fn main() -> Result<()> {
    support::report::run("capture", measure, |parts, _| Ok(show(parts)))
}

fn measure(options: &Options) -> Result<Measured<Part>> {
    let folder = folder()?;
    let bench = Bench {
        program: Program::build("OpenSSL", folder.path())?,
        abilities: Abilities::ask()?,
        folder,
    };
    let mut measured = Measured {
        rows: Vec::new(),
        faults: Vec::new(),
    };
    bench.check_outputs(&mut measured.faults)?;
    bench.sustained(options, &mut measured)?;
    if options.wants("burst") {
        burst::measure(&bench, options, &mut measured)?;
    }
    Ok(measured)
}

/// The program, and what can trace it.
struct Bench {
    program: Program,
    abilities: Abilities,
    /// Holds the library and what tracers write.
    folder: tempfile::TempDir,
}

impl Bench {
    /// The ways take turns, so that whatever else this machine does meets all of them alike.
    fn sustained(&self, options: &Options, measured: &mut Measured<Part>) -> Result<()> {
        let ways: Vec<Way> = Way::usable(self.abilities)
            .into_iter()
            .filter(|way| *way == Way::Bare || options.wants(way.name()))
            .collect();
        if ways.len() < 2 {
            return Ok(());
        }
        let mut rows: Vec<(Way, Row)> = SIZES
            .iter()
            .flat_map(|size| {
                ways.iter()
                    .filter(|way| way.is_for(*size))
                    .map(|way| (*way, Row::new("OpenSSL", way.name(), *size)))
            })
            .collect();
        let seconds = options.seconds.unwrap_or(10);
        for _ in 0..options.rounds.unwrap_or(7) {
            for (way, row) in &mut rows {
                let load = Load {
                    rate: way.rate(row.size),
                    ..Load::flat_out(row.size, Until::Seconds(seconds))
                };
                let round = self.round(*way, &load)?;
                measured.note(row, &round);
                row.rounds.push(round);
            }
        }
        let rows = rows.into_iter().map(|(_, row)| Part::Sustained(row));
        measured.rows.extend(rows);
        Ok(())
    }

    fn round(&self, way: Way, load: &Load) -> Result<Round> {
        let file = self.folder.path().join("output");
        let attach = Attach::json(&self.program.path, &self.program.library, &file);
        match way {
            Way::Bare => Ok(Round::new(self.program.start(load)?.go()?, None)),
            Way::Agentsight => attach.observe(&self.program, load),
            Way::Recording | Way::RecordingPaced => {
                let attach = Attach {
                    output: Output::Record,
                    ..attach
                };
                attach.observe(&self.program, load)
            }
            Way::Bpftrace => others::bpftrace(&self.program, load, &file, others::COPY),
            Way::BpftraceCount => others::bpftrace(&self.program, load, &file, others::COUNT),
            Way::Fritap => others::fritap(&self.program, load, &file),
        }
    }

    /// Reads every line that agentsight writes: the numbers of its summary are the lines' own, also
    /// where a small buffer loses much.
    fn check_outputs(&self, faults: &mut Vec<String>) -> Result<()> {
        for buffer in ["256K", "64M"] {
            for size in SIZES {
                self.check_output(Output::Json, buffer, size, faults)?;
                if self.abilities.record {
                    self.check_output(Output::Record, buffer, size, faults)?;
                }
            }
        }
        Ok(())
    }

    fn check_output(
        &self,
        output: Output,
        buffer: &str,
        size: u64,
        faults: &mut Vec<String>,
    ) -> Result<()> {
        let file = self.folder.path().join("checked");
        let attach = Attach {
            output,
            buffer: Some(buffer),
            ..Attach::json(&self.program.path, &self.program.library, &file)
        };
        let load = Load::flat_out(size, Until::Messages(CHECKED));
        let program = self.program.start(&load)?;
        let observer = attach.start()?;
        let done = program.go()?;
        let ending = observer.stop()?;
        let lines: Told = match output {
            Output::Record => replayed(&file)?,
            _ => read_lines(&file)?,
        };
        let what = format!("{}, {size} B, --buffer {buffer}", output.name());
        if lines != ending.told {
            faults.push(format!(
                "{what}: the summary says {:?}, the lines {lines:?}",
                ending.told
            ));
        }
        let round = Round::new(done, Some(ending.into()));
        faults.extend(round.fault(size).map(|fault| format!("{what}: {fault}")));
        std::fs::remove_file(&file)?;
        Ok(())
    }
}

impl Measured<Part> {
    fn note(&mut self, row: &Row, round: &Round) {
        let fault = round.fault(row.size);
        let told = fault.map(|fault| format!("{}, {} B: {fault}", row.way, row.size));
        self.faults.extend(told);
    }
}

fn show(parts: &[Part]) -> String {
    let (mut sustained, mut bursts) = (Vec::new(), Vec::new());
    for part in parts {
        match part {
            Part::Sustained(row) => sustained.push(row.clone()),
            Part::Burst(row) => bursts.push(row),
        }
    }
    let mut tables = Vec::new();
    if let Some(row) = sustained.first() {
        let seconds = row.rounds.first().map_or(0.0, |round| round.seconds);
        let heads = [
            "way",
            "message",
            "µs per write + read, median (min – max)",
            "to bare",
            "lost events",
            "lost = told",
            "tracer's CPU s per GB seen",
        ];
        let rows = sustained.iter().map(|row| {
            let [size, time, ratio, lost, told, cost] = row.columns(&sustained);
            [row.way.clone(), size, time, ratio, lost, told, cost]
        });
        tables.push(format!(
            "{} rounds of {seconds:.0} s each, the ways in turn:\n\n{}",
            row.rounds.len(),
            table(heads, rows)
        ));
    }
    if !bursts.is_empty() {
        tables.push(burst::show(&bursts));
    }
    tables.join("\n\n")
}
