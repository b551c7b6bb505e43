//! What the decoder of HTTP/1 tells of connections between hyper's client and hyper's server is what these say themselves:
//! heads, bodies, trailers and pairs, whichever side is observed and however the bytes are cut.

// A test fails by panicking.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

#[allow(dead_code)]
#[path = "support/random.rs"]
mod random;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use agentsight::proto::fuzz::Sense;
use agentsight::proto::{
    Connection, Decoder, ExchangeId, Fields, Item, Limits, Outcome, Party, Side,
};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{HeaderMap, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use random::Random;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split};
use tokio::task::{LocalSet, spawn_local};

/// What passed, in order. The client is the observed process.
type Passed = Rc<RefCell<Vec<(Party, Vec<u8>)>>>;

type AnyBody = BoxBody<Bytes, Infallible>;

/// One half of an exchange, as a peer or the decoder says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Half {
    /// Method and target, or status.
    start: String,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
    trailers: Vec<(String, String)>,
}

/// What the peers say of their exchanges, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Said {
    requests: Vec<Half>,
    responses: Vec<Half>,
}

fn pairs(map: &HeaderMap) -> Vec<(String, String)> {
    let pairs = map
        .iter()
        .map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    let mut pairs: Vec<_> = pairs.collect();
    pairs.sort();
    pairs
}

fn field_pairs(fields: &Fields) -> Vec<(String, String)> {
    let pairs = fields
        .0
        .iter()
        .map(|field| (field.name.clone(), field.value.clone().unwrap()));
    let mut pairs: Vec<_> = pairs.collect();
    pairs.sort();
    pairs
}

async fn pump(
    from: Party,
    mut read: ReadHalf<DuplexStream>,
    mut write: WriteHalf<DuplexStream>,
    passed: Passed,
) {
    let mut room = vec![0; 64 << 10];
    while let Ok(count @ 1..) = read.read(&mut room).await {
        passed.borrow_mut().push((from, room[..count].to_vec()));
        if write.write_all(&room[..count]).await.is_err() {
            break;
        }
    }
    let _ = write.shutdown().await;
}

/// Two ends of a connection on which all that passes is kept.
fn tapped() -> (DuplexStream, DuplexStream, Passed) {
    let passed = Passed::default();
    let (client, near) = duplex(16 << 10);
    let (far, server) = duplex(16 << 10);
    let (near_read, near_write) = split(near);
    let (far_read, far_write) = split(far);
    spawn_local(pump(Party::Local, near_read, far_write, passed.clone()));
    spawn_local(pump(Party::Peer, far_read, near_write, passed.clone()));
    (client, server, passed)
}

fn trailers() -> HeaderMap {
    let value = HeaderValue::from_static("0123456789abcdef");
    HeaderMap::from_iter([("x-sum".parse().unwrap(), value)])
}

/// A body of random size: none, known length, chunks, or chunks with trailers.
fn body(random: &mut Random, kind: usize) -> AnyBody {
    let mut piece = || {
        let len = random.below(300);
        Bytes::from((0..len).map(|_| random.next() as u8).collect::<Vec<_>>())
    };
    if kind < 2 {
        let bytes = if kind == 0 { Bytes::new() } else { piece() };
        return Full::new(bytes).boxed();
    }
    let mut frames: Vec<_> = (0..5).map(|_| Frame::data(piece())).collect();
    if kind == 3 {
        frames.push(Frame::trailers(trailers()));
    }
    let frames = frames.into_iter().map(Ok);
    StreamBody::new(Ready(frames)).boxed()
}

/// A stream of what is there already.
struct Ready<I>(I);

impl<I: Iterator + Unpin> futures_core::Stream for Ready<I> {
    type Item = I::Item;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<I::Item>> {
        Poll::Ready(self.0.next())
    }
}

async fn collect(body: Incoming, half: &mut Half) {
    let collected = body.collect().await.unwrap();
    half.trailers = collected.trailers().map(pairs).unwrap_or_default();
    half.body = collected.to_bytes().to_vec();
}

async fn serve(
    request: Request<Incoming>,
    random: Rc<RefCell<Random>>,
    said: Rc<RefCell<Said>>,
) -> Result<Response<AnyBody>, Infallible> {
    let (head, body_in) = request.into_parts();
    let mut half = Half {
        start: format!("{} {}", head.method, head.uri),
        fields: pairs(&head.headers),
        ..Half::default()
    };
    collect(body_in, &mut half).await;
    said.borrow_mut().requests.push(half);
    let random = &mut random.borrow_mut();
    let mut response = Response::builder();
    let kind = random.below(4);
    if kind == 3 {
        response = response.header("trailer", "x-sum");
    }
    let status = *random.pick(&[200, 200, 200, 404, 429, 204, 304]);
    let body = match status {
        204 | 304 => body(random, 0),
        _ => body(random, kind),
    };
    Ok(response.status(status).body(body).unwrap())
}

fn request(random: &mut Random, number: usize) -> Request<AnyBody> {
    let method = *random.pick(&["GET", "POST", "PUT", "HEAD", "DELETE"]);
    let kind = match method {
        "GET" | "HEAD" => 0,
        _ => random.below(4),
    };
    let mut request = Request::builder()
        .method(method)
        .uri(format!("/call/{number}?q={}", random.below(1000)))
        .header("host", "example.com")
        .header("te", "trailers")
        .header("x-number", number.to_string());
    if kind == 3 {
        request = request.header("trailer", "x-sum");
    }
    if kind == 1 && number.is_multiple_of(2) {
        request = request.header("expect", "100-continue");
    }
    request.body(body(random, kind)).unwrap()
}

/// Lets hyper's client and server talk.
async fn talk(seed: u64, count: usize) -> (Said, Vec<(Party, Vec<u8>)>) {
    let (client, server, passed) = tapped();
    let said = Rc::new(RefCell::new(Said::default()));
    let random = Rc::new(RefCell::new(Random(seed ^ 1)));
    let service = {
        let said = said.clone();
        service_fn(move |request| serve(request, random.clone(), said.clone()))
    };
    let serving =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(server), service);
    let serving = spawn_local(serving);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(client))
        .await
        .unwrap();
    spawn_local(connection);
    let mut random = Random(seed);
    for number in 0..count {
        sender.ready().await.unwrap();
        let response = sender.send_request(request(&mut random, number)).await;
        let (head, body) = response.unwrap().into_parts();
        let mut half = Half {
            start: head.status.as_u16().to_string(),
            fields: pairs(&head.headers),
            ..Half::default()
        };
        collect(body, &mut half).await;
        said.borrow_mut().responses.push(half);
    }
    drop(sender);
    serving.await.unwrap().unwrap();
    let said = said.borrow().clone();
    let passed = passed.borrow().clone();
    (said, passed)
}

/// What the decoder says of a connection.
#[derive(Default)]
struct Told {
    requests: BTreeMap<ExchangeId, Half>,
    responses: BTreeMap<ExchangeId, Half>,
    interim: usize,
    upgraded: Vec<String>,
    unrecognised: u64,
    sense: Sense,
}

impl Told {
    fn half(&mut self, id: ExchangeId, side: Side) -> &mut Half {
        let halves = match side {
            Side::Request => &mut self.requests,
            Side::Response => &mut self.responses,
        };
        halves.entry(id).or_default()
    }

    fn take(&mut self, item: &Item<'_>) {
        self.sense.check(item);
        match item {
            Item::Request { id, head, .. } => {
                let (method, target) = (head.method.as_ref(), head.target.as_ref());
                let half = self.half(*id, Side::Request);
                half.start = format!("{} {}", method.unwrap(), target.unwrap());
                half.fields = field_pairs(&head.fields);
            }
            Item::Response { head, .. } if head.status == Some(100) => self.interim += 1,
            Item::Response { id, head, .. } => {
                let half = self.half(*id, Side::Response);
                half.start = head.status.unwrap().to_string();
                half.fields = field_pairs(&head.fields);
            }
            Item::Body {
                id, side, bytes, ..
            } => self.half(*id, *side).body.extend_from_slice(bytes),
            Item::Trailers {
                id, side, fields, ..
            } => self.half(*id, *side).trailers = field_pairs(fields),
            Item::End { outcome, .. } => assert_eq!(*outcome, Outcome::Complete),
            Item::Upgraded { protocol, .. } => self.upgraded.push(protocol.clone()),
            Item::Unrecognised { bytes, .. } => self.unrecognised += bytes.unwrap(),
            Item::Gap { .. } | Item::WebSocket { .. } => panic!("{item:?}"),
        }
    }

    fn said(&self) -> Said {
        assert!(self.requests.keys().eq(self.responses.keys()));
        Said {
            requests: self.requests.values().cloned().collect(),
            responses: self.responses.values().cloned().collect(),
        }
    }
}

/// Decodes what passed, cut into pieces of at most `max` bytes, as seen by the client or the server.
fn decode(passed: &[(Party, Vec<u8>)], max: usize, is_client: bool) -> Told {
    let mut connection = Connection::new(Limits::default(), true);
    let mut told = Told::default();
    let mut random = Random(max as u64);
    let seen = |party: Party| if is_client { party } else { party.other() };
    for (party, bytes) in passed {
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at((1 + random.below(max)).min(rest.len()));
            connection.data(seen(*party), 0, piece, &mut |item| told.take(&item));
            rest = behind;
        }
    }
    for party in [Party::Local, Party::Peer] {
        connection.end(party, 0, &mut |item| told.take(&item));
    }
    told.sense.finish();
    told
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    LocalSet::new().block_on(&runtime, future)
}

/// A real client's calls are told otherwise than they were.
#[test]
fn hyper_says_the_same() {
    let (mut interim, mut chunked, mut with_trailers) = (0, 0, 0);
    for seed in 1..=12 {
        let (said, passed) = run(talk(seed, 40));
        assert_eq!(said.requests.len(), 40);
        for (max, is_client) in [(1 << 20, true), (1 << 20, false), (1, true), (50, true)] {
            let told = decode(&passed, max, is_client);
            assert_eq!(told.said(), said, "seed {seed}, pieces of {max}");
            assert_eq!(told.unrecognised, 0);
            interim += told.interim;
        }
        let halves = said.requests.iter().chain(&said.responses);
        for half in halves {
            let is_chunked = half.fields.iter().any(|(_, value)| value == "chunked");
            chunked += usize::from(is_chunked);
            with_trailers += usize::from(!half.trailers.is_empty());
        }
    }
    // The test is about these: it must have met them.
    assert!(interim > 0 && chunked > 0 && with_trailers > 0);
}

/// Pipelined requests get each other's responses.
#[test]
fn hyper_answers_a_pipeline() {
    let (said, passed) = run(async {
        let (mut client, server, passed) = tapped();
        let said = Rc::new(RefCell::new(Said::default()));
        let random = Rc::new(RefCell::new(Random(7)));
        let service = {
            let said = said.clone();
            service_fn(move |request| serve(request, random.clone(), said.clone()))
        };
        let serving = hyper::server::conn::http1::Builder::new()
            .pipeline_flush(true)
            .serve_connection(TokioIo::new(server), service);
        spawn_local(serving);
        let mut all = String::new();
        for number in 0..30 {
            let close = if number == 29 {
                "Connection: close\r\n"
            } else {
                ""
            };
            let method = ["GET", "HEAD", "DELETE"][number % 3];
            all += &format!("{method} /{number} HTTP/1.1\r\nHost: x\r\n{close}\r\n");
        }
        client.write_all(all.as_bytes()).await.unwrap();
        let mut answers = Vec::new();
        client.read_to_end(&mut answers).await.unwrap();
        let said = said.borrow().clone();
        let passed = passed.borrow().clone();
        (said, passed)
    });
    for max in [1 << 20, 1, 30] {
        let told = decode(&passed, max, true);
        let heard = told.said();
        assert_eq!(heard.requests, said.requests);
        for (request, response) in heard.requests.iter().zip(&heard.responses) {
            if request.start.starts_with("HEAD") {
                assert!(response.body.is_empty(), "{response:?}");
            }
        }
        assert_eq!(told.unrecognised, 0);
    }
}

async fn switch(mut request: Request<Incoming>) -> Result<Response<AnyBody>, Infallible> {
    let is_connect = request.method() == "CONNECT";
    spawn_local(async move {
        let upgraded = hyper::upgrade::on(&mut request).await.unwrap();
        let mut io = TokioIo::new(upgraded);
        let mut room = [0; 1000];
        // The other protocol: each message comes back, until one is empty.
        while let Ok(count @ 1..) = io.read(&mut room).await {
            io.write_all(&room[..count]).await.unwrap();
        }
    });
    let response = Response::builder();
    let response = match is_connect {
        true => response.status(200),
        false => response
            .status(101)
            .header("connection", "upgrade")
            .header("upgrade", "echo/1"),
    };
    Ok(response.body(Full::default().boxed()).unwrap())
}

/// Bytes of another protocol are taken for HTTP, or the switch goes unnoticed.
#[test]
fn hyper_switches_protocols() {
    for (method, protocol) in [("GET", "echo"), ("CONNECT", "connect")] {
        let passed = run(async {
            let (client, server, passed) = tapped();
            let serving = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(server), service_fn(switch))
                .with_upgrades();
            spawn_local(serving);
            let io = TokioIo::new(client);
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
            spawn_local(connection.with_upgrades());
            let request = Request::builder()
                .method(method)
                .uri("example.com:443")
                .header("host", "example.com")
                .header("connection", "upgrade")
                .header("upgrade", "echo/1")
                .body(Full::<Bytes>::default().boxed())
                .unwrap();
            let response = sender.send_request(request).await.unwrap();
            let mut io = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
            for _ in 0..20 {
                io.write_all(b"\x01\x02 a message").await.unwrap();
                let mut room = [0; 12];
                io.read_exact(&mut room).await.unwrap();
            }
            passed.borrow().clone()
        });
        for max in [1 << 20, 1] {
            let told = decode(&passed, max, true);
            assert_eq!(told.upgraded, [protocol]);
            assert_eq!(told.unrecognised, 2 * 20 * 12, "{protocol}");
            assert_eq!(told.responses.len(), 1);
        }
    }
}
