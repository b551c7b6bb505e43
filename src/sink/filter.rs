//! Only what the user asks for: an expression in CEL (the Common Expression Language, <https://cel.dev>) over the fields of
//! each JSON line, whatever the output's form is.
//!
//! A field that a line does not have makes it unfit, and so does a comparison that makes no sense: that is counted, and is
//! no error.

use std::io;

use cel::{Context, Program, Value};

use super::said::kind;
use super::{Clock, JsonLines, Sink};
use crate::deeds::deed::Deed;
use crate::dialog::Said;
use crate::error::{Error, ErrorKind, Result};
use crate::graph::Edge;
use crate::rules::Finding;
use crate::stream::Message;

/// All fields of a line under one name, for `has(line.error)`.
const WHOLE: &str = "line";

/// A compiled expression.
pub struct Filter {
    program: Program,
    /// Fields that it names.
    names: Vec<String>,
}

impl Filter {
    /// Compiles an expression.
    ///
    /// # Errors
    /// It is none; the error tells where.
    pub fn new(expression: &str) -> Result<Self> {
        let program = Program::compile(expression).map_err(|errors| {
            let errors: Vec<_> = errors.errors.iter().map(ToString::to_string).collect();
            Error::new(
                ErrorKind::Usage,
                format!("--filter {expression}: {}", errors.join("; ")),
            )
        })?;
        let references = program.references();
        let names = references.variables().into_iter().map(str::to_owned);
        let names = names.collect();
        Ok(Self { program, names })
    }

    /// Whether a line fits; `None`: that makes no sense for it.
    fn fits(&self, line: &serde_json::Value) -> Option<bool> {
        let mut context = Context::default();
        for name in &self.names {
            let value = match name.as_str() {
                WHOLE => Some(line),
                name => line.get(name),
            };
            // Without it, the expression fails if it comes to it.
            if let Some(value) = value {
                context.add_variable(name.as_str(), value).ok()?;
            }
        }
        match self.program.execute(&context) {
            Ok(Value::Bool(fits)) => Some(fits),
            Ok(_) => None,
            Err(error) if is_absence(&error) => Some(false),
            Err(_) => None,
        }
    }
}

/// The line lacks what the expression asks for.
fn is_absence(error: &cel::ExecutionError) -> bool {
    matches!(
        error,
        cel::ExecutionError::NoSuchKey(_) | cel::ExecutionError::UndeclaredReference(_)
    )
}

/// Passes on what fits.
pub struct Filtered {
    filter: Filter,
    lines: JsonLines<io::Sink>,
    sink: Box<dyn Sink + Send>,
    senseless: u64,
}

impl Filtered {
    /// What fits goes to `sink`.
    pub fn new(filter: Filter, clock: Clock, sink: Box<dyn Sink + Send>) -> Self {
        Self {
            filter,
            lines: JsonLines::to_look_at(clock),
            sink,
            senseless: 0,
        }
    }

    /// Whether the line that was just written fits.
    fn fits(&mut self) -> bool {
        let fits = self.lines.take_written(|line| {
            let line = serde_json::from_slice(line).ok()?;
            self.filter.fits(&line)
        });
        self.senseless += u64::from(fits.is_none());
        fits == Some(true)
    }
}

impl Sink for Filtered {
    fn message(&mut self, message: &Message<'_>) -> io::Result<()> {
        self.lines.message(message)?;
        match self.fits() {
            true => self.sink.message(message),
            false => Ok(()),
        }
    }

    fn said(&mut self, said: &Said) -> io::Result<()> {
        if kind(&said.what).is_none() {
            // It has no line: its call will have one.
            return Ok(());
        }
        self.lines.said(said)?;
        match self.fits() {
            true => self.sink.said(said),
            false => Ok(()),
        }
    }

    fn deed(&mut self, deed: &Deed) -> io::Result<()> {
        self.lines.deed(deed)?;
        match self.fits() {
            true => self.sink.deed(deed),
            false => Ok(()),
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.sink.finish()
    }

    fn tells_edges(&self) -> bool {
        self.sink.tells_edges()
    }

    fn edge(&mut self, edge: &Edge) -> io::Result<()> {
        self.lines.edge(edge)?;
        match self.fits() {
            true => self.sink.edge(edge),
            false => Ok(()),
        }
    }

    fn finding(&mut self, finding: &Finding) -> io::Result<()> {
        self.lines.finding(finding)?;
        match self.fits() {
            true => self.sink.finding(finding),
            false => Ok(()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }

    fn senseless(&self) -> u64 {
        self.senseless
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fits(expression: &str, line: serde_json::Value) -> Option<bool> {
        Filter::new(expression).unwrap().fits(&line)
    }

    /// A filter would let pass what it should not, or nothing at all.
    #[test]
    fn lines_that_fit() {
        let line =
            json!({"type": "llm.call", "status": 429, "request": {"model": "gpt-5"}, "pid": 7});
        for expression in [
            "type == 'llm.call'",
            "status >= 400 && status < 500",
            "request.model.startsWith('gpt')",
            "has(line.status) && !has(line.error)",
            "pid in [7, 8]",
        ] {
            assert_eq!(fits(expression, line.clone()), Some(true), "{expression}");
        }
        for expression in [
            "type == 'tls.data'",
            "error == 'x'",
            "request.tools.size() > 0",
        ] {
            assert_eq!(fits(expression, line.clone()), Some(false), "{expression}");
        }
        assert_eq!(fits("pid", line.clone()), None);
        assert_eq!(fits("pid + 'x' == 'y'", line), None);
    }

    /// A slip of the pen would not be found.
    #[test]
    fn broken_expressions_tell_where() {
        let error = Filter::new("status >= ").err().unwrap();
        assert!(format!("{error:#}").contains("1:"), "{error:#}");
    }
}
