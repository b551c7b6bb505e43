//! The measured prices as a table for people.

use comfy_table::{CellAlignment, Table, presets};

use super::{Bench, Price, Treatment};

/// Two tables, with what they are about above them.
pub fn table(bench: &Bench) -> String {
    let mut text = format!(
        "What a probe costs the program that runs into it (median of {} rounds, {} calls each)\n\
         kernel     {}\nprocessor  {}\n\n",
        bench.rounds, bench.calls, bench.kernel, bench.processor
    );
    let hits = bench.hits.iter().map(|hit| {
        let treatment = hit.treatment.map_or("", Treatment::as_str);
        [hit.instruction, treatment].map(str::to_owned)
    });
    let prices = bench.hits.iter().map(|hit| &hit.price);
    text += &rows(["instruction", ""], hits.zip(prices));
    let returns = bench.returns.iter();
    let returns = returns.map(|of| ([of.instruction, of.what].map(str::to_owned), &of.price));
    text += "\n";
    text += &rows(["instruction", "watched there"], returns);
    if let Some(prices) = &bench.prices {
        text += &format!("\na return probe adds {} ns\n", prices.return_probe);
    }
    text
}

fn rows<'p>(
    [name, about]: [&str; 2],
    rows: impl Iterator<Item = ([String; 2], &'p Price)>,
) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_header([name, "ns per call", "best", "worst", about]);
    for ([name, about], price) in rows {
        table.add_row(match price {
            Price::Measured {
                ns,
                least_ns,
                most_ns,
            } => {
                let [ns, least, most] = [ns, least_ns, most_ns].map(u32::to_string);
                [name, ns, least, most, about]
            }
            Price::Unmeasured(why) => {
                let about = format!("not measured: {why}");
                [name, "-".into(), "-".into(), "-".into(), about]
            }
        });
    }
    for column in 1..4 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let lines = table.lines().map(|line| format!("{}\n", line.trim_end()));
    lines.collect()
}

impl Treatment {
    /// As in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Emulated => "emulated",
            Self::SingleStepped => "single-stepped",
        }
    }
}
