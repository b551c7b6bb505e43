//! Files and hosts that the arguments of a tool call name. Nothing is looked up: a path is joined with the agent's directory
//! and compared, as it is written, with what processes did.

use serde_json::Value;

use super::node::Confidence;

/// Strings of one tool call that are looked at.
const STRINGS_MAX: usize = 256;
const DEPTH_MAX: usize = 8;
/// `PATH_MAX`.
const PATH_MAX: usize = 4096;
/// Of each kind that are kept.
const KEPT_MAX: usize = 256;

/// What a tool call's arguments name.
#[derive(Clone, Debug, Default)]
pub struct Places {
    paths: Vec<String>,
    hosts: Vec<Host>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Host {
    name: String,
    port: Option<u16>,
}

/// Shows all strings inside of JSON, with the field that each stands in; a text that is itself JSON is looked into.
pub fn each_string<'v>(value: &'v Value, show: &mut dyn FnMut(Option<&str>, &'v str)) {
    let mut left = STRINGS_MAX;
    walk(value, None, &mut left, 0, show);
}

fn walk<'v>(
    value: &'v Value,
    key: Option<&str>,
    left: &mut usize,
    depth: usize,
    show: &mut dyn FnMut(Option<&str>, &'v str),
) {
    if *left == 0 || depth > DEPTH_MAX {
        return;
    }
    match value {
        Value::String(text) => {
            *left -= 1;
            show(key, text);
        }
        Value::Array(items) => {
            for item in items.iter().take(STRINGS_MAX) {
                walk(item, key, left, depth + 1, show);
            }
        }
        Value::Object(fields) => {
            for (name, value) in fields.iter().take(STRINGS_MAX) {
                walk(value, Some(name), left, depth + 1, show);
            }
        }
        _ => {}
    }
}

impl Places {
    /// Of these arguments.
    pub fn of(arguments: &Value) -> Self {
        let mut places = Self::default();
        each_string(arguments, &mut |key, text| {
            places.urls(text);
            places.patched(text);
            places.path(key, text);
            places.host(key, text);
        });
        places.paths.truncate(KEPT_MAX);
        places.hosts.truncate(KEPT_MAX);
        places
    }

    fn urls(&mut self, text: &str) {
        for (at, _) in text.match_indices("://").take(KEPT_MAX) {
            let scheme = text.get(..at).unwrap_or_default();
            let rest = text.get(at + 3..).unwrap_or_default();
            if scheme.ends_with("file") {
                let end = rest.find(|c: char| c.is_whitespace() || c == '"');
                self.paths.push(
                    rest.get(..end.unwrap_or(rest.len()))
                        .unwrap_or_default()
                        .to_owned(),
                );
                continue;
            }
            self.hosts.extend(Host::of_authority(rest));
        }
    }

    /// Files that a patch names: as Codex writes them, and as diff(1) does.
    fn patched(&mut self, text: &str) {
        const MARKS: [&str; 5] = [
            "*** Add File: ",
            "*** Delete File: ",
            "*** Move to: ",
            "*** Update File: ",
            "+++ b/",
        ];
        let lines = text
            .lines()
            .filter(|line| line.starts_with("*** ") || line.starts_with("+++ "));
        for line in lines.take(KEPT_MAX) {
            let path = MARKS.iter().find_map(|mark| line.strip_prefix(mark));
            self.paths.extend(path.map(|path| path.trim().to_owned()));
        }
    }

    fn path(&mut self, key: Option<&str>, text: &str) {
        const NAMES: [&str; 5] = ["dir", "file", "folder", "notebook", "path"];
        let key = key.unwrap_or_default().to_ascii_lowercase();
        let is_named = NAMES.iter().any(|name| key.contains(name));
        let is_path = is_named || text.contains('/');
        let is_fit = !text.is_empty() && text.len() <= PATH_MAX && !text.contains(['\n', '\0']);
        if is_path && is_fit && !text.contains("://") {
            self.paths.push(text.to_owned());
        }
    }

    fn host(&mut self, key: Option<&str>, text: &str) {
        const NAMES: [&str; 7] = [
            "address", "domain", "endpoint", "host", "server", "uri", "url",
        ];
        let key = key.unwrap_or_default().to_ascii_lowercase();
        if NAMES.iter().any(|name| key.contains(name)) && !text.contains("://") {
            self.hosts.extend(Host::of_authority(text));
        }
    }

    /// Whether the file that is at `done` is one of these, seen from an agent's directory.
    pub fn fit_path(&self, done: &[u8], cwd: Option<&[u8]>) -> Option<(Confidence, &'static str)> {
        let done = std::str::from_utf8(done).ok()?;
        let fits = self.paths.iter().filter_map(|path| fit(path, done, cwd));
        fits.max()
    }

    /// Whether a host is one of these; by its name or address, and by its port where both are known.
    pub fn names_host(&self, name: &str, port: Option<u16>) -> bool {
        let name = name.trim_end_matches('.');
        self.hosts.iter().any(|host| {
            let is_port = host.port.is_none() || port.is_none() || host.port == port;
            is_port && host.name.eq_ignore_ascii_case(name)
        })
    }
}

impl Host {
    /// The host at the beginning of what follows `https://`.
    fn of_authority(text: &str) -> Option<Self> {
        let ends = |c: char| c.is_whitespace() || "/?#\"'`<>()\\,;|{}".contains(c);
        let authority = text.get(..text.find(ends).unwrap_or(text.len()))?;
        let authority = authority.rsplit('@').next()?;
        let (name, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (name, port) = rest.split_once(']')?;
                (name, port.strip_prefix(':'))
            }
            None => match authority.split_once(':') {
                Some((name, port)) => (name, Some(port)),
                None => (authority, None),
            },
        };
        let port = port.and_then(|port| port.parse().ok());
        (!name.is_empty() && name.len() < 256).then(|| Self {
            name: name.trim_end_matches('.').to_ascii_lowercase(),
            port,
        })
    }
}

const SAME: &str = "the path is among the arguments";
const END: &str = "the path ends like one among the arguments";

fn fit(path: &str, done: &str, cwd: Option<&[u8]>) -> Option<(Confidence, &'static str)> {
    let full = match (path.starts_with('/'), cwd) {
        (true, _) => Some(clean(path)),
        (false, Some(cwd)) => {
            let cwd = std::str::from_utf8(cwd).ok()?;
            Some(clean(&format!("{cwd}/{path}")))
        }
        (false, None) => None,
    };
    if full.as_deref() == Some(done) || (full.is_some() && full == Some(clean(done))) {
        return Some((Confidence::Exact, SAME));
    }
    // Links on the way, a directory of the tool's own, or one that is not known: so many names are no chance.
    let relative = clean(path);
    let relative = relative.trim_start_matches('/');
    let names: Vec<_> = relative.rsplit('/').take(3).collect();
    let is_relative = !path.starts_with('/');
    let is_enough = names.len() >= if is_relative && cwd.is_none() { 2 } else { 3 };
    let end = match is_relative {
        true => format!("/{relative}"),
        false => format!(
            "/{}",
            names.iter().rev().copied().collect::<Vec<_>>().join("/")
        ),
    };
    (is_enough && done.ends_with(&end)).then_some((Confidence::Likely, END))
}

/// Without what leads nowhere: as it is written, links are not known.
fn clean(path: &str) -> String {
    let mut names: Vec<&str> = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => {
                names.pop();
            }
            name => names.push(name),
        }
    }
    let root = if path.starts_with('/') { "/" } else { "" };
    format!("{root}{}", names.join("/"))
}
