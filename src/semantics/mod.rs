//! Messages to meaning: which prompt went to which model, what came back, what it cost. One model for all providers
//! ([`model`]), one file for each dialect ([`dialect`]).
//!
//! A dialect is recognised by path and body, not by host alone, and what is not recognised stays an HTTP exchange. Nothing
//! here is guessed: what a provider does not report is absent, and what is incomplete says so.

pub mod dialect;
pub mod model;

pub use dialect::{Delta, Dialect, Merge, Piece, RequestView, Target};
pub use model::{Call, Choice, Message, Operation, Part, Request, Response, Tool, Usage};
