//! What is said to a model and what it says, the same for all providers. The parts of messages are those of the
//! OpenTelemetry GenAI conventions 0.1.0 (`gen_ai.input.messages`), and serialise to that JSON.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// A conversation's next turn (`gen_ai.operation.name`).
    Chat,
    /// Vectors for texts.
    Embeddings,
    /// Gemini's name for [`Operation::Chat`].
    GenerateContent,
    /// Pictures.
    ImageGeneration,
    /// An order of relevance for documents.
    Rerank,
    /// A text that goes on.
    TextCompletion,
}

/// One message of a conversation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// `system`, `developer`, `user`, `assistant` or `tool`; others as the provider says. Gemini's `model` is `assistant`.
    pub role: String,
    /// Who of several in this role.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// In order.
    pub parts: Vec<Part>,
}

impl Message {
    /// Of nobody in particular in this role.
    pub fn new(role: &str, parts: Vec<Part>) -> Self {
        Self {
            role: role.to_owned(),
            name: None,
            parts,
        }
    }
}

/// A piece of a message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Part {
    /// Data inside of the message, such as a picture. Not the bytes: what they are.
    Blob {
        /// `image`, `audio`, `video` or `document`.
        modality: String,
        /// As the sender says.
        #[serde(skip_serializing_if = "Option::is_none")]
        mime_type: Option<String>,
        /// Of the decoded data.
        bytes: u64,
        /// BLAKE3 of the base64 text as it was sent, in hex: equal data are equal.
        blake3: String,
    },
    /// A file that the provider has.
    File {
        /// Its name there.
        file_id: String,
    },
    /// What the model thought.
    Reasoning {
        /// The text; empty where the provider keeps it to itself.
        content: String,
        /// The provider sent it in a form that only it can read (Anthropic's `redacted_thinking`, OpenAI's
        /// `encrypted_content`).
        #[serde(default, skip_serializing_if = "is_false")]
        encrypted: bool,
    },
    /// The model declines.
    Refusal {
        /// Its words.
        content: String,
    },
    /// A tool that the provider runs.
    ServerToolCall {
        /// Its number.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        /// `web_search`, …
        name: String,
        /// With what.
        arguments: Value,
    },
    /// What a tool of the provider gave.
    ServerToolCallResponse {
        /// Of which call.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        /// What it gave.
        response: Value,
        /// As in [`Part::ToolCallResponse`].
        #[serde(default, skip_serializing_if = "is_false")]
        is_error: bool,
    },
    /// Text.
    Text {
        /// It.
        content: String,
        /// What it is founded on, as the provider says it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        citations: Vec<Value>,
    },
    /// The model wants a tool to be called.
    ToolCall {
        /// Its number, which the answer names. Gemini's have none.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        /// The tool.
        name: String,
        /// Decoded if they are JSON; else the text.
        arguments: Value,
    },
    /// What a tool gave.
    ToolCallResponse {
        /// Of which call.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        /// The tool, where the provider names it here (Gemini).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// What it gave.
        response: Value,
        /// It failed, where the provider has a word for that.
        #[serde(default, skip_serializing_if = "is_false")]
        is_error: bool,
    },
    /// Data that lie elsewhere.
    Uri {
        /// As in [`Part::Blob`].
        modality: String,
        /// As the sender says.
        #[serde(skip_serializing_if = "Option::is_none")]
        mime_type: Option<String>,
        /// Where.
        uri: String,
    },
    /// Anything else, as the provider says it. The last, as serde wants it.
    #[serde(untagged)]
    Generic {
        /// The provider's name for it.
        #[serde(rename = "type")]
        kind: String,
        /// All of it but its type.
        #[serde(flatten)]
        content: Map<String, Value>,
    },
}

fn is_false(value: &bool) -> bool {
    !value
}

/// A tool that the model may call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Tool {
    /// `function` or the provider's name for a tool of its own.
    #[serde(rename = "type")]
    pub kind: String,
    /// By which it is called.
    pub name: String,
    /// What the model is told of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// JSON Schema of its arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Value>,
}

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// As asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Instructions outside of the messages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub system: Vec<Part>,
    /// The conversation so far. Of embeddings and completions: one message of `user` for each input.
    pub messages: Vec<Message>,
    /// Tools.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Tool>,
    /// All other fields, as the provider names them (`temperature`, `max_tokens`, …).
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub parameters: Map<String, Value>,
    /// The answer is to be streamed.
    pub stream: bool,
    /// Goes on from this earlier answer, which the provider keeps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous_response_id: Option<String>,
    /// A conversation's number that is on the wire.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation_id: Option<String>,
}

/// One answer of possibly several.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// Which, from 0.
    pub index: u64,
    /// What it says.
    pub message: Message,
    /// Why it ended, in the provider's word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finish_reason: Option<String>,
}

/// What is answered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// The provider's number for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// That answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The answers; of embeddings none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub choices: Vec<Choice>,
    /// Vectors, pictures or ranks that came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub results: Option<u64>,
    /// What it took, as the provider reports.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// What went wrong, in the provider's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ProviderError>,
    /// All other fields that a streamed and an unstreamed answer both have, as the provider names them.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub extra: Map<String, Value>,
    /// A stream came to its proper end. Of an unstreamed answer: its JSON was whole.
    pub is_complete: bool,
}

impl Response {
    /// As a stream leaves it, whole if that came to its end.
    pub(super) fn streamed(self, is_ended: bool, error: Option<ProviderError>) -> Self {
        Self {
            is_complete: is_ended && error.is_none(),
            error: error.or(self.error),
            ..self
        }
    }
}

/// In a provider's words.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderError {
    /// `overloaded_error`, …
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// A code, as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// For people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Tokens. Absent is not zero: the provider did not say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// All of the input, with what came from a cache and what went into it (as OpenTelemetry counts; Anthropic and Bedrock
    /// report these apart, and they are added here).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_tokens: Option<u64>,
    /// All of the output, with the reasoning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// Of the input, those that came from a cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_read_tokens: Option<u64>,
    /// Of the input, those that went into a cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_write_tokens: Option<u64>,
    /// Of the output, those that nobody sees.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_tokens: Option<u64>,
    /// As the provider says it, untouched.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub reported: Value,
    /// Not reported: counted by us, with this tokenizer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimated_with: Option<String>,
}

/// One question and its answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Call {
    /// `openai`, `anthropic`, … (`gen_ai.provider.name`).
    pub provider: String,
    /// What for.
    pub operation: Operation,
    /// Asked.
    pub request: Request,
    /// Answered; `None`: nothing came.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<Response>,
}
