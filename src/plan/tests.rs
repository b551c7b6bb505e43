use super::*;
use crate::discover::Confidence;
use crate::discover::finding::{Call, Guard, Sites};
use crate::symdb::{ResultShape, Role};

fn function(abi: Abi, role: Role, sites: Sites) -> Function {
    Function {
        name: "f".to_owned(),
        role,
        vaddr: VirtAddr(0x40_1000),
        file_offset: FileOff(0x1000),
        size: 0x100,
        confidence: Confidence::High,
        evidence: Vec::new(),
        sites,
        call: Call {
            abi,
            result: Some(ResultShape::I64),
            buf: Some(1),
            len: Some(2),
            ..Call::default()
        },
        legal: None,
        covered_by: None,
        unprobed: None,
    }
}

fn sites(exits: &[(SiteKind, u64)]) -> Sites {
    let site = |kind, offset: u64| Site::new(kind, VirtAddr(0x40_0000 + offset), FileOff(offset));
    Sites {
        entry: site(SiteKind::Uprobe, 0x1000),
        exits: exits.iter().map(|(kind, at)| site(*kind, *at)).collect(),
    }
}

fn finding(function: Function, guard: Option<Guard>) -> Finding {
    Finding {
        library: "x".to_owned(),
        version: None,
        provider: None,
        compiler: None,
        functions: vec![function],
        guard,
        go: None,
    }
}

fn plan(finding: &Finding) -> ProbePlan {
    let mut plan = ProbePlan {
        path: PathBuf::new(),
        identity: FileIdentity {
            dev: 0,
            ino: 0,
            size: 0,
            mtime_ns: 0,
        },
        probes: Vec::new(),
        skipped: Vec::new(),
        is_nss: false,
        go: Vec::new(),
    };
    plan.add_all(finding);
    plan
}

fn watch(finding: &Finding) -> Result<Watch, String> {
    let mut plan = plan(finding);
    match (plan.probes.pop(), plan.skipped.pop()) {
        (Some(probe), None) => Ok(probe.watch),
        (None, Some(skipped)) => Err(skipped.reason),
        other => panic!("{other:?}"),
    }
}

const ENTRY: Place = Place {
    offset: FileOff(0x1000),
    vaddr: VirtAddr(0x40_1000),
    depth: 0,
};

/// A return probe ends a Go program: whatever a report asks for, no plan has one there.
#[test]
fn go_gets_no_return_probes() {
    for abi in [Abi::GoRegisters, Abi::GoStack] {
        for role in [Role::Read, Role::Write, Role::Close] {
            for exits in [
                &[][..],
                &[(SiteKind::Uretprobe, 0x1000)],
                &[(SiteKind::Uprobe, 0x1010), (SiteKind::Uretprobe, 0x1000)],
                &[(SiteKind::Uprobe, 0x1010)],
            ] {
                let plan = plan(&finding(function(abi, role, sites(exits)), None));
                assert!(!plan.has_return_probes());
                let only_plain = exits.iter().all(|(kind, _)| *kind == SiteKind::Uprobe);
                let watched = role == Role::Close || (only_plain && !exits.is_empty());
                assert_eq!(plan.probes.len(), usize::from(watched), "{exits:?}");
            }
        }
    }
}

/// With registers, entry and each RET; on the stack, the RETs alone; Close is over when it begins.
#[test]
fn go_is_watched_where_its_arguments_are() {
    let exits = sites(&[(SiteKind::Uprobe, 0x1010), (SiteKind::Uprobe, 0x10ff)]);
    let returns = [(0x1010, 0x40_1010), (0x10ff, 0x40_10ff)].map(|(offset, vaddr)| Place {
        offset: FileOff(offset),
        vaddr: VirtAddr(vaddr),
        depth: 0,
    });
    for (abi, role, entry, returns) in [
        (Abi::GoRegisters, Role::Read, Some(ENTRY), returns.to_vec()),
        (Abi::GoStack, Role::Write, None, returns.to_vec()),
        (Abi::GoStack, Role::Close, Some(ENTRY), Vec::new()),
    ] {
        let watch = watch(&finding(function(abi, role, exits.clone()), None));
        let facts = None;
        assert_eq!(
            watch,
            Ok(Watch::Go {
                entry,
                returns,
                facts
            })
        );
    }
}

/// A guard reaches the kernel side: its word in the plan, and the bit that has it looked at.
#[test]
fn guards_are_planned() {
    let first_word = VirtAddr(0x7000);
    let classic = || {
        function(
            Abi::C,
            Role::Write,
            Sites::classic(VirtAddr(0x40_1000), FileOff(0x1000), true),
        )
    };
    let guarded = plan(&finding(classic(), Some(Guard { first_word })));
    let plain = plan(&finding(classic(), None));
    let [guarded, plain] = [&guarded, &plain].map(|plan| plan.probes.first().expect("one"));
    assert_eq!(
        guarded.cookie.bits(0, 0) ^ plain.cookie.bits(0, 0),
        16 << 48
    );
    let watch = |first_word| Watch::C {
        entry: ENTRY,
        exits: Exits::Return,
        first_word,
    };
    assert_eq!(guarded.watch, watch(Some(first_word)));
    assert_eq!(plain.watch, watch(None));
}
