//! The bodies of the fuzz targets, without the fuzzer: on every seed, on the same damage of each in each run, and on
//! every input that has ever made one fail.

#[path = "../../fuzz/src/bodies/mod.rs"]
mod bodies;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use agentsight_testbins::Unbuilt;
use agentsight_testbins::golang::{self, MODES};
use agentsight_testbins::llm::{MockServer, Options};
use bodies::{BODIES, mutate};
use tempfile::TempDir;

use crate::CASE_LIMIT;
use crate::damage::times;
use crate::support::{Random, repository, require, skip};

/// Inputs that are made of each seed; of those for Go, which all stand for megabytes, fewer.
const DAMAGED: u64 = 12;
const DAMAGED_GO: u64 = 2;

/// What `fuzz/seed` makes.
fn seeds() -> Option<TempDir> {
    for tool in ["bash", "gcc", "objcopy", "python3", "strip", "xz"] {
        let Ok(_) = Command::new(tool).arg("--version").output() else {
            return skip(tool);
        };
    }
    let (folder, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mock = MockServer::start(Options::default(), place.path()).unwrap();
    let script = repository().join("fuzz/seed");
    let output = Command::new(script)
        .arg(folder.path())
        .env(
            "AGENTSIGHT_MOCK",
            format!("{}:{}", mock.port, mock.ca.display()),
        )
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    Some(folder)
}

/// The programs that the bodies for Go damage: the oldest and the newest toolchain of the tests, stripped.
fn go_programs() -> Option<Vec<Vec<u8>>> {
    let modes = MODES.iter().filter(|mode| mode.name == "sw");
    let built =
        modes.flat_map(|mode| ["1.21.13", "1.27.3"].map(|version| golang::build(version, mode)));
    let programs = built.map(|built| match built {
        Ok(testbin) => Some(fs::read(testbin.path).unwrap()),
        Err(Unbuilt::Missing(what)) => skip(&format!("Go: {what}")),
        Err(error) => panic!("{error}"),
    });
    programs.collect()
}

/// The files of a folder, in the order of their names.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.display().to_string(), fs::read(&path).unwrap()))
        .collect();
    files.sort();
    files
}

/// The input is kept where it fails: seeds lie in a folder that goes with the test.
fn run(body: &bodies::Body, data: &[u8], about: &str) {
    let began = Instant::now();
    let result = std::panic::catch_unwind(|| (body.run)(data));
    let took = began.elapsed();
    if result.is_err() || took >= CASE_LIMIT {
        let kept = std::env::temp_dir().join(format!("agentsight-fuzzed-{}", body.name));
        fs::write(&kept, data).unwrap();
        let kept = kept.display();
        panic!("{}: {about}: took {took:?}; the input is {kept}", body.name);
    }
}

/// What the fuzzer would find at once has come in again.
#[test]
fn seeds_and_their_damage_are_survived() {
    let folder = require!(seeds());
    let go = go_programs();
    let has_go = go.is_some();
    bodies::set_go_programs(go.unwrap_or_default());
    for body in BODIES {
        let began = Instant::now();
        let mut count = 0;
        for group in body.seeds {
            let is_go = *group == "go";
            if is_go && !has_go {
                continue;
            }
            let damaged = if is_go { DAMAGED_GO } else { DAMAGED };
            for (name, good) in files(&folder.path().join(group)) {
                run(body, &good, &name);
                for seed in 0..damaged * times() {
                    let mut bytes = good.clone();
                    mutate::damage(&mut bytes, seed);
                    run(body, &bytes, &format!("{name}, seed {seed}"));
                }
                count += 1;
            }
        }
        println!("{}: {count} seeds, {:?}", body.name, began.elapsed());
        assert!(count > 0 || !has_go, "{} has no seeds", body.name);
    }
}

/// What the fuzzer found once has come in again. A file's name begins with its target.
#[test]
fn old_findings_are_survived() {
    for (path, data) in files(&repository().join("tests/data/fuzz")) {
        let name = Path::new(&path).file_name().unwrap().to_string_lossy();
        let target = name.split('-').next().unwrap();
        run(bodies::find(target), &data, &path);
    }
}

/// An aarch64 instruction of any kind would be taken for one that goes elsewhere: another decoder tells.
#[test]
fn aarch64_flow_agrees_with_another_decoder() {
    let body = bodies::find("instructions");
    let mut random = Random(0);
    for upper in (0..=u16::MAX).step_by(64) {
        let words = (0..1024u32).map(|n| {
            let upper = u32::from(upper) + n % 64;
            upper << 16 | random.next() as u32 & 0xffff
        });
        let code: Vec<u8> = words.flat_map(u32::to_le_bytes).collect();
        run(body, &code, &format!("words from {upper:#x}0000"));
    }
}
