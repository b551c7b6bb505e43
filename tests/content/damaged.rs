//! The hooks of the fuzzer, without the fuzzer: on good bodies, and on the same damage of each in each run.

use std::time::{Duration, Instant};

use agentsight::proto::{coding, content, eventstream, json_array, lines, sse};

use crate::filter;
use crate::random::Random;

/// Far more than any case takes; a case that hangs takes for ever.
const CASE_LIMIT: Duration = Duration::from_secs(10);
const DAMAGED: usize = 300;

type Hook = (&'static str, fn(&[u8]));

const HOOKS: &[Hook] = &[
    ("coding", coding::fuzz_coding),
    ("content", content::fuzz_content),
    ("eventstream", eventstream::fuzz_eventstream),
    ("json_array", json_array::fuzz_json_array),
    ("lines", lines::fuzz_lines),
    ("sse", sse::fuzz_sse),
];

const TEXT: &[u8] =
    b"event: delta\ndata: {\"text\":\"a\"}\n\n: ping\n\ndata: [DONE]\n\n[{\"a\":[1,\"]\"]},\n2]\n";

/// A message of Bedrock, as an encoder of our own writes it.
fn message() -> Vec<u8> {
    let header = b"\x0d:message-type\x07\0\x05event";
    let payload = b"{\"bytes\":\"e30=\"}";
    let total = 12 + header.len() + payload.len() + 4;
    let mut bytes = (total as u32).to_be_bytes().to_vec();
    bytes.extend_from_slice(&(header.len() as u32).to_be_bytes());
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
    bytes.extend_from_slice(header);
    bytes.extend_from_slice(payload);
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_be_bytes());
    bytes
}

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = vec![Vec::new(), TEXT.to_vec(), message().repeat(3)];
    let brotli =
        "process.stdout.write(require('zlib').brotliCompressSync(require('fs').readFileSync(0)))";
    let encoders: [(&str, &[&str]); 3] =
        [("gzip", &[]), ("zstd", &["-c"]), ("node", &["-e", brotli])];
    let coded = encoders
        .iter()
        .filter_map(|(program, arguments)| filter(program, arguments, TEXT));
    seeds.extend(coded);
    seeds
}

fn damage(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..1 + random.below(4) {
        if bytes.is_empty() {
            return;
        }
        let at = random.below(bytes.len());
        match random.below(5) {
            0 => bytes[at] ^= 1 << random.below(8),
            1 => bytes[at] = *random.pick(&[0, 1, b'\n', b'\r', b'"', b']', 0x7f, 0xff]),
            2 => bytes.truncate(at),
            3 => bytes.insert(at, bytes[at]),
            _ => {
                let part = bytes[at..].to_vec();
                bytes.extend(part);
            }
        }
    }
}

/// A stranger's body stops the observer, or reads otherwise in other pieces.
#[test]
fn no_damage_stops_a_decoder() {
    let mut random = Random(5);
    for seed in seeds() {
        for round in 0..DAMAGED {
            let mut data = vec![round as u8, random.next() as u8];
            data.extend_from_slice(&seed);
            if round > 32 {
                let mut body = data.split_off(2);
                damage(&mut body, &mut random);
                data.extend(body);
            }
            for (name, hook) in HOOKS {
                let start = Instant::now();
                hook(&data);
                assert!(start.elapsed() < CASE_LIMIT, "{name} on {data:?}");
            }
        }
    }
}
