//! Embeddings: vectors for texts. The vectors are counted, never kept.
//!
//! Source: <https://platform.openai.com/docs/api-reference/embeddings>.

use serde_json::Value;

use super::stream::Stream;
use super::{answer, claim, completions, question, usage};
use crate::semantics::rest::{Leftovers, Rest};
use crate::semantics::{Dialect, Merge, Operation, Request, RequestView, Response, Target};

/// Embeddings.
#[derive(Clone, Copy, Debug)]
pub struct Embeddings;

impl Dialect for Embeddings {
    fn name(&self) -> &'static str {
        "OpenAI embeddings"
    }

    fn claims(&self, request: &RequestView<'_>) -> Option<Target> {
        // Databricks has one path for all that it serves.
        let is_served = request.path.contains("/serving-endpoints/")
            && claim::ends_with(request.path, "/invocations");
        if !is_served && !claim::ends_with(request.path, "/embeddings") {
            return None;
        }
        let has_input = |body: &Value| body.get("input").is_some();
        claim::post(request, Operation::Embeddings, has_input)
    }

    fn request(&self, target: &Target, body: &Value) -> Request {
        question::read(target, body, |rest| {
            rest.take("input")
                .map(completions::inputs)
                .unwrap_or_default()
        })
    }

    fn response(&self, _: &Target, status: u16, body: &Value) -> Response {
        let mut rest = answer::rest_of(body);
        rest.skip(&answer::OF_ONE_FORM);
        let results = vectors(&mut rest);
        let mut response = answer::finish(status, rest, Vec::new());
        usage::all_is_input(&mut response);
        Response {
            results,
            ..response
        }
    }

    fn merge(&self, _: &Target) -> Box<dyn Merge> {
        Box::new(Stream::default())
    }
}

fn vectors(rest: &mut Rest<'_>) -> Option<u64> {
    let data = rest.list("data")?;
    let mut leftovers = Leftovers::default();
    for (position, value) in data.iter().enumerate() {
        let mut one = Rest::of(value);
        one.skip(&["object", "index", "embedding"]);
        leftovers.add(position as u64, one.left());
    }
    rest.keep("data", leftovers);
    Some(data.len() as u64)
}
