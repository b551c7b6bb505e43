//! How long a body is: the rules of RFC 9112 section 6.3, in their order.

use super::pairing::Asked;
use crate::proto::item::Version;
use crate::proto::{Fault, Fields, RequestHead, ResponseHead};

const CODING: Fault = Fault {
    what: "the last transfer coding of a request is not chunked",
};
const CHUNKED_TWICE: Fault = Fault {
    what: "chunked is not the last transfer coding alone",
};
const CODING_TOO_OLD: Fault = Fault {
    what: "HTTP/1.0 with a transfer coding",
};
const LENGTH: Fault = Fault {
    what: "Content-Length is not a number, or several that differ",
};

/// What delimits a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framing {
    Chunked,
    /// The connection's end.
    Close,
    /// Bytes; may be 0.
    Length(u64),
}

/// Of a request: without a length it has no body (rule 7).
pub(super) fn of_request(head: &RequestHead) -> Result<Framing, Fault> {
    match coding(&head.fields, head.version)? {
        Coding::Chunked => Ok(Framing::Chunked),
        // Rule 4: "the message body length cannot be determined reliably".
        Coding::Other => Err(CODING),
        Coding::None => Ok(Framing::Length(length(&head.fields)?.unwrap_or(0))),
    }
}

/// Of a final response to what was asked. Not for those that switch to another protocol.
pub(super) fn of_response(head: &ResponseHead, asked: Asked) -> Result<Framing, Fault> {
    // Rule 1.
    let has_none = matches!(head.status, Some(100..=199 | 204 | 304)) || asked == Asked::Head;
    if has_none {
        return Ok(Framing::Length(0));
    }
    match coding(&head.fields, head.version)? {
        Coding::Chunked => Ok(Framing::Chunked),
        Coding::Other => Ok(Framing::Close),
        // Rule 8.
        Coding::None => Ok(length(&head.fields)?.map_or(Framing::Close, Framing::Length)),
    }
}

/// Whether a response says where it ends. A page that only looks like a response rarely does.
pub(super) fn is_explicit(head: &ResponseHead) -> bool {
    let fields = &head.fields;
    matches!(head.status, Some(100..=199 | 204 | 304))
        || fields.get("content-length").is_some()
        || fields.get("transfer-encoding").is_some()
        || fields.lists("connection", "close")
}

enum Coding {
    Chunked,
    None,
    Other,
}

fn coding(fields: &Fields, version: Version) -> Result<Coding, Fault> {
    let codings = items(fields, "transfer-encoding")
        // Of RFC 2616; it means what is said when nothing is said.
        .filter(|coding| !coding.eq_ignore_ascii_case("identity"));
    let mut result = Coding::None;
    for coding in codings {
        result = match (result, coding.eq_ignore_ascii_case("chunked")) {
            // Section 7.1: once only, and as the last one.
            (Coding::Chunked, _) => return Err(CHUNKED_TWICE),
            (_, true) => Coding::Chunked,
            (_, false) => Coding::Other,
        };
    }
    // Section 6.1: such a message's framing is faulty, even if there is a Content-Length.
    if version == Version::Http10 && !matches!(result, Coding::None) {
        return Err(CODING_TOO_OLD);
    }
    Ok(result)
}

/// Rule 5: equal values, in one field or several, are as good as one.
fn length(fields: &Fields) -> Result<Option<u64>, Fault> {
    let mut length = None;
    for item in items(fields, "content-length") {
        let is_number = item.bytes().all(|byte| byte.is_ascii_digit());
        let value = item
            .parse::<u64>()
            .ok()
            .filter(|_| is_number)
            .ok_or(LENGTH)?;
        if length.is_some_and(|known| known != value) {
            return Err(LENGTH);
        }
        length = Some(value);
    }
    if length.is_none() && fields.get("content-length").is_some() {
        return Err(LENGTH);
    }
    Ok(length)
}

/// The items of a field that is a list; empty ones do not count (RFC 9110 section 5.6.1.2).
fn items<'f>(fields: &'f Fields, name: &'f str) -> impl Iterator<Item = &'f str> {
    let named = fields.0.iter().filter(move |field| field.name == name);
    let values = named.filter_map(|field| field.value.as_deref());
    values
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|item| !item.is_empty())
}
