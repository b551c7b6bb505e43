//! rustls on blocking sockets, one thread for each connection.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::DerefMut;
use std::sync::Arc;
use std::thread;

use rustls::{
    ClientConfig, ClientConnection, ConnectionCommon, ServerConnection, SideData, StreamOwned,
};

use crate::log::Logged;
use crate::message::{Plan, check};
use crate::options::{Options, Role};
use crate::run::{Failure, say, stand_still};
use crate::tls;

type Stream<C> = Logged<StreamOwned<C, TcpStream>>;

pub fn run(options: &Options) -> Result<(), Failure> {
    if options.role == Role::Client {
        return clients(options, options.port);
    }
    let listener = TcpListener::bind((options.host.as_str(), options.port))?;
    let port = listener.local_addr()?.port();
    if options.role == Role::Server {
        say(&format!("listening {port}"))?;
        return serve(options, &listener);
    }
    thread::scope(|scope| {
        let server = scope.spawn(|| serve(options, &listener));
        clients(options, port)?;
        server.join().expect("the server has not panicked")
    })
}

fn serve(options: &Options, listener: &TcpListener) -> Result<(), Failure> {
    let config = Arc::new(tls::server_config(options)?);
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for _ in 0..options.accept {
            let (socket, _) = listener.accept()?;
            socket.set_nodelay(true)?;
            let session = ServerConnection::new(config.clone())?;
            threads.push(scope.spawn(|| answer(options, session, socket)));
        }
        join(threads)
    })
}

fn answer(options: &Options, session: ServerConnection, socket: TcpStream) -> Result<(), Failure> {
    let mut stream = Logged::new(StreamOwned::new(session, socket));
    let plan: Plan = read_line(&mut stream)?.parse()?;
    for message in 0..plan.messages {
        expect(&mut stream, &plan.request(message))?;
        stream.write_all(&plan.answer(message))?;
    }
    close(stream, options, "server", plan.connection)
}

fn read_line(stream: &mut impl Read) -> Result<String, Failure> {
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        line.extend(byte);
    }
    Ok(String::from_utf8(line)?)
}

fn expect(stream: &mut impl Read, expected: &[u8]) -> Result<(), Failure> {
    let mut got = vec![0; expected.len()];
    stream.read_exact(&mut got)?;
    check(&got, expected)
}

fn clients(options: &Options, port: u16) -> Result<(), Failure> {
    let config = Arc::new(tls::client_config(options)?);
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for number in 0..options.connections {
            let mut stream = connect(options, &config, port)?;
            if options.wait_late && number == 0 {
                shake_hands(&mut stream)?;
                stand_still()?;
            }
            threads.push(scope.spawn(move || talk(options, stream, number)));
        }
        join(threads)
    })
}

fn connect(
    options: &Options,
    config: &Arc<ClientConfig>,
    port: u16,
) -> Result<Stream<ClientConnection>, Failure> {
    let socket = TcpStream::connect((options.host.as_str(), port))?;
    socket.set_nodelay(true)?;
    let session = ClientConnection::new(config.clone(), tls::server_name(options)?)?;
    Ok(Logged::new(StreamOwned::new(session, socket)))
}

fn shake_hands(stream: &mut Stream<ClientConnection>) -> Result<(), Failure> {
    let StreamOwned { conn, sock } = &mut stream.stream;
    while conn.is_handshaking() {
        conn.complete_io(sock)?;
    }
    Ok(())
}

fn talk(
    options: &Options,
    mut stream: Stream<ClientConnection>,
    number: usize,
) -> Result<(), Failure> {
    let plan = Plan::new(options, number);
    stream.write_all(plan.line().as_bytes())?;
    for message in 0..plan.messages {
        stream.write_all(&plan.request(message))?;
        expect(&mut stream, &plan.answer(message))?;
    }
    close(stream, options, "client", number)
}

/// Says goodbye, waits for the other's goodbye, and writes the log.
fn close<C, D>(
    mut stream: Stream<C>,
    options: &Options,
    role: &str,
    number: usize,
) -> Result<(), Failure>
where
    C: DerefMut<Target = ConnectionCommon<D>>,
    D: SideData,
{
    stream.stream.conn.send_close_notify();
    stream.flush()?;
    let more = stream.read(&mut [0])?;
    stream.log.save(options.log.as_deref(), role, number)?;
    match more {
        0 => Ok(()),
        _ => Err("more than was expected".into()),
    }
}

fn join(threads: Vec<thread::ScopedJoinHandle<'_, Result<(), Failure>>>) -> Result<(), Failure> {
    let ends = threads
        .into_iter()
        .map(|one| one.join().expect("no thread has panicked"));
    ends.collect()
}
