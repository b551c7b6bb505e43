//! Which crates, in which versions, and which compiler made a program: by the source paths that its panics tell.
//!
//! Only paths that [`Locations`] proves to be this program's are read, so that a Rust program inside another one's
//! data is not taken for it. Where paths are remapped or left out (`--remap-path-prefix`, `-Zlocation-detail=none`)
//! versions are unknown, and what stands in their place is not guessed at.

use std::collections::{BTreeMap, BTreeSet};

use super::locations::Locations;
use crate::image::Image;

/// Most crates that are told; a large program has a thousand.
const CRATES_MAX: usize = 1 << 14;
/// Most bytes of `.comment` that are read.
const COMMENT_MAX: u64 = 64 << 10;

/// A source file of a crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SourceFile<'a> {
    /// Name of the crate's folder, which is its package name.
    pub package: &'a str,
    /// As in the folder's name; vendored and local crates have none.
    pub version: Option<&'a str>,
    /// Below `src/`.
    pub file: &'a str,
}

impl<'a> SourceFile<'a> {
    /// Reads `…/rustls-0.23.46/src/conn.rs` and `…/vendor/rustls/src/conn.rs`.
    pub fn parse(path: &'a str) -> Option<Self> {
        let at = path.rfind("/src/")?;
        let (folder, file) = (path.get(..at)?, path.get(at + "/src/".len()..)?);
        let folder = folder.rsplit('/').next()?;
        let (package, version) = split_version(folder);
        // Bazel puts its repository's name in front: `rules_rs++crate+crates__rustls-0.23.46`.
        let package = package.rsplit(['+', '~']).next()?.rsplit("__").next()?;
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let fits = !package.is_empty() && package.bytes().all(is_name);
        fits.then_some(Self {
            package,
            version,
            file,
        })
    }
}

/// `aws-lc-rs-1.18.0` is `aws-lc-rs` and `1.18.0`.
fn split_version(folder: &str) -> (&str, Option<&str>) {
    let is_version = |text: &str| {
        let mut numbers = text.split(['-', '+']).next().unwrap_or_default().split('.');
        let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        numbers.clone().count() == 3 && numbers.all(is_number)
    };
    let mut dashes = folder.match_indices('-').map(|(at, _)| folder.split_at(at));
    let split = dashes.find_map(|(package, rest)| {
        let version = rest.get(1..)?;
        is_version(version).then_some((package, Some(version)))
    });
    split.unwrap_or((folder, None))
}

/// What paths tell of one program.
#[derive(Debug, Default)]
pub(super) struct Paths {
    /// Versions by package; an empty set if paths name the package without one.
    packages: BTreeMap<String, BTreeSet<String>>,
    /// `1.95.0 (f2d3ce0bd 2026-03-21)`, or the commit alone.
    pub compiler: Option<String>,
}

impl Paths {
    /// From all places that panics tell.
    pub fn of(image: &Image<'_>, locations: &Locations<'_>) -> Self {
        let mut paths = Self::default();
        let mut commit = None;
        // Linkers put a file's places next to each other: most paths come in runs.
        let mut last = "";
        for location in locations.iter() {
            if location.path == last {
                continue;
            }
            last = location.path;
            commit = commit.or_else(|| compiler_commit(last));
            paths.add(last);
        }
        paths.compiler = compiler(image, commit);
        paths
    }

    fn add(&mut self, path: &str) {
        let Some(source) = SourceFile::parse(path) else {
            return;
        };
        let version = source.version.map(str::to_owned);
        if let Some(versions) = self.packages.get_mut(source.package) {
            versions.extend(version);
        } else if self.packages.len() < CRATES_MAX {
            let versions = version.into_iter().collect();
            self.packages.insert(source.package.to_owned(), versions);
        }
    }

    /// The versions of a package: `None` if no path names it, empty if none tells a version.
    pub fn versions(&self, package: &str) -> Option<&BTreeSet<String>> {
        self.packages.get(package)
    }

    /// The package with its version, if there is one copy: `ring 0.17.14`.
    pub fn describe(&self, package: &str) -> String {
        let mut versions = self.packages.get(package).into_iter().flatten();
        match (versions.next(), versions.next()) {
            (Some(version), None) => format!("{package} {version}"),
            _ => package.to_owned(),
        }
    }
}

/// `/rustc/<commit>/library/…`: the standard library's own paths.
fn compiler_commit(path: &str) -> Option<&str> {
    let commit = path.strip_prefix("/rustc/")?.split('/').next()?;
    let is_commit = commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_commit.then_some(commit)
}

/// `.comment` lists the compilers of all object files: rustc's line counts if the standard library's paths name the
/// same commit, or if there is no other.
fn compiler(image: &Image<'_>, commit: Option<&str>) -> Option<String> {
    let section = image.section(".comment");
    let text = section.and_then(|section| image.section_contents(section, COMMENT_MAX).ok());
    let text = text.unwrap_or_default();
    let lines = text.split(|byte| *byte == 0);
    let mut told: Vec<_> = lines
        .filter_map(|line| {
            std::str::from_utf8(line)
                .ok()?
                .strip_prefix("rustc version ")
        })
        .collect();
    told.sort_unstable();
    told.dedup();
    let short = commit.and_then(|commit| commit.get(..9));
    let same = told
        .iter()
        .find(|line| short.is_some_and(|short| line.contains(short)));
    let only = told.first().filter(|_| told.len() == 1 && commit.is_none());
    match same.or(only) {
        Some(line) => Some((*line).to_owned()),
        None => commit.map(|commit| format!("commit {commit}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A crate that only ends like another one would be taken for it.
    #[test]
    fn paths_name_the_package_and_its_version() {
        let parse = |path| SourceFile::parse(path).map(|s| (s.package, s.version, s.file));
        let registry = "/root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f";
        let whole = |rest: &str| format!("{registry}/{rest}");
        let told = whole("rustls-0.23.46/src/crypto/ring/tls13.rs");
        let file = "crypto/ring/tls13.rs";
        assert_eq!(parse(&told), Some(("rustls", Some("0.23.46"), file)));
        let told = whole("hyper-rustls-0.27.7/src/connector.rs");
        assert_eq!(
            parse(&told),
            Some(("hyper-rustls", Some("0.27.7"), "connector.rs"))
        );
        let told = whole("rustls-rustcrypto-0.0.2-alpha/src/aead.rs");
        let version = Some("0.0.2-alpha");
        assert_eq!(
            parse(&told),
            Some(("rustls-rustcrypto", version, "aead.rs"))
        );
        let told = whole("x25519-dalek-2.0.1+a.b/src/x25519.rs");
        assert_eq!(
            parse(&told),
            Some(("x25519-dalek", Some("2.0.1+a.b"), "x25519.rs"))
        );
        assert_eq!(
            parse("vendor/rustls/src/conn.rs"),
            Some(("rustls", None, "conn.rs"))
        );
        let bazel = "external/rules_rs++crate+crates__rustls-webpki-0.103.16/src/time.rs";
        assert_eq!(
            parse(bazel),
            Some(("rustls-webpki", Some("0.103.16"), "time.rs"))
        );
        assert_eq!(parse("src/main.rs"), None);
        assert_eq!(parse("/lib-1/src/a.rs"), Some(("lib-1", None, "a.rs")));
    }
}
