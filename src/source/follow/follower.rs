//! One path that is followed, over all the files that have had it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::identity::Identity;
use super::rotation::{self, Found};
use super::streams::Streams;
use super::tail::{Kind, MAX_LINE_BYTES, READ_BYTES, Tail, last_whole};
use super::{Shared, Start};
use crate::signal::{Origin, OriginIndex};
use crate::source::{OpenOrigin, SourceError, SourceEvent};

/// A file that lost its name is read until nothing has come for so long.
const GRACE: Duration = Duration::from_secs(1);

/// Follows one path.
pub(super) struct Follower {
    path: PathBuf,
    /// The path as text, which names the origin.
    name: Arc<str>,
    tail: Option<Tail>,
    /// Where it goes on while no file is open.
    place: Place,
    /// Since when the file that is read does not have the path any more.
    leaving: Option<Instant>,
    /// Until the origin is open: the state of its streams.
    windows: Vec<Vec<u8>>,
    origin: Option<OriginIndex>,
    streams: Streams,
    trouble: Option<String>,
}

/// Where a path is taken up.
enum Place {
    /// Nothing was ever read of it.
    New(Start),
    /// In a file that was read before, wherever that is now.
    In { identity: Identity, base: i64, next: i64 },
    /// At the beginning of the next file, the one before having been read to its end.
    Behind(i64),
}

/// Why there is nothing to read.
pub(super) enum Failure {
    /// It is tried again.
    Io(std::io::Error),
    /// The source cannot go on.
    Source(SourceError),
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Self {
        Self::Source(error)
    }
}

/// What a look at a path brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Looked {
    /// Nothing that is new.
    Nothing,
    /// Something, and there may be more.
    Some,
    /// As much as is read at a time.
    Much,
}

impl Follower {
    /// Goes on with the path where it was left, or begins at `start`. Its streams are named after `stream_name`; those
    /// with keys of their own have that name before them where `many` paths are followed.
    pub(super) fn new(path: PathBuf, stream_name: String, many: bool, start: Start, shared: &Shared) -> Self {
        let name: Arc<str> = path.display().to_string().into();
        let kept = shared.store.entry(&name);
        let mut streams = Streams::new(Arc::clone(&name), stream_name, many);
        let (mut place, mut windows) = (Place::New(start), Vec::new());
        if let Some(entry) = kept {
            place = Place::In { identity: entry.identity, base: entry.base, next: entry.next };
            streams.restore(entry.windows.keys().cloned(), entry.behind_gap);
            windows = entry.windows.into_values().collect();
        }
        Self { path, name, tail: None, place, leaving: None, windows, origin: None, streams, trouble: None }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn origin(&self) -> Option<OriginIndex> {
        self.origin
    }

    /// Why nothing can be read, where that is so.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// True if a file is being read.
    pub(super) fn is_open(&self) -> bool {
        self.tail.is_some()
    }

    /// Bytes behind the position.
    pub(super) fn lag(&self) -> u64 {
        let Some(tail) = &self.tail else { return 0 };
        let length = || std::fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
        let is_current = tail.kind() == Kind::Named && self.leaving.is_none();
        tail.lag() + if is_current { 0 } else { length() }
    }

    /// Reads what has come; the events go to `shared`.
    ///
    /// # Errors
    /// The source cannot go on. What the file system refuses is a [`Follower::trouble`].
    pub(super) fn look(&mut self, shared: &mut Shared, now: Instant) -> Result<Looked, SourceError> {
        let looked = match self.tail.take() {
            Some(tail) => self.read(tail, shared, now),
            None => self.open(shared).map(|()| Looked::Some),
        };
        match looked {
            Ok(looked) => {
                if looked != Looked::Nothing {
                    self.trouble = None;
                }
                Ok(looked)
            }
            Err(Failure::Source(error)) => Err(error),
            Err(Failure::Io(error)) => {
                self.trouble = Some(match error.kind() {
                    ErrorKind::NotFound => format!("{} is not there; waiting for it", self.name),
                    _ => format!("{}: {error}; trying again", self.name),
                });
                Ok(Looked::Nothing)
            }
        }
    }

    /// Opens the file that the place is in.
    fn open(&mut self, shared: &mut Shared) -> Result<(), Failure> {
        let unit = shared.parser.unit();
        let tail = match self.place {
            Place::New(start) => {
                let consumed = match start {
                    Start::Beginning => 0,
                    Start::End => last_whole(&self.path, unit)?,
                };
                let tail = Tail::open(&self.path, Kind::Named, unit, 0, consumed)?;
                shared.store.begin(&self.name, *tail.identity(), tail.end())?;
                tracing::info!(file = %self.name, byte = consumed, "followed from here on");
                tail
            }
            Place::Behind(next) => Tail::open(&self.path, Kind::Named, unit, next, 0)?,
            Place::In { identity, base, next } => {
                let consumed = u64::try_from(next.saturating_sub(base)).unwrap_or(0);
                match rotation::find(&self.path, &identity, consumed)? {
                    Found::At(path, kind) => {
                        let tail = Tail::open(&path, kind, unit, base, consumed)?;
                        let place = path.display();
                        match kind {
                            Kind::Named => {
                                tracing::info!(file = %place, byte = consumed, "followed from where it was left")
                            }
                            Kind::Rotated | Kind::Copy => {
                                tracing::info!(file = %self.name, byte = consumed, "rotated meanwhile: its rest is read from {place}");
                            }
                        }
                        tail
                    }
                    Found::Lost => {
                        let tail = Tail::open(&self.path, Kind::Named, unit, next, 0)?;
                        tracing::warn!(
                            file = %self.name,
                            byte = consumed,
                            "the file that was read is gone, or another has its name, and its rest is in no file beside it; \
                             what stood behind this byte is lost, and the file is read from its beginning"
                        );
                        shared.telemetry.file_rest_lost();
                        self.streams.gap(&shared.store, next);
                        tail
                    }
                }
            }
        };
        if self.origin.is_none() {
            let index = shared.next_origin();
            self.origin = Some(index);
            shared.ready.push_back(SourceEvent::Open(OpenOrigin {
                index,
                origin: Origin::File { path: Arc::clone(&self.name) },
                next: tail.end(),
                note: None,
                windows: std::mem::take(&mut self.windows),
                after_gap: false,
            }));
        }
        self.begin(tail, shared);
        Ok(())
    }

    /// Positions from the beginning of `tail` on are in it.
    fn begin(&mut self, tail: Tail, shared: &Shared) {
        shared.store.file(&self.name, tail.base(), *tail.identity());
        self.leaving = None;
        self.leave_at(&tail);
        self.tail = Some(tail);
    }

    /// Where the path is taken up should `tail` be lost from sight.
    fn leave_at(&mut self, tail: &Tail) {
        let next = tail.position(tail.consumed());
        self.place = Place::In { identity: *tail.identity(), base: tail.base(), next };
    }

    fn read(&mut self, mut tail: Tail, shared: &mut Shared, now: Instant) -> Result<Looked, Failure> {
        let known = *tail.identity();
        if !tail.is_intact()? {
            return self.cut(tail, shared).map(|()| Looked::Some);
        }
        if *tail.identity() != known {
            shared.store.refresh(&self.name, *tail.identity());
        }
        let Some(block) = tail.next_block()? else { return self.at_end(tail, shared, now) };
        self.leaving = None;
        self.streams.take(&block, &mut tail, self.origin.unwrap_or_default(), shared)?;
        self.leave_at(&tail);
        self.tail = Some(tail);
        Ok(if block.end - block.start >= READ_BYTES as u64 / 2 { Looked::Much } else { Looked::Some })
    }

    /// Everything has been read: the file may have lost its name.
    fn at_end(&mut self, tail: Tail, shared: &mut Shared, now: Instant) -> Result<Looked, Failure> {
        let current = match std::fs::metadata(&self.path) {
            Ok(current) if tail.identity().is_entry(&current) => {
                self.leaving = None;
                self.trouble = (tail.unfinished() >= MAX_LINE_BYTES as u64).then(|| {
                    let (bytes, from) = (tail.unfinished(), tail.consumed());
                    format!(
                        "{}: no line ends within the {bytes} bytes from byte {from} on: is it text?",
                        self.name
                    )
                });
                self.tail = Some(tail);
                return Ok(Looked::Nothing);
            }
            Ok(current) => Some(current),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => {
                self.tail = Some(tail);
                return Err(error.into());
            }
        };
        let waited = now.saturating_duration_since(*self.leaving.get_or_insert(now)) >= GRACE;
        let is_quiet = match tail.kind() {
            Kind::Copy => true,
            Kind::Named => waited,
            // Its name was lost before it was looked for: the time of its last write tells how long it has been quiet.
            Kind::Rotated => waited || is_older(&tail, GRACE),
        };
        match current {
            // As long as there is nothing in the new file, the old one may still be the one that is written.
            Some(current) if is_quiet && (current.len() > 0 || tail.kind() != Kind::Named) => {
                self.go_on(tail, shared)?;
                return Ok(Looked::Some);
            }
            Some(_) => {}
            None if waited && tail.is_deleted()? => {
                self.finish(&tail, shared);
                self.place = Place::Behind(tail.end());
                return Ok(Looked::Nothing);
            }
            None if waited => self.trouble = Some(format!("{} is not there; waiting for it", self.name)),
            None => {}
        }
        self.tail = Some(tail);
        Ok(Looked::Nothing)
    }

    /// Goes on behind a file that was read to its end.
    fn go_on(&mut self, tail: Tail, shared: &mut Shared) -> Result<(), Failure> {
        let end = tail.consumed() + tail.unfinished();
        let successor = rotation::successor(&self.path, tail.identity(), end)?;
        let (path, kind) = match successor {
            Some(path) => (path, Kind::Rotated),
            None => (self.path.clone(), Kind::Named),
        };
        let next = match Tail::open(&path, kind, shared.parser.unit(), tail.end(), 0) {
            Ok(next) => next,
            // It is looked for again.
            Err(error) => {
                self.tail = Some(tail);
                return Err(error.into());
            }
        };
        self.finish(&tail, shared);
        if tail.kind() != Kind::Copy {
            shared.telemetry.file_rotation();
            tracing::info!(file = %self.name, "rotated: read to its end; going on with {}", path.display());
        }
        self.begin(next, shared);
        Ok(())
    }

    /// What was read is no longer there. A copy that was made before may have what had not been read.
    fn cut(&mut self, tail: Tail, shared: &mut Shared) -> Result<(), Failure> {
        shared.telemetry.file_truncation();
        let unit = shared.parser.unit();
        if let Some(copy) = rotation::copy(&self.path, tail.identity(), tail.consumed())? {
            tracing::info!(file = %self.name, "truncated: its rest is read from {}", copy.display());
            let rest = Tail::open(&copy, Kind::Copy, unit, tail.base(), tail.consumed())?;
            self.begin(rest, shared);
            return Ok(());
        }
        tracing::warn!(
            file = %self.name,
            byte = tail.consumed(),
            "truncated, or written anew: it is read from its beginning; what was written behind this byte and had not been \
             read is lost"
        );
        self.finish(&tail, shared);
        self.streams.gap(&shared.store, tail.end());
        self.place = Place::Behind(tail.end());
        self.open(shared)
    }

    /// A file is left: what is unfinished in it stays so.
    fn finish(&mut self, tail: &Tail, shared: &mut Shared) {
        if tail.unfinished() > 0 {
            self.streams.unfinished(tail, self.origin.unwrap_or_default(), shared);
        }
    }
}

fn is_older(tail: &Tail, age: Duration) -> bool {
    let modified = tail.metadata().and_then(|metadata| metadata.modified());
    modified.is_ok_and(|modified| modified.elapsed().is_ok_and(|elapsed| elapsed >= age))
}
