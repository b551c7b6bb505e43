//! `agentsight doctor`: the checks, or with `--bench` the prices of probes, as a table or as JSON.

use std::io::{self, Write};
use std::process::ExitCode;

use serde::Serialize;

use super::exit;
use crate::cache::prices;
use crate::doctor::bench::{self, Bench};
use crate::doctor::{self, Launcher};
use crate::error::{Context, Error, Result};

pub fn run(json: bool) -> Result<ExitCode> {
    let diagnosis = doctor::diagnose(&Launcher::this_program());
    print(&if json {
        to_json(&diagnosis)?
    } else {
        doctor::table(&diagnosis.checks, None)
    })?;
    Ok(ExitCode::from(if diagnosis.ok {
        exit::OK
    } else {
        exit::FAILURE
    }))
}

/// What `--bench --json` prints.
#[derive(Serialize)]
struct Benched<'b> {
    #[serde(flatten)]
    bench: &'b Bench,
    /// Where the price list was put.
    kept_in: Option<String>,
}

pub fn bench(json: bool) -> Result<ExitCode> {
    let bench = bench::bench()?;
    let kept = bench.require_prices().and_then(prices::save);
    let kept_in = kept.as_ref().ok().map(|path| path.display().to_string());
    print(&if json {
        to_json(&Benched {
            bench: &bench,
            kept_in,
        })?
    } else {
        let kept_in = kept_in.map(|path| format!("kept in {path}\n"));
        bench::table(&bench) + &kept_in.unwrap_or_default()
    })?;
    // The measurements are shown; that they are of no further use is a failure all the same.
    kept.map(|_| ExitCode::from(exit::OK))
}

fn to_json(value: &impl Serialize) -> Result<String> {
    let text = serde_json::to_string_pretty(value);
    Ok(text.map_err(|error| Error::invalid(format!("failed to write JSON: {error}")))? + "\n")
}

fn print(text: &str) -> Result<()> {
    match anstream::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context(|| "failed to write to stdout"),
    }
}
