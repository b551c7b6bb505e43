//! What the decoder says of a connection, by exchange.

use std::collections::BTreeMap;

use agentsight::proto::http2::Http2;
use agentsight::proto::item::{RequestHead, ResponseHead};
use agentsight::proto::{Decoder, ExchangeId, Fields, Item, Limits, Outcome, Party, Side};

/// Bytes in the order in which one process saw them.
pub type Capture = Vec<(Party, Vec<u8>)>;

#[derive(Debug, Default, Clone, PartialEq)]
pub struct Half {
    pub body: Vec<u8>,
    /// How long the body was at each gap.
    pub breaks: Vec<usize>,
    pub gaps: usize,
    pub trailers: Option<Fields>,
    pub end: Option<Outcome>,
}

#[derive(Debug, Default, Clone, PartialEq)]
pub struct Exchange {
    pub request: Option<RequestHead>,
    pub responses: Vec<ResponseHead>,
    pub sent: Half,
    pub received: Half,
}

impl Exchange {
    fn half(&mut self, side: Side) -> &mut Half {
        match side {
            Side::Request => &mut self.sent,
            Side::Response => &mut self.received,
        }
    }

    /// The field of a request or a response that says which one it is.
    pub fn name(&self) -> Option<String> {
        let requests = self.request.iter().map(|head| &head.fields);
        let mut heads = requests.chain(self.responses.iter().map(|head| &head.fields));
        heads.find_map(|fields| {
            let mut values = fields.0.iter().filter_map(|field| field.value.clone());
            values.find(|value| value.starts_with("id-"))
        })
    }
}

#[derive(Debug, Default)]
pub struct Seen {
    pub exchanges: BTreeMap<ExchangeId, Exchange>,
    /// Bytes, and why.
    pub unrecognised: Vec<(Option<u64>, &'static str)>,
    pub client: Option<Party>,
}

impl Seen {
    pub fn take(&mut self, item: Item<'_>) {
        let Self {
            exchanges,
            unrecognised,
            client,
        } = self;

        match item {
            Item::Request { id, head, from, .. } => {
                assert!(
                    exchanges
                        .entry(id)
                        .or_default()
                        .request
                        .replace(*head)
                        .is_none()
                );
                assert_eq!(*client.get_or_insert(from), from);
            }
            Item::Response { id, head, .. } => {
                exchanges.entry(id).or_default().responses.push(*head)
            }
            Item::Body {
                id, side, bytes, ..
            } => {
                let half = exchanges.entry(id).or_default().half(side);
                assert!(half.end.is_none() && half.trailers.is_none());
                half.body.extend(bytes);
            }
            Item::Gap { id, side, .. } => {
                let half = exchanges.entry(id).or_default().half(side);
                half.breaks.push(half.body.len());
                half.gaps += 1;
            }
            Item::Trailers {
                id, side, fields, ..
            } => exchanges.entry(id).or_default().half(side).trailers = Some(fields),
            Item::End {
                id, side, outcome, ..
            } => assert_eq!(
                exchanges
                    .entry(id)
                    .or_default()
                    .half(side)
                    .end
                    .replace(outcome),
                None
            ),
            Item::Unrecognised { bytes, fault, .. } => unrecognised.push((bytes, fault.what)),
            other => panic!("{other:?}"),
        }
    }

    pub fn by_name(&self) -> BTreeMap<String, &Exchange> {
        let named = self
            .exchanges
            .values()
            .filter_map(|exchange| Some((exchange.name()?, exchange)));
        named.collect()
    }
}

/// Decodes a capture, in pieces of at most so many bytes.
pub fn decode<'c>(
    pieces: impl IntoIterator<Item = (Party, &'c [u8])>,
    from_start: bool,
    most: usize,
) -> Seen {
    let mut seen = Seen::default();
    let mut decoder = Http2::new(Limits::default(), from_start);
    for (at, (from, bytes)) in pieces.into_iter().enumerate() {
        for piece in bytes.chunks(most) {
            decoder.data(from, at as u64, piece, &mut |item| seen.take(item));
        }
    }
    for from in [Party::Local, Party::Peer] {
        decoder.end(from, u64::MAX, &mut |item| seen.take(item));
    }
    seen
}

pub fn pieces(capture: &Capture) -> impl Iterator<Item = (Party, &[u8])> {
    capture.iter().map(|(from, bytes)| (*from, &bytes[..]))
}
