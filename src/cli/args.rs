//! The arguments as they are typed; checked and defaulted by the subcommands.

#[cfg(feature = "bpf")]
use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use super::exit;
use super::output::{DiscretionArgs, OutputArgs};
#[cfg(feature = "bpf")]
use super::rules::RuleArgs;
use super::select::SelectArgs;
use crate::plan::ProbeSites;

/// See what AI agents say over TLS, from outside: no SDK, no proxy, no restart.
#[derive(Debug, Parser)]
#[command(name = "agentsight", version, max_term_width = 100, after_help = exit::HELP)]
pub struct Args {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Stream the TLS plaintext of a program or of everybody who uses a library (needs root)
    #[cfg(feature = "bpf")]
    #[command(after_help = ATTACH_EXAMPLES)]
    Attach(AttachArgs),
    /// Tell whether discovery still finds what a manifest of samples expects, or write such a manifest
    #[command(after_help = CHECK_EXAMPLES)]
    Check(CheckArgs),
    /// Print a shell completion script
    Completions {
        /// For which shell
        shell: Shell,
    },
    /// Tell which TLS libraries are inside of files, or of processes that run, how they were found, and
    /// whether attach would see their plaintext
    #[command(after_help = DISCOVER_EXAMPLES)]
    Discover(DiscoverArgs),
    /// Tell what this machine can do, and try it out with a TLS exchange of its own (needs root)
    #[cfg(feature = "bpf")]
    Doctor {
        /// Measure instead what probes cost here, and keep it for the choice of probe sites
        #[arg(long)]
        bench: bool,
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Print the man page of agentsight, or of one subcommand
    Man {
        /// Subcommand
        command: Option<String>,
    },
    /// Run a command, and keep what it and all that it starts say over TLS, for replay (needs root)
    #[cfg(feature = "bpf")]
    #[command(after_help = RECORD_EXAMPLES)]
    Record(RecordArgs),
    /// Print what a recording holds, as attach would have printed it (needs no root)
    #[command(after_help = REPLAY_EXAMPLES)]
    Replay(ReplayArgs),
    /// Print the JSON Schema of the lines of `attach --json`, or of another of our formats
    Schema {
        /// Of what
        #[arg(value_enum, default_value_t = Format::Lines)]
        format: Format,
    },
    /// The child that doctor's self-test watches
    #[cfg(feature = "bpf")]
    #[command(name = crate::doctor::PEER_COMMAND, hide = true)]
    SelftestPeer { part: String },
    /// Tell what led to a process, a file or a connection of a recording, back to the words that caused it (needs no root)
    #[command(after_help = WHY_EXAMPLES, allow_missing_positional = true)]
    Why(WhyArgs),
}

const DISCOVER_EXAMPLES: &str = "\
Examples:
  agentsight discover $(which node)                    what is inside of node
  agentsight discover --explain /usr/lib/**/libssl*    every step that was tried, and what it gave
  agentsight discover --json ./bin | jq '.[].findings[].library'
  agentsight discover --comm claude                    is my agent visible? with all that it started
  sudo agentsight discover --all                       whatever uses TLS here
  sudo agentsight discover --container web --watch     as it changes, until Ctrl-C

Of processes, a table tells the TLS libraries that each has loaded, how their functions were found,
and whether attach would see their plaintext. Processes that are alike share a row, and --all leaves
out those without TLS, unless -v is given. Without root, only one's own can be looked into.

Exit status: 0 if a TLS library was found (of processes: one that attach would see), 4 if there is
none, 1 if a file could not be examined. Of --watch: 0.";

const CHECK_EXAMPLES: &str = "\
Examples:
  agentsight check --record ./agent-1.2/bin/agent -o samples.json
                                                       what discovery says now is what is expected
  agentsight check samples.json                        compare, and show the differences
  agentsight check tests/samples.json --samples DIR --allow-missing
                                                       samples that scripts/fetch-samples got

Where a file is another build than the manifest's (its SHA-256 differs), libraries and functions are
compared, and addresses are not.

Exit status: 0 if all is as expected, 1 on a regression, 4 if nothing is wrong but files are missing.";

#[cfg(feature = "bpf")]
const ATTACH_EXAMPLES: &str = "\
Examples:
  sudo agentsight attach --binary $(which node)        all node processes, running and to come
  sudo agentsight attach --binary /usr/lib/x86_64-linux-gnu/libssl.so.3
                                                       whoever uses this library
  sudo agentsight attach --binary $(which curl) -- curl https://localhost:8443/
  sudo agentsight attach --binary ./agent --json -o capture.jsonl --duration 60s
  sudo agentsight attach --binary ./agent --record run.rec; agentsight replay run.rec

Secrets (API keys, tokens, passwords, cookies) are masked unless --redact off is given.";

#[cfg(feature = "bpf")]
const RECORD_EXAMPLES: &str = "\
Examples:
  sudo agentsight record -- claude                     into agentsight.rec, until claude and all that it
                                                       started have ended
  sudo agentsight record -o run.rec -- npx some-agent; agentsight replay run.rec

COMMAND has the terminal to itself, with Ctrl-C and Ctrl-Z as without us; a SIGTERM or SIGHUP for
agentsight is passed on to it. Once it has ended, Ctrl-C ends the recording of what it left running.

Exit status: that of COMMAND; 128+N if signal N ended it, 127 if it is not found, 126 if it cannot be run.
With --fail-on: 3 if COMMAND ended with 0 and a rule found something; the rules judge the recording once
it is complete.

Secrets (API keys, tokens, passwords, cookies) are masked unless --redact off is given.";

/// Which instructions get probes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SitesChoice {
    /// The cheapest ones that are proven to see the same
    Planned,
    /// First instructions and returns
    Classic,
}

impl SitesChoice {
    pub fn sites(self) -> ProbeSites {
        match self {
            Self::Planned => ProbeSites::Planned,
            Self::Classic => ProbeSites::Classic,
        }
    }
}
const REPLAY_EXAMPLES: &str = "\
Examples:
  sudo agentsight attach --binary ./agent --record run.rec
  agentsight replay run.rec                            as text
  agentsight replay --json run.rec | jq .data

What is whole of a damaged recording is printed, and then what is wrong with it.

Exit status: 0, 1 if the recording is damaged, or 3 if a rule found what --fail-on asks for.";

const WHY_EXAMPLES: &str = "\
Examples:
  agentsight why 4711 run.rec                          what led to this process
  agentsight why /home/me/.bashrc run.rec              who changed it, and for which words
  agentsight why evil.example run.rec                  who spoke to it, and why
  agentsight why e17 run.rec                           an event, as replay --json names it
  agentsight why --unexplained run.rec                 programs that no tool call explains
  agentsight why --json run.rec                        the whole graph: what led to what

What is told as exact is so; what is told as likely may have another cause. What nothing explains is
told as such, with who began it.

Exit status: 0; 4 if the recording has nothing of that name; 1 if it is damaged.";

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Color {
    /// If the output is a terminal and NO_COLOR is not set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

impl Color {
    pub fn choice(self) -> anstream::ColorChoice {
        match self {
            Self::Auto => anstream::ColorChoice::Auto,
            Self::Always => anstream::ColorChoice::Always,
            Self::Never => anstream::ColorChoice::Never,
        }
    }
}

#[derive(Debug, clap::Args)]
pub struct DiscoverArgs {
    /// ELF files, or directories to search for them
    #[arg(value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// Print one JSON array with an object per file, or per process (agentsight schema processes); with
    /// --watch, one object a line for each change
    #[arg(long)]
    pub json: bool,
    /// Print the whole ladder of evidence of a file, with what was tried in vain
    #[arg(long, conflicts_with = "json")]
    pub explain: bool,
    /// Of processes: each in a row of its own, those without TLS as well
    #[arg(short, long)]
    pub verbose: bool,
    /// Of processes: go on until Ctrl-C; on a terminal the table is kept up to date, else each change is a
    /// line
    #[arg(long)]
    pub watch: bool,
    /// Where attach would place its probes
    #[arg(long, value_name = "WHICH", value_enum, default_value_t = SitesChoice::Planned)]
    pub probe_sites: SitesChoice,
    /// Where separate debug files are, like GDB's debug-file-directory; may be given several times
    #[arg(long, value_name = "DIR", default_value = "/usr/lib/debug")]
    pub debug_dir: Vec<PathBuf>,
    /// Examine anew, and keep nothing in the cache
    #[arg(long)]
    pub no_cache: bool,
    /// When to use colours
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Color::Auto)]
    pub color: Color,
    #[command(flatten)]
    pub select: SelectArgs,
}

/// What a schema is printed of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Lines of `attach --json`
    Lines,
    /// Tables of `--prices`
    Prices,
    /// Processes of `discover --json`
    Processes,
    /// Manifests of `check`
    Samples,
}

#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// The manifest (agentsight schema samples documents it); with --record, ELF files, or directories
    /// to search for them
    #[arg(required = true, value_name = "FILE")]
    pub paths: Vec<PathBuf>,
    /// Write a manifest of what discovery says about the files
    #[arg(long, conflicts_with_all = ["json", "samples", "allow_missing", "group", "sample", "verbose"])]
    pub record: bool,
    /// Write the manifest to OUT instead of stdout
    #[arg(short, long, value_name = "OUT", requires = "record")]
    pub output: Option<PathBuf>,
    /// Where samples without a path are, as NAME/FILE; scripts/fetch-samples puts them there
    /// [default: $AGENTSIGHT_SAMPLES, else agentsight/samples in the cache directory]
    #[arg(long, value_name = "DIR")]
    pub samples: Option<PathBuf>,
    /// Count samples that are not there, and go on
    #[arg(long)]
    pub allow_missing: bool,
    /// Only samples of this group; may be given several times
    #[arg(long, value_name = "GROUP")]
    pub group: Vec<String>,
    /// Only this sample; may be given several times
    #[arg(long, value_name = "NAME")]
    pub sample: Vec<String>,
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    /// Show what is as expected, too
    #[arg(short, long)]
    pub verbose: bool,
    /// Where separate debug files are; may be given several times
    #[arg(long, value_name = "DIR", default_value = "/usr/lib/debug")]
    pub debug_dir: Vec<PathBuf>,
    /// Examine anew, and keep nothing in the cache
    #[arg(long)]
    pub no_cache: bool,
    /// When to use colours
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Color::Auto)]
    pub color: Color,
}

#[derive(Debug, clap::Args)]
pub struct ReplayArgs {
    /// The recording
    #[arg(value_name = "FILE")]
    pub recording: PathBuf,
    #[command(flatten)]
    pub out: OutputArgs,
}

#[derive(Debug, clap::Args)]
pub struct WhyArgs {
    /// A pid, a path (or its end), a host or address, an event (e17), a call (k3) or a tool call's number
    #[arg(value_name = "WHAT", required_unless_present_any = ["json", "unexplained"])]
    pub what: Option<String>,
    /// The recording
    #[arg(value_name = "RECORDING", required = true)]
    pub recording: PathBuf,
    /// Tell the programs that agents ran and that no tool call explains
    #[arg(long, conflicts_with = "what")]
    pub unexplained: bool,
    /// Print one JSON object; without WHAT: the whole graph
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub discretion: DiscretionArgs,
    /// When to use colours
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = Color::Auto)]
    pub color: Color,
}

#[cfg(feature = "bpf")]
#[derive(Debug, clap::Args)]
pub struct AttachArgs {
    #[command(flatten)]
    pub out: OutputArgs,
    /// Keep all in FILE (mode 0600) for agentsight replay, and print nothing
    #[arg(long, value_name = "FILE", conflicts_with_all = ["json", "eunomia", "hex", "raw", "output", "max_events", "view", "filter", "prices", "no_content"])]
    pub record: Option<PathBuf>,
    /// Run this once the probes are in place, as the user who called sudo; stop observing when it
    /// ends, and return its status. Without a selector it is observed itself, with all that it starts
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
    #[command(flatten)]
    pub observe: ObserveArgs,
}

#[cfg(feature = "bpf")]
#[derive(Debug, clap::Args)]
pub struct RecordArgs {
    /// Keep all in FILE (mode 0600, of the user who called sudo); what was there before becomes FILE.old
    #[arg(short, long, value_name = "FILE", default_value = "agentsight.rec")]
    pub output: PathBuf,
    #[command(flatten)]
    pub rules: RuleArgs,
    #[command(flatten)]
    pub discretion: DiscretionArgs,
    /// Run this, as the user who called sudo, and record what it and all that it starts say; with
    /// selectors, also what other processes say, until it ends
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
    #[command(flatten)]
    pub observe: ObserveArgs,
}

/// How to observe.
#[cfg(feature = "bpf")]
#[derive(Debug, clap::Args)]
pub struct ObserveArgs {
    /// Keep at most SIZE bytes of each call (tls.gap tells the rest)
    #[arg(short = 's', long, value_name = "SIZE", value_parser = parse_size)]
    pub max_bytes: Option<u64>,
    /// Leave out what processes do (programs, files, sockets): tell what they say. Without selectors, that is all that is
    /// told
    #[arg(long)]
    pub no_system: bool,
    /// Tell who opens files that fit, even for reading only, beside those where secrets are; !GLOB: not these (**/*.sql,
    /// '!**/.env'); may be given several times
    #[arg(long, value_name = "GLOB")]
    pub watch_reads: Vec<String>,
    /// Stop after TIME (90, 90s, 5m, 1h)
    #[arg(long, alias = "timeout", value_name = "TIME", value_parser = parse_time)]
    pub duration: Option<std::time::Duration>,
    /// Memory for records that wait: at most half is taken at once, for the kernel's ring buffer
    /// (a power of two); the rest when the output is slow
    #[arg(long, value_name = "SIZE", default_value = "64M", value_parser = parse_size)]
    pub buffer: u64,
    /// Where to place probes
    #[arg(long, value_name = "WHICH", value_enum, default_value_t = SitesChoice::Planned)]
    pub probe_sites: SitesChoice,
    /// How long a record may wait in the kernel (1ms to 1s): a longer time costs the traced programs less
    #[arg(long, value_name = "TIME", default_value = "10ms", value_parser = parse_latency)]
    pub latency: std::time::Duration,
    /// Where separate debug files are; may be given several times
    #[arg(long, value_name = "DIR", default_value = "/usr/lib/debug")]
    pub debug_dir: Vec<PathBuf>,
    /// Examine the programs anew, and keep nothing in the cache
    #[arg(long)]
    pub no_cache: bool,
    /// Let no new process begin before its probes are in place, or 200 ms are over: execve(2) waits meanwhile
    #[arg(long)]
    pub hold: bool,
    #[command(flatten)]
    pub select: SelectArgs,
}

/// `4096`, `16K`, `64M`, `1G`: powers of 1024.
#[cfg(feature = "bpf")]
fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match text.get(digits.len()..).unwrap_or_default() {
        "" | "B" => 1,
        "K" | "k" | "KiB" => 1 << 10,
        "M" | "m" | "MiB" => 1 << 20,
        "G" | "g" | "GiB" => 1 << 30,
        unit => return Err(format!("unknown unit {unit:?}; use K, M or G")),
    };
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit))
        .ok_or_else(|| "not a size".into())
}

/// `90`, `90s`, `1.5m`, `1h`, `250ms`.
#[cfg(feature = "bpf")]
fn parse_time(text: &str) -> Result<std::time::Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..).unwrap_or_default() {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        unit => return Err(format!("unknown unit {unit:?}; use ms, s, m or h")),
    };
    let number: f64 = digits.parse().map_err(|_| "not a time".to_owned())?;
    std::time::Duration::try_from_secs_f64(number * unit).map_err(|error| error.to_string())
}

/// A time that makes sense as a latency.
#[cfg(feature = "bpf")]
fn parse_latency(text: &str) -> Result<std::time::Duration, String> {
    let time = parse_time(text)?;
    match time.as_millis() {
        1..=1000 => Ok(time),
        _ => Err("must be from 1ms to 1s".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    /// The table of arguments is sound: clap panics on contradictions only when it is looked at.
    #[test]
    fn arguments_are_consistent() {
        Args::command().debug_assert();
    }

    /// Sizes and times read as people write them, and nonsense is refused.
    #[cfg(feature = "bpf")]
    #[test]
    fn sizes_and_times() {
        assert_eq!(parse_size("16K"), Ok(16384));
        assert_eq!(parse_size("4096"), Ok(4096));
        assert!(parse_size("12X").is_err());
        assert!(parse_size("").is_err());
        assert!(parse_size("99999999999G").is_err());
        assert_eq!(parse_time("1.5m"), Ok(std::time::Duration::from_secs(90)));
        assert_eq!(
            parse_time("250ms"),
            Ok(std::time::Duration::from_millis(250))
        );
        assert!(parse_time("-1").is_err());
        assert!(parse_time("1d").is_err());
    }
}
