//! Recorded exchanges with real providers, and what they say: a few paths into the recorded JSON, without any of our code.
//! What our output says of each is compared with that.
//!
//! `scripts/fetch-corpus` gets recordings; `AGENTSIGHT_LLM_CORPUS` names others, separated by colons: JSON lines, perhaps
//! in gzip, an exchange in each. Each family of APIs has a file here, and one line in [`FAMILIES`].

#![allow(dead_code, reason = "each test uses its own part")]

mod anthropic;
mod bedrock;
mod cohere;
pub mod exchange;
pub mod facts;
mod gemini;
mod generation;
mod ollama;
mod openai;
pub mod table;
mod vanished;

use serde_json::Value;

pub use exchange::{Exchange, OwnedPiece, corpus};
use facts::Facts;
pub use table::Table;

/// APIs of one kind.
pub struct Family {
    /// For people.
    pub name: &'static str,
    /// Whether the exchange is one of them, by address and body; must not ask the code under test.
    has: fn(&Exchange) -> bool,
    /// What the recorded JSON says.
    expected: fn(&Exchange) -> Facts,
    /// The answer in pieces; `None`: it came whole.
    pub pieces: fn(&Exchange) -> Option<Vec<OwnedPiece>>,
    /// Strings and numbers of an unstreamed answer that our model has no place for on purpose.
    left_out: fn(path: &str) -> bool,
}

const FAMILIES: &[Family] = &[
    anthropic::COMPLETE,
    anthropic::MESSAGES,
    bedrock::CONVERSE,
    bedrock::INVOKE,
    cohere::CHAT,
    cohere::CHAT_V1,
    cohere::EMBED,
    cohere::RERANK,
    gemini::EMBED,
    gemini::GENERATE,
    gemini::INTERACTIONS,
    generation::GENERATION,
    ollama::CHAT,
    ollama::EMBED,
    ollama::GENERATE,
    openai::CHAT,
    openai::COMPLETIONS,
    openai::EMBEDDINGS,
    openai::IMAGES,
    openai::RESPONSES,
    openai::RUNS,
];

impl Family {
    /// Of which an exchange is; `None`: it asks no model.
    pub fn of(exchange: &Exchange) -> Option<&'static Self> {
        FAMILIES.iter().find(|family| (family.has)(exchange))
    }

    /// What differs between an exchange and the `llm.call` (and its `llm.delta`) that it should be, in words.
    pub fn differences(&self, exchange: &Exchange, call: &Value, deltas: &[&Value]) -> Vec<String> {
        let mut wrong = (self.expected)(exchange).differences(&Facts::told(call));
        wrong.extend(facts::of_deltas(call, deltas));
        if call["response"]["is_complete"] != true {
            wrong.push("not complete".to_owned());
        }
        let is_streamed = (self.pieces)(exchange).is_some();
        wrong.extend(vanished::from(exchange, call, self.left_out, is_streamed));
        wrong
    }
}
