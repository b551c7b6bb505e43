//! rustls below tokio: the same talk as in `pair`, where each message is said by a task of its own, so
//! that connections wander between the threads of the runtime.

use std::future::Future;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::log::Logged;
use crate::message::{Plan, check};
use crate::options::{Options, Role};
use crate::run::{Failure, say, stand_still};
use crate::tls;

pub fn run(options: Options) -> Result<(), Failure> {
    runtime(&options)?.block_on(run_ends(Arc::new(options)))
}

pub fn runtime(options: &Options) -> Result<Runtime, Failure> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    Ok(builder
        .worker_threads(options.threads)
        .enable_all()
        .build()?)
}

async fn run_ends(options: Arc<Options>) -> Result<(), Failure> {
    if options.role == Role::Client {
        let port = options.port;
        return clients(options, port).await;
    }
    let listener = TcpListener::bind((options.host.as_str(), options.port)).await?;
    let port = listener.local_addr()?.port();
    if options.role == Role::Server {
        say(&format!("listening {port}"))?;
        return serve(options, listener).await;
    }
    let server = tokio::spawn(serve(options.clone(), listener));
    clients(options, port).await?;
    server.await?
}

async fn serve(options: Arc<Options>, listener: TcpListener) -> Result<(), Failure> {
    let acceptor = TlsAcceptor::from(Arc::new(tls::server_config(&options)?));
    let mut tasks = Vec::new();
    for _ in 0..options.accept {
        let (socket, _) = listener.accept().await?;
        tasks.push(tokio::spawn(answer(
            options.clone(),
            acceptor.clone(),
            socket,
        )));
    }
    join(tasks).await
}

async fn answer(
    options: Arc<Options>,
    acceptor: TlsAcceptor,
    socket: TcpStream,
) -> Result<(), Failure> {
    socket.set_nodelay(true)?;
    let mut stream = Logged::new(acceptor.accept(socket).await?);
    let plan: Plan = read_line(&mut stream).await?.parse()?;
    let plan = Arc::new(plan);
    for message in 0..plan.messages {
        let plan = plan.clone();
        stream = elsewhere(async move {
            expect(&mut stream, &plan.request(message)).await?;
            say_all(&mut stream, &plan.answer(message)).await?;
            Ok(stream)
        })
        .await?;
    }
    close(stream, &options, "server", plan.connection).await
}

/// Lets a new task do it: any thread may take that.
async fn elsewhere<S: Send + 'static>(
    part: impl Future<Output = Result<S, Failure>> + Send + 'static,
) -> Result<S, Failure> {
    tokio::spawn(part).await?
}

async fn read_line(stream: &mut (impl AsyncRead + Unpin)) -> Result<String, Failure> {
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        line.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8(line)?)
}

async fn expect(stream: &mut (impl AsyncRead + Unpin), expected: &[u8]) -> Result<(), Failure> {
    let mut got = vec![0; expected.len()];
    stream.read_exact(&mut got).await?;
    check(&got, expected)
}

async fn say_all(stream: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> Result<(), Failure> {
    stream.write_all(bytes).await?;
    Ok(stream.flush().await?)
}

async fn clients(options: Arc<Options>, port: u16) -> Result<(), Failure> {
    let connector = TlsConnector::from(Arc::new(tls::client_config(&options)?));
    let mut tasks = Vec::new();
    for number in 0..options.connections {
        let socket = TcpStream::connect((options.host.as_str(), port)).await?;
        socket.set_nodelay(true)?;
        let stream = connector
            .connect(tls::server_name(&options)?, socket)
            .await?;
        if options.wait_late && number == 0 {
            stand_still()?;
        }
        tasks.push(tokio::spawn(talk(
            options.clone(),
            Logged::new(stream),
            number,
        )));
    }
    join(tasks).await
}

async fn talk<S>(options: Arc<Options>, mut stream: Logged<S>, number: usize) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let plan = Arc::new(Plan::new(&options, number));
    say_all(&mut stream, plan.line().as_bytes()).await?;
    for message in 0..plan.messages {
        let plan = plan.clone();
        stream = elsewhere(async move {
            say_all(&mut stream, &plan.request(message)).await?;
            expect(&mut stream, &plan.answer(message)).await?;
            Ok(stream)
        })
        .await?;
    }
    close(stream, &options, "client", number).await
}

/// Says goodbye, waits for the other's goodbye, and writes the log.
async fn close<S>(
    mut stream: Logged<S>,
    options: &Options,
    role: &str,
    number: usize,
) -> Result<(), Failure>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.shutdown().await?;
    let more = stream.read(&mut [0]).await?;
    stream.log.save(options.log.as_deref(), role, number)?;
    match more {
        0 => Ok(()),
        _ => Err("more than was expected".into()),
    }
}

/// Waits for all; the first failure is the failure of all.
pub async fn join(tasks: Vec<JoinHandle<Result<(), Failure>>>) -> Result<(), Failure> {
    for task in tasks {
        task.await??;
    }
    Ok(())
}
