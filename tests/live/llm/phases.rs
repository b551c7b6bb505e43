//! Clients that ask when they are told to, on connections that they keep, and what they asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use agentsight_testbins::llm::{MockServer, Options};
use serde_json::Value;

use super::clients::{command, driver, leave_network, sdks};
use super::libssl;
use crate::program;
use crate::support::sample;

/// Who asks, and which file of it is observed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Runtime {
    Node,
    Python,
}

/// A process that takes orders.
pub struct Peer {
    child: Child,
    orders: Option<ChildStdin>,
    said: BufReader<ChildStdout>,
}

impl Peer {
    pub fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        Self {
            orders: child.stdin.take(),
            said: BufReader::new(child.stdout.take().unwrap()),
            child,
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line that it says.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.said.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    /// Tells it what to do, and waits until it is done.
    pub fn order(&mut self, order: &str) {
        let orders = self.orders.as_mut().unwrap();
        writeln!(orders, "{order}").unwrap();
        orders.flush().unwrap();
        assert_eq!(self.line(), "done", "{order}");
    }

    /// Lets it end well.
    pub fn end(mut self) {
        self.orders = None;
        self.said.read_to_string(&mut String::new()).unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A mock server, and a client that keeps its connections, in a network that reaches nobody else.
pub struct Stage {
    pub server: MockServer,
    pub client: Peer,
    /// The program or library to observe.
    pub observed: std::path::PathBuf,
    _dir: tempfile::TempDir,
}

impl Stage {
    /// `version`: `h1` or `h2`.
    pub fn set(runtime: Runtime, version: &str, connections: u32, pause_ms: u64) -> Option<Self> {
        leave_network();
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            pause_ms,
            ..Options::default()
        };
        let server = MockServer::start(options, dir.path()).unwrap();
        let (observed, mut command) = match runtime {
            Runtime::Node => {
                let node = sample("node-x64-20")?.path;
                let mut command = command(&node, dir.path(), &server.ca);
                command.arg(driver("phases.mjs"));
                (node, command)
            }
            Runtime::Python => {
                let mut command = command(&program("python3")?, dir.path(), &server.ca);
                command
                    .env("PYTHONPATH", sdks("python")?)
                    .env("PYTHONDONTWRITEBYTECODE", "1")
                    .arg(driver("phases.py"));
                (libssl()?, command)
            }
        };
        command.args([&server.url(), version, &connections.to_string()]);
        let mut client = Peer::start(&mut command);
        // From here on its library is there.
        client.order("0");
        Some(Self {
            client,
            server,
            observed,
            _dir: dir,
        })
    }
}

/// The number of the question in a line of the truth log, or of `llm.call`.
pub fn question(line: &Value) -> Option<u64> {
    let text = line["request"].to_string();
    let (_, behind) = text.split_once("Question ")?;
    behind.split_once(':')?.0.parse().ok()
}
