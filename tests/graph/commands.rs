//! Tool call → program: what agents make of a command, and what only looks like it.

use agentsight::graph::{Confidence, Kind};
use agentsight::semantics::DeltaKind;
use serde_json::{Value, json};

use crate::scene::{AGENT, Scene, exact, likely, process};

/// What comes of one tool call, and one program that a child of the agent runs then.
fn one(arguments: Value, args: &[&str]) -> Option<Confidence> {
    let mut scene = Scene::default();
    scene.want(&[("t1", "anything", arguments)]);
    let event = scene.child(200, args);
    let told = scene.told(Kind::Runs);
    assert!(told.len() <= 1);
    let (from, to, confidence) = told.into_iter().next()?;
    assert_eq!((from.as_str(), to), ("tool:k1/t1", event));
    Some(confidence)
}

/// Each agent has its own way to run a command: the tool call is found in all of them.
#[test]
fn commands_are_known_in_their_wrappings() {
    let snapshot = "source /root/.claude/shell-snapshots/snapshot-bash-1.sh && eval 'ls -la \"/a b\"' \\< /dev/null && pwd -P >| /tmp/claude-cwd";
    let sandbox = ["codex-linux-sandbox", "--", "bash", "-lc", "git status"];
    let nested = ". '/tmp/snapshot.sh' >/dev/null 2>&1\n\nexec 'bash' -c 'git status'";
    let gemini = "shopt -u promptvars nullglob; { git status; }; __code=$?; pgrep -g 0 >/tmp/x 2>&1; exit $__code;";
    for (arguments, args) in [
        (
            json!({"command": "ls -la \"/a b\"", "description": "List"}),
            vec!["/bin/bash", "-c", "-l", snapshot],
        ),
        (
            json!({"command": ["bash", "-lc", "git status"]}),
            vec!["bash", "-lc", "git status"],
        ),
        (
            json!({"command": ["bash", "-lc", "git status"]}),
            sandbox.to_vec(),
        ),
        (
            json!({"cmd": "git status", "workdir": "/x"}),
            vec!["/bin/zsh", "-lc", "git status"],
        ),
        (
            json!({"cmd": "git status"}),
            vec!["/bin/bash", "-c", nested],
        ),
        (json!({"command": "git status"}), vec!["bash", "-c", gemini]),
        (
            json!({"command": "git status"}),
            vec!["/bin/sh", "-c", "git status"],
        ),
        (
            json!({"command": "git status"}),
            vec!["/usr/bin/git", "status"],
        ),
        (
            json!({"command": "git", "args": ["status"]}),
            vec!["git", "status"],
        ),
        (
            json!({"argv": ["git", "log", "a b"]}),
            vec!["git", "log", "a b"],
        ),
        (json!("git status"), vec!["sh", "-c", "git status"]),
        (
            json!("{\"command\": \"git status\"}"),
            vec!["sh", "-c", "git status"],
        ),
        (
            json!({"command": "cd /x && make | tee log"}),
            vec!["sh", "-c", "cd /x && make | tee log"],
        ),
        (
            json!({"command": "echo a\necho b\n"}),
            vec!["bash", "-o", "pipefail", "-c", "echo a\necho b"],
        ),
    ] {
        assert_eq!(
            one(arguments.clone(), &args),
            Some(Confidence::Exact),
            "{arguments} {args:?}"
        );
    }
}

/// Something of it is there: that may be chance.
#[test]
fn parts_are_likely() {
    for (arguments, args) in [
        (
            json!({"command": "git status"}),
            vec!["sh", "-c", "cd /repo && git status; echo done"],
        ),
        (
            json!({"code": "import subprocess\nsubprocess.run(['x'])\nos.system('git status -s')"}),
            vec!["sh", "-c", "git status -s"],
        ),
        (
            json!({"pattern": "needle", "path": "/src"}),
            vec!["/usr/bin/rg", "--json", "needle", "."],
        ),
        (json!({"query": "ls"}), vec!["sh", "-c", "ls"]),
    ] {
        assert_eq!(
            one(arguments.clone(), &args),
            Some(Confidence::Likely),
            "{arguments} {args:?}"
        );
    }
}

/// What only looks like it has no edge.
#[test]
fn others_are_not_taken_for_it() {
    for (arguments, args) in [
        (
            json!({"command": "git status"}),
            vec!["sh", "-c", "git stash"],
        ),
        (
            json!({"command": "git status"}),
            vec!["git", "status", "--porcelain"],
        ),
        (
            json!({"command": "rm -rf build"}),
            vec!["rm", "-rf", "building"],
        ),
        (
            json!({"command": "cat notes"}),
            vec!["sh", "-c", "concat notes.txt"],
        ),
        (
            json!({"command": "git status"}),
            vec!["sh", "-c", "git status --porcelain"],
        ),
        (json!({"command": ""}), vec!["sh", "-c", ""]),
        (json!({}), vec!["git", "status"]),
        (json!({"command": "git status"}), vec![]),
    ] {
        assert_eq!(one(arguments.clone(), &args), None, "{arguments} {args:?}");
    }
}

/// The same command before the answer, and after the result, is not the tool call's.
#[test]
fn only_its_time_counts() {
    let mut scene = Scene::default();
    scene.child(200, &["sh", "-c", "make all"]);
    scene.want(&[("t1", "Bash", json!({"command": "make all"}))]);
    scene.ask(AGENT, &[("t1", "done")]);
    scene.child(201, &["sh", "-c", "make all"]);
    assert_eq!(scene.told(Kind::Runs), []);
}

/// What begins while the rest of the answer is still on its way is found at its end, but not what began before its words came.
#[test]
fn an_answer_may_be_acted_on_before_its_end() {
    let mut scene = Scene::default();
    let call = scene.ask(AGENT, &[]);
    scene.child(200, &["sh", "-c", "make all"]);
    scene.delta(
        call,
        0,
        DeltaKind::ToolArguments("{\"command\": \"make all\"}".into()),
    );
    let event = scene.child(201, &["sh", "-c", "make all"]);
    scene.answer(
        AGENT,
        call,
        &[("t1", "Bash", json!({"command": "make all"}))],
    );
    assert_eq!(scene.told(Kind::Runs), [exact("tool:k1/t1", &event)]);
}

/// Whoever does not descend from the agent runs nothing for it.
#[test]
fn only_descendants_count() {
    let mut scene = Scene::default();
    scene.want(&[("t1", "Bash", json!({"command": "make all"}))]);
    scene.fork(process(7), process(8));
    scene.exec(process(8), &["sh", "-c", "make all"]);
    // The agent itself is not begun by its tool call.
    scene.exec(AGENT, &["sh", "-c", "make all"]);
    assert_eq!(scene.told(Kind::Runs), []);
    scene.fork(AGENT, process(9));
    scene.fork(process(9), process(10));
    let event = scene.exec(process(10), &["sh", "-c", "make all"]);
    assert_eq!(scene.told(Kind::Runs), [exact("tool:k1/t1", &event)]);
}

/// Two that want the same: each gets one program, and none is certain.
#[test]
fn twins_are_never_exact() {
    let mut scene = Scene::default();
    let command = json!({"command": "make all"});
    scene.want(&[("t1", "Bash", command.clone()), ("t2", "Bash", command)]);
    let first = scene.child(200, &["sh", "-c", "make all"]);
    let second = scene.child(201, &["sh", "-c", "make all"]);
    let told = [likely("tool:k1/t1", &first), likely("tool:k1/t2", &second)];
    assert_eq!(scene.told(Kind::Runs), told);
}

/// A tool call that has its program gets no second one for certain.
#[test]
fn a_second_run_is_likely() {
    let mut scene = Scene::default();
    scene.want(&[("t1", "Bash", json!({"command": "make all"}))]);
    let first = scene.child(200, &["sh", "-c", "make all"]);
    let second = scene.child(201, &["sh", "-c", "make all"]);
    let told = [exact("tool:k1/t1", &first), likely("tool:k1/t1", &second)];
    assert_eq!(scene.told(Kind::Runs), told);
}

/// Several at once, each another command: each is known for certain.
#[test]
fn different_ones_at_once_are_exact() {
    let mut scene = Scene::default();
    scene.want(&[
        ("t1", "Bash", json!({"command": "make all"})),
        ("t2", "Bash", json!({"command": "make test"})),
    ]);
    let second = scene.child(200, &["sh", "-c", "make test"]);
    let first = scene.child(201, &["sh", "-c", "make all"]);
    let told = [exact("tool:k1/t2", &second), exact("tool:k1/t1", &first)];
    assert_eq!(scene.told(Kind::Runs), told);
}

/// All below the program is begun for the same tool call, by whatever name it runs, and when its result is told already.
#[test]
fn descendants_inherit() {
    let mut scene = Scene::default();
    scene.want(&[
        ("t1", "Bash", json!({"command": "make all"})),
        ("t2", "Bash", json!({"command": "cc x.c"})),
    ]);
    scene.child(200, &["sh", "-c", "make all"]);
    scene.fork(process(200), process(201));
    scene.exec(process(201), &["cc", "x.c"]);
    scene.exit(process(200));
    scene.ask(AGENT, &[("t1", "done")]);
    scene.fork(process(201), process(202));
    scene.exec(process(202), &["as"]);
    assert_eq!(scene.told(Kind::Runs).len(), 1);
    let (node, confidence) = scene.causes.cause_of(process(202)).unwrap();
    assert_eq!(
        (node.id.as_str(), confidence),
        ("tool:k1/t1", Confidence::Exact)
    );
    assert!(scene.causes.cause_of(AGENT).is_none());
    assert!(scene.causes.is_of_agent(process(202)) && !scene.causes.is_of_agent(process(7)));
}

/// A descendant that asks models is an agent itself: what it runs is its own.
#[test]
fn agents_have_agents() {
    let mut scene = Scene::default();
    scene.want(&[("t1", "Bash", json!({"command": "helper --go"}))]);
    scene.child(200, &["sh", "-c", "helper --go"]);
    let child = scene.ask(process(200), &[]);
    scene.answer(
        process(200),
        child,
        &[("u1", "Bash", json!({"command": "make all"}))],
    );
    assert_eq!(scene.told(Kind::Subagent), [exact("p100.100", "p200.200")]);
    scene.fork(process(200), process(201));
    let event = scene.exec(process(201), &["sh", "-c", "make all"]);
    assert!(
        scene
            .told(Kind::Runs)
            .contains(&exact("tool:k2/u1", &event))
    );
    // What it does by itself is still for whom it was begun.
    scene.fork(process(200), process(202));
    assert_eq!(
        scene.causes.cause_of(process(202)).unwrap().0.id,
        "tool:k1/t1"
    );
    // An agent beside it is none of it.
    scene.ask(process(300), &[]);
    assert_eq!(scene.told(Kind::Subagent).len(), 1);
}
