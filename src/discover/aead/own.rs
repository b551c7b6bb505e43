//! What is this program's own where no relocation says so. In an executable with fixed addresses any word may be an
//! address: those of a program that it carries along as data point into the middle of its own functions.
//!
//! A table counts only if it does not lie in such a program, and if functions begin where it points to: by the unwind
//! table, or because what stands before ends another function.

use std::cell::OnceCell;
use std::ops::Range;

use memchr::memmem;
use object::elf;

use super::super::Case;
use crate::image::insn::{Decoder, Flow};
use crate::image::unwind::UnwindTable;
use crate::image::{FileOff, Image, VirtAddr};

/// Most programs that one program is believed to carry along.
const EMBEDDED_MAX: usize = 256;
/// The longest instruction of x86, in bytes.
const INSN_MAX: u64 = 15;

/// Finds the unwind table, if there is one.
pub(super) type Unwind<'u, 'a> = &'u dyn Fn() -> Option<&'u UnwindTable<'a>>;

/// Judges places and addresses of one file.
pub(super) struct Own<'u, 'a> {
    case: &'u Case<'a>,
    decoder: &'u Decoder<'a>,
    unwind: Unwind<'u, 'a>,
    /// Other programs in the data, in bytes of the file.
    embedded: OnceCell<Vec<Range<u64>>>,
}

impl<'u, 'a> Own<'u, 'a> {
    /// Costs nothing before the first question.
    pub fn new(case: &'u Case<'a>, decoder: &'u Decoder<'a>, unwind: Unwind<'u, 'a>) -> Self {
        Self {
            case,
            decoder,
            unwind,
            embedded: OnceCell::new(),
        }
    }

    /// Whether a word at this place may be an address of this program.
    pub fn is_data(&self, place: VirtAddr) -> bool {
        if self.case.pointers().is_relocated() {
            return true;
        }
        let Some(FileOff(at)) = self.case.image.segments.file_offset(place) else {
            return false;
        };
        let embedded = self.embedded.get_or_init(|| embedded(self.case.image));
        !embedded.iter().any(|range| range.contains(&at))
    }

    /// Whether a word that says so may be believed that a function begins there.
    pub fn is_function(&self, addr: VirtAddr) -> bool {
        if self.case.pointers().is_relocated() {
            return true;
        }
        match (self.unwind)().and_then(|unwind| unwind.covering(addr)) {
            Some(range) => range.start == addr,
            None => self.follows_an_end(addr),
        }
    }

    /// Room between functions, or the last instruction of one, ends right there.
    fn follows_an_end(&self, addr: VirtAddr) -> bool {
        let decoder = self.decoder;
        let step = if decoder.is_x86() { 1 } else { 4 };
        let lengths = (1..=INSN_MAX).filter(|bytes| bytes % step == 0);
        let mut before = lengths.filter_map(|bytes| {
            let insn = decoder.decode(VirtAddr(addr.0.checked_sub(bytes)?))?;
            (insn.end() == addr).then_some(insn)
        });
        before.any(|insn| match insn.flow {
            Flow::Return | Flow::Jump(_) | Flow::JumpIndirect => true,
            Flow::Stop => decoder.is_padding_trap(insn.addr),
            Flow::Next => decoder.is_filler(insn.addr),
            // The last thing in a function may be a call that does not return.
            Flow::Call(_) | Flow::CallIndirect => decoder.is_prologue(addr),
            Flow::Branch(_) => false,
        })
    }
}

/// Other programs and libraries that stand whole in the loaded data.
fn embedded(image: &Image<'_>) -> Vec<Range<u64>> {
    let finder = memmem::Finder::new(&elf::ELFMAG);
    let mut found: Vec<Range<u64>> = Vec::new();
    for data in image.loaded_data() {
        let offset = data.as_ptr().addr() - image.data().as_ptr().addr();
        for at in finder.find_iter(data).take(EMBEDDED_MAX) {
            let start = (offset + at) as u64;
            let is_inside = found.last().is_some_and(|last| last.contains(&start));
            if start > 0 && !is_inside && found.len() < EMBEDDED_MAX {
                let size = data.get(at..).and_then(size);
                found.extend(size.map(|size| start..start.saturating_add(size)));
            }
        }
    }
    found
}

/// Bytes of the program that stands at the start of `data`, as far as its segments tell.
fn size(data: &[u8]) -> Option<u64> {
    let image = Image::parse(data).ok()?;
    let ends = image.segments.iter().map(|segment| {
        let end = segment.offset.checked_add(segment.file_size)?;
        (end <= data.len() as u64).then_some(end)
    });
    ends.collect::<Option<Vec<_>>>()?.into_iter().max()
}
