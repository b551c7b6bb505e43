//! AEAD functions of cryptographic libraries, by the tables that hold their addresses: whatever a compiler
//! does, a function whose address is taken keeps its calling convention and its place.
//!
//! ring's tables stand in the file ([`ring`]), those of AWS-LC and BoringSSL do so in part ([`evp`]); the others are
//! filled when the program starts, and the code that does it tells what it writes ([`init`]). Symbols confirm
//! them where there are some, and stand in for them.
//!
//! What uses the functions is not told here: they encrypt files as well as connections.

mod evp;
mod init;
pub(super) mod names;
mod own;
mod ring;

use std::collections::BTreeMap;

use super::Case;
use super::evidence::{Confidence, Evidence, Method};
use super::finding::{Abi, Call, Function, Sites};
use crate::image::VirtAddr;
use crate::image::insn::{Decoder, Flow};
use crate::image::unwind::UnwindTable;
use crate::symdb::Role;

/// Most tables that one function is shown to stand in.
const PLACES_MAX: usize = 4;
/// Why a function gets no probe.
const SIV: &str = "AES-GCM-SIV: no cipher suite of TLS uses it";

/// Whose tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// ring's `aead::Algorithm`.
    Ring,
    /// AWS-LC's `struct evp_aead_st`.
    AwsLc,
    /// BoringSSL's, which has no `aead_id`; AWS-LC's of before it had one.
    BoringSsl,
}

impl Kind {
    /// As a provider is called.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ring => "ring",
            Self::AwsLc => "aws-lc",
            Self::BoringSsl => "boringssl",
        }
    }

    fn abi(self) -> Abi {
        match self {
            Self::Ring => Abi::Ring,
            Self::AwsLc | Self::BoringSsl => Abi::Evp,
        }
    }

    fn name(self, role: Role) -> String {
        let function = match (self, role) {
            (Self::Ring, Role::Write) => "seal",
            (Self::Ring, _) => "open",
            (_, Role::Write) => "seal_scatter",
            _ => "open_gather",
        };
        format!("{}::{function}", self.as_str())
    }
}

/// Where a table says that a function is.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Place {
    method: Method,
    detail: String,
}

/// A pointer in a table.
struct TableFunction {
    addr: VirtAddr,
    role: Role,
    place: Place,
    /// The tables are what they seem to be beyond chance.
    is_sure: bool,
    is_siv: bool,
}

/// The AEAD functions of one copy of one library.
pub(super) struct Provider {
    /// Whose.
    pub kind: Kind,
    /// `ring::seal`, `ring::open`, `aws-lc::seal_scatter`, …; one name may stand for several addresses.
    pub functions: Vec<Function>,
    /// Addresses in tables to which no probe may go, and why.
    pub refused: Vec<String>,
    /// It may be chance: to be believed only if something else says that the library is inside.
    pub is_weak: bool,
    tables: Vec<TableFunction>,
}

impl Provider {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            functions: Vec::new(),
            refused: Vec::new(),
            is_weak: false,
            tables: Vec::new(),
        }
    }

    /// The same functions, known to be another library's.
    pub fn rename(&mut self, kind: Kind) {
        self.kind = kind;
        for function in &mut self.functions {
            function.name = kind.name(function.role);
        }
    }
}

/// All of them in one file, but those of a BoringSSL that is `watched` by its own functions only in part.
pub(super) fn providers(case: &Case<'_>, watched: bool) -> Vec<Provider> {
    let Some(decoder) = Decoder::new(case.image) else {
        return Vec::new();
    };
    let unwind = std::cell::OnceCell::new();
    let unwind = || unwind.get_or_init(|| UnwindTable::new(case.image)).as_ref();
    let own = own::Own::new(case, &decoder, &unwind);
    let mut providers = ring::find(case, &own);
    providers.extend(evp::providers(&init::tables(
        case, &decoder, &unwind, &own, watched,
    )));
    // Tables may be filled in ways that are not known here.
    for (kind, is_ring) in [(Kind::Ring, true), (Kind::BoringSsl, false)] {
        let is_named = case
            .names
            .aead
            .iter()
            .any(|named| named.name.is_ring == is_ring);
        let is_known = providers
            .iter()
            .any(|provider| (provider.kind == Kind::Ring) == is_ring);
        if is_named && !is_known {
            providers.push(Provider::new(kind));
        }
    }
    if providers.is_empty() {
        return providers;
    }
    let placer = Placer {
        case,
        decoder: &decoder,
        unwind: unwind(),
    };
    for provider in &mut providers {
        placer.fill(provider);
    }
    placer.add_named(&mut providers);
    providers.retain(|provider| !provider.functions.is_empty() || !provider.refused.is_empty());
    providers
}

/// Makes functions of addresses.
struct Placer<'c, 'a> {
    case: &'c Case<'a>,
    decoder: &'c Decoder<'a>,
    unwind: Option<&'c UnwindTable<'a>>,
}

impl Placer<'_, '_> {
    fn fill(&self, provider: &mut Provider) {
        let mut by_addr: BTreeMap<VirtAddr, Vec<&TableFunction>> = BTreeMap::new();
        for function in &provider.tables {
            by_addr.entry(function.addr).or_default().push(function);
        }
        for (addr, places) in by_addr {
            match self.placed(provider.kind, addr, &places) {
                Ok(function) => provider.functions.push(function),
                Err(reason) => provider.refused.push(reason),
            }
        }
    }

    /// Functions that symbols name and no table that was found holds.
    fn add_named(&self, providers: &mut [Provider]) {
        for named in &self.case.names.aead {
            let is_known = |provider: &Provider| {
                let mut functions = provider.functions.iter();
                functions.any(|function| function.vaddr == named.addr)
            };
            if providers.iter().any(is_known) {
                continue;
            }
            let mut fitting = providers.iter_mut();
            let Some(provider) = fitting.find(|provider| named.name.fits(provider.kind)) else {
                continue;
            };
            let (name, evidence) = (named.name, vec![named.evidence.clone()]);
            match self.function(provider.kind, named.addr, name.role, evidence, name.is_siv) {
                Ok(mut function) => {
                    function.confidence = Confidence::High;
                    provider.functions.push(function);
                }
                Err(reason) => provider.refused.push(reason),
            }
        }
        for provider in providers {
            let functions = &mut provider.functions;
            functions.sort_by(|a, b| (&a.name, a.vaddr).cmp(&(&b.name, b.vaddr)));
        }
    }

    fn placed(
        &self,
        kind: Kind,
        addr: VirtAddr,
        places: &[&TableFunction],
    ) -> Result<Function, String> {
        let Some(first) = places.first() else {
            return Err(format!("{addr} is in no table"));
        };
        let role = first.role;
        if places.iter().any(|place| place.role != role) {
            return Err(format!(
                "{addr}: tables have it as what seals and as what opens"
            ));
        }
        let mut evidence: Vec<_> = places
            .iter()
            .take(PLACES_MAX)
            .map(|function| Evidence {
                method: function.place.method,
                detail: function.place.detail.clone(),
            })
            .collect();
        let mut confidence = match places.iter().any(|place| place.is_sure) {
            true => Confidence::High,
            false => Confidence::Medium,
        };
        let mut is_siv = places.iter().all(|place| place.is_siv);
        let fitting = || {
            let named = self.case.names.aead.iter();
            named.filter(|named| named.name.fits(kind))
        };
        let here: Vec<_> = fitting().filter(|named| named.addr == addr).collect();
        if let Some(other) = here.iter().find(|named| named.name.role != role) {
            return Err(format!(
                "{addr}: {}, and a symbol says otherwise ({})",
                first.place.detail, other.evidence.detail
            ));
        }
        if let Some(named) = here.first() {
            confidence = Confidence::High;
            is_siv |= named.name.is_siv;
            evidence.extend(here.iter().map(|named| named.evidence.clone()));
        } else if fitting().any(|named| named.name.role == role) {
            // Symbols know such functions, and this is none of them.
            confidence = Confidence::Medium;
        }
        evidence.sort_by_key(|evidence| evidence.method);
        evidence.dedup();
        let mut function = self.function(kind, addr, role, evidence, is_siv)?;
        function.confidence = confidence;
        Ok(function)
    }

    /// A probe may go to an address in executable code where an instruction begins, and no unwind table
    /// says that it is in the middle of a function.
    fn function(
        &self,
        kind: Kind,
        addr: VirtAddr,
        role: Role,
        evidence: Vec<Evidence>,
        is_siv: bool,
    ) -> Result<Function, String> {
        let name = kind.name(role);
        let segments = &self.case.image.segments;
        let file_offset = segments
            .code_offset(addr)
            .ok_or_else(|| format!("{name}: {addr} is not in an executable segment"))?;
        let insn = self.decoder.decode(addr);
        if insn.is_none_or(|insn| insn.flow == Flow::Stop) {
            return Err(format!("{name}: code at {addr} does not decode"));
        }
        let covering = self.unwind.and_then(|unwind| unwind.covering(addr));
        if let Some(range) = covering.filter(|range| range.start != addr) {
            return Err(format!(
                "{name}: {addr} is in the middle of the function at {}",
                range.start
            ));
        }
        Ok(Function {
            name,
            role,
            vaddr: addr,
            file_offset,
            size: covering.map_or(0, |range| range.end.0 - range.start.0),
            confidence: Confidence::Medium,
            evidence,
            sites: Sites::classic(addr, file_offset, role == Role::Read),
            call: Call {
                abi: kind.abi(),
                ..Call::default()
            },
            legal: None,
            covered_by: None,
            unprobed: is_siv.then(|| SIV.to_owned()),
        })
    }
}
