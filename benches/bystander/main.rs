//! What agentsight costs besides the observed program: a process that uses the same libssl and is not
//! observed, the memory of the observer and of its BPF maps, and the time to attach 1,000 probes.
//!
//! Needs root, and gcc for the library with 1,000 functions.
//!
//! `--rounds N` (7), `--seconds N` (3) of each round, `--only bystander|memory|attach`, `--json`,
//! `--from FILE`.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr)] // a bench prints

mod attach;
mod memory;
#[path = "../support/mod.rs"]
mod support;

use std::fs;

use serde::{Deserialize, Serialize};

use support::observer::Attach;
use support::program::{Load, Program, Until};
use support::report::{Measured, table};
use support::rounds::{BARE, Round, Row};
use support::{Options, Result, folder};

/// Bytes of a message.
const SIZE: u64 = 256;

const NOT_OBSERVED: &str = "another program is observed";
const OBSERVED: &str = "observed itself";

#[derive(Serialize, Deserialize)]
#[serde(tag = "part", rename_all = "kebab-case")]
enum Part {
    Attach(attach::Times),
    Bystander(Row),
    Memory(memory::Use),
}

fn main() -> Result<()> {
    if attach::is_child() {
        return attach::child();
    }
    support::report::run("bystander", measure, |parts, _| Ok(show(parts)))
}

fn measure(options: &Options) -> Result<Measured<Part>> {
    let folder = folder()?;
    let program = Program::build("OpenSSL", folder.path())?;
    let mut measured = Measured {
        rows: Vec::new(),
        faults: Vec::new(),
    };
    if options.wants("bystander") {
        bystander(&program, options, folder.path(), &mut measured)?;
    }
    if options.wants("memory") {
        let uses = memory::measure(&program, options, folder.path())?;
        measured.rows.extend(uses.into_iter().map(Part::Memory));
    }
    if options.wants("attach") {
        let times = attach::measure(options, folder.path())?;
        measured.rows.extend(times.into_iter().map(Part::Attach));
    }
    Ok(measured)
}

fn bystander(
    program: &Program,
    options: &Options,
    folder: &std::path::Path,
    measured: &mut Measured<Part>,
) -> Result<()> {
    // The observed one stands still with the same library loaded.
    let observed = program.copy_to(&folder.join("observed"))?;
    let mut rows = [BARE, NOT_OBSERVED, OBSERVED].map(|way| Row::new("OpenSSL", way, SIZE));
    let load = Load::flat_out(SIZE, Until::Seconds(options.seconds.unwrap_or(3)));
    let file = folder.join("output");
    for _ in 0..options.rounds.unwrap_or(7) {
        for row in &mut rows {
            let running = program.start(&load)?;
            let watched = match row.way.as_str() {
                BARE => None,
                NOT_OBSERVED => Some(&observed),
                _ => Some(program),
            };
            let Some(watched) = watched else {
                row.rounds.push(Round::new(running.go()?, None));
                continue;
            };
            let standing = watched.start(&load)?;
            let observer = Attach::json(&watched.path, &watched.library, &file).start()?;
            let done = running.go()?;
            let ending = observer.stop()?;
            drop(standing);
            fs::remove_file(&file)?;
            let is_seen = ending.told.events > 0;
            if is_seen == (row.way == NOT_OBSERVED) {
                measured
                    .faults
                    .push(format!("{}: {} events came", row.way, ending.told.events));
            }
            let seen = (row.way == OBSERVED).then(|| ending.into());
            row.rounds.push(Round::new(done, seen));
        }
    }
    measured.rows.extend(rows.map(Part::Bystander));
    Ok(())
}

fn show(parts: &[Part]) -> String {
    let (mut bystanders, mut uses, mut times) = (Vec::new(), Vec::new(), Vec::new());
    for part in parts {
        match part {
            Part::Attach(time) => times.push(time),
            Part::Bystander(row) => bystanders.push(row.clone()),
            Part::Memory(used) => uses.push(used),
        }
    }
    let mut tables = Vec::new();
    if let Some(row) = bystanders.first() {
        let heads = [
            "the program",
            "µs per write + read of 256 B, median (min – max)",
            "to bare",
        ];
        let lines = bystanders.iter().map(|row| {
            let [_, time, ratio, ..] = row.columns(&bystanders);
            [row.way.clone(), time, ratio]
        });
        let rounds = row.rounds.len();
        tables.push(format!(
            "A program flat out, {rounds} rounds in turn:\n\n{}",
            table(heads, lines)
        ));
    }
    if !uses.is_empty() {
        tables.push(memory::show(&uses));
    }
    if !times.is_empty() {
        tables.push(attach::show(&times));
    }
    tables.join("\n\n")
}
