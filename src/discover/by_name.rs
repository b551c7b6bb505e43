//! From names to findings: which copies of a library a file holds. Unique, or refused with the reason.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use super::Case;
use super::evidence::{Confidence, Method, Rung};
use super::finding::{Call, Finding, Function, Refusal, Sites};
use super::names::Named;
use super::version;
use crate::error::{Error, Result};
use crate::image::{Arch, VirtAddr};
use crate::symdb::{self, Library};

/// What one finder says about one file.
#[derive(Debug, Default)]
pub struct Found {
    /// Copies of the library.
    pub findings: Vec<Finding>,
    /// What was there and is not used.
    pub refused: Vec<Refusal>,
    /// What came of places that only this finder asks.
    pub rungs: Vec<Rung>,
}

/// Finds `library` by its function names. `Ok(None)`: not in this file.
///
/// # Errors
/// The database does not know the library.
pub fn find(case: &Case<'_>, library: &str) -> Result<Option<Found>> {
    let facts = case
        .db
        .library(library)
        .ok_or_else(|| Error::invalid(format!("symbol-db has no library {library}")))?;
    let mut found = Found::default();
    let version_text = OnceCell::new();
    let by_prefix = by_prefix(case, facts);
    for (prefix, names) in &by_prefix {
        Copy {
            case,
            facts,
            prefix,
            names,
            originals: by_prefix.get(""),
            version_text: &version_text,
        }
        .find(&mut found);
    }
    let is_mine = !found.findings.is_empty() || !found.refused.is_empty();
    Ok(is_mine.then_some(found))
}

/// The defined names under one prefix, by the library's own name.
type ByName<'n> = BTreeMap<&'n str, Vec<&'n Named>>;

fn by_prefix<'n>(case: &Case<'n>, facts: &Library) -> BTreeMap<&'n str, ByName<'n>> {
    let mut by_prefix: BTreeMap<_, ByName<'n>> = BTreeMap::new();
    for named in &case.names.defined {
        if named.prefix.is_empty() || facts.prefixes {
            let names = by_prefix.entry(named.prefix.as_str()).or_default();
            names.entry(named.name.as_str()).or_default().push(named);
        }
    }
    by_prefix
}

/// One library under one prefix.
struct Copy<'c, 'n> {
    case: &'c Case<'n>,
    facts: &'c Library,
    prefix: &'n str,
    names: &'c ByName<'n>,
    /// Names without a prefix, if there are any.
    originals: Option<&'c ByName<'n>>,
    /// A version that stands in the file, searched once for all copies.
    version_text: &'c OnceCell<Option<String>>,
}

/// The places of one function, each with all that names it.
type Places<'n> = BTreeMap<VirtAddr, Vec<&'n Named>>;

impl<'n> Copy<'_, 'n> {
    fn find(&self, found: &mut Found) {
        if !self.is_here() {
            return;
        }
        let places: BTreeMap<&str, Places<'n>> = self
            .facts
            .functions
            .iter()
            .map(|function| (function.name.as_str(), self.places(&function.name)))
            .collect();
        let copies = self.count_copies(&places);
        let mut findings: Vec<Vec<Function>> = vec![Vec::new(); copies];
        for facts in self.facts.functions.iter().filter(|facts| !facts.internal) {
            let Some(places) = places.get(facts.name.as_str()) else {
                continue;
            };
            self.assign(facts, places, &mut findings, &mut found.refused);
        }
        for functions in findings {
            if !functions.is_empty() {
                found.findings.push(Finding {
                    library: self.facts.library.clone(),
                    version: self.version(),
                    provider: None,
                    compiler: None,
                    functions,
                    guard: None,
                    go: None,
                });
            }
        }
    }

    fn version(&self) -> Option<String> {
        let hints = self.facts.version.as_ref()?;
        let by_text = self
            .version_text
            .get_or_init(|| version::by_text(self.case, hints));
        by_text
            .clone()
            .or_else(|| version::by_symbol_versions(self.case, hints, self.prefix))
    }

    /// Complete enough to be the library, and not a relative of it.
    fn is_here(&self) -> bool {
        let has = |name: &String| self.names.contains_key(name.as_str());
        let markers = &self.facts.markers;
        let is_this_one = (markers.has.is_empty() || markers.has.iter().any(has))
            && !markers.has_not.iter().any(has);
        if !is_this_one {
            return false;
        }
        if self.prefix.is_empty() {
            // DWARF or a partial table may know some functions only: any that moves data will do.
            let mut exported = self.facts.functions.iter().filter(|facts| !facts.internal);
            return self.facts.core.iter().any(has) || exported.any(|facts| has(&facts.name));
        }
        // A renamed copy stands for itself: complete, and without the original next to it, since a
        // wrapper named like that would have to call the original.
        let original = |name: &String| {
            self.originals
                .is_some_and(|names| names.contains_key(name.as_str()))
                || self.case.names.imported.contains(name)
        };
        self.facts.core.iter().all(has) && !self.facts.core.iter().any(original)
    }

    fn places(&self, name: &str) -> Places<'n> {
        let mut places = Places::new();
        for named in self.names.get(name).into_iter().flatten() {
            places.entry(named.addr).or_default().push(named);
        }
        places
    }

    /// Several copies linked into one file show as the same number of places for each core function.
    fn count_copies(&self, places: &BTreeMap<&str, Places<'n>>) -> usize {
        let mut counts = self
            .facts
            .core
            .iter()
            .filter_map(|name| places.get(name.as_str()))
            .map(BTreeMap::len)
            .filter(|count| *count > 0);
        match counts.next() {
            Some(first) if counts.all(|count| count == first) => first,
            _ => 1,
        }
    }

    /// Puts each place of a function into its copy: linkers keep an archive's order, so the n-th
    /// address belongs to the n-th copy. Several versions of a symbol belong to one copy.
    fn assign(
        &self,
        facts: &symdb::Function,
        places: &Places<'n>,
        findings: &mut [Vec<Function>],
        refused: &mut Vec<Refusal>,
    ) {
        let versioned = places
            .values()
            .all(|all| all.iter().any(|named| named.version.is_some()));
        let one_copy = findings.len() == 1 && (places.len() <= 1 || versioned);
        if !one_copy && places.len() != findings.len() {
            if !places.is_empty() {
                refused.push(self.refusal(
                    facts,
                    format!("ambiguous: {} candidates ({})", places.len(), list(places)),
                ));
            }
            return;
        }
        for (n, (addr, named)) in places.iter().enumerate() {
            let Some(functions) = findings.get_mut(if one_copy { 0 } else { n }) else {
                continue;
            };
            match self.function(facts, *addr, named) {
                Ok(function) => functions.push(function),
                Err(reason) => refused.push(self.refusal(facts, reason)),
            }
        }
    }

    fn refusal(&self, facts: &symdb::Function, reason: String) -> Refusal {
        Refusal {
            library: self.facts.library.clone(),
            reason: format!("{}{}: {reason}", self.prefix, facts.name),
        }
    }

    /// The function at `addr`, or why no probe may go there.
    fn function(
        &self,
        facts: &symdb::Function,
        addr: VirtAddr,
        named: &[&Named],
    ) -> Result<Function, String> {
        if named.iter().any(|named| named.indirect) {
            return Err(format!("{addr} is an ifunc resolver, not the function"));
        }
        let image = self.case.image;
        let file_offset = image.segments.code_offset(addr).ok_or_else(|| {
            let descriptor = if matches!(image.arch, Arch::Other(21)) {
                " (a function descriptor: PowerPC ELFv1 is not supported)"
            } else {
                ""
            };
            format!("{addr} is not in an executable segment{descriptor}")
        })?;
        let mut evidence: Vec<_> = named.iter().map(|named| named.evidence.clone()).collect();
        evidence.sort_by_key(|evidence| evidence.method);
        evidence.dedup();
        Ok(Function {
            name: format!("{}{}", self.prefix, facts.name),
            role: facts.role,
            vaddr: addr,
            file_offset,
            size: named.iter().map(|named| named.size).max().unwrap_or(0),
            confidence: self.confidence(&evidence.iter().map(|e| e.method).collect()),
            sites: Sites::classic(addr, file_offset, facts.result.is_some()),
            evidence,
            call: Call::of(facts),
            legal: None,
            covered_by: None,
            unprobed: None,
        })
    }

    /// A renamed copy is told by its shape alone, so it stays below the certainty of an exact name.
    fn confidence(&self, methods: &BTreeSet<Method>) -> Confidence {
        let table = methods.iter().any(|method| *method != Method::Dwarf);
        if self.prefix.is_empty() && (table || methods.len() > 1) {
            Confidence::High
        } else {
            Confidence::Medium
        }
    }
}

fn list(places: &Places<'_>) -> String {
    let shown: Vec<_> = places.keys().take(5).map(VirtAddr::to_string).collect();
    shown.join(", ")
}
