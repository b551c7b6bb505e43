//! Tokens as OpenAI's APIs and those who follow them report them.
//!
//! Sources: the API reference of OpenAI (`usage` of chat completions and of responses), and of DeepSeek
//! (`prompt_cache_hit_tokens`), Together and Moonshot (`cached_tokens`), Writer (`prompt_token_details`), OpenRouter
//! (`cache_write_tokens`).

use serde_json::Value;

use crate::semantics::{Response, Usage};

const INPUT: &[&str] = &["/prompt_tokens", "/input_tokens"];
const OUTPUT: &[&str] = &["/completion_tokens", "/output_tokens"];
const CACHE_READ: &[&str] = &[
    "/prompt_tokens_details/cached_tokens",
    "/input_tokens_details/cached_tokens",
    "/prompt_token_details/cached_tokens",
    "/prompt_cache_hit_tokens",
    "/cached_tokens",
    "/cache_read_input_tokens",
];
const CACHE_WRITE: &[&str] = &[
    "/prompt_tokens_details/cache_write_tokens",
    "/input_tokens_details/cache_write_tokens",
    "/cache_creation_input_tokens",
];
const REASONING: &[&str] = &[
    "/completion_tokens_details/reasoning_tokens",
    "/output_tokens_details/reasoning_tokens",
    "/completion_token_details/reasoning_tokens",
    "/reasoning_tokens",
];

/// `None`: nothing is reported.
pub fn read(reported: &Value) -> Option<Usage> {
    if !reported.is_object() {
        return None;
    }
    let first = |paths: &[&str]| {
        let mut found = paths.iter().filter_map(|path| reported.pointer(path));
        found.find_map(Value::as_u64)
    };
    let input_tokens = first(INPUT);
    let reasoning_tokens = first(REASONING);
    let total = first(&["/total_tokens"]);
    Some(Usage {
        input_tokens,
        output_tokens: first(OUTPUT)
            .map(|output| with_reasoning(input_tokens, output, reasoning_tokens, total)),
        cache_read_tokens: first(CACHE_READ),
        cache_write_tokens: first(CACHE_WRITE),
        reasoning_tokens,
        reported: reported.clone(),
        estimated_with: None,
    })
}

/// Whether it counts the reasoning neither among the output nor apart: Gemini's compatible API has it in the total alone.
pub fn hides_reasoning(provider: &str) -> bool {
    provider.starts_with("gcp.")
}

/// Adds the reasoning that such a provider hides to the output.
pub fn settle(provider: &str, response: &mut Response) {
    let Some(usage) = response.usage.as_mut() else {
        return;
    };
    let total = usage.reported.get("total_tokens").and_then(Value::as_u64);
    let (Some(input), Some(output), Some(total)) = (usage.input_tokens, usage.output_tokens, total)
    else {
        return;
    };
    let hidden = total.saturating_sub(input).saturating_sub(output);
    if hides_reasoning(provider) && usage.reasoning_tokens.is_none() && hidden > 0 {
        usage.output_tokens = Some(output.saturating_add(hidden));
        usage.reasoning_tokens = Some(hidden);
    }
}

/// Of an answer that has no output: some report the total alone (Voyage).
pub fn all_is_input(response: &mut Response) {
    if let Some(usage) = &mut response.usage
        && usage.input_tokens.is_none()
        && usage.output_tokens.is_none()
    {
        usage.input_tokens = usage.reported.get("total_tokens").and_then(Value::as_u64);
    }
}

/// OpenAI counts the reasoning among the output; xAI and Gemini's compatible API count it apart, which the total shows.
fn with_reasoning(
    input: Option<u64>,
    output: u64,
    reasoning: Option<u64>,
    total: Option<u64>,
) -> u64 {
    let (Some(input), Some(reasoning), Some(total)) = (input, reasoning, total) else {
        return output;
    };
    let all = output.saturating_add(reasoning);
    if all.saturating_add(input) == total {
        all
    } else {
        output
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The reasoning of a model whose provider counts it apart is not in the output that is told (and paid).
    #[test]
    fn reasoning_that_is_counted_apart_is_added() {
        let among = json!({"prompt_tokens": 10, "completion_tokens": 30, "total_tokens": 40,
            "completion_tokens_details": {"reasoning_tokens": 20}});
        assert_eq!(read(&among).unwrap().output_tokens, Some(30));
        let apart = json!({"prompt_tokens": 10, "completion_tokens": 30, "total_tokens": 60,
            "completion_tokens_details": {"reasoning_tokens": 20}});
        assert_eq!(read(&apart).unwrap().output_tokens, Some(50));
    }

    /// Numbers that no provider means (negative, fractions, text) become tokens.
    #[test]
    fn odd_numbers_are_not_tokens() {
        let odd = json!({"prompt_tokens": -1, "completion_tokens": 1.5, "cached_tokens": "7"});
        let usage = read(&odd).unwrap();
        assert_eq!(
            (
                usage.input_tokens,
                usage.output_tokens,
                usage.cache_read_tokens
            ),
            (None, None, None)
        );
        assert_eq!(usage.reported, odd);
    }
}
