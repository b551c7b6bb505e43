//! The Rust agent of testbins below a capture: what it was told to do, and what it logged.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use agentsight_testbins::run::{Endpoint, Running, read_logs};
use agentsight_testbins::rust::{self, Combination, Profile, Provider, Shape};
use agentsight_testbins::{Testbin, Unbuilt};

use crate::capture::{Captured, Conn};
use crate::testbins::{Own, own};
use crate::{is_root, program, skip};

/// Calls the agent's library from a process that knows nothing of Rust.
const HOST: &str =
    "import ctypes, sys; sys.exit(ctypes.CDLL(sys.argv[1]).agent(sys.argv[2].encode()))";

/// A build of the agent that no other test observes or runs.
pub struct Agent {
    pub combination: &'static Combination,
    built: Own,
    /// The program that loads a library.
    host: Option<PathBuf>,
    certificate: [String; 2],
    _dir: tempfile::TempDir,
}

/// A running agent.
pub struct Run {
    pub running: Running,
    tells_role: bool,
    log: tempfile::TempDir,
}

/// What an agent that has ended did on its connections.
pub struct Done {
    pub pid: u64,
    /// Which side it is on can be seen: by the tickets of TLS 1.3, which come before all data.
    pub tells_role: bool,
    pub ends: Vec<Endpoint>,
}

/// What this run of the tests builds, as far as this machine can run it.
pub fn agents() -> impl Iterator<Item = Agent> {
    let all = rust::wanted().filter(|one| one.shape != Shape::Arm64);
    all.filter_map(agent)
}

/// The build of that name.
pub fn named(name: &str) -> Option<Agent> {
    agent(rust::combination(name).unwrap())
}

/// Builds one, or skips by the name of what is missing.
fn agent(combination: &'static Combination) -> Option<Agent> {
    if !is_root() {
        return None;
    }
    let dir = tempfile::tempdir().unwrap();
    let host = match combination.shape {
        Shape::Shared => Some(program("python3")?),
        _ => None,
    };
    let certificate = built(rust::certificate(dir.path()))?;
    Some(Agent {
        combination,
        built: own(built(rust::build(combination))?),
        host,
        certificate: certificate.map(|path| path.to_str().unwrap().to_owned()),
        _dir: dir,
    })
}

fn built<T>(made: Result<T, Unbuilt>) -> Option<T> {
    match made {
        Ok(made) => Some(made),
        Err(Unbuilt::Missing(what)) => {
            skip(&what);
            None
        }
        Err(Unbuilt::Failed(why)) => panic!("{why}"),
    }
}

impl Agent {
    /// The file to observe.
    pub fn path(&self) -> &Path {
        &self.built.path
    }

    /// Does it take long for what others do at once?
    pub fn is_slow(&self) -> bool {
        self.combination.profile == Profile::Debug
    }

    /// As its options name them.
    pub fn providers(&self) -> impl Iterator<Item = &'static str> {
        let providers = self.combination.stack.providers.iter();
        providers.map(|provider| match provider {
            Provider::AwsLc => "aws-lc",
            Provider::Ring => "ring",
        })
    }

    /// The whole command line: these options, the certificate and the log.
    pub fn words(&self, options: &[&str], log: &Path) -> Vec<String> {
        let [cert, key] = &self.certificate;
        let log = log.to_str().unwrap();
        let own = ["--log", log, "--ca", cert, "--cert", cert, "--key", key];
        let all = options.iter().chain(&own);
        all.map(|word| (*word).to_owned()).collect()
    }

    /// Starts the part that comes first in these options.
    pub fn start(&self, options: &[&str]) -> Run {
        let log = tempfile::tempdir().unwrap();
        let options = self.words(options, log.path());
        let options: Vec<_> = options.iter().map(String::as_str).collect();
        let tells_role = !options.contains(&"1.2");
        let running = match &self.host {
            None => Running::start(&self.built, &options),
            Some(host) => {
                let host = Testbin {
                    path: host.clone(),
                    ..self.built.clone()
                };
                let library = self.path().to_str().unwrap();
                Running::start(&host, &["-c", HOST, library, &options.join(" ")])
            }
        };
        let running = running.unwrap();
        Run {
            running,
            tells_role,
            log,
        }
    }

    /// Runs it to its end.
    pub fn run(&self, options: &[&str]) -> Done {
        self.start(options).finish()
    }
}

impl Run {
    /// Waits for its end.
    pub fn finish(self) -> Done {
        let pid = u64::from(self.running.pid());
        self.running.finish().unwrap();
        let ends = read_logs(self.log.path()).unwrap();
        Done {
            pid,
            tells_role: self.tells_role,
            ends,
        }
    }
}

/// The role of an end and the number of its connection, which a client says first of all.
type Name = (String, usize);

/// Captured connections of one process by their names.
pub fn named_conns<'c>(what: &str, captured: &'c Captured, pid: u64) -> BTreeMap<Name, &'c Conn> {
    let mut named = BTreeMap::new();
    let conns = captured.conns.values();
    for conn in conns.filter(|conn| conn.pid == pid) {
        let told = || {
            let sizes = (conn.written.len(), conn.read.len());
            format!(
                "{what}: {:?}",
                Conn {
                    written: Vec::new(),
                    read: Vec::new(),
                    ..conn.clone()
                }
            ) + &format!("{sizes:?}")
        };
        let name = match (number(&conn.written), number(&conn.read)) {
            (Some(number), None) => ("client".to_owned(), number),
            (None, Some(number)) => ("server".to_owned(), number),
            other => panic!("{other:?} is no plan: {}", told()),
        };
        let other = named.insert(name, conn);
        assert!(other.is_none(), "twice: {}", told());
    }
    named
}

fn number(said: &[u8]) -> Option<usize> {
    let line = said.split(|byte| *byte == b';').next()?;
    let number = line.strip_prefix(b"connection=")?;
    std::str::from_utf8(number).ok()?.parse().ok()
}

/// The captured connections are the program's, end by end and byte by byte; each is one connection by
/// its own socket.
pub fn assert_same(what: &str, captured: &Captured, done: &Done) {
    captured.assert_whole();
    let ours = named_conns(what, captured, done.pid);
    let theirs: BTreeMap<Name, &Endpoint> = done
        .ends
        .iter()
        .map(|end| ((end.role.clone(), end.number), end))
        .collect();
    assert!(!theirs.is_empty(), "{what}: it did nothing");
    let names: Vec<_> = ours.keys().collect();
    assert_eq!(names, theirs.keys().collect::<Vec<_>>(), "{what}");
    for (name, end) in &theirs {
        let conn = ours[name];
        let what = format!("{what}: {name:?}");
        assert_eq!(conn.library, "rustls", "{what}");
        assert_eq!(conn.joined_by, "bytes", "{what}");
        let role = done.tells_role.then_some(&name.0);
        assert_eq!(conn.role.as_ref(), role, "{what}");
        assert!(conn.fd.is_some_and(|fd| fd > 2), "{what}: {:?}", conn.fd);
        assert!(conn.close.is_some(), "{what}: no end");
        for (ours, theirs) in [(&conn.written, &end.written), (&conn.read, &end.read)] {
            assert_eq!(ours.len(), theirs.len(), "{what}");
            assert!(ours == theirs, "{what}: other bytes");
        }
    }
    assert_sockets(what, &ours);
}

/// Where both ends are observed, each names the other's socket.
fn assert_sockets(what: &str, conns: &BTreeMap<Name, &Conn>) {
    for ((role, number), conn) in conns {
        assert!(conn.local.is_some() && conn.peer.is_some(), "{what}");
        assert_ne!(conn.local, conn.peer, "{what}");
        let other = match role.as_str() {
            "client" => "server",
            _ => "client",
        };
        if let Some(other) = conns.get(&(other.to_owned(), *number)) {
            let (ours, theirs) = ((&conn.local, &conn.peer), (&other.peer, &other.local));
            assert_eq!(ours, theirs, "{what}: {role} {number}");
            assert_ne!(conn.fd, other.fd, "{what}: {role} {number}");
        }
    }
}
