//! Real probes on real programs, as root: what is captured is compared byte for byte with what the
//! programs themselves logged, and nothing may be lost.

// A test fails by panicking.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr
)]

mod capture;
mod container;
mod containers;
mod deeds;
mod direct;
mod endpoints;
mod go;
mod go_programs;
mod gobuild;
mod guard;
mod harm;
mod hold;
mod lifecycle;
mod limits;
mod llm;
mod path;
mod peer;
mod programs;
mod record;
#[path = "../recorded/mod.rs"]
mod recorded;
mod rust;
mod rust_agent;
mod rust_load;
mod rust_programs;
mod rust_traits;
mod sandbox;
mod selectors;
mod sites_property;
mod static_libraries;
mod static_programs;
#[path = "../support/mod.rs"]
mod support;
mod testbins;
mod wheels;

use std::path::{Path, PathBuf};
use std::process::Command;

use support::truth::{self, Tables};

/// Says by name what is missing; fails where nothing may be missing.
pub fn skip(what: &str) {
    assert!(
        std::env::var_os("AGENTSIGHT_TEST_REQUIRE").is_none_or(|value| value != "all"),
        "missing: {what}"
    );
    eprintln!("skipped: {what} is missing");
}

/// Live tests need root; without it they are a named skip.
pub fn is_root() -> bool {
    // SAFETY: geteuid has no preconditions.
    let root = unsafe { libc::geteuid() } == 0;
    if !root {
        skip("root");
    }
    root
}

/// A program of the system by its real path, or a named skip.
pub fn program(name: &str) -> Option<PathBuf> {
    let dirs = ["/usr/bin", "/bin", "/usr/sbin", "/usr/local/bin"];
    let found = dirs
        .iter()
        .map(|dir| PathBuf::from(dir).join(name))
        .find_map(|path| path.canonicalize().ok());
    if found.is_none() {
        skip(name);
    }
    found
}

/// Named so that a run without `AGENTSIGHT_EXTENDED` says what it leaves out.
pub fn is_extended() -> bool {
    let is_set = std::env::var_os("AGENTSIGHT_EXTENDED").is_some();
    if !is_set {
        eprintln!("left out: only with AGENTSIGHT_EXTENDED=1 (scripts/test --extended)");
    }
    is_set
}

/// Strips a copy of a program or library, or skips by the name of what is missing.
pub fn stripped(file: &Path, dir: &Path) -> Option<PathBuf> {
    let copy = dir.join(file.file_name().unwrap());
    let status = Command::new(program("strip")?)
        .arg("-o")
        .arg(&copy)
        .arg(file)
        .status()
        .unwrap();
    if !status.success() {
        skip("a strip that takes this file");
        return None;
    }
    Some(copy)
}

/// Has no function by which a TLS library could be told.
pub fn assert_nameless(file: &Path) {
    let is_tls = |name: &str| name.contains("SSL_read") || name.contains("SSL_write");
    let named = truth::functions(file, Tables::All, &is_tls);
    assert!(named.is_empty(), "{}: {named:?}", file.display());
}
