//! Second and third opinions on an ELF file: goblin, and what `readelf` prints.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use goblin::elf::program_header::{PF_X, PT_LOAD, ProgramHeader};
use goblin::elf::sym::{STT_FUNC, STT_GNU_IFUNC};
use goblin::elf::{Elf, Sym};

use super::skip;

/// A function: name, virtual address, file offset.
pub type Place = (String, u64, u64);

/// Which symbol tables to believe.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tables {
    All,
    Dynamic,
}

/// Every function that the file defines and `wanted` accepts, as goblin sees it.
pub fn functions(path: &Path, tables: Tables, wanted: &dyn Fn(&str) -> bool) -> BTreeSet<Place> {
    let bytes = std::fs::read(path).unwrap();
    let elf = Elf::parse(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let thumb = elf.header.e_machine == goblin::elf::header::EM_ARM;
    let mut places = BTreeSet::new();
    let mut add = |symbol: Sym, name: Option<&str>| {
        let is_function = matches!(symbol.st_type(), STT_FUNC | STT_GNU_IFUNC);
        let Some(name) = name.filter(|name| is_function && !symbol.is_import() && wanted(name))
        else {
            return;
        };
        let addr = symbol.st_value & !u64::from(thumb);
        let offset = code_offset(&elf.program_headers, addr);
        let offset = offset.unwrap_or_else(|| panic!("{name} in {} is not code", path.display()));
        places.insert((name.to_owned(), addr, offset));
    };
    for symbol in &elf.dynsyms {
        add(symbol, elf.dynstrtab.get_at(symbol.st_name));
    }
    if tables == Tables::All {
        for symbol in &elf.syms {
            add(symbol, elf.strtab.get_at(symbol.st_name));
        }
    }
    places
}

/// Functions that the file wants from others, as goblin sees it.
pub fn imports(path: &Path, wanted: &dyn Fn(&str) -> bool) -> BTreeSet<String> {
    let bytes = std::fs::read(path).unwrap();
    let elf = Elf::parse(&bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let imported = elf.dynsyms.iter().filter(Sym::is_import);
    imported
        .filter_map(|symbol| elf.dynstrtab.get_at(symbol.st_name))
        .filter(|name| wanted(name))
        .map(str::to_owned)
        .collect()
}

/// Where in the file the code at `addr` stands.
pub fn code_offset(segments: &[ProgramHeader], addr: u64) -> Option<u64> {
    let mut code = segments
        .iter()
        .filter(|segment| segment.p_type == PT_LOAD && segment.p_flags & PF_X != 0);
    code.find(|segment| {
        addr.checked_sub(segment.p_vaddr)
            .is_some_and(|inside| inside < segment.p_filesz)
    })
    .map(|segment| addr - segment.p_vaddr + segment.p_offset)
}

/// The same as [`functions`], by what `readelf` prints.
pub fn functions_by_readelf(
    path: &Path,
    tables: Tables,
    wanted: &dyn Fn(&str) -> bool,
) -> Option<BTreeSet<Place>> {
    let segments = loads(&readelf("-lW", path)?);
    let printed = readelf("-Ws", path)?;
    let mut places = BTreeSet::new();
    let mut in_table = false;
    for line in printed.lines() {
        if let Some(table) = line.strip_prefix("Symbol table '") {
            in_table = tables == Tables::All || table.starts_with(".dynsym");
        }
        // Num: Value Size Type Bind Vis Ndx Name[@version]
        let words: Vec<&str> = line.split_whitespace().collect();
        let &[_, value, _, kind, _, _, section, name, ..] = words.as_slice() else {
            continue;
        };
        let name = name.split('@').next().unwrap_or(name);
        let is_function = matches!(kind, "FUNC" | "IFUNC") && section != "UND";
        if !(in_table && is_function && wanted(name)) {
            continue;
        }
        let addr = number(value);
        let segment = segments
            .iter()
            .find(|load| load.vaddr <= addr && addr < load.vaddr + load.size);
        let segment = segment.unwrap_or_else(|| panic!("{name} in {} is not code", path.display()));
        places.insert((name.to_owned(), addr, addr - segment.vaddr + segment.offset));
    }
    Some(places)
}

/// Name and version of each function that a library defines, by `readelf`: `gnutls_bye@@GNUTLS_3_4`.
pub fn versions_by_readelf(path: &Path) -> Option<Vec<(String, String)>> {
    let printed = readelf("-Ws", path)?;
    let words = printed.lines().map(|line| line.split_whitespace());
    let functions = words.filter_map(|mut words| {
        (words.nth(3)? == "FUNC" && words.nth(2)? != "UND").then(|| words.next())?
    });
    let versioned = functions.filter_map(|name| name.split_once("@@"));
    Some(
        versioned
            .map(|(name, version)| (name.to_owned(), version.to_owned()))
            .collect(),
    )
}

struct Load {
    offset: u64,
    vaddr: u64,
    size: u64,
}

/// The executable `LOAD` lines of `readelf -lW`: Type Offset VirtAddr PhysAddr FileSiz MemSiz Flg Align.
fn loads(printed: &str) -> Vec<Load> {
    let lines = printed
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>());
    lines
        .filter(|words| words.first() == Some(&"LOAD") && words[6..words.len() - 1].contains(&"E"))
        .map(|words| Load {
            offset: number(words[1]),
            vaddr: number(words[2]),
            size: number(words[4]),
        })
        .collect()
}

fn readelf(option: &str, path: &Path) -> Option<String> {
    let Ok(output) = Command::new("readelf")
        .arg(option)
        .arg(path)
        .env("LC_ALL", "C")
        .output()
    else {
        return skip("readelf");
    };
    assert!(
        output.status.success(),
        "readelf {option} {}",
        path.display()
    );
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn number(hex: &str) -> u64 {
    u64::from_str_radix(hex.trim_start_matches("0x"), 16).unwrap()
}
