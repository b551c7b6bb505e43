//! What discovery says about a file: plain data in the shape of the JSON contract.

use serde::{Deserialize, Serialize};

use super::evidence::{Confidence, Evidence, Rung};
use crate::image::{FileOff, VirtAddr};
use crate::symdb::{self, ResultShape, Role};

/// Everything found out about one file.
#[derive(Clone, Debug, Serialize, Deserialize)]
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
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Finding {
    /// `openssl`, `boringssl`, `gnutls`, `nspr`, `nss`, `go-crypto-tls`, `utls`, `rustls`, `aws-lc`, `s2n`.
    pub library: String,
    /// As far as the file tells; `>=3.0.3` is a lower bound.
    pub version: Option<String>,
    /// Who encrypts for it, with the version if the file tells: `ring 0.17.14`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The Rust compiler that made it, if the file tells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compiler: Option<String>,
    /// Functions found, sorted by name.
    pub functions: Vec<Function>,
    /// What must be true of the connection object at each call; if not, the call is not ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guard: Option<Guard>,
    /// What a probe must know of Go's types to name a connection's socket.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub go: Option<GoFacts>,
}

impl Finding {
    /// Library, version and provider, as far as they are known: `rustls 0.23.46 with ring 0.17.14`.
    pub fn title(&self) -> String {
        let version = self.version.iter().map(|version| format!(" {version}"));
        let provider = self.provider.iter().map(|name| format!(" with {name}"));
        let details: String = version.chain(provider).collect();
        format!("{}{details}", self.library)
    }
}

/// A check at run time: the first word of the connection object is this address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Guard {
    /// Before any load bias.
    pub first_word: VirtAddr,
}

/// Places inside Go's types, in bytes from the start of each type.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoFacts {
    /// `tls.Conn.conn`, a `net.Conn`.
    pub conn: u32,
    /// `tls.Conn.isClient`.
    pub is_client: u32,
    /// The `*net.TCPConn` type and its like: the end of the chain. Each holds a `*net.netFD` at 0.
    pub sockets: Vec<VirtAddr>,
    /// Types that wrap another `net.Conn`, and where they keep it.
    pub wrappers: Vec<GoWrapper>,
    /// `net.netFD.pfd.Sysfd`, an `int`.
    pub sysfd: u32,
    /// `net.netFD.laddr`, a `net.Addr`.
    pub local: u32,
    /// `net.netFD.raddr`, a `net.Addr`.
    pub peer: u32,
    /// The `*net.TCPAddr` type, if it was found.
    pub tcp_addr: Option<VirtAddr>,
    /// `net.TCPAddr.IP`, a slice.
    pub ip: u32,
    /// `net.TCPAddr.Port`, an `int`.
    pub port: u32,
    /// `runtime.g.goid`, if it is known.
    pub goid: Option<u32>,
    /// The types themselves told the places; otherwise they are those of all known versions.
    pub from_types: bool,
}

/// A Go type that wraps a `net.Conn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GoWrapper {
    /// Address of the type, before any load bias: that of the pointer type `*T` as an itab has it.
    pub rtype: VirtAddr,
    /// Where the inner `net.Conn` lies in `T`.
    pub offset: u32,
}

/// One function at one address.
#[derive(Clone, Debug, Serialize, Deserialize)]
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
    /// Where probes go: the classic places, until the planner has chosen.
    pub sites: Sites,
    /// Where they may go by the function's code; `None`: not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub legal: Option<Legal>,
    /// How to read its arguments and result.
    pub call: Call,
    /// Another function of this finding that sees all its calls, so that it needs no probe of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub covered_by: Option<String>,
    /// Why no probe goes there, although it is what it seems to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unprobed: Option<String>,
}

/// Where probes go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sites {
    /// Where arguments are read.
    pub entry: Site,
    /// Where results are read; none for functions that are watched at entry only.
    pub exits: Vec<Site>,
}

impl Sites {
    /// The first instruction, and the return where the result matters.
    pub fn classic(vaddr: VirtAddr, file_offset: FileOff, with_return: bool) -> Self {
        let site = |kind| Site::new(kind, vaddr, file_offset);
        Self {
            entry: site(SiteKind::Uprobe),
            exits: Vec::from_iter(with_return.then(|| site(SiteKind::Uretprobe))),
        }
    }
}

/// One probe site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// What is placed there.
    pub kind: SiteKind,
    /// The instruction, before any load bias.
    pub vaddr: VirtAddr,
    /// The same place in the file.
    pub file_offset: FileOff,
    /// Bytes that the stack pointer is below where it was at the function's first instruction.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub depth: u16,
    /// What stands there, as far as it decides the price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<Form>,
    /// The kernel's part of a hit, nanoseconds, by the price list that was used; what our program does there comes on top.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price_ns: Option<u32>,
    /// Why all that a probe needs is there, step by step; empty for classic sites.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proof: Vec<String>,
}

impl Site {
    /// A site on or set up at this instruction, where the stack pointer has not moved yet.
    pub fn new(kind: SiteKind, vaddr: VirtAddr, file_offset: FileOff) -> Self {
        Self {
            kind,
            vaddr,
            file_offset,
            depth: 0,
            form: None,
            price_ns: None,
            proof: Vec::new(),
        }
    }
}

fn is_zero(depth: &u16) -> bool {
    *depth == 0
}

/// Kinds of instructions that a kernel may treat differently under a uprobe: emulate in place, or copy
/// elsewhere and single-step, which costs ten times as much or more. Which it does is measured: `doctor --bench`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// aarch64 `adr` and `adrp`.
    Address,
    /// A jump with a condition.
    Branch,
    /// A direct call.
    Call,
    /// `endbr64`; aarch64 `bti`.
    Landing,
    /// aarch64 load of a word near the instruction.
    Literal,
    /// x86 `lea`.
    Lea,
    /// A direct jump without a condition.
    Jump,
    /// `mov` between registers.
    Move,
    /// One byte of nothing; aarch64 `nop`.
    Nop,
    /// x86 nop of five bytes, which newer kernels turn into a call.
    Nop5,
    /// x86 `pop` of a register.
    Pop,
    /// x86 `push` of a register.
    Push,
    /// The return.
    Return,
    /// Room on the stack: `sub $n, %rsp`.
    StackRoom,
    /// Anything else.
    Other,
}

/// Where the probes of a function may stand by its code, whatever they cost.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Legal {
    /// Places that each call passes exactly once, before anything else happens to the arguments.
    pub entries: Vec<Candidate>,
    /// Sets of places: each return passes exactly one place of a set, and the result is in its register.
    pub exits: Vec<Vec<Candidate>>,
    /// Why there are not more.
    pub notes: Vec<String>,
}

/// A place for a probe.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// The instruction, before any load bias.
    pub vaddr: VirtAddr,
    /// The same place in the file.
    pub file_offset: FileOff,
    /// Which instruction.
    pub form: Form,
    /// As in [`Site::depth`]. A return probe may be set up only where it is 0.
    pub depth: u16,
    /// Why it is legal, step by step.
    pub proof: Vec<String>,
}

/// What is placed at a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SiteKind {
    /// A probe on this instruction.
    Uprobe,
    /// A probe on the return, set up at this instruction.
    Uretprobe,
}

impl SiteKind {
    /// As in the JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Uprobe => "uprobe",
            Self::Uretprobe => "uretprobe",
        }
    }
}

/// How a call passes its data. The connection object is the first argument.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Where arguments and results are.
    #[serde(default)]
    pub abi: Abi,
    /// How the result tells success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<ResultShape>,
    /// Argument with the buffer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buf: Option<u8>,
    /// Argument with its length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub len: Option<u8>,
    /// Argument that points to a result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub out: Option<u8>,
    /// Moves early data.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub early: bool,
    /// A NULL buffer goes on with waiting data.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub resumes: bool,
    /// Bit 1 of argument 3 asks for a look without consuming.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub peeks: bool,
}

impl Call {
    /// As the C function with these facts is called.
    pub fn of(facts: &symdb::Function) -> Self {
        Self {
            abi: Abi::C,
            result: facts.result,
            buf: facts.buf,
            len: facts.len,
            out: facts.out,
            early: facts.early,
            resumes: facts.resumes,
            peeks: facts.peeks,
        }
    }
}

/// Calling convention.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Abi {
    /// The platform's C convention.
    #[default]
    C,
    /// Go 1.17 and later: `ABIInternal`, registers of its own.
    GoRegisters,
    /// Go before 1.17: `ABI0`, all on the stack.
    GoStack,
    /// `seal` and `open` of ring's `aead::Algorithm`, in the platform's C convention with the result's
    /// place in front (x86-64) or apart (aarch64).
    Ring,
    /// `seal_scatter` and `open_gather` of `struct evp_aead_st`, or `sealv` and `openv`, which have taken
    /// their places in BoringSSL: told apart at each call by where the additional data are.
    Evp,
    /// `MessageEncrypter::encrypt` and `MessageDecrypter::decrypt` of rustls 0.20 to 0.22.
    RustlsOpaque,
    /// The same of rustls 0.23.
    RustlsBorrowed,
}

impl Abi {
    /// Whether each call encrypts or decrypts one TLS record, of whichever connection.
    pub fn is_per_record(self) -> bool {
        matches!(
            self,
            Self::Ring | Self::Evp | Self::RustlsOpaque | Self::RustlsBorrowed
        )
    }
}

/// A library that is not used, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Which.
    pub library: String,
    /// Why, in words for an engineer.
    pub reason: String,
}

/// Functions of a library that are called in another file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Import {
    /// Which library by the names; a relative with the same names cannot be told from here.
    pub library: String,
    /// The names.
    pub functions: Vec<String>,
}
