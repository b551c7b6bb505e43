//! What people and other tools see of deeds: the lines of `--json` against their schema, the story of `--view tree`, the
//! events that other viewers read.

// A test fails by panicking.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr
)]

mod eunomia;
mod lines;
mod made;
mod spoken;
mod tree;
