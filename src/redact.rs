//! Secrets out, before any sink sees them: values of credential headers and fields, and texts with the
//! shape of well-known keys. On by default.
//!
//! A secret keeps its length, so offsets stay true, and shows a tag that is the same for the same
//! secret in one run and says nothing about it otherwise. A secret that crosses the border of two
//! chunks is masked on both sides, but for the few bytes that came before it could be recognised.
//!
//! What it cannot do: HTTP/2 headers are compressed (HPACK), compressed bodies are too; neither can be
//! masked in place. A recording of such traffic holds its secrets.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use regex::bytes::{Captures, Regex, RegexBuilder};

use crate::error::{Error, Result};
use crate::event::Direction;
use crate::stream::{ConnName, Message};

/// Bytes of the chunk before that are looked at again: longer than any name and key prefix below.
const CONTEXT: usize = 128;

/// What is masked: each pattern's group `secret`. Sources: the providers' API references for the
/// header names; GitHub, AWS and Slack documentation for the shapes of their tokens.
///
/// In the middle is what every match contains, in lower case, for patterns that the regex engine
/// cannot look for by their first bytes: it steps through them byte by byte, which takes 20 times
/// longer than looking for the literals first.
const PATTERNS: &[(&str, Option<&str>, Ending)] = &[
    (
        r"(?i)(?:^|[^a-z0-9_-])(?:proxy-)?authorization[ \t]*:[ \t]*digest[ \t]+(?<secret>[^\s][^\r\n]*)",
        Some("authorization"),
        Ending::Line,
    ),
    (
        r#"(?i)(?:^|[^a-z0-9_-])(?:proxy-)?authorization\\*["']?[ \t]*[:=][ \t]*\\*["']?(?:(?:bearer|basic|token|apikey)[ \t]+)?(?<secret>[^\s"'\\][^\r\n"'\\]*)"#,
        Some("authorization"),
        Ending::Quote,
    ),
    (
        r"(?i)(?:^|\n)(?:set-)?cookie[ \t]*:[ \t]*(?<secret>[^\s][^\r\n]*)",
        Some("cookie"),
        Ending::Line,
    ),
    (
        r#"(?i)(?:^|[^a-z0-9_-])(?:x-api-key|api-key|x-goog-api-key|x-auth-token|x-amz-security-token|openai-api-key|anthropic-api-key|x-csrf-token|cookie|set-cookie)\\*["']?[ \t]*:[ \t]*\\*["']?(?<secret>[^\s"'\\][^\r\n"'\\]*)"#,
        Some("api-key|x-auth-token|x-amz-security-token|x-csrf-token|cookie"),
        Ending::Quote,
    ),
    (
        r#"(?i)"(?:api_?key|access_?token|refresh_?token|id_?token|client_?secret|secret_?key|password|passwd)"\s*:\s*"(?<secret>(?:[^"\\]|\\.)+)"#,
        None,
        Ending::Json,
    ),
    // JSON in a string of JSON: what a model is told, and what it wants of a tool.
    (
        r#"(?i)\\"(?:api_?key|access_?token|refresh_?token|id_?token|client_?secret|secret_?key|password|passwd)\\+"\s*:\s*\\+"(?<secret>[^"\\]+)"#,
        None,
        Ending::Quote,
    ),
    (
        r"(?i)[?&](?:key|api_?key|access_token|token|client_secret|sig|signature|x-amz-signature)=(?<secret>[^&\s]+)",
        None,
        Ending::Word,
    ),
    (
        r"\b(?<secret>sk-[A-Za-z0-9_-]{16,}|AIza[A-Za-z0-9_-]{30,}|gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,}|(?:AKIA|ASIA)[A-Z0-9]{16}|xox[abeprs]-[A-Za-z0-9-]{10,}|hf_[A-Za-z0-9]{30,}|eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*)",
        None,
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
    hint: Option<Regex>,
    ending: Ending,
}

impl Pattern {
    fn new(
        pattern: &str,
        hint: Option<&str>,
        ending: Ending,
    ) -> std::result::Result<Self, regex::Error> {
        let build = |pattern| RegexBuilder::new(pattern).unicode(false).build();
        Ok(Self {
            regex: build(pattern)?,
            hint: hint.map(build).transpose()?,
            ending,
        })
    }

    /// False: it matches nowhere. `folded` is the text in lower case.
    fn may_match(&self, folded: &[u8]) -> bool {
        self.hint.as_ref().is_none_or(|hint| hint.is_match(folded))
    }
}

/// What is remembered of a direction's last chunk.
#[derive(Default)]
struct Tail {
    end: u64,
    context: Vec<u8>,
    open: Option<Ending>,
}

/// Masks secrets in all messages of a run.
pub struct Redactor {
    patterns: Vec<Pattern>,
    tails: HashMap<(ConnName, Direction), Tail>,
    /// Kept between calls for its memory only.
    folded: Vec<u8>,
    tags: RandomState,
    masked: u64,
}

impl Redactor {
    /// A redactor with a tag key of its own.
    ///
    /// # Errors
    /// A pattern is broken; the tests keep that from shipping.
    pub fn new() -> Result<Self> {
        let patterns = PATTERNS
            .iter()
            .map(|(pattern, hint, ending)| Pattern::new(pattern, *hint, *ending))
            .collect::<std::result::Result<_, _>>()
            .map_err(|error| Error::invalid(format!("a redaction pattern is broken: {error}")))?;
        Ok(Self {
            patterns,
            tails: HashMap::new(),
            folded: Vec::new(),
            tags: RandomState::new(),
            masked: 0,
        })
    }

    /// Secrets masked so far.
    pub fn masked(&self) -> u64 {
        self.masked
    }

    /// Masks the secrets of one message in place.
    pub fn apply(&mut self, message: &mut Message) {
        match message {
            Message::Data { origin, payload } => {
                let key = (origin.conn, payload.direction);
                let mut tail = self.tails.remove(&key).unwrap_or_default();
                if tail.end != payload.offset {
                    tail = Tail::default(); // a gap: whatever was open is over
                }
                let end = payload.offset.saturating_add(payload.bytes.len() as u64);
                let mut tail = self.mask(tail, &mut payload.bytes);
                tail.end = end;
                self.tails.insert(key, tail);
            }
            Message::Close { origin, .. } => {
                for direction in Direction::ALL {
                    self.tails.remove(&(origin.conn, direction));
                }
            }
            Message::Gap { .. } | Message::Open { .. } | Message::Shutdown(_) => {}
        }
    }

    fn mask(&mut self, tail: Tail, bytes: &mut [u8]) -> Tail {
        let mut open = None;
        let mut text = tail.context;
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
        let mut folded = std::mem::take(&mut self.folded);
        folded.clear();
        folded.extend_from_slice(&text);
        folded.make_ascii_lowercase();
        for at in 0..self.patterns.len() {
            open = open.or(self.mask_pattern(at, &mut text, &folded, seen, bytes));
        }
        self.folded = folded;
        let keep = text.len().saturating_sub(CONTEXT);
        text.drain(..keep);
        Tail {
            end: 0,
            context: text,
            open,
        }
    }

    /// Masks what one pattern finds in `text`, whose bytes from `seen` on are `bytes`. Tells if the last
    /// find reaches the end, so that it may go on.
    fn mask_pattern(
        &mut self,
        at: usize,
        text: &mut [u8],
        folded: &[u8],
        seen: usize,
        bytes: &mut [u8],
    ) -> Option<Ending> {
        let pattern = self.patterns.get(at)?;
        if !pattern.may_match(folded) {
            return None;
        }
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
            let tag = whole.then(|| self.tags.hash_one(text.get(secret.clone())));
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

fn secret_range(found: &Captures<'_>) -> Option<std::ops::Range<usize>> {
    found.name("secret").map(|secret| secret.range())
}

/// `<redacted:1a2b3c4d>` and stars where that fits, else stars.
fn overwrite(target: &mut [u8], tag: Option<u64>) {
    target.fill(b'*');
    let label = tag.map(|tag| format!("<redacted:{:08x}>", tag as u32));
    if let Some(label) = label
        && let Some(start) = target.get_mut(..label.len())
    {
        start.copy_from_slice(label.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Comm;
    use crate::stream::{Origin, Payload};

    fn redact(chunks: &[&[u8]]) -> Vec<u8> {
        let mut redactor = Redactor::new().unwrap();
        let mut offset = 0;
        let mut out = Vec::new();
        for chunk in chunks {
            let mut message = Message::Data {
                origin: Origin {
                    ts_ns: 0,
                    pid: 1,
                    tid: 1,
                    comm: Comm::default(),
                    library: String::new(),
                    function: String::new(),
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
                    bytes: chunk.to_vec(),
                },
            };
            offset += chunk.len() as u64;
            redactor.apply(&mut message);
            if let Message::Data { payload, .. } = message {
                assert_eq!(payload.bytes.len(), chunk.len(), "length must not change");
                out.extend(payload.bytes);
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
