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
mod direct;
mod go;
mod gobuild;
mod guard;
mod harm;
mod limits;
mod programs;
mod testbins;

use std::path::PathBuf;

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
