//! Events as the `agentsight` of the eunomia project writes them, so that its viewers open what we captured: one JSON object
//! a line with `timestamp` (milliseconds since 1970), `source`, `pid`, `comm`, and `data`: what its own probes print, in
//! whose clock (nanoseconds since boot).
//!
//! After github.com/eunomia-bpf/agentsight: `agentsight-capture/src/event.rs` at 12cceac (the object),
//! `agentsight-capture/src/time.rs` at 0588e23 (the clocks), `bpf/sslsniff.c` at 12cceac (source `ssl`), `bpf/process.c` at
//! 21575ae and `bpf/process_ext/map_flush.h` at 3e51adc (`process`), `agentsight-capture/src/analyzers/http_parser.rs` at
//! 12cceac (`http_parser`), and `frontend/src/utils/eventParsers.ts` at 0c594e3, which shows them.
//!
//! Told is only what we know: there is no `latency_ms`, and `uid` and `ppid` are there where the process is known. What that
//! form has no place for is left out: ends and names of connections, failed deeds, DNS, io_uring, pipes, owners, modes and
//! links of files. Calls of models are left to its own readers of `http_parser`.

use std::collections::HashMap;
use std::io::{self, Write};

use serde_json::{Map, Value, json};

use super::{Clock, Sink};
use crate::bytes::hex;
use crate::deeds::deed::{Deed, Exec, Exit, File, FileKind, Net, NetKind, What};
use crate::dialog::said::{Body, HttpRequest, HttpResponse};
use crate::dialog::{Said, What as Spoken};
use crate::event::{Direction, ProcessId};
use crate::proto::Fields;
use crate::stream::{Gap, Message, Origin, Payload};

/// Processes of which parent and user are remembered.
const KNOWN_MAX: usize = 65_536;

/// `include/uapi/asm-generic/fcntl.h`
const FLAGS: [(&str, u64); 12] = [
    ("append", 0o2000),
    ("create", 0o100),
    ("directory", 0o200_000),
    ("dsync", 0o10000),
    ("exclusive", 0o200),
    ("nofollow", 0o400_000),
    ("nonblock", 0o4000),
    ("read", 0),
    ("read-write", 2),
    ("tmpfile", 0o20_000_000),
    ("truncate", 0o1000),
    ("write", 1),
];

/// Writes events of the eunomia project.
pub struct Eunomia<W> {
    out: W,
    clock: Clock,
    known: HashMap<ProcessId, Known>,
}

/// What every event of a process repeats.
#[derive(Clone, Copy, Default)]
struct Known {
    ppid: Option<u32>,
    uid: Option<u32>,
}

impl<W: Write> Eunomia<W> {
    /// Writes to `out`, which should be buffered.
    pub fn new(out: W, clock: Clock) -> Self {
        Self {
            out,
            clock,
            known: HashMap::new(),
        }
    }

    fn learn(&mut self, process: ProcessId, ppid: Option<u32>, uid: Option<u32>) {
        if self.known.len() >= KNOWN_MAX && !self.known.contains_key(&process) {
            return;
        }
        let known = self.known.entry(process).or_default();
        known.ppid = ppid.or(known.ppid);
        known.uid = uid.or(known.uid);
    }

    fn write(
        &mut self,
        source: &str,
        ts_ns: u64,
        pid: u32,
        comm: &str,
        data: Map<String, Value>,
    ) -> io::Result<()> {
        let event = json!({
            "timestamp": self.clock.time(ts_ns).as_millisecond(),
            "source": source,
            "pid": pid,
            "comm": comm,
            "data": data,
        });
        serde_json::to_writer(&mut self.out, &event)?;
        self.out.write_all(b"\n")
    }

    fn ssl(&mut self, origin: &Origin, direction: Direction, more: Value) -> io::Result<()> {
        let comm = origin.comm.text();
        let mut data = object(json!({
            "function": match direction {
                Direction::Read => "READ/RECV",
                Direction::Write => "WRITE/SEND",
            },
            "timestamp_ns": origin.ts_ns,
            "comm": comm,
            "pid": origin.process.pid,
            "tid": origin.tid,
            "connection_id": origin.conn.0,
            "is_handshake": false,
        }));
        let known = self.known.get(&origin.process).copied().unwrap_or_default();
        if let Some(uid) = known.uid {
            data.insert("uid".into(), uid.into());
        }
        data.extend(object(more));
        self.write("ssl", origin.ts_ns, origin.process.pid, &comm, data)
    }

    fn plaintext(&mut self, origin: &Origin, payload: &Payload<'_>) -> io::Result<()> {
        let bytes = payload.bytes.as_ref();
        let mut more = json!({
            "len": bytes.len(),
            "buf_size": bytes.len(),
            "data": text(bytes),
            "truncated": false,
        });
        if is_binary(bytes)
            && let Some(more) = more.as_object_mut()
        {
            more.insert("data_hex".into(), hex(bytes).into());
        }
        self.ssl(origin, payload.direction, more)
    }

    /// A call of which no byte was seen.
    fn gap(&mut self, origin: &Origin, gap: &Gap) -> io::Result<()> {
        let Some(direction) = gap.direction.filter(|_| gap.bytes > 0) else {
            return Ok(());
        };
        let more = json!({
            "len": gap.bytes,
            "buf_size": 0,
            "data": null,
            "truncated": true,
            "bytes_lost": gap.bytes,
        });
        self.ssl(origin, direction, more)
    }

    fn request(&mut self, said: &Said, request: &HttpRequest) -> io::Result<()> {
        let method = request.method.as_deref().unwrap_or("?");
        let path = request.target.as_deref().unwrap_or("?");
        let more = json!({
            "message_type": "request",
            "first_line": format!("{method} {path} {}", request.version),
            "method": request.method,
            "path": request.target,
            "protocol": request.version,
            "status_code": null,
            "status_text": null,
        });
        self.http(said, more, &request.fields, &request.body)
    }

    fn response(&mut self, said: &Said, response: &HttpResponse) -> io::Result<()> {
        let status = response
            .status
            .map_or_else(|| "?".to_owned(), |code| code.to_string());
        let more = json!({
            "message_type": "response",
            "first_line": format!("{} {status}", response.version),
            "method": null,
            "path": null,
            "protocol": response.version,
            "status_code": response.status,
            "status_text": null,
        });
        self.http(said, more, &response.fields, &response.body)
    }

    fn http(&mut self, said: &Said, more: Value, fields: &Fields, body: &Body) -> io::Result<()> {
        let known = fields.0.iter();
        let headers: Map<String, Value> = known
            .filter_map(|field| Some((field.name.clone(), field.value.clone()?.into())))
            .collect();
        let has_body = !body.bytes.is_empty();
        let mut data = object(json!({
            "tid": said.origin.tid,
            "headers": headers,
            "body": has_body.then(|| text(&body.bytes)),
            "total_size": body.wire,
            "has_body": has_body,
            "is_chunked": fields.lists("transfer-encoding", "chunked"),
            "content_length": fields.get("content-length").and_then(|len| len.parse::<u64>().ok()),
            "original_source": "ssl",
        }));
        data.extend(object(more));
        let origin = &said.origin;
        let (comm, pid) = (origin.comm.text(), origin.process.pid);
        self.write("http_parser", origin.ts_ns, pid, &comm, data)
    }

    fn process(&mut self, deed: &Deed, event: &str, more: Value) -> io::Result<()> {
        let comm = deed.comm.text();
        let mut data = object(json!({
            "timestamp": deed.ts_ns,
            "event": event,
            "comm": comm,
            "pid": deed.process.pid,
        }));
        data.extend(object(more));
        self.write("process", deed.ts_ns, deed.process.pid, &comm, data)
    }

    fn exec(&mut self, deed: &Deed, exec: &Exec) -> io::Result<()> {
        if exec.error.is_some() {
            return Ok(());
        }
        let uid = exec.identity.map(|identity| identity.uid);
        self.learn(deed.process, None, uid);
        let mut more = json!({
            "filename": exec.filename,
            "full_command": exec.args.join(" "),
        });
        self.add_parent(deed.process, &mut more);
        self.process(deed, "EXEC", more)
    }

    fn exit(&mut self, deed: &Deed, exit: &Exit) -> io::Result<()> {
        let lasted_ns = deed.ts_ns.saturating_sub(deed.process.start_ns);
        let mut more = json!({
            // The status of one that a signal ended has no code.
            "exit_code": exit.code.unwrap_or(0),
            "duration_ms": lasted_ns / 1_000_000,
            "vm_hwm_kb": exit.peak_rss / 1024,
        });
        if let (Some(signal), Some(more)) = (exit.signal, more.as_object_mut()) {
            more.insert("signal".into(), signal.into());
        }
        self.add_parent(deed.process, &mut more);
        self.known.remove(&deed.process);
        self.process(deed, "EXIT", more)
    }

    fn add_parent(&self, process: ProcessId, more: &mut Value) {
        let ppid = self.known.get(&process).and_then(|known| known.ppid);
        if let (Some(ppid), Some(more)) = (ppid, more.as_object_mut()) {
            more.insert("ppid".into(), ppid.into());
        }
    }

    fn file(&mut self, deed: &Deed, kind: FileKind, file: &File) -> io::Result<()> {
        if file.error.is_some() {
            return Ok(());
        }
        let path = file.path.as_ref().map(|path| path.text().into_owned());
        let to = file.to.as_ref().map(|path| path.text().into_owned());
        match (kind, path) {
            (FileKind::Open, Some(path)) => {
                let flags = FLAGS.iter().filter(|(name, _)| file.flags.contains(name));
                let flags = flags.fold(0, |flags, (_, bit)| flags | bit);
                let more = json!({ "count": 1, "filepath": path, "flags": flags });
                self.process(deed, "FILE_OPEN", more)
            }
            (FileKind::Write, path) => self.written(deed, file, path),
            (FileKind::Unlink, Some(path)) => self.named(deed, "FILE_DELETE", &path),
            (FileKind::Mkdir, Some(path)) => self.named(deed, "DIR_CREATE", &path),
            (FileKind::Truncate, Some(path)) => self.named(deed, "FILE_TRUNCATE", &path),
            (FileKind::Mmap, Some(path)) => self.named(deed, "MMAP_SHARED", &path),
            (FileKind::Rename, _) => match to {
                Some(to) => self.named(deed, "FILE_RENAME", &to),
                None => Ok(()),
            },
            _ => Ok(()),
        }
    }

    fn written(&mut self, deed: &Deed, file: &File, path: Option<String>) -> io::Result<()> {
        let bytes = file.bytes.unwrap_or(0);
        if bytes == 0 {
            return Ok(());
        }
        let is_resolved = path.is_some();
        let fd = file.fd.unwrap_or(-1);
        let more = json!({
            "type": "WRITE",
            "detail": path.unwrap_or_else(|| format!("fd={fd}")),
            "count": file.calls.unwrap_or(1),
            "total_bytes": bytes,
            "fd": fd,
            "path_resolved": is_resolved,
        });
        self.summary(deed, more)
    }

    /// Those are summed up by directory; the path is beside it.
    fn named(&mut self, deed: &Deed, kind: &str, path: &str) -> io::Result<()> {
        let directory = match path.rsplit_once('/') {
            Some(("", _)) | None => path,
            Some((directory, _)) => directory,
        };
        let more = json!({ "type": kind, "detail": directory, "count": 1, "extra": path });
        self.summary(deed, more)
    }

    fn net(&mut self, deed: &Deed, kind: NetKind, net: &Net) -> io::Result<()> {
        if net.error.is_some() {
            return Ok(());
        }
        let (kind, address) = match kind {
            NetKind::Accept => ("NET_ACCEPT", &net.peer),
            NetKind::Bind => ("NET_BIND", &net.local),
            NetKind::Connect => ("NET_CONNECT", &net.peer),
            NetKind::Listen => ("NET_LISTEN", &net.local),
            NetKind::Close | NetKind::Connected | NetKind::Send => return Ok(()),
        };
        let Some(address) = address else {
            return Ok(());
        };
        let mut more = object(json!({ "type": kind, "detail": address, "count": 1 }));
        if let Some(local) = net
            .local
            .as_ref()
            .filter(|_| kind != "NET_BIND" && kind != "NET_CONNECT")
        {
            more.insert("local_endpoint".into(), local.as_str().into());
        }
        if kind == "NET_ACCEPT" {
            more.insert("peer_endpoint".into(), address.as_str().into());
        }
        self.summary(deed, Value::Object(more))
    }

    fn summary(&mut self, deed: &Deed, more: Value) -> io::Result<()> {
        let mut data = object(json!({ "process_start_ns": deed.process.start_ns }));
        data.extend(object(more));
        self.process(deed, "SUMMARY", Value::Object(data))
    }
}

impl<W: Write> Sink for Eunomia<W> {
    fn message(&mut self, message: &Message<'_>) -> io::Result<()> {
        match message {
            Message::Data { origin, payload } => self.plaintext(origin, payload),
            Message::Gap {
                origin: Some(origin),
                gap,
            } => self.gap(origin, gap),
            Message::Process(info) => {
                self.learn(info.process, Some(info.parent.pid), Some(info.uid));
                Ok(())
            }
            Message::Close { .. }
            | Message::Endpoint { .. }
            | Message::Gap { origin: None, .. }
            | Message::Missed(_)
            | Message::Open { .. }
            | Message::Shutdown(_) => Ok(()),
        }
    }

    fn said(&mut self, said: &Said) -> io::Result<()> {
        match &said.what {
            Spoken::Request(request) => self.request(said, request),
            Spoken::Response(response) => self.response(said, response),
            _ => Ok(()),
        }
    }

    fn deed(&mut self, deed: &Deed) -> io::Result<()> {
        match &deed.what {
            What::Exec(exec) => self.exec(deed, exec),
            What::Exit(exit) => self.exit(deed, exit),
            What::File(kind, file) => self.file(deed, *kind, file),
            What::Fork(fork) => {
                self.learn(fork.child, Some(deed.process.pid), None);
                self.summary(
                    deed,
                    json!({ "type": "PROC_FORK", "detail": "", "count": 1 }),
                )
            }
            What::Net(kind, net) => self.net(deed, *kind, net),
            What::Signal(signal) if signal.error.is_none() => {
                let detail = format!("target={},sig={}", signal.target, signal.signal);
                self.summary(
                    deed,
                    json!({ "type": "SIGNAL_SEND", "detail": detail, "count": 1 }),
                )
            }
            _ => Ok(()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// Bytes as that project has them in JSON: what is no UTF-8 is one character for each byte.
fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => {
            let mut text = String::with_capacity(bytes.len());
            for chunk in bytes.utf8_chunks() {
                text.push_str(chunk.valid());
                text.extend(chunk.invalid().iter().map(|byte| char::from(*byte)));
            }
            text
        }
    }
}

/// Its decoders take the exact bytes, where there are some.
fn is_binary(bytes: &[u8]) -> bool {
    let is_control = |byte: &u8| *byte < 0x20 && !b"\t\r\n".contains(byte);
    std::str::from_utf8(bytes).is_err() || bytes.iter().any(is_control)
}
