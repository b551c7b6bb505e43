//! Tools that providers run, and what they do with a conversation.

use super::*;

/// A shell that the provider runs looks as if the client should run it.
#[test]
fn a_hosted_shell_is_the_providers() {
    let openai = asked("api.openai.com", "/v1/responses", json!({"input": "q"})).unwrap();
    let call = json!({"type": "shell_call", "id": "sh_1", "call_id": "call_1", "status": "completed",
        "action": {"commands": ["ls -l", "wc a"]},
        "environment": {"type": "container_reference", "container_id": "cntr_1"}});
    let gave = json!({"type": "shell_call_output", "id": "sho_1", "call_id": "call_1", "status": "completed",
        "output": [{"stdout": "a", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}}]});
    let text = json!({"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "2"}]});
    let body = json!({"id": "resp_1", "object": "response", "status": "completed", "model": "m",
        "output": [call, gave, text]});
    let mut begun = call.clone();
    begun["action"]["commands"] = json!([]);
    let command = |index: u64, text: &str| json!({"type": "response.shell_call_command.delta", "output_index": 0, "command_index": index, "delta": text});
    let mut events = vec![
        json!({"type": "response.output_item.added", "output_index": 0, "item": begun}),
        json!({"type": "response.shell_call_command.added", "output_index": 0, "command_index": 0, "command": ""}),
        command(0, "ls"),
        command(0, " -l"),
        command(1, "wc a"),
        json!({"type": "keepalive", "sequence_number": 466}),
        json!({"type": "codex.rate_limits", "plan_type": "plus", "rate_limits": {"allowed": true}}),
    ];
    let (cut, deltas) = openai.streamed(&events);
    let begins = said(&cut)[0].clone();
    assert_eq!(begins["type"], "server_tool_call");
    assert_eq!(begins["arguments"]["commands"], json!(["ls -l", "wc a"]));
    let told = deltas.iter().filter_map(|delta| match &delta.kind {
        DeltaKind::ToolArguments(more) => Some(more.as_str()),
        _ => None,
    });
    assert_eq!(told.collect::<String>(), "ls -lwc a");
    events.push(json!({"type": "response.completed", "response": body}));
    let (response, _) = openai.both(&body, &events);
    let kinds = |parts: &Value| -> Vec<Value> {
        let parts = parts.as_array().unwrap().iter();
        parts
            .map(|part| json!([part["type"], part["id"]]))
            .collect()
    };
    assert_eq!(
        json!(kinds(&said(&response))),
        json!([
            ["server_tool_call", "call_1"],
            ["server_tool_call_response", "call_1"],
            ["text", null]
        ])
    );
    // In the next question too, and not where the shell is the client's.
    let mut local = call.clone();
    local["environment"] = json!({"type": "local"});
    for (call, wants, gets) in [
        (&call, "server_tool_call", "server_tool_call_response"),
        (&local, "tool_call", "tool_call_response"),
    ] {
        let body = json!({"input": [call, gave]});
        let request = openai.dialect.request(&openai.target, &body);
        let parts: Vec<&Part> = request
            .messages
            .iter()
            .flat_map(|message| &message.parts)
            .collect();
        let parts = serde_json::to_value(parts).unwrap();
        assert_eq!(
            json!(kinds(&parts)),
            json!([[wants, "call_1"], [gets, "call_1"]])
        );
    }
}

/// A conversation that is compacted is not seen, or what the user said looks like the model's words.
#[test]
fn a_compacted_conversation_is_no_answer_of_the_users() {
    let body = json!({"model": "gpt-5.2", "input": [{"role": "user", "content": "q"}], "instructions": "i"});
    let compact = asked("api.openai.com", "/v1/responses/compact", body).unwrap();
    let asks = json!({"id": "msg_1", "type": "message", "role": "user", "status": "completed",
        "content": [{"type": "input_text", "text": "q"}]});
    let response = compact.answered(
        &json!({"id": "resp_1", "object": "response.compaction", "created_at": 1,
        "output": [asks, {"id": "cmp_1", "type": "compaction", "encrypted_content": "gAAA"}],
        "usage": {"input_tokens": 160, "output_tokens": 297, "total_tokens": 457}}),
    );
    assert_eq!(tokens(&response)[..2], [Some(160), Some(297)]);
    let parts = said(&response);
    assert_eq!(parts.as_array().unwrap().len(), 1);
    assert_eq!(parts[0]["type"], "compaction");
    assert_eq!(response.extra["output"][0]["content"], asks["content"]);
    assert!(response.is_complete);
    assert_eq!(compact.call(response).request.messages.len(), 1);
}

/// A tool of somebody else's server failed, and it is not shown whose and that.
#[test]
fn tools_of_mcp_servers_fail_visibly() {
    let anthropic = asked("api.anthropic.com", "/v1/messages", question()).unwrap();
    let response = anthropic.answered(&json!({"role": "assistant", "content": [
        {"type": "mcp_tool_use", "id": "t", "name": "f", "input": {}, "server_name": "docs"},
        {"type": "mcp_tool_result", "tool_use_id": "t", "is_error": true, "content": [{"type": "text", "text": "no"}]},
        {"type": "web_fetch_tool_result", "tool_use_id": "u",
            "content": {"type": "web_fetch_tool_result_error", "error_code": "unavailable"}},
        {"type": "tool_use", "id": "v", "name": "g", "input": {}, "caller": {"type": "code_execution_20250825", "tool_id": "s"}},
        {"type": "tool_use", "id": "w", "name": "g", "input": {}, "caller": {"type": "direct"}},
    ]}));
    let parts = said(&response);
    assert_eq!(
        json!([parts[1]["is_error"], parts[2]["is_error"]]),
        json!([true, true])
    );
    assert_eq!(
        response.extra["content"],
        json!([{"index": 0, "server_name": "docs"},
            {"index": 3, "caller": {"type": "code_execution_20250825", "tool_id": "s"}}])
    );
}

/// Tools that OpenAI looks for look like words of nobody's, or those that Google runs.
#[test]
fn searches_for_tools_are_told() {
    let openai = asked("api.openai.com", "/v1/responses", json!({"input": "q"})).unwrap();
    let search = |by: &str| {
        [
            json!({"type": "tool_search_call", "call_id": "c", "execution": by, "status": "completed", "arguments": {"queries": ["refunds"]}}),
            json!({"type": "tool_search_output", "call_id": "c", "execution": by, "status": "completed",
                "tools": [{"type": "function", "name": "f"}]}),
        ]
    };
    let body = json!({"id": "resp_1", "object": "response", "status": "completed", "output": search("server")});
    let parts = said(&openai.answered(&body));
    assert_eq!(
        parts,
        json!([
            {"type": "server_tool_call", "id": "c", "name": "tool_search", "arguments": {"queries": ["refunds"]}},
            {"type": "server_tool_call_response", "id": "c", "response": [{"type": "function", "name": "f"}]},
        ])
    );
    let body = json!({"input": search("client")});
    let request = openai.dialect.request(&openai.target, &body);
    let roles: Vec<_> = request
        .messages
        .iter()
        .map(|message| message.role.as_str())
        .collect();
    assert_eq!(roles, ["assistant", "tool"]);
    assert!(
        matches!(&request.messages[0].parts[0], Part::ToolCall { name, .. } if name == "tool_search")
    );
    assert!(matches!(
        &request.messages[1].parts[0],
        Part::ToolCallResponse { id: Some(_), .. }
    ));
    let path = "/v1beta/models/gemini-3-pro:generateContent";
    let body = json!({"contents": [{"role": "user", "parts": [{"text": "q"}]}]});
    let gemini = asked("generativelanguage.googleapis.com", path, body).unwrap();
    let parts = said(&gemini.answered(&json!({"candidates": [{"index": 0, "content": {"role": "model", "parts": [
        {"toolCall": {"id": "s", "toolType": "GOOGLE_SEARCH_WEB", "args": {"queries": ["q"]}}, "thoughtSignature": "x"},
        {"toolResponse": {"id": "s", "toolType": "GOOGLE_SEARCH_WEB", "response": {"search_suggestions": "y"}}},
    ]}}]})));
    assert_eq!(
        parts,
        json!([
            {"type": "server_tool_call", "id": "s", "name": "GOOGLE_SEARCH_WEB", "arguments": {"queries": ["q"]}},
            {"type": "server_tool_call_response", "id": "s", "response": {"search_suggestions": "y"}},
        ])
    );
}
