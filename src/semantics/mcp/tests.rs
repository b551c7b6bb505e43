use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::proto::Field;

fn headers(all: &[(&str, &str)]) -> Fields {
    let all = all.iter().map(|(name, value)| Field {
        name: (*name).into(),
        value: Some((*value).into()),
    });
    Fields(all.collect())
}

/// A call of a tool is not told with its name, its session or its answer.
#[test]
fn answers_pair_with_requests() {
    let mut session = McpSession::default();
    let ids = headers(&[
        ("mcp-session-id", "s"),
        ("mcp-protocol-version", "2025-06-18"),
    ]);
    let call = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "ls", "arguments": {"dir": "/"}}});
    let read = json!({"jsonrpc": "2.0", "id": "1", "method": "resources/read", "params": {"uri": "file:///x"}});
    let asked = session.recognise(&ids, true, &json!([call, read])).unwrap();
    assert_eq!(asked[0].kind, McpKind::Request);
    assert_eq!(asked[0].name.as_deref(), Some("ls"));
    assert_eq!(asked[0].session_id.as_deref(), Some("s"));
    assert_eq!(asked[1].uri.as_deref(), Some("file:///x"));
    // The server asks too, by numbers of its own.
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
    session.recognise(&Fields::default(), false, &ping).unwrap();
    assert_eq!(session.pending(), 3);
    let answer = json!({"jsonrpc": "2.0", "id": 1, "result": {"content": [], "isError": true}});
    let answered = session
        .recognise(&Fields::default(), false, &answer)
        .unwrap();
    assert_eq!(answered[0].kind, McpKind::Response);
    assert_eq!(answered[0].method.as_deref(), Some("tools/call"));
    assert_eq!(answered[0].name.as_deref(), Some("ls"));
    assert!(answered[0].is_tool_error);
    let error = json!({"jsonrpc": "2.0", "id": "1", "error": {"code": -32002, "message": "none"}});
    let answered = session
        .recognise(&Fields::default(), false, &error)
        .unwrap();
    assert_eq!(answered[0].kind, McpKind::Error);
    assert_eq!(answered[0].method.as_deref(), Some("resources/read"));
    assert_eq!(session.pending(), 1);
}

/// The line of JSON differs from what is documented.
#[test]
fn messages_serialise() {
    let body = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": "2025-11-25", "capabilities": {}}});
    let all = McpSession::default()
        .recognise(&Fields::default(), true, &body)
        .unwrap();
    assert_eq!(
        serde_json::to_value(&all[0]).unwrap(),
        json!({"kind": "request", "id": 0, "method": "initialize", "protocol_version": "2025-11-25", "params": body["params"]})
    );
}

/// A language server or a block chain is shown as MCP.
#[test]
fn other_json_rpc_is_refused() {
    let refused = [
        json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"processId": 1, "capabilities": {}}}),
        json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": 1}}),
        json!({"jsonrpc": "2.0", "method": "textDocument/didOpen", "params": {}}),
        json!({"jsonrpc": "2.0", "id": 1, "method": "eth_blockNumber", "params": []}),
        json!({"jsonrpc": "2.0", "id": 1, "result": "0x4b7"}),
        json!({"jsonrpc": "2.0", "id": 1, "method": "message/send", "params": {}}),
        json!({"jsonrpc": "1.0", "id": 1, "method": "tools/list"}),
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "result": {}}),
        json!({"id": 1, "method": "tools/list"}),
        json!([]),
        json!([{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}, 5]),
    ];
    for body in refused {
        let mut session = McpSession::default();
        assert_eq!(
            session.recognise(&Fields::default(), true, &body),
            None,
            "{body}"
        );
    }
}

/// A server that never answers makes the observer grow.
#[test]
fn what_waits_is_bounded() {
    let mut session = McpSession::default();
    for id in 0..3 * PENDING_MAX {
        let call = json!({"jsonrpc": "2.0", "id": id, "method": "tools/list"});
        session.recognise(&Fields::default(), true, &call).unwrap();
    }
    assert_eq!(session.pending(), PENDING_MAX);
    for id in 0..3 * PENDING_MAX {
        let answer = json!({"jsonrpc": "2.0", "id": id, "result": {}});
        let call = json!({"jsonrpc": "2.0", "id": id, "method": "tools/list"});
        session.recognise(&Fields::default(), true, &call).unwrap();
        session
            .recognise(&Fields::default(), false, &answer)
            .unwrap();
    }
    assert!(session.order.len() <= 2 * PENDING_MAX);
}

proptest! {
    /// A hostile server ends the observer.
    #[test]
    fn nothing_panics(data in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzz_mcp(&data);
    }
}
