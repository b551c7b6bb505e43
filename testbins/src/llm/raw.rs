//! A server that says what no decent server says: bytes from a file, as they are.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

/// Nobody asks for more here.
const REQUEST_MAX: usize = 1 << 20;

/// Reads a request with its body, as far as `content-length` goes, answers it, and ends the connection.
pub async fn answer(socket: TcpStream, acceptor: TlsAcceptor, answer: Vec<u8>) {
    let Ok(mut tls) = acceptor.accept(socket).await else {
        return;
    };
    let mut request = Vec::new();
    while !is_whole(&request) && request.len() < REQUEST_MAX {
        match tls.read_buf(&mut request).await {
            Ok(1..) => {}
            _ => return,
        }
    }
    // A client that has gone away is no error of ours.
    let _ = tls.write_all(&answer).await;
    let _ = tls.shutdown().await;
}

fn is_whole(request: &[u8]) -> bool {
    let Some(end) = request.windows(4).position(|four| four == b"\r\n\r\n") else {
        return false;
    };
    let (head, body) = request.split_at(end + 4);
    let head = String::from_utf8_lossy(head);
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    let length = fields.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let length = length.and_then(|(_, value)| value.trim().parse().ok());
    body.len() >= length.unwrap_or(0)
}
