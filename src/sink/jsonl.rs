//! One JSON object a line. `lines.schema.json` documents every type; a test holds the two together.

use std::fmt::Write as _;
use std::io::{self, Write};

use super::{Clock, Sink, json, said};
use crate::deeds::deed::{Deed, What};
use crate::dialog::Said;
use crate::event::ProcessId;
use crate::event::process::{Missed, ProcessInfo};
use crate::graph::{Edge, Node};
use crate::rules::Finding;
use crate::stream::{Endpoint, Gap, Message, Origin, Payload};

/// Bytes of lines that are written at once.
const BUFFER: usize = 256 << 10;

/// Writes messages as JSON lines.
pub struct JsonLines<W> {
    out: W,
    lines: Vec<u8>,
    /// Bytes of lines at which they are written.
    room: usize,
    stamp: Stamp,
}

impl JsonLines<io::Sink> {
    /// Keeps each line until it is looked at.
    pub(super) fn to_look_at(clock: Clock) -> Self {
        Self {
            room: usize::MAX,
            ..Self::new(io::sink(), clock)
        }
    }
}

impl<W: Write> JsonLines<W> {
    /// Writes to `out`, many lines at once: it needs no buffer of its own.
    pub fn new(out: W, clock: Clock) -> Self {
        Self {
            out,
            lines: Vec::with_capacity(BUFFER + (64 << 10)),
            room: BUFFER,
            stamp: Stamp::new(clock),
        }
    }

    /// Everything of a line that does not depend on its type; the line is open then.
    fn begin(&mut self, kind: &str, origin: Option<&Origin>) -> Line<'_> {
        let out = &mut self.lines;
        out.extend_from_slice(b"{\"type\":\"");
        out.extend_from_slice(kind.as_bytes());
        out.push(b'"');
        let mut line = Line { out };
        let Some(origin) = origin else {
            return line;
        };
        line.out.extend_from_slice(b",\"ts\":\"");
        self.stamp.write(origin.ts_ns, line.out);
        line.out.push(b'"');
        line.process(origin.process);
        line.number("tid", origin.tid);
        line.string("comm", &origin.comm.text());
        line.string("library", &origin.function.library);
        line.string("function", &origin.function.name);
        line.out.extend_from_slice(b",\"conn\":\"c");
        json::number(line.out, origin.conn.0);
        line.out.push(b'"');
        if let Some(fd) = origin.fd {
            line.number("fd", fd);
        }
        line
    }

    fn data(&mut self, origin: &Origin, payload: &Payload<'_>) {
        let mut line = self.begin("tls.data", Some(origin));
        line.string("direction", payload.direction.as_str());
        line.number("seq", payload.seq);
        line.number("offset", payload.offset);
        line.number("len", payload.bytes.len());
        line.number("call_len", payload.call_len);
        if payload.early {
            line.truth("early", true);
        }
        if let Some(goroutine) = payload.goroutine {
            line.number("goroutine", goroutine);
        }
        match std::str::from_utf8(&payload.bytes) {
            Ok(text) => line.string("data", text),
            Err(_) => {
                line.key("data_b64");
                json::base64(line.out, &payload.bytes);
            }
        }
        line.end();
    }

    fn process(&mut self, info: &ProcessInfo) {
        let mut line = self.begin("process", None);
        line.process(info.process);
        line.string("comm", &info.comm);
        line.number("uid", info.uid);
        line.parent(info.parent);
        if let Some(ns_pid) = info.ns_pid {
            line.number("ns_pid", ns_pid);
        }
        for (name, value) in [("exe", &info.exe), ("cgroup", &info.cgroup)] {
            if let Some(value) = value {
                line.string(name, value);
            }
        }
        if let Some(container) = &info.container
            && let Ok(text) = serde_json::to_vec(container)
        {
            line.key("container");
            line.out.extend_from_slice(&text);
        }
        line.key("since");
        self.time(info.since_ns);
        self.lines.extend_from_slice(b"}\n");
    }

    fn missed(&mut self, missed: &Missed) {
        let mut line = self.begin("tls.missed", None);
        line.process(missed.process);
        line.string("comm", &missed.comm);
        line.string("file", &missed.file);
        line.key("libraries");
        json::strings(line.out, &missed.libraries);
        line.key("from");
        self.time(missed.from_ns);
        self.lines.extend_from_slice(b",\"until\":");
        self.time(missed.until_ns);
        self.lines.extend_from_slice(b"}\n");
    }

    /// A moment, as a JSON string.
    fn time(&mut self, ts_ns: u64) {
        self.lines.push(b'"');
        self.stamp.write(ts_ns, &mut self.lines);
        self.lines.push(b'"');
    }

    fn endpoint(&mut self, origin: &Origin, endpoint: &Endpoint) {
        let mut line = self.begin("tls.endpoint", Some(origin));
        line.string("confidence", endpoint.confidence.as_str());
        if let Some(role) = endpoint.role {
            line.string("role", role.as_str());
        }
        for (name, address) in [("local", endpoint.local), ("peer", endpoint.peer)] {
            if let Some(address) = address {
                line.string(name, &address.to_string());
            }
        }
        if let Some(protocol) = endpoint.protocol {
            line.string("protocol", protocol);
        }
        if let Some((host, from)) = &endpoint.host {
            line.string("host", host);
            line.string("host_from", from.as_str());
        }
        line.end();
    }

    fn gap(&mut self, origin: Option<&Origin>, gap: &Gap) {
        let mut line = self.begin("tls.gap", origin);
        line.string("cause", gap.cause.as_str());
        if let Some(direction) = gap.direction {
            line.string("direction", direction.as_str());
        }
        if let Some(offset) = gap.offset {
            line.number("offset", offset);
        }
        line.number("bytes", gap.bytes);
        line.number("records", gap.records);
        line.end();
    }

    /// Shows what was written and not handed on yet, and forgets it.
    pub(super) fn take_written<T>(&mut self, look: impl FnOnce(&[u8]) -> T) -> T {
        let seen = look(&self.lines);
        self.lines.clear();
        seen
    }

    fn write_out_if_full(&mut self) -> io::Result<()> {
        match self.lines.len() >= self.room {
            true => self.write_out(),
            false => Ok(()),
        }
    }

    fn write_out(&mut self) -> io::Result<()> {
        let result = self.out.write_all(&self.lines);
        self.lines.clear();
        result
    }
}

impl<W: Write> Sink for JsonLines<W> {
    fn message(&mut self, message: &Message<'_>) -> io::Result<()> {
        match message {
            Message::Close {
                origin,
                reason,
                trust,
                totals: [written, read],
                ..
            } => {
                let mut line = self.begin("tls.close", Some(origin));
                line.string("reason", reason.as_str());
                line.string("joined_by", trust.as_str());
                line.number("written", *written);
                line.number("read", *read);
                line.end();
            }
            Message::Data { origin, payload } => self.data(origin, payload),
            Message::Endpoint { origin, endpoint } => self.endpoint(origin, endpoint),
            Message::Gap { origin, gap } => self.gap(origin.as_ref(), gap),
            Message::Missed(missed) => self.missed(missed),
            Message::Open {
                origin,
                from_start,
                socket,
            } => {
                let mut line = self.begin("tls.open", Some(origin));
                line.string("joined_by", socket.trust.as_str());
                line.truth("from_start", *from_start);
                if let Some(role) = socket.role {
                    line.string("role", role.as_str());
                }
                for (name, address) in [("local", socket.local), ("peer", socket.peer)] {
                    if let Some(address) = address {
                        line.string(name, &address.to_string());
                    }
                }
                line.end();
            }
            Message::Process(info) => self.process(info),
            Message::Shutdown(origin) => self.begin("tls.shutdown", Some(origin)).end(),
        }
        self.write_out_if_full()
    }

    fn said(&mut self, said: &Said) -> io::Result<()> {
        let Some(kind) = said::kind(&said.what) else {
            return Ok(());
        };
        let mut line = self.begin(kind, Some(&said.origin));
        if let Some(began_ns) = said::began_ns(&said.what) {
            line.key("began");
            self.time(began_ns);
        }
        said::fields(said, &mut self.lines);
        self.lines.extend_from_slice(b"}\n");
        self.write_out_if_full()
    }

    fn deed(&mut self, deed: &Deed) -> io::Result<()> {
        let mut line = self.begin(deed.what.kind(), None);
        line.process(deed.process);
        line.number("tid", deed.tid);
        line.string("comm", &deed.comm.text());
        line.key("event");
        line.out.extend_from_slice(b"\"e");
        json::number(line.out, deed.number);
        line.out.extend_from_slice(b"\",\"ts\":");
        self.time(deed.ts_ns);
        let out = &mut self.lines;
        match &deed.what {
            What::Blind(blind) => said::append(blind, out),
            What::Dns(dns) => said::append(dns, out),
            What::Exec(exec) => said::append(exec, out),
            What::Exit(exit) => said::append(exit, out),
            What::File(_, file) => said::append(file, out),
            What::Fork(fork) => said::append(fork, out),
            What::Identity(identity) => said::append(identity, out),
            What::Net(_, net) => said::append(net, out),
            What::Ptrace(ptrace) => said::append(ptrace, out),
            What::Signal(signal) => said::append(signal, out),
            What::Stdio(stdio) => said::append(stdio, out),
        }
        self.lines.extend_from_slice(b"}\n");
        self.write_out_if_full()
    }

    fn tells_edges(&self) -> bool {
        true
    }

    fn edge(&mut self, edge: &Edge) -> io::Result<()> {
        let mut line = self.begin("graph.edge", None);
        line.key("ts");
        self.time(edge.ts_ns);
        let mut line = Line {
            out: &mut self.lines,
        };
        line.string("kind", edge.kind.as_str());
        line.string("confidence", edge.confidence.as_str());
        line.string("reason", edge.reason);
        line.node(["from", "from_is", "from_name"], &edge.from);
        line.node(["to", "to_is", "to_name"], &edge.to);
        if let Some(event) = &edge.event {
            line.string("event", event);
        }
        line.end();
        self.write_out_if_full()
    }

    fn finding(&mut self, finding: &Finding) -> io::Result<()> {
        let mut line = self.begin("finding", None);
        line.process(finding.process);
        line.string("comm", &finding.comm.text());
        line.key("ts");
        self.time(finding.ts_ns);
        said::append(&finding.detail, &mut self.lines);
        self.lines.extend_from_slice(b"}\n");
        self.write_out_if_full()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.write_out()?;
        self.out.flush()
    }
}

/// A line that has its first field.
struct Line<'l> {
    out: &'l mut Vec<u8>,
}

impl Line<'_> {
    /// Names are ours, and need no escapes.
    fn key(&mut self, name: &str) {
        self.out.extend_from_slice(b",\"");
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn string(&mut self, name: &str, text: &str) {
        self.key(name);
        json::string(self.out, text);
    }

    fn number(&mut self, name: &str, number: impl itoa::Integer) {
        self.key(name);
        json::number(self.out, number);
    }

    fn truth(&mut self, name: &str, is_so: bool) {
        self.key(name);
        let text: &[u8] = if is_so { b"true" } else { b"false" };
        self.out.extend_from_slice(text);
    }

    fn node(&mut self, [id, is, name]: [&str; 3], node: &Node) {
        self.string(id, &node.id);
        self.string(is, node.thing.kind());
        let text = node.thing.name();
        if !text.is_empty() {
            self.string(name, &text);
        }
    }

    /// Both by what it is called now and for good.
    fn process(&mut self, process: ProcessId) {
        self.number("pid", process.pid);
        self.key("process");
        json::process(self.out, process);
    }

    fn parent(&mut self, process: ProcessId) {
        self.number("ppid", process.pid);
        self.key("parent");
        json::process(self.out, process);
    }

    fn end(self) {
        self.out.extend_from_slice(b"}\n");
    }
}

/// Times as text. The calendar is asked once a second.
struct Stamp {
    clock: Clock,
    second: u64,
    /// Up to the point before the fraction.
    whole: String,
}

impl Stamp {
    fn new(clock: Clock) -> Self {
        Self {
            clock,
            second: u64::MAX,
            whole: String::new(),
        }
    }

    fn write(&mut self, ts_ns: u64, out: &mut Vec<u8>) {
        let Some((second, fraction)) = self.clock.split(ts_ns) else {
            let mut text = String::new();
            let _ = write!(text, "{:.9}", self.clock.time(ts_ns));
            return out.extend_from_slice(text.as_bytes());
        };
        if second != self.second {
            self.second = second;
            self.whole = format!("{:.0}", self.clock.time(ts_ns));
            // The `Z` follows the fraction.
            self.whole.pop();
        }
        out.extend_from_slice(self.whole.as_bytes());
        let mut digits = *b".000000000Z";
        let mut left = fraction;
        for digit in digits.iter_mut().take(10).skip(1).rev() {
            *digit += (left % 10) as u8;
            left /= 10;
        }
        out.extend_from_slice(&digits);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// A time would be another one than the calendar says.
        #[test]
        fn times_are_as_the_calendar_says(times in proptest::collection::vec(any::<u64>(), 1..20),
                                          shift in -1_000_000_000_000_000_000i64..i64::MAX) {
            let clock = Clock::fixed(shift.into());
            let mut stamp = Stamp::new(clock);
            for ts_ns in times {
                for ts_ns in [ts_ns, ts_ns / 2 + 1, ts_ns % 4_000_000_000] {
                    let mut out = Vec::new();
                    stamp.write(ts_ns, &mut out);
                    let expected = format!("{:.9}", clock.time(ts_ns));
                    prop_assert_eq!(String::from_utf8(out).unwrap(), expected);
                }
            }
        }
    }
}
