//! Puts the two directions of a connection together where the kernel side sees records and not
//! connections: each direction under each key comes as a half of its own, and those that one socket
//! carries are one connection. Everything downstream sees connections only.
//!
//! A half's first data wait until its socket is told, which takes as long as the program needs from
//! encrypting to sending. What stays without a socket (io_uring workers, pipes) is let go after a moment,
//! alone or with the only other half there is, and says so ([`Trust`]).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::event::wire::ConnState;
use crate::event::{Caller, Conn, ConnId, Data, Direction, Event, ProcessId, SocketNames, Trust};

/// How long data wait for their socket, in nanoseconds of the events' clock.
pub const PATIENCE_NS: u64 = 250_000_000;
/// Bytes of one half that wait.
const HELD_BYTES_MAX: usize = 1 << 20;
/// Bytes of all halves that wait.
const ALL_HELD_BYTES_MAX: usize = 64 << 20;
/// Halves remembered, and connections; the kernel side has no more (`HALVES_MAX`). The oldest go first.
const HALVES_MAX: usize = 65536;
/// Connections without a socket among which the other half of one is looked for.
const CANDIDATES_MAX: usize = 1024;

/// How far a stream has come.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    offset: u64,
    seq: u64,
}

/// Data that wait.
struct Held<'b> {
    caller: Caller,
    conn: Conn,
    data: Data<'b>,
}

impl Held<'_> {
    /// The same with bytes of its own: those of the block that it came in are used again.
    fn into_owned(self) -> Held<'static> {
        Held {
            data: self.data.into_owned(),
            ..self
        }
    }

    /// Memory that it takes.
    fn cost(&self) -> usize {
        self.data.payload.len() + size_of::<Self>()
    }
}

/// One direction under one key.
struct Half {
    process: ProcessId,
    direction: Direction,
    /// The connection that it belongs to, once that is known.
    conn: Option<ConnId>,
    /// By its own socket, whose end will be told.
    is_bound: bool,
    /// Where that connection's stream was when this half began.
    base: Progress,
    /// What waits, and since when.
    held: Vec<Held<'static>>,
    since_ns: u64,
}

/// A connection, made of halves.
struct Joined {
    process: ProcessId,
    /// The halves that are open, by [`Direction`].
    halves: [Option<ConnId>; 2],
    /// Where the streams are, by [`Direction`].
    ends: [Progress; 2],
    socket: SocketNames,
    fd: Option<i32>,
    born: bool,
    /// It was announced, as this.
    told: Option<Trust>,
}

impl Joined {
    fn new(process: ProcessId) -> Self {
        Self {
            process,
            halves: [None, None],
            ends: [Progress::default(); 2],
            socket: SocketNames {
                trust: Trust::Apart,
                ..SocketNames::default()
            },
            fd: None,
            born: false,
            told: None,
        }
    }

    fn half(&mut self, direction: Direction) -> &mut Option<ConnId> {
        let [write, read] = &mut self.halves;
        match direction {
            Direction::Write => write,
            Direction::Read => read,
        }
    }

    fn end(&mut self, direction: Direction) -> &mut Progress {
        let [write, read] = &mut self.ends;
        match direction {
            Direction::Write => write,
            Direction::Read => read,
        }
    }

    /// Takes over what a half's socket tells. The weaker word counts.
    fn learn(&mut self, conn: &Conn, names: SocketNames) {
        let role = self.socket.role.or(names.role);
        let trust = match self.socket.trust {
            Trust::Apart => names.trust,
            known => known.min(names.trust),
        };
        self.socket = SocketNames {
            role,
            trust,
            ..names
        };
        self.fd = conn.fd.or(self.fd);
        self.born |= conn.born;
    }

    /// The connection as everything downstream knows it.
    fn conn(&self, id: ConnId, half: &Conn) -> Conn {
        Conn {
            id,
            ptr: half.ptr,
            fd: self.fd,
            function: half.function,
            born: self.born,
            half: None,
        }
    }
}

/// Joins all halves of a run.
#[derive(Default)]
pub struct Joiner {
    halves: BTreeMap<ConnId, Half>,
    conns: BTreeMap<ConnId, Joined>,
    by_socket: HashMap<(ProcessId, u64), ConnId>,
    /// Halves with data that wait.
    waiting: BTreeSet<ConnId>,
    /// Connections whose socket is not known, the last ones.
    apart: BTreeSet<ConnId>,
    /// Memory that all that waits takes.
    held_bytes: usize,
}

impl Joiner {
    /// Whether an event is for this layer at all: others pass as they are, and need not be pushed.
    pub fn concerns(event: &Event<'_>) -> bool {
        match event {
            Event::Close { conn, .. } | Event::Data { conn, .. } | Event::Socket { conn, .. } => {
                conn.half.is_some()
            }
            Event::Exit(_) => true,
            Event::Act { .. }
            | Event::Endpoint { .. }
            | Event::Handshake { .. }
            | Event::Hello { .. }
            | Event::Loader(_)
            | Event::Process(_)
            | Event::Shutdown { .. }
            | Event::Stdio { .. }
            | Event::Words { .. } => false,
        }
    }

    /// Takes one event; tells what can be told now, of connections only.
    pub fn push<'b>(&mut self, event: Event<'b>) -> Vec<Event<'b>> {
        let mut out = Vec::new();
        match event {
            Event::Data { caller, conn, data } if conn.half.is_some() => {
                self.data(Held { caller, conn, data }, &mut out);
            }
            Event::Socket {
                caller,
                conn,
                names,
            } if conn.half.is_some() => self.socket(&caller, &conn, names, &mut out),
            Event::Close {
                caller,
                conn,
                totals,
                reused,
            } if conn.half.is_some() => self.close(&caller, &conn, totals, reused, &mut out),
            Event::Exit(caller) => {
                self.exit(caller.process, &mut out);
                out.push(event);
            }
            other => out.push(other),
        }
        out
    }

    /// Lets go of what has waited too long at the time `now_ns` of the events' clock.
    pub fn tick(&mut self, now_ns: u64) -> Vec<Event<'static>> {
        self.settle_all(|half| now_ns.saturating_sub(half.since_ns) > PATIENCE_NS)
    }

    /// Lets go of everything.
    pub fn finish(&mut self) -> Vec<Event<'static>> {
        self.settle_all(|_| true)
    }

    /// What the kernel's tables say of halves, said of their connections.
    pub fn states(&self, open: Vec<ConnState>) -> Vec<ConnState> {
        let mut states: BTreeMap<ConnId, ConnState> = BTreeMap::new();
        for state in open {
            let half = self.halves.get(&state.id);
            let Some((half, id)) = half.and_then(|half| Some((half, half.conn?))) else {
                states.insert(state.id, state);
                continue;
            };
            let ends = self
                .conns
                .get(&id)
                .map_or([Progress::default(); 2], |conn| conn.ends);
            let known = states.entry(id).or_insert_with(|| ConnState {
                process: state.process,
                id,
                totals: ends.map(|end| end.offset),
            });
            let moved = state.totals.into_iter().max().unwrap_or_default();
            let total = half.base.offset.saturating_add(moved);
            let [write, read] = &mut known.totals;
            match half.direction {
                Direction::Write => *write = total,
                Direction::Read => *read = total,
            }
        }
        states.into_values().collect()
    }

    /// The half of an event, made known.
    fn half(&mut self, caller: &Caller, conn: &Conn, out: &mut Vec<Event<'_>>) -> &mut Half {
        if !self.halves.contains_key(&conn.id) {
            self.make_room(out);
        }
        self.halves.entry(conn.id).or_insert_with(|| Half {
            process: caller.process,
            direction: conn.half.unwrap_or(Direction::Write),
            conn: None,
            is_bound: false,
            base: Progress::default(),
            held: Vec::new(),
            since_ns: caller.ts_ns,
        })
    }

    /// Forgets the oldest when there are too many; what they say later is another connection's.
    fn make_room(&mut self, out: &mut Vec<Event<'_>>) {
        while self.halves.len() >= HALVES_MAX {
            let Some((&oldest, half)) = self.halves.first_key_value() else {
                return;
            };
            let conn = half.conn;
            self.settle(oldest, out);
            match conn {
                Some(conn) => drop(self.remove(conn)),
                None => self.forget(oldest),
            }
            self.halves.remove(&oldest);
        }
        while self.conns.len() >= HALVES_MAX {
            let Some(&oldest) = self.conns.keys().next() else {
                return;
            };
            self.remove(oldest);
        }
    }

    fn data<'b>(&mut self, held: Held<'b>, out: &mut Vec<Event<'b>>) {
        let id = held.conn.id;
        let half = self.half(&held.caller, &held.conn, out);
        if half.conn.is_some() {
            return self.tell(held, out);
        }
        if half.held.is_empty() {
            half.since_ns = held.caller.ts_ns;
        }
        let cost = held.cost();
        half.held.push(held.into_owned());
        let waiting: usize = half.held.iter().map(Held::cost).sum();
        self.waiting.insert(id);
        self.held_bytes += cost;
        if waiting > HELD_BYTES_MAX || self.held_bytes > ALL_HELD_BYTES_MAX {
            self.settle(id, out);
        }
    }

    /// Tells data of a half whose connection is known; the connection itself first.
    fn tell<'b>(&mut self, held: Held<'b>, out: &mut Vec<Event<'b>>) {
        let Held {
            caller,
            conn,
            mut data,
        } = held;
        let half = self.halves.get(&conn.id);
        let Some((base, id)) = half.and_then(|half| Some((half.base, half.conn?))) else {
            return;
        };
        let Some(joined) = self.conns.get_mut(&id) else {
            return;
        };
        joined.born |= conn.born;
        let conn = joined.conn(id, &conn);
        if joined.told != Some(joined.socket.trust) {
            joined.told = Some(joined.socket.trust);
            out.push(Event::Socket {
                caller,
                conn,
                names: joined.socket,
            });
        }
        data.offset = data.offset.saturating_add(base.offset);
        data.seq = data.seq.saturating_add(base.seq);
        *joined.end(data.direction) = Progress {
            offset: data.offset.saturating_add(data.span()),
            seq: data.seq.saturating_add(1),
        };
        out.push(Event::Data { caller, conn, data });
    }

    /// A half's socket is known now.
    fn socket(
        &mut self,
        caller: &Caller,
        conn: &Conn,
        names: SocketNames,
        out: &mut Vec<Event<'_>>,
    ) {
        let Some(inode) = names.inode else {
            return;
        };
        let key = (caller.process, inode);
        let half = self.half(caller, conn, out);
        half.is_bound = true;
        let mine = half.conn;
        // What was told already, for want of a socket, stays where it was told.
        let id = mine.or_else(|| self.by_socket.get(&key).copied());
        let id = id.unwrap_or(conn.id);
        self.by_socket.entry(key).or_insert(id);
        let joined = self
            .conns
            .entry(id)
            .or_insert_with(|| Joined::new(caller.process));
        joined.learn(conn, names);
        self.apart.remove(&id);
        if mine.is_none() {
            self.place(conn.id, id, out);
        }
    }

    /// Makes a half part of a connection, and tells what has waited.
    fn place(&mut self, half_id: ConnId, id: ConnId, out: &mut Vec<Event<'_>>) {
        let (Some(half), Some(joined)) = (self.halves.get_mut(&half_id), self.conns.get_mut(&id))
        else {
            return;
        };
        half.conn = Some(id);
        half.base = *joined.end(half.direction);
        *joined.half(half.direction) = Some(half_id);
        let held = std::mem::take(&mut half.held);
        self.waiting.remove(&half_id);
        let cost: usize = held.iter().map(Held::cost).sum();
        self.held_bytes = self.held_bytes.saturating_sub(cost);
        for held in held {
            self.tell(held, out);
        }
    }

    /// No socket is known for what waits: it is told with the only stream of its process that has none either
    /// and goes the other way, or alone.
    fn settle(&mut self, half_id: ConnId, out: &mut Vec<Event<'_>>) {
        let Some(half) = self.halves.get(&half_id) else {
            return;
        };
        if half.held.is_empty() || half.conn.is_some() {
            return;
        }
        let (process, direction) = (half.process, half.direction);
        let id = match self.other_way(half_id, process, direction) {
            Some(id) => {
                let joined = self.conns.entry(id).or_insert_with(|| Joined::new(process));
                joined.socket.trust = Trust::Guessed;
                self.apart.remove(&id);
                id
            }
            None => {
                self.conns.insert(half_id, Joined::new(process));
                self.apart.insert(half_id);
                if self.apart.len() > CANDIDATES_MAX {
                    self.apart.pop_first();
                }
                half_id
            }
        };
        // What waits as well has its place before: both are announced as what they are.
        if self.waiting.contains(&id) && id != half_id {
            self.place(id, id, out);
        }
        self.place(half_id, id, out);
    }

    /// The one stream of a process that has no socket and goes the other way, if there is just one and no
    /// other goes this way.
    fn other_way(
        &self,
        half_id: ConnId,
        process: ProcessId,
        direction: Direction,
    ) -> Option<ConnId> {
        let waiting = self
            .waiting
            .iter()
            .filter_map(|id| self.halves.get_key_value(id));
        let waiting = waiting.filter(|(id, half)| **id != half_id && half.process == process);
        let waiting = waiting.map(|(id, half)| (*id, half.direction));
        let apart = self
            .apart
            .iter()
            .filter_map(|id| self.conns.get_key_value(id));
        let apart = apart.filter(|(_, joined)| joined.process == process);
        let apart = apart.map(|(id, joined)| {
            let [write, _] = joined.ends;
            let way = if write.seq > 0 {
                Direction::Write
            } else {
                Direction::Read
            };
            (*id, way)
        });
        let mut others = waiting.chain(apart);
        let (id, way) = others.next()?;
        (others.next().is_none() && way != direction).then_some(id)
    }

    fn settle_all(&mut self, is_due: impl Fn(&Half) -> bool) -> Vec<Event<'static>> {
        let due = |id: &&ConnId| self.halves.get(id).is_some_and(&is_due);
        let due: Vec<ConnId> = self.waiting.iter().filter(due).copied().collect();
        let mut out = Vec::new();
        for id in due {
            self.settle(id, &mut out);
        }
        out
    }

    /// A half has ended; `reused`: because another key follows.
    fn close(
        &mut self,
        caller: &Caller,
        conn: &Conn,
        totals: [u64; 2],
        reused: bool,
        out: &mut Vec<Event<'_>>,
    ) {
        self.settle(conn.id, out);
        let half = self.halves.get(&conn.id);
        let place = half.map(|half| (half.conn, half.base, half.direction));
        let Some((Some(id), base, direction)) = place else {
            self.halves.remove(&conn.id);
            return;
        };
        if let Some(joined) = self.conns.get_mut(&id) {
            let moved = totals.into_iter().max().unwrap_or_default();
            let end = joined.end(direction);
            end.offset = end.offset.max(base.offset.saturating_add(moved));
        }
        self.forget(conn.id);
        if reused {
            return;
        }
        // The socket is closed. What else it carries will be told next.
        let rest = self.conns.get(&id).map(|joined| joined.halves);
        let mut rest = rest.into_iter().flatten().flatten();
        if rest.any(|half| self.halves.get(&half).is_some_and(|half| half.is_bound)) {
            return;
        }
        let Some(joined) = self.remove(id) else {
            return;
        };
        if joined.told.is_some() {
            out.push(Event::Close {
                caller: *caller,
                conn: joined.conn(id, conn),
                totals: joined.ends.map(|end| end.offset),
                reused: false,
            });
        }
    }

    /// Forgets a half; its connection goes on.
    fn forget(&mut self, half_id: ConnId) {
        let Some(half) = self.halves.remove(&half_id) else {
            return;
        };
        self.waiting.remove(&half_id);
        let joined = half.conn.and_then(|id| self.conns.get_mut(&id));
        if let Some(joined) = joined
            && *joined.half(half.direction) == Some(half_id)
        {
            *joined.half(half.direction) = None;
        }
    }

    fn remove(&mut self, id: ConnId) -> Option<Joined> {
        let joined = self.conns.remove(&id)?;
        self.apart.remove(&id);
        for half in joined.halves.into_iter().flatten() {
            self.halves.remove(&half);
        }
        if let Some(inode) = joined.socket.inode {
            self.by_socket.remove(&(joined.process, inode));
        }
        Some(joined)
    }

    /// A process has ended: nothing of it will come any more.
    fn exit(&mut self, process: ProcessId, out: &mut Vec<Event<'_>>) {
        out.extend(self.settle_all(|half| half.process == process));
    }

    /// Forgets a process whose connections have been closed downstream.
    pub fn forget_process(&mut self, process: ProcessId) {
        self.halves.retain(|_, half| half.process != process);
        self.conns.retain(|_, joined| joined.process != process);
        let (halves, conns) = (&self.halves, &self.conns);
        self.waiting.retain(|id| halves.contains_key(id));
        self.apart.retain(|id| conns.contains_key(id));
        self.by_socket.retain(|(owner, _), _| *owner != process);
    }
}

#[cfg(test)]
mod tests;
