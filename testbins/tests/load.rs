//! The programs that benches run send as many messages as they say, and end when they should.

#![allow(
    clippy::expect_used,
    clippy::print_stderr,
    reason = "a test fails by panicking"
)]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use agentsight_testbins::{golang, rust};
use support::{or_skip, testbin};

/// How many messages the program says that it sent.
fn messages(program: &Path, options: &[&str]) -> u64 {
    let output = Command::new(program)
        .args(options)
        .output()
        .expect("it starts");
    let printed = String::from_utf8_lossy(&output.stdout);
    let what = format!("{} {options:?}", program.display());
    assert!(output.status.success(), "{what}: {output:?}");
    for name in ["seconds ", "cpu_seconds "] {
        let number = printed.lines().find_map(|line| line.strip_prefix(name));
        let number: f64 = number.and_then(|text| text.parse().ok()).expect("a number");
        assert!(number >= 0.0, "{what}: {number}");
    }
    let mut lines = printed.lines();
    let count = lines.find_map(|line| line.strip_prefix("messages "));
    count.and_then(|text| text.parse().ok()).expect("a count")
}

fn sends_what_it_should(program: &Path, more: &[&str]) {
    for size in ["1", "256", "16384", "100000"] {
        let options = ["--size", size, "--messages", "7"];
        assert_eq!(messages(program, &[&options, more].concat()), 7);
    }
    assert!(messages(program, &[&["--seconds", "1"], more].concat()) > 0);
}

/// A bench would expect other numbers than what a tracer can see.
#[test]
fn c_programs() {
    for (program, variant) in [
        ("openssl/load", "dyn-O2"),
        ("openssl/load", "embedded.strip"),
        ("gnutls/load", "dyn-O2"),
    ] {
        let Some(built) = testbin(program, variant) else {
            continue;
        };
        sends_what_it_should(&built.path, &[]);
        let spread = ["--connections", "5", "--threads", "2"];
        sends_what_it_should(&built.path, &spread);
        let paced = ["--rate", "20", "--seconds", "1"];
        let count = messages(&built.path, &[&paced[..], &spread].concat());
        // It never makes up for lost time: a busy machine gets fewer.
        assert!((1..=22).contains(&count), "{count} messages at 20 a second");
    }
}

/// The same for Go and Rust.
#[test]
fn other_languages() {
    let version = golang::VERSIONS.last().expect("there is one");
    let built = golang::link(version, "load", &[], &[]);
    if let Some(path) = or_skip("go/load", version, built) {
        sends_what_it_should(&path, &[]);
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let keys = or_skip("rust/load", "certificate", rust::certificate(folder.path()));
    let built = or_skip("rust/load", "release", rust::load());
    if let (Some(keys), Some(path)) = (keys, built) {
        let [cert, key] = keys.map(|file: PathBuf| file.display().to_string());
        sends_what_it_should(&path, &["--cert", &cert, "--key", &key]);
    }
}
