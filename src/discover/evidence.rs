//! How we know: each place that named a function, and how far that carries.

use serde::{Deserialize, Serialize};

/// Where a name was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// The file's own `.symtab`.
    Symtab,
    /// The dynamic symbols, which the loader itself goes by.
    Dynsym,
    /// `.gnu_debugdata` (MiniDebugInfo).
    DebugData,
    /// A debug file with the same build ID.
    BuildIdFile,
    /// A debug file named by `.gnu_debuglink`, CRC checked.
    DebugLink,
    /// A DWARF subprogram.
    Dwarf,
    /// Go's own table of functions.
    Pclntab,
    /// The method table that makes a Go type a `net.Conn`.
    Itab,
    /// Names that OpenSSL 3 and 4 hand to their error calls.
    ErrorNames,
    /// Function numbers that OpenSSL 1 hands to its error calls.
    ErrorCodes,
    /// The order of BoringSSL's error calls: file, line, reason.
    ErrorSites,
    /// BoringSSL's table of protocol methods.
    MethodTable,
    /// Who calls whom.
    Calls,
    /// BoringSSL's reasons alone, where file names are gone.
    Reasons,
    /// A provider's table of AEAD functions, as it stands in the file.
    AeadTable,
    /// The same, as code fills it when the program starts.
    TableInit,
    /// The vtables by which rustls calls whatever encrypts its records.
    TraitVtable,
    /// Source paths that panics and errors of a Rust program carry along.
    Paths,
}

impl Method {
    /// All that name a function, strongest first: the rungs of the ladder.
    pub const LADDER: [Self; 6] = [
        Self::Symtab,
        Self::Dynsym,
        Self::DebugData,
        Self::BuildIdFile,
        Self::DebugLink,
        Self::Dwarf,
    ];

    /// As in the JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Symtab => "symtab",
            Self::Dynsym => "dynsym",
            Self::DebugData => "debug-data",
            Self::BuildIdFile => "build-id-file",
            Self::DebugLink => "debug-link",
            Self::Dwarf => "dwarf",
            Self::Pclntab => "pclntab",
            Self::Itab => "itab",
            Self::ErrorNames => "error-names",
            Self::ErrorCodes => "error-codes",
            Self::ErrorSites => "error-sites",
            Self::MethodTable => "method-table",
            Self::Calls => "calls",
            Self::Reasons => "reasons",
            Self::AeadTable => "aead-table",
            Self::TableInit => "table-init",
            Self::TraitVtable => "trait-vtable",
            Self::Paths => "paths",
        }
    }
}

/// One piece of evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The place.
    pub method: Method,
    /// What stood there, for a reader who doubts.
    pub detail: String,
}

/// How sure we are that this address is this function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Confidence {
    /// One sound method.
    Medium,
    /// A symbol table that linker or loader go by, or two methods that agree.
    High,
}

impl Confidence {
    /// As in the JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// What came of one rung of the ladder: kept for `--explain`, whether or not it helped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rung {
    /// The place.
    pub method: Method,
    /// In words: absent, damaged, skipped and why, or how much was read and found.
    pub outcome: String,
    /// How many names of interest it gave.
    pub found: usize,
}
