//! What goes through the standard descriptors of a process.

use super::base64;
use super::deed::Stdio;
use crate::event::Direction;
use crate::event::act::{self, Act};

/// Bytes of each way that are told: `STDIO_MAX` in bpf/limits.h.
const TOLD_MAX: u64 = 1 << 20;

pub fn told(stdio: &act::Stdio<'_>) -> Option<Stdio> {
    let text = std::str::from_utf8(&stdio.bytes);
    Some(Stdio {
        stream: name(stdio.fd)?,
        direction: stdio.direction.as_str(),
        offset: stdio.offset,
        pipe: stdio.inode,
        data: text.ok().map(str::to_owned),
        data_b64: text.is_err().then(|| base64(&stdio.bytes)),
        missing: stdio.missing,
    })
}

/// What went beyond what is told, once the descriptor is closed.
pub fn untold(act: &Act<'_>) -> Option<Stdio> {
    let [_, pipe, written, read] = act.value;
    let (direction, bytes) = match written >= read {
        true => (Direction::Write, written),
        false => (Direction::Read, read),
    };
    let missing = bytes.checked_sub(TOLD_MAX).filter(|missing| *missing > 0)?;
    Some(Stdio {
        stream: name(act.fd?)?,
        direction: direction.as_str(),
        offset: TOLD_MAX,
        pipe,
        data: None,
        data_b64: None,
        missing,
    })
}

fn name(fd: i32) -> Option<&'static str> {
    ["stdin", "stdout", "stderr"]
        .get(usize::try_from(fd).ok()?)
        .copied()
}
