//! Pictures of Imagen: `…/models/imagen-…:predict`
//! (<https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/imagen-api>). Gemini's own models make pictures
//! with `generateContent`.

use serde_json::Value;

use super::super::dialect::{Dialect, Merge, RequestView, Target};
use super::super::json;
use super::super::model::{Choice, Message, Operation, Part, Request, Response};
use super::super::parts;
use super::super::rest::{Leftovers, Rest};
use super::stream::GenerateMerge;

/// See [`super::PICTURE`].
#[derive(Clone, Copy, Debug)]
pub struct Picture;

impl Dialect for Picture {
    fn name(&self) -> &'static str {
        "Gemini pictures"
    }

    fn claims(&self, request: &RequestView<'_>) -> Option<Target> {
        let (provider, model) = super::endpoint(request, &["predict"])?;
        // Endpoints of one's own predict anything.
        let is_googles = provider == "gcp.gemini" || request.path.contains("/publishers/google/");
        let instances = request.body?.get("instances")?.as_array()?;
        let is_prompt = |one: &Value| one.get("prompt").is_some_and(Value::is_string);
        let is_shaped = !instances.is_empty() && instances.iter().all(is_prompt);
        (is_googles && is_shaped).then_some(Target {
            provider,
            operation: Operation::ImageGeneration,
            model,
        })
    }

    fn request(&self, target: &Target, body: &Value) -> Request {
        let mut fields = Rest::of(body);
        let mut leftovers = Leftovers::default();
        let mut messages = Vec::new();
        let instances = fields.list("instances").unwrap_or_default();
        for (index, instance) in (0..).zip(instances) {
            let mut instance = Rest::of(instance);
            let mut parts: Vec<Part> = instance
                .text("prompt")
                .map(parts::text)
                .into_iter()
                .collect();
            // To be changed, and where.
            for name in ["image", "mask"] {
                if let Some(mut image) = instance.object(name) {
                    parts.extend(picture(&mut image));
                    instance.keep(name, image.left());
                }
            }
            messages.push(Message {
                role: "user".into(),
                name: None,
                parts,
            });
            leftovers.add(index, instance.left());
        }
        fields.keep("instances", leftovers);
        Request {
            model: target.model.clone(),
            messages,
            parameters: fields.left_with_empty(),
            ..Request::default()
        }
    }

    fn response(&self, _target: &Target, status: u16, body: &Value) -> Response {
        if json::is_error(status, body) {
            return super::response(status, body);
        }
        let mut fields = Rest::of(body);
        let mut leftovers = Leftovers::default();
        let mut pictures: Vec<Part> = Vec::new();
        let predictions = fields.list("predictions").unwrap_or_default();
        for (index, prediction) in (0..).zip(predictions) {
            let mut prediction = Rest::of(prediction);
            pictures.extend(picture(&mut prediction));
            leftovers.add(index, prediction.left());
        }
        fields.keep("predictions", leftovers);
        Response {
            results: Some(pictures.len() as u64),
            choices: vec![Choice {
                index: 0,
                message: Message {
                    role: "assistant".into(),
                    name: None,
                    parts: pictures,
                },
                finish_reason: None,
            }],
            extra: fields.left(),
            is_complete: true,
            ..Response::default()
        }
    }

    /// They are never streamed.
    fn merge(&self, _target: &Target) -> Box<dyn Merge> {
        Box::new(GenerateMerge::default())
    }
}

fn picture(fields: &mut Rest<'_>) -> Option<Part> {
    let mime_type = fields.text("mimeType");
    let data = fields.text("bytesBase64Encoded")?;
    Some(parts::blob("image", mime_type, data))
}
