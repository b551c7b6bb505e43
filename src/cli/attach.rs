//! `agentsight attach`: settings from arguments, the output, signals, and the summary.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use super::args::AttachArgs;
use super::prices::Choices;
use super::{exit, output};
use crate::bytes::printable;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::host::privileges;
use crate::image::debug_file::DebugDirs;
use crate::output::Output;
use crate::pipeline::{self, Buffer, Consumer, Options, Progress};
use crate::record::{Header, Recorder};
use crate::select::Selection;
use crate::sink::Clock;

pub fn run(args: &AttachArgs) -> Result<ExitCode> {
    // Before anything is opened: a missing file is less of a surprise than a missing privilege.
    privileges::require_for_attach()?;
    let options = Options {
        selection: selection(args)?,
        wait: args.select.wait,
        hold: args.hold,
        command: args.command.clone(),
        max_bytes: args.max_bytes.unwrap_or(u64::MAX),
        buffer: buffer(args.buffer)?,
        latency: args.latency,
        duration: args.duration,
        debug_dirs: DebugDirs {
            global: args.debug_dir.clone(),
        },
        cache: !args.no_cache,
        choice: Choices::new(args.probe_sites.sites())
            .of(std::env::consts::ARCH)
            .clone(),
    };
    let stop = stop_on_signals()?;
    let quiet = args.out.quiet;
    let mut notices = Notices { quiet };
    let outcome = pipeline::run(&options, || consumer(args), &mut notices, &stop)?;
    if !quiet {
        anstream::eprint!("{}", outcome.summary);
    }
    let status = match outcome.command {
        Some(command) => Some(wait(command, &mut notices)?),
        None => outcome.status,
    };
    Ok(status.map_or(ExitCode::SUCCESS, exit_code))
}

/// Whom to observe; nobody but the command, if nobody else is named.
fn selection(args: &AttachArgs) -> Result<Option<Selection>> {
    if !args.select.is_given() && !args.command.is_empty() {
        return Ok(Some(Selection {
            follow: true,
            ..Selection::default()
        }));
    }
    let selection = args.select.selection()?;
    let is_somebody = selection.has_rules() || !selection.pids.is_empty();
    Ok(is_somebody.then_some(selection))
}

/// What we started is not left alone: it goes on unobserved, and its status is still passed on.
fn wait(mut command: Child, notices: &mut Notices) -> Result<ExitStatus> {
    let pid = command.id();
    notices.notice(&format!(
        "no longer observing; waiting for process {pid} to end"
    ));
    command.wait().context(|| "failed to wait for the command")
}

struct Notices {
    quiet: bool,
}

impl Progress for Notices {
    fn notice(&mut self, line: &str) {
        if !self.quiet {
            anstream::eprintln!("{}", printable(line));
        }
    }
}

fn buffer(size: u64) -> Result<Buffer> {
    Buffer::divide(size).ok_or_else(|| {
        Error::new(
            ErrorKind::Usage,
            format!("--buffer {size}: must be from 256K to 8G"),
        )
    })
}

fn consumer(args: &AttachArgs) -> Result<Consumer> {
    let (clock, tag_key) = (Clock::now(), output::random_key()?);
    let Some(path) = &args.record else {
        let printer = args.out.printer(clock, Some(tag_key))?;
        return Ok(Consumer::Output(Box::new(Output::new(printer))));
    };
    let header = Header {
        boot_to_unix_ns: clock.boot_to_unix_ns(),
        tag_key,
        is_masked: !args.out.no_redact,
    };
    let file = Box::new(output::create(path)?);
    Ok(Consumer::Recorder(Box::new(Recorder::new(file, &header)?)))
}

/// The first signal ends the run with a summary, the second one at once.
fn stop_on_signals() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&stop))
            .and_then(|_| flag::register(signal, Arc::clone(&stop)))
            .context(|| "failed to catch signals")?;
    }
    Ok(stop)
}

/// As a shell would tell it.
fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    ExitCode::from(
        code.and_then(|code| u8::try_from(code).ok())
            .unwrap_or(exit::FAILURE),
    )
}
