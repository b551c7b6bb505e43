//! `agentsight doctor`: the checks as a table or as JSON.

use std::io::{self, Write};
use std::process::ExitCode;

use super::exit;
use crate::doctor::{self, Launcher};
use crate::error::{Context, Error, Result};

pub fn run(json: bool) -> Result<ExitCode> {
    let diagnosis = doctor::diagnose(&Launcher::this_program());
    let text = if json {
        let text = serde_json::to_string_pretty(&diagnosis);
        text.map_err(|error| Error::invalid(format!("failed to write JSON: {error}")))? + "\n"
    } else {
        doctor::table(&diagnosis.checks, None)
    };
    match anstream::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        result => result.context(|| "failed to write to stdout")?,
    }
    Ok(ExitCode::from(if diagnosis.ok {
        exit::OK
    } else {
        exit::FAILURE
    }))
}
