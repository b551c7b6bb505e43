//! Go programs of seven toolchains, in all the ways in which they are linked and stripped: each must
//! give the addresses of its unstripped twin's symbol table, as the object crate reads it.
//!
//! `AGENTSIGHT_EXTENDED=1` runs every toolchain in every way and prints what was found.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use agentsight::discover::finding::{Abi, SiteKind};
use agentsight::discover::{Confidence, Method, Report};
use agentsight::image::{Image, VirtAddr};
use agentsight_testbins::golang::{self, MODES, Mode, VERSIONS};
use agentsight_testbins::{Testbin, Unbuilt};
use object::{Object, ObjectSymbol};

use super::look;
use super::support::{Random, require, skip};

/// What every run of the tests builds: the ends of the range, and the ways that differ most.
const CI_VERSIONS: [&str; 2] = ["1.21.13", "1.27.3"];
const CI_MODES: [&str; 8] = [
    "strip",
    "sw",
    "nosections",
    "pie-strip",
    "external-pie-nosections",
    "pure-strip",
    "c-shared-strip",
    "arm64-pie-strip",
];

fn is_extended() -> bool {
    std::env::var_os("AGENTSIGHT_EXTENDED").is_some_and(|value| value == "1")
}

fn built(version: &str, mode: &Mode) -> Option<Testbin> {
    match golang::build(version, mode) {
        Ok(testbin) => Some(testbin),
        Err(Unbuilt::Missing(what)) => skip(&format!("Go {version} {}: {what}", mode.name)),
        Err(error) => panic!("Go {version} {}: {error}", mode.name),
    }
}

fn mode(name: &str) -> &'static Mode {
    MODES.iter().find(|mode| mode.name == name).unwrap()
}

/// The three functions by the twin's symbols.
fn truth(twin: &Path, expected: &[String]) -> BTreeMap<String, u64> {
    let bytes = fs::read(twin).unwrap();
    let file = object::File::parse(&*bytes).unwrap();
    let symbols = file.symbols().filter(|symbol| !symbol.is_undefined());
    let named =
        symbols.filter_map(|symbol| Some((symbol.name().ok()?.to_owned(), symbol.address())));
    named.filter(|(name, _)| expected.contains(name)).collect()
}

fn found(report: &Report) -> BTreeMap<String, u64> {
    let findings = report.findings.iter();
    let go = findings.filter(|finding| finding.library == "go-crypto-tls");
    go.flat_map(|finding| &finding.functions)
        .map(|function| (function.name.clone(), function.vaddr.0))
        .collect()
}

/// What must hold of every Go program that is found.
fn assert_well_found(testbin: &Testbin, report: &Report) {
    let about = &testbin.variant;
    let finding = &report.findings[0];
    for function in &finding.functions {
        assert_eq!(function.confidence, Confidence::High, "{about}");
        assert_eq!(function.call.abi, Abi::GoRegisters, "{about}");
        let methods: Vec<_> = function.evidence.iter().map(|e| e.method).collect();
        assert_eq!(methods, [Method::Pclntab, Method::Itab], "{about}");
        let exits = &function.sites.exits;
        assert!(
            exits.iter().all(|exit| exit.kind == SiteKind::Uprobe),
            "{about}"
        );
        assert_eq!(
            exits.is_empty(),
            function.name.ends_with("Close"),
            "{about}"
        );
    }
    let facts = finding.go.as_ref().unwrap();
    assert!(
        facts.from_types && facts.tcp_addr.is_some(),
        "{about}: {facts:?}"
    );
    assert!(
        facts.sockets.len() >= 2 && !facts.wrappers.is_empty(),
        "{about}: {facts:?}"
    );
    assert!(report.refused.is_empty(), "{about}: {:?}", report.refused);
}

/// A Go program of some version, linked in some way, would be missed or probed at a wrong place.
#[test]
fn go_is_found_in_every_mode() {
    let versions: &[&str] = if is_extended() {
        &VERSIONS
    } else {
        &CI_VERSIONS
    };
    let mut total = Counts::default();
    for mode in MODES
        .iter()
        .filter(|mode| is_extended() || CI_MODES.contains(&mode.name))
    {
        let mut counts = Counts::default();
        for version in versions {
            let testbin = require!(built(version, mode));
            let report = look(&testbin.path, &[]);
            let (got, expected) = (
                found(&report),
                truth(&testbin.twin, &testbin.expect[0].functions),
            );
            assert_eq!(expected.len(), 3, "{}: no truth", testbin.variant);
            counts.add(&got, &expected);
            assert_eq!(got, expected, "{}: {:?}", testbin.variant, report.refused);
            assert_well_found(&testbin, &report);
        }
        counts.print(mode.name);
        total.found += counts.found;
        total.expected += counts.expected;
        total.wrong += counts.wrong;
    }
    total.print("all");
    assert!(total.found >= 48);
}

/// What `--nocapture` shows: recall and precision.
#[derive(Default)]
struct Counts {
    found: usize,
    expected: usize,
    wrong: usize,
}

impl Counts {
    fn add(&mut self, got: &BTreeMap<String, u64>, expected: &BTreeMap<String, u64>) {
        let is_true = |(name, addr): &(&String, &u64)| expected.get(*name) == Some(*addr);
        self.found += got.iter().filter(is_true).count();
        self.wrong += got.iter().filter(|place| !is_true(place)).count();
        self.expected += expected.len();
    }

    fn print(&self, name: &str) {
        let Self {
            found,
            expected,
            wrong,
        } = self;
        eprintln!("{name:24} {found:3} of {expected:3} found, {wrong} wrong");
    }
}

/// Probes would go beside the return instructions, or miss some of them.
#[test]
fn returns_are_those_that_objdump_sees() {
    for version in CI_VERSIONS {
        let testbin = require!(built(version, mode("strip")));
        let report = look(&testbin.path, &[]);
        for function in &report.findings[0].functions {
            let (start, end) = (function.vaddr.0, function.vaddr.0 + function.size);
            let listing = require!(super::run(
                "objdump",
                &[
                    "-d",
                    "--no-show-raw-insn",
                    &format!("--start-address={start:#x}"),
                    &format!("--stop-address={end:#x}"),
                    testbin.twin.to_str().unwrap(),
                ],
            ));
            let returns = listing.lines().filter_map(|line| {
                let (addr, instruction) = line.trim().split_once(":\t")?;
                let addr = u64::from_str_radix(addr, 16).ok()?;
                instruction.starts_with("ret").then_some(addr)
            });
            let offset = function.vaddr.0 - function.file_offset.0;
            let wanted: BTreeSet<u64> = returns.map(|addr| addr - offset).collect();
            assert!(!wanted.is_empty());
            let got: BTreeSet<u64> = function
                .sites
                .exits
                .iter()
                .map(|e| e.file_offset.0)
                .collect();
            if !function.name.ends_with("Close") {
                assert_eq!(got, wanted, "{version} {}", function.name);
            }
        }
    }
}

/// A Go program without TLS would be taken for one with, or nobody be told why nothing was found.
#[test]
fn a_plain_program_has_no_tls() {
    let path = match golang::link("1.27.3", "plain", &[], &[]) {
        Ok(path) => path,
        Err(Unbuilt::Missing(what)) => return skip(&what).unwrap_or_default(),
        Err(error) => panic!("{error}"),
    };
    let report = look(&path, &[]);
    assert!(report.findings.is_empty() && report.refused.is_empty());
    let rung = report
        .ladder
        .iter()
        .find(|rung| rung.method == Method::Pclntab);
    assert!(
        rung.unwrap().outcome.contains("no crypto/tls linked"),
        "{rung:?}"
    );
}

/// Damage at any place would lead to a wrong address, a panic or a long wait. What is found all the
/// same must be true.
#[test]
fn damage_never_gives_a_wrong_address() {
    for name in ["strip", "pie-strip"] {
        let testbin = require!(built("1.27.3", mode(name)));
        let expected = truth(&testbin.twin, &testbin.expect[0].functions);
        let original = fs::read(&testbin.path).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        let places = interesting_places(&original, &look(&testbin.path, &[]));
        let mut random = Random(2027);
        let mut refused = 0;
        for round in 0..40 {
            let mut bytes = original.clone();
            let place = *random.pick(&places) + random.below(64);
            bytes[place] ^= 1 << random.below(8);
            fs::write(&path, &bytes).unwrap();
            let began = Instant::now();
            let report = look(&path, &[]);
            assert!(began.elapsed() < Duration::from_secs(20), "round {round}");
            let got = found(&report);
            refused += usize::from(got != expected);
            for (name, addr) in got {
                assert_eq!(
                    expected.get(&name),
                    Some(&addr),
                    "round {round}, byte {place:#x}"
                );
            }
        }
        assert!(refused > 0, "no damage mattered: the test shows nothing");
    }
}

/// File offsets of what discovery relies on: the table's header, the records, the itab, the code.
fn interesting_places(bytes: &[u8], report: &Report) -> Vec<usize> {
    let image = Image::parse(bytes).unwrap();
    let mut texts: Vec<String> = report
        .ladder
        .iter()
        .map(|rung| rung.outcome.clone())
        .collect();
    for function in &report.findings[0].functions {
        texts.extend(
            function
                .evidence
                .iter()
                .map(|evidence| evidence.detail.clone()),
        );
    }
    let words = texts.iter().flat_map(|text| text.split([' ', ',']));
    let addresses = words.filter_map(|word| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok());
    let offsets = addresses.filter_map(|addr| image.segments.file_offset(VirtAddr(addr)));
    let code = report.findings[0]
        .functions
        .iter()
        .map(|function| function.file_offset);
    let all: Vec<usize> = offsets
        .chain(code)
        .map(|offset| usize::try_from(offset.0).unwrap())
        .collect();
    assert!(all.len() > 8, "{all:?}");
    all
}

/// A program whose names were replaced would be given up although its method table tells the functions;
/// or one whose function table lies would be probed.
#[test]
fn names_gone_leave_the_itab_and_lies_are_refused() {
    let testbin = require!(built("1.27.3", mode("strip")));
    let expected = truth(&testbin.twin, &testbin.expect[0].functions);
    let original = fs::read(&testbin.path).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("program");

    let mut nameless = original.clone();
    for name in expected.keys() {
        let text = format!("\0{name}\0").into_bytes();
        let at = memchr::memmem::find(&nameless, &text).unwrap();
        nameless[at + 1..at + text.len() - 1].fill(b'x');
    }
    fs::write(&path, &nameless).unwrap();
    let report = look(&path, &[]);
    assert_eq!(found(&report), expected);
    for function in &report.findings[0].functions {
        assert_eq!(function.confidence, Confidence::Medium);
        let methods: Vec<_> = function.evidence.iter().map(|e| e.method).collect();
        assert_eq!(methods, [Method::Itab]);
    }

    // The record of Read says another address than the table: only Read is refused.
    let image = Image::parse(&original).unwrap();
    let report = look(&testbin.path, &[]);
    let read = report.findings[0]
        .functions
        .iter()
        .find(|f| f.name.ends_with("Read"))
        .unwrap();
    let (_, record) = read.evidence[0].detail.split_once("record at 0x").unwrap();
    let record = u64::from_str_radix(record.split(',').next().unwrap(), 16).unwrap();
    let offset = usize::try_from(image.segments.file_offset(VirtAddr(record)).unwrap().0).unwrap();
    let mut lying = original.clone();
    lying[offset] ^= 0x40;
    fs::write(&path, &lying).unwrap();
    let report = look(&path, &[]);
    assert_eq!(found(&report).len(), 2);
    assert!(
        report.refused[0].reason.contains("corrupt function table"),
        "{:?}",
        report.refused
    );

    // Another magic: nothing can be found, and the reason is told.
    let table = memchr::memmem::find(&original, b"\xf1\xff\xff\xff\0\0\x01\x08").unwrap();
    let mut magic = original;
    magic[table] = 0xf5;
    fs::write(&path, &magic).unwrap();
    let report = look(&path, &[]);
    assert!(report.findings.is_empty());
    assert!(
        report.refused[0]
            .reason
            .contains("unknown magic 0xfffffff5"),
        "{:?}",
        report.refused
    );
}

/// A fork would be probed as crypto/tls, with wrong offsets, or QUIC's own copy be probed at all.
#[test]
fn forks_are_told_by_their_paths() {
    let path = match golang::link_forks("1.27.3") {
        Ok(path) => path,
        Err(Unbuilt::Missing(what)) => return skip(&what).unwrap_or_default(),
        Err(error) => panic!("{error}"),
    };
    let report = look(&path, &[]);
    let libraries: Vec<_> = report.findings.iter().map(|f| f.library.as_str()).collect();
    assert_eq!(libraries, ["go-crypto-tls", "utls"]);
    for (finding, package) in report
        .findings
        .iter()
        .zip(["crypto/tls", "crypto/tls/utls"])
    {
        let names = ["Close", "Read", "Write"].map(|name| format!("{package}.(*Conn).{name}"));
        let functions = finding.functions.iter();
        let got: BTreeMap<_, _> = functions.map(|f| (f.name.clone(), f.vaddr.0)).collect();
        assert_eq!(got, truth(&path, &names));
        assert!(
            finding
                .functions
                .iter()
                .all(|f| f.confidence == Confidence::High)
        );
    }
    let refused: Vec<_> = report
        .refused
        .iter()
        .map(|refusal| refusal.library.as_str())
        .collect();
    assert_eq!(refused, ["go-crypto-tls", "go-quic"]);
    assert!(report.refused[0].reason.contains("crypto/tls/x/tls"));
    assert!(report.refused[1].reason.contains("qtls-go1-99"));
}
