//! The causal graph, from what was said and done as values: every kind of edge with what proves it, and with what nearly does.

// A test fails by panicking.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

mod commands;
mod disorder;
mod places;
mod results;
mod scene;
mod servers;
mod why;
