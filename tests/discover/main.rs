//! Functions are found where two other ELF readers say that they are, and nowhere else.
//!
//! The truth is read from the twin that still has its symbols, by goblin and by readelf; it is
//! compared as a set, so a function too many fails like one too few.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod aead;
mod go;
mod made;
mod pointers;
mod programs;
mod rust_twins;
mod rustls_traits;
mod sites;
#[path = "../support/mod.rs"]
mod support;
mod twins;
mod unwind;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use agentsight::discover::{Confidence, Finding, Function, Method, Report, examine};
use agentsight::image::ImageFile;
use agentsight::image::debug_file::DebugDirs;
use agentsight::symdb::{self, SymbolDb};
use agentsight_testbins::Testbin;
use support::truth::{self, Place, Tables};
use support::{require, sample, testbin};

/// Testbins that rename OpenSSL put this before its names.
const PREFIX: &str = "LK_";

fn look(path: &Path, global: &[PathBuf]) -> Report {
    let file = ImageFile::open(path).unwrap();
    let dirs = DebugDirs {
        global: global.to_vec(),
    };
    let report = examine(&file, &SymbolDb::load().unwrap(), &dirs);
    report.unwrap_or_else(|error| panic!("{error:#}"))
}

/// Examines a testbin, with the debug files that it brings and none of the system's.
fn look_at(testbin: &Testbin) -> Report {
    let global = testbin
        .debug_root
        .iter()
        .map(|root| root.join("usr/lib/debug"));
    look(file_of(testbin), &global.collect::<Vec<_>>())
}

/// Where the TLS library of a testbin is.
fn file_of(testbin: &Testbin) -> &Path {
    testbin.library.as_ref().unwrap_or(&testbin.path)
}

/// The file of a testbin that has all symbols.
fn twin_of(testbin: &Testbin) -> &Path {
    testbin.library.as_ref().unwrap_or(&testbin.twin)
}

/// Is this an exported function that symbol-db knows of one of these libraries?
fn known(libraries: &[&str]) -> impl Fn(&str) -> bool + use<> {
    known_if(libraries, |function| !function.internal)
}

fn known_if(
    libraries: &[&str],
    wanted: fn(&symdb::Function) -> bool,
) -> impl Fn(&str) -> bool + use<> {
    let db = SymbolDb::load().unwrap();
    let names: BTreeSet<String> = libraries
        .iter()
        .filter_map(|library| db.library(library))
        .flat_map(|library| {
            let functions = library.functions.iter();
            functions
                .filter(|function| wanted(function))
                .map(|function| function.name.clone())
        })
        .collect();
    move |name: &str| names.contains(name.strip_prefix(PREFIX).unwrap_or(name))
}

/// What structure alone tells.
const STRUCTURE: &[Method] = &[
    Method::ErrorNames,
    Method::ErrorCodes,
    Method::ErrorSites,
    Method::MethodTable,
    Method::Calls,
    Method::Reasons,
];

/// Whether a name in some table led to the function.
fn is_named(function: &&Function) -> bool {
    let mut methods = function.evidence.iter().map(|evidence| evidence.method);
    methods.any(|method| !STRUCTURE.contains(&method))
}

/// Exported functions that are named somewhere.
fn found(findings: &[Finding]) -> BTreeSet<Place> {
    let db = SymbolDb::load().unwrap();
    let is_internal = |finding: &Finding, name: &str| {
        let facts = db.library(&finding.library).unwrap();
        let name = name.strip_prefix(PREFIX).unwrap_or(name);
        facts
            .function(name)
            .is_some_and(|function| function.internal)
    };
    findings
        .iter()
        .flat_map(|finding| {
            finding
                .functions
                .iter()
                .map(move |function| (finding, function))
        })
        .filter(|(finding, function)| !is_internal(finding, &function.name))
        .map(|(_, function)| function)
        .filter(is_named)
        .map(|function| {
            (
                function.name.clone(),
                function.vaddr.0,
                function.file_offset.0,
            )
        })
        .collect()
}

/// What goblin and readelf agree on.
fn agreed_truth(path: &Path, tables: Tables, wanted: &dyn Fn(&str) -> bool) -> BTreeSet<Place> {
    let truth = truth::functions(path, tables, wanted);
    if let Some(third) = truth::functions_by_readelf(path, tables, wanted) {
        assert_eq!(
            truth,
            third,
            "goblin and readelf differ on {}",
            path.display()
        );
    }
    truth
}

fn families(testbin: &Testbin) -> Vec<&str> {
    let expected = testbin.expect.iter();
    expected.map(|expected| expected.library.as_str()).collect()
}

fn step(variant: &str) -> &str {
    variant.split_once('.').map_or("", |(_, step)| step)
}

/// Which of the twin's names are left somewhere after a step.
fn tables_left(variant: &str) -> Tables {
    match step(variant) {
        "strip" | "nosections" => Tables::Dynamic,
        _ => Tables::All,
    }
}

/// Where the names must have come from.
fn method_after(variant: &str) -> Method {
    match step(variant) {
        "strip" | "nosections" => Method::Dynsym,
        "debugdata" => Method::DebugData,
        // The linked file has the same build ID, which is the stronger proof of the two.
        "build-id" | "debuglink" => Method::BuildIdFile,
        "dwarf-only" => Method::Dwarf,
        _ if variant == "prefixed-so" => Method::Dynsym,
        _ => Method::Symtab,
    }
}

fn check(testbin: &Testbin) {
    let about = format!("{} {}", testbin.program, testbin.variant);
    let families = families(testbin);
    let wanted = known(&families);
    let truth = agreed_truth(twin_of(testbin), tables_left(&testbin.variant), &wanted);
    let report = look_at(testbin);
    assert_eq!(found(&report.findings), truth, "{about}");
    for finding in &report.findings {
        assert!(
            families.contains(&finding.library.as_str()),
            "{about}: {}",
            finding.library
        );
        let exported = finding.functions.iter().filter(is_named);
        for function in exported.filter(|function| wanted(&function.name)) {
            let methods = function.evidence.iter().map(|evidence| evidence.method);
            let method = method_after(&testbin.variant);
            assert!(
                methods.clone().any(|found| found == method),
                "{about}: {} by {:?}, not {method:?}",
                function.name,
                methods.collect::<Vec<_>>()
            );
        }
    }
    let imported: BTreeSet<String> = report
        .imports
        .iter()
        .flat_map(|import| import.functions.iter().cloned())
        .collect();
    assert_eq!(
        imported,
        truth::imports(file_of(testbin), &wanted),
        "{about}: imports"
    );
    check_structure(testbin, &report, truth.is_empty());
}

/// What is found by structure is where the twin has it; a copy without any name left is found like that.
fn check_structure(testbin: &Testbin, report: &Report, is_nameless: bool) {
    let about = format!("{} {}", testbin.program, testbin.variant);
    let wanted = known_if(&families(testbin), |_| true);
    // Local symbols are not renamed with the others.
    let plain = |name: &str| name.strip_prefix(PREFIX).unwrap_or(name).to_owned();
    let twin = agreed_truth(twin_of(testbin), Tables::All, &wanted).into_iter();
    let twin: BTreeSet<Place> = twin
        .map(|(name, vaddr, offset)| (plain(&name), vaddr, offset))
        .collect();
    let functions = || {
        report
            .findings
            .iter()
            .flat_map(|finding| &finding.functions)
    };
    for function in functions() {
        let place = (
            plain(&function.name),
            function.vaddr.0,
            function.file_offset.0,
        );
        assert!(twin.contains(&place), "{about}: {place:?} is wrong");
    }
    let has_openssl = families(testbin).contains(&"openssl")
        && !testbin.variant.starts_with("dyn")
        && testbin.program != "standin/openssl";
    if has_openssl && is_nameless {
        for name in [
            "ssl_read_internal",
            "ssl_write_internal",
            "SSL_do_handshake",
        ] {
            let is_it = |function: &Function| plain(&function.name) == name;
            assert!(functions().any(is_it), "{about}: {name} was not found");
        }
        return;
    }
    check_refusals(testbin, report, is_nameless);
}

/// A library that is inside without names must be refused, one that is not inside must not.
fn check_refusals(testbin: &Testbin, report: &Report, is_nameless: bool) {
    let has_library = !testbin.variant.starts_with("dyn") && testbin.program != "standin/openssl";
    let about = format!(
        "{} {}: {:?}",
        testbin.program, testbin.variant, report.refused
    );
    if is_nameless && has_library {
        assert_eq!(report.refused.len(), 1, "{about}");
        assert!(
            families(testbin).contains(&report.refused[0].library.as_str()),
            "{about}"
        );
        assert!(
            report.refused[0].reason.contains("names are stripped"),
            "{about}"
        );
    } else {
        assert!(report.refused.is_empty(), "{about}");
    }
}

/// Checks all variants of a program; returns how many had functions to find.
fn check_all(program: &str) -> usize {
    let variants = agentsight_testbins::list().unwrap().into_iter();
    let built: Vec<Testbin> = variants
        .filter(|(name, _)| name == program)
        .filter_map(|(program, variant)| testbin(&program, &variant))
        .collect();
    for testbin in &built {
        check(testbin);
    }
    let has_functions = |testbin: &&Testbin| !look_at(testbin).findings.is_empty();
    built.iter().filter(has_functions).count()
}

/// OpenSSL would be missed, or probed at a wrong address, in one of the ways in which it is linked.
#[test]
fn openssl_is_found_in_every_variant() {
    require!(testbin("openssl/pair", "static"));
    assert!(check_all("openssl/pair") >= 20);
}

/// The same for programs with several source files.
#[test]
fn openssl_clients_and_servers_are_found() {
    require!(testbin("openssl/client", "static"));
    assert!(check_all("openssl/client") >= 2);
    assert!(check_all("openssl/server") >= 2);
}

/// GnuTLS would be missed or misplaced.
#[test]
fn gnutls_is_found_in_every_variant() {
    require!(testbin("gnutls/client", "embedded"));
    assert!(check_all("gnutls/client") >= 5);
    assert!(check_all("gnutls/server") >= 5);
}

/// A program that only calls NSS would be taken for NSS, or its calls be overlooked.
#[test]
fn nss_users_import_and_define_nothing() {
    require!(testbin("nss/client", "dyn-O2"));
    assert_eq!(check_all("nss/client") + check_all("nss/server"), 0);
}

/// A function that only DWARF names would be missed or misplaced.
#[test]
fn dwarf_is_read_in_every_form() {
    require!(testbin("standin/openssl", "dwarf5"));
    assert!(check_all("standin/openssl") >= 11);
}

/// Ground truth that lacks the functions a testbin promises would make the tests above empty.
#[test]
fn the_truth_has_what_the_testbins_promise() {
    let pair = require!(testbin("openssl/pair", "static"));
    let client = require!(testbin("gnutls/client", "embedded"));
    let standin = require!(testbin("standin/openssl", "dwarf5"));
    for testbin in [pair, client, standin] {
        let expected = &testbin.expect[0];
        let wanted = known(&[&expected.library]);
        let truth = agreed_truth(&testbin.twin, Tables::All, &wanted);
        for name in expected.functions.iter().filter(|name| wanted(name)) {
            assert!(
                truth.iter().any(|(known, ..)| known == name),
                "{name} in {testbin:?}"
            );
        }
    }
}

/// Functions that are inlined somewhere, too, or whose unlikely part stands apart, have their name or
/// address elsewhere in DWARF: they would be missed.
#[test]
fn dwarf_of_optimised_code_is_followed() {
    const SOURCE: &str = r#"
        #define KEEP __attribute__((used, noipa))
        __attribute__((cold, noinline)) void fail(int n) { __asm__ volatile("" :: "r"(n)); }
        int SSL_read(int n) { if (n < 0) { fail(n); fail(n + 1); } return n * 3; }
        KEEP int caller(int n) { return SSL_read(n) + 1; }
        KEEP int SSL_write(int n) { if (n == 7) { fail(n); __builtin_trap(); } return n * 5; }
        int main(int n, char **v) { return caller(n) + SSL_write(n); }
    "#;
    let folder = tempfile::tempdir().unwrap();
    for options in [["-O2", "-gdwarf-5"], ["-O2", "-gdwarf-4"]] {
        let twin = require!(compile(&folder, SOURCE, &options));
        let entries = require!(run("readelf", &["--debug-dump=info", path_str(&twin)]));
        for attribute in ["DW_AT_abstract_origin", "DW_AT_ranges"] {
            assert!(
                entries.contains(attribute),
                "no {attribute}: the test shows nothing"
            );
        }
        assert_dwarf_suffices(&twin, &folder);
    }
}

/// The same in a real library, of C++ compiled by clang.
#[test]
fn dwarf_of_a_real_library_is_followed() {
    let sample = require!(sample("curl-cffi"));
    assert_dwarf_suffices(&sample.path, &tempfile::tempdir().unwrap());
}

/// Without its symbol table, the file must give the same functions by DWARF alone.
fn assert_dwarf_suffices(twin: &Path, folder: &tempfile::TempDir) {
    let stripped = folder.path().join("stripped");
    let into = path_str(&stripped);
    let options = [
        "--strip-all",
        "--keep-section=.debug_*",
        "-o",
        into,
        path_str(twin),
    ];
    require!(run("strip", &options));
    // A library is told from its relatives by names that may have no DWARF: compare the places only.
    let report = look(&stripped, &[]);
    let truth = agreed_truth(twin, Tables::All, &known(&["openssl", "boringssl"]));
    assert!(truth.len() > 1);
    assert_eq!(found(&report.findings), truth);
    let mut functions = report
        .findings
        .iter()
        .flat_map(|finding| &finding.functions)
        .filter(is_named);
    assert!(functions.all(|function| function.evidence[0].method == Method::Dwarf));
}

fn compile(folder: &tempfile::TempDir, source: &str, options: &[&str]) -> Option<PathBuf> {
    let (from, to) = (
        folder.path().join("program.c"),
        folder.path().join("program"),
    );
    fs::write(&from, source).unwrap();
    let all = [options, &["-o", path_str(&to), path_str(&from)]].concat();
    run("gcc", &all)?;
    Some(to)
}

/// What a tool prints, or a skip if it is not installed.
fn run(tool: &str, arguments: &[&str]) -> Option<String> {
    let Ok(output) = Command::new(tool).args(arguments).output() else {
        return support::skip(tool);
    };
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{tool} {arguments:?}: {errors}");
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn path_str(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A debug link would be believed without its checksum, or not at all where there is no build ID.
#[test]
fn a_debug_link_is_proven_by_its_checksum() {
    let linked = require!(testbin("standin/openssl", "dwarf5.debuglink"));
    let folder = tempfile::tempdir().unwrap();
    let name = linked.path.file_name().unwrap();
    let copy = folder.path().join(name);
    fs::write(&copy, without_build_id(&linked.path)).unwrap();
    let debug_name = format!("{}.debug", name.to_str().unwrap());
    let mut debug = fs::read(linked.path.with_file_name(&debug_name)).unwrap();
    fs::write(folder.path().join(&debug_name), &debug).unwrap();

    let report = look(&copy, &[]);
    let truth = agreed_truth(&linked.twin, Tables::All, &known(&["openssl"]));
    assert_eq!(found(&report.findings), truth);
    let first = &report.findings[0].functions[0].evidence[0];
    assert_eq!(first.method, Method::DebugLink);

    *debug.last_mut().unwrap() ^= 1;
    fs::write(folder.path().join(&debug_name), &debug).unwrap();
    let report = look(&copy, &[]);
    assert!(report.findings.is_empty());
    let rung = report
        .ladder
        .iter()
        .find(|rung| rung.method == Method::DebugLink);
    assert!(rung.unwrap().outcome.contains("another CRC"), "{rung:?}");
}

/// A debug file of another build would give wrong addresses.
#[test]
fn a_debug_file_of_another_build_is_rejected() {
    let linked = require!(testbin("standin/openssl", "dwarf5.debuglink"));
    let other = require!(testbin("standin/openssl", "dwarf4"));
    let folder = tempfile::tempdir().unwrap();
    let name = linked.path.file_name().unwrap();
    let copy = folder.path().join(name);
    fs::copy(&linked.path, &copy).unwrap();
    let debug = folder
        .path()
        .join(format!("{}.debug", name.to_str().unwrap()));
    fs::copy(&other.path, debug).unwrap();
    let report = look(&copy, &[]);
    assert!(report.findings.is_empty());
    let rung = report
        .ladder
        .iter()
        .find(|rung| rung.method == Method::DebugLink);
    assert!(rung.unwrap().outcome.contains("another build"), "{rung:?}");
}

/// The file with the type of its build ID note changed, so that it has none.
fn without_build_id(path: &Path) -> Vec<u8> {
    const NT_GNU_BUILD_ID: [u8; 8] = *b"\x03\0\0\0GNU\0";
    let mut bytes = fs::read(path).unwrap();
    let at = bytes
        .windows(8)
        .position(|bytes| bytes == NT_GNU_BUILD_ID)
        .unwrap();
    bytes[at] = 0x7f;
    bytes
}

/// What differs between Debian's updates.
const FILTERS: [(&str, &str); 1] = [(r"\d+\.\d+\.\d+[a-z]?", "[version]")];

/// Findings for people: no addresses, but how far each is from the symbol of that name in `truth`.
fn table(report: &Report, truth: &Path) -> String {
    let mut out = String::new();
    for finding in &report.findings {
        let version = finding.version.as_deref().unwrap_or("of unknown version");
        writeln!(out, "{} {version}", finding.library).unwrap();
        let wanted = known_if(&[&finding.library], |_| true);
        let all = truth::functions(truth, Tables::All, &wanted);
        for function in &finding.functions {
            let methods: BTreeSet<Method> = function
                .evidence
                .iter()
                .map(|evidence| evidence.method)
                .collect();
            let methods = methods.iter().map(|method| method.as_str());
            writeln!(
                out,
                "  {:29} {:9} {:6}  {:21} {}",
                function.name,
                function.role.as_str(),
                function.confidence.as_str(),
                methods.collect::<Vec<_>>().join(" "),
                symbolic(function.vaddr.0, &function.name, &all)
            )
            .unwrap();
        }
    }
    for refusal in &report.refused {
        writeln!(out, "{} refused: {}", refusal.library, refusal.reason).unwrap();
    }
    for import in &report.imports {
        writeln!(
            out,
            "{} imported: {}",
            import.library,
            import.functions.join(" ")
        )
        .unwrap();
    }
    out
}

/// `SSL_read+0`: the nearest symbol at or before the address, if in doubt the one called `name`.
fn symbolic(addr: u64, name: &str, truth: &BTreeSet<Place>) -> String {
    let before = truth.iter().filter(|(_, start, _)| *start <= addr);
    let nearest = before.max_by_key(|(known, start, _)| (*start, known == name));
    nearest.map_or("nowhere".to_owned(), |(known, start, _)| {
        format!("{known}+{}", addr - start)
    })
}

/// People would see something else for a kind of file; the tables also show confidence and roles.
#[test]
fn tables_look_right() {
    for (name, program, variant) in [
        ("dynamic", "openssl/client", "dyn-O2.strip"),
        ("static", "openssl/pair", "static"),
        ("static_stripped", "openssl/pair", "static.strip"),
        ("debuglink", "openssl/pair", "static-pie.debuglink"),
        ("debugdata", "gnutls/client", "embedded.debugdata"),
        ("dwarf_only", "standin/openssl", "dwarf4.dwarf-only"),
        ("nosections", "openssl/pair", "exported.nosections"),
        ("prefixed", "openssl/pair", "prefixed.strip-debug"),
        ("nss_user", "nss/client", "dyn-O2"),
    ] {
        let Some(testbin) = testbin(program, variant) else {
            continue;
        };
        let table = table(&look_at(&testbin), twin_of(&testbin));
        insta::with_settings!({filters => FILTERS.to_vec()}, {
            insta::assert_snapshot!(name, table);
        });
    }
}
