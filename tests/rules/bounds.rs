//! What a hostile run cannot do: fill the memory, or take more and more time.

use std::time::{Duration, Instant};

use super::scene::Scene;

/// So many that a table without bounds, or a walk over all of it, would show.
const MANY: u64 = 100_000;

fn in_time(play: impl FnOnce()) {
    let started = Instant::now();
    play();
    let took = started.elapsed();
    assert!(took < Duration::from_secs(60), "{took:?}");
}

/// A file each, and none is run.
#[test]
fn many_files() {
    in_time(|| {
        let mut scene = Scene::new();
        let shell = scene.first(&["bash"]);
        for number in 0..MANY {
            scene.write(shell, &format!("/tmp/{number}"), 1000 + number);
        }
        let counts = scene.engine.counts();
        assert!(counts.forgotten > 0, "{counts:?}");
        // The newest are known.
        let child = scene.fork(shell);
        scene.exec_as(child, &["/tmp/99999"], |exec| {
            exec.exe_file = Some(super::scene::inode(1000 + MANY - 1))
        });
        assert_eq!(scene.found.len(), 1);
    });
}

/// The same again and again: all of it waits for the same.
#[test]
fn the_same_many_times() {
    in_time(|| {
        let mut scene = Scene::new();
        let shell = scene.run_first();
        for _ in 0..MANY {
            scene.read(shell, "/home/me/.aws/credentials");
            scene.stdio(shell, "stdin", 7);
        }
        assert_eq!(scene.engine.counts().forgotten, 0);
        scene.connect(shell, "203.0.113.9:443", None);
        assert_eq!(scene.found.len(), 1);
    });
}

/// A chain of processes, and a crowd of them; each one that ends is forgotten in the end.
#[test]
fn many_processes() {
    in_time(|| {
        let mut scene = Scene::new();
        let first = scene.run_first();
        let mut last = first;
        for _ in 0..2000 {
            last = scene.fork(last);
        }
        scene.read(last, "/home/me/.aws/credentials");
        for _ in 0..MANY {
            let child = scene.run(first, &["true"]);
            scene.exit(child);
        }
        // The first of them all is known however long the chain is.
        scene.connect(last, "203.0.113.9:443", None);
        assert_eq!(scene.found.len(), 1);
        assert_eq!(scene.engine.counts().forgotten, 0);
    });
}

/// More findings than anybody reads.
#[test]
fn many_findings() {
    let mut scene = Scene::new();
    let first = scene.run_first();
    for number in 0..3000 {
        scene.run(first, &["sudo", &number.to_string()]);
    }
    assert_eq!(scene.found.len(), 1000);
    assert_eq!(scene.engine.counts().untold, 2000);
}

/// The same of the same program is told once.
#[test]
fn the_same_is_told_once() {
    let mut scene = Scene::new();
    let first = scene.run_first();
    for _ in 0..10 {
        scene.run(first, &["sudo", "id"]);
    }
    assert_eq!(scene.found.len(), 1);
}

impl Scene {
    fn run_first(&mut self) -> agentsight::event::ProcessId {
        self.first(&["bash"])
    }
}
