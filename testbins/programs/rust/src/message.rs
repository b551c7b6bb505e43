//! What is sent: bytes that follow from connection, message and direction, so that the receiver can
//! check them and no two streams are alike.

use std::str::FromStr;

use crate::options::Options;
use crate::run::Failure;

/// Of a client to its server, or back.
#[derive(Clone, Copy)]
pub enum Kind {
    Request,
    Answer,
}

/// What will be said on a connection. The client sends it first, in a line, and both ends know all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub connection: usize,
    pub messages: usize,
    /// Of the messages in turn, from the first on when they run out.
    pub sizes: Vec<usize>,
    pub answers: Vec<usize>,
}

impl Plan {
    pub fn new(options: &Options, connection: usize) -> Self {
        Self {
            connection,
            messages: options.messages,
            sizes: options.sizes.clone(),
            answers: options.answers.clone(),
        }
    }

    pub fn line(&self) -> String {
        let list = |sizes: &[usize]| {
            let words: Vec<_> = sizes.iter().map(ToString::to_string).collect();
            words.join(",")
        };
        format!(
            "connection={};messages={};sizes={};answers={}\n",
            self.connection,
            self.messages,
            list(&self.sizes),
            list(&self.answers)
        )
    }

    pub fn request(&self, message: usize) -> Vec<u8> {
        let size = self.sizes[message % self.sizes.len()];
        bytes(self.connection, message, Kind::Request, size)
    }

    pub fn answer(&self, message: usize) -> Vec<u8> {
        let size = self.answers[message % self.answers.len()];
        bytes(self.connection, message, Kind::Answer, size)
    }
}

impl FromStr for Plan {
    type Err = Failure;

    fn from_str(line: &str) -> Result<Self, Failure> {
        let mut values = line
            .trim_end()
            .split(';')
            .filter_map(|word| word.split_once('='));
        let mut next = |name| match values.next() {
            Some((found, value)) if found == name => Ok(value),
            _ => Err(format!("no plan with {name}: '{line}'")),
        };
        let (connection, messages) = (next("connection")?.parse()?, next("messages")?.parse()?);
        let list = |value: &str| value.split(',').map(str::parse).collect::<Result<_, _>>();
        Ok(Self {
            connection,
            messages,
            sizes: list(next("sizes")?)?,
            answers: list(next("answers")?)?,
        })
    }
}

/// The text of one message.
pub fn bytes(connection: usize, message: usize, kind: Kind, size: usize) -> Vec<u8> {
    let seed = connection * 7919 + message * 104_729 + kind as usize * 31 + 1;
    let mut state = seed as u32;
    let mut letter = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        b'a' + (state >> 24) as u8 % 26
    };
    (0..size).map(|_| letter()).collect()
}

/// Fails unless this is the very message.
pub fn check(got: &[u8], expected: &[u8]) -> Result<(), Failure> {
    match got == expected {
        true => Ok(()),
        false => Err(format!("a message of {} bytes was damaged", expected.len()).into()),
    }
}
