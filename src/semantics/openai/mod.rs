//! OpenAI's APIs, which most other providers speak too. A streamed answer is put together to the body of the unstreamed
//! one, and read by the same code: that makes both the same.
//!
//! Members that say nothing (`null`, empty) are left out of what is kept, since providers differ in these between both
//! forms. What is not understood stands under the name that it has: of a question in `parameters`, of an answer in
//! `extra`; of elements of lists (`choices`, `messages`, `tools`, `input`, `output`) with their `index`.

mod answer;
mod calls;
mod chat;
mod claim;
mod completions;
mod content;
mod embeddings;
mod error;
mod events;
mod grow;
mod growing;
mod images;
mod item;
mod message;
mod question;
mod responses;
mod running;
mod stream;
mod threads;
mod tools;
mod usage;

pub use chat::Chat;
pub use completions::Completions;
pub use embeddings::Embeddings;
pub use images::Images;
pub use responses::{Responses, created};
pub use threads::Threads;
pub(super) use usage::read as counted;
