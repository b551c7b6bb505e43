//! ring's `static ring::aead::Algorithm`, one for each of AES-128-GCM, AES-256-GCM and ChaCha20-Poly1305:
//!
//! | since | +0 | +8 | +16 | +24 | +32 | +40 |
//! |---|---|---|---|---|---|---|
//! | 0.16 | init | seal | open | key length | longest input | id |
//! | 0.17.8 | init | seal | open | key length | id | |
//!
//! Three pointers and two small numbers are found by chance as well. Both AES algorithms have the same two
//! functions and lie side by side, and so does the third: without such a pair nothing is believed, and a pair alone
//! only if something else says that ring is inside.

use super::own::Own;
use super::{Kind, Place, Provider, TableFunction};
use crate::discover::Case;
use crate::discover::evidence::Method;
use crate::image::VirtAddr;
use crate::image::pointers::Pointer;
use crate::symdb::Role;

/// `AES_128_KEY_LEN`, `AES_256_KEY_LEN` and `KEY_LEN` of ChaCha20.
const KEY_LENGTHS: [u64; 2] = [16, 32];
/// `AlgorithmID`, with the length of its key.
const AES_128: (u64, u64) = (16, 0);
const AES_256: (u64, u64) = (32, 1);
const CHACHA: (u64, u64) = (32, 2);
/// `max_input_len`: blocks of 16 or 64 bytes, a few fewer than 2^32.
const LONGEST_INPUT: std::ops::Range<u64> = 1 << 32..1 << 40;
/// Bytes between the tables of one copy: its data stay together, whatever becomes of its code. Up to 0x3c0 were seen.
const REACH: u64 = 1 << 14;
/// The same where linkers sort constants by size: then the code must lie together.
const FAR_REACH: u64 = 1 << 20;
/// Bytes between the functions of one algorithm, if that is asked for.
const CODE_REACH: u64 = 1 << 16;
/// Most candidates that are looked at; real files have fewer than ten.
const CANDIDATES_MAX: usize = 1 << 12;
/// Most copies of ring in one file.
const COPIES_MAX: usize = 16;

/// One `Algorithm`, or what looks like it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Algorithm {
    place: VirtAddr,
    init: VirtAddr,
    seal: VirtAddr,
    open: VirtAddr,
    /// Length of the key, and the id.
    what: (u64, u64),
    /// There is a longest input.
    is_old: bool,
}

/// Each copy of ring.
pub(super) fn find(case: &Case<'_>, own: &Own<'_, '_>) -> Vec<Provider> {
    let mut all = candidates(case);
    let is_function = |addr| own.is_function(addr);
    all.retain(|one| {
        own.is_data(one.place) && [one.init, one.seal, one.open].into_iter().all(is_function)
    });
    let pairs = pairs(&all);
    let of_pair = |(small, large): &(Algorithm, Algorithm)| {
        let chacha = chacha(&all, small, &pairs);
        provider(small, large, chacha.as_ref())
    };
    pairs.iter().map(of_pair).collect()
}

fn candidates(case: &Case<'_>) -> Vec<Algorithm> {
    let pointers = case.pointers();
    let mut found = Vec::new();
    if pointers.is_relocated() {
        let all = pointers.relocated();
        for (n, run) in all.windows(3).enumerate() {
            let [init, seal, open] = run else { continue };
            let is_at = |pointer: &Pointer, distance| {
                pointer.place.0.wrapping_sub(init.place.0) == distance
            };
            // Most pointers stand in longer rows, which are not looked at any closer.
            let ends = all.get(n + 3).is_none_or(|next| !is_at(next, 24));
            if ends && is_at(seal, 8) && is_at(open, 16) && found.len() < CANDIDATES_MAX {
                found.extend(at(case, init.place));
            }
        }
        return found;
    }
    // The length of the key is rarer than what may be a pointer.
    for place in pointers.words(|word| KEY_LENGTHS.contains(&word)) {
        let start = place.0.checked_sub(24).map(VirtAddr);
        if found.len() < CANDIDATES_MAX {
            found.extend(start.and_then(|start| at(case, start)));
        }
    }
    found
}

/// The algorithm at an address, by its form alone.
fn at(case: &Case<'_>, place: VirtAddr) -> Option<Algorithm> {
    let pointers = case.pointers();
    let after = |offset: u64| place.0.checked_add(offset).map(VirtAddr);
    let number = |offset: u64| {
        let place = after(offset)?;
        let is_number = |_: &u64| !pointers.is_relocated() || pointers.at(place).is_none();
        pointers.word(place).filter(is_number)
    };
    let is_key = |length: &u64| KEY_LENGTHS.contains(length);
    after(24)
        .and_then(|place| pointers.word(place))
        .filter(is_key)?;
    let key_length = number(24)?;
    let code = |offset| {
        let target = pointers.at(after(offset)?)?;
        case.image.segments.code_offset(target).map(|_| target)
    };
    let longest = number(32)?;
    let is_old = LONGEST_INPUT.contains(&longest);
    let id = if is_old { number(40)? } else { longest };
    let what = (key_length, id);
    [AES_128, AES_256, CHACHA].contains(&what).then_some(())?;
    Some(Algorithm {
        place,
        init: code(0)?,
        seal: code(8)?,
        open: code(16)?,
        what,
        is_old,
    })
}

/// AES-128 and AES-256 with the same functions and keys of their own.
fn pairs(all: &[Algorithm]) -> Vec<(Algorithm, Algorithm)> {
    let mut pairs: Vec<(Algorithm, Algorithm)> = Vec::new();
    for small in all.iter().filter(|one| one.what == AES_128) {
        let is_other = |large: &&Algorithm| {
            large.what == AES_256
                && large.place.0.abs_diff(small.place.0) < REACH
                && (large.seal, large.open, large.is_old) == (small.seal, small.open, small.is_old)
                && large.init != small.init
                && large.seal != large.open
        };
        let is_new = !pairs.iter().any(|(known, _)| known.seal == small.seal);
        if let Some(large) = all.iter().find(is_other)
            && is_new
            && pairs.len() < COPIES_MAX
        {
            pairs.push((*small, *large));
        }
    }
    pairs
}

/// Its table stands farther off, but its code with the pair's.
fn is_far_part(one: &Algorithm, pair: &Algorithm) -> bool {
    let is_near = |a: VirtAddr, b: VirtAddr, reach: u64| a.0.abs_diff(b.0) < reach;
    is_near(one.place, pair.place, FAR_REACH)
        && is_near(one.seal, pair.seal, FAR_REACH)
        && is_near(one.seal, one.open, CODE_REACH)
        && is_near(one.seal, one.init, CODE_REACH)
}

/// The one that belongs to a pair: its table is nearest, and to no other pair nearer.
fn chacha(
    all: &[Algorithm],
    pair: &Algorithm,
    pairs: &[(Algorithm, Algorithm)],
) -> Option<Algorithm> {
    let distance = |one: &Algorithm, other: &Algorithm| one.place.0.abs_diff(other.place.0);
    let fits = |one: &&Algorithm| {
        one.what == CHACHA
            && (distance(one, pair) < REACH || is_far_part(one, pair))
            && one.is_old == pair.is_old
            && ![one.open, pair.seal, pair.open].contains(&one.seal)
            && ![pair.seal, pair.open].contains(&one.open)
    };
    let nearest = all
        .iter()
        .filter(fits)
        .min_by_key(|one| distance(one, pair))?;
    let mut others = pairs.iter();
    let is_ours = others.all(|(other, _)| distance(nearest, pair) <= distance(nearest, other));
    is_ours.then_some(*nearest)
}

fn provider(small: &Algorithm, large: &Algorithm, chacha: Option<&Algorithm>) -> Provider {
    let mut provider = Provider::new(Kind::Ring);
    let is_sure = chacha.is_some();
    provider.is_weak = !is_sure;
    let of_pair = |slot: &str| {
        format!(
            "{slot} of AES-128-GCM at {} and of AES-256-GCM at {}, which share both functions",
            small.place, large.place
        )
    };
    let mut add = |addr, role, detail| {
        provider.tables.push(TableFunction {
            addr,
            role,
            place: Place {
                method: Method::AeadTable,
                detail,
            },
            is_sure,
            is_siv: false,
        });
    };
    add(small.seal, Role::Write, of_pair("seal"));
    add(small.open, Role::Read, of_pair("open"));
    if let Some(chacha) = chacha {
        let detail = |slot: &str| format!("{slot} of ChaCha20-Poly1305 at {}", chacha.place);
        add(chacha.seal, Role::Write, detail("seal"));
        add(chacha.open, Role::Read, detail("open"));
    }
    provider
}

#[cfg(test)]
mod tests {
    use super::*;

    fn algorithm(place: u64, init: u64, seal: u64, what: (u64, u64)) -> Algorithm {
        Algorithm {
            place: VirtAddr(place),
            init: VirtAddr(init),
            seal: VirtAddr(seal),
            open: VirtAddr(seal + 0x100),
            what,
            is_old: false,
        }
    }

    /// Chance finds single entries, and pairs that lie apart or are one entry twice: none is ring.
    #[test]
    fn only_pairs_that_hang_together_count() {
        let small = algorithm(0x1000, 0x10, 0x50, AES_128);
        let large = algorithm(0x1028, 0x20, 0x50, AES_256);
        let other = algorithm(0x1050, 0x30, 0x70, CHACHA);
        assert_eq!(pairs(&[other, large, small]), [(small, large)]);
        for wrong in [
            algorithm(0x1028, 0x20, 0x60, AES_256),
            algorithm(0x1028, 0x10, 0x50, AES_256),
            algorithm(0x1000 + REACH, 0x20, 0x50, AES_256),
            Algorithm {
                is_old: true,
                ..large
            },
        ] {
            assert_eq!(pairs(&[small, wrong, other]), [], "{wrong:?}");
        }
        let pair = [(small, large)];
        assert_eq!(chacha(&[other, small], &small, &pair), Some(other));
        let far = algorithm(0x1000 + REACH, 0x30, 0x70, CHACHA);
        assert_eq!(chacha(&[far, small], &small, &pair), Some(far));
        for wrong in [
            algorithm(0x1050, 0x30, 0x50, CHACHA),
            algorithm(0x1000 + REACH, 0x100 + CODE_REACH, 0x70, CHACHA),
            algorithm(0x1000 + FAR_REACH, 0x30, 0x70, CHACHA),
        ] {
            assert_eq!(chacha(&[wrong], &small, &pair), None, "{wrong:?}");
        }
    }

    /// Each of two copies has its own third algorithm.
    #[test]
    fn copies_are_not_mixed() {
        let copy = |at: u64| {
            [
                algorithm(at, 0x10, at + 0x50, AES_128),
                algorithm(at + 0x28, 0x20, at + 0x50, AES_256),
                algorithm(at + 0x50, 0x30, at + 0x70, CHACHA),
            ]
        };
        let all = [copy(0x1000), copy(0x2000)];
        let pairs = pairs(all.as_flattened());
        assert_eq!(pairs.len(), 2);
        for ((small, _), copy) in pairs.iter().zip(&all) {
            assert_eq!(chacha(all.as_flattened(), small, &pairs), Some(copy[2]));
        }
        let one = [&all[0][..], &all[1][..2]].concat();
        assert_eq!(chacha(&one, &pairs[1].0, &pairs), None, "it is the other's");
    }
}
