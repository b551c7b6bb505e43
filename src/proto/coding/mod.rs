//! Content codings (RFC 9110 section 8.4): gzip, deflate, br and zstd, also several of them, one over the other; and the
//! transfer codings of HTTP/1.1 (RFC 9112 section 7) below chunks. Incremental: what the sender flushed comes out at once.
//!
//! Refused, with a [`Fault`]: what grows beyond the limits, what is damaged, and everything behind a loss. Bodies that
//! are not coded although their head says so, as recorders keep them, are told as such and taken as they are. Where it was
//! not seen what the head says, what begins as text is taken as it is, and so are types that are no text; gzip and zstd are
//! told by their first bytes; all else is refused.

mod brotli;
mod deflate;
mod opening;
mod zstd;

use super::{Fault, Fields, Limits};
use opening::Verdict;

/// Bytes of output that a stage makes at once.
const PIECE: usize = 16 << 10;
/// Codings one over the other. Nobody sends more than two.
const CHAIN_MAX: usize = 4;
/// How much any body may become.
const FREE: u64 = 1 << 20;

const BEHIND: Fault = fault("bytes behind the end of the coded content");
const CUT_OFF: Fault = fault("the coded content ends early");
const DAMAGED: Fault = fault("the coded content is damaged");
const GAP: Fault = fault("bytes were lost, and coded content cannot be decoded behind them");
const MANY: Fault = fault("too many content codings");
const NOT_CODED: Fault = fault("not coded, though its head says so");
const TOO_LARGE: Fault = fault("the content becomes too large when it is decoded");
const UNKNOWN: Fault = fault("its content coding is not known");
const UNSEEN: Fault = fault("its content coding was not seen");

const fn fault(what: &'static str) -> Fault {
    Fault { what }
}

/// How content may be coded (RFC 9110 section 8.4.1, RFC 7932, RFC 8878).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// `br`.
    Brotli,
    /// `deflate`: the zlib format; some senders leave its head and its sum away, and that is understood too.
    Deflate,
    /// `gzip`, `x-gzip`.
    Gzip,
    /// `zstd`.
    Zstd,
}

impl Coding {
    /// By its name in `content-encoding`, in any case; `Ok(None)` is for `identity`.
    fn named(name: &str) -> Result<Option<Self>, Fault> {
        let names = [
            ("br", Self::Brotli),
            ("deflate", Self::Deflate),
            ("gzip", Self::Gzip),
            ("x-gzip", Self::Gzip),
            ("zstd", Self::Zstd),
        ];
        let known = names
            .iter()
            .find(|(known, _)| name.eq_ignore_ascii_case(known));
        match known {
            Some((_, coding)) => Ok(Some(*coding)),
            None if name.is_empty() || name.eq_ignore_ascii_case("identity") => Ok(None),
            None => Err(UNKNOWN),
        }
    }

    /// All that a head says, in the order in which they were applied.
    pub fn of(fields: &Fields) -> Result<Vec<Self>, Fault> {
        let content = listed(fields, "content-encoding");
        // The outermost of these is taken off with the framing.
        let transfer = listed(fields, "transfer-encoding");
        let transfer = transfer.filter(|name| !name.eq_ignore_ascii_case("chunked"));
        let mut codings = Vec::new();
        for name in content.chain(transfer) {
            codings.extend(Self::named(name)?);
            if codings.len() > CHAIN_MAX {
                return Err(MANY);
            }
        }
        Ok(codings)
    }
}

/// The items of a field that is a list.
fn listed<'f>(fields: &'f Fields, name: &'static str) -> impl Iterator<Item = &'f str> {
    let named = fields.0.iter().filter(move |one| one.name == name);
    let values = named.filter_map(|field| field.value.as_deref());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

/// Whether a body of this type can be told from coded content by its first bytes: text, or nobody knows.
fn is_textual(fields: &Fields) -> bool {
    let Some(value) = fields.get("content-type") else {
        return true;
    };
    let name = value.split(';').next().unwrap_or_default();
    let name = name.trim().to_ascii_lowercase();
    let texts = ["json", "xml", "x-www-form-urlencoded"];
    name.starts_with("text/") || texts.iter().any(|text| name.contains(text))
}

/// Takes decoded bytes and refusals, at once.
pub type Out<'o> = dyn FnMut(Result<&[u8], Fault>) + 'o;

/// Takes decoded bytes, and says when it wants no more.
type Pieces<'o> = dyn FnMut(&[u8]) -> Result<(), Fault> + 'o;

/// One coding of one body.
trait Codec: Send {
    /// Decodes all of `bytes`, as far as they go.
    fn push(&mut self, bytes: &[u8], out: &mut Pieces<'_>) -> Result<(), Fault>;

    /// Whether the content may end here.
    fn is_whole(&self) -> bool;

    /// Bytes of memory that it holds.
    fn held(&self) -> usize;
}

struct Stage {
    codec: Box<dyn Codec>,
    made: u64,
}

impl Stage {
    fn new(coding: Coding) -> Result<Self, Fault> {
        let codec: Box<dyn Codec> = match coding {
            Coding::Brotli => Box::new(brotli::Brotli::new()),
            Coding::Deflate => Box::new(deflate::Deflate::new()),
            Coding::Gzip => Box::new(deflate::Gzip::new()),
            Coding::Zstd => Box::new(zstd::Zstd::new()?),
        };
        Ok(Self { codec, made: 0 })
    }
}

enum State {
    /// Nothing is known but what the head says. What has come is too little to see whether that is so.
    Opening(Vec<Coding>, Vec<u8>),
    /// As it is.
    Plain,
    /// The codings in the order in which they were applied: the last is undone first.
    Coded(Vec<Stage>),
    /// No more is decoded.
    Refused,
}

/// Decodes one body.
pub struct Decoding {
    state: State,
    /// The head may say something that is not known.
    guess: bool,
    /// What is not coded begins as text.
    is_textual: bool,
    limits: Limits,
    coded: u64,
    undecoded: u64,
    told: Option<Fault>,
}

impl Decoding {
    /// For a body behind a head with these fields. Holds next to nothing until its first byte.
    pub fn new(fields: &Fields, limits: Limits) -> Self {
        let unknown = |name: &str| name == "content-encoding" || name.starts_with('?');
        let mut fields_unknown = fields.0.iter().filter(|one| one.value.is_none());
        let (state, told, guess) = match Coding::of(fields) {
            Err(fault) => (State::Refused, Some(fault), false),
            Ok(codings) => {
                let guess = codings.is_empty() && fields_unknown.any(|one| unknown(&one.name));
                let state = match codings.is_empty() && !guess {
                    true => State::Plain,
                    false => State::Opening(codings, Vec::new()),
                };
                (state, None, guess)
            }
        };
        Self {
            state,
            guess,
            is_textual: guess && is_textual(fields),
            limits,
            coded: 0,
            undecoded: 0,
            told,
        }
    }

    /// Bytes of memory that it holds beside itself, with the windows of its codings.
    pub fn held(&self) -> usize {
        match &self.state {
            State::Opening(_, head) => head.capacity(),
            State::Coded(stages) => {
                let held = stages.iter().map(|stage| stage.codec.held());
                held.sum::<usize>() + stages.capacity() * size_of::<Stage>()
            }
            State::Plain | State::Refused => 0,
        }
    }

    /// Coded bytes that came when nothing was decoded any more.
    pub fn undecoded(&self) -> u64 {
        self.undecoded
    }

    /// The next bytes of the body, of any number.
    pub fn push(&mut self, bytes: &[u8], out: &mut Out<'_>) {
        if bytes.is_empty() {
            return;
        }
        if let Some(fault) = self.told.take() {
            out(Err(fault));
        }
        match &mut self.state {
            State::Plain => out(Ok(bytes)),
            State::Refused => self.undecoded = self.undecoded.saturating_add(bytes.len() as u64),
            State::Coded(_) => self.decode(bytes, out),
            State::Opening(..) => self.open(bytes, out),
        }
    }

    fn open(&mut self, bytes: &[u8], out: &mut Out<'_>) {
        let State::Opening(codings, head) = &mut self.state else {
            return;
        };
        head.extend_from_slice(bytes);
        let verdict = match self.guess {
            true => opening::guess(head, self.is_textual),
            false => opening::verdict(codings.last().copied(), head),
        };
        self.decide(verdict, out);
    }

    fn decide(&mut self, verdict: Verdict, out: &mut Out<'_>) {
        let State::Opening(codings, head) = &mut self.state else {
            return;
        };
        let (codings, head) = match verdict {
            Verdict::Unclear => return,
            Verdict::Coded => (std::mem::take(codings), std::mem::take(head)),
            Verdict::CodedAs(coding) => (vec![coding], std::mem::take(head)),
            Verdict::Unseen => {
                self.undecoded = self.undecoded.saturating_add(head.len() as u64);
                return self.refuse(UNSEEN, out);
            }
            Verdict::Plain => {
                let head = std::mem::take(head);
                self.state = State::Plain;
                if !self.guess {
                    out(Err(NOT_CODED));
                }
                out(Ok(&head));
                return;
            }
        };
        match codings.into_iter().map(Stage::new).collect() {
            Ok(stages) => {
                self.state = State::Coded(stages);
                self.decode(&head, out);
            }
            Err(fault) => self.refuse(fault, out),
        }
    }

    fn decode(&mut self, bytes: &[u8], out: &mut Out<'_>) {
        let State::Coded(stages) = &mut self.state else {
            return;
        };
        self.coded = self.coded.saturating_add(bytes.len() as u64);
        let grown = self.coded.saturating_mul(self.limits.ratio);
        let most = self.limits.decoded.min(grown.saturating_add(FREE));
        if let Err(fault) = feed(stages, bytes, most, out) {
            self.refuse(fault, out);
        }
    }

    fn refuse(&mut self, fault: Fault, out: &mut Out<'_>) {
        self.state = State::Refused;
        out(Err(fault));
    }

    /// Bytes of the body were lost. Whether it can go on behind them.
    pub fn gap(&mut self, out: &mut Out<'_>) -> bool {
        match self.state {
            State::Plain => return true,
            State::Refused => {}
            State::Coded(_) | State::Opening(..) => self.refuse(GAP, out),
        }
        false
    }

    /// The body ends here.
    pub fn finish(&mut self, out: &mut Out<'_>) {
        if let State::Opening(codings, head) = &self.state
            && !head.is_empty()
        {
            let verdict = match self.guess {
                true => Verdict::Plain,
                false => opening::last_verdict(codings.last().copied()),
            };
            self.decide(verdict, out);
        }
        if let State::Coded(stages) = &self.state
            && !stages.iter().all(|stage| stage.codec.is_whole())
        {
            self.refuse(CUT_OFF, out);
        }
        self.state = State::Refused;
    }
}

/// Undoes the last coding first. No stage may make more than `most` bytes in all.
fn feed(stages: &mut [Stage], bytes: &[u8], most: u64, out: &mut Out<'_>) -> Result<(), Fault> {
    let Some((outer, inner)) = stages.split_last_mut() else {
        out(Ok(bytes));
        return Ok(());
    };
    let made = &mut outer.made;
    outer.codec.push(bytes, &mut |piece| {
        let room = usize::try_from(most.saturating_sub(*made)).unwrap_or(usize::MAX);
        *made = made.saturating_add(piece.len() as u64);
        match piece.get(..room) {
            Some(fits) if room < piece.len() => {
                feed(inner, fits, most, out)?;
                Err(TOO_LARGE)
            }
            _ => feed(inner, piece, most, out),
        }
    })
}

/// For the fuzzer: the first byte chooses the coding, the second how the rest is cut; every way gives the same content.
pub fn fuzz_coding(data: &[u8]) {
    let [choice, cut, rest @ ..] = data else {
        return;
    };
    let names = ["gzip", "deflate", "br", "zstd", "gzip, br", "zstd, deflate"];
    let name = names.get(usize::from(*choice) % names.len()).copied();
    let field = super::Field {
        name: String::from("content-encoding"),
        value: name.map(String::from),
    };
    let decoded = |size: usize| {
        let mut all = (Vec::new(), None);
        let mut out = |said: Result<&[u8], Fault>| match said {
            Ok(bytes) => all.0.extend_from_slice(bytes),
            Err(fault) => all.1 = Some(fault),
        };
        let limits = Limits {
            decoded: FREE,
            ratio: u64::MAX,
            ..Limits::default()
        };
        let mut decoding = Decoding::new(&Fields(vec![field.clone()]), limits);
        for piece in rest.chunks(size.max(1)) {
            decoding.push(piece, &mut out);
        }
        decoding.finish(&mut out);
        all
    };
    let (whole, cut) = (decoded(rest.len()), decoded(usize::from(*cut)));
    assert!(whole.0.len() as u64 <= FREE);
    // brotli-decompressor 5.0 overlooks a copy that goes beyond its meta-block, which the reference decoder refuses at the
    // meta-block's end (BLOCK_LENGTH_2), unless a piece ends there.
    let may_overlook = name.is_some_and(|name| name.contains("br"));
    assert!(may_overlook || whole.1.is_some() == cut.1.is_some());
    // How much is given before damage is told depends on the pieces, and in a chain also who tells it.
    let told = whole.1.or(cut.1).is_some();
    let damaged = told && (whole.0.starts_with(&cut.0) || cut.0.starts_with(&whole.0));
    assert!(damaged || whole.0 == cut.0);
}

#[cfg(test)]
mod tests;
