//! `agentsight doctor --bench`: what a probe costs the program that runs into it, by the instruction under
//! it, measured with functions of our own. Kernels differ in what they emulate: here the planner's table
//! becomes a fact. A price that could not be measured is not made up; without the decisive ones there is
//! no price list.

mod code;
mod mapped;
mod measure;
mod table;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::attach::{BenchKind, Scope, Session, Settings};
use crate::discover::finding::Form;
use crate::error::{Error, ErrorKind, OrInvalid, Result};
use crate::host::machine::Machine;
use crate::host::privileges;
use crate::image::Arch;
use crate::plan::{PriceList, Source};

use code::{Sample, YARDSTICK};
use measure::{CALLS, Outcome, ROUNDS, Subject};

pub use table::table;

/// Everything that was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Bench {
    /// `uname -rv`.
    pub kernel: String,
    /// The processor's model.
    pub processor: String,
    /// Rounds measured; each price is their median.
    pub rounds: usize,
    /// Calls in each round.
    pub calls: u64,
    /// A probe on each form of instruction.
    pub hits: Vec<Hit>,
    /// Entry and return together.
    pub returns: Vec<Returned>,
    /// What the planner is to reckon with, if enough could be measured.
    pub prices: Option<PriceList>,
}

/// A price in nanoseconds, or why there is none.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Price {
    /// Measured.
    Measured {
        /// Median of all rounds.
        ns: u32,
        /// The best round.
        least_ns: u32,
        /// The worst round.
        most_ns: u32,
    },
    /// It could not be, and why.
    Unmeasured(String),
}

impl Price {
    /// Nanoseconds.
    pub fn ns(&self) -> Option<u32> {
        match self {
            Self::Measured { ns, .. } => Some(*ns),
            Self::Unmeasured(_) => None,
        }
    }
}

impl From<&Outcome> for Price {
    fn from(outcome: &Outcome) -> Self {
        // A round may be better than none at all; "as" stops at both ends.
        match outcome {
            Ok(cost) => Self::Measured {
                ns: cost.median.round() as u32,
                least_ns: cost.least.round() as u32,
                most_ns: cost.most.round() as u32,
            },
            Err(why) => Self::Unmeasured(why.clone()),
        }
    }
}

/// How the kernel deals with an instruction under a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Treatment {
    /// Done by the kernel: one trap for each hit, or none.
    Emulated,
    /// Copied elsewhere and run alone: a second trap.
    SingleStepped,
}

/// A probe on one instruction.
#[derive(Clone, Debug, Serialize)]
pub struct Hit {
    /// Its form, as the planner tells them apart.
    pub form: Form,
    /// The instruction.
    pub instruction: &'static str,
    /// What a hit costs.
    pub price: Price,
    /// Judged by its price; `None` where that cannot be judged.
    pub treatment: Option<Treatment>,
}

/// A probe on the entry and one on the return, both set up at one instruction.
#[derive(Clone, Debug, Serialize)]
pub struct Returned {
    /// The instruction.
    pub instruction: &'static str,
    /// What is watched.
    pub what: &'static str,
    /// What a call costs, entry included.
    pub price: Price,
}

/// What is measured of returns.
struct ReturnSubject {
    form: Form,
    kind: BenchKind,
    what: &'static str,
}

const BOTH: &str = "entry and return";
const DECLINED: &str = "entry, the return is declined";

/// Measures everything; takes some seconds.
///
/// # Errors
/// Privileges are missing, the kernel cannot do it, or there are no functions for this processor.
pub fn bench() -> Result<Bench> {
    privileges::require_for_attach()?;
    let arch = Arch::HOST.or_invalid(|| "no machine code for this processor")?;
    let machine = Machine::here().or_invalid(|| "/proc does not tell kernel and processor")?;
    let session = Session::open(&Settings {
        scope: Scope::NOBODY,
        ring_bytes: 4096,
        max_bytes: 0,
        tells_acts: false,
        watches_all: false,
    })?;
    let samples = code::samples(arch);
    let first = code::first_instruction(arch);
    let returns = return_subjects(first);
    let mut subjects: Vec<_> = samples.iter().map(subject).collect();
    for of in &returns {
        let sample = samples.iter().find(|sample| sample.form == of.form);
        let sample = *sample.or_invalid(|| "there is no function for a return probe")?;
        subjects.push(Subject {
            sample,
            kind: of.kind,
        });
    }
    let outcomes = measure::measure(&session, &subjects)?;
    let mut prices = outcomes.iter().map(Price::from);
    let hits = judged(samples, &mut prices);
    let returns: Vec<_> = std::iter::zip(&returns, prices)
        .zip(subjects.iter().skip(samples.len()))
        .map(|((of, price), subject)| Returned {
            instruction: subject.sample.text,
            what: of.what,
            price,
        })
        .collect();
    Ok(Bench {
        prices: price_list(&hits, &returns, samples, first, &machine),
        kernel: machine.kernel,
        processor: machine.processor,
        rounds: ROUNDS,
        calls: CALLS,
        hits,
        returns,
    })
}

fn subject(sample: &Sample) -> Subject {
    Subject {
        sample: *sample,
        kind: BenchKind::Hit,
    }
}

/// The first one decides [`PriceList::return_probe`].
fn return_subjects(first: Form) -> [ReturnSubject; 3] {
    let subject = |form, kind, what| ReturnSubject { form, kind, what };
    [
        subject(first, BenchKind::Both, BOTH),
        subject(first, BenchKind::Declined, DECLINED),
        subject(YARDSTICK, BenchKind::Both, BOTH),
    ]
}

fn judged(samples: &[Sample], prices: &mut impl Iterator<Item = Price>) -> Vec<Hit> {
    let hit = |(sample, price): (&Sample, Price)| Hit {
        form: sample.form,
        instruction: sample.text,
        price,
        treatment: None,
    };
    let mut hits: Vec<_> = std::iter::zip(samples, prices).map(hit).collect();
    if let Some(border) = border(&hits) {
        for hit in &mut hits {
            hit.treatment = hit.price.ns().map(|ns| {
                if ns < border {
                    Treatment::Emulated
                } else {
                    Treatment::SingleStepped
                }
            });
        }
    }
    hits
}

/// Halfway between a `mov`, which takes two traps, and a `nop`, which every kernel emulates. `None` if the
/// two can hardly be told apart.
fn border(hits: &[Hit]) -> Option<u32> {
    let of = |form| hits.iter().find(|hit| hit.form == form)?.price.ns();
    let (dear, cheap) = (of(YARDSTICK)?, of(Form::Nop)?);
    (cheap < dear / 5 * 4).then_some(cheap.midpoint(dear))
}

/// The dearest instruction of each form decides: the planner tells forms apart, no more. A form of which
/// one instruction could not be measured is left out, and so counts as [`Form::Other`].
fn price_list(
    hits: &[Hit],
    returns: &[Returned],
    samples: &[Sample],
    first: Form,
    machine: &Machine,
) -> Option<PriceList> {
    let mut forms: BTreeMap<Form, Option<u32>> = BTreeMap::new();
    for hit in hits {
        let price = hit.price.ns();
        let known = forms.entry(hit.form).or_insert(price);
        *known = known.zip(price).map(|(known, price)| known.max(price));
    }
    let forms: BTreeMap<_, _> = forms
        .into_iter()
        .filter_map(|(form, price)| Some((form, price?)))
        .collect();
    forms.get(&Form::Other)?;
    // Entry and return are measured at the first such instruction.
    let index = samples.iter().position(|sample| sample.form == first)?;
    let entry = hits.get(index)?.price.ns()?;
    let both = returns.first()?.price.ns()?;
    Some(PriceList {
        source: Source::Measured {
            kernel: machine.kernel.clone(),
            processor: machine.processor.clone(),
        },
        forms,
        return_probe: both.saturating_sub(entry).max(1),
    })
}

impl Bench {
    /// The list, for a caller that cannot do without.
    ///
    /// # Errors
    /// A price that everything hangs on could not be measured.
    pub fn require_prices(&self) -> Result<&PriceList> {
        self.prices.as_ref().ok_or_else(|| {
            let why =
                "the prices of an ordinary instruction and of a return probe were not measured";
            Error::new(ErrorKind::UnsupportedKernel, why)
        })
    }
}
