//! From events to messages: names connections, keeps each direction's stream whole, and says where
//! bytes are missing. No clock, no kernel, no output: the same events give the same messages.

pub mod endpoint;
mod hello;
pub mod join;
pub mod message;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::event::wire::ConnState;
use crate::event::{
    Caller, Conn, ConnId, Data, Direction, Event, Function, Missing, ProcessId, SocketNames, Trust,
};

use endpoint::{Known, Names};

pub use endpoint::{Confidence, Endpoint, HostFrom};
pub use join::Joiner;
pub use message::{Cause, CloseReason, ConnName, Gap, Message, Origin, Payload};

/// Connections remembered at once; the kernel side follows no more than that (`CONNS_MAX`). More can
/// only pile up if their ends were lost: the oldest go first.
const CONNS_MAX: usize = 65536;

/// Names the function behind an event's index.
#[derive(Clone, Debug)]
pub struct Functions {
    known: Vec<Arc<Function>>,
    unknown: Arc<Function>,
}

impl Default for Functions {
    fn default() -> Self {
        let unknown = Function {
            library: "unknown".into(),
            name: "unknown".into(),
        };
        Self {
            known: Vec::new(),
            unknown: Arc::new(unknown),
        }
    }
}

impl Functions {
    /// From now on, this index means that function.
    pub fn set(&mut self, index: u16, function: Arc<Function>) {
        let index = usize::from(index);
        if self.known.len() <= index {
            self.known.resize(index + 1, Arc::clone(&self.unknown));
        }
        if let Some(known) = self.known.get_mut(index) {
            *known = function;
        }
    }

    fn name(&self, index: u16) -> &Arc<Function> {
        self.known.get(usize::from(index)).unwrap_or(&self.unknown)
    }
}

/// Counts for the end of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// [`Message::Data`]s.
    pub events: u64,
    /// Plaintext bytes delivered, by [`Direction`].
    pub bytes: [u64; 2],
    /// Connections seen.
    pub connections: u64,
    /// Of these, how many were under way when we first saw them.
    pub joined: u64,
    /// Known to be missing, per cause: bytes and records.
    pub gaps: BTreeMap<Cause, (u64, u64)>,
    /// Of the connections that have ended, per library: those whose socket was known, and all.
    pub endpoints: BTreeMap<String, (u64, u64)>,
}

impl Totals {
    fn count(&mut self, message: &Message<'_>) {
        match message {
            Message::Data { payload, .. } => {
                self.events += 1;
                let [write, read] = &mut self.bytes;
                let bytes = match payload.direction {
                    Direction::Write => write,
                    Direction::Read => read,
                };
                *bytes += payload.bytes.len() as u64;
            }
            Message::Gap { gap, .. } => {
                let (bytes, records) = self.gaps.entry(gap.cause).or_default();
                *bytes = bytes.saturating_add(gap.bytes);
                *records = records.saturating_add(gap.records);
            }
            Message::Open { from_start, .. } => {
                self.connections += 1;
                self.joined += u64::from(!from_start);
            }
            Message::Close {
                origin,
                is_attributed,
                ..
            } => {
                let library = &origin.function.library;
                let (attributed, all) = match self.endpoints.get_mut(library) {
                    Some(known) => known,
                    None => self.endpoints.entry(library.clone()).or_default(),
                };
                *attributed += u64::from(*is_attributed);
                *all += 1;
            }
            Message::Endpoint { .. }
            | Message::Missed(_)
            | Message::Process(_)
            | Message::Shutdown(_) => {}
        }
    }
}

/// What an event tells of a connection that is seen for the first time with it.
#[derive(Clone, Copy, Debug, Default)]
struct Sight {
    /// Nothing came before.
    from_start: bool,
    socket: SocketNames,
}

/// How far one direction has come.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    offset: u64,
    seq: u64,
}

/// Everything remembered about one connection.
struct Stream {
    process: ProcessId,
    origin: Origin,
    /// How well it is known what belongs to it.
    trust: Trust,
    progress: [Progress; 2],
    /// Where it goes.
    known: Known,
}

/// Follows all connections of a run.
#[derive(Default)]
pub struct Tracker {
    streams: BTreeMap<ConnId, Stream>,
    /// Sockets of connections of which nothing else was heard: most become some, others fail before.
    early: BTreeMap<ConnId, (ProcessId, SocketNames)>,
    names: Names,
    totals: Totals,
}

impl Tracker {
    /// Counts so far.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }

    /// Takes one event and tells what it means, at the end of `out`.
    pub fn push<'b>(&mut self, event: Event<'b>, names: &Functions, out: &mut Vec<Message<'b>>) {
        let told = out.len();
        self.take(event, names, out);
        self.count(out.get(told..).unwrap_or_default());
    }

    fn take<'b>(&mut self, event: Event<'b>, names: &Functions, out: &mut Vec<Message<'b>>) {
        match event {
            Event::Data { caller, conn, data } => {
                self.stream(&caller, &conn, names, Sight::default(), out)
                    .data(data, out);
            }
            Event::Handshake { caller, conn } => {
                let sight = Sight {
                    from_start: true,
                    ..Sight::default()
                };
                self.stream(&caller, &conn, names, sight, out);
            }
            Event::Shutdown { caller, conn } => {
                let stream = self.stream(&caller, &conn, names, Sight::default(), out);
                out.push(Message::Shutdown(stream.origin.clone()));
            }
            Event::Socket {
                caller,
                conn,
                names: socket,
            } => {
                let sight = Sight {
                    socket,
                    ..Sight::default()
                };
                self.stream(&caller, &conn, names, sight, out).trust = socket.trust;
                self.learn(&conn, &socket, out);
            }
            Event::Endpoint {
                caller,
                conn,
                names: socket,
            } => {
                if self.streams.contains_key(&conn.id) {
                    self.stream(&caller, &conn, names, Sight::default(), out);
                    self.learn(&conn, &socket, out);
                } else {
                    self.remember(conn.id, caller.process, socket);
                }
            }
            Event::Hello { caller, hello } => self.names.hear(caller.process, &hello),
            Event::Close {
                caller,
                conn,
                totals,
                reused,
            } => {
                // An object that never moved a byte was no connection, whatever its socket.
                if self.streams.contains_key(&conn.id) || totals != [0, 0] {
                    self.stream(&caller, &conn, names, Sight::default(), out);
                }
                let reason = if reused {
                    CloseReason::Reused
                } else {
                    CloseReason::Freed
                };
                self.early.remove(&conn.id);
                if let Some(stream) = self.streams.remove(&conn.id) {
                    stream.close(Some(totals), reason, out);
                }
            }
            Event::Exit(caller) => self.end_process(&caller, &[], out),
            Event::Act { .. }
            | Event::Loader(_)
            | Event::Process(_)
            | Event::Stdio { .. }
            | Event::Words { .. } => {}
        }
    }

    /// Whether connections of this process are open, as far as we know.
    pub fn knows(&self, process: ProcessId) -> bool {
        let mut streams = self.streams.values();
        streams.any(|stream| stream.process == process)
    }

    /// A process ended; `open` is what the kernel's table still says of its connections.
    pub fn exit(&mut self, caller: &Caller, open: &[ConnState]) -> Vec<Message<'static>> {
        let mut out = Vec::new();
        self.end_process(caller, open, &mut out);
        self.counted(out)
    }

    /// The end of a run: what the kernel's table says of connections that are still open shows losses
    /// that no later record could show.
    pub fn finish(&mut self, open: &[ConnState]) -> Vec<Message<'static>> {
        let mut out = Vec::new();
        let totals: HashMap<ConnId, [u64; 2]> =
            open.iter().map(|state| (state.id, state.totals)).collect();
        for (id, stream) in std::mem::take(&mut self.streams) {
            let totals = totals.get(&id).copied();
            stream.close(totals, CloseReason::Detached, &mut out);
        }
        self.counted(out)
    }

    /// A loss that belongs to no known connection.
    pub fn lost(&mut self, cause: Cause, bytes: u64, records: u64) -> Vec<Message<'static>> {
        self.counted(vec![Message::Gap {
            origin: None,
            gap: Gap {
                cause,
                direction: None,
                offset: None,
                bytes,
                records,
            },
        }])
    }

    fn counted<'b>(&mut self, messages: Vec<Message<'b>>) -> Vec<Message<'b>> {
        self.count(&messages);
        messages
    }

    fn count(&mut self, messages: &[Message<'_>]) {
        for message in messages {
            self.totals.count(message);
        }
    }

    /// The connection of an event, brought up to date; new ones are announced.
    fn stream(
        &mut self,
        caller: &Caller,
        conn: &Conn,
        names: &Functions,
        sight: Sight,
        out: &mut Vec<Message<'_>>,
    ) -> &mut Stream {
        if self.streams.len() >= CONNS_MAX
            && !self.streams.contains_key(&conn.id)
            && let Some((_, oldest)) = self.streams.pop_first()
        {
            oldest.close(None, CloseReason::Evicted, out);
        }
        let opened = self.totals.connections + 1;
        let (early, hosts) = (&mut self.early, &self.names);
        let stream = self.streams.entry(conn.id).or_insert_with(|| {
            let origin = origin(caller, conn, names, ConnName(opened));
            let early = early.remove(&conn.id).map(|(_, socket)| socket);
            let socket = early.map_or(sight.socket, |early| SocketNames {
                trust: sight.socket.trust,
                ..early
            });
            out.push(Message::Open {
                origin: origin.clone(),
                from_start: sight.from_start || conn.born,
                socket,
            });
            let mut stream = Stream {
                process: caller.process,
                origin,
                trust: sight.socket.trust,
                // What the kernel side counted before the first record that arrives is a gap from 0.
                progress: Default::default(),
                known: Known::default(),
            };
            if let Some(early) = early {
                stream.known.learn(stream.process, &early, hosts);
                stream.tell_endpoint(out);
            }
            stream
        });
        stream.origin.update(caller, conn, names);
        stream
    }

    /// What is known of a connection's socket now.
    fn learn(&mut self, conn: &Conn, socket: &SocketNames, out: &mut Vec<Message<'_>>) {
        if let Some(stream) = self.streams.get_mut(&conn.id) {
            stream.known.learn(stream.process, socket, &self.names);
            stream.tell_endpoint(out);
        }
    }

    /// Keeps what is known of a socket until its connection says something.
    fn remember(&mut self, id: ConnId, process: ProcessId, socket: SocketNames) {
        self.early.insert(id, (process, socket));
        if self.early.len() > CONNS_MAX {
            self.early.pop_first();
        }
    }

    /// A process has ended, and its connections were told.
    pub fn forget_process(&mut self, process: ProcessId) {
        self.early.retain(|_, (owner, _)| *owner != process);
        self.names.forget(process);
    }

    /// The first request of a connection, of HTTP/2, goes to this server.
    pub fn hear_authority(&mut self, conn: ConnName, name: &str) -> Vec<Message<'static>> {
        let mut out = Vec::new();
        // They are kept by the kernel's names. This is asked once for a connection.
        let mut streams = self.streams.values_mut();
        if let Some(stream) = streams.find(|stream| stream.origin.conn == conn) {
            stream.known.hear_authority(name);
            stream.tell_endpoint(&mut out);
        }
        out
    }

    /// Closes the connections of a process that ended without freeing them.
    fn end_process(&mut self, caller: &Caller, open: &[ConnState], out: &mut Vec<Message<'_>>) {
        let streams = self.streams.iter();
        let ended: Vec<ConnId> = streams
            .filter(|(_, stream)| stream.process == caller.process)
            .map(|(id, _)| *id)
            .collect();
        let totals: HashMap<ConnId, [u64; 2]> =
            open.iter().map(|state| (state.id, state.totals)).collect();
        for id in ended {
            if let Some(mut stream) = self.streams.remove(&id) {
                stream.origin.ts_ns = caller.ts_ns;
                let totals = totals.get(&id).copied();
                stream.close(totals, CloseReason::Exited, out);
            }
        }
    }
}

impl Stream {
    fn data<'b>(&mut self, data: Data<'b>, out: &mut Vec<Message<'b>>) {
        self.known.look_at(&data);
        self.tell_endpoint(out);
        let progress = self.progress_of(data.direction);
        let before = *progress;
        progress.offset = data.offset.saturating_add(data.span());
        progress.seq = data.seq.saturating_add(1);
        let end = progress
            .offset
            .saturating_sub(data.missing.map_or(0, |(bytes, _)| bytes));
        self.gap_before(&data, before, out);

        let (direction, missing) = (data.direction, data.missing);
        if data.left_out > 0 {
            let (bytes, at) = (data.left_out, data.offset);
            self.gap(Cause::QueueFull, direction, at, bytes, 1, out);
        }
        if !data.payload.is_empty() {
            out.push(Message::Data {
                origin: self.origin.clone(),
                payload: Payload {
                    direction,
                    seq: data.seq,
                    offset: data.offset,
                    call_len: data.call_len,
                    early: data.early,
                    goroutine: data.goroutine,
                    bytes: data.payload,
                },
            });
        }
        if let Some((bytes, why)) = missing {
            self.gap(cause(why), direction, end, bytes, 0, out);
        }
    }

    fn tell_endpoint(&mut self, out: &mut Vec<Message<'_>>) {
        if let Some(endpoint) = self.known.news() {
            out.push(Message::Endpoint {
                origin: self.origin.clone(),
                endpoint,
            });
        }
    }

    fn gap_before(&self, data: &Data<'_>, before: Progress, out: &mut Vec<Message<'_>>) {
        if data.unseen > 0 {
            let (direction, at) = (data.direction, data.offset);
            self.gap(Cause::Unseen, direction, at, 0, data.unseen, out);
        }
        let bytes = data.offset.saturating_sub(before.offset);
        let records = data.seq.saturating_sub(before.seq);
        if bytes > 0 || records > 0 {
            let (direction, at) = (data.direction, before.offset);
            self.gap(Cause::RingFull, direction, at, bytes, records, out);
        }
    }

    fn gap(
        &self,
        cause: Cause,
        direction: Direction,
        offset: u64,
        bytes: u64,
        records: u64,
        out: &mut Vec<Message<'_>>,
    ) {
        out.push(Message::Gap {
            origin: Some(self.origin.clone()),
            gap: Gap {
                cause,
                direction: Some(direction),
                offset: Some(offset),
                bytes,
                records,
            },
        });
    }

    fn progress_of(&mut self, direction: Direction) -> &mut Progress {
        let [write, read] = &mut self.progress;
        match direction {
            Direction::Write => write,
            Direction::Read => read,
        }
    }

    /// `totals`: the final lengths, if the kernel side told them.
    fn close(self, totals: Option<[u64; 2]>, reason: CloseReason, out: &mut Vec<Message<'_>>) {
        let seen = self.progress.map(|progress| progress.offset);
        let totals = totals.unwrap_or(seen);
        let lengths = totals.iter().zip(seen);
        for (direction, (total, seen)) in Direction::ALL.into_iter().zip(lengths) {
            if *total > seen {
                self.gap(Cause::RingFull, direction, seen, total - seen, 0, out);
            }
        }
        out.push(Message::Close {
            origin: self.origin,
            reason,
            trust: self.trust,
            is_attributed: self.known.is_attributed(),
            totals,
        });
    }
}

fn cause(missing: Missing) -> Cause {
    match missing {
        Missing::MaxBytes => Cause::MaxBytes,
        Missing::Sendfile => Cause::Sendfile,
        Missing::TooLong => Cause::TooLong,
        Missing::Unreadable => Cause::Unreadable,
    }
}

fn origin(caller: &Caller, conn: &Conn, names: &Functions, name: ConnName) -> Origin {
    Origin {
        ts_ns: caller.ts_ns,
        process: caller.process,
        tid: caller.tid,
        comm: caller.comm,
        function: Arc::clone(names.name(conn.function)),
        conn: name,
        fd: conn.fd,
    }
}

impl Origin {
    /// The same connection once more.
    fn update(&mut self, caller: &Caller, conn: &Conn, names: &Functions) {
        self.ts_ns = caller.ts_ns;
        self.process = caller.process;
        self.tid = caller.tid;
        self.comm = caller.comm;
        self.fd = conn.fd;
        let function = names.name(conn.function);
        if !Arc::ptr_eq(&self.function, function) {
            self.function = Arc::clone(function);
        }
    }
}

#[cfg(test)]
mod tests;
