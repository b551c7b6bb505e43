//! One HTTP request: whose it is, what it is answered, and how that goes out.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{FromRequestParts, Request, State, WebSocketUpgrade};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::Response;
use fastrand::Rng;
use serde_json::{Value, json};

use super::api::{self, Api, Route};
use super::body::{self, Sending};
use super::fault::Fault;
use super::said::{self, Asked, Said, ScriptedTurn, Turn};
use super::truth::{Exchange, Log};
use super::wire::{self, Frame};
use super::{Options, mcp, websocket};

/// Nobody sends more here.
const BODY_MAX: usize = 256 << 20;

/// What all connections share.
#[derive(Debug)]
pub struct Shared {
    pub options: Options,
    pub log: Log,
    pub turns: Vec<ScriptedTurn>,
    exchanges: AtomicU64,
    /// How often a request has met its fault, by what it says.
    met: Mutex<HashMap<u64, u64>>,
    /// At which turn of the script an answer stands, by its number.
    places: Mutex<HashMap<String, usize>>,
}

impl Shared {
    /// Before the first exchange.
    pub fn new(options: Options, log: Log, turns: Vec<ScriptedTurn>) -> Self {
        Self {
            options,
            log,
            turns,
            exchanges: AtomicU64::new(0),
            met: Mutex::default(),
            places: Mutex::default(),
        }
    }

    /// Of the next exchange: with the same seed, the same ones in the same order.
    pub fn rng(&self) -> Rng {
        let number = self.exchanges.fetch_add(1, Ordering::Relaxed);
        let mut rng =
            Rng::with_seed(self.options.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        // Neighbouring seeds start alike.
        rng.u64(..);
        rng
    }

    /// The fault that this request meets now.
    pub fn fault(&self, request: impl Hash, wanted: Option<(Fault, u64)>) -> Option<Fault> {
        let (fault, times) = wanted?;
        let mut hasher = DefaultHasher::new();
        request.hash(&mut hasher);
        let mut met = self.met.lock().unwrap_or_else(PoisonError::into_inner);
        let count = met.entry(hasher.finish()).or_default();
        *count += 1;
        (*count <= times).then_some(fault)
    }

    /// Draws the answer, or takes it from the script, which is for those who offer tools.
    pub fn turn(
        &self,
        api: &dyn Api,
        body: Value,
        asked: Asked,
        model: String,
        rng: &mut Rng,
    ) -> Turn {
        let id = said::hex(rng);
        let is_scripted = !self.turns.is_empty() && !asked.tools.is_empty();
        let place = is_scripted.then(|| self.place(&asked));
        let choices: Vec<Said> = match place {
            Some(place) => vec![self.scripted(place, rng)],
            None if asked.inputs > 0 => Vec::new(),
            None => (0..asked.choices.clamp(1, 8))
                .map(|_| said::draw(&asked, rng))
                .collect(),
        };
        let tokens = said::tokens(rng, asked.thinks);
        let turn = Turn {
            id,
            model,
            body,
            asked,
            choices,
            tokens,
        };
        if let (Some(place), Some(id)) = (place, api.response_id(&turn)) {
            let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
            places.insert(id, place);
        }
        turn
    }

    /// How many turns of the script this conversation has behind it. A request that goes on from an earlier answer
    /// does not say it itself.
    fn place(&self, asked: &Asked) -> usize {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let before = asked.previous.as_ref().and_then(|id| places.get(id));
        match before {
            Some(place) => place + asked.rounds(),
            None => asked.rounds(),
        }
    }

    fn scripted(&self, place: usize, rng: &mut Rng) -> Said {
        match self.turns.get(place) {
            Some(turn) => turn.said(rng),
            None => Said {
                text: "The script is over.".to_owned(),
                ..Said::default()
            },
        }
    }
}

/// Answers whatever comes.
pub async fn any(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let is_upgrade = parts
        .headers
        .get(header::UPGRADE)
        .is_some_and(|value| value == "websocket");
    if is_upgrade {
        return match WebSocketUpgrade::from_request_parts(&mut parts, &()).await {
            Ok(upgrade) => upgrade.on_upgrade(move |socket| websocket::serve(shared, socket)),
            Err(_) => plain(StatusCode::BAD_REQUEST, json!({"error": "no websocket"})),
        };
    }
    let Ok(body) = axum::body::to_bytes(body, BODY_MAX).await else {
        return plain(StatusCode::BAD_REQUEST, json!({"error": "no whole body"}));
    };
    let Some(body) = uncoded(&parts.headers, &body) else {
        return plain(
            StatusCode::BAD_REQUEST,
            json!({"error": "cannot be decoded"}),
        );
    };
    let path = parts.uri.path();
    if path.ends_with("/mcp") {
        return mcp::answer(&shared, &parts.method, &parts.headers, &body);
    }
    match api::route(path, parts.uri.query().unwrap_or_default()) {
        Some(route) if parts.method == Method::POST => exchange(&shared, &parts, route, &body),
        _ => aside(path, &parts),
    }
}

/// What clients ask beside their calls.
fn aside(path: &str, parts: &Parts) -> Response {
    match path {
        path if path.ends_with("/count_tokens") => {
            plain(StatusCode::OK, json!({"input_tokens": 11}))
        }
        path if path.ends_with("/models") && parts.method == Method::GET => {
            let models = json!([{"id": "demo-model-1", "object": "model", "created": 1, "owned_by": "nobody"}]);
            plain(
                StatusCode::OK,
                json!({"object": "list", "data": models, "models": []}),
            )
        }
        _ => plain(
            StatusCode::NOT_FOUND,
            json!({"error": {"message": "no such path", "type": "not_found"}}),
        ),
    }
}

fn exchange(shared: &Shared, parts: &Parts, route: Route, body: &[u8]) -> Response {
    let mut rng = shared.rng();
    let api = route.api.as_ref();
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return plain(
            StatusCode::BAD_REQUEST,
            api.error(400, "the body is no JSON"),
        );
    };
    let mut asked = api.asked(&value);
    asked.stream = route.stream.unwrap_or(asked.stream);
    let model = route
        .model
        .or_else(|| asked.model.clone())
        .unwrap_or_default();
    let header = parts
        .headers
        .get("x-mock-fault")
        .and_then(|value| value.to_str().ok());
    let query = parts.uri.query().unwrap_or_default();
    let wanted = Fault::wanted(header, query, &model);
    let fault = shared.fault((parts.uri.path(), body), wanted);
    let turn = shared.turn(api, value, asked, model, &mut rng);
    let accepted = parts.headers.get(header::ACCEPT_ENCODING);
    let accepted = accepted
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let sending = Sending {
        coding: (shared.options.coding && rng.bool())
            .then(|| body::coding(accepted, &mut rng))
            .flatten(),
        is_cut_anywhere: rng.bool(),
        pause: Duration::from_millis(shared.options.pause_ms),
        is_slow: fault == Some(Fault::Slow),
        breaks_off: fault == Some(Fault::Cut),
    };
    let answer = Answer::of(api, &turn, fault, &mut rng);
    shared.log.write(&answer.line(api, &turn, fault));
    answer.send(api, &turn, &sending, &mut rng)
}

/// What goes out.
struct Answer {
    status: u16,
    frames: Vec<Frame>,
    is_streamed: bool,
    sent: Option<Vec<String>>,
    error: Option<Value>,
}

impl Answer {
    fn of(api: &dyn Api, turn: &Turn, fault: Option<Fault>, rng: &mut Rng) -> Self {
        let is_streamed = turn.asked.stream;
        let status = match fault {
            Some(Fault::Status(status)) => status,
            Some(Fault::ErrorEvent) if !is_streamed => 500,
            _ => 200,
        };
        let error =
            (status != 200).then(|| api.error(status, "This is a fault made on purpose: \"é\"."));
        let mut answer = Self {
            status,
            frames: Vec::new(),
            is_streamed: is_streamed && status == 200,
            sent: None,
            error,
        };
        answer.frames = match &answer.error {
            Some(error) => vec![error.to_string().into_bytes().into()],
            None if is_streamed => api.stream(turn, rng),
            None => vec![wire::json(&api.whole(turn), rng).into_bytes().into()],
        };
        if let Some(fault) = fault {
            answer.spoil(api, turn, fault, rng);
        }
        answer
    }

    /// Puts the fault into the frames.
    fn spoil(&mut self, api: &dyn Api, turn: &Turn, fault: Fault, rng: &mut Rng) {
        let at = (self.frames.len() / 2)
            .max(1)
            .min(self.frames.len().saturating_sub(1));
        match fault {
            Fault::Cut => {
                // Half of the next event goes out, too.
                let half = self.frames.get(at).map(|frame| frame.bytes.len() / 2);
                self.frames.truncate(at + 1);
                if let (Some(last), Some(half)) = (self.frames.last_mut(), half) {
                    last.bytes.truncate(half);
                    last.says = None;
                }
                self.sent = Some(texts(&self.frames, turn));
            }
            Fault::ErrorEvent if self.is_streamed => {
                self.frames.truncate(at);
                self.frames
                    .extend(api.error_frame("Overloaded in mid-stream", rng));
                self.sent = Some(texts(&self.frames, turn));
            }
            Fault::Malformed if self.is_streamed => self.frames.insert(at, api.malformed_frame()),
            Fault::Malformed => {
                if let Some(frame) = self.frames.first_mut() {
                    frame.bytes.truncate(frame.bytes.len() / 2);
                }
            }
            Fault::ErrorEvent | Fault::Slow | Fault::Status(_) => {}
        }
    }

    fn line(&self, api: &dyn Api, turn: &Turn, fault: Option<Fault>) -> Value {
        Exchange {
            api,
            turn,
            status: self.status,
            fault,
            stream: self.is_streamed,
            over: "http",
            sent: self.sent.clone(),
            warms: false,
            error: self.error.clone(),
        }
        .line()
    }

    fn send(&self, api: &dyn Api, turn: &Turn, sending: &Sending, rng: &mut Rng) -> Response {
        let chunks = match body::chunks(&self.frames, sending, rng) {
            Ok(chunks) => chunks,
            Err(error) => {
                return plain(StatusCode::INTERNAL_SERVER_ERROR, json!(error.to_string()));
            }
        };
        let kind = if self.is_streamed {
            api.stream_type()
        } else {
            "application/json"
        };
        let mut response = Response::builder()
            .status(self.status)
            .header(header::CONTENT_TYPE, kind)
            .header("x-request-id", &turn.id)
            .header("request-id", &turn.id)
            .header("x-amzn-requestid", &turn.id);
        if let Some(coding) = sending.coding {
            response = response.header(header::CONTENT_ENCODING, coding);
        }
        if self.status == 429 {
            response = response
                .header("retry-after", "1")
                .header("retry-after-ms", "50");
        }
        let body = if self.is_streamed || sending.breaks_off || sending.is_slow {
            body::streamed(chunks, sending)
        } else {
            Body::from(chunks.concat())
        };
        response.body(body).unwrap_or_default()
    }
}

/// What these frames say, by choice.
fn texts(frames: &[Frame], turn: &Turn) -> Vec<String> {
    let mut texts = vec![String::new(); turn.choices.len()];
    for (choice, text) in frames.iter().filter_map(|frame| frame.says.as_ref()) {
        if let Some(all) = texts.get_mut(*choice) {
            all.push_str(text);
        }
    }
    texts
}

/// A body without its content coding.
fn uncoded(headers: &HeaderMap, body: &[u8]) -> Option<Vec<u8>> {
    let coding = headers.get(header::CONTENT_ENCODING);
    let mut plain = Vec::new();
    let done = match coding.map(|value| value.as_bytes()) {
        None => return Some(body.to_vec()),
        Some(b"zstd") => zstd::stream::copy_decode(body, &mut plain),
        Some(b"gzip") => {
            let mut decoder = flate2::read::MultiGzDecoder::new(body);
            io::copy(&mut decoder, &mut plain).map(drop)
        }
        Some(_) => return None,
    };
    done.ok().map(|()| plain)
}

/// A JSON answer that nobody logs.
pub fn plain(status: StatusCode, body: Value) -> Response {
    let response = Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/json");
    response
        .body(Body::from(body.to_string()))
        .unwrap_or_default()
}
