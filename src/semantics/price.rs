//! What a call cost: its tokens times the prices of a versioned table (`prices.json`, made by `scripts/fetch-prices` from
//! those that litellm publishes), which users can override.
//!
//! No cost rather than a wrong one. There is none for a model or provider that the table does not name, for tokens that
//! have no price there (say, those written into a cache), for kinds of tokens with prices of their own (audio), and for
//! tiers of service that are not the standard one. A cost is that of the tokens at list price: neither tools of the
//! provider that are paid by use, nor discounts, taxes and surcharges of a region are in it.
//!
//! A server that nobody knows, and that speaks as OpenAI or Anthropic do, mostly passes on what they say: their price of a
//! model of that name is told as an estimate.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::anthropic;
use super::model::{Call, Usage};
use super::recognise::COMPATIBLE;
use crate::error::{Context, Error, Result};

static TABLE: &str = include_str!("prices.json");
/// JSON Schema of such tables.
pub const PRICES_SCHEMA: &str = include_str!("prices.schema.json");
/// What an entry may say: a name that is misspelt would be a price that is not there.
const NAMES: [&str; 10] = [
    "above",
    "apart",
    "cache_read",
    "cache_write",
    "cache_write_1h",
    "input",
    "models",
    "output",
    "provider",
    "source",
];
/// Prices are for so many tokens.
const PER: f64 = 1_000_000.0;
/// USD for a million tokens: nothing costs more, and no sum of such overflows.
const PRICE_MAX: f64 = 1_000_000.0;
/// Names of the standard tier of service, by OpenAI, Anthropic, Groq and Gemini.
const STANDARD: &[&str] = &["auto", "default", "on_demand", "standard"];

/// What the tokens of a call cost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// US dollars.
    pub usd: f64,
    /// Version of the table.
    pub table: String,
    /// Entry of the table: provider and model, `openai/gpt-4o`. Of a call for which more than one model was asked, that of
    /// the one that answered.
    pub entry: String,
    /// The tokens were counted by us and not reported, or the price is that of the model's maker and not of who was asked.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_estimate: bool,
}

/// USD for a million tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
struct Rates {
    input: Option<f64>,
    /// None for models that say nothing (embeddings).
    output: Option<f64>,
    /// Input that comes from a cache.
    cache_read: Option<f64>,
    /// Input that goes into a cache for five minutes, or for as long as the provider likes.
    cache_write: Option<f64>,
    /// For an hour.
    cache_write_1h: Option<f64>,
}

/// Other prices, for all tokens of a call whose input is longer than this.
#[derive(Clone, Debug, Deserialize)]
struct Above {
    tokens: u64,
    #[serde(flatten)]
    rates: Rates,
}

#[derive(Clone, Debug, Deserialize)]
struct Entry {
    provider: String,
    models: Vec<String>,
    #[serde(flatten)]
    rates: Rates,
    #[serde(default)]
    above: Vec<Above>,
    /// `audio`, `image` or `video`, where such tokens have other prices.
    #[serde(default)]
    apart: Vec<String>,
}

#[derive(Deserialize)]
struct Table {
    version: String,
    prices: Vec<Value>,
}

/// A table of prices.
#[derive(Clone, Debug, Default)]
pub struct Prices {
    /// Of each entry, the version of the table that it comes from.
    entries: Vec<(Entry, String)>,
    /// By provider and model.
    places: HashMap<(String, String), usize>,
}

impl Prices {
    /// The built-in table.
    pub fn load() -> Result<Self> {
        let mut prices = Self {
            entries: Vec::new(),
            places: HashMap::new(),
        };
        prices
            .add(TABLE)
            .context(|| "failed to read the built-in prices")?;
        Ok(prices)
    }

    /// The built-in table with another over it: JSON in the same form ([`PRICES_SCHEMA`]). An entry replaces the built-in ones of the same names completely.
    pub fn with_overrides(text: &str) -> Result<Self> {
        let mut prices = Self::load()?;
        prices.add(text)?;
        Ok(prices)
    }

    fn add(&mut self, text: &str) -> Result<()> {
        let table: Table = serde_json::from_str(text)
            .map_err(|error| Error::invalid(format!("no table of prices: {error}")))?;
        let mut seen = HashMap::new();
        for (number, value) in table.prices.into_iter().enumerate() {
            let entry = read(value).context(|| format!("price {}", number.saturating_add(1)))?;
            for model in &entry.models {
                let name = (entry.provider.clone(), model.clone());
                if seen.insert(name.clone(), ()).is_some() {
                    let (provider, model) = name;
                    return Err(Error::invalid(format!("{provider}/{model} has two prices")));
                }
                self.places.insert(name, self.entries.len());
            }
            self.entries.push((entry, table.version.clone()));
        }
        Ok(())
    }

    /// What a call cost. The model that answered counts, for it says which version of a model it was; on Bedrock the one
    /// that was asked, for only its name says where it runs. `None`: see the top of this file.
    pub fn of_call(&self, call: &Call) -> Option<Cost> {
        let response = call.response.as_ref()?;
        let usage = response.usage.as_ref()?;
        if !is_standard(response.extra.get("service_tier"))
            || !is_standard(usage.reported.get("service_tier"))
        {
            return None;
        }
        let asked = call.request.model.as_deref();
        let answered = response.model.as_deref();
        let model = match call.provider.as_str() {
            "aws.bedrock" => asked.or(answered),
            // Asked is a deployment, whose name says nothing.
            "azure.ai.openai" => answered,
            _ => answered.or(asked),
        };
        match iterations(&usage.reported) {
            Some(iterations) => self.sum_of(&call.provider, model?, usage, &iterations),
            None => self.cost(&call.provider, model?, usage),
        }
    }

    /// What these parts of a call cost, each with the model that it names, else with this one.
    fn sum_of(&self, provider: &str, model: &str, usage: &Usage, parts: &[&Value]) -> Option<Cost> {
        if has_surcharge(&usage.reported) {
            return None;
        }
        let nothing = Usage {
            input_tokens: Some(0),
            output_tokens: Some(0),
            ..Usage::default()
        };
        let mut sum = self.cost(provider, model, &nothing)?;
        for part in parts {
            let named = part.get("model").and_then(Value::as_str);
            let part = anthropic::usage(part)?;
            sum.usd += self.cost(provider, named.unwrap_or(model), &part)?.usd;
        }
        Some(sum)
    }

    /// What these tokens cost with this model. `None`: see the top of this file.
    pub fn cost(&self, provider: &str, model: &str, usage: &Usage) -> Option<Cost> {
        let own = self.entry(provider, model).map(|found| (provider, found));
        let is_own = own.is_some();
        let listed = || {
            let maker = maker(provider)?;
            Some((maker, self.entry(maker, model)?))
        };
        let (provider, (name, (entry, version))) = own.or_else(listed)?;
        if has_surcharge(&usage.reported) || entry.apart.iter().any(|kind| took(usage, kind)) {
            return None;
        }
        let input = usage.input_tokens?;
        let longer = entry.above.iter().filter(|above| input > above.tokens);
        let rates = longer.max_by_key(|above| above.tokens);
        let rates = rates.map_or(&entry.rates, |above| &above.rates);
        Some(Cost {
            usd: sum(rates, usage)?,
            table: version.clone(),
            entry: format!("{provider}/{name}"),
            is_estimate: usage.estimated_with.is_some() || !is_own,
        })
    }

    /// The entry of a model by its whole name, or by the one that it is a dated version, or a tuned one, of.
    fn entry<'a>(&self, provider: &str, model: &'a str) -> Option<(&'a str, &(Entry, String))> {
        let model = bare(provider, model);
        let names = [Some(model), undated(model), tuned(model)];
        names.into_iter().flatten().find_map(|name| {
            let place = self.places.get(&(provider.to_owned(), name.to_owned()))?;
            Some((name, self.entries.get(*place)?))
        })
    }
}

/// Whose models a server is likely to pass on.
fn maker(provider: &str) -> Option<&'static str> {
    match provider {
        anthropic::COMPATIBLE => Some("anthropic"),
        COMPATIBLE => Some("openai"),
        _ => None,
    }
}

fn read(value: Value) -> Result<Entry> {
    let name = match (value.get("provider"), value.pointer("/models/0")) {
        (Some(Value::String(provider)), Some(Value::String(model))) => {
            format!("{provider}/{model}")
        }
        _ => return Err(Error::invalid("provider or models are missing")),
    };
    if let Some(unknown) = unknown_name(&value) {
        let unknown = format!("{name} has a field {unknown}, which nobody knows");
        return Err(Error::invalid(unknown));
    }
    let entry: Entry = serde_json::from_value(value)
        .map_err(|error| Error::invalid(error.to_string()))
        .context(|| name.clone())?;
    let steps = entry.above.iter().map(|above| &above.rates);
    for rates in steps.chain([&entry.rates]) {
        if rates.input.is_none() {
            return Err(Error::invalid(format!("{name} has no price for input")));
        }
        let Rates {
            input,
            output,
            cache_read,
            cache_write,
            cache_write_1h,
        } = rates;
        let all = [input, output, cache_read, cache_write, cache_write_1h];
        if all
            .iter()
            .any(|price| price.is_some_and(|price| !(0.0..=PRICE_MAX).contains(&price)))
        {
            let range = format!("{name} has a price that is not in 0 to {PRICE_MAX} USD");
            return Err(Error::invalid(range));
        }
    }
    Ok(entry)
}

fn unknown_name(entry: &Value) -> Option<&str> {
    let above = entry.get("above").and_then(Value::as_array);
    let steps = above.into_iter().flatten().filter_map(Value::as_object);
    let mut in_steps = steps.flatten().filter(|(name, _)| *name != "tokens");
    let is_unknown = |name: &&String| !NAMES.contains(&name.as_str());
    let in_entry = entry.as_object()?.keys().find(is_unknown);
    let unknown =
        in_entry.or_else(|| in_steps.find_map(|(name, _)| is_unknown(&name).then_some(name)));
    unknown.map(String::as_str)
}

/// USD. `None`: counts contradict each other, or tokens have no price.
fn sum(rates: &Rates, usage: &Usage) -> Option<f64> {
    let read = usage.cache_read_tokens.unwrap_or(0);
    let written = usage.cache_write_tokens.unwrap_or(0);
    let fresh = usage
        .input_tokens?
        .checked_sub(read)?
        .checked_sub(written)?;
    let hourly = written_for_an_hour(&usage.reported);
    let brief = written.checked_sub(hourly)?;
    let output = match rates.output {
        Some(_) => usage.output_tokens?,
        None => usage.output_tokens.unwrap_or(0),
    };
    let parts = [
        (fresh, rates.input),
        (read, rates.cache_read),
        (brief, rates.cache_write),
        (hourly, rates.cache_write_1h),
        (output, rates.output),
    ];
    let used = parts.into_iter().filter(|(tokens, _)| *tokens > 0);
    let millionths: Option<f64> = used
        .map(|(tokens, price)| Some(tokens as f64 * price?))
        .sum();
    Some(millionths? / PER)
}

/// Where Anthropic asks more than one model for an answer (an advisor), or the same for more than the answer (to compact the
/// conversation), its totals count only the answer. `None`: the totals count all.
fn iterations(reported: &Value) -> Option<Vec<&Value>> {
    let list = reported.get("iterations")?.as_array()?;
    let is_answer = |one: &Value| one.get("type").is_none_or(|kind| kind == "message");
    (!list.iter().all(is_answer)).then(|| list.iter().collect())
}

/// Anthropic says `cache_creation.ephemeral_1h_input_tokens`, Bedrock's Converse `cacheDetails` with a `ttl` each.
fn written_for_an_hour(reported: &Value) -> u64 {
    let anthropic = reported.pointer("/cache_creation/ephemeral_1h_input_tokens");
    if let Some(count) = anthropic.and_then(Value::as_u64) {
        return count;
    }
    let details = reported.get("cacheDetails").and_then(Value::as_array);
    let hourly = details
        .into_iter()
        .flatten()
        .filter(|one| one.get("ttl").and_then(Value::as_str) == Some("1h"));
    let counts = hourly.filter_map(|one| one.get("inputTokens")?.as_u64());
    counts.fold(0, u64::saturating_add)
}

/// Tokens of this kind (`audio`) were reported: OpenAI's `…_details.audio_tokens`, or Gemini's lists by `modality`.
fn took(usage: &Usage, kind: &str) -> bool {
    let Some(reported) = usage.reported.as_object() else {
        return false;
    };
    let counted = format!("{kind}_tokens");
    reported.values().any(|details| match details {
        Value::Object(details) => is_some_tokens(details.get(&counted)),
        Value::Array(list) => list.iter().any(|one| {
            let modality = one.get("modality").and_then(Value::as_str);
            modality.is_some_and(|modality| modality.eq_ignore_ascii_case(kind))
                && is_some_tokens(one.get("tokenCount").or_else(|| one.get("tokens")))
        }),
        _ => false,
    })
}

fn is_some_tokens(value: Option<&Value>) -> bool {
    value
        .and_then(Value::as_u64)
        .is_some_and(|tokens| tokens > 0)
}

/// Anthropic's fast mode and inference in the US alone cost more
/// (<https://platform.claude.com/docs/en/about-claude/pricing>); Gemini says which traffic it was, and that which is paid
/// in advance, or comes in batches, has other prices.
fn has_surcharge(reported: &Value) -> bool {
    let says = |name: &str| reported.get(name).and_then(Value::as_str);
    says("speed").is_some_and(|speed| speed != "standard")
        || says("inference_geo").is_some_and(|place| place == "us")
        || says("trafficType").is_some_and(|kind| kind != "ON_DEMAND")
}

fn is_standard(tier: Option<&Value>) -> bool {
    match tier {
        None | Some(Value::Null) => true,
        Some(Value::String(tier)) => STANDARD.contains(&tier.as_str()),
        Some(_) => false,
    }
}

/// Without what providers put before the name of a model.
fn bare<'a>(provider: &str, model: &'a str) -> &'a str {
    match provider {
        "gcp.gemini" => model.strip_prefix("models/").unwrap_or(model),
        "gcp.vertex_ai" => model
            .strip_prefix("publishers/google/models/")
            .or_else(|| model.strip_prefix("google/"))
            .unwrap_or(model),
        // Not of an application inference profile, whose name says nothing.
        "aws.bedrock" if model.starts_with("arn:aws") => {
            [":inference-profile/", "::foundation-model/"]
                .into_iter()
                .find_map(|before| Some(model.split_once(before)?.1))
                .unwrap_or(model)
        }
        _ => model,
    }
}

/// The model that this is a dated version of: its name ends in `-2024-08-06`, `-20240806` or `@20240806`.
fn undated(model: &str) -> Option<&str> {
    let (name, date) = model
        .len()
        .checked_sub("-2024-08-06".len())
        .and_then(|at| model.split_at_checked(at))
        .filter(|(_, date)| date.bytes().filter(|byte| *byte == b'-').count() == 3)
        .or_else(|| {
            let at = model.len().checked_sub("-20240806".len())?;
            model.split_at_checked(at)
        })?;
    let digits = date.strip_prefix(['-', '@'])?;
    let is_spaced = digits.len() == "2024-08-06".len();
    let fields = if is_spaced {
        [digits.get(..4)?, digits.get(5..7)?, digits.get(8..)?]
    } else {
        [digits.get(..4)?, digits.get(4..6)?, digits.get(6..)?]
    };
    let gaps = [digits.get(4..5), digits.get(7..8)];
    if is_spaced && gaps != [Some("-"); 2] {
        return None;
    }
    let all_digits = |field: &&str| field.bytes().all(|byte| byte.is_ascii_digit());
    let [year, month, day] = fields;
    let is_date = fields.iter().all(all_digits)
        && ("2020".."2100").contains(&year)
        && ("01"..="12").contains(&month)
        && ("01"..="31").contains(&day);
    (is_date && !name.is_empty()).then_some(name)
}

/// OpenAI's tuned models: `ft:gpt-4o-2024-08-06:organisation:name:id` costs what `ft:gpt-4o-2024-08-06` costs.
fn tuned(model: &str) -> Option<&str> {
    let after = model.strip_prefix("ft:")?;
    let end = after.find(':')?;
    model.get(.."ft:".len().checked_add(end)?)
}

/// Reads anything as a table over the built-in one: for fuzzing.
pub fn fuzz_prices(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let usage = Usage {
        input_tokens: Some(u64::MAX),
        output_tokens: Some(u64::MAX),
        reported: serde_json::from_str(&text).unwrap_or_default(),
        ..Usage::default()
    };
    if let Ok(prices) = Prices::with_overrides(&text) {
        prices.cost("openai", &text, &usage);
        prices.cost("openai", "gpt-4o", &usage);
    }
}

#[cfg(test)]
mod tests;
