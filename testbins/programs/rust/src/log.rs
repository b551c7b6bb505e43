//! What one end of one connection wrote and read inside TLS. It is kept in memory until the end: a log
//! written meanwhile would put system calls between those of the connection.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Streams>>);

#[derive(Default)]
struct Streams {
    written: Vec<u8>,
    read: Vec<u8>,
}

impl Log {
    fn note_written(&self, bytes: &[u8]) {
        self.0.lock().unwrap().written.extend_from_slice(bytes);
    }

    fn note_read(&self, bytes: &[u8]) {
        self.0.lock().unwrap().read.extend_from_slice(bytes);
    }

    /// Writes `<role>-<number>.write` and `.read`.
    pub fn save(&self, folder: Option<&Path>, role: &str, number: usize) -> io::Result<()> {
        let Some(folder) = folder else {
            return Ok(());
        };
        let streams = self.0.lock().unwrap();
        let base = folder.join(format!("{role}-{number}"));
        fs::write(base.with_extension("write"), &streams.written)?;
        fs::write(base.with_extension("read"), &streams.read)
    }
}

/// A TLS stream, blocking or not, whose plaintext is noted.
pub struct Logged<S> {
    pub stream: S,
    pub log: Log,
}

impl<S> Logged<S> {
    pub fn new(stream: S) -> Self {
        let log = Log::default();
        Self { stream, log }
    }
}

impl<S: Read> Read for Logged<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.stream.read(buffer)?;
        self.log.note_read(&buffer[..length]);
        Ok(length)
    }
}

impl<S: Write> Write for Logged<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.stream.write(bytes)?;
        self.log.note_written(&bytes[..length]);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Logged<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        self.log.note_read(&buffer.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Logged<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let length = ready!(Pin::new(&mut self.stream).poll_write(context, bytes))?;
        self.log.note_written(&bytes[..length]);
        Poll::Ready(Ok(length))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
