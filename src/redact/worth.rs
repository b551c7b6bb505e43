//! What a secret is not: a placeholder, a word of code, what is masked already.

use super::rules::Check;

/// Before the tag of a masked secret.
pub const LABEL: &[u8] = b"<redacted:";
/// Bytes of the tag and what closes it.
const TAG: usize = 9;

/// Values that say what should stand there, in lower case.
const PLACEHOLDERS: &[&str] = &[
    "...",
    "api_key",
    "apikey",
    "bearer",
    "boolean",
    "changeme",
    "dummy",
    "empty",
    "example",
    "false",
    "hidden",
    "none",
    "null",
    "number",
    "object",
    "optional",
    "pass",
    "passwd",
    "password",
    "placeholder",
    "pwd",
    "redacted",
    "required",
    "secret",
    "str",
    "string",
    "test",
    "text",
    "token",
    "true",
    "undefined",
    "xxx",
];

/// How such values begin that are of several words.
const SAYINGS: &[&str] = &[
    "dummy-", "dummy_", "example-", "example_", "fake-", "fake_", "insert-", "insert_", "my-",
    "my_", "no-", "not-", "not_", "some-", "some_", "the-", "your ", "your-", "your_",
];

/// Whether it, or a part of it, has been masked before; it stays as it is.
pub fn is_masked(secret: &[u8]) -> bool {
    has_tag(secret) || (matches!(secret, [b'*' | b'\\', ..]) && is_stars(secret))
}

fn has_tag(secret: &[u8]) -> bool {
    let mut places = memchr::memmem::find_iter(secret, LABEL);
    places.any(|at| {
        let tag = secret.get(at + LABEL.len()..).unwrap_or_default();
        let (digits, end) = tag.split_at(tag.len().min(TAG - 1));
        digits.iter().all(u8::is_ascii_hexdigit) && end.first() == Some(&b'>')
    })
}

fn is_stars(secret: &[u8]) -> bool {
    let mut bytes = secret.iter();
    while let Some(byte) = bytes.next() {
        match byte {
            b'*' | b'\n' | b'\r' | b'\t' => {}
            // An escape that the border of two chunks cut.
            b'\\' => drop(bytes.next()),
            _ => return false,
        }
    }
    true
}

/// Whether it stands for a secret in a text about secrets.
pub fn is_placeholder(secret: &[u8]) -> bool {
    let is_name = |inside: &[u8]| {
        inside
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_-. ".contains(byte))
    };
    match secret {
        [b'$', rest @ ..] if !rest.is_empty() => {
            let is_shell =
                |byte: &u8| byte.is_ascii_uppercase() || b"_{}()0123456789".contains(byte);
            return rest.iter().all(is_shell) || matches!(rest, [b'{' | b'(', ..]);
        }
        [b'<', inside @ .., b'>'] | [b'[', inside @ .., b']'] | [b'%', inside @ .., b'%'] => {
            return is_name(inside);
        }
        [b'{', .., b'}'] => return true,
        _ => {}
    }
    let lower = secret.to_ascii_lowercase();
    let starts = |with: &str| lower.starts_with(with.as_bytes());
    PLACEHOLDERS.iter().any(|known| lower == known.as_bytes())
        || (SAYINGS.iter().any(|with| starts(with))
            && !lower.iter().any(u8::is_ascii_digit)
            && is_name(&lower))
        || ["process.env", "os.environ", "os.getenv"]
            .iter()
            .any(|with| starts(with))
        || lower.iter().all(|byte| b".x*".contains(byte))
}

/// Whether a value is its own name, or a sentence about it (`"password": "Forgot your password?"`), as in translations.
pub fn speaks_of(secret: &[u8], name: &[u8]) -> bool {
    let is_name = |part: &[u8]| part.eq_ignore_ascii_case(name);
    is_name(secret) || (secret.contains(&b' ') && secret.windows(name.len().max(1)).any(is_name))
}

/// Whether it looks like what [`Check`] asks for.
pub fn passes(check: Check, secret: &[u8]) -> bool {
    match check {
        Check::Any => true,
        Check::Mixed => classes(secret) >= 2,
        Check::Random => is_random(secret),
    }
}

/// Of lower case, upper case and digits: how many there are.
pub fn classes(secret: &[u8]) -> usize {
    let has = |is: fn(&u8) -> bool| usize::from(secret.iter().any(is));
    has(u8::is_ascii_lowercase) + has(u8::is_ascii_uppercase) + has(u8::is_ascii_digit)
}

/// Letters and digits as irregular as chance makes them, unlike the names of code with a number in them: of random letters
/// and digits, digits begin or end, or a capital follows a small letter, at nearly every other one; in names at few.
fn is_random(secret: &[u8]) -> bool {
    let letters = || secret.iter().filter(|byte| byte.is_ascii_alphanumeric());
    let is_change = |(a, b): &(&u8, &u8)| {
        a.is_ascii_digit() != b.is_ascii_digit()
            || (a.is_ascii_lowercase() && b.is_ascii_uppercase())
    };
    let changes = letters().zip(letters().skip(1)).filter(is_change).count();
    let digits = letters().filter(|byte| byte.is_ascii_digit()).count();
    let all = letters().count();
    digits >= 2 && digits < all && changes * 5 >= all && entropy(secret) >= 3.0
}

/// Of Shannon, in bits per byte.
fn entropy(bytes: &[u8]) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in bytes {
        if let Some(count) = counts.get_mut(usize::from(*byte)) {
            *count += 1;
        }
    }
    let all = bytes.len() as f64;
    let shares = counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| f64::from(*count) / all);
    -shares.map(|share| share * share.log2()).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A second run over a masked recording would change it.
    #[test]
    fn masked_secrets_are_known() {
        for masked in [
            "<redacted:0123abcd>",
            "<redacted:0123abcd>***",
            "***",
            "**\\n**\\\"*",
        ] {
            assert!(is_masked(masked.as_bytes()), "{masked}");
        }
        for secret in ["", "<redacted:>", "*x", "<redacted:", "x**"] {
            assert!(!is_masked(secret.as_bytes()), "{secret}");
        }
    }

    /// Commands and code with variables in them could not be read any more; or a password would be shown.
    #[test]
    fn placeholders_are_no_secrets() {
        for text in [
            "$TOKEN",
            "${API_KEY}",
            "$(cat key)",
            "<your key>",
            "{{ token }}",
            "YOUR_API_KEY",
            "xxxx",
            "...",
        ] {
            assert!(is_placeholder(text.as_bytes()), "{text}");
        }
        for secret in ["$ecret", "{x", "hunter2", "<b>old&", "yourself99", "$Pa55"] {
            assert!(!is_placeholder(secret.as_bytes()), "{secret}");
        }
    }
}
