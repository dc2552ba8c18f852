//! The mirror: decodes packets as a receiver would and compares them with what went in.

use std::collections::BTreeMap;

use super::{Outgoing, Sink, SinkError, SinkReport};
use crate::codec::Decoder;
use crate::fidelity::{Fidelity, StreamFidelity};
use crate::packet::Packet;
use crate::signal::{StreamIndex, StreamInfo};

/// Violations beyond this many are counted but no longer logged one by one.
const LOGGED_VIOLATIONS: u64 = 5;

/// Measures the fidelity of what is sent.
pub struct MirrorSink {
    decoder: Box<dyn Decoder>,
    max_prd_percent: Option<f64>,
    streams: BTreeMap<StreamIndex, (StreamInfo, StreamFidelity)>,
    checked_frames: u64,
    violations: u64,
}

/// What the mirror found.
#[derive(Clone, Debug)]
pub struct MirrorReport {
    /// Over all streams.
    pub fidelity: Fidelity,
    /// Stream by stream.
    pub streams: Vec<(StreamInfo, StreamFidelity)>,
    /// The limit on the PRD of a frame, if one was given.
    pub max_prd_percent: Option<f64>,
    /// Frames (of a channel) whose PRD is above the limit.
    pub violations: u64,
    /// Frames (of a channel) that were compared.
    pub checked_frames: u64,
}

impl MirrorSink {
    /// A mirror that counts frames with a PRD above `max_prd_percent`.
    pub fn new(decoder: Box<dyn Decoder>, max_prd_percent: Option<f64>) -> Self {
        Self { decoder, max_prd_percent, streams: BTreeMap::new(), checked_frames: 0, violations: 0 }
    }
}

impl Sink for MirrorSink {
    fn add_stream(&mut self, stream: StreamIndex, info: &StreamInfo) -> Result<(), SinkError> {
        self.streams.insert(stream, (info.clone(), StreamFidelity::new(info.channels.len())));
        Ok(())
    }

    fn write(&mut self, outgoing: &Outgoing) -> Result<(), SinkError> {
        let (info, fidelity) =
            self.streams.get_mut(&outgoing.stream).ok_or(SinkError::UnknownStream(outgoing.stream))?;
        let key = || info.key.to_string();
        let packet = Packet::from_bytes(&outgoing.bytes)
            .map_err(|source| SinkError::ReadBack { stream: key(), source })?;
        let decoded =
            self.decoder.decode(&packet).map_err(|source| SinkError::Decode { stream: key(), source })?;
        let expected = outgoing.frames.iter().map(|frame| frame.valid as usize * info.channels.len()).sum();
        if decoded.len() != expected {
            return Err(SinkError::Length { stream: key(), found: decoded.len(), expected });
        }
        for (frame, original, own) in outgoing.with_decoded(&decoded) {
            for prd in fidelity.add_frame(original, own) {
                self.checked_frames += 1;
                let (Some(prd), Some(limit)) = (prd, self.max_prd_percent) else { continue };
                if prd > limit {
                    self.violations += 1;
                    if self.violations <= LOGGED_VIOLATIONS {
                        tracing::warn!(
                            stream = %info.key, frame = frame.number, prd_percent = prd, max_prd_percent = limit,
                            "a frame's error is above the limit"
                        );
                    }
                    if self.violations == LOGGED_VIOLATIONS {
                        tracing::warn!("further frames above the limit are counted, not logged");
                    }
                }
            }
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<SinkReport, SinkError> {
        let streams: Vec<_> = self.streams.into_values().collect();
        let report = MirrorReport {
            fidelity: Fidelity::over(streams.iter().map(|(_, fidelity)| fidelity)),
            streams,
            max_prd_percent: self.max_prd_percent,
            violations: self.violations,
            checked_frames: self.checked_frames,
        };
        Ok(SinkReport { bytes_written: None, mirror: Some(report) })
    }
}
