//! How far each method of evidence can be trusted: of the addresses that it gave, how many are right,
//! and how many of all known addresses did it give? Only files with known addresses count.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::compare::is_called;
use super::manifest::Entry;
use crate::discover::{Finding, Function, Method, Report};
use crate::image::VirtAddr;

/// What one method gave.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MethodTally {
    /// Functions that it took part in finding.
    pub found: usize,
    /// At an address that the manifest has for them.
    pub right: usize,
    /// At another address, or in a file that should have none.
    pub wrong: usize,
    /// The manifest has no address for them.
    pub unknown: usize,
    /// Different addresses of the manifest that it gave.
    pub recalled: usize,
}

/// All methods together.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Of methods that found something, strongest first.
    pub methods: BTreeMap<Method, MethodTally>,
    /// Addresses in the manifest that could be compared.
    pub known: usize,
}

impl MethodTally {
    /// Right ones of all that could be compared; `None` if there were none.
    pub fn precision(&self) -> Option<f64> {
        ratio(self.right, self.right + self.wrong)
    }

    /// Given ones of all `known` ones; `None` if none are known.
    pub fn recall(&self, known: usize) -> Option<f64> {
        ratio(self.recalled, known)
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts of functions")]
fn ratio(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

impl Tally {
    /// Adds one file, whose content is the one that the manifest is about.
    pub fn add(&mut self, entry: &Entry, report: &Report) {
        for functions in entry.vaddr.values() {
            let counts = functions.values().map(|addresses| addresses.set().len());
            self.known += counts.sum::<usize>();
        }
        let mut recalled: BTreeMap<Method, BTreeSet<(&str, VirtAddr)>> = BTreeMap::new();
        for finding in &report.findings {
            for function in &finding.functions {
                self.function(entry, finding, function, &mut recalled);
            }
        }
        for (method, places) in recalled {
            self.methods.entry(method).or_default().recalled += places.len();
        }
    }

    fn function<'r>(
        &mut self,
        entry: &Entry,
        finding: &'r Finding,
        function: &Function,
        recalled: &mut BTreeMap<Method, BTreeSet<(&'r str, VirtAddr)>>,
    ) {
        let expected = expected(entry, &finding.library, &function.name);
        let is_inside = entry.inside().any(|library| library == finding.library);
        let methods: BTreeSet<_> = function.evidence.iter().map(|e| e.method).collect();
        for method in methods {
            let tally = self.methods.entry(method).or_default();
            tally.found += 1;
            match &expected {
                Some(expected) if expected.contains(&function.vaddr) => {
                    tally.right += 1;
                    let places = recalled.entry(method).or_default();
                    places.insert((finding.library.as_str(), function.vaddr));
                }
                None if is_inside => tally.unknown += 1,
                _ => tally.wrong += 1,
            }
        }
    }
}

/// Addresses that the manifest has for a function; `None` if it does not name it.
fn expected(entry: &Entry, library: &str, function: &str) -> Option<BTreeSet<VirtAddr>> {
    let listed = entry.vaddr.get(library)?.iter();
    let mut all = BTreeSet::new();
    let mut is_listed = false;
    for (_, addresses) in listed.filter(|(name, _)| is_called(function, name)) {
        is_listed = true;
        all.extend(addresses.set());
    }
    is_listed.then_some(all)
}
