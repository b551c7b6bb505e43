//! Pieces of streams that say nothing but how a text goes on, as nearly all do: a dialect describes them with types, and
//! they are read without making trees.
//!
//! Whatever has more, or something else in a place, does not fit those types and is read as a tree. Both ways must tell the
//! same, so nothing here takes what a tree would not: all of a piece is checked, also what is not kept, and a member that
//! is `null` is not one that is missing.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// A text, copied only if there are escapes in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text<'d>(Cow<'d, str>);

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de: 'd, 'd> Deserialize<'de> for Text<'d> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Borrowing)
    }
}

struct Borrowing;

impl<'d> Visitor<'d> for Borrowing {
    type Value = Text<'d>;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a text")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'d str) -> Result<Text<'d>, E> {
        Ok(Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Text<'d>, E> {
        Ok(Text(Cow::Owned(text.to_owned())))
    }
}

/// Whether a member is there, whatever it says: that is checked and not kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Said {
    /// It is missing.
    #[default]
    No,
    /// It is `null`.
    Null,
    /// It is there.
    Yes,
}

impl<'d> Deserialize<'d> for Said {
    fn deserialize<D: Deserializer<'d>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Checking)
    }
}

/// As serde's own `IgnoredAny`, for which serde_json passes over what it would refuse elsewhere: halves of surrogates,
/// numbers without end, bytes that are no text.
struct Checking;

impl<'d> Visitor<'d> for Checking {
    type Value = Said;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("anything")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Said, E> {
        Ok(Said::Yes)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Said, E> {
        Ok(Said::Yes)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Said, E> {
        Ok(Said::Yes)
    }

    fn visit_map<A: MapAccess<'d>>(self, mut members: A) -> Result<Said, A::Error> {
        while members.next_entry::<Said, Said>()?.is_some() {}
        Ok(Said::Yes)
    }

    fn visit_seq<A: SeqAccess<'d>>(self, mut list: A) -> Result<Said, A::Error> {
        while list.next_element::<Said>()?.is_some() {}
        Ok(Said::Yes)
    }

    fn visit_str<E>(self, _: &str) -> Result<Said, E> {
        Ok(Said::Yes)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Said, E> {
        Ok(Said::Yes)
    }

    fn visit_unit<E>(self) -> Result<Said, E> {
        Ok(Said::Null)
    }
}

/// For `deserialize_with`: a member that may be missing, but not be `null`.
pub fn present<'d, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'d>,
    T: Deserialize<'d>,
{
    T::deserialize(deserializer).map(Some)
}

/// An event that adds to one of several things: its name, which of them, and what (Anthropic, Cohere).
#[derive(Deserialize)]
#[serde(deny_unknown_fields, bound(deserialize = "D: Deserialize<'de>"))]
pub struct Numbered<'d, D> {
    /// Its name.
    #[serde(borrow, rename = "type")]
    pub kind: Text<'d>,
    /// Which.
    #[serde(default)]
    pub index: u64,
    /// What.
    pub delta: D,
}

/// The one text among these that is there, with its name; `None` if there are none or several.
pub fn only<'t, 'd, const N: usize>(
    texts: [(&'static str, &'t Option<Text<'d>>); N],
) -> Option<(&'static str, &'t Text<'d>)> {
    let mut said = texts
        .into_iter()
        .filter_map(|(name, text)| Some((name, text.as_ref()?)));
    said.next().filter(|_| said.next().is_none())
}

/// What plain pieces say besides their texts, and say anew with each: the last one stands for those before, and is read
/// when something else comes.
#[derive(Debug, Default)]
pub struct Latest {
    data: Vec<u8>,
    /// Of what, and which members it has.
    says: (u64, u32),
}

impl Latest {
    /// Keeps a piece in the place of the one before, which is given back if this one does not say all of that anew: it is of
    /// something else, or has other members.
    pub fn keep(
        &mut self,
        data: &[u8],
        of: u64,
        said: impl IntoIterator<Item = Said>,
    ) -> Option<Value> {
        let bits = said
            .into_iter()
            .fold(0, |bits, said| bits << 2 | said as u32);
        let before = match self.says == (of, bits) {
            true => None,
            false => self.take(),
        };
        self.says = (of, bits);
        self.data.clear();
        self.data.extend_from_slice(data);
        before
    }

    /// The piece that was kept, with its texts.
    pub fn take(&mut self) -> Option<Value> {
        if self.data.is_empty() {
            return None;
        }
        let piece = serde_json::from_slice(&self.data).ok();
        self.data.clear();
        piece
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A piece that is refused as a tree is taken, or one that would be taken is refused.
    #[test]
    fn what_is_not_kept_is_checked_as_a_tree_is() {
        let deep = |depth: usize| ["[".repeat(depth), "]".repeat(depth)].concat();
        for text in [
            "null",
            "true",
            "-1",
            "1.5e300",
            "18446744073709551616",
            "1e999",
            "-",
            "01",
            "\"a\\u00e9\"",
            "\"\\ud800\"",
            "\"\\x\"",
            "\"a\nb\"",
            "{\"a\": [1, {\"b\": null}], \"a\": \"\"}",
            "{\"\\udc00\": 1}",
            "{1: 2}",
            "[1,]",
            &deep(127),
            &deep(128),
        ] {
            let is_tree = serde_json::from_str::<Value>(text).is_ok();
            assert_eq!(
                serde_json::from_str::<Said>(text).is_ok(),
                is_tree,
                "{text}"
            );
        }
        let no_text = b"\"\xff\"";
        assert!(serde_json::from_slice::<Said>(no_text).is_err());
        assert!(serde_json::from_slice::<Text<'_>>(no_text).is_err());
    }

    /// What only an earlier piece said is forgotten.
    #[test]
    fn a_piece_is_given_back_unless_the_next_says_it_all() {
        let mut latest = Latest::default();
        let (yes, no) = (Said::Yes, Said::No);
        assert_eq!(latest.keep(b"1", 0, [yes, no]), None);
        assert_eq!(latest.keep(b"2", 0, [yes, no]), None);
        assert_eq!(latest.keep(b"3", 0, [no, yes]), Some(Value::from(2)));
        assert_eq!(latest.keep(b"4", 1, [no, yes]), Some(Value::from(3)));
        assert_eq!(latest.take(), Some(Value::from(4)));
        assert_eq!(latest.take(), None);
    }
}
