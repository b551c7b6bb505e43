//! The table of protocol methods (`SSL_PROTOCOL_METHOD`, `ssl/internal.h`): a word that says TLS or DTLS, then
//! pointers to functions. Its address is the first word of each connection object. It is recognised by the
//! slot through which `SSL_write` writes: that method tells its errors as `s3_pkt.cc`.

use std::collections::BTreeSet;

use super::super::evidence::Method;
use super::super::finding::{Function, Guard};
use super::super::sources::{Member, Source};
use super::super::structure::{self, evidence};
use super::{Copy, Roles};
use crate::image::VirtAddr;

/// `write_app_data`, in all versions since the table has this form (2017).
const WRITE_SLOT: u64 = 0x48;
/// `ssl_free`, which gets the connection object and is called once, when it ends.
const FREE_SLOT: u64 = 0x10;
/// The first pointer.
const FIRST_SLOT: u64 = 8;
/// Fewest pointers to code in a row; there are 18 to 21.
const METHODS_MIN: usize = 12;
/// Most pointers that are counted.
const METHODS_MAX: usize = 32;
/// Slots that the code may be seen to use.
const SLOTS: std::ops::RangeInclusive<i64> = 0x30..=0x80;

/// The table of one copy.
pub(super) struct Table {
    base: VirtAddr,
    slot: u64,
    writer: VirtAddr,
    free: VirtAddr,
    methods: usize,
}

/// The one table whose write method belongs to this copy.
pub(super) fn find(copy: &Copy<'_, '_>, roles: &Roles<'_>) -> Option<Table> {
    let writers: Vec<_> = copy
        .members()
        .filter(|member| is_record_code(copy, roles, member))
        .map(|member| member.entry.addr)
        .collect();
    let slots = slots(roles.write);
    let places = copy.case.pointers().to(&writers);
    let mut tables: Vec<_> = places
        .iter()
        .flat_map(|pointer| {
            let slots = slots.iter();
            slots.filter_map(|slot| table_at(copy, pointer.place, *slot, pointer.target))
        })
        .collect();
    tables.dedup_by_key(|table| table.base);
    let table = tables.pop();
    table.filter(|_| tables.is_empty())
}

/// Tells errors of the record layer, and to the same function as this copy does.
fn is_record_code(copy: &Copy<'_, '_>, roles: &Roles<'_>, member: &Member) -> bool {
    member.errors.iter().any(|error| {
        let path = copy.sources.path(error.file);
        let mut own = roles.write.errors.iter();
        path.is_some_and(|path| path.source == Source::Records)
            && own.any(|own| own.callee == error.callee)
    })
}

/// Offsets at which the function reads what may be a pointer to code; the usual one first.
fn slots(write: &Member) -> BTreeSet<u64> {
    let accesses = write.body.insns.values().filter_map(|insn| insn.access);
    let loads = accesses.filter(|access| !access.store && SLOTS.contains(&access.offset));
    let seen: BTreeSet<u64> = loads.map(|access| access.offset as u64).collect();
    if seen.contains(&WRITE_SLOT) {
        return BTreeSet::from([WRITE_SLOT]);
    }
    seen
}

fn table_at(copy: &Copy<'_, '_>, place: VirtAddr, slot: u64, writer: VirtAddr) -> Option<Table> {
    let pointers = copy.case.pointers();
    let base = VirtAddr(place.0.checked_sub(slot)?);
    let after = |offset: u64| base.0.checked_add(offset).map(VirtAddr);
    let is_tls = pointers.word(base) == Some(0) && pointers.at(base).is_none();
    if !is_tls {
        return None;
    }
    let methods = pointers.run(after(FIRST_SLOT)?).take(METHODS_MAX).count();
    (methods >= METHODS_MIN).then_some(Table {
        base,
        slot,
        writer,
        free: pointers.at(after(FREE_SLOT)?)?,
        methods,
    })
}

impl Table {
    pub(super) fn describe(&self) -> String {
        format!(
            "the method table at {} has {} methods; the one at {:#x}, through which SSL_write writes, is {}, \
             whose errors are those of s3_pkt.cc",
            self.base, self.methods, self.slot, self.writer
        )
    }

    pub(super) fn guard(&self) -> Guard {
        Guard {
            first_word: self.base,
        }
    }

    /// The method that frees what belongs to a connection.
    pub(super) fn free(&self, copy: &Copy<'_, '_>) -> Option<Function> {
        let facts = copy.facts.function("tls_free")?;
        let body = copy.sources.functions.body(self.free);
        let why = format!("the method table at {} has it at {FREE_SLOT:#x}", self.base);
        let list = vec![evidence(Method::MethodTable, why)];
        structure::function(copy.case, facts, &body, list).ok()
    }
}
