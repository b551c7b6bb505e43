//! Does discovery still say what it should? Compares reports with a manifest of expectations, entry by
//! entry, and sums up how far each method of evidence can be trusted.
//!
//! Plain data in, plain data out: no file is opened here, and nothing is decided from the names of
//! samples. What a manifest may say: `samples.schema.json`.

pub mod compare;
pub mod manifest;
pub mod tally;

pub use compare::{Row, Verdict, compare};
pub use manifest::{Entry, Manifest};
pub use tally::{MethodTally, Tally};

/// JSON Schema of a manifest.
pub const SAMPLES_SCHEMA: &str = include_str!("samples.schema.json");
