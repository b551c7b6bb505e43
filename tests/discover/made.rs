//! Files that no compiler at hand makes, written byte by byte: other classes and byte orders, odd
//! tables, ifuncs, copies.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use agentsight::discover::Report;
use agentsight::symdb::SymbolDb;

use super::support::elf::{self, Builder, Target};
use super::support::truth::{self, Tables};
use super::{found, known, look};

const MACHINES: [(&str, Target); 8] = [
    ("x86-64", elf::X86_64),
    ("x86", machine(false, false, 3)),
    ("arm", machine(false, false, 40)),
    ("aarch64", machine(true, true, 183)),
    ("mips", machine(false, true, 8)),
    ("powerpc", machine(false, true, 20)),
    ("s390x", machine(true, true, 22)),
    ("riscv", machine(true, false, 243)),
];

const fn machine(is_64: bool, is_big: bool, machine: u16) -> Target {
    Target {
        is_64,
        is_big,
        machine,
    }
}

/// All that symbol-db asks of a complete OpenSSL.
fn openssl() -> Vec<String> {
    let db = SymbolDb::load().unwrap();
    let library = db.library("openssl").unwrap();
    let functions = library
        .functions
        .iter()
        .filter(|function| !function.internal)
        .map(|function| function.name.clone());
    let all: BTreeSet<String> = functions.chain(library.core.iter().cloned()).collect();
    all.into_iter().collect()
}

fn write(folder: &tempfile::TempDir, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join("program");
    fs::write(&path, bytes).unwrap();
    path
}

/// One function, and it alone, is refused for this reason.
fn assert_refused(report: &Report, function: &str, reason: &str) {
    let found = found(&report.findings);
    assert!(found.iter().all(|(name, ..)| name != function));
    let [refusal] = &report.refused[..] else {
        panic!("{:?}", report.refused);
    };
    assert!(refusal.reason.contains(reason), "{refusal:?}");
}

/// Files of the other class or byte order would be misread, and probed at a wrong address.
#[test]
fn every_class_and_byte_order_is_read() {
    let folder = tempfile::tempdir().unwrap();
    for (name, target) in MACHINES {
        let thumb = u64::from(name == "arm");
        let builder = || Builder::new(target).functions(openssl()).address_bit(thumb);
        let hash = builder().hash();
        for (form, bytes) in [
            ("symtab", builder().build()),
            ("dynamic", builder().dynamic(Vec::new()).build()),
            (
                "dynamic with hash",
                builder().dynamic(vec![(elf::DT_HASH, hash)]).build(),
            ),
        ] {
            let path = write(&folder, &bytes);
            let report = look(&path, &[]);
            assert_eq!(report.arch, name);
            // Without a hash table, goblin cannot tell the number of symbols: it reads the twin.
            let twin = write(&folder, &builder().build());
            let truth = truth::functions(&twin, Tables::All, &known(&["openssl"]));
            assert_eq!(truth.len(), openssl().len() - 1, "all but SSL_CTX_new");
            assert_eq!(found(&report.findings), truth, "{name}, {form}");
            assert!(
                report.refused.is_empty(),
                "{name}, {form}: {:?}",
                report.refused
            );
        }
    }
}

/// Tables at odd places are allowed, if unusual; a reader that wants alignment would miss the names.
#[test]
fn tables_may_stand_at_odd_offsets() {
    const E_SHOFF: usize = 40;
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = Builder::new(elf::X86_64).functions(openssl()).build();
    let at = u64::from_le_bytes(bytes[E_SHOFF..E_SHOFF + 8].try_into().unwrap());
    bytes.insert(usize::try_from(at).unwrap(), 0);
    bytes[E_SHOFF..E_SHOFF + 8].copy_from_slice(&(at + 1).to_le_bytes());
    let path = write(&folder, &bytes);
    let truth = truth::functions(&path, Tables::All, &known(&["openssl"]));
    assert_eq!(truth.len(), openssl().len() - 1);
    assert_eq!(found(&look(&path, &[]).findings), truth);
}

/// PowerPC ELFv1 symbols name descriptors, not code: a probe there would overwrite a pointer.
#[test]
fn function_descriptors_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let target = machine(true, true, 21);
    let bytes = Builder::new(target).functions(openssl()).not_code().build();
    let report = look(&write(&folder, &bytes), &[]);
    assert_eq!(report.arch, "powerpc64");
    assert!(report.findings.is_empty());
    assert!(
        report.refused[0].reason.contains("function descriptor"),
        "{:?}",
        report.refused
    );
}

/// An ifunc's symbol is its resolver: a probe there would see no data.
#[test]
fn ifunc_resolvers_are_refused() {
    const STT_GNU_IFUNC: u8 = 10;
    let folder = tempfile::tempdir().unwrap();
    let rest = openssl().into_iter().filter(|name| name != "SSL_read");
    let builder = Builder::new(elf::X86_64).functions(rest);
    let bytes = builder.symbols(["SSL_read"], STT_GNU_IFUNC).build();
    let report = look(&write(&folder, &bytes), &[]);
    assert_refused(&report, "SSL_read", "ifunc resolver");
}

/// Two candidates for one function would be decided by a guess.
#[test]
fn an_ambiguous_function_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let names = openssl().into_iter().chain(["SSL_write_ex".to_owned()]);
    let bytes = Builder::new(elf::X86_64).functions(names).build();
    let report = look(&write(&folder, &bytes), &[]);
    assert_refused(&report, "SSL_write_ex", "ambiguous: 2 candidates");
}

/// The second of two copies in one file would be lost, or mixed with the first.
#[test]
fn two_copies_are_two_findings() {
    let folder = tempfile::tempdir().unwrap();
    let names = openssl().into_iter().chain(openssl());
    let path = write(&folder, &Builder::new(elf::X86_64).functions(names).build());
    let report = look(&path, &[]);
    assert_eq!(report.findings.len(), 2);
    let truth = truth::functions(&path, Tables::All, &known(&["openssl"]));
    assert_eq!(found(&report.findings), truth);
    let ends: Vec<_> = report
        .findings
        .iter()
        .map(|finding| {
            let addresses = finding.functions.iter().map(|function| function.vaddr);
            (addresses.clone().min(), addresses.max())
        })
        .collect();
    assert!(ends[0].1 < ends[1].0, "the copies are mixed: {ends:?}");
}

/// Renamed copies in the wild would be missed: the prefixes are those of real packages.
#[test]
fn prefixes_of_real_packages_are_found() {
    let folder = tempfile::tempdir().unwrap();
    // livekit; gRPC's Objective-C pods; swift-nio-ssl, whose prefix itself contains "SSL_".
    for prefix in ["LK_", "GRPC_SHADOW_", "CNIOBoringSSL_"] {
        let names = openssl().into_iter().map(|name| format!("{prefix}{name}"));
        let path = write(&folder, &Builder::new(elf::X86_64).functions(names).build());
        let report = look(&path, &[]);
        let known = known(&["openssl"]);
        let wanted = |name: &str| name.strip_prefix(prefix).is_some_and(&known);
        let truth = truth::functions(&path, Tables::All, &wanted);
        assert_eq!(truth.len(), openssl().len() - 1);
        assert_eq!(found(&report.findings), truth, "{prefix}");
    }
}
