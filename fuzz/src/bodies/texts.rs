//! Texts that lie on disk: entries of the cache and manifests of samples.

use agentsight::cache::Store;
use agentsight::check::Manifest;

/// An entry, whether or not it has the hash that its writer would have given it.
pub fn cache(data: &[u8]) {
    assert!(Store::fuzz_entry(data), "it does not read back");
}

/// What was read writes and reads as the same.
pub fn manifest(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(manifest) = Manifest::parse(text) else {
        return;
    };
    let written = serde_json::to_string(&manifest).expect("a manifest can be written");
    let again = Manifest::parse(&written).expect("and read");
    assert_eq!(again.entries, manifest.entries);
}
