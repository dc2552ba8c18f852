//! Puts a directory in its place in one step.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::{DirectoryErrorKind, Existing, MODEL_TOML};

/// Writes `files` to a directory beside `path` and gives it that name. Nothing is left behind on failure.
pub(super) fn write(
    path: &Path,
    files: &[(&str, &[u8])],
    existing: Existing,
) -> Result<(), DirectoryErrorKind> {
    check(path, existing)?;
    let failed = |what: &Path, error| DirectoryErrorKind::Io { what: what.display().to_string(), error };
    let new = beside(path, "new")?;
    // A name of our own in the message would only puzzle.
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir(&new).map_err(|error| failed(parent, error))?;
    let written = fill(&new, files).and_then(|()| swap(&new, path, existing));
    written.map_err(|(what, error)| {
        // The first error is the one to tell.
        let _ = fs::remove_dir_all(&new);
        failed(&what, error)
    })
}

fn check(path: &Path, existing: Existing) -> Result<(), DirectoryErrorKind> {
    if fs::symlink_metadata(path).is_err() {
        return Ok(());
    }
    match existing {
        Existing::Keep => Err(DirectoryErrorKind::Exists),
        Existing::Replace if path.join(MODEL_TOML).is_file() => Ok(()),
        Existing::Replace => Err(DirectoryErrorKind::NotAModel),
    }
}

/// A name beside `path` that no other process uses.
fn beside(path: &Path, what: &str) -> Result<PathBuf, DirectoryErrorKind> {
    let no_name =
        || io::Error::new(io::ErrorKind::InvalidInput, "the path does not end in a name for the model");
    let name = path
        .file_name()
        .ok_or_else(|| DirectoryErrorKind::Io { what: path.display().to_string(), error: no_name() })?;
    let mut hidden = OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{what}-{}", std::process::id()));
    Ok(path.with_file_name(hidden))
}

type Failure = (PathBuf, io::Error);

fn fill(directory: &Path, files: &[(&str, &[u8])]) -> Result<(), Failure> {
    for (name, bytes) in files {
        let path = directory.join(name);
        fs::File::create(&path)
            .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
            .map_err(|error| (path, error))?;
    }
    Ok(())
}

fn swap(new: &Path, path: &Path, existing: Existing) -> Result<(), Failure> {
    let at = |error| (path.to_owned(), error);
    if existing == Existing::Keep || fs::symlink_metadata(path).is_err() {
        return fs::rename(new, path).map_err(at);
    }
    let old = new.with_file_name(format!("{}-replaced", new.file_name().unwrap_or_default().display()));
    fs::rename(path, &old).map_err(at)?;
    if let Err(error) = fs::rename(new, path) {
        let _ = fs::rename(&old, path);
        return Err(at(error));
    }
    fs::remove_dir_all(&old).map_err(|error| (old, error))
}
