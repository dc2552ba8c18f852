//! Sources: where chunks of samples come from.

mod cells;
pub mod decoding;
pub mod file;
pub mod follow;
pub(crate) mod kafka;
pub mod replay;
mod sample_bytes;
pub mod serial;
pub(crate) mod time;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use crate::signal::{Checkpoint, Chunk, DeadLetter, Origin, OriginIndex, Position, StreamInfo, StreamKey};

/// What a source has to say.
#[derive(Debug)]
pub enum SourceEvent {
    /// An origin that streams will come from. A source that is one origin as a whole need not open it: it is
    /// number 0.
    Open(OpenOrigin),
    /// A stream that was not known before; it gets the next index of its origin.
    Stream {
        /// The origin.
        origin: OriginIndex,
        /// The stream.
        info: StreamInfo,
    },
    /// Samples of a stream that was announced.
    Chunk(Chunk),
    /// A message that holds a packet; a source gives samples or packets.
    Packet(PacketMessage),
    /// An input that cannot be used; of an origin with positions.
    DeadLetter {
        /// The origin.
        origin: OriginIndex,
        /// The input.
        letter: DeadLetter,
    },
    /// Something of an origin with positions that is not wanted.
    Passed {
        /// The origin.
        origin: OriginIndex,
        /// Where it stood.
        position: Position,
    },
    /// Origins that are being taken away.
    Close(CloseOrigins),
    /// Everything since the last commit is void: every origin is closed without a commit. Those that are still the
    /// source's own are opened again once the sinks have taken back what they had.
    Rewound {
        /// Told once they have.
        done: SyncSender<()>,
    },
    /// Nothing has come for a while.
    Idle,
    /// Nothing will come any more.
    End,
}

/// A message that holds a packet, not looked at yet.
#[derive(Clone, Debug)]
pub struct PacketMessage {
    /// The origin.
    pub origin: OriginIndex,
    /// Where it stood.
    pub position: Position,
    /// The message's key as it was.
    pub key: Option<Vec<u8>>,
    /// The stream.
    pub stream: StreamKey,
    /// Where the packet's frames come from: it tells apart what has the same key. Empty where it is not said.
    pub source: Arc<str>,
    /// The packet.
    pub value: Vec<u8>,
    /// The message's time, in nanoseconds since the Unix epoch.
    pub arrival_ns: Option<i64>,
}

/// An origin and where it is taken up again.
#[derive(Debug)]
pub struct OpenOrigin {
    /// Its number.
    pub index: OriginIndex,
    /// What it is.
    pub origin: Origin,
    /// The next position to be read.
    pub next: i64,
    /// What was committed with that position.
    pub note: Option<String>,
    /// The state of each of its streams, as a [`Checkpoint`] held it.
    pub windows: Vec<Vec<u8>>,
    /// True if what comes next does not follow on what was committed: the source has lost what was between.
    pub after_gap: bool,
}

/// Origins that are being taken away.
#[derive(Debug)]
pub struct CloseOrigins {
    /// Their numbers.
    pub origins: Vec<OriginIndex>,
    /// True if what was read of them can still be committed.
    pub commit: bool,
    /// Told once that is done, or has failed.
    pub done: SyncSender<()>,
}

/// Where chunks come from.
///
/// A source neither spawns nor retries: the pipeline calls [`Source::next_event`] from a thread of its own
/// until it returns [`SourceEvent::End`] or an error. All events of one message come before
/// [`SourceEvent::Idle`] or an event of another one.
pub trait Source: Send {
    /// The next event; may block on I/O, for a live source not longer than about a tenth of a second, so that
    /// the pipeline can be stopped.
    ///
    /// # Errors
    /// The source cannot go on. What was read before the error stays valid.
    fn next_event(&mut self) -> Result<SourceEvent, SourceError>;

    /// Called instead of [`Source::next_event`] while the pipeline has no room for more. A live source keeps its
    /// connections alive, for about as long as `next_event` may block; false where there are none and the pipeline
    /// may as well wait for room.
    ///
    /// # Errors
    /// The source cannot go on.
    fn hold(&mut self) -> Result<bool, SourceError> {
        Ok(false)
    }

    /// True for a source that loses what it does not read in time: it is held as soon as the pipeline has no room,
    /// and for a moment only.
    fn is_held_at_once(&self) -> bool {
        false
    }

    /// The pipeline is being stopped: what is left to do before [`SourceEvent::End`]. Called until it returns none.
    ///
    /// # Errors
    /// The source cannot go on.
    fn stop(&mut self) -> Result<Option<SourceEvent>, SourceError> {
        Ok(None)
    }

    /// Goes back to what was committed last; [`SourceEvent::Rewound`] comes next.
    ///
    /// # Errors
    /// The source cannot go on, or has no positions to go back to.
    fn rewind(&mut self) -> Result<(), SourceError> {
        Err(SourceError::Internal("a source without positions cannot be rewound".into()))
    }

    /// Samples (of all channels) that the source will give in all, where it knows.
    fn total_samples(&self) -> Option<u64> {
        None
    }
}

/// Keeps checkpoints, so that a source can be taken up again where it was left.
pub trait Committer: Send {
    /// Keeps `checkpoint`. Everything before it has been acknowledged by every sink; checkpoints come in order.
    ///
    /// # Errors
    /// It could not be kept.
    fn commit(&mut self, checkpoint: &Checkpoint) -> Result<(), SourceError>;

    /// Called now and then while nothing comes.
    fn idle(&mut self) {}
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
    /// A service that the source reads from refuses or is gone, and waiting did not help.
    #[error("{0}")]
    Unavailable(String),
    /// The service says that another one has taken this one's place.
    #[error("{0}")]
    Fenced(String),
    /// What the service holds does not fit the configuration.
    #[error("{0}")]
    Refused(String),
    /// A fault of the program.
    #[error("{0}; this is a fault of rivulet itself")]
    Internal(String),
}
