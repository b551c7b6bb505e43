//! Selections: what the fields of an event have to be. `field|modifier: value`, or a list of values of which one has to fit;
//! all fields of a map, one map of a list.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use regex_automata::meta::Regex;
use regex_automata::util::syntax;
use serde_json::Value;

use super::facts::{Facts, Known};
use super::field::{Field, Seen};
use crate::error::{Error, ErrorKind, Result};

/// Values of one field.
const VALUES_MAX: usize = 1024;
/// Bytes that a compiled regular expression may take.
const REGEX_MAX: usize = 1 << 20;

/// What the fields of an event have to be.
#[derive(Clone, Debug)]
pub struct Selection {
    /// One of them has to fit, and of that all fields.
    alternatives: Vec<Vec<Wanted>>,
}

impl Selection {
    /// Reads a selection.
    ///
    /// # Errors
    /// It is none; the error tells the field.
    pub fn parse(value: &Value) -> Result<Self> {
        let maps = match value {
            Value::Array(maps) if !maps.is_empty() => maps.as_slice(),
            value => std::slice::from_ref(value),
        };
        let mut alternatives = Vec::new();
        for map in maps {
            let Value::Object(fields) = map else {
                return Err(wrong("a selection is a map of fields, or a list of such"));
            };
            let wanted = fields.iter().map(|(key, value)| {
                let wanted = Wanted::parse(key, value);
                wanted.map_err(|error| wrong(&format!("{key}: {error}")))
            });
            let mut wanted = wanted.collect::<Result<Vec<_>>>()?;
            if wanted.is_empty() {
                return Err(wrong("a selection needs a field"));
            }
            wanted.sort_by_key(|wanted| wanted.field != Field::Type);
            alternatives.push(wanted);
        }
        Ok(Self { alternatives })
    }

    /// Whether an event fits; `None`: that is not known yet.
    pub fn fits(&self, facts: &Facts, known: &Known<'_>) -> Option<bool> {
        let mut is_known = true;
        for fields in &self.alternatives {
            match all_fit(fields, facts, known) {
                Some(true) => return Some(true),
                Some(false) => {}
                None => is_known = false,
            }
        }
        is_known.then_some(false)
    }

    /// The types of the lines that can fit; `None`: any.
    pub fn types(&self) -> Option<BTreeSet<String>> {
        let mut types = BTreeSet::new();
        for fields in &self.alternatives {
            let of_type = fields.iter().find(|wanted| wanted.field == Field::Type)?;
            match &of_type.test {
                Test::OneOf(values) => types.extend(values.iter().cloned()),
                _ => return None,
            }
        }
        Some(types)
    }

    /// Whether it asks for what was said.
    pub fn is_of_conversation(&self) -> bool {
        let mut fields = self.alternatives.iter().flatten();
        fields.any(|wanted| wanted.field.is_of_conversation())
    }
}

fn all_fit(fields: &[Wanted], facts: &Facts, known: &Known<'_>) -> Option<bool> {
    let mut is_known = true;
    for wanted in fields {
        match wanted.fits(facts, known) {
            Some(false) => return Some(false),
            Some(true) => {}
            None => is_known = false,
        }
    }
    is_known.then_some(true)
}

#[derive(Clone, Debug)]
struct Wanted {
    field: Field,
    test: Test,
    /// Each of the values has to fit something, not one of them.
    needs_all: Vec<Test>,
}

#[derive(Clone, Debug)]
enum Test {
    Cidr(Vec<(IpAddr, u8)>),
    Contains(Vec<String>),
    Ends(Vec<String>),
    Exists(bool),
    Glob(GlobSet),
    Limit(Limit, f64),
    OneOf(HashSet<String>),
    Regex(Box<Regex>),
    Starts(Vec<String>),
}

#[derive(Clone, Copy, Debug)]
enum Limit {
    Above,
    AtLeast,
    AtMost,
    Below,
}

impl Wanted {
    fn parse(key: &str, value: &Value) -> Result<Self> {
        let mut parts = key.split('|');
        let field = Field::parse(parts.next().unwrap_or_default()).map_err(|why| wrong(&why))?;
        let mut modifiers: Vec<_> = parts.collect();
        let needs_all = modifiers.last() == Some(&"all");
        modifiers.truncate(modifiers.len() - usize::from(needs_all));
        let modifier = match modifiers.as_slice() {
            [] => "",
            [one] => one,
            [_, more, ..] => return Err(wrong(&format!("one modifier too many: {more}"))),
        };
        let values = values(value)?;
        if !needs_all {
            let test = Test::parse(modifier, values)?;
            return Ok(Self {
                field,
                test,
                needs_all: Vec::new(),
            });
        }
        let each = values
            .into_iter()
            .map(|value| Test::parse(modifier, vec![value]));
        Ok(Self {
            field,
            test: Test::Exists(true),
            needs_all: each.collect::<Result<_>>()?,
        })
    }

    fn fits(&self, facts: &Facts, known: &Known<'_>) -> Option<bool> {
        let seen = self.field.seen(facts, known);
        if seen == Seen::Unknown {
            return None;
        }
        Some(self.test.fits(&seen) && self.needs_all.iter().all(|test| test.fits(&seen)))
    }
}

fn values(value: &Value) -> Result<Vec<String>> {
    let values = match value {
        Value::Array(values) => values.as_slice(),
        value => std::slice::from_ref(value),
    };
    if values.is_empty() || values.len() > VALUES_MAX {
        return Err(wrong("needs one to 1024 values"));
    }
    let texts = values.iter().map(|value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(is) => Ok(is.to_string()),
        _ => Err(wrong("a value is a text, a number, true or false")),
    });
    texts.collect()
}

impl Test {
    fn parse(modifier: &str, values: Vec<String>) -> Result<Self> {
        Ok(match modifier {
            "" => Self::OneOf(values.into_iter().collect()),
            "cidr" => Self::Cidr(values.iter().map(|net| cidr(net)).collect::<Result<_>>()?),
            "contains" => Self::Contains(values),
            "endswith" => Self::Ends(values),
            "exists" => Self::Exists(one(&values)?.parse().map_err(|_| wrong("true or false"))?),
            "glob" => Self::Glob(globs(&values)?),
            "gt" => Self::Limit(Limit::Above, number(&values)?),
            "gte" => Self::Limit(Limit::AtLeast, number(&values)?),
            "lt" => Self::Limit(Limit::Below, number(&values)?),
            "lte" => Self::Limit(Limit::AtMost, number(&values)?),
            "re" => Self::Regex(Box::new(regex(&values)?)),
            "startswith" => Self::Starts(values),
            other => return Err(wrong(&format!("there is no modifier {other:?}"))),
        })
    }

    fn fits(&self, seen: &Seen<'_>) -> bool {
        if let Self::Exists(wanted) = self {
            return (*seen != Seen::Absent) == *wanted;
        }
        let mut fits = false;
        seen.each_text(&mut |text| fits = fits || self.fits_text(text));
        fits
    }

    fn fits_text(&self, text: &str) -> bool {
        match self {
            Self::Cidr(nets) => match text.parse::<IpAddr>() {
                Ok(ip) => nets.iter().any(|(net, bits)| is_in(ip, *net, *bits)),
                Err(_) => false,
            },
            Self::Contains(parts) => parts.iter().any(|part| text.contains(part.as_str())),
            Self::Ends(ends) => ends.iter().any(|end| text.ends_with(end.as_str())),
            Self::Exists(wanted) => *wanted,
            Self::Glob(globs) => globs.is_match(text),
            Self::Limit(limit, wanted) => text.parse().is_ok_and(|number: f64| match limit {
                Limit::Above => number > *wanted,
                Limit::AtLeast => number >= *wanted,
                Limit::AtMost => number <= *wanted,
                Limit::Below => number < *wanted,
            }),
            Self::OneOf(values) => values.contains(text),
            Self::Regex(regex) => regex.is_match(text),
            Self::Starts(starts) => starts.iter().any(|start| text.starts_with(start.as_str())),
        }
    }
}

fn wrong(why: &str) -> Error {
    Error::new(ErrorKind::Usage, why)
}

fn one(values: &[String]) -> Result<&str> {
    match values {
        [value] => Ok(value),
        _ => Err(wrong("needs one value")),
    }
}

fn number(values: &[String]) -> Result<f64> {
    let number: f64 = one(values)?.parse().map_err(|_| wrong("needs a number"))?;
    match number.is_finite() {
        true => Ok(number),
        false => Err(wrong("needs a number")),
    }
}

/// `*` ends at a slash, `**` does not.
fn globs(patterns: &[String]) -> Result<GlobSet> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        let glob = GlobBuilder::new(pattern).literal_separator(true).build();
        set.add(glob.map_err(|error| wrong(&error.to_string()))?);
    }
    set.build().map_err(|error| wrong(&error.to_string()))
}

/// Takes time that grows with the text only.
fn regex(patterns: &[String]) -> Result<Regex> {
    let config = Regex::config()
        .nfa_size_limit(Some(REGEX_MAX))
        .hybrid_cache_capacity(REGEX_MAX);
    let built = Regex::builder()
        .configure(config)
        .syntax(syntax::Config::new().nest_limit(64))
        .build_many(patterns);
    built.map_err(|error| {
        let why = error
            .syntax_error()
            .map_or_else(|| error.to_string(), ToString::to_string);
        wrong(&why)
    })
}

fn cidr(text: &str) -> Result<(IpAddr, u8)> {
    let (ip, bits) = text.split_once('/').unwrap_or((text, ""));
    let ip: IpAddr = ip
        .parse()
        .map_err(|_| wrong(&format!("{text:?} is no network")))?;
    let most = if ip.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        "" => most,
        bits => bits
            .parse()
            .ok()
            .filter(|bits| *bits <= most)
            .ok_or_else(|| wrong(&format!("{text:?} is no network")))?,
    };
    Ok((ip, bits))
}

fn is_in(ip: IpAddr, net: IpAddr, bits: u8) -> bool {
    let all_but = |width: u32| width.saturating_sub(bits.into());
    match (ip, net) {
        (IpAddr::V4(ip), IpAddr::V4(net)) => {
            let shift = all_but(32);
            ip.to_bits().checked_shr(shift) == net.to_bits().checked_shr(shift)
        }
        (IpAddr::V6(ip), IpAddr::V6(net)) => {
            let shift = all_but(128);
            ip.to_bits().checked_shr(shift) == net.to_bits().checked_shr(shift)
        }
        _ => false,
    }
}
