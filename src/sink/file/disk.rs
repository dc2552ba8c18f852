//! Files and folders on disk.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::sink::SinkError;

/// Bytes of packets that are gathered before the system gets them.
pub(super) const BUFFER_BYTES: usize = 1 << 16;

/// What a file is called until it is whole.
pub(super) const PARTIAL: &str = ".partial";

pub(super) fn create_error(path: &Path, source: io::Error) -> SinkError {
    SinkError::Create { path: path.to_owned(), source }
}

pub(super) fn write_error(path: &Path, source: io::Error) -> SinkError {
    SinkError::Write { path: path.to_owned(), source }
}

/// The name of `path` while it grows.
pub(crate) fn partial_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(PARTIAL);
    name.into()
}

/// The folder of a file.
pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Keeps the file from others as long as it is open.
pub(super) fn lock(file: &File, path: &Path) -> Result<(), SinkError> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(SinkError::Unavailable(format!(
            "{}: another process writes it; give each process a path of its own, such as one with ${{HOSTNAME}}",
            path.display()
        ))),
        // Some file systems have no locks.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(()),
    }
}

/// Has the names in a folder outlast a loss of power.
pub(super) fn sync_folder(folder: &Path) -> Result<(), SinkError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| write_error(folder, error))
}

/// Creates a file that no other process writes, or empties one that is left over.
fn create_locked(path: &Path) -> Result<File, SinkError> {
    let error = |source| create_error(path, source);
    loop {
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path).map_err(error)?;
        lock(&file, path)?;
        // Whoever had the lock may have given the file its name meanwhile.
        let (own, there) = (file.metadata().map_err(error)?, std::fs::metadata(path));
        if there.is_ok_and(|there| (there.dev(), there.ino()) == (own.dev(), own.ino())) {
            file.set_len(0).map_err(error)?;
            return Ok(file);
        }
    }
}

/// A file that is not whole yet; removed unless it gets its name.
pub(crate) struct Partial {
    path: PathBuf,
    whole: bool,
}

impl Partial {
    /// Creates what will be the file `path`. What is no regular file is written in place.
    ///
    /// # Errors
    /// [`SinkError::Create`] where that is not possible, [`SinkError::Unavailable`] where another process does it.
    pub(crate) fn create(path: &Path) -> Result<(Option<Self>, File), SinkError> {
        if path.metadata().is_ok_and(|metadata| !metadata.is_file()) {
            return Ok((None, File::create(path).map_err(|source| create_error(path, source))?));
        }
        let path = partial_of(path);
        let file = create_locked(&path)?;
        Ok((Some(Self { path, whole: false }), file))
    }

    /// Gives the file its name.
    pub(crate) fn rename(mut self, path: &Path) -> io::Result<()> {
        std::fs::rename(&self.path, path)?;
        self.whole = true;
        Ok(())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.whole {
            // Nothing to tell anyone here: the error that left the file in parts has been reported.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
