//! Which requests are calls, and whose.

use super::*;

/// A call under a path that only one provider has is not seen.
#[test]
fn chats_have_other_paths() {
    let of = |host, path| provider(host, path, &question());
    for (host, path, expected) in [
        (
            "x.cloud.databricks.com",
            "/serving-endpoints/e/invocations",
            "databricks",
        ),
        (
            "adb-1.2.azuredatabricks.net",
            "/serving-endpoints/e/invocations",
            "databricks",
        ),
        (
            "runtime.sagemaker.us-east-1.amazonaws.com",
            "/endpoints/e/invocations",
            "aws.sagemaker",
        ),
        ("api.mistral.ai", "/v1/agents/completions", "mistral_ai"),
        (
            "us-south.ml.cloud.ibm.com",
            "/ml/v1/text/chat",
            "ibm.watsonx.ai",
        ),
        (
            "us-south.ml.cloud.ibm.com",
            "/ml/v1/text/chat_stream",
            "ibm.watsonx.ai",
        ),
        (
            "l-aiplatform.googleapis.com",
            "/v1/projects/p/locations/l/publishers/mistralai/models/mistral-large:streamRawPredict",
            "gcp.vertex_ai",
        ),
        (
            "r.services.ai.azure.com",
            "/openai/v1/responses",
            "azure.ai.openai",
        ),
        (
            "r.services.ai.azure.com",
            "/models/chat/completions",
            "azure.ai.inference",
        ),
    ] {
        let body = match path.ends_with("responses") {
            true => json!({"model": "m", "input": "q"}),
            false => question(),
        };
        assert_eq!(
            provider(host, path, &body).as_deref(),
            Some(expected),
            "{path}"
        );
    }
    let served = asked(
        "d.databricks.com",
        "/serving-endpoints/e/invocations",
        json!({"messages": []}),
    );
    assert_eq!(served.unwrap().target.model.as_deref(), Some("e"));
    let body = json!({"model_id": "ibm/granite", "messages": [{"role": "user", "content": "q"}]});
    let watsonx = asked("us-south.ml.cloud.ibm.com", "/ml/v1/text/chat", body).unwrap();
    let mut answer = whole(json!({"content": "a"}));
    answer["model_id"] = answer["model"].take();
    let call = watsonx.call(watsonx.answered(&answer));
    assert_eq!(call.request.model.as_deref(), Some("ibm/granite"));
    assert_eq!(call.response.unwrap().model.as_deref(), Some("m"));
    assert_eq!(of("x.example", "/invocations/other"), None);
    assert_eq!(
        provider("x.example", "/invocations", &json!({"messages": [1]})),
        None
    );
}

/// The API of somebody's web page is told as calls of a model, and calls to nobody knows whom with a price.
#[test]
fn other_apis_are_no_calls() {
    let page = json!({"model": "m", "messages": [{"id": "1", "role": "user", "parts": [{"type": "text", "text": "q"}]}]});
    assert_eq!(provider("app.example", "/api/chat", &page), None);
    assert_eq!(
        provider("localhost", "/api/chat", &question()).as_deref(),
        Some("ollama")
    );

    let own = "/v1/projects/p/locations/l/endpoints/123:predict";
    let host = "l-aiplatform.googleapis.com";
    assert_eq!(
        provider(host, own, &json!({"instances": [{"content": "aGVsbG8="}]})),
        None
    );

    let path = "/model/x/invoke";
    assert_eq!(provider("ml.example", path, &json!({"inputs": "q"})), None);
    assert_eq!(provider("ml.example", path, &json!({"prompt": "q"})), None);
    let anthropic = json!({"anthropic_version": "bedrock-2023-05-31", "messages": []});
    assert!(provider("proxy.example", path, &anthropic).is_some());
    let signature = "AWS4-HMAC-SHA256 Credential=A/20260101/us-east-1/bedrock/aws4_request, SignedHeaders=host, Signature=0";
    let fields = [("authorization", signature)];
    assert!(signed("vpce.example", path, &fields, json!({"prompt": "q"})).is_some());

    let path = "/v1/projects/p/locations/l/publishers/anthropic/models/count-tokens:rawPredict";
    assert_eq!(provider(host, path, &question()), None);
    let of = |host| provider(host, "/v1/messages", &question());
    assert_eq!(of("proxy.example").as_deref(), Some("anthropic_compatible"));
    assert_eq!(
        of("r.services.ai.azure.com").as_deref(),
        Some("azure.ai.inference")
    );
    assert_eq!(
        of("api.kimi.example").as_deref(),
        Some("anthropic_compatible")
    );
}

/// Text that goes on, on watsonx or on servers of one's own, is not seen.
#[test]
fn generated_text_is_told() {
    let body = json!({"model_id": "ibm/granite", "input": "q", "parameters": {"max_new_tokens": 9}, "project_id": "p"});
    let watsonx = asked(
        "us-south.ml.cloud.ibm.com",
        "/ml/v1/text/generation_stream",
        body,
    )
    .unwrap();
    let of = |text: &str, generated: u64, input: u64, reason: &str| {
        json!({"model_id": "ibm/granite", "results": [{"generated_text": text, "generated_token_count": generated,
            "input_token_count": input, "stop_reason": reason}]})
    };
    let (response, deltas) = watsonx.both(
        &of("abc", 3, 7, "eos_token"),
        &[
            of("", 0, 7, "not_finished"),
            of("ab", 2, 0, "not_finished"),
            of("c", 3, 0, "eos_token"),
        ],
    );
    assert_eq!(tokens(&response)[..2], [Some(7), Some(3)]);
    assert_eq!(
        response.choices[0].finish_reason.as_deref(),
        Some("eos_token")
    );
    assert_eq!(deltas.len(), 3);
    let call = watsonx.call(response);
    assert_eq!(
        (call.provider.as_str(), call.request.model.as_deref()),
        ("ibm.watsonx.ai", Some("ibm/granite"))
    );

    let body = json!({"inputs": "q", "parameters": {"max_new_tokens": 9}});
    let served = asked("127.0.0.1", "/generate_stream", body).unwrap();
    let token = |text: &str, special: bool| json!({"token": {"id": 1, "text": text, "special": special}, "generated_text": null, "details": null});
    let mut last = token("</s>", true);
    let details =
        json!({"finish_reason": "eos_token", "generated_tokens": 3, "input_length": 2, "seed": 5});
    last["generated_text"] = "ab".into();
    last["details"] = details.clone();
    let (response, _) = served.both(
        &json!({"generated_text": "ab", "details": details}),
        &[token("a", false), token("b", false), last],
    );
    assert_eq!(tokens(&response)[..2], [Some(2), Some(3)]);
    assert_eq!(response.extra["details"], json!({"seed": 5}));
    // Other models of such servers.
    assert_eq!(
        provider("127.0.0.1", "/predict", &json!({"inputs": "q"})),
        None
    );
}

/// Pictures of Google's are not seen, or are megabytes of text.
#[test]
fn pictures_of_imagen_are_told() {
    let body = json!({"instances": [{"prompt": "a cat"}], "parameters": {"sampleCount": 2}});
    let path = "/v1beta/models/imagen-4.0-generate-001:predict";
    let imagen = asked("generativelanguage.googleapis.com", path, body.clone()).unwrap();
    let picture = json!({"mimeType": "image/png", "bytesBase64Encoded": "aGVsbG8="});
    let response = imagen.answered(&json!({"predictions": [picture, picture]}));
    assert_eq!(response.results, Some(2));
    let parts = said(&response);
    assert_eq!(
        json!([parts[0]["type"], parts[1]["bytes"]]),
        json!(["blob", 5])
    );
    let call = imagen.call(response);
    assert_eq!(
        call.request.model.as_deref(),
        Some("imagen-4.0-generate-001")
    );
    assert_eq!(
        serde_json::to_value(call.operation).unwrap(),
        "image_generation"
    );
    let own = "/v1/projects/p/locations/l/endpoints/123:predict";
    assert_eq!(provider("l-aiplatform.googleapis.com", own, &body), None);
    let vectors = provider(
        "d.databricks.com",
        "/serving-endpoints/e/invocations",
        &json!({"input": ["a"]}),
    );
    assert_eq!(vectors.as_deref(), Some("databricks"));
}
