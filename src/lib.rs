//! x
pub mod bytes;
pub mod discover;
pub mod error;
pub mod image;
pub mod symdb;
