//! What is a secret: `rules.json`, and files of users in the same form. Checked when loaded: a rule must find its own
//! examples.
//!
//! A rule names fields of heads, keys of JSON and parameters of URLs whose values are secret, and shapes of text. A shape is a
//! regular expression that is tried where one of its `hints` stands, and nowhere else.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use regex_automata::hybrid::dfa::DFA;
use regex_automata::meta::Regex;
use regex_automata::util::syntax;
use serde::Deserialize;

use super::ending::Ending;
use super::example;
use super::scan::Scanner;
use crate::error::{Context, Error, Result};

const BUILT_IN: &str = include_str!("rules.json");

/// How much is masked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Nothing.
    Off,
    /// What is a secret for all we know.
    #[default]
    Default,
    /// What may be one, and what tells who somebody is.
    Strict,
}

/// What must stand before a hint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Before {
    /// Anything.
    Any,
    /// A digit.
    Digit,
    /// A capital letter, an underscore, or no part of a word.
    Capital,
    /// No part of a word: not a letter, digit, underscore or hyphen.
    #[default]
    Word,
}

/// What a secret must be like, where its surroundings alone do not tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Check {
    /// Anything but a placeholder (`$TOKEN`, `<your key>`).
    #[default]
    Any,
    /// Two of: lower case, upper case, digits.
    Mixed,
    /// Letters and digits, as irregular as chance makes them.
    Random,
}

/// A shape of text.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// Begins at a hint. Its group `secret`, or all of it, is the secret. Of bytes: `\w` and the like are ASCII.
    pub regex: String,
    /// Each match begins with one of them, in upper or lower case.
    pub hints: Vec<String>,
    /// The match begins with the word that the hint is in the middle of: `somebody@` with the hint `@`.
    #[serde(default)]
    pub back: bool,
    /// What must stand before.
    #[serde(default)]
    pub before: Before,
    /// What the secret must be like.
    #[serde(default)]
    pub check: Check,
    /// Where it ends, if the end is not there yet.
    pub ends: Ending,
}

/// One kind of secret.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Its name; lower case and hyphens. A user's rule takes the place of the one of ours with this name.
    pub id: String,
    /// What it finds, for people.
    pub what: String,
    /// Where that is documented.
    #[serde(default)]
    pub source: String,
    /// From which level on it is used; with `off` never.
    #[serde(default)]
    pub level: Level,
    /// Names of fields of heads, in lower case. `*-token`: all that end so.
    #[serde(default)]
    pub header: Vec<String>,
    /// Keys of JSON, in lower case with underscores. They stand for `api_key`, `apikey`, `api-key` and `apiKey`, alone or
    /// behind other words (`openai_api_key`).
    #[serde(default)]
    pub json: Vec<String>,
    /// Parameters of URLs and forms, in lower case.
    #[serde(default)]
    pub query: Vec<String>,
    /// Shapes.
    #[serde(default)]
    pub text: Vec<Shape>,
    /// Texts with secrets, in the form that [`example`] describes.
    #[serde(default)]
    pub examples: Vec<String>,
    /// Texts in which it finds nothing.
    #[serde(default)]
    pub counterexamples: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    rules: Vec<Rule>,
}

/// What a word may be the beginning of. The number is that of the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    Header { rule: usize, is_ending: bool },
    Json { rule: usize },
    Query { rule: usize },
    Shape { rule: usize, shape: usize },
}

/// A shape, ready for use.
pub(super) struct Compiled {
    pub regex: Regex,
    /// A match has at least so many bytes, and if it [`Self::is_word`], all of them are of one word.
    pub shortest: usize,
    /// All of it is the secret, and ends with the word.
    pub is_word: bool,
    pub back: bool,
    pub before: Before,
    pub check: Check,
    pub ends: Ending,
    pattern: String,
    /// Made when it is needed first: of streamed text only.
    begun: OnceLock<Option<DFA>>,
}

impl Compiled {
    /// Says whether a text that does not match may be the beginning of one that does.
    pub fn begun(&self) -> Option<&DFA> {
        let build = || DFA::builder().syntax(bytes()).build(&self.pattern).ok();
        self.begun.get_or_init(build).as_ref()
    }
}

/// Patterns are of bytes.
fn bytes() -> syntax::Config {
    syntax::Config::new().unicode(false).utf8(false)
}

/// The rules of a run.
#[derive(Clone, Debug)]
pub struct Rules {
    level: Level,
    rules: Vec<Rule>,
}

impl Rules {
    /// Ours, of this level.
    ///
    /// # Errors
    /// The file is broken; the tests keep that from shipping.
    pub fn new(level: Level) -> Result<Self> {
        let rules = parse(BUILT_IN).context(|| "the built-in rules are broken")?;
        Ok(Self { level, rules })
    }

    /// Adds those of a file with this content.
    ///
    /// # Errors
    /// It is not in the form of `rules.json` (the message says where), or a rule does not find its own examples.
    pub fn add(&mut self, text: &str) -> Result<()> {
        for (number, rule) in parse(text)?.into_iter().enumerate() {
            let name = || format!("rule {} ({:?})", number + 1, rule.id);
            rule.check().context(name)?;
            match self.rules.iter_mut().find(|known| known.id == rule.id) {
                Some(known) => *known = rule,
                None => self.rules.push(rule),
            }
        }
        Ok(())
    }

    /// All of them, those of other levels too.
    pub fn all(&self) -> &[Rule] {
        &self.rules
    }

    /// The level.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Whether this rule is in use.
    pub fn is_used(&self, rule: &Rule) -> bool {
        rule.level != Level::Off && rule.level <= self.level
    }

    /// What each word may begin.
    pub(super) fn words(&self) -> BTreeMap<String, Vec<Use>> {
        let mut words: BTreeMap<String, Vec<Use>> = BTreeMap::new();
        let mut add = |word: String, of: Use| {
            let uses = words.entry(word.to_ascii_lowercase()).or_default();
            if !uses.contains(&of) {
                uses.push(of);
            }
        };
        for (number, rule) in self.rules.iter().enumerate() {
            if self.is_used(rule) {
                rule.words(number, &mut add);
            }
        }
        words
    }

    /// The shapes of each rule.
    pub(super) fn compile(&self) -> Result<Vec<Vec<Compiled>>> {
        let compile = |rule: &Rule| {
            if !self.is_used(rule) {
                return Ok(Vec::new());
            }
            let shapes = rule.text.iter().map(Shape::compile);
            let shapes: Result<Vec<_>> = shapes.collect();
            shapes.context(|| format!("rule {:?}", rule.id))
        };
        self.rules.iter().map(compile).collect()
    }
}

fn parse(text: &str) -> Result<Vec<Rule>> {
    let file: File =
        serde_json::from_str(text).map_err(|error| Error::invalid(error.to_string()))?;
    Ok(file.rules)
}

/// Spellings of a key: with underscores, hyphens and neither.
pub(super) fn spellings(name: &str) -> [String; 3] {
    [
        name.to_owned(),
        name.replace('_', "-"),
        name.replace('_', ""),
    ]
}

impl Rule {
    fn words(&self, rule: usize, add: &mut impl FnMut(String, Use)) {
        for name in &self.header {
            let is_ending = name.starts_with('*');
            let name = name.trim_start_matches('*');
            add(name.to_owned(), Use::Header { rule, is_ending });
        }
        for name in &self.json {
            for spelling in spellings(name) {
                add(spelling, Use::Json { rule });
            }
        }
        for name in &self.query {
            add(format!("{name}="), Use::Query { rule });
        }
        for (shape, known) in self.text.iter().enumerate() {
            for hint in &known.hints {
                add(hint.clone(), Use::Shape { rule, shape });
            }
        }
    }

    /// Whether it is well-formed and true to its examples.
    pub fn check(&self) -> Result<()> {
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if self.id.is_empty() || !self.id.bytes().all(is_name) {
            return Err(Error::invalid(
                "its id must be of lower case letters, digits and hyphens",
            ));
        }
        let mut names = self.header.iter().chain(&self.json).chain(&self.query);
        let is_good =
            |name: &&String| name.len() >= 3 && !name.bytes().any(|b| b.is_ascii_uppercase());
        if let Some(name) = names.find(|name| !is_good(name)) {
            return Err(Error::invalid(format!(
                "{name:?}: a name has three bytes or more, in lower case"
            )));
        }
        for (number, shape) in self.text.iter().enumerate() {
            let name = || format!("its text {}", number + 1);
            let shortest = if shape.back { 1 } else { 3 };
            if shape.hints.is_empty() || shape.hints.iter().any(|hint| hint.len() < shortest) {
                let error = Error::invalid("it needs hints, each of three bytes or more");
                return Err(error).context(name);
            }
            shape.compile().context(name)?;
        }
        if self.level == Level::Off {
            return Ok(());
        }
        self.check_examples()
    }

    fn check_examples(&self) -> Result<()> {
        let rules = Rules {
            level: Level::Strict,
            rules: vec![self.clone()],
        };
        let scanner = Scanner::new(rules)?;
        for (number, example) in self.examples.iter().enumerate() {
            let example = example::expand(example, 1);
            let spans = scanner.secrets(example.text.as_bytes());
            let found: Vec<_> = spans.iter().map(|span| span.range()).collect();
            if found != example.secrets {
                let found: Vec<_> = found
                    .into_iter()
                    .map(|range| example.text.get(range))
                    .collect();
                return Err(Error::invalid(format!(
                    "in its example {}, it finds {found:?}",
                    number + 1
                )));
            }
        }
        for (number, text) in self.counterexamples.iter().enumerate() {
            let example = example::expand(text, 1);
            if let Some(span) = scanner.secrets(example.text.as_bytes()).first() {
                let found = example.text.get(span.range());
                return Err(Error::invalid(format!(
                    "in its counterexample {}, it finds {found:?}",
                    number + 1
                )));
            }
        }
        Ok(())
    }
}

impl Shape {
    fn compile(&self) -> Result<Compiled> {
        let regex = Regex::builder()
            .syntax(bytes())
            .configure(
                Regex::config()
                    .utf8_empty(false)
                    .nfa_size_limit(Some(8 << 20)),
            )
            .build(&self.regex)
            .map_err(|error| Error::invalid(explain(&error)))?;
        let mut names = regex
            .group_info()
            .pattern_names(regex_automata::PatternID::ZERO);
        let others = names.find(|name| name.is_some_and(|name| name != "secret"));
        if let Some(name) = others.flatten() {
            return Err(Error::invalid(format!(
                "its group is called {name:?}, not \"secret\""
            )));
        }
        let hir = syntax::parse_with(&self.regex, &bytes());
        let shortest = hir.ok().and_then(|hir| hir.properties().minimum_len());
        Ok(Compiled {
            shortest: shortest.unwrap_or_default(),
            is_word: regex.captures_len() == 1 && self.ends == Ending::Word,
            regex,
            back: self.back,
            before: self.before,
            check: self.check,
            ends: self.ends,
            pattern: self.regex.clone(),
            begun: OnceLock::new(),
        })
    }
}

/// With the place in the pattern.
fn explain(error: &regex_automata::meta::BuildError) -> String {
    match error.syntax_error() {
        Some(error) => error.to_string(),
        None => error.to_string(),
    }
}
