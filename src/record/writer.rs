//! Writes a recording. Records are masked where they lie and written from there; what they say is followed
//! for the summary only.

use std::borrow::Cow;
use std::io::{self, IoSlice, Write};

use super::coding::{self, Packer};
use super::header::Header;
use crate::error::{Context, Result};
use crate::event::block::Block;
use crate::event::frame::Frame;
use crate::event::wire;
use crate::output::{Flow, Output, Summary};
use crate::redact::Redactor;

/// Writes all frames of a run to a file.
pub struct Recorder {
    file: Box<dyn Write + Send>,
    redactor: Option<Redactor>,
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
    /// The header cannot be written.
    pub fn with_redactor(
        file: Box<dyn Write + Send>,
        header: &Header,
        redactor: Option<Redactor>,
    ) -> Result<Self> {
        let mut recorder = Self {
            file,
            redactor,
            output: Output::default(),
            packer: Packer::default(),
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
        if let Some(redactor) = &mut self.redactor {
            match frame {
                Frame::End(end) => end.masked = redactor.masked(),
                Frame::Exited { open, .. } => {
                    open.iter().for_each(|state| redactor.forget(state.id.0));
                }
                Frame::Process(info) => redactor.process(info),
                Frame::Records(block) => mask(redactor, block),
                _ => {}
            }
        }
        let (kind, content) = coding::encode(frame, &mut self.packer, &mut self.scratch);
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

fn mask(redactor: &mut Redactor, block: &mut Block) {
    block.change(|record| {
        if let Some((conn, direction, offset, bytes)) = wire::plaintext(record) {
            let mut masked = Cow::Borrowed(&*bytes);
            redactor.mask((conn.0, direction), offset, &mut masked);
            if let Cow::Owned(masked) = masked {
                bytes.copy_from_slice(&masked);
            }
        } else if let Some(conn) = wire::closed(record) {
            redactor.forget(conn.0);
        }
    });
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
