//! What discovery says about a file: plain data in the shape of the JSON contract.

use serde::Serialize;

use super::evidence::{Confidence, Evidence, Rung};
use crate::image::{FileOff, VirtAddr};
use crate::symdb::{ResultShape, Role};

/// Everything found out about one file.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// As the user named it.
    pub path: String,
    /// Instruction set.
    pub arch: String,
    /// Hexadecimal build ID.
    pub build_id: Option<String>,
    /// Bytes.
    pub size: u64,
    /// TLS libraries inside the file.
    pub findings: Vec<Finding>,
    /// Libraries that are inside, or seem to be, and cannot be used; with the reason.
    pub refused: Vec<Refusal>,
    /// What is odd about the file and may hide something.
    pub warnings: Vec<String>,
    /// TLS functions that the file calls in other files.
    pub imports: Vec<Import>,
    /// The places that were asked, in order.
    pub ladder: Vec<Rung>,
}

/// One copy of one library.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// `openssl`, `boringssl`, `gnutls`, `nspr`, `nss`.
    pub library: String,
    /// As far as the file tells; `>=3.0.3` is a lower bound.
    pub version: Option<String>,
    /// Functions found, sorted by name.
    pub functions: Vec<Function>,
}

/// One function at one address.
#[derive(Clone, Debug, Serialize)]
pub struct Function {
    /// The exported name, with its prefix if the copy is renamed.
    pub name: String,
    /// What it is for.
    pub role: Role,
    /// First instruction, before any load bias.
    pub vaddr: VirtAddr,
    /// The same place in the file: what a uprobe takes.
    pub file_offset: FileOff,
    /// Bytes of code; 0 if unknown.
    pub size: u64,
    /// How sure.
    pub confidence: Confidence,
    /// Why.
    pub evidence: Vec<Evidence>,
    /// Where probes would go.
    pub sites: Sites,
    /// How to read its arguments and result.
    #[serde(skip)]
    pub call: Call,
}

/// Where probes would go.
#[derive(Clone, Debug, Serialize)]
pub struct Sites {
    /// Where arguments are read.
    pub entry: Site,
    /// Where results are read; none for functions that are watched at entry only.
    pub exits: Vec<Site>,
}

/// One probe site.
#[derive(Clone, Debug, Serialize)]
pub struct Site {
    /// `uprobe` or `uretprobe`.
    pub kind: &'static str,
    /// Where in the file.
    pub file_offset: FileOff,
}

/// How a call passes its data. The connection object is the first argument.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// How the result tells success.
    pub result: Option<ResultShape>,
    /// Argument with the buffer.
    pub buf: Option<u8>,
    /// Argument with its length.
    pub len: Option<u8>,
    /// Argument that points to a result.
    pub out: Option<u8>,
    /// Moves early data.
    pub early: bool,
    /// A NULL buffer goes on with waiting data.
    pub resumes: bool,
    /// Bit 1 of argument 3 asks for a look without consuming.
    pub peeks: bool,
}

/// A library that is not used, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// Which.
    pub library: String,
    /// Why, in words for an engineer.
    pub reason: String,
}

/// Functions of a library that are called in another file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Import {
    /// Which library by the names; a relative with the same names cannot be told from here.
    pub library: String,
    /// The names.
    pub functions: Vec<String>,
}
