//! What a rule found.

use serde::{Serialize, Serializer};

use super::rule::Severity;
use crate::event::{Comm, ProcessId};

/// What a rule found, as it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// When the event was that completed it, on the boot clock in nanoseconds.
    pub ts_ns: u64,
    /// Who did that.
    pub process: ProcessId,
    /// The thread's name.
    pub comm: Comm,
    /// Which rule, and what.
    pub detail: Detail,
}

/// The fields of its line, behind time and process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Detail {
    /// The rule's name for programs.
    pub rule: String,
    /// For people.
    pub title: String,
    /// How bad it is.
    #[serde(serialize_with = "severity")]
    pub severity: Severity,
    /// The events that it is founded on, in order: `e…` of deeds, `k…` of calls.
    pub evidence: Vec<String>,
    /// What was done, in words.
    pub message: String,
}

fn severity<S: Serializer>(severity: &Severity, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(severity.as_str())
}
