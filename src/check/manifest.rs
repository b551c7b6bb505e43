//! The list of samples with what is expected of each: read, checked for contradictions, and recorded
//! from reports. Fields that only fetching needs (version, registry) are kept out of sight.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::discover::{Import, Report};
use crate::error::{Error, Result};
use crate::image::VirtAddr;

/// No library is in the file, and none may be found.
pub const NONE_DETECTED: &str = "none-detected";
/// OpenSSL's cryptography without its TLS: nothing may be found either.
pub const LIBCRYPTO_ONLY: &str = "libcrypto-only";
/// Before the name of a library whose functions the file calls in another file.
pub const USER_OF: &str = "user-of-";

/// Samples in the order of the file.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Manifest {
    /// One for each file.
    pub entries: Vec<Entry>,
}

/// One file and what discovery should say about it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// Unique in its manifest; also the folder in the sample cache.
    pub name: String,
    /// Where the file is, from the manifest's folder; without it, the file is in the sample cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// Where `scripts/fetch-samples` gets it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// Hexadecimal; addresses are compared only if it fits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Instruction set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arch: Option<String>,
    /// What is inside: names of libraries, [`NONE_DETECTED`], [`LIBCRYPTO_ONLY`] or `user-of-X`.
    pub libraries: Vec<String>,
    /// Expected functions by library and name, with their addresses.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vaddr: BTreeMap<String, BTreeMap<String, Addresses>>,
    /// Expected functions whose addresses are not known.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub functions: BTreeMap<String, Vec<String>>,
    /// Expected refusals.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<ExpectedRefusal>,
    /// Libraries that are inside and that discovery cannot find yet: told, and no regression.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub known_gap: Vec<String>,
    /// All functions and refusals are listed; one more is as wrong as one less.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub complete: bool,
    /// For choosing samples.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Where the expectations come from, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truth: Option<String>,
}

/// Where a sample comes from; fetching needs more of it than we do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// The member of the package: its last part is the file's name in the cache.
    pub inner_path: PathBuf,
    /// Registry, package, version, …
    #[serde(flatten)]
    pub rest: BTreeMap<String, serde_json::Value>,
}

/// A refusal that is right.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedRefusal {
    /// Of which library.
    pub library: String,
    /// What its reason contains; empty for any.
    #[serde(default)]
    pub reason: String,
}

/// One address or several, each as `"0x1234"`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Addresses {
    /// The usual case.
    One(Hex),
    /// Several functions that the manifest calls by one name, or several copies.
    Many(Vec<Hex>),
}

/// A number that is written `"0x1234"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hex(pub u64);

impl TryFrom<String> for Hex {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.strip_prefix("0x")
            .and_then(|digits| u64::from_str_radix(digits, 16).ok())
            .map(Self)
            .ok_or_else(|| format!("{text:?} is no address like \"0x1234\""))
    }
}

impl From<Hex> for String {
    fn from(hex: Hex) -> Self {
        format!("{:#x}", hex.0)
    }
}

impl Addresses {
    /// As a set.
    pub fn set(&self) -> BTreeSet<VirtAddr> {
        match self {
            Self::One(hex) => BTreeSet::from([VirtAddr(hex.0)]),
            Self::Many(all) => all.iter().map(|hex| VirtAddr(hex.0)).collect(),
        }
    }

    fn of(set: &BTreeSet<VirtAddr>) -> Self {
        let mut all: Vec<_> = set.iter().map(|addr| Hex(addr.0)).collect();
        match all.as_slice() {
            [one] => Self::One(*one),
            _ => Self::Many(std::mem::take(&mut all)),
        }
    }
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// It is no JSON, does not fit the schema, or contradicts itself.
    pub fn parse(text: &str) -> Result<Self> {
        let manifest: Self =
            serde_json::from_str(text).map_err(|error| Error::invalid(error.to_string()))?;
        let mut names = BTreeSet::new();
        for entry in &manifest.entries {
            if !names.insert(entry.name.as_str()) {
                return Err(Error::invalid(format!("two samples named {}", entry.name)));
            }
            entry.validate()?;
        }
        Ok(manifest)
    }
}

impl Entry {
    /// What a library-free file has.
    pub fn expects_nothing(&self) -> bool {
        let nothing = |name: &String| name == NONE_DETECTED || name == LIBCRYPTO_ONLY;
        self.libraries.iter().any(nothing)
    }

    /// Names of the libraries that are inside.
    pub fn inside(&self) -> impl Iterator<Item = &str> {
        self.libraries.iter().map(String::as_str).filter(|name| {
            *name != NONE_DETECTED && *name != LIBCRYPTO_ONLY && !name.starts_with(USER_OF)
        })
    }

    /// Names of the libraries that are called.
    pub fn called(&self) -> impl Iterator<Item = &str> {
        let libraries = self.libraries.iter();
        libraries.filter_map(|name| name.strip_prefix(USER_OF))
    }

    fn validate(&self) -> Result<()> {
        let wrong = |what: String| Err(Error::invalid(format!("sample {}: {what}", self.name)));
        if self.name.is_empty() || self.name.contains('/') || self.name.starts_with('.') {
            return wrong("its name cannot be a folder".into());
        }
        if self.path.is_none() && self.source.is_none() {
            return wrong("it has neither a path nor a source".into());
        }
        if self.libraries.is_empty() {
            return wrong(format!("no libraries ({NONE_DETECTED}, if there are none)"));
        }
        if self.expects_nothing() && self.inside().next().is_some() {
            return wrong("no library, and one".into());
        }
        let listed = self.vaddr.keys().chain(self.functions.keys());
        let mut listed = listed.chain(&self.known_gap);
        if let Some(library) = listed.find(|name| !self.inside().any(|inside| inside == *name)) {
            return wrong(format!("{library} is not among its libraries"));
        }
        Ok(())
    }

    /// What discovery says now, as what is expected from now on.
    pub fn record(report: &Report) -> Self {
        let mut vaddr: BTreeMap<String, BTreeMap<String, BTreeSet<VirtAddr>>> = BTreeMap::new();
        for finding in &report.findings {
            let functions = vaddr.entry(finding.library.clone()).or_default();
            for function in &finding.functions {
                let places = functions.entry(function.name.clone()).or_default();
                places.insert(function.vaddr);
            }
        }
        let refused = report.refused.iter().map(|refusal| ExpectedRefusal {
            library: refusal.library.clone(),
            reason: refusal.reason.clone(),
        });
        Self {
            size: Some(report.size),
            arch: Some(report.arch.clone()),
            libraries: libraries(report),
            vaddr: vaddr
                .into_iter()
                .map(|(library, functions)| {
                    let functions = functions.iter();
                    let functions =
                        functions.map(|(name, places)| (name.clone(), Addresses::of(places)));
                    (library, functions.collect())
                })
                .collect(),
            refused: refused.collect(),
            complete: true,
            ..Self::default()
        }
    }
}

fn libraries(report: &Report) -> Vec<String> {
    let found = report.findings.iter().map(|found| found.library.clone());
    let called = |import: &Import| format!("{USER_OF}{}", import.library);
    let refused = report.refused.iter().map(|refusal| refusal.library.clone());
    let called = report.imports.iter().map(called);
    let all: BTreeSet<String> = found.chain(refused).chain(called).collect();
    if all.is_empty() {
        vec![NONE_DETECTED.to_owned()]
    } else {
        all.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(entry: &str) -> Result<Manifest> {
        Manifest::parse(&format!("[{entry}]"))
    }

    /// A manifest that contradicts itself would pass or fail for the wrong reason.
    #[test]
    fn contradictions_are_refused() {
        let fine = r#"{"name":"a","path":"x","libraries":["openssl"]}"#;
        assert!(parse(fine).is_ok());
        let twice = parse(&format!("{fine},{fine}")).unwrap_err();
        assert!(format!("{twice:#}").contains("two samples named a"));
        for (entry, reason) in [
            (r#"{"name":"a","libraries":["openssl"]}"#, "neither"),
            (r#"{"name":"a","path":"x","libraries":[]}"#, "no libraries"),
            (
                r#"{"name":"../a","path":"x","libraries":["openssl"]}"#,
                "folder",
            ),
            (
                r#"{"name":"a","path":"x","libraries":["none-detected","openssl"]}"#,
                "no library, and one",
            ),
            (
                r#"{"name":"a","path":"x","libraries":["openssl"],"known_gap":["rustls"]}"#,
                "rustls is not among",
            ),
            (
                r#"{"name":"a","path":"x","libraries":["openssl"],"vaddr":{"openssl":{"f":"12"}}}"#,
                "did not match",
            ),
            (
                r#"{"name":"a","path":"x","libraries":["openssl"],"libary":1}"#,
                "unknown field",
            ),
        ] {
            let error = format!("{:#}", parse(entry).unwrap_err());
            assert!(error.contains(reason), "{entry}: {error}");
        }
    }

    /// What was recorded reads back as the same.
    #[test]
    fn written_manifests_read_back() {
        let text = r#"{"name":"a","source":{"inner_path":"./x","registry":"npm"},"libraries":["rustls"],
            "vaddr":{"rustls":{"seal":["0x10","0x20"],"open":"0x30"}},"known_gap":["rustls"]}"#;
        let manifest = parse(text).unwrap();
        let again = serde_json::to_string(&manifest).unwrap();
        assert_eq!(Manifest::parse(&again).unwrap().entries, manifest.entries);
        let seal = &manifest.entries[0].vaddr["rustls"]["seal"];
        assert_eq!(seal.set().len(), 2);
    }
}
