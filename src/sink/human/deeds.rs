//! What processes did, for people: one line each, and only what changes something or says something.

use std::io::{self, Write};

use super::Human;
use crate::deeds::deed::{Deed, Exec, Exit, File, FileKind, Net, NetKind, What};

/// Arguments are shown so far: a script on a command line can be long.
const ARGS_SHOWN: usize = 400;

impl<W: Write> Human<W> {
    pub(super) fn deed_line(&mut self, deed: &Deed) -> io::Result<()> {
        let Some(text) = text(&deed.what) else {
            return Ok(());
        };
        self.end_line()?;
        self.process_line(deed.ts_ns, &deed.comm.text(), deed.process.pid, &text)
    }
}

pub(in crate::sink) fn text(what: &What) -> Option<String> {
    match what {
        What::Blind(blind) => Some(format!("NOT SEEN: what it does by {}", blind.by)),
        What::Dns(_) | What::Fork(_) | What::Stdio(_) => None,
        What::Exec(exec) => of_exec(exec),
        What::Exit(exit) => of_exit(exit),
        What::File(kind, file) => of_file(*kind, file),
        What::Identity(identity) => Some(format!(
            "is user {} now, acts as {}",
            identity.uid, identity.euid
        )),
        What::Net(kind, net) => of_net(*kind, net),
        What::Ptrace(ptrace) => Some(format!("ptrace of process {}", ptrace.target)),
        What::Signal(signal) => Some(format!(
            "{} to {}",
            signal.name.unwrap_or("signal"),
            signal.target
        )),
    }
}

fn of_exec(exec: &Exec) -> Option<String> {
    if let Some(error) = &exec.error {
        // Whoever looks through PATH for a program finds nothing again and again.
        let is_search = error.0 == "ENOENT";
        return (!is_search).then(|| format!("could not run {}: {}", exec.filename, error.0));
    }
    let args = exec.args.iter().map(String::as_str);
    let mut line = shlex::try_join(args).unwrap_or_else(|_| exec.args.join(" "));
    if let Some((end, _)) = line.char_indices().nth(ARGS_SHOWN) {
        line.truncate(end);
        line.push('…');
    }
    Some(format!("$ {line}"))
}

fn of_exit(exit: &Exit) -> Option<String> {
    match (exit.code, exit.signal) {
        (_, Some(signal)) => Some(format!("ended by {signal}")),
        (Some(0) | None, None) => None,
        (Some(code), None) => Some(format!("ended with {code}")),
    }
}

fn of_file(kind: FileKind, file: &File) -> Option<String> {
    let path = match &file.path {
        Some(path) => path.text().into_owned(),
        None => "?".to_owned(),
    };
    let done = match kind {
        FileKind::Open if file.error.is_none() && file.created => "creates",
        FileKind::Open if file.watched => "reads",
        FileKind::Open if is_refused(file) => "opens",
        FileKind::Open => return None,
        FileKind::Write if file.closed && file.bytes == Some(0) => return None,
        FileKind::Write => "writes",
        FileKind::Chmod => "changes the mode of",
        FileKind::Chown => "changes the owner of",
        FileKind::Link => "links",
        FileKind::Memfd => "makes a file in memory",
        FileKind::Mkdir => "makes directory",
        FileKind::Mknod => "makes node",
        FileKind::Mmap => "maps for writing",
        FileKind::Rename => "renames",
        FileKind::Rmdir => "removes directory",
        FileKind::Symlink => "makes link",
        FileKind::Truncate => "cuts",
        FileKind::Unlink => "removes",
    };
    let mut text = format!("{done} {path}");
    if let Some(bytes) = file.bytes {
        text += &format!(" ({bytes} B)");
    }
    if let Some(to) = &file.to {
        text += &format!(" to {}", to.text());
    }
    if let Some(error) = &file.error {
        text += &format!(": {}", error.0);
    }
    Some(text)
}

/// Not allowed, rather than not there.
fn is_refused(file: &File) -> bool {
    let error = file.error.as_ref().map(|error| error.0);
    matches!(error, Some("EACCES" | "EPERM" | "EROFS"))
}

fn of_net(kind: NetKind, net: &Net) -> Option<String> {
    let peer = net.peer.as_deref().unwrap_or("?");
    let mut text = match kind {
        NetKind::Connect => format!("connects to {peer}"),
        NetKind::Send => format!("sends to {peer}"),
        NetKind::Accept => format!("is connected to by {peer}"),
        NetKind::Listen => format!("listens on {}", net.local.as_deref().unwrap_or("?")),
        NetKind::Connected if net.error.is_some() => format!("could not connect to {peer}"),
        NetKind::Bind | NetKind::Close | NetKind::Connected => return None,
    };
    if let Some(host) = &net.host {
        text += &format!(" ({host})");
    }
    if let Some(error) = &net.error {
        text += &format!(": {}", error.0);
    }
    Some(text)
}
