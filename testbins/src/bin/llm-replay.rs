//! `llm-replay FOLDER RECORDING... [--port P] [--seed N]`: the server of [`agentsight_testbins::replay`] as a process. Says
//! `listening PORT`, and ends with its stdin.
//!
//! Exit codes: 0 ended, 2 failed or wrong usage.

#![forbid(unsafe_code)]

use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use agentsight_testbins::replay::{ReplayServer, load};

const USAGE: &str = "usage: llm-replay FOLDER RECORDING... [--port P] [--seed N]";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to be told if stderr is gone.
            let _ = writeln!(io::stderr(), "llm-replay: {error}");
            ExitCode::from(2)
        }
    }
}

fn run() -> io::Result<()> {
    let asked = parse(std::env::args().skip(1)).ok_or_else(|| io::Error::other(USAGE))?;
    let mut exchanges = Vec::new();
    for recording in &asked.recordings {
        exchanges.extend(load(recording)?);
    }
    let server = ReplayServer::start(exchanges, asked.seed, asked.port, &asked.folder)?;
    let mut stdout = io::stdout();
    writeln!(stdout, "listening {}", server.port)?;
    stdout.flush()?;
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

struct Asked {
    folder: PathBuf,
    recordings: Vec<PathBuf>,
    port: u16,
    seed: u64,
}

fn parse(mut words: impl Iterator<Item = String>) -> Option<Asked> {
    let mut asked = Asked {
        folder: PathBuf::from(words.next()?),
        recordings: Vec::new(),
        port: 0,
        seed: 1,
    };
    while let Some(word) = words.next() {
        match word.as_str() {
            "--port" => asked.port = words.next()?.parse().ok()?,
            "--seed" => asked.seed = words.next()?.parse().ok()?,
            _ => asked.recordings.push(PathBuf::from(word)),
        }
    }
    (!asked.recordings.is_empty()).then_some(asked)
}
