//! Leaving HTTP/1: Upgrade (RFC 9110 section 7.8) and CONNECT (section 9.3.6).

use std::mem;

use super::half::{Message, Next, Phase};
use super::pairing::{Asked, Open};
use super::{Http1, OTHER_PROTOCOL, end};
use crate::proto::{
    Decoder, ExchangeId, Fault, Fields, Item, Out, Outcome, Party, RequestHead, ResponseHead, Side,
};

/// The name of a tunnel.
pub(in crate::proto) const CONNECT: &str = "connect";

/// What both sides agreed to speak from here on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Agreed {
    /// The exchange that asked for it.
    pub id: ExchangeId,
    /// `websocket`, `h2c`, …; `connect` for a tunnel.
    pub protocol: String,
    /// `Sec-WebSocket-Extensions` of the response: what the server chose (RFC 6455 section 9.1).
    pub extensions: String,
}

/// What a request wants to switch to.
pub(super) fn wanted(head: &RequestHead) -> Option<String> {
    if head.method.as_deref() == Some("CONNECT") {
        return Some(CONNECT.to_owned());
    }
    head.fields
        .lists("connection", "upgrade")
        .then(|| protocol(&head.fields))?
}

/// What a response agrees to; `request` is what it answers, if that was seen.
pub(super) fn agreed(
    id: ExchangeId,
    head: &ResponseHead,
    request: Option<&Open>,
) -> Option<Agreed> {
    let wanted = request.and_then(|request| request.wants.clone());
    let is_connect = request.is_some_and(|request| request.asked == Asked::Connect);
    let protocol = match head.status {
        Some(101) => protocol(&head.fields).or(wanted).unwrap_or_default(),
        Some(200..=299) if is_connect => CONNECT.to_owned(),
        _ => return None,
    };
    Some(Agreed {
        id,
        protocol,
        extensions: joined(&head.fields, "sec-websocket-extensions"),
    })
}

/// The first one of the list, without its version.
fn protocol(fields: &Fields) -> Option<String> {
    let first = fields.get("upgrade")?.split(',').next()?;
    let name = first.split('/').next()?.trim().to_ascii_lowercase();
    (!name.is_empty()).then_some(name)
}

fn joined(fields: &Fields, name: &str) -> String {
    let named = fields.0.iter().filter(|field| field.name == name);
    let values = named.filter_map(|field| field.value.as_deref());
    values.collect::<Vec<_>>().join(",")
}

impl Http1 {
    /// From here on, the server speaks another protocol, and the client does behind its request.
    pub(super) fn switch(&mut self, from: Party, at_ns: u64, agreed: Agreed, out: &mut Out<'_>) {
        let id = agreed.id;
        out(Item::Upgraded {
            id,
            protocol: agreed.protocol.clone(),
            at_ns,
        });
        out(end(id, Side::Response, Outcome::Complete, at_ns));
        self.agreed = Some(agreed);
        let given_up = self.pairing.give_up();
        self.give_up(at_ns, given_up, OTHER_PROTOCOL, out);
        self.halves.get_mut(from).phase = Phase::Switched;
        let client = from.other();
        let half = self.halves.get_mut(client);
        half.next = Next::Switched;
        if !matches!(half.phase, Phase::Body(_)) {
            half.phase = Phase::Switched;
            let unused = half.head.clear();
            half.skipped
                .skip(client, at_ns, unused, OTHER_PROTOCOL, out);
            half.skipped.close(client, at_ns, out);
        }
    }

    /// This exchange does not switch: what was kept is HTTP/1.
    pub(super) fn release(&mut self, client: Party, at_ns: u64, id: ExchangeId, out: &mut Out<'_>) {
        let half = self.halves.get_mut(client);
        match half.phase {
            Phase::Held(held) if held == id => half.phase = Phase::Head,
            Phase::Body(Message { id: open, .. }) if open == id => {
                half.next = Next::Head;
                return;
            }
            _ => return,
        }
        let kept = mem::take(&mut half.kept);
        kept.replay(|at, piece| match piece {
            Ok(bytes) => {
                self.feed(client, at, bytes, out);
            }
            Err(bytes) => self.gap(client, at_ns, bytes, out),
        });
        // The client may have gone before its words were understood.
        if self.halves.get(client).has_ended {
            self.end_half(client, at_ns, false, out);
        }
    }

    /// Says of requests that their responses are not known.
    pub(super) fn give_up(
        &mut self,
        at_ns: u64,
        requests: Vec<Open>,
        fault: Fault,
        out: &mut Out<'_>,
    ) {
        for request in requests {
            let outcome = Outcome::Broken(fault);
            out(end(request.id, Side::Response, outcome, at_ns));
            if let (Some(_), Some(client)) = (request.wants, self.client) {
                self.release(client, at_ns, request.id, out);
            }
        }
    }
}
