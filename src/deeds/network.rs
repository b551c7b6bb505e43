//! Sockets: whom a process speaks to, with the name that it asked for. An address may have many names: the one that was
//! told last, by any process that we follow, is what the next connection is about.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use super::deed::{Dns, Net, NetKind, What};
use super::{dns, keep, numbers};
use crate::bytes::{Endian, Reader};
use crate::event::SocketNames;
use crate::event::act::{Act, ActKind};
use crate::event::wire;

const AF_UNIX: u16 = 1;
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const SOCK_STREAM: u32 = 1;
const SOCK_DGRAM: u32 = 2;
const EINPROGRESS: i64 = 115;
/// Where a Unix socket's name stands in its address.
const UNIX_NAME_AT: usize = 2;

/// Names of addresses.
#[derive(Default)]
pub struct Network {
    hosts: HashMap<IpAddr, String>,
}

/// Another socket's address.
enum Address {
    Ip(SocketAddr),
    Name(String),
}

impl Network {
    pub fn what(&self, act: &Act<'_>) -> Option<What> {
        let kind = match act.kind {
            ActKind::Accept => NetKind::Accept,
            ActKind::Bind => NetKind::Bind,
            ActKind::Connect => NetKind::Connect,
            ActKind::Connected => NetKind::Connected,
            ActKind::Listen => NetKind::Listen,
            ActKind::SendTo => NetKind::Send,
            _ => NetKind::Close,
        };
        let names = act.text(1).and_then(|text| wire::socket_names(text.raw()));
        let names = names.unwrap_or_default();
        let asked = act.text(0).and_then(|text| address(text.raw()));
        let [kind_of_socket, rest] = act.pair(0);
        let (protocol, family) = (rest & 0xffff, (rest >> 16) as u16);
        let is_pending = kind == NetKind::Connect && act.result == -EINPROGRESS;
        let mut net = Net {
            protocol: protocol_name(family, kind_of_socket, protocol),
            fd: act.fd,
            socket: Some(act.value[1]).filter(|inode| *inode > 0),
            pending: is_pending,
            error: numbers::failure(act).filter(|_| !is_pending),
            ..Net::default()
        };
        self.address(&mut net, kind, &names, asked);
        if kind == NetKind::Close {
            net.sent = Some(act.value[2]);
            net.received = Some(act.value[3]);
        }
        Some(What::Net(kind, Box::new(net)))
    }

    /// What was asked for is the other side, but for those who name themselves.
    fn address(&self, net: &mut Net, kind: NetKind, names: &SocketNames, asked: Option<Address>) {
        net.local = names
            .local
            .filter(is_set)
            .map(|address| address.to_string());
        let asked_text = asked.as_ref().map(Address::text);
        if kind == NetKind::Bind {
            net.local = net.local.take().or(asked_text);
            return;
        }
        let peer = match &asked {
            Some(Address::Ip(address)) => Some(*address),
            _ => names.peer.filter(is_set),
        };
        net.peer = asked_text.or_else(|| peer.map(|address| address.to_string()));
        net.host = peer.and_then(|address| self.hosts.get(&address.ip().to_canonical()).cloned());
    }

    pub fn dns(&mut self, act: &Act<'_>) -> Option<Dns> {
        let message = act.text(0)?;
        let names = act.text(1).and_then(|text| wire::socket_names(text.raw()));
        let asked = act.text(2).and_then(|text| address(text.raw()));
        let peer = names.and_then(|names| names.peer).filter(is_set);
        let server = asked.map(|address| address.text());
        let server = server.or_else(|| peer.map(|address| address.to_string()));
        let (told, addresses) = dns::read(message.raw(), act.value[0] != 0)?;
        for (address, name) in addresses {
            keep(&mut self.hosts, address, name);
        }
        Some(Dns { server, ..told })
    }
}

/// Pipes are counted like sockets, which have a type.
pub fn is_pipe(act: &Act<'_>) -> bool {
    act.value[0] == 0
}

fn is_set(address: &SocketAddr) -> bool {
    address.port() > 0
}

impl Address {
    fn text(&self) -> String {
        match self {
            Self::Ip(address) => address.to_string(),
            Self::Name(name) => name.clone(),
        }
    }
}

/// A `struct sockaddr` as a program gave it.
fn address(bytes: &[u8]) -> Option<Address> {
    let mut reader = Reader::new(bytes, Endian::NATIVE);
    let family = reader.u16()?;
    if family == AF_UNIX {
        return unix_name(bytes.get(UNIX_NAME_AT..)?).map(Address::Name);
    }
    let [high, low] = reader.bytes(2)?.try_into().ok()?;
    let port = u16::from_be_bytes([high, low]);
    let ip = match family {
        AF_INET => IpAddr::from(<[u8; 4]>::try_from(reader.bytes(4)?).ok()?),
        AF_INET6 => {
            reader.skip(4)?;
            IpAddr::from(<[u8; 16]>::try_from(reader.bytes(16)?).ok()?).to_canonical()
        }
        _ => return None,
    };
    Some(Address::Ip(SocketAddr::new(ip, port)))
}

/// A path, or `@` and a name that no file has (unix(7)).
fn unix_name(name: &[u8]) -> Option<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match name {
        [] => None,
        [0, rest @ ..] => Some(format!(
            "@{}",
            text(rest.strip_suffix(b"\0").unwrap_or(rest))
        )),
        path => path.split(|byte| *byte == 0).next().map(text),
    }
}

fn protocol_name(family: u16, kind: u32, protocol: u32) -> String {
    let name = match (family, kind, protocol) {
        (AF_UNIX, ..) => "unix",
        (AF_INET | AF_INET6, SOCK_STREAM, 6) => "tcp",
        (AF_INET | AF_INET6, SOCK_DGRAM, 17) => "udp",
        (AF_INET | AF_INET6, _, 1 | 58) => "icmp",
        (AF_INET | AF_INET6, ..) => "ip",
        (16, ..) => "netlink",
        (17, ..) => "packet",
        (38, ..) => "alg",
        (40, ..) => "vsock",
        _ => return format!("family {family}"),
    };
    name.to_owned()
}
