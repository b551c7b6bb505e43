//! Whole files, through the same door as programs of users: all finders, and what they may claim.

use std::cell::RefCell;
use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::FromRawFd;
use std::path::Path;
use std::sync::LazyLock;

use agentsight::discover::{self, Report};
use agentsight::image::debug_file::DebugDirs;
use agentsight::image::{Image, ImageFile};
use agentsight::symdb::SymbolDb;

static DATABASE: LazyLock<SymbolDb> = LazyLock::new(|| SymbolDb::load().unwrap());

/// Nothing lies beside it.
const PATH: &str = "/proc/self/fdinfo/program";

/// Examines a file.
pub fn examine(data: &[u8]) {
    let Some(file) = in_memory(data) else {
        return;
    };
    let dirs = DebugDirs { global: Vec::new() };
    let Ok(report) = discover::examine(&file, &DATABASE, &dirs) else {
        return;
    };
    let image = file.image().expect("it was examined");
    only_code(&image, &report);
    let text = serde_json::to_string(&report).expect("reports can be written");
    let again: Report = serde_json::from_str(&text).expect("and read");
    assert_eq!(serde_json::to_string(&again).unwrap(), text);
}

fn in_memory(data: &[u8]) -> Option<ImageFile> {
    thread_local! {
        static FILE: RefCell<Option<File>> = const { RefCell::new(None) };
    }
    FILE.with_borrow_mut(|file| {
        let file = file.get_or_insert_with(|| {
            // SAFETY: the name is a C string; the descriptor is new and nobody else's.
            unsafe {
                let number = libc::memfd_create(c"program".as_ptr(), libc::MFD_CLOEXEC);
                assert!(number >= 0, "memfd_create failed");
                File::from_raw_fd(number)
            }
        });
        file.set_len(0).unwrap();
        file.rewind().unwrap();
        file.write_all(data).unwrap();
        ImageFile::from_file(Path::new(PATH), file.try_clone().unwrap()).ok()
    })
}

/// A probe goes where the kernel maps code from, and nowhere else.
fn only_code(image: &Image<'_>, report: &Report) {
    for finding in &report.findings {
        for function in &finding.functions {
            let at = image.segments.code_offset(function.vaddr);
            assert_eq!(at, Some(function.file_offset), "{}", function.name);
            assert!(function.file_offset.0 < image.data().len() as u64);
            assert!(!function.evidence.is_empty(), "{}", function.name);
            for site in function.sites.exits.iter().chain([&function.sites.entry]) {
                let is_code = image.segments.iter().any(|segment| {
                    let inside = site.file_offset.0.checked_sub(segment.offset);
                    segment.executable && inside.is_some_and(|inside| inside < segment.file_size)
                });
                assert!(is_code, "{} has a site outside of the code", function.name);
            }
        }
    }
}
