//! Boolean expressions over the selections of a rule: `wrote and not (builder or 1 of system*)`. What is not known yet stays
//! so (Kleene's three values): a rule is never right because something was not seen.

use crate::error::{Error, ErrorKind, Result};

/// Bytes of an expression.
const TEXT_MAX: usize = 4096;
/// Brackets in brackets.
const DEPTH_MAX: usize = 32;

/// An expression; selections are by their place in the rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expr {
    /// All of them; of none: true.
    All(Vec<Expr>),
    /// At least one.
    Any(Vec<Expr>),
    /// The opposite.
    Not(Box<Expr>),
    /// It fits.
    Selection(usize),
}

impl Expr {
    /// Reads an expression over selections of these names.
    ///
    /// # Errors
    /// It is none; the error tells where.
    pub fn parse(text: &str, names: &[String]) -> Result<Self> {
        if text.len() > TEXT_MAX {
            return Err(wrong(0, "longer than 4096 bytes"));
        }
        let mut parser = Parser {
            words: words(text)?,
            at: 0,
            names,
            end: text.len(),
        };
        let expr = parser.any(0)?;
        match parser.next() {
            None => Ok(expr),
            Some((at, word)) => Err(wrong(at, &format!("{word:?} is not expected"))),
        }
    }

    /// Whether it is true, if each selection is what `fits` says.
    pub fn eval(&self, fits: &mut dyn FnMut(usize) -> Option<bool>) -> Option<bool> {
        match self {
            Self::All(parts) => join(parts, false, fits),
            Self::Any(parts) => join(parts, true, fits),
            Self::Not(part) => part.eval(fits).map(|is| !is),
            Self::Selection(index) => fits(*index),
        }
    }
}

/// Ends at the first part that decides.
fn join(
    parts: &[Expr],
    decides: bool,
    fits: &mut dyn FnMut(usize) -> Option<bool>,
) -> Option<bool> {
    let mut is_known = true;
    for part in parts {
        match part.eval(fits) {
            Some(is) if is == decides => return Some(decides),
            Some(_) => {}
            None => is_known = false,
        }
    }
    is_known.then_some(!decides)
}

fn wrong(at: usize, why: &str) -> Error {
    Error::new(ErrorKind::Usage, format!("column {}: {why}", at + 1))
}

fn words(text: &str) -> Result<Vec<(usize, &str)>> {
    let mut words = Vec::new();
    let mut start = None;
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_-*.".contains(c);
    for (at, c) in text.char_indices() {
        if is_name(c) {
            start.get_or_insert(at);
            continue;
        }
        words.extend(
            start
                .take()
                .map(|start| (start, text.get(start..at).unwrap_or_default())),
        );
        match c {
            '(' | ')' => words.push((at, text.get(at..at + 1).unwrap_or_default())),
            c if c.is_whitespace() => {}
            c => return Err(wrong(at, &format!("{c:?} has no place here"))),
        }
    }
    words.extend(start.map(|start| (start, text.get(start..).unwrap_or_default())));
    Ok(words)
}

struct Parser<'p> {
    words: Vec<(usize, &'p str)>,
    at: usize,
    names: &'p [String],
    end: usize,
}

impl<'p> Parser<'p> {
    fn next(&mut self) -> Option<(usize, &'p str)> {
        let word = self.words.get(self.at).copied();
        self.at += usize::from(word.is_some());
        word
    }

    fn takes(&mut self, wanted: &str) -> bool {
        let is_it = self
            .words
            .get(self.at)
            .is_some_and(|(_, word)| *word == wanted);
        self.at += usize::from(is_it);
        is_it
    }

    fn any(&mut self, depth: usize) -> Result<Expr> {
        let mut parts = vec![self.all(depth)?];
        while self.takes("or") {
            parts.push(self.all(depth)?);
        }
        Ok(one_or(parts, Expr::Any))
    }

    fn all(&mut self, depth: usize) -> Result<Expr> {
        let mut parts = vec![self.not(depth)?];
        while self.takes("and") {
            parts.push(self.not(depth)?);
        }
        Ok(one_or(parts, Expr::All))
    }

    fn not(&mut self, depth: usize) -> Result<Expr> {
        if depth > DEPTH_MAX {
            return Err(wrong(self.end, "nested too deep"));
        }
        if self.takes("not") {
            return Ok(Expr::Not(Box::new(self.not(depth + 1)?)));
        }
        if self.takes("(") {
            let inner = self.any(depth + 1)?;
            return match self.takes(")") {
                true => Ok(inner),
                false => Err(wrong(self.end, "a bracket is not closed")),
            };
        }
        self.name()
    }

    /// `name`, `1 of prefix*`, `all of them`
    fn name(&mut self) -> Result<Expr> {
        let Some((at, word)) = self.next() else {
            return Err(wrong(self.end, "a selection is missing"));
        };
        if self.takes("of") {
            return self.several(at, word);
        }
        match self.names.iter().position(|name| name == word) {
            Some(index) => Ok(Expr::Selection(index)),
            None => Err(wrong(at, &format!("there is no selection {word:?}"))),
        }
    }

    fn several(&mut self, at: usize, how_many: &str) -> Result<Expr> {
        let Some((place, which)) = self.next() else {
            return Err(wrong(self.end, "of what?"));
        };
        let prefix = which.strip_suffix('*');
        let is_one = |name: &str| match prefix {
            _ if which == "them" => true,
            Some(prefix) => name.starts_with(prefix),
            None => name == which,
        };
        let names = self.names.iter().enumerate();
        let parts: Vec<_> = names
            .filter(|(_, name)| is_one(name))
            .map(|(index, _)| Expr::Selection(index))
            .collect();
        match how_many {
            _ if parts.is_empty() => Err(wrong(place, &format!("there is no selection {which:?}"))),
            "1" | "any" => Ok(Expr::Any(parts)),
            "all" => Ok(Expr::All(parts)),
            _ => Err(wrong(at, "1 of, any of, or all of")),
        }
    }
}

fn one_or(mut parts: Vec<Expr>, several: fn(Vec<Expr>) -> Expr) -> Expr {
    match (parts.len(), parts.pop()) {
        (1, Some(part)) => part,
        (_, last) => {
            parts.extend(last);
            several(parts)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names() -> Vec<String> {
        ["a", "b", "sys_1", "sys_2"].map(str::to_owned).to_vec()
    }

    fn value(text: &str, known: [Option<bool>; 4]) -> Option<bool> {
        Expr::parse(text, &names())
            .unwrap()
            .eval(&mut |index| known[index])
    }

    /// A rule would mean something else than it says.
    #[test]
    fn expressions_mean_what_they_say() {
        let (t, f, u) = (Some(true), Some(false), None);
        for (text, known, is) in [
            ("a and b or sys_1", [f, f, t, f], t),
            ("a and (b or sys_1)", [f, f, t, f], f),
            ("not a and b", [f, t, f, f], t),
            ("not (a and b)", [f, t, f, f], t),
            ("1 of sys_*", [f, f, f, t], t),
            ("all of sys_*", [f, f, f, t], f),
            ("all of them", [t, t, t, t], t),
            ("not not a", [t, f, f, f], t),
            ("a and b", [u, f, f, f], f),
            ("a and b", [u, t, f, f], u),
            ("a or b", [u, t, f, f], t),
            ("not a", [u, f, f, f], u),
        ] {
            assert_eq!(value(text, known), is, "{text}");
        }
    }

    /// Nonsense would be taken for something.
    #[test]
    fn nonsense_is_refused_with_its_place() {
        for (text, why) in [
            ("", "column 1: a selection is missing"),
            ("a and", "column 6: a selection is missing"),
            ("(a", "column 3: a bracket is not closed"),
            ("a b", "column 3: \"b\" is not expected"),
            ("c", "column 1: there is no selection \"c\""),
            ("a | b", "column 3: '|' has no place here"),
            ("2 of sys_*", "column 1: 1 of, any of, or all of"),
            ("1 of x*", "column 6: there is no selection \"x*\""),
        ] {
            assert_eq!(
                Expr::parse(text, &names()).unwrap_err().to_string(),
                why,
                "{text}"
            );
        }
        assert!(Expr::parse(&"(".repeat(3000), &names()).is_err());
        assert!(Expr::parse(&"not ".repeat(1000), &names()).is_err());
    }

    proptest! {
        /// It would panic on something that a user typed.
        #[test]
        fn any_text_is_an_expression_or_an_error(text in "[ab()*1 notadrfsy_\\PC]{0,80}") {
            let _ = Expr::parse(&text, &names());
        }
    }
}
