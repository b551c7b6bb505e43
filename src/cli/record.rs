//! `agentsight record`: runs a command, and keeps what it and all that it starts say.

use std::process::ExitCode;

use super::args::RecordArgs;
use super::observe::{Notices, RecordingFile, finish};
use crate::error::Result;
use crate::host::privileges;
use crate::pipeline::{self, Progress, Signals};

pub fn run(args: &RecordArgs) -> Result<ExitCode> {
    privileges::require_for_attach()?;
    let options = args.observe.options(&args.command, true)?;
    let signals = Signals::catch(true)?;
    let recording = RecordingFile::new(&args.output);
    let mut notices = Notices::new(args.discretion.quiet, Some(recording.clone()));
    let make_consumer = || recording.consumer(&args.discretion);
    let outcome = pipeline::run(&options, make_consumer, &mut notices, &signals)?;
    let has_begun = outcome.status.is_some() || outcome.command.is_some();
    let ended = finish(outcome, &mut notices)?;
    if has_begun {
        let path = recording.path().display();
        notices.notice(&format!("recorded: agentsight replay {path} prints it"));
        return Ok(ended);
    }
    // Ended before the command began.
    Ok(ExitCode::from(super::exit::INTERRUPTED))
}
