//! Where probes of a function may stand by its code, with proof: control flow, the stack pointer, and
//! what is written on the way, over the few hundred instructions of the function itself.
//!
//! The first instruction is always legal. Any other place is offered only if every question about it has
//! an answer; what is not read, or not understood, costs places and never safety. What a place costs is
//! not asked here.

mod entry;
mod exit;
mod form;
mod graph;
mod outside;
mod state;

use std::collections::BTreeSet;

use super::finding::{Abi, Candidate, Form, Function, Legal, SiteKind};
use super::{Evidence, Method, Report};
use crate::image::function::Functions;
use crate::image::insn::Decoder;
use crate::image::unwind::CodeRange;
use crate::image::xref::Edges;
use crate::image::{Image, VirtAddr};

use entry::Entry;
use graph::{ENTRY, Graph, Node};
use outside::Region;
use state::{Convention, States};

/// Depths are told in these steps.
const DEPTH_UNIT: i64 = 8;
/// `x30`.
const LINK: u32 = 1 << 30;

/// Looks at all functions of a report that get probes, or may once those that cover them cannot have one.
pub fn examine(image: &Image<'_>, report: &mut Report) {
    let functions = report
        .findings
        .iter_mut()
        .flat_map(|finding| &mut finding.functions)
        .filter(|function| function.unprobed.is_none());
    let mut functions: Vec<&mut Function> = functions.collect();
    let views: Vec<&Function> = functions.iter().map(|function| &**function).collect();
    let legal = legal_of_all(image, &views);
    for (function, legal) in functions.iter_mut().zip(legal) {
        function.legal = Some(legal);
    }
}

/// Looks at one function: its address, size, way of being called, and classic sites are read.
pub fn legal(image: &Image<'_>, function: &Function) -> Legal {
    legal_of_all(image, &[function]).pop().unwrap_or_default()
}

/// What is known of one function's code.
struct Study<'a> {
    decoder: &'a Decoder<'a>,
    image: &'a Image<'a>,
    graph: Graph,
    states: States,
    /// By the unwind table, or else by its size.
    bounds: Option<CodeRange>,
    /// Exceptions may come back into it.
    has_landing_pads: bool,
    /// By Go's conventions.
    is_go: bool,
    /// The result register, as a set of bits.
    result: u32,
    /// The register with the return address, as a set of bits; none on x86-64.
    link: u32,
}

impl<'a> Study<'a> {
    fn new(
        functions: &'a Functions<'a>,
        image: &'a Image<'a>,
        function: &Function,
    ) -> Result<Self, String> {
        let decoder = functions.decoder();
        let end = function.vaddr.0.checked_add(function.size);
        // A size that was itself read off the code bounds nothing.
        let is_told = |evidence: &Evidence| evidence.method <= Method::Itab;
        let is_sized = function.size > 0 && function.evidence.iter().any(is_told);
        let by_size = end.filter(|_| is_sized).map(|end| CodeRange {
            start: function.vaddr,
            end: VirtAddr(end),
        });
        let bounds = functions.bounds(function.vaddr).or(by_size);
        let is_go = matches!(function.call.abi, Abi::GoRegisters | Abi::GoStack);
        let body = functions.body_in(bounds, function.vaddr);
        let graph = Graph::new(decoder, &body)?;
        let states = States::new(&graph, Convention::new(decoder, is_go))?;
        Ok(Self {
            decoder,
            image,
            graph,
            states,
            bounds,
            has_landing_pads: functions.has_landing_pads(function.vaddr),
            is_go,
            result: 1 << decoder.result().index(),
            link: if decoder.is_x86() { 0 } else { LINK },
        })
    }

    /// What stands there; `None`: no probe goes there.
    fn form(&self, node: Node) -> Option<Form> {
        let insn = &self.graph.step(node)?.insn;
        let code = self.image.code_at(insn.addr)?.get(..insn.len.into())?;
        let form = form::of(code, self.decoder.is_x86())?;
        let is_odd = node != ENTRY && self.decoder.is_x86() && {
            // Where programs have shadow stacks, not every kernel that emulates a call tells them of it.
            let is_call = form == Form::Call;
            // Since 6.18 a probed nop of five bytes becomes a call, which writes below the stack pointer, where
            // functions that call nobody keep their variables.
            let may_call = insn.len == 5 && matches!(form, Form::Nop | Form::Nop5 | Form::Other);
            is_call || (may_call && self.states.changed(node) & state::FRAME_WRITTEN != 0)
        };
        (!is_odd).then_some(form)
    }

    /// The stack's depth, if it is one that can be told.
    fn known_depth(&self, node: Node) -> Option<u16> {
        let depth = self.states.depth(node)?;
        let is_whole = depth % DEPTH_UNIT == 0;
        u16::try_from(depth).ok().filter(|_| is_whole)
    }

    /// Whether the place belongs to the function for sure. Where nothing says how far it goes, the code
    /// behind a jump may be another function that it ends with.
    fn bounded_to(&self, node: Node) -> bool {
        let mut at = node;
        while self.bounds.is_none() && at != ENTRY {
            let before = self.graph.step(at).map(|step| step.prev.as_slice());
            let previous = before.unwrap_or_default().iter().find(|before| {
                let step = self.graph.step(**before);
                step.is_some_and(|step| step.insn.end() == self.graph.addr(at))
            });
            match previous {
                Some(previous) => at = *previous,
                None => return false,
            }
        }
        true
    }

    /// A way leads back to the first instruction.
    fn starts_over(&self) -> bool {
        self.graph
            .step(ENTRY)
            .is_some_and(|step| !step.prev.is_empty())
    }

    fn names(&self, registers: u32) -> String {
        let names: Vec<String> = (0..32)
            .filter(|number| registers >> number & 1 == 1)
            .map(|number| self.decoder.name(number))
            .collect();
        names.join(", ")
    }

    fn candidate(&self, node: Node, depth: u16, proof: Vec<String>) -> Option<Candidate> {
        let vaddr = self.graph.addr(node);
        Some(Candidate {
            vaddr,
            file_offset: self.image.segments.code_offset(vaddr)?,
            form: self.form(node).unwrap_or(Form::Other),
            depth,
            proof,
        })
    }
}

/// Places of one function, before jumps from elsewhere were looked for.
struct Places {
    entries: Vec<Entry>,
    exits: Vec<BTreeSet<Node>>,
    notes: Vec<String>,
}

fn legal_of_all(image: &Image<'_>, functions: &[&Function]) -> Vec<Legal> {
    let Some(decoder) = Decoder::new(image) else {
        let note = "the code of this processor is not read: classic sites only";
        let legal = |function: &&Function| classic(function, None, note.to_owned());
        return functions.iter().map(legal).collect();
    };
    let readers = Functions::new(image, decoder, Edges::default());
    let studies: Vec<Result<(Study<'_>, Places), String>> = functions
        .iter()
        .map(|function| {
            let study = Study::new(&readers, image, function)?;
            let places = places(&study, function);
            Ok((study, places))
        })
        .collect();
    let regions: Vec<(&Study<'_>, Region)> = studies
        .iter()
        .flatten()
        .filter_map(|(study, places)| Some((study, region(study, places)?)))
        .collect();
    let edges = outside::edges(image, &decoder, &regions);
    functions
        .iter()
        .zip(studies)
        .map(|(function, study)| match study {
            Ok((study, places)) => finish(&study, places, function, &readers, &edges),
            Err(reason) => {
                let form = first_form(image, &decoder, function);
                classic(
                    function,
                    form,
                    format!(
                        "{reason}: its ways are not known, and probes go to classic sites only"
                    ),
                )
            }
        })
        .collect()
}

fn first_form(image: &Image<'_>, decoder: &Decoder<'_>, function: &Function) -> Option<Form> {
    let insn = decoder.decode(function.vaddr)?;
    let code = image.code_at(function.vaddr)?.get(..insn.len.into())?;
    form::of(code, decoder.is_x86())
}

fn places(study: &Study<'_>, function: &Function) -> Places {
    let mut notes = Vec::new();
    let entries = entry::find(study, function, &mut notes);
    let mut exits = Vec::new();
    if !function.sites.exits.is_empty() && !study.is_go {
        match exit::find(study) {
            Ok(sets) => exits = sets,
            Err(reason) => notes.push(format!("no exit sites: {reason}")),
        }
    }
    Places {
        entries,
        exits,
        notes,
    }
}

fn region(study: &Study<'_>, places: &Places) -> Option<Region> {
    let others = places.entries.iter().skip(1);
    let last = others.map(|entry| study.graph.addr(entry.node)).max()?;
    let first = study.graph.step(ENTRY)?.insn;
    Some(Region {
        start: VirtAddr(first.addr.0.checked_add(1)?),
        end: last,
    })
}

fn finish(
    study: &Study<'_>,
    places: Places,
    function: &Function,
    functions: &Functions<'_>,
    edges: &Edges,
) -> Legal {
    let targets = region(study, &places)
        .map(|region| outside::targets(study, &region, functions, edges))
        .unwrap_or_default();
    let Places {
        mut entries,
        mut exits,
        mut notes,
    } = places;
    if let Some(target) = targets.first() {
        notes.push(format!(
            "other code jumps to {target}, past its first instruction"
        ));
    }
    entries.retain(|entry| !outside::skip_entry(study, entry.node, &targets));
    // Arguments are read before results: in time, too.
    exits.retain(|set| !set.contains(&ENTRY));
    let firsts: Vec<Node> = exits.iter().flatten().copied().collect();
    if !firsts.is_empty() {
        let common = study.graph.common_ways(firsts.iter().copied());
        entries.retain(|entry| common.contains(&entry.node) && !firsts.contains(&entry.node));
    }
    Legal {
        entries: one_of_each(entries)
            .into_iter()
            .filter_map(|entry| {
                let mut proof = entry.proof;
                if entry.node != ENTRY {
                    proof.push(format!(
                        "no jump from elsewhere within {} KiB leads behind the first instruction",
                        outside::REACH >> 10
                    ));
                }
                study.candidate(entry.node, entry.depth, proof)
            })
            .collect(),
        exits: match study.is_go {
            true => go_returns(study, function),
            false => exits
                .iter()
                .filter_map(|set| exit_set(study, set))
                .collect(),
        },
        notes,
    }
}

/// The first of each form, with the stack pointer as it was and with another one.
fn one_of_each(entries: Vec<Entry>) -> Vec<Entry> {
    let mut seen = BTreeSet::new();
    let is_new = |entry: &Entry| entry.node == ENTRY || seen.insert((entry.form, entry.depth == 0));
    entries.into_iter().filter(is_new).collect()
}

fn exit_set(study: &Study<'_>, set: &BTreeSet<Node>) -> Option<Vec<Candidate>> {
    let candidate = |node: &Node| {
        let depth = study.known_depth(*node)?;
        study.candidate(*node, depth, exit::proof(study, set, depth))
    };
    set.iter().map(candidate).collect()
}

/// Go comes back to a function whose callee has panicked at a place that no jump leads to: all return
/// instructions of the function's code are taken, which the finder has read from end to end.
fn go_returns(study: &Study<'_>, function: &Function) -> Vec<Vec<Candidate>> {
    let sites = function.sites.exits.iter();
    let places = sites.clone().count();
    let set: Option<Vec<Candidate>> = sites
        .map(|site| {
            let form = match study.graph.at(site.vaddr) {
                Some(node) => study.form(node)?,
                None => Form::Return,
            };
            Some(Candidate {
                vaddr: site.vaddr,
                file_offset: site.file_offset,
                form,
                depth: 0,
                proof: vec![
                    format!("one of the {places} return instructions in its code"),
                    "stack pointer as at the first instruction".to_owned(),
                ],
            })
        })
        .collect();
    set.filter(|set| !set.is_empty()).into_iter().collect()
}

/// What is legal without a look at the code.
fn classic(function: &Function, form: Option<Form>, note: String) -> Legal {
    let first = Candidate {
        vaddr: function.vaddr,
        file_offset: function.file_offset,
        form: form.unwrap_or(Form::Other),
        depth: 0,
        proof: vec!["the first instruction".to_owned()],
    };
    let exits = function.sites.exits.iter();
    let returns: Vec<Candidate> = exits
        .filter(|site| site.kind == SiteKind::Uprobe)
        .map(|site| Candidate {
            vaddr: site.vaddr,
            file_offset: site.file_offset,
            form: Form::Return,
            depth: 0,
            proof: vec!["a return instruction".to_owned()],
        })
        .collect();
    Legal {
        entries: vec![first],
        exits: Some(returns)
            .filter(|set| !set.is_empty())
            .into_iter()
            .collect(),
        notes: vec![note],
    }
}
