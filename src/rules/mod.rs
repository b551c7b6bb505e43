//! Rules over what is done and said: YAML files in the style of Sigma (`docs/rules.md` has the grammar). A function of the
//! events in their order: no clock, no files, no kernel.
//!
//! What is remembered is bounded, and what was forgotten too early is counted ([`Counts`]). A rule is never right because
//! something was not seen: what is not known is neither true nor false.

mod built_in;
mod condition;
mod engine;
mod facts;
mod field;
pub mod finding;
mod join;
mod lineage;
mod message;
mod places;
mod rule;
mod select;
mod store;
mod talk;

pub use engine::{Counts, Engine};
pub use finding::Finding;
pub use rule::Severity;

use crate::error::{Error, ErrorKind, Result};
use rule::Rule;

/// Rules of a run.
const RULES_MAX: usize = 1024;

/// Rules, by their ids.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    rules: Vec<Rule>,
}

impl Rules {
    /// Ours.
    ///
    /// # Errors
    /// Never, as a test holds.
    pub fn built_in() -> Result<Self> {
        let mut rules = Self::default();
        for (file, text) in built_in::FILES {
            rules.add(file, text)?;
        }
        Ok(rules)
    }

    /// Adds those of a file; one with the id of another takes its place. `file` is for messages.
    ///
    /// # Errors
    /// One is broken; the error tells the file, the rule and the place.
    pub fn add(&mut self, file: &str, text: &str) -> Result<()> {
        for rule in rule::parse(file, text)? {
            self.rules.retain(|known| known.id != rule.id);
            self.rules.push(rule);
        }
        match self.rules.len() {
            0..=RULES_MAX => Ok(()),
            _ => Err(Error::new(ErrorKind::Usage, "more than 1024 rules")),
        }
    }

    /// Their ids and severities.
    pub fn list(&self) -> impl Iterator<Item = (&str, Severity)> {
        self.rules
            .iter()
            .map(|rule| (rule.id.as_str(), rule.severity))
    }
}
