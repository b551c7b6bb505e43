//! Files whose reading is told: by patterns of paths. The kernel side compares names, or their beginnings and ends, and tells
//! what may fit; whole paths are compared here.

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use crate::error::{Error, ErrorKind, Result};

/// Where keys, passwords, tokens and histories are. What begins with `!` is no secret nevertheless.
const SENSITIVE: [&str; 50] = [
    "!/etc/ssl/**",
    "!/usr/**",
    "!/proc/self/**",
    "/etc/gshadow",
    "/etc/shadow",
    "/etc/sudoers",
    "/proc/*/environ",
    "/proc/*/mem",
    "/run/secrets/*",
    "**/.aws/*",
    "**/.aws/sso/cache/*",
    "**/.azure/*",
    "**/.bash_history",
    "**/.cargo/credentials*",
    "**/.claude/.credentials.json",
    "**/.claude.json",
    "**/.codex/auth.json",
    "**/.config/gcloud/*",
    "**/.config/gh/hosts.yml",
    "**/.docker/config.json",
    "**/.env",
    "**/.env.*",
    "**/.gemini/oauth_creds.json",
    "**/.git-credentials",
    "**/.gnupg/*",
    "**/.gnupg/private-keys-v1.d/*",
    "**/.kube/*",
    "**/.local/share/keyrings/*",
    "**/.my.cnf",
    "**/.netrc",
    "**/.npmrc",
    "**/.pgpass",
    "**/.pypirc",
    "**/.ssh/*",
    "**/.terraform.d/credentials.tfrc.json",
    "**/.vault-token",
    "**/.zsh_history",
    "**/Cookies",
    "**/Login Data",
    "**/credentials.json",
    "**/id_ed25519",
    "**/id_rsa",
    "**/key4.db",
    "**/logins.json",
    "**/serviceaccount/token",
    "**/*.kdbx",
    "**/*.key",
    "**/*.p12",
    "**/*.pem",
    "**/*.pfx",
];

/// Bytes of a name that the kernel side compares: `NAME_BYTES` in bpf/act_file.h.
const NAME_MAX: usize = 32;
const SPECIAL: [char; 6] = ['*', '?', '[', ']', '{', '}'];

/// Patterns of paths.
#[derive(Clone, Debug)]
pub struct Watched {
    patterns: Vec<String>,
    wanted: GlobSet,
    unwanted: GlobSet,
}

/// What of a name the kernel side can compare; a zero at the end stands for the name's end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// What names begin with.
    pub begins: Vec<Vec<u8>>,
    /// What names end with, from the last byte on.
    pub ends: Vec<Vec<u8>>,
    /// What the names of their directories begin with.
    pub parents: Vec<Vec<u8>>,
    /// Some pattern says nothing of names: all files are told of.
    pub all: bool,
}

impl Watched {
    /// Ours, and these: `*` is any name or a part of one, `**` any number of directories; `!` before a pattern takes what
    /// fits it away from the others.
    ///
    /// # Errors
    /// One is no pattern, or not one of whole paths.
    pub fn new(more: &[String]) -> Result<Self> {
        let ours = SENSITIVE.iter().map(ToString::to_string);
        Self::of(ours.chain(more.iter().cloned()).collect())
    }

    /// These and no others.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of(patterns: Vec<String>) -> Result<Self> {
        let (mut wanted, mut unwanted) = (GlobSetBuilder::new(), GlobSetBuilder::new());
        for pattern in &patterns {
            let (set, glob) = match pattern.strip_prefix('!') {
                Some(glob) => (&mut unwanted, glob),
                None => (&mut wanted, pattern.as_str()),
            };
            if !glob.starts_with('/') && !glob.starts_with("**") {
                return Err(wrong(pattern, &"it must begin with / or **"));
            }
            let built = GlobBuilder::new(glob).literal_separator(true).build();
            set.add(built.map_err(|error| wrong(pattern, &error))?);
        }
        let build = |set: GlobSetBuilder| set.build().map_err(|error| wrong("", &error));
        Ok(Self {
            wanted: build(wanted)?,
            unwanted: build(unwanted)?,
            patterns,
        })
    }

    /// As they were given.
    pub fn patterns(&self) -> &[String] {
        &self.patterns
    }

    /// Whether the reading of this file is to be told.
    pub fn fits(&self, path: &[u8]) -> bool {
        use std::os::unix::ffi::OsStrExt;
        let path = std::ffi::OsStr::from_bytes(path);
        self.wanted.is_match(path) && !self.unwanted.is_match(path)
    }

    /// What the kernel side can compare of them: whatever fits a pattern has such a name.
    pub fn names(&self) -> Names {
        let mut names = Names::default();
        let globs = self
            .patterns
            .iter()
            .filter(|pattern| !pattern.starts_with('!'));
        for glob in globs {
            let (parent, last) = glob.rsplit_once('/').unwrap_or(("", glob));
            let parent = parent.rsplit('/').next().unwrap_or_default();
            if let Some(start) = beginning(last) {
                names.begins.push(start);
            } else if let Some(end) = ending(last) {
                names.ends.push(end);
            } else if let Some(start) = beginning(parent).filter(|_| last != "**") {
                names.parents.push(start);
            } else {
                names.all = true;
            }
        }
        names
    }
}

fn wrong(pattern: &str, why: &dyn std::fmt::Display) -> Error {
    Error::new(ErrorKind::Usage, format!("--watch-reads {pattern}: {why}"))
}

/// What a name begins with that fits; with a zero, if that is all of it.
fn beginning(glob: &str) -> Option<Vec<u8>> {
    let literal = glob.split(SPECIAL).next().unwrap_or_default();
    if literal.is_empty() || literal.contains('\\') {
        return None;
    }
    let mut bytes = literal.as_bytes().to_vec();
    if literal.len() == glob.len() {
        bytes.push(0);
    }
    // The kernel side keeps the last byte for a zero.
    bytes.truncate(NAME_MAX - 1);
    Some(bytes)
}

/// What a name ends with that fits, from the last byte on.
fn ending(glob: &str) -> Option<Vec<u8>> {
    let literal = glob.rsplit(SPECIAL).next().unwrap_or_default();
    if literal.is_empty() || literal.contains('\\') {
        return None;
    }
    Some(literal.bytes().rev().take(NAME_MAX - 1).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// As the kernel side compares, with LPM tries.
    fn passes(names: &Names, path: &str) -> bool {
        let (parent, last) = path.rsplit_once('/').unwrap();
        let parent = parent.rsplit('/').next().unwrap();
        let key = |name: &str| {
            let mut key = name.as_bytes().to_vec();
            key.truncate(NAME_MAX - 1);
            key.push(0);
            key
        };
        let reversed: Vec<u8> = last.bytes().rev().take(NAME_MAX).collect();
        names.all
            || names
                .begins
                .iter()
                .any(|start| key(last).starts_with(start))
            || names
                .parents
                .iter()
                .any(|start| key(parent).starts_with(start))
            || names.ends.iter().any(|end| reversed.starts_with(end))
    }

    #[test]
    fn secrets_are_found_and_certificates_are_none() {
        let watched = Watched::new(&[]).unwrap();
        let names = watched.names();
        for path in [
            "/home/me/.ssh/id_rsa",
            "/root/.aws/credentials",
            "/srv/app/.env",
            "/srv/app/.env.production",
            "/etc/shadow",
            "/srv/tls/server.key",
            "/home/me/.config/gcloud/application_default_credentials.json",
        ] {
            assert!(
                watched.fits(path.as_bytes()) && passes(&names, path),
                "{path}"
            );
        }
        for path in [
            "/etc/ssl/certs/ca.pem",
            "/etc/passwd",
            "/srv/env",
            "/proc/self/environ",
        ] {
            assert!(!watched.fits(path.as_bytes()), "{path}");
        }
        assert!(!names.all);
    }

    #[test]
    fn users_add_and_take_away() {
        let more = ["/srv/secret/**".to_owned(), "!**/*.pem".to_owned()];
        let watched = Watched::new(&more).unwrap();
        assert!(watched.fits(b"/srv/secret/a/b") && !watched.fits(b"/srv/a.pem"));
        assert!(watched.names().all);
        assert!(Watched::new(&["relative".to_owned()]).is_err());
        assert!(Watched::new(&["/a[".to_owned()]).is_err());
    }

    proptest! {
        /// The kernel side would not tell of a file that is watched.
        #[test]
        fn what_fits_passes(glob in "(/|\\*\\*/)[ab.*?]{1,6}(/[ab.*?]{1,4})?", path in "(/[ab.]{1,5}){1,4}") {
            let Ok(watched) = Watched::of(vec![glob]) else { return Ok(()) };
            if watched.fits(path.as_bytes()) {
                prop_assert!(passes(&watched.names(), &path), "{:?}", watched.names());
            }
        }
    }
}
