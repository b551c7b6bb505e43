//! A run in a file, which replays anywhere: the frames of `event/frame.rs` as they came, so that recording
//! costs a write and no more. Secrets are masked before, as everywhere (`mask.rs`).
//!
//! The file: a header (`header.rs`), then frames, each with its kind, a checksum and its length
//! (`coding.rs`); blocks of records are packed (`pack.rs`). All numbers are little-endian, but for what is in the kernel's
//! records, which are as the machine had them. A file that ends too early replays up to there.

mod coding;
mod header;
mod mask;
mod pack;
mod reader;
mod writer;

pub use header::Header;
#[doc(hidden)]
pub use mask::fuzz_mask;
pub use reader::Recording;
pub use writer::Recorder;

#[cfg(test)]
mod tests;
