//! Chains back to the words.

use agentsight::deeds::deed::{Exec, What};
use agentsight::graph::why::{Chain, Why};
use agentsight::graph::{Graph, Kind};
use serde_json::json;

use crate::scene::{AGENT, Scene, inode, path, process};

fn ids(chain: &Chain) -> Vec<&str> {
    chain
        .steps
        .iter()
        .map(|step| step.node.id.as_str())
        .collect()
}

/// An agent that writes a script, and runs it in the next turn.
fn written_and_run() -> (Scene, String) {
    let mut scene = Scene::default();
    scene.want(&[("t1", "Write", json!({"file_path": "/tmp/x"}))]);
    scene.write(AGENT, "/tmp/x", 5);
    let next = scene.ask(AGENT, &[("t1", "written")]);
    scene.answer(
        AGENT,
        next,
        &[("t2", "Bash", json!({"command": "/tmp/x --now"}))],
    );
    scene.child(200, &["sh", "-c", "/tmp/x --now"]);
    let exec = Exec {
        args: vec!["/tmp/x".to_owned(), "--now".to_owned()],
        exe: Some(path("/tmp/x")),
        exe_file: Some(inode(5)),
        ..Exec::default()
    };
    scene.fork(process(200), process(201));
    scene.deed(process(201), What::Exec(Box::new(exec)));
    let event = scene.write(process(201), "/etc/motd", 9);
    (scene, event)
}

/// The chain of a file that a descendant wrote goes up to the call, and the program's own goes with it.
#[test]
fn a_file_leads_back_to_the_words() {
    let (scene, event) = written_and_run();
    let graph = scene.graph();
    for what in ["/etc/motd", "motd", "file:8:1:9"] {
        let why = Why::ask(&graph, what);
        assert_eq!(why.found.len(), 1, "{what}");
        let chains = &why.found[0].chains;
        assert!(chains[0].is_explained);
        let way = ids(&chains[0]);
        assert_eq!(way[..2], ["k2", "tool:k2/t2"], "{way:?}");
        assert_eq!(way[way.len() - 2..], ["p201.201", "file:8:1:9"]);
        assert_eq!(chains[0].told[0].id, "result:k1/t1");
        let made = chains
            .iter()
            .find(|chain| ids(chain)[..2] == ["k1", "tool:k1/t1"]);
        assert!(
            ids(made.unwrap()).contains(&"file:8:1:5"),
            "who wrote the program"
        );
    }
    assert_eq!(Why::ask(&graph, "201").found[0].node.id, "p201.201");
    assert!(Why::ask(&graph, "201").found[0].chains[0].is_explained);
    assert!(Why::ask(&graph, "/etc/mot").found.is_empty());
    assert!(Why::ask(&graph, "20").found.is_empty());
    assert_eq!(Why::ask(&graph, &event).found.len(), 1);
    assert!(Why::unexplained(&graph).is_empty());
}

/// A host that a tool call names and its program reaches is told once, with the program; one that the agent reaches itself,
/// with the tool call.
#[test]
fn a_host_leads_back_through_the_program() {
    let mut scene = Scene::default();
    scene.want(&[
        ("t1", "Bash", json!({"command": "curl http://a.example/"})),
        ("t2", "Fetch", json!({"url": "http://b.example/"})),
    ]);
    let event = scene.child(200, &["bash", "-c", "curl http://a.example/"]);
    scene.connect(process(200), "10.0.0.1:80", Some("a.example"));
    scene.connect(AGENT, "10.0.0.2:80", Some("b.example"));
    let graph = scene.graph();
    for (host, way) in [
        (
            "a.example",
            vec!["k1", "tool:k1/t1", &event, "p200.200", "host:a.example"],
        ),
        ("b.example", vec!["k1", "tool:k1/t2", "host:b.example"]),
    ] {
        let chains = &Why::ask(&graph, host).found[0].chains;
        assert_eq!(chains.len(), 1, "{host}");
        assert_eq!(ids(&chains[0]), way);
    }
}

/// What an agent does by itself is told as such, and so is what has no agent at all.
#[test]
fn what_nothing_explains() {
    let mut scene = Scene::default();
    scene.want(&[("t1", "Bash", json!({"command": "make all"}))]);
    let own = scene.child(200, &["git", "rev-parse"]);
    scene.connect(process(200), "10.0.0.1:443", Some("evil.example"));
    scene.fork(process(7), process(8));
    scene.exec(process(8), &["cron"]);
    let graph = scene.graph();
    for what in ["evil.example", "10.0.0.1", "10.0.0.1:443"] {
        let chain = &Why::ask(&graph, what).found[0].chains[0];
        assert!(!chain.is_explained && chain.has_agent, "{what}");
        assert!(ids(chain).contains(&"p100.100"));
    }
    let chain = &Why::ask(&graph, "8").found[0].chains[0];
    assert!(!chain.is_explained && !chain.has_agent);
    let unexplained = Why::unexplained(&graph);
    let last: Vec<_> = unexplained
        .iter()
        .map(|chain| ids(chain).pop().unwrap().to_owned())
        .collect();
    assert!(last.contains(&own), "{last:?}");
}

/// The graph is data: it is the same after it was written and read, and secrets go out of all of it.
#[test]
fn the_graph_is_data() {
    let (scene, _) = written_and_run();
    let graph = scene.graph();
    let text = serde_json::to_string(&graph).unwrap();
    let read: Graph = serde_json::from_str(&text).unwrap();
    let read = read.indexed();
    assert_eq!(
        serde_json::to_value(&read).unwrap(),
        serde_json::to_value(&graph).unwrap()
    );
    assert_eq!(
        serde_json::to_value(Why::ask(&read, "/etc/motd")).unwrap(),
        serde_json::to_value(Why::ask(&graph, "/etc/motd")).unwrap()
    );
    let masked = graph.with_texts(&mut |text| {
        *text = text
            .replace("--now", "[masked]")
            .replace("/tmp/x", "/tmp/[masked]")
    });
    let text = serde_json::to_string(&masked).unwrap();
    assert!(!text.contains("--now") && !text.contains("/tmp/x"));
    assert!(masked.edges.iter().any(|link| link.kind == Kind::Runs));
}
