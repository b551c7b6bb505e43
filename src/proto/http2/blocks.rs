//! What a header block is: the head of a request or a response, or trailers (RFC 9113 section 8.1). Seen from its fields,
//! and where these are not known, from what has come before on its stream.

use super::event::{Block, BlockKind};
use super::head::Head;
use super::mux::{BEHIND_END, Mux, NO_CLIENT, PUSH, Said, TOO_MANY};
use super::streams::{Phase, Standing, Stream};
use crate::proto::{Fault, Fields, Item, Outcome, Side};

const HEAD_TOO_LARGE: Fault = Fault {
    what: "the head is larger, or has more fields, than is kept",
};
const HEAD_TWICE: Fault = Fault {
    what: "a second head comes where only trailers may",
};
const WRONG_WAY: Fault = Fault {
    what: "the client answers, or the server asks",
};

/// A header block that was decoded.
struct Decoded {
    stream: u32,
    side: Side,
    head: Head,
    end_stream: bool,
    /// Bytes of it.
    length: u64,
}

impl Mux {
    /// A header block is whole, or will not be.
    pub(super) fn block(&mut self, block: &Block<'_>, said: &mut Said<'_, '_>) {
        let limits = self.limits;
        let mut head = Head::default();
        let table = self.tables.of(said.from);
        // Even of a stream that nobody wants, a block changes the table (section 4.3).
        let known = match block.bytes {
            Some(bytes) => table
                .decode(bytes, &mut |name, value| head.push(name, value, &limits))
                .map(|()| true),
            None => {
                table.lost();
                Ok(false)
            }
        };
        self.learn_client(&head, block.kind, said);
        let (BlockKind::Head { end_stream }, false) = (block.kind, block.stream.is_multiple_of(2))
        else {
            return said.unrecognised(block.length, PUSH);
        };
        let Some(side) = self.side(said.from) else {
            return said.unrecognised(block.length, NO_CLIENT);
        };
        if self.streams.standing(block.stream) == Standing::Over {
            return said.unrecognised(block.length, BEHIND_END);
        }
        let decoded = Decoded {
            stream: block.stream,
            side,
            head,
            end_stream,
            length: block.length,
        };
        match (known, side) {
            (Err(fault), _) => self.broken(&decoded, fault, said),
            (Ok(false), _) => self.lost(&decoded, said),
            (Ok(true), Side::Request) => self.request(decoded, said),
            (Ok(true), Side::Response) => self.response(decoded, said),
        }
        if end_stream {
            self.end_half(block.stream, side, Outcome::Complete, said);
        }
    }

    /// Section 8.3: requests and responses have pseudo-headers of their own; only servers push.
    fn learn_client(&mut self, head: &Head, kind: BlockKind, said: &Said<'_, '_>) {
        let client = if head.asks {
            said.from
        } else if head.answers || kind == BlockKind::Promise {
            said.from.other()
        } else {
            return;
        };
        self.client.get_or_insert(client);
    }

    fn request(&mut self, decoded: Decoded, said: &mut Said<'_, '_>) {
        let (stream, head) = (decoded.stream, &decoded.head);
        if head.answers {
            return self.broken(&decoded, WRONG_WAY, said);
        }
        let phase = self.streams.get(stream).map(|open| open.request.phase);
        let begins = head.asks || self.streams.is_new(stream);
        match phase {
            None if begins => {
                self.streams.begin(stream);
                if self
                    .add(stream, Phase::Awaited, Phase::Awaited, said)
                    .is_none()
                {
                    return said.unrecognised(decoded.length, TOO_MANY);
                }
                self.begin_request(decoded, said);
            }
            // The response was seen first.
            Some(Phase::Unseen) if head.asks => self.begin_request(decoded, said),
            Some(Phase::Ended) => said.unrecognised(decoded.length, BEHIND_END),
            Some(_) if head.asks => self.broken(&decoded, HEAD_TWICE, said),
            _ => self.trailers(decoded, said),
        }
    }

    fn begin_request(&mut self, decoded: Decoded, said: &mut Said<'_, '_>) {
        let Some(open) = self.streams.get(decoded.stream) else {
            return;
        };
        let head = decoded.head;
        open.request.phase = Phase::Open;
        open.tunnel = tunnel(&head);
        let (id, beyond) = (open.exchange, head.beyond);
        (said.out)(Item::Request {
            id,
            from: said.from,
            head: Box::new(head.into_request()),
            at_ns: said.at_ns,
        });
        if beyond {
            self.end_half(
                decoded.stream,
                Side::Request,
                Outcome::Broken(HEAD_TOO_LARGE),
                said,
            );
        }
    }

    fn response(&mut self, decoded: Decoded, said: &mut Said<'_, '_>) {
        let (stream, head) = (decoded.stream, &decoded.head);
        if head.asks {
            return self.broken(&decoded, WRONG_WAY, said);
        }
        if self.streams.get(stream).is_none()
            && self
                .add(stream, Phase::Unseen, Phase::Unseen, said)
                .is_none()
        {
            return said.unrecognised(decoded.length, TOO_MANY);
        }
        let Some(open) = self.streams.get(stream) else {
            return;
        };
        let half = open.response;
        let began = half.phase == Phase::Awaited && !half.doubtful;
        match half.phase {
            Phase::Ended => said.unrecognised(decoded.length, BEHIND_END),
            Phase::Open if head.answers => self.broken(&decoded, HEAD_TWICE, said),
            Phase::Open => self.trailers(decoded, said),
            // Its status is not known; but what does not end the stream is no trailers.
            _ if head.answers || began || !decoded.end_stream => self.begin_response(decoded, said),
            _ => self.trailers(decoded, said),
        }
    }

    fn begin_response(&mut self, decoded: Decoded, said: &mut Said<'_, '_>) {
        let Some(open) = self.streams.get(decoded.stream) else {
            return;
        };
        let (id, head, at_ns) = (open.exchange, decoded.head, said.at_ns);
        // Section 8.1: any number of interim responses, and then the response.
        let interim = head.status.is_some_and(|status| status < 200) && !decoded.end_stream;
        open.response.phase = if interim { Phase::Awaited } else { Phase::Open };
        let (status, beyond) = (head.status, head.beyond);
        let head = Box::new(head.into_response());
        let protocol = open.tunnel.as_deref().map(String::from);
        let agrees = status.is_some_and(|status| (200..300).contains(&status));
        if agrees && protocol.as_deref() == Some("websocket") && open.request.is_live() {
            let (client, limits) = (said.from.other(), self.limits);
            self.sockets.open(id, client, &head.fields, limits);
        }
        (said.out)(Item::Response {
            id,
            from: said.from,
            head,
            at_ns,
        });
        if let Some(protocol) = protocol.filter(|_| agrees) {
            (said.out)(Item::Upgraded {
                id,
                protocol,
                at_ns,
            });
        }
        if beyond {
            self.end_half(
                decoded.stream,
                Side::Response,
                Outcome::Broken(HEAD_TOO_LARGE),
                said,
            );
        }
    }

    fn trailers(&mut self, decoded: Decoded, said: &mut Said<'_, '_>) {
        let (id, side, at_ns) = match self.join(decoded.stream, decoded.side, said) {
            Some(open) => (open.exchange, decoded.side, said.at_ns),
            None => return said.unrecognised(decoded.length, TOO_MANY),
        };
        if !decoded.end_stream {
            return self.end_half(decoded.stream, side, Outcome::Broken(HEAD_TWICE), said);
        }
        let beyond = decoded.head.beyond;
        let fields = Fields(decoded.head.fields);
        (said.out)(Item::Trailers {
            id,
            side,
            fields,
            at_ns,
        });
        if beyond {
            self.end_half(decoded.stream, side, Outcome::Broken(HEAD_TOO_LARGE), said);
        }
    }

    /// A block that cannot be decoded, or makes no sense: nothing more of its half is.
    fn broken(&mut self, decoded: &Decoded, fault: Fault, said: &mut Said<'_, '_>) {
        let Some(open) = self.open_half(decoded, said) else {
            return said.unrecognised(decoded.length, fault);
        };
        let half = open.half(decoded.side);
        if half.phase == Phase::Unseen {
            half.phase = Phase::Awaited;
        }
        if half.phase == Phase::Ended {
            return said.unrecognised(decoded.length, fault);
        }
        self.end_half(decoded.stream, decoded.side, Outcome::Broken(fault), said);
    }

    /// A block that was lost: the rest of its half may come.
    fn lost(&mut self, decoded: &Decoded, said: &mut Said<'_, '_>) {
        let Some(open) = self.open_half(decoded, said) else {
            return said.unrecognised(decoded.length, TOO_MANY);
        };
        let id = open.exchange;
        let half = open.half(decoded.side);
        if half.phase == Phase::Ended {
            return;
        }
        // Of a half whose head has come, it can only have been trailers; otherwise the head is what is missing.
        half.phase = Phase::Open;
        said.gap(id, decoded.side, half);
    }

    /// The stream of a block that says nothing.
    fn open_half(&mut self, decoded: &Decoded, said: &mut Said<'_, '_>) -> Option<&mut Stream> {
        if self.streams.get(decoded.stream).is_none() {
            self.add(decoded.stream, Phase::Unseen, Phase::Unseen, said)?;
        }
        self.streams.get(decoded.stream)
    }
}

/// What a request with CONNECT asks for (RFC 9113 section 8.5, RFC 8441 section 4).
fn tunnel(head: &Head) -> Option<Box<str>> {
    let connect = head.method.as_deref() == Some("CONNECT");
    let protocol = head.protocol.as_deref();
    protocol.or(connect.then_some("connect")).map(Into::into)
}
