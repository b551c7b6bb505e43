//! Files where a path is another one than it seems: behind bind mounts, in memory, in overlays, in roots of their own, in
//! containers, in directories that are moved. A path is what the process itself sees; the file is what `stat` says.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::files::{bytes_of, unhex};
use super::{Recorded, compile, compile_with};
use crate::program;
use crate::support::require;

/// What was done: operation, error, the places, and the file if it was open.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Done {
    operation: String,
    error: String,
    path: String,
    to: String,
    file: Option<(String, u64)>,
}

/// How often each thing was done, or how many bytes were written by it.
type Tally = BTreeMap<Done, i64>;

fn text(path: &[u8]) -> String {
    String::from_utf8(path.to_vec()).unwrap()
}

/// What the program has written down.
fn truth(log: &Path) -> Tally {
    let mut tally = Tally::new();
    for line in fs::read_to_string(log).unwrap().lines() {
        let [operation, error, bytes, path, to, dev, ino] =
            line.split('\t').collect::<Vec<_>>().try_into().unwrap();
        let done = Done {
            operation: operation.to_owned(),
            error: error.to_owned(),
            path: text(&unhex(path)),
            to: text(&unhex(to)),
            file: (dev != "-").then(|| (dev.to_owned(), ino.parse().unwrap())),
        };
        let bytes: i64 = bytes.parse().unwrap();
        *tally.entry(done).or_default() += bytes.max(1);
    }
    tally
}

/// What is told of the program, but for its log.
fn seen(lines: &[Value], log: &Path) -> Tally {
    let mut tally = Tally::new();
    let log = fs::metadata(log).unwrap().ino();
    for line in lines.iter().filter(|line| line["comm"] == "mounts") {
        let kind = line["type"].as_str().unwrap();
        let Some(operation) = kind.strip_prefix("file.") else {
            continue;
        };
        if line["ino"] == log || line["inherited"] == true {
            continue;
        }
        let file = line["ino"]
            .as_u64()
            .map(|ino| (line["dev"].as_str().unwrap().to_owned(), ino));
        let done = Done {
            operation: operation.to_owned(),
            error: line["error"].as_str().unwrap_or("0").to_owned(),
            path: place(line),
            to: text(&bytes_of(line, "to")),
            file,
        };
        *tally.entry(done).or_default() += line["bytes"].as_i64().unwrap_or(1);
    }
    tally
}

/// Out of the process's root, the path begins where the kernel itself has no more names.
fn place(line: &Value) -> String {
    let path = text(&bytes_of(line, "path"));
    match line["path_is"].as_str() {
        Some("outside") => format!("/{path}"),
        _ => path,
    }
}

fn compare(place: &Recorded, log: &Path, said: &str) {
    let (truth, seen) = (truth(log), seen(&place.lines(), log));
    let all = truth.keys().chain(seen.keys());
    let wrong = all.filter(|done| truth.get(done) != seen.get(done));
    let wrong: Vec<_> = wrong
        .take(20)
        .map(|done| {
            format!(
                "{done:?}: done {:?}, told {:?}",
                truth.get(done),
                seen.get(done)
            )
        })
        .collect();
    eprintln!("{} different things done to files", truth.len());
    assert!(truth.len() > 50, "the program has done nothing");
    assert!(said.contains("lost: nothing"), "{said}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Behind a mount, or in a directory that was moved, another file would be blamed than the one that the agent changed.
#[test]
fn root_paths_behind_mounts_are_those_that_the_process_sees() {
    let place = require!(Recorded::place());
    let program = compile("mounts", place.dir.path());
    let (dir, log) = (place.path("dir"), place.path("log"));
    fs::create_dir(&dir).unwrap();
    let [program, log_path, dir] = [&program, &log, &dir].map(|path| path.to_str().unwrap());
    let said = place.run(&[program, log_path, "all", dir]);
    compare(&place, &log, &said);
}

/// In a container, paths would be the host's, or nobody's.
#[test]
fn root_paths_in_containers_are_those_that_the_process_sees() {
    let place = require!(Recorded::place());
    let _ = require!(program("podman").and(program("runc")));
    let root = place.path("root");
    for dir in ["dev", "etc", "made", "proc", "sys", "tmp", "usr/bin"] {
        fs::create_dir_all(root.join(dir)).unwrap();
    }
    compile_with("mounts", &root.join("usr/bin"), &["-static"]);
    let shared = place.path("shared");
    fs::create_dir_all(shared.join("work")).unwrap();
    let log = shared.join("log");
    let volume = format!("{}:/shared", shared.display());
    let root = format!("{}:O", root.display());
    let name = format!("agentsight-mounts-{}", std::process::id());
    let podman = [
        "podman",
        "--runtime",
        "runc",
        "run",
        "--rm",
        "--name",
        &name,
    ];
    let limits = [
        "--ulimit",
        "nofile=1024:1024",
        "--ulimit",
        "nproc=1000:1000",
    ];
    let mounts = ["--network=none", "--volume", &volume, "--tmpfs", "/scratch"];
    let command = ["--rootfs", &root, "/usr/bin/mounts", "/shared/log", "here"];
    let places = ["/shared/work", "/scratch", "/made"];
    let said = place.run(&[&podman[..], &limits, &mounts, &command, &places].concat());
    let _ = Command::new("podman")
        .args(["rm", "--force", &name])
        .output();
    compare(&place, &log, &said);
}
