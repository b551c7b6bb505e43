//! What is read and masked where no kernel is needed: prose and code of this repository, whole, or cut about as models cut
//! what they say.

use super::random::Random;

/// Prose in Markdown, code and a list of names and hashes; not the pages that the benches write.
const FILES: [&str; 10] = [
    include_str!("../../README.md"),
    include_str!("../../src/lib.rs"),
    include_str!("../../src/semantics/thread.rs"),
    include_str!("../../tests/README.md"),
    include_str!("../../src/stream/mod.rs"),
    include_str!("../../bpf/README.md"),
    include_str!("../../src/proto/item.rs"),
    include_str!("../../symbol-db/README.md"),
    include_str!("../../Cargo.lock"),
    include_str!("../../tests/sequence.rs"),
];

/// Text of this many bytes, or up to three more.
pub fn text(bytes: usize) -> String {
    let mut text = FILES.concat();
    text = text.repeat(bytes / text.len() + 1);
    let end = (bytes..).find(|end| text.is_char_boundary(*end));
    text.truncate(end.unwrap_or(bytes));
    text
}

/// The same text without end, in pieces of about the length of tokens: a word with the space in front of it, a part of a
/// long one, a few digits, some signs.
pub fn tokens(seed: u64) -> impl Iterator<Item = String> {
    let mut random = Random(seed);
    let mut characters = FILES
        .iter()
        .cycle()
        .flat_map(|text| text.chars())
        .peekable();
    std::iter::repeat_with(move || {
        let mut token = String::new();
        let longest = 4 + random.below(7);
        token.extend(characters.next());
        while let Some(next) = characters.peek() {
            let last = token.chars().next_back().unwrap_or(' ');
            let starts_word = token == " " && next.is_alphabetic();
            if kind(last) != kind(*next) && !starts_word || token.len() >= longest {
                break;
            }
            token.extend(characters.next());
        }
        token
    })
}

fn kind(character: char) -> u8 {
    match character {
        _ if character.is_alphabetic() => 0,
        _ if character.is_numeric() => 1,
        _ if character.is_whitespace() => 2,
        _ => 3,
    }
}

/// Letters and digits, from one to this many: numbers, and what pads events against guessing by their lengths.
pub fn noise(random: &mut Random, most: usize) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let length = 1 + random.below(most);
    (0..length)
        .map(|_| char::from(*random.pick(LETTERS)))
        .collect()
}
