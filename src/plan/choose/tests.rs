use super::*;
use crate::discover::finding::Call;
use crate::discover::{Confidence, Finding};
use crate::image::{Arch, FileOff, VirtAddr};
use crate::symdb::{ResultShape, Role};

fn candidate(at: u64, form: Form, depth: u16) -> Candidate {
    Candidate {
        vaddr: VirtAddr(0x40_0000 + at),
        file_offset: FileOff(at),
        form,
        depth,
        proof: vec![format!("proof of {at:#x}")],
    }
}

fn function(abi: Abi, role: Role, legal: Legal) -> Function {
    let first = (VirtAddr(0x40_1000), FileOff(0x1000));
    Function {
        name: "f".to_owned(),
        role,
        vaddr: first.0,
        file_offset: first.1,
        size: 0x100,
        confidence: Confidence::High,
        evidence: Vec::new(),
        sites: Sites::classic(first.0, first.1, true),
        call: Call {
            abi,
            result: Some(ResultShape::I32),
            buf: Some(1),
            len: Some(2),
            ..Call::default()
        },
        legal: Some(legal),
        covered_by: None,
        unprobed: None,
    }
}

fn choice(sites: ProbeSites, return_probes: bool) -> Choice {
    Choice {
        sites,
        prices: PriceList::built_in(Arch::X86_64),
        return_probes,
    }
}

/// Which instructions are taken: offset and kind, the entry first.
fn chosen(mut function: Function, choice: &Choice) -> Result<Vec<(u64, SiteKind)>, String> {
    choose("x", &mut function, choice);
    assert_eq!(function.legal, None);
    if let Some(reason) = function.unprobed {
        return Err(reason);
    }
    let sites = [&function.sites.entry].into_iter();
    let sites = sites.chain(&function.sites.exits);
    Ok(sites.map(|site| (site.file_offset.0, site.kind)).collect())
}

const ENTRY: SiteKind = SiteKind::Uprobe;
const RETURN: SiteKind = SiteKind::Uretprobe;

/// Debian's SSL_write: room on the stack first, then a branch; a stack protector at the end.
fn protected() -> Legal {
    Legal {
        entries: vec![
            candidate(0x1000, Form::StackRoom, 0),
            candidate(0x1016, Form::Branch, 24),
        ],
        exits: vec![
            vec![candidate(0x1038, Form::Branch, 24)],
            vec![candidate(0x1040, Form::Return, 0)],
        ],
        notes: Vec::new(),
    }
}

/// The dear classic sites are taken although cheap ones are proven.
#[test]
fn two_cheap_places_beat_one_dear_one() {
    let function = || function(Abi::C, Role::Write, protected());
    let planned = choice(ProbeSites::Planned, true);
    assert_eq!(
        chosen(function(), &planned),
        Ok(vec![(0x1016, ENTRY), (0x1038, ENTRY)])
    );
    let mut told = function();
    choose("x", &mut told, &planned);
    let entry = &told.sites.entry;
    assert_eq!((entry.depth, entry.price_ns), (24, Some(950)));
    assert!(entry.proof[0].contains("cheaper than the first instruction"));
    assert_eq!(entry.proof[1], "proof of 0x1016");
    assert_eq!(
        chosen(function(), &choice(ProbeSites::Classic, true)),
        Ok(vec![(0x1000, ENTRY), (0x1000, RETURN)])
    );
}

/// A function that begins with a push needs no second place, or a return probe stands where the stack
/// pointer has moved.
#[test]
fn a_push_serves_both_ends() {
    let mut legal = protected();
    legal.entries = vec![
        candidate(0x1000, Form::Landing, 0),
        candidate(0x1004, Form::Push, 0),
        candidate(0x1006, Form::Nop5, 16),
    ];
    legal.exits.remove(0);
    let planned = choice(ProbeSites::Planned, true);
    assert_eq!(
        chosen(function(Abi::C, Role::Read, legal), &planned),
        Ok(vec![(0x1004, ENTRY), (0x1004, RETURN)])
    );
}

/// A sandboxed program gets a return probe, or a function is left out without a reason.
#[test]
fn without_return_probes() {
    let none = choice(ProbeSites::Planned, false);
    let mut legal = protected();
    assert_eq!(
        chosen(function(Abi::C, Role::Read, legal.clone()), &none),
        Ok(vec![(0x1016, ENTRY), (0x1038, ENTRY)])
    );
    legal.exits.clear();
    legal.notes.push("it ends with a jump".to_owned());
    let reason = chosen(function(Abi::C, Role::Read, legal), &none).unwrap_err();
    assert!(reason.contains("seccomp") && reason.contains("it ends with a jump"));
}

/// Go gets a return probe, or not all of its returns.
#[test]
fn go_is_watched_at_its_returns() {
    let legal = Legal {
        entries: vec![
            candidate(0x1000, Form::Other, 0),
            candidate(0x1006, Form::Branch, 0),
        ],
        exits: vec![vec![
            candidate(0x1040, Form::Return, 0),
            candidate(0x1080, Form::Return, 0),
        ]],
        notes: Vec::new(),
    };
    for (sites, entry) in [(ProbeSites::Planned, 0x1006), (ProbeSites::Classic, 0x1000)] {
        assert_eq!(
            chosen(
                function(Abi::GoRegisters, Role::Read, legal.clone()),
                &choice(sites, true)
            ),
            Ok(vec![(entry, ENTRY), (0x1040, ENTRY), (0x1080, ENTRY)])
        );
    }
}

/// A function that is watched at its entry only gets probes on its returns.
#[test]
fn entry_only() {
    assert_eq!(
        chosen(
            function(Abi::C, Role::Free, protected()),
            &choice(ProbeSites::Planned, true)
        ),
        Ok(vec![(0x1016, ENTRY)])
    );
}

/// Equal prices move a probe away from where everybody expects it, or a depth is taken that no cookie
/// holds.
#[test]
fn ties_and_limits() {
    let mut legal = protected();
    legal.entries = vec![
        candidate(0x1000, Form::Push, 0),
        candidate(0x1001, Form::Push, 8),
        candidate(0x1002, Form::Nop5, DEPTH_MAX + 8),
    ];
    assert_eq!(
        chosen(
            function(Abi::C, Role::Free, legal),
            &choice(ProbeSites::Planned, true)
        ),
        Ok(vec![(0x1000, ENTRY)])
    );
}

/// Functions whose calls another one sees get no probe while that one has one, and their own if it can have none;
/// of several with its name, one is enough.
#[test]
fn covered_functions_stand_in() {
    let tail_call = Legal {
        entries: vec![candidate(0x1000, Form::Push, 0)],
        ..Legal::default()
    };
    let returns = Legal {
        exits: vec![vec![candidate(0x1080, Form::Return, 0)]],
        ..tail_call.clone()
    };
    let named = |name: &str, legal: &Legal| Function {
        name: name.to_owned(),
        ..function(Abi::C, Role::Write, legal.clone())
    };
    let covered = Function {
        covered_by: Some("inner".to_owned()),
        ..named("outer", &returns)
    };
    for (inner, return_probes, stands_in) in [
        (vec![named("inner", &tail_call)], true, false),
        (vec![named("inner", &tail_call)], false, true),
        (
            vec![named("inner", &tail_call), named("inner", &returns)],
            false,
            false,
        ),
    ] {
        let functions = [vec![covered.clone()], inner].concat();
        let mut report = report(functions);
        choose_all(&mut report, &choice(ProbeSites::Planned, return_probes));
        let outer = &report.findings[0].functions[0];
        assert_eq!(outer.covered_by.is_none(), stands_in);
        assert_eq!(outer.unprobed, None);
    }
}

fn report(functions: Vec<Function>) -> Report {
    Report {
        path: String::new(),
        arch: String::new(),
        build_id: None,
        size: 0,
        findings: vec![Finding {
            library: "x".to_owned(),
            version: None,
            provider: None,
            compiler: None,
            functions,
            guard: None,
            go: None,
        }],
        refused: Vec::new(),
        warnings: Vec::new(),
        imports: Vec::new(),
        ladder: Vec::new(),
    }
}
