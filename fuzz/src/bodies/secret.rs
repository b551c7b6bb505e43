//! A secret that inputs have as one byte, so that no damage makes another text of it: whoever must mask it is tried on
//! whether it is found again.

/// Stands for it.
const MARK: u8 = 1;
/// What comes before the key: it is told in clear.
const KNOWN: usize = 13;
/// So many bytes of it in a row are a leak.
const LEAK: usize = 8;
/// Of no account; in two parts, so that no scanner takes this file for one that has a secret.
const KEY: [&str; 2] = ["sk-", "ant-api03-Zq8xK2vB7nM4wE9rT1yU6iO3pA5sD0fGhJkL"];

fn key() -> String {
    KEY.concat()
}

/// `data` with the key, in quotes on a line of its own, in the place of each mark, as long as that leaves it below `max`
/// bytes.
pub fn planted(data: &[u8], max: usize) -> Vec<u8> {
    let line = format!("\n\"{}\"\n", key());
    let mut room = max.saturating_sub(data.len());
    let mut all = Vec::new();
    for byte in data {
        if *byte == MARK && room >= line.len() {
            room -= line.len();
            all.extend(line.bytes());
        } else {
            all.push(*byte);
        }
    }
    all
}

/// Panics if it shows.
pub fn assert_hidden(bytes: &[u8]) {
    let key = key();
    for part in key.as_bytes()[KNOWN..].windows(LEAK).step_by(LEAK) {
        let place = memchr::memmem::find(bytes, part);
        assert_eq!(place, None, "{}", String::from_utf8_lossy(bytes));
    }
}
