//! `agentsight record`: runs a command, and keeps what it and all that it starts say.

use std::process::ExitCode;

use super::args::RecordArgs;
use super::observe::{Notices, RecordingFile, finish};
use crate::error::Result;
use crate::host::privileges;
use crate::pipeline::{self, Progress, Signals};
use crate::sink::View;

pub fn run(args: &RecordArgs) -> Result<ExitCode> {
    privileges::require_for_attach()?;
    let options = args.observe.options(&args.command, true)?;
    // A broken rule is told now, not when the command has ended.
    args.rules.engine(View::Llm)?;
    let signals = Signals::catch(true)?;
    let recording = RecordingFile::new(&args.output);
    let mut notices = Notices::new(args.discretion.quiet, Some(recording.clone()));
    let make_consumer = || recording.consumer(&args.discretion);
    let outcome = pipeline::run(&options, make_consumer, &mut notices, &signals)?;
    let has_begun = outcome.status.is_some() || outcome.command.is_some();
    let ended = finish(outcome, &mut notices, &args.rules)?;
    if has_begun {
        let path = recording.path().display();
        notices.notice(&format!("recorded: agentsight replay {path} prints it"));
        return args
            .rules
            .judge_recording(recording.path(), &args.discretion, ended);
    }
    // Ended before the command began.
    Ok(ExitCode::from(super::exit::INTERRUPTED))
}
