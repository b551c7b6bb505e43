//! Where a head of HTTP/1 may begin, by the shape of its first bytes (RFC 9112 sections 3 and 4). It parses nothing.

/// How many bytes are looked at.
pub(in crate::proto) const SEEN_MAX: usize = 64;

/// Longest method: the longest that is registered has 17 bytes (`UPDATEREDIRECTREF`).
const METHOD_MAX: usize = 24;

const STATUS: &[u8] = b"HTTP/1.x ddd";

/// Whether a request line or a status line begins here. `None`: so far yes, but its line is not complete.
pub(in crate::proto) fn looks_like(bytes: &[u8]) -> Option<bool> {
    let seen = bytes.get(..SEEN_MAX).unwrap_or(bytes);
    if seen.starts_with(b"HTTP/") || b"HTTP/".starts_with(seen) {
        return status_line(seen);
    }
    request_line(seen)
}

fn status_line(seen: &[u8]) -> Option<bool> {
    let fits = seen
        .iter()
        .zip(STATUS)
        .all(|(&byte, &wanted)| match wanted {
            b'x' => byte == b'0' || byte == b'1',
            b'd' => byte.is_ascii_digit(),
            _ => byte == wanted,
        });
    if !fits {
        return Some(false);
    }
    // The space before an empty reason phrase is often left out.
    let next = seen.get(STATUS.len())?;
    Some(matches!(next, b' ' | b'\r' | b'\n'))
}

fn request_line(seen: &[u8]) -> Option<bool> {
    let method = seen
        .iter()
        .take_while(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'-' | b'_'))
        .count();
    if method > METHOD_MAX {
        return Some(false);
    }
    let (space, rest) = seen.get(method..)?.split_first()?;
    if method < 3 || *space != b' ' {
        return Some(false);
    }
    let target = rest.iter().take_while(|&&byte| is_target(byte)).count();
    let (space, version) = rest.get(target..)?.split_first()?;
    if target == 0 || *space != b' ' {
        return Some(false);
    }
    version_and_end(version)
}

fn is_target(byte: u8) -> bool {
    byte > b' ' && byte != 0x7f
}

fn version_and_end(version: &[u8]) -> Option<bool> {
    let name = b"HTTP/1.";
    if !version
        .iter()
        .zip(name)
        .all(|(byte, wanted)| byte == wanted)
    {
        return Some(false);
    }
    let minor = version.get(name.len())?;
    if !matches!(minor, b'0' | b'1') {
        return Some(false);
    }
    let end = version.get(name.len() + 1)?;
    Some(matches!(end, b'\r' | b'\n'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection that speaks HTTP is taken for something else, or the other way round.
    #[test]
    fn start_lines_are_known_by_their_shape() {
        for line in [
            "GET / HTTP/1.1\r\n",
            "POST /v1/chat?x=1 HTTP/1.0\n",
            "M-SEARCH * HTTP/1.1\r\n",
            "CONNECT example.com:443 HTTP/1.1\r\n",
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.0 404\r\n",
        ] {
            assert_eq!(looks_like(line.as_bytes()), Some(true), "{line}");
            let end = line.find(['\r', '\n']).unwrap();
            for cut in 0..end.min(10) {
                assert_eq!(looks_like(&line.as_bytes()[..cut]), None, "{line} {cut}");
            }
        }
        for line in [
            "EHLO example.com\r\n",
            "220 mail.example.com ESMTP\r\n",
            "\x16\x03\x01\x02\x00",
            "HTTP/2 200\r\n",
            "HTTP/1.1 2x0 OK\r\n",
            "GET  / HTTP/1.1\r\n",
            "PRI * HTTP/2.0\r\n",
            "{\"a\":1}",
            "GET / HTTP/1.1x",
            "A /b HTTP/1.1\r\n",
        ] {
            assert_eq!(looks_like(line.as_bytes()), Some(false), "{line}");
        }
        let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(100));
        assert_eq!(looks_like(long.as_bytes()), None);
    }
}
