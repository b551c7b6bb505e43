//! The options of all benches.

use std::env;
use std::path::PathBuf;
use std::str::FromStr;

use super::Result;

/// What a bench was asked for.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `--rounds N`: each bench has a number of its own.
    pub rounds: Option<u32>,
    /// `--seconds N`: how long the program talks in one round.
    pub seconds: Option<u64>,
    /// `--minutes N`: how long the whole takes, where that is what counts.
    pub minutes: Option<f64>,
    /// `--only NAME`: parts whose names contain it; may be given several times.
    pub only: Vec<String>,
    /// `--json`: one JSON object instead of the tables.
    pub json: bool,
    /// `--from FILE`: measures nothing, and prints the tables of what `--json` printed before.
    pub from: Option<PathBuf>,
    /// `--csv FILE`: what is measured as it comes, where the bench takes samples.
    pub csv: Option<PathBuf>,
    /// `--plot FILE`: an SVG of it, where the bench has one.
    pub plot: Option<PathBuf>,
}

impl Options {
    /// `None` for `cargo test --benches`, which asks every bench and wants nothing measured.
    ///
    /// # Errors
    /// An option is unknown or lacks its value.
    pub fn parse() -> Result<Option<Self>> {
        let mut options = Self::default();
        let mut words = env::args().skip(1);
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
            match word.as_str() {
                "--test" | "--list" => return Ok(None),
                "--bench" => {} // from cargo
                "--json" => options.json = true,
                "--rounds" => options.rounds = Some(number(&value()?)?),
                "--seconds" => options.seconds = Some(number(&value()?)?),
                "--minutes" => options.minutes = Some(number(&value()?)?),
                "--only" => options.only.push(value()?),
                "--csv" => options.csv = Some(value()?.into()),
                "--from" => options.from = Some(value()?.into()),
                "--plot" => options.plot = Some(value()?.into()),
                _ => return Err(format!("unknown option {word}").into()),
            }
        }
        Ok(Some(options))
    }

    /// Whether this part is wanted.
    pub fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| name.contains(only.as_str()))
    }
}

fn number<T: FromStr>(text: &str) -> Result<T> {
    text.parse()
        .map_err(|_| format!("not a number: {text}").into())
}
