//! What answers took, and cost.

use super::*;

/// What Gemini thought is missing from what it took, and from the cost, where it is spoken to like OpenAI.
#[test]
fn gemini_hides_thoughts_in_the_total() {
    let usage = json!({"completion_tokens": 12, "prompt_tokens": 35, "total_tokens": 126});
    let mut body = whole(json!({"content": "a"}));
    body["usage"] = usage.clone();
    let mut end = stop();
    end["usage"] = usage.clone();
    let events = [delta(json!({"content": "a"})), end];
    let path = "/v1beta/openai/chat/completions";
    let host = "generativelanguage.googleapis.com";
    let gemini = asked(host, path, question()).unwrap();
    let (response, _) = gemini.both(&body, &events);
    assert_eq!(tokens(&response), [Some(35), Some(91), Some(79)]);
    assert_eq!(response.usage.unwrap().reported, usage);
    let (response, _) = chat("api.openai.com").both(&body, &events);
    assert_eq!(tokens(&response), [Some(35), Some(12), None]);
}

/// What a stream of Moonshot took is not told.
#[test]
fn moonshot_reports_in_the_choice() {
    let usage = json!({"prompt_tokens": 8, "completion_tokens": 3, "total_tokens": 11});
    let mut end = stop();
    end["choices"][0]["usage"] = usage.clone();
    let mut body = whole(json!({"content": "a"}));
    body["usage"] = usage;
    let events = [delta(json!({"content": "a"})), end];
    let (response, _) = chat("api.moonshot.ai").both(&body, &events);
    assert_eq!(tokens(&response), [Some(8), Some(3), None]);
}

/// Thoughts, and tokens of another model that was asked for advice, are left out.
#[test]
fn anthropic_counts_more_than_the_answer() {
    let anthropic = asked(
        "api.anthropic.com",
        "/v1/messages",
        json!({"model": "claude-sonnet-4-5", "max_tokens": 9, "messages": [{"role": "user", "content": "q"}]}),
    )
    .unwrap();
    let iteration = |kind: &str, input: u64, output: u64| json!({"type": kind, "input_tokens": input, "output_tokens": output});
    let usage = |iterations: &[Value]| {
        json!({"input_tokens": 2411, "output_tokens": 145, "output_tokens_details": {"thinking_tokens": 47},
            "iterations": iterations})
    };
    let body = |usage: &Value| {
        json!({"id": "msg_1", "role": "assistant", "model": "claude-sonnet-4-5", "stop_reason": "end_turn",
            "content": [{"type": "text", "text": "4"}], "usage": usage})
    };
    let prices = Prices::load().unwrap();
    let usd = |usage: &Value| {
        let response = anthropic.answered(&body(usage));
        Some(prices.of_call(&anthropic.call(response))?.usd)
    };
    let answer = [
        iteration("message", 1128, 135),
        iteration("message", 1283, 10),
    ];
    let reported = usage(&answer);
    let start = json!({"type": "message_start", "message": {"id": "msg_1", "role": "assistant", "content": [],
        "model": "claude-sonnet-4-5", "usage": {"input_tokens": 1128, "output_tokens": 2}}});
    let events = [
        start,
        json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "4"}}),
        json!({"type": "content_block_stop", "index": 0}),
        json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": reported}),
        json!({"type": "message_stop"}),
    ];
    let (response, _) = anthropic.both(&body(&reported), &events);
    assert_eq!(tokens(&response), [Some(2411), Some(145), Some(47)]);
    let of = |model: &str, input: u64, output: u64| {
        let asked = json!({"input_tokens": input, "output_tokens": output});
        let mut body = body(&asked);
        body["model"] = model.into();
        let call = anthropic.call(anthropic.answered(&body));
        prices.of_call(&call).unwrap().usd
    };
    let near = |usage: &Value, usd_expected: f64| {
        let usd = usd(usage).unwrap();
        assert!(
            (usd - usd_expected).abs() < 1e-9,
            "{usd} is not {usd_expected}"
        );
    };
    let own = of("claude-sonnet-4-5", 2411, 145);
    near(&reported, own);
    let mut advice = iteration("advisor_message", 2543, 18);
    advice["model"] = "claude-opus-4-5".into();
    let advised = [answer[0].clone(), advice.clone(), answer[1].clone()];
    near(&usage(&advised), own + of("claude-opus-4-5", 2543, 18));
    let compacted = [
        iteration("compaction", 55_196, 83),
        answer[0].clone(),
        answer[1].clone(),
    ];
    near(
        &usage(&compacted),
        own + of("claude-sonnet-4-5", 55_196, 83),
    );
    advice["model"] = "a-model-without-a-price".into();
    assert_eq!(usd(&usage(&[answer[0].clone(), advice])), None);
}

/// Vectors of Vertex AI, and answers of models on Bedrock that count nothing themselves, seem to take no tokens.
#[test]
fn tokens_are_told_where_they_are_counted() {
    let path = "/v1/projects/p/locations/l/publishers/google/models/text-embedding-005:predict";
    let vertex = asked(
        "l-aiplatform.googleapis.com",
        path,
        json!({"instances": [{"content": "a"}]}),
    )
    .unwrap();
    let one = |tokens: u64| json!({"embeddings": {"values": [0.1], "statistics": {"truncated": false, "token_count": tokens}}});
    let response = vertex.answered(&json!({"predictions": [one(7), one(3)]}));
    assert_eq!(tokens(&response)[0], Some(10));

    let host = "bedrock-runtime.us-east-1.amazonaws.com";
    let path = "/model/mistral.mistral-7b/invoke-with-response-stream";
    let bedrock = asked(host, path, json!({"prompt": "q"})).unwrap();
    let head = [("input", "9"), ("output", "4")].map(|(name, count)| Field {
        name: format!("x-amzn-bedrock-{name}-token-count"),
        value: Some(count.into()),
    });
    let counted = bedrock.dialect.counted(&Fields(head.into())).unwrap();
    assert_eq!(
        (counted.input_tokens, counted.output_tokens),
        (Some(9), Some(4))
    );
    assert_eq!(bedrock.dialect.counted(&Fields::default()), None);
    let mut merge = bedrock.dialect.merge(&bedrock.target);
    for event in [
        json!({"outputs": [{"text": "a", "stop_reason": null}]}),
        json!({"outputs": [{"text": "b", "stop_reason": "stop"}],
            "amazon-bedrock-invocationMetrics": {"inputTokenCount": 9, "outputTokenCount": 4, "invocationLatency": 1}}),
    ] {
        use base64::Engine;
        let bytes = base64::engine::general_purpose::STANDARD.encode(event.to_string());
        let payload = json!({"bytes": bytes}).to_string();
        let piece = Piece::Aws {
            kind: "chunk",
            class: "event",
            payload: payload.as_bytes(),
        };
        assert!(merge.piece(&piece, &mut drop));
    }
    assert_eq!(tokens(&merge.finish())[..2], [Some(9), Some(4)]);
}

/// Vectors and ranks of providers that report only the total have no input, and cost nothing.
#[test]
fn a_total_of_what_has_no_output_is_input() {
    let usage = json!({"total_tokens": 12});
    let vectors = asked(
        "api.voyageai.com",
        "/v1/embeddings",
        json!({"input": ["a"], "model": "voyage-3"}),
    )
    .unwrap();
    let body = json!({"object": "list", "data": [{"index": 0, "embedding": [0.5]}], "model": "voyage-3", "usage": usage});
    let response = vectors.answered(&body);
    assert_eq!(tokens(&response), [Some(12), None, None]);
    let prices = Prices::load().unwrap();
    assert!(prices.of_call(&vectors.call(response)).is_some());
    let body = json!({"query": "q", "documents": ["a"], "model": "rerank-2"});
    let ranks = asked("api.voyageai.com", "/v1/rerank", body).unwrap();
    let body = json!({"object": "list", "data": [{"index": 0, "relevance_score": 0.5}], "model": "rerank-2", "usage": usage});
    assert_eq!(tokens(&ranks.answered(&body))[0], Some(12));
}
