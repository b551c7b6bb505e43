//! House rules that no compiler holds: which layer may use which, that files say what they are for,
//! that nothing grows beyond reading, and that links in the docs lead somewhere.

// A test fails by panicking.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

/// Lines of a file, tests included. `style`: review from 700.
const FILE_LINES_MAX: usize = 1200;
/// Lines of a function.
const FUNCTION_LINES_MAX: usize = 100;

/// Which layers a layer may use, besides itself, `error` and `bytes`. The way of the data, one way.
const LAYERS: &[(&str, &[&str])] = &[
    ("attach", &["event", "image", "plan"]),
    ("bytes", &[]),
    ("cache", &["discover", "host", "image", "plan", "symdb"]),
    ("check", &["discover", "image", "symdb"]),
    (
        "cli",
        &[
            "cache",
            "check",
            "deeds",
            "discover",
            "doctor",
            "event",
            "graph",
            "host",
            "image",
            "output",
            "pipeline",
            "plan",
            "record",
            "redact",
            "rules",
            "select",
            "semantics",
            "sink",
            "survey",
            "symdb",
        ],
    ),
    ("deeds", &["event"]),
    ("dialog", &["event", "proto", "semantics", "stream"]),
    ("discover", &["image", "symdb"]),
    (
        "doctor",
        &[
            "attach", "discover", "event", "host", "image", "plan", "symdb",
        ],
    ),
    ("error", &[]),
    ("event", &["select"]),
    ("graph", &["deeds", "dialog", "event", "proto", "semantics"]),
    ("host", &["event", "image", "select"]),
    ("image", &[]),
    (
        "output",
        &[
            "deeds",
            "dialog",
            "event",
            "graph",
            "redact",
            "rules",
            "semantics",
            "sink",
            "stream",
        ],
    ),
    (
        "pipeline",
        &[
            "attach", "cache", "deeds", "discover", "doctor", "event", "host", "image", "output",
            "plan", "record", "select", "symdb",
        ],
    ),
    ("plan", &["discover", "image", "symdb"]),
    ("proto", &[]),
    (
        "record",
        &["deeds", "event", "output", "proto", "redact", "sink"],
    ),
    (
        "redact",
        &[
            "deeds",
            "dialog",
            "event",
            "graph",
            "proto",
            "semantics",
            "stream",
        ],
    ),
    (
        "rules",
        &["deeds", "dialog", "event", "semantics", "stream"],
    ),
    ("select", &[]),
    ("semantics", &["proto"]),
    (
        "sink",
        &[
            "deeds",
            "dialog",
            "event",
            "graph",
            "proto",
            "rules",
            "select",
            "semantics",
            "stream",
        ],
    ),
    ("stream", &["event"]),
    (
        "survey",
        &["cache", "discover", "host", "image", "plan", "select"],
    ),
    ("symdb", &[]),
];

/// Crates that one layer alone may use, and macros that only the outermost ones may.
const KEPT_IN: &[(&str, &[&str])] = &[
    ("libbpf_rs", &["attach"]),
    ("procfs::", &["host"]),
    ("memmap2", &["image"]),
    ("gimli::", &["image"]),
    ("println!", &["cli"]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(dirs: &[&str], endings: &[&str]) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    for dir in dirs {
        for entry in WalkDir::new(root().join(dir)) {
            let path = entry.unwrap().into_path();
            let ending = path
                .extension()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let skipped = path.components().any(|part| part.as_os_str() == "target");
            if path.is_file() && !skipped && endings.contains(&ending.as_str()) {
                let text = fs::read_to_string(&path).unwrap();
                files.push((path.strip_prefix(root()).unwrap().to_owned(), text));
            }
        }
    }
    assert!(!files.is_empty());
    files
}

fn layer(path: &Path) -> String {
    let second = path
        .components()
        .nth(1)
        .unwrap()
        .as_os_str()
        .to_string_lossy()
        .into_owned();
    second.trim_end_matches(".rs").to_owned()
}

/// A phase that reaches back, or around another one, breaks what keeps the code understandable.
#[test]
fn imports_go_one_way() {
    let layers: BTreeMap<_, _> = LAYERS.iter().copied().collect();
    for (path, text) in files(&["src"], &["rs"]) {
        let own = layer(&path);
        if own == "lib" || own == "main" {
            continue;
        }
        let allowed = layers
            .get(own.as_str())
            .unwrap_or_else(|| panic!("{own} has no place in LAYERS"));
        for (number, line) in text.lines().enumerate() {
            for used in line.split("crate::").skip(1) {
                let used: String = used
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect();
                let fine = used == own
                    || ["error", "bytes"].contains(&used.as_str())
                    || allowed.contains(&used.as_str());
                assert!(
                    fine,
                    "{}:{}: {own} may not use {used}",
                    path.display(),
                    number + 1
                );
            }
        }
    }
}

/// A crate that belongs to one layer shows up in another, or library code prints.
#[test]
fn crates_stay_where_they_belong() {
    for (path, text) in files(&["src"], &["rs"]) {
        for (word, homes) in KEPT_IN {
            if homes.contains(&layer(&path).as_str()) {
                continue;
            }
            let found = text
                .lines()
                .position(|line| line.contains(word) && !line.trim().starts_with("//"));
            assert_eq!(found, None, "{word} in {}", path.display());
        }
    }
}

/// A newcomer opens a file and is not told what it is for.
#[test]
fn files_say_what_they_are_for() {
    for (path, text) in files(&["src", "tests", "testbins", "benches"], &["rs"]) {
        // The tests of a module are named by their module.
        if path.ends_with("tests.rs") {
            continue;
        }
        assert!(
            text.starts_with("//!"),
            "{} starts without //!",
            path.display()
        );
    }
    for (path, text) in files(&["bpf"], &["c", "h"]) {
        let comment = text
            .lines()
            .skip(1)
            .take(2)
            .any(|line| line.starts_with("/*"));
        assert!(comment, "{} starts without a comment", path.display());
    }
}

/// A file or function grows beyond what one reads in one go.
#[test]
fn nothing_grows_too_long() {
    for (path, text) in files(&["src", "tests", "testbins", "benches"], &["rs"]) {
        let lines: Vec<&str> = text.lines().collect();
        assert!(
            lines.len() <= FILE_LINES_MAX,
            "{} has {} lines",
            path.display(),
            lines.len()
        );
        let mut open: Option<(usize, usize)> = None;
        for (number, line) in lines.iter().enumerate() {
            let indent = line.len() - line.trim_start().len();
            let starts = line.trim_start();
            let is_function = [
                "fn ",
                "pub fn ",
                "pub(super) fn ",
                "pub(crate) fn ",
                "const fn ",
            ]
            .iter()
            .any(|start| starts.starts_with(start));
            if is_function && open.is_none() {
                open = Some((number, indent));
            }
            if let Some((start, at)) = open
                && (*line == format!("{}}}", " ".repeat(at))
                    || (number == start && line.ends_with(';')))
            {
                let length = number - start + 1;
                assert!(
                    length <= FUNCTION_LINES_MAX,
                    "{}:{} is {length} lines long",
                    path.display(),
                    start + 1
                );
                open = None;
            }
        }
    }
}

/// The docs point at a file that is not there.
#[test]
fn links_lead_somewhere() {
    let mut texts = files(
        &[
            "bpf",
            "symbol-db",
            "testbins",
            "tests",
            "scripts",
            "benches",
            "docs",
        ],
        &["md"],
    );
    texts.push((
        "README.md".into(),
        fs::read_to_string(root().join("README.md")).unwrap(),
    ));
    for (path, text) in texts {
        for link in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let target = link.split('#').next().unwrap();
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let full = root().join(path.parent().unwrap()).join(target);
            assert!(full.exists(), "{}: {link} is not there", path.display());
        }
    }
}
