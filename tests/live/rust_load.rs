//! rustls in busy programs: they must get the same results whether somebody looks on, comes or goes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use crate::capture::Capture;
use crate::rust_agent::{Done, assert_same, named};

const CONNECTIONS: usize = 8;
const MESSAGES: usize = 2500;
const CYCLES: usize = 50;

/// As many small requests as the machine can do.
fn load() -> Vec<String> {
    let words = format!(
        "tokio --connections {CONNECTIONS} --messages {MESSAGES} --sizes 100,64 --answers 300,64"
    );
    words.split(' ').map(str::to_owned).collect()
}

/// Runs it; the program checks each answer itself.
fn timed(what: &str, run: impl FnOnce() -> Done) -> Done {
    let begun = Instant::now();
    let done = run();
    let rate = (CONNECTIONS * MESSAGES) as f64 / begun.elapsed().as_secs_f64();
    eprintln!("{what}: {rate:.0} requests per second");
    done
}

/// One for each provider.
const BUILDS: [&str; 2] = [
    "0.23-ring-http.lto.pie.strip",
    "0.23-aws-lc-http.lto.pie.strip",
];

/// What a busy program sends and receives is the same, byte by byte, and all of it is captured.
#[test]
fn root_rust_load_is_not_changed() {
    let load = load();
    let load: Vec<_> = load.iter().map(String::as_str).collect();
    for name in BUILDS {
        let Some(agent) = named(name) else {
            return;
        };
        let alone = timed(&format!("{name} alone"), || agent.run(&load));
        let capture = Capture::start_alone(agent.path(), &[]);
        let watched = timed(&format!("{name} watched"), || agent.run(&load));
        let captured = capture.stop();
        assert!(alone.ends == watched.ends, "{name}: other bytes");
        assert_eq!(alone.ends.len(), 2 * CONNECTIONS);
        assert_same(name, &captured, &watched);
    }
}

/// Ends the load, also when the test fails.
struct End<'o>(&'o AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Nor does it notice that observers come and go.
#[test]
fn root_rust_coming_and_going_under_load() {
    let load = load();
    let load: Vec<_> = load.iter().map(String::as_str).collect();
    for name in BUILDS {
        let Some(agent) = named(name) else {
            return;
        };
        let alone = agent.run(&load);
        let is_over = AtomicBool::new(false);
        let (seen, times) = thread::scope(|scope| {
            let busy = scope.spawn(|| {
                let mut times = 0;
                while !is_over.load(Ordering::Relaxed) {
                    assert!(agent.run(&load).ends == alone.ends, "{name}: other bytes");
                    times += 1;
                }
                times
            });
            let end = End(&is_over);
            let seen = crate::direct::attach_and_detach(agent.path(), CYCLES);
            drop(end);
            (seen, busy.join().unwrap())
        });
        eprintln!("{name}: seen in {seen} of {CYCLES} cycles, {times} times the load");
        assert!(seen > CYCLES / 2, "{name}: seen in {seen} cycles");
    }
}
