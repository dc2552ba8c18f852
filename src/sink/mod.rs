//! Sinks: where packets go.

mod dead_letter;
mod file;
pub(crate) mod kafka;
mod mirror;
mod samples;
mod stdout;

pub use dead_letter::DeadLetterSink;
pub use file::{
    FileSink, FileSinkOptions, PathTemplate, ReadAgain, Roll, SegmentSink, SyncPolicy, open as open_file_sink,
};
pub(crate) use file::{Partial, partial_of};
pub use mirror::{MirrorReport, MirrorSink};
pub(crate) use samples::DecodedFrames;
pub use samples::SampleMessage;
pub use stdout::StdoutSink;

use std::path::PathBuf;
use std::sync::Arc;

use crate::codec::CodecError;
use crate::packet::{Packet, PacketError};
use crate::signal::{Checkpoint, DeadLetter, Frame, Origin, StreamIndex, StreamInfo};

/// A packet on its way out, with the frames it was made of.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The stream.
    pub stream: StreamIndex,
    /// The packet.
    pub packet: Packet,
    /// The packet as it is sent.
    pub bytes: Vec<u8>,
    /// What went in, for sinks that compare.
    pub frames: Vec<Frame>,
}

impl Outgoing {
    /// When the last sample of each frame came, where that is known, in nanoseconds since the Unix epoch.
    pub fn arrivals(&self) -> impl Iterator<Item = i64> + '_ {
        self.frames.iter().filter_map(|frame| frame.arrival_ns)
    }

    /// Each frame with its samples, padding left out, and the decoded samples in their place.
    pub fn with_decoded<'a>(
        &'a self,
        mut decoded: &'a [f64],
    ) -> impl Iterator<Item = (&'a Frame, &'a [f64], &'a [f64])> {
        let channels = usize::from(self.packet.header.channels);
        self.frames.iter().map(move |frame| {
            let valid = frame.valid as usize * channels;
            let (own, after) = decoded.split_at(valid.min(decoded.len()));
            decoded = after;
            (frame, frame.samples.get(..valid).unwrap_or(&frame.samples), own)
        })
    }
}

/// Where packets go.
///
/// A sink neither spawns nor retries: the pipeline gives each a thread of its own and calls it in order. After
/// an error no further method is called.
pub trait Sink: Send {
    /// Called once before everything else, on the sink's thread; may wait for a service, until `given_up`.
    ///
    /// # Errors
    /// The sink cannot be used.
    fn start(&mut self, _given_up: &dyn Fn() -> bool) -> Result<(), SinkError> {
        Ok(())
    }

    /// Called now and then while nothing comes: the time to find out whether a service that was gone is back, and to do
    /// what is due by the clock.
    ///
    /// # Errors
    /// What was due could not be done.
    fn idle(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    /// Announces a stream before its first packet.
    ///
    /// # Errors
    /// The sink cannot take the stream.
    fn add_stream(
        &mut self,
        stream: StreamIndex,
        info: &Arc<StreamInfo>,
        origin: &Origin,
    ) -> Result<(), SinkError>;

    /// True if packets leave here, false for a sink that only looks at them.
    fn is_output(&self) -> bool {
        true
    }

    /// True if what [`Sink::write`] took is not acknowledged by its return; the sink then reports the latency of
    /// frames itself.
    fn acknowledges_later(&self) -> bool {
        false
    }

    /// No more packets of a stream will come.
    fn remove_stream(&mut self, _stream: StreamIndex) {}

    /// Takes one packet. The packets of a stream come in order.
    ///
    /// # Errors
    /// The packet could not be written; what was written before stays.
    fn write(&mut self, outgoing: &Outgoing) -> Result<(), SinkError>;

    /// Takes a message of samples, where this is a sink for such. Those of a stream come in order.
    ///
    /// # Errors
    /// The message could not be written; what was written before stays.
    fn write_samples(&mut self, _message: &SampleMessage) -> Result<(), SinkError> {
        Ok(())
    }

    /// Takes an input that could not be used, where this is a sink for such.
    ///
    /// # Errors
    /// It could not be kept.
    fn dead_letter(&mut self, _letter: &DeadLetter) -> Result<(), SinkError> {
        Ok(())
    }

    /// Returns once everything before has been acknowledged; a transactional sink commits it together with
    /// `checkpoint`.
    ///
    /// # Errors
    /// Some of it could not be written. After [`SinkError::Aborted`] the sink takes nothing until
    /// [`Sink::rewound`].
    fn checkpoint(&mut self, _checkpoint: &Checkpoint) -> Result<(), SinkError> {
        Ok(())
    }

    /// What came before the checkpoint of this number, the first being 1, will not come again, whatever happens.
    ///
    /// # Errors
    /// What waited for that could not be done.
    fn committed(&mut self, _checkpoints: u64) -> Result<(), SinkError> {
        Ok(())
    }

    /// What came since the last checkpoint is void: it will come again.
    ///
    /// # Errors
    /// It cannot be taken back.
    fn rewound(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    /// Brings everything to its place and says what was done.
    ///
    /// # Errors
    /// What was written may be incomplete.
    fn finish(self: Box<Self>) -> Result<SinkReport, SinkError>;
}

/// What a sink has done.
#[derive(Clone, Debug, Default)]
pub struct SinkReport {
    /// Bytes that it wrote, everything included.
    pub bytes_written: Option<u64>,
    /// What the mirror found.
    pub mirror: Option<MirrorReport>,
}

/// Why a sink cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The output cannot be created.
    #[error("cannot create {}: {source}", path.display())]
    Create {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Writing failed.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A packet file cannot go on.
    #[error("cannot write {}: {source}", path.display())]
    Packets {
        /// The file.
        path: PathBuf,
        /// Why.
        source: PacketError,
    },
    /// A packet that was just written cannot be read.
    #[error("a packet of stream '{stream}' cannot be read back: {source}")]
    ReadBack {
        /// The stream's key.
        stream: String,
        /// Why.
        source: PacketError,
    },
    /// A packet that was just written cannot be decoded.
    #[error("a packet of stream '{stream}' cannot be decoded: {source}")]
    Decode {
        /// The stream's key.
        stream: String,
        /// Why.
        source: CodecError,
    },
    /// A packet that was just written decodes to another length.
    #[error("a packet of stream '{stream}' decodes to {found} samples, {expected} went in")]
    Length {
        /// The stream's key.
        stream: String,
        /// Samples that came out.
        found: usize,
        /// Samples that went in.
        expected: usize,
    },
    /// A transaction was aborted: what was written since the last checkpoint has to come again.
    #[error("a transaction was aborted: {0}")]
    Aborted(String),
    /// Another process has taken this one's place.
    #[error("{0}")]
    Fenced(String),
    /// A service that the sink writes to refuses or is gone, and waiting did not help.
    #[error("{0}")]
    Unavailable(String),
    /// What the service has does not fit the configuration.
    #[error("{0}")]
    Refused(String),
    /// A packet of a stream that was not announced: a fault of the program.
    #[error("stream {0} was not announced")]
    UnknownStream(StreamIndex),
}
