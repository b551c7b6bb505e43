//! Values of header blocks that are changed where they lie, in what the `h2` crate sends.

use agentsight::proto::http2::Literals;
use agentsight::proto::{Fields, Party};

use crate::crates::{check, connection};
use crate::seen::{Capture, decode, pieces};

/// Each direction in one piece.
fn joined(capture: &Capture) -> Capture {
    let sides = [Party::Local, Party::Peer].map(|party| {
        let own = capture.iter().filter(|(from, _)| *from == party);
        (party, own.flat_map(|(_, bytes)| bytes.clone()).collect())
    });
    sides.into()
}

/// Passes it through `change`, in pieces of at most so many bytes.
fn changed(
    capture: &Capture,
    most: usize,
    change: &mut dyn FnMut(Option<&str>, &mut String),
) -> Capture {
    let mut changed = capture.clone();
    for (_, bytes) in &mut changed {
        let mut literals = Literals::default();
        // A piece that is to be recognised begins with a whole preface, or a whole header.
        let (first, rest) = bytes.split_at_mut(33);
        literals.push(first, change);
        for piece in rest.chunks_mut(most) {
            literals.push(piece, change);
        }
        assert!(!literals.is_lost());
    }
    changed
}

fn is_stars(value: &str) -> bool {
    value.bytes().all(|byte| byte == b'*')
}

fn assert_masked(fields: &Fields, whole: &Fields) {
    assert_eq!(fields.0.len(), whole.0.len());
    for (field, whole) in fields.0.iter().zip(&whole.0) {
        assert_eq!(field.name, whole.name);
        let (value, whole) = (field.value.as_ref().unwrap(), whole.value.as_ref().unwrap());
        assert!(
            value == whole && whole.starts_with("id-") || is_stars(value),
            "{field:?}"
        );
    }
}

/// What is not to be changed would be; or what is to be masked would stay, or spoil what comes behind it.
#[test]
fn values_are_changed_and_nothing_else() {
    let (capture, truths) = connection(200, 3_000, 3);
    let capture = joined(&capture);
    let mut names = 0;
    let same = changed(&capture, usize::MAX, &mut |name, _| {
        assert!(name.is_some());
        names += 1;
    });
    assert!(same == capture && names > 400);
    check(&decode(pieces(&same), true, usize::MAX), &truths);

    let masked = changed(&capture, usize::MAX, &mut |name, value| {
        if !name.unwrap().starts_with(':') && !value.starts_with("id-") {
            *value = "*".repeat(value.len());
        }
    });
    let (seen, whole) = (
        decode(pieces(&masked), true, usize::MAX),
        decode(pieces(&capture), true, usize::MAX),
    );
    let (seen, whole) = (seen.by_name(), whole.by_name());
    assert_eq!(seen.len(), truths.len());
    for (name, seen) in seen {
        let whole = whole[&name];
        let heads = [seen, whole].map(|exchange| exchange.request.as_ref().unwrap());
        assert_eq!(heads[0].target, heads[1].target);
        assert_masked(&heads[0].fields, &heads[1].fields);
        assert_masked(&seen.responses[0].fields, &whole.responses[0].fields);
        assert!(seen.sent.body == whole.sent.body && seen.received.body == whole.received.body);
    }
}

/// Cut anywhere, a connection would not be read any more.
#[test]
fn cut_values_spoil_nothing_else() {
    let (capture, truths) = connection(60, 500, 4);
    let capture = joined(&capture);
    for most in [1, 2, 9, 33, 500] {
        let cut = changed(&capture, most, &mut |_, _| {});
        let seen = decode(pieces(&cut), true, usize::MAX);
        assert!(seen.unrecognised.is_empty(), "{:?}", seen.unrecognised);
        assert_eq!(seen.exchanges.len(), truths.len());
        let bodies: usize = seen.exchanges.values().map(|one| one.sent.body.len()).sum();
        let sent: usize = truths.values().map(|one| one.sent.len()).sum();
        assert_eq!(bodies, sent);
    }
}
