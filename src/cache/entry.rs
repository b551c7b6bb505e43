//! One kept answer, with what proves that it is about a file.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::key::{FileState, Key};
use crate::discover::Report;
use crate::image::{Image, ImageFile, VirtAddr};

/// Copies of one file that are remembered.
const STATES_MAX: usize = 16;

/// What is hashed around each place: a page, as the kernel loads it.
const PAGE: u64 = 4096;

/// Bytes of a Go type or of a word in a table.
const DATA_BYTES: usize = 64;

/// A report and its proofs.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Whole, since the file's name is only a hash of it.
    pub(super) key: Key,
    /// Hash of all bytes.
    pub(super) content: String,
    /// Files that had this content, in the states in which it was looked at.
    pub(super) states: Vec<FileState>,
    /// Hash of the headers and of all places that the report speaks of.
    pub(super) witness: String,
    /// The answer; its path is that of the first file.
    pub(super) report: Report,
}

impl Entry {
    pub(super) fn new(
        key: &Key,
        report: &Report,
        file: &ImageFile,
        image: &Image<'_>,
        state: FileState,
    ) -> Self {
        Self {
            key: key.clone(),
            content: content(file),
            states: vec![state],
            witness: witness(image, report),
            report: report.clone(),
        }
    }

    /// The oldest is forgotten if there are too many.
    pub(super) fn add_state(&mut self, state: FileState) {
        if self.states.len() >= STATES_MAX {
            self.states.remove(0);
        }
        self.states.push(state);
    }
}

/// Hash of the whole file.
pub(super) fn content(file: &ImageFile) -> String {
    blake3::hash(file.bytes()).to_hex().to_string()
}

/// Hash of what the report rests on: a file with the same witness has the same code wherever a probe
/// would go, and is mapped the same way.
pub(super) fn witness(image: &Image<'_>, report: &Report) -> String {
    let mut hasher = blake3::Hasher::new();
    pages(&mut hasher, image, 0, 1);
    for segment in image.segments.iter() {
        hasher.update(format!("{segment:?}").as_bytes());
    }
    // Many share a page.
    let mut candidates = BTreeSet::new();
    for finding in &report.findings {
        for function in &finding.functions {
            pages(&mut hasher, image, function.file_offset.0, function.size);
            let sites = function.sites.exits.iter().chain([&function.sites.entry]);
            for site in sites {
                pages(&mut hasher, image, site.file_offset.0, 1);
            }
            if let Some(legal) = &function.legal {
                let places = legal.exits.iter().flatten().chain(&legal.entries);
                candidates.extend(places.map(|place| place.file_offset.0 / PAGE));
            }
        }
        if let Some(guard) = finding.guard {
            data(&mut hasher, image, guard.first_word);
        }
        if let Some(go) = &finding.go {
            let wrappers = go.wrappers.iter().map(|wrapper| wrapper.rtype);
            let types = go.sockets.iter().copied().chain(wrappers);
            for addr in types.chain(go.tcp_addr) {
                data(&mut hasher, image, addr);
            }
        }
    }
    for page in candidates {
        pages(&mut hasher, image, page.saturating_mul(PAGE), 1);
    }
    hasher.finalize().to_hex().to_string()
}

/// The pages of the file that hold the first `size` bytes from `offset`; two at most.
fn pages(hasher: &mut blake3::Hasher, image: &Image<'_>, offset: u64, size: u64) {
    let start = offset - offset % PAGE;
    let last = offset.saturating_add(size.clamp(1, PAGE) - 1);
    let end = (last - last % PAGE).saturating_add(PAGE);
    let end = end.min(image.data().len() as u64);
    let bytes = image.file_range(start, end.saturating_sub(start));
    part(hasher, start, bytes.unwrap_or_default());
}

fn data(hasher: &mut blake3::Hasher, image: &Image<'_>, addr: VirtAddr) {
    let bytes = image.bytes_at(addr).unwrap_or_default();
    let bytes = bytes.get(..DATA_BYTES).unwrap_or(bytes);
    part(hasher, addr.0, bytes);
}

/// Places and lengths are part of it, so that bytes cannot pass from one part to the next.
fn part(hasher: &mut blake3::Hasher, place: u64, bytes: &[u8]) {
    hasher.update(&place.to_le_bytes());
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}
