//! What a method does with the message that it is handed: `MessageEncrypter::encrypt` and `MessageDecrypter::decrypt`
//! take it by reference, behind `self`, and what they read of it tells its layout.
//!
//! Rust functions have no stable calling convention, but one that returns more than two words gets the place for the
//! result in front of its arguments (x86-64) or apart (aarch64), and takes structs of more than two words by
//! reference: seen in all of rustc 1.56 to 1.100, at all levels of optimisation.

use std::collections::BTreeSet;

use crate::image::function::Body;
use crate::image::insn::{Decoder, Effect, Flow, Insn};
use crate::image::values::{Value, Values};
use crate::symdb::rustls::{Message, Payload, RecordLayout};

/// Which of the two methods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    /// `MessageEncrypter::encrypt`: what this process sends.
    Encrypt,
    /// `MessageDecrypter::decrypt`: what it receives.
    Decrypt,
}

/// Number of the argument with the message, as [`Value::Argument`] counts.
fn message_argument(decoder: &Decoder<'_>) -> u8 {
    if decoder.is_x86() { 2 } else { 1 }
}

/// What a method does with its message.
#[derive(Debug, Default)]
pub(super) struct Touched {
    /// Reads and writes: place in the message, bytes.
    accesses: BTreeSet<(i64, i64)>,
    /// Places of which it forms the address, or hands it on.
    references: BTreeSet<i64>,
    /// Writes to where the result goes, as far as that is an argument.
    writes_result: bool,
}

/// What the code of a method does with its message.
pub(super) fn touched(decoder: &Decoder<'_>, body: &Body) -> Touched {
    let message = Value::Argument(message_argument(decoder));
    let mut touched = Touched {
        // On aarch64 the place of the result is not in an argument; what is behind a jump table is not seen.
        writes_result: !decoder.is_x86() || body.insns.values().any(is_table_jump),
        ..Touched::default()
    };
    Values::of(decoder, body).visit(|insn, value| {
        if let Some(access) = insn.access {
            let base = value(access.base);
            let saves = access.store && access.base == decoder.stack_pointer();
            if base == message && !saves {
                let place = (access.offset, i64::from(access.size));
                touched.accesses.insert(place);
            }
            touched.writes_result |= access.store && base == Value::Argument(0);
        }
        if let Effect::Add {
            src, value: offset, ..
        } = insn.effect
            && value(src) == message
        {
            touched.references.insert(offset);
        }
        let is_call = matches!(insn.flow, Flow::Call(_) | Flow::CallIndirect);
        let arguments = (0..6).filter_map(|n| decoder.argument(n));
        if is_call && arguments.map(value).any(|argument| argument == message) {
            touched.references.insert(0);
        }
    });
    touched
}

fn is_table_jump(insn: &Insn) -> bool {
    insn.flow == Flow::JumpIndirect
}

/// Whether a method that touches these parts may be the one of rustls with this layout.
pub(super) fn fits(way: Way, layout: &RecordLayout, touched: &Touched) -> bool {
    let message = message(way, layout);
    let size = i64::from(message.size);
    let inside = |(at, bytes): &(i64, i64)| *at >= 0 && at.saturating_add(*bytes) <= size;
    let refers_inside = touched.references.iter().all(|at| (0..=size).contains(at));
    // Compilers that go for size copy an encrypter's result in ways that are not followed.
    (way == Way::Encrypt || touched.writes_result)
        && touched.accesses.iter().all(inside)
        && refers_inside
        && reads_payload(way, message, touched)
        && (way == Way::Decrypt || reads_type(message, touched))
}

/// What the method of this way is given.
pub(super) fn message(way: Way, layout: &RecordLayout) -> &Message {
    match way {
        Way::Encrypt => &layout.encrypt,
        Way::Decrypt => &layout.decrypt,
    }
}

/// Of the payload, words are read, and nothing smaller: of what is received, the length at least; what is sent may be
/// handed on whole.
fn reads_payload(way: Way, message: &Message, touched: &Touched) -> bool {
    let payload = i64::from(message.payload_size);
    let mut inside = touched.accesses.iter().filter(|(at, _)| *at < payload);
    let is_whole = inside.clone().all(|(at, bytes)| *bytes >= 8 && at % 8 == 0);
    let (Payload::Slice { len, .. }
    | Payload::Vec { len, .. }
    | Payload::Chunks {
        single_len: len, ..
    }) = message.payload;
    let len = i64::from(len);
    let reads =
        inside.any(|(at, bytes)| way == Way::Encrypt || *at <= len && at + bytes >= len + 8);
    let hands_on = way == Way::Encrypt && touched.references.contains(&0);
    is_whole && (reads || hands_on)
}

/// The content type is always put somewhere: read alone, or with the version behind it. Where a slice is the payload,
/// eight bytes at this place would be the length of a vector.
fn reads_type(message: &Message, touched: &Touched) -> bool {
    let at = i64::from(message.content_type);
    let widest = i64::from(message.size) - at;
    let covers = |(start, bytes): &(i64, i64)| *start == at && *bytes < 8.min(widest);
    touched.accesses.iter().any(covers) || touched.references.contains(&at)
}
