//! What the test files share: programs to look at, named skips, and a second opinion on ELF files.
//!
//! A skip always says what is missing, and is a failure where `AGENTSIGHT_TEST_REQUIRE=all` is set.
//! Nothing here uses the code under test.

#![allow(dead_code, reason = "each test file uses its own part")]

pub mod elf;
mod random;
pub mod scramble;
mod skip;
pub mod truth;

use std::path::{Path, PathBuf};

use agentsight_testbins::{Testbin, Unbuilt};

pub use random::Random;
pub use skip::skip;

/// The value of an `Option`, or a return from the test: `None` has been reported as a skip.
macro_rules! require {
    ($value:expr) => {
        match $value {
            Some(value) => value,
            None => return,
        }
    };
}
pub(crate) use require;

/// Builds a sample program, or skips for want of a tool.
pub fn testbin(program: &str, variant: &str) -> Option<Testbin> {
    match agentsight_testbins::build(program, variant) {
        Ok(testbin) => Some(testbin),
        Err(Unbuilt::Missing(what)) => skip(&format!("{program} {variant}: {what}")),
        Err(error) => panic!("{program} {variant}: {error}"),
    }
}

/// A real program that `scripts/fetch-samples` got, with what `tests/samples.json` says about it.
pub struct Sample {
    pub path: PathBuf,
    pub arch: String,
    pub libraries: Vec<String>,
}

/// The sample of that name, or a skip if it was not fetched. Those that are fetched for `scripts/test --extended` only are
/// left out otherwise.
pub fn sample(name: &str) -> Option<Sample> {
    let list = std::fs::read_to_string(repository().join("tests/samples.json")).unwrap();
    let list: Vec<serde_json::Value> = serde_json::from_str(&list).unwrap();
    let entry = list.iter().find(|entry| entry["name"] == name);
    let entry = entry.unwrap_or_else(|| panic!("tests/samples.json has no {name}"));
    let inner = Path::new(entry["source"]["inner_path"].as_str().unwrap());
    let path = sample_cache()?.join(name).join(inner.file_name().unwrap());
    if !path.is_file() {
        let groups = entry["groups"].as_array().unwrap();
        let is_default = groups.iter().any(|group| group == "ci");
        if !is_default && std::env::var_os("AGENTSIGHT_EXTENDED").is_none() {
            eprintln!("left out: sample {name} (scripts/test --extended)");
            return None;
        }
        return skip(&format!("sample {name} (scripts/fetch-samples {name})"));
    }
    let libraries = entry["libraries"].as_array().unwrap().iter();
    Some(Sample {
        path,
        arch: entry["arch"].as_str().unwrap().to_owned(),
        libraries: libraries
            .map(|name| name.as_str().unwrap().to_owned())
            .collect(),
    })
}

/// Where samples are kept, and what else tests fetch.
pub fn sample_cache() -> Option<PathBuf> {
    let set = |name| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let cache = || set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
    set("AGENTSIGHT_SAMPLES")
        .or_else(|| Some(cache()?.join("agentsight/samples")))
        .or_else(|| skip("HOME (for the sample cache)"))
}

/// The folder of `Cargo.toml`.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
