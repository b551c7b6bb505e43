//! What goes through the standard descriptors of a process.

use super::base64;
use super::deed::Stdio;
use crate::event::act;

pub fn told(stdio: &act::Stdio<'_>) -> Option<Stdio> {
    let text = std::str::from_utf8(&stdio.bytes);
    Some(Stdio {
        stream: match stdio.fd {
            0 => "stdin",
            1 => "stdout",
            2 => "stderr",
            _ => return None,
        },
        direction: stdio.direction.as_str(),
        offset: stdio.offset,
        pipe: stdio.inode,
        data: text.ok().map(str::to_owned),
        data_b64: text.is_err().then(|| base64(&stdio.bytes)),
        missing: stdio.missing,
    })
}
