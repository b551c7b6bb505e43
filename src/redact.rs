//! Secrets out, before any sink sees them: values of credential headers and fields, and texts with the
//! shape of well-known keys. On by default.
//!
//! A secret keeps its length, so offsets stay true, and shows a tag that is the same for the same
//! secret in one run and says nothing about it otherwise. A secret that crosses the border of two
//! chunks is masked on both sides, but for the few bytes that came before it could be recognised.
//!
//! What it cannot do: HTTP/2 headers are compressed (HPACK), compressed bodies are too; neither can be
//! masked in place. A recording of such traffic holds its secrets.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, VecDeque};

use aho_corasick::AhoCorasick;
use aho_corasick::packed::Searcher;
use memchr::memmem::Finder;
use regex::bytes::{Captures, Regex, RegexBuilder};

use crate::error::{Error, Result};
use crate::event::Direction;
use crate::stream::Message;

/// Bytes of the chunk before that are looked at again: longer than any name and key prefix below.
const CONTEXT: usize = 128;

/// Directions of connections that are remembered at a time.
const TAILS_MAX: usize = 1 << 17;

/// Names of fields in JSON, in lower case.
const JSON_NAMES: &[&str] = &[
    "api_key",
    "apikey",
    "access_token",
    "accesstoken",
    "refresh_token",
    "refreshtoken",
    "id_token",
    "idtoken",
    "client_secret",
    "clientsecret",
    "secret_key",
    "secretkey",
    "password",
    "passwd",
];

/// What is masked: each pattern's group `secret`. Sources: the providers' API references for the
/// header names; GitHub, AWS and Slack documentation for the shapes of their tokens.
///
/// In the middle is what every match contains one of, in lower case: all of these are looked for in one go,
/// a hundred times faster than the patterns could be, and mostly there is none.
const PATTERNS: &[(&str, &[&str], Ending)] = &[
    (
        r"(?i)(?:^|[^a-z0-9_-])(?:proxy-)?authorization[ \t]*:[ \t]*digest[ \t]+(?<secret>[^\s][^\r\n]*)",
        &["authorization"],
        Ending::Line,
    ),
    (
        r#"(?i)(?:^|[^a-z0-9_-])(?:proxy-)?authorization\\*["']?[ \t]*[:=][ \t]*\\*["']?(?:(?:bearer|basic|token|apikey)[ \t]+)?(?<secret>[^\s"'\\][^\r\n"'\\]*)"#,
        &["authorization"],
        Ending::Quote,
    ),
    (
        r"(?i)(?:^|\n)(?:set-)?cookie[ \t]*:[ \t]*(?<secret>[^\s][^\r\n]*)",
        &["cookie"],
        Ending::Line,
    ),
    (
        r#"(?i)(?:^|[^a-z0-9_-])(?:x-api-key|api-key|x-goog-api-key|x-auth-token|x-amz-security-token|openai-api-key|anthropic-api-key|x-csrf-token|cookie|set-cookie)\\*["']?[ \t]*:[ \t]*\\*["']?(?<secret>[^\s"'\\][^\r\n"'\\]*)"#,
        &[
            "api-key",
            "x-auth-token",
            "x-amz-security-token",
            "x-csrf-token",
            "cookie",
        ],
        Ending::Quote,
    ),
    (
        r#"(?i)"(?:api_?key|access_?token|refresh_?token|id_?token|client_?secret|secret_?key|password|passwd)"\s*:\s*"(?<secret>(?:[^"\\]|\\.)+)"#,
        JSON_NAMES,
        Ending::Json,
    ),
    // JSON in a string of JSON: what a model is told, and what it wants of a tool.
    (
        r#"(?i)\\"(?:api_?key|access_?token|refresh_?token|id_?token|client_?secret|secret_?key|password|passwd)\\+"\s*:\s*\\+"(?<secret>[^"\\]+)"#,
        JSON_NAMES,
        Ending::Quote,
    ),
    (
        r"(?i)[?&](?:key|api_?key|access_token|token|client_secret|sig|signature|x-amz-signature)=(?<secret>[^&\s]+)",
        &["key=", "token=", "secret=", "sig=", "signature="],
        Ending::Word,
    ),
    (
        r"\b(?<secret>sk-[A-Za-z0-9_-]{16,}|AIza[A-Za-z0-9_-]{30,}|gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,}|(?:AKIA|ASIA)[A-Z0-9]{16}|xox[abeprs]-[A-Za-z0-9-]{10,}|hf_[A-Za-z0-9]{30,}|eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*)",
        &[
            "sk-",
            "aiza",
            "ghp_",
            "gho_",
            "ghu_",
            "ghs_",
            "ghr_",
            "github_pat_",
            "akia",
            "asia",
            "xoxa",
            "xoxb",
            "xoxe",
            "xoxp",
            "xoxr",
            "xoxs",
            "hf_",
            "eyj",
        ],
        Ending::Word,
    ),
];

/// Where a secret that runs on into the next chunk ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// With the string.
    Json,
    /// With the line.
    Line,
    /// With the line, or with any quote or escape: where what surrounds the secret is not known.
    Quote,
    /// With the word.
    Word,
}

impl Ending {
    fn ends(self, byte: u8) -> bool {
        match self {
            Self::Json => byte == b'"',
            Self::Line => matches!(byte, b'\r' | b'\n'),
            Self::Quote => b"\r\n\"'\\".contains(&byte),
            Self::Word => !(byte.is_ascii_alphanumeric() || b"-_.~%+/=".contains(&byte)),
        }
    }
}

/// One line of [`PATTERNS`], ready for use.
struct Pattern {
    regex: Regex,
    ending: Ending,
}

/// Tells which patterns may match, one bit each, by what they contain.
struct Hints {
    words: Words,
    /// By word.
    patterns: Vec<u32>,
    /// Words of less than [`WORD_MIN`] bytes, one by one.
    short: Vec<(Finder<'static>, u32)>,
}

/// Words of this length on are looked for together: with shorter ones among them, the vector instructions
/// would stop at every other byte.
const WORD_MIN: usize = 4;

enum Words {
    /// With vector instructions, where this CPU has them.
    Packed(Searcher),
    Plain(AhoCorasick),
}

impl Hints {
    fn new() -> Result<Self> {
        // Each word once.
        let mut patterns_of: BTreeMap<&'static str, u32> = BTreeMap::new();
        for (number, (_, hints, _)) in PATTERNS.iter().enumerate() {
            for hint in *hints {
                *patterns_of.entry(hint).or_default() |= 1 << number;
            }
        }
        let (long, short): (Vec<_>, Vec<_>) = patterns_of
            .into_iter()
            .partition(|(word, _)| word.len() >= WORD_MIN);
        let words = long.iter().map(|(word, _)| *word);
        let packed = Searcher::new(words.clone());
        let broken = |error| Error::invalid(format!("a redaction word is broken: {error}"));
        let words = match packed {
            Some(searcher) => Words::Packed(searcher),
            None => Words::Plain(AhoCorasick::new(words).map_err(broken)?),
        };
        let short = short.into_iter();
        Ok(Self {
            words,
            patterns: long.iter().map(|(_, patterns)| *patterns).collect(),
            short: short.map(|(word, of)| (Finder::new(word), of)).collect(),
        })
    }

    /// `folded` is the text in lower case.
    fn find(&self, folded: &[u8]) -> u32 {
        let mut found = 0;
        for (word, patterns) in &self.short {
            let mut places = word.find_iter(folded);
            if places.any(|at| may_begin(folded, at, *patterns)) {
                found |= patterns;
            }
        }
        let mut at = 0;
        // A word may begin in the middle of another: the search goes on right behind its start.
        while let Some(text) = folded.get(at..) {
            let next = match &self.words {
                Words::Packed(searcher) => searcher.find(text),
                Words::Plain(searcher) => searcher.find(text),
            };
            let Some(next) = next else {
                break;
            };
            let word = next.pattern().as_usize();
            let patterns = self.patterns.get(word).copied().unwrap_or(u32::MAX);
            if may_begin(folded, at + next.start(), patterns) {
                found |= patterns;
            }
            at += next.start() + 1;
        }
        found
    }
}

/// Keys begin where a word begins (`\b`): what looks like one inside of random letters is passed over cheaply.
fn may_begin(folded: &[u8], at: usize, patterns: u32) -> bool {
    let is_key = patterns == 1 << (PATTERNS.len() - 1);
    let before = at.checked_sub(1).and_then(|before| folded.get(before));
    !is_key || !before.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

/// What is remembered of a direction's last chunk.
#[derive(Default)]
struct Tail {
    end: u64,
    context: Vec<u8>,
    open: Option<Ending>,
}

/// Makes equal secrets have equal tags, which tell nothing else; by chance, or by a recording's header.
pub type TagKey = [u8; 32];

/// Masks secrets in all messages of a run.
pub struct Redactor {
    patterns: Vec<Pattern>,
    hints: Hints,
    /// By number of the connection and direction.
    tails: HashMap<(u64, Direction), Tail>,
    /// In the order in which they came: the oldest go first. Some are gone already.
    order: VecDeque<(u64, Direction)>,
    /// Kept between calls for their memory only.
    folded: Vec<u8>,
    text: Vec<u8>,
    tag_key: TagKey,
    masked: u64,
}

impl Redactor {
    /// A redactor with this key for its tags.
    ///
    /// # Errors
    /// A pattern is broken; the tests keep that from shipping.
    pub fn new(tag_key: TagKey) -> Result<Self> {
        let build = |pattern| RegexBuilder::new(pattern).unicode(false).build();
        let patterns = PATTERNS
            .iter()
            .map(|(pattern, _, ending)| {
                let regex = build(pattern)?;
                let ending = *ending;
                Ok(Pattern { regex, ending })
            })
            .collect::<std::result::Result<_, regex::Error>>()
            .map_err(|error| Error::invalid(format!("a redaction pattern is broken: {error}")))?;
        Ok(Self {
            patterns,
            hints: Hints::new()?,
            tails: HashMap::new(),
            order: VecDeque::new(),
            folded: Vec::new(),
            text: Vec::new(),
            tag_key,
            masked: 0,
        })
    }

    /// Secrets masked so far.
    pub fn masked(&self) -> u64 {
        self.masked
    }

    /// Masks the secrets of one message in place.
    pub fn apply(&mut self, message: &mut Message<'_>) {
        match message {
            Message::Data { origin, payload } => {
                let key = (origin.conn.0, payload.direction);
                self.mask(key, payload.offset, &mut payload.bytes);
            }
            Message::Close { origin, .. } => self.forget(origin.conn.0),
            Message::Endpoint { .. }
            | Message::Gap { .. }
            | Message::Missed(_)
            | Message::Open { .. }
            | Message::Process(_)
            | Message::Shutdown(_) => {}
        }
    }

    /// Nothing more comes of this connection.
    pub fn forget(&mut self, conn: u64) {
        for direction in Direction::ALL {
            self.tails.remove(&(conn, direction));
        }
    }

    /// Masks the secrets of one chunk of a connection's direction, which is at `offset` in its stream. Bytes
    /// that are lent stay as they are: with a secret in them, they are replaced by bytes of their own.
    pub fn mask(&mut self, key: (u64, Direction), offset: u64, bytes: &mut Cow<'_, [u8]>) {
        let known = self.tails.remove(&key);
        if known.is_none() {
            self.make_room(key);
        }
        let mut tail = known.unwrap_or_default();
        if tail.end != offset {
            // Behind a gap, what was open may go on: too much masked is better than half a secret told.
            tail.context.clear();
        }
        tail.end = offset.saturating_add(bytes.len() as u64);
        let mut folded = std::mem::take(&mut self.folded);
        folded.clear();
        folded.extend(tail.context.iter().map(u8::to_ascii_lowercase));
        folded.extend(bytes.iter().map(u8::to_ascii_lowercase));
        let found = self.hints.find(&folded);
        self.folded = folded;
        if found == 0 && tail.open.is_none() {
            tail.remember(bytes);
        } else {
            self.mask_found(found, &mut tail, bytes.to_mut());
        }
        self.tails.insert(key, tail);
    }

    /// For one more connection. The ends of some are never told.
    fn make_room(&mut self, key: (u64, Direction)) {
        self.order.push_back(key);
        while self.order.len() > TAILS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.tails.remove(&oldest);
        }
    }

    /// With these patterns; the others match nowhere.
    fn mask_found(&mut self, patterns: u32, tail: &mut Tail, bytes: &mut [u8]) {
        let mut open = None;
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        text.extend_from_slice(&tail.context);
        let seen = text.len();
        text.extend_from_slice(bytes);
        if let Some(ending) = tail.open {
            let rest = bytes.iter().position(|byte| ending.ends(*byte));
            let secret = bytes.get_mut(..rest.unwrap_or(usize::MAX).min(text.len() - seen));
            secret.unwrap_or_default().fill(b'*');
            if rest.is_none() {
                open = Some(ending);
            }
        }
        for at in 0..self.patterns.len() {
            if patterns & 1 << at != 0 {
                open = open.or(self.mask_pattern(at, &mut text, seen, bytes));
            }
        }
        let keep = text.len().saturating_sub(CONTEXT);
        tail.context.clear();
        tail.context
            .extend_from_slice(text.get(keep..).unwrap_or_default());
        tail.open = open;
        self.text = text;
    }

    fn tag(&self, secret: &[u8]) -> u32 {
        let hash = blake3::keyed_hash(&self.tag_key, secret);
        let [a, b, c, d, ..] = *hash.as_bytes();
        u32::from_le_bytes([a, b, c, d])
    }

    /// Masks what one pattern finds in `text`, whose bytes from `seen` on are `bytes`. Tells if the last
    /// find reaches the end, so that it may go on.
    fn mask_pattern(
        &mut self,
        at: usize,
        text: &mut [u8],
        seen: usize,
        bytes: &mut [u8],
    ) -> Option<Ending> {
        let pattern = self.patterns.get(at)?;
        let mut open = None;
        let mut masked = 0;
        let found: Vec<_> = pattern
            .regex
            .captures_iter(text)
            .filter_map(|c| secret_range(&c))
            .collect();
        for secret in found {
            let Some(inside) = secret.end.checked_sub(seen).filter(|end| *end > 0) else {
                continue; // masked with the chunk before
            };
            let start = secret.start.saturating_sub(seen);
            let whole = secret.start >= seen && secret.end < text.len();
            let Some(target) = bytes.get_mut(start..inside) else {
                continue;
            };
            let tag = whole.then(|| self.tag(text.get(secret.clone()).unwrap_or_default()));
            overwrite(target, tag);
            masked += 1;
            // Another pattern must not find it a second time.
            if let Some(known) = text.get_mut(secret.start.max(seen)..secret.end) {
                known.fill(b'*');
            }
            open = (secret.end == text.len()).then_some(pattern.ending);
        }
        self.masked += masked;
        open
    }
}

impl Tail {
    /// Keeps the end of what was seen.
    fn remember(&mut self, bytes: &[u8]) {
        let keep = CONTEXT.saturating_sub(bytes.len());
        let old = self.context.len().saturating_sub(keep);
        self.context.drain(..old);
        let new = bytes.len().saturating_sub(CONTEXT);
        self.context
            .extend_from_slice(bytes.get(new..).unwrap_or_default());
    }
}

fn secret_range(found: &Captures<'_>) -> Option<std::ops::Range<usize>> {
    found.name("secret").map(|secret| secret.range())
}

/// `<redacted:1a2b3c4d>` and stars where that fits, else stars.
fn overwrite(target: &mut [u8], tag: Option<u32>) {
    target.fill(b'*');
    let label = tag.map(|tag| format!("<redacted:{tag:08x}>"));
    if let Some(label) = label
        && let Some(start) = target.get_mut(..label.len())
    {
        start.copy_from_slice(label.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Comm, ProcessId};
    use crate::stream::{ConnName, Origin, Payload};
    use proptest::prelude::*;

    fn redact(chunks: &[&[u8]]) -> Vec<u8> {
        let mut redactor = Redactor::new([7; 32]).unwrap();
        let mut offset = 0;
        let mut out = Vec::new();
        for chunk in chunks {
            let mut message = Message::Data {
                origin: Origin {
                    ts_ns: 0,
                    process: ProcessId {
                        pid: 1,
                        start_ns: 1,
                    },
                    tid: 1,
                    comm: Comm::default(),
                    function: Default::default(),
                    conn: ConnName(1),
                    fd: None,
                },
                payload: Payload {
                    direction: Direction::Write,
                    seq: 0,
                    offset,
                    call_len: 0,
                    early: false,
                    goroutine: None,
                    bytes: (*chunk).into(),
                },
            };
            offset += chunk.len() as u64;
            redactor.apply(&mut message);
            if let Message::Data { payload, .. } = message {
                assert_eq!(payload.bytes.len(), chunk.len(), "length must not change");
                out.extend(payload.bytes.iter());
            }
        }
        out
    }

    const REQUEST: &[u8] =
        b"POST /v1/messages?key=AbCdEf0123456789 HTTP/1.1\r\nHost: api.example\r\n\
        Authorization: Bearer s3cr3t-t0ken-of-some-length\r\nx-api-key: k-1234567890abcdef\r\n\
        Cookie: session=abcdef; other=1\r\n\r\n{\"model\":\"m\",\"password\":\"hunter2hunter2\",\
        \"text\":\"my key is sk-ant-REDACTME0123456789 ok\"}";
    const SECRETS: [&str; 6] = [
        "AbCdEf0123456789",
        "s3cr3t-t0ken-of-some-length",
        "k-1234567890abcdef",
        "session=abcdef",
        "hunter2hunter2",
        "sk-ant-REDACTME0123456789",
    ];

    /// What secrets are made of, whole and in parts.
    const WORDS: &[&str] = &[
        "authorization",
        "AUTHORIZATION",
        "Cookie",
        "x-api-key",
        "X-Csrf-Token",
        ": ",
        ":",
        "=",
        "\r\n",
        "Bearer ",
        "digest ",
        "\"",
        "\\\"",
        "apiKey",
        "ACCESS_TOKEN",
        "id_token",
        "password",
        "passwd",
        "?key=",
        "&api_key=",
        "&Sig=",
        "?x-amz-signature=",
        "secretkey",
        "client_secret=",
        "sk-",
        "AIza",
        "ghp_",
        "AKIA",
        "xoxb-",
        "hf_",
        "eyJ",
        "abcdefghijklmnopqrstuvwxyz0123456789",
        "ABCDEFGHIJ012345",
        ".",
        " ",
        "a",
        "some text",
    ];

    /// No secret is left, everything else is.
    #[test]
    fn masks_secrets_and_nothing_else() {
        let text = String::from_utf8(redact(&[REQUEST])).unwrap();
        for secret in SECRETS {
            assert!(!text.contains(secret), "{secret} is left in {text}");
        }
        for kept in [
            "POST /v1/messages?key=",
            " HTTP/1.1\r\nHost: api.example\r\nAuthorization: Bearer <redacted:",
            "\r\n\r\n{\"model\":\"m\",\"password\":\"",
            "\",\"text\":\"my key is <redacted:",
            " ok\"}",
        ] {
            assert!(text.contains(kept), "{kept:?} is not in {text:?}");
        }
    }

    /// What is looked for first to save time is in every name, whatever its case.
    #[test]
    fn no_name_is_passed_over() {
        let names = "Authorization Proxy-Authorization x-api-key API-Key X-Goog-Api-Key X-Auth-Token \
            X-Amz-Security-Token OpenAI-API-Key Anthropic-Api-Key X-CSRF-Token Cookie SET-COOKIE";
        for name in names.split(' ') {
            for name in [name.to_owned(), name.to_lowercase(), name.to_uppercase()] {
                let text = redact(&[format!("A: b\r\n{name}: s3cr3t\r\n").as_bytes()]);
                let text = String::from_utf8(text).unwrap();
                assert!(!text.contains("s3cr3t"), "{text}");
            }
        }
    }

    /// Requests carry JSON in strings of JSON, and commands with headers: no secret is left in them, and
    /// the masking ends with it.
    #[test]
    fn secrets_in_nested_text_are_found() {
        for text in [
            r#"{"arguments":"{\"password\": \"s3cr3t-s3cr3t\", \"n\": 1}","kept":1}"#,
            r#"{"arguments":"{\"Authorization\": \"Bearer s3cr3t-s3cr3t\"}","kept":1}"#,
            r#"{"headers":{"x-api-key":"s3cr3t-s3cr3t"},"kept":1}"#,
            r#"{"command":"curl -H 'x-api-key: s3cr3t-s3cr3t' https://a","kept":1}"#,
            r#"{"command":"curl -H \"Authorization: Bearer s3cr3t-s3cr3t\" x","kept":1}"#,
            "Cookie: a=\"s3cr3t-s3cr3t\"\r\n\"kept\":1",
        ] {
            for border in 0..text.len() {
                let (a, b) = text.as_bytes().split_at(border);
                let masked = String::from_utf8(redact(&[a, b])).unwrap();
                assert!(!masked.contains("t-s3cr3t"), "{border}: {masked}");
                assert!(masked.contains("\"kept\":1"), "{border}: {masked}");
            }
        }
    }

    /// The same secret has the same tag, another one another.
    #[test]
    fn equality_stays_visible() {
        let text = redact(&[b"x-api-key: aaaaaaaaaaaaaaaaaaaaaaaa\r\nx-api-key: aaaaaaaaaaaaaaaaaaaaaaaa\r\nx-api-key: bbbbbbbbbbbbbbbbbbbbbbbb\r\n"]);
        let text = String::from_utf8(text).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], lines[1]);
        assert_ne!(lines[0], lines[2]);
    }

    /// Wherever a chunk border falls, at most the first bytes of a key that has no name before it can
    /// be seen, and never half of a secret.
    #[test]
    fn chunk_borders_hide_nothing() {
        for border in 1..REQUEST.len() {
            let (a, b) = REQUEST.split_at(border);
            let text = redact(&[a, b]);
            let text = String::from_utf8_lossy(&text);
            for secret in SECRETS {
                let half = &secret[secret.len().saturating_sub(8)..];
                assert!(
                    !text.contains(half),
                    "border {border}: {half} is left in {text}"
                );
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Looking for words first would pass over a secret that the patterns alone find.
        #[test]
        fn hints_hide_nothing(words in proptest::collection::vec(0..WORDS.len(), 0..30),
                              borders in proptest::collection::vec(0usize..300, 0..4)) {
            let text: String = words.iter().map(|word| WORDS[*word]).collect();
            let mut borders: Vec<_> = borders.iter().map(|at| at % (text.len() + 1)).collect();
            borders.extend([0, text.len()]);
            borders.sort_unstable();
            let chunks: Vec<_> = borders.windows(2).map(|of| &text.as_bytes()[of[0]..of[1]]).collect();
            let mut all = Redactor::new([7; 32]).unwrap();
            let mut tail = Tail::default();
            let mut expected = Vec::new();
            for chunk in &chunks {
                let mut bytes = chunk.to_vec();
                all.mask_found(u32::MAX, &mut tail, &mut bytes);
                expected.extend(bytes);
            }
            prop_assert_eq!(redact(&chunks), expected);
        }
    }

    /// A long secret over many chunks stays masked to its end and not beyond.
    #[test]
    fn long_secrets_run_on() {
        let cookie = vec![b'c'; 1000];
        let mut chunks: Vec<&[u8]> = vec![b"Cookie: a"];
        chunks.extend(cookie.chunks(100));
        chunks.push(b"\r\nHost: x\r\n");
        let text = redact(&chunks);
        assert!(!text.contains(&b'c'), "{}", String::from_utf8_lossy(&text));
        assert!(text.ends_with(b"*\r\nHost: x\r\n"));
    }
}
