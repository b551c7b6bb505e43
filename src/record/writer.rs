//! Writes a recording. Records are masked where they lie and written from there; what they say is followed
//! for the summary only.

use std::io::{self, IoSlice, Write};

use super::coding;
use super::header::Header;
use super::mask::Mask;
use super::pack::Packer;
use crate::error::{Context, Result};
use crate::event::frame::Frame;
use crate::output::{Flow, Output, Summary};
use crate::redact::Redactor;

/// Writes all frames of a run to a file.
pub struct Recorder {
    file: Box<dyn Write + Send>,
    mask: Option<Mask>,
    /// Counts what is written.
    output: Output,
    packer: Packer,
    scratch: Vec<u8>,
}

impl Recorder {
    /// Writes to `file`, which needs no buffer. With `header.is_masked`, secrets are masked by our rules.
    ///
    /// # Errors
    /// The header cannot be written.
    pub fn new(file: Box<dyn Write + Send>, header: &Header) -> Result<Self> {
        let redactor = header.is_masked.then(|| Redactor::new(header.tag_key));
        Self::with_redactor(file, header, redactor.transpose()?)
    }

    /// Writes to `file`; masks with `redactor`, which is there if `header.is_masked`.
    ///
    /// # Errors
    /// The header cannot be written, or there is no memory.
    pub fn with_redactor(
        file: Box<dyn Write + Send>,
        header: &Header,
        redactor: Option<Redactor>,
    ) -> Result<Self> {
        let mut recorder = Self {
            file,
            mask: redactor.map(Mask::new),
            output: Output::default(),
            packer: Packer::new()?,
            scratch: Vec::new(),
        };
        let written = recorder.file.write_all(&header.encode());
        written.context(failed)?;
        Ok(recorder)
    }

    /// Writes the next frame.
    ///
    /// # Errors
    /// The output fails.
    pub fn take(&mut self, frame: &mut Frame) -> Result<Flow> {
        if let Some(mask) = &mut self.mask {
            match frame {
                Frame::End(end) => mask.tell(end),
                Frame::Exited { open, .. } => {
                    open.iter().for_each(|state| mask.forget(state.id));
                }
                Frame::Process(info) => mask.process(info),
                Frame::Records(block) => mask.records(block),
                _ => {}
            }
        }
        let (kind, content) = coding::encode(frame, &mut self.packer, &mut self.scratch)?;
        let prefix = coding::prefix(kind, content);
        write_both(&mut self.file, &prefix, content).context(failed)?;
        self.output.take(frame)
    }

    /// The counts.
    pub fn summary(&self) -> Summary {
        self.output.summary()
    }
}

fn failed() -> &'static str {
    "failed to write the recording"
}

/// With one system call, mostly.
fn write_both(out: &mut impl Write, first: &[u8], second: &[u8]) -> io::Result<()> {
    let written = loop {
        match out.write_vectored(&[IoSlice::new(first), IoSlice::new(second)]) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => break result?,
        }
    };
    let rest = written.saturating_sub(first.len());
    out.write_all(first.get(written..).unwrap_or_default())?;
    out.write_all(second.get(rest..).unwrap_or_default())
}
