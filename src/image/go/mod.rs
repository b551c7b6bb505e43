//! What Go's linker leaves in every program for Go's runtime: the table of functions (`pclntab`), the
//! module data that says where everything is, types, and the method tables of interfaces (`itab`).
//! `strip` does not remove them, since the program needs them to run.
//!
//! gc toolchains 1.2 to 1.27 (table formats 1.2, 1.16, 1.18 and 1.20) for x86-64 and aarch64; gccgo and
//! TinyGo have none of this. Nothing is guessed: what does not fit together is an error that says what.
//!
//! Source: <https://github.com/golang/go/blob/go1.27.3/src/runtime/symtab.go> and `internal/abi` there.

pub mod buildinfo;
pub mod code;
pub mod itab;
pub mod moduledata;
pub mod pclntab;
pub mod rtype;

use crate::error::{Error, Result};
use crate::image::{Image, Pointers, VirtAddr};

pub use moduledata::ModuleData;
pub use pclntab::Pclntab;
pub use rtype::Types;

/// Headers that are looked at before a file that has more is given up.
const CANDIDATES_MAX: usize = 16;

/// The tables of a Go program.
pub struct GoProgram<'a> {
    /// Its functions.
    pub pclntab: Pclntab<'a>,
    /// Where its parts are; old programs can do without.
    pub module: Option<ModuleData>,
}

impl<'a> GoProgram<'a> {
    /// `Ok(None)`: no Go program.
    ///
    /// # Errors
    /// It is one, but its tables are damaged or contradict each other.
    pub fn find(pointers: &Pointers<'_, 'a>) -> Result<Option<Self>> {
        let image = pointers.image();
        let (places, damage) = pclntab::candidates(image, CANDIDATES_MAX);
        let tables: Vec<_> = places
            .iter()
            .map(|place| Pclntab::parse(image, *place))
            .collect();
        let mut first_damage = damage;
        let mut valid = Vec::new();
        for table in tables {
            match table {
                Ok(table) => valid.push(table),
                Err(error) => first_damage = first_damage.or(Some(error)),
            }
        }
        if valid.is_empty() {
            // A header by section is Go's; one by its bytes may be anything.
            return match first_damage {
                Some(error) if is_go_by_sections(image) => Err(error),
                _ => Ok(None),
            };
        }
        Self::with_module(pointers, valid).map(Some)
    }

    /// A program may carry others inside as data: its own table is the one that its module data names.
    fn with_module(pointers: &Pointers<'_, 'a>, tables: Vec<Pclntab<'a>>) -> Result<Self> {
        if let Some((index, module)) = moduledata::find(pointers, &tables) {
            let pclntab = tables.into_iter().nth(index);
            return pclntab
                .map(|pclntab| Self {
                    pclntab,
                    module: Some(module),
                })
                .ok_or_else(|| Error::invalid("no function table"));
        }
        let mut tables = tables.into_iter();
        match (tables.next(), tables.next()) {
            (Some(pclntab), None) if pclntab.knows_addresses() => Ok(Self {
                pclntab,
                module: None,
            }),
            (Some(table), _) => Err(Error::invalid(format!(
                "no module data fits the function table at {}: where the code starts is not known",
                table.addr
            ))),
            (None, _) => Err(Error::invalid("no function table")),
        }
    }

    /// The address of a function by its place in the table.
    pub fn entry(&self, pointers: &Pointers<'_, 'a>, index: usize) -> Option<VirtAddr> {
        self.pclntab.entry(pointers, self.text(), index)
    }

    /// Where offsets of functions count from. Never the `.text` section: external linkers put code of
    /// the C runtime first.
    pub fn text(&self) -> Option<VirtAddr> {
        self.module
            .as_ref()
            .map(|module| module.text)
            .or(self.pclntab.text_start)
    }

    /// The program's types, if its module data tells where they are.
    pub fn types<'p>(&self, pointers: &'p Pointers<'p, 'a>) -> Option<Types<'p, 'a>> {
        let module = self.module.as_ref()?;
        Types::new(pointers, module, self.pclntab.format)
    }
}

/// Some section has a name that only Go's linker gives.
fn is_go_by_sections(image: &Image<'_>) -> bool {
    const NAMES: [&str; 5] = [
        ".gopclntab",
        ".data.rel.ro.gopclntab",
        ".go.buildinfo",
        ".go.module",
        ".note.go.buildid",
    ];
    NAMES.iter().any(|name| image.section(name).is_some())
}

/// A Go program of another toolchain, which has no tables of this kind.
pub fn other_toolchain(image: &Image<'_>) -> Option<&'static str> {
    let needs_libgo = || {
        let needed = image.needed();
        needed.iter().any(|name| name.starts_with(b"libgo.so"))
    };
    if image.section(".go_export").is_some() || needs_libgo() {
        return Some("gccgo");
    }
    let has = |name: &[u8]| {
        let strings = image.section(".strtab")?;
        memchr::memmem::find(image.section_data(strings)?, name)
    };
    has(b"\0tinygo_").map(|_| "TinyGo")
}
