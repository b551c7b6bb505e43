//! The program that does nothing but rustls, for measuring what watching it costs.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::directive::source_root;
use crate::{Unbuilt, cache, tool};

const FILES: [&str; 3] = ["Cargo.lock", "Cargo.toml", "src/main.rs"];

/// Builds `rust/load`, rustls with ring as `cargo build --release` makes it, with all its symbols.
/// [`certificate`](super::certificate) makes what it needs besides the options of `common/load.c`.
pub fn load() -> Result<PathBuf, Unbuilt> {
    let package = source_root().join("rust/load");
    let mut inputs = vec![tool::run("rustc", Path::new("/"), ["-vV"])?];
    for file in FILES.map(|name| package.join(name)) {
        let bytes = std::fs::read(&file).map_err(|error| Unbuilt::failed(file.display(), error))?;
        inputs.push(bytes);
    }
    let key = (inputs, include_str!("load.rs"));
    let folder = cache::kept_folder(".rust", "load", &key, |folder| {
        let work = cache::sample_cache()?.join(".rust/work-load");
        let _lock = cache::lock(&work.with_extension("lock"))?;
        compile(&package, &work)?;
        let made = work.join("release/load");
        std::fs::copy(&made, folder.join("load"))
            .map(drop)
            .map_err(|error| Unbuilt::failed(made.display(), error))
    })?;
    Ok(folder.join("load"))
}

/// What cargo has already needs no network; without one, the crates are missing.
fn compile(package: &Path, work: &Path) -> Result<(), Unbuilt> {
    let (fetched, printed) = cargo(package, &["fetch", "--locked"])?;
    if !fetched && !cargo(package, &["fetch", "--locked", "--offline"])?.0 {
        return Err(Unbuilt::Missing(format!("crates of rust/load ({printed})")));
    }
    let target = work.to_string_lossy();
    let words = [
        "build",
        "--release",
        "--locked",
        "--offline",
        "--target-dir",
        &target,
    ];
    match cargo(package, &words)? {
        (true, _) => Ok(()),
        (false, printed) => Err(Unbuilt::failed("rust/load", printed)),
    }
}

/// A call that knows nothing of a cargo above it: whether it succeeded, and what it printed.
fn cargo(package: &Path, words: &[&str]) -> Result<(bool, String), Unbuilt> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let is_cargo = text.starts_with("CARGO") && text != "CARGO_HOME";
        if is_cargo || text.starts_with("RUSTC") || text == "RUSTFLAGS" {
            command.env_remove(&name);
        }
    }
    command.current_dir(package).args(words);
    let output = tool::finish("cargo", &mut command)?;
    let printed = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok((output.status.success(), printed))
}
