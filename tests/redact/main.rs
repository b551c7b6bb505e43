//! Redaction, measured: what share of a labelled set of secrets is masked, by rule and by context, and how much that is no
//! secret. The secrets are made from a seed when the test runs: no file holds one.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod contexts;
mod harmless;
mod places;

use std::collections::BTreeMap;

use agentsight::redact::{Level, Redactor, Rules, example};

/// Of each example of each rule.
const SEEDS: u64 = 3;
/// What is masked of text that has no secrets, per MB.
const FALSE_MAX: f64 = 1.0;

fn redactor(level: Level) -> Redactor {
    Redactor::with_rules(Rules::new(level).unwrap(), [7; 32]).unwrap()
}

/// The secrets of all examples, by rule: those of one line, which fit any context.
fn secrets(level: Level) -> Vec<(String, String)> {
    let rules = Rules::new(Level::Strict).unwrap();
    let mut secrets = Vec::new();
    for rule in rules.all().iter().filter(|rule| rule.level == level) {
        for template in &rule.examples {
            for seed in 0..SEEDS {
                let example = example::expand(template, 1000 + seed);
                for range in example.secrets {
                    secrets.push((rule.id.clone(), example.text[range].to_owned()));
                }
            }
        }
    }
    secrets
}

/// Counts of one row of the table.
#[derive(Default)]
struct Row {
    masked: usize,
    all: usize,
    missed: Vec<String>,
}

impl Row {
    fn count(&mut self, is_masked: bool, text: &str) {
        self.all += 1;
        self.masked += usize::from(is_masked);
        if !is_masked && self.missed.len() < 3 {
            self.missed.push(text.chars().take(300).collect());
        }
    }
}

fn print(title: &str, rows: &BTreeMap<String, Row>) {
    eprintln!("{title:40} masked    all  recall");
    let (mut masked, mut all) = (0, 0);
    for (name, row) in rows {
        let recall = row.masked as f64 / row.all as f64;
        eprintln!("{name:40} {:6} {:6}  {recall:.3}", row.masked, row.all);
        row.missed.iter().for_each(|text| eprintln!("    {text:?}"));
        masked += row.masked;
        all += row.all;
    }
    eprintln!(
        "{:40} {masked:6} {all:6}  {:.3}",
        "all",
        masked as f64 / all as f64
    );
}

/// Secrets would be shown: each rule in its own examples, and each kind of key wherever agents have them.
#[test]
fn recall_is_complete() {
    let mut by_rule: BTreeMap<String, Row> = BTreeMap::new();
    let mut by_context: BTreeMap<String, Row> = BTreeMap::new();
    let mut redactor = redactor(Level::Default);
    let rules = Rules::new(Level::Default).unwrap();
    for rule in rules.all().iter().filter(|rule| rules.is_used(rule)) {
        for template in &rule.examples {
            for seed in 0..10 {
                let example = example::expand(template, seed);
                let mut text = example.text.clone();
                redactor.text(&mut text);
                for range in example.secrets {
                    let is_masked = !text.contains(&example.text[range]);
                    by_rule
                        .entry(rule.id.clone())
                        .or_default()
                        .count(is_masked, &text);
                }
            }
        }
    }
    for (rule, secret) in secrets(Level::Default) {
        for (context, text) in contexts::of(&rule, &secret) {
            let masked = contexts::masked(&mut redactor, &text);
            let is_masked = !masked.contains(&contexts::middle(&secret));
            by_context
                .entry(context.to_owned())
                .or_default()
                .count(is_masked, &masked);
            by_rule
                .entry(rule.clone())
                .or_default()
                .count(is_masked, &masked);
        }
    }
    print("rule", &by_rule);
    print("context", &by_context);
    for row in by_rule.values().chain(by_context.values()) {
        assert_eq!(row.masked, row.all, "{:?}", row.missed);
    }
    assert!(by_rule.values().map(|row| row.all).sum::<usize>() > 500);
}

/// A reader would miss what is no secret, or see masks and fear one.
#[test]
fn little_else_is_masked() {
    let redactor = redactor(Level::Default);
    eprintln!("{:40} bytes  false  per MB", "harmless");
    let mut all = (0, 0);
    for (name, text) in harmless::texts() {
        let found = redactor.find(text.as_bytes());
        let per_mb = found.len() as f64 * 1e6 / text.len() as f64;
        eprintln!("{name:40} {:9} {:4}  {per_mb:.2}", text.len(), found.len());
        for found in found.iter().take(20) {
            let begin = (0..=found.range.start.saturating_sub(60))
                .rev()
                .find(|at| text.is_char_boundary(*at));
            let shown = text.get(begin.unwrap()..found.range.end);
            eprintln!("    {} {shown:?}", found.rule);
        }
        all = (all.0 + text.len(), all.1 + found.len());
    }
    let per_mb = all.1 as f64 * 1e6 / all.0 as f64;
    eprintln!("{:40} {:9} {:4}  {per_mb:.2}", "all", all.0, all.1);
    assert!(all.0 > 3_000_000, "{} bytes say little", all.0);
    assert!(per_mb <= FALSE_MAX, "{per_mb} per MB");
}
