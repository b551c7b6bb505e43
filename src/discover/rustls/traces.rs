//! What a file's constants say about who is inside: source paths and other texts that panics, errors and key logs
//! carry along. They name owners and versions; addresses never come from here.

use aho_corasick::packed;
use memchr::memchr;

use crate::discover::Case;
use crate::image::VirtAddr;

/// Longest version that is believed.
const VERSION_MAX: usize = 32;
/// Most mentions that are looked at. Large programs have some thousands.
const MENTIONS_MAX: usize = 1 << 16;

/// Most places of rustls's paths that are kept.
const PATHS_MAX: usize = 64;

/// What is searched: folders of crates, whose names end with their versions, and texts that stand for themselves.
const NEEDLES: [&[u8]; 8] = [
    b"rustls-",
    b"ring-",
    b"aws-lc-rs-",
    b"aws-lc-sys-",
    b"/rustls/src/",
    b"/aws-lc/crypto/",
    b"/tls/s2n_",
    b"CLIENT_TRAFFIC_SECRET_0",
];

/// Who left something behind.
#[derive(Debug, Default)]
pub(super) struct Traces {
    /// rustls; the inner one is the version, if it is told.
    pub rustls: Option<Option<String>>,
    /// Where paths tell its version, some of them.
    pub rustls_paths: Vec<VirtAddr>,
    /// ring; the inner one is `ring 0.17.14`.
    pub ring: Option<Option<String>>,
    /// AWS-LC, as a C library or behind Rust; the inner one is `aws-lc-rs 1.16.3` or `aws-lc-sys 0.47.0`.
    pub aws_lc: Option<Option<String>>,
    /// s2n-tls.
    pub s2n: bool,
    /// Something that logs the keys of TLS 1.3, whichever library it is.
    pub key_log: bool,
}

impl Traces {
    /// Looks through the constants once, or through the code where linkers have put them.
    pub fn of(case: &Case<'_>) -> Self {
        let mut traces = Self::default();
        let Some(searcher) = packed::Searcher::new(NEEDLES) else {
            return traces;
        };
        let mut found = false;
        for (base, data) in case.image.constant_ranges() {
            found |= traces.look(&searcher, base, data);
        }
        if !found {
            for (base, data) in case.image.code_ranges() {
                traces.look(&searcher, base, data);
            }
        }
        traces
    }

    fn look(&mut self, searcher: &packed::Searcher, base: u64, data: &[u8]) -> bool {
        let mut found = false;
        for hit in searcher.find_iter(data).take(MENTIONS_MAX) {
            let needle = hit.pattern().as_usize();
            let is_told = self.note(needle, data, hit.start(), hit.end());
            found |= is_told;
            if is_told && needle == 0 && self.rustls_paths.len() < PATHS_MAX {
                let at = base.wrapping_add(hit.start() as u64);
                self.rustls_paths.push(VirtAddr(at));
            }
        }
        found
    }

    fn note(&mut self, needle: usize, data: &[u8], start: usize, end: usize) -> bool {
        let is_crate = needle < 4;
        // Other crates' names end alike.
        let before = start.checked_sub(1).and_then(|at| data.get(at));
        let is_start = before.is_none_or(|byte| !byte.is_ascii_alphanumeric() && *byte != b'-');
        let version = version(data.get(end..).unwrap_or_default());
        if is_crate && (version.is_none() || !is_start) {
            return false;
        }
        let told = version.filter(|_| is_crate).map(|version| match needle {
            1 => format!("ring {version}"),
            2 => format!("aws-lc-rs {version}"),
            3 => format!("aws-lc-sys {version}"),
            _ => version,
        });
        let slot = match needle {
            0 | 4 => &mut self.rustls,
            1 => &mut self.ring,
            2 | 3 | 5 => &mut self.aws_lc,
            6 => {
                self.s2n = true;
                return true;
            }
            _ => {
                self.key_log = true;
                return true;
            }
        };
        // aws-lc-rs is the one that people choose; what it builds on has a version of its own.
        if slot.as_ref().is_none_or(Option::is_none) || needle == 2 {
            *slot = Some(told);
        }
        true
    }
}

/// `0.23.46` of `0.23.46/src/…`.
fn version(text: &[u8]) -> Option<String> {
    let text = text.get(..VERSION_MAX).unwrap_or(text);
    let text = text.get(..memchr(b'/', text)?)?;
    let is_version = text.first().is_some_and(u8::is_ascii_digit)
        && text.contains(&b'.')
        && text
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b".-+".contains(byte));
    is_version.then(|| String::from_utf8_lossy(text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::version;

    /// Folders of crates have versions; other texts that begin alike do not.
    #[test]
    fn versions_are_told_from_other_names() {
        let of = |text: &str| version(text.as_bytes());
        assert_eq!(of("0.23.46/src/conn.rs"), Some("0.23.46".into()));
        assert_eq!(of("0.24.0-dev.2/src/lib.rs"), Some("0.24.0-dev.2".into()));
        assert_eq!(of("webpki-0.103.16/src/verify_cert.rs"), None);
        assert_eq!(of("0.23.46"), None);
        assert_eq!(of("0.23 %s/x"), None);
    }
}
