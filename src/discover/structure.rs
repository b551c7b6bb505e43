//! What the finders of stripped libraries share: candidates for a name, the proof that a function hands
//! its own arguments on, and the joining of what structure tells with what names tell.

use super::Case;
use super::by_name::Found;
use super::evidence::{Confidence, Evidence, Method};
use super::finding::{Call, Finding, Function, Refusal, Sites};
use super::sources::{Member, Sources};
use crate::image::VirtAddr;
use crate::image::function::Body;
use crate::image::values::Value;
use crate::symdb;

/// Fewest bytes between the entries of two functions: what is shorter is no function with an error call.
const SPAN_MIN: u64 = 8;

/// The function with these facts and this code, or why no probe may go there. What symbols say of its
/// address is added to the evidence.
pub(super) fn function(
    case: &Case<'_>,
    facts: &symdb::Function,
    body: &Body,
    mut evidence: Vec<Evidence>,
) -> Result<Function, String> {
    let addr = body.entry;
    if let Some(at) = body.broken {
        return Err(format!("code at {at} does not decode"));
    }
    let size = body.size();
    if size < SPAN_MIN {
        return Err(format!("{addr}: {size} bytes are no function"));
    }
    let file_offset = case
        .image
        .segments
        .code_offset(addr)
        .ok_or_else(|| format!("{addr} is not in an executable segment"))?;
    evidence.extend(symbol_evidence(case, &facts.name, addr));
    Ok(Function {
        name: facts.name.clone(),
        role: facts.role,
        vaddr: addr,
        file_offset,
        size,
        confidence: confidence(&evidence),
        sites: Sites::classic(addr, file_offset, facts.result.is_some()),
        evidence,
        call: Call::of(facts),
        legal: None,
        covered_by: None,
        unprobed: None,
    })
}

/// Two agreeing methods give high, one gives medium.
fn confidence(evidence: &[Evidence]) -> Confidence {
    let mut methods: Vec<_> = evidence.iter().map(|evidence| evidence.method).collect();
    methods.sort_unstable();
    methods.dedup();
    if methods.len() > 1 {
        Confidence::High
    } else {
        Confidence::Medium
    }
}

/// A call by which the function hands its own arguments on: `wanted` lists positions in the call and the
/// arguments that stand there. Calls that tell an error do not count: they take other arguments, and what
/// is left in the registers says nothing.
pub(super) fn hands_on(
    sources: &Sources<'_>,
    member: &Member,
    wanted: &[(usize, u8)],
) -> Option<VirtAddr> {
    let fits = |args: &[Value; 6]| {
        let mut wanted = wanted.iter();
        wanted.all(|(place, argument)| args.get(*place) == Some(&Value::Argument(*argument)))
    };
    let is_error = |callee: VirtAddr| sources.error_functions.contains(&callee);
    let call = member
        .calls
        .iter()
        .find(|call| fits(&call.args) && !call.callee.is_some_and(is_error))?;
    Some(call.at)
}

/// Adds what structure tells to what names tell. A copy that both know is one finding; where the two
/// disagree, the symbol tables win and the other is refused.
pub(super) fn join(
    named: Option<Found>,
    copies: Vec<Finding>,
    refused: Vec<Refusal>,
) -> Option<Found> {
    let mut found = named.unwrap_or_default();
    for copy in copies {
        let known = found
            .findings
            .iter()
            .position(|theirs| same_prefix(theirs, &copy).is_some());
        match known.and_then(|n| found.findings.get_mut(n)) {
            Some(theirs) => merge(theirs, copy, &mut found.refused),
            None => found.findings.push(copy),
        }
    }
    found.refused.extend(refused);
    for finding in &mut found.findings {
        finding.functions.sort_by(|a, b| a.name.cmp(&b.name));
    }
    (!found.findings.is_empty() || !found.refused.is_empty()).then_some(found)
}

/// What stands before all names of a copy that is known by names already; `None` if it is another copy.
fn same_prefix(theirs: &Finding, copy: &Finding) -> Option<String> {
    theirs.functions.iter().find_map(|known| {
        let mut ours = copy.functions.iter();
        let prefix = |ours: &Function| known.name.strip_suffix(&ours.name).map(str::to_owned);
        ours.find(|ours| ours.vaddr == known.vaddr).and_then(prefix)
    })
}

fn merge(theirs: &mut Finding, copy: Finding, refused: &mut Vec<Refusal>) {
    let prefix = same_prefix(theirs, &copy).unwrap_or_default();
    theirs.guard = theirs.guard.or(copy.guard);
    for mut ours in copy.functions {
        ours.name = format!("{prefix}{}", ours.name);
        let known = theirs.functions.iter_mut();
        match known.into_iter().find(|known| known.name == ours.name) {
            Some(known) if known.vaddr == ours.vaddr => {
                known.evidence.extend(ours.evidence);
                known.evidence.sort_by_key(|evidence| evidence.method);
                known.evidence.dedup();
                known.confidence = Confidence::High;
            }
            Some(known) => refused.push(Refusal {
                library: copy.library.clone(),
                reason: format!(
                    "{}: its error calls are in {}, symbols name {}; the symbols are believed",
                    ours.name, ours.vaddr, known.vaddr
                ),
            }),
            None => theirs.functions.push(ours),
        }
    }
}

/// The symbol that stands at a function found by structure, as further evidence.
pub(super) fn symbol_evidence(case: &Case<'_>, name: &str, addr: VirtAddr) -> Vec<Evidence> {
    let named = case.names.defined.iter();
    let mut evidence: Vec<_> = named
        .filter(|named| named.name == name && named.addr == addr)
        .map(|named| named.evidence.clone())
        .collect();
    evidence.dedup();
    evidence
}

/// A library whose source path is there, although nothing of it could be placed.
pub(super) fn lost_refusal(sources: &Sources<'_>, library: &str, path: &str) -> Refusal {
    let why = match sources.lost.first() {
        Some(first) => format!(
            "of {} references to it none leads to a function that can be told; first: {first}",
            sources.lost.len()
        ),
        None => "no code was seen to refer to it".to_owned(),
    };
    Refusal {
        library: library.to_owned(),
        reason: format!("function names are stripped, and of \"{path}\" {why}"),
    }
}

/// One piece of evidence.
pub(super) fn evidence(method: Method, detail: String) -> Evidence {
    Evidence { method, detail }
}
