//! The vtables by which rustls calls whoever encrypts its records. Their methods exist in every build: an address
//! that is taken cannot be inlined away, whatever the compiler does and whoever the provider is.
//!
//! From the outside in: each cipher suite is a constant that points to a `dyn Tls12AeadAlgorithm` or
//! `dyn Tls13AeadAlgorithm`, whose vtable stands in the file. Two of its methods make an encrypter and a decrypter, so
//! they form the addresses of the vtables we want. TLS 1.3 of rustls before 0.22 has no such constant: there all
//! vtables are looked at that code forms the address of which can panic in the source of rustls.
//!
//! Either way, a method is believed only if it reads its message as this version of rustls lays it out
//! ([`methods`]). A file without a known version is refused.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::locations::{Location, Locations};
use super::methods::{self, Touched, Way};
use crate::discover::Case;
use crate::image::function::{Body, Functions};
use crate::image::insn::{Decoder, Effect, Flow, Insn, REGISTERS};
use crate::image::unwind::UnwindTable;
use crate::image::xref::{self, Edges, Pages};
use crate::image::{Pointers, VirtAddr};
use crate::symdb::rustls::RecordLayout;

/// Where in a vtable the size is, behind the address of the drop function.
const SIZE_AT: u64 = 8;
/// Where the alignment is.
const ALIGN_AT: u64 = 16;
/// Where the first method is.
const METHODS_AT: u64 = 24;
/// Largest object: ring's keys have 560 bytes.
const OBJECT_MAX: u64 = 64 << 10;
/// Strictest alignment of an object.
const ALIGN_MAX: u64 = 128;
/// Largest algorithm: a pointer or two to the provider's own tables.
const ALGORITHM_MAX: u64 = 64;
/// Most methods of an algorithm, and the function to drop the next vtable's object.
const METHODS_MAX: usize = 10;
/// Algorithms that are looked at; a program has some thousand constants of such a shape.
const ALGORITHMS_MAX: usize = 1 << 14;
/// Calls from a method to where the vtable's address is formed.
const DEPTH_MAX: usize = 2;
/// Vtables that are looked at in one function; makers form the addresses of a few.
const VTABLES_OF_ONE_MAX: usize = 256;
/// Functions that are looked at for one method.
const FUNCTIONS_OF_ONE_MAX: usize = 24;
/// Places in the source that code is searched for.
const PLACES_MAX: usize = 4096;

/// A vtable's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Vtable {
    /// Where it is.
    pub addr: VirtAddr,
    /// Bytes of the object.
    pub size: u64,
    /// Its first method.
    pub method: VirtAddr,
}

/// How a vtable was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// By a method of the `dyn Tls1?AeadAlgorithm` whose vtable is there.
    Algorithm(VirtAddr),
    /// By a function that can panic in the cipher's source.
    Panics(VirtAddr),
}

/// One method that a probe could watch.
#[derive(Clone, Debug)]
pub(super) struct Method<'a> {
    /// Which.
    pub way: Way,
    /// In whose vtable.
    pub vtable: Vtable,
    /// Places in the source that it, or what made its vtable, can panic at.
    pub places: Vec<Location<'a>>,
    /// How it was found.
    pub origin: Origin,
    /// Bytes of code.
    pub code_size: u64,
}

/// What one function mentions.
#[derive(Debug, Default)]
struct Mentions {
    vtables: Vec<Vtable>,
    places: Vec<VirtAddr>,
    calls: Vec<VirtAddr>,
}

/// What one method does, whichever vtable it is in.
struct Code {
    touched: Touched,
    places: Vec<VirtAddr>,
    size: u64,
    is_whole: bool,
}

/// What the maker of an encrypter or decrypter leads to.
#[derive(Default)]
struct Made<'a> {
    methods: Vec<Method<'a>>,
    /// Vtables that were looked at for them.
    formed: BTreeSet<VirtAddr>,
}

/// The search in one file.
pub(super) struct Search<'c, 'a> {
    case: &'c Case<'a>,
    locations: &'c Locations<'a>,
    functions: Functions<'a>,
    unwind: Option<UnwindTable<'a>>,
    known: RefCell<BTreeMap<VirtAddr, Rc<Mentions>>>,
    read: RefCell<BTreeMap<VirtAddr, Rc<Code>>>,
    /// Whether a function never comes back.
    endless: RefCell<BTreeMap<VirtAddr, bool>>,
}

impl<'c, 'a> Search<'c, 'a> {
    /// `None`: not an instruction set that is known here.
    pub fn new(case: &'c Case<'a>, locations: &'c Locations<'a>) -> Option<Self> {
        let decoder = Decoder::new(case.image)?;
        // Methods are entered where their vtable says: nobody's calls are needed to find their beginning.
        Some(Self {
            case,
            locations,
            functions: Functions::new(case.image, decoder, Edges::default()),
            unwind: UnwindTable::new(case.image),
            known: RefCell::new(BTreeMap::new()),
            read: RefCell::new(BTreeMap::new()),
            endless: RefCell::new(BTreeMap::new()),
        })
    }

    /// By the constants of cipher suites.
    pub fn by_algorithms(&self, layout: &RecordLayout) -> Vec<Method<'a>> {
        let mut found = Vec::new();
        let mut seen = BTreeSet::new();
        for algorithm in algorithms(self.case.pointers(), usize::from(layout.makers.methods)) {
            let makers = self.makers(layout, algorithm);
            // Others that share both would lead to the same methods.
            if let Some((encrypter, decrypter)) = makers.filter(|makers| seen.insert(*makers)) {
                let origin = Origin::Algorithm(algorithm);
                let made = self.made_by_both(layout, encrypter, decrypter, origin);
                found.extend(made.unwrap_or_default());
            }
        }
        found
    }

    /// The methods of an algorithm that make an encrypter and a decrypter.
    fn makers(&self, layout: &RecordLayout, algorithm: VirtAddr) -> Option<(VirtAddr, VirtAddr)> {
        let maker = |n: u8| {
            let at = METHODS_AT + 8 * u64::from(n);
            self.case.pointers().at_offset(algorithm, at)
        };
        let makers = layout.makers;
        maker(makers.encrypter).zip(maker(makers.decrypter))
    }

    /// The methods that an algorithm leads to: some for each way, or it is not one.
    fn made_by_both(
        &self,
        layout: &RecordLayout,
        encrypter: VirtAddr,
        decrypter: VirtAddr,
        origin: Origin,
    ) -> Option<Vec<Method<'a>>> {
        let encrypters = self.made_by(layout, Way::Encrypt, encrypter, origin);
        if encrypters.methods.is_empty() {
            return None;
        }
        let decrypters = self.made_by(layout, Way::Decrypt, decrypter, origin);
        let (mut found, mut others) = (encrypters.methods, decrypters.methods);
        // What both form the address of is neither: an error that both can tell. Where no table says how far a function
        // goes, it may have been read into the next one, and that means nothing.
        let is_bounded = |maker: VirtAddr| {
            let unwind = self.unwind.as_ref();
            unwind.is_some_and(|unwind| unwind.begins(maker))
        };
        if is_bounded(encrypter) && is_bounded(decrypter) {
            found.retain(|method| !decrypters.formed.contains(&method.vtable.addr));
            others.retain(|method| !encrypters.formed.contains(&method.vtable.addr));
        }
        let has_both = !found.is_empty() && !others.is_empty();
        found.append(&mut others);
        has_both.then_some(found)
    }

    /// By code that can panic at one of these places in the source. One pass over all code.
    pub fn by_places(&self, layout: &RecordLayout, places: &[VirtAddr]) -> Vec<Method<'a>> {
        // Without unwind tables what looks like a function may be the middle of one, but it only leads to vtables.
        let decoder = self.functions.decoder();
        let places = places.get(..PLACES_MAX.min(places.len())).unwrap_or(places);
        let xrefs = xref::find(self.case.image, decoder, places);
        let windows = xrefs.iter().map(|xref| {
            (
                xref.at.0.saturating_sub(0x3000),
                xref.at.0.saturating_add(0x1000),
            )
        });
        let pages = Pages::covering(self.case.image, windows);
        let edges = Edges::into_pages(self.case.image, decoder, &pages, false);
        let functions = Functions::new(self.case.image, *decoder, edges);
        let entries: BTreeSet<_> = xrefs
            .iter()
            .filter_map(|xref| functions.entry_of(xref.at).ok())
            .map(|entry| entry.addr)
            .collect();
        let mut found = Vec::new();
        for entry in entries {
            let mentions = self.mentions(entry);
            for way in [Way::Encrypt, Way::Decrypt] {
                let vtables = mentions.vtables.iter();
                let methods = vtables
                    .filter_map(|vtable| self.method(layout, way, *vtable, Origin::Panics(entry)));
                found.extend(methods.map(|method| self.with_places(method, &mentions.places)));
            }
        }
        // Encrypter and decrypter hold the same: a key and an initialization vector.
        let sizes = |way: Way| -> BTreeSet<u64> {
            let methods = found.iter().filter(|method| method.way == way);
            methods.map(|method| method.vtable.size).collect()
        };
        let (sent, received) = (sizes(Way::Encrypt), sizes(Way::Decrypt));
        found.retain(|method| {
            sent.contains(&method.vtable.size) && received.contains(&method.vtable.size)
        });
        found
    }

    /// The methods of this way in the vtables that `maker`, or what it calls, forms the addresses of.
    fn made_by(
        &self,
        layout: &RecordLayout,
        way: Way,
        maker: VirtAddr,
        origin: Origin,
    ) -> Made<'a> {
        let mut wave = vec![maker];
        let mut seen = BTreeSet::from([maker]);
        let mut made = Made::default();
        for _ in 0..=DEPTH_MAX {
            let mut next = Vec::new();
            for function in wave {
                let mentions = self.mentions(function);
                for vtable in mentions.vtables.iter().take(VTABLES_OF_ONE_MAX) {
                    made.formed.insert(vtable.addr);
                    let method = self.method(layout, way, *vtable, origin);
                    made.methods
                        .extend(method.map(|method| self.with_places(method, &mentions.places)));
                }
                let calls = mentions.calls.iter().copied();
                let room = FUNCTIONS_OF_ONE_MAX.saturating_sub(seen.len());
                next.extend(calls.filter(|call| seen.insert(*call)).take(room));
            }
            if !made.methods.is_empty() || next.is_empty() {
                break;
            }
            wave = next;
        }
        made
    }

    fn method(
        &self,
        layout: &RecordLayout,
        way: Way,
        vtable: Vtable,
        origin: Origin,
    ) -> Option<Method<'a>> {
        let methods = methods::message(way, layout).methods;
        let is_known = matches!(origin, Origin::Algorithm(_));
        if !has_methods(self.case.pointers(), vtable.addr, methods, is_known) {
            return None;
        }
        let code = self.code(vtable.method);
        let fits = code.is_whole && methods::fits(way, layout, &code.touched);
        fits.then(|| {
            let method = Method {
                way,
                vtable,
                places: Vec::new(),
                origin,
                code_size: code.size,
            };
            self.with_places(method, &code.places)
        })
    }

    /// Read once: a file may name one method in thousands of vtables.
    fn code(&self, method: VirtAddr) -> Rc<Code> {
        if let Some(known) = self.read.borrow().get(&method) {
            return known.clone();
        }
        let mut body = self.functions.body(method);
        self.end_at_panics(&mut body);
        let code = Rc::new(Code {
            touched: methods::touched(self.functions.decoder(), &body),
            places: self.constants(&body).0,
            size: body.size(),
            is_whole: body.broken.is_none(),
        });
        self.read.borrow_mut().insert(method, code.clone());
        code
    }

    /// Where a call does not come back, what stands behind it is reached from elsewhere, with other values.
    fn end_at_panics(&self, body: &mut Body) {
        let mut calls = self.calls(body);
        calls.retain(|(_, callee)| self.never_returns(*callee, DEPTH_MAX));
        for (at, _) in calls {
            if let Some(insn) = body.insns.get_mut(&at) {
                insn.flow = Flow::Stop;
            }
        }
    }

    /// Calls of known functions, those through the global offset table included.
    fn calls(&self, body: &Body) -> Vec<(VirtAddr, VirtAddr)> {
        let pointers = self.case.pointers();
        let through_table = body.insns.values().filter_map(|insn| {
            let slot = slot(self.case.image.code_at(insn.addr)?, insn)?;
            let callee = pointers.at(slot)?;
            let is_code = self.case.image.segments.code_offset(callee).is_some();
            is_code.then_some((insn.addr, callee))
        });
        body.calls().chain(through_table).collect()
    }

    fn never_returns(&self, function: VirtAddr, depth: usize) -> bool {
        if let Some(known) = self.endless.borrow().get(&function) {
            return *known;
        }
        let body = self.functions.body(function);
        let mut insns = body.insns.values();
        let comes_back = |flow: Flow| matches!(flow, Flow::Return | Flow::JumpIndirect);
        let endless = body.broken.is_none()
            && !body.insns.is_empty()
            && !insns.any(|insn| comes_back(insn.flow))
            && body.tails.iter().all(|(_, target)| {
                depth > 0 && *target != function && self.never_returns(*target, depth - 1)
            });
        self.endless.borrow_mut().insert(function, endless);
        endless
    }

    fn with_places(&self, mut method: Method<'a>, places: &[VirtAddr]) -> Method<'a> {
        let places = places.iter();
        method.places.extend(
            places
                .filter_map(|place| self.locations.at(*place))
                .copied(),
        );
        method
    }

    fn mentions(&self, function: VirtAddr) -> Rc<Mentions> {
        if let Some(known) = self.known.borrow().get(&function) {
            return known.clone();
        }
        let body = self.functions.body(function);
        let (places, others) = self.constants(&body);
        let vtables = others.iter();
        let mentions = Rc::new(Mentions {
            vtables: vtables
                .filter_map(|addr| vtable_at(self.case.pointers(), *addr))
                .collect(),
            places,
            calls: self
                .calls(&body)
                .into_iter()
                .map(|(_, callee)| callee)
                .collect(),
        });
        self.known.borrow_mut().insert(function, mentions.clone());
        mentions
    }

    /// Addresses that a function forms: places in the source, and others in the file.
    fn constants(&self, body: &Body) -> (Vec<VirtAddr>, Vec<VirtAddr>) {
        let segments = &self.case.image.segments;
        let mut places = BTreeSet::new();
        let mut others = BTreeSet::new();
        for addr in formed(body).into_iter().map(VirtAddr) {
            if self.locations.at(addr).is_some() {
                places.insert(addr);
            } else if addr.0.is_multiple_of(8) && segments.file_offset(addr).is_some() {
                others.insert(addr);
            }
        }
        (Vec::from_iter(places), Vec::from_iter(others))
    }
}

/// The word that `call [rip+n]`, `jmp [rip+n]` or `mov r64, [rip+n]` reads on x86-64: linkers leave them where compilers
/// expected that a function may be in another file.
fn slot(code: &[u8], insn: &Insn) -> Option<VirtAddr> {
    let bytes = match code {
        [0xff, 0x15 | 0x25, rest @ ..] => rest,
        [0x48 | 0x4c, 0x8b, modrm, rest @ ..] if modrm & 0xc7 == 5 => rest,
        _ => return None,
    };
    let distance = i32::from_le_bytes(*bytes.first_chunk()?);
    insn.end()
        .0
        .checked_add_signed(distance.into())
        .map(VirtAddr)
}

/// Constants that stand in some register, read straight through the code: more than there are, never fewer where
/// the two halves of an address follow each other.
fn formed(body: &Body) -> BTreeSet<u64> {
    let mut registers = [None; REGISTERS];
    let mut formed = BTreeSet::new();
    for insn in body.insns.values() {
        let (dst, value) = match insn.effect {
            Effect::Set(dst, value) => (dst, Some(value)),
            Effect::Add { dst, src, value } => {
                let base = registers.get(src.index()).copied().flatten();
                let sum = base.map(|base: u64| base.wrapping_add_signed(value));
                (dst, sum)
            }
            _ => continue,
        };
        formed.extend(value);
        if let Some(slot) = registers.get_mut(dst.index()) {
            *slot = value;
        }
    }
    formed
}

/// The vtable at `addr`, if one with an object of some size is there.
fn vtable_at(pointers: &Pointers<'_, '_>, addr: VirtAddr) -> Option<Vtable> {
    let (size, align) = size_and_align(pointers, addr)?;
    let fits = (1..=OBJECT_MAX).contains(&size) && size.is_multiple_of(align);
    let drop = pointers.at(addr);
    let is_code = |at: VirtAddr| pointers.image().segments.code_offset(at).is_some();
    let drop_fits = match drop {
        Some(drop) => is_code(drop),
        None => pointers.word(addr) == Some(0),
    };
    let method = pointers.at_offset(addr, METHODS_AT)?;
    (fits && drop_fits && is_code(method)).then_some(Vtable { addr, size, method })
}

/// Whether so many methods are in the vtable. What follows may be anything; where little else speaks for the vtable,
/// only the next one's function to drop its object.
fn has_methods(
    pointers: &Pointers<'_, '_>,
    vtable: VirtAddr,
    methods: usize,
    is_known: bool,
) -> bool {
    let first = VirtAddr(vtable.0.saturating_add(METHODS_AT));
    let count = pointers.run(first).take(METHODS_MAX).count();
    let behind = VirtAddr(first.0.saturating_add(8 * methods as u64));
    let is_vtable = || size_and_align(pointers, behind).is_some();
    count == methods || count > methods && (is_known || is_vtable())
}

/// The two plain words of a vtable.
fn size_and_align(pointers: &Pointers<'_, '_>, addr: VirtAddr) -> Option<(u64, u64)> {
    let plain = |offset: u64| {
        let place = VirtAddr(addr.0.checked_add(offset)?);
        let is_plain = !pointers.is_relocated() || pointers.at(place).is_none();
        is_plain.then(|| pointers.word(place)).flatten()
    };
    let align = plain(ALIGN_AT)?;
    let size = plain(SIZE_AT)?;
    (align.is_power_of_two() && align <= ALIGN_MAX).then_some((size, align))
}

/// Vtables that constants point to, of objects that are small and need no dropping, with so many methods at least.
fn algorithms(pointers: &Pointers<'_, '_>, methods: usize) -> Vec<VirtAddr> {
    let mut targets = shaped_like_vtables(pointers);
    targets.retain(|addr| {
        let head = size_and_align(pointers, *addr);
        let is_small =
            head.is_some_and(|(size, align)| size <= ALGORITHM_MAX && size.is_multiple_of(align));
        let first = VirtAddr(addr.0.saturating_add(METHODS_AT));
        let count = || pointers.run(first).take(METHODS_MAX).count();
        is_small && drops_nothing(pointers, *addr) && count() >= methods
    });
    targets.truncate(ALGORITHMS_MAX);
    targets
}

/// Addresses in data that some word in data holds, and that have the words of a vtable, judged quickly.
fn shaped_like_vtables(pointers: &Pointers<'_, '_>) -> Vec<VirtAddr> {
    let image = pointers.image();
    let words: Vec<_> = image
        .segments
        .iter()
        // Without relocations constants need not be writable, and may be next to the code.
        .filter(|segment| !segment.executable || !pointers.is_relocated())
        .filter_map(|segment| {
            let bytes = image.file_range(segment.offset, segment.file_size)?;
            Some((segment.vaddr, bytes))
        })
        .collect();
    let looks_right = |addr: u64| {
        let (start, bytes) = words.iter().find(|(start, bytes)| {
            addr.checked_sub(*start)
                .is_some_and(|inside| inside < bytes.len() as u64)
        })?;
        let at = usize::try_from(addr - start).ok()?;
        let word = |offset: u64| {
            let at = at.checked_add(offset as usize)?;
            let bytes: [u8; 8] = bytes.get(at..at.checked_add(8)?)?.try_into().ok()?;
            Some(u64::from_le_bytes(bytes))
        };
        let (size, align) = (word(SIZE_AT)?, word(ALIGN_AT)?);
        let fits = size <= ALGORITHM_MAX && align.is_power_of_two() && align <= ALIGN_MAX;
        fits.then_some(VirtAddr(addr))
    };
    let mut found = Vec::new();
    if pointers.is_relocated() {
        let aligned = pointers.relocated().iter().map(|pointer| pointer.target.0);
        found.extend(
            aligned
                .filter(|addr| addr.is_multiple_of(8))
                .filter_map(looks_right),
        );
    } else {
        for (_, bytes) in &words {
            let aligned = bytes
                .as_chunks::<8>()
                .0
                .iter()
                .map(|w| u64::from_le_bytes(*w));
            let aligned = aligned.filter(|addr| *addr != 0 && addr.is_multiple_of(8));
            found.extend(aligned.filter_map(looks_right).take(1 << 20));
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// No drop function, or, as rustc before 1.80 writes it, one that does nothing.
fn drops_nothing(pointers: &Pointers<'_, '_>, vtable: VirtAddr) -> bool {
    let Some(drop) = pointers.at(vtable) else {
        return pointers.word(vtable) == Some(0);
    };
    let Some(decoder) = Decoder::new(pointers.image()) else {
        return false;
    };
    let mut at = drop;
    for _ in 0..5 {
        let Some(insn) = decoder.decode(at) else {
            return false;
        };
        match insn.flow {
            Flow::Return => return true,
            Flow::Next => at = insn.end(),
            _ => return false,
        }
    }
    false
}
