//! Reads a recording, which may be damaged or made up: nothing is believed that is not checked.

use std::io::{self, Read};

use super::coding::{self, CONTENT_MAX, PREFIX_LEN};
use super::header::{self, Header};
use super::pack::Unpacker;
use crate::error::{Context, Error, Result};
use crate::event::frame::Frame;

/// A recording that is being read.
pub struct Recording<R> {
    file: R,
    header: Header,
    unpacker: Unpacker,
    /// Where the next frame is.
    at: u64,
    has_ended: bool,
}

impl<R: Read> Recording<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// It is no recording, or one that cannot be read here.
    pub fn open(mut file: R) -> Result<Self> {
        let mut bytes = [0; header::LEN];
        file.read_exact(&mut bytes)
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => Error::invalid("it is too short to be a recording"),
                _ => Error::invalid(format!("failed to read it: {error}")),
            })?;
        Ok(Self {
            file,
            header: Header::decode(&bytes)?,
            unpacker: Unpacker::new()?,
            at: header::LEN as u64,
            has_ended: false,
        })
    }

    /// What holds for all of it.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The next frame; `None` after the last one.
    ///
    /// # Errors
    /// From here on it is damaged, or not there.
    pub fn next_frame(&mut self) -> Result<Option<Frame>> {
        if self.has_ended {
            return Ok(None);
        }
        let at = self.at;
        let damaged =
            |why: &str| Error::invalid(format!("the recording is damaged at byte {at}: {why}"));
        let torn = || {
            Error::invalid(format!(
                "the recording ends too early, in the frame at byte {at}"
            ))
        };
        let failed = || format!("failed to read the recording at byte {at}");
        let prefix = self.read_up_to(PREFIX_LEN as u64).context(failed)?;
        let prefix = prefix.as_slice().try_into().map_err(|_| torn())?;
        let (kind, sum, len) = coding::read_prefix(prefix).ok_or_else(torn)?;
        if len > CONTENT_MAX {
            return Err(damaged("no frame is that long"));
        }
        let content = self.read_up_to(len).context(failed)?;
        if content.len() as u64 != len {
            return Err(torn());
        }
        if coding::checksum(kind, &content) != sum {
            return Err(damaged("its checksum is wrong"));
        }
        let frame = coding::decode(kind, content, &mut self.unpacker);
        let frame = frame.ok_or_else(|| damaged("it holds no frame that is known"))?;
        self.at = at + PREFIX_LEN as u64 + len;
        self.has_ended = matches!(frame, Frame::End(_));
        Ok(Some(frame))
    }

    /// Takes memory for what is there only, whatever the length says.
    fn read_up_to(&mut self, len: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.file.by_ref().take(len).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}
