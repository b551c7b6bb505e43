//! `struct evp_aead_st` of AWS-LC and BoringSSL, which begins with the lengths of key, nonce, overhead and tag:
//!
//! | | +4 | +8 | +0x10 | +0x18 | +0x20 | +0x28 | +0x30 | +0x38 |
//! |---|---|---|---|---|---|---|---|---|
//! | AWS-LC since 2024 | id | extra input | init | init with direction | cleanup | open | seal_scatter | open_gather |
//! | BoringSSL | extra input | init | init with direction | cleanup | open | seal_scatter | open_gather | |
//!
//! One of the first two pointers is there, and `open` is not, for all that TLS uses. In BoringSSL since 2025 the last
//! two are `sealv` and `openv`, and there is no extra input. Sources: `crypto/fipsmodule/cipher/internal.h` of both.

use std::collections::BTreeSet;

use super::{Kind, Place, Provider, TableFunction};
use crate::discover::evidence::Method;
use crate::image::VirtAddr;
use crate::symdb::Role;

/// Lengths of nonce, overhead and tag of AES-GCM, AES-GCM-SIV and ChaCha20-Poly1305.
pub(super) const LENGTHS: [u8; 3] = [12, 16, 16];
/// Lengths of their keys; AES-192 is in no cipher suite of TLS.
pub(super) const KEYS: [u8; 2] = [16, 32];
/// `AEAD_AES_128_GCM_SIV_ID` and `AEAD_AES_256_GCM_SIV_ID`.
const SIV_IDS: [u16; 2] = [3, 4];
/// AES-GCM, plain and in its forms for TLS 1.2 and 1.3, with keys of 128 and 256 bits.
const GCM_IDS: [u16; 6] = [16, 18, 21, 22, 23, 24];
/// There are about thirty ids.
const ID_MAX: u16 = 255;

/// What stands in a word of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// Nothing.
    Empty,
    /// A pointer to code.
    Code(VirtAddr),
    /// Something else.
    Other,
}

/// One table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table {
    pub kind: Kind,
    /// Bytes of the key.
    pub key: u8,
    /// AWS-LC's number for it.
    pub id: Option<u16>,
    pub seal: VirtAddr,
    pub open: VirtAddr,
    /// Where it is, for people.
    pub place: Place,
}

impl Table {
    /// Reads a table whose first four bytes are known. `slot` and `number` take distances from its start.
    pub fn read(
        key: u8,
        slot: impl Fn(u64) -> Slot,
        number: impl Fn(u64, usize) -> Option<u64>,
        place: Place,
    ) -> Option<Self> {
        let functions = |first: u64| {
            let init = [slot(first), slot(first + 8)];
            let one = init.iter().filter(|slot| **slot != Slot::Empty).count() == 1;
            let is_code = |slot: &Slot| matches!(slot, Slot::Code(_));
            let fits = one
                && init.iter().any(is_code)
                && is_code(&slot(first + 0x10))
                && slot(first + 0x18) == Slot::Empty;
            match (slot(first + 0x20), slot(first + 0x28)) {
                (Slot::Code(seal), Slot::Code(open)) if fits && seal != open => Some((seal, open)),
                _ => None,
            }
        };
        let is_flag = |value: Option<u64>| value.is_none_or(|value| value <= 1);
        let id = number(4, 2).and_then(|id| u16::try_from(id).ok());
        let (kind, id, (seal, open)) = if let Some(found) = functions(0x10) {
            let id = id.filter(|id| (1..=ID_MAX).contains(id) && is_flag(number(8, 4)))?;
            (Kind::AwsLc, Some(id), found)
        } else {
            let found = functions(8).filter(|_| is_flag(number(4, 4)))?;
            (Kind::BoringSsl, None, found)
        };
        Some(Self {
            kind,
            key,
            id,
            seal,
            open,
            place,
        })
    }
}

/// The functions of all tables, by whose they are.
pub(super) fn providers(tables: &[Table]) -> Vec<Provider> {
    [Kind::AwsLc, Kind::BoringSsl]
        .into_iter()
        .filter_map(|kind| {
            let own: Vec<_> = tables.iter().filter(|table| table.kind == kind).collect();
            (!own.is_empty()).then(|| provider(kind, &own))
        })
        .collect()
}

fn provider(kind: Kind, tables: &[&Table]) -> Provider {
    let gcm: BTreeSet<_> = tables
        .iter()
        .map(|table| table.open)
        .filter(|open| is_gcm(tables, *open))
        .collect();
    // Only AWS-LC's tables say what they are for.
    let is_sure = kind == Kind::AwsLc && !gcm.is_empty();
    let mut provider = Provider::new(kind);
    for table in tables {
        let is_siv = match table.id {
            Some(id) => SIV_IDS.contains(&id),
            None => {
                !gcm.is_empty() && !gcm.contains(&table.open) && has_both_keys(tables, table.open)
            }
        };
        for (addr, role) in [(table.seal, Role::Write), (table.open, Role::Read)] {
            provider.tables.push(TableFunction {
                addr,
                role,
                place: table.place.clone(),
                is_sure,
                is_siv,
            });
        }
    }
    provider
}

/// Whether all tables of AES-GCM are there that a whole library has, of each kind of which there is one.
pub(super) fn is_complete(tables: &[Table]) -> bool {
    let of_kind = |kind| tables.iter().filter(move |table| table.kind == kind);
    let has_id = |id: &u16| of_kind(Kind::AwsLc).any(|table| table.id == Some(*id));
    let aws_lc = of_kind(Kind::AwsLc).next().is_none() || GCM_IDS.iter().all(has_id);
    let pairs: BTreeSet<_> = of_kind(Kind::BoringSsl)
        .map(|table| (table.open, table.key, table.seal))
        .collect();
    // Three ways of sealing, each with two keys.
    let is_whole = |open: VirtAddr| pairs.iter().filter(|pair| pair.0 == open).count() >= 6;
    let boringssl = pairs.is_empty() || pairs.iter().any(|pair| is_whole(pair.0));
    aws_lc && boringssl
}

/// AES-GCM is in several tables, which share what opens and differ in what seals.
fn is_gcm(tables: &[&Table], open: VirtAddr) -> bool {
    let own = || tables.iter().filter(|table| table.open == open);
    let seals: BTreeSet<_> = own().map(|table| table.seal).collect();
    let is_named = own().all(|table| table.id.is_none_or(|id| GCM_IDS.contains(&id)));
    is_named
        && has_both_keys(tables, open)
        && (seals.len() > 1 || own().any(|table| table.id.is_some()))
}

fn has_both_keys(tables: &[&Table], open: VirtAddr) -> bool {
    let has = |key| {
        tables
            .iter()
            .any(|table| table.open == open && table.key == key)
    };
    KEYS.into_iter().all(has)
}

/// How a table is described.
pub(super) fn place(method: Method, key: u8, detail: &str) -> Place {
    let bits = 8 * u32::from(key);
    Place {
        method,
        detail: format!("a table for keys of {bits} bits{detail}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: u64 = 0x1000;

    fn place() -> Place {
        super::place(Method::AeadTable, 16, "")
    }

    /// A table with code in the given words, and these numbers at 4 and 8.
    fn read(code: &[u64], id: u64, extra: u64) -> Option<Table> {
        let slot = |offset: u64| match code.contains(&offset) {
            true => Slot::Code(VirtAddr(BASE + offset)),
            false => Slot::Empty,
        };
        let number = |offset: u64, _: usize| Some(if offset == 4 { id } else { extra });
        Table::read(16, slot, number, place())
    }

    /// Each word that is not as it must be, alone, makes it no table.
    #[test]
    fn one_wrong_word_is_enough() {
        let aws_lc: [u64; 4] = [0x10, 0x20, 0x30, 0x38];
        let table = read(&aws_lc, 16, 1).unwrap();
        assert_eq!((table.kind, table.id), (Kind::AwsLc, Some(16)));
        assert_eq!(table.seal, VirtAddr(BASE + 0x30));
        let boringssl: [u64; 4] = [8, 0x18, 0x28, 0x30];
        let table = read(&boringssl, 1, 0).unwrap();
        assert_eq!((table.kind, table.id), (Kind::BoringSsl, None));
        assert_eq!(table.open, VirtAddr(BASE + 0x30));
        for good in [aws_lc, boringssl] {
            for missing in 0..4 {
                let mut code = good.to_vec();
                code.remove(missing);
                assert_eq!(read(&code, 1, 0), None, "without {:#x}", good[missing]);
            }
            // `open`, and both kinds of init.
            for more in [good[1] + 8, good[0] + 8] {
                let code = [&good[..], &[more]].concat();
                assert_eq!(read(&code, 1, 0), None, "with {more:#x}");
            }
        }
        for (id, extra) in [(0, 1), (256, 1), (16, 2)] {
            assert_eq!(read(&aws_lc, id, extra), None, "{id} {extra}");
        }
        assert_eq!(read(&boringssl, 2, 0), None);
    }

    fn table(kind: Kind, key: u8, id: Option<u16>, seal: u64, open: u64) -> Table {
        Table {
            kind,
            key,
            id,
            seal: VirtAddr(seal),
            open: VirtAddr(open),
            place: place(),
        }
    }

    /// AES-GCM-SIV, in which no record is sealed, is told by its number, and without one by what
    /// AES-GCM is.
    #[test]
    fn siv_is_told_from_gcm() {
        let pair = |kind, ids: [Option<u16>; 2], seal, open| {
            [(16, ids[0]), (32, ids[1])].map(|(key, id)| table(kind, key, id, seal, open))
        };
        let siv = |tables: &[Table]| {
            let [provider] = &providers(tables)[..] else {
                panic!("one provider");
            };
            let own = provider.tables.iter().filter(|function| function.is_siv);
            own.map(|function| function.addr.0).collect::<BTreeSet<_>>()
        };
        let (aws_lc, boringssl) = (Kind::AwsLc, Kind::BoringSsl);
        let known = [
            pair(aws_lc, [Some(3), Some(4)], 1, 2),
            pair(aws_lc, [Some(23), Some(24)], 3, 4),
        ];
        assert_eq!(siv(known.as_flattened()), BTreeSet::from([1, 2]));
        let none = [None, None];
        let told = [
            pair(boringssl, none, 1, 2),
            pair(boringssl, none, 3, 4),
            pair(boringssl, none, 5, 4),
        ];
        assert_eq!(siv(told.as_flattened()), BTreeSet::from([1, 2]));
        let both = [pair(boringssl, none, 1, 2), pair(boringssl, none, 3, 4)];
        assert_eq!(siv(both.as_flattened()), BTreeSet::new());
    }

    /// One table may be chance; both keys with one function that opens are not.
    #[test]
    fn a_pair_is_surer_than_one() {
        let sure = |tables: &[Table]| providers(tables)[0].tables.iter().all(|one| one.is_sure);
        let one = table(Kind::AwsLc, 32, Some(5), 1, 2);
        assert!(!sure(std::slice::from_ref(&one)));
        let gcm =
            [16, 32].map(|key| table(Kind::AwsLc, key, Some(16 + u16::from(key / 32) * 2), 3, 4));
        assert!(sure(&[&gcm[..], &[one]].concat()));
        let apart = [16, 32].map(|key| table(Kind::AwsLc, key, Some(16), 3, u64::from(key)));
        assert!(!sure(&apart));
    }
}
