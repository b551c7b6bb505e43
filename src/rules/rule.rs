//! A rule as it is written (YAML in the style of Sigma; `docs/rules.md` has the grammar), and compiled.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::condition::Expr;
use super::field::Field;
use super::join::Shared;
use super::message::Template;
use super::select::Selection;
use crate::error::{Context, Error, ErrorKind, Result};

/// Bytes of a file of rules.
const FILE_MAX: usize = 1 << 20;
/// Selections of a rule.
const SELECTIONS_MAX: usize = 64;
/// Steps of a sequence.
const STEPS_MAX: usize = 8;
/// The longest time that a sequence may take, in seconds.
const WITHIN_MAX: u64 = 24 * 3600;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Low,
    /// Worth a look.
    Medium,
    /// Somebody should know at once.
    High,
    /// Nobody does this by accident.
    Critical,
}

impl Severity {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

/// As a file has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    title: String,
    id: String,
    #[serde(alias = "level")]
    severity: Severity,
    #[serde(default)]
    message: Option<String>,
    /// Fields: the same values are told once. Absent: what the event is about, and the program.
    #[serde(default)]
    once: Vec<Field>,
    detection: Map<String, Value>,
    #[serde(default, rename = "description")]
    _description: String,
    #[serde(default, rename = "author")]
    _author: String,
    #[serde(default, rename = "falsepositives")]
    _falsepositives: Vec<String>,
    #[serde(default, rename = "references")]
    _references: Vec<String>,
    #[serde(default, rename = "tags")]
    _tags: Vec<String>,
}

/// A rule that is ready.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its name for programs.
    pub id: String,
    /// Its name for people.
    pub title: String,
    /// How bad it is.
    pub severity: Severity,
    /// What to say.
    pub message: Option<Template>,
    /// What its expressions speak of.
    pub selections: Vec<Selection>,
    /// What has to happen, in this order; one: an event alone.
    pub steps: Vec<Condition>,
    /// What each step has in common with the one before.
    pub same: Vec<Shared>,
    /// From the first step to the last, in nanoseconds.
    pub within_ns: u64,
    /// What must not have been before.
    pub unless: Option<(Condition, Shared)>,
    /// Fields of the last step whose values make it the same finding; none: what it is about, and the program.
    pub once: Vec<Field>,
    /// It asks for what was said, which may be told a little later than what was done.
    pub is_late: bool,
}

/// An expression, and the types of lines for which it can be true.
#[derive(Clone, Debug)]
pub struct Condition {
    /// What has to be.
    pub expr: Expr,
    /// By their names.
    pub types: BTreeSet<String>,
}

/// The rules of a file: one or several YAML documents. `file` is for messages.
///
/// # Errors
/// The file is no YAML, or a rule in it is broken; the error tells the file, the rule and the place.
pub fn parse(file: &str, text: &str) -> Result<Vec<Rule>> {
    let failed = || format!("failed to use the rules in {file}");
    if text.len() > FILE_MAX {
        return Err(usage("larger than 1 MiB"))
            .context(failed)
            .map_err(as_usage);
    }
    let documents: Vec<Written> = serde_saphyr::from_multiple(text)
        .map_err(|error| usage(error.to_string()))
        .context(failed)
        .map_err(as_usage)?;
    let rules = documents.into_iter().map(|written| {
        let id = written.id.clone();
        let rule = Rule::compile(written).context(|| format!("rule {id:?}"));
        rule.context(failed).map_err(as_usage)
    });
    rules.collect()
}

fn usage(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::Usage, why)
}

fn as_usage(error: Error) -> Error {
    error.with_kind(ErrorKind::Usage)
}

/// Names in `detection` that are no selections.
const RESERVED: [&str; 5] = ["condition", "sequence", "same", "within", "unless"];

impl Rule {
    fn compile(written: Written) -> Result<Self> {
        check_id(&written.id)?;
        let mut detection = written.detection;
        let [condition, sequence, same, within, unless] =
            RESERVED.map(|name| detection.remove(name));
        let mut names = Vec::new();
        let mut selections = Vec::new();
        for (name, value) in detection {
            let selection = Selection::parse(&value);
            selections.push(selection.context(|| format!("detection: {name}"))?);
            names.push(name);
        }
        if selections.is_empty() || selections.len() > SELECTIONS_MAX {
            return Err(usage("detection needs one to 64 selections"));
        }
        let set = Set { names, selections };
        let steps = set.steps(condition, sequence)?;
        let (same, within_ns) = shared(steps.len(), same, within)?;
        let unless = unless.map(|unless| set.unless(unless)).transpose()?;
        let is_late = set.selections.iter().any(Selection::is_of_conversation);
        if is_late && (steps.len() > 1 || unless.is_some()) {
            return Err(usage(
                "fields of the conversation are for a condition alone",
            ));
        }
        let message = written
            .message
            .map(|text| Template::parse(&text, steps.len()));
        Ok(Self {
            id: written.id,
            title: written.title,
            severity: written.severity,
            message: message.transpose()?,
            once: written.once,
            selections: set.selections,
            steps,
            same,
            within_ns,
            unless,
            is_late,
        })
    }
}

fn check_id(id: &str) -> Result<()> {
    let is_fine = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    match !id.is_empty() && id.len() <= 128 && id.chars().all(is_fine) {
        true => Ok(()),
        false => Err(usage("id: 1 to 128 letters, digits, '-', '_' and '.'")),
    }
}

/// Selections by name.
struct Set {
    names: Vec<String>,
    selections: Vec<Selection>,
}

impl Set {
    fn steps(&self, condition: Option<Value>, sequence: Option<Value>) -> Result<Vec<Condition>> {
        let texts = match (condition, sequence) {
            (Some(condition), None) => vec![condition],
            (None, Some(Value::Array(steps))) if (2..=STEPS_MAX).contains(&steps.len()) => steps,
            (None, Some(_)) => return Err(usage("sequence: a list of 2 to 8 expressions")),
            (None, None) => return Err(usage("detection needs a condition or a sequence")),
            (Some(_), Some(_)) => return Err(usage("detection has a condition and a sequence")),
        };
        let is_one = texts.len() == 1;
        let steps = texts.iter().enumerate().map(|(number, text)| {
            self.condition(text).context(|| match is_one {
                true => "condition".to_owned(),
                false => format!("sequence: step {}", number + 1),
            })
        });
        steps.collect()
    }

    fn condition(&self, text: &Value) -> Result<Condition> {
        let text = text
            .as_str()
            .ok_or_else(|| usage("an expression is a text"))?;
        let expr = Expr::parse(text, &self.names)?;
        match self.types(&expr) {
            Some(types) => Ok(Condition { expr, types }),
            None => Err(usage("it must say of which types of lines it is (type: …)")),
        }
    }

    /// `None`: any.
    fn types(&self, expr: &Expr) -> Option<BTreeSet<String>> {
        match expr {
            Expr::All(parts) => {
                let sets = parts.iter().filter_map(|part| self.types(part));
                sets.reduce(|one, other| one.intersection(&other).cloned().collect())
            }
            Expr::Any(parts) => {
                let sets = parts.iter().map(|part| self.types(part));
                Some(
                    sets.collect::<Option<Vec<_>>>()?
                        .into_iter()
                        .flatten()
                        .collect(),
                )
            }
            Expr::Not(_) => None,
            Expr::Selection(index) => self.selections.get(*index)?.types(),
        }
    }

    /// `{ before: EXPRESSION, same: SHARED }`
    fn unless(&self, value: Value) -> Result<(Condition, Shared)> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Unless {
            before: Value,
            same: Shared,
        }
        let failed = || "unless".to_owned();
        let unless: Unless = serde_json::from_value(value)
            .map_err(|error| usage(error.to_string()))
            .context(failed)?;
        let condition = self.condition(&unless.before).context(failed)?;
        Ok((condition, unless.same))
    }
}

fn shared(steps: usize, same: Option<Value>, within: Option<Value>) -> Result<(Vec<Shared>, u64)> {
    if steps == 1 {
        return match (same, within) {
            (None, None) => Ok((Vec::new(), 0)),
            _ => Err(usage("same and within are for sequences")),
        };
    }
    let same = match same {
        Some(Value::Array(same)) if !same.is_empty() => Value::Array(same),
        Some(one @ Value::String(_)) => Value::Array(vec![one]),
        _ => return Err(usage("a sequence needs what its steps share (same: …)")),
    };
    let same = serde_json::from_value(same).map_err(|error| usage(format!("same: {error}")))?;
    let within = within.as_ref().and_then(Value::as_str).and_then(seconds);
    match within {
        Some(within) => Ok((same, within * 1_000_000_000)),
        None => Err(usage("within: a time like 30s, 10m or 1h, of 24h at most")),
    }
}

/// `30s`, `10m`, `1h`
fn seconds(text: &str) -> Option<u64> {
    let number = text.get(..text.len().checked_sub(1)?)?;
    let unit = match text.as_bytes().last()? {
        b's' => 1,
        b'm' => 60,
        b'h' => 3600,
        _ => return None,
    };
    let seconds = number.parse::<u64>().ok()?.checked_mul(unit)?;
    (1..=WITHIN_MAX).contains(&seconds).then_some(seconds)
}
