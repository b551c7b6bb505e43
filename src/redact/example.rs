//! Examples of secrets that are none: what is random in them is written as `{word:36}`, so that no file holds what looks like
//! somebody's key.
//!
//! `token ⟨ghp_{base62:36}⟩ …`: between the brackets is the secret. `{KIND:COUNT}` and `{KIND:FEW-MANY}` stand for so many
//! characters of a kind, inside of the brackets and outside. What is no such thing stands for itself.

use std::ops::Range;

const LOWER: &str = "abcdefghijklmnopqrstuvwxyz";
const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const DIGITS: &str = "0123456789";

/// A text, and where its secrets are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// Without brackets.
    pub text: String,
    /// In bytes.
    pub secrets: Vec<Range<usize>>,
}

/// Makes an example; another one for each seed.
pub fn expand(template: &str, seed: u64) -> Example {
    let mut random = Random(seed);
    let mut example = Example {
        text: String::new(),
        secrets: Vec::new(),
    };
    let mut begin = 0;
    let mut rest = template;
    while let Some(next) = rest.chars().next() {
        if let Some((kind, count, after)) = placeholder(rest, &mut random) {
            let alphabet: Vec<char> = kind.chars().collect();
            let chosen = (0..count).filter_map(|_| alphabet.get(random.below(alphabet.len())));
            example.text.extend(chosen);
            rest = after;
            continue;
        }
        match next {
            '⟨' => begin = example.text.len(),
            '⟩' => example.secrets.push(begin..example.text.len()),
            other => example.text.push(other),
        }
        rest = rest.get(next.len_utf8()..).unwrap_or_default();
    }
    example
}

/// The alphabet and count of the placeholder that begins here, and what follows it.
fn placeholder<'t>(text: &'t str, random: &mut Random) -> Option<(String, usize, &'t str)> {
    let (inside, after) = text.strip_prefix('{')?.split_once('}')?;
    let (kind, count) = inside.split_once(':')?;
    let alphabet = match kind {
        "base32" => format!("{UPPER}234567"),
        "base62" => format!("{LOWER}{UPPER}{DIGITS}"),
        "base64" => format!("{LOWER}{UPPER}{DIGITS}+/"),
        "digit" => DIGITS.to_owned(),
        "hex" => format!("{DIGITS}abcdef"),
        "lower" => LOWER.to_owned(),
        "lowernum" => format!("{LOWER}{DIGITS}"),
        "upper" => UPPER.to_owned(),
        "uppernum" => format!("{UPPER}{DIGITS}"),
        "url64" => format!("{LOWER}{UPPER}{DIGITS}-_"),
        "word" => format!("{LOWER}{UPPER}{DIGITS}_"),
        _ => return None,
    };
    let count = match count.split_once('-') {
        Some((few, many)) => {
            let few: usize = few.parse().ok()?;
            few + random.below((many.parse::<usize>().ok()? + 1).checked_sub(few)?)
        }
        None => count.parse().ok()?,
    };
    Some((alphabet, count.min(1 << 16), after))
}

/// Splitmix64 (public domain, Vigna 2015): the same numbers for the same seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let z = (z ^ (z >> 31)) % (limit.max(1) as u64);
        usize::try_from(z).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of the rules would prove nothing.
    #[test]
    fn placeholders_become_characters() {
        let example = expand("{\"k\":\"⟨ab_{hex:8}⟩\", {lower:2-4}} é⟨x⟩", 7);
        assert_eq!(
            example,
            expand("{\"k\":\"⟨ab_{hex:8}⟩\", {lower:2-4}} é⟨x⟩", 7)
        );
        let [first, second] = example.secrets.as_slice() else {
            panic!("{example:?}");
        };
        let first = &example.text[first.clone()];
        assert!(first.starts_with("ab_") && first.len() == 11, "{first}");
        assert!(first[3..].bytes().all(|byte| byte.is_ascii_hexdigit()));
        assert_eq!(&example.text[second.clone()], "x");
        assert!(example.text.starts_with("{\"k\":\"ab_"), "{}", example.text);
        assert_ne!(
            example,
            expand("{\"k\":\"⟨ab_{hex:8}⟩\", {lower:2-4}} é⟨x⟩", 8)
        );
    }
}
