//! What was asked and what is to be answered, in no provider's words: drawn from a seed, or given as a script.

use fastrand::Rng;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// What a request says, as the API's own rules read it.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    /// In the body; the path's goes before it.
    pub model: Option<String>,
    /// The answer is to be streamed, as far as the body says.
    pub stream: bool,
    /// Instructions outside of the messages.
    pub system: Vec<String>,
    /// In order.
    pub messages: Vec<Message>,
    /// Names of the tools.
    pub tools: Vec<String>,
    /// Answers that are wanted.
    pub choices: usize,
    /// It wants to see what the model thinks.
    pub thinks: bool,
    /// A tool of the provider that it may use.
    pub searches: bool,
    /// Whether a streamed answer ends with its usage.
    pub wants_usage: bool,
    /// Vectors that are wanted.
    pub inputs: usize,
    /// Goes on from this answer.
    pub previous: Option<String>,
}

/// One message of a request.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Message {
    pub role: String,
    pub texts: Vec<String>,
    pub reasoning: Vec<String>,
    /// `{"id", "name", "arguments"}`.
    pub tool_calls: Vec<Value>,
    /// `{"id", "content"}`, the content as it was sent.
    pub tool_results: Vec<Value>,
}

impl Message {
    /// With nothing in it.
    pub fn of(role: &str) -> Self {
        Self {
            role: role.to_owned(),
            ..Self::default()
        }
    }
}

impl Asked {
    /// The last that was said is what a tool gave.
    pub fn ends_with_result(&self) -> bool {
        self.messages
            .last()
            .is_some_and(|message| !message.tool_results.is_empty())
    }

    /// How often tools have answered: runs of results.
    pub fn rounds(&self) -> usize {
        let mut was_result = false;
        let mut rounds = 0;
        for message in &self.messages {
            let is_result = !message.tool_results.is_empty();
            rounds += usize::from(is_result && !was_result);
            was_result = is_result;
        }
        rounds
    }
}

/// Text of a JSON value that is one, or of its blocks with `text`.
pub fn texts(content: &Value) -> Vec<String> {
    match content {
        Value::String(text) => vec![text.clone()],
        Value::Array(blocks) => {
            let texts = blocks.iter().filter_map(|block| block["text"].as_str());
            texts.map(str::to_owned).collect()
        }
        _ => Vec::new(),
    }
}

/// A list of a body; empty if it is none.
pub fn list<'v>(body: &'v Value, name: &str) -> &'v [Value] {
    body[name].as_array().map_or(&[], Vec::as_slice)
}

/// A text of a body; empty if it is none.
pub fn text(body: &Value, name: &str) -> String {
    body[name].as_str().unwrap_or_default().to_owned()
}

/// What a JSON text says; the text itself if it is none.
pub fn decoded(text: &Value) -> Value {
    match text.as_str() {
        Some(json) => serde_json::from_str(json).unwrap_or_else(|_| text.clone()),
        None => text.clone(),
    }
}

/// A call of a tool that the model wants.
#[derive(Clone, Debug)]
pub struct ToolCall {
    pub id: String,
    pub name: String,
    pub arguments: Value,
}

impl ToolCall {
    /// Its arguments as JSON text.
    pub fn text(&self) -> String {
        self.arguments.to_string()
    }
}

/// One answer of possibly several.
#[derive(Clone, Debug, Default)]
pub struct Said {
    pub thoughts: String,
    pub text: String,
    pub calls: Vec<ToolCall>,
    /// Ran out of tokens.
    pub is_cut: bool,
    /// A search that the provider ran: its words and its one result.
    pub search: Option<[String; 2]>,
}

/// Tokens; `input` counts what came from the cache and went into it, `output` what was thought.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tokens {
    pub input: u64,
    pub output: u64,
    pub cache_read: u64,
    pub cache_write: u64,
    pub reasoning: u64,
}

/// One exchange: all that an API needs to put it into its own words.
#[derive(Clone, Debug)]
pub struct Turn {
    /// 16 hexadecimal digits, in every response somewhere.
    pub id: String,
    pub model: String,
    pub body: Value,
    pub asked: Asked,
    pub choices: Vec<Said>,
    pub tokens: Tokens,
}

impl Turn {
    /// The first answer, for APIs that have one only.
    pub fn said(&self) -> Said {
        self.choices.first().cloned().unwrap_or_default()
    }

    /// Seconds since 1970, the same for the same exchange.
    pub fn created(&self) -> u64 {
        1_790_000_000 + u64::from_str_radix(&self.id, 16).unwrap_or_default() % 10_000_000
    }
}

/// One entry of a script file: a list of these, turn by turn.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ScriptedTurn {
    #[serde(default)]
    thoughts: String,
    #[serde(default)]
    text: String,
    #[serde(default)]
    tool_calls: Vec<ScriptedCall>,
}

#[derive(Clone, Debug, Deserialize)]
struct ScriptedCall {
    name: String,
    arguments: Value,
}

impl ScriptedTurn {
    /// With numbers for its calls.
    pub fn said(&self, rng: &mut Rng) -> Said {
        let calls = self.tool_calls.iter().map(|call| ToolCall {
            id: hex(rng),
            name: call.name.clone(),
            arguments: call.arguments.clone(),
        });
        Said {
            thoughts: self.thoughts.clone(),
            text: self.text.clone(),
            calls: calls.collect(),
            ..Said::default()
        }
    }
}

/// Draws an answer that fits what was asked: tools are called when there are some and none has just answered.
pub fn draw(asked: &Asked, rng: &mut Rng) -> Said {
    let mut said = Said {
        is_cut: rng.u8(..6) == 0,
        ..Said::default()
    };
    if asked.thinks {
        said.thoughts = words(rng, 4);
    }
    if asked.searches {
        said.search = Some([words(rng, 1), words(rng, 2)]);
    }
    if asked.tools.is_empty() || asked.ends_with_result() {
        let length = rng.usize(1..24);
        said.text = words(rng, length);
        return said;
    }
    if rng.bool() {
        said.text = words(rng, 3);
    }
    said.is_cut = false;
    for _ in 0..rng.usize(1..4) {
        let name = rng.choice(&asked.tools).cloned().unwrap_or_default();
        said.calls.push(ToolCall {
            id: hex(rng),
            name,
            arguments: arguments(rng),
        });
    }
    said
}

/// Draws counts that differ from each other.
pub fn tokens(rng: &mut Rng, thinks: bool) -> Tokens {
    let (cache_read, cache_write) = (rng.u64(0..5_000), rng.u64(0..900));
    let reasoning = if thinks { rng.u64(1..700) } else { 0 };
    Tokens {
        input: rng.u64(1..20_000) + cache_read + cache_write,
        output: rng.u64(1..4_000) + reasoning,
        cache_read,
        cache_write,
        reasoning,
    }
}

/// 16 hexadecimal digits.
pub fn hex(rng: &mut Rng) -> String {
    format!("{:016x}", rng.u64(..))
}

/// What trips those who cut text at bytes, at lines, at quotes, or who take content for framing.
const WORDS: [&str; 30] = [
    "The port is 8080, ",
    "so the parser fails; ",
    "\"quoted\" and \\escaped\\ ",
    "line one\nline two\r\nline three\n\n",
    "\ttab\t",
    "Grüße aus Köln, ",
    "数据流在这里被切开。",
    "日本語のテキスト、",
    "Привет, мир! ",
    "مرحبا بالعالم ",
    "👩‍👩‍👧‍👦 ",
    "🚀🔥 ",
    "e\u{301}a\u{308} ",
    "\u{2028}separator\u{2029} ",
    "\u{85}next line ",
    "\u{1b}[31mred\u{1b}[0m ",
    "\u{7f}\u{1}\u{8} ",
    "data: [DONE]\n\n",
    "event: message_stop\ndata: {}\n\n",
    "0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    "{\"type\":\"text\"} ",
    "]}'; -- ",
    "</script><b>bold</b> ",
    "```rust\nfn main() {}\n``` ",
    "ﬁne ﬂow ",
    "\u{feff}mark ",
    "x",
    " ",
    "𝒜 math 𝔅 ",
    "a rather long run of plain words without anything that would trip a reader of it, ",
];

/// A text of so many pieces, with what is hard in it.
pub fn words(rng: &mut Rng, count: usize) -> String {
    // The first and the last are plain: some SDKs take white space off the ends of what they say again.
    let mut text = String::from("Well, ");
    for _ in 0..count {
        text.push_str(rng.choice(&WORDS).copied().unwrap_or_default());
    }
    text.push_str("ok.");
    text
}

fn arguments(rng: &mut Rng) -> Value {
    let mut object = Map::new();
    object.insert("path".to_owned(), json!(words(rng, 2)));
    for name in ["limit", "options", "ranges", "ключ"] {
        if rng.bool() {
            object.insert(name.to_owned(), value(rng, 3));
        }
    }
    Value::Object(object)
}

fn value(rng: &mut Rng, depth: u8) -> Value {
    match rng.u8(..if depth == 0 { 5 } else { 8 }) {
        0 => Value::Null,
        1 => json!(rng.bool()),
        2 => json!(rng.i32(..)),
        3 => json!(f64::from(rng.i16(..)) / 4.0),
        4 => json!(words(rng, 1)),
        5 => json!({}),
        6 => {
            let count = rng.usize(..3);
            (0..count).map(|_| value(rng, depth - 1)).collect()
        }
        _ => {
            json!({"a\"b": value(rng, depth - 1), "empty": [], "nested": {"deep": value(rng, depth - 1)}})
        }
    }
}
