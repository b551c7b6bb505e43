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
        model: deployment(request.path).map(str::to_owned),
    }
}

/// Azure's name for a model: `/openai/deployments/NAME/chat/completions`.
fn deployment(path: &str) -> Option<&str> {
    let (_, behind) = path.split_once("/deployments/")?;
    let (name, _) = behind.split_once('/')?;
    Some(name).filter(|name| !name.is_empty())
}
