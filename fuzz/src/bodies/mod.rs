//! What is tried with hostile input, once for each target: the fuzzer in `fuzz_targets` and the
//! deterministic test in `tests/hostile/fuzzed.rs` run the same bodies and the same damage.
//!
//! A body takes any bytes. It fails by a panic: of the code under test, or because what that said about
//! the bytes cannot be. It never writes files and never looks at the clock.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    missing_docs,
    reason = "a body fails by panicking; this is no library for others"
)]

mod code;
mod files;
mod go;
mod image;
pub mod mutate;
#[allow(
    clippy::duplicate_mod,
    reason = "the tests, which include this file, have it too"
)]
#[path = "../../../tests/support/random.rs"]
mod random;
mod texts;

/// One target.
pub struct Body {
    /// As the file in `fuzz_targets`.
    pub name: &'static str,
    pub run: fn(&[u8]),
    /// Folders of seeds, as `fuzz/seed` makes them.
    pub seeds: &'static [&'static str],
}

const fn body(name: &'static str, run: fn(&[u8]), seeds: &'static [&'static str]) -> Body {
    Body { name, run, seeds }
}

/// All targets.
pub const BODIES: &[Body] = &[
    body("image", image::views, &["elf", "names", "debug"]),
    body("relocations", image::relocations, &["elf"]),
    body("unwind", image::unwind, &["elf"]),
    body("instructions", code::instructions, &["code"]),
    body(
        "functions",
        code::functions,
        &["elf", "openssl", "boringssl"],
    ),
    body("names", files::examine, &["names", "elf"]),
    body("openssl", files::examine, &["openssl"]),
    body("boringssl", files::examine, &["boringssl"]),
    body("debug", files::examine, &["debug"]),
    body("pclntab", go::pclntab, &["go"]),
    body("rtype", go::rtype, &["go"]),
    body("go", go::examine, &["go"]),
    body("cache", texts::cache, &["cache"]),
    body("manifest", texts::manifest, &["manifest"]),
];

/// The programs that the bodies for Go damage: none of them works before. They are too large for seeds, so an input
/// says what to change in which.
pub fn set_go_programs(programs: Vec<Vec<u8>>) {
    go::set_programs(programs);
}

/// The body of that name.
pub fn find(name: &str) -> &'static Body {
    let found = BODIES.iter().find(|body| body.name == name);
    found.unwrap_or_else(|| panic!("no target {name}"))
}
