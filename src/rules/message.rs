//! What a finding says: a text with fields in braces, `{by.name} runs {exe}, which {1.by.name} wrote`. A number before the
//! field is that of the step.

use super::facts::{Facts, Known};
use super::field::{Field, Seen};
use crate::error::{Error, ErrorKind, Result};

/// Bytes that are shown of a field.
const SHOWN_MAX: usize = 200;
/// Bytes of a template.
const TEMPLATE_MAX: usize = 1024;

/// A text with fields in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// Of the step with this number, from 0.
    Field(usize, Field),
}

impl Template {
    /// Reads a template for a rule of so many steps.
    ///
    /// # Errors
    /// It is none.
    pub fn parse(text: &str, steps: usize) -> Result<Self> {
        let wrong = |why: String| Error::new(ErrorKind::Usage, format!("message: {why}"));
        if text.len() > TEMPLATE_MAX {
            return Err(wrong("longer than 1024 bytes".into()));
        }
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some((before, behind)) = rest.split_once('{') {
            let (name, after) = behind
                .split_once('}')
                .ok_or_else(|| wrong("a brace is not closed".into()))?;
            pieces.push(Piece::Text(before.to_owned()));
            pieces.push(field(name, steps).map_err(wrong)?);
            rest = after;
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Ok(Self { pieces })
    }

    /// What an event says of its step: texts in the order of the pieces that are of this step.
    pub fn told(&self, step: usize, facts: &Facts, known: &Known<'_>) -> Vec<String> {
        let fields = self.pieces.iter().filter_map(|piece| match piece {
            Piece::Field(of, field) if *of == step => Some(field),
            _ => None,
        });
        fields
            .map(|field| shown(&field.seen(facts, known)))
            .collect()
    }

    /// With what each step told.
    pub fn fill(&self, told: &[Vec<String>]) -> String {
        let mut told: Vec<_> = told.iter().map(|texts| texts.iter()).collect();
        let mut text = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(fixed) => text.push_str(fixed),
                Piece::Field(step, _) => {
                    let value = told.get_mut(*step).and_then(Iterator::next);
                    text.push_str(value.map_or("?", String::as_str));
                }
            }
        }
        text
    }
}

fn field(name: &str, steps: usize) -> Result<Piece, String> {
    let last = steps.saturating_sub(1);
    let number = name
        .split_once('.')
        .and_then(|(step, name)| Some((step.parse::<usize>().ok()?, name)));
    match number {
        Some((step, name)) if (1..=steps).contains(&step) => {
            Ok(Piece::Field(step - 1, Field::parse(name)?))
        }
        Some((step, _)) => Err(format!("there is no step {step}")),
        None => Ok(Piece::Field(last, Field::parse(name)?)),
    }
}

fn shown(seen: &Seen<'_>) -> String {
    let mut text = String::new();
    seen.each_text(&mut |value| {
        if text.len() < SHOWN_MAX {
            text.push_str(if text.is_empty() { "" } else { ", " });
            text.push_str(value);
        }
    });
    if text.is_empty() {
        text.push('?');
    }
    cut(text, SHOWN_MAX)
}

/// The beginning of a long text.
pub fn cut(mut text: String, most: usize) -> String {
    if text.len() > most {
        let end = (0..=most)
            .rev()
            .find(|at| text.is_char_boundary(*at))
            .unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}
