//! One question: which one it is, and how its answer goes out.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use fastrand::Rng;
use serde_json::json;

use super::NUMBER;
use super::recording::Exchange;
use crate::llm::body::{self, Sending};
use crate::llm::truth::Log;
use crate::llm::wire::Frame;

/// No question is longer.
const BODY_MAX: usize = 256 << 20;

/// Fields that say how an answer is framed, and not what it is.
const FRAMING: &[&str] = &[
    "alt-svc",
    "connection",
    "content-encoding",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What all connections share.
#[derive(Debug)]
pub struct Shared {
    pub exchanges: Vec<Exchange>,
    pub seed: u64,
    pub log: Log,
}

/// Answers what was recorded.
pub async fn any(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let number = parts.headers.get(NUMBER);
    let number = number.and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    let found = number.and_then(|number| Some((number, shared.exchanges.get(number)?)));
    let Some((number, exchange)) = found else {
        return refused(StatusCode::NOT_FOUND);
    };
    let Ok(body) = axum::body::to_bytes(body, BODY_MAX).await else {
        return refused(StatusCode::BAD_REQUEST);
    };
    let mut rng = Rng::with_seed(shared.seed ^ (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    // Neighbouring seeds start alike.
    rng.u64(..);
    let coding = coding(&parts, exchange, &mut rng);
    let sending = Sending {
        coding,
        is_cut_anywhere: true,
        pause: Duration::ZERO,
        ..Sending::default()
    };
    let frames = frames(&exchange.response, &mut rng);
    let Ok(chunks) = body::chunks(&frames, &sending, &mut rng) else {
        return refused(StatusCode::INTERNAL_SERVER_ERROR);
    };
    shared.log.write(&json!({
        "number": number,
        "id": exchange.id,
        "version": format!("{:?}", parts.version),
        "coding": coding,
        "wire": chunks.iter().map(Vec::len).sum::<usize>(),
        "differs": differences(&parts, &body, exchange),
    }));
    let mut response = Response::builder().status(exchange.status);
    if let Some(headers) = response.headers_mut() {
        for (name, value) in headers_of(exchange, coding, &mut rng) {
            headers.append(name, value);
        }
    }
    let body = match is_streamed(exchange) {
        true => body::streamed(chunks, &sending),
        false => Body::from(chunks.concat()),
    };
    response.body(body).unwrap_or_default()
}

fn refused(status: StatusCode) -> Response {
    let response = Response::builder().status(status);
    response.body(Body::empty()).unwrap_or_default()
}

fn differences(parts: &Parts, body: &[u8], exchange: &Exchange) -> Vec<&'static str> {
    let target = parts.uri.path_and_query().map(|target| target.as_str());
    let host = parts.headers.get(header::HOST);
    let host = host.and_then(|value| value.to_str().ok());
    let host = parts.uri.authority().map(|it| it.as_str()).or(host);
    let mut differ = Vec::new();
    let mut same = |name, is_same: bool| differ.extend((!is_same).then_some(name));
    same("method", parts.method.as_str() == exchange.method);
    same("target", target == Some(exchange.target().as_str()));
    same(
        "host",
        host.is_some_and(|host| host.starts_with(&exchange.host)),
    );
    same("body", body == exchange.request);
    differ
}

/// Half of the answers are coded, if the client takes that.
fn coding(parts: &Parts, exchange: &Exchange, rng: &mut Rng) -> Option<&'static str> {
    let accepted = parts.headers.get(header::ACCEPT_ENCODING);
    let accepted = accepted.and_then(|value| value.to_str().ok());
    let is_coded = rng.bool() && !exchange.response.is_empty();
    is_coded
        .then(|| body::coding(accepted.unwrap_or_default(), rng))
        .flatten()
}

/// Cuts that have nothing to do with what the body says.
fn frames(body: &[u8], rng: &mut Rng) -> Vec<Frame> {
    let most = (body.len() / 8).max(4);
    let mut rest = body;
    let mut frames = Vec::new();
    while !rest.is_empty() {
        let (frame, left) = rest.split_at(rng.usize(1..=most).min(rest.len()));
        frames.push(frame.to_vec().into());
        rest = left;
    }
    frames
}

/// It came in pieces, as far as the recording says.
fn is_streamed(exchange: &Exchange) -> bool {
    let kind = exchange.response_header("content-type").unwrap_or_default();
    let is_chunked = exchange.response_header("transfer-encoding") == Some("chunked");
    is_chunked || kind.contains("stream") || looks_like(&exchange.response) != "application/json"
}

/// The media type of a body.
fn looks_like(body: &[u8]) -> &'static str {
    match body {
        body if body.starts_with(b"data:") || body.starts_with(b"event:") => "text/event-stream",
        [0, ..] => "application/vnd.amazon.eventstream",
        _ => "application/json",
    }
}

fn headers_of(
    exchange: &Exchange,
    coding: Option<&'static str>,
    rng: &mut Rng,
) -> Vec<(HeaderName, HeaderValue)> {
    let recorded = exchange.response_headers.iter();
    let recorded = recorded.filter(|(name, _)| !FRAMING.contains(&name.as_str()));
    let mut headers: Vec<_> = recorded
        .filter_map(|(name, value)| {
            let name = HeaderName::try_from(name.as_str()).ok()?;
            Some((name, HeaderValue::from_bytes(value.as_bytes()).ok()?))
        })
        .collect();
    // Recorders leave headers out that servers send.
    let is_told = exchange.response_header("content-type").is_some();
    if !is_told && !exchange.response.is_empty() && rng.bool() {
        let kind = HeaderValue::from_static(looks_like(&exchange.response));
        headers.push((header::CONTENT_TYPE, kind));
    }
    if let Some(coding) = coding {
        headers.push((header::CONTENT_ENCODING, HeaderValue::from_static(coding)));
    }
    headers
}
