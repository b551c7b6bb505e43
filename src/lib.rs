//! x
#[cfg(feature = "bpf")]
pub mod attach;
pub mod bytes;
pub mod discover;
pub mod error;
pub mod event;
pub mod host;
pub mod image;
pub mod plan;
pub mod stream;
pub mod symdb;
