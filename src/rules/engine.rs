//! Runs the rules: what is known is kept up to date, and each event is shown to the rules that ask for its type.

use std::collections::{HashMap, HashSet, VecDeque};

use serde_json::{Map, Value, json};

use super::Rules;
use super::condition::Expr;
use super::facts::{Facts, Known, object};
use super::field::Field;
use super::finding::{Detail, Finding};
use super::join::{Key, Shared, hash};
use super::lineage::Processes;
use super::message::cut;
use super::places::Places;
use super::rule::{Rule, Severity};
use super::store::{Begun, Past, Store};
use super::talk::{Talk, ToolCall, ToolResult};
use crate::deeds::deed::{Deed, What};
use crate::dialog::{self, CallReport, Said};
use crate::event::process::ProcessInfo;

/// What was said is known after this time, in nanoseconds: a call may be told later than what it brought about.
const SETTLES_NS: u64 = 1_000_000_000;
/// Events that wait for that.
const WAITING_MAX: usize = 4096;
/// Findings of one rule that are told; more are counted.
const TOLD_MAX: usize = 1000;
/// Bytes of a message.
const MESSAGE_MAX: usize = 1000;

/// What was found, and what could not be remembered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Findings that were told.
    pub findings: u64,
    /// The worst of them.
    pub worst: Option<Severity>,
    /// Findings of rules that had told a thousand.
    pub untold: u64,
    /// Things that were forgotten for lack of room: something may not have been found.
    pub forgotten: u64,
}

/// What is remembered for a rule.
#[derive(Debug, Default)]
struct State {
    store: Store,
    past: Past,
    told: HashSet<Key>,
}

/// Which part of a rule asks for a type.
#[derive(Clone, Copy, Debug)]
enum Part {
    /// A step.
    Step(usize),
    /// What must not have been before.
    Unless,
}

/// Runs rules.
pub struct Engine {
    rules: Vec<(Rule, State)>,
    by_type: HashMap<String, Vec<(usize, Part)>>,
    processes: Processes,
    places: Places,
    talk: Talk,
    observer: Option<u32>,
    /// Events that wait until it is known what was said, with the rule.
    waiting: VecDeque<(usize, Facts)>,
    counts: Counts,
}

/// All of `$engine` but its rules, as conditions see it.
macro_rules! known {
    ($engine:expr, $is_settled:expr) => {
        Known {
            processes: &$engine.processes,
            places: &$engine.places,
            talk: &$engine.talk,
            observer: $engine.observer,
            is_settled: $is_settled,
        }
    };
}

impl Engine {
    /// With these rules.
    pub fn new(rules: Rules) -> Self {
        let rules: Vec<_> = rules
            .rules
            .into_iter()
            .map(|rule| (rule, State::default()))
            .collect();
        let mut by_type: HashMap<String, Vec<(usize, Part)>> = HashMap::new();
        for (index, (rule, _)) in rules.iter().enumerate() {
            // The last step first: an event is not two steps.
            for (step, condition) in rule.steps.iter().enumerate().rev() {
                for kind in &condition.types {
                    by_type
                        .entry(kind.clone())
                        .or_default()
                        .push((index, Part::Step(step)));
                }
            }
            for kind in rule
                .unless
                .iter()
                .flat_map(|(condition, _)| &condition.types)
            {
                by_type
                    .entry(kind.clone())
                    .or_default()
                    .push((index, Part::Unless));
            }
        }
        Self {
            rules,
            by_type,
            processes: Processes::default(),
            places: Places::default(),
            talk: Talk::default(),
            observer: None,
            waiting: VecDeque::new(),
            counts: Counts::default(),
        }
    }

    /// The observer's own pid.
    pub fn set_observer(&mut self, pid: u32) {
        self.observer = Some(pid);
    }

    /// The kernel side's word of a process that is followed from now on.
    pub fn learn(&mut self, info: &ProcessInfo) {
        self.processes.learn(info);
    }

    /// What a process did.
    pub fn deed(&mut self, deed: &Deed, out: &mut Vec<Finding>) {
        self.tick(deed.ts_ns, out);
        match &deed.what {
            What::Exec(exec) => self.processes.exec(deed.process, exec),
            What::Fork(fork) => self.processes.fork(deed.process, fork, deed.ts_ns),
            _ => self.places.learn(deed),
        }
        if self.by_type.contains_key(deed.what.kind()) {
            let facts = Facts::of_deed(deed, &known!(self, false));
            self.judge(&facts, out);
        }
        match &deed.what {
            What::Exit(_) => self.processes.end(deed.process),
            What::Identity(identity) => self.processes.identify(deed.process, identity),
            _ => {}
        }
    }

    /// What was said.
    pub fn said(&mut self, said: &Said, out: &mut Vec<Finding>) {
        self.tick(said.origin.ts_ns, out);
        match &said.what {
            dialog::What::Asked(asked) => {
                for result in self.talk.asked(said) {
                    self.judge_said(asked.name.to_string(), "tool.result", said, out, || {
                        of_result(result)
                    });
                }
            }
            dialog::What::Call(report) => {
                for (call, arguments) in self.talk.called(said, report) {
                    self.judge_said(report.name.to_string(), "tool.call", said, out, || {
                        of_call(&call, &arguments)
                    });
                }
                let report: &CallReport = report;
                self.judge_said(report.name.to_string(), "llm.call", said, out, || {
                    object(report)
                });
            }
            _ => {}
        }
    }

    /// It is this time now: what had to wait for words is judged.
    pub fn tick(&mut self, now_ns: u64, out: &mut Vec<Finding>) {
        while let Some((_, facts)) = self.waiting.front()
            && (facts.ts_ns.saturating_add(SETTLES_NS) <= now_ns
                || self.waiting.len() > WAITING_MAX)
        {
            self.judge_oldest(out);
        }
    }

    /// Nothing comes any more.
    pub fn finish(&mut self, out: &mut Vec<Finding>) {
        while !self.waiting.is_empty() {
            self.judge_oldest(out);
        }
    }

    /// What was found, and what could not be remembered.
    pub fn counts(&self) -> Counts {
        let of_rules = self
            .rules
            .iter()
            .map(|(_, state)| state.store.dropped + state.past.dropped);
        let dropped = self.processes.dropped + self.places.dropped + self.talk.dropped;
        Counts {
            forgotten: of_rules.sum::<u64>() + dropped,
            ..self.counts
        }
    }

    fn judge_said(
        &mut self,
        event: String,
        kind: &'static str,
        said: &Said,
        out: &mut Vec<Finding>,
        line: impl FnOnce() -> Map<String, Value>,
    ) {
        if self.by_type.contains_key(kind) {
            let facts = Facts::said(event, kind, &said.origin, line());
            self.judge(&facts, out);
        }
    }

    fn judge(&mut self, facts: &Facts, out: &mut Vec<Finding>) {
        let Some(parts) = self.by_type.get(facts.kind) else {
            return;
        };
        let known = known!(self, false);
        for (index, part) in parts {
            let Some((rule, state)) = self.rules.get_mut(*index) else {
                continue;
            };
            match part {
                Part::Unless => state.pass(rule, facts, &known),
                Part::Step(_) if rule.is_late => {
                    if rule.fits(0, facts, &known) != Some(false) {
                        self.waiting.push_back((*index, facts.clone()));
                    }
                }
                Part::Step(step) => {
                    let found = state.step(rule, *step, facts, &known);
                    out.extend(found.and_then(|found| state.tell(found, &mut self.counts)));
                }
            }
        }
    }

    fn judge_oldest(&mut self, out: &mut Vec<Finding>) {
        let Some((index, facts)) = self.waiting.pop_front() else {
            return;
        };
        let known = known!(self, true);
        if let Some((rule, state)) = self.rules.get_mut(index) {
            let found = state.step(rule, 0, &facts, &known);
            out.extend(found.and_then(|found| state.tell(found, &mut self.counts)));
        }
    }
}

impl Rule {
    fn fits(&self, step: usize, facts: &Facts, known: &Known<'_>) -> Option<bool> {
        let condition = self.steps.get(step)?;
        self.is_true(&condition.expr, facts, known)
    }

    fn is_true(&self, expr: &Expr, facts: &Facts, known: &Known<'_>) -> Option<bool> {
        expr.eval(&mut |index| self.selections.get(index)?.fits(facts, known))
    }
}

/// A finding, and by what it is told once.
struct Found {
    finding: Finding,
    once: Key,
}

impl State {
    /// Remembers what must not have been before.
    fn pass(&mut self, rule: &Rule, facts: &Facts, known: &Known<'_>) {
        if let Some((condition, shared)) = &rule.unless
            && rule.is_true(&condition.expr, facts, known) == Some(true)
        {
            for key in shared.keys(facts, known) {
                self.past.insert(key, facts.ts_ns);
            }
        }
    }

    /// Takes this step with an event, if it fits. What was found, if that was the last.
    fn step(
        &mut self,
        rule: &Rule,
        step: usize,
        facts: &Facts,
        known: &Known<'_>,
    ) -> Option<Found> {
        if step > 0 && self.store.is_empty() || rule.fits(step, facts, known) != Some(true) {
            return None;
        }
        let mut begun = match step {
            0 => Begun {
                steps: 0,
                first_ns: facts.ts_ns,
                evidence: Vec::new(),
                keys: Vec::new(),
                told: Vec::new(),
            },
            step => self.earlier(rule, step, facts, known)?,
        };
        begun.steps += 1;
        begun.evidence.push(facts.event.clone());
        let told = rule
            .message
            .as_ref()
            .map(|message| message.told(step, facts, known));
        begun.told.push(told.unwrap_or_default());
        if begun.steps == rule.steps.len() {
            return self.found(rule, begun, facts, known);
        }
        begun.keys = rule
            .same
            .iter()
            .map(|shared| shared.keys(facts, known))
            .collect();
        let until_ns = begun.first_ns.saturating_add(rule.within_ns);
        self.store.insert(begun, until_ns);
        None
    }

    /// What came before this step, and shares all that it has to.
    fn earlier(&self, rule: &Rule, step: usize, facts: &Facts, known: &Known<'_>) -> Option<Begun> {
        let sought: Vec<_> = rule
            .same
            .iter()
            .map(|shared| shared.sought(facts, known))
            .collect();
        let shares = |begun: &Begun| {
            let mut pairs = begun.keys.iter().zip(&sought);
            pairs.all(|(keys, sought)| keys.iter().any(|key| sought.contains(key)))
        };
        let in_time = |begun: &Begun| facts.ts_ns.saturating_sub(begun.first_ns) <= rule.within_ns;
        let mut begun = self.store.find(sought.first()?);
        let begun = begun.find(|begun| begun.steps == step && in_time(begun) && shares(begun))?;
        Some(Begun {
            steps: begun.steps,
            first_ns: begun.first_ns,
            evidence: begun.evidence.clone(),
            keys: Vec::new(),
            told: begun.told.clone(),
        })
    }

    fn found(&self, rule: &Rule, begun: Begun, facts: &Facts, known: &Known<'_>) -> Option<Found> {
        if let Some((_, shared)) = &rule.unless
            && self.was_before(shared, begun.first_ns, facts, known)
        {
            return None;
        }
        let subject = facts.subject();
        let once = match rule.once.as_slice() {
            [] => {
                let process = known.processes.process(facts.process);
                hash((&subject, process.map(|process| &process.program.exe)))
            }
            fields => hash(
                fields
                    .iter()
                    .map(|field| texts(field, facts, known))
                    .collect::<Vec<_>>(),
            ),
        };
        let message = match &rule.message {
            Some(message) => message.fill(&begun.told),
            None => format!("{}: {subject}", facts.kind),
        };
        Some(Found {
            once,
            finding: Finding {
                ts_ns: facts.ts_ns,
                process: facts.process,
                comm: facts.comm,
                detail: Detail {
                    rule: rule.id.clone(),
                    title: rule.title.clone(),
                    severity: rule.severity,
                    evidence: begun.evidence,
                    message: cut(message, MESSAGE_MAX),
                },
            },
        })
    }

    fn was_before(
        &self,
        shared: &Shared,
        before_ns: u64,
        facts: &Facts,
        known: &Known<'_>,
    ) -> bool {
        let keys = shared.sought(facts, known);
        keys.into_iter().any(|key| self.past.has(key, before_ns))
    }

    /// The same of the same program is told once.
    fn tell(&mut self, found: Found, counts: &mut Counts) -> Option<Finding> {
        if self.told.contains(&found.once) {
            return None;
        }
        let severity = found.finding.detail.severity;
        counts.worst = counts.worst.max(Some(severity));
        if self.told.len() >= TOLD_MAX {
            counts.untold += 1;
            return None;
        }
        self.told.insert(found.once);
        counts.findings += 1;
        Some(found.finding)
    }
}

fn texts(field: &Field, facts: &Facts, known: &Known<'_>) -> Vec<String> {
    let mut texts = Vec::new();
    field
        .seen(facts, known)
        .each_text(&mut |text| texts.push(text.to_owned()));
    texts
}

fn of_call(call: &ToolCall, arguments: &Value) -> Map<String, Value> {
    let arguments = match arguments {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    };
    fields(json!({ "tool": call.name, "id": call.id, "arguments": arguments }))
}

fn of_result(result: ToolResult) -> Map<String, Value> {
    let ToolResult {
        call,
        text,
        is_error,
    } = result;
    fields(json!({
        "tool": call.name, "id": call.id, "asked_in": call.asked_in, "text": text, "is_error": is_error,
    }))
}

fn fields(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        _ => Map::new(),
    }
}
