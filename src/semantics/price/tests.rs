use std::sync::LazyLock;

use proptest::prelude::*;
use serde_json::json;

use super::*;

const OVER: &str = r#"{"version": "mine", "prices": [
{"provider": "openai", "models": ["gpt-4o", "mine"], "input": 1, "output": 10, "cache_read": 0.5},
{"provider": "p", "models": ["full"], "input": 1, "output": 10, "cache_read": 0.5, "cache_write": 2, "cache_write_1h": 4,
 "above": [{"tokens": 1000, "input": 2, "output": 20}], "apart": ["audio"]},
{"provider": "p", "models": ["vectors"], "input": 3}]}"#;

fn usage(input: u64, output: u64) -> Usage {
    Usage {
        input_tokens: Some(input),
        output_tokens: Some(output),
        ..Usage::default()
    }
}

fn usd(model: &str, usage: &Usage) -> Option<f64> {
    static PRICES: LazyLock<Prices> = LazyLock::new(|| Prices::with_overrides(OVER).unwrap());
    Some(PRICES.cost("p", model, usage)?.usd)
}

/// What is asked through a gateway has no cost, or one that looks certain.
#[test]
fn gateways_cost_about_what_makers_want() {
    let prices = Prices::with_overrides(OVER).unwrap();
    let cost = |provider: &str, model: &str| prices.cost(provider, model, &usage(1_000_000, 0));
    let own = cost("openai", "mine").unwrap();
    assert!(!own.is_estimate);
    let passed_on = cost("openai_compatible", "mine").unwrap();
    assert_eq!((passed_on.usd, passed_on.is_estimate), (own.usd, true));
    assert_eq!(passed_on.entry, "openai/mine");
    assert_eq!(cost("groq", "mine"), None);
    assert_eq!(cost("openai_compatible", "nobody's"), None);
}

/// The table that everybody gets has an entry that cannot be used, or the table cannot be read at all.
#[test]
fn every_built_in_model_has_a_cost() {
    let prices = Prices::load().unwrap();
    assert!(!prices.entries.is_empty());
    let mut names = 0;
    for (entry, _) in &prices.entries {
        for model in &entry.models {
            let output = entry.rates.output.map_or(0, |_| 1000);
            let cost = prices.cost(&entry.provider, model, &usage(1000, output));
            let cost = cost.unwrap_or_else(|| panic!("{}/{model}", entry.provider));
            assert!(cost.usd > 0.0, "{}", cost.entry);
            assert_eq!(cost.entry, format!("{}/{model}", entry.provider));
            names += 1;
        }
        let tokens: Vec<u64> = entry.above.iter().map(|above| above.tokens).collect();
        assert!(tokens.is_sorted());
    }
    assert_eq!(names, prices.places.len());
}

/// Who writes a table by the schema has it refused; or a table passes that the schema refuses.
#[test]
fn the_schema_means_what_is_read() {
    let schema: Value = serde_json::from_str(PRICES_SCHEMA).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    let is_valid = |text: &str| schema.is_valid(&serde_json::from_str(text).unwrap());
    let entry = |entry: &str| {
        format!(r#"{{"version": "1", "prices": [{{"provider": "p", "models": ["m"], {entry}}}]}}"#)
    };
    assert!(is_valid(TABLE) && is_valid(OVER));
    for good in [r#""input": 0"#, r#""input": 1, "source": "x", "apart": []"#] {
        assert!(
            is_valid(&entry(good)) && Prices::with_overrides(&entry(good)).is_ok(),
            "{good}"
        );
    }
    let bad = [
        r#""output": 1"#,
        r#""input": "1""#,
        r#""input": -1"#,
        r#""input": 1, "output": 2e6"#,
        r#""input": 1, "inptu": 1"#,
        r#""input": 1, "above": [{"input": 1}]"#,
        r#""input": 1, "above": [{"tokens": 1, "output": 1}]"#,
        r#""input": 1, "above": [{"tokens": 1, "input": 1, "cache": 1}]"#,
    ];
    let bad = bad.map(entry);
    let others = [r#"{"prices": []}"#, r#"{"version": "1"}"#, r#"[]"#].map(str::to_owned);
    for bad in bad.iter().chain(&others) {
        assert!(!is_valid(bad), "{bad}");
        assert!(Prices::with_overrides(bad).is_err(), "{bad}");
    }
}

/// A model that nobody knows costs nothing, or what another one costs.
#[test]
fn unknown_models_have_no_cost() {
    let prices = Prices::load().unwrap();
    let of = |provider, model| prices.cost(provider, model, &usage(1, 1));
    assert!(of("openai", "gpt-4o").is_some());
    for model in ["", "x", "gpt-4x", "gpt-4ox", "gpt"] {
        assert_eq!(of("openai", model), None, "{model}");
    }
    assert_eq!(of("openai", "gpt-4o-2024-13-06"), None);
    assert_eq!(of("openai", "gpt-4o-large"), None);
    assert_eq!(of("openai_compatible", "x"), None);
    assert_eq!(of("groq", "gpt-4o"), None);
    assert_eq!(of("azure.ai.openai", "my-deployment"), None);
}

/// A new version of a known model has no cost, or an old one that costs something else takes the price of the new one.
#[test]
fn dated_versions_cost_what_their_model_costs_unless_told() {
    assert_eq!(undated("gpt-4o-2031-08-06"), Some("gpt-4o"));
    assert_eq!(undated("claude-x-20310806"), Some("claude-x"));
    assert_eq!(undated("claude-x@20310806"), Some("claude-x"));
    for none in [
        "gpt-4o",
        "-20310806",
        "x-2031-0806",
        "x-99990101",
        "x-2031é08-06",
        "x2031-08-06",
    ] {
        assert_eq!(undated(none), None, "{none}");
    }
    let prices = Prices::load().unwrap();
    let entry = |model| Some(prices.cost("openai", model, &usage(1, 1))?.entry);
    assert_eq!(entry("gpt-4o-2031-08-06").as_deref(), Some("openai/gpt-4o"));
    assert_eq!(
        entry("gpt-4o-2024-05-13").as_deref(),
        Some("openai/gpt-4o-2024-05-13")
    );
    assert_eq!(
        entry("ft:gpt-4o-2024-08-06:me::id").as_deref(),
        Some("openai/ft:gpt-4o-2024-08-06")
    );
}

/// Cached tokens are paid twice, or as if they were fresh.
#[test]
fn cached_tokens_have_their_own_prices() {
    let mut cached = usage(1000, 100);
    cached.cache_read_tokens = Some(300);
    cached.cache_write_tokens = Some(200);
    let dollars = |millionths: f64| Some(millionths / 1e6);
    assert_eq!(
        usd("full", &cached),
        dollars(500.0 + 150.0 + 400.0 + 1000.0)
    );
    cached.reported = json!({"cache_creation": {"ephemeral_1h_input_tokens": 200}});
    assert_eq!(
        usd("full", &cached),
        dollars(500.0 + 150.0 + 800.0 + 1000.0)
    );
    cached.reported = json!({"cacheDetails": [{"ttl": "1h", "inputTokens": 200}]});
    assert_eq!(
        usd("full", &cached),
        dollars(500.0 + 150.0 + 800.0 + 1000.0)
    );
    // The longer input has no prices for a cache.
    cached.input_tokens = Some(1001);
    assert_eq!(usd("full", &cached), None);
    assert_eq!(usd("full", &usage(1001, 1)), dollars(2022.0));
    cached.input_tokens = Some(499);
    assert_eq!(usd("full", &cached), None);
}

/// Half a bill is told as the whole.
#[test]
fn what_is_not_reported_has_no_cost() {
    let mut half = usage(10, 10);
    half.output_tokens = None;
    assert_eq!(usd("full", &half), None);
    assert_eq!(usd("vectors", &half), Some(30.0 / 1e6));
    assert_eq!(usd("vectors", &usage(10, 10)), None);
    half.input_tokens = None;
    assert_eq!(usd("vectors", &half), None);
    let mut heard = usage(10, 10);
    heard.reported = json!({"prompt_tokens_details": {"audio_tokens": 0}});
    assert!(usd("full", &heard).is_some());
    heard.reported = json!({"prompt_tokens_details": {"audio_tokens": 3}});
    assert_eq!(usd("full", &heard), None);
    heard.reported = json!({"promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 3}]});
    assert_eq!(usd("full", &heard), None);
    heard.reported = json!({"speed": "fast"});
    assert_eq!(usd("full", &heard), None);
}

fn call(provider: &str, asked: &str, answered: Option<&str>) -> Call {
    serde_json::from_value(json!({"provider": provider, "operation": "chat",
        "request": {"model": asked, "messages": [], "stream": false},
        "response": {"model": answered, "is_complete": true,
            "usage": {"input_tokens": 5, "output_tokens": 5, "reported": {}}}}))
    .unwrap()
}

/// A call takes the price of another model than the one that answered, or of another tier of service.
#[test]
fn the_model_that_answered_is_paid() {
    let prices = Prices::load().unwrap();
    let entry = |call: &Call| Some(prices.of_call(call)?.entry);
    let mut answered = call("openai", "gpt-4o-mini", Some("gpt-4o"));
    assert_eq!(entry(&answered).as_deref(), Some("openai/gpt-4o"));
    let response = answered.response.as_mut().unwrap();
    response.extra.insert("service_tier".into(), json!("flex"));
    assert_eq!(entry(&answered), None);
    assert_eq!(entry(&call("openai", "gpt-4o", Some("no"))), None);
    assert_eq!(
        entry(&call("openai", "gpt-4o", None)).as_deref(),
        Some("openai/gpt-4o")
    );
    assert_eq!(entry(&call("azure.ai.openai", "gpt-4o", None)), None);
    let asked = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";
    assert_eq!(
        entry(&call(
            "aws.bedrock",
            asked,
            Some("claude-sonnet-4-5-20250929")
        )),
        Some(format!("aws.bedrock/{asked}"))
    );
    let arn = format!("arn:aws:bedrock:us-east-1:1:inference-profile/{asked}");
    assert_eq!(
        entry(&call("aws.bedrock", &arn, None)),
        Some(format!("aws.bedrock/{asked}"))
    );
}

/// A user's own prices are not taken, or a mistake in them is not told with its place.
#[test]
fn overrides_replace_and_errors_name_the_entry() {
    let prices = Prices::with_overrides(OVER).unwrap();
    let cost = prices
        .cost("openai", "gpt-4o", &usage(1_000_000, 0))
        .unwrap();
    assert_eq!((cost.usd, cost.table.as_str()), (1.0, "mine"));
    assert!(prices.cost("openai", "gpt-4o-mini", &usage(1, 1)).is_some());
    let error = |entry: Value| {
        let text = json!({"version": "v", "prices": [entry]}).to_string();
        format!("{:#}", Prices::with_overrides(&text).unwrap_err())
    };
    for wrong in [json!(-1), json!("1"), json!(1e300), json!(null)] {
        let told = error(json!({"provider": "p", "models": ["m"], "input": wrong}));
        assert!(told.contains("p/m"), "{told}");
    }
    assert!(error(json!({"provider": "p", "models": ["m", "m"], "input": 1})).contains("p/m"));
    assert!(error(json!({"provider": "p", "models": []})).contains("price 1"));
    assert!(Prices::with_overrides("[").is_err());
}

/// A cost that was estimated is told as one that is certain.
#[test]
fn estimates_say_so() {
    let prices = Prices::load().unwrap();
    let mut counted = usage(1, 1);
    assert!(
        !prices
            .cost("openai", "gpt-4o", &counted)
            .unwrap()
            .is_estimate
    );
    counted.estimated_with = Some("tiktoken o200k_base".into());
    assert!(
        prices
            .cost("openai", "gpt-4o", &counted)
            .unwrap()
            .is_estimate
    );
}

proptest! {
    /// Who says more pays less.
    #[test]
    fn more_tokens_never_cost_less(
        input in 0u64..2000, output in 0u64..2000, read in 0u64..500, more in 0u64..2000
    ) {
        let of = |input, output| {
            let mut counts = usage(input, output);
            // Steps have no prices for caches here.
            counts.cache_read_tokens = Some(if input > 1000 { 0 } else { read.min(input) });
            usd("full", &counts).unwrap()
        };
        prop_assert!(of(input, output + more) >= of(input, output));
        let fresh = |input| usd("full", &usage(input, output)).unwrap();
        prop_assert!(fresh(input + more) >= fresh(input));
        prop_assert!(of(input, output) <= fresh(input));
    }

    /// The name of a model that a process made up ends the program.
    #[test]
    fn any_name_may_be_dated(name in ".{0,24}|[a-z@-]{0,4}[0-9é-]{8,12}") {
        undated(&name);
        tuned(&name);
    }
}
