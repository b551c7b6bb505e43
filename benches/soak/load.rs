//! Fifty places, in each of which one process after the other lives for some seconds: programs with TLS of their own or
//! from a library, that load it later, that fork, and that are killed while they speak.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::support::Result;
use crate::support::child::Ended;
use crate::support::program::Program;

const PLACES: u64 = 50;
/// No process of the load takes longer.
const LONGEST: Duration = Duration::from_secs(60);

/// Asks the server, slowly.
const PYTHON: &str = "import http.client, ssl, sys
context = ssl._create_unverified_context()
connection = http.client.HTTPSConnection('127.0.0.1', int(sys.argv[1]), context=context)
connection.request('GET', sys.argv[2]); connection.getresponse().read()";

/// The same from a process whose parent has ended, and which runs no program of its own.
const FORK: &str = "import os, sys
if os.fork(): os._exit(0)
os.setsid()
";

const NODE: &str = "process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0'; process.removeAllListeners('warning');
require('https').get({ host: '127.0.0.1', port: +process.argv[1], path: process.argv[2] }, a => a.resume())";

/// Loads a library that nobody has loaded before, and lets it be a while.
const DLOPEN: &str = "import ctypes, sys, time
time.sleep(0.5); ctypes.CDLL(sys.argv[1]).SSL_library_init; time.sleep(float(sys.argv[2]))";

#[derive(Clone, Copy)]
enum Kind {
    Curl,
    Dlopen,
    Fork,
    Killed,
    Node,
    Python,
    Whole,
}

/// What happens in a place.
fn kind(place: u64) -> Kind {
    match place {
        0..16 => Kind::Curl,
        16..24 => Kind::Killed,
        24..32 => Kind::Python,
        32..36 => Kind::Node,
        36..42 => Kind::Dlopen,
        42..46 => Kind::Fork,
        _ => Kind::Whole,
    }
}

/// The load; it ends when dropped.
pub struct Load {
    shared: Arc<Shared>,
    places: Vec<JoinHandle<()>>,
}

struct Shared {
    port: u16,
    program: Program,
    folder: PathBuf,
    node: Option<PathBuf>,
    stop: AtomicBool,
    alive: AtomicU64,
    started: AtomicU64,
}

impl Load {
    pub fn start(port: u16, program: &Program, folder: &Path) -> Result<Self> {
        let node = PathBuf::from("/usr/bin/node");
        let node = node.exists().then_some(node);
        if node.is_none() {
            eprintln!("without node: it is not installed");
        }
        let shared = Arc::new(Shared {
            port,
            program: program.clone(),
            folder: folder.to_owned(),
            node,
            stop: AtomicBool::new(false),
            alive: AtomicU64::new(0),
            started: AtomicU64::new(0),
        });
        let live = |place| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || shared.live(place))
        };
        let places = (0..PLACES).map(live).collect();
        Ok(Self { shared, places })
    }

    pub fn alive(&self) -> u64 {
        self.shared.alive.load(Ordering::Relaxed)
    }

    pub fn started(&self) -> u64 {
        self.shared.started.load(Ordering::Relaxed)
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for place in self.places.drain(..) {
            // It has said what went wrong.
            let _ = place.join();
        }
    }
}

impl Shared {
    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// One process after the other.
    fn live(&self, place: u64) {
        let mut random = Random(place + 1);
        // Not all at once.
        thread::sleep(Duration::from_millis(random.below(5_000)));
        for turn in 0_u64.. {
            if self.is_over() {
                return;
            }
            let library = self.folder.join(format!("library-{place}-{turn}.so"));
            if let Err(error) = self.run(kind(place), &library, &mut random) {
                eprintln!("place {place}: {error}");
                thread::sleep(Duration::from_secs(1));
            }
        }
    }

    fn run(&self, kind: Kind, library: &Path, random: &mut Random) -> Result<()> {
        let seconds = 2.0 + random.below(6_000) as f64 / 1e3;
        let wish = format!("/?events=20&pause={:.0}", seconds * 50.0);
        let url = format!("https://127.0.0.1:{}{wish}", self.port);
        let port = self.port.to_string();
        let mut command = match (kind, &self.node) {
            (Kind::Dlopen, _) => {
                fs::copy(&self.program.library, library)?;
                let mut command = Command::new("/usr/bin/python3");
                command.args(["-c", DLOPEN]).arg(library);
                command.arg(seconds.to_string());
                command
            }
            (Kind::Fork, _) => {
                let mut command = Command::new("/usr/bin/python3");
                command.args(["-c", &[FORK, PYTHON].concat(), &port, &wish]);
                command
            }
            (Kind::Node, Some(node)) => {
                let mut command = Command::new(node);
                command.args(["-e", NODE, &port, &wish]);
                command
            }
            (Kind::Python, _) => {
                let mut command = Command::new("/usr/bin/python3");
                command.args(["-c", PYTHON, &port, &wish]);
                command
            }
            (Kind::Whole, _) => {
                let mut command = Command::new(&self.program.path);
                let messages = format!("{:.0}", seconds * 10.0);
                command.args(["--messages", &messages, "--rate", "10", "--size", "512"]);
                command
            }
            (Kind::Curl | Kind::Killed | Kind::Node, _) => {
                let mut command = Command::new("curl");
                command.args(["-sk", "--max-time", "50", &url]);
                command
            }
        };
        let patience = match kind {
            Kind::Killed => Duration::from_secs_f64(seconds / 2.0),
            _ => LONGEST,
        };
        let lived = self.wait(&mut command, patience);
        if matches!(kind, Kind::Dlopen) {
            fs::remove_file(library)?;
        }
        lived?;
        if matches!(kind, Kind::Fork) {
            // Its child has just begun.
            thread::sleep(Duration::from_secs_f64(seconds));
        }
        Ok(())
    }

    /// Waits for its end, and kills it if that does not come.
    fn wait(&self, command: &mut Command, patience: Duration) -> Result<()> {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = Ended(command.stderr(Stdio::null()).spawn()?);
        if let Some(mut go) = child.0.stdin.take() {
            use std::io::Write;
            // Who wants no word to begin need not read it.
            let _ = go.write_all(b"\n");
        }
        self.started.fetch_add(1, Ordering::Relaxed);
        self.alive.fetch_add(1, Ordering::Relaxed);
        let began = Instant::now();
        let mut ended = child.0.try_wait();
        while matches!(ended, Ok(None)) && began.elapsed() < patience && !self.is_over() {
            thread::sleep(Duration::from_millis(50));
            ended = child.0.try_wait();
        }
        self.alive.fetch_sub(1, Ordering::Relaxed);
        ended?;
        Ok(())
    }
}

/// Knuth's MMIX generator: the same load each time.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}
