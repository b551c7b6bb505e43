//! What discovery said before is told again only where it is still true: other files with the same build
//! ID, changed files, other debug files, other analyzers, damage, and crowds of processes.

// A test fails by panicking.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr
)]

mod support;

use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use agentsight::cache::{Examined, Examiner, Origin, Store};
use agentsight::discover::{Function, Method, examine};
use agentsight::image::Arch;
use agentsight::image::ImageFile;
use agentsight::image::debug_file::DebugDirs;
use agentsight::plan::{Choice, PriceList, ProbeSites, choose_all};
use agentsight::symdb::SymbolDb;
use memchr::memmem;
use proptest::prelude::*;
use serde_json::Value;
use support::{require, sample, testbin};

/// What changed less than that ago may change again unseen, and is not kept.
const SETTLING: Duration = Duration::from_millis(3100);

/// A folder with a cache in it.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        path
    }

    fn examiner(&self, analyzer: &str, global: &[PathBuf]) -> Examiner {
        let store = Store::new(self.path("cache"), analyzer);
        Examiner::new(SymbolDb::load().unwrap(), dirs(global)).with_store(store)
    }

    fn look(&self, path: &Path) -> Examined {
        look(&self.examiner("1", &[]), path)
    }

    /// The only entry.
    fn entry(&self) -> PathBuf {
        let files = fs::read_dir(self.path("cache")).unwrap().flatten();
        let mut files = files.map(|file| file.path());
        let entry = files.next().expect("an entry");
        assert_eq!(files.next(), None);
        entry
    }
}

fn dirs(global: &[PathBuf]) -> DebugDirs {
    DebugDirs {
        global: global.to_vec(),
    }
}

fn look(examiner: &Examiner, path: &Path) -> Examined {
    examiner.examine(&ImageFile::open(path).unwrap()).unwrap()
}

fn truth(path: &Path, global: &[PathBuf]) -> Value {
    let file = ImageFile::open(path).unwrap();
    let report = examine(&file, &SymbolDb::load().unwrap(), &dirs(global)).unwrap();
    serde_json::to_value(report).unwrap()
}

/// The same as the command line prints it, with the sites that it would choose.
fn printed(path: &Path, global: &[PathBuf]) -> Value {
    let file = ImageFile::open(path).unwrap();
    let mut report = examine(&file, &SymbolDb::load().unwrap(), &dirs(global)).unwrap();
    let prices = PriceList::built_in(Arch::X86_64);
    let source = serde_json::to_value(&prices.source).unwrap();
    let choice = Choice {
        sites: ProbeSites::Planned,
        prices,
        return_probes: true,
    };
    choose_all(&mut report, &choice);
    let mut value = serde_json::to_value(report).unwrap();
    value["prices"] = source;
    value
}

/// The answer is the one that a fresh look gives; where it came from is handed on.
fn checked(examined: Examined, path: &Path, global: &[PathBuf]) -> Origin {
    assert_eq!(
        serde_json::to_value(examined.report).unwrap(),
        truth(path, global)
    );
    examined.origin
}

fn kept() -> Origin {
    Origin::Examined {
        rejected: None,
        not_kept: None,
    }
}

fn rejected(origin: &Origin) -> &'static str {
    match origin {
        Origin::Examined {
            rejected: Some(why),
            ..
        } => why,
        origin => panic!("{origin}"),
    }
}

/// Where the symbol table's strings have a name; the code has the same name before.
fn in_symbol_names(program: &[u8]) -> usize {
    memmem::rfind(program, b"\0SSL_read\0").unwrap()
}

fn program() -> Option<Vec<u8>> {
    Some(fs::read(testbin("openssl/pair", "static")?.path).unwrap())
}

/// The second look gives what the first one gave, under the name that it was asked by; so does one at a
/// copy, or at a file that was touched.
#[test]
fn a_second_look_gives_the_same() {
    let place = Place::new();
    let program = require!(program());
    let first = place.write("first", &program);
    let copy = place.write("copy", &program);
    let link = place.path("link");
    symlink(&first, &link).unwrap();
    sleep(SETTLING);
    assert_eq!(checked(place.look(&first), &first, &[]), kept());
    assert_eq!(checked(place.look(&first), &first, &[]), Origin::SameFile);
    assert_eq!(checked(place.look(&link), &link, &[]), Origin::SameFile);
    assert_eq!(checked(place.look(&copy), &copy, &[]), Origin::SameContent);
    assert_eq!(checked(place.look(&copy), &copy, &[]), Origin::SameFile);
    File::open(&first)
        .unwrap()
        .set_permissions(fs::Permissions::from_mode(0o700))
        .unwrap();
    assert_eq!(
        checked(place.look(&first), &first, &[]),
        Origin::SameContent
    );
    place.entry();
}

/// A file that claims the build ID of another one gets an answer of its own: if its code differs where
/// a probe would go, and if only its names do.
#[test]
fn twins_by_build_id_are_told_apart() {
    let place = Place::new();
    let program = require!(program());
    let first = place.write("first", &program);
    let real = truth(&first, &[]);
    let functions = real["findings"][0]["functions"].as_array().unwrap();
    let read = functions
        .iter()
        .find(|function| function["name"] == "SSL_read")
        .unwrap();
    let at = usize::try_from(read["file_offset"].as_u64().unwrap()).unwrap();
    let mut other_code = program.clone();
    other_code[at] ^= 0xff;
    let other_code = place.write("other-code", &other_code);
    let mut other_names = program;
    let at = in_symbol_names(&other_names);
    other_names[at + 5] = b'X';
    let other_names = place.write("other-names", &other_names);
    sleep(SETTLING);
    for order in [
        [&first, &other_code, &other_names],
        [&other_names, &first, &other_code],
    ] {
        let _ = fs::remove_dir_all(place.path("cache"));
        assert_eq!(checked(place.look(order[0]), order[0], &[]), kept());
        for twin in &order[1..] {
            let origin = checked(place.look(twin), twin, &[]);
            assert!(rejected(&origin).starts_with("it is about"), "{origin}");
        }
    }
    assert_ne!(real["findings"], truth(&other_names, &[])["findings"]);
}

/// A file that was changed in place, with its time of writing set back, is looked at again.
#[test]
fn changes_in_place_are_seen() {
    let place = Place::new();
    let program = require!(program());
    for with_build_id in [true, false] {
        let mut program = program.clone();
        if !with_build_id {
            let note = memmem::find(&program, b"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0").unwrap();
            program[note + 8] = 0x7f;
        }
        let path = place.write("program", &program);
        sleep(SETTLING);
        assert_eq!(checked(place.look(&path), &path, &[]), kept());
        assert_eq!(checked(place.look(&path), &path, &[]), Origin::SameFile);
        let written = fs::metadata(&path).unwrap().modified().unwrap();
        let file = File::options().write(true).open(&path).unwrap();
        let at = in_symbol_names(&program);
        file.write_all_at(b"X", at as u64 + 5).unwrap();
        file.set_modified(written).unwrap();
        let origin = checked(place.look(&path), &path, &[]);
        assert!(!origin.is_hit(), "{origin}");
    }
}

/// What has just been written may go on changing within the same tick of the clock.
#[test]
fn fresh_files_are_not_kept() {
    let place = Place::new();
    let path = place.write("program", &require!(program()));
    for _ in 0..2 {
        let origin = checked(place.look(&path), &path, &[]);
        assert!(
            matches!(
                origin,
                Origin::Examined {
                    not_kept: Some(_),
                    ..
                }
            ),
            "{origin}"
        );
    }
    assert!(!place.path("cache").exists());
}

/// Debug files that come and go change the answer.
#[test]
fn debug_files_are_part_of_the_question() {
    let place = Place::new();
    let stripped = require!(testbin("openssl/pair", "static.build-id"));
    let real = stripped.debug_root.unwrap().join("usr/lib/debug");
    let path = &stripped.path;
    let global = [place.path("debug")];
    let look = || look(&place.examiner("1", &global), path);
    fs::create_dir(&global[0]).unwrap();
    sleep(SETTLING);
    assert_eq!(checked(look(), path, &global), kept());
    assert_eq!(checked(look(), path, &global), Origin::SameFile);
    let is_named = |functions: &[Function]| {
        let mut all = functions.iter().flat_map(|function| &function.evidence);
        all.any(|evidence| evidence.method == Method::BuildIdFile)
    };
    assert!(!is_named(&look().report.findings[0].functions));
    symlink(real.join(".build-id"), global[0].join(".build-id")).unwrap();
    assert_eq!(checked(look(), path, &global), kept());
    assert_eq!(checked(look(), path, &global), Origin::SameFile);
    assert!(is_named(&look().report.findings[0].functions));
    fs::remove_file(global[0].join(".build-id")).unwrap();
    assert!(!is_named(&look().report.findings[0].functions));
}

/// Another analyzer does not repeat what an older one said.
#[test]
fn analyzers_do_not_share_answers() {
    let place = Place::new();
    let path = place.write("program", &require!(program()));
    sleep(SETTLING);
    let look = |analyzer| look(&place.examiner(analyzer, &[]), &path).origin;
    assert_eq!(look("1"), kept());
    assert_eq!(look("2"), kept());
    assert_eq!(look("1"), Origin::SameFile);
    assert_eq!(look("2"), Origin::SameFile);
    let own = agentsight::cache::analyzer().unwrap();
    assert!(
        own.starts_with(env!("CARGO_PKG_VERSION")) && own.len() > 20,
        "{own}"
    );
}

/// A place that cannot be written, or is none, changes no answer.
#[test]
fn unusable_places_do_no_harm() {
    let place = Place::new();
    let path = place.write("program", &require!(program()));
    place.write("cache", b"a file where the directory should be");
    sleep(SETTLING);
    for _ in 0..2 {
        let origin = checked(place.look(&path), &path, &[]);
        assert!(
            matches!(
                origin,
                Origin::Examined {
                    not_kept: Some(_),
                    ..
                }
            ),
            "{origin}"
        );
    }
    let cli = |name: &str, value: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_agentsight"))
            .env_remove("AGENTSIGHT_CACHE")
            .env_remove("XDG_CACHE_HOME")
            .env(name, value)
            .args(["discover", "--explain"])
            .arg(&path)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        assert!(output.stderr.is_empty(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(cli("AGENTSIGHT_CACHE", "/proc/nowhere").contains("not kept"));
    assert!(cli("AGENTSIGHT_CACHE", "/dev/null").contains("not kept"));
}

/// Root with another user's HOME (sudo) neither reads nor writes there.
#[test]
fn another_users_home_is_left_alone() {
    if !nix::unistd::geteuid().is_root() {
        return support::skip("root").unwrap_or_default();
    }
    let place = Place::new();
    let path = place.write("program", &require!(program()));
    let home = place.path("home");
    fs::create_dir(&home).unwrap();
    std::os::unix::fs::chown(&home, Some(65534), Some(65534)).unwrap();
    sleep(SETTLING);
    let output = Command::new(env!("CARGO_BIN_EXE_agentsight"))
        .env_remove("AGENTSIGHT_CACHE")
        .env_remove("XDG_CACHE_HOME")
        .env("HOME", &home)
        .arg("discover")
        .arg(&path)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(fs::read_dir(&home).unwrap().count(), 0);
}

/// Many processes that look at the same files at once all get the right answer, and leave whole entries.
#[test]
fn crowds_get_the_right_answer() {
    const PROCESSES: usize = 8;
    let place = Place::new();
    let program = require!(program());
    let paths = ["a", "b", "c"].map(|name| place.write(name, &program));
    sleep(SETTLING);
    let mut results = Vec::new();
    for round in 0..2 {
        let started: Vec<Child> = (0..PROCESSES).map(|_| start(&place, &paths)).collect();
        for child in started {
            let output = child.wait_with_output().unwrap();
            assert!(
                output.status.success() && output.stderr.is_empty(),
                "{round}: {output:?}"
            );
            results.push(serde_json::from_slice::<Value>(&output.stdout).unwrap());
        }
    }
    let no_dirs = [PathBuf::from("/usr/lib/debug")];
    let expected: Vec<Value> = paths.iter().map(|path| printed(path, &no_dirs)).collect();
    for result in results {
        assert_eq!(result.as_array().unwrap(), &expected);
    }
    let output = start(&place, &paths).wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(place.entry().extension().unwrap(), "json", "no leftovers");
}

fn start(place: &Place, paths: &[PathBuf]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_agentsight"))
        .env("AGENTSIGHT_CACHE", place.path("cache"))
        .args(["discover", "--json"])
        .args(paths)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The program says where its answer comes from, and leaves the cache alone when it is told to.
#[test]
fn the_command_line_uses_it() {
    let place = Place::new();
    let path = place.write("program", &require!(program()));
    sleep(SETTLING);
    let discover = |more: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_agentsight"))
            .env("AGENTSIGHT_CACHE", place.path("cache"))
            .args(["discover", "--explain"])
            .args(more)
            .arg(&path)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let cache_line = |text: &str| text.lines().last().unwrap().trim().to_owned();
    let anew = discover(&["--no-cache"]);
    assert_eq!(cache_line(&anew), "cache: not used");
    assert!(!place.path("cache").exists());
    assert_eq!(cache_line(&discover(&[])), "cache: examined, kept");
    let again = discover(&[]);
    assert_eq!(
        cache_line(&again),
        "cache: hit, this file was examined before"
    );
    let without = |text: &str| text.rsplit_once("  cache:").unwrap().0.to_owned();
    assert_eq!(without(&again), without(&anew));
}

/// The point of it: a second look at a large program takes milliseconds, even in a build for tests.
#[test]
fn a_second_look_is_quick() {
    let node = require!(sample("node-x64-20"));
    let place = Place::new();
    let first = place.look(&node.path);
    assert_eq!(first.origin, kept());
    let examiner = place.examiner("1", &[]);
    let quickest = (0..5).map(|_| {
        let start = Instant::now();
        assert_eq!(look(&examiner, &node.path).origin, Origin::SameFile);
        start.elapsed()
    });
    let quickest = quickest.min().unwrap();
    assert!(quickest < Duration::from_millis(50), "{quickest:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// Whatever becomes of an entry, the answer is right, and the next one is quick again.
    #[test]
    fn damaged_entries_are_replaced(
        at in any::<prop::sample::Index>(),
        bytes in prop::collection::vec(any::<u8>(), 0..9),
        cut in any::<bool>(),
    ) {
        // The system's own small library: settled, and quick to look at.
        let path = Path::new("/bin/true");
        let place = Place::new();
        prop_assert_eq!(checked(place.look(path), path, &[]), kept());
        let entry = place.entry();
        let whole = fs::read(&entry).unwrap();
        let at = at.index(whole.len());
        let mut damaged = whole[..at].to_vec();
        damaged.extend(&bytes);
        if !cut {
            damaged.extend(&whole[(at + bytes.len()).min(whole.len())..]);
        }
        fs::write(&entry, &damaged).unwrap();
        let origin = checked(place.look(path), path, &[]);
        if damaged == whole {
            prop_assert_eq!(origin, Origin::SameFile);
        } else {
            prop_assert_eq!(rejected(&origin), "it is damaged");
        }
        prop_assert_eq!(checked(place.look(path), path, &[]), Origin::SameFile);
    }
}
