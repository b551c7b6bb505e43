//! Secrets in what processes do: on command lines, in the environment, in what goes through pipes.

use super::Redactor;
use crate::deeds::deed::{Deed, Exec, File, What};
use crate::deeds::path::Path;
use crate::graph::Edge;

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
        if let Some(path) = path
            && let Ok(mut text) = String::from_utf8(path.bytes.clone())
        {
            self.text(&mut text);
            path.bytes = text.into_bytes();
        }
    }
}
