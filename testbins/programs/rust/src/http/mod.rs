//! HTTP clients and a server that programs really use, above the same TLS.
//!
//! A client posts each message to a path that names it and the answer that is wanted, or does with
//! `--get` and `--post` what some other server understands.

pub mod reqwest;
pub mod server;
pub mod ureq;

use crate::message::{self, Kind, Plan, check};
use crate::options::Options;
use crate::run::Failure;

/// One request, and what shall come back if that is known.
struct Exchange {
    is_post: bool,
    url: String,
    body: Vec<u8>,
    expected: Option<Vec<u8>>,
}

impl Exchange {
    fn new(options: &Options, plan: &Plan, number: usize) -> Result<Self, Failure> {
        let url = |path: &str| format!("https://{}:{}{path}", options.host, options.port);
        let body = match &options.body {
            Some(file) => std::fs::read(file)?,
            None => plan.request(number),
        };
        if let Some(path) = options.get.as_ref().or(options.post.as_ref()) {
            return Ok(Self {
                is_post: options.get.is_none(),
                url: url(path),
                body,
                expected: None,
            });
        }
        let answer = plan.answer(number);
        let path = format!("/{}/{number}/{}", plan.connection, answer.len());
        Ok(Self {
            is_post: true,
            url: url(&path),
            body,
            expected: Some(answer),
        })
    }

    /// Checks an answer; one that is not known is printed.
    fn finish(&self, answer: &[u8]) -> Result<(), Failure> {
        match &self.expected {
            Some(expected) => check(answer, expected),
            None => crate::run::say(&String::from_utf8_lossy(answer)),
        }
    }
}

/// What the server says to a path and a body; `None` if it does not know the path.
fn answer_to(path: &str, body: &[u8]) -> Option<Vec<u8>> {
    let mut numbers = path.strip_prefix('/')?.split('/').map(str::parse);
    let mut next = || numbers.next()?.ok();
    let (connection, number, size) = (next()?, next()?, next()?);
    let expected = message::bytes(connection, number, Kind::Request, body.len());
    (body == expected).then(|| message::bytes(connection, number, Kind::Answer, size))
}
