//! What is told about a process: plain data in the shape of `processes.schema.json`.

use serde::{Serialize, Serializer};

use crate::discover::{Confidence, Method};
use crate::select;

/// One process.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Process {
    /// `p<pid>.<start>`: this very process, and no later one with its pid.
    pub process: String,
    /// As we see it.
    pub pid: i32,
    /// As each pid namespace sees it, from ours inwards.
    pub ns_pids: Vec<i32>,
    /// Its name.
    pub comm: String,
    /// Its program, as it sees it; `None`: we may not look.
    pub exe: Option<String>,
    /// The program's file has lost that name.
    pub exe_deleted: bool,
    /// Effective user id.
    pub uid: Option<u32>,
    /// The user's name here, if there is one.
    pub user: Option<String>,
    /// Its cgroup (v2).
    pub cgroup: Option<String>,
    /// Where it runs.
    #[serde(serialize_with = "container")]
    pub container: Option<select::Container>,
    /// What attach would see of it now.
    pub visibility: Visibility,
    /// In words, where that is not `attachable`.
    pub reason: Option<String>,
    /// TLS libraries that it has loaded, or that are part of its program.
    pub libraries: Vec<Library>,
    /// Libraries that are there, or seem to be, and cannot be used.
    pub refused: Vec<Refused>,
    /// What could not be read, and why.
    pub unreadable: Vec<String>,
}

/// What attach would see of a process now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Visibility {
    /// Its TLS plaintext.
    Attachable,
    /// Nothing: there is TLS, and it cannot be probed.
    Refused,
    /// It is not known: we may not look.
    Unreadable,
    /// Nothing yet: it has no TLS library, and may load one, which attach waits for.
    Waiting,
    /// Nothing: it has no TLS library, and cannot load one.
    None,
}

/// One copy of one library in a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Library {
    /// As `discover` calls it.
    pub library: String,
    /// As far as the file tells.
    pub version: Option<String>,
    /// Who encrypts for it, if that is another library.
    pub provider: Option<String>,
    /// Where it is, as the process sees it.
    pub file: String,
    /// The file has lost that name.
    pub deleted: bool,
    /// How sure.
    pub confidence: Confidence,
    /// How its functions were found, strongest first.
    pub methods: Vec<Method>,
    /// Whether attach would see its plaintext.
    pub attachable: bool,
    /// Why not.
    pub reason: Option<String>,
}

impl Library {
    /// Name, version and provider, as far as they are known.
    pub fn title(&self) -> String {
        let version = self.version.iter().map(|version| format!(" {version}"));
        let provider = self.provider.iter().map(|name| format!(" with {name}"));
        let details: String = version.chain(provider).collect();
        format!("{}{details}", self.library)
    }
}

/// A library that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    /// Which.
    pub library: String,
    /// Where it is, as the process sees it.
    pub file: String,
    /// Why.
    pub reason: String,
}

fn container<S: Serializer>(
    container: &Option<select::Container>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    struct Container<'c> {
        engine: &'c Option<String>,
        id: &'c str,
        name: &'c Option<String>,
        image: &'c Option<String>,
        pod: &'c Option<String>,
        namespace: &'c Option<String>,
    }
    let container = container.as_ref().map(|container| Container {
        engine: &container.engine,
        id: &container.id,
        name: &container.name,
        image: &container.image,
        pod: &container.pod,
        namespace: &container.namespace,
    });
    container.serialize(serializer)
}
