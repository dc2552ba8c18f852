//! Sinks: where packets go.

mod dead_letter;
mod file;
mod mirror;
mod stdout;

pub use dead_letter::DeadLetterSink;
pub use file::FileSink;
pub use mirror::{MirrorReport, MirrorSink};
pub use stdout::StdoutSink;

use std::path::PathBuf;

use crate::codec::CodecError;
use crate::packet::{Packet, PacketError};
use crate::signal::{Frame, StreamIndex, StreamInfo};

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
    /// Announces a stream before its first packet.
    ///
    /// # Errors
    /// The sink cannot take the stream.
    fn add_stream(&mut self, stream: StreamIndex, info: &StreamInfo) -> Result<(), SinkError>;

    /// Takes one packet. The packets of a stream come in order.
    ///
    /// # Errors
    /// The packet could not be written; what was written before stays.
    fn write(&mut self, outgoing: &Outgoing) -> Result<(), SinkError>;

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
    /// A packet of a stream that was not announced: a fault of the program.
    #[error("stream {0} was not announced")]
    UnknownStream(StreamIndex),
}
