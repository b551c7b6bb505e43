//! JSON values, one a line (NDJSON, JSON Lines): the lines as they are complete. It does not look into them.
//!
//! Blank lines are left out, and so is white space around a line.

use std::mem;

use memchr::memchr;

use super::Fault;

/// Memory that is kept from one line to the next.
const KEPT_MAX: usize = 16 << 10;

const CUT_OFF: Fault = Fault {
    what: "the last line may be cut off",
};
const LOST: Fault = Fault {
    what: "bytes were lost: the line around them is left out",
};
const TOO_LONG: Fault = Fault {
    what: "a line is too long",
};

/// Takes lines and faults, at once.
pub type Out<'o> = dyn FnMut(Result<&[u8], Fault>) + 'o;

/// Reads one body.
#[derive(Debug)]
pub struct Lines {
    limit: usize,
    held: Vec<u8>,
    /// The rest of this line is not read.
    skipping: bool,
}

impl Lines {
    /// A body with lines of up to `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            held: Vec::new(),
            skipping: false,
        }
    }

    /// Bytes of memory that it holds.
    pub fn held(&self) -> usize {
        self.held.capacity()
    }

    /// The next bytes of the body.
    pub fn push(&mut self, bytes: &[u8], out: &mut Out<'_>) {
        let mut rest = bytes;
        while let Some(end) = memchr(b'\n', rest) {
            let Some((line, behind)) = rest.split_at_checked(end) else {
                return;
            };
            self.line(line, out);
            rest = behind.strip_prefix(b"\n").unwrap_or(behind);
        }
        if !self.skipping && self.fits(rest, out) {
            self.held.extend_from_slice(rest);
        }
    }

    fn fits(&mut self, more: &[u8], out: &mut Out<'_>) -> bool {
        let fits = self.held.len() + more.len() <= self.limit;
        if !fits {
            self.held = Vec::new();
            self.skipping = true;
            out(Err(TOO_LONG));
        }
        fits
    }

    fn line(&mut self, end: &[u8], out: &mut Out<'_>) {
        if !self.skipping && self.fits(end, out) {
            if self.held.is_empty() {
                give(end, out);
            } else {
                self.held.extend_from_slice(end);
                give(&self.held, out);
            }
        }
        self.skipping = false;
        self.held.clear();
        self.held.shrink_to(KEPT_MAX);
    }

    /// Bytes of the body were lost.
    pub fn gap(&mut self, out: &mut Out<'_>) {
        self.held = Vec::new();
        self.skipping = true;
        out(Err(LOST));
    }

    /// The body ends here; `complete`: as its framing says, so that its last line needs no line feed.
    pub fn finish(&mut self, complete: bool, out: &mut Out<'_>) {
        let held = mem::take(&mut self.held);
        give(&held, out);
        if !complete && !held.trim_ascii().is_empty() {
            out(Err(CUT_OFF));
        }
        self.skipping = false;
    }
}

fn give(line: &[u8], out: &mut Out<'_>) {
    let line = line.trim_ascii();
    if !line.is_empty() {
        out(Ok(line));
    }
}

/// For the fuzzer: the first byte chooses how the rest is cut; every way gives the same lines.
pub fn fuzz_lines(data: &[u8]) {
    let Some((cut, rest)) = data.split_first() else {
        return;
    };
    let lines = |size: usize| {
        let mut all = Vec::new();
        let mut out = |said: Result<&[u8], Fault>| all.push(said.map(<[u8]>::to_vec));
        let mut lines = Lines::new(64);
        for piece in rest.chunks(size.max(1)) {
            lines.push(piece, &mut out);
        }
        lines.finish(true, &mut out);
        all
    };
    assert_eq!(lines(rest.len()), lines(usize::from(*cut)));
}

#[cfg(test)]
mod tests;
