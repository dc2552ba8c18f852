//! Files that had the name before: where what was not read of them is.

use std::fs::Metadata;
use std::io::{ErrorKind, Result};
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};

use super::identity::{Identity, modified_ns};
use super::tail::{Kind, open};

/// Digits of a date: what stands between a name and its extension is a rotation only with so many.
const DATE_DIGITS: usize = 8;

/// Where a file is that was read before.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Where it was, or under another name.
    At(PathBuf, Kind),
    /// Nowhere: it was deleted, compressed or written anew.
    Lost,
}

/// Looks for the file that had the name `path` and of which `consumed` bytes were read.
pub(super) fn find(path: &Path, identity: &Identity, consumed: u64) -> Result<Found> {
    if is_there(path, identity, consumed, true)? {
        return Ok(Found::At(path.to_owned(), Kind::Named));
    }
    for entry in entries(path)? {
        if entry.ino() == identity.inode && is_there(&entry.path(), identity, consumed, true)? {
            return Ok(Found::At(entry.path(), Kind::Rotated));
        }
    }
    if is_there(path, identity, consumed, false)? {
        return Ok(Found::At(path.to_owned(), Kind::Named));
    }
    Ok(copy(path, identity, consumed)?.map_or(Found::Lost, |copy| Found::At(copy, Kind::Copy)))
}

/// A copy of the file that had the name `path`, as made before it is cut.
pub(super) fn copy(path: &Path, identity: &Identity, consumed: u64) -> Result<Option<PathBuf>> {
    for sibling in siblings(path)? {
        if is_there(&sibling, identity, consumed, false)? {
            return Ok(Some(sibling));
        }
    }
    Ok(None)
}

/// The file that had the name `path` next after the one that was `read` up to `consumed` and before the one that has
/// it now; none where there was none.
pub(super) fn successor(path: &Path, read: &Identity, consumed: u64) -> Result<Option<PathBuf>> {
    let current = found(std::fs::metadata(path))?;
    let mut first: Option<(i64, PathBuf)> = None;
    for sibling in siblings(path)? {
        let Some(file) = found(open(&sibling))? else { continue };
        let metadata = file.metadata()?;
        let is_current = current.as_ref().is_some_and(|current| is_same(current, &metadata));
        let is_copy = metadata.len() == consumed && read.begins(&file)?;
        let modified_ns = modified_ns(&metadata);
        // An empty one was cut as its copy was made, at the same time.
        let is_empty = metadata.len() == 0;
        if is_empty || is_current || is_copy || read.is_entry(&metadata) || modified_ns <= read.modified_ns {
            continue;
        }
        if first.as_ref().is_none_or(|(first_ns, _)| modified_ns < *first_ns) {
            first = Some((modified_ns, sibling));
        }
    }
    Ok(first.map(|(_, sibling)| sibling))
}

fn is_same(a: &Metadata, b: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

/// True if the file is at `path`, as the same entry or else as a copy.
fn is_there(path: &Path, identity: &Identity, consumed: u64, same_entry: bool) -> Result<bool> {
    let Some(file) = found(open(path))? else { return Ok(false) };
    let metadata = file.metadata()?;
    let may_be = match same_entry {
        true => identity.is_entry(&metadata),
        // An older file may begin alike, with the same header.
        false => {
            !identity.is_entry(&metadata)
                && identity.fingerprint_bytes > 0
                && modified_ns(&metadata) >= identity.modified_ns
        }
    };
    Ok(may_be && metadata.len() >= consumed && identity.begins(&file)?)
}

/// Files beside `path` whose names say that they had its name before.
fn siblings(path: &Path) -> Result<Vec<PathBuf>> {
    let Some(name) = path.file_name().map(|name| name.to_string_lossy().into_owned()) else {
        return Ok(Vec::new());
    };
    let named =
        entries(path)?.into_iter().filter(|entry| is_rotation(&name, &entry.file_name().to_string_lossy()));
    Ok(named.map(|entry| entry.path()).collect())
}

/// True for the name of what was called `name` before: `a.csv.1`, `a.csv-20261124`, `a-2026-11-24.csv`.
pub(super) fn is_rotation(name: &str, other: &str) -> bool {
    let is_mark = |text: &str| {
        text.starts_with(['.', '-', '_'])
            && text.contains(|c: char| c.is_ascii_digit())
            && text.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | '-' | '_' | ':' | 'T' | 'Z'))
    };
    if let Some(mark) = other.strip_prefix(name) {
        return is_mark(mark);
    }
    let Some((stem, extension)) = name.rsplit_once('.') else { return false };
    let mark = other
        .strip_suffix(extension)
        .and_then(|other| other.strip_suffix('.'))
        .and_then(|other| other.strip_prefix(stem));
    mark.is_some_and(|mark| is_mark(mark) && mark.chars().filter(char::is_ascii_digit).count() >= DATE_DIGITS)
}

fn entries(path: &Path) -> Result<Vec<std::fs::DirEntry>> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match found(std::fs::read_dir(folder))? {
        // What cannot be listed cannot be told from what is not there.
        Some(entries) => Ok(entries.filter_map(std::result::Result::ok).collect()),
        None => Ok(Vec::new()),
    }
}

/// None for what is not there, is no file or may not be read.
fn found<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::NotFound
                    | ErrorKind::PermissionDenied
                    | ErrorKind::NotADirectory
                    | ErrorKind::Other
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::{Duration, SystemTime};

    use super::*;

    #[test]
    fn names_of_rotations_are_known_and_those_of_other_files_are_not() {
        for other in [
            "a.csv.1",
            "a.csv.12",
            "a.csv-20261124",
            "a.csv.2026-11-24T10:00Z",
            "a.csv_1",
            "a-20261124.csv",
            "a.2026-11-24_10-00.csv",
        ] {
            assert!(is_rotation("a.csv", other), "{other}");
        }
        for other in [
            "a.csv",
            "a.csv.1.gz",
            "a.csv.old",
            "a.csv1",
            "a2.csv",
            "a-2.csv",
            "a-b.csv",
            "ab.csv",
            "b.csv.1",
            "a.csv.",
            "a.tsv",
        ] {
            assert!(!is_rotation("a.csv", other), "{other}");
        }
        assert!(is_rotation("samples", "samples.1"));
        assert!(!is_rotation("samples", "samples-a"));
    }

    struct Folder {
        folder: tempfile::TempDir,
        now: SystemTime,
    }

    impl Folder {
        fn new() -> Self {
            Self { folder: tempfile::tempdir().unwrap(), now: SystemTime::now() - Duration::from_secs(1000) }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.folder.path().join(name)
        }

        /// Writes a file a second later than the one before.
        fn write(&mut self, name: &str, text: &str) {
            self.now += Duration::from_secs(1);
            std::fs::write(self.path(name), text).unwrap();
            File::options().append(true).open(self.path(name)).unwrap().set_modified(self.now).unwrap();
        }

        fn rename(&self, from: &str, to: &str) {
            std::fs::rename(self.path(from), self.path(to)).unwrap();
        }

        fn identity(&self, name: &str) -> Identity {
            let file = File::open(self.path(name)).unwrap();
            Identity::of(&file, &file.metadata().unwrap()).unwrap()
        }

        fn find(&self, identity: &Identity, consumed: u64) -> Option<(String, Kind)> {
            match find(&self.path("a.csv"), identity, consumed).unwrap() {
                Found::At(path, kind) => Some((path.file_name()?.to_str()?.to_owned(), kind)),
                Found::Lost => None,
            }
        }

        fn successor(&self, identity: &Identity, consumed: u64) -> Option<String> {
            let path = successor(&self.path("a.csv"), identity, consumed).unwrap()?;
            Some(path.file_name()?.to_str()?.to_owned())
        }
    }

    #[test]
    fn a_file_is_found_under_its_name_its_next_one_or_as_a_copy() {
        let mut folder = Folder::new();
        folder.write("a.csv.1", "v\n0\n");
        folder.write("a.csv", "v\n1\n2\n");
        let identity = folder.identity("a.csv");
        let named = |name: &str, kind| Some((name.to_owned(), kind));
        assert_eq!(folder.find(&identity, 6), named("a.csv", Kind::Named));
        folder.rename("a.csv", "anything at all");
        assert_eq!(folder.find(&identity, 6), named("anything at all", Kind::Rotated));
        folder.write("a.csv", "v\n3\n");
        assert_eq!(folder.find(&identity, 6), named("anything at all", Kind::Rotated));
        assert_eq!(folder.find(&identity, 7), None, "it was longer");
        folder.write("a.csv.2", "v\n1\n2\n");
        std::fs::remove_file(folder.path("anything at all")).unwrap();
        assert_eq!(folder.find(&identity, 4), named("a.csv.2", Kind::Copy));
        std::fs::remove_file(folder.path("a.csv.2")).unwrap();
        assert_eq!(folder.find(&identity, 4), None);
    }

    #[test]
    fn an_older_file_with_the_same_header_is_no_copy() {
        let mut folder = Folder::new();
        folder.write("a.csv.1", "v\n0\n");
        folder.write("a.csv", "v\n");
        let identity = folder.identity("a.csv");
        std::fs::remove_file(folder.path("a.csv")).unwrap();
        assert_eq!(folder.find(&identity, 2), None);
    }

    #[test]
    fn what_had_the_name_in_between_comes_in_the_order_in_which_it_was_written() {
        let mut folder = Folder::new();
        folder.write("a.csv.4", "v\n0\n");
        folder.write("a.csv.3", "v\n1\n");
        folder.write("a.csv.2", "v\n2\n");
        folder.write("b.csv.1", "v\n9\n");
        folder.write("a.csv.1", "v\n3\n");
        folder.write("a.csv", "v\n4\n");
        let third = folder.identity("a.csv.3");
        assert_eq!(folder.successor(&third, 4).as_deref(), Some("a.csv.2"));
        let second = folder.identity("a.csv.2");
        assert_eq!(folder.successor(&second, 4).as_deref(), Some("a.csv.1"));
        let first = folder.identity("a.csv.1");
        assert_eq!(folder.successor(&first, 4), None, "the next one has the name");
        folder.write("a.csv.0", "v\n3\n");
        assert_eq!(folder.successor(&first, 4), None, "a copy of what was read");
    }
}
