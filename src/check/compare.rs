//! One entry of a manifest against one report: a row for each expectation, and one for each thing that
//! nobody expected.

use std::collections::BTreeSet;

use serde::Serialize;

use super::manifest::Entry;
use crate::discover::{Finding, Function, Report};
use crate::image::VirtAddr;

/// How one expectation came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As expected.
    Ok,
    /// Found, but the file is another build: the address was not compared.
    NotCompared,
    /// The manifest says that it cannot be found yet.
    KnownGap,
    /// It was a known gap and is found: the manifest can be stricter now.
    GapClosed,
    /// The file is not there.
    NoFile,
    /// Expected and not found.
    Missing,
    /// Expected and refused.
    Refused,
    /// Not expected: a false alarm, or news for the manifest.
    Unexpected,
    /// Found somewhere else.
    Wrong,
    /// The file could not be examined.
    Failed,
}

impl Verdict {
    /// As in the JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::NotCompared => "not-compared",
            Self::KnownGap => "known-gap",
            Self::GapClosed => "gap-closed",
            Self::NoFile => "no-file",
            Self::Missing => "missing",
            Self::Refused => "refused",
            Self::Unexpected => "unexpected",
            Self::Wrong => "wrong",
            Self::Failed => "failed",
        }
    }

    /// Discovery does not do what it should.
    pub fn is_regression(self) -> bool {
        matches!(
            self,
            Self::Missing | Self::Refused | Self::Unexpected | Self::Wrong | Self::Failed
        )
    }
}

/// One line of the result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Of the sample.
    pub sample: String,
    /// Which library it is about; empty for the file as a whole.
    pub library: String,
    /// Which function; empty for the library as a whole.
    pub function: String,
    /// What the manifest says.
    pub expected: String,
    /// What discovery says.
    pub found: String,
    /// The difference.
    pub verdict: Verdict,
}

/// Compares. `same_file`: the file is the one that the addresses were taken from.
pub fn compare(entry: &Entry, report: &Report, same_file: bool) -> Vec<Row> {
    let mut case = Comparison {
        entry,
        report,
        same_file,
        rows: Vec::new(),
    };
    case.arch();
    for library in entry.inside() {
        case.library(library);
    }
    for library in entry.called() {
        case.import(library);
    }
    case.refusals();
    case.unexpected();
    if entry.expects_nothing() && case.rows.iter().all(|row| row.verdict == Verdict::Ok) {
        case.add("", "", entry.libraries.join(", "), "nothing", Verdict::Ok);
    }
    case.rows
}

/// The functions of a library that a manifest calls `name`: the name itself, or its last part
/// (`crypto/tls.(*Conn).Read` is `Read`, `aws-lc::seal_scatter` is `seal`).
pub(super) fn is_called(function: &str, name: &str) -> bool {
    if function == name {
        return true;
    }
    if let Some((_, last)) = function.rsplit_once("::") {
        let rest = last.strip_prefix(name);
        return rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('_'));
    }
    let method = function.rsplit_once(").").map(|(_, last)| last);
    method == Some(name)
}

struct Comparison<'c> {
    entry: &'c Entry,
    report: &'c Report,
    same_file: bool,
    rows: Vec<Row>,
}

impl<'c> Comparison<'c> {
    fn add(
        &mut self,
        library: &str,
        function: &str,
        expected: impl Into<String>,
        found: impl Into<String>,
        verdict: Verdict,
    ) {
        self.rows.push(Row {
            sample: self.entry.name.clone(),
            library: library.to_owned(),
            function: function.to_owned(),
            expected: expected.into(),
            found: found.into(),
            verdict,
        });
    }

    fn arch(&mut self) {
        let report = self.report;
        if let Some(arch) = &self.entry.arch
            && *arch != report.arch
        {
            self.add("", "", arch, &report.arch, Verdict::Wrong);
        }
    }

    fn library(&mut self, library: &str) {
        let is_gap = self.entry.known_gap.iter().any(|gap| gap == library);
        if self.findings(library).next().is_none() {
            let reason = self.reason(library);
            let verdict = match &reason {
                _ if is_gap => Verdict::KnownGap,
                Some(reason) if self.expects_refusal(library, reason) => return,
                Some(_) => Verdict::Refused,
                None => Verdict::Missing,
            };
            let found = reason.unwrap_or_else(|| "nothing".to_owned());
            return self.add(library, "", "inside", found, verdict);
        }
        let before = self.rows.len();
        self.functions(library);
        let verdict = if is_gap {
            Verdict::GapClosed
        } else {
            Verdict::Ok
        };
        let is_fine = |row: &Row| !row.verdict.is_regression();
        let is_fine = self.rows.iter().skip(before).all(is_fine);
        if is_gap && !is_fine {
            // Half a library is on its way, which the manifest has said.
            for row in self.rows.iter_mut().skip(before) {
                row.verdict = match row.verdict {
                    Verdict::Missing | Verdict::Refused => Verdict::KnownGap,
                    other => other,
                };
            }
        } else if is_fine {
            self.add(library, "", "inside", "inside", verdict);
        }
    }

    fn functions(&mut self, library: &str) {
        let entry = self.entry;
        let addressed = entry.vaddr.get(library).into_iter().flatten();
        for (name, addresses) in addressed {
            self.function(library, name, &addresses.set());
        }
        for name in entry.functions.get(library).into_iter().flatten() {
            self.function(library, name, &BTreeSet::new());
        }
        if entry.complete {
            self.more_functions(library);
        }
    }

    fn function(&mut self, library: &str, name: &str, expected: &BTreeSet<VirtAddr>) {
        let found: BTreeSet<_> = self
            .findings(library)
            .flat_map(|finding| &finding.functions)
            .filter(|function| is_called(&function.name, name))
            .map(|function| function.vaddr)
            .collect();
        let verdict = if found.is_empty() {
            Verdict::Missing
        } else if expected.is_empty() {
            Verdict::Ok
        } else if !self.same_file {
            Verdict::NotCompared
        } else if found == *expected {
            Verdict::Ok
        } else if found.is_subset(expected) {
            Verdict::Missing
        } else if found.is_superset(expected) {
            Verdict::Unexpected
        } else {
            Verdict::Wrong
        };
        let expected = match expected.is_empty() {
            true => "somewhere".to_owned(),
            false => list(expected),
        };
        self.add(library, name, expected, list(&found), verdict);
    }

    fn more_functions(&mut self, library: &str) {
        let more: Vec<&Function> = self
            .findings(library)
            .flat_map(|finding| &finding.functions)
            .filter(|function| !self.is_listed(library, &function.name))
            .collect();
        for function in more {
            let found = function.vaddr.to_string();
            self.add(library, &function.name, "", found, Verdict::Unexpected);
        }
    }

    fn is_listed(&self, library: &str, function: &str) -> bool {
        let addressed = self.entry.vaddr.get(library).into_iter().flatten();
        let named = self.entry.functions.get(library).into_iter().flatten();
        addressed
            .map(|(name, _)| name)
            .chain(named)
            .any(|name| is_called(function, name))
    }

    /// Only names tell who is called, and OpenSSL and BoringSSL share theirs.
    fn import(&mut self, library: &str) {
        let twins = ["openssl", "boringssl"];
        let is_it =
            |name: &str| name == library || (twins.contains(&name) && twins.contains(&library));
        let imports = &self.report.imports;
        let verdict = match imports.iter().any(|import| is_it(&import.library)) {
            true => Verdict::Ok,
            false => Verdict::Missing,
        };
        let called: Vec<_> = imports
            .iter()
            .map(|import| import.library.as_str())
            .collect();
        self.add(library, "", "called", called.join(", "), verdict);
    }

    fn refusals(&mut self) {
        for expected in &self.entry.refused {
            let report = self.report;
            let of_library = report.refused.iter();
            let mut of_library = of_library.filter(|refusal| refusal.library == expected.library);
            let fits = of_library
                .clone()
                .any(|refusal| refusal.reason.contains(&expected.reason));
            let found = of_library
                .next()
                .map_or("not refused", |refusal| refusal.reason.as_str());
            let verdict = if fits { Verdict::Ok } else { Verdict::Missing };
            let text = format!("refused: {}", expected.reason);
            self.add(&expected.library, "", text, found, verdict);
        }
    }

    /// What nobody expected is as wrong as what is missing: a probe would go there.
    fn unexpected(&mut self) {
        let (entry, report) = (self.entry, self.report);
        let is_inside = |library: &str| entry.inside().any(|inside| inside == library);
        for finding in &report.findings {
            if !is_inside(&finding.library) {
                let found = format!("{} functions", finding.functions.len());
                self.add(
                    &finding.library,
                    "",
                    "not inside",
                    found,
                    Verdict::Unexpected,
                );
            }
        }
        for refusal in &report.refused {
            let is_told = is_inside(&refusal.library) && !entry.complete;
            if !is_told && !self.expects_refusal(&refusal.library, &refusal.reason) {
                let found = format!("refused: {}", refusal.reason);
                self.add(&refusal.library, "", "", found, Verdict::Unexpected);
            }
        }
    }

    fn expects_refusal(&self, library: &str, reason: &str) -> bool {
        let mut expected = self.entry.refused.iter();
        expected.any(|expected| expected.library == library && reason.contains(&expected.reason))
    }

    fn reason(&self, library: &str) -> Option<String> {
        let mut refused = self.report.refused.iter();
        let refusal = refused.find(|refusal| refusal.library == library)?;
        Some(format!("refused: {}", refusal.reason))
    }

    fn findings<'l>(&self, library: &'l str) -> impl Iterator<Item = &'c Finding> + use<'c, 'l> {
        let findings = self.report.findings.iter();
        findings.filter(move |finding| finding.library == library)
    }
}

fn list(addresses: &BTreeSet<VirtAddr>) -> String {
    if addresses.is_empty() {
        return "nothing".to_owned();
    }
    let all: Vec<_> = addresses.iter().map(VirtAddr::to_string).collect();
    all.join(" ")
}

#[cfg(test)]
mod tests;
