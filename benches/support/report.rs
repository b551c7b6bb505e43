//! What a bench prints: one JSON object, or Markdown tables; both from the same rows, now or later.

use std::fs::File;
use std::io::BufReader;

use comfy_table::Table;
use comfy_table::presets::ASCII_MARKDOWN;
use procfs::process::Process;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::machine::Machine;
use super::{Options, Result};

/// All of a run.
#[derive(Serialize, Deserialize)]
pub struct Report<R> {
    pub bench: String,
    pub machine: Machine,
    pub rows: Vec<R>,
    /// What must not be: each makes the bench fail.
    pub faults: Vec<String>,
}

/// What was measured, and what must not be.
pub struct Measured<R> {
    pub rows: Vec<R>,
    pub faults: Vec<String>,
}

/// The whole of a bench's main: measures, which needs root, or reads what was measured, and prints it.
///
/// # Errors
/// Something can't be measured, or there are faults.
pub fn run<R: Serialize + DeserializeOwned>(
    name: &str,
    measure: impl FnOnce(&Options) -> Result<Measured<R>>,
    show: impl FnOnce(&[R], &Options) -> Result<String>,
) -> Result<()> {
    let Some(options) = Options::parse()? else {
        return Ok(());
    };
    if options.from.is_none() && Process::myself()?.uid()? != 0 {
        eprintln!("skipped: it needs root");
        return Ok(());
    }
    print(name, &options, measure, show)
}

/// The same of a bench that anybody can run.
///
/// # Errors
/// As above.
pub fn run_as_anyone<R: Serialize + DeserializeOwned>(
    name: &str,
    measure: impl FnOnce(&Options) -> Result<Measured<R>>,
    show: impl FnOnce(&[R], &Options) -> Result<String>,
) -> Result<()> {
    match Options::parse()? {
        Some(options) => print(name, &options, measure, show),
        None => Ok(()),
    }
}

fn print<R: Serialize + DeserializeOwned>(
    name: &str,
    options: &Options,
    measure: impl FnOnce(&Options) -> Result<Measured<R>>,
    show: impl FnOnce(&[R], &Options) -> Result<String>,
) -> Result<()> {
    let report: Report<R> = match &options.from {
        Some(file) => serde_json::from_reader(BufReader::new(File::open(file)?))?,
        None => {
            let machine = Machine::here();
            let measured = measure(options)?;
            Report {
                bench: name.to_owned(),
                machine,
                rows: measured.rows,
                faults: measured.faults,
            }
        }
    };
    if options.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{}", report.machine.line());
        println!("\n{}", show(&report.rows, options)?);
    }
    match report.faults.as_slice() {
        [] => Ok(()),
        faults => Err(faults.join("\n").into()),
    }
}

/// A Markdown table.
pub fn table<const N: usize>(
    heads: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header(heads);
    for row in rows {
        table.add_row(row);
    }
    table.to_string()
}

/// `1,234,567`
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `256 B`, `16 KiB`
pub fn size(bytes: u64) -> String {
    if bytes >= 1024 && bytes.is_multiple_of(1024) {
        format!("{} KiB", bytes / 1024)
    } else {
        format!("{bytes} B")
    }
}
