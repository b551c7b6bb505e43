//! Chooses among the legal places of a function those that cost the observed program least.
//!
//! Where the result matters, a return probe set up at an entry site serves both ends of a call with one
//! hit and the return; the other way is a probe on the entry and one on the way out, where both may be
//! cheap. What is legal was decided before, and is not asked again here.

use std::collections::BTreeSet;

use super::{Cookie, DEPTH_MAX, PriceList};
use crate::discover::finding::{Abi, Candidate, Form, Legal, Site, SiteKind, Sites};
use crate::discover::{Function, Report};

/// Prices are measured: ways that differ by less than one part in this many are taken for equally dear,
/// and the simplest is chosen.
const MARGIN: u32 = 10;

/// Which places a user wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProbeSites {
    /// The cheapest ones that are proven.
    #[default]
    Planned,
    /// The first instruction and the return.
    Classic,
}

/// What the choice rests on.
#[derive(Clone, Debug)]
pub struct Choice {
    /// The user's wish.
    pub sites: ProbeSites,
    /// Prices on this machine.
    pub prices: PriceList,
    /// Return probes may be used: not with programs behind a seccomp filter on kernels where those die of them.
    pub return_probes: bool,
}

/// Chooses for all functions of a report. Where a function that sees the calls of others can have no probe, those
/// others get their own.
pub fn choose_all(report: &mut Report, choice: &Choice) {
    for finding in &mut report.findings {
        let library = &finding.library;
        let is_covered = |function: &&mut Function| function.covered_by.is_some();
        let (covered, rest): (Vec<_>, Vec<_>) = finding.functions.iter_mut().partition(is_covered);
        // Several functions may share a name.
        let mut probed = BTreeSet::new();
        for function in rest {
            choose(library, function, choice);
            if function.unprobed.is_none() {
                probed.insert(function.name.clone());
            }
        }
        for function in covered {
            function.covered_by.take_if(|other| !probed.contains(other));
            choose(library, function, choice);
        }
    }
}

/// Puts the chosen sites into [`Function::sites`]; what was legal is taken out.
pub fn choose(library: &str, function: &mut Function, choice: &Choice) {
    let legal = function.legal.take();
    let cookie = Cookie::new(library, function.role, function.call);
    let (Some(legal), Ok(cookie)) = (legal, cookie) else {
        return;
    };
    if function.covered_by.is_some() || function.unprobed.is_some() {
        return;
    }
    let is_go = matches!(function.call.abi, Abi::GoRegisters | Abi::GoStack);
    let desk = Desk {
        choice,
        legal: &legal,
        needs_return: cookie.needs_return(),
        return_probes: choice.return_probes && !is_go,
    };
    match desk.decide() {
        Some(best) => function.sites = best.sites(&desk),
        None => function.unprobed = Some(desk.no_way()),
    }
}

/// How the end of a call is seen.
#[derive(Clone, Copy, Debug)]
enum End<'l> {
    /// It is of no interest.
    None,
    /// By a return probe, set up at the entry.
    Return,
    /// By probes on these.
    Sites(&'l [Candidate]),
}

/// One way to watch a function.
#[derive(Clone, Copy, Debug)]
struct Way<'l> {
    entry: &'l Candidate,
    end: End<'l>,
    /// Of one call, nanoseconds.
    price: u32,
    /// Nothing but the first instruction, and the return or all returns.
    is_classic: bool,
}

/// All that is looked at for one function.
struct Desk<'l> {
    choice: &'l Choice,
    legal: &'l Legal,
    needs_return: bool,
    return_probes: bool,
}

impl<'l> Desk<'l> {
    fn decide(&self) -> Option<Way<'l>> {
        let ways = self.ways();
        let classic = ways.iter().filter(|way| way.is_classic);
        let cheapest = ways.iter().map(|way| way.price).min()?;
        let is_cheap = |way: &&Way<'_>| way.price <= cheapest.saturating_add(cheapest / MARGIN);
        let simplest = |way: &&Way<'_>| (way.places(), !way.is_classic, way.price);
        match self.choice.sites {
            ProbeSites::Classic => classic.min_by_key(simplest).copied(),
            ProbeSites::Planned => ways.iter().filter(is_cheap).min_by_key(simplest).copied(),
        }
    }

    fn ways(&self) -> Vec<Way<'l>> {
        let fits = |candidate: &&Candidate| candidate.depth <= DEPTH_MAX;
        let entries = || self.legal.entries.iter().filter(fits);
        let first = self.legal.entries.first().map(|first| first.vaddr);
        let prices = &self.choice.prices;
        let mut ways = Vec::new();
        for entry in entries() {
            let price = prices.of(entry.form);
            let is_first = Some(entry.vaddr) == first;
            let way = |end, added: u32, is_classic| Way {
                entry,
                end,
                price: price.saturating_add(added),
                is_classic,
            };
            if !self.needs_return {
                ways.push(way(End::None, 0, is_first));
                continue;
            }
            if self.return_probes && entry.depth == 0 {
                ways.push(way(End::Return, prices.return_probe, is_first));
            }
            for set in &self.legal.exits {
                if set.is_empty() || !set.iter().all(|exit| fits(&exit)) {
                    continue;
                }
                let dearest = set.iter().map(|exit| prices.of(exit.form)).max();
                // Without return probes, all return instructions are the plain way.
                let are_returns = set.iter().all(|exit| exit.form == Form::Return);
                let is_plain = is_first && are_returns && !self.return_probes;
                ways.push(way(End::Sites(set), dearest.unwrap_or(0), is_plain));
            }
        }
        ways
    }

    /// Why there is no way at all.
    fn no_way(&self) -> String {
        let why = self.legal.notes.join("; ");
        let why = if why.is_empty() {
            why
        } else {
            format!(" ({why})")
        };
        match self.choice.sites {
            ProbeSites::Planned if !self.choice.return_probes => format!(
                "only a return probe could see its result, and that would end a program behind a \
                 seccomp filter{why}"
            ),
            _ => format!("its returns are not known{why}"),
        }
    }

    /// What made this way the best one.
    fn reason(&self, best: &Way<'_>) -> String {
        if self.choice.sites == ProbeSites::Classic {
            return "classic sites were asked for".to_owned();
        }
        let ways = self.ways();
        let others = || ways.iter().filter(|way| way.is_classic);
        let classic = others().min_by_key(|way| way.price);
        match classic {
            _ if best.is_classic => {
                let notes = self.legal.notes.first();
                let note = notes.map(|note| format!("; {note}"));
                format!("no legal place costs less{}", note.unwrap_or_default())
            }
            Some(classic) => format!(
                "{} µs cheaper than the first instruction{}, which is {}",
                micros(classic.price.saturating_sub(best.price)),
                match classic.end {
                    End::None => "",
                    End::Return => " with a return probe",
                    End::Sites(_) => " with all returns",
                },
                self.name(classic.entry.form),
            ),
            None => "the cheapest way without a return probe".to_owned(),
        }
    }
}

impl Desk<'_> {
    /// The instruction, and whether the kernel single-steps it, by what it costs.
    fn name(&self, form: Form) -> String {
        let prices = &self.choice.prices;
        let steps = prices.of(form) >= prices.of(Form::Other) / 2;
        let how = if steps { ", single-stepped" } else { "" };
        format!("{}{how}", name(form))
    }
}

impl Way<'_> {
    fn places(&self) -> usize {
        let sites: BTreeSet<_> = match self.end {
            End::Sites(set) => set.iter().map(|exit| exit.vaddr).collect(),
            End::None | End::Return => BTreeSet::new(),
        };
        1 + sites.len()
    }

    fn sites(&self, desk: &Desk<'_>) -> Sites {
        let prices = &desk.choice.prices;
        let reason = [desk.reason(self)];
        let site = |candidate: &Candidate, kind, price| Site {
            depth: candidate.depth,
            form: Some(candidate.form),
            price_ns: Some(price),
            ..Site::new(kind, candidate.vaddr, candidate.file_offset)
        };
        let plain = |candidate: &Candidate| Site {
            proof: candidate.proof.clone(),
            ..site(candidate, SiteKind::Uprobe, prices.of(candidate.form))
        };
        let mut entry = plain(self.entry);
        entry.proof = reason.into_iter().chain(entry.proof).collect();
        let exits = match self.end {
            End::None => Vec::new(),
            End::Return => vec![site(self.entry, SiteKind::Uretprobe, prices.return_probe)],
            End::Sites(set) => set.iter().map(plain).collect(),
        };
        Sites { entry, exits }
    }
}

/// `6.1`
fn micros(ns: u32) -> String {
    format!("{}.{}", ns / 1000, ns % 1000 / 100)
}

/// In words.
fn name(form: Form) -> &'static str {
    match form {
        Form::Address => "adr or adrp",
        Form::Branch => "a branch",
        Form::Call => "a call",
        Form::Jump => "a jump",
        Form::Landing => "a landing pad",
        Form::Lea => "lea",
        Form::Literal => "a load near it",
        Form::Move => "a mov",
        Form::Nop | Form::Nop5 => "a nop",
        Form::Other => "another instruction",
        Form::Pop => "a pop",
        Form::Push => "a push",
        Form::Return => "a return",
        Form::StackRoom => "sub from the stack pointer",
    }
}

#[cfg(test)]
mod tests;
