//! The version of a library, as far as the file tells. It is shown, never relied on.

use memchr::memmem;

use super::Case;
use crate::symdb::VersionHints;

/// Longest version text that is believed.
const VERSION_MAX: usize = 24;

/// From a text in the file ("OpenSSL 3.0.15 3 Sep 2024").
pub fn by_text(case: &Case<'_>, hints: &VersionHints) -> Option<String> {
    let text = hints.string.as_deref()?;
    let finder = memmem::Finder::new(text.as_bytes());
    case.image.loaded_data().find_map(|data| {
        finder.find_iter(data).find_map(|at| {
            let tail = data.get(at + text.len()..)?;
            version_at_start(tail.get(..tail.len().min(VERSION_MAX + 1))?)
        })
    })
}

/// Three numbers with dots between, and what clings to them, up to a blank or zero.
fn version_at_start(tail: &[u8]) -> Option<String> {
    let end = tail.iter().position(|byte| matches!(byte, b' ' | 0))?;
    let word = std::str::from_utf8(tail.get(..end)?).ok()?;
    let mut parts = word.split('.');
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    let looks_right = is_number(parts.next()?)
        && is_number(parts.next()?)
        && parts.next()?.starts_with(|c: char| c.is_ascii_digit())
        && word.bytes().all(|b| b.is_ascii_graphic());
    looks_right.then(|| word.to_owned())
}

/// A lower bound: the highest version at which a symbol is defined.
pub fn by_symbol_versions(case: &Case<'_>, hints: &VersionHints, prefix: &str) -> Option<String> {
    let start = hints.symbol_version.as_deref()?;
    let defined = case.names.defined.iter();
    let highest = defined
        .filter(|named| named.prefix == prefix)
        .filter_map(|named| named.version.as_deref()?.strip_prefix(start))
        .filter_map(|version| {
            let numbers: Vec<u32> = version
                .split(['.', '_'])
                .map_while(|part| part.parse().ok())
                .collect();
            (!numbers.is_empty()).then_some(numbers)
        })
        .max()?;
    let text: Vec<_> = highest.iter().map(u32::to_string).collect();
    Some(format!(">={}", text.join(".")))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only what looks like a version is taken for one.
    #[test]
    fn versions_look_like_versions() {
        let told = |text: &str| version_at_start(text.as_bytes());
        assert_eq!(told("3.0.15+quic 3 Sep").as_deref(), Some("3.0.15+quic"));
        assert_eq!(told("1.0.2u  20 Dec").as_deref(), Some("1.0.2u"));
        assert_eq!(told("3.7.9\0x").as_deref(), Some("3.7.9"));
        assert_eq!(told("default "), None);
        assert_eq!(told("%s "), None);
        assert_eq!(told("3.0 "), None);
    }
}
