//! OpenSSL 1.0 to 4.0 and LibreSSL: by function names, and where those are stripped by what functions say of
//! themselves when something fails. OpenSSL 3 and 4 hand their own name to each error call, OpenSSL 1 a
//! number per function; both name the source file `ssl_lib.c`.
//!
//! Functions of a stripped copy that never fail by themselves (`SSL_free`, `SSL_read_ex` where it only
//! calls another) are not found; `ssl_read_internal` and `ssl_write_internal` see the bytes of all of them, and
//! the table of methods has the function that frees.
//! LibreSSL tells no function in its errors: a stripped copy is refused.

mod methods;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::by_name::{self, Found};
use super::evidence::{Confidence, Evidence, Method};
use super::finding::{Finding, Function, Refusal};
use super::sources::{ErrorCall, Member, PathText, Says, Source, Sources};
use super::structure::{self, evidence};
use super::{Case, Finder, version};
use crate::error::{Error, Result};
use crate::image::VirtAddr;
use crate::image::values::{Value, Values};
use crate::symdb::{self, Library, Role};

/// `ERR_LIB_SSL` errors of OpenSSL come from a C file.
const FILE_ENDING: &str = "ssl_lib.c";
/// Most instructions of a function that moves no data: what is larger has it inlined.
const SMALL: usize = 300;
/// Most copies of one library that one source path may stand for.
const COPIES_MAX: usize = 8;

/// Most source paths that are looked at.
const FILES_MAX: usize = 64;

pub(super) struct OpenSsl;

impl Finder for OpenSsl {
    fn library(&self) -> &'static str {
        "openssl"
    }

    fn find(&self, case: &Case<'_>) -> Result<Option<Found>> {
        let named = by_name::find(case, self.library())?;
        let facts = case
            .db
            .library(self.library())
            .ok_or_else(|| Error::invalid("symbol-db has no library openssl"))?;
        let Some(sources) = case.sources() else {
            return Ok(named);
        };
        let mut copies = Vec::new();
        let mut refused = Vec::new();
        for file in files(sources).into_iter().take(FILES_MAX) {
            Copies {
                case,
                facts,
                sources,
                file,
                labels: RefCell::default(),
            }
            .find(&mut copies, &mut refused);
        }
        if copies.is_empty() && refused.is_empty() && named.is_none() {
            refused.extend(refusal(sources, facts));
        }
        let mut found = structure::join(named, copies, refused);
        for finding in found.iter_mut().flat_map(|found| &mut found.findings) {
            mark_covered(sources, finding);
        }
        Ok(found)
    }
}

/// Where the paths stand, one for each copy; the empty text of a copy without file names is one too.
fn files(sources: &Sources<'_>) -> BTreeSet<VirtAddr> {
    let errors = sources.members.values().flat_map(|member| &member.errors);
    let is_ours = |error: &&ErrorCall| {
        let path = sources.path(error.file);
        path.is_none_or(|path| path.text.ends_with(FILE_ENDING))
    };
    errors.filter(is_ours).map(|error| error.file).collect()
}

/// The source path is there, and nothing came of it.
fn refusal(sources: &Sources<'_>, facts: &Library) -> Option<Refusal> {
    let is_ours =
        |path: &&PathText| path.source == Source::SslLib && path.text.ends_with(FILE_ENDING);
    let path = sources.paths.iter().chain(&sources.unused).find(is_ours)?;
    Some(structure::lost_refusal(sources, &facts.library, &path.text))
}

/// The copies that share one path.
struct Copies<'c, 'a> {
    case: &'c Case<'a>,
    facts: &'c Library,
    sources: &'c Sources<'a>,
    file: VirtAddr,
    /// What [`Self::labels`] said before, by entry.
    labels: RefCell<BTreeMap<VirtAddr, BTreeSet<&'c str>>>,
}

/// A function that may be the one that is looked for, with why.
struct Candidate<'c> {
    member: &'c Member,
    evidence: Vec<Evidence>,
}

impl<'c> Copies<'c, '_> {
    fn find(&self, copies: &mut Vec<Finding>, refused: &mut Vec<Refusal>) {
        let wanted: Vec<_> = self
            .facts
            .functions
            .iter()
            .map(|facts| (facts, self.candidates(facts, refused)))
            // A function that makes objects is told from one that it was inlined into by nothing.
            .filter(|(facts, candidates)| facts.role != Role::New && !candidates.is_empty())
            .collect();
        let data = wanted.iter().filter(|(facts, _)| moves_data(facts.role));
        let Some(count) = data.map(|(_, candidates)| candidates.len()).min() else {
            return self.explain_nothing(refused);
        };
        if count > 1 && !are_copies(&wanted) {
            refused.extend(
                wanted
                    .iter()
                    .filter(|(_, candidates)| candidates.len() > 1)
                    .map(|(facts, candidates)| self.ambiguous(facts, candidates)),
            );
            return;
        }
        let first = copies.len();
        for _ in 0..count.min(COPIES_MAX) {
            copies.push(self.empty());
        }
        for (facts, candidates) in wanted {
            if candidates.len() != count {
                refused.push(self.ambiguous(facts, &candidates));
                continue;
            }
            for (copy, candidate) in copies.iter_mut().skip(first).zip(candidates) {
                match self.function(facts, candidate) {
                    Ok(function) => copy.functions.push(function),
                    Err(reason) => refused.push(self.refusal(facts, reason)),
                }
            }
        }
        if let ([copy], false) = (
            copies.get_mut(first..).unwrap_or_default(),
            self.is_free_named(),
        ) {
            let free = methods::free(self.case, self.facts, self.sources, self.file);
            copy.functions.extend(free);
        }
        copies.retain(|copy| !copy.functions.is_empty());
    }

    /// `SSL_free` says more, and needs no other function beside it.
    fn is_free_named(&self) -> bool {
        let mut names = self.case.names.defined.iter();
        names.any(|named| named.name == "SSL_free")
    }

    fn empty(&self) -> Finding {
        let hints = self.facts.version.as_ref();
        Finding {
            library: self.facts.library.clone(),
            version: hints.and_then(|hints| version::by_text(self.case, hints)),
            provider: None,
            compiler: None,
            functions: Vec::new(),
            guard: None,
            go: None,
        }
    }

    /// Errors are there, but none that names a function that moves data.
    fn explain_nothing(&self, refused: &mut Vec<Refusal>) {
        let Some(path) = self.sources.path(self.file) else {
            return;
        };
        let errors = || {
            let members = self.sources.members.values();
            members.flat_map(|member| self.errors(member))
        };
        let nameless = errors().all(|error| {
            matches!(error.says, Says::Codes { library, function: None, .. } if self.is_ours(library))
        });
        let why = if nameless && errors().next().is_some() {
            "its error calls name no function, as those of LibreSSL do"
        } else {
            "no error call names a function that moves data: SSL_read and SSL_write are not linked in, or \
             link-time optimisation has taken the error calls apart"
        };
        refused.push(Refusal {
            library: self.facts.library.clone(),
            reason: format!("function names are stripped; of \"{}\", {why}", path.text),
        });
    }

    fn is_ours(&self, library: u64) -> bool {
        let numbers = self.facts.errors.as_ref();
        numbers.is_some_and(|numbers| numbers.library == library)
    }

    fn errors(&self, member: &'c Member) -> impl Iterator<Item = &'c ErrorCall> {
        let file = self.file;
        member.errors.iter().filter(move |error| error.file == file)
    }

    /// The function of ours that an error call names.
    fn label(&self, error: &ErrorCall) -> Option<&'c symdb::Function> {
        match &error.says {
            Says::Name { function, .. } => self.facts.function(function),
            Says::Codes {
                library, function, ..
            } if self.is_ours(*library) => {
                let mut known = self.facts.functions.iter();
                known.find(|facts| facts.code.is_some() && facts.code == *function)
            }
            Says::Codes { .. } => None,
        }
    }

    /// The functions that a function names in its errors: itself, and those inlined into it.
    fn labels(&self, member: &'c Member) -> BTreeSet<&'c str> {
        let known = self.labels.borrow().get(&member.entry.addr).cloned();
        known.unwrap_or_else(|| {
            let labels = self.find_labels(member);
            let entry = member.entry.addr;
            self.labels.borrow_mut().insert(entry, labels.clone());
            labels
        })
    }

    fn find_labels(&self, member: &'c Member) -> BTreeSet<&'c str> {
        let labels = self.errors(member).filter_map(|error| self.label(error));
        let labels: BTreeSet<_> = labels.map(|facts| facts.name.as_str()).collect();
        match labels.iter().copied().collect::<Vec<_>>().as_slice() {
            [only] => BTreeSet::from([self.told_from_ex(only, member)]),
            _ => labels,
        }
    }

    /// `SSL_read_ex` with `ssl_read_internal` inlined names only that. It differs in what it returns when it
    /// fails: 0, where the internal function returns -1. Arguments and success are alike.
    fn told_from_ex(&self, label: &'c str, member: &'c Member) -> &'c str {
        let facts = self.facts.function(label).filter(|facts| facts.internal);
        let ex = label.replace("ssl_", "SSL_").replace("_internal", "_ex");
        let ex2 = self.facts.function(&format!("{ex}2"));
        let ex = ex2
            .filter(|_| self.refuses_flags(member))
            .or(self.facts.function(&ex));
        let (Some(_), Some(ex)) = (facts, ex) else {
            return label;
        };
        let values = Values::of(self.sources.functions.decoder(), &member.body);
        let results: BTreeSet<i32> = self
            .errors(member)
            .filter_map(|error| values.result_after(error.at))
            .map(|result| result as u32 as i32)
            .collect();
        let fails_with_zero = results.contains(&0) && results.iter().all(|result| *result >= 0);
        if fails_with_zero { &ex.name } else { label }
    }

    /// From 3.3 on `ssl_write_internal` takes flags, and refuses those that it does not know.
    fn refuses_flags(&self, member: &'c Member) -> bool {
        let wanted = self.facts.reason("UNSUPPORTED_WRITE_FLAG");
        self.errors(member).any(|error| match &error.says {
            Says::Name { reason, .. } => reason.is_some() && *reason == wanted,
            Says::Codes { .. } => false,
        })
    }

    /// Functions that carry the name, without those into which it was inlined.
    fn candidates(
        &self,
        facts: &'c symdb::Function,
        refused: &mut Vec<Refusal>,
    ) -> Vec<Candidate<'c>> {
        let all: Vec<_> = self
            .sources
            .members
            .values()
            .filter(|member| self.labels(member).contains(facts.name.as_str()))
            .collect();
        let is_other = |label: &&str| {
            let other = self.facts.function(label);
            **label != facts.name && other.is_some_and(|other| !other.internal)
        };
        let pure: Vec<_> = all
            .iter()
            .filter(|member| !self.labels(member).iter().any(is_other))
            .copied()
            .collect();
        let all = if pure.is_empty() && !facts.internal && moves_data(facts.role) {
            all
        } else {
            pure
        };
        let first = all.first().copied();
        let all = all
            .into_iter()
            .filter_map(|member| self.candidate(facts, member));
        let mut all: Vec<_> = all.collect();
        if all.is_empty()
            && moves_data(facts.role)
            && let Some(member) = first
        {
            refused.push(self.refusal(
                facts,
                format!(
                    "the function at {} names itself like that, but was not seen to hand its arguments on",
                    member.entry.addr
                ),
            ));
        }
        if let Some(symbol) = all
            .iter()
            .position(|candidate| self.is_named(facts, candidate))
        {
            all.swap(0, symbol);
            all.truncate(1);
        }
        if matches!(facts.role, Role::Close | Role::Handshake | Role::Reset) {
            keep_smallest(&mut all);
        }
        all
    }

    /// A symbol says so: what else carries the name has it inlined.
    fn is_named(&self, facts: &symdb::Function, candidate: &Candidate<'_>) -> bool {
        let addr = candidate.member.entry.addr;
        !structure::symbol_evidence(self.case, &facts.name, addr).is_empty()
    }

    /// What speaks for a function; `None` if it cannot be the one.
    fn candidate(&self, facts: &'c symdb::Function, member: &'c Member) -> Option<Candidate<'c>> {
        let mut list = self.own_words(facts, member);
        // Where it was inlined into something else, the arguments are not those of the function.
        if !moves_data(facts.role) && member.body.insns.len() > SMALL {
            return None;
        }
        let handed: &[(usize, u8)] = match facts.role {
            Role::Read | Role::Write | Role::Peek if !facts.early => &[(0, 0), (1, 1)],
            // BIO_int_ctrl(bio, BIO_C_SET_FD, BIO_NOCLOSE, fd)
            Role::Socket => &[(3, 1)],
            _ => &[(0, 0)],
        };
        let at = structure::hands_on(self.sources, member, handed)?;
        if handed.len() > 1 {
            list.push(evidence(
                Method::Calls,
                format!("the call at {at} hands on its own arguments 0 and 1"),
            ));
        }
        if facts.internal {
            list.extend(self.caller(facts, member));
        }
        Some(Candidate {
            member,
            evidence: list,
        })
    }

    fn own_words(&self, facts: &symdb::Function, member: &'c Member) -> Vec<Evidence> {
        // An `_ex` function speaks with the words of the internal one that is inlined into it.
        let is_ex = facts.code.is_none() && facts.name.contains("_ex");
        let speaks = |label: &symdb::Function| label.name == facts.name || is_ex && label.internal;
        let path = self.sources.path(self.file);
        let path = path.map_or("(no file names)", |path| path.text.as_str());
        self.errors(member)
            .filter(|error| self.label(error).is_some_and(speaks))
            .map(|error| match &error.says {
                Says::Name { function, reason } => evidence(
                    Method::ErrorNames,
                    format!(
                        "the call at {} hands \"{function}\" to {}, {path}:{}{}; {}",
                        error.at,
                        error.callee,
                        error.line,
                        reason.map_or(String::new(), |reason| format!(", reason {reason}")),
                        member.entry.proof.describe(),
                    ),
                ),
                Says::Codes {
                    library,
                    function,
                    reason,
                } => evidence(
                    Method::ErrorCodes,
                    format!(
                        "the call at {} hands library {library}, function {}, reason {reason} to {}, \
                         {path}:{}; {}",
                        error.at,
                        function.unwrap_or(0),
                        error.callee,
                        error.line,
                        member.entry.proof.describe(),
                    ),
                ),
            })
            .collect()
    }

    /// The exported function that calls an internal one, as the sources say.
    fn caller(&self, facts: &symdb::Function, member: &Member) -> Option<Evidence> {
        let exported = format!("SSL_{}", facts.name.split('_').nth(1)?);
        let target = member.entry.addr;
        let members = self.sources.members.values();
        let caller = members
            .filter(|caller| self.labels(caller).contains(exported.as_str()))
            .find(|caller| caller.calls(target))?;
        Some(evidence(
            Method::Calls,
            format!("{exported} at {} calls it", caller.entry.addr),
        ))
    }

    fn function(
        &self,
        facts: &symdb::Function,
        mut candidate: Candidate<'c>,
    ) -> Result<Function, String> {
        let member = candidate.member;
        let list = std::mem::take(&mut candidate.evidence);
        let mut function = structure::function(self.case, facts, &member.body, list)?;
        if facts.internal && facts.role == Role::Write {
            self.place_of_result(member, &mut function)?;
        }
        Ok(function)
    }

    /// Where there are flags, the pointer to the result comes after them: that error, and what callers hand
    /// over, must agree.
    fn place_of_result(&self, member: &'c Member, function: &mut Function) -> Result<(), String> {
        let refuses_flags = self.refuses_flags(member);
        let target = Some(member.entry.addr);
        let callers = self.sources.members.values();
        let handed: BTreeSet<bool> = callers
            .flat_map(|caller| &caller.calls)
            .filter(|call| call.callee == target)
            .filter_map(|call| match call.args {
                [_, _, _, Value::Const(0), ..] => Some(true),
                [_, _, _, Value::Stack(_), ..] => Some(false),
                _ => None,
            })
            .collect();
        if handed.iter().any(|with_flags| *with_flags != refuses_flags) {
            return Err(
                "abi unknown: its callers and its errors disagree about write flags".into(),
            );
        }
        if refuses_flags {
            function.call.out = Some(4);
        }
        Ok(())
    }

    fn ambiguous(&self, facts: &symdb::Function, candidates: &[Candidate<'_>]) -> Refusal {
        let places: Vec<_> = candidates
            .iter()
            .take(5)
            .map(|candidate| candidate.member.entry.addr.to_string())
            .collect();
        self.refusal(
            facts,
            format!(
                "ambiguous: {} candidates ({})",
                candidates.len(),
                places.join(", ")
            ),
        )
    }

    fn refusal(&self, facts: &symdb::Function, reason: String) -> Refusal {
        Refusal {
            library: self.facts.library.clone(),
            reason: format!("{}: {reason}", facts.name),
        }
    }
}

/// Copies of a library tell their errors to functions of their own; what tells them to the same one is one copy
/// with something inlined twice.
fn are_copies(wanted: &[(&symdb::Function, Vec<Candidate<'_>>)]) -> bool {
    let data = wanted.iter().filter(|(facts, _)| moves_data(facts.role));
    data.flat_map(|(_, candidates)| candidates.windows(2))
        .all(|pair| {
            let takers = |candidate: &Candidate<'_>| -> BTreeSet<VirtAddr> {
                let errors = candidate.member.errors.iter();
                errors.map(|error| error.callee).collect()
            };
            match pair {
                [one, other] => takers(one).is_disjoint(&takers(other)),
                _ => true,
            }
        })
}

fn moves_data(role: Role) -> bool {
    matches!(role, Role::Read | Role::Write)
}

/// `SSL_connect` and `SSL_accept` are `SSL_do_handshake` with one more step, often inlined; so are others.
fn keep_smallest(candidates: &mut Vec<Candidate<'_>>) {
    let size = |candidate: &Candidate<'_>| candidate.member.body.insns.len();
    let Some(smallest) = candidates.iter().map(size).min() else {
        return;
    };
    candidates.retain(|candidate| size(candidate) == smallest);
}

/// Functions that only call an internal one need no probe of their own where that has one.
fn mark_covered(sources: &Sources<'_>, finding: &mut Finding) {
    let internal: Vec<_> = finding
        .functions
        .iter()
        .filter(|function| function.name.ends_with("_internal") && function.role != Role::Peek)
        // One that is not quite sure takes no other's place.
        .filter(|function| function.confidence == Confidence::High)
        .map(|function| (function.name.clone(), function.role, function.vaddr))
        .collect();
    for function in &mut finding.functions {
        let is_internal = internal.iter().any(|(_, _, addr)| *addr == function.vaddr);
        if is_internal || function.call.early {
            continue;
        }
        let body = sources.functions.body(function.vaddr);
        function.covered_by = internal
            .iter()
            .find(|(_, role, addr)| {
                *role == function.role && body.calls().any(|(_, callee)| callee == *addr)
            })
            .map(|(name, ..)| name.clone());
    }
}
