//! `agentsight attach`: settings from arguments, the output, and the run.

use std::process::ExitCode;

use super::args::AttachArgs;
use super::observe::{Notices, RecordingFile, finish};
use super::output;
use crate::error::Result;
use crate::host::privileges;
use crate::output::Output;
use crate::pipeline::{self, Consumer, Signals};
use crate::sink::Clock;

pub fn run(args: &AttachArgs) -> Result<ExitCode> {
    // Before anything is opened: a missing file is less of a surprise than a missing privilege.
    privileges::require_for_attach()?;
    let options = args.observe.options(&args.command, false)?;
    let signals = Signals::catch(!args.command.is_empty())?;
    let recording = args.record.as_deref().map(RecordingFile::new);
    let mut notices = Notices::new(args.out.discretion.quiet, recording.clone());
    let make_consumer = || match &recording {
        Some(recording) => {
            let consumer = recording.consumer(&args.out.discretion)?;
            if args.command.is_empty() {
                recording.keep()?;
            }
            Ok(consumer)
        }
        None => printer(args),
    };
    let outcome = pipeline::run(&options, make_consumer, &mut notices, &signals)?;
    let ended = finish(outcome, &mut notices, &args.out.rules)?;
    match &recording {
        Some(recording) => {
            args.out
                .rules
                .judge_recording(recording.path(), &args.out.discretion, ended)
        }
        None => Ok(ended),
    }
}

fn printer(args: &AttachArgs) -> Result<Consumer> {
    let mut printer = args.out.printer(Clock::now(), output::random_key()?)?;
    if let Some(rules) = &mut printer.rules {
        rules.set_observer(std::process::id());
    }
    Ok(Consumer::Output(Box::new(Output::new(printer))))
}
