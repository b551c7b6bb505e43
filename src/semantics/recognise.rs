//! Which dialect a request is spoken in, and who the provider is. Dialects are asked in order; the first that claims a
//! request has it, and one that nobody claims stays an HTTP exchange.

use super::dialect::{Dialect, Piece, RequestView, Target};
use super::model::Operation;
use super::{anthropic, bedrock, cohere, gemini, generation, ollama, openai, replicate};

/// Provider of a server that is spoken to like OpenAI, but that nobody here knows: a proxy, or a model on a machine of
/// one's own. OpenTelemetry has no name for these, and `openai` would be a guess.
pub const COMPATIBLE: &str = "openai_compatible";

/// All dialects, in the order in which they are asked. Those whose paths say most come first.
pub static DIALECTS: &[&dyn Dialect] = &[
    &anthropic::MESSAGES,
    &anthropic::COMPLETE,
    &gemini::GENERATE,
    &gemini::STREAM_GENERATE,
    &gemini::EMBED,
    &gemini::PICTURE,
    &gemini::INTERACTIONS,
    &bedrock::CONVERSE,
    &bedrock::CONVERSE_STREAM,
    &bedrock::INVOKE,
    &bedrock::INVOKE_STREAM,
    &cohere::V2,
    &cohere::V1,
    &ollama::OLLAMA,
    &openai::Chat,
    &openai::Responses,
    &openai::Completions,
    &openai::Embeddings,
    &openai::Images,
    &openai::Threads,
    &generation::GENERATION,
    &replicate::REPLICATE,
];

/// The dialect of a request, and what it is for. `None`: it is no call of a model, as far as we know.
pub fn recognise(view: &RequestView<'_>) -> Option<(&'static dyn Dialect, Target)> {
    let mut dialects = DIALECTS.iter().copied();
    dialects.find_map(|dialect| Some((dialect, dialect.claims(view)?)))
}

/// The dialect of a request for an answer that was asked for before, what that is for, and its number.
pub fn fetched<'r>(view: &RequestView<'r>) -> Option<(&'static dyn Dialect, Target, &'r str)> {
    let mut dialects = DIALECTS.iter().copied();
    let (dialect, id) = dialects.find_map(|dialect| Some((dialect, dialect.fetched(view)?)))?;
    let target = Target {
        provider: provider_of(view.host, view.path)
            .unwrap_or(COMPATIBLE)
            .to_owned(),
        operation: Operation::Chat,
        model: None,
    };
    Some((dialect, target, id))
}

/// Hosts (a name and all that ends in a dot and it) and their providers, named as in `gen_ai.provider.name` of
/// OpenTelemetry, or, where that has no name, in its way.
const PROVIDERS: &[(&str, &str)] = &[
    ("ai21.com", "ai21"),
    ("aiplatform.googleapis.com", "gcp.vertex_ai"),
    ("aliyuncs.com", "alibaba_cloud"),
    ("anthropic.com", "anthropic"),
    ("anyscale.com", "anyscale"),
    ("azuredatabricks.net", "databricks"),
    ("baseten.co", "baseten"),
    ("cerebras.ai", "cerebras"),
    ("chatgpt.com", "openai"),
    ("cognitiveservices.azure.com", "azure.ai.openai"),
    ("cohere.ai", "cohere"),
    ("cohere.com", "cohere"),
    ("databricks.com", "databricks"),
    ("deepinfra.com", "deepinfra"),
    ("deepseek.com", "deepseek"),
    ("fireworks.ai", "fireworks"),
    ("generativelanguage.googleapis.com", "gcp.gemini"),
    ("githubcopilot.com", "github_copilot"),
    ("gateway.ai.cloudflare.com", "cloudflare"),
    ("groq.com", "groq"),
    ("huggingface.cloud", "huggingface"),
    ("huggingface.co", "huggingface"),
    ("hyperbolic.xyz", "hyperbolic"),
    ("inference.ai.azure.com", "azure.ai.inference"),
    ("inference.ml.azure.com", "azure.ai.inference"),
    ("jina.ai", "jina_ai"),
    ("lambda.ai", "lambda"),
    ("minimax.io", "minimax"),
    ("mistral.ai", "mistral_ai"),
    ("models.github.ai", "github"),
    ("moonshot.ai", "moonshot_ai"),
    ("moonshot.cn", "moonshot_ai"),
    ("nebius.com", "nebius"),
    ("novita.ai", "novita"),
    ("nvidia.com", "nvidia"),
    ("ollama.com", "ollama"),
    ("openai.azure.com", "azure.ai.openai"),
    ("openai.com", "openai"),
    ("openrouter.ai", "openrouter"),
    ("perplexity.ai", "perplexity"),
    ("replicate.com", "replicate"),
    ("sambanova.ai", "sambanova"),
    ("services.ai.azure.com", "azure.ai.inference"),
    ("siliconflow.cn", "siliconflow"),
    ("siliconflow.com", "siliconflow"),
    ("together.ai", "together"),
    ("together.xyz", "together"),
    ("voyageai.com", "voyage_ai"),
    ("watsonx.ai", "ibm.watsonx.ai"),
    ("ml.cloud.ibm.com", "ibm.watsonx.ai"),
    ("writer.com", "writer"),
    ("x.ai", "x_ai"),
    ("z.ai", "z_ai"),
    ("bigmodel.cn", "z_ai"),
];

/// Whose host this is (in lower case, without a port), by its name and by paths that only one provider has. `None`: nobody
/// knows.
pub fn provider_of(host: &str, path: &str) -> Option<&'static str> {
    // A resource of Azure answers for several of its services.
    let is_openai = is_of(host, "azure.com") && path.starts_with("/openai/");
    if is_openai || path.contains("/openai/deployments/") {
        return Some("azure.ai.openai");
    }
    if is_bedrock(host) {
        return Some("aws.bedrock");
    }
    if is_sagemaker(host) {
        return Some("aws.sagemaker");
    }
    let mut known = PROVIDERS.iter();
    // Vertex has a host for each region: `us-central1-aiplatform.googleapis.com`.
    let (_, provider) = known.find(|(name, _)| {
        is_of(host, name)
            || host.ends_with("-aiplatform.googleapis.com") && name.starts_with("aiplatform")
    })?;
    Some(provider)
}

/// `bedrock-runtime.us-east-1.amazonaws.com`, and its kin.
pub(super) fn is_bedrock(host: &str) -> bool {
    is_aws(host) && host.split('.').any(|label| label.starts_with("bedrock"))
}

fn is_sagemaker(host: &str) -> bool {
    let mut labels = host.split('.');
    let runs = |label: &str| label.starts_with("runtime");
    is_aws(host) && labels.next().is_some_and(runs) && labels.next() == Some("sagemaker")
}

fn is_aws(host: &str) -> bool {
    is_of(host, "amazonaws.com") || is_of(host, "amazonaws.com.cn") || is_of(host, "api.aws")
}

fn is_of(host: &str, name: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host);
    let before = host.strip_suffix(name);
    before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
}

/// For the fuzzer: the first byte chooses a dialect, the first line is a question and an answer, all lines are pieces.
pub fn fuzz_dialects(data: &[u8]) {
    let (first, data) = data.split_first().unwrap_or((&0, &[]));
    let choice = usize::from(*first).checked_rem(DIALECTS.len());
    let Some(dialect) = choice.and_then(|choice| DIALECTS.get(choice)) else {
        return;
    };
    let target = Target {
        provider: COMPATIBLE.to_owned(),
        operation: Operation::Chat,
        model: None,
    };
    let mut merge = dialect.merge(&target);
    for (number, line) in data.split(|byte| *byte == b'\n').enumerate() {
        if number == 0
            && let Ok(body) = serde_json::from_slice(line)
        {
            dialect.request(&target, &body);
            dialect.response(&target, 200, &body);
            dialect.response(&target, 500, &body);
        }
        merge.piece(&Piece::Json(line), &mut |_| {});
        if let Ok(line) = std::str::from_utf8(line) {
            let (event, data) = line.split_once('\t').unwrap_or(("", line));
            let event = Some(event).filter(|event| !event.is_empty());
            merge.piece(&Piece::Sse { event, data }, &mut |_| {});
        }
    }
    merge.finish();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls are told as those of another provider, and cost what that takes.
    #[test]
    fn hosts_are_known_by_their_whole_names() {
        let of = |host| provider_of(host, "/v1/chat/completions");
        assert_eq!(of("api.openai.com"), Some("openai"));
        assert_eq!(of("api.openai.com."), Some("openai"));
        assert_eq!(of("eu.api.openai.com"), Some("openai"));
        assert_eq!(of("me.openai.azure.com"), Some("azure.ai.openai"));
        assert_eq!(
            of("us-central1-aiplatform.googleapis.com"),
            Some("gcp.vertex_ai")
        );
        assert_eq!(of("api.x.ai"), Some("x_ai"));
        assert_eq!(of("netflix.ai"), None);
        assert_eq!(of("notopenai.com"), None);
        assert_eq!(of("openai.com.example.org"), None);
        assert_eq!(
            of("bedrock-runtime.us-east-1.amazonaws.com"),
            Some("aws.bedrock")
        );
        assert_eq!(of("s3.amazonaws.com"), None);
        assert_eq!(of(""), None);
        assert_eq!(
            provider_of(
                "gateway.example.org",
                "/openai/deployments/d/chat/completions"
            ),
            Some("azure.ai.openai")
        );
    }
}
