//! What answers of chats say.

use super::*;

/// Words that Groq puts into each piece are glued together, and a tool that it ran is told with its words twice.
#[test]
fn groq_says_things_again() {
    let groq = chat("api.groq.com");
    let (response, _) = groq.both(
        &whole(json!({"reasoning": "User asks", "content": "4"})),
        &[
            delta(json!({"role": "assistant", "content": null})),
            delta(json!({"reasoning": "User", "channel": "analysis"})),
            delta(json!({"reasoning": " asks", "channel": "analysis"})),
            delta(json!({"content": "4", "channel": "final"})),
            stop(),
        ],
    );
    assert_eq!(response.extra, Default::default());
    let asks = json!({"index": 0, "type": "search", "arguments": "{\"query\": \"w\"}",
        "search_results": {"results": []}});
    let mut gives = asks.clone();
    gives["output"] = "Title: W".into();
    gives["search_results"] = json!({"results": [{"title": "W", "score": 0.9}]});
    let (response, deltas) = groq.both(
        &whole(json!({"reasoning": "Look", "executed_tools": [gives], "content": "Sunny"})),
        &[
            delta(json!({"reasoning": "Lo"})),
            delta(json!({"executed_tools": [asks]})),
            delta(json!({"executed_tools": [gives]})),
            delta(json!({"reasoning": "ok"})),
            delta(json!({"content": "Sunny"})),
            stop(),
        ],
    );
    assert_eq!(
        said(&response),
        json!([
            {"type": "reasoning", "content": "Look"},
            {"type": "server_tool_call", "name": "search", "arguments": {"query": "w"}},
            {"type": "server_tool_call_response", "response":
                {"output": "Title: W", "search_results": {"results": [{"title": "W", "score": 0.9}]}}},
            {"type": "text", "content": "Sunny"},
        ])
    );
    let text = deltas
        .iter()
        .find(|delta| matches!(delta.kind, DeltaKind::Text(_)));
    assert_eq!(text.unwrap().part, 3);
}

/// Pictures that a model made are megabytes of text.
#[test]
fn pictures_of_chats_are_blobs() {
    let image = |url: &str| json!({"type": "image_url", "image_url": {"url": url}, "index": 0});
    let images = [
        image("data:image/png;base64,aGVsbG8="),
        image("https://example.org/a.png"),
    ];
    let (response, _) = chat("openrouter.ai").both(
        &whole(json!({"content": "Here", "images": images})),
        &[
            delta(json!({"content": "Here"})),
            delta(json!({"images": [images[0]]})),
            delta(json!({"images": [images[1]]})),
            stop(),
        ],
    );
    let parts = said(&response);
    assert_eq!(parts[1]["type"], "blob");
    assert_eq!(parts[1]["bytes"], 5);
    assert_eq!(parts[2]["type"], "uri");
    assert_eq!(response.extra, Default::default());
    let bare = whole(json!({"images": [{"image_url": {"url": "data:image/png;base64,aGVsbG8="}}]}));
    assert_eq!(said(&chat("x").answered(&bare))[0]["type"], "blob");
}

/// Thoughts stand among the things that are not understood, since a provider has its own name for them.
#[test]
fn thoughts_have_other_names() {
    let (response, _) = chat("api.githubcopilot.com").both(
        &whole(json!({"reasoning_text": "Hm.", "content": "a"})),
        &[
            delta(json!({"reasoning_text": "H"})),
            delta(json!({"reasoning_text": "m."})),
            delta(json!({"content": "a"})),
            stop(),
        ],
    );
    let expected =
        json!([{"type": "reasoning", "content": "Hm."}, {"type": "text", "content": "a"}]);
    assert_eq!(said(&response), expected);
    let thought = |text: &str| {
        let text = json!({"type": "summary_text", "text": text, "signature": "c2ln"});
        json!({"type": "reasoning", "summary": [text]})
    };
    let (response, deltas) = chat("x.azuredatabricks.net").both(
        &whole(json!({"content": [thought("Hm."), {"type": "text", "text": "a"}]})),
        &[
            delta(json!({"content": [thought("H")]})),
            delta(json!({"content": [thought("m.")]})),
            delta(json!({"content": [{"type": "text", "text": "a"}]})),
            stop(),
        ],
    );
    assert_eq!(said(&response), expected);
    assert_eq!(deltas.len(), 4);
}
