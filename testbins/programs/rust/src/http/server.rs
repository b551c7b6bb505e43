//! A hyper server, HTTP/1.1 or HTTP/2 as the client wants. Connections are numbered as they come.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::answer_to;
use crate::log::Logged;
use crate::options::Options;
use crate::run::{Failure, say};
use crate::tls;
use crate::tokio_pair::{join, runtime};

pub fn run(options: Options) -> Result<(), Failure> {
    runtime(&options)?.block_on(serve(Arc::new(options)))
}

async fn serve(options: Arc<Options>) -> Result<(), Failure> {
    let listener = TcpListener::bind((options.host.as_str(), options.port)).await?;
    let mut config = tls::server_config(&options)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    say(&format!("listening {}", listener.local_addr()?.port()))?;
    let mut tasks = Vec::new();
    for number in 0..options.accept {
        let (socket, _) = listener.accept().await?;
        tasks.push(tokio::spawn(attend(
            options.clone(),
            acceptor.clone(),
            socket,
            number,
        )));
    }
    join(tasks).await
}

async fn attend(
    options: Arc<Options>,
    acceptor: TlsAcceptor,
    socket: TcpStream,
    number: usize,
) -> Result<(), Failure> {
    socket.set_nodelay(true)?;
    let stream = Logged::new(acceptor.accept(socket).await?);
    let log = stream.log.clone();
    let builder = Builder::new(TokioExecutor::new());
    let served = builder
        .serve_connection(TokioIo::new(stream), service_fn(answer))
        .await;
    log.save(options.log.as_deref(), "server", number)?;
    // A client may go without a goodbye: what it was told is in the log.
    drop(served);
    Ok(())
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let body = request
        .into_body()
        .collect()
        .await
        .map(|body| body.to_bytes());
    let answer = body.ok().and_then(|body| answer_to(&path, &body));
    let status = match answer {
        Some(_) => StatusCode::OK,
        None => StatusCode::NOT_FOUND,
    };
    let mut response = Response::new(Full::from(answer.unwrap_or_default()));
    *response.status_mut() = status;
    Ok(response)
}
