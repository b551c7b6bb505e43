//! Libraries by the source paths that their error calls carry along: which functions hand which path,
//! line, function and reason to the error queue. This survives stripping, because it is what the
//! program prints when something fails.
//!
//! What is gathered here is shared by all finders; what it means is theirs to say.

use std::collections::{BTreeMap, BTreeSet};

use aho_corasick::packed;

use crate::bytes;
use crate::image::function::{Body, Entry, Functions};
use crate::image::insn::{Access, Decoder, Effect, Flow, Reg};
use crate::image::unwind::UnwindTable;
use crate::image::values::{CallArgs, Value, Values};
use crate::image::xref::{self, Edges, Pages, Xref};
use crate::image::{Image, VirtAddr};

/// Longest source path that is believed.
const PATH_MAX: usize = 1024;
/// Most mentions of a needle that are looked at; an honest file has a handful.
const HITS_MAX: usize = 4096;
/// Most functions that are looked at. `ssl_lib` of all versions has fewer than 200 with errors.
const MEMBERS_MAX: usize = 4096;
/// Most instructions of all of them, each of which is kept: 100 bytes. OpenSSL with -O3 has over 262,144.
const INSNS_MAX: usize = 1 << 20;
/// Most references that are looked at.
const REFERENCES_MAX: usize = 1 << 14;
/// Most paths that code refers to. Copies of one library in a program, times two.
const PATHS_MAX: usize = 64;
/// Most paths to which no code seems to refer that are searched from their middle on: that takes several passes
/// over all code for each.
const MIDDLES_MAX: usize = 4;
/// Most callers of one function that are looked at.
const CALLERS_MAX: usize = 32;
/// Lines beyond this are numbers of another kind.
const LINE_MAX: u64 = 100_000;
/// Code around a reference in which its function and that function's callers are looked up.
const WINDOW_BACK: u64 = 0x4000;
const WINDOW_AHEAD: u64 = 0x3000;

/// The files whose errors name what we look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Source {
    /// `ssl/ssl_lib.c` and `ssl/ssl_lib.cc`: the functions that programs call.
    SslLib,
    /// `ssl/s3_pkt.cc` of BoringSSL: the methods behind them.
    Records,
}

/// What is searched in the constants of a program. OpenSSL's function names stand for themselves where
/// it was built without file names.
const NEEDLES: [&[u8]; 8] = [
    b"ssl_lib.c",
    b"s3_pkt.cc",
    b"\0SSL_do_handshake",
    b"\0SSL_read",
    b"\0SSL_shutdown",
    b"\0SSL_write",
    b"\0ssl_read_internal",
    b"\0ssl_write_internal",
];

/// An error call, with what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ErrorCall {
    /// The call instruction.
    pub at: VirtAddr,
    /// The function that takes errors.
    pub callee: VirtAddr,
    /// Address of the path; of an empty text where there are no file names.
    pub file: VirtAddr,
    /// Line of the source file; 0 where there are no file names.
    pub line: u64,
    /// What else is told.
    pub says: Says,
}

/// What an error call says besides the place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Says {
    /// `ERR_put_error(library, function, reason, file, line)`, of OpenSSL 1 and BoringSSL. `function` is
    /// absent where link-time optimisation has removed the argument.
    Codes {
        library: u64,
        function: Option<u64>,
        reason: u64,
    },
    /// `ERR_set_debug(file, line, function)`, of OpenSSL 3 and 4. The reason is handed to a call that
    /// follows.
    Name {
        function: String,
        reason: Option<u64>,
    },
}

/// A function that hands a source path to others.
pub(super) struct Member {
    /// Its first instruction.
    pub entry: Entry,
    /// Its instructions.
    pub body: Body,
    /// Its calls.
    pub calls: Vec<CallArgs>,
    /// Its errors, by place.
    pub errors: Vec<ErrorCall>,
}

impl Member {
    /// Whether it calls `target`, or ends in it.
    pub fn calls(&self, target: VirtAddr) -> bool {
        self.body.calls().any(|(_, callee)| callee == target)
    }

    /// Has `ERR_R_SHOULD_NOT_HAVE_BEEN_CALLED` of BoringSSL, as `SSL_peek` does.
    fn may_be_taken_over(&self) -> bool {
        const BORINGSSL: u64 = 16;
        const SHOULD_NOT_HAVE_BEEN_CALLED: u64 = 66;
        self.errors.iter().any(|error| {
            matches!(
                error.says,
                Says::Codes {
                    library: BORINGSSL,
                    reason: SHOULD_NOT_HAVE_BEEN_CALLED,
                    ..
                }
            )
        })
    }

    /// Whom error calls go to, and what is called right before: `ERR_new`, of OpenSSL 3 and 4.
    fn error_functions(&self) -> impl Iterator<Item = VirtAddr> + '_ {
        self.errors.iter().flat_map(|error| {
            let before = self.calls.iter().rev().find(|call| call.at < error.at);
            let opens = before.filter(|_| matches!(error.says, Says::Name { .. }));
            opens
                .and_then(|call| call.callee)
                .into_iter()
                .chain([error.callee])
        })
    }
}

/// One source path, as one copy of a library carries it.
pub(super) struct PathText {
    /// Which file.
    pub source: Source,
    /// As it stands there.
    pub text: String,
    /// Where.
    pub addr: VirtAddr,
}

/// All that the constants of one image lead to.
pub(super) struct Sources<'a> {
    /// Looks up functions.
    pub functions: Functions<'a>,
    /// Paths that some code refers to.
    pub paths: Vec<PathText>,
    /// Functions by their first instruction.
    pub members: BTreeMap<VirtAddr, Member>,
    /// Functions that take part in telling an error: their arguments mean nothing else.
    pub error_functions: BTreeSet<VirtAddr>,
    /// References whose function could not be told, with the reason.
    pub lost: Vec<String>,
    /// Instructions of all members.
    covered: BTreeSet<VirtAddr>,
    /// Paths that are there although no code was seen to refer to them.
    pub unused: Vec<PathText>,
}

impl<'a> Sources<'a> {
    /// `None`: nothing of interest is mentioned, or the processor is not known here.
    pub fn gather(image: &'a Image<'a>) -> Option<Self> {
        let hits = hits(image);
        if hits.is_empty() {
            return None;
        }
        let decoder = Decoder::new(image)?;
        let (paths, unused, xrefs) = references(image, &decoder, &hits);
        Some(Self::of(image, decoder, paths, unused, &xrefs))
    }

    /// The functions that these references belong to.
    pub fn of(
        image: &'a Image<'a>,
        decoder: Decoder<'a>,
        paths: Vec<PathText>,
        unused: Vec<PathText>,
        xrefs: &[Xref],
    ) -> Self {
        let functions = functions_near(image, decoder, xrefs.iter().map(|xref| xref.at));
        let mut sources = Self {
            functions,
            paths,
            members: BTreeMap::new(),
            error_functions: BTreeSet::new(),
            lost: Vec::new(),
            covered: BTreeSet::new(),
            unused,
        };
        for xref in xrefs {
            sources.add(image, xref.at);
        }
        sources.add_callers(image);
        sources
    }

    /// Functions that take over from others what they do not do by themselves have no error of their own:
    /// `SSL_read` of BoringSSL calls `SSL_peek`.
    fn add_callers(&mut self, image: &Image<'_>) {
        let targets: Vec<_> = self
            .members
            .values()
            .filter(|member| member.may_be_taken_over())
            .map(|member| member.entry.addr)
            .collect();
        for target in targets {
            let calls = self.functions.edges().to(target).iter();
            let places: Vec<_> = calls.map(|edge| edge.from).take(CALLERS_MAX).collect();
            for place in places {
                self.add(image, place);
            }
        }
    }

    /// Functions that call `target` directly.
    pub fn callers(&self, target: VirtAddr) -> Vec<&Member> {
        let members = self.members.values();
        members.filter(|member| member.calls(target)).collect()
    }

    /// The path that stands at an address.
    pub fn path(&self, addr: VirtAddr) -> Option<&PathText> {
        self.paths.iter().find(|path| path.addr == addr)
    }

    fn add(&mut self, image: &Image<'_>, at: VirtAddr) {
        let is_full = self.members.len() >= MEMBERS_MAX || self.covered.len() >= INSNS_MAX;
        if self.covered.contains(&at) {
            return;
        }
        if is_full {
            self.lost
                .push(format!("{at}: too many functions to look at"));
            return;
        }
        match self.functions.entry_of(at) {
            Ok(entry) => {
                let member = examine(image, &self.functions, entry, &self.paths);
                self.covered.extend(member.body.insns.keys());
                self.error_functions.extend(member.error_functions());
                self.members.insert(entry.addr, member);
            }
            Err(reason) => self.lost.push(reason),
        }
    }
}

/// The functions of the image, with all edges into the code around the given places.
pub(super) fn functions_near<'a>(
    image: &Image<'a>,
    decoder: Decoder<'a>,
    places: impl Iterator<Item = VirtAddr>,
) -> Functions<'a> {
    let places: Vec<_> = places.collect();
    let windows = places.iter().map(|at| {
        (
            at.0.saturating_sub(WINDOW_BACK),
            at.0.saturating_add(WINDOW_AHEAD),
        )
    });
    let pages = Pages::covering(image, windows);
    let unwind = UnwindTable::new(image);
    // Conditional jumps over long distances lead to parts that stand apart, which only tables tell.
    let has_table =
        unwind.is_some_and(|unwind| places.iter().any(|at| unwind.covering(*at).is_some()));
    let edges = Edges::into_pages(image, &decoder, &pages, has_table);
    Functions::new(image, decoder, edges)
}

/// A mention of a needle.
struct Hit<'a> {
    needle: usize,
    /// Start of the printable text that it stands in, and that text up to its end.
    start: VirtAddr,
    text: &'a [u8],
}

fn hits<'a>(image: &Image<'a>) -> Vec<Hit<'a>> {
    let Some(searcher) = packed::Searcher::new(NEEDLES) else {
        return Vec::new();
    };
    let mut hits = Vec::new();
    let search = |(base, data): (u64, &'a [u8]), hits: &mut Vec<Hit<'a>>| {
        let left = HITS_MAX.saturating_sub(hits.len());
        for found in searcher.find_iter(data).take(left) {
            hits.extend(hit(base, data, found.pattern().as_usize(), found.start()));
        }
    };
    for range in image.constant_ranges() {
        search(range, &mut hits);
    }
    if !hits.iter().any(|hit| hit.source().is_some()) {
        // Some linkers put literals and code into one segment.
        for range in image.code_ranges() {
            search(range, &mut hits);
        }
    }
    hits
}

fn hit<'a>(base: u64, data: &'a [u8], needle: usize, at: usize) -> Option<Hit<'a>> {
    // A name begins behind the zero of the string before it; a path somewhere before its last part.
    let start = if needle >= 2 {
        at + 1
    } else {
        let before = data.get(at.saturating_sub(PATH_MAX)..at)?;
        let run = before.iter().rev();
        at - run.take_while(|byte| matches!(byte, b' '..=b'~')).count()
    };
    let rest = data.get(at + 1..)?;
    let end = at + 1 + memchr::memchr(0, rest.get(..64).unwrap_or(rest))?;
    let text = data.get(start..end)?;
    let is_whole = match needle {
        0 => text.ends_with(b"ssl_lib.c") || text.ends_with(b"ssl_lib.cc"),
        1 => text.ends_with(b"s3_pkt.cc"),
        // The zero before it may end the name before: the one behind is not in the needle.
        _ => NEEDLES
            .get(needle)
            .is_some_and(|name| name.get(1..) == Some(text)),
    };
    is_whole.then_some(Hit {
        needle,
        start: VirtAddr(base.checked_add(start as u64)?),
        text,
    })
}

impl Hit<'_> {
    fn source(&self) -> Option<Source> {
        match self.needle {
            0 => Some(Source::SslLib),
            1 => Some(Source::Records),
            _ => None,
        }
    }

    fn path(&self, addr: VirtAddr) -> Option<PathText> {
        let skip = usize::try_from(addr.0.checked_sub(self.start.0)?).ok()?;
        Some(PathText {
            source: self.source()?,
            text: String::from_utf8_lossy(self.text.get(skip..)?).into_owned(),
            addr,
        })
    }
}

/// Paths with and without code that refers to them, and the references.
fn references(
    image: &Image<'_>,
    decoder: &Decoder<'_>,
    hits: &[Hit<'_>],
) -> (Vec<PathText>, Vec<PathText>, Vec<Xref>) {
    let starts: Vec<_> = hits.iter().map(|hit| hit.start).collect();
    let mut xrefs = xref::find(image, decoder, &starts);
    xrefs.truncate(REFERENCES_MAX);
    let is_used = |xrefs: &[Xref], addr| xrefs.iter().any(|xref| xref.target == addr);
    let (used, left): (Vec<_>, Vec<_>) = hits
        .iter()
        .filter(|hit| hit.source().is_some())
        .partition(|hit| is_used(&xrefs, hit.start));
    let paths = used.iter().filter_map(|hit| hit.path(hit.start));
    let mut paths: Vec<_> = paths.take(PATHS_MAX).collect();
    let (left, more) = left.split_at(left.len().min(MIDDLES_MAX));
    let mut unused: Vec<_> = more.iter().filter_map(|hit| hit.path(hit.start)).collect();
    for hit in left {
        // Another text may stand right before the path without a zero between.
        let last = hit.start.0 + (hit.text.len() as u64).saturating_sub(9);
        let inside: Vec<_> = (hit.start.0..last).skip(1).map(VirtAddr).collect();
        let more = xref::find(image, decoder, &inside);
        let counted = inside
            .iter()
            .max_by_key(|addr| more.iter().filter(|xref| xref.target == **addr).count());
        let best = counted.filter(|addr| is_used(&more, **addr));
        match best.and_then(|addr| hit.path(*addr)) {
            Some(path) => {
                xrefs.extend(more.iter().filter(|xref| xref.target == path.addr));
                paths.push(path);
            }
            None => unused.extend(hit.path(hit.start)),
        }
    }
    xrefs.sort_unstable();
    (paths, unused, xrefs)
}

/// Registers that point into the function's own stack frame, by index.
pub(super) fn frame_registers(decoder: &Decoder<'_>, member: &Member) -> BTreeSet<usize> {
    let stack = decoder.stack_pointer();
    let insns = member.body.insns.values();
    let pointers = insns.filter_map(|insn| match insn.effect {
        Effect::Copy { dst, src, .. } | Effect::Add { dst, src, .. } if src == stack => Some(dst),
        _ => None,
    });
    pointers.chain([stack]).map(Reg::index).collect()
}

/// Whether the function looks at its argument `n`, from 0, before its first call.
pub(super) fn uses_argument(decoder: &Decoder<'_>, member: &Member, n: usize) -> bool {
    let Some(wanted) = decoder.argument(n) else {
        return false;
    };
    for insn in member
        .body
        .insns
        .range(member.entry.addr..)
        .map(|(_, insn)| insn)
    {
        // A push may be there for the alignment of the stack alone.
        let access = insn
            .access
            .filter(|_| !matches!(insn.effect, Effect::Push(_)));
        let touches = |access: Access| {
            access.base == wanted || access.store && access.register == Some(wanted)
        };
        let moves = matches!(
            insn.effect,
            Effect::Copy { src, .. } | Effect::Add { src, .. } if src == wanted
        );
        if access.is_some_and(touches) || moves {
            return true;
        }
        let overwritten = match insn.effect {
            Effect::Set(dst, _) | Effect::Copy { dst, .. } | Effect::Pop(dst) => dst == wanted,
            Effect::Lose(mask) => mask >> wanted.index() & 1 == 1,
            _ => false,
        };
        if overwritten || insn.flow != Flow::Next {
            return false;
        }
    }
    false
}

/// What one function says to the error queue.
pub(super) fn examine(
    image: &Image<'_>,
    functions: &Functions<'_>,
    entry: Entry,
    paths: &[PathText],
) -> Member {
    let body = functions.body(entry.addr);
    let values = Values::of(functions.decoder(), &body);
    let calls = values.calls();
    functions.spend(values.work());
    let mut errors: Vec<_> = calls
        .iter()
        .filter_map(|call| error_call(image, call, &values, paths))
        .collect();
    errors.dedup();
    Member {
        entry,
        body,
        calls,
        errors,
    }
}

fn error_call(
    image: &Image<'_>,
    call: &CallArgs,
    values: &Values<'_, '_>,
    paths: &[PathText],
) -> Option<ErrorCall> {
    let is_path = |value: &Value| {
        let addr = value.constant().map(VirtAddr);
        addr.is_some_and(|addr| paths.iter().any(|path| path.addr == addr))
    };
    let callee = call.callee?;
    let [a, b, c, d, e, _] = call.args;
    let line = |value: Value| value.constant().filter(|line| *line <= LINE_MAX);
    if let Some(error) = named_error(image, call, values, is_path(&a)) {
        return Some(error);
    }
    let function_given = is_path(&d);
    let (function, reason, line) = match (function_given, is_path(&c)) {
        (true, _) => (b.constant(), c.constant()?, line(e)?),
        (false, true) => (None, b.constant()?, line(d)?),
        _ => return None,
    };
    Some(ErrorCall {
        at: call.at,
        callee,
        file: VirtAddr(if function_given { d } else { c }.constant()?),
        line,
        says: Says::Codes {
            library: a.constant()?,
            function,
            reason,
        },
    })
}

/// `ERR_set_debug(file, line, function)`: without file names the file is an empty string.
fn named_error(
    image: &Image<'_>,
    call: &CallArgs,
    values: &Values<'_, '_>,
    has_path: bool,
) -> Option<ErrorCall> {
    let [file, line, function, ..] = call.args;
    let line = line.constant().filter(|line| *line <= LINE_MAX)?;
    let is_nameless = || text_at(image, file.constant()?, 1).filter(|text| text.is_empty());
    if !has_path && (line != 0 || is_nameless().is_none()) {
        return None;
    }
    let function = identifier_at(image, function.constant()?)?;
    Some(ErrorCall {
        at: call.at,
        callee: call.callee?,
        file: VirtAddr(file.constant()?),
        line,
        says: Says::Name {
            function,
            reason: reason_of(call, values),
        },
    })
}

/// `ERR_set_error(library, reason, …)` follows `ERR_set_debug` right away.
fn reason_of(call: &CallArgs, values: &Values<'_, '_>) -> Option<u64> {
    const SSL: u64 = 20;
    let [library, reason, ..] = values.next_call(call.at)?.args;
    (library.constant() == Some(SSL)).then(|| reason.constant())?
}

fn text_at<'a>(image: &Image<'a>, addr: u64, max: usize) -> Option<&'a [u8]> {
    let data = image.bytes_at(VirtAddr(addr))?;
    bytes::c_str(data.get(..data.len().min(max))?, 0)
}

fn identifier_at(image: &Image<'_>, addr: u64) -> Option<String> {
    const IDENTIFIER_MAX: usize = 80;
    let text = text_at(image, addr, IDENTIFIER_MAX)?;
    let is_word = text
        .iter()
        .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    (is_word && !text.is_empty()).then(|| String::from_utf8_lossy(text).into_owned())
}
