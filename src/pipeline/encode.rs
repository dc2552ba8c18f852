//! Window and encode as one synchronous stage: chunks in, packets out.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use super::origin::OriginStreams;
use crate::codec::{CodecError, Encoder, FrameRun};
use crate::packet::PacketError;
use crate::signal::{
    Checkpoint, Chunk, DeadLetter, Frame, Origin, OriginIndex, Position, StreamIndex, StreamInfo,
};
use crate::sink::Outgoing;
use crate::source::OpenOrigin;
use crate::window::{Framer, FramerConfig, WindowError};

/// Cuts chunks into frames and encodes them, `frames_per_packet` to a packet.
///
/// Frames do not depend on how the samples were cut into chunks; which of them share a packet does not either,
/// unless packets are sent before they are full.
pub struct EncodeStage {
    encoder: Box<dyn Encoder>,
    options: EncodeOptions,
    framer: FramerConfig,
    origins: BTreeMap<OriginIndex, OriginStreams>,
    /// Streams that were announced so far; a stream's index is never used again.
    announced: StreamIndex,
    full: Vec<Run>,
}

/// Samples that may wait for their packets to fill, over all streams: with many streams packets leave less full,
/// rather than that memory and the burst at a checkpoint grow with their number.
const MAX_WAITING_SAMPLES: usize = 1 << 20;

/// How frames are gathered into packets and inferences.
#[derive(Clone, Copy, Debug)]
pub struct EncodeOptions {
    /// Frames of a packet, at most.
    pub frames_per_packet: NonZeroUsize,
    /// Frames that are encoded together, about.
    pub batch_size: NonZeroUsize,
    /// What a checkpoint holds of a stream.
    pub state: StateKept,
}

/// What a checkpoint holds of the open frame of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StateKept {
    /// Its samples: whatever streams an origin has.
    #[default]
    Windows,
    /// Where it begins: for origins of one stream, which is read again from there.
    Start,
}

/// Consecutive frames of one stream that leave in one packet.
pub(super) struct Run {
    pub(super) stream: StreamIndex,
    pub(super) info: Arc<StreamInfo>,
    pub(super) frames: Vec<Frame>,
}

/// Why the stage cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// A stream that the model cannot take.
    #[error(transparent)]
    Window(#[from] WindowError),
    /// The codec failed.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A packet that cannot be written down.
    #[error("a packet cannot be written: {0}")]
    Packet(#[from] PacketError),
    /// What was committed cannot be taken up again.
    #[error("{origin}: what was committed cannot be taken up again: {reason}")]
    Resume {
        /// The origin.
        origin: Origin,
        /// Why, and what to do.
        reason: String,
    },
    /// An origin that was not opened: a fault of the program.
    #[error("origin {0} was not opened")]
    UnknownOrigin(OriginIndex),
}

impl EncodeStage {
    /// A stage without streams, with the one origin of a source that has no others.
    ///
    /// # Errors
    /// Frames that cannot be cut.
    pub fn new(
        encoder: Box<dyn Encoder>,
        framer: FramerConfig,
        options: EncodeOptions,
    ) -> Result<Self, EncodeError> {
        let whole = OriginStreams::new(Origin::Whole, Framer::new(framer)?, &options, 0);
        Ok(Self {
            encoder,
            options,
            framer,
            origins: BTreeMap::from([(0, whole)]),
            announced: 0,
            full: Vec::new(),
        })
    }

    /// Takes up an origin where it was left.
    ///
    /// # Errors
    /// What was committed is damaged or does not fit the model.
    pub fn open(&mut self, opened: OpenOrigin) -> Result<(), EncodeError> {
        let mut streams =
            OriginStreams::new(opened.origin, Framer::new(self.framer)?, &self.options, opened.next);
        streams.resume(&opened.windows, opened.note.as_deref(), opened.after_gap)?;
        self.origins.insert(opened.index, streams);
        Ok(())
    }

    /// Forgets origins; what was not encoded of them is gone.
    pub fn close(&mut self, origins: &[OriginIndex]) -> Vec<StreamIndex> {
        let closed = origins.iter().filter_map(|origin| self.origins.remove(origin));
        let gone: Vec<_> = closed.flat_map(|streams| streams.stream_indices().collect::<Vec<_>>()).collect();
        self.full.retain(|run| !gone.contains(&run.stream));
        gone
    }

    /// Forgets every origin.
    pub fn close_all(&mut self) -> Vec<StreamIndex> {
        let all: Vec<_> = self.origins.keys().copied().collect();
        self.full.clear();
        self.close(&all)
    }

    /// Takes the next stream of an origin; returns the streams that packets will belong to.
    ///
    /// # Errors
    /// The stream does not fit the model, or there are too many. It keeps its index, and its chunks are refused.
    pub fn add_stream(
        &mut self,
        origin: OriginIndex,
        info: StreamInfo,
    ) -> Result<Vec<(StreamIndex, Arc<StreamInfo>)>, EncodeError> {
        let others: usize = self
            .origins
            .iter()
            .filter(|(index, _)| **index != origin)
            .map(|(_, streams)| streams.len())
            .sum();
        let streams = self.origins.get_mut(&origin).ok_or(EncodeError::UnknownOrigin(origin))?;
        streams.add_stream(Arc::new(info), &mut self.announced, others)
    }

    /// What the origin of a stream is.
    pub fn origin(&self, origin: OriginIndex) -> Option<&Origin> {
        self.origins.get(&origin).map(OriginStreams::origin)
    }

    /// Takes a chunk. Returns its dead letter, if it cannot be used.
    ///
    /// # Errors
    /// A chunk of an origin that was not opened.
    pub fn push(&mut self, chunk: Chunk, now: Instant) -> Result<Option<DeadLetter>, EncodeError> {
        let streams = self.origins.get_mut(&chunk.origin).ok_or(EncodeError::UnknownOrigin(chunk.origin))?;
        let letter = streams.push(chunk, now, &mut self.full);
        let waiting: usize = self.origins.values().map(OriginStreams::waiting_frames).sum();
        if waiting.saturating_mul(self.framer.frame_size) > MAX_WAITING_SAMPLES {
            self.flush();
        }
        Ok(letter)
    }

    /// Notes that what stood at a position of an origin has been dealt with otherwise.
    pub fn pass(&mut self, origin: OriginIndex, position: Position) {
        if let Some(streams) = self.origins.get_mut(&origin) {
            streams.pass(position);
        }
    }

    /// Has packets leave whose first frame has waited since `before` or longer.
    pub fn flush_waiting(&mut self, before: Instant) {
        for streams in self.origins.values_mut() {
            streams.flush_waiting(before, &mut self.full);
        }
    }

    /// Closes the open frames of streams that have been idle since `before` or longer.
    pub fn close_idle(&mut self, before: Instant) {
        for streams in self.origins.values_mut() {
            streams.close_idle(before, &mut self.full);
        }
    }

    /// Has every waiting frame leave.
    pub fn flush(&mut self) {
        for streams in self.origins.values_mut() {
            streams.flush(&mut self.full);
        }
    }

    /// Closes the open frames and packets of every stream.
    pub fn finish(&mut self) {
        for streams in self.origins.values_mut() {
            streams.finish(&mut self.full);
        }
    }

    /// True if a checkpoint would hold anything.
    pub fn has_moved(&self) -> bool {
        self.origins.values().any(OriginStreams::has_moved)
    }

    /// How far every origin has come since the checkpoint before, once everything that [`EncodeStage::flush`] and
    /// [`EncodeStage::encode`] give has left.
    ///
    /// # Errors
    /// A state that cannot be written down.
    pub fn checkpoint(&mut self) -> Result<Checkpoint, EncodeError> {
        let moved = self.origins.values_mut().filter_map(|streams| streams.checkpoint().transpose());
        Ok(Checkpoint { origins: moved.collect::<Result<_, _>>()?, closed: Vec::new() })
    }

    /// Streams that are open, and samples in their open frames.
    pub fn open_streams(&self) -> (usize, usize) {
        let counts = self.origins.values().map(|streams| (streams.len(), streams.open_samples()));
        counts.fold((0, 0), |(streams, samples), (more, open)| (streams + more, samples + open))
    }

    /// Encodes the full packets, as many at a time as a batch holds, and appends them to `outgoing`.
    ///
    /// # Errors
    /// The codec failed.
    pub fn encode(&mut self, outgoing: &mut Vec<Outgoing>) -> Result<(), EncodeError> {
        let mut full = self.full.drain(..).peekable();
        while full.peek().is_some() {
            let mut frames = 0;
            let mut batch: Vec<Run> = Vec::new();
            while let Some(next) = full.next_if(|next| {
                batch.is_empty() || frames + next.frames.len() <= self.options.batch_size.get()
            }) {
                frames += next.frames.len();
                batch.push(next);
            }
            let runs: Vec<FrameRun<'_>> =
                batch.iter().map(|run| FrameRun { stream: &run.info, frames: &run.frames }).collect();
            let packets = self.encoder.encode(&runs)?;
            for (packet, Run { stream, frames, .. }) in packets.into_iter().zip(batch) {
                let bytes = packet.to_bytes()?;
                outgoing.push(Outgoing { stream, packet, bytes, frames });
            }
        }
        Ok(())
    }
}
