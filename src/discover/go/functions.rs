//! The functions of one TLS package: named by the function table, confirmed by the method table, and
//! their code read from the first to the last byte before any place in it becomes a probe site.

use super::facts::NetTypes;
use super::packages::Tls;
use super::refusal;
use crate::discover::evidence::{Confidence, Evidence, Method};
use crate::discover::finding::{Abi, Call, Function, Refusal, Site, SiteKind, Sites};
use crate::image::go::code::{self, Convention, FunctionCode};
use crate::image::go::pclntab::Record;
use crate::image::go::{GoProgram, Types};
use crate::image::{Pointers, VirtAddr};
use crate::symdb::{ResultShape, Role};

/// What is probed of each type of connection, with its place among the methods of `net.Conn`, which are
/// sorted by name.
const METHODS: [(&str, Role, u64); 3] = [
    ("Close", Role::Close, 0),
    ("Read", Role::Read, 2),
    ("Write", Role::Write, 7),
];

/// The search for one package's functions.
pub struct Search<'s, 'a> {
    /// Words that are addresses.
    pub pointers: &'s Pointers<'s, 'a>,
    /// The program's tables.
    pub program: &'s GoProgram<'a>,
    /// Its types, as far as they are there.
    pub types: Option<(&'s Types<'s, 'a>, &'s NetTypes)>,
    /// The package.
    pub tls: &'s Tls,
}

/// One method of one type.
struct Wanted {
    type_name: &'static str,
    role: Role,
    slot: u64,
    /// `crypto/tls.(*Conn).Read`.
    name: String,
}

/// A function by its record.
struct Named {
    record: Record,
    start: VirtAddr,
    end: VirtAddr,
}

impl Search<'_, '_> {
    /// What may be probed; the rest is refused by name.
    pub fn functions(&self, refused: &mut Vec<Refusal>) -> Vec<Function> {
        let mut functions = Vec::new();
        let mut callees = Vec::new();
        // UConn comes second: its methods may only pass on to those of Conn.
        for type_name in ["Conn", "UConn"] {
            if type_name == "UConn" && self.tls.library != "utls" {
                continue;
            }
            for wanted in METHODS.map(|method| self.wanted(type_name, method)) {
                match self.function(&wanted, &callees) {
                    Ok(Some(function)) => functions.push(function),
                    Ok(None) => {}
                    Err(reason) => refused.push(refusal(
                        self.tls.library,
                        format!("{}: {reason}", wanted.name),
                    )),
                }
            }
            callees = functions
                .iter()
                .map(|f: &Function| (f.role, f.vaddr))
                .collect();
        }
        functions.sort_by(|a, b| a.name.cmp(&b.name));
        functions
    }

    fn wanted(&self, type_name: &'static str, method: (&str, Role, u64)) -> Wanted {
        let (method, role, slot) = method;
        Wanted {
            type_name,
            role,
            slot,
            name: format!("{}.(*{type_name}).{method}", self.tls.prefix),
        }
    }

    /// `Ok(None)`: the program does not have it.
    fn function(
        &self,
        wanted: &Wanted,
        callees: &[(Role, VirtAddr)],
    ) -> Result<Option<Function>, String> {
        let named = self.named(&wanted.name)?;
        let by_itab = self.by_itab(wanted);
        let mut evidence = Vec::new();
        let (start, end) = match (&named, &by_itab) {
            (None, None) => return Ok(None),
            (Some(named), by_itab) => {
                if let Some((slot, _)) = by_itab.as_ref().filter(|(slot, _)| *slot != named.start) {
                    return Err(format!(
                        "the function table says {}, the itab of *{} says {slot}",
                        named.start, wanted.type_name
                    ));
                }
                evidence.push(self.pclntab_evidence(named));
                (named.start, named.end)
            }
            // The names are gone or changed: the itab, and the code itself, have to do.
            (None, Some((slot, _))) => (*slot, self.end_of(*slot)?),
        };
        let code = code::read(self.pointers.image(), start, end)?;
        if let Some((_, callee)) = callees
            .iter()
            .find(|(role, callee)| *role == wanted.role && code.calls.contains(callee))
        {
            return Err(format!(
                "it passes on to the one at {callee}, which is probed"
            ));
        }
        let agree = evidence.len() + usize::from(by_itab.is_some()) == 2;
        evidence.extend(by_itab.map(|(_, evidence)| evidence));
        self.place(wanted, start, &code, evidence, agree).map(Some)
    }

    /// By the function table. Assembly that calls a function makes a second, small one of its name,
    /// which changes the convention: the largest is the function.
    fn named(&self, name: &str) -> Result<Option<Named>, String> {
        let table = &self.program.pclntab;
        let names = table.names_ending(name, 16);
        let exact = names.iter().filter(|(_, found)| *found == name.as_bytes());
        let offsets: Vec<_> = exact.map(|(offset, _)| *offset).collect();
        let records = table.records_named(&offsets);
        let mut largest: Option<Named> = None;
        for record in records {
            let named = self.placed(record)?;
            let size = |named: &Named| named.end.0 - named.start.0;
            if largest
                .as_ref()
                .is_none_or(|known| size(known) < size(&named))
            {
                largest = Some(named);
            }
        }
        Ok(largest)
    }

    fn placed(&self, record: Record) -> Result<Named, String> {
        let table = &self.program.pclntab;
        let text = self.program.text();
        let start = self.program.entry(self.pointers, record.index);
        let end = self.program.entry(self.pointers, record.index + 1);
        let own = table.record_entry(self.pointers, text, &record);
        match (start, end, own) {
            (Some(start), Some(end), Some(own)) if start == own && start < end => {
                Ok(Named { record, start, end })
            }
            _ => Err(format!(
                "corrupt function table: entry {} and its record at {} disagree about the address",
                record.index, record.addr
            )),
        }
    }

    fn pclntab_evidence(&self, named: &Named) -> Evidence {
        let record = &named.record;
        Evidence {
            method: Method::Pclntab,
            detail: format!(
                "name at offset {:#x} of the names, record at {}, number {} of {} functions",
                record.name_offset, record.addr, record.index, self.program.pclntab.functions
            ),
        }
    }

    fn by_itab(&self, wanted: &Wanted) -> Option<(VirtAddr, Evidence)> {
        let (types, net) = self.types?;
        let itab = net.itab_of(&self.tls.path, wanted.type_name)?;
        let target = itab.method(types, wanted.slot)?;
        let detail = format!(
            "method {} of {}.*{} as net.Conn, itab at {}",
            wanted.slot, self.tls.path, wanted.type_name, itab.addr
        );
        Some((
            target,
            Evidence {
                method: Method::Itab,
                detail,
            },
        ))
    }

    /// Where a function without a name ends: at the next one in the function table.
    fn end_of(&self, start: VirtAddr) -> Result<VirtAddr, String> {
        let table = &self.program.pclntab;
        let index = table.index_of(self.pointers, self.program.text(), start);
        let end = index.and_then(|index| self.program.entry(self.pointers, index + 1));
        end.ok_or_else(|| {
            format!("its name is not in the function table, and neither is {start}, where its itab points")
        })
    }

    fn place(
        &self,
        wanted: &Wanted,
        start: VirtAddr,
        code: &FunctionCode,
        evidence: Vec<Evidence>,
        agree: bool,
    ) -> Result<Function, String> {
        let segments = &self.pointers.image().segments;
        let offset = |addr: VirtAddr| {
            segments
                .code_offset(addr)
                .ok_or_else(|| format!("{addr} is not in an executable segment"))
        };
        let file_offset = offset(start)?;
        let moves_data = wanted.role != Role::Close;
        let exits = code.returns.iter().filter(|_| moves_data);
        let site = |vaddr: VirtAddr| {
            let site = |at| Site::new(SiteKind::Uprobe, vaddr, at);
            offset(vaddr).map(site)
        };
        Ok(Function {
            name: wanted.name.clone(),
            role: wanted.role,
            vaddr: start,
            file_offset,
            size: code.size,
            confidence: if agree {
                Confidence::High
            } else {
                Confidence::Medium
            },
            evidence,
            sites: Sites {
                entry: site(start)?,
                exits: exits.map(|addr| site(*addr)).collect::<Result<_, _>>()?,
            },
            call: Call {
                abi: match code.convention {
                    Convention::Registers => Abi::GoRegisters,
                    Convention::Stack => Abi::GoStack,
                },
                result: moves_data.then_some(ResultShape::I64),
                buf: moves_data.then_some(1),
                len: moves_data.then_some(2),
                ..Call::default()
            },
            legal: None,
            covered_by: None,
            unprobed: None,
        })
    }
}
