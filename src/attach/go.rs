//! Hands the kernel side what discovery knows of a Go program's types.

use libbpf_rs::{MapCore, MapFlags};

use super::libbpf::Blame;
use crate::error::Result;
use crate::event::wire::{self, GoTypeKind};
use crate::plan::GoFacts;

/// Adds the facts under `index`, and the types that they name.
///
/// # Errors
/// There are more of them than the kernel side has room for.
pub fn add(
    facts_map: &impl MapCore,
    types_map: &impl MapCore,
    index: u32,
    facts: &GoFacts,
) -> Result<()> {
    // Types first: what finds the facts relies on them.
    for (rtype, kind, offset) in types(facts) {
        let (key, value) = wire::go_type(index, rtype, kind, offset);
        types_map
            .update(&key, &value, MapFlags::ANY)
            .blame(|| "too many Go types in one run")?;
    }
    let places = [
        facts.conn,
        facts.is_client,
        facts.sysfd,
        facts.local,
        facts.peer,
        facts.ip,
        facts.port,
        facts.goid.unwrap_or(0),
    ];
    facts_map
        .update(&index.to_ne_bytes(), &wire::go_facts(places), MapFlags::ANY)
        .blame(|| "too many Go programs in one run")
}

/// Takes away the facts under `index`, and its types.
pub fn remove(facts_map: &impl MapCore, types_map: &impl MapCore, index: u32) {
    let is_its = |key: &Vec<u8>| wire::go_type_facts(key) == Some(index);
    for key in types_map.keys().filter(is_its).collect::<Vec<_>>() {
        let _ = types_map.delete(&key);
    }
    // An array, where the kernel side's table is one: its entry is written anew.
    let _ = facts_map.delete(&index.to_ne_bytes());
}

fn types(facts: &GoFacts) -> impl Iterator<Item = (u64, GoTypeKind, u32)> + '_ {
    let sockets = facts
        .sockets
        .iter()
        .map(|rtype| (rtype.0, GoTypeKind::Socket, 0));
    let wrappers = facts.wrappers.iter();
    let wrappers = wrappers.map(|wrapper| (wrapper.rtype.0, GoTypeKind::Wrapper, wrapper.offset));
    let addresses = facts
        .tcp_addr
        .iter()
        .map(|rtype| (rtype.0, GoTypeKind::TcpAddr, 0));
    // A type that is both is a socket.
    wrappers.chain(sockets).chain(addresses)
}
