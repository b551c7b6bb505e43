//! What was done: processes and their programs, files, sockets, pipes.

use super::Causes;
use super::command;
use super::lineage::Standing;
use super::node::{
    Confidence, Edge, Kind, Node, Thing, file_id, kept_text, kept_words, process_id,
};
use super::said::mcp_node;
use crate::deeds::deed::{Deed, Dns, Exec, File, FileKind, Inode, Net, NetKind, Stdio, What};
use crate::deeds::path::Path;
use crate::event::ProcessId;
use crate::semantics::mcp::McpKind;

impl Causes {
    pub(super) fn take_deed(&mut self, deed: &Deed, out: &mut Vec<Edge>) {
        if let Some(known) = self.lineage.meet(deed.process)
            && !deed.comm.text().is_empty()
        {
            known.comm = deed.comm;
        }
        match &deed.what {
            What::Exec(exec) if exec.error.is_none() => self.exec(deed, exec, out),
            What::Exit(_) => self.forget(deed.process),
            What::File(kind, file) if file.error.is_none() => self.file(deed, *kind, file, out),
            What::Fork(fork) => self.fork(deed, fork.child, out),
            What::Net(kind, net) => self.net(deed, *kind, net, out),
            What::Stdio(stdio) => self.stdio(deed, stdio, out),
            _ => {}
        }
        let is_matched = self.match_deed(deed, out);
        if !is_matched && let Some(agent) = self.lineage.standing(deed.process).agent {
            let is_of_interest =
                matches!(deed.what, What::Exec(_) | What::File(..) | What::Net(..));
            if is_of_interest {
                self.put_off(agent, deed);
            }
        }
    }

    /// Whether a tool call wanted it, and what follows.
    pub(super) fn match_deed(&mut self, deed: &Deed, out: &mut Vec<Edge>) -> bool {
        match &deed.what {
            What::Dns(dns) => self.asks_name(deed, dns, out),
            What::Exec(exec) if exec.error.is_none() => self.wanted_exec(deed, exec, out),
            What::File(kind, file) if file.error.is_none() => {
                self.wanted_file(deed, *kind, file, out)
            }
            What::Net(kind, net) => self.wanted_net(deed, *kind, net, out),
            _ => false,
        }
    }

    fn fork(&mut self, deed: &Deed, child: ProcessId, out: &mut Vec<Edge>) {
        self.lineage.descend(child, deed.process);
        let standing = self.lineage.standing(deed.process);
        // What a server begins while it works for one tool call alone, it begins for that one.
        if standing.cause.is_none()
            && let Some(tool) = standing.server.and_then(|of| self.servers.works_for(of))
        {
            let cause = super::Cause {
                is_of_server: true,
                ..super::Cause::new(tool, Confidence::Likely)
            };
            self.lineage.explain(child, cause);
        }
        if self.tells_plain {
            let (from, to) = (self.process_node(deed.process), self.process_node(child));
            out.push(plain(deed, from, to, Kind::Forks));
        }
    }

    fn exec(&mut self, deed: &Deed, exec: &Exec, out: &mut Vec<Edge>) {
        if let Some(known) = self.lineage.meet(deed.process) {
            known.cwd = exec.cwd.as_ref().map(|path| path.bytes.clone());
            known.exec = Some(deed.number);
        }
        let node = exec_node(deed, exec);
        if self.tells_plain {
            let from = self.process_node(deed.process);
            out.push(plain(deed, from, node.clone(), Kind::Executes));
        }
        let program = exec
            .exe_file
            .filter(|inode| exec.was_written || self.written.by(*inode).is_some());
        if let Some(inode) = program {
            let from = file_node(Some(inode), exec.exe.as_ref());
            let sure = (Confidence::Exact, "it was written before: the same inode");
            out.extend(from.map(|from| proof(deed, from, node.clone(), Kind::RunBy, sure)));
        }
        let script = exec.script.as_ref();
        if let Some(inode) = script.and_then(|path| self.written.at(&path.bytes)) {
            let from = file_node(Some(inode), script);
            let maybe = (Confidence::Likely, "it was written before: the same path");
            out.extend(from.map(|from| proof(deed, from, node, Kind::RunBy, maybe)));
        }
    }

    fn wanted_exec(&mut self, deed: &Deed, exec: &Exec, out: &mut Vec<Edge>) -> bool {
        let standing = self.lineage.standing(deed.process);
        let agent = match standing.cause {
            // Its command may say more than that its server worked for one tool call.
            Some(cause) if cause.is_of_server => self.tools.get(cause.tool).map(|tool| tool.agent),
            Some(_) => return true,
            None => standing.agent.filter(|agent| *agent != deed.process),
        };
        let found = agent.and_then(|agent| self.tools.runs(agent, &command::ran(exec), deed.ts_ns));
        let Some((cause, reason)) = found else {
            return standing.cause.is_some();
        };
        self.lineage.explain(deed.process, cause);
        let from = self.tools.get(cause.tool).map(|tool| tool.node.clone());
        let fit = (cause.confidence, reason);
        out.extend(from.map(|from| proof(deed, from, exec_node(deed, exec), Kind::Runs, fit)));
        true
    }

    fn file(&mut self, deed: &Deed, kind: FileKind, file: &File, out: &mut Vec<Edge>) {
        let inode = self.inode(file);
        let Some(node) = file_node(inode, file.path.as_ref()) else {
            return;
        };
        let is_change = changes(kind, file);
        if self.tells_plain {
            let kind = if is_change {
                Kind::Changes
            } else {
                Kind::Reads
            };
            let from = self.process_node(deed.process);
            out.push(plain(deed, from, node.clone(), kind));
        }
        self.read_again(deed, file, &node, is_change, out);
        self.output(deed, kind, file, is_change);
        let path = file.path.as_ref().map(|path| path.bytes.as_slice());
        match (kind, path, &file.to) {
            (FileKind::Rename, Some(path), Some(to)) => {
                let inode = self.written.rename(path, &to.bytes).or(file.inode);
                let renamed = file_node(inode, Some(to)).filter(|_| self.tells_plain);
                let from = self.process_node(deed.process);
                out.extend(renamed.map(|to| plain(deed, from, to, Kind::Changes)));
            }
            (FileKind::Unlink, Some(path), _) => self.written.remove(path),
            _ if is_change && writes(kind, file) => {
                if let Some(inode) = file.inode {
                    self.written.write(inode, path, deed.process);
                }
            }
            (FileKind::Open, Some(path), _) => {
                if let Some(inode) = file.inode {
                    self.written.meet(inode, path);
                }
            }
            _ => {}
        }
    }

    /// Output that goes into a file, and the agent that reads it there.
    fn output(&mut self, deed: &Deed, kind: FileKind, file: &File, is_change: bool) {
        let Some(inode) = file.inode else {
            return;
        };
        let standing = self.lineage.standing(deed.process);
        let is_output = matches!(file.fd, Some(1 | 2)) && kind == FileKind::Write;
        let is_opened = kind == FileKind::Open && !file.inherited && !file.flags.contains(&"read");
        let tool = written_for(&standing, deed.process).and_then(|(_, tool)| tool);
        match (tool, standing.cause, standing.agent) {
            (Some(tool), ..) if is_opened => self.tools.open_file(tool, inode),
            (Some(tool), ..) if is_output => self.tools.write_file(tool, inode, deed.process),
            (_, None, Some(agent)) if !is_change => self.tools.read_file(agent, inode),
            _ => {}
        }
    }

    /// What a deed says of a file, else what was written at its path.
    fn inode(&self, file: &File) -> Option<Inode> {
        let at = |path: &Path| self.written.at(&path.bytes);
        file.inode.or_else(|| file.path.as_ref().and_then(at))
    }

    /// A file that was written is opened, by another process than wrote it.
    fn read_again(
        &mut self,
        deed: &Deed,
        file: &File,
        node: &Node,
        is_change: bool,
        out: &mut Vec<Edge>,
    ) {
        let writer = file.inode.and_then(|inode| self.written.by(inode));
        let is_own = writer == Some(deed.process);
        if is_change || is_own || file.inherited || !(file.was_written || writer.is_some()) {
            return;
        }
        let inode = file.inode;
        if inode.is_some_and(|inode| !self.written.is_news(inode, deed.process)) {
            return;
        }
        let to = self.process_node(deed.process);
        let sure = (Confidence::Exact, "it was written before: the same inode");
        out.push(proof(deed, node.clone(), to, Kind::ReadBy, sure));
    }

    fn wanted_file(
        &mut self,
        deed: &Deed,
        kind: FileKind,
        file: &File,
        out: &mut Vec<Edge>,
    ) -> bool {
        let standing = self.lineage.standing(deed.process);
        let Some(agent) = self.agent_of(&standing) else {
            return standing.cause.is_some();
        };
        // What goes on with an open file was told when it was opened, if that was for a tool call.
        if file.inherited {
            return standing.cause.is_some();
        }
        let cwd = self.lineage.get(agent).and_then(|known| known.cwd.clone());
        let cwd = cwd.as_deref();
        let ways = [file.path.as_ref(), file.to.as_ref()];
        let mut is_matched = standing.cause.is_some();
        for path in ways.into_iter().flatten() {
            let causes = match standing.cause {
                Some(cause) => Vec::from_iter(self.tools.touch_own(cause, &path.bytes, cwd)),
                None => self.tools.touch(agent, &path.bytes, cwd, deed.ts_ns),
            };
            let is_new_name = kind == FileKind::Rename && Some(path) == file.to.as_ref();
            let inode = match is_new_name {
                true => self.written.at(&path.bytes),
                false => self.inode(file),
            };
            let Some(node) = file_node(inode, Some(path)) else {
                continue;
            };
            is_matched |= !causes.is_empty();
            self.tell_all(deed, causes, &node, Kind::Touches, out);
        }
        is_matched
    }

    fn net(&mut self, deed: &Deed, kind: NetKind, net: &Net, out: &mut Vec<Edge>) {
        if let (true, true, Some(node)) = (self.tells_plain, speaks(kind), host_node(net)) {
            let from = self.process_node(deed.process);
            out.push(plain(deed, from, node, Kind::Contacts));
        }
    }

    fn wanted_net(&mut self, deed: &Deed, kind: NetKind, net: &Net, out: &mut Vec<Edge>) -> bool {
        let (true, Some(peer)) = (speaks(kind), net.peer.as_deref()) else {
            return false;
        };
        let (address, port) = split(peer);
        let names: Vec<_> = net.host.as_deref().into_iter().chain([address]).collect();
        let name = net.host.as_deref().unwrap_or(address);
        let of = (deed.process, deed.ts_ns);
        let event = Some(format!("e{}", deed.number));
        self.reach(of, &names, port, (name, Some(peer), event), out)
    }

    fn asks_name(&mut self, deed: &Deed, dns: &Dns, out: &mut Vec<Edge>) -> bool {
        let mut is_matched = false;
        if dns.direction != "write" {
            return false;
        }
        for question in dns.questions.iter().take(4) {
            let name = question.name.trim_end_matches('.');
            let of = (deed.process, deed.ts_ns);
            let event = Some(format!("e{}", deed.number));
            is_matched |= self.reach(of, &[name], None, (name, None, event), out);
        }
        is_matched
    }

    /// Whose tool call a process is begun for, else whose it is.
    fn agent_of(&self, standing: &Standing) -> Option<ProcessId> {
        match standing.cause {
            Some(cause) => self.tools.get(cause.tool).map(|tool| tool.agent),
            None => standing.agent,
        }
    }

    /// Ties a host to the tool calls that name it: to the one that the process is begun for, if it is that.
    pub(super) fn reach(
        &mut self,
        (process, ts_ns): (ProcessId, u64),
        names: &[&str],
        port: Option<u16>,
        (name, address, event): (&str, Option<&str>, Option<String>),
        out: &mut Vec<Edge>,
    ) -> bool {
        let standing = self.lineage.standing(process);
        let causes = match (standing.cause, standing.agent) {
            (Some(cause), _) => Vec::from_iter(self.tools.reach_own(cause, names, port)),
            (None, Some(agent)) => self.tools.reach(agent, names, port, ts_ns),
            (None, None) => return false,
        };
        let is_matched = standing.cause.is_some() || !causes.is_empty();
        let to = named_host(name, address);
        for (cause, reason) in causes {
            if !self.tools.is_news(cause.tool, Kind::Reaches, &to.id) {
                continue;
            }
            out.extend(self.tools.get(cause.tool).map(|tool| Edge {
                from: tool.node.clone(),
                to: to.clone(),
                kind: Kind::Reaches,
                reason,
                confidence: cause.confidence,
                event: event.clone(),
                ts_ns,
            }));
        }
        is_matched
    }

    fn tell_all(
        &mut self,
        deed: &Deed,
        causes: Vec<(super::Cause, &'static str)>,
        to: &Node,
        kind: Kind,
        out: &mut Vec<Edge>,
    ) {
        for (cause, reason) in causes {
            if !self.tools.is_news(cause.tool, kind, &to.id) {
                continue;
            }
            let from = self.tools.get(cause.tool).map(|tool| tool.node.clone());
            let fit = (cause.confidence, reason);
            out.extend(from.map(|from| proof(deed, from, to.clone(), kind, fit)));
        }
    }

    fn stdio(&mut self, deed: &Deed, stdio: &Stdio, out: &mut Vec<Edge>) {
        let standing = self.lineage.standing(deed.process);
        let is_input = stdio.stream == "stdin";
        let is_written = stdio.direction == "write";
        if is_input != is_written
            && standing.cause.is_none()
            && let Some(text) = &stdio.data
        {
            self.server(deed, is_input, text.as_bytes(), out);
        }
        if is_input
            && !is_written
            && let Some(cause) = standing.cause
        {
            self.tools.read(cause.tool, stdio.pipe);
        }
        if is_input || !is_written {
            return;
        }
        let (agent, tool) = match written_for(&standing, deed.process) {
            Some(found) => found,
            None => return,
        };
        let agent = match tool.and_then(|tool| self.tools.get(tool)) {
            Some(tool) => tool.agent,
            None => agent,
        };
        let exec = self.lineage.get(deed.process).and_then(|known| known.exec);
        let writer = (deed.process, exec);
        let text = stdio.data.as_deref();
        self.tools
            .write((agent, tool), stdio.pipe, writer, text, stdio.missing);
    }

    /// What a server of MCP reads or writes.
    fn server(&mut self, deed: &Deed, is_input: bool, bytes: &[u8], out: &mut Vec<Edge>) {
        for message in self.servers.hear(deed.process, is_input, bytes) {
            self.lineage.is_now_server(deed.process);
            let is_request = message.kind == McpKind::Request;
            let mut tool = None;
            if is_request && is_input {
                let node = mcp_node(&process_id(deed.process), &message, deed.ts_ns);
                tool = self.request_for(deed.process, &message, &node, deed.ts_ns, out);
                let to = self.process_node(deed.process);
                let sure = (
                    Confidence::Exact,
                    "the process reads it from its standard input",
                );
                out.push(proof(deed, node, to, Kind::Requests, sure));
            }
            if is_request == is_input {
                self.servers.note(deed.process, &message, tool);
            }
        }
    }

    pub(super) fn process_node(&self, process: ProcessId) -> Node {
        let comm = self.lineage.get(process).map(|known| known.comm);
        Node {
            id: process_id(process),
            thing: Thing::Process {
                pid: process.pid,
                comm: comm.unwrap_or_default().text().into_owned(),
            },
        }
    }
}

/// For which agent, and which of its tool calls, a process writes. An agent's own output is none of a tool's.
fn written_for(standing: &Standing, process: ProcessId) -> Option<(ProcessId, Option<u64>)> {
    match (standing.cause, standing.agent, standing.outer) {
        (Some(cause), _, _) => Some((process, Some(cause.tool))),
        // A sub-agent's output is what its agent's tool call gives.
        (None, Some(agent), Some(cause)) if agent == process => Some((agent, Some(cause.tool))),
        (None, Some(agent), _) if agent != process => Some((agent, None)),
        _ => None,
    }
}

fn changes(kind: FileKind, file: &File) -> bool {
    match kind {
        FileKind::Open => file.created || file.flags.contains(&"truncate"),
        _ => true,
    }
}

/// Its content is another one then.
fn writes(kind: FileKind, file: &File) -> bool {
    match kind {
        FileKind::Open | FileKind::Mmap | FileKind::Truncate => true,
        FileKind::Write => file.bytes != Some(0),
        _ => false,
    }
}

fn speaks(kind: NetKind) -> bool {
    matches!(kind, NetKind::Connect | NetKind::Send)
}

/// An address without its port, and that.
fn split(peer: &str) -> (&str, Option<u16>) {
    match peer.rsplit_once(':') {
        Some((address, port)) if port.parse::<u16>().is_ok() => {
            (address.trim_matches(['[', ']']), port.parse().ok())
        }
        _ => (peer, None),
    }
}

fn host_node(net: &Net) -> Option<Node> {
    let peer = net.peer.as_deref()?;
    let name = net.host.as_deref().unwrap_or(split(peer).0);
    Some(named_host(name, Some(peer)))
}

fn named_host(name: &str, address: Option<&str>) -> Node {
    let name = kept_text(name).to_ascii_lowercase();
    Node {
        id: format!("host:{name}"),
        thing: Thing::Host {
            name,
            address: address.map(kept_text),
        },
    }
}

fn file_node(inode: Option<Inode>, path: Option<&Path>) -> Option<Node> {
    let path = path.map(|path| kept_path(&path.text()));
    Some(Node {
        id: file_id(inode, path.as_deref())?,
        thing: Thing::File { path },
    })
}

/// `PATH_MAX`.
fn kept_path(path: &str) -> String {
    super::node::excerpt(path, 4096)
}

fn exec_node(deed: &Deed, exec: &Exec) -> Node {
    Node {
        id: format!("e{}", deed.number),
        thing: Thing::Exec {
            process: process_id(deed.process),
            args: kept_words(&exec.args),
            cwd: exec.cwd.as_ref().map(|path| path.text().into_owned()),
            ts_ns: deed.ts_ns,
        },
    }
}

fn plain(deed: &Deed, from: Node, to: Node, kind: Kind) -> Edge {
    proof(deed, from, to, kind, (Confidence::Exact, "it did so"))
}

fn proof(
    deed: &Deed,
    from: Node,
    to: Node,
    kind: Kind,
    (confidence, reason): (Confidence, &'static str),
) -> Edge {
    Edge {
        from,
        to,
        kind,
        reason,
        confidence,
        event: Some(format!("e{}", deed.number)),
        ts_ns: deed.ts_ns,
    }
}
