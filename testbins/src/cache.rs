//! One folder per distinct set of inputs, filled once, whoever asks first.
//!
//! A folder appears under its final name by a rename, so what exists is complete. The lock only
//! keeps two processes from doing the same work twice. Old folders are not swept: `cargo clean` is.
//!
//! What takes long lies beside the samples instead, where a new checkout finds it.

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
    filled(&root, label, digest(&(BUILDER, inputs)), fill)
}

/// The same, in this folder of the sample cache; `inputs` say how things are built, too.
pub fn kept_folder(
    family: &str,
    label: &str,
    inputs: &impl Hash,
    fill: impl FnOnce(&Path) -> Result<(), Unbuilt>,
) -> Result<PathBuf, Unbuilt> {
    filled(&sample_cache()?.join(family), label, digest(inputs), fill)
}

fn filled(
    root: &Path,
    label: &str,
    digest: u64,
    fill: impl FnOnce(&Path) -> Result<(), Unbuilt>,
) -> Result<PathBuf, Unbuilt> {
    let name = format!("{}-{digest:016x}", label.replace('/', "-"));
    let finished = root.join(&name);
    if finished.is_dir() {
        return Ok(finished);
    }
    let failed =
        |error: io::Error| Unbuilt::failed(format!("failed to make {}", finished.display()), error);
    // Released when `_lock` is dropped.
    let _lock = lock(&root.join(name + ".lock"))?;
    if !finished.is_dir() {
        let unfinished = tempfile::tempdir_in(root).map_err(failed)?;
        fill(unfinished.path())?;
        fs::rename(unfinished.keep(), &finished).map_err(failed)?;
    }
    Ok(finished)
}

/// Waits for a lock of this name; it is released when the file is dropped.
pub fn lock(path: &Path) -> Result<File, Unbuilt> {
    let locked = || -> io::Result<File> {
        fs::create_dir_all(path.parent().unwrap_or(path))?;
        let file = File::create(path)?;
        fs4::FileExt::lock(&file)?;
        Ok(file)
    };
    locked().map_err(|error| Unbuilt::failed(path.display(), error))
}

/// A number for these inputs, the same in all processes of one build of this crate.
pub fn digest(inputs: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    inputs.hash(&mut hasher);
    hasher.finish()
}

/// `AGENTSIGHT_SAMPLES`, or where `scripts/fetch-samples` puts them by itself.
pub fn sample_cache() -> Result<PathBuf, Unbuilt> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let cache = || {
        set("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .or_else(|| Some(PathBuf::from(set("HOME")?).join(".cache")))
    };
    let folder = set("AGENTSIGHT_SAMPLES")
        .map(PathBuf::from)
        .or_else(|| Some(cache()?.join("agentsight/samples")));
    folder.ok_or_else(|| Unbuilt::Missing("HOME".to_owned()))
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
