//! Text that goes on, as IBM's watsonx (`/ml/v1/text/generation`, <https://cloud.ibm.com/apidocs/watsonx-ai>) and Hugging
//! Face's Text Generation Inference (`/generate`, <https://huggingface.github.io/text-generation-inference>, also behind
//! endpoints of SageMaker) say it: a prompt, parameters, and `generated_text`.

use serde_json::{Map, Value};

use super::dialect::{Delta, DeltaKind, Dialect, Merge, Piece, RequestView, Target};
use super::json;
use super::model::{Choice, Message, Operation, ProviderError, Request, Response, Usage};
use super::parts;
use super::recognise::provider_of;
use super::rest::{Leftovers, Rest};

/// The one there is.
pub static GENERATION: Generation = Generation;

/// See [`GENERATION`].
#[derive(Clone, Copy, Debug)]
pub struct Generation;

impl Dialect for Generation {
    fn name(&self) -> &'static str {
        "Text generation"
    }

    fn claims(&self, request: &RequestView<'_>) -> Option<Target> {
        let body = request.body.filter(|_| request.method == "POST")?;
        let path = request.path.trim_end_matches('/');
        let is_watsonx = ["/text/generation", "/text/generation_stream"]
            .iter()
            .any(|end| path.ends_with(end));
        let is_text = |name: &str| body.get(name).is_some_and(Value::is_string);
        let is_one = is_watsonx && is_text("input") || is_text("inputs") && asks_for_text(body);
        let endpoint = path.strip_suffix("/invocations");
        let endpoint = endpoint.and_then(|path| path.rsplit_once("/endpoints/"));
        is_one.then(|| Target {
            provider: provider_of(request.host, path)
                .unwrap_or(if is_watsonx {
                    "ibm.watsonx.ai"
                } else {
                    "huggingface"
                })
                .to_owned(),
            operation: Operation::TextCompletion,
            model: endpoint.map(|(_, name)| name.to_owned()),
        })
    }

    fn request(&self, target: &Target, body: &Value) -> Request {
        let mut fields = Rest::of(body);
        let prompt = fields.text("input").or_else(|| fields.text("inputs"));
        let said = prompt.map(|prompt| Message {
            role: "user".into(),
            name: None,
            parts: vec![parts::text(prompt)],
        });
        Request {
            model: fields.string("model_id").or_else(|| target.model.clone()),
            messages: said.into_iter().collect(),
            stream: fields.truth("stream").unwrap_or(false),
            parameters: fields.left_with_empty(),
            ..Request::default()
        }
    }

    fn response(&self, _target: &Target, status: u16, body: &Value) -> Response {
        if json::is_error(status, body) {
            return json::failed(body);
        }
        response(body)
    }

    fn merge(&self, _target: &Target) -> Box<dyn Merge> {
        Box::new(GenerationMerge::default())
    }
}

/// These servers have any path, and other models take `inputs` too.
fn asks_for_text(body: &Value) -> bool {
    let parameters = body.get("parameters");
    let only_for_text = ["do_sample", "max_new_tokens", "return_full_text"];
    only_for_text
        .iter()
        .any(|name| parameters.is_some_and(|parameters| parameters.get(name).is_some()))
}

/// `results` with the texts (watsonx), a list of them, or one text.
fn response(body: &Value) -> Response {
    let mut fields = Rest::of(body);
    let mut response = Response {
        model: fields.string("model_id"),
        is_complete: true,
        ..Response::default()
    };
    let mut counts = Vec::new();
    let Some(results) = body
        .as_array()
        .map(Vec::as_slice)
        .or(fields.list("results"))
    else {
        response.choices.extend(choice(0, &mut fields, &mut counts));
        response.usage = sum(counts);
        response.extra = fields.left();
        return response;
    };
    let mut leftovers = Leftovers::default();
    for (index, result) in (0..).zip(results) {
        let mut result = Rest::of(result);
        response
            .choices
            .extend(choice(index, &mut result, &mut counts));
        leftovers.add(index, result.left());
    }
    response.usage = sum(counts);
    fields.keep("results", leftovers);
    response.extra = fields.left();
    response
}

fn choice(
    index: u64,
    result: &mut Rest<'_>,
    counts: &mut Vec<Map<String, Value>>,
) -> Option<Choice> {
    counts.push(counted(result));
    let text = result.text("generated_text")?;
    let mut finish_reason = result.string("stop_reason");
    if let Some(mut details) = result.object("details") {
        finish_reason = details.string("finish_reason").or(finish_reason);
        // Each token, once more.
        details.skip(&["prefill", "tokens", "top_tokens"]);
        details.skip(&COUNTS);
        result.keep("details", details.left());
    }
    let said = Some(text).filter(|text| !text.is_empty());
    Some(Choice {
        index,
        message: Message {
            role: "assistant".into(),
            name: None,
            parts: said.map(parts::text).into_iter().collect(),
        },
        finish_reason,
    })
}

/// Names of counts, in the result or in its details.
const COUNTS: [&str; 4] = [
    "input_token_count",
    "input_length",
    "generated_token_count",
    "generated_tokens",
];

fn counted(result: &mut Rest<'_>) -> Map<String, Value> {
    let details = result.peek("details");
    let counts = COUNTS.into_iter().filter_map(|name| {
        let count = result.peek(name).or_else(|| details?.get(name))?;
        Some((name.to_owned(), count.clone()))
    });
    let counts = counts.collect();
    result.skip(&COUNTS);
    counts
}

/// Of all results; reported is what the only one says, or the list of what each says.
fn sum(mut counts: Vec<Map<String, Value>>) -> Option<Usage> {
    counts.retain(|counts| !counts.is_empty());
    let all = |name: &str| {
        let each: Vec<_> = counts
            .iter()
            .map(|counts| counts.get(name).and_then(json::whole))
            .collect();
        json::sum(&each)
    };
    let [input, length, output, generated] = COUNTS.map(all);
    let reported = match counts.len() {
        0 => return None,
        1 => counts.pop().map(Value::Object),
        _ => Some(counts.into_iter().map(Value::Object).collect()),
    };
    Some(Usage {
        input_tokens: input.or(length),
        output_tokens: output.or(generated),
        reported: reported.unwrap_or_default(),
        ..Usage::default()
    })
}

/// Of one answer: watsonx sends pieces in the form of whole answers, Text Generation Inference sends tokens and, with the
/// last, all of it.
#[derive(Default)]
struct GenerationMerge {
    whole: Map<String, Value>,
    result: Map<String, Value>,
    text: String,
    is_inside: bool,
    ended: bool,
    error: Option<ProviderError>,
    held: usize,
}

impl Merge for GenerationMerge {
    fn is_final(&self) -> bool {
        self.ended
    }

    fn piece(&mut self, piece: &Piece<'_>, out: &mut dyn FnMut(Delta)) -> bool {
        let data = match piece {
            Piece::Aws { .. } => return false,
            Piece::Json(data) => data,
            Piece::Sse { data, .. } => data.as_bytes(),
        };
        let Ok(Value::Object(event)) = serde_json::from_slice::<Value>(data) else {
            return false;
        };
        self.held += data.len();
        if event.contains_key("error") || event.contains_key("errors") {
            self.error = Some(json::error(&Value::Object(event)));
            return true;
        }
        match event.contains_key("results") {
            true => self.results(event, out),
            false => self.token(event, out),
        }
    }

    fn finish(mut self: Box<Self>) -> Response {
        let mut answer = Response::default();
        if !self.result.is_empty() || !self.text.is_empty() {
            self.result
                .insert("generated_text".into(), self.text.into());
            if self.is_inside {
                let result = Value::Object(self.result);
                self.whole
                    .insert("results".into(), Value::Array(vec![result]));
            } else {
                self.whole.extend(self.result);
            }
            answer = response(&Value::Object(self.whole));
        }
        answer.is_complete = self.ended && self.error.is_none();
        answer.error = self.error;
        answer
    }

    fn held(&self) -> usize {
        self.held
    }
}

impl GenerationMerge {
    fn more(&mut self, text: &str, out: &mut dyn FnMut(Delta)) {
        if !text.is_empty() {
            self.text.push_str(text);
            say(DeltaKind::Text(text.to_owned()), out);
        }
    }

    fn results(&mut self, mut event: Map<String, Value>, out: &mut dyn FnMut(Delta)) -> bool {
        self.is_inside = true;
        let Some(Value::Array(results)) = event.remove("results") else {
            return false;
        };
        self.whole.extend(event);
        let Some(Value::Object(result)) = results.into_iter().next() else {
            return true;
        };
        for (name, value) in result {
            match (name.as_str(), &value) {
                ("generated_text", Value::String(text)) => self.more(text, out),
                // Said once; then 0.
                ("input_token_count", count) if *count == 0 => {}
                ("stop_reason", Value::String(reason)) => {
                    // Until the end comes, it says so.
                    let reason = reason.to_ascii_lowercase();
                    if reason != "not_finished" && !self.ended {
                        self.ended = true;
                        say(DeltaKind::Finish(reason), out);
                    }
                    self.result.insert(name, value);
                }
                _ => {
                    self.result.insert(name, value);
                }
            }
        }
        true
    }

    fn token(&mut self, event: Map<String, Value>, out: &mut dyn FnMut(Delta)) -> bool {
        let token = event.get("token");
        let is_special =
            token.is_some_and(|token| token.get("special") == Some(&Value::Bool(true)));
        let text = token.and_then(|token| token.get("text")?.as_str());
        let Some(text) = text else {
            return false;
        };
        if !is_special {
            self.more(text, out);
        }
        if let Some(Value::Object(details)) = event.get("details") {
            self.ended = true;
            if let Some(Value::String(reason)) = details.get("finish_reason") {
                say(DeltaKind::Finish(reason.clone()), out);
            }
            self.result
                .insert("details".into(), Value::Object(details.clone()));
        }
        self.ended |= event.get("generated_text").is_some_and(Value::is_string);
        true
    }
}

fn say(kind: DeltaKind, out: &mut dyn FnMut(Delta)) {
    out(Delta {
        choice: 0,
        part: 0,
        kind,
    });
}
