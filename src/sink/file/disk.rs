//! Files and folders on disk.

use std::fs::{File, TryLockError};
use std::io;
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
pub(super) fn partial_of(path: &Path) -> PathBuf {
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
