//! rustls by its trait methods: addresses against the symbols of the unstripped file, versions against a plain search
//! of the file's bytes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use agentsight::discover::finding::Abi;
use agentsight::discover::{Finding, Function, Method, Report};
use agentsight::image::unwind::UnwindTable;
use agentsight::image::{Image, VirtAddr};
use agentsight::symdb::Role;
use agentsight::symdb::rustls::RecordLayouts;

use super::support::{require, sample};
use super::{compile, look, run};

/// Role and address of each trait method that a symbol names, by goblin.
fn by_symbols(path: &Path) -> BTreeSet<(Role, u64)> {
    let bytes = fs::read(path).unwrap();
    let elf = goblin::elf::Elf::parse(&bytes).unwrap();
    let symbols = elf.syms.iter().filter(|symbol| symbol.is_function());
    let methods = symbols.filter_map(|symbol| {
        let name = elf.strtab.get_at(symbol.st_name)?;
        let name = format!("{:#}", rustc_demangle::demangle(name));
        let role = match name.rsplit_once(">::")? {
            (of, "encrypt") if of.ends_with("::MessageEncrypter") => Role::Write,
            (of, "decrypt") if of.ends_with("::MessageDecrypter") => Role::Read,
            _ => return None,
        };
        // Those of rustls itself that only refuse are never attached to a record.
        (!name.contains("::Invalid")).then_some((role, symbol.st_value))
    });
    methods.collect()
}

fn of_rustls(report: &Report) -> Vec<&Finding> {
    let findings = report.findings.iter();
    findings.filter(|f| f.library == "rustls").collect()
}

/// The methods of rustls itself; AEAD functions of its providers are there as well.
fn methods(finding: &Finding) -> impl Iterator<Item = &Function> {
    let functions = finding.functions.iter();
    functions.filter(|function| function.name.starts_with("rustls::"))
}

/// Role and address of each method whose vtable was found.
fn by_vtables(report: &Report) -> BTreeSet<(Role, u64)> {
    let functions = of_rustls(report).into_iter().flat_map(methods);
    let by_vtable = functions.filter(|function| {
        let mut evidence = function.evidence.iter();
        evidence.any(|evidence| evidence.method == Method::TraitVtable)
    });
    by_vtable.map(|f| (f.role, f.vaddr.0)).collect()
}

/// A probe on a wrong address could crash the program, a missing one would lose records.
#[test]
fn methods_are_those_that_symbols_name() {
    for name in ["maturin", "codex-x64-new-voice-host"] {
        let sample = require!(sample(name));
        let truth = by_symbols(&sample.path);
        assert!(!truth.is_empty(), "{name}");
        assert_eq!(by_vtables(&look(&sample.path, &[])), truth, "{name}");
        let folder = tempfile::tempdir().unwrap();
        let stripped = folder.path().join(name);
        let paths = [sample.path.to_str().unwrap(), stripped.to_str().unwrap()];
        require!(run("strip", &["-o", paths[1], paths[0]]));
        assert!(by_symbols(&stripped).is_empty());
        assert_eq!(by_vtables(&look(&stripped, &[])), truth, "{name}, stripped");
    }
}

/// Real programs without symbols: every method begins a function, both directions are there, and the version is the
/// one that the file's bytes tell.
#[test]
fn stripped_programs_are_read_whole() {
    let told = regex::bytes::Regex::new(r"[/_]rustls-(\d+\.\d+\.\d+)/src/").unwrap();
    for name in [
        "uv",
        "deno-x64",
        "codex-x64-new",
        "wandb-parquet",
        "wandb-symon",
    ] {
        let sample = require!(sample(name));
        let bytes = fs::read(&sample.path).unwrap();
        let versions: BTreeSet<_> = told
            .captures_iter(&bytes)
            .map(|found| String::from_utf8_lossy(&found[1]).into_owned())
            .collect();
        let report = look(&sample.path, &[]);
        let findings = of_rustls(&report);
        assert!(!findings.is_empty(), "{name}: {:?}", report.refused);
        let image = Image::parse(&bytes).unwrap();
        let unwind = UnwindTable::new(&image);
        for finding in findings {
            let version = finding.version.as_deref().unwrap();
            assert_eq!(versions, BTreeSet::from([version.to_owned()]), "{name}");
            let count = |role| methods(finding).filter(|f| f.role == role).count();
            assert!(
                count(Role::Read) > 0 && count(Role::Read) == count(Role::Write),
                "{name}"
            );
            for function in methods(finding) {
                assert_eq!(function.call.abi, Abi::RustlsBorrowed, "{name}");
                assert!(function.covered_by.is_some(), "{name}: told at two levels");
                let covering = unwind.as_ref().and_then(|u| u.covering(function.vaddr));
                let begins = covering.is_none_or(|range| range.start == function.vaddr);
                assert!(begins, "{name}: {} is inside of a function", function.vaddr);
                let offset = image.segments.code_offset(VirtAddr(function.vaddr.0));
                assert_eq!(offset, Some(function.file_offset), "{name}");
            }
        }
    }
}

/// A program that carries another one along is not that other one.
#[test]
fn an_embedded_program_is_not_this_one() {
    let inner = require!(sample("maturin"));
    assert!(!of_rustls(&look(&inner.path, &[])).is_empty());
    let folder = tempfile::tempdir().unwrap();
    let source = format!(
        "__asm__(\".section .rodata\\n.globl inner\\ninner: .incbin \\\"{}\\\"\\n.text\\n\");
         extern const char inner[]; int main(int n, char **v) {{ return inner[n]; }}",
        inner.path.display()
    );
    for options in [&["-pie", "-fPIE"][..], &["-no-pie", "-fno-pie"]] {
        let path = require!(compile(&folder, &source, options));
        let report = look(&path, &[]);
        assert!(of_rustls(&report).is_empty(), "{options:?}");
        assert_eq!(report.refused, [], "{options:?}");
    }
}

/// rustls that is laid out in a way that nobody knows yet would be passed over without a word; a program that only
/// mentions it has nothing to tell.
#[test]
fn rustls_that_cannot_be_read_is_told() {
    for (options, is_told) in [
        (&["-DPOINTER", "-pie", "-fPIE"][..], true),
        (&["-DPOINTER", "-no-pie", "-fno-pie"], true),
        (&["-pie", "-fPIE"], false),
        (&["-no-pie", "-fno-pie"], false),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let source = "const char path[] = \"/registry/src/rustls-0.23.46/src/conn.rs\";
             const char label[] = \"CLIENT_TRAFFIC_SECRET_0\";
             #ifdef POINTER
             const char *volatile place = path;
             #endif
             int main(int n, char **v) { return path[n] + label[n]; }";
        let path = require!(compile(&folder, source, options));
        let report = look(&path, &[]);
        assert!(of_rustls(&report).is_empty(), "{options:?}");
        let refused: Vec<_> = report.refused.iter().map(|r| r.library.as_str()).collect();
        assert_eq!(
            refused,
            Vec::from_iter(is_told.then_some("rustls")),
            "{options:?}"
        );
    }
}

/// Rust programs without TLS have none.
#[test]
fn other_rust_programs_have_none() {
    for name in ["ruff", "tokenizers"] {
        let sample = require!(sample(name));
        assert!(of_rustls(&look(&sample.path, &[])).is_empty(), "{name}");
    }
}

/// A version would have two layouts, or a gap none.
#[test]
fn layouts_follow_each_other() {
    let layouts = RecordLayouts::load().unwrap();
    for pair in layouts.layouts.windows(2) {
        assert_eq!(pair[0].before, pair[1].since);
    }
    for layout in &layouts.layouts {
        let same = layouts.of(&layout.since).unwrap();
        assert_eq!(same.since, layout.since);
        for message in [&layout.encrypt, &layout.decrypt] {
            assert!(message.payload_size <= message.content_type.min(message.version));
            assert!(message.content_type.max(message.version) < message.size);
        }
        assert!(layout.decrypted.len < layout.decrypted.size);
        assert!(
            layout
                .sources
                .iter()
                .all(|source| source.starts_with("https://"))
        );
    }
    assert!(layouts.of("0.19.1").is_none() && layouts.of("1.0.0").is_none());
    assert!(layouts.of("0.24.0-dev.2").unwrap().convention.is_none());
}
