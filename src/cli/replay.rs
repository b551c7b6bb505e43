//! `agentsight replay`: a recording through the same output side as a live run.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::process::ExitCode;

use super::args::ReplayArgs;
use crate::error::{Context, Result};
use crate::event::frame::{End, Frame};
use crate::output::{Flow, Output};
use crate::record::Recording;
use crate::sink::Clock;

/// Bytes that are read at once.
const INPUT_BUFFER: usize = 1 << 20;

pub fn run(args: &ReplayArgs) -> Result<ExitCode> {
    let name = || format!("failed to replay {}", args.recording.display());
    let mut recording = open(&args.recording).context(name)?;
    let header = *recording.header();
    let clock = Clock::fixed(header.boot_to_unix_ns);
    // What was masked before it was written stays as it is; what could not be masked there, since it was compressed, is now.
    let mut output = Output::new(args.out.printer(clock, header.tag_key)?);
    let replayed = replay(&mut recording, &mut output);
    output.flush()?;
    if !args.out.discretion.quiet {
        anstream::eprint!("{}", output.summary());
    }
    replayed.context(name)?;
    Ok(args.out.rules.judged(ExitCode::SUCCESS, &output.summary()))
}

/// Opens a recording.
pub fn open(path: &Path) -> Result<Recording<BufReader<File>>> {
    let file = File::open(path).context(|| "failed to open it")?;
    Recording::open(BufReader::with_capacity(INPUT_BUFFER, file))
}

/// Shows all that a recording holds to an output.
pub fn replay(recording: &mut Recording<BufReader<File>>, output: &mut Output) -> Result<()> {
    loop {
        match recording.next_frame() {
            Ok(Some(frame)) => {
                if output.take(&frame)? == Flow::Enough {
                    return Ok(());
                }
            }
            Ok(None) => return Ok(()),
            Err(error) => {
                // What is whole is shown to its end.
                output.take(&Frame::End(End::default()))?;
                return Err(error);
            }
        }
    }
}
