//! Sources: where chunks of samples come from.

mod cells;
pub mod decoding;
pub mod file;
mod sample_bytes;
mod time;

use std::path::PathBuf;

use crate::signal::{Chunk, DeadLetter, StreamInfo};

/// What a source has to say.
#[derive(Clone, Debug, PartialEq)]
pub enum SourceEvent {
    /// A stream that was not known before; it gets the next index.
    Stream(StreamInfo),
    /// Samples of a stream that was announced.
    Chunk(Chunk),
    /// An input that cannot be used.
    DeadLetter(DeadLetter),
    /// Nothing will come any more.
    End,
}

/// Where chunks come from.
///
/// A source neither spawns nor retries: the pipeline calls [`Source::next_event`] from a thread of its own
/// until it returns [`SourceEvent::End`] or an error, and stops calling it to stop reading.
pub trait Source: Send {
    /// The next event; may block on I/O.
    ///
    /// # Errors
    /// The source cannot go on. What was read before the error stays valid.
    fn next_event(&mut self) -> Result<SourceEvent, SourceError>;

    /// Samples (of all channels) that the source will give in all, where it knows.
    fn total_samples(&self) -> Option<u64> {
        None
    }
}

/// Why a source cannot be opened or go on.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// The file is not what it says it is.
    #[error("{}: {place}: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// Line, byte or field.
        place: String,
        /// What is wrong and what to do.
        reason: String,
    },
}
