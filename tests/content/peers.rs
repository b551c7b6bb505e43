//! Encoders and readers of other people.

use agentsight::proto::content::{Content, Piece};
use agentsight::proto::{Field, Fields, Limits};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::filter;
use crate::random::Random;

fn fields(fields: &[(&str, &str)]) -> Fields {
    let fields = fields.iter().map(|(name, value)| Field {
        name: (*name).into(),
        value: Some((*value).into()),
    });
    Fields(fields.collect())
}

/// Decodes a body that comes in random pieces; the faults it met.
fn decode(coding: &str, coded: &[u8], random: &mut Random) -> (Vec<u8>, Vec<&'static str>) {
    let (mut bytes, mut faults) = (Vec::new(), Vec::new());
    let mut out = |piece: Piece<'_>| match piece {
        Piece::Bytes(more) => bytes.extend_from_slice(more),
        Piece::Fault(fault) => faults.push(fault.what),
        _ => {}
    };
    let head = fields(&[("content-encoding", coding), ("content-type", "text/html")]);
    let mut content = Content::new(&head, Limits::default());
    let mut rest = coded;
    while !rest.is_empty() {
        let size = (1 + random.below(5000)).min(rest.len());
        let (piece, behind) = rest.split_at(size);
        content.push(piece, &mut out);
        rest = behind;
    }
    content.finish(true, &mut out);
    (bytes, faults)
}

/// Text in which much repeats, near and far.
fn text(len: usize) -> Vec<u8> {
    let mut random = Random(7);
    let mut text = Vec::new();
    while text.len() < len {
        let number = random.below(5000);
        text.extend_from_slice(format!("data: {{\"token\":\"t{number}\"}}\n\n").as_bytes());
    }
    text
}

/// What servers in node, or behind them, compress cannot be read.
#[test]
fn what_other_encoders_compress_is_read() {
    let node = |call: &str| {
        let script = format!("process.stdout.write(require('zlib').{call})");
        vec![String::from("-e"), script]
    };
    let own = |arguments: &[&str]| arguments.iter().map(|one| String::from(*one)).collect();
    let stdin = "require('fs').readFileSync(0)";
    let encoders: [(&str, &str, Vec<String>); 12] = [
        ("gzip", "gzip", own(&["-9"])),
        ("gzip", "gzip", own(&["-1", "-n"])),
        ("zstd", "zstd", own(&["-c", "-1"])),
        ("zstd", "zstd", own(&["-c", "-19", "--long=23"])),
        ("zstd", "zstd", own(&["-c", "--no-check", "-3"])),
        ("zstd", "zstd", own(&["-c", "--fast=5"])),
        (
            "gzip",
            "node",
            node(&format!("gzipSync({stdin},{{level:9}})")),
        ),
        ("deflate", "node", node(&format!("deflateSync({stdin})"))),
        ("deflate", "node", node(&format!("deflateRawSync({stdin})"))),
        ("br", "node", node(&format!("brotliCompressSync({stdin})"))),
        (
            "br",
            "node",
            node(&format!(
                "brotliCompressSync({stdin},{{params:{{1:1,2:24}}}})"
            )),
        ),
        (
            "br, gzip",
            "node",
            node(&format!(
                "gzipSync(require('zlib').brotliCompressSync({stdin}))"
            )),
        ),
    ];
    let mut random = Random(1);
    for len in [1, 100, 300_000] {
        let text = text(len);
        for (coding, program, arguments) in &encoders {
            let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
            let Some(coded) = filter(program, &arguments, &text) else {
                continue;
            };
            let (bytes, faults) = decode(coding, &coded, &mut random);
            assert!(faults.is_empty(), "{program} {arguments:?}: {faults:?}");
            assert!(bytes == text, "{program} {arguments:?}");
        }
    }
}

/// A window that no browser accepts takes as much memory as its sender likes.
#[test]
fn windows_beyond_those_of_the_rfc_are_refused() {
    // From a pipe: its length is not known, so that the window is as asked.
    let text = text(100_000);
    let Some(coded) = filter("zstd", &["-c", "-1", "--long=27"], &text) else {
        return;
    };
    let (bytes, faults) = decode("zstd", &coded, &mut Random(2));
    assert_eq!((bytes.len(), faults.len()), (0, 1));
}

/// Serves the pieces on stdin, as base64, to the EventSource of the same program, and prints what that heard.
const EVENT_SOURCE: &str = r"
const text = require('fs').readFileSync(0, 'utf8');
const pieces = JSON.parse(text).map(piece => Buffer.from(piece, 'base64'));
const server = require('http').createServer((request, response) => {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  const next = () => pieces.length ? response.write(pieces.shift(), () => setImmediate(next)) : response.end();
  next();
}).listen(0, '127.0.0.1', () => {
  const source = new EventSource(`http://127.0.0.1:${server.address().port}/`);
  const heard = [];
  const hear = event => heard.push([event.type, event.data, event.lastEventId]);
  for (const type of ['message', 'delta']) source.addEventListener(type, hear);
  source.onerror = () => { source.close(); console.log(JSON.stringify(heard)); process.exit(0); };
});
";

/// A stream that the judge reads by the standard: it does not let an empty `id` reset the last one.
fn stream(random: &mut Random) -> String {
    let parts = [
        "data: ",
        "data:",
        "event: delta\n",
        "id: 7\n",
        ": comment\n",
        "\n\n",
        "\n",
        "\r\n",
        "{\"a\":1}",
        "é",
        "x: y\n",
        "\r\n\r\n",
        "data: a\ndata: b\n\n",
        "retry: 9x\n",
    ];
    (0..60).map(|_| *random.pick(&parts)).collect()
}

/// Events read otherwise than the EventSource of node does.
#[test]
fn events_are_those_that_an_event_source_hears() {
    let mut random = Random(3);
    for _ in 0..6 {
        let stream = format!("data: first\n\n{}", stream(&mut random));
        let pieces = stream.as_bytes().chunks(1 + random.below(20));
        let pieces: Vec<_> = pieces.map(|piece| BASE64.encode(piece)).collect();
        let input = serde_json::to_vec(&pieces).unwrap();
        let arguments = [
            "--no-warnings",
            "--experimental-eventsource",
            "-e",
            EVENT_SOURCE,
        ];
        let Some(heard) = filter("node", &arguments, &input) else {
            return;
        };
        let heard: Vec<[String; 3]> = serde_json::from_slice(&heard).unwrap();
        let mut ours = Vec::new();
        let mut last_id = String::new();
        let head = fields(&[("content-type", "text/event-stream")]);
        let mut content = Content::new(&head, Limits::default());
        let mut out = |piece: Piece<'_>| match piece {
            Piece::Sse(event) if event.whole => {
                let own = |text: Option<&str>, other: &str| text.unwrap_or(other).to_owned();
                let name = own(event.event, "message");
                last_id = own(event.id, &last_id);
                ours.push([name, event.data.to_owned(), last_id.clone()]);
            }
            _ => {}
        };
        content.push(stream.as_bytes(), &mut out);
        content.finish(true, &mut out);
        ours.retain(|[name, ..]| ["message", "delta"].contains(&name.as_str()));
        assert_eq!(ours, heard, "{stream:?}");
    }
}
