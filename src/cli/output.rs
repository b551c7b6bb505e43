//! Where captured data go, for all subcommands that have some: the arguments, the sink, the file.

use std::fs::{File, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use anstream::AutoStream;

use super::args::Color;
use crate::error::{Context, ErrorKind, Result};
use crate::output::Printer;
use crate::redact::{Redactor, TagKey};
use crate::sink::{Clock, Human, JsonLines, Raw, Sink, Style};

/// Written at once when the buffer is full, and whenever nothing waits.
const OUTPUT_BUFFER: usize = 256 << 10;

#[derive(Debug, clap::Args)]
pub struct OutputArgs {
    /// Print one JSON object a line (agentsight schema documents them)
    #[arg(long, conflicts_with_all = ["hex", "raw"])]
    pub json: bool,
    /// Show all data as a hex dump
    #[arg(long, conflicts_with = "raw")]
    pub hex: bool,
    /// Write the captured bytes and nothing else
    #[arg(long)]
    pub raw: bool,
    /// Write to FILE (mode 0600) instead of stdout
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Stop after N pieces of plaintext
    #[arg(short = 'c', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_events: Option<u64>,
    #[command(flatten)]
    pub discretion: DiscretionArgs,
    /// When to use colours
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Color::Auto)]
    pub color: Color,
}

/// What is not told.
#[derive(Debug, clap::Args)]
pub struct DiscretionArgs {
    /// Do not mask API keys, tokens and cookies
    #[arg(long)]
    pub no_redact: bool,
    /// No notices and no summary on stderr
    #[arg(short, long)]
    pub quiet: bool,
}

impl OutputArgs {
    /// What prints. `mask`: with tags by this key.
    pub fn printer(&self, clock: Clock, mask: Option<TagKey>) -> Result<Printer> {
        let redactor = mask
            .filter(|_| !self.discretion.no_redact)
            .map(Redactor::new);
        let mut printer = Printer::default();
        printer.redactor = redactor.transpose()?;
        printer.max_events = self.max_events;
        printer.sink = Some(self.sink(clock)?);
        Ok(printer)
    }

    fn sink(&self, clock: Clock) -> Result<Box<dyn Sink + Send>> {
        let style = if self.hex { Style::Hex } else { Style::Auto };
        if self.json || self.raw {
            let out: Box<dyn Write + Send> = match &self.output {
                Some(path) => Box::new(create(path)?),
                None => Box::new(io::stdout()),
            };
            return Ok(if self.json {
                Box::new(JsonLines::new(out, clock))
            } else {
                Box::new(Raw::new(buffered(out)))
            });
        }
        let choice = self.color.choice();
        Ok(match &self.output {
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
}

#[cfg(feature = "bpf")]
/// A key that nobody knows. Without a source of chance there is none.
pub fn random_key() -> Result<TagKey> {
    use std::io::Read;
    let mut key = TagKey::default();
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut key))
        .context(|| "failed to read /dev/urandom")?;
    Ok(key)
}

fn buffered<W: Write>(out: W) -> BufWriter<W> {
    BufWriter::with_capacity(OUTPUT_BUFFER, out)
}

/// Captured plaintext is for its owner only: a file of somebody else, or one that a link leads to, may
/// be open in another's hands and is refused. Devices and pipes are as the user wants them.
pub fn create(path: &Path) -> Result<File> {
    try_create(path)
        .context(|| format!("failed to create {}", path.display()))
        .map_err(|error| error.with_kind(ErrorKind::Io))
}

fn try_create(path: &Path) -> io::Result<File> {
    // Process substitution and /dev/stdout are links of the kernel's own: open already, for us. Anybody can put links
    // and files into /dev/shm.
    let is_kernels = ["/dev/stdout", "/dev/stderr"]
        .iter()
        .any(|own| path == Path::new(own))
        || ["/dev/fd", "/proc"].iter().any(|own| path.starts_with(own));
    let goes_up = path.components().any(|part| part == Component::ParentDir);
    let is_kernels = is_kernels && !goes_up;
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
