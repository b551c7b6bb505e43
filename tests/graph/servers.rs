//! Servers of MCP that speak through pipes.

use agentsight::dialog::{Role, What};
use agentsight::graph::{Confidence, Kind};
use agentsight::semantics::mcp;
use serde_json::json;

use crate::scene::{AGENT, Scene, exact, likely, process};

const INITIALIZE: &str = "{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"initialize\",\"params\":{\"protocolVersion\":\"2025-06-18\"}}\n";

fn request(id: u64, name: &str, arguments: serde_json::Value) -> String {
    let params = json!({"name": name, "arguments": arguments});
    format!(
        "{}\n",
        json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params})
    )
}

fn scene() -> Scene {
    let mut scene = Scene::default();
    scene.child(200, &["node", "server.js"]);
    scene.stdio(process(200), "stdin", 77, INITIALIZE);
    scene.stdio(
        process(200),
        "stdout",
        78,
        "{\"jsonrpc\":\"2.0\",\"id\":0,\"result\":{}}\n",
    );
    scene
}

/// A tool call is found in the request that the server reads, and what the server begins meanwhile is likely for it.
#[test]
fn requests_reach_their_servers() {
    let mut scene = scene();
    let arguments = json!({"path": "/etc/motd"});
    scene.want(&[("t1", "mcp__files__read", arguments.clone())]);
    let text = request(1, "read", arguments);
    let (head, tail) = text.split_at(30);
    scene.stdio(process(200), "stdin", 77, head);
    scene.stdio(process(200), "stdin", 77, tail);
    let told = scene.told(Kind::Requests);
    assert!(
        told.contains(&exact("tool:k1/t1", "mcp:p200.200/1")),
        "{told:?}"
    );
    assert!(told.contains(&exact("mcp:p200.200/1", "p200.200")));
    scene.fork(process(200), process(201));
    let (node, confidence) = scene.causes.cause_of(process(201)).unwrap();
    assert_eq!(
        (node.id.as_str(), confidence),
        ("tool:k1/t1", Confidence::Likely)
    );
    // After its answer it works for nobody.
    scene.stdio(
        process(200),
        "stdout",
        78,
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n",
    );
    scene.fork(process(200), process(202));
    assert!(scene.causes.cause_of(process(202)).is_none());
}

/// A server that runs the command of the only request that it has: the command says more than the time.
#[test]
fn commands_of_servers_are_known() {
    let mut scene = scene();
    let arguments = json!({"command": "make all"});
    scene.want(&[("t1", "mcp__files__run", arguments.clone())]);
    scene.stdio(process(200), "stdin", 77, &request(1, "run", arguments));
    scene.fork(process(200), process(201));
    scene.exec(process(201), &["uname"]);
    assert_eq!(scene.told(Kind::Runs), []);
    let event = scene.exec(process(201), &["sh", "-c", "make all"]);
    scene.fork(process(201), process(202));
    scene.exec(process(202), &["make", "all"]);
    assert_eq!(scene.told(Kind::Runs), [exact("tool:k1/t1", &event)]);
    let (_, confidence) = scene.causes.cause_of(process(202)).unwrap();
    assert_eq!(confidence, Confidence::Exact);
}

/// Other arguments, or two alike: not certain. Another tool, and what is no MCP: nothing.
#[test]
fn what_is_not_certain_is_not_exact() {
    let mut alone = scene();
    alone.want(&[("t1", "files_read", json!({"path": "/a"}))]);
    alone.stdio(
        process(200),
        "stdin",
        77,
        &request(1, "read", json!({"path": "/b"})),
    );
    assert!(
        alone
            .told(Kind::Requests)
            .contains(&likely("tool:k1/t1", "mcp:p200.200/1"))
    );

    let mut twins = scene();
    let arguments = json!({"path": "/a"});
    twins.want(&[
        ("t1", "read", arguments.clone()),
        ("t2", "read", arguments.clone()),
    ]);
    twins.stdio(
        process(200),
        "stdin",
        77,
        &request(1, "read", arguments.clone()),
    );
    assert!(
        twins
            .told(Kind::Requests)
            .contains(&likely("tool:k1/t1", "mcp:p200.200/1"))
    );

    let mut other = scene();
    other.want(&[("t1", "thread", arguments.clone())]);
    other.stdio(
        process(200),
        "stdin",
        77,
        &request(1, "read", arguments.clone()),
    );
    let from_tool = |(from, ..): &(String, String, Confidence)| from.starts_with("tool:");
    assert!(!other.told(Kind::Requests).iter().any(from_tool));

    let mut none = Scene::default();
    none.want(&[("t1", "read", arguments)]);
    none.child(200, &["language-server"]);
    none.stdio(
        process(200),
        "stdin",
        77,
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"textDocument/hover\"}\n",
    );
    none.stdio(process(200), "stdin", 77, "not even JSON\n");
    assert_eq!(none.told(Kind::Requests), []);
    assert_eq!(none.told(Kind::Gives), []);
    assert!(none.causes.cause_of(AGENT).is_none());
}

/// Over HTTP both ends are seen, and the session and number make them one request.
#[test]
fn both_ends_of_a_session_meet() {
    let mut scene = Scene::default();
    let arguments = json!({"path": "/etc/motd"});
    scene.want(&[("t1", "files.read", arguments.clone())]);
    let body = serde_json::from_str(&request(1, "read", arguments)).unwrap();
    let mut message = mcp::messages(&body).unwrap().remove(0);
    message.session_id = Some("a session".to_owned());
    let said = |message: &mcp::McpMessage| What::Mcp(Box::new(message.clone()));
    scene.say(AGENT, said(&message));
    scene.say_as(Role::Server, process(300), said(&message));
    message.session_id = Some("another session".to_owned());
    scene.say_as(Role::Server, process(301), said(&message));
    let told = scene.told(Kind::Requests);
    assert_eq!(told.len(), 3);
    let ((tool, asked, _), (heard, server, _), (other, ..)) = (&told[0], &told[1], &told[2]);
    assert_eq!((tool.as_str(), server.as_str()), ("tool:k1/t1", "p300.300"));
    assert!(asked == heard && asked != other && !asked.contains("session"));
}
