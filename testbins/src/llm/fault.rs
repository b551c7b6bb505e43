//! What goes wrong on purpose.

use serde_json::Value;

/// One kind of trouble.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection ends in the middle of the body.
    Cut,
    /// An error in the middle of a stream; without a stream, status 500.
    ErrorEvent,
    /// JSON that is none.
    Malformed,
    /// Stalls of more than a second.
    Slow,
    /// This status, with the provider's error.
    Status(u16),
}

impl Fault {
    /// `cut`, `error-event`, `malformed`, `slow` or a status. Behind an `x`, how many times the same request meets it.
    pub fn parse(word: &str) -> Option<(Self, u64)> {
        let (word, times) = match word.rsplit_once('x') {
            Some((word, times)) => (word, times.parse().ok()?),
            None => (word, u64::MAX),
        };
        let fault = match word {
            "cut" => Self::Cut,
            "error-event" => Self::ErrorEvent,
            "malformed" => Self::Malformed,
            "slow" => Self::Slow,
            status => Self::Status(
                status
                    .parse()
                    .ok()
                    .filter(|status| (400..600).contains(status))?,
            ),
        };
        Some((fault, times))
    }

    /// By header, by query or by the model's name (`fault-429`), whichever is there.
    pub fn wanted(header: Option<&str>, query: &str, model: &str) -> Option<(Self, u64)> {
        let in_query = query.split('&').find_map(|one| one.strip_prefix("fault="));
        let in_model = model.split_once("fault-").map(|(_, word)| word);
        header.or(in_query).or(in_model).and_then(Self::parse)
    }

    /// Its name in the truth log.
    pub fn name(self) -> Value {
        let name = match self {
            Self::Cut => "cut",
            Self::ErrorEvent => "error-event",
            Self::Malformed => "malformed",
            Self::Slow => "slow",
            Self::Status(_) => "status",
        };
        name.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A driver that asks for trouble would get none, and its test would show nothing.
    #[test]
    fn reads_its_names() {
        let of = |model: &str| Fault::wanted(None, "", model);
        assert_eq!(of("gpt-5"), None);
        assert_eq!(of("fault-429x2"), Some((Fault::Status(429), 2)));
        assert_eq!(of("claude-fault-529"), Some((Fault::Status(529), u64::MAX)));
        assert_eq!(
            Fault::wanted(None, "a=b&fault=cut", ""),
            Some((Fault::Cut, u64::MAX))
        );
        assert_eq!(Fault::wanted(Some("200"), "", ""), None);
    }
}
