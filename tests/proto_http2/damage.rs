//! Damaged bytes of real connections: nothing ends the observer, and what it holds stays bounded.

use agentsight::proto::http2::{Http2, fuzz_hpack, fuzz_http2};
use agentsight::proto::{Decoder, Limits, Party};

use crate::crates::{Dice, connection};

/// A peer could end the observer, or fill its memory, by a few wrong bytes.
#[test]
fn damaged_connections_are_survived() {
    let (capture, _) = connection(40, 3000, 4);
    for seed in 0..400 {
        let mut dice = Dice(seed);
        let mut decoder = Http2::new(Limits::default(), dice.below(2) == 0);
        let mut said = 0;
        for (from, bytes) in &capture {
            let mut bytes = bytes.clone();
            if dice.below(6) == 0 {
                let at = dice.below(bytes.len());
                match dice.below(4) {
                    0 => bytes[at] ^= 1 << dice.below(8),
                    1 => bytes[at] = dice.below(256) as u8,
                    2 => bytes.truncate(at),
                    _ => bytes.extend_from_within(at..),
                }
            }
            decoder.data(*from, 0, &bytes, &mut |_| said += 1);
            assert!(decoder.held() < 1 << 20, "{}", decoder.held());
        }
        for from in [Party::Local, Party::Peer] {
            decoder.end(from, 0, &mut |_| said += 1);
        }
        assert!(said > 0);
    }
    for (number, (_, bytes)) in capture.iter().enumerate() {
        fuzz_hpack(bytes);
        fuzz_http2(&[&[number as u8], &bytes[..]].concat());
    }
}
