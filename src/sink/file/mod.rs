//! The file sink: packets in `.rvl` files.
//!
//! A path without places is one file ([`FileSink`]). Else each of its names is a segment ([`SegmentSink`]): it grows
//! as `NAME.partial`, is closed with a footer when it is full, and gets its name once nothing in it can come again.

mod disk;
mod names;
mod overlap;
mod recovery;
mod segment;
mod segments;
mod single;
mod start;
mod template;
#[cfg(test)]
mod tests;

pub(crate) use disk::{Partial, partial_of};
pub use segments::SegmentSink;
pub use single::FileSink;
pub use template::PathTemplate;

use std::num::{NonZeroU64, NonZeroUsize};
use std::sync::Arc;

use super::{Sink, SinkError};
use crate::signal::{Origin, StreamInfo, StreamKey};
use crate::telemetry::PipelineTelemetry;

/// How packets are written to files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSinkOptions {
    /// Where; the pipeline's name is in its place.
    pub path: PathTemplate,
    /// When the next segment begins.
    pub roll: Roll,
    /// When a file is forced to disk; none for what fits the source.
    pub sync: Option<SyncPolicy>,
    /// Segments that grow at the same time, at most.
    pub max_open_segments: NonZeroUsize,
    /// What the source reads again after a crash.
    pub read_again: ReadAgain,
}

/// A segment is full when any of these is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roll {
    /// Bytes of the file, without the end of its index.
    pub bytes: Option<NonZeroU64>,
    /// Seconds since it was opened.
    pub secs: Option<NonZeroU64>,
    /// Packets in it.
    pub packets: Option<NonZeroU64>,
}

/// When what was written is forced to disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncPolicy {
    /// At every checkpoint, before positions are committed; once a second where a live source has none.
    Checkpoint,
    /// When a segment is closed.
    Segment,
    /// When the system likes to.
    Never,
}

/// What a source reads again after it was broken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadAgain {
    /// Everything: it is read from its beginning.
    All,
    /// What was not committed.
    Uncommitted,
    /// Nothing: it cannot be read again.
    Nothing,
}

/// The sink for these options.
///
/// # Errors
/// Files cannot be created, or those of an earlier run cannot be gone on with.
pub fn open(
    options: FileSinkOptions,
    telemetry: &Arc<PipelineTelemetry>,
) -> Result<Box<dyn Sink>, SinkError> {
    let fixed = options.path.fixed().filter(|_| options.roll == Roll::default());
    Ok(match (fixed, options.read_again) {
        (Some(path), ReadAgain::All) => {
            Box::new(FileSink::create(&path, options.sync.unwrap_or(SyncPolicy::Segment))?)
        }
        (Some(path), read_again) => {
            let sync = options.sync.unwrap_or(SyncPolicy::Checkpoint);
            Box::new(FileSink::resume(&path, sync, read_again)?)
        }
        (None, _) => Box::new(SegmentSink::open(options, Arc::clone(telemetry))?),
    })
}

/// A stream as a file names it: each partition counts the frames of a key from 0.
fn named(info: &Arc<StreamInfo>, origin: &Origin) -> Arc<StreamInfo> {
    match origin {
        Origin::Partition { .. } => {
            let key = StreamKey::new(format!("{origin}/{}", info.key));
            Arc::new(StreamInfo { key, ..StreamInfo::clone(info) })
        }
        _ => Arc::clone(info),
    }
}
