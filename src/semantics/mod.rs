//! Messages to meaning: which prompt went to which model, what came back, what it cost. One model for all providers
//! ([`model`]), one file for each dialect ([`dialect`]).
//!
//! A dialect is recognised by path and body, not by host alone, and what is not recognised stays an HTTP exchange. Nothing
//! here is guessed: what a provider does not report is absent, and what is incomplete says so.

pub mod anthropic;
pub mod bedrock;
pub mod cohere;
pub mod dialect;
mod functions;
mod fuzz;
pub mod gemini;
pub mod generation;
mod json;
pub mod mcp;
pub mod model;
pub mod ollama;
pub mod openai;
pub mod parts;
mod plain;
pub mod price;
pub mod recognise;
pub mod replicate;
pub mod rest;
pub mod thread;
#[cfg(feature = "tokens")]
pub mod tokens;
#[cfg(test)]
mod trial;
pub mod unplaced;
pub mod walk;

pub use dialect::{Delta, DeltaKind, Dialect, Merge, Piece, RequestView, Target};
pub use model::{Call, Choice, Message, Operation, Part, Request, Response, Tool, Usage};
pub use recognise::{fetched, provider_of, recognise};
