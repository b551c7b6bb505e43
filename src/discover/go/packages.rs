//! Which TLS packages a Go program has, by the names of its functions, and what each is to us.

use super::facts::NetTypes;
use super::{CRYPTO_TLS, refusal};
use crate::discover::finding::Refusal;
use crate::image::go::Pclntab;

/// Types with a `Read` method that a program may have under the name of `Conn`.
const CONNS_MAX: usize = 4096;

/// TLS packages of one program: each costs a few passes over its names.
const PACKAGES_MAX: usize = 8;

/// A package to be probed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tls {
    /// Its library in reports.
    pub library: &'static str,
    /// The path as types have it: `github.com/refraction-networking/utls`.
    pub path: String,
    /// The path as names of functions have it, where dots may be escaped.
    pub prefix: String,
}

/// What a path says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Library(&'static str),
    /// Moves the handshake of QUIC only.
    Qtls,
    /// A copy of crypto/tls that somebody changed.
    UnknownFork,
    Other,
}

impl Kind {
    fn of(path: &str) -> Self {
        let mut elements = path.rsplit('/');
        let last = elements.next().unwrap_or_default();
        let is_utls = |element: &str| {
            element == "utls" || element.starts_with("utls.") || element.starts_with("utls-")
        };
        // A module of major version 2 or later ends in it.
        let is_major = last
            .strip_prefix('v')
            .is_some_and(|n| n.parse::<u32>().is_ok());
        match last {
            _ if path == "crypto/tls" || path.ends_with("/vendor/crypto/tls") => {
                Self::Library(CRYPTO_TLS)
            }
            _ if path.split('/').any(|element| element.starts_with("qtls")) => Self::Qtls,
            _ if is_utls(last) || is_major && elements.next().is_some_and(is_utls) => {
                Self::Library("utls")
            }
            "tls" => Self::UnknownFork,
            _ => Self::Other,
        }
    }
}

/// All TLS packages of a program.
#[derive(Debug, Default)]
pub struct Packages {
    probed: Vec<Tls>,
    forks: Vec<String>,
    quic: Vec<String>,
    /// Not of this kind, although their name says tls.
    others: Vec<String>,
}

fn add_new<T: PartialEq>(list: &mut Vec<T>, new: T) {
    if list.len() < PACKAGES_MAX && !list.contains(&new) {
        list.push(new);
    }
}

impl Packages {
    /// By the functions that the table names.
    pub fn of(table: &Pclntab<'_>) -> Self {
        let mut packages = Self::default();
        for ending in [".(*Conn).Read", ".(*Conn).Write"] {
            for (_, name) in table.names_ending(ending, CONNS_MAX) {
                let prefix = name.strip_suffix(ending.as_bytes()).unwrap_or_default();
                if let Ok(prefix) = std::str::from_utf8(prefix) {
                    packages.add(table, prefix);
                }
            }
        }
        for quic in [
            "crypto/tls.(*QUICConn).",
            "/quic-go.",
            "golang.org/x/net/quic.",
        ] {
            if table.mentions(quic) {
                let package = quic.trim_matches('/').trim_end_matches('.');
                add_new(&mut packages.quic, package.to_owned());
            }
        }
        packages.probed.sort();
        packages.quic.sort();
        packages
    }

    fn add(&mut self, table: &Pclntab<'_>, prefix: &str) {
        let path = unescaped(prefix);
        match Kind::of(&path) {
            Kind::Library(library) => add_new(
                &mut self.probed,
                Tls {
                    library,
                    path,
                    prefix: prefix.to_owned(),
                },
            ),
            Kind::Qtls => add_new(&mut self.quic, path),
            Kind::UnknownFork if self.forks.len() + self.others.len() < PACKAGES_MAX => {
                // What has the handshake of crypto/tls is no other thing called tls.
                let handshake = format!("\0{prefix}.(*Conn).clientHandshake\0");
                if table.mentions(&handshake) {
                    add_new(&mut self.forks, path);
                } else {
                    add_new(&mut self.others, path);
                }
            }
            Kind::UnknownFork | Kind::Other => {}
        }
    }

    /// No name of any of them.
    pub fn is_empty(&self) -> bool {
        self.probed.is_empty()
    }

    /// Those with names, and those that only the types tell of.
    pub fn with_types(&self, net: Option<&NetTypes>) -> Vec<Tls> {
        let mut all = self.probed.clone();
        let conns = net.map(|net| net.tls.as_slice()).unwrap_or_default();
        for path in conns.iter().map(|conn| &conn.package) {
            let known = all.iter().any(|tls| tls.path == *path);
            if let Kind::Library(library) = Kind::of(path)
                && !known
            {
                all.push(Tls {
                    library,
                    path: path.clone(),
                    prefix: path.clone(),
                });
            }
        }
        all.truncate(PACKAGES_MAX);
        all
    }

    /// What is there and is not probed.
    pub fn refused(&self) -> Vec<Refusal> {
        let forks = self.forks.iter().map(|path| {
            let reason = format!("package {path}: an unknown fork of crypto/tls is not probed");
            refusal(CRYPTO_TLS, reason)
        });
        let quic = (!self.quic.is_empty()).then(|| {
            let packages = self.quic.join(", ");
            let reason = format!(
                "QUIC is linked in ({packages}): its data does not pass through tls.Conn and is not seen"
            );
            refusal("go-quic", reason)
        });
        forks.chain(quic).collect()
    }
}

/// In names of symbols, dots of the last path element and odd characters are `%2e` and the like.
/// Source: cmd/internal/objabi/path.go, `PathToPrefix`.
fn unescaped(prefix: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = prefix.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let escaped = behind
            .first_chunk::<2>()
            .filter(|_| *first == b'%')
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        bytes.push(escaped.unwrap_or(*first));
        rest = behind
            .get(if escaped.is_some() { 2 } else { 0 }..)
            .unwrap_or_default();
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fork would be probed as the original, or the original under another roof be passed over.
    #[test]
    fn paths_tell_forks_apart() {
        let library = |path: &str| match Kind::of(path) {
            Kind::Library(library) => library,
            Kind::Qtls => "qtls",
            Kind::UnknownFork => "fork",
            Kind::Other => "other",
        };
        for (path, kind) in [
            ("crypto/tls", CRYPTO_TLS),
            ("example.com/program/vendor/crypto/tls", CRYPTO_TLS),
            ("github.com/refraction-networking/utls", "utls"),
            ("a/vendor/github.com/refraction-networking/utls", "utls"),
            ("github.com/someone/utls/v2", "utls"),
            ("gitlab.com/yawning/utls.git", "utls"),
            ("github.com/quic-go/qtls-go1-20", "qtls"),
            ("github.com/marten-seemann/qtls", "qtls"),
            ("github.com/zmap/zcrypto/tls", "fork"),
            ("example.com/crypto/tls", "fork"),
            ("golang.org/x/crypto/ssh", "other"),
        ] {
            assert_eq!(library(path), kind, "{path}");
        }
    }

    /// A package with a dot in its last element would never be found among the types.
    #[test]
    fn escapes_are_undone() {
        assert_eq!(
            unescaped("gitlab.com/yawning/utls%2egit"),
            "gitlab.com/yawning/utls.git"
        );
        assert_eq!(unescaped("a%"), "a%");
        assert_eq!(unescaped("a%zz%2"), "a%zz%2");
    }
}
