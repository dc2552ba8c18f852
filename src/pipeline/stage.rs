//! What the codec's thread does: encode samples, or decode packets.

use std::sync::Arc;
use std::time::Instant;

use super::decode::{DecodeStage, Decoded};
use super::encode::{EncodeError, EncodeStage};
use super::run::RunError;
use crate::signal::{Checkpoint, Chunk, DeadLetter, Origin, OriginIndex, Position, StreamIndex, StreamInfo};
use crate::sink::Outgoing;
use crate::source::{OpenOrigin, PacketMessage};

/// The stage between source and sinks. A source of packets gives no streams and chunks, a source of samples no
/// packets: what one of the two does not have stays without effect.
pub(super) enum CodecStage {
    Encode(EncodeStage),
    Decode(DecodeStage),
}

impl CodecStage {
    pub(super) fn open(&mut self, opened: OpenOrigin) -> Result<(), EncodeError> {
        match self {
            Self::Encode(stage) => stage.open(opened),
            Self::Decode(stage) => {
                stage.open(opened);
                Ok(())
            }
        }
    }

    pub(super) fn close(&mut self, origins: &[OriginIndex]) -> Vec<StreamIndex> {
        match self {
            Self::Encode(stage) => stage.close(origins),
            Self::Decode(stage) => stage.close(origins),
        }
    }

    pub(super) fn close_all(&mut self) -> Vec<StreamIndex> {
        match self {
            Self::Encode(stage) => stage.close_all(),
            Self::Decode(stage) => stage.close_all(),
        }
    }

    pub(super) fn origin(&self, origin: OriginIndex) -> Option<&Origin> {
        match self {
            Self::Encode(stage) => stage.origin(origin),
            Self::Decode(stage) => stage.origin(origin),
        }
    }

    pub(super) fn pass(&mut self, origin: OriginIndex, position: Position) {
        match self {
            Self::Encode(stage) => stage.pass(origin, position),
            Self::Decode(stage) => stage.pass(origin, position),
        }
    }

    pub(super) fn add_stream(
        &mut self,
        origin: OriginIndex,
        info: StreamInfo,
    ) -> Result<Vec<(StreamIndex, Arc<StreamInfo>)>, EncodeError> {
        match self {
            Self::Encode(stage) => stage.add_stream(origin, info),
            Self::Decode(_) => Ok(Vec::new()),
        }
    }

    pub(super) fn push(&mut self, chunk: Chunk, now: Instant) -> Result<Option<DeadLetter>, EncodeError> {
        match self {
            Self::Encode(stage) => stage.push(chunk, now),
            Self::Decode(_) => Ok(None),
        }
    }

    pub(super) fn decode(&mut self, message: PacketMessage, now: Instant) -> Result<Decoded, RunError> {
        match self {
            Self::Encode(_) => Ok(Decoded::default()),
            Self::Decode(stage) => Ok(stage.decode(message, now)?),
        }
    }

    pub(super) fn flush_waiting(&mut self, before: Instant) {
        if let Self::Encode(stage) = self {
            stage.flush_waiting(before);
        }
    }

    /// Closes what has been idle since `before`; returns the streams that are forgotten with it.
    pub(super) fn close_idle(&mut self, before: Instant) -> Vec<StreamIndex> {
        match self {
            Self::Encode(stage) => {
                stage.close_idle(before);
                Vec::new()
            }
            Self::Decode(stage) => stage.forget_idle(before),
        }
    }

    pub(super) fn flush(&mut self) {
        if let Self::Encode(stage) = self {
            stage.flush();
        }
    }

    pub(super) fn finish(&mut self) {
        if let Self::Encode(stage) = self {
            stage.finish();
        }
    }

    pub(super) fn has_moved(&self) -> bool {
        match self {
            Self::Encode(stage) => stage.has_moved(),
            Self::Decode(stage) => stage.has_moved(),
        }
    }

    pub(super) fn checkpoint(&mut self) -> Result<Checkpoint, EncodeError> {
        match self {
            Self::Encode(stage) => stage.checkpoint(),
            Self::Decode(stage) => Ok(stage.checkpoint()),
        }
    }

    pub(super) fn open_streams(&self) -> (usize, usize) {
        match self {
            Self::Encode(stage) => stage.open_streams(),
            Self::Decode(stage) => (stage.open_streams(), 0),
        }
    }

    pub(super) fn encode(&mut self, outgoing: &mut Vec<Outgoing>) -> Result<(), EncodeError> {
        match self {
            Self::Encode(stage) => stage.encode(outgoing),
            Self::Decode(_) => Ok(()),
        }
    }
}
