//! One folder per distinct set of inputs, filled once, whoever asks first.
//!
//! A folder appears under its final name by a rename, so what exists is complete. The lock only
//! keeps two processes from doing the same work twice. Old folders are not swept: `cargo clean` is.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};

use crate::Unbuilt;

/// A change to how things are built makes new folders, too.
const BUILDER: &str = concat!(
    include_str!("link.rs"),
    include_str!("post.rs"),
    include_str!("prefix.rs"),
    include_str!("tool.rs"),
    include_str!("vendored/boringssl.rs"),
    include_str!("vendored/make.rs"),
    include_str!("vendored/openssl.rs"),
);

/// The folder for `inputs`, made by `fill` if it is not there yet. `label` is for people.
pub fn folder(
    label: &str,
    inputs: &impl Hash,
    fill: impl FnOnce(&Path) -> Result<(), Unbuilt>,
) -> Result<PathBuf, Unbuilt> {
    let root = target_dir().join("testbins");
    let name = format!("{}-{:016x}", label.replace('/', "-"), digest(inputs));
    let finished = root.join(&name);
    if finished.is_dir() {
        return Ok(finished);
    }
    let failed =
        |error: io::Error| Unbuilt::failed(format!("failed to make {}", finished.display()), error);
    fs::create_dir_all(&root).map_err(failed)?;
    let lock = File::create(root.join(name + ".lock")).map_err(failed)?;
    // Released when `lock` is dropped.
    fs4::FileExt::lock(&lock).map_err(failed)?;
    if !finished.is_dir() {
        let unfinished = tempfile::tempdir_in(&root).map_err(failed)?;
        fill(unfinished.path())?;
        fs::rename(unfinished.keep(), &finished).map_err(failed)?;
    }
    Ok(finished)
}

fn digest(inputs: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    BUILDER.hash(&mut hasher);
    inputs.hash(&mut hasher);
    hasher.finish()
}

/// Cargo marks its target folder with a CACHEDIR.TAG, and whoever runs this was built into it.
pub fn target_dir() -> PathBuf {
    let marked = |folder: &&Path| folder.join("CACHEDIR.TAG").is_file();
    let program = std::env::current_exe().unwrap_or_default();
    match program.ancestors().skip(1).find(marked) {
        Some(folder) => folder.to_owned(),
        None => std::env::temp_dir().join("agentsight-target"),
    }
}
