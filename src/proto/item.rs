//! What decoders of connections say: heads, pieces of bodies, ends. Content is as it was sent, with the framing of the
//! protocol taken away.

use std::fmt;

use super::Party;

/// Numbers the exchanges (a request and its response) of one connection, from 1, in the order in which they were first
/// seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExchangeId(pub u64);

impl fmt::Display for ExchangeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// One half of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// From client to server.
    Request,
    /// Back.
    Response,
}

/// One field of a head (a header) or of trailers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// In lower case. Of HTTP/2 without the colon names, which stand in the heads. A name that is not known (a connection
    /// that was joined late) is `?` and its index in the table: `?62`.
    pub name: String,
    /// As sent; bytes that are no UTF-8 are replaced (U+FFFD). `None`: not known, since the connection was joined late.
    pub value: Option<String>,
}

/// All fields of a head, in the order in which they came; names may repeat.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields(pub Vec<Field>);

impl Fields {
    /// The value of the first field with this name (in lower case), if it is known.
    pub fn get(&self, name: &str) -> Option<&str> {
        let mut named = self.0.iter().filter(|field| field.name == name);
        named.find_map(|field| field.value.as_deref())
    }

    /// Whether some field of this name, which is a list, has this item (both in lower case; RFC 9110 section 5.6.1).
    pub fn lists(&self, name: &str, item: &str) -> bool {
        let named = self.0.iter().filter(|field| field.name == name);
        let mut values = named.filter_map(|field| field.value.as_deref());
        values.any(|value| {
            let mut items = value.split(',');
            items.any(|one| one.trim().eq_ignore_ascii_case(item))
        })
    }
}

/// Of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http11,
    /// HTTP/2.
    Http2,
}

impl Version {
    /// As in request lines, and in our JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
            Self::Http2 => "HTTP/2",
        }
    }
}

/// Where a request begins. What is not known (HTTP/2 that was joined late) is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHead {
    /// Of HTTP.
    pub version: Version,
    /// `POST`.
    pub method: Option<String>,
    /// As sent: mostly a path with its query, for CONNECT a host with its port.
    pub target: Option<String>,
    /// `:authority`, or the field `host`.
    pub authority: Option<String>,
    /// Its fields, pseudo-headers left out.
    pub fields: Fields,
}

/// Where a response begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseHead {
    /// Of HTTP.
    pub version: Version,
    /// 100 to 999; `None`: not known (HTTP/2 that was joined late).
    pub status: Option<u16>,
    /// Its fields, pseudo-headers left out.
    pub fields: Fields,
}

/// How a half of an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As its framing says.
    Complete,
    /// The direction ended, or the connection was closed, in the middle of it.
    CutOff,
    /// HTTP/2: reset with this error code (RFC 9113 section 7), by either end.
    Reset(u32),
    /// It could not be decoded any further.
    Broken(Fault),
}

/// Why something could not be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What it is.
    pub what: &'static str,
}

/// What a decoder says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item<'b> {
    /// A request begins.
    Request {
        /// Which exchange.
        id: ExchangeId,
        /// Who sends it: with [`Party::Local`], the observed process is the client.
        from: Party,
        /// Its head.
        head: Box<RequestHead>,
        /// When its head was complete.
        at_ns: u64,
    },
    /// A response begins; those with 1xx are followed by another one for the same exchange.
    Response {
        /// Which exchange; one whose request was not seen has a number of its own.
        id: ExchangeId,
        /// Who sends it.
        from: Party,
        /// Its head.
        head: Box<ResponseHead>,
        /// When its head was complete.
        at_ns: u64,
    },
    /// The next bytes of a body: chunks and frames are taken off, content coding (gzip) is not.
    Body {
        /// Which exchange.
        id: ExchangeId,
        /// Of which half.
        side: Side,
        /// Not empty.
        bytes: &'b [u8],
        /// When they passed.
        at_ns: u64,
    },
    /// Bytes of a half were lost; what comes next of it comes behind them.
    Gap {
        /// Which exchange.
        id: ExchangeId,
        /// Of which half.
        side: Side,
        /// `None`: nobody knows how many.
        bytes: Option<u64>,
        /// When.
        at_ns: u64,
    },
    /// Fields behind a body.
    Trailers {
        /// Which exchange.
        id: ExchangeId,
        /// Of which half.
        side: Side,
        /// What they are.
        fields: Fields,
        /// When they were complete.
        at_ns: u64,
    },
    /// A half has ended. Of one whose head was lost or could not be read (HTTP/2), this may be all that is told, or a
    /// [`Item::Gap`] may come first.
    End {
        /// Which exchange.
        id: ExchangeId,
        /// Which half.
        side: Side,
        /// How.
        outcome: Outcome,
        /// When.
        at_ns: u64,
    },
    /// From here on, the connection speaks something else, as this exchange asked for (101, or 2xx to CONNECT).
    Upgraded {
        /// Which exchange.
        id: ExchangeId,
        /// `websocket`, `h2c`, …; `connect` for a tunnel.
        protocol: String,
        /// When.
        at_ns: u64,
    },
    /// A message of a WebSocket, with its fragments joined and its compression undone.
    WebSocket {
        /// The exchange that asked for the WebSocket.
        id: ExchangeId,
        /// Who sends it.
        from: Party,
        /// What it says.
        message: WebSocketMessage<'b>,
        /// When it was complete.
        at_ns: u64,
    },
    /// Bytes that belong to no message that is understood.
    Unrecognised {
        /// Who sent them.
        from: Party,
        /// How many, if known.
        bytes: Option<u64>,
        /// Why.
        fault: Fault,
        /// When.
        at_ns: u64,
    },
}

/// A WebSocket message (RFC 6455 section 5.2 to 5.6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebSocketMessage<'b> {
    /// What it is.
    pub kind: WebSocketKind,
    /// Its content; of a text the bytes of UTF-8, of a close what follows the code.
    pub bytes: &'b [u8],
    /// Bytes of it that were lost, or not decoded: it is not whole. `None` as a number: nobody knows how many.
    pub missing: Option<Option<u64>>,
}

/// By opcode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebSocketKind {
    /// Bytes.
    Binary,
    /// Its code, if it has one.
    Close(Option<u16>),
    /// Asks for a pong.
    Ping,
    /// Answers a ping.
    Pong,
    /// UTF-8.
    Text,
}
