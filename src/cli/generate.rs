//! Texts that the binary makes of itself: man pages, shell completions, the schemas of its formats.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::CommandFactory;
use clap_complete::Shell;

use super::args::{Args, Format};
use crate::check::SAMPLES_SCHEMA;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::semantics::price::PRICES_SCHEMA;
use crate::sink::LINES_SCHEMA;
use crate::survey::PROCESSES_SCHEMA;

/// Prints a completion script.
pub fn completions(shell: Shell) -> Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "agentsight", &mut script);
    print(&script)
}

/// Prints the man page of the program or of one subcommand.
pub fn man(command: Option<&str>) -> Result<ExitCode> {
    let mut program = Args::command();
    program.build();
    let page = match command {
        None => program,
        Some(name) => program
            .find_subcommand(name)
            .cloned()
            .map(|found| found.name(format!("agentsight-{name}")))
            .ok_or_else(|| Error::new(ErrorKind::Usage, format!("no subcommand {name}")))?,
    };
    let mut text = Vec::new();
    clap_mangen::Man::new(page)
        .render(&mut text)
        .context(|| "failed to write the man page")?;
    print(&text)
}

/// Prints a JSON Schema.
pub fn schema(format: Format) -> Result<ExitCode> {
    print(match format {
        Format::Lines => LINES_SCHEMA.as_bytes(),
        Format::Prices => PRICES_SCHEMA.as_bytes(),
        Format::Processes => PROCESSES_SCHEMA.as_bytes(),
        Format::Samples => SAMPLES_SCHEMA.as_bytes(),
    })
}

fn print(text: &[u8]) -> Result<ExitCode> {
    match io::stdout().lock().write_all(text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context(|| "failed to write to stdout")
        }
        _ => Ok(ExitCode::SUCCESS),
    }
}
