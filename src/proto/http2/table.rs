//! The tables of HPACK (RFC 7541 section 2.3): the static one, and the dynamic one of one direction, of which a part may
//! not be known. Indices count from the newest entry, so what was added since is exact, whatever stands behind it.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

/// Bytes of a dynamic table, as section 4.1 counts them, that are kept; browsers offer 65536 at most, others 4096.
pub const KEPT_MAX: usize = 64 << 10;

/// Where nothing else was agreed upon (RFC 9113 section 6.5.2).
pub const DEFAULT_MAX: usize = 4096;

/// What an entry takes besides its bytes (section 4.1).
const OVERHEAD: usize = 32;

/// More than the names of fields have, for entries whose name is not known.
const NAME_GUESS: usize = 256;

/// Appendix A.
#[rustfmt::skip]
const STATIC: [(&str, &str); 61] = [
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"),
    (":scheme", "http"), (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206"),
    (":status", "304"), (":status", "400"), (":status", "404"), (":status", "500"), ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""), ("accept", ""),
    ("access-control-allow-origin", ""), ("age", ""), ("allow", ""), ("authorization", ""), ("cache-control", ""),
    ("content-disposition", ""), ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
    ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""), ("date", ""), ("etag", ""),
    ("expect", ""), ("expires", ""), ("from", ""), ("host", ""), ("if-match", ""), ("if-modified-since", ""),
    ("if-none-match", ""), ("if-range", ""), ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""),
    ("location", ""), ("max-forwards", ""), ("proxy-authenticate", ""), ("proxy-authorization", ""), ("range", ""),
    ("referer", ""), ("refresh", ""), ("retry-after", ""), ("server", ""), ("set-cookie", ""),
    ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""), ("vary", ""), ("via", ""),
    ("www-authenticate", ""),
];

/// The name of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// As sent.
    Known(Arc<[u8]>),
    /// Of the static table.
    Static(&'static str),
    /// In an entry that was not seen: its index when it was used.
    Unknown(usize),
}

impl Name {
    /// Its bytes, if they are known.
    pub fn known(&self) -> Option<&[u8]> {
        match self {
            Self::Known(bytes) => Some(bytes),
            Self::Static(text) => Some(text.as_bytes()),
            Self::Unknown(_) => None,
        }
    }

    /// For people, in lower case.
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Known(bytes) => {
                let text = String::from_utf8_lossy(bytes);
                if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
                    return Cow::Owned(text.to_ascii_lowercase());
                }
                text
            }
            Self::Static(text) => Cow::Borrowed(text),
            Self::Unknown(index) => Cow::Owned(format!("?{index}")),
        }
    }
}

/// What an index stands for.
#[derive(Debug)]
pub enum Indexed<'t> {
    /// An entry: its name and value.
    Entry(Name, &'t [u8]),
    /// One that was not seen.
    Unseen(Name),
}

impl Indexed<'_> {
    /// Its name, known or not.
    pub fn name(&self) -> &Name {
        match self {
            Self::Entry(name, _) | Self::Unseen(name) => name,
        }
    }

    /// Its value.
    pub fn value(&self) -> Option<&[u8]> {
        match self {
            Self::Entry(_, value) => Some(value),
            Self::Unseen(_) => None,
        }
    }
}

struct Entry {
    name: Name,
    value: Box<[u8]>,
}

impl Entry {
    /// At least; exactly if its name is known.
    fn size(&self) -> usize {
        self.name.known().map_or(0, <[u8]>::len) + self.value.len() + OVERHEAD
    }
}

/// The dynamic table of one direction, with the static one before it.
pub struct Table {
    /// Newest first: those that are known, without holes. Some may have been evicted on the other side already, if sizes
    /// are not known exactly; nobody refers to these any more.
    entries: VecDeque<Entry>,
    /// Of `entries`.
    size: usize,
    /// What the encoder says; `None`: not known.
    max: Option<usize>,
    /// Behind `entries`, there may be others.
    older: bool,
}

impl Table {
    /// Of a connection that was there from its start, or of one that was joined late.
    pub fn new(from_start: bool) -> Self {
        Self {
            entries: VecDeque::new(),
            size: 0,
            max: from_start.then_some(DEFAULT_MAX),
            older: !from_start,
        }
    }

    /// Insertions may have been missed: what was known may stand anywhere by now, or nowhere.
    pub fn forget(&mut self) {
        self.clear();
        self.older = true;
    }

    /// Changes of the size may have been missed, too.
    pub fn forget_max(&mut self) {
        self.max = None;
    }

    /// What `index` stands for (section 2.3.3); `None`: nothing.
    pub fn get(&self, index: usize) -> Option<Indexed<'_>> {
        let place = index.checked_sub(1)?;
        if let Some((name, value)) = STATIC.get(place) {
            return Some(Indexed::Entry(Name::Static(name), value.as_bytes()));
        }
        let place = place - STATIC.len();
        if let Some(entry) = self.entries.get(place) {
            return Some(Indexed::Entry(entry.name.clone(), &entry.value));
        }
        let room = self.max.unwrap_or(KEPT_MAX) / OVERHEAD;
        (self.older && place < room).then_some(Indexed::Unseen(Name::Unknown(index)))
    }

    /// Adds an entry (section 4.4).
    pub fn insert(&mut self, name: Name, value: &[u8]) {
        let entry = Entry {
            name,
            value: value.into(),
        };
        let size = entry.size();
        let guess = entry.name.known().map_or(NAME_GUESS, |_| 0);
        match self.max {
            Some(max) if size > max => {
                self.clear();
                self.older = false;
                return;
            }
            // Whether it has gone in or has emptied the table is not known. An encoder that empties its table by an entry
            // that does not fit is legal, but rare; below the default, it is not expected.
            max if size + guess > max.unwrap_or(DEFAULT_MAX).min(KEPT_MAX) => {
                self.forget();
                return;
            }
            _ => {}
        }
        self.evict(self.room().saturating_sub(size));
        self.size += size;
        self.entries.push_front(entry);
    }

    /// The encoder changes the size (section 4.3).
    pub fn resize(&mut self, max: usize) {
        self.max = Some(max);
        self.evict(self.room());
        if max < OVERHEAD {
            self.older = false;
        }
    }

    /// Bytes of memory.
    pub fn held(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>() + self.size
    }

    fn room(&self) -> usize {
        self.max.unwrap_or(KEPT_MAX).min(KEPT_MAX)
    }

    /// Drops the oldest entries until the rest takes no more than `room`.
    fn evict(&mut self, room: usize) {
        while self.size > room
            && let Some(entry) = self.entries.pop_back()
        {
            self.size -= entry.size();
            // If only our own limit wants it, it is still there on the other side.
            self.older = self.max.is_none_or(|max| max > KEPT_MAX);
        }
        if self.entries.is_empty() {
            self.clear();
        }
    }

    fn clear(&mut self) {
        self.entries = VecDeque::new();
        self.size = 0;
    }
}
