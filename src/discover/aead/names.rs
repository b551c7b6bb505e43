//! AEAD functions by their symbols: Rust's mangled names of ring's, C and C++ ones of AWS-LC's and BoringSSL's. Only
//! functions that stand in tables count: helpers with similar names have other arguments.

use std::sync::LazyLock;

use memchr::memmem::{self, Finder};

use super::Kind;
use crate::discover::evidence::Evidence;
use crate::image::VirtAddr;
use crate::symdb::Role;

/// A symbol of interest.
#[derive(Clone, Debug)]
pub(in crate::discover) struct NamedAead {
    pub name: AeadName,
    pub addr: VirtAddr,
    pub evidence: Evidence,
}

/// What one symbol says about its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::discover) struct AeadName {
    /// BoringSSL and AWS-LC share their names: always the first then.
    pub is_ring: bool,
    /// Seals or opens.
    pub role: Role,
    /// No TLS record goes through it.
    pub is_siv: bool,
}

impl AeadName {
    /// Whether a function of this kind may bear the name.
    pub fn fits(self, kind: Kind) -> bool {
        self.is_ring == (kind == Kind::Ring)
    }
}

/// Longest symbol that is looked at. Those of interest have fewer than 100 bytes.
const LENGTH_MAX: usize = 256;
/// Families of AEAD functions for TLS, as both libraries call them.
const FAMILIES: [&str; 6] = [
    "aes_gcm",
    "aes_gcm_tls12",
    "aes_gcm_tls13",
    "chacha20_poly1305",
    SIV[0],
    SIV[1],
];
const SIV: [&str; 2] = ["aes_gcm_siv", "aes_gcm_siv_asm"];
/// How functions in tables end. Those with a `v` are BoringSSL's since 2025.
const ENDINGS: [(&str, Role); 5] = [
    ("_seal_scatter", Role::Write),
    ("_open_gather", Role::Read),
    ("_sealv", Role::Write),
    ("_openv", Role::Read),
    ("_openv_detached", Role::Read),
];

/// Reads one symbol. Called for each symbol of a file: most are turned away by their length or by one search.
pub(in crate::discover) fn read(symbol: &[u8]) -> Option<AeadName> {
    if symbol.len() > LENGTH_MAX {
        return None;
    }
    static AEAD: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("aead"));
    let at = AEAD.find(symbol)?;
    of_c(symbol, at).or_else(|| of_ring(symbol))
}

/// `aead_FAMILY_ENDING`, alone, behind a prefix that ends with `_`, or within a C++ name behind its length.
fn of_c(symbol: &[u8], at: usize) -> Option<AeadName> {
    let before = at.checked_sub(1).and_then(|at| symbol.get(at));
    if before.is_some_and(|byte| *byte != b'_' && !byte.is_ascii_digit()) {
        return None;
    }
    let tail = symbol.get(at..)?;
    let is_word = |byte: &&u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || **byte == b'_';
    let length = tail.iter().take_while(is_word).count();
    // What follows is the end, or the parameters of a C++ function.
    let is_whole = match tail.get(length) {
        None => true,
        Some(byte) => symbol.starts_with(b"_Z") && byte.is_ascii_uppercase(),
    };
    let word = std::str::from_utf8(tail.get(..length)?).ok()?;
    let word = word.strip_prefix("aead_").filter(|_| is_whole)?;
    ENDINGS.iter().find_map(|(ending, role)| {
        let family = word.strip_suffix(ending)?;
        FAMILIES.contains(&family).then_some(AeadName {
            is_ring: false,
            role: *role,
            is_siv: SIV.contains(&family),
        })
    })
}

/// `ring::aead::algorithm::aes_gcm_seal` since 0.17.8, `ring::aead::aes_gcm::aes_gcm_seal` before.
fn of_ring(symbol: &[u8]) -> Option<AeadName> {
    memmem::find(symbol, b"ring")?;
    let symbol = std::str::from_utf8(symbol).ok()?;
    let name = rustc_demangle::try_demangle(symbol).ok()?;
    let name = format!("{name:#}");
    let path = name.strip_prefix("ring::aead::")?;
    let (module, function) = path.split_once("::")?;
    let (family, role) = match function.strip_suffix("_seal") {
        Some(family) => (family, Role::Write),
        None => (function.strip_suffix("_open")?, Role::Read),
    };
    let is_known = matches!(family, "aes_gcm" | "chacha20_poly1305");
    (is_known && (module == "algorithm" || module == family)).then_some(AeadName {
        is_ring: true,
        role,
        is_siv: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evp(role: Role, is_siv: bool) -> Option<AeadName> {
        Some(AeadName {
            is_ring: false,
            role,
            is_siv,
        })
    }

    /// Symbols as compilers write them, and those of helpers that no table holds.
    #[test]
    fn names_are_told_from_look_alikes() {
        let of = |symbol: &str| read(symbol.as_bytes());
        assert_eq!(
            of("aead_aes_gcm_tls13_seal_scatter"),
            evp(Role::Write, false)
        );
        assert_eq!(
            of("aws_lc_0_47_0_aead_aes_gcm_open_gather"),
            evp(Role::Read, false)
        );
        assert_eq!(
            of("aead_aes_gcm_siv_asm_open_gather"),
            evp(Role::Read, true)
        );
        assert_eq!(
            of(
                "_ZN4bssl12_GLOBAL__N_118aead_aes_gcm_sealvEPK15evp_aead_ctx_stNS_4SpanIK12crypto_iovecEE"
            ),
            evp(Role::Write, false)
        );
        assert_eq!(
            of("_ZL37aead_chacha20_poly1305_openv_detachedPK15evp_aead_ctx_st"),
            evp(Role::Read, false)
        );
        for other in [
            "aead_aes_gcm_seal_scatter_impl",
            "aead_aes_gcm_seal_scatter.constprop.0",
            "aead_tls_seal_scatter",
            "aead_aes_gcm_randnonce_seal_scatter",
            "myaead_aes_gcm_open_gather",
            "_ZN4ring4aead9algorithm12aes_gcm_seal28_$u7b$$u7b$closure$u7d$$u7d$17h0123456789abcdefE",
            "_ZN5sprng4aead9algorithm12aes_gcm_seal17h0123456789abcdefE",
        ] {
            assert_eq!(of(other), None, "{other}");
        }
        let ring = |role| {
            Some(AeadName {
                is_ring: true,
                role,
                is_siv: false,
            })
        };
        assert_eq!(
            of("_ZN4ring4aead9algorithm12aes_gcm_seal17h0123456789abcdefE"),
            ring(Role::Write)
        );
        assert_eq!(
            of("_ZN4ring4aead17chacha20_poly130522chacha20_poly1305_open17h0123456789abcdefE"),
            ring(Role::Read)
        );
        assert_eq!(
            of("_RNvNtNtCs1234_4ring4aead9algorithm12aes_gcm_open"),
            ring(Role::Read)
        );
    }
}
