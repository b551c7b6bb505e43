//! Where captured data go, for all subcommands that have some: the arguments, the sink, the file.

use std::fs::{self, File, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

use anstream::AutoStream;
use clap::ValueEnum;

use super::args::Color;
use super::rules::RuleArgs;
use crate::error::{Context, ErrorKind, Result};
use crate::output::Printer;
use crate::redact::{Level, Redactor, Rules, TagKey};
use crate::semantics::price::Prices;
use crate::sink::{
    Clock, Eunomia, Filter, Filtered, Human, JsonLines, Raw, Sink, Style, Tree, View,
};

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
    /// Print processes and plaintext as the agentsight of the eunomia project does, for its viewers
    #[arg(long, conflicts_with_all = ["json", "hex", "raw", "view"])]
    pub eunomia: bool,
    /// What to show [default: llm; with --json: all; with --hex: raw]
    #[arg(long, value_name = "WHAT", value_enum, conflicts_with = "raw")]
    pub view: Option<ViewChoice>,
    /// Only lines that fit, by their fields as --json has them: an expression in CEL (type == 'llm.call' &&
    /// request.model.startsWith('gpt')); `line` is the whole line, for has(line.error)
    #[arg(long, value_name = "CEL")]
    pub filter: Option<String>,
    /// Prices of models that are used before ours (JSON; agentsight schema prices documents it)
    #[arg(long, value_name = "FILE")]
    pub prices: Option<PathBuf>,
    /// Leave out what was said: tell who spoke with whom, when, and how much
    #[arg(long, conflicts_with_all = ["hex", "raw"])]
    pub no_content: bool,
    /// Write to FILE (mode 0600) instead of stdout
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Stop after N pieces of plaintext; with --view http or llm, after N exchanges or calls
    #[arg(short = 'c', long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_events: Option<u64>,
    #[command(flatten)]
    pub rules: RuleArgs,
    #[command(flatten)]
    pub discretion: DiscretionArgs,
    /// When to use colours
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Color::Auto)]
    pub color: Color,
}

/// What is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ViewChoice {
    /// Bytes, exchanges and calls
    All,
    /// HTTP exchanges; bytes of what speaks something else
    Http,
    /// Calls of models; HTTP exchanges that are none; bytes of the rest
    Llm,
    /// Bytes of all connections
    Raw,
    /// Each process with what it did and the calls that it made, as a tree; at the end its sums
    Tree,
}

/// What is not told.
#[derive(Debug, clap::Args)]
pub struct DiscretionArgs {
    /// Which secrets to mask
    #[arg(long, value_name = "LEVEL", value_enum, default_value_t = RedactLevel::Default)]
    pub redact: RedactLevel,
    /// The same as --redact off
    #[arg(long, conflicts_with_all = ["redact", "redact_rules"])]
    pub no_redact: bool,
    /// Mask what the rules in FILE say as well (JSON; a rule with the id of one of ours takes its place); may be given
    /// several times
    #[arg(long, value_name = "FILE")]
    pub redact_rules: Vec<PathBuf>,
    /// No notices and no summary on stderr
    #[arg(short, long)]
    pub quiet: bool,
}

/// How much is masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum RedactLevel {
    /// Nothing
    Off,
    /// API keys, tokens, passwords, cookies, private keys
    Default,
    /// Also what may be a secret, and e-mail addresses, phone numbers and the like
    Strict,
}

impl DiscretionArgs {
    /// What masks, with tags by this key; `None`: nothing is masked.
    pub fn redactor(&self, key: TagKey) -> Result<Option<Redactor>> {
        let level = match self.redact {
            _ if self.no_redact => Level::Off,
            RedactLevel::Off => Level::Off,
            RedactLevel::Default => Level::Default,
            RedactLevel::Strict => Level::Strict,
        };
        if level == Level::Off {
            return Ok(None);
        }
        let mut rules = Rules::new(level)?;
        for path in &self.redact_rules {
            let name = || format!("failed to use the redaction rules in {}", path.display());
            let text = fs::read_to_string(path).context(name)?;
            let added = rules.add(&text).context(name);
            added.map_err(|error| error.with_kind(ErrorKind::Usage))?;
        }
        Redactor::with_rules(rules, key).map(Some)
    }
}

impl OutputArgs {
    /// What prints. Secrets get tags by this key.
    pub fn printer(&self, clock: Clock, tag_key: TagKey) -> Result<Printer> {
        let view = self.view();
        let mut printer = Printer::new(view);
        printer.redactor = self.discretion.redactor(tag_key)?;
        if let Some(path) = &self.prices {
            printer.set_prices(prices(path)?);
        }
        printer.max_events = self.max_events;
        printer.is_discreet = self.no_content;
        printer.rules = self.rules.engine(view)?;
        let filter = self.filter.as_deref().map(Filter::new).transpose()?;
        let sink = self.sink(clock, view)?;
        printer.sink = Some(match filter {
            Some(filter) => Box::new(Filtered::new(filter, clock, sink)),
            None => sink,
        });
        Ok(printer)
    }

    fn view(&self) -> View {
        match self.view {
            Some(ViewChoice::All) => View::All,
            Some(ViewChoice::Http) => View::Http,
            Some(ViewChoice::Llm) => View::Llm,
            Some(ViewChoice::Raw) => View::Raw,
            Some(ViewChoice::Tree) => View::Tree,
            None if self.json || self.eunomia => View::All,
            None if self.hex || self.raw => View::Raw,
            None => View::Llm,
        }
    }

    fn sink(&self, clock: Clock, view: View) -> Result<Box<dyn Sink + Send>> {
        let style = if self.hex { Style::Hex } else { Style::Auto };
        if self.json || self.raw || self.eunomia {
            let out: Box<dyn Write + Send> = match &self.output {
                Some(path) => Box::new(create(path)?),
                None => Box::new(io::stdout()),
            };
            return Ok(match (self.json, self.eunomia) {
                (true, _) => Box::new(JsonLines::new(out, clock)),
                (_, true) => Box::new(Eunomia::new(buffered(out), clock)),
                _ => Box::new(Raw::new(buffered(out))),
            });
        }
        let choice = self.color.choice();
        Ok(match &self.output {
            Some(path) => {
                let out = AutoStream::new(create(path)?, choice);
                for_people(out, clock, style, view)
            }
            None => {
                let out = AutoStream::new(io::stdout(), choice);
                for_people(out, clock, style, view)
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

/// Ours, and before them those of a file.
fn prices(path: &Path) -> Result<Prices> {
    let name = || format!("failed to use the prices in {}", path.display());
    let text = fs::read_to_string(path).context(name)?;
    let prices = Prices::with_overrides(&text).context(name);
    prices.map_err(|error| error.with_kind(ErrorKind::Usage))
}

fn for_people(
    out: impl Write + Send + 'static,
    clock: Clock,
    style: Style,
    view: View,
) -> Box<dyn Sink + Send> {
    let out = buffered(out);
    match (style, view) {
        (Style::Auto, View::Tree) => Box::new(Tree::new(out, clock)),
        _ => Box::new(Human::new(out, clock, style, view)),
    }
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
