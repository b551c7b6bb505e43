//! The one error type: a kind for code that decides, a chain of contexts for people.
//!
//! Print with `{error}` for the outermost message and with `{error:#}` for the whole chain.

use std::fmt;
use std::io;

/// What sort of failure it is; decides exit codes and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The command to observe does not exist.
    CommandMissing,
    /// The command to observe cannot be run.
    CommandUnusable,
    /// The bytes are not what they claim to be: damaged, truncated or hostile input.
    InvalidData,
    /// Input or output failed.
    Io,
    /// What was asked for is not there, or holds nothing to work on.
    NotFound,
    /// A privilege is missing.
    PermissionDenied,
    /// This kernel cannot do it.
    UnsupportedKernel,
    /// The request itself makes no sense.
    Usage,
}

/// An error with the contexts it passed through, innermost last.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A new error without a cause. `message` is lower case and names the object.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    /// Broken input.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidData, message)
    }

    /// What sort of failure this is.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The same error of another kind.
    pub fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.kind = kind;
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if f.alternate() {
            let mut cause = std::error::Error::source(self);
            while let Some(error) = cause {
                write!(f, ": {error}")?;
                cause = error.source();
            }
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// Gives a failure its place in the story: what was being done, and to what.
pub trait Context<T> {
    /// Wraps an error with `message`, made only when there is one.
    fn context<M: Into<String>>(self, message: impl FnOnce() -> M) -> Result<T>;
}

impl<T> Context<T> for Result<T> {
    fn context<M: Into<String>>(self, message: impl FnOnce() -> M) -> Result<T> {
        self.map_err(|error| Error {
            kind: error.kind,
            message: message().into(),
            source: Some(Box::new(error)),
        })
    }
}

impl<T> Context<T> for io::Result<T> {
    fn context<M: Into<String>>(self, message: impl FnOnce() -> M) -> Result<T> {
        self.map_err(|error| Error {
            kind: match error.kind() {
                io::ErrorKind::NotFound => ErrorKind::NotFound,
                io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
                _ => ErrorKind::Io,
            },
            message: message().into(),
            source: Some(Box::new(error)),
        })
    }
}

/// Where tests want a thread to panic: the place that `AGENTSIGHT_PANIC` names. Not in release builds.
pub fn panic_if_wanted(place: &str) {
    if cfg!(debug_assertions) && std::env::var_os("AGENTSIGHT_PANIC").is_some_and(|at| at == place)
    {
        panic!("wanted in {place}");
    }
}

/// `None` as broken input, for parsers.
pub trait OrInvalid<T> {
    /// The value, or an [`ErrorKind::InvalidData`] error.
    fn or_invalid<M: Into<String>>(self, message: impl FnOnce() -> M) -> Result<T>;
}

impl<T> OrInvalid<T> for Option<T> {
    fn or_invalid<M: Into<String>>(self, message: impl FnOnce() -> M) -> Result<T> {
        self.ok_or_else(|| Error::invalid(message()))
    }
}

impl<T> OrInvalid<T> for Result<T, object::read::Error> {
    fn or_invalid<M: Into<String>>(self, message: impl FnOnce() -> M) -> Result<T> {
        self.map_err(|error| Error {
            kind: ErrorKind::InvalidData,
            message: message().into(),
            source: Some(Box::new(error)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// People see the whole chain once, code sees the kind of the innermost error.
    #[test]
    fn chain_prints_once_and_keeps_its_kind() {
        let inner: io::Result<()> = Err(io::Error::from(io::ErrorKind::NotFound));
        let error = inner
            .context(|| "failed to open x")
            .context(|| "failed to attach")
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(
            format!("{error:#}"),
            "failed to attach: failed to open x: entity not found"
        );
        assert_eq!(error.to_string(), "failed to attach");
    }
}
