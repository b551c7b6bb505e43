//! Connections: TLS by rustls, then HTTP/1.1 or HTTP/2 as both ends agree (ALPN).

use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::raw;
use super::serve::{self, Shared};

/// Reads `cert.pem` and `key.pem`.
pub fn acceptor(folder: &Path, http2: bool) -> io::Result<TlsAcceptor> {
    let cert = CertificateDer::from_pem_file(folder.join("cert.pem")).map_err(io::Error::other)?;
    let key = PrivateKeyDer::from_pem_file(folder.join("key.pem")).map_err(io::Error::other)?;
    let provider = Arc::new(ring::default_provider());
    let config =
        ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(io::Error::other)?.with_no_client_auth();
    let mut config = config
        .with_single_cert(vec![cert], key)
        .map_err(io::Error::other)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    if http2 {
        config.alpn_protocols.insert(0, b"h2".to_vec());
    }
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// On 127.0.0.1.
pub async fn listen(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await
}

/// Serves until it is dropped.
pub async fn serve(listener: TcpListener, acceptor: TlsAcceptor, shared: Arc<Shared>) {
    let answer = shared.raw.clone();
    let router = Router::new().fallback(serve::any).with_state(shared);
    loop {
        match listener.accept().await {
            Ok((socket, _)) => match &answer {
                Some(answer) => drop(tokio::spawn(raw::answer(
                    socket,
                    acceptor.clone(),
                    answer.clone(),
                ))),
                None => drop(tokio::spawn(connection(
                    socket,
                    acceptor.clone(),
                    router.clone(),
                ))),
            },
            // Too many open files, perhaps: some will be closed.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn connection(socket: TcpStream, acceptor: TlsAcceptor, router: Router) {
    // Small pieces go out at once.
    let _ = socket.set_nodelay(true);
    let Ok(tls) = acceptor.accept(socket).await else {
        return;
    };
    let service = TowerToHyperService::new(router);
    let builder = auto::Builder::new(TokioExecutor::new());
    // A client that goes away in mid-stream is no error of ours.
    let _ = builder
        .serve_connection_with_upgrades(TokioIo::new(tls), service)
        .await;
}
