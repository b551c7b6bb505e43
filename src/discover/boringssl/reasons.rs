//! BoringSSL whose file names are hidden (`__FILE__` made empty): the reasons of `SSL_write` alone, which
//! stand close together in its code. What they hand over as file name then leads to the other functions.

use memchr::memmem;

use super::super::finding::{Finding, Refusal};
use super::super::sources::{PathText, Source, Sources, functions_near};
use super::{Case, Copy};
use crate::image::insn::Decoder;
use crate::image::values::{CallArgs, Values};
use crate::image::{Image, VirtAddr, xref};
use crate::symdb::Library;

/// A label of TLS 1.3's key schedule (RFC 8446, section 7.1): without it there is no TLS in the file, and
/// the code is not searched.
const LABEL: &[u8] = b"c ap traffic";
/// How far from each other the errors of one function may stand.
const SPREAD: usize = 0x200;
/// How far from `SSL_write` the other functions of its source file may stand.
const NEIGHBOURHOOD: u64 = 0x10_0000;
/// Most places that are looked at.
const CLUSTERS_MAX: usize = 64;
/// What stands for a path where there is none.
const HIDDEN: &str = "(file name hidden)";

/// Looks for copies without file names.
pub(super) fn find(
    case: &Case<'_>,
    facts: &Library,
    copies: &mut Vec<Finding>,
    refused: &mut Vec<Refusal>,
) {
    let finder = memmem::Finder::new(LABEL);
    let mut ranges = case.image.constant_ranges().chain(case.image.code_ranges());
    if !ranges.any(|(_, data)| finder.find(data).is_some()) {
        return;
    }
    let Some(decoder) = Decoder::new(case.image) else {
        return;
    };
    let Some(write) = hidden_file(case.image, decoder, facts) else {
        return;
    };
    let sources = neighbours(case.image, decoder, &write);
    Copy {
        case,
        facts,
        sources: &sources,
        file: write.file,
        path: HIDDEN.into(),
        nameless: true,
    }
    .find(copies, refused);
}

/// Where `SSL_write` seems to be, and what it hands over as its file name.
struct Hidden {
    at: VirtAddr,
    file: VirtAddr,
}

fn hidden_file<'a>(image: &'a Image<'a>, decoder: Decoder<'a>, facts: &Library) -> Option<Hidden> {
    let numbers = facts.errors.as_ref()?;
    let reasons: Vec<u64> = [
        "SHOULD_NOT_HAVE_BEEN_CALLED",
        "UNINITIALIZED",
        "SSL_HANDSHAKE_FAILURE",
    ]
    .iter()
    .filter_map(|name| facts.reason(name))
    .collect();
    let clusters = clusters(image, &decoder, numbers.library, &reasons);
    if clusters.is_empty() {
        return None;
    }
    let functions = functions_near(image, decoder, clusters.iter().copied());
    clusters.iter().find_map(|at| {
        let entry = functions.entry_of(*at).ok()?;
        let body = functions.body(entry.addr);
        let calls = Values::of(&decoder, &body).calls();
        let file = file_of(image, &calls, numbers.library, &reasons)?;
        Some(Hidden {
            at: entry.addr,
            file,
        })
    })
}

/// The address that all errors with these reasons hand over behind the reason.
fn file_of(
    image: &Image<'_>,
    calls: &[CallArgs],
    library: u64,
    reasons: &[u64],
) -> Option<VirtAddr> {
    let file_with = |reason: u64| {
        calls.iter().find_map(|call| {
            let args = call.args.map(|value| value.constant());
            let [Some(first), second, third, fourth, ..] = args else {
                return None;
            };
            let file = match (second, third) {
                (_, Some(third)) if third == reason => fourth,
                (Some(second), _) if second == reason => third,
                _ => None,
            };
            file.filter(|_| first == library).map(VirtAddr)
        })
    };
    let mut files = reasons.iter().map(|reason| file_with(*reason));
    let first = files.next()??;
    let is_same = files.all(|file| file == Some(first));
    (is_same && image.bytes_at(first).is_some()).then_some(first)
}

/// Places where the library's number is handed over and all the reasons are not far.
fn clusters(
    image: &Image<'_>,
    decoder: &Decoder<'_>,
    library: u64,
    reasons: &[u64],
) -> Vec<VirtAddr> {
    // As third argument, or as second where the one before was optimised away.
    let loads = |reason: &u64| {
        let needles = [2, 1].map(|argument| decoder.loads_of(argument, *reason as u32));
        needles.concat()
    };
    let wanted: Vec<_> = reasons.iter().rev().map(loads).collect();
    let numbers = decoder.loads_of(0, library as u32);
    let mut found = Vec::new();
    for needle in &numbers {
        let finder = memmem::Finder::new(needle);
        for (base, code) in image.code_ranges() {
            let mut next = 0;
            for at in finder.find_iter(code) {
                if at < next || found.len() >= CLUSTERS_MAX {
                    continue;
                }
                let window = code.get(at.saturating_sub(SPREAD)..(at + SPREAD).min(code.len()));
                if window.is_some_and(|window| has_all(window, &wanted)) {
                    found.push(VirtAddr(base + at as u64));
                    next = at + 16;
                }
            }
        }
    }
    found
}

fn has_all(window: &[u8], wanted: &[Vec<Vec<u8>>]) -> bool {
    wanted.iter().all(|needles| {
        let mut needles = needles.iter();
        needles.any(|needle| memmem::find(window, needle).is_some())
    })
}

/// Functions around `SSL_write` that hand over the same file name.
fn neighbours<'a>(image: &'a Image<'a>, decoder: Decoder<'a>, write: &Hidden) -> Sources<'a> {
    let path = PathText {
        source: Source::SslLib,
        text: HIDDEN.into(),
        addr: write.file,
    };
    let near = |at: VirtAddr| at.0.abs_diff(write.at.0) < NEIGHBOURHOOD;
    let mut xrefs = xref::find(image, &decoder, &[write.file]);
    xrefs.retain(|xref| near(xref.at));
    Sources::of(image, decoder, vec![path], Vec::new(), &xrefs)
}
