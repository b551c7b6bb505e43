//! `agentsight check` as people use it: record what is found today, and be told what is different
//! tomorrow. And the other side of every check: programs without TLS, in which nothing may be found.

// A test fails by panicking.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr
)]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use agentsight::discover::examine;
use agentsight::image::ImageFile;
use agentsight::image::debug_file::DebugDirs;
use agentsight::symdb::SymbolDb;
use goblin::elf::Elf;
use memchr::memmem;
use serde_json::{Value, json};
use support::{repository, require, skip, testbin};
use walkdir::WalkDir;

fn check(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_agentsight"))
        .args(["check", "--no-cache"])
        .args(arguments)
        .output()
        .unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// A folder with a manifest, recorded from a program with OpenSSL inside and from one without TLS.
struct Recorded {
    dir: tempfile::TempDir,
}

impl Recorded {
    fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let openssl = testbin("openssl/pair", "static")?;
        fs::create_dir(dir.path().join("bin")).unwrap();
        fs::copy(&openssl.path, dir.path().join("bin/agent")).unwrap();
        fs::copy("/bin/true", dir.path().join("bin/true")).unwrap();
        let recorded = Self { dir };
        let bin = recorded.file("bin");
        let output = check(&["--record", &bin, "-o", &recorded.manifest()]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        Some(recorded)
    }

    fn file(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    fn manifest(&self) -> String {
        self.file("samples.json")
    }

    fn read(&self) -> Value {
        serde_json::from_slice(&fs::read(self.manifest()).unwrap()).unwrap()
    }

    fn write(&self, manifest: &Value) {
        fs::write(self.manifest(), manifest.to_string()).unwrap();
    }

    fn check(&self, more: &[&str]) -> (Option<i32>, String) {
        let manifest = self.manifest();
        let output = check(&[&[manifest.as_str()], more].concat());
        (output.status.code(), stdout(&output))
    }
}

/// A record is fulfilled by the files that it was made of, also after both have moved.
#[test]
fn a_record_is_fulfilled() {
    let recorded = require!(Recorded::new());
    let manifest = recorded.read();
    assert_eq!(manifest[0]["path"], "bin/agent");
    assert_eq!(manifest[0]["libraries"], json!(["openssl"]));
    assert_eq!(manifest[1]["libraries"], json!(["none-detected"]));
    let (code, text) = recorded.check(&[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("2 samples: 0 with regressions"), "{text}");
    let other = tempfile::tempdir().unwrap();
    fs::rename(recorded.file("bin"), other.path().join("bin")).unwrap();
    fs::rename(recorded.manifest(), other.path().join("samples.json")).unwrap();
    let output = check(&[other.path().join("samples.json").to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

/// A function at another address than expected fails, and the row names it; so do the JSON and the tally.
#[test]
fn a_changed_address_is_a_regression() {
    let recorded = require!(Recorded::new());
    let mut manifest = recorded.read();
    manifest[0]["vaddr"]["openssl"]["SSL_read"] = "0x1234".into();
    recorded.write(&manifest);
    let (code, text) = recorded.check(&[]);
    assert_eq!(code, Some(1));
    let row = text
        .lines()
        .find(|line| line.contains("SSL_read "))
        .unwrap();
    for cell in ["agent", "openssl", "0x1234", "wrong"] {
        assert!(row.contains(cell), "{cell}: {row}");
    }
    let (_, text) = recorded.check(&["--json"]);
    let result: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(result["verdicts"]["wrong"], 1);
    let symtab = &result["methods"][0];
    assert_eq!(
        (&symtab["method"], &symtab["tally"]["wrong"]),
        (&json!("symtab"), &json!(1))
    );
    assert!(symtab["precision"].as_f64().unwrap() < 1.0);
}

/// A finding where there should be none, and one more than recorded, are false alarms.
#[test]
fn more_than_expected_is_a_regression() {
    let recorded = require!(Recorded::new());
    let before = recorded.read();
    let mut manifest = before.clone();
    manifest[0]["libraries"] = json!(["none-detected"]);
    manifest[0].as_object_mut().unwrap().remove("vaddr");
    recorded.write(&manifest);
    let (code, text) = recorded.check(&["--sample", "agent"]);
    assert_eq!(code, Some(1));
    assert!(text.contains("unexpected"), "{text}");
    let mut manifest = before;
    let functions = manifest[0]["vaddr"]["openssl"].as_object_mut().unwrap();
    functions.remove("SSL_write").unwrap();
    recorded.write(&manifest);
    let (code, text) = recorded.check(&[]);
    assert_eq!(code, Some(1));
    assert!(
        text.lines()
            .any(|line| line.contains("SSL_write ") && line.contains("unexpected"))
    );
}

/// Another build is compared by its libraries and functions, not by its addresses.
#[test]
fn another_build_is_compared_without_addresses() {
    let recorded = require!(Recorded::new());
    let mut manifest = recorded.read();
    manifest[0]["sha256"] = "0".repeat(64).into();
    manifest[0]["vaddr"]["openssl"]["SSL_read"] = "0x1234".into();
    recorded.write(&manifest);
    let (code, text) = recorded.check(&[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("1 of another build"), "{text}");
    manifest[0]["vaddr"]["openssl"]["SSL_never"] = "0x1".into();
    recorded.write(&manifest);
    assert_eq!(
        recorded.check(&[]).0,
        Some(1),
        "a function of the library is gone"
    );
}

/// A gap that the manifest knows is told and does not fail; a gap that it does not know fails.
#[test]
fn known_gaps_do_not_fail() {
    let recorded = require!(Recorded::new());
    let mut manifest = recorded.read();
    manifest[0]["libraries"] = json!(["openssl", "no-such-library"]);
    recorded.write(&manifest);
    assert_eq!(recorded.check(&[]).0, Some(1));
    manifest[0]["known_gap"] = json!(["no-such-library"]);
    recorded.write(&manifest);
    let (code, text) = recorded.check(&[]);
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("no-such-library") && text.contains("known-gap"),
        "{text}"
    );
}

/// A missing file is named and is no success, unless it is allowed; all of them missing is never one.
#[test]
fn missing_files_are_told() {
    let recorded = require!(Recorded::new());
    fs::remove_file(recorded.file("bin/true")).unwrap();
    let (code, text) = recorded.check(&[]);
    assert_eq!(code, Some(4));
    assert!(
        text.contains("no-file") && text.contains("1 missing"),
        "{text}"
    );
    assert_eq!(recorded.check(&["--allow-missing"]).0, Some(0));
    fs::remove_file(recorded.file("bin/agent")).unwrap();
    assert_eq!(recorded.check(&["--allow-missing"]).0, Some(4));
}

/// Samples without a path lie in the cache, by name.
#[test]
fn samples_are_found_in_the_cache() {
    let dir = tempfile::tempdir().unwrap();
    let manifest = dir.path().join("list.json");
    let entry = json!([{
        "name": "truth", "libraries": ["none-detected"], "groups": ["quick"],
        "source": { "registry": "npm", "package": "x", "version": "1", "inner_path": "./usr/bin/true" },
    }]);
    fs::write(&manifest, entry.to_string()).unwrap();
    fs::create_dir(dir.path().join("truth")).unwrap();
    fs::copy("/bin/true", dir.path().join("truth/true")).unwrap();
    let (manifest, cache) = (manifest.to_str().unwrap(), dir.path().to_str().unwrap());
    let code = |more: &[&str]| {
        let output = check(&[&[manifest, "--samples", cache], more].concat());
        output.status.code()
    };
    assert_eq!(code(&[]), Some(0));
    assert_eq!(code(&["--group", "quick"]), Some(0));
    assert_eq!(
        code(&["--group", "slow"]),
        Some(2),
        "nothing would be checked"
    );
    assert_eq!(code(&["--sample", "lie"]), Some(2));
    assert_eq!(
        check(&[manifest, "--samples", "/nonexistent"])
            .status
            .code(),
        Some(4)
    );
    assert_eq!(check(&["/nonexistent"]).status.code(), Some(4));
    assert_eq!(check(&[manifest, manifest]).status.code(), Some(2));
    fs::write(manifest, "[{}]").unwrap();
    assert_eq!(check(&[manifest]).status.code(), Some(2));
}

/// The schema is true of the list in this repository, of what is recorded, and of little else.
#[test]
fn manifests_fit_the_schema() {
    let output = Command::new(env!("CARGO_BIN_EXE_agentsight"))
        .args(["schema", "samples"])
        .output()
        .unwrap();
    let schema: Value = serde_json::from_slice(&output.stdout).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    let list = fs::read_to_string(repository().join("tests/samples.json")).unwrap();
    let list: Value = serde_json::from_str(&list).unwrap();
    let fits = |manifest: &Value| {
        let error = schema.iter_errors(manifest).next();
        let error = error.map(|error| format!("{error} at {}", error.instance_path()));
        assert_eq!(error, None);
    };
    fits(&list);
    agentsight::check::Manifest::parse(&list.to_string()).unwrap();
    let mut other = list;
    other[0]["libary"] = "openssl".into();
    assert!(!schema.is_valid(&other));
    fits(&require!(Recorded::new()).read());
}

/// Every sample that was fetched gives what the list says.
#[test]
fn fetched_samples_give_what_is_listed() {
    let group = match std::env::var_os("AGENTSIGHT_EXTENDED") {
        Some(_) => ["--group", "ci", "--group", "extended"].as_slice(),
        None => &["--group", "ci"],
    };
    let list = repository().join("tests/samples.json");
    let all = [&[list.to_str().unwrap()], group].concat();
    let output = check(&all);
    match output.status.code() {
        Some(0) => {}
        Some(4) => {
            let missing = stdout(&output);
            skip(&format!("scripts/fetch-samples has not run: {missing}")).unwrap_or_default()
        }
        _ => panic!("{}", stdout(&output)),
    }
}

/// Where Debian keeps programs and libraries.
const SYSTEM: [&str; 4] = ["/usr/bin", "/usr/sbin", "/usr/lib", "/usr/libexec"];

/// So many files without TLS must be looked at.
const WITHOUT_TLS_MIN: usize = 60;

/// More than that take too long in a build for tests.
const BYTES_MAX: u64 = 8 << 20;

/// Words that programs with a TLS library have somewhere, whatever is left of their names.
const TLS_WORDS: [&str; 11] = [
    "SSL_",
    "ssl_lib",
    "gnutls",
    "crypto/tls",
    "rustls",
    "PR_Write",
    "mbedtls",
    "wolfSSL",
    "s2n_",
    "libssl",
    "libnss3",
];

/// By another parser's eyes: no TLS library is needed, imported, defined or even mentioned.
fn is_without_tls(data: &[u8]) -> bool {
    let Ok(file) = Elf::parse(data) else {
        return false;
    };
    let libraries = ["ssl", "gnutls", "nspr", "nss3"];
    let needs = |library: &&str| libraries.iter().any(|name| library.contains(name));
    let names = |table: &goblin::elf::Symtab<'_>, names: &goblin::strtab::Strtab<'_>| {
        let mut names = table
            .iter()
            .filter_map(|symbol| names.get_at(symbol.st_name));
        names.any(|name| name.starts_with("SSL_") || name.starts_with("gnutls_"))
    };
    let mentions = |word: &&str| memmem::find(data, word.as_bytes()).is_some();
    !file.libraries.iter().any(needs)
        && !names(&file.syms, &file.strtab)
        && !names(&file.dynsyms, &file.dynstrtab)
        && !TLS_WORDS.iter().any(mentions)
}

/// Files of the system, at most so many of each folder: plugins are much the same thing a hundred times.
fn system_files() -> impl Iterator<Item = PathBuf> {
    const PER_FOLDER: usize = 70;
    let mut looked_at: BTreeMap<PathBuf, usize> = BTreeMap::new();
    let roots = SYSTEM.iter().filter(|root| Path::new(root).is_dir());
    let files = roots.flat_map(|root| WalkDir::new(root).sort_by_file_name());
    files.flatten().filter_map(move |entry| {
        let size = entry.metadata().ok()?.len();
        let is_fit = entry.file_type().is_file() && (4096..=BYTES_MAX).contains(&size);
        let path = is_fit.then(|| entry.into_path())?;
        let count = looked_at.entry(path.parent()?.to_owned()).or_default();
        *count += 1;
        (*count <= PER_FOLDER).then_some(path)
    })
}

/// Every false alarm is a probe in somebody's program, and every false refusal a program that is not
/// observed.
#[test]
fn nothing_is_found_in_programs_without_tls() {
    const ENOUGH: usize = 200;
    let db = SymbolDb::load().unwrap();
    let dirs = DebugDirs { global: Vec::new() };
    let mut looked_at = 0;
    for path in system_files() {
        let Some(data) = fs::read(&path).ok().filter(|data| is_without_tls(data)) else {
            continue;
        };
        assert!(data.starts_with(b"\x7fELF"));
        let Ok(report) = examine(&ImageFile::open(&path).unwrap(), &db, &dirs) else {
            continue; // cut off, or of another kind: no program
        };
        looked_at += 1;
        let name = path.display();
        assert!(report.findings.is_empty(), "{name}: {:?}", report.findings);
        assert!(report.refused.is_empty(), "{name}: {:?}", report.refused);
        if looked_at == ENOUGH {
            break;
        }
    }
    eprintln!("{looked_at} files without TLS");
    if looked_at < WITHOUT_TLS_MIN {
        let what = format!("{WITHOUT_TLS_MIN} programs without TLS in {SYSTEM:?}");
        skip::<()>(&what);
    }
}
