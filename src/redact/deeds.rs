//! Secrets in what processes do: on command lines, in the environment, in what goes through pipes.

use std::borrow::Cow;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::Redactor;
use crate::deeds::deed::{Deed, Exec, File, What};
use crate::deeds::path::Path;
use crate::event::Direction;
use crate::graph::Edge;

/// What stands alone is no stream of a connection: none has this number.
const ALONE: u64 = u64::MAX;

impl Redactor {
    /// Masks the secrets of a deed.
    pub fn deed(&mut self, deed: &mut Deed) {
        match &mut deed.what {
            What::Exec(exec) => self.exec(exec),
            What::File(_, file) => self.file(file),
            What::Stdio(stdio) => {
                if let Some(data) = &mut stdio.data {
                    self.text(data);
                }
                if let Some(data) = &mut stdio.data_b64 {
                    self.coded(data);
                }
            }
            What::Net(_, net) => {
                for text in [&mut net.local, &mut net.peer].into_iter().flatten() {
                    self.text(text);
                }
            }
            What::Blind(_)
            | What::Dns(_)
            | What::Exit(_)
            | What::Fork(_)
            | What::Identity(_)
            | What::Ptrace(_)
            | What::Signal(_) => {}
        }
    }

    /// Masks the secrets of what led to what.
    pub fn edge(&mut self, edge: &mut Edge) {
        for node in [&mut edge.from, &mut edge.to] {
            node.each_text(&mut |text| self.text(text));
        }
    }

    fn exec(&mut self, exec: &mut Exec) {
        self.text(&mut exec.filename);
        let mut option: Option<String> = None;
        for word in &mut exec.args {
            // `--token SECRET` is two words and one thing.
            match option.filter(|name| name.starts_with('-')) {
                Some(name) => self.text_behind(&format!("{name}="), word, ""),
                None => self.text(word),
            }
            option = Some(word.clone());
        }
        for (name, value) in &mut exec.env {
            self.text_behind(&format!("{name}="), value, "\n");
        }
        for path in [&mut exec.exe, &mut exec.script, &mut exec.cwd] {
            self.path(path);
        }
    }

    fn file(&mut self, file: &mut File) {
        self.path(&mut file.path);
        self.path(&mut file.to);
        if let Some(target) = &mut file.target {
            self.text(target);
        }
    }

    fn path(&mut self, path: &mut Option<Path>) {
        let Some(path) = path else {
            return;
        };
        match String::from_utf8(path.bytes.clone()) {
            Ok(mut text) => {
                self.text(&mut text);
                path.bytes = text.into_bytes();
            }
            Err(_) => self.alone(&mut path.bytes),
        }
    }

    /// Base64 of what is no text: half a character at its end is enough for that.
    fn coded(&mut self, data: &mut String) {
        if let Ok(mut bytes) = BASE64_STANDARD.decode(&*data) {
            self.alone(&mut bytes);
            *data = BASE64_STANDARD.encode(bytes);
        }
    }

    fn alone(&mut self, bytes: &mut Vec<u8>) {
        let mut masked = Cow::Borrowed(bytes.as_slice());
        self.mask((ALONE, Direction::Write), 0, &mut masked);
        self.forget(ALONE);
        if let Cow::Owned(masked) = masked {
            *bytes = masked;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deeds::deed::{FileKind, Stdio};
    use crate::deeds::path::Form;
    use crate::event::{Comm, ProcessId};

    const SECRET: &str = concat!("sk-", "ant-api03-Zq8xK2vB7nM4wE9rT1yU6iO3pA5sD0fGhJkL");

    fn masked(what: What) -> What {
        let mut deed = Deed {
            number: 1,
            ts_ns: 1,
            process: ProcessId {
                pid: 1,
                start_ns: 1,
            },
            tid: 1,
            comm: Comm([0; 16]),
            what,
        };
        Redactor::new([5; 32]).unwrap().deed(&mut deed);
        deed.what
    }

    /// A secret would go out in base64, or as a name, because of one byte beside it that is no text.
    #[test]
    fn what_is_no_text_is_masked_too() {
        let odd = [SECRET.as_bytes(), b" \xe2\x82"].concat();
        let stdio = Stdio {
            stream: "stdout",
            direction: "write",
            offset: 0,
            pipe: 1,
            data: None,
            data_b64: Some(BASE64_STANDARD.encode(&odd)),
            missing: 0,
        };
        let file = File {
            path: Some(Path {
                bytes: odd.clone(),
                form: Form::Given,
                is_deleted: false,
            }),
            ..File::default()
        };
        let What::Stdio(stdio) = masked(What::Stdio(stdio)) else {
            unreachable!()
        };
        let data = BASE64_STANDARD.decode(stdio.data_b64.unwrap()).unwrap();
        let What::File(_, file) = masked(What::File(FileKind::Open, Box::new(file))) else {
            unreachable!()
        };
        for told in [data, file.path.unwrap().bytes] {
            assert_eq!(told.len(), odd.len());
            assert!(told.ends_with(b" \xe2\x82"));
            let place = memchr::memmem::find(&told, &SECRET.as_bytes()[13..]);
            assert_eq!(place, None, "{}", String::from_utf8_lossy(&told));
        }
    }
}
