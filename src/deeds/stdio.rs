//! What goes through the standard descriptors of a process.

use super::base64;
use super::deed::Stdio;
use crate::event::Direction;
use crate::event::act::{self, Act};

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

/// What was not told of a descriptor, once it is closed: somewhere, or behind the rest.
pub fn untold(act: &Act<'_>) -> Option<Stdio> {
    let [_, pipe, written, read] = act.value;
    let direction = match written >= read {
        true => Direction::Write,
        false => Direction::Read,
    };
    let told = act.result.cast_unsigned();
    let missing = written.saturating_add(read).checked_sub(told);
    let missing = missing.filter(|missing| *missing > 0)?;
    Some(Stdio {
        stream: name(act.fd?)?,
        direction: direction.as_str(),
        offset: told,
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
