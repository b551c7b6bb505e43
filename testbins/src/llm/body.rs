//! From events to the pieces that go out: content coding, cuts at any byte, pauses, and the ends that are none.

use std::io::{self, Write};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use fastrand::Rng;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use futures_util::stream;

use super::wire::Frame;

/// Longer than any pause that a model makes by itself here.
const STALL: Duration = Duration::from_millis(1200);

/// How a body goes out.
#[derive(Clone, Debug, Default)]
pub struct Sending {
    /// `gzip`, `br`, `zstd` or `deflate`.
    pub coding: Option<&'static str>,
    /// Pieces are cut at random places, else as the events are.
    pub is_cut_anywhere: bool,
    /// Between two pieces.
    pub pause: Duration,
    /// Two stalls.
    pub is_slow: bool,
    /// Ends the connection where the frames end.
    pub breaks_off: bool,
}

/// What the client takes, of what we have.
pub fn coding(accepted: &str, rng: &mut Rng) -> Option<&'static str> {
    let takes = |name: &&str| {
        let mut items = accepted
            .split(',')
            .map(|item| item.split(';').next().unwrap_or_default().trim());
        items.any(|item| item == *name)
    };
    let all: Vec<&'static str> = ["gzip", "br", "zstd", "deflate"]
        .into_iter()
        .filter(takes)
        .collect();
    rng.choice(all)
}

/// The pieces of a body, in order.
pub fn chunks(frames: &[Frame], sending: &Sending, rng: &mut Rng) -> io::Result<Vec<Vec<u8>>> {
    let mut coder = sending.coding.map(Coder::new).transpose()?;
    let mut pieces = Vec::new();
    for frame in frames {
        pieces.push(match &mut coder {
            Some(coder) => coder.push(&frame.bytes)?,
            None => frame.bytes.clone(),
        });
    }
    if let Some(coder) = coder
        && !sending.breaks_off
    {
        pieces.push(coder.finish()?);
    }
    if !sending.is_cut_anywhere {
        return Ok(pieces);
    }
    let all = pieces.concat();
    let most = (all.len() / 20).max(3);
    let mut rest = all.as_slice();
    let mut cut = Vec::new();
    while !rest.is_empty() {
        let (piece, left) = rest.split_at(rng.usize(1..=most).min(rest.len()));
        cut.push(piece.to_vec());
        rest = left;
    }
    Ok(cut)
}

/// A body of these pieces, each sent on its own.
pub fn streamed(chunks: Vec<Vec<u8>>, sending: &Sending) -> Body {
    let stalls = [chunks.len() / 3, chunks.len() * 2 / 3];
    let sending = sending.clone();
    let mut chunks = chunks.into_iter().enumerate();
    Body::from_stream(stream::unfold(false, move |ended| {
        let next = chunks.next();
        let (pause, is_slow) = (sending.pause, sending.is_slow);
        let breaks_off = sending.breaks_off && !ended;
        async move {
            let Some((at, chunk)) = next else {
                // Lets what was sent go out first.
                tokio::time::sleep(Duration::from_millis(20)).await;
                let broken = Err(io::Error::other("the server breaks off"));
                return breaks_off.then_some((broken, true));
            };
            match at {
                at if is_slow && stalls.contains(&at) => tokio::time::sleep(STALL).await,
                // Without a moment of waiting, several pieces would go out as one.
                _ if pause.is_zero() => tokio::task::yield_now().await,
                _ => tokio::time::sleep(pause).await,
            }
            Some((Ok(Bytes::from(chunk)), false))
        }
    }))
}

/// Compresses piece by piece, so that what is pushed can be read at once.
enum Coder {
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Deflate(ZlibEncoder<Vec<u8>>),
    Gzip(GzEncoder<Vec<u8>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Coder {
    fn new(name: &str) -> io::Result<Self> {
        let fast = Compression::fast();
        Ok(match name {
            "br" => Self::Brotli(Box::new(brotli::CompressorWriter::new(
                Vec::new(),
                4096,
                3,
                20,
            ))),
            "zstd" => Self::Zstd(zstd::stream::write::Encoder::new(Vec::new(), 1)?),
            "deflate" => Self::Deflate(ZlibEncoder::new(Vec::new(), fast)),
            _ => Self::Gzip(GzEncoder::new(Vec::new(), fast)),
        })
    }

    fn push(&mut self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let out = match self {
            Self::Brotli(coder) => {
                coder.write_all(bytes)?;
                coder.flush()?;
                coder.get_mut()
            }
            Self::Deflate(coder) => {
                coder.write_all(bytes)?;
                coder.flush()?;
                coder.get_mut()
            }
            Self::Gzip(coder) => {
                coder.write_all(bytes)?;
                coder.flush()?;
                coder.get_mut()
            }
            Self::Zstd(coder) => {
                coder.write_all(bytes)?;
                coder.flush()?;
                coder.get_mut()
            }
        };
        Ok(std::mem::take(out))
    }

    fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Brotli(coder) => Ok(coder.into_inner()),
            Self::Deflate(coder) => coder.finish(),
            Self::Gzip(coder) => coder.finish(),
            Self::Zstd(coder) => coder.finish(),
        }
    }
}
