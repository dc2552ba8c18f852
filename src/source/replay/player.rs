//! What is played when: pure, without a clock.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::num::NonZeroUsize;

use super::recording::Recording;
use super::speed::Speed;
use crate::signal::{StreamIndex, StreamInfo, StreamKey, duration_ns};

/// Signal time of a chunk, unless its length is given.
pub(crate) const CHUNK_SECONDS: f64 = 0.05;

/// How recordings are played.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlayOptions {
    /// How fast.
    pub(crate) speed: Speed,
    /// Streams that are made of the recordings; none: as many as there are.
    pub(crate) streams: Option<NonZeroUsize>,
    /// Samples per channel in a chunk; none: about 50 ms of them.
    pub(crate) chunk_rows: Option<NonZeroUsize>,
    /// True if every stream is played once, from its phase round to it; else without end.
    pub(crate) once: bool,
}

/// Makes streams of recordings and says which chunk is due next.
///
/// Stream `i` plays recording `i` of `n`, counted round; those that share one begin at places spread evenly over it.
/// At the recording's end a stream goes on with its beginning, as if nothing were between.
pub(crate) struct Player {
    recordings: Vec<Recording>,
    tracks: Vec<Track>,
    paced: bool,
    once: bool,
    speed: f64,
    /// The next chunk of each stream that is not over: when it is due, and whose it is.
    due: BinaryHeap<Reverse<(i64, StreamIndex)>>,
}

struct Track {
    recording: usize,
    /// The row that it begins with.
    phase: usize,
    rows: usize,
    chunk_rows: usize,
    sample_rate_hz: f64,
    /// Signal time of its first row.
    offset_ns: i64,
    played_rows: u64,
}

/// Samples of one stream that came into being together.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PlayedChunk {
    pub(crate) stream: StreamIndex,
    /// Wall time since the start at which its last sample comes into being.
    pub(crate) due_ns: i64,
    /// Signal time since the start of its first sample.
    pub(crate) time_ns: i64,
    /// How long its samples last in signal time.
    pub(crate) lasts_ns: i64,
    /// Channels interleaved.
    pub(crate) samples: Vec<f64>,
}

impl Player {
    /// Plays `recordings`, each of which has samples.
    pub(crate) fn new(recordings: Vec<Recording>, options: &PlayOptions) -> Self {
        let count = options.streams.map_or(recordings.len(), NonZeroUsize::get);
        let mut tracks = Vec::new();
        for (number, (place, recording)) in recordings.iter().enumerate().cycle().take(count).enumerate() {
            let (copy, rows) = (number / recordings.len(), recording.rows().max(1));
            // Streams that play the same recording.
            let copies = (count - place).div_ceil(recordings.len());
            let phase = (copy as u128 * rows as u128 / copies as u128) as usize;
            let sample_rate_hz = recording.info.sample_rate_hz;
            let about = (sample_rate_hz * CHUNK_SECONDS).round().max(1.0) as usize;
            let chunk_rows = options.chunk_rows.map_or(about, NonZeroUsize::get);
            // Streams do not all come at once: they divide a chunk's time among them.
            let period_ns = duration_ns(sample_rate_hz, chunk_rows as u64);
            let offset_ns = (i128::from(period_ns) * number as i128 / count as i128) as i64;
            tracks.push(Track {
                recording: place,
                phase,
                rows,
                chunk_rows,
                sample_rate_hz,
                offset_ns,
                played_rows: 0,
            });
        }
        let mut player = Self {
            recordings,
            tracks,
            paced: options.speed.times().is_some(),
            once: options.once,
            // Without a pace, streams still come in the order of their times.
            speed: options.speed.times().unwrap_or(1.0),
            due: BinaryHeap::with_capacity(count),
        };
        (0..count).for_each(|stream| player.schedule(stream));
        player
    }

    /// Streams that are played.
    pub(crate) fn streams(&self) -> usize {
        self.tracks.len()
    }

    /// The sample rate of the first stream.
    pub(crate) fn sample_rate_hz(&self) -> f64 {
        self.tracks.first().map_or(0.0, |track| track.sample_rate_hz)
    }

    /// What is known of a stream: that of its recording, with a key of its own, `{recording}#{stream}`.
    pub(crate) fn stream_info(&self, stream: StreamIndex) -> Option<StreamInfo> {
        let info = &self.recordings.get(self.tracks.get(stream)?.recording)?.info;
        Some(StreamInfo { key: StreamKey::new(format!("{}#{stream}", info.key)), ..info.clone() })
    }

    /// What is known of a stream, and a row or two of its samples.
    pub(crate) fn example(&self, stream: StreamIndex) -> Option<(StreamInfo, &[f64])> {
        let recording = self.recordings.get(self.tracks.get(stream)?.recording)?;
        let samples = (2 * recording.info.channels.len()).min(recording.samples.len());
        Some((self.stream_info(stream)?, recording.samples.get(..samples)?))
    }

    /// True if chunks are due at their times, false if they may be taken at any.
    pub(crate) fn is_paced(&self) -> bool {
        self.paced
    }

    /// Samples of all channels, where the play has an end.
    pub(crate) fn total_samples(&self) -> Option<u64> {
        let recordings = self.tracks.iter().filter_map(|track| self.recordings.get(track.recording));
        self.once.then(|| recordings.map(|recording| recording.samples.len() as u64).sum())
    }

    /// Wall time since the start at which the next chunk is due; none once all is played.
    pub(crate) fn next_due_ns(&self) -> Option<i64> {
        self.due.peek().map(|Reverse((due_ns, _))| *due_ns)
    }

    /// The chunk that is due next.
    pub(crate) fn take(&mut self) -> Option<PlayedChunk> {
        let Reverse((due_ns, stream)) = self.due.pop()?;
        let track = self.tracks.get_mut(stream)?;
        let recording = self.recordings.get(track.recording)?;
        let from_ns = duration_ns(track.sample_rate_hz, track.played_rows);
        let rows = track.next_rows(self.once);
        let samples = track.samples(recording, rows);
        track.played_rows += rows as u64;
        let to_ns = duration_ns(track.sample_rate_hz, track.played_rows);
        let time_ns = track.offset_ns.saturating_add(from_ns);
        let lasts_ns = to_ns.saturating_sub(from_ns);
        self.schedule(stream);
        Some(PlayedChunk { stream, due_ns, time_ns, lasts_ns, samples })
    }

    /// Puts the next chunk of a stream where it belongs, if there is one.
    fn schedule(&mut self, stream: StreamIndex) {
        let Some(track) = self.tracks.get(stream) else { return };
        let rows = track.next_rows(self.once);
        if rows == 0 {
            return;
        }
        // From the start each time: nothing that is rounded adds up.
        let end_rows = track.played_rows.saturating_add(rows as u64);
        let wall_ns = duration_ns(track.sample_rate_hz * self.speed, end_rows);
        let offset_ns = (track.offset_ns as f64 / self.speed) as i64;
        self.due.push(Reverse((wall_ns.saturating_add(offset_ns), stream)));
    }
}

impl Track {
    fn next_rows(&self, once: bool) -> usize {
        if !once {
            return self.chunk_rows;
        }
        let left = (self.rows as u64).saturating_sub(self.played_rows);
        usize::try_from(left).unwrap_or(usize::MAX).min(self.chunk_rows)
    }

    fn samples(&self, recording: &Recording, rows: usize) -> Vec<f64> {
        let channels = recording.info.channels.len().max(1);
        let mut samples = Vec::with_capacity(rows * channels);
        let mut at = ((self.phase as u64 + self.played_rows % self.rows as u64) % self.rows as u64) as usize;
        let mut left = rows;
        while left > 0 {
            let run = left.min(self.rows - at);
            let (from, to) = (at * channels, (at + run) * channels);
            samples.extend_from_slice(recording.samples.get(from..to).unwrap_or_default());
            left -= run;
            at = (at + run) % self.rows;
        }
        samples
    }
}
