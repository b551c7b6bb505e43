//! Programs that unpack themselves when they start: what runs is in no file, so that nothing can be
//! found in this one and no probe be placed.

use memchr::memmem;

use crate::image::Image;

/// UPX puts its header right behind the program headers, of which it writes two to five.
/// Source: UPX 4.2, `struct l_info` in src/stub/src/include/linux.h.
const HEADER_BYTES: usize = 1024;

/// A warning if the file is packed with UPX.
pub(super) fn warning(image: &Image<'_>) -> Option<String> {
    let start = image.data().get(..HEADER_BYTES.min(image.data().len()))?;
    let is_packed = image.sections.is_empty() && memmem::find(start, b"UPX!").is_some();
    is_packed.then(|| {
        "packed with UPX: its code is unpacked into memory at run time, where no probe can be placed; \
         unpack the file (upx -d) to have its libraries found"
            .to_owned()
    })
}
