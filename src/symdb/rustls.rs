//! How rustls lays out the records that it hands to whoever encrypts them: what its trait methods are given, per
//! version. Format: `symbol-db/README.md`.

use serde::Deserialize;

use crate::error::{Error, Result};

const TEXT: &str = include_str!("../../symbol-db/rustls/layouts.json");

/// All known layouts, sorted by version, without overlaps.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordLayouts {
    /// One line for people.
    pub about: String,
    /// One per range of versions.
    pub layouts: Vec<RecordLayout>,
}

/// The layout in a range of versions.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecordLayout {
    /// First version that has it.
    pub since: String,
    /// First version that does not.
    pub before: String,
    /// Which of the conventions that a probe knows; none if no probe knows it.
    pub convention: Option<Convention>,
    /// Methods of `dyn Tls12AeadAlgorithm` and `dyn Tls13AeadAlgorithm` that make encrypter and decrypter, by position.
    pub makers: Makers,
    /// How `typ` is told.
    pub content_type: ContentType,
    /// What `encrypt` is given.
    pub encrypt: Message,
    /// What `decrypt` is given.
    pub decrypt: Message,
    /// Where in the result of `decrypt` the plaintext is.
    pub decrypted: Decrypted,
    /// Where this is documented.
    pub sources: Vec<String>,
}

/// Families of layouts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Convention {
    /// rustls 0.20 to 0.22.
    Opaque,
    /// rustls 0.23.
    Borrowed,
}

/// Positions of methods.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Makers {
    /// Of the one that makes an encrypter.
    pub encrypter: u8,
    /// Of the one that makes a decrypter.
    pub decrypter: u8,
    /// Fewest methods of the trait.
    pub methods: u8,
}

/// How a content type is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContentType {
    /// One byte: 0 change cipher spec, 1 alert, 2 handshake, 3 application data, 4 heartbeat, 5 the next byte.
    Index,
    /// One byte, as on the wire.
    Wire,
}

/// A struct that is passed by reference. All places in bytes from its start.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Name in the source.
    pub name: String,
    /// Methods of the trait whose method is given it.
    pub methods: usize,
    /// Bytes.
    pub size: u32,
    /// Bytes of the payload, which is at 0.
    pub payload_size: u32,
    /// What the payload is.
    pub payload: Payload,
    /// `typ`, see [`ContentType`].
    pub content_type: u32,
    /// `version`: a tag of two bytes.
    pub version: u32,
}

/// Where bytes are.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Payload {
    /// `&[u8]`
    Slice {
        /// Address.
        ptr: u32,
        /// Bytes.
        len: u32,
    },
    /// `Vec<u8>`: its fields are in an order that the compiler chooses; these are the ones seen.
    Vec {
        /// Address.
        ptr: u32,
        /// Bytes.
        len: u32,
    },
    /// `OutboundChunks`: one slice if the first word is 0, else several.
    Chunks {
        /// Address of the only slice.
        single_ptr: u32,
        /// Its bytes.
        single_len: u32,
        /// Address of an array of slices.
        chunks: u32,
        /// How many.
        count: u32,
        /// First byte that is meant, counted over all slices.
        start: u32,
        /// First byte behind.
        end: u32,
    },
}

/// The result of `decrypt`, if it is `Ok`: recognised by the payload, never by the tag, which is a niche and differs
/// between compilers.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Decrypted {
    /// Name in the source.
    pub name: String,
    /// Bytes.
    pub size: u32,
    /// Address of the plaintext.
    pub ptr: u32,
    /// Its bytes.
    pub len: u32,
    /// Its content type.
    pub content_type: u32,
}

impl RecordLayouts {
    /// Those that are compiled in.
    ///
    /// # Errors
    /// The file does not fit the schema; the tests keep that from shipping.
    pub fn load() -> Result<Self> {
        serde_json::from_str(TEXT)
            .map_err(|error| Error::invalid(format!("symbol-db/rustls/layouts.json: {error}")))
    }

    /// The layout of this version (`0.23.46`).
    pub fn of(&self, version: &str) -> Option<&RecordLayout> {
        let version = numbers(version)?;
        self.layouts.iter().find(|layout| {
            let since = numbers(&layout.since).is_some_and(|since| since <= version);
            since && numbers(&layout.before).is_some_and(|before| version < before)
        })
    }
}

/// Versions compare by their numbers; what follows a dash comes before the release, which no layout depends on.
fn numbers(version: &str) -> Option<[u32; 3]> {
    let text = version.split(['-', '+']).next()?;
    let mut parts = text.split('.').map(|part| part.parse().ok());
    Some([parts.next()??, parts.next()??, parts.next()??])
}
