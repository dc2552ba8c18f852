//! The mirror: decodes packets as a receiver would and compares them with what went in.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Outgoing, Sink, SinkError, SinkReport};
use crate::codec::Decoder;
use crate::fidelity::{Fidelity, StreamFidelity};
use crate::packet::Packet;
use crate::signal::{Checkpoint, Origin, StreamIndex, StreamInfo, StreamKey};
use crate::telemetry::PipelineTelemetry;

/// Violations beyond this many are counted but no longer logged one by one.
const LOGGED_VIOLATIONS: u64 = 5;

/// How often the fidelity so far is reported while it is measured.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// Measures the fidelity of what is sent.
pub struct MirrorSink {
    decoder: Box<dyn Decoder>,
    max_prd_percent: Option<f64>,
    telemetry: Arc<PipelineTelemetry>,
    streams: BTreeMap<StreamIndex, (Arc<StreamInfo>, StreamFidelity)>,
    /// Streams that were closed, by their keys.
    gone: HashMap<StreamKey, (Arc<StreamInfo>, StreamFidelity)>,
    checked_frames: u64,
    violations: u64,
    reported: Instant,
}

/// What the mirror found.
#[derive(Clone, Debug)]
pub struct MirrorReport {
    /// Over all streams.
    pub fidelity: Fidelity,
    /// The limit on the PRD of a frame, if one was given.
    pub max_prd_percent: Option<f64>,
    /// Frames (of a channel) whose PRD is above the limit.
    pub violations: u64,
    /// Frames (of a channel) that were compared.
    pub checked_frames: u64,
}

impl MirrorSink {
    /// A mirror that counts frames with a PRD above `max_prd_percent`.
    pub fn new(
        decoder: Box<dyn Decoder>,
        max_prd_percent: Option<f64>,
        telemetry: Arc<PipelineTelemetry>,
    ) -> Self {
        Self {
            decoder,
            max_prd_percent,
            telemetry,
            streams: BTreeMap::new(),
            gone: HashMap::new(),
            checked_frames: 0,
            violations: 0,
            reported: Instant::now(),
        }
    }
}

impl MirrorSink {
    fn fidelity(&self) -> Fidelity {
        Fidelity::over(self.streams.values().chain(self.gone.values()).map(|(_, fidelity)| fidelity))
    }
}

impl Sink for MirrorSink {
    fn add_stream(
        &mut self,
        stream: StreamIndex,
        info: &Arc<StreamInfo>,
        _origin: &Origin,
    ) -> Result<(), SinkError> {
        let known = self.gone.remove(&info.key).map(|(_, fidelity)| fidelity);
        let fidelity = known.unwrap_or_else(|| StreamFidelity::new(info.channels.len()));
        self.streams.insert(stream, (Arc::clone(info), fidelity));
        Ok(())
    }

    fn is_output(&self) -> bool {
        false
    }

    fn remove_stream(&mut self, stream: StreamIndex) {
        // Its key tells whose figures they are if it comes back.
        if let Some((info, fidelity)) = self.streams.remove(&stream) {
            self.gone.insert(info.key.clone(), (info, fidelity));
        }
    }

    fn checkpoint(&mut self, _: &Checkpoint) -> Result<(), SinkError> {
        if self.reported.elapsed() >= REPORT_EVERY {
            self.reported = Instant::now();
            self.telemetry.mirror_fidelity(&self.fidelity());
        }
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
                prd.into_iter().for_each(|prd| self.telemetry.mirror_frame(prd));
                let (Some(prd), Some(limit)) = (prd, self.max_prd_percent) else { continue };
                if prd > limit {
                    self.violations += 1;
                    self.telemetry.mirror_violation();
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
        let fidelity = self.fidelity();
        self.telemetry.mirror_fidelity(&fidelity);
        let report = MirrorReport {
            fidelity,
            max_prd_percent: self.max_prd_percent,
            violations: self.violations,
            checked_frames: self.checked_frames,
        };
        Ok(SinkReport { bytes_written: None, mirror: Some(report) })
    }
}
