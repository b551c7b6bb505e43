//! Heads of HTTP/1: collected until they are complete, then parsed by httparse, once.
//!
//! Tolerated as real peers tolerate them: bare LF (RFC 9112 section 2.2), and obs-fold in responses, which becomes a space
//! (section 5.2). All else that httparse refuses is refused.

use httparse::{EMPTY_HEADER, Error, Header, ParserConfig, Request, Response, Status};
use memchr::memchr_iter;

use super::start;
use crate::proto::item::Version;
use crate::proto::{Fault, Field, Fields, Limits, RequestHead, ResponseHead};

/// Fields for which there is room without an allocation. Browsers send about 20, servers 30.
const FIELDS_SMALL: usize = 64;

/// A head.
#[derive(Debug)]
pub(super) enum Head {
    Request(Box<RequestHead>),
    Response(Box<ResponseHead>),
}

/// The bytes of a head that is not complete.
#[derive(Debug, Default)]
pub(super) struct Collected {
    bytes: Vec<u8>,
    /// In its first `searched` bytes, no head ends.
    searched: usize,
}

/// What came of more bytes.
#[derive(Debug)]
pub(super) enum Taken {
    /// A head is complete. `used`: of the new bytes; `len`: all of it.
    Head {
        parsed: Result<Head, Fault>,
        used: usize,
        len: usize,
    },
    /// All bytes were taken, more are needed.
    More,
    /// No head begins with what was collected before and these bytes; none of these was taken.
    Not,
    /// More than `Limits::head`; forgotten. Numbers as above.
    TooLong { used: usize, len: usize },
}

impl Collected {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Forgets what was collected and says how much it was.
    pub(super) fn clear(&mut self) -> usize {
        let len = self.bytes.len();
        self.bytes = Vec::new();
        self.searched = 0;
        len
    }

    pub(super) fn held(&self) -> usize {
        self.bytes.capacity()
    }

    /// Takes more bytes.
    pub(super) fn take(&mut self, bytes: &[u8], limits: &Limits) -> Taken {
        if self.bytes.is_empty() {
            if start::looks_like(bytes) == Some(false) {
                return Taken::Not;
            }
            if let Some(head) = end_of_head(bytes, 0).and_then(|end| bytes.get(..end)) {
                return complete(head, head.len(), limits);
            }
        }
        let before = self.bytes.len();
        let room = (limits.head + 1).saturating_sub(before);
        let more = bytes.get(..room).unwrap_or(bytes);
        self.bytes.extend_from_slice(more);
        // The first bytes alone decide: they are looked at as long as they come.
        if before < start::SEEN_MAX && start::looks_like(&self.bytes) == Some(false) {
            self.bytes.truncate(before);
            return Taken::Not;
        }
        self.find_end(before, more.len(), limits)
    }

    fn find_end(&mut self, before: usize, more: usize, limits: &Limits) -> Taken {
        let end = end_of_head(&self.bytes, self.searched);
        let Some(head) = end.and_then(|end| self.bytes.get(..end)) else {
            if self.bytes.len() > limits.head {
                let len = self.clear();
                return Taken::TooLong { used: more, len };
            }
            // The last two bytes may be part of an empty line.
            self.searched = self.bytes.len().saturating_sub(2);
            return Taken::More;
        };
        let taken = complete(head, head.len().saturating_sub(before), limits);
        self.clear();
        taken
    }
}

fn complete(head: &[u8], used: usize, limits: &Limits) -> Taken {
    if head.len() > limits.head {
        let len = head.len();
        return Taken::TooLong { used, len };
    }
    Taken::Head {
        parsed: parse(head, limits.fields),
        used,
        len: head.len(),
    }
}

/// Behind the first empty line, searched from `from`, where no empty line has begun before.
pub(super) fn end_of_head(bytes: &[u8], from: usize) -> Option<usize> {
    let searched = bytes.get(from..)?;
    memchr_iter(b'\n', searched).find_map(|at| {
        let behind = from + at + 1;
        match (bytes.get(behind), bytes.get(behind + 1)) {
            (Some(b'\n'), _) => Some(behind + 1),
            (Some(b'\r'), Some(b'\n')) => Some(behind + 2),
            _ => None,
        }
    })
}

fn parse(head: &[u8], fields_max: usize) -> Result<Head, Fault> {
    let mut small = [EMPTY_HEADER; FIELDS_SMALL];
    let room = small.get_mut(..fields_max.min(FIELDS_SMALL));
    match parse_into(head, room.unwrap_or_default()) {
        Err(Error::TooManyHeaders) if fields_max > FIELDS_SMALL => {
            let mut large = vec![EMPTY_HEADER; fields_max];
            parse_into(head, &mut large).map_err(fault)
        }
        result => result.map_err(fault),
    }
}

fn parse_into<'h>(head: &'h [u8], room: &mut [Header<'h>]) -> Result<Head, Error> {
    if head.starts_with(b"HTTP/") {
        parse_response(head, room)
    } else {
        parse_request(head, room)
    }
}

fn parse_request<'h>(head: &'h [u8], room: &mut [Header<'h>]) -> Result<Head, Error> {
    let mut request = Request::new(room);
    let Status::Complete(_) = request.parse(head)? else {
        return Err(Error::NewLine);
    };
    let fields = fields(request.headers);
    Ok(Head::Request(Box::new(RequestHead {
        version: version(request.version),
        method: request.method.map(str::to_owned),
        target: request.path.map(str::to_owned),
        authority: fields.get("host").map(str::to_owned),
        fields,
    })))
}

fn parse_response<'h>(head: &'h [u8], room: &mut [Header<'h>]) -> Result<Head, Error> {
    let mut response = Response::new(room);
    let mut config = ParserConfig::default();
    config
        .allow_obsolete_multiline_headers_in_responses(true)
        .allow_spaces_after_header_name_in_responses(true);
    let Status::Complete(_) = config.parse_response(&mut response, head)? else {
        return Err(Error::NewLine);
    };
    Ok(Head::Response(Box::new(ResponseHead {
        version: version(response.version),
        status: response.code,
        fields: fields(response.headers),
    })))
}

fn version(minor: Option<u8>) -> Version {
    match minor {
        Some(0) => Version::Http10,
        _ => Version::Http11,
    }
}

/// The fields behind a chunked body, up to and with their empty line.
pub(super) fn parse_trailers(bytes: &[u8], fields_max: usize) -> Result<Fields, Fault> {
    let mut room = vec![EMPTY_HEADER; fields_max];
    match httparse::parse_headers(bytes, &mut room) {
        Ok(Status::Complete((_, headers))) => Ok(fields(headers)),
        Ok(Status::Partial) => Err(fault(Error::NewLine)),
        Err(error) => Err(fault(error)),
    }
}

fn fields(headers: &[Header<'_>]) -> Fields {
    let headers = headers.iter().map(|header| Field {
        name: header.name.to_ascii_lowercase(),
        value: Some(value(header.value)),
    });
    Fields(headers.collect())
}

fn value(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    if !text.contains('\n') {
        return text.into_owned();
    }
    let lines = text.lines().map(str::trim).collect::<Vec<_>>();
    lines.join(" ")
}

fn fault(error: Error) -> Fault {
    let what = match error {
        Error::HeaderName => "a field's name has a byte that it may not have",
        Error::HeaderValue => "a field's value has a byte that it may not have",
        Error::NewLine => "a head's line ends in a way that it may not",
        Error::Status => "a status is not a number of three digits",
        Error::Token => "a head's first line has a byte that it may not have",
        Error::TooManyHeaders => "a head has too many fields",
        Error::Version => "a head's version is not that of HTTP/1",
    };
    Fault { what }
}
