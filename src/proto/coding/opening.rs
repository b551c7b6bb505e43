//! Whether the first bytes of a body are what its head says: recorders keep content decoded and leave the head as it was.
//!
//! gzip, zstd and zlib begin with numbers of their own. Brotli and bare deflate do not: there, content counts as not coded
//! if it begins as JSON or server-sent events do, and stays text for a while. Where the head was not seen, any text counts
//! as not coded.

use super::Coding;

/// Bytes that must be text. That so many compressed ones are is less likely than one in a million.
const TEXT_LEN: usize = 16;

/// Method 8 with the largest window (RFC 1950 section 2.2), which all encoders take: `x`.
const ZLIB: u8 = 0x78;
const GZIP: &[u8] = &[0x1f, 0x8b];
/// RFC 8878 section 3.1.1.
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// Of a frame to be skipped (RFC 8878 section 3.1.2), behind a first byte of 0x50 to 0x5f.
const ZSTD_SKIPPED: &[u8] = &[0x2a, 0x4d, 0x18];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// As the head says.
    Coded,
    /// Nobody says so, but it is.
    CodedAs(Coding),
    /// Not coded.
    Plain,
    /// More bytes are needed.
    Unclear,
    /// It may be coded, and nobody knows how.
    Unseen,
}

/// Whether `head` begins content of this coding.
pub(super) fn verdict(coding: Option<Coding>, head: &[u8]) -> Verdict {
    match coding {
        None => Verdict::Plain,
        Some(Coding::Gzip) => begins(GZIP, head),
        Some(Coding::Zstd) => zstd(head),
        Some(Coding::Deflate) if is_zlib(head) => Verdict::Coded,
        Some(Coding::Brotli | Coding::Deflate) => text(head),
    }
}

/// The same when nothing more will come, for a head that was unclear.
pub(super) fn last_verdict(coding: Option<Coding>) -> Verdict {
    match coding {
        Some(Coding::Gzip | Coding::Zstd) => Verdict::Coded,
        _ => Verdict::Plain,
    }
}

/// What content is when nobody knows what the head said; `is_textual`: if it is not coded, it should be text.
pub(super) fn guess(head: &[u8], is_textual: bool) -> Verdict {
    if head == [ZLIB] {
        return Verdict::Unclear;
    }
    if head.first() == Some(&ZLIB) && is_zlib(head) {
        return Verdict::CodedAs(Coding::Deflate);
    }
    match (begins(GZIP, head), zstd(head)) {
        (Verdict::Coded, _) => Verdict::CodedAs(Coding::Gzip),
        (_, Verdict::Coded) => Verdict::CodedAs(Coding::Zstd),
        (Verdict::Plain, Verdict::Plain) if is_textual => guess_text(head),
        (Verdict::Plain, Verdict::Plain) => Verdict::Plain,
        _ => Verdict::Unclear,
    }
}

fn guess_text(head: &[u8]) -> Verdict {
    match head {
        // What messages of AWS and of gRPC begin with: lengths, and whether it is compressed. Hardly any coded content does.
        [0 | 1, 0, ..] => Verdict::Plain,
        [0 | 1] => Verdict::Unclear,
        _ if !is_text(head) => Verdict::Unseen,
        _ if head.len() >= TEXT_LEN => Verdict::Plain,
        _ => Verdict::Unclear,
    }
}

fn begins(magic: &[u8], head: &[u8]) -> Verdict {
    if head.starts_with(magic) {
        Verdict::Coded
    } else if magic.starts_with(head) {
        Verdict::Unclear
    } else {
        Verdict::Plain
    }
}

fn zstd(head: &[u8]) -> Verdict {
    match head {
        [0x50..=0x5f, behind @ ..] => begins(ZSTD_SKIPPED, behind),
        _ => begins(ZSTD, head),
    }
}

/// RFC 1950 section 2.2: method 8, a window of up to 32 KiB, and a sum.
pub(super) fn is_zlib(head: &[u8]) -> bool {
    let [first, second, ..] = *head else {
        return false;
    };
    first & 0x0f == 8 && first >> 4 <= 7 && u16::from_be_bytes([first, second]) % 31 == 0
}

fn text(head: &[u8]) -> Verdict {
    let first = head.iter().find(|byte| !byte.is_ascii_whitespace());
    let begins = first.is_none_or(|byte| b"{[\":deir".contains(byte));
    if !begins || !is_text(head) {
        Verdict::Coded
    } else if head.len() >= TEXT_LEN {
        Verdict::Plain
    } else {
        Verdict::Unclear
    }
}

/// The first bytes are text, as far as they came: UTF-8 without controls.
fn is_text(head: &[u8]) -> bool {
    let control = |byte: &u8| *byte < 0x20 && !byte.is_ascii_whitespace();
    let seen = head.get(..TEXT_LEN).unwrap_or(head);
    let broken = std::str::from_utf8(seen).is_err_and(|error| error.error_len().is_some());
    !broken && !seen.iter().any(control)
}
