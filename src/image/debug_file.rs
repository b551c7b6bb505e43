//! Separate debug files: by build ID and by `.gnu_debuglink`, where GDB looks for them
//! (GDB manual, "Debugging Information in Separate Files"), and the `.gnu_debugdata` inside of a file
//! (MiniDebugInfo). What is found is proven to belong: same build ID, or the CRC of the link.

use std::io::Read;
use std::path::{Path, PathBuf};

use lzma_rust2::XzReader;

use super::{Image, ImageFile};
use crate::bytes::{self, Reader};
use crate::error::{Context, Error, OrInvalid, Result};

/// A MiniDebugInfo holds function symbols only: Firefox's libxul, a giant, has 14 MB.
const MINI_DEBUG_LIMIT: u64 = 256 << 20;

/// What unpacking it may take besides the result: the largest preset, `xz -9`, asks for 65 MiB.
const MINI_DEBUG_MEMORY_KB: u32 = 128 << 10;

/// How a debug file was found, and so how it was proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Same build ID.
    BuildId,
    /// Named by `.gnu_debuglink`, and the CRC fits.
    DebugLink,
}

/// A debug file that belongs to an image.
pub struct DebugFile {
    /// The open file.
    pub file: ImageFile,
    /// Why we believe that it belongs.
    pub proof: Proof,
}

/// Where debug files are searched.
#[derive(Clone, Debug)]
pub struct DebugDirs {
    /// Global directories, as GDB's debug-file-directory: `/usr/lib/debug`.
    pub global: Vec<PathBuf>,
}

impl Default for DebugDirs {
    fn default() -> Self {
        Self {
            global: vec!["/usr/lib/debug".into()],
        }
    }
}

/// The `.gnu_debuglink` of an image: file name and CRC-32.
pub fn debug_link<'a>(image: &Image<'a>) -> Option<(&'a str, u32)> {
    let data = image.section_data(image.section(".gnu_debuglink")?)?;
    let name = std::str::from_utf8(bytes::c_str(data, 0)?).ok()?;
    let at = (name.len() + 1).next_multiple_of(4);
    let crc = Reader::at(data, at, image.endian)?.u32()?;
    let is_plain = !name.is_empty() && !name.contains('/') && name != ".." && name != ".";
    is_plain.then_some((name, crc))
}

/// The debug file of `image`, which was read from `path`. `Ok(None)`: there is none.
///
/// # Errors
/// There is a candidate, but it is damaged or of another build.
pub fn find(path: &Path, image: &Image<'_>, dirs: &DebugDirs) -> Result<Option<DebugFile>> {
    let mut doubt = None;
    for (candidate, crc) in candidates(path, image, dirs) {
        // The directories are the file owner's: names that are not there are the normal case.
        let Ok(file) = ImageFile::open(&candidate) else {
            continue;
        };
        match prove(&file, image, crc) {
            Ok(proof) => return Ok(Some(DebugFile { file, proof })),
            Err(error) => doubt = Some(error),
        }
    }
    doubt.map_or(Ok(None), Err)
}

/// Names to try, with the CRC that the file must have if it is not told by its build ID. Whether they
/// are there is not asked.
pub fn candidates(path: &Path, image: &Image<'_>, dirs: &DebugDirs) -> Vec<(PathBuf, Option<u32>)> {
    let mut names = Vec::new();
    if let Some(id) = &image.build_id {
        let hex = id.to_string();
        if let Some((first, rest)) = hex.split_at_checked(2).filter(|(_, rest)| !rest.is_empty()) {
            let name = format!(".build-id/{first}/{rest}.debug");
            names.extend(dirs.global.iter().map(|dir| (dir.join(&name), None)));
        }
    }
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    if let (Some((name, crc)), Some(dir)) = (debug_link(image), path.parent()) {
        let inside = dir.strip_prefix("/").unwrap_or(dir);
        names.push((dir.join(name), Some(crc)));
        names.push((dir.join(".debug").join(name), Some(crc)));
        let global = dirs.global.iter();
        names.extend(global.map(|root| (root.join(inside).join(name), Some(crc))));
    }
    names.retain(|(name, _)| *name != path);
    names
}

fn prove(file: &ImageFile, image: &Image<'_>, crc: Option<u32>) -> Result<Proof> {
    let name = || file.path().display().to_string();
    let debug = Image::parse(file.bytes()).context(name)?;
    if debug.arch != image.arch || debug.is_64 != image.is_64 {
        return Err(Error::invalid(format!("{} is for {}", name(), debug.arch)));
    }
    match (&debug.build_id, &image.build_id) {
        (Some(theirs), Some(ours)) if theirs == ours => return Ok(Proof::BuildId),
        (Some(theirs), Some(_)) => {
            return Err(Error::invalid(format!(
                "{} is of another build: its build ID is {theirs}",
                name()
            )));
        }
        _ => {}
    }
    match crc {
        Some(crc) if crc32(file.bytes()) == crc => Ok(Proof::DebugLink),
        Some(_) => Err(Error::invalid(format!(
            "{} has another CRC than the debug link says",
            name()
        ))),
        None => Err(Error::invalid(format!("{} has no build ID", name()))),
    }
}

/// CRC-32 of ISO 3309, as `.gnu_debuglink` uses it.
fn crc32(data: &[u8]) -> u32 {
    crc32fast::hash(data)
}

/// The symbols-only ELF file in `.gnu_debugdata`, unpacked. `Ok(None)`: the image has none.
///
/// # Errors
/// The section is damaged or unpacks to more than 256 MiB.
pub fn mini_debug_info(image: &Image<'_>) -> Result<Option<Vec<u8>>> {
    let Some(section) = image.section(".gnu_debugdata") else {
        return Ok(None);
    };
    let packed = image
        .section_data(section)
        .or_invalid(|| "section .gnu_debugdata lies outside of the file")?;
    let mut unpacked = Vec::new();
    let reader = XzReader::new_mem_limit(packed, false, MINI_DEBUG_MEMORY_KB);
    let mut reader = reader.take(MINI_DEBUG_LIMIT + 1);
    reader
        .read_to_end(&mut unpacked)
        .map_err(|error| Error::invalid(format!("failed to unpack .gnu_debugdata: {error}")))?;
    if unpacked.len() as u64 > MINI_DEBUG_LIMIT {
        return Err(Error::invalid(
            ".gnu_debugdata unpacks to more than 256 MiB",
        ));
    }
    Ok(Some(unpacked))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The check value of CRC-32/ISO-HDLC ("123456789"), so that links are compared by the right sum.
    #[test]
    fn crc_is_the_one_of_debug_links() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }
}
