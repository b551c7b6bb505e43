//! `testbins list` and `testbins build PROGRAM VARIANT`: the library for people and scripts.
//!
//! Exit codes: 0 built, 2 failed or wrong usage, 3 something is not installed.

#![forbid(unsafe_code)]

use std::io::{self, Write};
use std::process::ExitCode;

use agentsight_testbins::{Testbin, Unbuilt, build, golang, list, rust, vendored};

const USAGE: &str = "usage: testbins list | testbins build PROGRAM VARIANT";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let answer = match words.as_slice() {
        ["list"] => list().map(|all| table(&all)),
        ["build", program, variant] => {
            build_any(program, variant).map(|testbin| format!("{}\n", testbin.path.display()))
        }
        _ => Err(Unbuilt::Failed(USAGE.to_owned())),
    };
    match answer {
        Ok(text) => {
            // A reader that went away, as in `testbins list | head`, is no failure.
            let _ = io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(error) => complain(&error),
    }
}

/// A variant of the program's own, a combination of a matrix, or `VERSION.MODE` of a Go program.
fn build_any(program: &str, variant: &str) -> Result<Testbin, Unbuilt> {
    if let ("go/pair", Some((version, name))) = (program, variant.rsplit_once('.'))
        && let Some(mode) = golang::MODES.iter().find(|mode| mode.name == name)
    {
        return golang::build(version, mode);
    }
    if let ("rust/agent", Some(combination)) = (program, rust::combination(variant)) {
        return rust::build(combination);
    }
    let mut matrix = vendored::MATRIX.iter();
    match matrix.find(|combination| combination.name == variant) {
        Some(combination) => vendored::build(program, combination),
        None => build(program, variant),
    }
}

fn table(all: &[(String, String)]) -> String {
    all.iter()
        .map(|(program, variant)| format!("{program} {variant}\n"))
        .collect()
}

fn complain(error: &Unbuilt) -> ExitCode {
    // Nothing is left to be told if stderr is gone.
    let _ = writeln!(io::stderr(), "testbins: {error}");
    match error {
        Unbuilt::Failed(_) => ExitCode::from(2),
        Unbuilt::Missing(_) => ExitCode::from(3),
    }
}
