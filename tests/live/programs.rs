//! Programs that others wrote: curl, Python, wget, node, OpenSSL's own server.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use crate::capture::{Capture, temp_file, wait_for};
use crate::{is_root, program, skip};

/// `openssl s_server -WWW`, which serves the files of its directory.
struct FileServer {
    server: Server,
    port: u16,
    dir: tempfile::TempDir,
}

/// A server that ends with its test, also a failing one.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl FileServer {
    fn start(body: &[u8]) -> Option<Self> {
        Self::with_mode(body, &["-WWW"])
    }

    /// Without a mode it is a pipe: what comes goes to stdout, stdin goes out.
    fn with_mode(body: &[u8], mode: &[&str]) -> Option<Self> {
        let openssl = program("openssl")?;
        let dir = tempfile::tempdir().unwrap();
        temp_file(&dir, "body.txt", body);
        let made = Command::new(&openssl)
            .args([
                "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
            ])
            .args([
                "-subj",
                "/CN=localhost",
                "-addext",
                "subjectAltName=IP:127.0.0.1",
            ])
            .args(["-keyout", "key.pem", "-out", "cert.pem"])
            .current_dir(dir.path())
            .output()
            .unwrap();
        assert!(
            made.status.success(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
        // A free port: somebody else could take it meanwhile, and then the server says so.
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let child = Command::new(&openssl)
            .args(["s_server", "-quiet", "-key", "key.pem", "-cert", "cert.pem"])
            .args(mode)
            .args(["-accept", &format!("127.0.0.1:{port}")])
            .current_dir(dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self {
            server: Server(child),
            port,
            dir,
        };
        wait_for("s_server", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
        Some(server)
    }

    fn cert(&self) -> PathBuf {
        self.dir.path().join("cert.pem")
    }

    fn url(&self) -> String {
        format!("https://127.0.0.1:{}/body.txt", self.port)
    }
}

fn body() -> Vec<u8> {
    (0..20000)
        .map(|n| format!("line {n} of the body\n"))
        .collect::<String>()
        .into_bytes()
}

fn ends_with_body(read: &[u8], body: &[u8]) -> bool {
    read.ends_with(body) && read.starts_with(b"HTTP/1.0 200 ok")
}

/// Python's own file, whatever wrapper comes first in PATH.
fn python() -> Option<PathBuf> {
    program("python3")
}

/// curl and OpenSSL's server, both through the shared library: each end read what the other wrote.
/// (As a file server, `-WWW`, it would read through BIO_f_ssl, which calls no exported function.)
#[test]
fn root_curl_and_s_server() {
    if !is_root() {
        return;
    }
    let body = body();
    let (Some(curl), Some(mut server)) = (program("curl"), FileServer::with_mode(&body, &[]))
    else {
        return;
    };
    let mut answer = format!("HTTP/1.0 200 ok\r\nContent-Length: {}\r\n\r\n", body.len());
    answer.push_str(std::str::from_utf8(&body).unwrap());
    let mut stdin = server.server.0.stdin.take().unwrap();
    let Some(library) = loaded_library(server.server.0.id(), "libssl.so") else {
        return skip("an openssl that uses libssl.so");
    };
    let capture = Capture::start(&library, &[]);
    let mut command = Command::new(curl);
    command
        .arg("-sS")
        .arg("--cacert")
        .arg(server.cert())
        .arg(server.url());
    let writer = std::thread::spawn(move || {
        std::io::Write::write_all(&mut stdin, answer.as_bytes()).unwrap();
        stdin // open until the client has all: the end of stdin is the end of the server
    });
    let (client_pid, out) = output(&mut command);
    drop(writer.join().unwrap());
    assert_eq!(
        out.stdout.len(),
        body.len(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let server_pid = u64::from(server.server.0.id());
    std::thread::sleep(std::time::Duration::from_millis(200));
    let captured = capture.stop();
    captured.assert_whole();
    let by = |pid: u64| {
        let mut conns = captured.conns.values();
        let found = conns.find(|conn| conn.pid == pid && !conn.read.is_empty());
        found.unwrap_or_else(|| panic!("no connection of {pid}: {}", captured.stderr))
    };
    let (client, served) = (by(client_pid), by(server_pid));
    assert!(client.written.starts_with(b"GET /body.txt HTTP/1.1\r\n"));
    assert!(ends_with_body(&client.read, &body));
    assert_eq!(client.written, served.read);
    assert_eq!(client.read, served.written);
}

/// Runs a command to its end: its process, and what it printed.
fn output(command: &mut Command) -> (u64, Output) {
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = u64::from(child.id());
    (pid, child.wait_with_output().unwrap())
}

fn loaded_library(pid: u32, name: &str) -> Option<PathBuf> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let path = maps
        .lines()
        .filter_map(|line| line.split_whitespace().nth(5));
    path.into_iter()
        .find(|path| path.contains(name))
        .map(PathBuf::from)
}

/// curl by its own path: its TLS is in a library that it needs.
#[test]
fn root_curl_by_executable() {
    client_by_executable("curl", |server| {
        vec![
            "-sS".into(),
            "--cacert".into(),
            server.cert().display().to_string(),
            server.url(),
        ]
    });
}

/// wget uses GnuTLS, found by its own path.
#[test]
fn root_wget_by_executable() {
    client_by_executable("wget", |server| {
        vec![
            "-q".into(),
            "-O-".into(),
            "--ca-certificate".into(),
            server.cert().display().to_string(),
            server.url(),
        ]
    });
}

/// GnuTLS's own client.
#[test]
fn root_gnutls_cli() {
    if !is_root() {
        return;
    }
    let body = body();
    let (Some(client), Some(server)) = (program("gnutls-cli"), FileServer::start(&body)) else {
        return;
    };
    let capture = Capture::start(&client, &[]);
    let port = server.port.to_string();
    let mut child = Command::new(&client)
        .args([
            "--no-ca-verification",
            "--logfile=/dev/null",
            "--port",
            &port,
            "127.0.0.1",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let request = b"GET /body.txt HTTP/1.0\r\n\r\n";
    let mut stdin = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, request).unwrap();
    let reader = std::thread::spawn(move || child.wait_with_output().unwrap());
    wait_for("the answer", || reader.is_finished());
    drop(stdin);
    let captured = capture.stop();
    captured.assert_whole();
    let conn = captured
        .conns
        .values()
        .find(|conn| !conn.read.is_empty())
        .unwrap();
    assert_eq!(conn.written, request);
    assert!(ends_with_body(&conn.read, &body));
}

fn client_by_executable(name: &str, arguments: impl Fn(&FileServer) -> Vec<String>) {
    if !is_root() {
        return;
    }
    let body = body();
    let (Some(client), Some(server)) = (program(name), FileServer::start(&body)) else {
        return;
    };
    let capture = Capture::start(&client, &[]);
    let (pid, out) = output(Command::new(&client).args(arguments(&server)));
    assert!(
        out.stdout == body,
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let mut captured = capture.stop();
    captured.assert_whole();
    // Other tests may run the same program meanwhile; never the server's end, another program.
    let server_pid = u64::from(server.server.0.id());
    assert!(captured.conns.values().all(|conn| conn.pid != server_pid));
    captured.conns.retain(|_, conn| conn.pid == pid);
    assert_eq!(captured.conns.len(), 1);
    let conn = captured.conns.values().next().unwrap();
    assert!(conn.written.starts_with(b"GET /body.txt HTTP/1."));
    assert!(ends_with_body(&conn.read, &body));
}

/// Python loads its TLS when `ssl` is imported: the process is followed from its first byte although
/// the executable itself has none.
#[test]
fn root_python_loads_tls_later() {
    if !is_root() {
        return;
    }
    let body = body();
    let (Some(python), Some(server)) = (python(), FileServer::start(&body)) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let script = temp_file(
        &dir,
        "client.py",
        b"import socket, ssl, sys\n\
          context = ssl.create_default_context(cafile=sys.argv[1])\n\
          raw = socket.create_connection(('127.0.0.1', int(sys.argv[2])))\n\
          tls = context.wrap_socket(raw, server_hostname='127.0.0.1')\n\
          request = b'GET /body.txt HTTP/1.0\\r\\nX-Padding: ' + b'p' * 3000 + b'\\r\\n\\r\\n'\n\
          tls.sendall(request)\n\
          answer = b''.join(iter(lambda: tls.recv(8192), b''))\n\
          open(sys.argv[3] + '.write', 'wb').write(request)\n\
          open(sys.argv[3] + '.read', 'wb').write(answer)\n",
    );
    let log = dir.path().join("log");
    let capture = Capture::start_alone(&python, &[]);
    let mut command = Command::new(&python);
    command
        .arg(&script)
        .arg(server.cert())
        .arg(server.port.to_string())
        .arg(&log);
    let (pid, out) = output(&mut command);
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let mut captured = capture.stop();
    captured.conns.retain(|_, conn| conn.pid == pid);
    captured.assert_whole();
    let logged = |end: &str| std::fs::read(log.with_extension(end)).unwrap();
    assert!(captured.streams() == [(logged("write"), logged("read"))]);
    assert!(captured.conns.values().all(|conn| conn.from_start));
}

/// A private libssl that no system directory holds is probed while its process runs.
#[test]
fn root_a_library_that_is_loaded_while_we_watch() {
    if !is_root() {
        return;
    }
    let (Some(python), Some(openssl)) = (python(), program("openssl")) else {
        return;
    };
    let out = Command::new("ldd").arg(&openssl).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let path_of = |name: &str| {
        let line = text.lines().find(|line| line.contains(name))?;
        line.split_once("=> ")?
            .1
            .split(' ')
            .next()
            .map(str::to_owned)
    };
    let (Some(ssl), Some(crypto)) = (path_of("libssl.so"), path_of("libcrypto.so")) else {
        return skip("an openssl that uses libssl.so");
    };
    let dir = tempfile::tempdir().unwrap();
    let private = dir.path().join("libprivate.so");
    std::fs::copy(ssl, &private).unwrap();
    // Both ends joined by memory BIOs, with an anonymous cipher, so that nothing but the library is needed.
    let script = temp_file(&dir, "pair.py", PAIR_BY_CTYPES.as_bytes());
    let capture = Capture::start_alone(&python, &[]);
    let mut child = Command::new(&python)
        .arg(&script)
        .arg(&private)
        .arg(crypto)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // The script stands still after the handshake; probes follow the loader's word within moments.
    std::thread::sleep(std::time::Duration::from_millis(1500));
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    let captured = capture.stop();
    captured.assert_whole();
    let all = captured.all_bytes();
    let count = memchr::memmem::find_iter(&all, b"private plaintext").count();
    assert_eq!(count, 2, "written once, read once: {}", captured.stderr);
}

const PAIR_BY_CTYPES: &str = r"
import ctypes, sys
crypto = ctypes.CDLL(sys.argv[2], mode=ctypes.RTLD_GLOBAL)
ssl = ctypes.CDLL(sys.argv[1])
P = ctypes.c_void_p
def f(lib, name, restype, *argtypes):
    function = getattr(lib, name); function.restype = restype; function.argtypes = argtypes
    return function
new = f(ssl, 'SSL_CTX_new', P, P)
method = f(ssl, 'TLS_method', P)
def context():
    ctx = new(method())
    f(ssl, 'SSL_CTX_ctrl', ctypes.c_long, P, ctypes.c_int, ctypes.c_long, P)(ctx, 124, 0x303, None)
    f(ssl, 'SSL_CTX_ctrl', ctypes.c_long, P, ctypes.c_int, ctypes.c_long, P)(ctx, 118, 1, None)
    assert f(ssl, 'SSL_CTX_set_cipher_list', ctypes.c_int, P, ctypes.c_char_p)(ctx, b'ADH:AECDH:@SECLEVEL=0')
    return ctx
pair = f(crypto, 'BIO_new_bio_pair', ctypes.c_int, P, ctypes.c_size_t, P, ctypes.c_size_t)
a, b = P(), P()
assert pair(ctypes.byref(a), 65536, ctypes.byref(b), 65536)
make = f(ssl, 'SSL_new', P, P)
bio = f(ssl, 'SSL_set_bio', None, P, P, P)
client, server = make(context()), make(context())
bio(client, a, a); bio(server, b, b)
f(ssl, 'SSL_set_connect_state', None, P)(client)
f(ssl, 'SSL_set_accept_state', None, P)(server)
shake = f(ssl, 'SSL_do_handshake', ctypes.c_int, P)
for _ in range(10):
    done = shake(client) == 1
    done = shake(server) == 1 and done
    if done: break
assert done, 'no handshake'
sys.stdin.read()
text = b'private plaintext'
assert f(ssl, 'SSL_write', ctypes.c_int, P, P, ctypes.c_int)(client, text, len(text)) == len(text)
buffer = ctypes.create_string_buffer(100)
assert f(ssl, 'SSL_read', ctypes.c_int, P, P, ctypes.c_int)(server, buffer, 100) == len(text)
";

/// node from the registry posts a prompt and reads a streamed answer; both sides logged the same.
#[test]
fn root_node_streams_an_answer() {
    if !is_root() {
        return;
    }
    let mut tried = 0;
    for sample in ["node-x64-18", "node-x64-20", "node-x64-26"] {
        let Some(node) = sample_path(sample) else {
            continue;
        };
        tried += 1;
        node_streams(&node, sample);
    }
    if tried < 3 {
        skip("a node of the samples (scripts/fetch-samples)");
    }
}

fn sample_path(name: &str) -> Option<PathBuf> {
    let cache = std::env::var_os("AGENTSIGHT_SAMPLES")
        .map(PathBuf::from)
        .or_else(|| {
            let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
            let cache =
                cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
            Some(cache.join("agentsight/samples"))
        })?;
    let path = cache.join(name).join("node");
    path.exists().then_some(path)
}

fn node_streams(node: &Path, name: &str) {
    let Some(python) = python() else { return };
    let demo = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/demo.d");
    let dir = tempfile::tempdir().unwrap();
    let (cert, log) = (dir.path().join("cert.pem"), dir.path().join("server.log"));
    let mut server = Server(
        Command::new(python)
            .arg(demo.join("llm_server.py"))
            .args(["--port", "0", "--delay", "5", "--write-cert"])
            .arg(&cert)
            .arg("--log")
            .arg(&log)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut line = String::new();
    let stdout = server.0.stdout.take().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut line).unwrap();
    let port = line.trim().strip_prefix("listening ").unwrap().to_owned();
    let capture = Capture::start(node, &[]);
    let out = Command::new(node)
        .arg(demo.join("client.mjs"))
        .arg(format!("https://127.0.0.1:{port}"))
        .args(["--prompt", "why is the sky blue? ☀"])
        .env("NODE_EXTRA_CA_CERTS", &cert)
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "{name}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    drop(server);
    let captured = capture.stop();
    captured.assert_whole();
    let exchange = std::fs::read_to_string(&log).unwrap();
    let exchange: serde_json::Value =
        serde_json::from_str(exchange.lines().next().unwrap()).unwrap();
    // The server logs bytes as latin-1 characters.
    let bytes = |key: &str| -> Vec<u8> {
        exchange[key]
            .as_str()
            .unwrap()
            .chars()
            .map(|c| c as u8)
            .collect()
    };
    assert_eq!(
        captured.streams(),
        [(bytes("request"), bytes("response"))],
        "{name}"
    );
}

/// Without being asked to, nothing shows a secret: neither text, nor JSON, nor raw bytes.
#[test]
fn root_secrets_are_masked_by_default() {
    if !is_root() {
        return;
    }
    let (Some(curl), Some(server)) = (program("curl"), FileServer::start(b"ok")) else {
        return;
    };
    const SECRET: &str = "sk-test-0123456789abcdefghij";
    for form in [&[][..], &["--json"], &["--raw"], &["--hex"]] {
        let header = format!("Authorization: Bearer {SECRET}");
        let out = Command::new(env!("CARGO_BIN_EXE_agentsight"))
            .args(["attach", "--binary"])
            .arg(&curl)
            .args(form)
            .arg("--")
            .arg(&curl)
            .args(["-s", "-o", "/dev/null", "-H", &header, "--cacert"])
            .arg(server.cert())
            .arg(server.url())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.success(), "{said}");
        // In what was sent, and on the command line if that was seen.
        assert!(said.contains("masked: "), "{form:?}: {said}");
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        assert!(!text.contains(SECRET), "{form:?}: {text}");
        if !form.contains(&"--hex") {
            assert!(text.contains("Bearer <redacted:"), "{form:?}: {text}");
        }
    }
}

/// TLS 1.3 early data goes through functions of its own, which call the ordinary ones inside: each end
/// tells it once, and as early.
#[test]
fn root_early_data_counts_once() {
    if !is_root() {
        return;
    }
    let (Some(openssl), Some(mut server)) = (
        program("openssl"),
        FileServer::with_mode(b"", &["-early_data", "-tls1_3"]),
    ) else {
        return;
    };
    let held_open = server.server.0.stdin.take();
    std::fs::write(server.dir.path().join("early.txt"), "early bird\n").unwrap();
    let connect = |options: &[&str]| {
        let mut child = Command::new(&openssl)
            .args([
                "s_client",
                "-tls1_3",
                "-connect",
                &format!("127.0.0.1:{}", server.port),
            ])
            .args(options)
            .current_dir(server.dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Time for the session ticket; then the end of stdin ends it.
        std::thread::sleep(std::time::Duration::from_millis(500));
        drop(child.stdin.take());
        let pid = u64::from(child.id());
        child.wait().unwrap();
        pid
    };
    connect(&["-sess_out", "session.pem"]);
    let capture = Capture::start(&openssl, &[]);
    let pids = [
        connect(&["-sess_in", "session.pem", "-early_data", "early.txt"]),
        u64::from(server.server.0.id()),
    ];
    drop(held_open);
    let captured = capture.stop();
    captured.assert_whole();
    let mut early: Vec<_> = captured
        .lines
        .iter()
        .filter(|line| line["type"] == "tls.data" && pids.contains(&line["pid"].as_u64().unwrap()))
        .map(|line| {
            (
                line["function"].as_str().unwrap(),
                line["data"].as_str().unwrap(),
                &line["early"],
            )
        })
        .collect();
    // Told when a call returns: the reader may be the first.
    early.sort_by_key(|(function, ..)| *function);
    let yes = serde_json::Value::Bool(true);
    assert_eq!(
        early,
        [
            ("SSL_read_early_data", "early bird\n", &yes),
            ("SSL_write_early_data", "early bird\n", &yes),
        ]
    );
}
