//! BoringSSL and AWS-LC: by function names, and where those are stripped by the order of the errors in
//! `ssl_lib.cc`. Each error call hands over library, reason, file and line; the reasons are stable numbers
//! and the lines give the order of the functions in the source, whatever the compiler did to the code.
//!
//! * `SSL_write`: `SHOULD_NOT_HAVE_BEEN_CALLED`, `UNINITIALIZED`, maybe `PROTOCOL_IS_SHUTDOWN`,
//!   `SSL_HANDSHAKE_FAILURE`, maybe `BAD_LENGTH`, on lines that lie close together
//! * `SSL_peek` and `SSL_read`: the same first reason on the last line before that; `SSL_read` is the one
//!   that consumes, which is to say stores what is left
//! * `SSL_do_handshake`: `CONNECTION_TYPE_NOT_SET`; `SSL_shutdown`: `APPLICATION_DATA_ON_SHUTDOWN`
//!
//! The table of protocol methods confirms them, gives the function that ends a connection, and stands in
//! each connection object, so that a probe can make sure at each call that it sees one.

mod reasons;
mod table;

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use super::by_name::{self, Found};
use super::evidence::{Confidence, Evidence, Method};
use super::finding::{Finding, Refusal};
use super::sources::{ErrorCall, Member, Says, Source, Sources};
use super::structure::{self, evidence};
use super::{Case, Finder, sources};
use crate::error::{Error, Result};
use crate::image::VirtAddr;
use crate::image::insn::Flow;
use crate::image::values::Value;
use crate::symdb::Library;

/// How a path of this family ends.
const FILE_ENDING: &str = "ssl_lib.cc";
/// Lines from the error of `SSL_peek` to the first one of `SSL_write`: 21 or 22 in BoringSSL since 2017, up to
/// 33 in AWS-LC.
const PEEK_TO_WRITE: RangeInclusive<u64> = 10..=45;
/// Lines from the first to the second error of `SSL_write`.
const WRITE_SECOND: RangeInclusive<u64> = 1..=10;
/// Lines from the second error of `SSL_write` to the failed handshake.
const WRITE_HANDSHAKE: RangeInclusive<u64> = 8..=30;

pub(super) struct BoringSsl;

impl Finder for BoringSsl {
    fn library(&self) -> &'static str {
        "boringssl"
    }

    fn find(&self, case: &Case<'_>) -> Result<Option<Found>> {
        let named = by_name::find(case, self.library())?;
        let facts = case
            .db
            .library(self.library())
            .ok_or_else(|| Error::invalid("symbol-db has no library boringssl"))?;
        let mut copies = Vec::new();
        let mut refused = Vec::new();
        if let Some(sources) = case.sources() {
            for copy in Copy::all(case, facts, sources) {
                copy.find(&mut copies, &mut refused);
            }
            if copies.is_empty() && refused.is_empty() && named.is_none() {
                refused.extend(refusal(sources, facts));
            }
        }
        if copies.is_empty() && refused.is_empty() && named.is_none() {
            reasons::find(case, facts, &mut copies, &mut refused);
        }
        Ok(structure::join(named, copies, refused))
    }
}

/// The source path is there, and nothing came of it.
fn refusal(sources: &Sources<'_>, facts: &Library) -> Option<Refusal> {
    let mut paths = sources.paths.iter().chain(&sources.unused);
    let path = paths.find(|path| path.text.ends_with(FILE_ENDING))?;
    Some(structure::lost_refusal(sources, &facts.library, &path.text))
}

/// What an error call of this library says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Site {
    line: u64,
    reason: u64,
    at: VirtAddr,
}

/// One copy of the library: the functions that hand over one path.
struct Copy<'c, 'a> {
    case: &'c Case<'a>,
    facts: &'c Library,
    sources: &'c Sources<'a>,
    /// Where the path stands.
    file: VirtAddr,
    /// As it stands there.
    path: String,
    /// The file name is hidden: the reasons are all there is.
    nameless: bool,
}

/// What was made out of one copy.
struct Roles<'c> {
    write: &'c Member,
    read: &'c Member,
    peek: Option<&'c Member>,
    handshake: Option<&'c Member>,
    shutdown: Option<&'c Member>,
}

impl<'c, 'a> Copy<'c, 'a> {
    fn all(case: &'c Case<'a>, facts: &'c Library, sources: &'c Sources<'a>) -> Vec<Self> {
        let paths = sources.paths.iter();
        paths
            .filter(|path| path.source == Source::SslLib && path.text.ends_with(FILE_ENDING))
            .map(|path| Self {
                case,
                facts,
                sources,
                file: path.addr,
                path: path.text.clone(),
                nameless: false,
            })
            .collect()
    }

    fn find(&self, copies: &mut Vec<Finding>, refused: &mut Vec<Refusal>) {
        match self.roles() {
            Ok(roles) => match self.finding(&roles) {
                Ok(finding) => copies.push(finding),
                Err(reason) => refused.push(self.refusal(&reason)),
            },
            Err(reason) => refused.push(self.refusal(&reason)),
        }
    }

    fn refusal(&self, reason: &str) -> Refusal {
        Refusal {
            library: self.facts.library.clone(),
            reason: format!(
                "function names are stripped; of \"{}\": {reason}",
                self.path
            ),
        }
    }

    fn members(&self) -> impl Iterator<Item = &'c Member> {
        self.sources.members.values()
    }

    fn reason(&self, name: &str) -> u64 {
        // The schema test makes sure that each is there; no error has the number 0.
        self.facts.reason(name).unwrap_or(0)
    }

    /// The errors of a function that belong to this copy, in the order of the source.
    fn sites(&self, member: &Member) -> Vec<Site> {
        let is_ours = |error: &&ErrorCall| error.file == self.file;
        let number = self.facts.errors.as_ref().map(|numbers| numbers.library);
        let mut sites: Vec<_> = member
            .errors
            .iter()
            .filter(is_ours)
            .filter_map(|error| match error.says {
                Says::Codes {
                    library, reason, ..
                } if Some(library) == number => Some(Site {
                    line: error.line,
                    reason,
                    at: error.at,
                }),
                _ => None,
            })
            .collect();
        sites.sort_unstable();
        sites.dedup_by_key(|site| (site.line, site.reason));
        sites
    }

    fn has(&self, member: &Member, reason: &str) -> bool {
        let reason = self.reason(reason);
        self.sites(member).iter().any(|site| site.reason == reason)
    }

    fn roles(&self) -> Result<Roles<'c>, String> {
        let writers: Vec<_> = self
            .members()
            .filter_map(|member| Some((member, self.write_line(member)?)))
            .collect();
        let [(write, first_line)] = writers.as_slice() else {
            return Err(match writers.as_slice() {
                [] => "no function has the errors of SSL_write in their order".into(),
                several => format!(
                    "SSL_write: ambiguous: {}",
                    list(several.iter().map(|(m, _)| *m))
                ),
            });
        };
        let (read, peek) = self.readers(*first_line)?;
        let is_other = |member: &Member| {
            let mut data = [read, *write].into_iter().chain(peek);
            data.all(|data| data.entry.addr != member.entry.addr)
                && structure::hands_on(self.sources, member, &[(0, 0)]).is_some()
        };
        let handshake = self.handshake(write).filter(|member| is_other(member));
        let shutdown = self.only(|member| {
            self.has(member, "UNINITIALIZED")
                && self.has(member, "APPLICATION_DATA_ON_SHUTDOWN")
                && is_other(member)
        });
        Ok(Roles {
            write,
            read,
            peek,
            handshake,
            shutdown,
        })
    }

    /// The only one that fits.
    fn only(&self, fits: impl Fn(&Member) -> bool) -> Option<&'c Member> {
        let mut fitting = self.members().filter(|member| fits(member));
        fitting.next().filter(|_| fitting.next().is_none())
    }

    /// The line of the first error, if the errors of a function are those of `SSL_write`.
    fn write_line(&self, member: &Member) -> Option<u64> {
        let sites = self.sites(member);
        let reason = |name| self.reason(name);
        let found = sites.iter().enumerate().find_map(|(n, first)| {
            let mut rest = sites.get(n + 1..)?.iter();
            let second = rest.next()?;
            let mut third = rest.next()?;
            if third.reason == reason("PROTOCOL_IS_SHUTDOWN") {
                third = rest.next()?;
            }
            let fits = first.reason == reason("SHOULD_NOT_HAVE_BEEN_CALLED")
                && second.reason == reason("UNINITIALIZED")
                && third.reason == reason("SSL_HANDSHAKE_FAILURE")
                && WRITE_SECOND.contains(&(second.line - first.line))
                && WRITE_HANDSHAKE.contains(&(third.line - second.line));
            fits.then_some(first.line)
        });
        // It writes through the table of methods.
        let mut insns = member.body.insns.values();
        let is_virtual =
            insns.any(|insn| matches!(insn.flow, Flow::CallIndirect | Flow::JumpIndirect));
        found.filter(|_| is_virtual)
    }

    /// `SSL_read`, and `SSL_peek` if it stands alone.
    fn readers(&self, write_line: u64) -> Result<(&'c Member, Option<&'c Member>), String> {
        let wanted = self.reason("SHOULD_NOT_HAVE_BEEN_CALLED");
        let lines = self.members().flat_map(|member| self.sites(member));
        let before = lines.filter(|site| site.reason == wanted && site.line < write_line);
        let Some(line) = before.map(|site| site.line).max() else {
            return Err("no function has the error of SSL_peek".into());
        };
        if !PEEK_TO_WRITE.contains(&(write_line - line)) {
            return Err(format!(
                "the last error before SSL_write is on line {line}, {} lines before its first",
                write_line - line
            ));
        }
        let has_it = |member: &&Member| {
            let sites = self.sites(member);
            sites
                .iter()
                .any(|site| site.reason == wanted && site.line == line)
        };
        let (consuming, other): (Vec<_>, Vec<_>) = self
            .members()
            .filter(has_it)
            .partition(|member| self.consumed_at(member).is_some());
        match (consuming.as_slice(), other.as_slice()) {
            // Clearing what was read looks like consuming, too: then a caller is the one that reads.
            ([peek], []) => Ok(match self.caller_of(peek) {
                Ok(read) => (read, Some(peek)),
                Err(_) => (peek, None),
            }),
            ([read], [peek]) => Ok((read, Some(peek))),
            ([], [peek]) => Ok((self.caller_of(peek)?, Some(peek))),
            _ => Err(format!(
                "SSL_read: ambiguous: {} consume, {} do not",
                list(consuming.into_iter()),
                list(other.into_iter())
            )),
        }
    }

    /// `SSL_read` that calls `SSL_peek` has no error of its own: it is the caller that consumes.
    fn caller_of(&self, peek: &'c Member) -> Result<&'c Member, String> {
        let callers = self.sources.callers(peek.entry.addr);
        let consuming: Vec<_> = callers
            .into_iter()
            .filter(|caller| hands_all_on(caller, peek.entry.addr))
            .filter(|caller| self.consumed_at(caller).is_some())
            .collect();
        match consuming.as_slice() {
            [read] => Ok(read),
            [] => Err(format!(
                "SSL_peek is at {}, and nothing that calls it consumes",
                peek.entry.addr
            )),
            several => Err(format!(
                "SSL_read: ambiguous: {}",
                list(several.iter().copied())
            )),
        }
    }

    /// `SSL_connect` and `SSL_accept` are much the same and often have it inlined: the one that `SSL_write`
    /// calls, or the only one.
    fn handshake(&self, write: &Member) -> Option<&'c Member> {
        let fits = |member: &Member| self.has(member, "CONNECTION_TYPE_NOT_SET");
        self.only(|member| fits(member) && write.calls(member.entry.addr))
            .or_else(|| self.only(fits))
    }

    fn finding(&self, roles: &Roles<'c>) -> Result<Finding, String> {
        self.check(roles)?;
        let table = table::find(self, roles);
        let mut functions = Vec::new();
        let all = [
            ("SSL_write", Some(roles.write)),
            ("SSL_read", Some(roles.read)),
            ("SSL_peek", roles.peek),
            ("SSL_do_handshake", roles.handshake),
            ("SSL_shutdown", roles.shutdown),
        ];
        for (name, member) in all {
            let (Some(member), Some(facts)) = (member, self.facts.function(name)) else {
                continue;
            };
            let list = self.evidence(name, member, roles, table.as_ref());
            let placed = structure::function(self.case, facts, &member.body, list);
            let mut function = match placed {
                Err(_) if !matches!(name, "SSL_read" | "SSL_write") => continue,
                placed => placed?,
            };
            if self.nameless {
                // One method, however much it agrees with itself.
                function.confidence = Confidence::Medium;
            }
            functions.push(function);
        }
        let mut names = self.case.names.defined.iter();
        if let Some(table) = table.as_ref()
            && !names.any(|named| named.name == "SSL_free")
        {
            functions.extend(table.free(self));
        }
        functions.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Finding {
            library: self.facts.library.clone(),
            version: None,
            provider: None,
            compiler: None,
            functions,
            guard: table.map(|table| table.guard()),
            go: None,
        })
    }

    /// What must not be otherwise: their own arguments handed on, and one function for all errors.
    fn check(&self, roles: &Roles<'c>) -> Result<(), String> {
        if std::ptr::eq(roles.read, roles.write) {
            return Err("SSL_read and SSL_write are one function".into());
        }
        let takers: BTreeSet<_> = [roles.read, roles.write]
            .into_iter()
            .chain(roles.peek)
            .flat_map(|member| &member.errors)
            .filter(|error| error.file == self.file)
            .map(|error| error.callee)
            .collect();
        if takers.len() > 1 {
            return Err("SSL_read and SSL_write tell their errors to different functions".into());
        }
        if self.handed_to_method(roles.write).is_none() {
            return Err(format!(
                "SSL_write at {} was not seen to hand its buffer on",
                roles.write.entry.addr
            ));
        }
        for reader in [roles.read].into_iter().chain(roles.peek) {
            if structure::hands_on(self.sources, reader, &[(0, 0)]).is_none() {
                return Err(format!(
                    "the function at {} was not seen to hand its connection on",
                    reader.entry.addr
                ));
            }
        }
        // AWS-LC's SSL_read_ex and SSL_write_ex, with the others inlined, have one more.
        let decoder = self.sources.functions.decoder();
        for member in [roles.read, roles.write] {
            if sources::uses_argument(decoder, member, 3) {
                return Err(format!(
                    "abi unknown: the function at {} takes a fourth argument",
                    member.entry.addr
                ));
            }
        }
        Ok(())
    }

    /// `write_app_data(ssl, &needs_handshake, &written, buf, num)` through the table of methods; before
    /// 2023 there was no `&written`.
    fn handed_to_method(&self, write: &Member) -> Option<VirtAddr> {
        [3, 2]
            .iter()
            .find_map(|place| structure::hands_on(self.sources, write, &[(0, 0), (*place, 1)]))
    }

    fn evidence(
        &self,
        name: &str,
        member: &Member,
        roles: &Roles<'c>,
        table: Option<&table::Table>,
    ) -> Vec<Evidence> {
        let sites = self.sites(member);
        let mut list = Vec::new();
        if !sites.is_empty() {
            let shown: Vec<_> = sites
                .iter()
                .map(|site| {
                    format!(
                        "reason {} on line {} (call at {})",
                        site.reason, site.line, site.at
                    )
                })
                .collect();
            let method = if self.nameless {
                Method::Reasons
            } else {
                Method::ErrorSites
            };
            list.push(evidence(
                method,
                format!(
                    "{}: {}; {}",
                    self.path,
                    shown.join(", "),
                    member.entry.proof.describe()
                ),
            ));
        }
        if let Some(text) = self.relations(name, member, roles) {
            list.push(evidence(Method::Calls, text));
        }
        let in_table = table.filter(|_| matches!(name, "SSL_read" | "SSL_write"));
        list.extend(in_table.map(|table| evidence(Method::MethodTable, table.describe())));
        list
    }

    /// How a function hangs together with the others.
    fn relations(&self, name: &str, member: &Member, roles: &Roles<'c>) -> Option<String> {
        let calls = |target: &Member| member.calls(target.entry.addr);
        match name {
            "SSL_write" => {
                let at = self.handed_to_method(member)?;
                let handshake = roles.handshake.filter(|target| calls(target));
                Some(format!(
                    "hands connection and buffer to a method of the connection at {at}{}",
                    handshake.map_or(String::new(), |target| format!(
                        ", calls SSL_do_handshake at {}",
                        target.entry.addr
                    ))
                ))
            }
            "SSL_read" => {
                let place = self.consumed_at(member)?;
                let peek = roles.peek.filter(|target| calls(target));
                Some(format!(
                    "consumes: stores what is left at offsets {place:#x} and {:#x}{}",
                    place + 8,
                    peek.map_or(String::new(), |target| format!(
                        ", calls SSL_peek at {}",
                        target.entry.addr
                    ))
                ))
            }
            "SSL_do_handshake" => roles
                .write
                .calls(member.entry.addr)
                .then(|| format!("SSL_write at {} calls it", roles.write.entry.addr)),
            _ => None,
        }
    }

    /// `pending_app_data = pending_app_data.subspan(n)`: pointer and length, which stand side by side in a
    /// structure, are both loaded and both stored. Tells where.
    fn consumed_at(&self, member: &Member) -> Option<i64> {
        let stack = sources::frame_registers(self.sources.functions.decoder(), member);
        let (mut loads, mut stores) = (BTreeSet::new(), BTreeSet::new());
        for access in member.body.insns.values().filter_map(|insn| insn.access) {
            if access.offset < 8 || stack.contains(&access.base.index()) {
                continue;
            }
            let places = if access.store {
                &mut stores
            } else {
                &mut loads
            };
            match access.size {
                8 => places.extend([access.offset]),
                16 => places.extend([access.offset, access.offset + 8]),
                _ => {}
            }
        }
        let both = |place: &i64| {
            let mut pair = [*place, place + 8].into_iter();
            pair.all(|place| loads.contains(&place) && stores.contains(&place))
        };
        stores.iter().copied().find(both)
    }
}

/// Whether it calls `target` with its own first three arguments.
fn hands_all_on(member: &Member, target: VirtAddr) -> bool {
    let mut calls = member.calls.iter();
    calls.any(|call| {
        let own = [Value::Argument(0), Value::Argument(1), Value::Argument(2)];
        call.callee == Some(target) && call.args.starts_with(&own)
    })
}

fn list<'m>(members: impl Iterator<Item = &'m Member>) -> String {
    let shown: Vec<_> = members
        .take(5)
        .map(|member| member.entry.addr.to_string())
        .collect();
    if shown.is_empty() {
        "none".into()
    } else {
        shown.join(", ")
    }
}
