//! Names of the trait methods, where a file still has its symbols: legacy (`_ZN…`) and v0 (`_R…`) mangling.

use std::collections::BTreeMap;

use memchr::memmem;
use rustc_demangle::try_demangle;

use super::methods::Way;
use crate::discover::{Case, Evidence, Method};
use crate::image::VirtAddr;

/// What is part of every such name, mangled or not; identifiers are never compressed in a name's last part.
const COMMON: &[u8] = b"Message";
/// Longest mangled name that is read.
const NAME_MAX: usize = 4096;
/// Most names that are kept; a program with five providers has fifty.
const NAMES_MAX: usize = 4096;
/// `rustls` has methods of its own that only refuse: they see no plaintext.
const REFUSES: &str = "::Invalid";

/// A method that a symbol names.
#[derive(Clone, Debug)]
pub(super) struct Named {
    /// Which.
    pub way: Way,
    /// The implementing type's path: `rustls::crypto::ring::tls13::Tls13MessageEncrypter`.
    pub of: String,
    /// Bytes.
    pub size: u64,
    /// The symbol.
    pub evidence: Evidence,
}

/// All that `.symtab` names, by address.
pub(super) fn methods(case: &Case<'_>) -> BTreeMap<VirtAddr, Named> {
    let mut found = BTreeMap::new();
    let Some(table) = case.image.symtab() else {
        return found;
    };
    let finder = memmem::Finder::new(COMMON);
    for symbol in table.iter() {
        let fits = symbol.name.len() <= NAME_MAX && symbol.is_code() && symbol.is_defined();
        if !fits || found.len() >= NAMES_MAX || finder.find(symbol.name).is_none() {
            continue;
        }
        let Some((way, of)) = std::str::from_utf8(symbol.name).ok().and_then(method) else {
            continue;
        };
        let evidence = Evidence {
            method: Method::Symtab,
            detail: format!(
                "{} symbol, {} bytes, of {of}",
                symbol.binding(),
                symbol.size
            ),
        };
        let size = symbol.size;
        found.insert(
            symbol.addr,
            Named {
                way,
                of,
                size,
                evidence,
            },
        );
    }
    found
}

/// The way and the implementing type that a mangled name tells.
fn method(name: &str) -> Option<(Way, String)> {
    let plain = format!("{:#}", try_demangle(name).ok()?);
    let inside = plain.strip_prefix('<')?;
    let (rest, way) = [
        ("MessageEncrypter>::encrypt", Way::Encrypt),
        ("MessageDecrypter>::decrypt", Way::Decrypt),
    ]
    .into_iter()
    .find_map(|(end, way)| Some((inside.strip_suffix(end)?, way)))?;
    let (of, of_trait) = rest.rsplit_once(" as ")?;
    let is_rustls = of_trait.starts_with("rustls::");
    (is_rustls && !of.contains(REFUSES)).then(|| (way, of.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One name of each mangling, as rustc wrote them; a closure inside the method is not the method.
    #[test]
    fn both_manglings_are_read() {
        let of = "rustls::crypto::ring::tls12::GcmMessageDecrypter";
        let v0 = "_RNvXs0_NtNtNtCs11ZQRJvdFnf_6rustls6crypto4ring5tls12NtB5_19GcmMessageDecrypterNtNtB9_\
                  6cipher16MessageDecrypter7decrypt";
        assert_eq!(method(v0), Some((Way::Decrypt, of.to_owned())));
        let legacy = "_ZN109_$LT$rustls..crypto..ring..tls12..GcmMessageDecrypter$u20$as$u20$\
                      rustls..crypto..cipher..MessageDecrypter$GT$7decrypt17hf9b1654837a4cbaaE";
        assert_eq!(method(legacy), Some((Way::Decrypt, of.to_owned())));
        assert_eq!(method(&legacy.replace("7decrypt17h", "7nothing17h")), None);
        assert_eq!(method("SSL_read"), None);
    }
}
