//! `agentsight attach`: settings from arguments, the output, signals, and the summary.

use std::fs::{File, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ExitCode, ExitStatus};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anstream::AutoStream;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use super::args::AttachArgs;
use super::exit;
use super::prices::choice;
use crate::bytes::printable;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::host::privileges;
use crate::image::debug_file::DebugDirs;
use crate::pipeline::{self, Options, Progress};
use crate::sink::{Clock, Human, JsonLines, Raw, Sink, Style};

/// Written at once when the buffer is full, and whenever nothing waits.
const OUTPUT_BUFFER: usize = 256 << 10;

/// Room for three of the largest records.
const RING_MIN: u32 = 64 << 10;

pub fn run(args: &AttachArgs) -> Result<ExitCode> {
    // Before anything is opened: a missing file is less of a surprise than a missing privilege.
    privileges::require_for_attach()?;
    let options = Options {
        binary: args.binary.clone(),
        command: args.command.clone(),
        max_bytes: args.max_bytes.unwrap_or(u64::MAX),
        ring_bytes: ring_bytes(args.buffer)?,
        duration: args.duration,
        max_events: args.max_events,
        redact: !args.no_redact,
        debug_dirs: DebugDirs {
            global: args.debug_dir.clone(),
        },
        cache: !args.no_cache,
        choice: choice(std::env::consts::ARCH, args.probe_sites.sites()),
    };
    let stop = stop_on_signals()?;
    let mut notices = Notices { quiet: args.quiet };
    let outcome = pipeline::run(&options, || sink(args), &mut notices, &stop)?;
    if !args.quiet {
        anstream::eprint!("{}", outcome.summary);
    }
    let status = match outcome.command {
        Some(command) => Some(wait(command, &mut notices)?),
        None => outcome.status,
    };
    Ok(status.map_or(ExitCode::SUCCESS, exit_code))
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

/// The kernel takes powers of two of whole pages, up to 2 GiB.
fn ring_bytes(size: u64) -> Result<u32> {
    let rounded = size.checked_next_power_of_two();
    rounded
        .and_then(|size| u32::try_from(size).ok())
        .filter(|size| (RING_MIN..=1 << 31).contains(size))
        .ok_or_else(|| {
            Error::new(
                ErrorKind::Usage,
                format!("--buffer {size}: must be from 64K to 2G"),
            )
        })
}

fn sink(args: &AttachArgs) -> Result<Box<dyn Sink>> {
    let clock = Clock::now();
    let style = if args.hex { Style::Hex } else { Style::Auto };
    if args.json || args.raw {
        let out: Box<dyn Write> = match &args.output {
            Some(path) => Box::new(create(path)?),
            None => Box::new(io::stdout()),
        };
        let out = BufWriter::with_capacity(OUTPUT_BUFFER, out);
        return Ok(if args.json {
            Box::new(JsonLines::new(out, clock))
        } else {
            Box::new(Raw::new(out))
        });
    }
    let choice = args.color.choice();
    Ok(match &args.output {
        Some(path) => {
            let out = AutoStream::new(create(path)?, choice);
            Box::new(Human::new(buffered(out), clock, style))
        }
        None => {
            let out = AutoStream::new(io::stdout(), choice);
            Box::new(Human::new(buffered(out), clock, style))
        }
    })
}

fn buffered<W: Write>(out: W) -> BufWriter<W> {
    BufWriter::with_capacity(OUTPUT_BUFFER, out)
}

/// Captured plaintext is for its owner only: a file of somebody else, or one that a link leads to, may
/// be open in another's hands and is refused. Devices and pipes are as the user wants them.
fn create(path: &Path) -> Result<File> {
    try_create(path)
        .context(|| format!("failed to create {}", path.display()))
        .map_err(|error| error.with_kind(ErrorKind::Io))
}

fn try_create(path: &Path) -> io::Result<File> {
    // Process substitution and /dev/stdout are links of the kernel's own: open already, for us.
    let is_kernels = path.starts_with("/dev") || path.starts_with("/proc");
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(if is_kernels { 0 } else { libc::O_NOFOLLOW })
        .open(path)
        .map_err(|error| match error.raw_os_error() {
            Some(libc::ELOOP) => io::Error::other("it is a symbolic link"),
            _ => error,
        })?;
    let metadata = file.metadata()?;
    if metadata.is_file() && !is_kernels {
        if metadata.uid() != nix::unistd::geteuid().as_raw() || metadata.nlink() > 1 {
            return Err(io::Error::other(
                "it belongs to another user, or has other names",
            ));
        }
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.set_len(0)?;
    }
    Ok(file)
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
