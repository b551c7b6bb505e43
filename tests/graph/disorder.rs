//! Runs that make no sense: nothing panics, and what is held is bounded.

use agentsight::graph::why::Why;
use agentsight::semantics::DeltaKind;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::scene::{Scene, process};

const TEXTS: [&str; 8] = [
    "make all",
    "/etc/motd",
    "eval 'eval \"eval x\"'",
    "bash -c \"sh -c 'sh -c make'\"",
    "https://a.example:99999/é",
    "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"name\":\"é\"}}\n",
    "é… [12 characters truncated] …'\"",
    "",
];

fn arguments(text: &str, form: u8) -> Value {
    match form % 4 {
        0 => json!({"command": text}),
        1 => json!([text, ["sh", "-c", text]]),
        2 => json!(text),
        _ => json!({"args": [text], "cmd": text, "path": text, "url": text}),
    }
}

fn step(scene: &mut Scene, (action, a, b, form): (u8, u8, u8, u8)) {
    let (one, other) = (process(u32::from(a % 8)), process(u32::from(b % 8)));
    let text = TEXTS[usize::from(form) % TEXTS.len()];
    match action % 10 {
        0 => scene.fork(one, other),
        1 => drop(scene.exec(one, &["sh", "-c", text])),
        2 => drop(scene.exec(one, &[text, text])),
        3 => scene.exit(one),
        4 => drop(scene.write(one, text, u64::from(b % 4))),
        5 => drop(scene.connect(one, text, Some(text))),
        6 => scene.stdio(
            one,
            ["stdin", "stdout", "stderr"][usize::from(b % 3)],
            u64::from(b % 4),
            text,
        ),
        7 => {
            let call = scene.ask(one, &[("t0", text), ("", text)]);
            scene.delta(
                call,
                u64::from(b),
                DeltaKind::ToolArguments(text.to_owned()),
            );
        }
        8 => {
            let call = scene.ask(one, &[("t1", text)]);
            scene.answer(
                one,
                call,
                &[
                    ("t0", "x", arguments(text, b)),
                    ("", "y", arguments(text, form)),
                ],
            );
        }
        _ => drop(scene.dns(one, text)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any order of anything gives some graph, of which each thing can be asked, and always the same one.
    #[test]
    fn any_order_gives_a_graph(steps in proptest::collection::vec(any::<(u8, u8, u8, u8)>(), 0..200)) {
        let run = || {
            let mut scene = Scene::default();
            steps.iter().for_each(|of| step(&mut scene, *of));
            scene
        };
        let scene = run();
        let graph = scene.graph();
        for node in &graph.nodes {
            let why = Why::ask(&graph, &node.id);
            prop_assert_eq!(why.found.len(), 1);
        }
        Why::unexplained(&graph);
        for link in &graph.edges {
            prop_assert!(graph.node(&link.from).is_some() && graph.node(&link.to).is_some());
        }
        prop_assert_eq!(run().edges, scene.edges);
    }
}

/// A tree of a thousand generations, and what is forked ever again: the deepest is known, in linear time.
#[test]
fn deep_trees_and_many_processes() {
    let mut scene = Scene::default();
    scene.want(&[("t1", "Bash", json!({"command": "make all"}))]);
    scene.child(200, &["sh", "-c", "make all"]);
    for pid in 200..1200 {
        scene.fork(process(pid), process(pid + 1));
        scene.exec(process(pid + 1), &["deeper"]);
    }
    assert_eq!(
        scene.causes.cause_of(process(1200)).unwrap().0.id,
        "tool:k1/t1"
    );
    let chain = &Why::ask(&scene.graph(), "1200").found[0].chains[0];
    assert!(chain.steps.len() > 1000);
    scene.edges.clear();
    for pid in 2000..150_000 {
        scene.fork(process(200), process(pid));
        scene.exit(process(pid));
        scene.edges.clear();
    }
    let held = scene.causes.held();
    assert_eq!((held.tools, held.lost_processes), (1, 0));
    assert_eq!(
        scene.causes.cause_of(process(149_999)).unwrap().0.id,
        "tool:k1/t1"
    );
}

/// What is wanted and never answered, and what is written and never told, is let go.
#[test]
fn nothing_grows_without_end() {
    let mut scene = Scene::default();
    let big = "x".repeat(60_000);
    for n in 0..20_000 {
        scene.want(&[(
            &format!("t{n}"),
            "Bash",
            json!({"command": format!("run {n}")}),
        )]);
        if n % 20 == 0 {
            scene.child(n + 1000, &["sh", "-c", &format!("run {n}")]);
            scene.stdio(process(n + 1000), "stdout", u64::from(n), &big);
            scene.stdio(process(n + 1000), "stdout", u64::from(n), &big);
        }
        scene.edges.clear();
    }
    let held = scene.causes.held();
    assert!(held.tools <= 16384, "{held:?}");
    assert!(held.piped <= 256 * 120_000, "{held:?}");
}
