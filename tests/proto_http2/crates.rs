//! The `h2` crate as client and server, many streams at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use agentsight::proto::{Outcome, Party};
use bytes::Bytes;
use h2::{RecvStream, SendStream, client, server};
use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::task::JoinSet;

use crate::seen::{Capture, Seen, decode, pieces};
use crate::wire::{Log, Recorded};

/// What the peers say of one exchange.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    pub path: String,
    pub sent: Vec<u8>,
    pub received: Vec<u8>,
    pub fields: HeaderMap,
    pub answer: HeaderMap,
    pub status: u16,
    pub trailers: Option<HeaderMap>,
}

pub type Truths = BTreeMap<String, Truth>;

/// Numbers that look random.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, end: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        ((self.0 >> 33) as usize) % end
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.below(256) as u8).collect()
    }

    fn fields(&mut self, name: &str) -> HeaderMap {
        let mut fields = HeaderMap::new();
        fields.insert("x-id", HeaderValue::try_from(name).unwrap());
        for number in 0..self.below(6) {
            let name = [
                "user-agent",
                "accept",
                "x-one",
                "x-two",
                "x-three",
                "cookie",
            ][number];
            let value = format!("{}-{}", name, self.below(3)).repeat(1 + self.below(9));
            fields.append(
                http::HeaderName::try_from(name).unwrap(),
                HeaderValue::try_from(value).unwrap(),
            );
        }
        fields
    }
}

/// A connection with so many exchanges, each with its own name.
pub fn connection(count: usize, body_max: usize, seed: u64) -> (Capture, Truths) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (near, far) = tokio::io::duplex(1 << 16);
        let log = Log::default();
        let near = Recorded {
            inner: near,
            log: Arc::clone(&log),
        };
        let truths = Arc::new(Mutex::new(Truths::new()));
        let serving = tokio::spawn(serve(far, body_max, Arc::clone(&truths)));
        let (sender, connection) = client::Builder::new()
            .initial_window_size(1 << 20)
            .initial_connection_window_size(1 << 24)
            .handshake::<_, Bytes>(near)
            .await
            .unwrap();
        let connection = tokio::spawn(connection);
        let mut calls = JoinSet::new();
        for number in 0..count {
            let mut dice = Dice(seed * 1000 + number as u64);
            calls.spawn(call(sender.clone(), number, dice.below(body_max + 1), dice));
            // Some at once, some after others, so that the streams mix and the table changes.
            if number % 7 == 0 {
                tokio::task::yield_now().await;
            }
        }
        while let Some(done) = calls.join_next().await {
            let (name, sent) = done.unwrap();
            let mut truths = truths.lock().unwrap();
            let truth = truths.entry(name).or_default();
            (truth.path, truth.fields) = (sent.path, sent.fields);
        }
        drop(sender);
        connection.await.unwrap().unwrap();
        serving.await.unwrap();
        let capture = std::mem::take(&mut *log.lock().unwrap());
        let truths = std::mem::take(&mut *truths.lock().unwrap());
        (capture, truths)
    })
}

async fn call(
    sender: client::SendRequest<Bytes>,
    number: usize,
    size: usize,
    mut dice: Dice,
) -> (String, Truth) {
    let name = format!("id-{number}");
    let fields = dice.fields(&name);
    let path = format!("/v{}/things?of={number}", dice.below(3));
    let mut request = Request::post(format!("https://example.com{path}"))
        .body(())
        .unwrap();
    *request.headers_mut() = fields.clone();
    let mut sender = sender.ready().await.unwrap();
    let empty = size.is_multiple_of(5);
    let (response, mut stream) = sender.send_request(request, empty).unwrap();
    if !empty {
        send(&mut stream, dice.bytes(size), None).await;
    }
    receive(response.await.unwrap().into_body()).await;
    let truth = Truth {
        path,
        fields,
        ..Truth::default()
    };
    (name, truth)
}

async fn serve(stream: tokio::io::DuplexStream, body_max: usize, truths: Arc<Mutex<Truths>>) {
    let mut connection = server::Builder::new()
        .initial_window_size(1 << 20)
        .initial_connection_window_size(1 << 24)
        .max_concurrent_streams(5000)
        .handshake::<_, Bytes>(stream)
        .await
        .unwrap();
    let mut calls = JoinSet::new();
    while let Some(accepted) = connection.accept().await {
        let (request, mut respond) = accepted.unwrap();
        let truths = Arc::clone(&truths);
        calls.spawn(async move {
            let name = request.headers()["x-id"].to_str().unwrap().to_owned();
            let number: u64 = name.trim_start_matches("id-").parse().unwrap();
            let mut dice = Dice(number + 77);
            let (sent, _) = receive(request.into_body()).await;
            let mut truth = Truth {
                sent,
                status: [200, 200, 201, 404, 429, 500][dice.below(6)],
                answer: dice.fields(&name),
                ..Truth::default()
            };
            let size = dice.below(body_max + 1);
            truth.received = dice.bytes(size);
            truth.trailers = (dice.below(3) == 0).then(|| dice.fields(&name));
            let mut response = Response::builder().status(truth.status).body(()).unwrap();
            *response.headers_mut() = truth.answer.clone();
            let mut stream = respond.send_response(response, false).unwrap();
            send(&mut stream, truth.received.clone(), truth.trailers.clone()).await;
            truths.lock().unwrap().insert(name, truth);
        });
    }
    while let Some(done) = calls.join_next().await {
        done.unwrap();
    }
}

async fn send(stream: &mut SendStream<Bytes>, body: Vec<u8>, trailers: Option<HeaderMap>) {
    let mut pieces = body.chunks(9000).peekable();
    while let Some(piece) = pieces.next() {
        let last = pieces.peek().is_none() && trailers.is_none();
        stream
            .send_data(Bytes::copy_from_slice(piece), last)
            .unwrap();
        tokio::task::yield_now().await;
    }
    match trailers {
        Some(trailers) => stream.send_trailers(trailers).unwrap(),
        None if body.is_empty() => stream.send_data(Bytes::new(), true).unwrap(),
        None => {}
    }
}

async fn receive(mut body: RecvStream) -> (Vec<u8>, Option<HeaderMap>) {
    let mut all = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece.unwrap();
        body.flow_control().release_capacity(piece.len()).unwrap();
        all.extend(piece);
    }
    (all, body.trailers().await.unwrap())
}

fn fields(map: &HeaderMap) -> Vec<(String, Option<String>)> {
    let one = |(name, value): (&http::HeaderName, &HeaderValue)| {
        (name.to_string(), Some(value.to_str().unwrap().to_owned()))
    };
    map.iter().map(one).collect()
}

fn seen_fields(fields: &agentsight::proto::Fields) -> Vec<(String, Option<String>)> {
    fields
        .0
        .iter()
        .map(|field| (field.name.clone(), field.value.clone()))
        .collect()
}

/// The decoder says of each exchange what the peers say.
pub fn check(seen: &Seen, truths: &Truths) {
    assert_eq!(seen.unrecognised, []);
    assert_eq!(seen.client, Some(Party::Local));
    assert_eq!(seen.exchanges.len(), truths.len());
    let named = seen.by_name();
    for (name, truth) in truths {
        let exchange = named[name];
        let request = exchange.request.as_ref().unwrap();
        assert_eq!(request.target.as_ref(), Some(&truth.path));
        assert_eq!(request.method.as_deref(), Some("POST"));
        assert_eq!(request.authority.as_deref(), Some("example.com"));
        assert_eq!(seen_fields(&request.fields), fields(&truth.fields));
        let [response] = &exchange.responses[..] else {
            panic!("{:?}", exchange.responses)
        };
        assert_eq!(response.status, Some(truth.status));
        assert_eq!(seen_fields(&response.fields), fields(&truth.answer));
        assert!(exchange.sent.body == truth.sent && exchange.received.body == truth.received);
        let trailers = exchange.received.trailers.as_ref().map(seen_fields);
        assert_eq!(trailers, truth.trailers.as_ref().map(fields));
        for half in [&exchange.sent, &exchange.received] {
            assert_eq!((half.end, half.gaps), (Some(Outcome::Complete), 0));
        }
    }
}

/// Of many calls on one connection, some would be mixed up, cut or lost.
#[test]
fn hundreds_of_streams_are_told_apart() {
    let (capture, truths) = connection(400, 60_000, 1);
    assert_eq!(truths.len(), 400);
    check(&decode(pieces(&capture), true, usize::MAX), &truths);
    check(&decode(pieces(&capture), true, 7), &truths);
    check(&decode(pieces(&capture), false, 1000), &truths);
}
