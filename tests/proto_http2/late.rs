//! Real connections, joined in their middle and with parts lost: everything said is a part of what is said of the whole.

use std::collections::BTreeMap;

use agentsight::proto::http2::Http2;
use agentsight::proto::{Decoder, Fields, Limits, Outcome, Party};

use crate::crates::{Dice, connection};
use crate::seen::{Capture, Exchange, Half, Seen, decode, pieces};

/// Where frames begin: the number of a piece, and the place in it. Follows the lengths of the frames and nothing else.
fn boundaries(capture: &Capture, of: Party) -> Vec<(usize, usize)> {
    let mut at = Vec::new();
    let mut header = Vec::new();
    let mut left = if of == Party::Local { 24 } else { 0 };
    for (number, (from, bytes)) in capture.iter().enumerate() {
        if *from != of {
            continue;
        }
        for (place, byte) in bytes.iter().enumerate() {
            if left > 0 {
                left -= 1;
                continue;
            }
            if header.is_empty() {
                at.push((number, place));
            }
            header.push(*byte);
            if header.len() == 9 {
                left = u32::from_be_bytes([0, header[0], header[1], header[2]]) as usize;
                header.clear();
            }
        }
    }
    at
}

/// The capture from there on.
fn from(
    capture: &Capture,
    (number, place): (usize, usize),
) -> impl Iterator<Item = (Party, &[u8])> {
    let rest = pieces(capture).skip(number).enumerate();
    rest.map(move |(index, (party, bytes))| {
        (party, if index == 0 { &bytes[place..] } else { bytes })
    })
    .filter(|(_, bytes)| !bytes.is_empty())
}

/// Each field is the right one or not known; `pseudo` of those that came were pseudo-headers.
fn assert_part(part: &Fields, whole: &Fields, pseudo: usize) {
    let hidden = part.0.len().checked_sub(whole.0.len());
    let hidden = hidden.unwrap_or_else(|| panic!("{part:?} is shorter than {whole:?}"));
    assert!(hidden <= pseudo);
    // The pseudo-headers come first; those that are not known are fields without a name.
    for field in &part.0[..hidden] {
        assert!(field.name.starts_with('?') && field.value.is_none());
    }
    for (part, whole) in part.0[hidden..].iter().zip(&whole.0) {
        assert!(
            part.name == whole.name || part.name.starts_with('?'),
            "{part:?} {whole:?}"
        );
        assert!(
            part.value == whole.value || part.value.is_none(),
            "{part:?} {whole:?}"
        );
    }
}

fn known<T: PartialEq + std::fmt::Debug>(part: &Option<T>, whole: &Option<T>) {
    assert!(part.is_none() || part == whole, "{part:?} {whole:?}");
}

/// What is said of an exchange is right, and all of it is there if it began behind the cut.
fn assert_right(part: &Exchange, whole: &Exchange) {
    if let Some(request) = &part.request {
        let truth = whole.request.as_ref().unwrap();
        known(&request.method, &truth.method);
        known(&request.target, &truth.target);
        known(&request.authority, &truth.authority);
        assert_part(&request.fields, &truth.fields, 4);
    }
    for (part, whole) in part.responses.iter().zip(&whole.responses) {
        known(&part.status, &whole.status);
        assert_part(&part.fields, &whole.fields, 1);
    }
    for (part, whole, headed) in [
        (&part.sent, &whole.sent, part.request.is_some()),
        (&part.received, &whole.received, !part.responses.is_empty()),
    ] {
        if let (Some(part), Some(whole)) = (&part.trailers, &whole.trailers) {
            assert_part(part, whole, 0);
        }
        if headed && part.gaps == 0 && part.end == Some(Outcome::Complete) {
            assert!(part.body == whole.body);
        } else {
            assert!(
                part.gaps > 0 || part.body.is_empty() || headed,
                "{:?}",
                part.end
            );
            assert!(is_part(part, &whole.body), "a body of another stream");
        }
    }
}

/// What lies between gaps is a part of the body, in the same order.
fn is_part(part: &Half, whole: &[u8]) -> bool {
    let mut rest = whole;
    let ends = part.breaks.iter().copied().chain([part.body.len()]);
    let mut start = 0;
    for end in ends {
        let run = &part.body[start..end];
        let Some(at) = (0..=rest.len()).find(|at| rest[*at..].starts_with(run)) else {
            return false;
        };
        rest = &rest[at + run.len()..];
        start = end;
    }
    true
}

struct Tally {
    cuts: usize,
    whole: usize,
    fields: usize,
    unknown: usize,
}

/// Everything that began behind the cut is seen from its start to its end.
fn assert_late(
    capture: &Capture,
    full: &Seen,
    at: (usize, usize),
    begun: &BTreeMap<String, (usize, usize)>,
    tally: &mut Tally,
) {
    let seen = decode(from(capture, at), false, usize::MAX);
    let (named, truths) = (seen.by_name(), full.by_name());
    for (name, exchange) in &named {
        assert_right(exchange, truths[name]);
    }
    for (name, began) in begun {
        if *began < at {
            continue;
        }
        let exchange = named
            .get(name)
            .unwrap_or_else(|| panic!("{name} is missing, cut at {at:?}"));
        assert!(exchange.request.is_some() && exchange.responses.len() == 1);
        for half in [&exchange.sent, &exchange.received] {
            assert_eq!(
                (half.end, half.gaps),
                (Some(Outcome::Complete), 0),
                "{name} {at:?}"
            );
        }
        let fields = &exchange.request.as_ref().unwrap().fields.0;
        tally.fields += fields.len();
        tally.unknown += fields.iter().filter(|field| field.value.is_none()).count();
        tally.whole += 1;
    }
    tally.cuts += 1;
}

/// The piece and the place at which each request begins: where the capture must be cut so as not to miss it. Found by
/// decoding what is in front of it.
fn begun(capture: &Capture, full: &Seen) -> BTreeMap<String, (usize, usize)> {
    let mut decoder = Http2::new(Limits::default(), true);
    let mut seen = Seen::default();
    let mut begun = BTreeMap::new();
    let starts = boundaries(capture, Party::Local);
    let mut frame = (0, 0);
    for (number, (from, bytes)) in pieces(capture).enumerate() {
        if from == Party::Peer {
            continue;
        }
        let within = starts
            .iter()
            .filter(|start| start.0 == number)
            .map(|start| start.1);
        let cuts: Vec<usize> = [0].into_iter().chain(within).chain([bytes.len()]).collect();
        for cut in cuts.windows(2) {
            if starts.contains(&(number, cut[0])) {
                frame = (number, cut[0]);
            }
            decoder.data(from, 0, &bytes[cut[0]..cut[1]], &mut |item| seen.take(item));
            for name in seen.by_name().into_keys() {
                begun.entry(name).or_insert(frame);
            }
        }
    }
    assert_eq!(begun.len(), full.exchanges.len());
    begun
}

/// Attached to an agent that is already connected, later calls would be missing, or have headers or bytes of others.
#[test]
fn a_connection_may_be_joined_at_any_frame_and_inside_of_any() {
    let (capture, truths) = connection(60, 9000, 2);
    let full = decode(pieces(&capture), true, usize::MAX);
    crate::crates::check(&full, &truths);
    let begun = begun(&capture, &full);
    let mut tally = Tally {
        cuts: 0,
        whole: 0,
        fields: 0,
        unknown: 0,
    };
    let mut dice = Dice(5);
    for party in [Party::Local, Party::Peer] {
        for (number, place) in boundaries(&capture, party) {
            assert_late(&capture, &full, (number, place), &begun, &mut tally);
            let rest = capture[number].1.len() - place;
            let inside = (number, place + dice.below(rest.min(4000)));
            assert_late(&capture, &full, inside, &begun, &mut tally);
        }
    }
    let Tally {
        cuts,
        whole,
        fields,
        unknown,
    } = tally;
    eprintln!("{cuts} cuts, {whole} calls behind them whole, {unknown} of {fields} fields unknown");
    assert!(whole > cuts);
}

/// Where bytes are lost, bodies or headers of other streams would be given to a stream, or a loss would not be told.
#[test]
fn a_lossy_connection_says_nothing_wrong() {
    let (capture, _) = connection(60, 20_000, 3);
    let full = decode(pieces(&capture), true, usize::MAX);
    let truths = full.by_name();
    let (mut complete, mut doubtful) = (0, 0);
    for seed in 0..150 {
        let mut dice = Dice(seed);
        let mut decoder = Http2::new(Limits::default(), true);
        let mut seen = Seen::default();
        for (number, (from, bytes)) in pieces(&capture).enumerate() {
            let mut rest = bytes;
            if number > 3 && dice.below(20) == 0 {
                let (front, back) = bytes.split_at(dice.below(bytes.len() + 1));
                let lost = dice.below(back.len() + 1);
                decoder.data(from, 0, front, &mut |item| seen.take(item));
                let said = (dice.below(3) > 0).then_some(lost as u64);
                decoder.gap(from, 0, said, &mut |item| seen.take(item));
                rest = &back[lost..];
            }
            decoder.data(from, 0, rest, &mut |item| seen.take(item));
        }
        for from in [Party::Local, Party::Peer] {
            decoder.end(from, 0, &mut |item| seen.take(item));
        }
        for (name, exchange) in seen.by_name() {
            assert_right(exchange, truths[&name]);
            let whole = [&exchange.sent, &exchange.received]
                .iter()
                .all(|half| half.gaps == 0);
            *if whole { &mut complete } else { &mut doubtful } += 1;
        }
    }
    eprintln!("{complete} whole, {doubtful} with gaps");
    assert!(complete > 100 && doubtful > 100);
}
