//! `symbol-db/` is well-formed, and what it claims is true of real libraries.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use agentsight::symdb::{Function, Library, ResultShape, Role, SymbolDb};
use serde_json::{Value, json};
use support::truth::{self, Tables};
use support::{repository, require, sample};

fn database() -> SymbolDb {
    SymbolDb::load().unwrap_or_else(|error| panic!("{error:#}"))
}

fn file(library: &str) -> PathBuf {
    repository()
        .join("symbol-db")
        .join(library)
        .join("functions.json")
}

/// A file that nobody reads would look like knowledge that we have.
#[test]
fn every_file_is_loaded() {
    let folders = fs::read_dir(repository().join("symbol-db"))
        .unwrap()
        .flatten();
    // A folder may hold other facts than functions: layouts have a loader of their own.
    let folders = folders.filter(|entry| entry.path().join("functions.json").is_file());
    let on_disk: BTreeSet<String> = folders
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    let db = database();
    let names: Vec<&str> = db
        .libraries()
        .iter()
        .map(|library| library.library.as_str())
        .collect();
    assert_eq!(
        names,
        on_disk.iter().collect::<Vec<_>>(),
        "sorted, and all there are"
    );
}

/// A misspelt fact would silently be no fact.
#[test]
fn unknown_fields_are_refused() {
    let good: Value = serde_json::from_str(&fs::read_to_string(file("openssl")).unwrap()).unwrap();
    assert!(serde_json::from_value::<Library>(good.clone()).is_ok());
    for place in ["", "/markers", "/version", "/functions/0"] {
        let mut bad = good.clone();
        bad.pointer_mut(place).unwrap()["sinec"] = json!("1.0");
        let error = serde_json::from_value::<Library>(bad)
            .unwrap_err()
            .to_string();
        assert!(error.contains("unknown field `sinec`"), "{place}: {error}");
    }
}

/// Reviewers, and diffs, rely on the order; a name that stands twice has two meanings.
#[test]
fn functions_are_sorted_and_unique() {
    for library in database().libraries() {
        let names: Vec<&String> = library
            .functions
            .iter()
            .map(|function| &function.name)
            .collect();
        assert!(
            names.is_sorted_by(|a, b| a < b),
            "{}: {names:?}",
            library.library
        );
        assert!(
            library.core.is_sorted_by(|a, b| a < b),
            "{}: core",
            library.library
        );
    }
}

/// A fact without a source cannot be checked, one with an odd version cannot be compared.
#[test]
fn facts_have_sources_and_versions() {
    for library in database().libraries() {
        assert!(
            library.markers.source.starts_with("https://"),
            "{}",
            library.library
        );
        for function in &library.functions {
            let about = format!("{} {}", library.library, function.name);
            let source = &function.source;
            assert!(
                source.starts_with("https://") && !source.contains(' '),
                "{about}: {source}"
            );
            let mut parts = function.since.split('.');
            assert!(
                parts.all(|part| part.parse::<u16>().is_ok()),
                "{about}: {}",
                function.since
            );
        }
    }
}

/// A probe would read the wrong arguments: each role has shapes that make sense, and no others.
#[test]
fn arguments_fit_roles_and_results() {
    use ResultShape as Shape;
    for library in database().libraries() {
        for function in &library.functions {
            let Function {
                role,
                result,
                buf,
                len,
                out,
                ..
            } = *function;
            let arguments = (buf.is_some(), len.is_some(), out.is_some());
            let fits = match (role, result) {
                (Role::Peek | Role::Read | Role::Write, Some(Shape::I32 | Shape::I64)) => {
                    arguments == (true, true, false)
                }
                (Role::Write, Some(Shape::All)) => arguments == (true, true, false),
                (Role::Peek | Role::Read | Role::Write, Some(Shape::Out)) => {
                    arguments == (true, true, true)
                }
                (Role::Read, Some(Shape::Packet)) => arguments == (false, false, true),
                (Role::New, Some(Shape::OutPointer)) => arguments == (false, false, true),
                (Role::Socket, None) => arguments == (true, false, false),
                (Role::New, Some(Shape::Pointer))
                | (Role::Handshake, Some(Shape::One | Shape::Zero))
                | (Role::Flush | Role::Sendfile, Some(Shape::I32 | Shape::I64))
                | (Role::Close | Role::Free | Role::Reset | Role::Retain, None) => {
                    arguments == (false, false, false)
                }
                _ => false,
            };
            assert!(fits, "{}: {function:?}", library.library);
            assert_positions(function);
            let moves = matches!(role, Role::Read | Role::Write);
            assert!(role == Role::Read || !function.peeks, "{function:?}");
            assert!(moves || !function.early, "{function:?}");
            assert!(role == Role::Write || !function.resumes, "{function:?}");
        }
    }
}

/// Argument 0 is the connection (or where a new one goes), and x86-64 passes six in registers.
fn assert_positions(function: &Function) {
    let first = u8::from(function.result != Some(ResultShape::OutPointer));
    let all = [function.buf, function.len, function.out];
    let used: Vec<u8> = all.into_iter().flatten().collect();
    assert!(
        used.iter().all(|at| (first..6).contains(at)),
        "{function:?}"
    );
    assert_eq!(
        used.iter().collect::<BTreeSet<_>>().len(),
        used.len(),
        "{function:?}"
    );
}

/// Without a way in and a way out there is nothing to capture.
#[test]
fn libraries_can_be_captured() {
    for library in database().libraries() {
        let has = |role| {
            library
                .functions
                .iter()
                .any(|function| function.role == role)
        };
        // NSS moves its data through NSPR.
        if library.library != "nss" {
            assert!(has(Role::Read) && has(Role::Write), "{}", library.library);
        }
        let is_known = |name: &&String| library.functions.iter().any(|known| known.name == **name);
        assert!(
            library.core.iter().any(|name| is_known(&name)),
            "{}",
            library.library
        );
    }
}

/// Real copies of each library.
const COPIES: [(&str, &str); 9] = [
    ("boringssl", "curl-cffi"),
    ("gnutls", "deb-libgnutls30"),
    ("nspr", "deb-libnspr4"),
    ("nss", "deb-libnss3"),
    ("openssl", "deb-libssl3"),
    ("openssl", "deb-libssl3-arm64"),
    ("openssl", "node-x64-18"),
    ("openssl", "node-x64-26"),
    ("openssl", "psycopg2"),
];

/// Names that no copy above has.
const UNSEEN: [(&str, &str); 4] = [
    // AWS-LC's own.
    ("boringssl", "SSL_peek_ex"),
    ("boringssl", "SSL_read_ex"),
    ("boringssl", "SSL_write_ex"),
    // The linker dropped it from curl-cffi, which does not call it.
    ("boringssl", "SSL_up_ref"),
];

/// Which functions each copy defines, by goblin.
fn copies() -> Option<Vec<(&'static str, BTreeSet<String>)>> {
    let mut copies = Vec::new();
    for (library, name) in COPIES {
        let places = truth::functions(&sample(name)?.path, Tables::All, &|_| true);
        copies.push((library, places.into_iter().map(|(name, ..)| name).collect()));
    }
    Some(copies)
}

/// A misspelt function would never be found, and nobody would notice.
#[test]
fn every_function_exists_somewhere() {
    let copies = require!(copies());
    for library in database().libraries() {
        for function in &library.functions {
            let pair = (library.library.as_str(), function.name.as_str());
            let mut own = copies.iter().filter(|(name, _)| *name == library.library);
            // What is internal to C++ has a mangled name: length and name.
            let mangled = format!("{}{}", function.name.len(), function.name);
            let is_it = |name: &String| {
                *name == function.name || function.internal && name.contains(&mangled)
            };
            let exists = own.any(|(_, defined)| defined.iter().any(is_it));
            assert!(
                exists != UNSEEN.contains(&pair),
                "{pair:?}: in a copy: {exists}"
            );
        }
    }
}

/// A core function or marker that real copies lack would hide them, or take one for its relative.
#[test]
fn core_and_markers_tell_real_copies() {
    let copies = require!(copies());
    let db = database();
    for (name, defined) in &copies {
        for library in db.libraries() {
            let markers = &library.markers;
            let has = |name: &String| defined.contains(name);
            let is_told = library.core.iter().all(has)
                && (markers.has.is_empty() || markers.has.iter().any(has))
                && !markers.has_not.iter().any(has);
            assert_eq!(
                is_told,
                library.library == *name,
                "{name} as {}",
                library.library
            );
        }
    }
}

/// A library without a sample program is a claim that nobody tests.
#[test]
fn every_library_has_a_program() {
    let mut covered: BTreeSet<String> = BTreeSet::new();
    let list = fs::read_to_string(repository().join("tests/samples.json")).unwrap();
    let list: Vec<Value> = serde_json::from_str(&list).unwrap();
    for sample in &list {
        let libraries = sample["libraries"].as_array().unwrap().iter();
        covered.extend(libraries.map(|name| name.as_str().unwrap().to_owned()));
    }
    for folder in fs::read_dir(repository().join("testbins/programs"))
        .unwrap()
        .flatten()
    {
        for program in fs::read_dir(folder.path()).unwrap().flatten() {
            // Rust programs have folders, and say what is inside in testbins/src/rust.
            if program.path().is_dir() {
                continue;
            }
            let source = fs::read_to_string(program.path()).unwrap();
            let lines = source
                .lines()
                .filter_map(|line| line.strip_prefix("//#Expect: "));
            covered.extend(lines.filter_map(|line| Some(line.split_once(' ')?.0.to_owned())));
        }
    }
    for library in database().libraries() {
        assert!(
            covered.contains(&library.library),
            "{} is in no program",
            library.library
        );
    }
}

/// A wrong `since` would make people look for a function in versions that lack it.
#[test]
fn since_agrees_with_symbol_versions() {
    let mut checked = 0;
    for (name, prefix, sample_name) in [
        ("gnutls", "GNUTLS_", "deb-libgnutls30"),
        ("nss", "NSS_", "deb-libnss3"),
    ] {
        let path = require!(sample(sample_name)).path;
        let versions = require!(versions(&path, prefix));
        let db = database();
        // What was there when the library began to version its symbols carries the oldest version.
        let oldest = versions.values().min().unwrap().clone();
        for function in &db.library(name).unwrap().functions {
            let since = numbers(&function.since).unwrap();
            let version = &versions[&function.name];
            if *version == oldest {
                assert!(since <= oldest, "{name} {}: since {since:?}", function.name);
            } else {
                assert_eq!(since, *version, "{name} {}", function.name);
                checked += 1;
            }
        }
    }
    assert!(
        checked > 4,
        "only {checked} functions are newer than the first version"
    );
}

/// Function name to version: `gnutls_bye@@GNUTLS_3_6_3` is 3, 6, 3.
fn versions(path: &Path, prefix: &str) -> Option<BTreeMap<String, Vec<u32>>> {
    let all = truth::versions_by_readelf(path)?.into_iter();
    let versions = all.filter_map(|(name, version)| {
        let numbers = numbers(&version.strip_prefix(prefix)?.replace('_', "."))?;
        Some((name, numbers))
    });
    Some(versions.collect())
}

/// Without zeros at the end, so that 3.4 is 3.4.0.
fn numbers(version: &str) -> Option<Vec<u32>> {
    let numbers: Result<Vec<u32>, _> = version.split('.').map(str::parse).collect();
    let mut numbers = numbers.ok()?;
    while numbers.last() == Some(&0) {
        numbers.pop();
    }
    Some(numbers)
}
