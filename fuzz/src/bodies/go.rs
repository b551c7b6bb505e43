//! Go programs. The smallest with TLS has megabytes, nearly all of which nobody reads, so an input is a list of
//! changes: which program, then for each which of the places that are read, where in it, and what comes there.

use std::sync::{Mutex, OnceLock};

use agentsight::image::go::itab;
use agentsight::image::go::rtype::Kind;
use agentsight::image::go::{GoProgram, Pclntab, code};
use agentsight::image::{Image, Pointers, VirtAddr};

use super::files;

/// Bytes of one change: place, size and kind, offset, value.
const CHANGE: usize = 12;
/// Changes of one input.
const CHANGES_MAX: usize = 16;
/// Bytes of one place.
const PLACE: u64 = 256;
/// What types are called that discovery reads, and some more.
const NAMES: [&str; 8] = [
    "net.Conn",
    "net.TCPAddr",
    "runtime.g",
    "*net.TCPConn",
    "*net.UnixConn",
    "net.netFD",
    "*tls.Conn",
    "tls.Conn",
];

/// One program, and where in its bytes things stand that are read.
struct Program {
    bytes: Vec<u8>,
    places: Vec<usize>,
}

static PROGRAMS: OnceLock<Mutex<Vec<Program>>> = OnceLock::new();

/// Later calls do nothing.
pub fn set_programs(programs: Vec<Vec<u8>>) {
    let programs = programs.into_iter().map(|bytes| Program {
        places: places(&bytes),
        bytes,
    });
    let _ = PROGRAMS.set(Mutex::new(programs.collect()));
}

/// The table of functions alone.
pub fn pclntab(data: &[u8]) {
    changed(data, |bytes| {
        let Ok(image) = Image::parse(bytes) else {
            return;
        };
        let pointers = Pointers::new(&image);
        let Ok(Some(program)) = GoProgram::find(&pointers) else {
            return;
        };
        table(&image, &pointers, &program, &program.pclntab);
    });
}

fn table(
    image: &Image<'_>,
    pointers: &Pointers<'_, '_>,
    program: &GoProgram<'_>,
    table: &Pclntab<'_>,
) {
    assert!(table.functions <= image.data().len());
    let text = program.text();
    for (offset, name) in table.names_ending(".Read", 8) {
        assert!(name.ends_with(b".Read"));
        for record in table.records_named(&[offset]).iter().take(8) {
            assert_eq!(record.name_offset, offset);
            let own = table.record_entry(pointers, text, record);
            let start = table.entry(pointers, text, record.index);
            let end = table.entry(pointers, text, record.index + 1);
            let _ = (
                own,
                start.and_then(|start| table.index_of(pointers, text, start)),
            );
            if let (Some(start), Some(end)) = (start, end)
                && let Ok(found) = code::read(image, start, end)
            {
                let inside = |at: &VirtAddr| start <= *at && *at < end;
                assert!(found.returns.iter().all(inside));
                assert!(found.size <= end.0 - start.0);
            }
        }
    }
    for index in [
        0,
        1,
        table.functions / 2,
        table.functions - 1,
        table.functions,
    ] {
        let _ = (table.record(index), table.entry(pointers, text, index));
    }
}

/// Module data, types and method tables.
pub fn rtype(data: &[u8]) {
    changed(data, |bytes| {
        let Ok(image) = Image::parse(bytes) else {
            return;
        };
        let pointers = Pointers::new(&image);
        let Ok(Some(program)) = GoProgram::find(&pointers) else {
            return;
        };
        let Some(mut types) = program.types(&pointers) else {
            return;
        };
        for (number, of) in types.named(&NAMES) {
            assert_eq!(types.name(&of), Some(NAMES[number].as_bytes()));
            let _ = (
                types.package(&of),
                types.element(&of),
                types.pointer_to(&of),
            );
            for field in types.fields(&of) {
                assert!(field.offset <= of.size);
                let _ = types.at(field.addr);
            }
            types.settle_offsets(&of);
            if of.kind == Kind::Interface {
                for itab in itab::all_of(&types, &of) {
                    let _ = (itab.method(&types, 0), itab.method(&types, u64::MAX));
                }
            }
        }
    });
}

/// Everything, as for users.
pub fn examine(data: &[u8]) {
    changed(data, files::examine);
}

/// Runs `look` on the program that `data` asks for, with its changes.
fn changed(data: &[u8], look: impl FnOnce(&[u8])) {
    let (Some(programs), Some((which, changes))) = (PROGRAMS.get(), data.split_first()) else {
        return;
    };
    let mut programs = programs.lock().unwrap_or_else(|broken| broken.into_inner());
    let count = programs.len().max(1);
    let Some(program) = programs.get_mut(usize::from(*which) % count) else {
        return;
    };
    let mut old = Vec::new();
    for change in changes.as_chunks::<CHANGE>().0.iter().take(CHANGES_MAX) {
        let Some((at, value)) = change_of(program, change) else {
            continue;
        };
        old.push((at, program.bytes[at..at + value.len()].to_vec()));
        program.bytes[at..at + value.len()].copy_from_slice(&value);
    }
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| look(&program.bytes)));
    for (at, value) in old.into_iter().rev() {
        program.bytes[at..at + value.len()].copy_from_slice(&value);
    }
    drop(programs);
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

/// What comes where.
fn change_of(program: &Program, change: &[u8; CHANGE]) -> Option<(usize, Vec<u8>)> {
    let [place, kind, inside, _, value @ ..] = *change;
    let start = *program
        .places
        .get(usize::from(place) % program.places.len().max(1))?;
    let size = [1, 2, 4, 8][usize::from(kind % 4)];
    let at = start + usize::from(inside);
    let old = program.bytes.get(at..at + size)?;
    let mut word = [0; 8];
    word[..size].copy_from_slice(old);
    let (old, value) = (u64::from_le_bytes(word), u64::from_le_bytes(value));
    let new = match kind / 4 % 4 {
        0 => value,
        1 => old.wrapping_add(value),
        2 => old.wrapping_sub(value),
        _ => old ^ value,
    };
    Some((at, new.to_le_bytes()[..size].to_vec()))
}

/// Headers, function table, records, module data, types and method tables of a whole program.
fn places(bytes: &[u8]) -> Vec<usize> {
    let image = Image::parse(bytes).expect("a Go program");
    let pointers = Pointers::new(&image);
    let program = GoProgram::find(&pointers)
        .expect("a whole one")
        .expect("a Go program");
    let mut addrs = vec![program.pclntab.addr];
    let table = &program.pclntab;
    for (offset, _) in table.names_ending(".(*Conn).Read", 4) {
        for record in table.records_named(&[offset]) {
            let entry = program.entry(&pointers, record.index);
            addrs.extend([Some(record.addr), entry].into_iter().flatten());
        }
    }
    addrs.push(VirtAddr(table.addr.0 + table.functab_offset));
    addrs.extend(program.module.iter().flat_map(|module| {
        [
            module.addr,
            VirtAddr(module.addr.0 + PLACE),
            VirtAddr(module.addr.0 + 2 * PLACE),
        ]
    }));
    if let Some(types) = program.types(&pointers) {
        for (_, of) in types.named(&NAMES) {
            addrs.push(of.addr);
            addrs.extend(types.fields(&of).first().map(|field| field.addr));
            addrs.extend(pointers.at_offset(of.addr, 56));
            if of.kind == Kind::Interface {
                let itabs = itab::all_of(&types, &of);
                addrs.extend(
                    itabs
                        .iter()
                        .take(8)
                        .flat_map(|itab| [itab.addr, itab.concrete.addr]),
                );
            }
        }
    }
    let offsets = addrs
        .iter()
        .filter_map(|addr| image.segments.file_offset(*addr));
    let offsets = offsets.filter_map(|offset| usize::try_from(offset.0).ok());
    [0, 64].into_iter().chain(offsets).take(256).collect()
}
