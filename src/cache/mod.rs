//! What discovery said before, where that is still true: the one door through which programs are
//! examined. A second look at a file takes a millisecond.
//!
//! An answer is taken from disk only if the analyzer, the file and the debug files that belong to it
//! are the same as then. Build IDs are claims, so they only find an entry; what proves it is the state
//! of the file that the kernel keeps (device, inode, size, times of change), or else the hash of its
//! whole content, and in both cases the bytes at every place where a probe would go. Entries of other
//! users are not read: they would say where we probe. Nothing here can fail an examination; a cache
//! that cannot be read or written is no cache.

mod companions;
mod entry;
mod key;
pub mod prices;
mod store;

use std::fmt;

use crate::discover::{self, Report};
use crate::error::Result;
use crate::image::debug_file::DebugDirs;
use crate::image::{Image, ImageFile};
use crate::symdb::SymbolDb;

use entry::Entry;
use key::{FileState, Key};
use store::Load;

pub use companions::Companions;
pub use key::analyzer;
pub use store::{Store, default_dir};

/// Examines files, with or without a cache.
pub struct Examiner {
    db: SymbolDb,
    dirs: DebugDirs,
    store: Option<Store>,
}

/// A report, and where it came from.
#[derive(Debug)]
pub struct Examined {
    /// What discovery says, or said.
    pub report: Report,
    /// For `--explain`.
    pub origin: Origin,
}

/// Where a report came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Examined; there is no cache.
    Uncached,
    /// From the cache: the same state of the same file.
    SameFile,
    /// From the cache: a file with the same content.
    SameContent,
    /// Examined.
    Examined {
        /// There was an entry that could not be used, and why.
        rejected: Option<&'static str>,
        /// The answer was not kept, and why.
        not_kept: Option<String>,
    },
}

impl Origin {
    /// The report was not made anew.
    pub fn is_hit(&self) -> bool {
        matches!(self, Self::SameFile | Self::SameContent)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uncached => f.write_str("not used"),
            Self::SameFile => f.write_str("hit, this file was examined before"),
            Self::SameContent => {
                f.write_str("hit, a file with the same content was examined before")
            }
            Self::Examined { rejected, not_kept } => {
                f.write_str("examined")?;
                if let Some(why) = rejected {
                    write!(f, ", an entry was not used ({why})")?;
                }
                match not_kept {
                    Some(why) => write!(f, ", not kept ({why})"),
                    None => f.write_str(", kept"),
                }
            }
        }
    }
}

impl Examiner {
    /// Without a cache.
    pub fn new(db: SymbolDb, dirs: DebugDirs) -> Self {
        Self {
            db,
            dirs,
            store: None,
        }
    }

    /// With the user's cache, if there can be one.
    #[must_use]
    pub fn with_user_cache(self) -> Self {
        let store = default_dir().zip(analyzer());
        let store = store.map(|(dir, analyzer)| Store::new(dir, analyzer));
        Self { store, ..self }
    }

    /// With this cache.
    #[must_use]
    pub fn with_store(self, store: Store) -> Self {
        Self {
            store: Some(store),
            ..self
        }
    }

    /// Known facts.
    pub fn db(&self) -> &SymbolDb {
        &self.db
    }

    /// Examines one file, or remembers.
    ///
    /// # Errors
    /// As [`discover::examine`].
    pub fn examine(&self, file: &ImageFile) -> Result<Examined> {
        let image = file.image()?;
        let (Some(store), Some(state)) = (&self.store, FileState::of(file)) else {
            let report = discover::examine(file, &self.db, &self.dirs)?;
            file.check_whole()?;
            let origin = Origin::Uncached;
            return Ok(Examined { report, origin });
        };
        let key = Key::new(store.analyzer(), file, &image, state, &self.dirs);
        let mut rejected = None;
        match store.load(&key) {
            Load::Found(entry) => match remember(store, &key, *entry, file, &image, state) {
                Ok(examined) => return Ok(examined),
                Err(why) => rejected = Some(why),
            },
            Load::Absent => {}
            Load::Rejected(why) => rejected = Some(why),
        }
        let report = discover::examine(file, &self.db, &self.dirs)?;
        file.check_whole()?;
        let not_kept = keep(store, &key, &report, file, &image, state).err();
        let origin = Origin::Examined { rejected, not_kept };
        Ok(Examined { report, origin })
    }
}

/// The entry's answer, if it is about this file.
fn remember(
    store: &Store,
    key: &Key,
    mut entry: Entry,
    file: &ImageFile,
    image: &Image<'_>,
    state: FileState,
) -> Result<Examined, &'static str> {
    if entry.witness != entry::witness(image, &entry.report) {
        return Err("it is about other code");
    }
    let origin = if entry.states.contains(&state) {
        Origin::SameFile
    } else if entry.content == entry::content(file) {
        if state.is_settled() {
            entry.add_state(state);
            // If that fails, the next look takes as long as this one.
            let _ = store.save(key, &entry);
        }
        Origin::SameContent
    } else {
        return Err("it is about a file with the same build ID and another content");
    };
    let mut report = entry.report;
    report.path = file.path().display().to_string();
    Ok(Examined { report, origin })
}

fn keep(
    store: &Store,
    key: &Key,
    report: &Report,
    file: &ImageFile,
    image: &Image<'_>,
    state: FileState,
) -> Result<(), String> {
    if !state.is_settled() {
        return Err("the file has just been changed".into());
    }
    let entry = Entry::new(key, report, file, image, state);
    // Looked at last: what changed while we read must not be kept.
    if FileState::of(file) != Some(state) {
        return Err("the file is being changed".into());
    }
    store.save(key, &entry).map_err(|error| error.to_string())
}
