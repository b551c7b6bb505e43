//! Loads `symbol-db/`: reviewed facts about TLS libraries, each with its source. Data only; the
//! finders decide what to make of it. Format and how to add a fact: `symbol-db/README.md`.

pub mod rustls;

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The database files, compiled in: one per library.
const FILES: &[(&str, &str)] = &[
    (
        "boringssl",
        include_str!("../../symbol-db/boringssl/functions.json"),
    ),
    (
        "gnutls",
        include_str!("../../symbol-db/gnutls/functions.json"),
    ),
    ("nspr", include_str!("../../symbol-db/nspr/functions.json")),
    ("nss", include_str!("../../symbol-db/nss/functions.json")),
    (
        "openssl",
        include_str!("../../symbol-db/openssl/functions.json"),
    ),
];

/// What a function does to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Announces the end to the peer.
    Close,
    /// Sends what earlier calls have gathered.
    Flush,
    /// Gives the object back.
    Free,
    /// Negotiates; success opens the connection.
    Handshake,
    /// Makes a connection object.
    New,
    /// Hands out received plaintext without consuming it.
    Peek,
    /// Hands out received plaintext.
    Read,
    /// Makes the object ready for another connection.
    Reset,
    /// Takes another reference to the object.
    Retain,
    /// Sends a file, or scattered memory, that no argument points to in one piece.
    Sendfile,
    /// Tells the library its file descriptor.
    Socket,
    /// Takes plaintext to send.
    Write,
}

impl Role {
    /// As in the JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Close => "close",
            Self::Flush => "flush",
            Self::Free => "free",
            Self::Handshake => "handshake",
            Self::New => "new",
            Self::Peek => "peek",
            Self::Read => "read",
            Self::Reset => "reset",
            Self::Retain => "retain",
            Self::Sendfile => "sendfile",
            Self::Socket => "socket",
            Self::Write => "write",
        }
    }
}

/// How a function's return value tells success and the number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ResultShape {
    /// 0 or more is success, and then all bytes were taken.
    All,
    /// `int`: the bytes, if positive.
    I32,
    /// `ssize_t`: the bytes, if positive.
    I64,
    /// 1 is success.
    One,
    /// A positive `int` is success; the bytes stand where argument `out` points (`size_t`).
    Out,
    /// 0 or more is success; the new object stands where argument `out` points.
    OutPointer,
    /// `ssize_t`: the bytes; they lie in the `gnutls_packet_t` where argument `out` points.
    Packet,
    /// The new object.
    Pointer,
    /// 0 is success.
    Zero,
}

/// One function of a library. The connection object is always its first argument.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Function {
    /// As exported.
    pub name: String,
    /// Its number in error calls (`SSL_F_…` of OpenSSL 1), if it has one.
    pub code: Option<u64>,
    /// Not exported: found by structure alone.
    #[serde(default)]
    pub internal: bool,
    /// What it is for.
    pub role: Role,
    /// First version that has it; "0" where the library has no versions.
    pub since: String,
    /// How it tells its result; functions that are only watched at entry have none.
    pub result: Option<ResultShape>,
    /// Number of the argument with the buffer (or, for `socket`, the descriptor), from 0.
    pub buf: Option<u8>,
    /// Number of the argument with the buffer's length.
    pub len: Option<u8>,
    /// Number of the argument that points to where a result is stored.
    pub out: Option<u8>,
    /// Moves TLS 1.3 early data.
    #[serde(default)]
    pub early: bool,
    /// A NULL buffer means: go on with the data of the call that had to wait.
    #[serde(default)]
    pub resumes: bool,
    /// Bit 1 of argument 3 asks for a look without consuming, as `MSG_PEEK` does.
    #[serde(default)]
    pub peeks: bool,
    /// Where this is documented.
    pub source: String,
}

/// Names that tell a library from a relative with the same functions.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Markers {
    /// One of these must be there (if any are listed).
    pub has: Vec<String>,
    /// None of these may be there.
    pub has_not: Vec<String>,
    /// Where this is documented.
    pub source: String,
}

/// Where the version shows.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VersionHints {
    /// A text in the file that is followed by the version.
    pub string: Option<String>,
    /// What the names of symbol versions start with: the highest one is a lower bound.
    pub symbol_version: Option<String>,
}

/// Numbers that a library's error calls carry.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ErrorNumbers {
    /// `ERR_LIB_SSL`.
    pub library: u64,
    /// `SSL_R_…` and `ERR_R_…` that finders go by.
    pub reasons: BTreeMap<String, u64>,
    /// Where this is documented.
    pub source: String,
}

/// All facts about one library.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Library {
    /// Its name in all output.
    pub library: String,
    /// One line for people.
    pub about: String,
    /// May occur with all its names prefixed (`LK_SSL_read`).
    pub prefixes: bool,
    /// What its shared library is called (`DT_SONAME`), newest first.
    pub sonames: Vec<String>,
    /// Functions that no complete copy lacks.
    pub core: Vec<String>,
    /// How to tell it from its relatives.
    pub markers: Markers,
    /// How to tell its version.
    pub version: Option<VersionHints>,
    /// What its error calls say, for copies whose names are stripped.
    pub errors: Option<ErrorNumbers>,
    /// Its functions, sorted by name.
    pub functions: Vec<Function>,
}

impl Library {
    /// The facts about one function.
    pub fn function(&self, name: &str) -> Option<&Function> {
        self.functions.iter().find(|function| function.name == name)
    }

    /// A reason's number.
    pub fn reason(&self, name: &str) -> Option<u64> {
        self.errors.as_ref()?.reasons.get(name).copied()
    }
}

/// The loaded database.
#[derive(Debug)]
pub struct SymbolDb {
    libraries: Vec<Library>,
    interesting: HashSet<Vec<u8>>,
    /// Length of the longest of them: most symbols of a big program are longer and need no hash.
    longest: usize,
}

impl SymbolDb {
    /// The database that is compiled in.
    ///
    /// # Errors
    /// A file does not fit the schema; the tests keep that from shipping.
    pub fn load() -> Result<Self> {
        let libraries = FILES
            .iter()
            .map(|(name, text)| parse(name, text))
            .collect::<Result<Vec<_>>>()?;
        let names = libraries.iter().flat_map(|library| {
            let functions = library.functions.iter().map(|function| &function.name);
            let markers = library.markers.has.iter().chain(&library.markers.has_not);
            functions.chain(&library.core).chain(markers)
        });
        let interesting: HashSet<_> = names.map(|name| name.clone().into_bytes()).collect();
        Ok(Self {
            libraries,
            longest: interesting.iter().map(Vec::len).max().unwrap_or(0),
            interesting,
        })
    }

    /// The facts about one library.
    pub fn library(&self, name: &str) -> Option<&Library> {
        self.libraries
            .iter()
            .find(|library| library.library == name)
    }

    /// All libraries, sorted by name.
    pub fn libraries(&self) -> &[Library] {
        &self.libraries
    }

    /// Length of the longest name that any finder asks for.
    pub fn longest_name(&self) -> usize {
        self.longest
    }

    /// Is this one of the names that any finder asks for?
    pub fn is_interesting(&self, name: &[u8]) -> bool {
        name.len() <= self.longest && self.interesting.contains(name)
    }
}

fn parse(name: &str, text: &str) -> Result<Library> {
    let library: Library = serde_json::from_str(text)
        .map_err(|error| Error::invalid(format!("symbol-db/{name}/functions.json: {error}")))?;
    if library.library != name {
        return Err(Error::invalid(format!(
            "symbol-db/{name}/functions.json is about {}",
            library.library
        )));
    }
    Ok(library)
}
