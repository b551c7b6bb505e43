//! Libraries that are inside although no name says so: told by their source paths, which error calls
//! carry along. Without names there are no addresses here, only an honest refusal.

use memchr::memmem;

use super::Case;
use super::by_name::Found;
use super::finding::Refusal;

/// A refusal if the loaded data mentions `source_path` (the end of a C string).
pub(super) fn refusal(case: &Case<'_>, library: &str, source_path: &[u8]) -> Option<Found> {
    let finder = memmem::Finder::new(source_path);
    let mentioned = case
        .image
        .loaded_data()
        .any(|data| finder.find(data).is_some());
    mentioned.then(|| Found {
        refused: vec![Refusal {
            library: library.to_owned(),
            reason: format!(
                "function names are stripped: the file mentions \"…{}\", but no symbol table, debug \
                 data or debug file names a function",
                String::from_utf8_lossy(source_path).trim_end_matches('\0')
            ),
        }],
        ..Found::default()
    })
}
