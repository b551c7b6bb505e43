//! x
#[cfg(feature = "bpf")]
pub mod attach;
pub mod bytes;
pub mod cli;
pub mod discover;
pub mod error;
pub mod event;
pub mod host;
pub mod image;
#[cfg(feature = "bpf")]
pub mod pipeline;
pub mod plan;
pub mod redact;
pub mod sink;
pub mod stream;
pub mod symdb;
