//! Rungs 1 and 2 of the ladder: every name of interest in one file, with its evidence. Each place is
//! asked once, whatever number of finders wants to know.
//!
//! The debug files and DWARF, which cost more, are opened only if the file's own tables do not name all
//! core functions of a library.

use std::collections::BTreeSet;

use super::aead::names::{self as aead_names, NamedAead};
use super::evidence::{Evidence, Method, Rung};
use crate::image::debug_file::{self, DebugDirs, Proof};
use crate::image::symbols::{Symbol, SymbolTable};
use crate::image::{Image, ImageFile, VirtAddr, dwarf};
use crate::symdb::SymbolDb;

/// Most names of interest that one place may give. Dozens of copies of OpenSSL stay below; each name
/// is compared with the others later on, so a file must not have as many as it likes.
const NAMES_MAX: usize = 4096;

/// One name at one address.
#[derive(Clone, Debug)]
pub struct Named {
    /// What stands before the library's own name: `LK_` in `LK_SSL_read`, mostly empty.
    pub prefix: String,
    /// The library's own name.
    pub name: String,
    /// Its address.
    pub addr: VirtAddr,
    /// Bytes; 0 if unknown.
    pub size: u64,
    /// Names an address chosen at load time (`STT_GNU_IFUNC`): not the function itself.
    pub indirect: bool,
    /// Symbol version, if any.
    pub version: Option<String>,
    /// Where it stood.
    pub evidence: Evidence,
}

/// All names of interest in one file.
#[derive(Debug, Default)]
pub struct Names {
    /// Defined here.
    pub defined: Vec<Named>,
    /// Wanted from other files.
    pub imported: BTreeSet<String>,
    /// What each place gave.
    pub rungs: Vec<Rung>,
    /// AEAD functions, defined here.
    pub(super) aead: Vec<NamedAead>,
}

impl Names {
    /// Climbs the ladder for one file.
    pub fn collect(file: &ImageFile, image: &Image<'_>, db: &SymbolDb, dirs: &DebugDirs) -> Self {
        let mut names = Self::default();
        names.own_tables(image, db);
        names.mini_debug_info(image, db);
        if !names.is_complete(db) {
            names.debug_file(file, image, db, dirs);
        } else {
            let skipped = "skipped: the file's own tables name the functions";
            names.miss(Method::BuildIdFile, skipped);
            names.miss(Method::DebugLink, skipped);
        }
        if !names.is_complete(db) {
            names.dwarf(Method::Dwarf, "", image, db);
        } else {
            names.miss(Method::Dwarf, "skipped: symbol tables name the functions");
        }
        names
    }

    /// Whether some library's core is named as a whole: a few exported names may be all that a
    /// stripped file still tells.
    fn is_complete(&self, db: &SymbolDb) -> bool {
        let has = |name: &String| self.defined.iter().any(|named| named.name == *name);
        let mut libraries = db.libraries().iter();
        libraries.any(|library| library.core.iter().all(has))
    }

    fn miss(&mut self, method: Method, outcome: impl Into<String>) {
        self.rungs.push(Rung {
            method,
            outcome: outcome.into(),
            found: 0,
        });
    }

    fn own_tables(&mut self, image: &Image<'_>, db: &SymbolDb) {
        match image.symtab() {
            Some(table) => self.table(Method::Symtab, "", &table, db),
            None => self.miss(
                Method::Symtab,
                match &image.section_damage {
                    Some(damage) => format!("unreadable: section headers damaged ({damage})"),
                    None if image.sections.is_empty() => "absent: no section headers".into(),
                    None => "absent: stripped".into(),
                },
            ),
        }
        match image.dynsym() {
            Some(table) => self.table(Method::Dynsym, "", &table, db),
            None => self.miss(Method::Dynsym, "absent: no dynamic symbols"),
        }
    }

    fn mini_debug_info(&mut self, image: &Image<'_>, db: &SymbolDb) {
        let unpacked = match debug_file::mini_debug_info(image) {
            Ok(Some(unpacked)) => unpacked,
            Ok(None) => return self.miss(Method::DebugData, "absent"),
            Err(error) => return self.miss(Method::DebugData, format!("damaged: {error:#}")),
        };
        match Image::parse(&unpacked).map(|inner| inner.symtab()) {
            Ok(Some(table)) => self.table(Method::DebugData, "", &table, db),
            Ok(None) => self.miss(Method::DebugData, "it holds no symbols"),
            Err(error) => self.miss(Method::DebugData, format!("damaged: {error:#}")),
        }
    }

    fn debug_file(&mut self, file: &ImageFile, image: &Image<'_>, db: &SymbolDb, dirs: &DebugDirs) {
        let found = match debug_file::find(file.path(), image, dirs) {
            Ok(Some(found)) => found,
            Ok(None) => {
                self.miss(Method::BuildIdFile, "no debug file");
                return self.miss(Method::DebugLink, "no debug file");
            }
            Err(error) => return self.miss(Method::DebugLink, format!("rejected: {error:#}")),
        };
        let (method, other) = match found.proof {
            Proof::BuildId => (Method::BuildIdFile, Method::DebugLink),
            Proof::DebugLink => (Method::DebugLink, Method::BuildIdFile),
        };
        self.miss(other, "not needed");
        let name = found.file.path().display().to_string();
        match Image::parse(found.file.bytes()) {
            Ok(debug) => match debug.symtab() {
                Some(table) => self.table(method, &name, &table, db),
                None => self.dwarf(method, &name, &debug, db),
            },
            Err(error) => self.miss(method, format!("{name}: {error:#}")),
        }
    }

    fn dwarf(&mut self, method: Method, place: &str, image: &Image<'_>, db: &SymbolDb) {
        let hints: Vec<&[u8]> = db
            .libraries()
            .iter()
            .flat_map(|library| &library.core)
            .map(|name| name.as_bytes())
            .collect();
        match dwarf::subprograms(image, &hints, &|name| split(name, db).is_some()) {
            Ok(Some(functions)) => {
                let before = self.defined.len();
                for function in functions {
                    let detail = format!("DW_TAG_subprogram, {} bytes{}", function.size, at(place));
                    if let Some((prefix, name)) = split(&function.name, db) {
                        self.defined.push(Named {
                            prefix,
                            name,
                            addr: function.addr,
                            size: function.size,
                            indirect: false,
                            version: None,
                            evidence: Evidence { method, detail },
                        });
                    }
                }
                self.rungs.push(Rung {
                    method,
                    outcome: format!("DWARF read{}", at(place)),
                    found: self.defined.len() - before,
                });
            }
            Ok(None) => self.miss(
                method,
                format!("no DWARF that names a TLS function{}", at(place)),
            ),
            Err(error) => self.miss(method, format!("damaged: {error:#}{}", at(place))),
        }
    }

    fn aead(&mut self, method: Method, place: &str, symbol: &Symbol<'_>) {
        if let Some(name) = aead_names::read(symbol.name)
            && symbol.is_defined()
            && !symbol.is_indirect()
            && self.aead.len() < NAMES_MAX
        {
            self.aead.push(NamedAead {
                name,
                addr: symbol.addr,
                evidence: evidence(method, place, symbol, ""),
            });
        }
    }

    fn table(&mut self, method: Method, place: &str, table: &SymbolTable<'_>, db: &SymbolDb) {
        let before = self.defined.len();
        for symbol in table.iter() {
            if !(symbol.is_code() || symbol.is_indirect()) {
                continue;
            }
            self.aead(method, place, &symbol);
            let Some((prefix, name)) = split(symbol.name, db) else {
                continue;
            };
            if symbol.is_defined() {
                if self.defined.len() - before == NAMES_MAX {
                    // Part of them could make an ambiguous name look unique.
                    self.defined.truncate(before);
                    return self.miss(
                        method,
                        format!("refused: too many names, over {NAMES_MAX}{}", at(place)),
                    );
                }
                let version = table.version(&symbol);
                self.defined
                    .push(named(method, place, &symbol, version, prefix, name));
            } else if prefix.is_empty() && method == Method::Dynsym {
                self.imported.insert(name);
            }
        }
        self.rungs.push(Rung {
            method,
            outcome: format!("{} symbols{}", table.len(), at(place)),
            found: self.defined.len() - before,
        });
    }
}

/// What stood there about one symbol.
fn evidence(method: Method, place: &str, symbol: &Symbol<'_>, version: &str) -> Evidence {
    Evidence {
        method,
        detail: format!(
            "{} symbol, {} bytes{version}{}",
            symbol.binding(),
            symbol.size,
            at(place)
        ),
    }
}

fn named(
    method: Method,
    place: &str,
    symbol: &Symbol<'_>,
    version: Option<&[u8]>,
    prefix: String,
    name: String,
) -> Named {
    let version = version.map(|version| String::from_utf8_lossy(version).into_owned());
    let suffix = version
        .as_deref()
        .map(|version| format!(" @{version}"))
        .unwrap_or_default();
    Named {
        prefix,
        name,
        addr: symbol.addr,
        size: symbol.size,
        indirect: symbol.is_indirect(),
        version,
        evidence: evidence(method, place, symbol, &suffix),
    }
}

fn at(place: &str) -> String {
    if place.is_empty() {
        String::new()
    } else {
        format!(" in {place}")
    }
}

/// A name of interest, with what stands before it: `LK_SSL_read` is `LK_` and `SSL_read`.
///
/// A prefix ends with an underscore (`wolfSSL_read` is another library), and is not one that wrapper
/// generators put before functions of their own: their arguments differ.
fn split(name: &[u8], db: &SymbolDb) -> Option<(String, String)> {
    const PREFIX_MAX: usize = 64;
    // Go code around C: its stack and convention are Go's.
    const CGO: [&str; 2] = ["_Cfunc_", "_cgo_"];
    const WRAPPERS: [&str; 4] = ["_cffi_", "_wrap_", "__wrap_", "__real_"];
    if db.is_interesting(name) {
        return Some((String::new(), String::from_utf8_lossy(name).into_owned()));
    }
    if name.len() > PREFIX_MAX + db.longest_name() {
        return None;
    }
    // The last one: swift-nio-ssl's prefix is `CNIOBoringSSL_`.
    let at = memchr::memmem::rfind(name, b"SSL_")?;
    let (prefix, own) = name.split_at_checked(at)?;
    let prefix = std::str::from_utf8(prefix).ok()?;
    let is_prefix = prefix.len() <= PREFIX_MAX
        && prefix.ends_with('_')
        && prefix
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.$".contains(&byte))
        && !WRAPPERS.iter().any(|wrapper| prefix.starts_with(wrapper))
        && !CGO.iter().any(|wrapper| prefix.contains(wrapper));
    (is_prefix && db.is_interesting(own))
        .then(|| (prefix.to_owned(), String::from_utf8_lossy(own).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Renamed copies are found by their shape; other libraries and wrappers with other arguments are not.
    #[test]
    fn prefixes_are_told_from_look_alikes() {
        let db = SymbolDb::load().unwrap();
        let split = |name: &str| split(name.as_bytes(), &db);
        let pair = |a: &str, b: &str| Some((a.to_owned(), b.to_owned()));
        assert_eq!(split("SSL_read"), pair("", "SSL_read"));
        assert_eq!(split("LK_SSL_read"), pair("LK_", "SSL_read"));
        assert_eq!(
            split("GRPC_SHADOW_SSL_write"),
            pair("GRPC_SHADOW_", "SSL_write")
        );
        assert_eq!(
            split("CNIOBoringSSL_SSL_CTX_new"),
            pair("CNIOBoringSSL_", "SSL_CTX_new")
        );
        assert_eq!(split("wolfSSL_read"), None);
        assert_eq!(split("_cffi_f_SSL_read"), None);
        assert_eq!(split("__wrap_SSL_read"), None);
        assert_eq!(split("main._Cfunc_SSL_read"), None);
        assert_eq!(split("SSL_read_internal"), None);
        assert_eq!(split("_Z8SSL_readv"), None);
    }
}
