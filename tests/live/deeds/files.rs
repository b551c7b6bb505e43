//! Files, in all ways to name them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;

use super::{Recorded, compile};

/// What was done: operation, error, number, and the places, without links.
type Done = (String, i32, i64, Vec<u8>, Vec<u8>);

/// The number of each thing that was done, and bytes written by place.
#[derive(Default)]
struct Tally {
    done: BTreeMap<Done, i64>,
    bytes: BTreeMap<Vec<u8>, i64>,
}

/// What the program has written down.
fn truth(log: &Path) -> Tally {
    let mut tally = Tally::default();
    for line in fs::read_to_string(log).unwrap().lines() {
        let [operation, error, number, path, other] =
            line.split('\t').collect::<Vec<_>>().try_into().unwrap();
        let path = unhex(path);
        let number = number.parse().unwrap();
        if operation == "write" {
            *tally.bytes.entry(path).or_default() += number;
            continue;
        }
        let key = (
            operation.to_owned(),
            error.parse().unwrap(),
            number,
            path,
            unhex(other),
        );
        *tally.done.entry(key).or_default() += 1;
    }
    tally
}

pub fn unhex(text: &str) -> Vec<u8> {
    if text == "-" {
        return Vec::new();
    }
    let digits = text.as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.map(byte).collect()
}

/// What we have seen below `root`.
fn seen(lines: &[Value], root: &Path) -> Tally {
    let mut tally = Tally::default();
    for line in lines {
        let kind = line["type"].as_str().unwrap();
        let Some(operation) = kind.strip_prefix("file.") else {
            continue;
        };
        let named = bytes_of(line, "path");
        if operation == "symlink" && is_own_link(&named, root) {
            continue;
        }
        let path = canonical(&named, root);
        if !path.starts_with(root.as_os_str().as_encoded_bytes()) {
            continue;
        }
        if operation == "write" {
            *tally.bytes.entry(path).or_default() += line["bytes"].as_i64().unwrap();
            continue;
        }
        // Duplicates of descriptors, and readings, are no operations of the program's.
        if line["inherited"] == true || line["was_written"] == true {
            continue;
        }
        let number = match operation {
            "truncate" | "mmap" => line["len"].as_i64().unwrap(),
            "chmod" | "mkdir" | "mknod" => {
                i64::from_str_radix(line["mode"].as_str().unwrap(), 8).unwrap()
            }
            _ => 0,
        };
        let to = match line.get("to") {
            Some(_) => canonical(&bytes_of(line, "to"), root),
            None => Vec::new(),
        };
        let key = (operation.to_owned(), errno(line), number, path, to);
        *tally.done.entry(key).or_default() += 1;
    }
    tally
}

/// `to-N`, which the program makes before it begins.
fn is_own_link(path: &[u8], root: &Path) -> bool {
    let root = [root.as_os_str().as_encoded_bytes(), b"/to-"].concat();
    path.strip_prefix(&*root)
        .is_some_and(|number| number.iter().all(u8::is_ascii_digit))
}

fn errno(line: &Value) -> i32 {
    match line.get("error").map(|error| error.as_str().unwrap()) {
        None => 0,
        Some("ENOENT") => libc::ENOENT,
        Some("EEXIST") => libc::EEXIST,
        Some("ENOTEMPTY") => libc::ENOTEMPTY,
        Some(other) => panic!("{other}"),
    }
}

pub fn bytes_of(line: &Value, name: &str) -> Vec<u8> {
    match line.get(format!("{name}_b64")) {
        Some(coded) => BASE64_STANDARD.decode(coded.as_str().unwrap()).unwrap(),
        None => line[name].as_str().unwrap_or_default().as_bytes().to_vec(),
    }
}

/// Without the links that the program has made: `to-N` leads to `N/sub`.
fn canonical(path: &[u8], root: &Path) -> Vec<u8> {
    let root = root.as_os_str().as_encoded_bytes();
    let Some(rest) = path.strip_prefix(root) else {
        return path.to_vec();
    };
    let mut names: Vec<Vec<u8>> = Vec::new();
    for name in rest
        .split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty())
    {
        match name {
            b".." => {
                names.pop();
            }
            name if names.is_empty() && name.starts_with(b"to-") => {
                names.push(name[3..].to_vec());
                names.push(b"sub".to_vec());
            }
            name => names.push(name.to_vec()),
        }
    }
    let names = names
        .into_iter()
        .flat_map(|name| [b"/".to_vec(), name].concat());
    root.iter().copied().chain(names).collect()
}

fn compare(place: &Recorded, root: &Path, log: &Path, said: &str) {
    let (truth, seen) = (truth(log), seen(&place.lines(), root));
    let all: i64 = truth.done.values().sum();
    let mut wrong = Vec::new();
    for key in truth.done.keys().chain(seen.done.keys()) {
        let (done, told) = (truth.done.get(key), seen.done.get(key));
        if done != told && wrong.len() < 20 {
            let name = |path: &[u8]| String::from_utf8_lossy(path).into_owned();
            let (operation, error, number, path, to) = key;
            wrong.push(format!(
                "{operation} {error} {number} {:?} {:?}: done {done:?}, told {told:?}",
                name(path),
                name(to)
            ));
        }
    }
    eprintln!("{all} operations on names and open files");
    assert!(said.contains("lost: nothing"), "{said}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(truth.bytes, seen.bytes, "bytes written by file");
}

fn run(threads: &str, rate: &str, seconds: &str) {
    let Some(place) = Recorded::place() else {
        return;
    };
    let program = compile("torture", place.dir.path());
    let (root, log) = (place.path("root"), place.path("log"));
    fs::create_dir(&root).unwrap();
    let text = |path: &PathBuf| path.to_str().unwrap().to_owned();
    let seed = std::process::id().to_string();
    eprintln!("seed {seed}");
    let said = place.run(&[
        &text(&program),
        &text(&log),
        &text(&root),
        &seed,
        threads,
        rate,
        seconds,
    ]);
    compare(&place, &root, &log, &said);
}

/// An agent could change a file, and nobody would know, or another file would be blamed.
#[test]
fn root_deeds_with_files_are_all_told() {
    run("2", "2000", "2");
}

/// The same at the rate of a build.
#[test]
fn root_deeds_with_files_at_ten_thousand_a_second() {
    run("8", "10000", "30");
}
