//! Where in a file a piece of our own code lies, as the kernel mapped it.

use std::fs;
use std::path::PathBuf;

use crate::error::{Context, OrInvalid, Result};
use crate::image::FileOff;

/// A place in a mapped file.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    /// The file's name when it was mapped.
    pub path: PathBuf,
    /// Where in it.
    pub offset: FileOff,
}

/// The file and offset behind a code address of this process.
///
/// # Errors
/// /proc is not there, or the address lies in no file.
pub fn of_code(address: usize) -> Result<Place> {
    let maps =
        fs::read_to_string("/proc/self/maps").context(|| "failed to read /proc/self/maps")?;
    maps.lines()
        .find_map(|line| in_line(line, address as u64))
        .or_invalid(|| format!("no file is mapped at {address:#x}"))
}

/// `start-end perms offset dev inode path` (proc_pid_maps(5)), if `address` is inside.
fn in_line(line: &str, address: u64) -> Option<Place> {
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    let (range, rest) = line.split_once(' ')?;
    let (start, end) = range.split_once('-')?;
    let inside = address.checked_sub(hex(start)?)?;
    if address >= hex(end)? {
        return None;
    }
    let mut fields = rest.split(' ').skip(1);
    let offset = hex(fields.next()?)?.checked_add(inside)?;
    // Names may contain blanks, but they start with a slash, which no field before does.
    let (_, path) = rest.split_once('/')?;
    Some(Place {
        path: format!("/{path}").into(),
        offset: FileOff(offset),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A wrong offset would put a probe into the middle of an instruction.
    #[test]
    fn reads_a_line_of_maps() {
        let line = "7f00a000-7f00c000 r-xp 00002000 fe:00 247030          /opt/a b/libssl.so.3";
        let place = Place {
            path: "/opt/a b/libssl.so.3".into(),
            offset: FileOff(0x2010),
        };
        assert_eq!(in_line(line, 0x7f00_a010), Some(place));
        assert_eq!(in_line(line, 0x7f00_c000), None);
        assert_eq!(in_line(line, 0x7f00_9fff), None);
        assert_eq!(in_line("00-10 r-xp 00000000 00:00 0 [vdso]", 1), None);
    }
}
