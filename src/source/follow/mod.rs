//! Files that are followed while they grow, over their rotations.
//!
//! Each path is an origin of its own. Its positions only grow: that of a byte is its place in its file plus the bytes
//! of all files that had the path before. Whole lines or rows are read, and what is being written waits for its end.
//!
//! - A file that was renamed is read to its end first; then the one that has the name by now.
//! - Of a file that was cut or written anew, the rest is read from a copy beside it, where there is one.
//! - What was read is kept in a state file with open windows, so that the next start goes on there, even if
//!   the file has another name by then.

mod follower;
mod identity;
mod names;
mod records;
mod rotation;
mod state;
mod store;
mod streams;
mod tail;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

pub(crate) use names::is_pattern;
pub(crate) use store::{StateCommitter, Store};

use follower::{Follower, Looked};
use records::Parser;

use super::decoding::DecodingOptions;
use super::{CloseOrigins, Source, SourceError, SourceEvent};
use crate::signal::OriginIndex;
use crate::telemetry::{Health, PipelineTelemetry};

/// How often files are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often a pattern is matched anew, and the distance to the ends of the files taken.
const SURVEY_EVERY: Duration = Duration::from_secs(1);
/// Files of a pattern that are read at a time: each takes one of the process's open files, of which 1024 are usual.
const MAX_FILES: usize = 512;
/// How long the pipeline may take to commit what was read before it ends.
const CLOSE_WITHIN: Duration = Duration::from_secs(60);

/// Where a file is read from that nothing was read of yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// From its first byte on.
    #[default]
    Beginning,
    /// From what is written next on. A file that comes later is read from its beginning.
    End,
}

/// What the source follows, and how.
#[derive(Clone, Debug)]
pub(crate) struct FollowOptions {
    /// A file, or a pattern that matches files.
    pub(crate) path: PathBuf,
    /// How lines or rows become samples.
    pub(crate) decoding: DecodingOptions,
    /// Where a file is read from that nothing was read of yet.
    pub(crate) start: Start,
    /// Streams that there is room for.
    pub(crate) max_streams: usize,
}

/// What the followers of a source share.
struct Shared {
    store: Arc<Store>,
    telemetry: Arc<PipelineTelemetry>,
    parser: Parser,
    ready: VecDeque<SourceEvent>,
    opened: OriginIndex,
    /// Streams that were announced, of all origins.
    streams: usize,
    max_streams: usize,
}

impl Shared {
    fn next_origin(&mut self) -> OriginIndex {
        self.opened += 1;
        self.opened - 1
    }
}

/// Reads files as they grow.
pub(crate) struct FollowSource {
    path: PathBuf,
    start: Start,
    followers: Vec<Follower>,
    /// The follower that is looked at next.
    turn: usize,
    /// True if this round has brought as much as is read at a time.
    much: bool,
    /// When the next round begins.
    due: Instant,
    surveyed: Option<Instant>,
    /// True if there are more files than are read.
    crowded: bool,
    shared: Shared,
    phase: Phase,
}

enum Phase {
    Reading,
    /// Waiting for the last commit.
    Stopping {
        done: Receiver<()>,
        since: Instant,
    },
    Stopped,
}

impl FollowSource {
    /// Follows what `options` name, from where `store` has it.
    pub(crate) fn new(options: FollowOptions, store: Arc<Store>, telemetry: Arc<PipelineTelemetry>) -> Self {
        let FollowOptions { path, decoding, start, max_streams } = options;
        Self {
            path,
            start,
            followers: Vec::new(),
            turn: 0,
            much: false,
            due: Instant::now(),
            surveyed: None,
            crowded: false,
            shared: Shared {
                store,
                telemetry,
                parser: Parser::new(decoding),
                ready: VecDeque::new(),
                opened: 0,
                streams: 0,
                max_streams,
            },
            phase: Phase::Reading,
        }
    }

    /// Finds files that are new, and tells how far behind the others are.
    fn survey(&mut self, now: Instant) {
        let is_first = self.surveyed.replace(now).is_none();
        // Only what is there at the very beginning may be left out.
        let start = if is_first { self.start } else { Start::Beginning };
        if is_pattern(&self.path) {
            self.crowded = false;
            for file in names::matches(&self.path) {
                if self.followers.iter().any(|follower| follower.path() == file) || self.is_rotation(&file) {
                    continue;
                }
                if self.followers.iter().filter(|follower| follower.is_open()).count() >= MAX_FILES {
                    self.crowded = true;
                    break;
                }
                let name = names::stream_name(&self.path, &file);
                self.followers.push(Follower::new(file, name, true, start, &self.shared));
            }
        } else if is_first {
            // One that is not there yet has nothing to leave out.
            let start = if self.path.exists() { start } else { Start::Beginning };
            let name = names::stream_name(&self.path, &self.path);
            self.followers.push(Follower::new(self.path.clone(), name, false, start, &self.shared));
        }
        let lag = self.followers.iter().map(Follower::lag).sum();
        self.shared.telemetry.file_lag(lag);
    }

    /// True for a file that had the name of another one that is followed, and is read as part of it.
    fn is_rotation(&self, file: &Path) -> bool {
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut paths = self.followers.iter().map(Follower::path);
        paths.any(|path| path.parent() == file.parent() && rotation::is_rotation(&name(path), &name(file)))
    }

    fn tell_health(&self) {
        let troubles: Vec<_> = self.followers.iter().filter_map(Follower::trouble).collect();
        let health = match troubles.as_slice() {
            [] if self.followers.is_empty() => {
                Health::Degraded(format!("{} matches no file; waiting for one", self.path.display()))
            }
            [] if self.crowded => Health::Degraded(format!(
                "{} matches more than {MAX_FILES} files, and no more than that are read: narrow it, or give several \
                 pipelines a part each",
                self.path.display()
            )),
            [] => Health::Ok,
            [only] => Health::Degraded((*only).to_owned()),
            [first, others @ ..] => Health::Degraded(format!("{first}; {} other files, too", others.len())),
        };
        self.shared.telemetry.health("source", health);
    }

    /// Looks at the files in turn until one has something; false once all have been looked at.
    fn look(&mut self, now: Instant) -> Result<bool, SourceError> {
        while let Some(follower) = self.followers.get_mut(self.turn) {
            self.turn += 1;
            let looked = follower.look(&mut self.shared, now)?;
            self.much |= looked == Looked::Much;
            if !self.shared.ready.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Waits for the last commit.
    fn wait(&mut self) -> Result<Option<SourceEvent>, SourceError> {
        let Phase::Stopping { done, since } = &self.phase else { return Ok(None) };
        match done.recv_timeout(LOOK_EVERY) {
            Err(RecvTimeoutError::Timeout) if since.elapsed() < CLOSE_WITHIN => Ok(Some(SourceEvent::Idle)),
            Err(RecvTimeoutError::Timeout) => Err(SourceError::Unavailable(format!(
                "what was read could not be committed within {} s",
                CLOSE_WITHIN.as_secs()
            ))),
            // Without an answer the run has failed elsewhere, and says why.
            Ok(()) | Err(RecvTimeoutError::Disconnected) => {
                self.phase = Phase::Stopped;
                Ok(None)
            }
        }
    }
}

impl Source for FollowSource {
    fn next_event(&mut self) -> Result<SourceEvent, SourceError> {
        loop {
            if let Some(event) = self.shared.ready.pop_front() {
                return Ok(event);
            }
            let now = Instant::now();
            if self.turn == 0 {
                std::thread::sleep(self.due.saturating_duration_since(now).min(LOOK_EVERY));
                let now = Instant::now();
                self.due = now + LOOK_EVERY;
                if self.surveyed.is_none_or(|surveyed| now.duration_since(surveyed) >= SURVEY_EVERY) {
                    self.survey(now);
                }
            }
            if self.look(now)? {
                continue;
            }
            self.turn = 0;
            if std::mem::take(&mut self.much) {
                self.due = now;
            }
            self.tell_health();
            // What was read leaves before this waits for more.
            return Ok(SourceEvent::Idle);
        }
    }

    fn stop(&mut self) -> Result<Option<SourceEvent>, SourceError> {
        if let Some(event) = self.shared.ready.pop_front() {
            return Ok(Some(event));
        }
        if let Phase::Reading = self.phase {
            let origins = self.followers.iter().filter_map(Follower::origin).collect();
            let (sender, done) = sync_channel(1);
            self.phase = Phase::Stopping { done, since: Instant::now() };
            return Ok(Some(SourceEvent::Close(CloseOrigins { origins, commit: true, done: sender })));
        }
        self.wait()
    }
}

impl Drop for FollowSource {
    fn drop(&mut self) {
        self.shared.telemetry.file_lag(0);
    }
}

#[cfg(test)]
mod tests;
