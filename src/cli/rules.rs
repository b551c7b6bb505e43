//! Which rules judge what is seen, and when their findings are a failure.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anstream::AutoStream;
use clap::ValueEnum;

use super::exit;
use super::output::DiscretionArgs;
use super::replay;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::output::{Output, Printer, Summary};
use crate::record::Recording;
use crate::rules::{Engine, Rules, Severity};
use crate::sink::{Clock, FindingsOnly, Human, Style, View};

#[derive(Debug, clap::Args)]
pub struct RuleArgs {
    /// Judge by the rules in FILE as well (YAML; one with the id of another takes its place); may be given several times
    #[arg(long, value_name = "FILE")]
    pub rules: Vec<PathBuf>,
    /// Leave out the rules that come with agentsight
    #[arg(long)]
    pub no_rules: bool,
    /// Exit with status 3 if a rule of this severity, or of a higher one, finds something
    #[arg(long, value_name = "SEVERITY", value_enum)]
    pub fail_on: Option<FailOn>,
}

/// How bad is too bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum FailOn {
    Low,
    Medium,
    High,
    Critical,
}

impl RuleArgs {
    /// What judges what is shown in this view; `None`: there is nothing to judge by.
    pub fn engine(&self, view: View) -> Result<Option<Engine>> {
        let is_wanted = !self.rules.is_empty() || self.fail_on.is_some();
        if !matches!(view, View::All | View::Llm) {
            return match is_wanted {
                false => Ok(None),
                true => Err(Error::new(
                    ErrorKind::Usage,
                    "--rules and --fail-on need --view all or --view llm: the others leave out what rules are about",
                )),
            };
        }
        let mut rules = match self.no_rules {
            true => Rules::default(),
            false => Rules::built_in()?,
        };
        for path in &self.rules {
            let name = path.display().to_string();
            let text = fs::read_to_string(path).context(|| format!("failed to read {name}"))?;
            rules.add(&name, &text)?;
        }
        let is_empty = rules.list().next().is_none();
        Ok((!is_empty).then(|| Engine::new(rules)))
    }

    /// A status that is a failure stays; success becomes one if something bad enough was found.
    pub fn judged(&self, status: ExitCode, summary: &Summary) -> ExitCode {
        let is_bad = match (self.fail_on, summary.found.worst) {
            (Some(fail_on), Some(worst)) => worst >= fail_on.severity(),
            _ => false,
        };
        match is_bad && status == ExitCode::SUCCESS {
            true => ExitCode::from(exit::FOUND),
            false => status,
        }
    }

    /// Judges what was recorded, once it is there: nothing waits for that while it is recorded. Findings go to stderr.
    pub fn judge_recording(
        &self,
        path: &Path,
        discretion: &DiscretionArgs,
        status: ExitCode,
    ) -> Result<ExitCode> {
        if self.fail_on.is_none() {
            return Ok(status);
        }
        let name = || format!("failed to judge {}", path.display());
        let file = File::open(path).context(name)?;
        let mut recording = Recording::open(BufReader::new(file)).context(name)?;
        let header = *recording.header();
        let clock = Clock::fixed(header.boot_to_unix_ns);
        let mut printer = Printer::new(View::Llm);
        printer.redactor = discretion.redactor(header.tag_key)?;
        printer.rules = self.engine(View::Llm)?;
        let out = AutoStream::auto(io::stderr());
        let people = Human::new(out, clock, Style::Auto, View::Llm);
        printer.sink = Some(Box::new(FindingsOnly(Box::new(people))));
        let mut output = Output::new(printer);
        replay::replay(&mut recording, &mut output).context(name)?;
        output.flush()?;
        Ok(self.judged(status, &output.summary()))
    }
}

impl FailOn {
    fn severity(self) -> Severity {
        match self {
            Self::Low => Severity::Low,
            Self::Medium => Severity::Medium,
            Self::High => Severity::High,
            Self::Critical => Severity::Critical,
        }
    }
}
