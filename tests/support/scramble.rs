//! Makes the names of a program unreadable where they stand: same length, nothing moves.
//!
//! For programs that export what nobody imports: they run as before, and can no longer be told by name.

use std::collections::BTreeSet;
use std::ops::Range;

use goblin::elf::Elf;
use goblin::elf::section_header::SHT_STRTAB;

use super::Random;

/// Overwrites every symbol name that `unwanted` accepts in all symbol string tables; tells how many.
/// The end of a name stays if the linker used it as the name of an import too: `connect` in
/// `SSL_connect`.
pub fn names(file: &mut [u8], unwanted: &dyn Fn(&[u8]) -> bool) -> usize {
    let elf = Elf::parse(file).unwrap();
    // Besides undefined ones: data that is copied from a library, such as stderr.
    let imports: BTreeSet<usize> = elf
        .dynsyms
        .iter()
        .filter(|symbol| symbol.st_shndx == 0 || !symbol.is_function())
        .map(|symbol| symbol.st_name)
        .collect();
    let tables: Vec<_> = elf
        .section_headers
        .iter()
        .filter(|section| section.sh_type == SHT_STRTAB)
        .filter_map(|section| Some((elf.shdr_strtab.get_at(section.sh_name)?, section)))
        .filter(|(name, _)| matches!(*name, ".dynstr" | ".strtab"))
        .filter_map(|(name, section)| Some((name == ".dynstr", section.file_range()?)))
        .collect();
    let mut random = Random(1);
    let mut count = 0;
    for (is_dynamic, table) in tables {
        let kept = if is_dynamic {
            &imports
        } else {
            &BTreeSet::new()
        };
        count += in_table(&mut file[table], kept, unwanted, &mut random);
    }
    count
}

fn in_table(
    table: &mut [u8],
    kept: &BTreeSet<usize>,
    unwanted: &dyn Fn(&[u8]) -> bool,
    random: &mut Random,
) -> usize {
    let ends: Vec<usize> = memchr::memchr_iter(0, table).collect();
    let mut start = 0;
    let mut count = 0;
    for end in ends {
        let name: Range<usize> = start..end;
        start = end + 1;
        if unwanted(&table[name.clone()]) {
            let until = kept.range(name.clone()).next().copied().unwrap_or(end);
            table[name.start..until].fill_with(|| b'a' + random.below(26) as u8);
            count += 1;
        }
    }
    count
}
