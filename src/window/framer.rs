//! The framer: chunks in, frames out.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::WindowError;
use super::open_frame::{Clock, OpenFrame};
use super::snapshot::{self, Restored, Saved};
use crate::signal::{Chunk, Frame, StreamIndex, StreamInfo, StreamKey};

/// What a framer cuts.
#[derive(Clone, Copy, Debug)]
pub struct FramerConfig {
    /// Samples per channel in a frame.
    pub frame_size: usize,
    /// Channels in a frame: those that the model takes.
    pub channels: usize,
    /// How far time stamps may run ahead of the sample count before samples count as missing; `None` leaves it
    /// to the source to say so.
    pub max_gap_ns: Option<i64>,
    /// The most streams that may be open, counted as they come out.
    pub max_streams: usize,
}

/// Cuts streams into frames.
///
/// Streams are known by the index in which they were added, as their source announced them; frames carry the
/// index of the streams that [`Framer::add_stream`] made of them, in the order in which it returned them.
#[derive(Debug)]
pub struct Framer {
    config: FramerConfig,
    /// By the source's index; `None` for a stream that was refused.
    inputs: Vec<Option<Input>>,
    keys: HashSet<StreamKey>,
    streams: usize,
    /// Restored streams that were not added yet, by the source's key.
    restored: HashMap<StreamKey, Saved>,
    restored_streams: usize,
}

/// A stream of the source.
#[derive(Debug)]
struct Input {
    info: Arc<StreamInfo>,
    /// Index of the first stream that is made of it.
    first_stream: StreamIndex,
    open: OpenFrame,
}

impl Framer {
    /// A framer without streams.
    ///
    /// # Errors
    /// [`WindowError::Config`] for a frame without samples or channels, or with more than `u32::MAX` samples.
    pub fn new(config: FramerConfig) -> Result<Self, WindowError> {
        let refuse = |field, value, allowed| Err(WindowError::Config { field, value, allowed });
        if config.frame_size == 0 || u32::try_from(config.frame_size).is_err() {
            return refuse("frame_size", config.frame_size, "1 to 4294967295");
        }
        if config.channels == 0 {
            return refuse("channels", config.channels, "at least 1");
        }
        Ok(Self {
            config,
            inputs: Vec::new(),
            keys: HashSet::new(),
            streams: 0,
            restored: HashMap::new(),
            restored_streams: 0,
        })
    }

    /// Takes the source's next stream and returns what becomes of it.
    ///
    /// - A stream with as many channels as the model, if more than one, stays as it is.
    /// - For a model of one channel each channel becomes a stream of its own, with key `{key}/{channel}`; only
    ///   the key of a single channel without name stays as it is.
    ///
    /// A stream that was restored goes on where its snapshot was taken.
    ///
    /// # Errors
    /// The stream does not fit the model, its key is taken, there are too many, or it differs from the one that
    /// was restored. It keeps its index, and its chunks are refused.
    pub fn add_stream(&mut self, info: &Arc<StreamInfo>) -> Result<Vec<Arc<StreamInfo>>, WindowError> {
        self.add_stream_beside(info, 0)
    }

    /// As [`Framer::add_stream`], where `others` streams of other framers count against `max_streams`, too.
    ///
    /// # Errors
    /// The same.
    pub fn add_stream_beside(
        &mut self,
        info: &Arc<StreamInfo>,
        others: usize,
    ) -> Result<Vec<Arc<StreamInfo>>, WindowError> {
        let added = self.prepare(info, others);
        let (input, streams) = match added {
            Ok((input, streams)) => (Some(input), Ok(streams)),
            Err(error) => (None, Err(error)),
        };
        self.inputs.push(input);
        streams
    }

    fn prepare(
        &mut self,
        info: &Arc<StreamInfo>,
        others: usize,
    ) -> Result<(Input, Vec<Arc<StreamInfo>>), WindowError> {
        if !info.sample_rate_hz.is_finite() || info.sample_rate_hz <= 0.0 {
            return Err(WindowError::SampleRate {
                key: info.key.clone(),
                sample_rate_hz: info.sample_rate_hz,
            });
        }
        let streams = split(info, self.config.channels)?;
        if let Some(taken) = streams.iter().find(|stream| self.keys.contains(&stream.key)) {
            return Err(WindowError::DuplicateKey { key: taken.key.clone() });
        }
        let mut keys = HashSet::new();
        if let Some(twice) = streams.iter().find(|stream| !keys.insert(stream.key.clone())) {
            return Err(WindowError::DuplicateKey { key: twice.key.clone() });
        }
        let own = self.restored.get(&info.key);
        let waiting = self.restored_streams - own.map_or(0, Saved::streams);
        if self.streams + waiting.max(others) + streams.len() > self.config.max_streams {
            let max_streams = self.config.max_streams;
            return Err(WindowError::TooManyStreams { key: info.key.clone(), max_streams });
        }
        let open = match own {
            Some(saved) => saved.resume(info, streams.len())?,
            None => OpenFrame::new(streams.len()),
        };
        self.restored_streams = waiting;
        self.restored.remove(&info.key);
        self.keys.extend(keys);
        let first_stream = self.streams;
        self.streams += streams.len();
        Ok((Input { info: info.clone(), first_stream, open }, streams))
    }

    /// Adds a chunk and appends the frames that it completes.
    ///
    /// A frame's time is that of its first sample: the chunk's time, or the last time that the stream had plus
    /// the samples since then.
    ///
    /// # Errors
    /// [`WindowError::UnknownStream`] and [`WindowError::ChunkLength`]. The chunk is lost, and what comes after
    /// it stands after a gap; other streams are not affected.
    pub fn push(&mut self, chunk: &Chunk, frames: &mut Vec<Frame>) -> Result<(), WindowError> {
        let frame_size = self.config.frame_size;
        let input = self.inputs.get_mut(chunk.stream).and_then(Option::as_mut);
        let Some(Input { info, first_stream, open }) = input else {
            return Err(WindowError::UnknownStream { index: chunk.stream });
        };
        let channels = info.channels.len();
        let whole = chunk.samples.len().is_multiple_of(channels);
        let ahead_ns = match (chunk.time_ns, open.clock) {
            (Some(time_ns), Some(clock)) => time_ns.saturating_sub(clock.now(info)),
            _ => 0,
        };
        if !whole || chunk.after_gap || self.config.max_gap_ns.is_some_and(|max_gap| ahead_ns > max_gap) {
            open.close(*first_stream, frame_size, info.sample_type, frames);
            open.after_gap = true;
        }
        if !whole {
            let samples = chunk.samples.len();
            return Err(WindowError::ChunkLength { key: info.key.clone(), samples, channels });
        }
        if let Some(time_ns) = chunk.time_ns {
            open.clock = Some(Clock { time_ns, samples: 0 });
        }
        open.arrival_ns = chunk.arrival_ns;
        let mut rows = chunk.samples.as_slice();
        while !rows.is_empty() {
            let room = (frame_size - open.filled).saturating_mul(channels);
            let (now, later) = rows.split_at(room.min(rows.len()));
            open.extend(now, info, frame_size);
            if open.filled == frame_size {
                open.close(*first_stream, frame_size, info.sample_type, frames);
            }
            rows = later;
        }
        Ok(())
    }

    /// Closes the open frame of one of the source's streams, as for one that was idle for long. More samples
    /// may come; they begin a new frame.
    pub fn close_stream(&mut self, stream: StreamIndex, frames: &mut Vec<Frame>) {
        if let Some(input) = self.inputs.get_mut(stream).and_then(Option::as_mut) {
            input.open.close(input.first_stream, self.config.frame_size, input.info.sample_type, frames);
        }
    }

    /// Closes the open frames of all streams that were added, as at the end of a finite input.
    pub fn close(&mut self, frames: &mut Vec<Frame>) {
        for input in self.inputs.iter_mut().flatten() {
            input.open.close(input.first_stream, self.config.frame_size, input.info.sample_type, frames);
        }
    }

    /// Samples per channel in a frame.
    pub fn frame_size(&self) -> usize {
        self.config.frame_size
    }

    /// Samples per channel in the open frame of one of the source's streams.
    pub fn open_samples(&self, stream: StreamIndex) -> usize {
        self.inputs.get(stream).and_then(Option::as_ref).map_or(0, |input| input.open.filled)
    }

    /// The state of one of the source's streams, for [`Framer::restore`], and with it the position behind the last
    /// sample that it has seen.
    ///
    /// # Errors
    /// [`WindowError::UnknownStream`]; [`WindowError::Snapshot`] if it cannot be encoded.
    pub fn snapshot(&self, stream: StreamIndex, next: i64) -> Result<Vec<u8>, WindowError> {
        let input = self.input(stream)?;
        snapshot::encode(&self.config, &input.info, next, &input.open)
    }

    /// As [`Framer::snapshot`] before the first sample of the open frame, whose position `next` is.
    ///
    /// # Errors
    /// The same.
    pub fn snapshot_of_start(&self, stream: StreamIndex, next: i64) -> Result<Vec<u8>, WindowError> {
        let input = self.input(stream)?;
        snapshot::encode(&self.config, &input.info, next, &input.open.start())
    }

    fn input(&self, stream: StreamIndex) -> Result<&Input, WindowError> {
        let input = self.inputs.get(stream).and_then(Option::as_ref);
        input.ok_or(WindowError::UnknownStream { index: stream })
    }

    /// Brings back the state of a stream before it is added; returns its key and the position that the snapshot
    /// was taken with. A later snapshot of the same stream takes the place of an earlier one.
    ///
    /// # Errors
    /// [`WindowError::Snapshot`] if the snapshot is damaged or was taken of another `frame_size` or `channels`,
    /// [`WindowError::TooManyStreams`] if there are more than `max_streams`. Nothing is changed then.
    pub fn restore(&mut self, snapshot: &[u8]) -> Result<(StreamKey, i64), WindowError> {
        let Restored { key, next, saved } = snapshot::decode(&self.config, snapshot)?;
        let replaced = self.restored.get(&key).map_or(0, Saved::streams);
        let streams = self.restored_streams - replaced + saved.streams();
        let max_streams = self.config.max_streams;
        if self.streams + streams > max_streams {
            return Err(WindowError::TooManyStreams { key, max_streams });
        }
        if self.keys.contains(&key) {
            return Err(WindowError::Snapshot(format!(
                "stream {key} cannot be restored: it was added already"
            )));
        }
        self.restored_streams = streams;
        self.restored.insert(key.clone(), saved);
        Ok((key, next))
    }
}

/// The streams that become of one, for a model of `model_channels`.
fn split(info: &Arc<StreamInfo>, model_channels: usize) -> Result<Vec<Arc<StreamInfo>>, WindowError> {
    let channels = info.channels.len();
    match (model_channels, info.channels.as_slice()) {
        // What was split before, and comes from a packet file again, has its channel in its key already.
        (1, [channel]) if channel.name.is_empty() || ends_with_channel(&info.key, &channel.name) => {
            Ok(vec![Arc::clone(info)])
        }
        (1, [_, ..]) => Ok(info
            .channels
            .iter()
            .enumerate()
            .map(|(place, channel)| {
                let key = match channel.name.as_str() {
                    "" => format!("{}/ch{place}", info.key),
                    name => format!("{}/{name}", info.key),
                };
                let channels = vec![channel.clone()];
                Arc::new(StreamInfo { key: StreamKey::new(key), channels, ..StreamInfo::clone(info) })
            })
            .collect()),
        _ if channels == model_channels => Ok(vec![Arc::clone(info)]),
        _ => Err(WindowError::ModelChannels { key: info.key.clone(), channels, model_channels }),
    }
}

fn ends_with_channel(key: &StreamKey, name: &str) -> bool {
    key.as_str().strip_suffix(name).is_some_and(|start| start.ends_with('/'))
}
