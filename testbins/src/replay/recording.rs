//! Recorded exchanges with real providers: JSON lines, perhaps in gzip, an exchange in each. `id`, `from`, `method`, `url`,
//! `request_headers`, `request_body`, `status`, `response_headers`, `response_body`; a body that is not UTF-8 stands as
//! `…_b64`. A body that is gzip is given without it, whatever its headers say: recorders disagree on that.

use std::io::{self, Read};
use std::path::Path;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use flate2::read::MultiGzDecoder;
use serde_json::Value;

/// A question and its answer as they were recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exchange {
    /// Its name.
    pub id: String,
    /// Where it was recorded.
    pub from: String,
    /// In capitals.
    pub method: String,
    /// Host, and port if the address has one.
    pub authority: String,
    /// In lower case, without a port.
    pub host: String,
    /// As in the address; may be empty.
    pub path: String,
    /// Without its question mark; may be empty.
    pub query: String,
    /// Names in lower case.
    pub request_headers: Vec<(String, String)>,
    /// Its body.
    pub request: Vec<u8>,
    /// Of the answer.
    pub status: u16,
    /// Names in lower case.
    pub response_headers: Vec<(String, String)>,
    /// Its body.
    pub response: Vec<u8>,
}

/// All exchanges of a file.
pub fn load(path: &Path) -> io::Result<Vec<Exchange>> {
    let text = unzipped(std::fs::read(path)?)?;
    let lines = text.split(|byte| *byte == b'\n');
    lines
        .filter(|line| !line.is_empty())
        .map(|line| Exchange::parse(&serde_json::from_slice(line)?))
        .collect()
}

impl Exchange {
    fn parse(value: &Value) -> io::Result<Self> {
        let text = |name: &str| value[name].as_str().unwrap_or_default().to_owned();
        let url = text("url");
        let url = url.split('#').next().unwrap_or_default();
        let (_, behind) = url.split_once("://").unwrap_or(("", url));
        let (authority, path) = behind.split_at(behind.find('/').unwrap_or(behind.len()));
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let host = authority
            .rsplit_once(':')
            .map_or(authority, |(host, _)| host);
        let status = value["status"].as_u64().and_then(|it| it.try_into().ok());
        Ok(Self {
            id: text("id"),
            from: text("from"),
            method: text("method").to_uppercase(),
            authority: authority.to_owned(),
            host: host.to_lowercase(),
            path: path.to_owned(),
            query: query.to_owned(),
            request_headers: headers(&value["request_headers"]),
            request: body(value, "request_body")?,
            status: status.ok_or_else(|| io::Error::other("an exchange has no status"))?,
            response_headers: headers(&value["response_headers"]),
            response: body(value, "response_body")?,
        })
    }

    /// Path and query, as a request line has them.
    pub fn target(&self) -> String {
        let path = if self.path.is_empty() {
            "/"
        } else {
            &self.path
        };
        match self.query.as_str() {
            "" => path.to_owned(),
            query => format!("{path}?{query}"),
        }
    }

    /// The first field of the answer with this name.
    pub fn response_header(&self, name: &str) -> Option<&str> {
        let mut headers = self.response_headers.iter();
        headers.find_map(|(header, value)| (header == name).then_some(value.as_str()))
    }
}

fn headers(headers: &Value) -> Vec<(String, String)> {
    let headers = headers.as_object().into_iter().flatten();
    let text = |value: &Value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    headers
        .map(|(name, value)| (name.to_lowercase(), text(value)))
        .collect()
}

fn body(exchange: &Value, name: &str) -> io::Result<Vec<u8>> {
    let coded = &exchange[format!("{name}_b64")];
    unzipped(match coded.as_str() {
        Some(text) => BASE64_STANDARD.decode(text).map_err(io::Error::other)?,
        None => exchange[name].as_str().unwrap_or_default().into(),
    })
}

fn unzipped(bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    if !bytes.starts_with(&[0x1f, 0x8b]) {
        return Ok(bytes);
    }
    let mut plain = Vec::new();
    MultiGzDecoder::new(bytes.as_slice()).read_to_end(&mut plain)?;
    Ok(plain)
}
