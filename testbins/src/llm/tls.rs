//! Connections: TLS by rustls, then HTTP/1.1 or HTTP/2 as both ends agree (ALPN).

use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Builder;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::raw;
use crate::rust;

/// Where a server is.
#[derive(Debug)]
pub struct Place<'p> {
    /// Of `cert.pem` and `key.pem`, which are made unless they are there.
    pub folder: &'p Path,
    /// 0 picks one.
    pub port: u16,
    /// HTTP/2 for who offers it, else HTTP/1.1 only.
    pub http2: bool,
    /// Threads that serve.
    pub threads: usize,
}

/// How requests are answered.
#[derive(Debug)]
pub enum Way {
    /// The first of each connection with these bytes, whatever they are.
    Raw(Vec<u8>),
    /// As servers do.
    Router(Router),
}

/// A running server; it ends when dropped.
#[derive(Debug)]
pub struct Server {
    /// On 127.0.0.1.
    pub port: u16,
    /// Its certificate.
    pub ca: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Answers on threads of its own.
    pub fn start(place: &Place<'_>, way: Way) -> io::Result<Self> {
        let ca = place.folder.join("cert.pem");
        if !ca.exists() {
            rust::certificate(place.folder).map_err(io::Error::other)?;
        }
        let acceptor = acceptor(place.folder, place.http2)?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(place.threads)
            .enable_all()
            .build()?;
        let listener = runtime.block_on(listen(place.port))?;
        let port = listener.local_addr()?.port();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = serve(listener, acceptor, way) => {}
                    _ = stopped => {}
                }
            });
            runtime.shutdown_background();
        });
        Ok(Self {
            port,
            ca,
            stop: Some(stop),
            thread: Some(thread),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Either is gone already if the thread has failed.
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Reads `cert.pem` and `key.pem`.
fn acceptor(folder: &Path, http2: bool) -> io::Result<TlsAcceptor> {
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
async fn listen(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await
}

/// Serves until it is dropped.
async fn serve(listener: TcpListener, acceptor: TlsAcceptor, way: Way) {
    loop {
        match listener.accept().await {
            Ok((socket, _)) => match &way {
                Way::Raw(answer) => drop(tokio::spawn(raw::answer(
                    socket,
                    acceptor.clone(),
                    answer.clone(),
                ))),
                Way::Router(router) => drop(tokio::spawn(connection(
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
