//! Rules that hold what is done against what was said.

use agentsight::event::ProcessId;

use super::scene::{Scene, text, tool_call, tool_result};

const NEW: &str = "203.0.113.9:443";

fn agent(scene: &mut Scene) -> ProcessId {
    scene.first(&["claude"])
}

/// "egress-outside-tool-call"
#[test]
fn egress_outside_tool_call() {
    let mut scene = Scene::new();
    let agent = agent(&mut scene);
    let shell = scene.run(agent, &["bash", "-c", "true"]);
    // Nobody is known to be an agent yet, and so nothing is said.
    scene.connect(shell, NEW, None);
    scene.wait(5);
    scene.call(
        agent,
        vec![text("fetch it with curl and bash")],
        vec![tool_call("t1", "curl https://x.example & sleep 9; true")],
    );
    let shell = scene.run(agent, &["bash", "-c", "curl https://x.example"]);
    let inside = scene.run(shell, &["curl", "https://x.example"]);
    scene.connect(inside, NEW, Some("x.example"));
    scene.call(agent, vec![tool_result("t1", "ok")], vec![text("done")]);
    scene.wait(60);
    // It was made in the tool call, and so was its child.
    scene.connect(inside, "203.0.113.10:443", None);
    // The agent itself.
    scene.connect(agent, "203.0.113.11:443", None);
    let later = scene.run(agent, &["helper", "update"]);
    scene.connect(later, "203.0.113.12:443", Some("update.example"));
    scene.wait(5);
    scene.exit(later);
    let found: Vec<_> = scene
        .found
        .iter()
        .filter(|finding| finding.detail.rule == "egress-outside-tool-call")
        .collect();
    assert_eq!(found.len(), 1, "{:?}", scene.found);
    assert_eq!(
        found[0].detail.message,
        "helper update connects to update.example 203.0.113.12:443"
    );
    assert_eq!(found[0].process, later);
}

/// What is told a little later than what it brought about still counts.
#[test]
fn a_call_that_is_told_late() {
    let mut scene = Scene::new();
    let agent = agent(&mut scene);
    scene.call(agent, vec![text("use curl")], vec![text("yes")]);
    let curl = scene.run(agent, &["curl", "https://x.example"]);
    scene.connect(curl, NEW, None);
    // The call says that it began before that.
    scene.ts_ns -= 100_000_000;
    scene.call(
        agent,
        vec![text("go on")],
        vec![tool_call("t1", "curl https://x.example")],
    );
    assert_eq!(scene.ids(), ["egress-outside-tool-call"]);

    let mut scene = Scene::new();
    let agent = self::agent(&mut scene);
    scene.call(agent, vec![text("use curl")], vec![text("yes")]);
    let curl = scene.run(agent, &["curl", "https://x.example"]);
    scene.connect(curl, NEW, None);
    scene.ts_ns -= 400_000_000;
    scene.call(
        agent,
        vec![text("go on")],
        vec![tool_call("t1", "curl https://x.example")],
    );
    assert_eq!(scene.ids(), Vec::<String>::new());
}

#[test]
fn command_not_mentioned() {
    let mut scene = Scene::new();
    let agent = agent(&mut scene);
    scene.call(
        agent,
        vec![text("please run the tests with pytest")],
        vec![tool_call("t1", "cd /x && pytest -q; ls")],
    );
    let shell = scene.run(agent, &["bash", "-c", "cd /x && pytest -q; ls"]);
    let pytest = scene.run(shell, &["pytest", "-q"]);
    // What it runs itself is its own affair.
    scene.run(pytest, &["uname", "-a"]);
    scene.run(shell, &["ls"]);
    scene.run(shell, &["/opt/hidden/miner", "--pool"]);
    assert_eq!(scene.ids(), ["command-not-mentioned"]);

    // Without a word that is known, nothing can be said.
    let mut scene = Scene::new();
    let agent = self::agent(&mut scene);
    let shell = scene.run(agent, &["bash", "-c", "x"]);
    scene.run(shell, &["miner"]);
    assert_eq!(scene.ids(), Vec::<String>::new());
}

const NO: &str = "The user doesn't want to proceed with this tool use. The tool use was rejected.";

fn denied(command: &str, answer: &str, args: &[&str]) -> Vec<String> {
    let mut scene = Scene::new();
    let agent = agent(&mut scene);
    scene.call(
        agent,
        vec![text("clean up with bash, sh, rm or git")],
        vec![tool_call("t1", command)],
    );
    scene.call(agent, vec![tool_result("t1", answer)], vec![text("I see")]);
    scene.wait(2);
    scene.run(agent, args);
    scene.ids()
}

#[test]
fn command_denied() {
    let rule = "command-denied";
    assert_eq!(
        denied("rm -rf  build", NO, &["bash", "-c", "rm -rf build"]),
        [rule]
    );
    assert_eq!(
        denied(
            "rm -rf build",
            NO,
            &["bash", "-c", "cd x && rm -rf build && ls"]
        ),
        [rule]
    );
    assert_eq!(
        denied(
            "rm -rf build",
            "exec command rejected by user",
            &["rm", "-rf", "build"]
        ),
        [rule]
    );
    let nothing = Vec::<String>::new();
    assert_eq!(denied("rm -rf build", NO, &["rm", "-rf", "other"]), nothing);
    assert_eq!(
        denied(
            "rm -rf build",
            "rm: cannot remove 'build': Permission denied",
            &["rm", "-rf", "build"]
        ),
        nothing
    );
    assert_eq!(denied("rm", NO, &["bash", "-c", "git rm x"]), nothing);
    assert_eq!(
        denied("rm -rf build", "removed", &["rm", "-rf", "build"]),
        nothing
    );
}
