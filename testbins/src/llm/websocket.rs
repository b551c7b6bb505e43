//! OpenAI's responses over a WebSocket: each `response.create` is an exchange, its events are messages.

use std::sync::Arc;

use axum::extract::ws::{Message, WebSocket};
use serde_json::{Value, json};

use super::api::Api;
use super::fault::Fault;
use super::responses::Responses;
use super::said::Turn;
use super::serve::Shared;
use super::truth::Exchange;
use super::wire;

/// Serves one connection to its end.
pub async fn serve(shared: Arc<Shared>, mut socket: WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        let Message::Text(text) = message else {
            continue;
        };
        let Ok(body) = serde_json::from_str::<Value>(&text) else {
            return;
        };
        if body["type"] != "response.create" {
            continue;
        }
        let answers = exchange(&shared, body);
        for answer in answers {
            if socket.send(Message::text(answer)).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
    }
}

fn exchange(shared: &Shared, body: Value) -> Vec<String> {
    let mut rng = shared.rng();
    let mut asked = Responses.asked(&body);
    asked.stream = true;
    let model = asked.model.clone().unwrap_or_default();
    // A client may warm the connection up: nothing is to be generated then.
    let is_warming = body["generate"] == false;
    let fault = shared.fault(body.to_string(), Fault::wanted(None, "", &model));
    let mut turn: Turn = shared.turn(&Responses, body, asked, model, &mut rng);
    if is_warming {
        turn.choices = vec![super::said::Said::default()];
    }
    let failed = matches!(fault, Some(Fault::ErrorEvent | Fault::Status(_)));
    let error = failed.then(|| {
        json!({"type": "error", "status": 500, "error": {"type": "server_error", "code": "server_error",
            "message": "This is a fault made on purpose."}})
    });
    let line = Exchange {
        api: &Responses,
        turn: &turn,
        status: 101,
        fault,
        stream: true,
        over: "websocket",
        sent: None,
        warms: is_warming,
        error: error.clone(),
    };
    shared.log.write(&line.line());
    if let Some(error) = error {
        return vec![error.to_string()];
    }
    let events = Responses.events(&turn, &mut rng).into_iter();
    events
        .map(|(event, _)| wire::json(&event, &mut rng))
        .collect()
}
