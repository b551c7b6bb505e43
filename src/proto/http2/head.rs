//! The fields of one header block, sorted into what a head says of its own and the rest (RFC 9113 section 8.3). Whether
//! they make a request, a response or trailers is seen from them; what breaks the rules is kept as it came.

use super::table::Name;
use crate::proto::item::{RequestHead, ResponseHead, Version};
use crate::proto::{Field, Fields, Limits};

/// What a field takes besides its bytes (RFC 9113 section 6.5.2, SETTINGS_MAX_HEADER_LIST_SIZE).
const OVERHEAD: usize = 32;

/// What a header block holds. Pseudo-headers that are not known are missing here, and are fields without a name there.
#[derive(Default)]
pub struct Head {
    pub method: Option<String>,
    pub path: Option<String>,
    pub authority: Option<String>,
    /// RFC 8441.
    pub protocol: Option<String>,
    pub status: Option<u16>,
    pub fields: Vec<Field>,
    /// It has a pseudo-header that only requests have.
    pub asks: bool,
    /// It has `:status`.
    pub answers: bool,
    /// It has more than the limits allow; the rest is not here.
    pub beyond: bool,
    size: usize,
}

impl Head {
    /// The next field.
    pub fn push(&mut self, name: &Name, value: Option<&[u8]>, limits: &Limits) {
        let bytes = name.known().map_or(0, <[u8]>::len) + value.map_or(0, <[u8]>::len);
        self.size = self.size.saturating_add(bytes + OVERHEAD);
        self.beyond |= self.size > limits.head || self.fields.len() >= limits.fields;
        if self.beyond {
            return;
        }
        let value = value.map(|value| String::from_utf8_lossy(value).into_owned());
        match name.known() {
            Some([b':', pseudo @ ..]) => self.pseudo(pseudo, value),
            _ => self.fields.push(Field {
                name: name.text().into_owned(),
                value,
            }),
        }
    }

    fn pseudo(&mut self, name: &[u8], value: Option<String>) {
        self.asks |= name != b"status";
        match name {
            b"method" => self.method = value,
            b"path" => self.path = value,
            b"authority" => self.authority = value,
            b"protocol" => self.protocol = value,
            b"status" => {
                self.answers = true;
                self.status = value.and_then(|value| status(&value));
            }
            _ => {}
        }
    }

    /// Section 8.3.1, and 8.5 for CONNECT, which has no path.
    pub fn into_request(self) -> RequestHead {
        let fields = Fields(self.fields);
        let authority = self
            .authority
            .or_else(|| fields.get("host").map(str::to_owned));
        let connect = self.method.as_deref() == Some("CONNECT");
        RequestHead {
            version: Version::Http2,
            method: self.method,
            target: self.path.or_else(|| authority.clone().filter(|_| connect)),
            authority,
            fields,
        }
    }

    /// Section 8.3.2.
    pub fn into_response(self) -> ResponseHead {
        ResponseHead {
            version: Version::Http2,
            status: self.status,
            fields: Fields(self.fields),
        }
    }
}

/// RFC 9110 section 15: three digits.
fn status(value: &str) -> Option<u16> {
    let digits = value.len() == 3 && value.bytes().all(|byte| byte.is_ascii_digit());
    value.parse().ok().filter(|status| digits && *status >= 100)
}
