//! Which rules judge what is seen, and when their findings are a failure.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;

use super::exit;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::output::Summary;
use crate::rules::{Engine, Rules, Severity};
use crate::sink::View;

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
