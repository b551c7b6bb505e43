//! Gets the sources that a crate carries, through cargo and its cache.
//!
//! Nothing of the crate is compiled or run: a manifest that depends on it is enough for cargo to
//! download it. Versions are exact, and crates.io never changes a version.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{Unbuilt, tool};

/// The folder of the unpacked crate. Downloads it if cargo has not got it yet; where that fails,
/// the crate is [`Unbuilt::Missing`].
pub fn fetch(name: &str, version: &str) -> Result<PathBuf, Unbuilt> {
    let folder = tempfile::tempdir()
        .map_err(|error| Unbuilt::failed("failed to make a temporary folder", error))?;
    let write = |file: &str, text: &str| {
        fs::write(folder.path().join(file), text)
            .map_err(|error| Unbuilt::failed("failed to write a manifest", error))
    };
    write("Cargo.toml", &manifest(name, version))?;
    write("empty.rs", "")?;
    // What cargo has already needs no network, and no time.
    let described =
        describe(folder.path(), &["--offline"]).or_else(|_| describe(folder.path(), &[]));
    let described = described.map_err(|error| {
        let why = error.to_string();
        let why = why.lines().last().unwrap_or_default();
        Unbuilt::Missing(format!("crate {name} {version} ({why})"))
    })?;
    let folder = crate_folder(&String::from_utf8_lossy(&described), name, version);
    folder
        .ok_or_else(|| Unbuilt::failed(format!("no folder of {name} {version}"), "cargo metadata"))
}

/// Makes cargo download what the manifest depends on, and say where it is.
fn describe(folder: &Path, options: &[&str]) -> Result<Vec<u8>, Unbuilt> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let arguments = ["metadata", "--format-version=1", "--quiet"];
    tool::run(&cargo, folder, arguments.iter().chain(options))
}

fn manifest(name: &str, version: &str) -> String {
    format!(
        "[package]\nname = \"sources\"\nversion = \"0.0.0\"\nedition = \"2021\"\n\
         [lib]\npath = \"empty.rs\"\n[workspace]\n\
         [dependencies]\n{name} = {{ version = \"={version}\", default-features = false }}\n"
    )
}

/// Of what `cargo metadata` prints, only the path of this one manifest matters.
fn crate_folder(described: &str, name: &str, version: &str) -> Option<PathBuf> {
    let end = format!("/{name}-{version}");
    let mut paths = described
        .split("\"manifest_path\":\"")
        .filter_map(|rest| rest.split_once("/Cargo.toml\"").map(|(path, _)| path));
    paths.find(|path| path.ends_with(&end)).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sources of another version, or of a crate whose name ends alike, would be compiled.
    #[test]
    fn finds_the_folder_of_the_very_version() {
        let described = r#"{"manifest_path":"/c/x-boring-sys-5.4.0/Cargo.toml"},
            {"manifest_path":"/c/boring-sys-5.4.0/Cargo.toml"}"#;
        let found = |version| crate_folder(described, "boring-sys", version);
        assert_eq!(found("5.4.0"), Some(PathBuf::from("/c/boring-sys-5.4.0")));
        assert_eq!(found("5.4"), None);
    }

    /// A crate that cannot be had would be a failure instead of a skip by name.
    #[test]
    fn names_the_crate_that_is_missing() {
        let missing = fetch("boring-sys", "0.0.0-none");
        assert!(
            matches!(&missing, Err(Unbuilt::Missing(what)) if what.contains("boring-sys 0.0.0-none")),
            "{missing:?}"
        );
    }
}
