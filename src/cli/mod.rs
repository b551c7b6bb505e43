//! The command line: parses, runs one subcommand, turns errors into messages and exit codes. Data goes
//! to stdout, messages to stderr.

mod args;
#[cfg(feature = "bpf")]
mod attach;
mod check;
mod discover;
#[cfg(feature = "bpf")]
mod doctor;
mod exit;
mod generate;
#[cfg(feature = "bpf")]
mod judge;
#[cfg(feature = "bpf")]
mod observe;
mod output;
mod prices;
mod processes;
#[cfg(feature = "bpf")]
mod record;
mod replay;
mod rules;
mod select;
mod why;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use crate::bytes::printable;
use crate::error::Error;

use args::{Args, Command};

/// Runs the program with these arguments (the first is its own name).
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args = match Args::try_parse_from(arguments) {
        Ok(args) => args,
        Err(error) => {
            // Help goes to stdout and is no failure; a broken pipe there is none either.
            let _ = error.print();
            return exit::from_clap(&error);
        }
    };
    let result = match args.command {
        #[cfg(feature = "bpf")]
        Command::Attach(args) => attach::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Completions { shell } => generate::completions(shell),
        Command::Discover(args) => discover::run(&args),
        #[cfg(feature = "bpf")]
        Command::Doctor { bench: true, json } => doctor::bench(json),
        #[cfg(feature = "bpf")]
        Command::Doctor { bench: false, json } => doctor::run(json),
        Command::Man { command } => generate::man(command.as_deref()),
        #[cfg(feature = "bpf")]
        Command::Record(args) => record::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Schema { format } => generate::schema(format),
        #[cfg(feature = "bpf")]
        Command::SelftestPeer { part } => {
            crate::doctor::selftest_peer(&part).map(|()| ExitCode::SUCCESS)
        }
        Command::Why(args) => why::run(&args),
    };
    result.unwrap_or_else(|error| {
        complain(&error);
        exit::from_error(&error)
    })
}

/// Prints an error with its causes. Paths and names in it may be hostile.
fn complain(error: &Error) {
    anstream::eprintln!("agentsight: {}", printable(&format!("{error:#}")));
}
