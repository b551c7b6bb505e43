//! Deeds of every kind, with everything that they can have, and with as little as they can have.

use std::collections::BTreeMap;

use agentsight::deeds::deed::*;
use agentsight::deeds::path::{Form, Path};
use agentsight::event::{Comm, ProcessId};

pub const FILE_KINDS: [FileKind; 14] = [
    FileKind::Chmod,
    FileKind::Chown,
    FileKind::Link,
    FileKind::Memfd,
    FileKind::Mkdir,
    FileKind::Mknod,
    FileKind::Mmap,
    FileKind::Open,
    FileKind::Rename,
    FileKind::Rmdir,
    FileKind::Symlink,
    FileKind::Truncate,
    FileKind::Unlink,
    FileKind::Write,
];

pub const NET_KINDS: [NetKind; 7] = [
    NetKind::Accept,
    NetKind::Bind,
    NetKind::Close,
    NetKind::Connect,
    NetKind::Connected,
    NetKind::Listen,
    NetKind::Send,
];

pub fn process(pid: u32) -> ProcessId {
    ProcessId {
        pid,
        start_ns: u64::from(pid) * 1000,
    }
}

pub fn comm(name: &str) -> Comm {
    let mut comm = [0; 16];
    comm[..name.len()].copy_from_slice(name.as_bytes());
    Comm(comm)
}

/// A deed of this process, `at_ms` after 1970.
pub fn deed(pid: u32, at_ms: u64, what: What) -> Deed {
    Deed {
        number: at_ms,
        ts_ns: at_ms * 1_000_000,
        process: process(pid),
        tid: pid,
        comm: comm("sh"),
        what,
    }
}

pub fn path(text: &str) -> Path {
    Path {
        bytes: text.as_bytes().to_vec(),
        form: Form::Resolved,
        is_deleted: false,
    }
}

pub fn fork(child: u32) -> What {
    What::Fork(Fork {
        child_pid: child,
        child: process(child),
        child_ns_pid: None,
    })
}

pub fn exec(args: &[&str]) -> What {
    What::Exec(Box::new(Exec {
        filename: args[0].to_owned(),
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        ..Exec::default()
    }))
}

pub fn exit(code: i32) -> What {
    What::Exit(Exit {
        code: Some(code),
        signal: None,
        core: false,
        cpu_ns: 1,
        peak_rss: 4096,
    })
}

const NO: Option<Failure> = Some(Failure("EPERM"));

fn identity(error: Option<Failure>) -> Identity {
    Identity {
        uid: 1,
        gid: 2,
        euid: 3,
        egid: 4,
        error,
    }
}

fn inode() -> Inode {
    Inode {
        dev: Device(8 << 20 | 1),
        ino: 42,
        generation: 0,
    }
}

/// All that a line of this kind can tell. A bit of text that is no UTF-8 is in each.
fn full_file(kind: FileKind) -> File {
    use FileKind::{Chmod, Chown, Memfd, Mkdir, Mknod, Mmap, Open, Symlink, Truncate, Write};
    let is = |kinds: &[FileKind]| kinds.contains(&kind);
    let odd = Path {
        bytes: b"/tmp/\xff\n\"".to_vec(),
        form: Form::Given,
        is_deleted: true,
    };
    File {
        path: Some(odd.clone()),
        inode: Some(inode()),
        to: is(&[FileKind::Rename, FileKind::Link]).then(|| odd.clone()),
        target: is(&[Memfd, Symlink]).then(|| "a".to_owned()),
        fd: is(&[
            Chmod, Chown, Memfd, Mkdir, Mknod, Mmap, Open, Truncate, Write,
        ])
        .then_some(-1),
        flags: match kind {
            Open => vec!["read-write", "create", "truncate"],
            _ => Vec::new(),
        },
        created: kind == Open,
        inherited: is(&[Open, Write]),
        was_written: kind == Open,
        watched: kind == Open,
        bytes: (kind == Write).then_some(3),
        calls: (kind == Write).then_some(1),
        closed: kind == Write,
        len: is(&[Mmap, Truncate]).then_some(9),
        mode: is(&[Chmod, Mkdir, Mknod]).then(|| "0755".to_owned()),
        owner: (kind == Chown).then_some(0),
        group: (kind == Chown).then_some(0),
        error: NO,
    }
}

/// What is always told.
fn bare_file(kind: FileKind) -> File {
    let full = full_file(kind);
    File {
        bytes: full.bytes,
        calls: full.calls,
        len: full.len,
        mode: full.mode,
        ..File::default()
    }
}

fn full_net(kind: NetKind) -> Net {
    Net {
        protocol: "tcp".to_owned(),
        fd: Some(3),
        socket: Some(77),
        local: Some("127.0.0.1:4".to_owned()),
        peer: Some("[::1]:443".to_owned()),
        host: Some("example.org".to_owned()),
        pending: kind == NetKind::Connect,
        sent: (kind == NetKind::Close).then_some(1),
        received: (kind == NetKind::Close).then_some(2),
        error: NO,
    }
}

fn bare_net(kind: NetKind) -> Net {
    Net {
        protocol: "unix".to_owned(),
        sent: full_net(kind).sent,
        received: full_net(kind).received,
        ..Net::default()
    }
}

fn execs() -> [What; 2] {
    let full = Exec {
        filename: "./a".to_owned(),
        exe: Some(path("/bin/sh")),
        exe_file: Some(inode()),
        interpreter: Some("/bin/sh".to_owned()),
        script: Some(path("/tmp/a")),
        args: vec!["a".to_owned(), "\u{1b}[2J\"},{\n".to_owned()],
        args_missing: 5,
        cwd: Some(path("/tmp")),
        identity: Some(identity(None)),
        tty: Some(Device(4 << 20 | 1)),
        env: BTreeMap::from([("LD_PRELOAD".to_owned(), "/x".to_owned())]),
        env_missing: 6,
        late: true,
        secure: true,
        was_written: true,
        error: NO,
    };
    [What::Exec(Box::new(full)), What::Exec(Box::default())]
}

fn dns() -> [What; 2] {
    let question = Question {
        name: "example.org".to_owned(),
        kind: "A".to_owned(),
    };
    let answer = |value: Option<&str>| Answer {
        name: "example.org".to_owned(),
        kind: "A".to_owned(),
        value: value.map(str::to_owned),
    };
    let full = Dns {
        direction: "read",
        id: 65535,
        server: Some("127.0.0.53:53".to_owned()),
        questions: vec![question],
        answers: vec![answer(Some("192.0.2.1")), answer(None)],
        error: Some("NameError".to_owned()),
    };
    let bare = Dns {
        direction: "write",
        ..Dns::default()
    };
    [What::Dns(full), What::Dns(bare)]
}

fn of_processes() -> Vec<What> {
    let ended = |code, signal, core| {
        What::Exit(Exit {
            code,
            signal,
            core,
            cpu_ns: 1,
            peak_rss: 2,
        })
    };
    let stdio = |data: Option<&str>, data_b64: Option<&str>, missing| {
        What::Stdio(Stdio {
            stream: "stdout",
            direction: "write",
            offset: 0,
            pipe: 9,
            data: data.map(str::to_owned),
            data_b64: data_b64.map(str::to_owned),
            missing,
        })
    };
    let signal = |name, error| {
        What::Signal(Signal {
            signal: 9,
            name,
            target: -1,
            error,
        })
    };
    let ptrace = |request, error| {
        What::Ptrace(Ptrace {
            request,
            target: 1,
            error,
        })
    };
    let forked = |child_ns_pid| {
        What::Fork(Fork {
            child_pid: 2,
            child: process(2),
            child_ns_pid,
        })
    };
    vec![
        What::Blind(Blind { by: "io_uring" }),
        What::Blind(Blind { by: "compat" }),
        What::Blind(Blind { by: "system_calls" }),
        ended(Some(255), None, false),
        ended(None, Some("SIGSEGV"), true),
        forked(Some(1)),
        forked(None),
        What::Identity(identity(NO)),
        What::Identity(identity(None)),
        ptrace(PtraceRequest::Named("attach"), NO),
        ptrace(PtraceRequest::Number(7), None),
        signal(Some("SIGKILL"), NO),
        signal(None, None),
        stdio(Some("a"), None, 3),
        stdio(None, Some("/w=="), 0),
        // --no-content
        stdio(None, None, 0),
    ]
}

/// One of each kind and more.
pub fn all() -> Vec<Deed> {
    let mut whats = of_processes();
    whats.extend(execs());
    whats.extend(dns());
    for kind in FILE_KINDS {
        whats.push(What::File(kind, Box::new(full_file(kind))));
        whats.push(What::File(kind, Box::new(bare_file(kind))));
    }
    for kind in NET_KINDS {
        whats.push(What::Net(kind, Box::new(full_net(kind))));
        whats.push(What::Net(kind, Box::new(bare_net(kind))));
    }
    let deeds = whats.into_iter().zip(1..);
    deeds.map(|(what, number)| deed(7, number, what)).collect()
}
