//! Window and encode as one synchronous stage: chunks in, packets out.

use std::num::NonZeroUsize;

use crate::codec::{CodecError, Encoder, FrameRun};
use crate::packet::PacketError;
use crate::signal::{Chunk, DeadLetter, Frame, Stage, StreamIndex, StreamInfo};
use crate::sink::Outgoing;
use crate::window::{Framer, WindowError};

/// Cuts chunks into frames and encodes them, `frames_per_packet` to a packet.
///
/// What comes out does not depend on how the samples were cut into chunks.
pub struct EncodeStage {
    framer: Framer,
    encoder: Box<dyn Encoder>,
    frames_per_packet: usize,
    batch_size: usize,
    /// The streams that the framer makes, with the frames that wait for their packet to fill.
    streams: Vec<(StreamInfo, Vec<Frame>)>,
    full: Vec<(StreamIndex, Vec<Frame>)>,
    frames: Vec<Frame>,
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
}

impl EncodeStage {
    /// A stage without streams. Packets are encoded together up to about `batch_size` frames.
    pub fn new(
        framer: Framer,
        encoder: Box<dyn Encoder>,
        frames_per_packet: NonZeroUsize,
        batch_size: NonZeroUsize,
    ) -> Self {
        Self {
            framer,
            encoder,
            frames_per_packet: frames_per_packet.get(),
            batch_size: batch_size.get(),
            streams: Vec::new(),
            full: Vec::new(),
            frames: Vec::new(),
        }
    }

    /// Takes the next stream of the source; returns the streams that packets will belong to.
    ///
    /// # Errors
    /// The stream does not fit the model.
    pub fn add_stream(&mut self, info: &StreamInfo) -> Result<Vec<(StreamIndex, StreamInfo)>, EncodeError> {
        let added = self.framer.add_stream(info)?;
        let first = self.streams.len();
        self.streams.extend(added.iter().map(|info| (info.clone(), Vec::new())));
        Ok((first..).zip(added).collect())
    }

    /// Takes a chunk; appends the packets that are full to `outgoing`. Returns the chunk's dead letter, if it
    /// cannot be used.
    ///
    /// # Errors
    /// The codec failed.
    pub fn push(
        &mut self,
        chunk: &Chunk,
        outgoing: &mut Vec<Outgoing>,
    ) -> Result<Option<DeadLetter>, EncodeError> {
        // A chunk that cannot be cut may still have closed the frame before it.
        let letter = self.framer.push(chunk, &mut self.frames).err().map(|error| DeadLetter {
            stage: Stage::Window,
            origin: "window".to_owned(),
            position: chunk.position,
            reason: error.to_string(),
            samples: chunk.samples.len() as u64,
        });
        self.collect();
        self.encode(outgoing)?;
        Ok(letter)
    }

    /// Closes the open frames and packets of every stream.
    ///
    /// # Errors
    /// The codec failed.
    pub fn finish(&mut self, outgoing: &mut Vec<Outgoing>) -> Result<(), EncodeError> {
        self.framer.close(&mut self.frames);
        self.collect();
        for (stream, (_, waiting)) in self.streams.iter_mut().enumerate() {
            if !waiting.is_empty() {
                self.full.push((stream, std::mem::take(waiting)));
            }
        }
        self.encode(outgoing)
    }

    /// Moves frames to their streams, and full packets out of them.
    fn collect(&mut self) {
        let frame_size = self.encoder.frame_size();
        for frame in self.frames.drain(..) {
            let stream = frame.stream;
            let Some((_, waiting)) = self.streams.get_mut(stream) else { continue };
            if frame.after_gap && !waiting.is_empty() {
                self.full.push((stream, std::mem::take(waiting)));
            }
            let short = (frame.valid as usize) < frame_size;
            waiting.push(frame);
            if short || waiting.len() == self.frames_per_packet {
                self.full.push((stream, std::mem::take(waiting)));
            }
        }
    }

    /// Encodes the full packets, as many at a time as a batch holds.
    fn encode(&mut self, outgoing: &mut Vec<Outgoing>) -> Result<(), EncodeError> {
        let mut full = self.full.drain(..).peekable();
        while full.peek().is_some() {
            let mut frames = 0;
            let mut batch: Vec<(StreamIndex, Vec<Frame>)> = Vec::new();
            while let Some(next) =
                full.next_if(|(_, next)| batch.is_empty() || frames + next.len() <= self.batch_size)
            {
                frames += next.1.len();
                batch.push(next);
            }
            let runs: Vec<FrameRun<'_>> = batch
                .iter()
                .filter_map(|(stream, frames)| {
                    self.streams.get(*stream).map(|(info, _)| FrameRun { stream: info, frames })
                })
                .collect();
            let packets = self.encoder.encode(&runs)?;
            for (packet, (stream, frames)) in packets.into_iter().zip(batch) {
                let bytes = packet.to_bytes()?;
                outgoing.push(Outgoing { stream, packet, bytes, frames });
            }
        }
        Ok(())
    }
}
