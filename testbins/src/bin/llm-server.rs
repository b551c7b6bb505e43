//! `llm-server FOLDER [--port P] [--seed N] [--turns FILE] [--pause MS] [--http1] [--plain]`: the server of
//! [`agentsight_testbins::llm`] as a process. Says `listening PORT`, and ends with its stdin.
//!
//! Exit codes: 0 ended, 2 failed or wrong usage.

#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use agentsight_testbins::llm::{MockServer, Options};

const USAGE: &str = "usage: llm-server FOLDER [--port P] [--seed N] [--turns FILE] [--pause MS] [--http1] [--plain]";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to be told if stderr is gone.
            let _ = writeln!(io::stderr(), "llm-server: {error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> io::Result<()> {
    let (folder, options) =
        parse(std::env::args().skip(1)).ok_or_else(|| io::Error::other(USAGE))?;
    let server = MockServer::start(options, &folder)?;
    let mut stdout = io::stdout();
    writeln!(stdout, "listening {}", server.port)?;
    stdout.flush()?;
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

fn parse(mut words: impl Iterator<Item = String>) -> Option<(PathBuf, Options)> {
    let mut options = Options::default();
    let folder = PathBuf::from(words.next()?);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--http1" => options.http2 = false,
            "--plain" => options.coding = false,
            "--port" => options.port = words.next()?.parse().ok()?,
            "--seed" => options.seed = words.next()?.parse().ok()?,
            "--pause" => options.pause_ms = words.next()?.parse().ok()?,
            "--turns" => options.turns = Some(PathBuf::from(words.next()?)),
            _ => return None,
        }
    }
    Some((folder, options))
}
