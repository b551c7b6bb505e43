//! Amazon Bedrock: converse, and invoke with Anthropic's bodies; streams are AWS event streams.
//! Followed: <https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html> and its neighbours.

use aws_smithy_eventstream::frame::write_message_to;
use aws_smithy_types::event_stream::{Header, HeaderValue, Message as AwsMessage};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use fastrand::Rng;
use serde_json::{Value, json};

use super::anthropic::Messages;
use super::api::{Api, Route};
use super::said::{Asked, Message, Said, ToolCall, Turn, list, text, texts};
use super::wire::{Frame, json as json_text, pieces};

/// Where streams have a type of their own.
const STREAM_TYPE: &str = "application/vnd.amazon.eventstream";

/// One model for all.
pub struct Converse;

/// The bodies of a model's maker: Anthropic's.
pub struct Invoke;

/// `/model/NAME/METHOD`, the name percent-encoded.
pub fn route(path: &str) -> Option<Route> {
    let (model, method) = path.strip_prefix("/model/")?.rsplit_once('/')?;
    let (api, stream): (Box<dyn Api>, bool) = match method {
        "converse" => (Box::new(Converse), false),
        "converse-stream" => (Box::new(Converse), true),
        "invoke" => (Box::new(Invoke), false),
        "invoke-with-response-stream" => (Box::new(Invoke), true),
        _ => return None,
    };
    Some(Route {
        api,
        model: Some(
            model
                .replace("%3A", ":")
                .replace("%3a", ":")
                .replace("%2F", "/"),
        ),
        stream: Some(stream),
    })
}

/// One message of an event stream; `class` is `event` or `exception`.
fn framed(class: &str, kind: &str, payload: String) -> Frame {
    let text = |value: &str| HeaderValue::String(value.to_owned().into());
    let message = AwsMessage::new(payload.into_bytes())
        .add_header(Header::new(format!(":{class}-type"), text(kind)))
        .add_header(Header::new(":content-type", text("application/json")))
        .add_header(Header::new(":message-type", text(class)));
    let mut bytes = Vec::new();
    // Fails for headers and payloads of more than 24 MiB only: there are none here.
    let _ = write_message_to(&message, &mut bytes);
    bytes.into()
}

impl Api for Converse {
    fn name(&self) -> &'static str {
        "bedrock.converse"
    }

    fn provider(&self) -> &'static str {
        "aws.bedrock"
    }

    fn asked(&self, body: &Value) -> Asked {
        let specs = list(&body["toolConfig"], "tools")
            .iter()
            .map(|tool| &tool["toolSpec"]);
        Asked {
            system: texts(&body["system"]),
            messages: list(body, "messages").iter().map(message).collect(),
            tools: specs.map(|spec| text(spec, "name")).collect(),
            choices: 1,
            thinks: body["additionalModelRequestFields"]["thinking"].is_object(),
            wants_usage: true,
            ..Asked::default()
        }
    }

    fn response_id(&self, _: &Turn) -> Option<String> {
        None
    }

    fn call_id(&self, call: &ToolCall) -> Option<String> {
        Some(format!("tooluse_{}", call.id))
    }

    fn finish(&self, said: &Said) -> &'static str {
        Messages.finish(said)
    }

    fn usage(&self, turn: &Turn) -> Value {
        let tokens = turn.tokens;
        json!({"inputTokens": tokens.input - tokens.cache_read - tokens.cache_write, "outputTokens": tokens.output,
            "totalTokens": tokens.input + tokens.output, "cacheReadInputTokens": tokens.cache_read,
            "cacheWriteInputTokens": tokens.cache_write})
    }

    fn counts(&self, turn: &Turn) -> Value {
        Messages.counts(turn)
    }

    fn whole(&self, turn: &Turn) -> Value {
        let said = turn.said();
        let mut content = Vec::new();
        if !said.thoughts.is_empty() {
            content.push(json!({"reasoningContent": {"reasoningText": {"text": said.thoughts, "signature": "c2ln"}}}));
        }
        if !said.text.is_empty() {
            content.push(json!({"text": said.text}));
        }
        content.extend(said.calls.iter().map(|call| {
            json!({"toolUse": {"toolUseId": self.call_id(call), "name": call.name, "input": call.arguments}})
        }));
        json!({"output": {"message": {"role": "assistant", "content": content}}, "stopReason": self.finish(&said),
            "usage": self.usage(turn), "metrics": {"latencyMs": 551}})
    }

    fn stream(&self, turn: &Turn, rng: &mut Rng) -> Vec<Frame> {
        let said = turn.said();
        let mut frames = vec![self.event("messageStart", json!({"role": "assistant"}), rng)];
        let mut at = 0;
        let mut block =
            |start: Option<Value>, deltas: Vec<(Value, Option<String>)>, rng: &mut Rng| {
                let of = |name: &str, value: Value| json!({"contentBlockIndex": at, name: value});
                if let Some(start) = start {
                    frames.push(self.event("contentBlockStart", of("start", start), rng));
                }
                for (delta, says) in deltas {
                    let frame = self.event("contentBlockDelta", of("delta", delta), rng);
                    let says = says.map(|piece| (0, piece));
                    frames.push(Frame { says, ..frame });
                }
                frames.push(self.event("contentBlockStop", json!({"contentBlockIndex": at}), rng));
                at += 1;
            };
        if !said.thoughts.is_empty() {
            let of = |value: Value| (json!({"reasoningContent": value}), None);
            let cut = pieces(&said.thoughts, rng).into_iter();
            let mut deltas: Vec<_> = cut.map(|piece| of(json!({"text": piece}))).collect();
            deltas.push(of(json!({"signature": "c2ln"})));
            block(None, deltas, rng);
        }
        if !said.text.is_empty() {
            let cut = pieces(&said.text, rng).into_iter();
            block(
                None,
                cut.map(|piece| (json!({"text": piece}), Some(piece)))
                    .collect(),
                rng,
            );
        }
        for call in &said.calls {
            let start = json!({"toolUse": {"toolUseId": self.call_id(call), "name": call.name}});
            let cut = pieces(&call.text(), rng).into_iter();
            let deltas = cut.map(|piece| (json!({"toolUse": {"input": piece}}), None));
            block(Some(start), deltas.collect(), rng);
        }
        frames.push(self.event(
            "messageStop",
            json!({"stopReason": self.finish(&said)}),
            rng,
        ));
        let metadata = json!({"usage": self.usage(turn), "metrics": {"latencyMs": 551}});
        frames.push(self.event("metadata", metadata, rng));
        frames
    }

    fn stream_type(&self) -> &'static str {
        STREAM_TYPE
    }

    fn error(&self, _: u16, message: &str) -> Value {
        json!({"message": message})
    }

    fn error_frame(&self, message: &str, _: &mut Rng) -> Option<Frame> {
        let payload = json!({"message": message}).to_string();
        Some(framed("exception", "modelStreamErrorException", payload))
    }

    fn malformed_frame(&self) -> Frame {
        framed(
            "event",
            "contentBlockDelta",
            "{\"contentBlockIndex\":".to_owned(),
        )
    }
}

impl Converse {
    /// With the padding that hides lengths, as Bedrock sends it.
    fn event(&self, kind: &str, mut payload: Value, rng: &mut Rng) -> Frame {
        payload["p"] = json!("abcdefghijklmnop".get(..rng.usize(1..16)));
        framed("event", kind, json_text(&payload, rng))
    }
}

fn message(message: &Value) -> Message {
    let mut read = Message::of(&text(message, "role"));
    for block in list(message, "content") {
        let (call, result) = (&block["toolUse"], &block["toolResult"]);
        if call.is_object() {
            let call =
                json!({"id": call["toolUseId"], "name": call["name"], "arguments": call["input"]});
            read.tool_calls.push(call);
        } else if result.is_object() {
            let result = json!({"id": result["toolUseId"], "content": result["content"]});
            read.tool_results.push(result);
        } else if let Some(thought) = block["reasoningContent"]["reasoningText"]["text"].as_str() {
            read.reasoning.push(thought.to_owned());
        } else if block["text"].is_string() {
            read.texts.push(text(block, "text"));
        }
    }
    read
}

impl Api for Invoke {
    fn name(&self) -> &'static str {
        "bedrock.invoke"
    }

    fn provider(&self) -> &'static str {
        "aws.bedrock"
    }

    fn asked(&self, body: &Value) -> Asked {
        Messages.asked(body)
    }

    fn response_id(&self, turn: &Turn) -> Option<String> {
        Messages.response_id(turn)
    }

    fn call_id(&self, call: &ToolCall) -> Option<String> {
        Messages.call_id(call)
    }

    fn finish(&self, said: &Said) -> &'static str {
        Messages.finish(said)
    }

    fn usage(&self, turn: &Turn) -> Value {
        Messages.usage(turn)
    }

    fn counts(&self, turn: &Turn) -> Value {
        Messages.counts(turn)
    }

    fn whole(&self, turn: &Turn) -> Value {
        Messages.whole(turn)
    }

    fn stream(&self, turn: &Turn, rng: &mut Rng) -> Vec<Frame> {
        let events = Messages.events(turn, rng);
        let framed = events.into_iter().map(|(data, says)| {
            let packed = BASE64_STANDARD.encode(json_text(&data, rng));
            let frame = framed(
                "event",
                "chunk",
                json!({"bytes": packed, "p": "abc"}).to_string(),
            );
            Frame { says, ..frame }
        });
        framed.collect()
    }

    fn stream_type(&self) -> &'static str {
        STREAM_TYPE
    }

    fn error(&self, status: u16, message: &str) -> Value {
        Converse.error(status, message)
    }

    fn error_frame(&self, message: &str, rng: &mut Rng) -> Option<Frame> {
        Converse.error_frame(message, rng)
    }

    fn malformed_frame(&self) -> Frame {
        let packed = BASE64_STANDARD.encode("{\"type\":\"content_block_delta\",");
        framed("event", "chunk", json!({"bytes": packed}).to_string())
    }
}
