//! From names to findings: which copies of a library a file holds. Unique, or refused with the reason.

use std::collections::{BTreeMap, BTreeSet};

use super::Case;
use super::evidence::{Confidence, Method};
use super::finding::{Call, Finding, Function, Refusal, Site, Sites};
use super::names::Named;
use super::version;
use crate::error::{Error, Result};
use crate::image::{Arch, FileOff, VirtAddr};
use crate::symdb::{self, Library};

/// What one finder says about one file.
#[derive(Debug, Default)]
pub struct Found {
    /// Copies of the library.
    pub findings: Vec<Finding>,
    /// What was there and is not used.
    pub refused: Vec<Refusal>,
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
    for prefix in prefixes(case, facts) {
        Copy {
            case,
            facts,
            prefix,
        }
        .find(&mut found);
    }
    let is_mine = !found.findings.is_empty() || !found.refused.is_empty();
    Ok(is_mine.then_some(found))
}

fn prefixes<'n>(case: &Case<'n>, facts: &Library) -> BTreeSet<&'n str> {
    let defined = case.names.defined.iter();
    defined
        .map(|named| named.prefix.as_str())
        .filter(|prefix| prefix.is_empty() || facts.prefixes)
        .collect()
}

/// One library under one prefix.
struct Copy<'c, 'n> {
    case: &'c Case<'n>,
    facts: &'c Library,
    prefix: &'n str,
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
        for facts in &self.facts.functions {
            let Some(places) = places.get(facts.name.as_str()) else {
                continue;
            };
            self.assign(facts, places, &mut findings, &mut found.refused);
        }
        for functions in findings {
            if !functions.is_empty() {
                found.findings.push(Finding {
                    library: self.facts.library.clone(),
                    version: version::tell(self.case, self.facts, self.prefix),
                    functions,
                });
            }
        }
    }

    /// Complete enough to be the library, and not a relative of it.
    fn is_here(&self) -> bool {
        let has = |name: &String| self.named(name).next().is_some();
        let markers = &self.facts.markers;
        let is_this_one = (markers.has.is_empty() || markers.has.iter().any(has))
            && !markers.has_not.iter().any(has);
        if !is_this_one {
            return false;
        }
        if self.prefix.is_empty() {
            // DWARF or a partial table may know some functions only: any that moves data will do.
            let functions = &self.facts.functions;
            return self.facts.core.iter().any(has)
                || functions.iter().any(|function| has(&function.name));
        }
        // A renamed copy stands for itself: complete, and without the original next to it, since a
        // wrapper named like that would have to call the original.
        let original = |name: &String| {
            let mut defined = self.case.names.defined.iter();
            defined.any(|named| named.prefix.is_empty() && named.name == *name)
                || self.case.names.imported.contains(name)
        };
        self.facts.core.iter().all(has) && !self.facts.core.iter().any(original)
    }

    fn named<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'n Named> + 's {
        let defined = self.case.names.defined.iter();
        defined.filter(move |named| named.name == name && named.prefix == self.prefix)
    }

    fn places(&self, name: &str) -> Places<'n> {
        let mut places = Places::new();
        for named in self.named(name) {
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
            sites: sites(facts, file_offset),
            evidence,
            call: Call {
                result: facts.result,
                buf: facts.buf,
                len: facts.len,
                out: facts.out,
                early: facts.early,
                resumes: facts.resumes,
                peeks: facts.peeks,
            },
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

fn sites(facts: &symdb::Function, file_offset: FileOff) -> Sites {
    let site = |kind| Site { kind, file_offset };
    Sites {
        entry: site("uprobe"),
        exits: facts
            .result
            .map(|_| site("uretprobe"))
            .into_iter()
            .collect(),
    }
}

fn list(places: &Places<'_>) -> String {
    let shown: Vec<_> = places.keys().take(5).map(VirtAddr::to_string).collect();
    shown.join(", ")
}
