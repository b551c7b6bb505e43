//! Whether a program that runs is what a tool call wanted. Agents wrap commands in shells, in wrappers of their own and in
//! `eval`; what is compared is what is inside. A command is known by what it is, and by the name of its field only second:
//! each agent has other names.

use serde_json::Value;

use super::node::Confidence;
use super::places::each_string;
use crate::deeds::deed::Exec;

/// Commands that are looked for in the arguments of one tool call.
const WANTED_MAX: usize = 64;
/// Of one program's arguments, commands inside of commands.
const FORMS_MAX: usize = 16;
/// Bytes of a command that are looked into.
const SCRIPT_MAX: usize = 256 << 10;
/// Shells in shells.
const DEPTH_MAX: usize = 4;
/// Shorter texts stand in others by chance.
const PART_MIN: usize = 6;
/// Shorter words are in many commands.
const WORD_MIN: usize = 3;

const SHELLS: [&str; 9] = [
    "ash", "bash", "busybox", "dash", "fish", "ksh", "rbash", "sh", "zsh",
];
const OPERATORS: [&str; 10] = ["&", "&&", ";", "<", ">", ">>", "|", "||", "2>&1", ">|"];

/// Something in a tool call's arguments that may be a command.
#[derive(Clone, Debug)]
pub struct Wanted {
    text: String,
    /// As a shell splits it; of a list, its words.
    words: Vec<String>,
    /// A list of words, or of a field that commands stand in.
    is_command: bool,
}

/// A command that runs, in one of the ways to read it.
#[derive(Debug)]
struct Form {
    text: String,
    words: Vec<String>,
    /// Words that no shell reads again.
    is_plain: bool,
}

/// What runs.
#[derive(Debug)]
pub struct Ran {
    forms: Vec<Form>,
    args: Vec<String>,
    is_cut: bool,
}

/// How a program fits a tool call: the greater, the better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fit {
    rank: u8,
    /// How sure that makes it, if nothing else fits.
    pub confidence: Confidence,
    /// In words.
    pub reason: &'static str,
}

const SAME: &str = "its command is what the tool call wants";
const INSIDE: &str = "the command that the tool call wants is a part of its command";
const AROUND: &str = "its command is a part of what the tool call wants";
const WORD: &str = "an argument of the tool call is a word of its command";
const BEGINNING: &str = "what is known of its command is the beginning of what the tool call wants";

impl Fit {
    fn exact(reason: &'static str) -> Self {
        Self {
            rank: 5,
            confidence: Confidence::Exact,
            reason,
        }
    }

    fn likely(rank: u8, reason: &'static str) -> Self {
        Self {
            rank,
            confidence: Confidence::Likely,
            reason,
        }
    }
}

/// What may be commands in the arguments of a tool call.
pub fn wanted(arguments: &Value) -> Vec<Wanted> {
    let mut all = Vec::new();
    lists(arguments, &mut all, 0);
    each_string(arguments, &mut |key, text| {
        let text = text.trim();
        if text.is_empty() || text.len() > SCRIPT_MAX || all.len() >= WANTED_MAX {
            return;
        }
        all.push(Wanted {
            text: text.to_owned(),
            words: shlex::split(text).unwrap_or_default(),
            is_command: key.is_none_or(names_command),
        });
    });
    all
}

fn names_command(key: &str) -> bool {
    const NAMES: [&str; 9] = [
        "argv",
        "bash",
        "cmd",
        "code",
        "command",
        "input",
        "script",
        "shell_command",
        "source",
    ];
    let key = key.to_ascii_lowercase();
    NAMES.contains(&key.as_str()) || key.ends_with("command") || key.ends_with("_cmd")
}

/// Commands that are lists of words already, or a word and a list.
fn lists(value: &Value, all: &mut Vec<Wanted>, depth: usize) {
    if depth > DEPTH_MAX || all.len() >= WANTED_MAX {
        return;
    }
    let words = |value: &Value| -> Option<Vec<String>> {
        let words = value.as_array()?.iter();
        let words: Option<Vec<_>> = words.map(|word| word.as_str().map(str::to_owned)).collect();
        words.filter(|words| !words.is_empty())
    };
    match value {
        Value::Object(fields) => {
            let program = fields.iter().find_map(|(key, value)| {
                let program = value.as_str()?;
                (names_command(key) || key == "program").then(|| program.to_owned())
            });
            if let (Some(program), Some(args)) = (program, fields.get("args").and_then(words)) {
                all.extend(argv([vec![program], args].concat()));
            }
            fields
                .values()
                .for_each(|value| lists(value, all, depth + 1));
        }
        Value::Array(items) => match words(value) {
            Some(words) => all.extend(argv(words)),
            None => items.iter().for_each(|value| lists(value, all, depth + 1)),
        },
        _ => {}
    }
}

/// A list of words, and the commands that it has a shell run.
fn argv(words: Vec<String>) -> Vec<Wanted> {
    let mut forms = Vec::new();
    unwrap(&words, &mut forms, 0);
    let inner = forms.into_iter().map(|form| Wanted {
        text: form.text,
        words: form.words,
        is_command: true,
    });
    let mut all: Vec<_> = inner.collect();
    all.push(Wanted {
        text: words.join(" "),
        words,
        is_command: true,
    });
    all
}

/// What a program that has begun is, in all ways to read it.
pub fn ran(exec: &Exec) -> Ran {
    let mut forms = Vec::new();
    unwrap(&exec.args, &mut forms, 0);
    forms.push(Form {
        text: exec.args.join(" "),
        words: exec.args.clone(),
        is_plain: true,
    });
    Ran {
        forms,
        args: exec.args.clone(),
        is_cut: exec.args_missing > 0,
    }
}

/// Commands that these words have a shell run, those inside of these included.
fn unwrap(words: &[String], forms: &mut Vec<Form>, depth: usize) {
    let shells = words.iter().enumerate();
    let scripts = shells.filter(|(_, word)| is_shell(word));
    let scripts = scripts.filter_map(|(at, _)| script(words.get(at + 1..)?));
    let evals = words.iter().enumerate().filter(|(_, word)| *word == "eval");
    let evals = evals.filter_map(|(at, _)| words.get(at + 1));
    for text in scripts.chain(evals).take(FORMS_MAX) {
        let text = text.trim();
        if forms.len() >= FORMS_MAX || depth > DEPTH_MAX || text.len() > SCRIPT_MAX {
            return;
        }
        for text in [Some(text), grouped(text)].into_iter().flatten() {
            let words = shlex::split(text).unwrap_or_default();
            unwrap(&words, forms, depth + 1);
            forms.push(Form {
                text: text.to_owned(),
                words,
                is_plain: false,
            });
        }
    }
}

/// What a shell is to run: the first word behind its options, if `-c` is among them.
fn script(words: &[String]) -> Option<&String> {
    let mut has_command = false;
    let mut words = words.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "-o" | "+o" | "-O" | "+O" | "--rcfile" | "--init-file" => {
                words.next()?;
            }
            option if option.starts_with("--") => {}
            option if option.starts_with('-') && option.len() > 1 => {
                has_command |= option.contains('c');
            }
            // `busybox sh -c …`
            word if is_shell(word) && !has_command => {}
            _ => return Some(word).filter(|_| has_command),
        }
    }
    None
}

fn is_shell(word: &str) -> bool {
    SHELLS.contains(&base_name(word).trim_start_matches('-'))
}

fn base_name(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

/// The inside of `…{ COMMAND; }…`, where an agent's own words stand around it.
fn grouped(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("{ ")?;
    let (inside, _) = rest.rsplit_once('}')?;
    let inside = inside.trim_end();
    Some(inside.strip_suffix(';').unwrap_or(inside).trim())
}

/// How well what runs fits what is wanted; `None`: not at all.
pub fn fit(wanted: &[Wanted], ran: &Ran) -> Option<Fit> {
    let of = |wanted: &Wanted| {
        ran.forms
            .iter()
            .filter_map(|form| one(wanted, form, ran))
            .max()
    };
    let best = wanted.iter().filter_map(of).max();
    best.or_else(|| {
        let is_word =
            |wanted: &&Wanted| wanted.text.len() >= WORD_MIN && is_word(&wanted.text, ran);
        wanted.iter().find(is_word).map(|_| Fit::likely(1, WORD))
    })
}

fn is_word(text: &str, ran: &Ran) -> bool {
    ran.args.iter().skip(1).any(|word| word.trim() == text)
}

fn one(wanted: &Wanted, form: &Form, ran: &Ran) -> Option<Fit> {
    let form_text = form.text.trim();
    if ran.is_cut {
        let is_beginning = form_text.len() >= 64 && wanted.text.starts_with(form_text);
        return is_beginning.then(|| Fit::likely(3, BEGINNING));
    }
    let is_telling = wanted.is_command || wanted.words.len() > 1;
    if wanted.text == form_text && !form.is_plain {
        return Some(match is_telling {
            true => Fit::exact(SAME),
            false => Fit::likely(4, SAME),
        });
    }
    if are_same(&wanted.words, &form.words) {
        let has_operator = wanted
            .words
            .iter()
            .any(|word| OPERATORS.contains(&word.as_str()));
        return Some(match form.is_plain && is_telling && !has_operator {
            true => Fit::exact(SAME),
            false => Fit::likely(4, SAME),
        });
    }
    if wanted.is_command && !form.is_plain && has_part(form_text, &wanted.text) {
        return Some(Fit::likely(3, INSIDE));
    }
    // An agent's program is not meant by whatever names it.
    let is_whole = form.words.len() > 1 && has_part(&wanted.text, form_text);
    (wanted.is_command && is_whole).then(|| Fit::likely(2, AROUND))
}

/// The same words; the program may be named with its directory.
fn are_same(wanted: &[String], ran: &[String]) -> bool {
    match (wanted.split_first(), ran.split_first()) {
        (Some((wanted, rest)), Some((ran, others))) => {
            rest == others && (wanted == ran || base_name(wanted) == base_name(ran))
        }
        _ => false,
    }
}

/// Whether a command stands in a text as one of its own: what is around it ends a command, or is a quotation mark.
fn has_part(text: &str, part: &str) -> bool {
    if part.len() < PART_MIN {
        return false;
    }
    text.match_indices(part).take(64).any(|(at, _)| {
        let before = text.get(..at).unwrap_or_default();
        let behind = text.get(at + part.len()..).unwrap_or_default();
        ends(before.chars().rev()) && ends(behind.chars())
    })
}

fn ends(mut rest: impl Iterator<Item = char>) -> bool {
    let next = rest.find(|c| *c == '\n' || !c.is_whitespace());
    next.is_none_or(|c| "\n;&|(){}<>\"'`".contains(c))
}
