//! Opening a file for analysis: mapped read-only, with the identity that caches and probes go by.

use std::fs::{File, Metadata};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use memmap2::Mmap;

use super::Image;
use super::torn::Watch;
use crate::error::{Context, Error, Result};

/// What tells one state of one file from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileIdentity {
    /// Device as `stat` reports it.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
    /// Bytes.
    pub size: u64,
    /// Last change of the contents, nanoseconds since 1970.
    pub mtime_ns: i128,
}

impl FileIdentity {
    /// Of an open file.
    ///
    /// # Errors
    /// `fstat` failed.
    pub fn of(file: &File) -> std::io::Result<Self> {
        Ok(Self::from(&file.metadata()?))
    }
}

impl From<&Metadata> for FileIdentity {
    fn from(metadata: &Metadata) -> Self {
        Self {
            dev: metadata.dev(),
            ino: metadata.ino(),
            size: metadata.size(),
            mtime_ns: i128::from(metadata.mtime()) * 1_000_000_000
                + i128::from(metadata.mtime_nsec()),
        }
    }
}

/// An open, mapped file. The file stays open, so its inode cannot be used again meanwhile.
pub struct ImageFile {
    path: PathBuf,
    file: File,
    // Before the map: it is watched only while it is there.
    watch: Option<Watch>,
    map: Option<Mmap>,
    identity: FileIdentity,
}

impl ImageFile {
    /// Opens and maps a regular file.
    ///
    /// # Errors
    /// It cannot be opened or mapped, or is a directory, device, FIFO or socket.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::options()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY) // a FIFO must not make us wait
            .open(path)
            .context(|| format!("failed to open {}", path.display()))?;
        Self::from_file(path, file)
    }

    /// Maps a file that is open already; `path` is its name for people.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn from_file(path: &Path, file: File) -> Result<Self> {
        let metadata = file
            .metadata()
            .context(|| format!("failed to look at {}", path.display()))?;
        if !metadata.is_file() {
            return Err(Error::invalid(format!(
                "{} is not a regular file",
                path.display()
            )));
        }
        let identity =
            FileIdentity::of(&file).context(|| format!("failed to look at {}", path.display()))?;
        // SAFETY: the map is read-only and private. If somebody cuts the file short while we read,
        // zeros are read (`torn`). Changed bytes are harmless: everything is parsed as hostile.
        let map = (metadata.len() > 0)
            .then(|| unsafe { Mmap::map(&file) })
            .transpose()
            .context(|| format!("failed to map {}", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            watch: map.as_ref().and_then(Watch::new),
            map,
            identity,
        })
    }

    /// The name it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The open file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// What it was when it was opened.
    pub fn identity(&self) -> FileIdentity {
        self.identity
    }

    /// All bytes.
    pub fn bytes(&self) -> &[u8] {
        self.map.as_deref().unwrap_or_default()
    }

    /// That all that was read of it so far was there.
    ///
    /// # Errors
    /// The file was cut short meanwhile.
    pub fn check_whole(&self) -> Result<()> {
        if self.watch.as_ref().is_some_and(Watch::is_torn) {
            return Err(Error::invalid(format!(
                "{} was cut short while it was read",
                self.path.display()
            )));
        }
        Ok(())
    }

    /// Its ELF headers.
    ///
    /// # Errors
    /// Not ELF, damaged or truncated; the message names the file.
    pub fn image(&self) -> Result<Image<'_>> {
        Image::parse(self.bytes())
            .and_then(|image| image.check_complete().map(|()| image))
            .and_then(|image| self.check_whole().map(|()| image))
            .context(|| self.path.display().to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// Whoever cuts a file short while it is read would end us.
    #[test]
    fn a_file_that_is_cut_short_reads_as_zeros() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&[7; 3 * 4096]).unwrap();
        let image = ImageFile::open(file.path()).unwrap();
        assert_eq!(image.bytes().len(), 3 * 4096);
        image.check_whole().unwrap();
        file.as_file().set_len(4096).unwrap();
        assert_eq!(image.bytes()[100], 7);
        image.check_whole().unwrap();
        assert_eq!(image.bytes()[2 * 4096 + 5], 0);
        assert!(image.check_whole().is_err());
        drop(image);
        let again = ImageFile::open(file.path()).unwrap();
        assert_eq!(again.bytes(), [7; 4096]);
        again.check_whole().unwrap();
    }
}
