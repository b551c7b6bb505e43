//! What capture costs with each TLS library: the same program on OpenSSL, BoringSSL (in Bun), GnuTLS, Go's
//! crypto/tls and rustls, bare and under `agentsight attach`, with the probe sites that the planner
//! chooses and with classic ones.
//!
//! It fails if what did not come is not exactly what the gaps say. Needs root; a library that can't be
//! built is named and passed over.
//!
//! `--rounds N` (7), `--seconds N` (3) of each round, `--only NAME` of a library, `--json`, `--from FILE`.

#![forbid(unsafe_code)]
#![allow(clippy::print_stdout, clippy::print_stderr)] // a bench prints

#[path = "../support/mod.rs"]
mod support;

use std::path::Path;

use support::observer::{Abilities, Attach};
use support::program::{Load, NAMES, Program, Until};
use support::report::{Measured, table};
use support::rounds::{BARE, Round, Row};
use support::{Options, Result, folder};

/// Bytes of a message: a token of a stream, and a whole TLS record.
const SIZES: [u64; 2] = [256, 16 << 10];

/// A way, and what `--probe-sites` is told.
type Way = (&'static str, Option<&'static str>);

fn main() -> Result<()> {
    support::report::run("libraries", measure, |rows, _| Ok(show(rows)))
}

fn measure(options: &Options) -> Result<Measured<Row>> {
    let folder = folder()?;
    let abilities = Abilities::ask()?;
    let ways: &[Way] = if abilities.sites {
        &[
            (BARE, None),
            ("planned", Some("planned")),
            ("classic", Some("classic")),
        ]
    } else {
        eprintln!("skipped: classic: no attach --probe-sites");
        &[(BARE, None), ("agentsight", None)]
    };
    let programs = programs(options, folder.path());
    let mut rows = Vec::new();
    for program in &programs {
        for size in SIZES {
            let of = ways
                .iter()
                .map(|way| (program, *way, Row::new(program.name, way.0, size)));
            rows.extend(of);
        }
    }
    let mut faults = Vec::new();
    let seconds = options.seconds.unwrap_or(3);
    for _ in 0..options.rounds.unwrap_or(7) {
        for (program, way, row) in &mut rows {
            let load = Load::flat_out(row.size, Until::Seconds(seconds));
            let round = run(program, *way, &load, folder.path())?;
            let fault = round.fault(row.size);
            let where_ = format!("{}, {}, {} B", row.program, row.way, row.size);
            faults.extend(fault.map(|fault| format!("{where_}: {fault}")));
            row.rounds.push(round);
        }
    }
    let rows = rows.into_iter().map(|(_, _, row)| row).collect();
    Ok(Measured { rows, faults })
}

fn programs(options: &Options, folder: &Path) -> Vec<Program> {
    let wanted = NAMES.iter().filter(|name| options.wants(name));
    let built = wanted.filter_map(|name| {
        Program::build(name, folder)
            .inspect_err(|why| eprintln!("skipped: {why}"))
            .ok()
    });
    built.collect()
}

fn run(program: &Program, (name, sites): Way, load: &Load, folder: &Path) -> Result<Round> {
    if name == BARE {
        return Ok(Round::new(program.start(load)?.go()?, None));
    }
    let file = folder.join("output");
    let attach = Attach {
        sites,
        ..Attach::json(&program.path, &program.library, &file)
    };
    attach.observe(program, load)
}

fn show(rows: &[Row]) -> String {
    let heads = [
        "library",
        "probe sites",
        "message",
        "µs per write + read, median (min – max)",
        "to bare",
        "lost events",
        "lost = told",
        "CPU s per GB seen",
    ];
    let lines = rows.iter().map(|row| {
        let [size, time, ratio, lost, told, cost] = row.columns(rows);
        [
            row.program.clone(),
            row.way.clone(),
            size,
            time,
            ratio,
            lost,
            told,
            cost,
        ]
    });
    let rounds = rows.first().map_or(0, |row| row.rounds.len());
    format!(
        "{rounds} rounds, all rows in turn:\n\n{}",
        table(heads, lines)
    )
}
