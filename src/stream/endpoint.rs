//! Where a connection goes: addresses and descriptor as its socket tells them, the host's name from its ClientHello or
//! from the first request, and how well all that is known. A wrong answer is worse than none: what is contested is
//! withdrawn, and names are taken over from nowhere else.
//!
//! Names in HTTP/2 headers are compressed: who decodes them tells them here.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;

use super::hello;
use crate::event::{Data, Direction, Hello, ProcessId, Role, SocketNames, Trust};

/// Names of sockets that are remembered while their process lives; the oldest go first.
const NAMES_MAX: usize = 16384;
/// Bytes of a request's head that are looked at: servers take no more (nginx 8 KiB, Apache 8 KiB).
const HEAD_MAX: usize = 8192;
/// Fields of a request's head.
const FIELDS_MAX: usize = 100;

/// How well an endpoint is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Confidence {
    /// It is not.
    #[default]
    None,
    /// Nothing but neighbourhood says so.
    Guess,
    /// Sums of many records agree with what the socket moved.
    Likely,
    /// The program's own memory, or the descriptor that it handed over, says so.
    Told,
    /// The socket moved bytes that only this connection has.
    Exact,
}

impl Confidence {
    /// As in the JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Guess => "guess",
            Self::Likely => "likely",
            Self::Told => "told",
            Self::Exact => "exact",
        }
    }
}

impl From<Trust> for Confidence {
    fn from(trust: Trust) -> Self {
        match trust {
            Trust::Apart => Self::None,
            Trust::Guessed => Self::Guess,
            Trust::Likely => Self::Likely,
            Trust::Told => Self::Told,
            Trust::Exact => Self::Exact,
        }
    }
}

/// Where a host's name comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostFrom {
    /// `:authority` of the first request.
    Authority,
    /// The field `Host` of the first request.
    Host,
    /// The server name in the ClientHello.
    Sni,
}

impl HostFrom {
    /// As in the JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Authority => "authority",
            Self::Host => "host",
            Self::Sni => "sni",
        }
    }
}

/// Where a connection goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoint {
    /// How well the socket is known.
    pub confidence: Confidence,
    /// The program's own address.
    pub local: Option<SocketAddr>,
    /// The other side's.
    pub peer: Option<SocketAddr>,
    /// Which side the program is on.
    pub role: Option<Role>,
    /// What is spoken inside: `http/1.1` or `h2`, if it is one of these.
    pub protocol: Option<&'static str>,
    /// The server's name, and who says so.
    pub host: Option<(String, HostFrom)>,
}

impl Endpoint {
    /// Whether the socket is known.
    pub fn is_attributed(&self) -> bool {
        self.confidence > Confidence::None && self.peer.is_some()
    }
}

/// The names that ClientHellos told, by socket.
#[derive(Debug, Default)]
pub(super) struct Names {
    by_socket: BTreeMap<(ProcessId, u64), String>,
    /// As they came; some may be gone.
    order: VecDeque<(ProcessId, u64)>,
}

impl Names {
    /// Takes a ClientHello of a process's socket. Without a name, an older one under its number is forgotten.
    pub(super) fn hear(&mut self, process: ProcessId, hello: &Hello<'_>) {
        let key = (process, hello.inode);
        let Some(name) = hello::server_name(&hello.bytes) else {
            self.by_socket.remove(&key);
            return;
        };
        if self.by_socket.insert(key, name).is_none() {
            self.order.push_back(key);
        }
        while self.by_socket.len() > NAMES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_socket.remove(&oldest);
        }
        if self.order.len() > 2 * self.by_socket.len() + 64 {
            self.order.retain(|key| self.by_socket.contains_key(key));
        }
    }

    /// A process has ended.
    pub(super) fn forget(&mut self, process: ProcessId) {
        let of = self.by_socket.range((process, 0)..=(process, u64::MAX));
        let keys: Vec<_> = of.map(|(key, _)| *key).collect();
        for key in keys {
            self.by_socket.remove(&key);
        }
    }

    fn of(&self, process: ProcessId, inode: Option<u64>) -> Option<&str> {
        let name = self.by_socket.get(&(process, inode?))?;
        Some(name)
    }
}

/// What one connection has shown so far.
#[derive(Debug, Default)]
pub(super) struct Known {
    endpoint: Endpoint,
    /// It was told like this.
    told: Option<Endpoint>,
    /// What the first bytes of both directions were asked.
    asked: [bool; 2],
    /// A request's head that has not come to its end, and its direction.
    head: Option<(Direction, Vec<u8>)>,
}

impl Known {
    /// What is known of the socket now.
    pub(super) fn learn(&mut self, process: ProcessId, socket: &SocketNames, names: &Names) {
        let endpoint = &mut self.endpoint;
        endpoint.confidence = match socket.peer {
            Some(_) => socket.trust.into(),
            None => Confidence::None,
        };
        (endpoint.local, endpoint.peer) = (socket.local, socket.peer);
        if let Some(role) = socket.role {
            endpoint.role = Some(role);
        }
        let by_hello = matches!(endpoint.host, Some((_, HostFrom::Sni)));
        match names.of(process, socket.inode) {
            Some(name) => endpoint.host = Some((name.to_owned(), HostFrom::Sni)),
            // It belonged to another socket.
            None if by_hello => endpoint.host = None,
            None => {}
        }
    }

    /// Looks at plaintext for the protocol and the host's name.
    pub(super) fn look_at(&mut self, data: &Data<'_>) {
        let [wrote, read] = &mut self.asked;
        let asked = match data.direction {
            Direction::Write => wrote,
            Direction::Read => read,
        };
        if !*asked && !data.payload.is_empty() {
            *asked = true;
            if let Some(protocol) = protocol(&data.payload) {
                self.endpoint.protocol = Some(protocol);
                let wants_host = protocol == HTTP1 && self.endpoint.host.is_none();
                if wants_host && is_request(&data.payload) {
                    self.head = Some((data.direction, Vec::new()));
                }
            }
        }
        self.read_head(data);
    }

    fn read_head(&mut self, data: &Data<'_>) {
        let Some((direction, head)) = &mut self.head else {
            return;
        };
        if *direction != data.direction {
            return;
        }
        let room = HEAD_MAX.saturating_sub(head.len()).min(data.payload.len());
        head.extend(data.payload.get(..room).unwrap_or_default());
        let host = match find_host(head) {
            Host::Unfinished if head.len() < HEAD_MAX && data.missing.is_none() => return,
            Host::Is(name) => Some(name),
            Host::None | Host::Unfinished => None,
        };
        self.head = None;
        if self.endpoint.host.is_none() {
            self.endpoint.host = host.map(|name| (name, HostFrom::Host));
        }
    }

    /// The connection speaks HTTP/2, and its first request goes to this server.
    pub(super) fn hear_authority(&mut self, name: &str) {
        self.endpoint.protocol.get_or_insert(HTTP2);
        if self.endpoint.host.is_none() {
            let name = hello::host_name(name.as_bytes());
            self.endpoint.host = name.map(|name| (name, HostFrom::Authority));
        }
    }

    /// What is to be told, if it is something new.
    pub(super) fn news(&mut self) -> Option<Endpoint> {
        let silent = Endpoint {
            role: self.endpoint.role,
            protocol: self.endpoint.protocol,
            ..Endpoint::default()
        };
        let is_new = match &self.told {
            Some(told) => *told != self.endpoint,
            None => self.endpoint != silent,
        };
        is_new.then(|| {
            self.told = Some(self.endpoint.clone());
            self.endpoint.clone()
        })
    }

    /// The socket is known.
    pub(super) fn is_attributed(&self) -> bool {
        self.endpoint.is_attributed()
    }
}

const HTTP1: &str = "http/1.1";
const HTTP2: &str = "h2";

/// What the first bytes of a direction are.
fn protocol(bytes: &[u8]) -> Option<&'static str> {
    if bytes.starts_with(b"PRI * HTTP/2.0\r\n") {
        return Some(HTTP2);
    }
    (bytes.starts_with(b"HTTP/1.") || is_request(bytes)).then_some(HTTP1)
}

/// A method and a target (RFC 9112, section 3).
fn is_request(bytes: &[u8]) -> bool {
    let methods: [&[u8]; 8] = [
        b"GET ",
        b"POST ",
        b"PUT ",
        b"HEAD ",
        b"DELETE ",
        b"PATCH ",
        b"OPTIONS ",
        b"CONNECT ",
    ];
    methods.iter().any(|method| bytes.starts_with(method))
}

enum Host {
    Is(String),
    None,
    Unfinished,
}

fn find_host(head: &[u8]) -> Host {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(head) {
        Ok(httparse::Status::Partial) => return Host::Unfinished,
        Ok(httparse::Status::Complete(_)) => {}
        Err(_) => return Host::None,
    }
    let mut fields = request.headers.iter();
    let field = fields.find(|field| field.name.eq_ignore_ascii_case("host"));
    let name = field.and_then(|field| hello::host_name(field.value.trim_ascii()));
    name.map_or(Host::None, Host::Is)
}

#[cfg(test)]
mod tests;
