//! A burst of 128 MB of plaintext, with a buffer that holds it: nothing may be lost, however slow the
//! output is.

use crate::support::observer::{Attach, Output};
use crate::support::program::{Load, Until};
use crate::support::report::{Measured, table};
use crate::support::rounds::Row;
use crate::support::{Options, Result};
use crate::{Bench, Part};

/// Of one record each, written once and read once: 128 MiB.
const MESSAGES: u64 = 4096;
const SIZE: u64 = 16 << 10;
const BUFFER: &str = "256M";

pub fn measure(bench: &Bench, options: &Options, measured: &mut Measured<Part>) -> Result<()> {
    let outputs = Output::ALL
        .iter()
        .filter(|output| bench.abilities.record || **output != Output::Record);
    let mut rows: Vec<(Output, Row)> = outputs
        .map(|output| (*output, Row::new("OpenSSL", output.name(), SIZE)))
        .collect();
    let file = bench.folder.path().join("burst");
    let load = Load::flat_out(SIZE, Until::Messages(MESSAGES));
    for _ in 0..options.rounds.unwrap_or(7) {
        for (output, row) in &mut rows {
            let attach = Attach {
                output: *output,
                buffer: Some(BUFFER),
                ..Attach::json(&bench.program.path, &bench.program.library, &file)
            };
            let round = attach.observe(&bench.program, &load)?;
            measured.note(row, &round);
            if round.lost_events() != Some(0) {
                let fault = format!("burst, {}: {:?} lost", output.name(), round.lost_events());
                measured.faults.push(fault);
            }
            row.rounds.push(round);
        }
    }
    let rows = rows.into_iter().map(|(_, row)| Part::Burst(row));
    measured.rows.extend(rows);
    Ok(())
}

pub fn show(rows: &[&Row]) -> String {
    let heads = [
        "output",
        "µs per write + read, median (min – max)",
        "lost events",
        "lost = told",
    ];
    let lines = rows.iter().map(|row| {
        let [_, time, _, lost, told, _] = row.columns(&[]);
        [row.way.clone(), time, lost, told]
    });
    let rounds = rows.first().map_or(0, |row| row.rounds.len());
    format!(
        "Burst of {MESSAGES} × 2 × 16 KiB with `--buffer {BUFFER}`, {rounds} rounds:\n\n{}",
        table(heads, lines)
    )
}
