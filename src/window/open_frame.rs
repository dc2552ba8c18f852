//! The open frame of a source stream.

use crate::signal::{Frame, SampleType, StreamIndex, StreamInfo};

/// What is known of a source stream between two chunks. The streams that are made of it fill their frames side
/// by side.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct OpenFrame {
    /// Number of the frame that is open, or that will be opened by the next sample.
    pub(super) number: u64,
    /// True if samples are missing right before that frame.
    pub(super) after_gap: bool,
    /// Time of the frame's first sample.
    pub(super) start_ns: Option<i64>,
    /// Time of the next sample, as long as nothing is missing.
    pub(super) clock: Option<Clock>,
    /// When the last sample came, where that is known.
    pub(super) arrival_ns: Option<i64>,
    /// Samples per channel so far.
    pub(super) filled: usize,
    /// The samples of each stream that is made of the source stream, as the source stores them, little endian: there
    /// may be very many streams.
    pub(super) lanes: Vec<Vec<u8>>,
}

/// The last time that the source gave, and the samples per channel that came since.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Clock {
    pub(super) time_ns: i64,
    pub(super) samples: u64,
}

impl Clock {
    pub(super) fn now(&self, info: &StreamInfo) -> i64 {
        self.time_ns.saturating_add(info.duration_ns(self.samples))
    }
}

impl OpenFrame {
    /// The state of a stream before its first sample.
    pub(super) fn new(lanes: usize) -> Self {
        Self {
            number: 0,
            after_gap: false,
            start_ns: None,
            clock: None,
            arrival_ns: None,
            filled: 0,
            lanes: vec![Vec::new(); lanes],
        }
    }

    /// The state before the first sample of the frame.
    pub(super) fn start(&self) -> Self {
        Self {
            number: self.number,
            after_gap: self.after_gap,
            // Before its first sample the frame has no time yet, but the stream has.
            clock: match self.filled {
                0 => self.clock,
                _ => self.start_ns.map(|time_ns| Clock { time_ns, samples: 0 }),
            },
            ..Self::new(self.lanes.len())
        }
    }

    /// Adds rows of the source stream, at most as many as the frame has room for.
    pub(super) fn extend(&mut self, rows: &[f64], info: &StreamInfo, frame_size: usize) {
        let channels = info.channels.len();
        if self.filled == 0 {
            self.start_ns = self.clock.map(|clock| clock.now(info));
            let lane_bytes = frame_size * channels / self.lanes.len() * sample_bytes(info.sample_type);
            self.lanes.iter_mut().for_each(|lane| lane.reserve_exact(lane_bytes));
        }
        match self.lanes.as_mut_slice() {
            [lane] => info.sample_type.extend_le(rows.iter().copied(), lane),
            lanes => {
                for (channel, lane) in lanes.iter_mut().enumerate() {
                    info.sample_type.extend_le(rows.iter().skip(channel).step_by(channels).copied(), lane);
                }
            }
        }
        let count = rows.len() / channels;
        self.filled += count;
        if let Some(clock) = &mut self.clock {
            clock.samples += count as u64;
        }
    }

    /// Closes the frame, if it has a sample, and opens the next one.
    pub(super) fn close(
        &mut self,
        first_stream: StreamIndex,
        frame_size: usize,
        sample_type: SampleType,
        frames: &mut Vec<Frame>,
    ) {
        if self.filled == 0 {
            return;
        }
        for (i, lane) in self.lanes.iter_mut().enumerate() {
            let mut samples =
                Vec::with_capacity(lane.len() / sample_bytes(sample_type) / self.filled * frame_size);
            samples
                .extend(lane.chunks_exact(sample_bytes(sample_type)).map(|bytes| sample_type.of_le(bytes)));
            // Streams that have come to rest hold no memory.
            *lane = Vec::new();
            let valid_samples = samples.len();
            let last_row = valid_samples - valid_samples / self.filled;
            for _ in self.filled..frame_size {
                samples.extend_from_within(last_row..valid_samples);
            }
            frames.push(Frame {
                stream: first_stream + i,
                number: self.number,
                time_ns: self.start_ns,
                valid: self.filled as u32,
                after_gap: self.after_gap,
                arrival_ns: self.arrival_ns,
                samples,
            });
        }
        self.number += 1;
        self.after_gap = false;
        self.start_ns = None;
        self.filled = 0;
    }
}

fn sample_bytes(sample_type: SampleType) -> usize {
    usize::from(sample_type.bits() / 8)
}
