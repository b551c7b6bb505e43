//! Method tables: how one type implements one interface. The compiler writes one for each pair that it
//! sees converted, so a program that makes TLS connections has the one of `*tls.Conn` as `net.Conn`.
//!
//! Source: `type ITab` in internal/abi/iface.go of Go 1.27; the same since Go 1.10 (runtime/runtime2.go).

use super::rtype::{Type, Types};
use crate::image::VirtAddr;

/// Bytes before the first method.
const METHODS: u64 = 24;

/// Words that point to an interface and are looked at: fields and parameters point to it as well.
const PLACES_MAX: usize = 1 << 20;

/// Most method tables of one interface; rclone, a large program, has 60 of `net.Conn`. Each is looked into.
const ITABS_MAX: usize = 4096;

/// One method table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Itab {
    /// Where it is.
    pub addr: VirtAddr,
    /// The type that implements the interface.
    pub concrete: Type,
}

/// All method tables of `interface`: words that point to it, where a type and its hash follow.
pub fn all_of(types: &Types<'_, '_>, interface: &Type) -> Vec<Itab> {
    let pointers = types.pointers();
    let places = pointers.to(&[interface.addr]);
    let itabs = places.iter().take(PLACES_MAX).filter_map(|pointer| {
        let addr = pointer.place;
        let concrete = types.at(pointers.at_offset(addr, 8)?)?;
        let hash = pointers.word(VirtAddr(addr.0.checked_add(16)?))?;
        (hash & 0xffff_ffff == u64::from(concrete.hash)).then_some(Itab { addr, concrete })
    });
    itabs.take(ITABS_MAX).collect()
}

impl Itab {
    /// The code of the method with this number, in the order of their names.
    pub fn method(&self, types: &Types<'_, '_>, number: u64) -> Option<VirtAddr> {
        let place = METHODS.checked_add(number.checked_mul(8)?)?;
        types.pointers().at_offset(self.addr, place)
    }
}
