//! Where connections go: what was captured is compared with what the servers saw of the same connections. A wrong
//! answer fails; how many have none is told for each program.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use agentsight_testbins::llm::{MockServer, Options};

use crate::capture::{Capture, Captured, Conn, wait_for};
use crate::{is_root, program};

/// Connections at a time, as many to each of eight servers.
const COUNT: usize = 64;

/// The servers of `endpoints.py`.
struct Servers {
    child: Child,
    stdin: Option<ChildStdin>,
    dir: tempfile::TempDir,
}

impl Drop for Servers {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/live/endpoints.py")
}

impl Servers {
    /// They and their clients have a copy of Python each: nobody observes the first, and the other runs for nobody else.
    fn start() -> Option<Self> {
        if !is_root() {
            return None;
        }
        program("openssl")?;
        let dir = tempfile::tempdir().unwrap();
        let python = dir.path().join("python-of-the-servers");
        std::fs::copy(program("python3")?, &python).unwrap();
        std::fs::copy(&python, dir.path().join("python-of-the-clients")).unwrap();
        let mut child = Command::new(python)
            .arg(script())
            .arg("serve")
            .arg(dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap();
        BufReader::new(stdout).read_line(&mut line).unwrap();
        assert_eq!(line, "listening 1\n");
        let stdin = child.stdin.take();
        Some(Self { child, stdin, dir })
    }

    fn places(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.dir.path().join("ports")).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    fn python(&self) -> PathBuf {
        self.dir.path().join("python-of-the-clients")
    }

    /// A client of `endpoints.py`.
    fn client(&self, kind: &str, count: usize) -> Command {
        let mut command = Command::new(self.python());
        command.arg(script()).arg(kind).arg(self.dir.path());
        command.arg(count.to_string());
        command
    }

    /// Which token came from which address to which, as the servers saw it.
    fn truth(&self) -> BTreeSet<String> {
        let text = std::fs::read_to_string(self.dir.path().join("log")).unwrap();
        text.lines().map(str::to_owned).collect()
    }
}

/// The tokens of all requests on a client's connection.
fn tokens(conn: &Conn) -> Vec<String> {
    let text = String::from_utf8_lossy(&conn.written);
    let targets = text.lines().filter_map(|line| {
        let target = line.strip_prefix("GET /")?;
        target.split(' ').next().map(str::to_owned)
    });
    targets.collect()
}

fn field<'c>(conn: &'c Conn, name: &str) -> Option<&'c str> {
    conn.endpoint.as_ref()?[name].as_str()
}

/// How many connections have an endpoint, each of which must be the true one, and of how many.
fn check(
    what: &str,
    captured: &Captured,
    pids: &[u64],
    truth: &BTreeSet<String>,
) -> (usize, usize) {
    let (mut attributed, mut all) = (0, 0);
    let mut how: BTreeMap<&str, usize> = BTreeMap::new();
    for conn in captured
        .conns
        .values()
        .filter(|conn| pids.contains(&conn.pid))
    {
        let tokens = tokens(conn);
        if tokens.is_empty() {
            continue;
        }
        all += 1;
        let confidence = field(conn, "confidence").unwrap_or("none");
        *how.entry(confidence).or_default() += 1;
        let (Some(local), Some(peer)) = (field(conn, "local"), field(conn, "peer")) else {
            continue;
        };
        assert_ne!(confidence, "none");
        for token in tokens {
            let seen = truth.contains(&format!("{token} {local} {peer}"));
            assert!(seen, "{what}: {token} did not go from {local} to {peer}");
        }
        attributed += 1;
    }
    let library = captured
        .conns
        .values()
        .find(|conn| pids.contains(&conn.pid));
    let library = library.map_or("?", |conn| &conn.library);
    eprintln!("{what} ({library}): {attributed} of {all} attributed, 0 wrong, {how:?}");
    (attributed, all)
}

fn run(command: &mut Command) -> u64 {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = u64::from(child.id());
    let out = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{command:?}: {}: {said}", out.status);
    pid
}

/// Runs a client of `endpoints.py` below two observers.
fn python(kind: &str, count: usize) -> Option<(Captured, u64, Servers)> {
    let servers = Servers::start()?;
    let capture = Capture::start(&servers.python(), &[]);
    let pid = run(&mut servers.client(kind, count));
    std::thread::sleep(std::time::Duration::from_millis(200));
    Some((capture.stop_of(pid), pid, servers))
}

/// Runs one, all of whose connections must be known, and known by the name that they asked for.
fn whole_python(kind: &str) {
    let Some((captured, pid, servers)) = python(kind, COUNT) else {
        return;
    };
    assert_eq!(
        check(kind, &captured, &[pid], &servers.truth()),
        (COUNT, COUNT)
    );
    for conn in captured.conns.values() {
        let number = tokens(conn)[0].replace("token-", "");
        assert_eq!(field(conn, "host"), Some(&*format!("sni-{number}.example")));
        assert_eq!(field(conn, "host_from"), Some("sni"));
        assert_eq!(field(conn, "protocol"), Some("http/1.1"));
        assert_eq!(field(conn, "role"), Some("client"));
        assert_eq!(field(conn, "confidence"), Some("exact"));
    }
    let all = format!("endpoints: openssl {COUNT} of {COUNT}");
    assert!(captured.stderr.contains(&all), "{}", captured.stderr);
}

/// Blocking sockets that were handed over with SSL_set_fd, 64 threads at a time, three requests each.
#[test]
fn root_endpoints_of_threads() {
    whole_python("threads");
}

/// A descriptor that another connection had a moment ago.
#[test]
fn root_endpoints_on_reused_descriptors() {
    whole_python("reuse");
}

/// What looks like TLS and is sent elsewhere by a callback, while the library's call runs, changes nothing.
#[test]
fn root_endpoints_with_meddling_callbacks() {
    whole_python("callbacks");
}

/// Ciphertext goes through memory, and is sent after the call.
#[test]
fn root_endpoints_of_asyncio() {
    let Some((captured, pid, servers)) = python("asyncio", COUNT) else {
        return;
    };
    let (attributed, all) = check("asyncio", &captured, &[pid], &servers.truth());
    assert_eq!(all, COUNT);
    assert!(attributed >= COUNT * 9 / 10, "{attributed}");
}

/// Ciphertext of many connections is sent by another thread in another order.
#[test]
fn root_endpoints_of_shuffled_buffers() {
    let Some((captured, pid, servers)) = python("shuffled", COUNT) else {
        return;
    };
    let (attributed, all) = check("shuffled", &captured, &[pid], &servers.truth());
    assert_eq!(all, COUNT);
    assert!(attributed >= COUNT * 9 / 10, "{attributed}");
}

/// TLS in TLS: the outer connection is the proxy's, the inner one goes through no socket of its own.
#[test]
fn root_endpoints_of_tunnels() {
    let Some((captured, pid, servers)) = python("tunnel", 16) else {
        return;
    };
    let conns = captured.conns.values();
    let (outer, inner): (Vec<_>, Vec<_>) =
        conns.partition(|conn| conn.written.starts_with(b"CONNECT "));
    assert_eq!((outer.len(), inner.len()), (16, 16));
    for conn in inner {
        assert_eq!(field(conn, "peer"), None, "{:?}", conn.endpoint);
    }
    let proxy = servers.places()[8].clone();
    for conn in &outer {
        assert_eq!(field(conn, "peer"), Some(&*proxy), "{:?}", conn.endpoint);
        assert_eq!(field(conn, "host"), Some("proxy.example"));
    }
    let locals: BTreeSet<_> = outer.iter().map(|conn| field(conn, "local")).collect();
    assert_eq!(locals.len(), 16);
    assert_eq!(pid, outer[0].pid);
}

/// Connections that were open before: they are known by what they send.
#[test]
fn root_endpoints_of_connections_under_way() {
    let Some(servers) = Servers::start() else {
        return;
    };
    let mut command = servers.client("waiting", COUNT);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = u64::from(child.id());
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert_eq!(line, "ready\n");
    let capture = Capture::start(&servers.python(), &[]);
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    assert!(child.wait().unwrap().success());
    let captured = capture.stop_of(pid);
    let found = check("joined", &captured, &[pid], &servers.truth());
    assert_eq!(found, (COUNT, COUNT));
    for conn in captured.conns.values() {
        assert_eq!(field(conn, "host_from"), Some("host"));
    }
}

/// Servers without a name in the ClientHello: requests of HTTP/2 name them.
#[test]
fn root_endpoints_by_authority() {
    let (true, Some(curl)) = (is_root(), program("curl")) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let server = MockServer::start(Options::default(), dir.path()).unwrap();
    let capture = Capture::start(&curl, &[]);
    let place = format!("127.0.0.1:{}", server.port);
    let mut command = Command::new(curl);
    command.args(["-sSk", "--http2", "-o", "/dev/null"]);
    let pid = run(command.arg(format!("https://{place}/v1/models")));
    let captured = capture.stop_of(pid);
    let conns: Vec<_> = captured.conns.values().collect();
    let [conn] = conns[..] else {
        panic!("{} connections", conns.len());
    };
    for (name, value) in [
        ("host", &*place),
        ("host_from", "authority"),
        ("peer", &place),
        ("protocol", "h2"),
    ] {
        assert_eq!(field(conn, name), Some(value), "{:?}", conn.endpoint);
    }
}

/// The same on a kernel that has less.
#[test]
fn root_endpoints_on_older_kernels() {
    let Some(servers) = Servers::start() else {
        return;
    };
    let without = "socket_lengths,bpf_loop,uprobe_multi,uprobe_session";
    let capture = Capture::without(without, &servers.python());
    let pid = run(&mut servers.client("threads", 16));
    std::thread::sleep(std::time::Duration::from_millis(200));
    let captured = capture.stop_of(pid);
    let found = check("older kernel", &captured, &[pid], &servers.truth());
    assert_eq!(found, (16, 16));
}

/// curl's pool: parallel transfers, each of which comes twice.
#[test]
fn root_endpoints_of_curl() {
    let (Some(servers), Some(curl)) = (Servers::start(), program("curl")) else {
        return;
    };
    let capture = Capture::start(&curl, &[]);
    let mut command = Command::new(curl);
    command.args([
        "-sSk",
        "--parallel",
        "--parallel-max",
        "64",
        "--parallel-immediate",
    ]);
    let places = servers.places();
    for n in 0..COUNT {
        command.arg(format!("https://{}/token-{n}", places[n % 8]));
        command.args(["-o", "/dev/null"]);
    }
    let pid = run(&mut command);
    let captured = capture.stop_of(pid);
    let (attributed, all) = check("curl", &captured, &[pid], &servers.truth());
    assert!(all >= 8);
    assert_eq!(attributed, all);
}

/// node's agent keeps connections open; its TLS writes to memory.
#[test]
fn root_endpoints_of_node() {
    let (Some(servers), Some(node)) = (Servers::start(), program("node")) else {
        return;
    };
    let capture = Capture::start(&node, &[]);
    let script = "
        const https = require('https');
        const places = process.argv[1].split(' ');
        const agent = new https.Agent({keepAlive: true, maxSockets: 8});
        const ask = token => new Promise((done, fail) => {
            const [host, port] = places[token % 8].split(':');
            const options = {host, port, path: `/token-${token}`, agent, rejectUnauthorized: false};
            https.get(options, answer => answer.resume().on('end', done)).on('error', fail);
        });
        (async () => {
            for (let round = 0; round < 3; round++)
                await Promise.all(Array.from({length: 64}, (_, n) => ask(n)));
            agent.destroy();
        })();";
    let mut command = Command::new(node);
    let pid = run(command.args(["-e", script, &servers.places()[..8].join(" ")]));
    let captured = capture.stop_of(pid);
    let (attributed, all) = check("node", &captured, &[pid], &servers.truth());
    assert!(all >= 8);
    assert!(attributed >= all * 9 / 10, "{attributed} of {all}");
}

/// GnuTLS, in eight processes of wget that keep their connections.
#[test]
fn root_endpoints_of_wget() {
    let (Some(servers), Some(wget)) = (Servers::start(), program("wget")) else {
        return;
    };
    let capture = Capture::start(&wget, &[]);
    let places = servers.places();
    let mut children: Vec<Child> = (0..8)
        .map(|process| {
            let urls = (0..8).map(|n| format!("https://{}/token-{}", places[n], process * 8 + n));
            let mut command = Command::new(&wget);
            command.args(["-q", "-O/dev/null", "--no-check-certificate"]);
            command.args(urls.collect::<Vec<_>>()).spawn().unwrap()
        })
        .collect();
    let pids: Vec<u64> = children.iter().map(|child| u64::from(child.id())).collect();
    for child in &mut children {
        wait_for("wget", || child.try_wait().unwrap().is_some());
    }
    let captured = capture.stop();
    let found = check("wget", &captured, &pids, &servers.truth());
    assert_eq!(found, (COUNT, COUNT));
}
