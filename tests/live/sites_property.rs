//! The planner of probe sites against functions that nobody wrote: whatever it calls legal must see exactly
//! the calls, objects and bytes that the driver of those functions has written down, in the same order, and
//! must leave the functions' own results as they are. Not only the choice is tried, but everything that it
//! could have been made from.

mod generator;
mod program;

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use agentsight::discover::finding::{
    Abi, Candidate, Function, Legal, Report, Site, SiteKind, Sites,
};
use agentsight::discover::{Evidence, Method, sites};
use agentsight::event::Event;
use agentsight::event::wire::Counter;
use agentsight::image::{Arch, ImageFile};
use agentsight::plan::{Choice, PriceList, ProbeSites, choose_all};
use agentsight::symdb::{ResultShape, Role};

use crate::direct::{self, Direct, Watched};
use crate::{is_extended, is_root};
use program::{Known, Made, Seen, Truth};

/// More in the seeds of `AGENTSIGHT_SEED` (with commas between).
const SEEDS: &[u64] = &[1];

const FUNCTIONS: usize = 250;
const CALLS: usize = 3_000;
const THREADS: usize = 4;

/// Ways of watching one function that are tried; all with `AGENTSIGHT_EXTENDED`.
const WAYS_MAX: usize = 10;

fn seeds() -> Vec<u64> {
    let given = std::env::var("AGENTSIGHT_SEED").unwrap_or_default();
    let given = given.split(',').filter_map(|seed| seed.parse().ok());
    SEEDS.iter().copied().chain(given).collect()
}

/// Everything that the planner was told and has found out.
struct Property {
    made: Made,
    file: ImageFile,
    /// With what is legal.
    report: Report,
    /// What the driver says when nothing is probed.
    text: String,
    dir: tempfile::TempDir,
    title: String,
}

impl Property {
    fn new(seed: u64, known: Known) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let made = program::make(dir.path(), seed, FUNCTIONS, known)?;
        let file = ImageFile::open(&made.path).unwrap();
        let mut report = report(&made, known);
        sites::examine(&file.image().unwrap(), &mut report);
        let output = dir.path().join("bare");
        let status = program::start(&made, &output, CALLS, THREADS).wait();
        assert!(status.unwrap().success(), "seed {seed}");
        Some(Self {
            text: program::read(&output).text,
            made,
            file,
            report,
            dir,
            title: format!("seed {seed}, {known:?}"),
        })
    }

    fn functions(&self) -> &[Function] {
        &self.report.findings[0].functions
    }

    /// Everything that is legal for a function.
    fn ways(function: &Function) -> Vec<Sites> {
        let Legal { entries, exits, .. } = function.legal.as_ref().unwrap();
        let mut ways = Vec::new();
        for entry in entries {
            let mut way = |exits| {
                let entry = site(SiteKind::Uprobe, entry);
                ways.push(Sites { entry, exits });
            };
            if entry.depth == 0 {
                way(vec![site(SiteKind::Uretprobe, entry)]);
            }
            for set in exits {
                let exits = set.iter().map(|exit| site(SiteKind::Uprobe, exit));
                way(exits.collect());
            }
        }
        ways
    }

    /// The report with one function's sites for another's.
    fn with(&self, sites: impl Fn(&Function) -> Option<Sites>) -> Report {
        let mut report = self.report.clone();
        let functions = &mut report.findings[0].functions;
        functions.retain_mut(|function| match sites(function) {
            Some(sites) => {
                function.sites = sites;
                true
            }
            None => false,
        });
        report
    }

    fn chosen(&self, return_probes: bool) -> Report {
        let mut report = self.report.clone();
        choose_all(
            &mut report,
            &Choice {
                sites: ProbeSites::Planned,
                prices: PriceList::built_in(Arch::X86_64),
                return_probes,
            },
        );
        let functions = &mut report.findings[0].functions;
        functions.retain(|function| function.unprobed.is_none());
        report
    }

    /// The same, with all that is needed to find the mistakes.
    fn explained(&self, report: &Report, what: &str) -> Vec<String> {
        let bad = self.try_out(report, what);
        for function in &bad {
            self.explain(report, function, what);
        }
        bad
    }

    /// Runs the driver under these probes; tells which functions were not seen as they are.
    fn try_out(&self, report: &Report, what: &str) -> Vec<String> {
        let mut direct = Direct::open();
        direct.attach(&self.file, report);
        let output = self.dir.path().join("probed");
        let mut child = program::start(&self.made, &output, CALLS, THREADS);
        while child.try_wait().unwrap().is_none() {
            direct.listen();
        }
        let status = child.wait().unwrap();
        direct.listen();
        let title = format!("{}, {what}", self.title);
        assert!(status.success(), "{title}: {status}");
        let truth = program::read(&output);
        assert!(truth.text == self.text, "{title}: results changed");
        let counter = |wanted| {
            let counters = direct.session.counters().unwrap();
            counters.iter().find(|(of, _)| *of == wanted).unwrap().1
        };
        assert_eq!(counter(Counter::RingFullRecords), 0, "{title}");
        let watched: BTreeSet<&str> = report.findings[0]
            .functions
            .iter()
            .map(|function| function.name.as_str())
            .collect();
        let bad = compare(&truth, &seen(&direct, &truth), &watched);
        if bad.is_empty() {
            let impossible = truth.impossible.iter();
            let impossible = impossible.filter(|(name, _)| watched.contains(name.as_str()));
            let count: u64 = impossible.map(|(_, count)| count).sum();
            assert_eq!(counter(Counter::BadResult), count, "{title}");
        }
        bad
    }

    fn explain(&self, report: &Report, name: &str, what: &str) {
        let function = report.findings[0].functions.iter();
        let function = function.clone().find(|function| function.name == name);
        let sites = &function.unwrap().sites;
        eprintln!(
            "{}, {what}: {name} was not seen as it is, with {sites:#?}",
            self.title
        );
        let listing = Command::new("objdump")
            .args(["-d", "--no-show-raw-insn"])
            .arg(format!("--disassemble={name}"))
            .arg(&self.made.path)
            .output();
        if let Ok(listing) = listing {
            eprintln!("{}", String::from_utf8_lossy(&listing.stdout));
        }
    }
}

fn site(kind: SiteKind, candidate: &Candidate) -> Site {
    Site {
        depth: candidate.depth,
        form: Some(candidate.form),
        proof: candidate.proof.clone(),
        ..Site::new(kind, candidate.vaddr, candidate.file_offset)
    }
}

/// As discovery would report the functions if they were a library's.
fn report(made: &Made, known: Known) -> Report {
    let roles = [Role::Write, Role::Read].into_iter().cycle();
    let watched = std::iter::zip(&made.functions, roles);
    let watched: Vec<_> = watched
        .map(|(symbol, role)| Watched { symbol, role })
        .collect();
    let mut report = direct::report(&made.path, "openssl", Abi::C, &watched);
    for function in &mut report.findings[0].functions {
        function.call.result = Some(ResultShape::I32);
        if known == Known::Symbols {
            function.evidence.push(Evidence {
                method: Method::Symtab,
                detail: function.name.clone(),
            });
        } else {
            function.size = 0;
        }
    }
    report
}

/// What the probes saw, by thread.
fn seen(direct: &Direct, truth: &Truth) -> BTreeMap<u32, Vec<Seen>> {
    let mut all: BTreeMap<u32, Vec<Seen>> = BTreeMap::new();
    for event in &direct.events {
        let Event::Data { caller, conn, data } = event else {
            continue;
        };
        let (start, size) = truth.objects[&caller.tid];
        let object = conn.ptr.wrapping_sub(start);
        let is_one = object.is_multiple_of(size) && data.missing.is_none();
        all.entry(caller.tid).or_default().push(Seen {
            function: direct.session.function(conn.function).unwrap().name.clone(),
            object: if is_one { object / size } else { u64::MAX },
            moved: data.call_len,
            hash: program::hash_of(&data.payload),
        });
    }
    all
}

/// The functions whose calls differ; if there are none, the order across functions must be the same, too.
fn compare(
    truth: &Truth,
    seen: &BTreeMap<u32, Vec<Seen>>,
    watched: &BTreeSet<&str>,
) -> Vec<String> {
    let mut bad = BTreeSet::new();
    let mut is_ordered = true;
    for (tid, calls) in &truth.calls {
        let is_watched = |call: &&Seen| watched.contains(call.function.as_str());
        let wanted: Vec<&Seen> = calls.iter().filter(is_watched).collect();
        let got: Vec<&Seen> = seen.get(tid).into_iter().flatten().collect();
        if wanted == got {
            continue;
        }
        is_ordered = false;
        for name in watched {
            let of = |all: &[&'_ Seen]| -> Vec<Seen> {
                let all = all.iter().filter(|call| call.function == *name);
                all.map(|call| (*call).clone()).collect()
            };
            if of(&wanted) != of(&got) {
                bad.insert((*name).to_owned());
            }
        }
    }
    assert!(is_ordered || !bad.is_empty(), "calls in another order");
    bad.into_iter().collect()
}

fn holds(known: Known) {
    if !is_root() {
        return;
    }
    for seed in seeds() {
        eprintln!("seed {seed}, {known:?}");
        let Some(property) = Property::new(seed, known) else {
            return;
        };
        assert!(property.text.lines().count() > THREADS * CALLS);
        let mut bad = Vec::new();
        let classic = property.with(|function| Some(function.sites.clone()));
        bad.extend(property.explained(&classic, "classic"));
        assert!(bad.is_empty(), "not even classic sites see {bad:?}");
        for return_probes in [true, false] {
            let chosen = property.chosen(return_probes);
            let moved = moved(property.functions(), &chosen);
            let of = chosen.findings[0].functions.len();
            eprintln!("chosen: {moved} of {of} functions have other sites than the classic ones");
            assert!(moved * 3 > of, "the planner hardly plans: {moved} of {of}");
            let what = format!("chosen, return probes: {return_probes}");
            bad.extend(property.explained(&chosen, &what));
        }
        bad.extend(all_ways(&property));
        assert!(bad.is_empty(), "{}: {bad:?}", property.title);
    }
}

/// Functions with other than their classic sites.
fn moved(all: &[Function], chosen: &Report) -> usize {
    let classic: BTreeMap<_, _> = all.iter().map(|of| (&of.name, &of.sites)).collect();
    let functions = chosen.findings[0].functions.iter();
    let is_moved = |function: &&Function| {
        let classic = classic[&function.name];
        let exits =
            |sites: &Sites| Vec::from_iter(sites.exits.iter().map(|of| (of.vaddr, of.kind)));
        classic.entry.vaddr != function.sites.entry.vaddr
            || exits(classic) != exits(&function.sites)
    };
    functions.filter(is_moved).count()
}

/// In each round another way for each function, until all had all of theirs.
fn all_ways(property: &Property) -> Vec<String> {
    let ways: BTreeMap<_, _> = property
        .functions()
        .iter()
        .map(|function| (function.name.clone(), Property::ways(function)))
        .collect();
    let total: usize = ways.values().map(Vec::len).sum();
    let most = ways.values().map(Vec::len).max().unwrap_or(0);
    let rounds = if is_extended() {
        most
    } else {
        most.min(WAYS_MAX)
    };
    eprintln!("{total} ways, at most {most} of a function, {rounds} rounds");
    let mut bad = Vec::new();
    for round in 0..rounds {
        let report = property.with(|function| {
            let ways = &ways[&function.name];
            // With fewer rounds than ways, those that are tried lie all over the list.
            let step = ways.len().div_ceil(rounds).max(1);
            ways.get(round * step % ways.len().max(1)).cloned()
        });
        bad.extend(property.explained(&report, &format!("way {round}")));
    }
    bad
}

/// The comparison itself: exits that are left out, and stacks that are said to be elsewhere, are noticed.
#[test]
fn root_wrong_sites_are_noticed() {
    if !is_root() {
        return;
    }
    let Some(property) = Property::new(SEEDS[0], Known::Unwind) else {
        return;
    };
    let sites = property.chosen(false).findings.remove(0).functions;
    let several = |function: &Function| function.sites.exits.len() > 1;
    let chosen = |name: &str| sites.iter().find(|function| function.name == name);
    // Some exits are never passed: one of the first and the last is.
    let (mut watched, mut bad) = (0, BTreeSet::new());
    for place in ["first", "last"] {
        let fewer = property.with(|function| {
            let mut sites = chosen(&function.name)
                .filter(|of| several(of))?
                .sites
                .clone();
            let left_out = if place == "first" {
                0
            } else {
                sites.exits.len() - 1
            };
            sites.exits.remove(left_out);
            Some(sites)
        });
        watched = fewer.findings[0].functions.len();
        bad.extend(property.try_out(&fewer, &format!("without the {place} exit")));
    }
    assert!(watched > 5);
    assert!(bad.len() > watched / 2, "{} of {watched}", bad.len());
    let deeper = property.with(|function| {
        let mut sites = chosen(&function.name)?.sites.clone();
        sites.exits[0].depth += 8;
        Some(sites)
    });
    let watched = deeper.findings[0].functions.len();
    assert!(property.try_out(&deeper, "another depth").len() > watched / 2);
}

/// Functions that an unwind table tells the ends of, as in most programs.
#[test]
fn root_sites_with_unwind_tables() {
    holds(Known::Unwind);
}

/// Functions with symbols and no unwind table.
#[test]
fn root_sites_with_symbols() {
    holds(Known::Symbols);
}

/// Functions of which no more is known than where they begin.
#[test]
fn root_sites_with_nothing() {
    holds(Known::Begin);
}
