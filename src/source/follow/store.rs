//! The state file of a pipeline: how far it has read the files that it follows, and their open windows.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::identity::Identity;
use super::state::{self, Entries, Entry};
use crate::signal::{Checkpoint, Origin, OriginCheckpoint};
use crate::source::{Committer, SourceError};

/// What a pipeline keeps of the files that it follows, this process's alone as long as the value lives.
pub(crate) struct Store {
    path: PathBuf,
    /// As the file has them.
    entries: Mutex<Entries>,
    /// What the source has come past and may not be committed yet.
    tracks: Mutex<HashMap<String, Track>>,
    /// The kernel frees the lock with the process, however that ends.
    _lock: File,
}

/// What tells, for a position, which file it is in and which streams stand behind a gap there.
#[derive(Debug, Default)]
struct Track {
    /// Files by the positions of their first bytes.
    files: VecDeque<(i64, Identity)>,
    gaps: Vec<Gap>,
}

/// Something is missing in a stream.
#[derive(Debug)]
struct Gap {
    stream: String,
    /// The position behind what is missing.
    opened: i64,
    /// The position behind the first sample after it, once that has come.
    closed: Option<i64>,
}

impl Store {
    /// Opens the state file at `path`, or begins without one.
    ///
    /// # Errors
    /// [`SourceError::Refused`] where another process uses it or it is damaged, [`SourceError::Unavailable`] where it
    /// cannot be read.
    pub(crate) fn open(path: &Path) -> Result<Arc<Self>, SourceError> {
        let lock = lock(path)?;
        let entries = match std::fs::read(path) {
            Ok(bytes) => state::decode(&bytes).map_err(|error| {
                SourceError::Refused(format!(
                    "{}: {error}; restore it from a backup, or move it away to read the followed files from their \
                     beginning (a sink of type \"file\" leaves out frames that it has)",
                    path.display()
                ))
            })?,
            Err(error) if error.kind() == ErrorKind::NotFound => Entries::new(),
            Err(error) => return Err(unavailable(path, "cannot be read", &error)),
        };
        let tracks = entries.iter().map(|(name, entry)| {
            let gap = |stream: &String| Gap { stream: stream.clone(), opened: i64::MIN, closed: None };
            let gaps = entry.behind_gap.iter().map(gap).collect();
            (name.clone(), Track { files: VecDeque::from([(entry.base, entry.identity)]), gaps })
        });
        let tracks = Mutex::new(tracks.collect());
        Ok(Arc::new(Self { path: path.to_owned(), entries: Mutex::new(entries), tracks, _lock: lock }))
    }

    /// What was kept of a file.
    pub(super) fn entry(&self, name: &str) -> Option<Entry> {
        self.entries().get(name).cloned()
    }

    /// Keeps where a file is read from that nothing was kept of.
    pub(super) fn begin(&self, name: &str, identity: Identity, next: i64) -> Result<(), SourceError> {
        self.file(name, 0, identity);
        let mut entries = self.entries();
        let entry =
            Entry { identity, base: 0, next, behind_gap: BTreeSet::new(), windows: Default::default() };
        entries.insert(name.to_owned(), entry);
        self.write(&entries)
    }

    /// Positions from `base` on are in another file.
    pub(super) fn file(&self, name: &str, base: i64, identity: Identity) {
        let mut tracks = self.tracks();
        let track = tracks.entry(name.to_owned()).or_default();
        track.files.retain(|(other, _)| *other != base);
        track.files.push_back((base, identity));
    }

    /// More is known of the file that positions are in last.
    pub(super) fn refresh(&self, name: &str, identity: Identity) {
        let mut tracks = self.tracks();
        if let Some((_, known)) = tracks.get_mut(name).and_then(|track| track.files.back_mut()) {
            *known = identity;
        }
    }

    /// Samples of a stream are missing before `position`.
    pub(super) fn gap(&self, name: &str, stream: &str, position: i64) {
        let mut tracks = self.tracks();
        let track = tracks.entry(name.to_owned()).or_default();
        track.gaps.push(Gap { stream: stream.to_owned(), opened: position, closed: None });
    }

    /// A stream goes on behind its gap, with samples that end before `position`.
    pub(super) fn close_gap(&self, name: &str, stream: &str, position: i64) {
        let mut tracks = self.tracks();
        let gaps = tracks.get_mut(name).into_iter().flat_map(|track| &mut track.gaps);
        gaps.filter(|gap| gap.stream == stream && gap.closed.is_none())
            .for_each(|gap| gap.closed = Some(position));
    }

    fn commit(&self, checkpoint: &Checkpoint) -> Result<(), SourceError> {
        let mut entries = self.entries();
        let mut moved = false;
        for origin in &checkpoint.origins {
            if let Origin::File { path } = &origin.origin {
                moved |= self.merge(&mut entries, path, origin);
            }
        }
        if moved { self.write(&entries) } else { Ok(()) }
    }

    /// Merges how far an origin has come; false for one that was never begun.
    fn merge(&self, entries: &mut Entries, name: &str, checkpoint: &OriginCheckpoint) -> bool {
        let mut tracks = self.tracks();
        let (Some(track), Some(entry)) = (tracks.get_mut(name), entries.get_mut(name)) else { return false };
        let next = checkpoint.next;
        // Whatever stands before the last file that begins here is done with.
        let reached = track.files.iter().rposition(|(base, _)| *base <= next).unwrap_or(0);
        track.files.drain(..reached);
        if let Some((base, identity)) = track.files.front() {
            (entry.base, entry.identity) = (*base, *identity);
        }
        track.gaps.retain(|gap| gap.closed.is_none_or(|closed| closed > next));
        entry.next = next;
        let open = track.gaps.iter().filter(|gap| gap.opened <= next);
        entry.behind_gap = open.map(|gap| gap.stream.clone()).collect();
        for (key, window) in &checkpoint.windows {
            entry.windows.insert(key.to_string(), window.clone());
        }
        true
    }

    /// Has the whole of the new state on the disk before the old one goes.
    fn write(&self, entries: &Entries) -> Result<(), SourceError> {
        let bytes = state::encode(entries).map_err(|error| SourceError::Internal(error.to_string()))?;
        let new = beside(&self.path, "new");
        let written = File::create(&new)
            .and_then(|mut file| {
                file.write_all(&bytes)?;
                file.sync_all()
            })
            .and_then(|()| std::fs::rename(&new, &self.path))
            // The name is in the folder.
            .and_then(|()| File::open(folder(&self.path))?.sync_all());
        written.map_err(|error| unavailable(&self.path, "cannot be written", &error))
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tracks(&self) -> MutexGuard<'_, HashMap<String, Track>> {
        self.tracks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Commits checkpoints to the state file.
pub(crate) struct StateCommitter(pub(crate) Arc<Store>);

impl Committer for StateCommitter {
    fn commit(&mut self, checkpoint: &Checkpoint) -> Result<(), SourceError> {
        self.0.commit(checkpoint)
    }
}

fn lock(path: &Path) -> Result<File, SourceError> {
    let place = beside(path, "lock");
    let cannot = |error| unavailable(&place, "cannot be locked", &error);
    std::fs::create_dir_all(folder(path)).map_err(cannot)?;
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&place).map_err(cannot)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::Error(error)) => Err(cannot(error)),
        Err(TryLockError::WouldBlock) => Err(SourceError::Refused(format!(
            "{}: another process uses this state: is the pipeline running already? Two pipelines need \
             delivery.state_path of their own",
            path.display()
        ))),
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    name.into()
}

fn unavailable(path: &Path, what: &str, error: &std::io::Error) -> SourceError {
    SourceError::Unavailable(format!("{}: {what}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::StreamKey;

    const NAME: &str = "a.csv";

    fn identity(inode: u64) -> Identity {
        Identity { device: 1, inode, modified_ns: 0, fingerprint_bytes: 4, crc: 5 }
    }

    fn checkpoint(next: i64, windows: &[(&str, u8)]) -> Checkpoint {
        let window = |(key, byte): &(&str, u8)| (StreamKey::new(*key), vec![*byte]);
        let origin = OriginCheckpoint {
            origin: Origin::File { path: NAME.into() },
            next,
            note: None,
            windows: windows.iter().map(window).collect(),
        };
        Checkpoint { origins: vec![origin], closed: Vec::new() }
    }

    struct Case {
        _folder: tempfile::TempDir,
        path: PathBuf,
    }

    impl Case {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("state/p.state");
            Self { _folder: folder, path }
        }

        fn store(&self) -> Arc<Store> {
            Store::open(&self.path).unwrap()
        }

        fn kept(&self) -> Entry {
            self.store().entry(NAME).unwrap()
        }

        #[track_caller]
        fn refusal(&self) -> String {
            match Store::open(&self.path) {
                Err(SourceError::Refused(reason)) => reason,
                Err(error) => panic!("{error:?}"),
                Ok(_) => panic!("it opens"),
            }
        }
    }

    #[test]
    fn a_position_is_kept_with_the_file_that_it_is_in() {
        let case = Case::new();
        let store = case.store();
        store.begin(NAME, identity(1), 0).unwrap();
        store.file(NAME, 100, identity(2));
        store.file(NAME, 150, identity(3));
        for (next, base, inode) in [(99, 0, 1), (100, 100, 2), (149, 100, 2), (150, 150, 3), (170, 150, 3)] {
            store.commit(&checkpoint(next, &[])).unwrap();
            let entry = store.entry(NAME).unwrap();
            assert_eq!((entry.next, entry.base, entry.identity.inode), (next, base, inode));
        }
        store.refresh(NAME, Identity { crc: 9, ..identity(3) });
        store.commit(&checkpoint(171, &[])).unwrap();
        drop(store);
        let kept = case.kept();
        assert_eq!((kept.identity.crc, kept.base, kept.next), (9, 150, 171));
    }

    #[test]
    fn windows_are_merged_and_survive() {
        let case = Case::new();
        let store = case.store();
        store.begin(NAME, identity(1), 7).unwrap();
        assert_eq!(store.entry(NAME).unwrap().next, 7);
        store.commit(&checkpoint(10, &[("a", 1), ("b", 2)])).unwrap();
        store.commit(&checkpoint(20, &[("b", 3)])).unwrap();
        drop(store);
        let windows = case.kept().windows;
        assert_eq!(windows.into_iter().collect::<Vec<_>>(), [("a".into(), vec![1]), ("b".into(), vec![3])]);
    }

    #[test]
    fn a_gap_is_kept_until_what_follows_it_is() {
        let case = Case::new();
        let mut store = case.store();
        store.begin(NAME, identity(1), 0).unwrap();
        store.gap(NAME, "a", 10);
        store.gap(NAME, "b", 10);
        store.close_gap(NAME, "a", 30);
        for (next, behind_gap) in [(9, vec![]), (10, vec!["a", "b"]), (29, vec!["a", "b"]), (30, vec!["b"])] {
            store.commit(&checkpoint(next, &[])).unwrap();
            drop(store);
            assert_eq!(case.kept().behind_gap.into_iter().collect::<Vec<_>>(), behind_gap, "{next}");
            // What only the process knew is told again by what it reads again.
            store = case.store();
            if next < 30 {
                store.gap(NAME, "a", 10);
                store.gap(NAME, "b", 10);
                store.close_gap(NAME, "a", 30);
            }
        }
        store.close_gap(NAME, "b", 40);
        store.commit(&checkpoint(41, &[])).unwrap();
        assert_eq!(store.entry(NAME).unwrap().behind_gap, BTreeSet::new());
    }

    #[test]
    fn a_second_process_is_refused_until_the_first_is_gone() {
        let case = Case::new();
        let store = case.store();
        assert!(case.refusal().contains("p.state: another process uses this state"), "{}", case.refusal());
        drop(store);
        case.store();
    }

    #[test]
    fn a_damaged_state_is_refused_and_a_torn_write_leaves_the_old_one() {
        let case = Case::new();
        case.store().begin(NAME, identity(1), 7).unwrap();
        let whole = std::fs::read(&case.path).unwrap();
        std::fs::write(beside(&case.path, "new"), &whole[..9]).unwrap();
        assert_eq!(case.kept().next, 7);
        std::fs::write(&case.path, &whole[..whole.len() - 1]).unwrap();
        let refusal = case.refusal();
        assert!(refusal.contains("p.state: is damaged: its checksum is wrong; restore it"), "{refusal}");
    }

    #[test]
    fn a_state_that_cannot_be_written_is_said_and_stays() {
        let case = Case::new();
        let store = case.store();
        store.begin(NAME, identity(1), 7).unwrap();
        std::fs::create_dir(beside(&case.path, "new")).unwrap();
        let error = store.commit(&checkpoint(9, &[])).unwrap_err();
        assert!(
            matches!(&error, SourceError::Unavailable(reason) if reason.contains("cannot be written")),
            "{error}"
        );
        drop(store);
        assert_eq!(case.kept().next, 7);
    }
}
