//! For tests of decoders: what two parties say to each other, cut into pieces in all ways, and what a decoder tells of it as
//! lines of text.

use std::collections::BTreeMap;

use super::fuzz::Sense;
use super::{Decoder, ExchangeId, Item, Outcome, Party, Side};

/// What happens next on a connection.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    Says(Party, Vec<u8>),
    Loses(Party, Option<u64>),
    Ends(Party),
}

/// The observed process is the client here.
pub(crate) fn client(text: impl AsRef<[u8]>) -> Act {
    Act::Says(Party::Local, text.as_ref().to_vec())
}

pub(crate) fn server(text: impl AsRef<[u8]>) -> Act {
    Act::Says(Party::Peer, text.as_ref().to_vec())
}

/// Both directions end.
pub(crate) fn closed() -> [Act; 2] {
    [Act::Ends(Party::Local), Act::Ends(Party::Peer)]
}

/// The same with the roles swapped.
pub(crate) fn swapped(acts: &[Act]) -> Vec<Act> {
    let acts = acts.iter().map(|act| match act {
        Act::Says(party, bytes) => Act::Says(party.other(), bytes.clone()),
        Act::Loses(party, bytes) => Act::Loses(party.other(), *bytes),
        Act::Ends(party) => Act::Ends(party.other()),
    });
    acts.collect()
}

/// What is told, bodies joined.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) lines: Vec<String>,
    bodies: BTreeMap<(ExchangeId, Side), Vec<u8>>,
    pub(crate) unrecognised: [u64; 2],
    sense: Sense,
}

impl Told {
    pub(crate) fn take(&mut self, item: &Item<'_>) {
        self.sense.check(item);
        match item {
            Item::Request { id, head, .. } => {
                let (method, target) = (head.method.as_deref(), head.target.as_deref());
                self.line(format!("{id} {} {}", method.unwrap(), target.unwrap()));
            }
            Item::Response { id, head, .. } => {
                self.line(format!("{id} {}", head.status.unwrap()));
            }
            Item::Body {
                id, side, bytes, ..
            } => self
                .bodies
                .entry((*id, *side))
                .or_default()
                .extend_from_slice(bytes),
            Item::Gap {
                id, side, bytes, ..
            } => {
                self.body(*id, *side);
                self.line(format!("{id} {side:?} gap {bytes:?}"));
            }
            Item::Trailers {
                id, side, fields, ..
            } => {
                self.body(*id, *side);
                let fields = fields.0.iter().map(|field| {
                    format!("{}: {}", field.name, field.value.as_deref().unwrap_or("?"))
                });
                let fields = fields.collect::<Vec<_>>().join(", ");
                self.line(format!("{id} {side:?} trailers {fields}"));
            }
            Item::End {
                id, side, outcome, ..
            } => {
                self.body(*id, *side);
                let outcome = match outcome {
                    Outcome::Complete => "complete".to_owned(),
                    Outcome::CutOff => "cut off".to_owned(),
                    Outcome::Reset(code) => format!("reset {code}"),
                    Outcome::Broken(_) => "broken".to_owned(),
                };
                self.line(format!("{id} {side:?} {outcome}"));
            }
            Item::Upgraded { id, protocol, .. } => self.line(format!("{id} now {protocol}")),
            Item::WebSocket {
                id, from, message, ..
            } => {
                let text = String::from_utf8_lossy(message.bytes);
                let missing = message.missing.map(|bytes| format!(" missing {bytes:?}"));
                let missing = missing.unwrap_or_default();
                self.line(format!("{id} {from:?} {:?} {text}{missing}", message.kind));
            }
            Item::Unrecognised { from, bytes, .. } => {
                self.unrecognised[usize::from(*from == Party::Peer)] += bytes.unwrap_or(0);
            }
        }
    }

    fn line(&mut self, line: String) {
        self.lines.push(line);
    }

    fn body(&mut self, id: ExchangeId, side: Side) {
        if let Some(body) = self.bodies.remove(&(id, side)) {
            let text = String::from_utf8_lossy(&body);
            self.line(format!("{id} {side:?}: {text}"));
        }
    }
}

/// Plays a conversation to a decoder.
pub(crate) fn tell(decoder: &mut dyn Decoder, acts: &[Act]) -> Told {
    let mut told = Told::default();
    for (at_ns, act) in acts.iter().enumerate() {
        let mut out = |item: Item<'_>| told.take(&item);
        let at_ns = at_ns as u64;
        match act {
            Act::Says(from, bytes) => decoder.data(*from, at_ns, bytes, &mut out),
            Act::Loses(from, bytes) => decoder.gap(*from, at_ns, *bytes, &mut out),
            Act::Ends(from) => decoder.end(*from, at_ns, &mut out),
        }
    }
    told
}

/// The conversation with what is said at `index` in two pieces.
fn cut(acts: &[Act], index: usize, at: usize) -> Vec<Act> {
    let mut cut = acts.to_vec();
    if let Act::Says(party, bytes) = &acts[index] {
        let (a, b) = bytes.split_at(at);
        cut[index] = Act::Says(*party, a.to_vec());
        cut.insert(index + 1, Act::Says(*party, b.to_vec()));
    }
    cut
}

/// The conversation in pieces of the sizes that `size` gives.
pub(crate) fn pieces(acts: &[Act], mut size: impl FnMut() -> usize) -> Vec<Act> {
    let mut pieces = Vec::new();
    for act in acts {
        let Act::Says(party, bytes) = act else {
            pieces.push(act.clone());
            continue;
        };
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(size().clamp(1, rest.len()));
            pieces.push(Act::Says(*party, piece.to_vec()));
            rest = behind;
        }
    }
    pieces
}

/// Every way to cut one piece in two, and bytes one by one, tell the same; so do swapped roles. Gives what is told.
pub(crate) fn every_split(acts: &[Act], make: impl Fn(Party) -> Box<dyn Decoder>) -> Told {
    let whole = tell(&mut *make(Party::Local), acts);
    let same = |acts: &[Act], about: &str| {
        let told = tell(&mut *make(Party::Local), acts);
        assert_eq!(told.lines, whole.lines, "{about}");
        assert_eq!(told.unrecognised, whole.unrecognised, "{about}");
    };
    for (index, act) in acts.iter().enumerate() {
        let Act::Says(_, bytes) = act else { continue };
        for at in 0..=bytes.len() {
            same(&cut(acts, index, at), &format!("{index} cut at {at}"));
        }
    }
    same(&pieces(acts, || 1), "one by one");
    let mirrored = tell(&mut *make(Party::Peer), &swapped(acts));
    let lines = mirrored.lines.iter().map(|line| {
        let line = line.replace("Local", "#").replace("Peer", "Local");
        line.replace('#', "Peer")
    });
    assert_eq!(lines.collect::<Vec<_>>(), whole.lines, "roles swapped");
    whole
}
