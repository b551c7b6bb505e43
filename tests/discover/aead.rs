//! AEAD functions in stripped programs, against the symbols of their twins: tables that stand in the file and
//! tables that code fills, as compilers at hand write that code.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use agentsight::discover::{Confidence, Function, Report};
use agentsight::symdb::Role;

use super::support::{self, require};
use super::{look, path_str, run};

/// A text by which AWS-LC behind rustls is told.
const RUSTLS: &str = "/registry/rustls-0.23.46/src/conn.rs /registry/aws-lc-rs-1.18.1/src/aead.rs";

/// A compiler with options.
struct Form {
    compiler: &'static str,
    strip: &'static str,
    options: &'static [&'static str],
}

const fn host(compiler: &'static str, options: &'static [&'static str]) -> Form {
    Form {
        compiler,
        strip: "strip",
        options,
    }
}

const fn arm(options: &'static [&'static str]) -> Form {
    Form {
        compiler: "aarch64-linux-gnu-gcc",
        strip: "aarch64-linux-gnu-strip",
        options,
    }
}

const FORMS: &[Form] = &[
    host("gcc", &["-O2"]),
    host("gcc", &["-Os", "-DOUT"]),
    host("gcc", &["-O3", "-no-pie", "-fno-pie"]),
    host("gcc", &["-O2", "-static-pie"]),
    host("gcc", &["-O0"]),
    host("gcc", &["-O0", "-DOUT", "-no-pie", "-fno-pie"]),
    host("gcc", &["-O2", "-march=x86-64-v3"]),
    host("gcc", &["-O2", "-march=x86-64-v2", "-DOUT"]),
    host("gcc", &["-O2", "-fno-asynchronous-unwind-tables"]),
    host("gcc", &["-O2", "-DOLD"]),
    host(
        "gcc",
        &["-O2", "-fstack-protector-all", "-fcf-protection=full"],
    ),
    host(
        "gcc",
        &["-O2", "-mtune=sandybridge", "-z", "noseparate-code"],
    ),
    host("clang", &["-O2"]),
    host("clang", &["-Oz", "-DOUT"]),
    host("clang", &["-O3", "-march=x86-64-v3", "-no-pie", "-fno-pie"]),
    host("clang", &["-O0"]),
    host(
        "clang",
        &["-O1", "-DOUT", "-fno-asynchronous-unwind-tables"],
    ),
    host(
        "clang",
        &["-O2", "-DOLD", "-fno-asynchronous-unwind-tables"],
    ),
    arm(&["-O2"]),
    arm(&["-Os", "-DOUT"]),
    arm(&["-O3", "-static", "-no-pie", "-fno-pie"]),
    arm(&["-O2", "-DOLD", "-fno-asynchronous-unwind-tables"]),
    arm(&["-O2", "-shared", "-fPIC"]),
];

/// Names that mean the same are sorted away: role and address.
type Places = BTreeSet<(bool, u64)>;

/// Builds the program, and a stripped copy of it.
fn build(folder: &Path, form: &Form, trace: &str) -> Option<(PathBuf, PathBuf)> {
    let source = support::repository().join("tests/discover/aead/tables.c");
    let (twin, stripped) = (folder.join("twin"), folder.join("program"));
    let trace = format!("-DTRACE=\"{trace}\"");
    let end = [
        trace.as_str(),
        "-w",
        "-o",
        path_str(&twin),
        path_str(&source),
    ];
    run(form.compiler, &[form.options, &end[..]].concat())?;
    run(form.strip, &["-o", path_str(&stripped), path_str(&twin)])?;
    Some((twin, stripped))
}

/// What `nm` says of the functions that tables hold.
fn truth(twin: &Path) -> Option<Places> {
    let printed = run("nm", &[path_str(twin)])?;
    let place = |line: &str| {
        let (addr, name) = line.split_once(' ')?;
        let name = name.get(2..).filter(|name| name.starts_with("aead_"))?;
        let seals = name.ends_with("_seal_scatter");
        assert!(seals || name.ends_with("_open_gather"), "{name}");
        Some((seals, u64::from_str_radix(addr, 16).unwrap()))
    };
    Some(printed.lines().filter_map(place).collect())
}

fn functions(report: &Report) -> impl Iterator<Item = &Function> {
    report
        .findings
        .iter()
        .flat_map(|finding| &finding.functions)
}

/// AEAD functions; rustls's own methods are rustls_traits.rs's.
fn places(report: &Report) -> Places {
    functions(report)
        .filter(|function| !function.name.starts_with("rustls::"))
        .map(|function| (function.role == Role::Write, function.vaddr.0))
        .collect()
}

fn has(tool: &str) -> bool {
    let run = Command::new(tool).arg("--version").output();
    run.is_ok() || support::skip::<()>(tool).is_some()
}

/// A stripped program would be captured in one direction only, not at all, or probed where something
/// else is.
#[test]
fn tables_are_found_however_they_are_filled() {
    let mut faults = Vec::new();
    for form in FORMS.iter().filter(|form| has(form.compiler)) {
        let folder = tempfile::tempdir().unwrap();
        let (twin, stripped) = require!(build(folder.path(), form, RUSTLS));
        let truth = require!(truth(&twin));
        assert_eq!(truth.len(), 8, "{}", form.compiler);
        let report = look(&stripped, &[]);
        let found = places(&report);
        let name = format!("{} {}", form.compiler, form.options.join(" "));
        if found != truth || !report.refused.is_empty() {
            let missing: Vec<_> = truth.difference(&found).collect();
            let wrong: Vec<_> = found.difference(&truth).collect();
            faults.push(format!(
                "{name}: missing {missing:x?}, wrong {wrong:x?}, {:?}",
                report.refused
            ));
            continue;
        }
        let unprobed = functions(&report).filter(|function| function.unprobed.is_some());
        assert_eq!(unprobed.count(), 2, "{name}: those of AES-GCM-SIV");
        let finding = &report.findings[0];
        assert_eq!(finding.library, "rustls", "{name}");
        assert_eq!(finding.version.as_deref(), Some("0.23.46"));
        assert_eq!(finding.provider.as_deref(), Some("aws-lc-rs 1.18.1"));
        let is_old = form.options.contains(&"-DOLD");
        let expected = if is_old {
            Confidence::Medium
        } else {
            Confidence::High
        };
        assert!(
            functions(&report).all(|function| function.confidence == expected),
            "{name}"
        );
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// Names would go unused, or contradict the tables without anybody noticing.
#[test]
fn symbols_confirm_tables() {
    let folder = tempfile::tempdir().unwrap();
    let (twin, _) = require!(build(folder.path(), &host("gcc", &["-O2"]), RUSTLS));
    let report = look(&twin, &[]);
    assert_eq!(places(&report), require!(truth(&twin)));
    for function in functions(&report) {
        let methods: BTreeSet<_> = function
            .evidence
            .iter()
            .map(|one| one.method.as_str())
            .collect();
        assert!(
            methods.contains("symtab") && methods.len() == 2,
            "{function:?}"
        );
        assert_eq!(function.confidence, Confidence::High);
    }
}

/// A program that encrypts files would be probed for nothing.
#[test]
fn a_program_without_tls_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (_, stripped) = require!(build(folder.path(), &host("gcc", &["-O2"]), "nothing"));
    let report = look(&stripped, &[]);
    assert!(
        report.findings.is_empty() && report.refused.is_empty(),
        "{report:?}"
    );
}

/// Fixed addresses, and no table that says where functions begin.
const FIXED: &[&str] = &["-no-pie", "-fno-pie", "-fno-asynchronous-unwind-tables"];

/// One of the other sources, made with these definitions.
fn build_fixed(folder: &Path, name: &str, defined: &[(&str, &str)]) -> Option<(PathBuf, PathBuf)> {
    let source = support::repository().join(format!("tests/discover/aead/{name}.c"));
    let (twin, stripped) = (folder.join(format!("{name}.twin")), folder.join(name));
    let defined: Vec<_> = defined
        .iter()
        .map(|(name, value)| format!("-D{name}=\"{value}\""))
        .collect();
    let defined: Vec<_> = defined.iter().map(String::as_str).collect();
    let end = ["-w", "-O1", "-o", path_str(&twin), path_str(&source)];
    run("gcc", &[FIXED, &defined, &end].concat())?;
    run("strip", &["-o", path_str(&stripped), path_str(&twin)])?;
    Some((twin, stripped))
}

/// Words of a program inside another one would be taken for addresses of the outer one: probes in the middle of its
/// instructions. Nothing may depend on the payload's own header, which may be packed or changed.
#[test]
fn a_program_inside_another_is_not_probed() {
    let folder = tempfile::tempdir().unwrap();
    let trace = ("TRACE", RUSTLS);
    let (twin, stripped) = require!(build_fixed(folder.path(), "ring", &[trace]));
    let truth = require!(truth(&twin));
    assert_eq!(truth.len(), 4);
    assert_eq!(places(&look(&stripped, &[])), truth, "on its own");
    for head in ["\\177ELF", "XELF"] {
        let defined = [trace, ("HEAD", head), ("CARRIED", path_str(&stripped))];
        let (twin, carrier) = require!(build_fixed(folder.path(), "carrier", &defined));
        let names = require!(run("nm", &[path_str(&twin)]));
        let own: BTreeSet<_> = names
            .lines()
            .filter_map(|line| u64::from_str_radix(line.split(' ').next()?, 16).ok())
            .collect();
        assert!(
            truth.iter().any(|(_, addr)| !own.contains(addr)
                && own.range(..addr).next().is_some()
                && own.range(addr..).next().is_some()),
            "the payload's addresses must be inside the carrier's code"
        );
        let report = look(&carrier, &[]);
        assert_eq!(places(&report), Places::new(), "{head}: {report:?}");
    }
}

/// ring signs tokens and encrypts files as well: without a sign of TLS its functions are nobody's connections.
#[test]
fn ring_without_tls_is_left_alone() {
    let ring = "/registry/ring-0.17.14/src/aead.rs";
    let tls = format!("/registry/rustls-0.23.46/src/conn.rs {ring}");
    for (trace, is_tls) in [(ring, false), (tls.as_str(), true)] {
        let folder = tempfile::tempdir().unwrap();
        let (twin, stripped) = require!(build_fixed(folder.path(), "ring", &[("TRACE", trace)]));
        let expected = match is_tls {
            true => require!(truth(&twin)),
            false => Places::new(),
        };
        let report = look(&stripped, &[]);
        assert_eq!(places(&report), expected, "{trace}: {report:?}");
        assert!(report.refused.is_empty(), "{:?}", report.refused);
    }
}

/// A copy of BoringSSL whose own functions are out of reach would not be captured at all; one that is
/// captured already would be so twice.
#[test]
fn boringssl_is_captured_at_one_level() {
    let form = host("gcc", &["-O2", "-DOLD"]);
    for (trace, expected) in [
        ("/boringssl/ssl/ssl_lib.cc", Some("boringssl")),
        (
            "/s2n/tls/s2n_send.c /aws-lc/crypto/fipsmodule/cipher/e_aes.c",
            Some("s2n"),
        ),
        ("CLIENT_TRAFFIC_SECRET_0", Some("boringssl")),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let (twin, stripped) = require!(build(folder.path(), &form, trace));
        let report = look(&stripped, &[]);
        let libraries = report
            .findings
            .iter()
            .map(|finding| finding.library.as_str());
        assert_eq!(
            libraries.collect::<Vec<_>>(),
            Vec::from_iter(expected),
            "{trace}"
        );
        assert_eq!(places(&report), require!(truth(&twin)), "{trace}");
        assert!(functions(&report).all(|function| function.confidence == Confidence::Medium));
        let is_refused = report
            .refused
            .iter()
            .any(|refusal| refusal.library == "boringssl");
        assert_eq!(
            is_refused,
            trace.ends_with("ssl_lib.cc"),
            "{:?}",
            report.refused
        );
    }
    for name in ["grpcio", "curl-cffi"] {
        let sample = require!(support::sample(name));
        let report = look(&sample.path, &[]);
        assert!(functions(&report).any(|function| function.name.ends_with("SSL_write")));
        assert!(
            functions(&report).all(|function| !function.name.contains("::")),
            "{name}"
        );
    }
}

/// Programs that people use would be captured in one direction, or not at all: their own symbols, or addresses that
/// were watched at work, tell where the functions are.
#[test]
fn real_programs_are_found() {
    let list = support::repository().join("tests/samples.json");
    let list: Vec<serde_json::Value> =
        serde_json::from_str(&std::fs::read_to_string(list).unwrap()).unwrap();
    let mut seen = 0;
    for (name, library) in [
        ("uv", "rustls"),
        ("uv-arm64", "rustls"),
        ("maturin", "rustls"),
        ("maturin-arm64", "rustls"),
        ("wandb-symon", "rustls"),
        ("wandb-parquet", "rustls"),
        ("awscrt", "s2n"),
    ] {
        let Some(sample) = support::sample(name) else {
            continue;
        };
        seen += 1;
        let entry = list.iter().find(|entry| entry["name"] == name).unwrap();
        let known = |function: &str| {
            let all = entry["vaddr"][library][function].as_array().unwrap().iter();
            let number = |hex: &str| u64::from_str_radix(hex.trim_start_matches("0x"), 16).unwrap();
            let all = all.map(move |hex| (function == "seal", number(hex.as_str().unwrap())));
            all.collect::<Places>()
        };
        let report = look(&sample.path, &[]);
        assert_eq!(places(&report), &known("seal") | &known("open"), "{name}");
        assert!(
            report
                .findings
                .iter()
                .all(|finding| finding.library == library)
        );
        let mut aead = functions(&report).filter(|one| !one.name.starts_with("rustls::"));
        assert!(aead.all(|function| function.confidence == Confidence::High));
    }
    if seen == 0 {
        support::skip::<()>("each of the real programs");
    }
}
