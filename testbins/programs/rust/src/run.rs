//! From the command line to the end: which part of the agent runs.

use std::error::Error;
use std::io::{Write, stdin, stdout};
use std::thread;

use crate::options::Options;
use crate::{pair, tokio_pair};

/// What ends a part of the agent early.
pub type Failure = Box<dyn Error + Send + Sync>;

pub fn run(mut words: impl Iterator<Item = String>) -> Result<(), Failure> {
    let part = words.next().unwrap_or_default();
    let options = Options::parse(words)?;
    let limit = options.timeout;
    thread::spawn(move || {
        thread::sleep(limit);
        eprintln!("the time limit of {limit:?} is over");
        std::process::exit(3);
    });
    if options.wait {
        stand_still()?;
    }
    match part.as_str() {
        "pair" => pair::run(&options),
        "tokio" => tokio_pair::run(options),
        #[cfg(feature = "http")]
        "reqwest" => crate::http::reqwest::run(options),
        #[cfg(feature = "http")]
        "server" => crate::http::server::run(options),
        #[cfg(feature = "http")]
        "ureq" => crate::http::ureq::run(&options),
        _ => Err(format!("no part '{part}' in this build").into()),
    }
}

/// Prints `ready` and waits for a line, so that an observer can come.
pub fn stand_still() -> Result<(), Failure> {
    say("ready")?;
    stdin().read_line(&mut String::new())?;
    Ok(())
}

/// Prints a line that somebody waits for.
pub fn say(line: &str) -> Result<(), Failure> {
    let mut stdout = stdout().lock();
    writeln!(stdout, "{line}")?;
    Ok(stdout.flush()?)
}
