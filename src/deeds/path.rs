//! Paths as the kernel and the programs tell them. One that was read from the kernel's own objects is taken as it is; one
//! that a program gave is joined with what it starts from. Nothing is looked up in a file system: that would be another one
//! by then.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::event::act::{Reach, Text};

/// How a path came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// From the kernel's own objects: links are followed.
    Resolved,
    /// As the program gave it, joined with the directory that it starts from. Links in it are links still.
    Given,
    /// The file has no place that the process could see: an anonymous one, or one that is mounted elsewhere.
    Outside,
    /// Too deep: its beginning is missing.
    Cut,
}

/// A path.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Path {
    /// Absolute, but for those [`Form::Outside`] and [`Form::Cut`].
    pub bytes: Vec<u8>,
    /// How it came about.
    pub form: Form,
    /// The file has no name any more; this was its last.
    pub is_deleted: bool,
}

impl Path {
    /// One that the kernel walked.
    pub fn walked(text: &Text<'_>) -> Self {
        Self {
            bytes: text.path().into_owned(),
            form: match text.reach() {
                Some(Reach::Whole) => Form::Resolved,
                Some(Reach::Cut) => Form::Cut,
                Some(Reach::Outside) => Form::Outside,
                Some(Reach::Given) | None => Form::Given,
            },
            is_deleted: text.is_deleted(),
        }
    }

    /// One that a program gave, which starts from `base` unless it starts from the root. Empty ones are `base` itself.
    pub fn given(text: &Text<'_>, base: Option<&Text<'_>>) -> Self {
        let given = text.raw();
        let Some(base) = base.filter(|_| !given.starts_with(b"/")) else {
            let form = match given.starts_with(b"/") && !text.is_too_long() {
                true => Form::Given,
                false => Form::Cut,
            };
            return Self::new(join(b"", given), form);
        };
        let base = Self::walked(base);
        if given.is_empty() {
            return base;
        }
        let form = match base.form {
            Form::Resolved if !text.is_too_long() => Form::Given,
            Form::Resolved => Form::Cut,
            other => other,
        };
        let is_deleted = base.is_deleted;
        Self {
            is_deleted,
            ..Self::new(join(&base.bytes, given), form)
        }
    }

    fn new(bytes: Vec<u8>, form: Form) -> Self {
        Self {
            bytes,
            form,
            is_deleted: false,
        }
    }

    /// For people: what is no text is replaced.
    pub fn text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.bytes)
    }

    /// Its last name.
    pub fn name(&self) -> &[u8] {
        self.bytes
            .rsplit(|byte| *byte == b'/')
            .next()
            .unwrap_or_default()
    }
}

/// `given` from `base`, which has no links in it: so what leads back from there at once can be taken back, and nothing that
/// comes later, where a name may be a link.
fn join(base: &[u8], given: &[u8]) -> Vec<u8> {
    let mut path = base.strip_suffix(b"/").unwrap_or(base).to_vec();
    let mut is_real = true;
    for name in given.split(|byte| *byte == b'/') {
        match name {
            b"" | b"." => {}
            b".." if is_real => {
                let parent = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                path.truncate(parent);
            }
            name => {
                is_real = false;
                path.push(b'/');
                path.extend_from_slice(name);
            }
        }
    }
    if path.is_empty() {
        path.push(b'/');
    }
    path
}

/// `path`, and if that is no text `path_b64`; what is odd about it.
impl Serialize for Path {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("path", &self.text())?;
        if std::str::from_utf8(&self.bytes).is_err() {
            map.serialize_entry("path_b64", &super::base64(&self.bytes))?;
        }
        map.serialize_entry("path_is", &self.form)?;
        if self.is_deleted {
            map.serialize_entry("deleted", &true)?;
        }
        map.end()
    }
}

/// The other place of an act: `to`, and if that is no text `to_b64`.
pub fn other<S: Serializer>(path: &Option<Path>, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(None)?;
    if let Some(path) = path {
        map.serialize_entry("to", &path.text())?;
        if std::str::from_utf8(&path.bytes).is_err() {
            map.serialize_entry("to_b64", &super::base64(&path.bytes))?;
        }
    }
    map.end()
}

#[cfg(test)]
mod tests {
    use super::join;

    fn joined(base: &str, given: &str) -> String {
        String::from_utf8(join(base.as_bytes(), given.as_bytes())).unwrap()
    }

    /// A path would name another file than the program's.
    #[test]
    fn only_what_surely_leads_back_is_taken_back() {
        for (base, given, path) in [
            ("/home/me", "a.txt", "/home/me/a.txt"),
            ("/home/me", "./a//b/./c", "/home/me/a/b/c"),
            ("/home/me", "../you/a", "/home/you/a"),
            ("/home/me", "../../../../etc/passwd", "/etc/passwd"),
            // `link` may lead elsewhere.
            ("/home/me", "link/../a", "/home/me/link/../a"),
            ("", "/etc/../etc/passwd", "/etc/../etc/passwd"),
            ("", "/../etc", "/etc"),
            ("/", "a", "/a"),
            ("/", "..", "/"),
            ("/home", ".", "/home"),
        ] {
            assert_eq!(joined(base, given), path, "{given} from {base}");
        }
    }
}
