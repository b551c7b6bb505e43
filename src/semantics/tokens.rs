//! Tokens of calls whose provider reported none, counted with the tokenizer that OpenAI publishes for its models
//! (tiktoken). An estimate, marked as one.
//!
//! Counted are the texts of instructions, messages, tool calls and their results, and of the answer; not what frames each
//! message (three tokens or so). What nobody here sees is not guessed: there is no count of the input where tools or a form
//! of the answer are described to the model, or the provider adds to the question; and none of the output of models that
//! think unseen. A call with half a count has no cost. There is no estimate for other models, which have other tokenizers,
//! for an answer that is not whole, and for a call with pictures, files or other data, or that goes on from an answer or a
//! conversation which the provider keeps.
//!
//! The first estimate loads a vocabulary: half a second and some 50 MB, until the program ends.

use std::borrow::Cow;

use serde_json::Value;
use tiktoken_rs::tokenizer::{Tokenizer, get_tokenizer};
use tiktoken_rs::{CoreBPE, cl100k_base_singleton, o200k_base_singleton};

use super::model::{Call, Message, Operation, Part, Request, Usage};

/// Bytes of the texts of a call: more is not counted. A megabyte that was made for it takes a second or two.
const TEXT_MAX: usize = 1_000_000;
/// White space in a row: the tokenizer's regex gives up (and panics) after a million steps back.
const BLANKS_MAX: usize = 4096;
/// Who runs OpenAI's models under OpenAI's names. Others may give these names to anything.
const PROVIDERS: &[&str] = &[
    "azure.ai.openai",
    "github",
    "github_copilot",
    "openai",
    "openrouter",
];

/// How the names of models begin that think nothing unseen. Of newer ones, all may.
const SAYS_ALL: &[&str] = &[
    "ada",
    "babbage",
    "chatgpt-4o",
    "code-",
    "curie",
    "davinci",
    "gpt-3",
    "gpt-35",
    "gpt-4",
    "text-",
];
/// Fields of a question from which the provider makes input of its own: what it finds on the web, texts that it keeps.
const ADDS: &[&str] = &["functions", "prompt", "web_search_options"];

/// What a call took, where its provider says nothing of that. `None`: it does, or nobody can tell.
pub fn estimate(call: &Call) -> Option<Usage> {
    let response = call.response.as_ref()?;
    let is_text = matches!(
        call.operation,
        Operation::Chat | Operation::Embeddings | Operation::TextCompletion
    );
    let is_whole = response.is_complete && response.error.is_none() && response.usage.is_none();
    let request = &call.request;
    let is_kept = request.previous_response_id.is_some() || request.conversation_id.is_some();
    if !is_text || !is_whole || is_kept {
        return None;
    }
    let asked = call.request.model.as_deref();
    // What Azure is asked for is a deployment, whose name says nothing.
    let asked = asked.filter(|_| call.provider != "azure.ai.openai");
    let model = response.model.as_deref().or(asked)?;
    let (tokenizer, name) = tokenizer(&call.provider, model)?;
    let system = call.request.system.iter();
    let said = call.request.messages.iter().flat_map(parts);
    let question = texts(system.chain(said))?;
    let choices = response.choices.iter();
    let answer = texts(choices.flat_map(|choice| parts(&choice.message)))?;
    let all = question.iter().chain(&answer);
    if all.clone().map(|text| text.len()).sum::<usize>() > TEXT_MAX
        || all.clone().any(|text| has_long_blank(text))
    {
        return None;
    }
    let is_answered = call.operation != Operation::Embeddings;
    let (input, output) = (is_all_input(request), is_answered && says_all(call, model));
    if !input && !output {
        return None;
    }
    let bpe = tokenizer();
    Some(Usage {
        input_tokens: input.then(|| count(bpe, &question)),
        output_tokens: output.then(|| count(bpe, &answer)),
        estimated_with: Some(name.to_owned()),
        ..Usage::default()
    })
}

type Load = fn() -> &'static CoreBPE;

fn tokenizer(provider: &str, model: &str) -> Option<(Load, &'static str)> {
    if !PROVIDERS.contains(&provider) {
        return None;
    }
    let model = model.strip_prefix("openai/").unwrap_or(model);
    match get_tokenizer(model)? {
        Tokenizer::Cl100kBase => Some((cl100k_base_singleton, "tiktoken cl100k_base")),
        Tokenizer::O200kBase => Some((o200k_base_singleton, "tiktoken o200k_base")),
        _ => None,
    }
}

/// Whether the messages are all that the model reads.
fn is_all_input(request: &Request) -> bool {
    let parameters = &request.parameters;
    let forms = [
        parameters.get("response_format"),
        parameters.get("text").and_then(|text| text.get("format")),
    ];
    let has_schema = |form: &Value| form.get("type").and_then(Value::as_str) == Some("json_schema");
    request.tools.is_empty()
        && !forms.into_iter().flatten().any(has_schema)
        && !ADDS.iter().any(|name| parameters.contains_key(*name))
}

/// Whether the answer is all that the model said: nothing that was thought or predicted is paid besides.
fn says_all(call: &Call, model: &str) -> bool {
    let model = model.strip_prefix("openai/").unwrap_or(model);
    let model = model.strip_prefix("ft:").unwrap_or(model);
    SAYS_ALL.iter().any(|known| model.starts_with(known))
        && !call.request.parameters.contains_key("prediction")
}

fn count(bpe: &CoreBPE, texts: &[Cow<'_, str>]) -> u64 {
    let counts = texts.iter().map(|text| bpe.count_ordinary(text) as u64);
    counts.fold(0, u64::saturating_add)
}

fn parts(message: &Message) -> &[Part] {
    &message.parts
}

/// `None`: there is something that is no text, or whose text nobody sees.
fn texts<'a>(parts: impl Iterator<Item = &'a Part>) -> Option<Vec<Cow<'a, str>>> {
    let mut texts = Vec::new();
    for part in parts {
        match part {
            Part::Reasoning {
                encrypted: true, ..
            }
            | Part::Blob { .. }
            | Part::File { .. }
            | Part::Generic { .. }
            | Part::ServerToolCall { .. }
            | Part::ServerToolCallResponse { .. }
            | Part::Uri { .. } => return None,
            Part::Reasoning { content, .. }
            | Part::Refusal { content }
            | Part::Text { content, .. } => texts.push(content.into()),
            Part::ToolCall {
                name, arguments, ..
            } => texts.extend([name.into(), json(arguments)]),
            Part::ToolCallResponse { response, .. } => texts.push(json(response)),
        }
    }
    Some(texts)
}

fn json(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => text.into(),
        other => other.to_string().into(),
    }
}

fn has_long_blank(text: &str) -> bool {
    let mut blanks = 0usize;
    text.chars().any(|character| {
        blanks = match character.is_whitespace() {
            true => blanks.saturating_add(1),
            false => 0,
        };
        blanks > BLANKS_MAX
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn call(provider: &str, model: &str, question: &str, answer: &str) -> Call {
        let text = |text| json!([{"type": "text", "content": text}]);
        serde_json::from_value(json!({"provider": provider, "operation": "chat",
            "request": {"model": model, "stream": false,
                "messages": [{"role": "user", "parts": text(question)}]},
            "response": {"model": model, "is_complete": true,
                "choices": [{"index": 0, "message": {"role": "assistant", "parts": text(answer)}}]}}))
        .unwrap()
    }

    /// What is told as counted with a tokenizer was counted with another, or not at all.
    #[test]
    fn texts_are_counted_with_the_model_s_tokenizer() {
        let usage = estimate(&call(
            "openai",
            "gpt-4o",
            "hello world",
            "tiktoken is great!",
        ))
        .unwrap();
        assert_eq!(usage.estimated_with.as_deref(), Some("tiktoken o200k_base"));
        let tokens = |load: Load, text| load().encode_ordinary(text).len() as u64;
        assert_eq!(
            usage.input_tokens,
            Some(tokens(o200k_base_singleton, "hello world"))
        );
        assert_eq!(
            usage.output_tokens,
            Some(tokens(o200k_base_singleton, "tiktoken is great!"))
        );
        let old = estimate(&call("openai", "gpt-4", "语语语", "")).unwrap();
        assert_eq!(old.estimated_with.as_deref(), Some("tiktoken cl100k_base"));
        assert_eq!(
            old.input_tokens,
            Some(tokens(cl100k_base_singleton, "语语语"))
        );
        assert_eq!(old.output_tokens, Some(0));
    }

    /// A number is invented where nobody can know it, or replaces what the provider reported.
    #[test]
    fn what_cannot_be_counted_is_not_estimated() {
        let fine = call("openai", "gpt-4o", "a", "b");
        assert!(estimate(&fine).is_some());
        assert_eq!(
            estimate(&call("anthropic", "claude-sonnet-4-5", "a", "b")),
            None
        );
        assert_eq!(
            estimate(&call("openai_compatible", "gpt-4o", "a", "b")),
            None
        );
        assert_eq!(estimate(&call("openai", "unknown", "a", "b")), None);
        let changed = |change: fn(&mut Call)| {
            let mut call = fine.clone();
            change(&mut call);
            estimate(&call)
        };
        assert_eq!(changed(|call| call.response = None), None);
        let in_answer: [fn(&mut crate::semantics::Response); 2] = [
            |response| response.is_complete = false,
            |response| response.usage = Some(Usage::default()),
        ];
        for change in in_answer {
            let mut call = fine.clone();
            change(call.response.as_mut().unwrap());
            assert_eq!(estimate(&call), None);
        }
        assert_eq!(
            changed(|call| call.request.previous_response_id = Some("r".into())),
            None
        );
    }

    /// A cost is told that leaves out most of what is paid: thoughts that nobody sees, or the descriptions of tools.
    #[test]
    fn what_is_not_seen_is_not_counted() {
        let prices = crate::semantics::price::Prices::load().unwrap();
        let told = |call: &Call| {
            let mut call = call.clone();
            let usage = estimate(&call)?;
            let counts = (usage.input_tokens.is_some(), usage.output_tokens.is_some());
            call.response.as_mut()?.usage = Some(usage);
            Some((counts, prices.of_call(&call).is_some()))
        };
        let fine = call("openai", "gpt-4o", "a", "b");
        assert_eq!(told(&fine), Some(((true, true), true)));
        for model in ["o1", "o3-mini", "o4-mini", "gpt-5", "gpt-5-mini-2025-08-07"] {
            let thinks = told(&call("openai", model, "a", "b"));
            assert_eq!(thinks, Some(((true, false), false)), "{model}");
        }
        let with = |parameter: &str, value: Value| {
            let mut call = fine.clone();
            call.request.parameters.insert(parameter.into(), value);
            told(&call)
        };
        let output_only = Some(((false, true), false));
        let schema = json!({"type": "json_schema", "json_schema": {"name": "x", "schema": {}}});
        assert_eq!(with("response_format", schema.clone()), output_only);
        assert_eq!(with("text", json!({"format": schema})), output_only);
        assert_eq!(with("web_search_options", json!({})), output_only);
        assert_eq!(with("text", json!({"verbosity": "low"})), told(&fine));
        assert_eq!(
            with("prediction", json!({"type": "content"})),
            Some(((true, false), false))
        );
        let mut tools = fine.clone();
        tools.request.tools.push(crate::semantics::Tool::default());
        assert_eq!(told(&tools), output_only);
        tools.response.as_mut().unwrap().model = Some("gpt-5".into());
        assert_eq!(told(&tools), None);
        let mut kept = fine.clone();
        kept.request.conversation_id = Some("conv_1".into());
        assert_eq!(told(&kept), None);
    }

    /// A text that somebody made for it ends the program, or holds it up for long.
    #[test]
    fn hostile_texts_end_nobody() {
        let of = |text: &str| estimate(&call("openai", "gpt-4o", text, ""));
        assert_eq!(of(&"a".repeat(TEXT_MAX + 1)), None);
        assert_eq!(of(&" ".repeat(BLANKS_MAX + 1)), None);
        for unit in [" ", "\n", "\t ", "\u{3000}", " \r"] {
            let blank: String = unit.chars().cycle().take(BLANKS_MAX).collect();
            for text in [
                format!("{blank}x"),
                blank.clone(),
                format!("x{blank}").repeat(3),
            ] {
                assert!(of(&text).is_some(), "{unit:?}");
            }
        }
    }
}
