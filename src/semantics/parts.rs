//! Parts of messages from what providers send: text, data inside of URLs, addresses, arguments of tools. Data are not
//! kept, but measured and named by a hash.

use serde_json::Value;

use super::model::Part;

/// Text without sources.
pub fn text(content: &str) -> Part {
    Part::Text {
        content: content.to_owned(),
        citations: Vec::new(),
    }
}

/// Data in base64.
pub fn blob(modality: &str, mime_type: Option<&str>, base64: &str) -> Part {
    Part::Blob {
        modality: modality.to_owned(),
        mime_type: mime_type.map(str::to_owned),
        bytes: decoded_length(base64),
        blake3: blake3::hash(base64.as_bytes()).to_hex().to_string(),
    }
}

/// What a URL stands for: a `data:` URL is the data themselves, anything else is where they lie. `modality` is taken where
/// the URL does not say.
pub fn media(modality: &str, mime_type: Option<&str>, url: &str) -> Part {
    match data_url(url) {
        Some(data) => data.blob(modality, mime_type),
        None => Part::Uri {
            modality: modality.to_owned(),
            mime_type: mime_type.map(str::to_owned),
            uri: url.to_owned(),
        },
    }
}

/// A `data:` URL (RFC 2397).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataUrl<'u> {
    /// `image/png`; empty if it does not say.
    pub mime_type: &'u str,
    /// The data are base64, else percent-encoded text.
    pub is_base64: bool,
    /// As it was sent.
    pub data: &'u str,
}

impl DataUrl<'_> {
    fn blob(&self, modality: &str, mime_type: Option<&str>) -> Part {
        let said = Some(self.mime_type).filter(|mime| !mime.is_empty());
        let mime_type = said.or(mime_type);
        let modality = mime_type.and_then(modality_of).unwrap_or(modality);
        Part::Blob {
            modality: modality.to_owned(),
            mime_type: mime_type.map(str::to_owned),
            bytes: if self.is_base64 {
                decoded_length(self.data)
            } else {
                percent_decoded_length(self.data)
            },
            blake3: blake3::hash(self.data.as_bytes()).to_hex().to_string(),
        }
    }
}

/// Takes a `data:` URL apart; `None`: it is none.
pub fn data_url(url: &str) -> Option<DataUrl<'_>> {
    let scheme = url.get(..5)?;
    if !scheme.eq_ignore_ascii_case("data:") {
        return None;
    }
    let (head, data) = url.get(5..)?.split_once(',')?;
    let mut head = head.split(';');
    let mime_type = head.next().unwrap_or_default();
    let is_base64 = head.any(|word| word.trim().eq_ignore_ascii_case("base64"));
    Some(DataUrl {
        mime_type,
        is_base64,
        data,
    })
}

/// `image`, `audio`, `video` or `document`; `None`: it does not say.
pub fn modality_of(mime_type: &str) -> Option<&'static str> {
    let (kind, rest) = mime_type.split_once('/')?;
    Some(match kind {
        "image" => "image",
        "audio" => "audio",
        "video" => "video",
        "application" if rest == "octet-stream" => return None,
        "application" | "text" => "document",
        _ => return None,
    })
}

/// The arguments of a tool call: decoded if they are JSON, else the text.
pub fn arguments(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned()))
}

/// A value with the `data:` URLs in it replaced by what they are.
pub fn without_data(value: &Value) -> Value {
    match value {
        Value::String(text) => match data_url(text) {
            Some(data) if data.is_base64 => {
                serde_json::to_value(data.blob("document", None)).unwrap_or_default()
            }
            _ => value.clone(),
        },
        Value::Array(list) => list.iter().map(without_data).collect(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| (name.clone(), without_data(value)))
            .collect(),
        _ => value.clone(),
    }
}

/// Of base64 (RFC 4648 section 4): four characters for three bytes, padding left out.
fn decoded_length(base64: &str) -> u64 {
    let counts = |byte: &u8| !byte.is_ascii_whitespace() && *byte != b'=';
    let characters = base64.bytes().filter(counts).count() as u64;
    characters / 4 * 3 + (characters % 4).saturating_sub(1)
}

fn percent_decoded_length(text: &str) -> u64 {
    let encoded = memchr::memchr_iter(b'%', text.as_bytes()).count() as u64;
    (text.len() as u64).saturating_sub(encoded * 2)
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use serde_json::json;

    use super::*;

    /// A picture's size is told wrong.
    #[test]
    fn data_are_measured_without_being_decoded() {
        for length in 0..50 {
            let data = vec![7u8; length];
            for engine in [
                base64::engine::general_purpose::STANDARD,
                base64::engine::general_purpose::STANDARD_NO_PAD,
            ] {
                let text = engine.encode(&data);
                assert_eq!(decoded_length(&text), length as u64, "{text}");
            }
        }
    }

    /// A picture that was sent along is shown as an address of megabytes, or an address as data.
    #[test]
    fn data_urls_and_addresses_are_told_apart() {
        let part = media("image", None, "DATA:image/png;base64,aGVsbG8=");
        let hash = blake3::hash(b"aGVsbG8=").to_hex();
        assert_eq!(
            serde_json::to_value(part).unwrap(),
            json!({"type": "blob", "modality": "image", "mime_type": "image/png", "bytes": 5, "blake3": hash.as_str()})
        );
        let part = media("document", None, "data:,a%20b");
        assert!(matches!(part, Part::Blob { bytes: 3, .. }), "{part:?}");
        let part = media("image", None, "https://example.org/a.png");
        assert!(matches!(part, Part::Uri { .. }), "{part:?}");
        assert_eq!(data_url("data:é"), None);
        assert_eq!(data_url("dat\u{e9}"), None);
    }
}
