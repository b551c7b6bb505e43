//! OpenSSL's tables of methods (`struct ssl_method_st`, `ssl/ssl_local.h`): a client's has no accept and a
//! server's no connect, and `ssl_undefined_function` stands there instead, which names itself when it is
//! called. From that slot the one of the function that frees a connection follows, which names nothing.

use std::collections::BTreeSet;

use super::super::Case;
use super::super::evidence::Method;
use super::super::finding::Function;
use super::super::sources::{Says, Sources};
use super::super::structure::{self, evidence};
use crate::image::VirtAddr;
use crate::symdb::Library;

/// The name of the function that stands for what a method lacks, and its number in OpenSSL 1.
const UNDEFINED: (&str, u64) = ("ssl_undefined_function", 197);
/// `TLS_ANY_VERSION` (`ssl/ssl_local.h`), of the methods that negotiate.
const ANY_VERSION: u32 = 0x1_0000;
/// `TLS1_VERSION` to `TLS1_3_VERSION`, of the methods of one version.
const VERSIONS: std::ops::RangeInclusive<u32> = 0x301..=0x304;
/// The first pointer, behind version, flags and mask.
const FIRST: u64 = 0x10;
/// Fewest pointers to code in a row; there are more than twenty.
const POINTERS_MIN: usize = 16;
/// Most tables that are looked at.
const TABLES_MAX: usize = 64;

/// Where the slots are, in bytes from the start of the table.
struct Layout {
    free: u64,
    accept: u64,
    connect: u64,
    /// What the function is called that frees.
    name: &'static str,
}

/// Until 3.1, and from 3.2 on (openssl/ssl/ssl_local.h of 1.1.1w, 3.1 and 3.2).
const LAYOUTS: [Layout; 2] = [
    Layout {
        free: 0x20,
        accept: 0x28,
        connect: 0x30,
        name: "tls1_free",
    },
    Layout {
        free: 0x18,
        accept: 0x40,
        connect: 0x48,
        name: "ossl_ssl_connection_free",
    },
];

/// The function that frees a connection, if all tables agree on it.
pub(super) fn free(
    case: &Case<'_>,
    facts: &Library,
    sources: &Sources<'_>,
    file: VirtAddr,
) -> Option<Function> {
    let undefined: Vec<_> = undefined(sources, file);
    let places = case.pointers().to(&undefined);
    let found: BTreeSet<_> = places
        .iter()
        .take(TABLES_MAX)
        .flat_map(|pointer| LAYOUTS.iter().map(move |layout| (pointer.place, layout)))
        .flat_map(|(place, layout)| {
            let slots = [layout.accept, layout.connect];
            slots.map(|slot| table(case, place, slot, layout))
        })
        .flatten()
        .collect();
    let addresses: BTreeSet<_> = found.iter().map(|(free, ..)| free).collect();
    let (free, base, name) = found.first().filter(|_| addresses.len() == 1)?;
    let body = sources.functions.body(*free);
    let why = format!("the table of methods at {base} frees with it");
    let list = vec![evidence(Method::MethodTable, why)];
    structure::function(case, facts.function(name)?, &body, list).ok()
}

/// The functions that do nothing but name themselves.
fn undefined(sources: &Sources<'_>, file: VirtAddr) -> Vec<VirtAddr> {
    let names_it = |says: &Says| match says {
        Says::Name { function, .. } => function == UNDEFINED.0,
        Says::Codes { function, .. } => *function == Some(UNDEFINED.1),
    };
    let members = sources.members.values();
    members
        .filter(|member| {
            let mut errors = member.errors.iter();
            !member.errors.is_empty()
                && errors.all(|error| error.file == file && names_it(&error.says))
        })
        .map(|member| member.entry.addr)
        .collect()
}

/// What the table frees with, and where it is, if it is one.
fn table(
    case: &Case<'_>,
    place: VirtAddr,
    slot: u64,
    layout: &Layout,
) -> Option<(VirtAddr, VirtAddr, &'static str)> {
    let pointers = case.pointers();
    let base = VirtAddr(place.0.checked_sub(slot)?);
    let at = |offset: u64| base.0.checked_add(offset).map(VirtAddr);
    let version = pointers.word(base)? as u32;
    let is_tls = version == ANY_VERSION || VERSIONS.contains(&version);
    let methods = pointers.run(at(FIRST)?).take(POINTERS_MIN).count();
    (is_tls && methods >= POINTERS_MIN)
        .then(|| Some((pointers.at(at(layout.free)?)?, base, layout.name)))?
}
