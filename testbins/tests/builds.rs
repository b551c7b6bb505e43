//! Each variant of each program is the kind of file that its name promises.

#![allow(
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use agentsight_testbins::{Testbin, list};
use object::{Object, ObjectSection, ObjectSymbol};
use support::testbin;

/// Where each defined symbol is, local ones too.
fn addresses(path: &Path) -> BTreeMap<String, u64> {
    let bytes = fs::read(path).expect("the file is there");
    let file = object::File::parse(&*bytes).expect("it is ELF");
    let all = file.symbols().chain(file.dynamic_symbols());
    all.filter(|symbol| !symbol.is_undefined())
        .filter_map(|symbol| Some((symbol.name().ok()?.to_owned(), symbol.address())))
        .collect()
}

/// Names of global symbols, whether the file defines or imports them.
fn global_names(path: &Path) -> BTreeSet<String> {
    let bytes = fs::read(path).expect("the file is there");
    let file = object::File::parse(&*bytes).expect("it is ELF");
    let all = file.symbols().chain(file.dynamic_symbols());
    let global = all.filter(|symbol| symbol.is_global());
    global
        .filter_map(|symbol| symbol.name().ok())
        // An import in .symtab may carry its version.
        .map(|name| name.split('@').next().unwrap_or(name).to_owned())
        .collect()
}

fn has_section(path: &Path, name: &str) -> bool {
    let bytes = fs::read(path).expect("the file is there");
    let file = object::File::parse(&*bytes).expect("it is ELF");
    file.section_by_name(name)
        .is_some_and(|section| section.size() > 0)
}

/// Fails unless `path` has every expected function, and where `truth` has it.
fn assert_same_functions(testbin: &Testbin, path: &Path, truth: &Path) {
    let (found, true_ones) = (addresses(path), addresses(truth));
    for name in testbin
        .expect
        .iter()
        .flat_map(|expected| &expected.functions)
    {
        let address = true_ones.get(name);
        assert!(address.is_some(), "{name} is not in {}", truth.display());
        assert_eq!(found.get(name), address, "{name} in {}", path.display());
    }
}

fn every(step: &str) -> Vec<Testbin> {
    let all = list().expect("the programs are readable");
    let ending = format!(".{step}");
    let wanted = all.iter().filter(|(_, variant)| variant.ends_with(&ending));
    let built: Vec<Testbin> = wanted
        .filter_map(|(program, variant)| testbin(program, variant))
        .collect();
    built
}

/// A variant that no longer builds would turn into a test that no longer tests.
#[test]
fn everything_listed_builds() {
    let all = list().expect("the programs are readable");
    assert!(all.len() > 50, "only {} variants", all.len());
    for (program, variant) in all {
        let Some(testbin) = testbin(&program, &variant) else {
            continue;
        };
        assert!(testbin.path.is_file() && testbin.twin.is_file());
        assert_eq!(
            testbin.path == testbin.twin,
            !variant.contains('.'),
            "{program} {variant}"
        );
    }
}

/// Without its names in the twin, or in a library, a program is no ground truth.
#[test]
fn twins_know_what_is_expected() {
    for (program, variant) in list().expect("the programs are readable") {
        let Some(testbin) = testbin(&program, &variant) else {
            continue;
        };
        if variant.starts_with("dyn") {
            let imported = global_names(&testbin.twin);
            for expected in &testbin.expect {
                let found = expected
                    .functions
                    .iter()
                    .any(|name| imported.contains(name));
                assert!(
                    found,
                    "{program} {variant} imports nothing of {}",
                    expected.library
                );
            }
        } else {
            let definer = testbin.library.as_ref().unwrap_or(&testbin.twin);
            assert_same_functions(&testbin, definer, definer);
        }
    }
}

/// A stripped file that kept its names would be found for the wrong reason.
#[test]
fn strip_leaves_no_symbol_table() {
    for step in ["strip", "build-id", "debuglink", "debugdata", "dwarf-only"] {
        for testbin in every(step) {
            assert!(!has_section(&testbin.path, ".symtab"), "{testbin:?}");
        }
    }
}

/// An `exported` program must keep its dynamic symbols, as node and python do.
#[test]
fn exported_survives_strip() {
    let Some(testbin) = testbin("openssl/pair", "exported.strip") else {
        return;
    };
    assert_same_functions(&testbin, &testbin.path, &testbin.twin);
}

/// The debug file must be where a debugger looks: beside the program, under the linked name.
#[test]
fn debuglink_leads_to_the_symbols() {
    for testbin in every("debuglink") {
        let bytes = fs::read(&testbin.path).expect("the file is there");
        let file = object::File::parse(&*bytes).expect("it is ELF");
        let (name, crc) = file.gnu_debuglink().expect("well-formed").expect("present");
        let debug = testbin
            .path
            .with_file_name(String::from_utf8_lossy(name).as_ref());
        assert_same_functions(&testbin, &debug, &testbin.twin);
        assert_eq!(
            crc,
            crc32(&fs::read(debug).expect("the debug file is there"))
        );
    }
}

/// The checksum of the zlib polynomial, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xEDB8_8320 * (crc & 1))
        })
    })
}

/// The debug file must be found through the build-id, in the given root.
#[test]
fn build_id_leads_to_the_symbols() {
    for testbin in every("build-id") {
        let bytes = fs::read(&testbin.path).expect("the file is there");
        let file = object::File::parse(&*bytes).expect("it is ELF");
        let id = file.build_id().expect("well-formed").expect("present");
        let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        let (folder, rest) = hex.split_at(2);
        let root = testbin.debug_root.as_ref().expect("a debug root");
        let debug = root.join(format!("usr/lib/debug/.build-id/{folder}/{rest}.debug"));
        assert_same_functions(&testbin, &debug, &testbin.twin);
    }
}

/// MiniDebugInfo must be an xz file with the symbols of functions, and no DWARF.
#[test]
fn debugdata_holds_the_symbols() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for testbin in every("debugdata") {
        let bytes = fs::read(&testbin.path).expect("the file is there");
        let file = object::File::parse(&*bytes).expect("it is ELF");
        let section = file.section_by_name(".gnu_debugdata").expect("present");
        let mini = folder.path().join("mini");
        fs::write(
            mini.with_extension("xz"),
            section.data().expect("in the file"),
        )
        .expect("room");
        let status = Command::new("xz")
            .arg("-df")
            .arg(mini.with_extension("xz"))
            .status();
        assert!(status.expect("xz made it").success());
        assert_same_functions(&testbin, &mini, &testbin.twin);
        assert!(!has_section(&mini, ".debug_info"));
    }
}

/// Only DWARF may know the names.
#[test]
fn dwarf_only_keeps_dwarf() {
    for testbin in every("dwarf-only") {
        assert!(has_section(&testbin.path, ".debug_info"), "{testbin:?}");
    }
}

/// A section header table that is still there would be used.
#[test]
fn nosections_has_no_table() {
    for testbin in every("nosections") {
        let bytes = fs::read(&testbin.path).expect("the file is there");
        let file = object::File::parse(&*bytes).expect("it is ELF");
        assert_eq!(file.sections().count(), 0, "{testbin:?}");
        assert_eq!(bytes.get(0x28..0x30), Some([0; 8].as_slice()));
        assert_eq!(bytes.get(0x3c..0x40), Some([0; 4].as_slice()));
    }
}

/// With one global name left as it was, a search for it would succeed without knowing prefixes.
#[test]
fn prefixed_has_no_plain_name() {
    for variant in ["prefixed", "prefixed-so"] {
        let Some(testbin) = testbin("openssl/pair", variant) else {
            continue;
        };
        for path in [Some(&testbin.path), testbin.library.as_ref()]
            .into_iter()
            .flatten()
        {
            let all = global_names(path);
            assert!(all.contains("LK_SSL_read") && all.contains("LK_EVP_sha256"));
            assert!(
                !all.iter()
                    .any(|name| name.starts_with("SSL_") || name.starts_with("EVP_"))
            );
        }
    }
}
