//! What is done to a copy of the linked file: the ways in which symbols get lost or moved.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use object::{Object, ObjectSymbol, SymbolKind};

use crate::directive::Recipe;
use crate::{Testbin, Unbuilt, cache, tool};

/// Where a `build-id` variant has its debug file, inside its folder.
const DEBUG_ROOT: &str = "root";

/// One step; a variant has at most one.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub enum Post {
    /// Stripped; the debug file is in `<root>/usr/lib/debug/.build-id/`.
    BuildId,
    /// MiniDebugInfo: stripped, but `.gnu_debugdata` holds the function symbols, as Fedora does it.
    DebugData,
    /// Stripped; the debug file is beside the program and `.gnu_debuglink` names it.
    Debuglink,
    /// No symbol table, but all of DWARF.
    DwarfOnly,
    /// Stripped, and without a section header table.
    NoSections,
    /// No symbol table and no DWARF; dynamic symbols stay.
    Strip,
    /// No DWARF.
    StripDebug,
}

impl Post {
    const ALL: [Self; 7] = [
        Self::BuildId,
        Self::DebugData,
        Self::Debuglink,
        Self::DwarfOnly,
        Self::NoSections,
        Self::Strip,
        Self::StripDebug,
    ];

    /// The name in directives and variants.
    pub fn name(self) -> &'static str {
        match self {
            Self::BuildId => "build-id",
            Self::DebugData => "debugdata",
            Self::Debuglink => "debuglink",
            Self::DwarfOnly => "dwarf-only",
            Self::NoSections => "nosections",
            Self::Strip => "strip",
            Self::StripDebug => "strip-debug",
        }
    }

    /// The step of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|post| post.name() == name)
    }

    /// Changes the program in place; debug files go beside it.
    fn apply(self, program: &Path) -> Result<(), Unbuilt> {
        match self {
            Self::BuildId => keep_by_build_id(program),
            Self::DebugData => embed_function_symbols(program),
            Self::Debuglink => keep_by_link(program),
            Self::DwarfOnly => strip(program, &["--strip-all", "--keep-section=.debug_*"]),
            Self::NoSections => drop_section_table(program),
            Self::Strip => strip(program, &["--strip-all"]),
            Self::StripDebug => strip(program, &["--strip-debug"]),
        }
    }
}

/// Builds a variant from a copy of the linked one.
pub fn build(recipe: &Recipe, linked: &Testbin, post: Post) -> Result<Testbin, Unbuilt> {
    let variant = format!("{}.{}", linked.variant, post.name());
    let label = format!("{}.{variant}", linked.program);
    // The folder of the linked file is named by all that went into it.
    let inputs = (&linked.path, post);
    let folder = cache::folder(&label, &inputs, |folder| {
        let copy = folder.join(recipe.name());
        fs::copy(&linked.path, &copy).map_err(|error| io_failed(&copy, error))?;
        post.apply(&copy)
    })?;
    Ok(Testbin {
        variant,
        path: folder.join(recipe.name()),
        debug_root: (post == Post::BuildId).then(|| folder.join(DEBUG_ROOT)),
        ..linked.clone()
    })
}

fn strip(program: &Path, options: &[&str]) -> Result<(), Unbuilt> {
    let (folder, name) = parts(program)?;
    tool::run("strip", folder, options.iter().chain([&name])).map(drop)
}

fn objcopy(folder: &Path, arguments: &[&str]) -> Result<(), Unbuilt> {
    tool::run("objcopy", folder, arguments).map(drop)
}

/// What `strip` takes away, as `<name>.debug`.
fn keep_debug_file(program: &Path) -> Result<(&Path, String), Unbuilt> {
    let (folder, name) = parts(program)?;
    let debug = format!("{name}.debug");
    objcopy(folder, &["--only-keep-debug", name, &debug])?;
    strip(program, &["--strip-all"])?;
    Ok((folder, debug))
}

fn keep_by_link(program: &Path) -> Result<(), Unbuilt> {
    let (folder, debug) = keep_debug_file(program)?;
    let (_, name) = parts(program)?;
    objcopy(folder, &[&format!("--add-gnu-debuglink={debug}"), name])
}

fn keep_by_build_id(program: &Path) -> Result<(), Unbuilt> {
    let (folder, debug) = keep_debug_file(program)?;
    let target = folder.join(DEBUG_ROOT).join(build_id_path(program)?);
    let into = target.parent().unwrap_or(folder);
    fs::create_dir_all(into).map_err(|error| io_failed(into, error))?;
    fs::rename(folder.join(debug), &target).map_err(|error| io_failed(&target, error))
}

fn build_id_path(program: &Path) -> Result<PathBuf, Unbuilt> {
    let bytes = read(program)?;
    let file = parse(&bytes)?;
    let id = file.build_id().ok().flatten().and_then(<[u8]>::split_first);
    let (first, rest) = id.ok_or_else(|| Unbuilt::failed("no build-id", program.display()))?;
    let rest: String = rest.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(PathBuf::from(format!(
        "usr/lib/debug/.build-id/{first:02x}/{rest}.debug"
    )))
}

/// As find-debuginfo does it (and `man gdb`, "MiniDebugInfo"): of the debug file keep only the
/// symbols of functions that the dynamic symbol table lacks, compress it, embed it.
fn embed_function_symbols(program: &Path) -> Result<(), Unbuilt> {
    let keep: String = function_symbols(program)?
        .iter()
        .map(|name| format!("{name}\n"))
        .collect();
    let (folder, debug) = keep_debug_file(program)?;
    let (_, name) = parts(program)?;
    let list = folder.join("keep.txt");
    fs::write(&list, keep).map_err(|error| io_failed(&list, error))?;
    objcopy(
        folder,
        &[
            "--strip-all",
            "--remove-section=.comment",
            "--keep-symbols=keep.txt",
            &debug,
            "mini",
        ],
    )?;
    tool::run("xz", folder, ["mini"])?;
    objcopy(folder, &["--add-section=.gnu_debugdata=mini.xz", name])?;
    for scrap in ["keep.txt", "mini.xz", &debug] {
        fs::remove_file(folder.join(scrap)).map_err(|error| io_failed(folder, error))?;
    }
    Ok(())
}

fn function_symbols(program: &Path) -> Result<BTreeSet<String>, Unbuilt> {
    let bytes = read(program)?;
    let file = parse(&bytes)?;
    let exported: BTreeSet<&str> = file
        .dynamic_symbols()
        .filter_map(|symbol| symbol.name().ok())
        .collect();
    let functions = file
        .symbols()
        .filter(|symbol| symbol.kind() == SymbolKind::Text && !symbol.is_undefined())
        .filter_map(|symbol| symbol.name().ok())
        .filter(|name| !exported.contains(name));
    Ok(functions.map(str::to_owned).collect())
}

/// Strips, then removes the section header table.
fn drop_section_table(program: &Path) -> Result<(), Unbuilt> {
    strip(program, &["--strip-all"])?;
    let mut bytes = read(program)?;
    let table = cut_section_table(&mut bytes)
        .ok_or_else(|| Unbuilt::failed("unexpected ELF header", program.display()))?;
    bytes.truncate(table);
    fs::write(program, bytes).map_err(|error| io_failed(program, error))
}

/// Makes the file forget its section header table, wherever that is.
pub fn zero_section_table(program: &Path) -> Result<(), Unbuilt> {
    let mut bytes = read(program)?;
    if bytes.len() < 0x40 {
        return Err(Unbuilt::failed("no ELF header", program.display()));
    }
    cut_section_table(&mut bytes);
    fs::write(program, bytes).map_err(|error| io_failed(program, error))
}

/// Zeroes e_shoff, e_shnum and e_shstrndx of a 64-bit little-endian ELF file and returns where the
/// table was, if nothing comes after it (binutils puts it last).
fn cut_section_table(bytes: &mut [u8]) -> Option<usize> {
    if !bytes.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let start = usize::try_from(u64::from_le_bytes(*bytes.get(0x28..)?.first_chunk()?)).ok()?;
    let entry_size = u16::from_le_bytes(*bytes.get(0x3a..)?.first_chunk()?);
    let count = u16::from_le_bytes(*bytes.get(0x3c..)?.first_chunk()?);
    bytes.get_mut(0x28..0x30)?.fill(0);
    bytes.get_mut(0x3c..0x40)?.fill(0);
    let end = start.checked_add(usize::from(entry_size) * usize::from(count))?;
    (end == bytes.len()).then_some(start)
}

fn parts(program: &Path) -> Result<(&Path, &str), Unbuilt> {
    let name = program.file_name().and_then(|name| name.to_str());
    let parts = program.parent().zip(name);
    parts.ok_or_else(|| Unbuilt::failed("no file name", program.display()))
}

fn read(program: &Path) -> Result<Vec<u8>, Unbuilt> {
    fs::read(program).map_err(|error| io_failed(program, error))
}

fn parse(bytes: &[u8]) -> Result<object::File<'_>, Unbuilt> {
    object::File::parse(bytes).map_err(|error| Unbuilt::failed("not an object file", error))
}

fn io_failed(path: &Path, error: io::Error) -> Unbuilt {
    Unbuilt::failed(path.display(), error)
}
