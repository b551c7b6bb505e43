//! Messages of the domain name system.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use simple_dns::rdata::RData;
use simple_dns::{Name, Packet, QTYPE, RCODE, TYPE};

use super::deed::{Answer, Dns, Question};

/// Questions and answers that are told of one message.
const TOLD_MAX: usize = 64;

/// Reads a message. Beside it, addresses with the name that was asked for.
pub fn read(bytes: &[u8], is_answer: bool) -> Option<(Dns, Vec<(IpAddr, String)>)> {
    let packet = Packet::parse(bytes).ok()?;
    let questions: Vec<_> = packet
        .questions
        .iter()
        .take(TOLD_MAX)
        .map(question)
        .collect();
    let asked = questions.first().map(|question| question.name.clone());
    let answers: Vec<_> = packet.answers.iter().take(TOLD_MAX).collect();
    let addresses = answers.iter().filter_map(|answer| {
        let name = asked.clone().unwrap_or_else(|| text(&answer.name));
        Some((address(&answer.rdata)?, name))
    });
    let addresses = addresses.collect();
    let dns = Dns {
        direction: if is_answer { "read" } else { "write" },
        id: packet.id(),
        server: None,
        questions,
        answers: answers
            .iter()
            .map(|answer| Answer {
                name: text(&answer.name),
                kind: kind(answer.rdata.type_code()),
                value: value(&answer.rdata),
            })
            .collect(),
        error: match packet.rcode() {
            RCODE::NoError => None,
            other => Some(format!("{other:?}")),
        },
    };
    Some((dns, addresses))
}

fn question(question: &simple_dns::Question<'_>) -> Question {
    Question {
        name: text(&question.qname),
        kind: match question.qtype {
            QTYPE::TYPE(of) => kind(of),
            other => format!("{other:?}"),
        },
    }
}

/// As master files have it (RFC 1035, 5.1): a dot inside of a label would make another host of it.
fn text(name: &Name<'_>) -> String {
    let mut text = String::new();
    for label in name.as_bytes() {
        if !text.is_empty() {
            text.push('.');
        }
        for byte in label {
            match byte {
                b'.' | b'\\' => text.extend(['\\', char::from(*byte)]),
                0x21..=0x7e => text.push(char::from(*byte)),
                _ => text += &format!("\\{byte:03}"),
            }
        }
    }
    text
}

fn kind(of: TYPE) -> String {
    match of {
        TYPE::Unknown(number) => format!("TYPE{number}"),
        known => format!("{known:?}"),
    }
}

fn address(data: &RData<'_>) -> Option<IpAddr> {
    match data {
        RData::A(a) => Some(Ipv4Addr::from(a.address).into()),
        RData::AAAA(a) => Some(Ipv6Addr::from(a.address).into()),
        _ => None,
    }
}

fn value(data: &RData<'_>) -> Option<String> {
    match data {
        RData::CNAME(name) => Some(text(&name.0)),
        other => address(other).map(|address| address.to_string()),
    }
}

/// For the fuzzer: the first byte says whether it is an answer. What is told is bounded, and its addresses are those of the
/// answers.
pub fn fuzz_dns(data: &[u8]) {
    let Some((first, message)) = data.split_first() else {
        return;
    };
    let Some((dns, addresses)) = read(message, first & 1 != 0) else {
        return;
    };
    assert!(dns.questions.len() <= TOLD_MAX && dns.answers.len() <= TOLD_MAX);
    let values: Vec<_> = dns
        .answers
        .iter()
        .filter_map(|answer| answer.value.as_deref())
        .collect();
    for (address, name) in addresses {
        let text = address.to_string();
        assert!(values.contains(&text.as_str()), "{text} is in no answer");
        assert!(name.len() <= NAME_MAX, "{} bytes of a name", name.len());
    }
}

/// Bytes of a name as it is told: 255 on the wire (RFC 1035 section 2.3.4), of which one may take four (`\ddd`), or three
/// where it is no text.
const NAME_MAX: usize = 4 * 255;
