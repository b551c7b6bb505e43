//! Writes down what passes: through a stream of tokio, and through a TCP proxy.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::thread;

use agentsight::proto::Party;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};

use crate::seen::Capture;

pub type Log = Arc<Mutex<Capture>>;

/// The client's end of a connection.
pub struct Recorded {
    pub inner: DuplexStream,
    pub log: Log,
}

impl AsyncRead for Recorded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        let read = buf.filled()[before..].to_vec();
        if !read.is_empty() {
            self.log.lock().unwrap().push((Party::Peer, read));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Recorded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, bytes))?;
        self.log
            .lock()
            .unwrap()
            .push((Party::Local, bytes[..written].to_vec()));
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// A proxy for one connection: its port, and a thread that gives what has passed.
pub fn proxy(server: u16) -> (u16, thread::JoinHandle<Capture>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let passing = thread::spawn(move || {
        let (client, _) = listener.accept().unwrap();
        let server = TcpStream::connect(("127.0.0.1", server)).unwrap();
        let log = Log::default();
        let up = pass(&client, &server, Party::Local, &log);
        let down = pass(&server, &client, Party::Peer, &log);
        up.join().unwrap();
        down.join().unwrap();
        let mut log = log.lock().unwrap();
        std::mem::take(&mut *log)
    });
    (port, passing)
}

fn pass(from: &TcpStream, to: &TcpStream, party: Party, log: &Log) -> thread::JoinHandle<()> {
    let (mut from, mut to, log) = (
        from.try_clone().unwrap(),
        to.try_clone().unwrap(),
        Arc::clone(log),
    );
    thread::spawn(move || {
        let mut buffer = vec![0; 20_000];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            log.lock().unwrap().push((party, buffer[..read].to_vec()));
            if to.write_all(&buffer[..read]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Write);
    })
}
