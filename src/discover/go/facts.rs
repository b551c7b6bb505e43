//! Where a Go connection's socket is: the fields on the way from `tls.Conn` to the descriptor and the
//! addresses, by the program's own types. Without types, the places that all known versions share.

use super::packages::Tls;
use crate::discover::finding::{GoFacts, GoWrapper};
use crate::image::VirtAddr;
use crate::image::go::Types;
use crate::image::go::itab::{self, Itab};
use crate::image::go::rtype::{Kind, Type};

/// More types that wrap a connection than this no program has: rclone, a large one, has 20.
const WRAPPERS_MAX: usize = 256;

/// Types called `Conn` or `UConn` that are a `net.Conn`, of all packages together.
const CONNS_MAX: usize = 64;

/// The methods of `net.Conn`.
const METHODS: u64 = 8;

/// A `Conn` of a TLS package, or its like, as `net.Conn`.
#[derive(Clone, Debug)]
pub struct TlsConn {
    /// `crypto/tls`.
    pub package: String,
    /// `Conn`, or `UConn` in utls.
    pub name: String,
    /// The methods by which it is a `net.Conn`.
    pub itab: Itab,
}

/// What the types say about connections.
#[derive(Debug, Default)]
pub struct NetTypes {
    /// TLS connections.
    pub tls: Vec<TlsConn>,
    conn: Option<Type>,
    itabs: Vec<Itab>,
    sockets: Vec<VirtAddr>,
    fd: Option<Type>,
    tcp_addr: Option<Type>,
    g: Option<Type>,
}

/// Types that are looked up by name; the star tells pointers.
const NAMES: [&str; 6] = [
    "net.Conn",
    "net.TCPAddr",
    "runtime.g",
    "*net.TCPConn",
    "*net.UnixConn",
    "net.netFD",
];

impl NetTypes {
    /// Reads what is there; whatever is missing stays empty.
    pub fn read(types: &mut Types<'_, '_>) -> Self {
        let mut net = Self::default();
        for (number, of) in types.named(&NAMES) {
            let package = match of.kind {
                Kind::Pointer => types.element(&of).and_then(|of| types.package(&of)),
                _ => types.package(&of),
            };
            match (number, of.kind, package) {
                (0, Kind::Interface, Some(b"net")) => net.conn = Some(of),
                (1, Kind::Struct, Some(b"net")) => net.tcp_addr = Some(of),
                (2, Kind::Struct, Some(b"runtime")) => net.g = Some(of),
                (3 | 4, Kind::Pointer, Some(b"net")) => net.sockets.push(of.addr),
                (5, Kind::Struct, Some(b"net")) => net.fd = Some(of),
                _ => {}
            }
        }
        if let Some(fd) = &net.fd {
            types.settle_offsets(fd);
        }
        if let Some(conn) = net.conn.filter(|conn| is_net_conn(types, conn)) {
            net.itabs = itab::all_of(types, &conn);
            net.tls = net
                .itabs
                .iter()
                .filter_map(|itab| tls_conn(types, itab))
                .take(CONNS_MAX)
                .collect();
        }
        let concrete = net.itabs.iter().map(|itab| itab.concrete);
        let sockets = concrete.filter(|of| is_socket(types, of)).map(|of| of.addr);
        net.sockets.extend(sockets);
        net.sockets.sort_unstable();
        net.sockets.dedup();
        net
    }

    /// The method table of a TLS connection type.
    pub fn itab_of(&self, package: &str, name: &str) -> Option<Itab> {
        let mut all = self.tls.iter();
        all.find(|conn| conn.package == package && conn.name == name)
            .map(|conn| conn.itab)
    }

    fn wrappers(&self, types: &Types<'_, '_>) -> Vec<GoWrapper> {
        let Some(conn) = self.conn else {
            return Vec::new();
        };
        let all = self.itabs.iter().filter_map(|itab| {
            let of = match itab.concrete.kind {
                Kind::Pointer => types.element(&itab.concrete)?,
                // A struct that is not one word is kept behind a pointer, too.
                _ => itab.concrete,
            };
            let fields = types.fields(&of);
            let inner = || fields.iter().filter(|field| field.addr == conn.addr);
            // An embedded one is what the methods go to; of several others none is sure.
            let embedded = inner().find(|field| field.name == b"Conn");
            let only = inner().next().filter(|_| inner().count() == 1);
            Some(GoWrapper {
                rtype: itab.concrete.addr,
                offset: u32::try_from(embedded.or(only)?.offset).ok()?,
            })
        });
        let mut wrappers: Vec<_> = all.collect();
        wrappers.sort_unstable();
        wrappers.dedup();
        wrappers.truncate(WRAPPERS_MAX);
        wrappers
    }
}

/// Eight methods, by the length of their slice.
fn is_net_conn(types: &Types<'_, '_>, conn: &Type) -> bool {
    let place = VirtAddr(conn.addr.0.saturating_add(64));
    types.pointers().word(place) == Some(METHODS)
}

fn tls_conn(types: &Types<'_, '_>, itab: &Itab) -> Option<TlsConn> {
    let of = types.element(&itab.concrete)?;
    let name = std::str::from_utf8(types.name(&of)?).ok()?;
    let name = name.rsplit_once('.')?.1;
    if name != "Conn" && name != "UConn" {
        return None;
    }
    Some(TlsConn {
        package: String::from_utf8_lossy(types.package(&of)?).into_owned(),
        name: name.to_owned(),
        itab: *itab,
    })
}

/// `type TCPConn struct { conn }; type conn struct { fd *netFD }`, and the others alike.
fn is_socket(types: &Types<'_, '_>, of: &Type) -> bool {
    let read = || {
        let of = types
            .element(of)
            .filter(|of| types.package(of) == Some(b"net"))?;
        let outer = types.fields(&of).into_iter().next()?;
        let conn = types.at(outer.addr)?;
        let fd = types.fields(&conn).into_iter().next()?;
        let fd = types.element(&types.at(fd.addr)?)?;
        Some(outer.offset == 0 && types.name(&fd) == Some(b"net.netFD"))
    };
    read() == Some(true)
}

/// The places for one TLS package.
pub fn facts(
    types: Option<(&Types<'_, '_>, &NetTypes)>,
    tls: &Tls,
    version: Option<&str>,
) -> GoFacts {
    let told = types.and_then(|(types, net)| by_types(types, net, tls));
    let mut facts = told.unwrap_or_else(|| GoFacts {
        sockets: types
            .map(|(_, net)| net.sockets.clone())
            .unwrap_or_default(),
        wrappers: types
            .map(|(types, net)| net.wrappers(types))
            .unwrap_or_default(),
        tcp_addr: types.and_then(|(types, net)| pointer_to_tcp_addr(types, net)),
        ..usual()
    });
    facts.goid = types
        .and_then(|(types, net)| {
            let goid = types.field_named(&net.g?, "goid")?;
            u32::try_from(goid.offset).ok()
        })
        .or_else(|| version.and_then(usual_goid));
    facts
}

/// The same in Go 1.15 to 1.27. Source: crypto/tls/conn.go, net/fd_unix.go and internal/poll/fd_unix.go,
/// read in these versions and measured by the types of programs of 1.19 and 1.21 to 1.27.
fn usual() -> GoFacts {
    GoFacts {
        conn: 0,
        is_client: 16,
        sockets: Vec::new(),
        wrappers: Vec::new(),
        sysfd: 16,
        local: 96,
        peer: 112,
        tcp_addr: None,
        ip: 0,
        port: 24,
        goid: None,
        from_types: false,
    }
}

/// `runtime.g.goid`: Go 1.23 put `syscallbp` before it, 1.25 removed `gobuf.ret`.
/// Source: runtime/runtime2.go of these versions.
fn usual_goid(version: &str) -> Option<u32> {
    let mut numbers = version
        .strip_prefix("go1.")?
        .split(|c: char| !c.is_ascii_digit());
    match numbers.next()?.parse().ok()? {
        15..=22 | 25..=27 => Some(152),
        23 | 24 => Some(160),
        _ => None,
    }
}

fn by_types(types: &Types<'_, '_>, net: &NetTypes, tls: &Tls) -> Option<GoFacts> {
    let offset = |of: &Type, name: &str| {
        let field = types.field_named(of, name)?;
        u32::try_from(field.offset).ok()
    };
    let conn = types.element(&net.itab_of(&tls.path, "Conn")?.concrete)?;
    let fd = net.fd?;
    let pfd = types.field_named(&fd, "pfd")?;
    let sysfd = types.field_named(&types.at(pfd.addr)?, "Sysfd")?;
    let tcp_addr = net.tcp_addr?;
    Some(GoFacts {
        conn: offset(&conn, "conn")?,
        is_client: offset(&conn, "isClient")?,
        sockets: net.sockets.clone(),
        wrappers: net.wrappers(types),
        sysfd: u32::try_from(pfd.offset.checked_add(sysfd.offset)?).ok()?,
        local: offset(&fd, "laddr")?,
        peer: offset(&fd, "raddr")?,
        tcp_addr: pointer_to_tcp_addr(types, net),
        ip: offset(&tcp_addr, "IP")?,
        port: offset(&tcp_addr, "Port")?,
        goid: None,
        from_types: true,
    })
}

/// What an interface that holds a `*net.TCPAddr` has as its type.
fn pointer_to_tcp_addr(types: &Types<'_, '_>, net: &NetTypes) -> Option<VirtAddr> {
    let of = net.tcp_addr?;
    types.pointer_to(&of).map(|of| of.addr)
}
