//! HTTP/2 as real peers speak it: the `h2` crate at both ends, and nghttp2 as programs. What the decoder says of the bytes
//! between them is what the peers say themselves; and of the same bytes joined in their middle, everything it says is a
//! part of that.

// A test fails by panicking.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr
)]

mod crates;
mod damage;
mod late;
mod literals;
mod nghttp2;
mod seen;
#[path = "../support/skip.rs"]
mod skip;
mod wire;
