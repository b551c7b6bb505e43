//! What the benches share: the programs under load, the tracers, statistics, and the report.
//!
//! Only ratios within one run mean something: the ways take turns, and the median of the rounds counts.

#![allow(dead_code, reason = "each bench uses its own part")]

pub mod child;
pub mod https;
pub mod machine;
pub mod observer;
pub mod options;
pub mod program;
#[allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "shared with tests, which fail by panicking"
)]
#[path = "../../tests/support/random.rs"]
pub mod random;
pub mod report;
pub mod rounds;
pub mod stage;
pub mod stats;
pub mod text;
pub mod told;
pub mod trim;
pub mod watcher;

use std::env;
use std::error::Error;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

pub use options::Options;

pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A folder in memory, where there is one: no disk shall be measured.
pub fn folder() -> Result<TempDir> {
    let memory = Path::new("/dev/shm");
    Ok(if memory.is_dir() {
        TempDir::new_in(memory)?
    } else {
        TempDir::new()?
    })
}

/// The program in a sample's folder, as `scripts/fetch-samples` puts it there.
pub fn sample(name: &str, file: &str) -> Option<PathBuf> {
    let below = |variable, path| Some(PathBuf::from(env::var_os(variable)?).join(path));
    let folder = below("AGENTSIGHT_SAMPLES", "")
        .or_else(|| below("XDG_CACHE_HOME", "agentsight/samples"))
        .or_else(|| below("HOME", ".cache/agentsight/samples"))?;
    let path = folder.join(name).join(file);
    path.is_file().then_some(path)
}
