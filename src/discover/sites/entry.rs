//! Where a call's arguments may be read: the first instruction, and those behind it that every call
//! passes once while all that a probe reads is as it came.

use std::collections::BTreeSet;

use super::Study;
use super::graph::{ENTRY, Exit, Node};
use super::state::{ARGUMENTS_WRITTEN, CALLED, FRAME_WRITTEN, MEMORY_WRITTEN, RETURN_WRITTEN};
use crate::discover::finding::{Abi, Call, Form, Function};
use crate::image::insn::{Decoder, Flow};

/// What a probe at the entry reads, besides the stack pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// Registers as bits by number.
    pub registers: u32,
    /// Arguments on the stack.
    pub stack: bool,
}

/// Go's ABIInternal: receiver, slice, and the running goroutine (rax, rbx, rcx, r14; x0 to x2, x28).
const GO_X86: u32 = 1 | 1 << 3 | 1 << 1 | 1 << 14;
const GO_AARCH64: u32 = 7 | 1 << 28;
/// AAPCS64: where a result goes that is returned in memory.
const RESULT_PLACE: u32 = 1 << 8;
/// Most places that are looked at; arguments are gone long before.
const PLACES_MAX: usize = 256;
/// All register arguments.
const ARGUMENTS: usize = 8;

impl Needs {
    /// Of the program that watches this function.
    pub fn of(call: &Call, decoder: &Decoder<'_>) -> Self {
        let argument = |n: usize| decoder.argument(n).map(|reg| 1 << reg.index());
        match call.abi {
            Abi::C => {
                let flags = call.peeks.then_some(3);
                let wanted = [Some(0), call.buf, call.len, call.out, flags];
                let masks: Vec<Option<u32>> = wanted
                    .into_iter()
                    .flatten()
                    .map(|n| argument(n.into()))
                    .collect();
                Self {
                    registers: masks.iter().flatten().fold(0, |all, mask| all | mask),
                    stack: masks.contains(&None),
                }
            }
            Abi::GoRegisters => Self {
                registers: if decoder.is_x86() { GO_X86 } else { GO_AARCH64 },
                stack: false,
            },
            Abi::GoStack => Self {
                registers: 0,
                stack: true,
            },
            Abi::Evp | Abi::Ring | Abi::RustlsBorrowed | Abi::RustlsOpaque => {
                let apart = if decoder.is_x86() { 0 } else { RESULT_PLACE };
                let registers = (0..ARGUMENTS).filter_map(argument);
                Self {
                    registers: registers.fold(apart, |all, mask| all | mask),
                    stack: true,
                }
            }
        }
    }

    /// Whether none of it is changed.
    fn are_met(&self, changed: u64, is_go: bool) -> bool {
        // Where Go's callers keep room for register arguments, Go itself writes them.
        let own_arguments = if is_go && !self.stack {
            0
        } else {
            ARGUMENTS_WRITTEN
        };
        changed & (u64::from(self.registers) | CALLED | MEMORY_WRITTEN | own_arguments) == 0
    }
}

/// A legal entry site.
#[derive(Clone, Debug)]
pub struct Entry {
    pub node: Node,
    pub form: Form,
    pub depth: u16,
    pub proof: Vec<String>,
}

/// All legal ones, in the order in which calls pass them; without regard to jumps from elsewhere.
pub fn find(study: &Study<'_>, function: &Function, notes: &mut Vec<String>) -> Vec<Entry> {
    let mut found = vec![Entry {
        node: ENTRY,
        form: study.form(ENTRY).unwrap_or(Form::Other),
        depth: 0,
        proof: vec!["the first instruction".to_owned()],
    }];
    let graph = &study.graph;
    let exits: Vec<_> = graph.exits().collect();
    if exits.is_empty() {
        notes.push("no way out of it is known: arguments are read at its first instruction".into());
        return found;
    }
    let needs = Needs::of(&function.call, study.decoder);
    let escapes = escapes(study);
    let common = graph.common_ways(exits.iter().map(|(node, _)| *node));
    for node in common.into_iter().skip(1).take(PLACES_MAX) {
        if !needs.are_met(study.states.changed(node), study.is_go) {
            break;
        }
        // A jump to an unknown place may be one back to here, or to something before.
        if graph.step(node).is_some_and(|step| step.exit.is_some()) && !is_known_end(study, node) {
            break;
        }
        if let Some((form, depth)) = is_fit(study, node)
            && study.bounded_to(node)
            && !escapes.lead_before(study, node)
            && !graph.is_in_loop(node)
        {
            found.push(Entry {
                node,
                form,
                depth,
                proof: proof(study, node, depth, &exits, needs),
            });
        }
    }
    found
}

/// A direct jump out, or one through a pointer.
fn is_known_end(study: &Study<'_>, node: Node) -> bool {
    let step = study.graph.step(node);
    step.is_some_and(|step| step.exit != Some(Exit::Indirect)) || is_last_call(study, node)
}

/// An indirect jump to another function: through a pointer, and with no frame left. With a frame it is a computed goto.
fn is_last_call(study: &Study<'_>, node: Node) -> bool {
    study.states.depth(node) == Some(0) && study.graph.is_by_pointer(node)
}

/// What stands there and the stack's depth, if a probe can go there.
fn is_fit(study: &Study<'_>, node: Node) -> Option<(Form, u16)> {
    let form = study.form(node)?;
    let depth = study.known_depth(node)?;
    let changed = study.states.changed(node);
    let keeps_return = if study.decoder.is_x86() {
        changed & RETURN_WRITTEN == 0
    } else {
        // The return address is in a register: it must be there still, and nowhere else.
        changed & (u64::from(study.link) | FRAME_WRITTEN) == 0
    };
    // Never cheaper than the first instruction, and the kernel refuses some.
    let is_other = form == Form::Other;
    let fits = !is_other && !study.graph.overlaps(node) && (depth > 0 || keeps_return);
    fits.then_some((form, depth))
}

/// Stack depths with which control may come back to a place that the graph does not tell: a jump table
/// that is not read, a handler of exceptions, a part of the function that was not recognised. Compilers
/// give each instruction one depth, so these lead only to instructions with the same one.
struct Escapes {
    depths: BTreeSet<Option<i64>>,
}

fn escapes(study: &Study<'_>) -> Escapes {
    let nodes = study.graph.nodes.iter().enumerate();
    let depths = nodes.filter_map(|(node, step)| {
        let depth = study.states.depth(node);
        let is_call = matches!(step.insn.flow, Flow::Call(_) | Flow::CallIndirect);
        let escapes = match step.exit {
            Some(Exit::Indirect) => !is_last_call(study, node),
            // With a frame it is no call of another function.
            Some(Exit::Tail) => depth != Some(0),
            Some(Exit::Return) => false,
            None => is_call && study.has_landing_pads,
        };
        escapes.then_some(depth)
    });
    Escapes {
        depths: depths.collect(),
    }
}

impl Escapes {
    /// Whether one may lead to `node`, or to what leads there; leading to the entry is a new call.
    fn lead_before(&self, study: &Study<'_>, node: Node) -> bool {
        if self.depths.is_empty() {
            return false;
        }
        let before = study.graph.before([node], false);
        let mut reached = before
            .iter()
            .enumerate()
            .filter(|(_, is_before)| **is_before);
        reached.any(|(before, _)| {
            let depth = study.states.depth(before);
            before != ENTRY
                && (depth.is_none() || self.depths.contains(&None) || self.depths.contains(&depth))
        })
    }
}

fn proof(
    study: &Study<'_>,
    node: Node,
    depth: u16,
    exits: &[(Node, Exit)],
    needs: Needs,
) -> Vec<String> {
    let returns = exits
        .iter()
        .filter(|(_, exit)| *exit == Exit::Return)
        .count();
    let mut proof = vec![format!(
        "dominates all ways out: {returns} returns, {} jumps to other code",
        exits.len() - returns
    )];
    let names = study.names(needs.registers);
    if !names.is_empty() {
        proof.push(format!("{names} not written before"));
    }
    proof.push(match needs.stack {
        true => {
            "no call before, and no memory written but the function's own frame: arguments on the \
                 stack are untouched"
                .to_owned()
        }
        false => "no call before, and no memory written but the function's own frame".to_owned(),
    });
    proof.push(match depth {
        0 => "stack pointer as at the first instruction, return address in place".to_owned(),
        depth => format!("stack pointer {depth} bytes lower on all ways"),
    });
    proof.push(match starts_over_after(study, node) {
        _ if !study.starts_over() => "not in a loop".to_owned(),
        true => {
            "in no loop but that through the first instruction (a stack that has to grow): hit \
                 again with it"
                .to_owned()
        }
        false => {
            "in no loop; when the function starts over (a stack that has to grow), it has not \
                  been passed yet"
                .to_owned()
        }
    });
    proof
}

/// Whether the function can start over after the instruction was passed.
fn starts_over_after(study: &Study<'_>, node: Node) -> bool {
    let back = study.graph.step(ENTRY).map(|step| step.prev.clone());
    let before = study.graph.before(back.unwrap_or_default(), false);
    before.get(node).copied().unwrap_or(true)
}
