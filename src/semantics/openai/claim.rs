//! Whether a request is one of OpenAI's: by the end of its path and the shape of its body. Who the provider is, its host
//! says ([`provider_of`]).

use serde_json::Value;

use crate::semantics::recognise::{COMPATIBLE, provider_of};
use crate::semantics::{Operation, RequestView, Target};

/// Whether the path ends so (which begins with a slash), with or without another slash behind.
pub fn ends_with(path: &str, end: &str) -> bool {
    path.strip_suffix('/').unwrap_or(path).ends_with(end)
}

/// A POST whose body has this shape. A body that is not known (bytes of it were lost) is taken for one only where the host
/// is known as a provider's.
pub fn post(
    request: &RequestView<'_>,
    operation: Operation,
    has_shape: impl Fn(&Value) -> bool,
) -> Option<Target> {
    let provider = provider_of(request.host, request.path);
    let fits = match request.body {
        Some(body) => has_shape(body),
        None => provider.is_some(),
    };
    if !fits || !request.method.eq_ignore_ascii_case("POST") {
        return None;
    }
    Some(target(request, operation))
}

/// Of a request that is one.
pub fn target(request: &RequestView<'_>, operation: Operation) -> Target {
    let provider = provider_of(request.host, request.path).unwrap_or(COMPATIBLE);
    Target {
        provider: provider.to_owned(),
        operation,
        model: model(request.path).map(str::to_owned),
    }
}

/// A model of somebody else on Vertex AI that speaks so: `…/publishers/mistralai/models/{model}:rawPredict`. Anthropic's do
/// not.
pub fn of_publisher(path: &str) -> Option<&str> {
    let (_, behind) = path.split_once("/publishers/")?;
    let (publisher, model) = behind.split_once("/models/")?;
    let (model, verb) = model.rsplit_once(':')?;
    let asks = matches!(verb, "rawPredict" | "streamRawPredict");
    (asks && publisher != "anthropic").then_some(model)
}

/// The model, where the path names it; Azure and others have names of their own for it:
/// `/openai/deployments/NAME/chat/completions`, `/serving-endpoints/NAME/invocations`.
fn model(path: &str) -> Option<&str> {
    let named = |before: &str| {
        let (_, behind) = path.split_once(before)?;
        let (name, _) = behind.split_once('/')?;
        Some(name).filter(|name| !name.is_empty())
    };
    let endpoint = || named("/serving-endpoints/").or_else(|| named("/endpoints/"));
    named("/deployments/")
        .or_else(|| of_publisher(path))
        .or_else(|| ends_with(path, "/invocations").then(endpoint)?)
}
