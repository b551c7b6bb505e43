//! Frames, cuts and bytes by chance.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// Frames at random, so that properties reach what random bytes do not.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let one = (0..11_u8, any::<u8>(), 0..8_u32, vec(any::<u8>(), 0..40)).prop_map(
        |(kind, flags, stream, payload)| {
            let wanted = match kind {
                PRIORITY => 5,
                RST_STREAM | WINDOW_UPDATE => 4,
                PING => 8,
                _ => payload.len(),
            };
            let stream = if matches!(kind, SETTINGS | PING | GOAWAY) {
                0
            } else {
                stream
            };
            let payload: Vec<u8> = payload.into_iter().chain([0; 9]).take(wanted).collect();
            match kind {
                SETTINGS => frame(
                    kind,
                    flags & ACK,
                    stream,
                    if flags & ACK == 0 {
                        &[0, 1, 0, 0, 0, 0]
                    } else {
                        &[]
                    },
                ),
                HEADERS if flags & 2 == 0 => get(stream, flags & END_STREAM),
                HEADERS if flags & 16 == 0 => answer(stream, flags & END_STREAM, "200"),
                _ => frame(kind, flags, stream, &payload),
            }
        },
    );
    vec(one, 0..30).prop_map(|frames| frames.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// What is said would depend on how the bytes come.
    #[test]
    fn random_cuts_say_the_same(client in frames(), server in frames(), cuts in vec(0..400_usize, 0..8)) {
        let client = [PREFACE.to_vec(), client].concat();
        let server = [frame(SETTINGS, 0, 0, &[]), server].concat();
        let cut = |bytes: &[u8], step: fn(Vec<u8>) -> Step| {
            let mut cuts: Vec<usize> = cuts.iter().map(|at| at % (bytes.len() + 1)).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            cuts.windows(2).map(|pair| step(bytes[pair[0]..pair[1]].to_vec())).collect::<Vec<_>>()
        };
        let pieces = [cut(&client, Local), cut(&server, Peer), vec![Ends]].concat();
        let whole = run(true, &[Local(client), Peer(server), Ends]);
        let ends = |said: &[String]| said.iter().filter(|line| !line.contains("gap")).cloned().collect::<Vec<_>>();
        // What follows a fault may be found sooner or later.
        if !whole.iter().any(|line| line.starts_with("Local Some") || line.starts_with("Peer Some")) {
            prop_assert_eq!(ends(&run(true, &pieces)), ends(&whole));
        }
    }

    /// Any bytes, cuts and losses could end the observer.
    #[test]
    fn nothing_panics(how in any::<u8>(), data in vec(any::<u8>(), 0..300), client in frames(), server in frames()) {
        fuzz_http2(&[&[how], &data[..]].concat());
        let mut mixed = vec![how];
        for (number, piece) in client.chunks(50).chain(server.chunks(63)).enumerate() {
            mixed.push((piece.len() as u8) << 2 | number as u8 & 1);
            mixed.extend(piece);
        }
        fuzz_http2(&mixed);
        mixed[0] |= 1;
        fuzz_http2(&mixed);
    }

    /// Random bytes would be taken for HTTP/2.
    #[test]
    fn random_bytes_are_not_recognised(bytes in vec(any::<u8>(), 0..5000)) {
        prop_assert_ne!(Http2::looks_like(&bytes), Some(true));
    }
}
