//! What is done to a copy before somebody gets it.

use std::fs;
use std::path::{Path, PathBuf};

use super::{After, Combination, Shape, cargo};
use crate::{Unbuilt, cache, post, tool};

/// The copy of the linked file.
pub fn copy(combination: &Combination, linked: &Path) -> Result<PathBuf, Unbuilt> {
    let name = cargo::file_name(combination.shape);
    let label = format!("rust/{}", combination.name());
    let inputs = (linked, combination.after, include_str!("shipped.rs"));
    let folder = cache::folder(&label, &inputs, |folder| {
        let copy = folder.join(name);
        fs::copy(linked, &copy).map_err(|error| Unbuilt::failed(copy.display(), error))?;
        // GNU strip knows the machines that it was built for only.
        let strip = match combination.shape {
            Shape::Arm64 => "llvm-strip",
            _ => "strip",
        };
        tool::run(strip, folder, ["--strip-all", name])?;
        match combination.after {
            After::NoSections => post::zero_section_table(&copy),
            After::NoUnwind => drop_unwind_info(folder, name),
            After::Strip => Ok(()),
        }
    })?;
    Ok(folder.join(name))
}

/// As linkers do that are told to leave it out. Only what never unwinds can do without.
fn drop_unwind_info(folder: &Path, name: &str) -> Result<(), Unbuilt> {
    let arguments = [
        "--remove-section=.eh_frame",
        "--remove-section=.eh_frame_hdr",
        "--remove-section=.gcc_except_table",
        name,
    ];
    tool::run("objcopy", folder, arguments).map(drop)
}
