//! Rules over what is done and said: each of those that come with the program with cases that it is for and cases that it
//! must leave alone, what is refused of files of rules, and bounds.

// A test fails by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod bounds;
mod conversation;
mod defaults;
mod grammar;
mod scene;
