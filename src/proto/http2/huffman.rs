//! The Huffman code of HPACK (RFC 7541 section 5.2 and appendix B). Decodes symbol by symbol with one look-up each; the few
//! codes longer than ten bits take a second one. Encodes what is masked, which is little and need not be fast.

use std::sync::LazyLock;

/// Bits of a code, per symbol; the last one is EOS. The codes follow from their lengths: it is a canonical code
/// (appendix B), in which the codes of one length count up in the order of the symbols.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

/// Bits that the first look-up sees.
const SHORT: u32 = 10;
/// Bits of the longest code.
const LONG: u32 = 30;

/// What a look-up gives.
#[derive(Clone, Copy)]
struct Code {
    bits: u32,
    /// `None`: EOS, which may not occur.
    symbol: Option<u8>,
}

/// A code longer than [`SHORT`], with all that begin with it in 30 bits.
struct Range {
    /// The first number of 30 bits behind them.
    end: u32,
    code: Code,
}

struct Tables {
    /// By the next [`SHORT`] bits; `None`: the code is longer.
    short: Vec<Option<Code>>,
    /// In rising order.
    long: Vec<Range>,
}

static TABLES: LazyLock<Tables> = LazyLock::new(|| {
    let mut codes: Vec<(u8, usize)> = (0..)
        .zip(LENGTHS)
        .map(|(symbol, bits)| (bits, symbol))
        .collect();
    codes.sort_unstable();
    let mut tables = Tables {
        short: Vec::with_capacity(1 << SHORT),
        long: Vec::new(),
    };
    let mut end = 0_u32;
    for (bits, symbol) in codes {
        let bits = u32::from(bits);
        end += 1 << (LONG - bits);
        let symbol = u8::try_from(symbol).ok();
        let code = Code { bits, symbol };
        if bits <= SHORT {
            tables
                .short
                .resize((end >> (LONG - SHORT)) as usize, Some(code));
        } else {
            tables.long.push(Range { end, code });
        }
    }
    tables.short.resize(1 << SHORT, None);
    tables
});

/// Appends what `coded` stands for to `plain`; `None`: it is no such code. Never more than 8 bytes for each 5.
pub fn decode(coded: &[u8], plain: &mut Vec<u8>) -> Option<()> {
    let tables = &*TABLES;
    plain.reserve(coded.len() / 5 * 8 + 8);
    let mut coded = coded.iter();
    // The next bits, from the highest on.
    let (mut bits, mut count) = (0_u64, 0_u32);
    loop {
        while count <= 56 {
            let Some(byte) = coded.next() else { break };
            bits |= u64::from(*byte) << (56 - count);
            count += 8;
        }
        // Before the end, any code is there as a whole.
        let enough = if count > 56 { LONG } else { 1 };
        while count >= enough {
            let code = tables.next(bits)?;
            if code.bits > count {
                // Section 5.2: at the end less than a byte of ones.
                return (count < 8 && bits.leading_ones() >= count).then_some(());
            }
            plain.push(code.symbol?);
            bits <<= code.bits;
            count -= code.bits;
        }
        if enough == 1 {
            return Some(());
        }
    }
}

/// Codes by symbol, at the end of their 32 bits, and their lengths.
static CODES: LazyLock<Vec<(u32, u32)>> = LazyLock::new(|| {
    let mut order: Vec<(u8, usize)> = LENGTHS.into_iter().zip(0..).collect();
    order.sort_unstable();
    let mut codes = vec![(0, 0); LENGTHS.len()];
    let mut end = 0_u32;
    for (bits, symbol) in order {
        let bits = u32::from(bits);
        if let Some(code) = codes.get_mut(symbol) {
            *code = (end >> (LONG - bits), bits);
        }
        end += 1 << (LONG - bits);
    }
    codes
});

/// Bytes of these symbols in the code.
pub fn encoded_len(plain: impl Iterator<Item = u8>) -> usize {
    let bits = plain.map(|symbol| {
        LENGTHS
            .get(usize::from(symbol))
            .copied()
            .unwrap_or_default()
    });
    bits.map(usize::from).sum::<usize>().div_ceil(8)
}

/// These symbols in the code, with ones behind the last (section 5.2).
pub fn encode(plain: impl Iterator<Item = u8>) -> Vec<u8> {
    let mut coded = Vec::new();
    let (mut pending, mut count) = (0_u64, 0);
    for symbol in plain {
        let (code, bits) = CODES.get(usize::from(symbol)).copied().unwrap_or_default();
        pending = pending << bits | u64::from(code);
        count += bits;
        while count >= 8 {
            count -= 8;
            coded.push((pending >> count) as u8);
        }
        pending &= (1 << count) - 1;
    }
    if count > 0 {
        coded.push((pending << (8 - count)) as u8 | (0xff >> count));
    }
    coded
}

impl Tables {
    fn next(&self, bits: u64) -> Option<Code> {
        let short = self.short.get((bits >> (64 - SHORT)) as usize)?;
        short.or_else(|| {
            let bits = bits >> (64 - LONG);
            let after = |range: &Range| u64::from(range.end) <= bits;
            let range = self.long.get(self.long.partition_point(after))?;
            Some(range.code)
        })
    }
}
