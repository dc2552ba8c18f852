//! The pipeline over partitions in memory, with an encoder that computes nothing.

mod broker;
mod exactly_once;
mod resuming;
mod running;

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use proptest::prelude::*;

use super::{EncodeError, EncodeOptions, EncodeStage, StateKept};
use crate::codec::{CodecError, Encoder, FrameRun};
use crate::model::ModelId;
use crate::packet::{ChannelSide, Header, Packet};
use crate::signal::{
    ChannelInfo, Checkpoint, Chunk, DeadLetter, Frame, Origin, OriginIndex, Position, SampleType,
    StreamIndex, StreamInfo, StreamKey, duration_ns,
};
use crate::source::OpenOrigin;
use crate::window::FramerConfig;

/// What streams and frames look like.
#[derive(Clone, Copy, Debug)]
struct Shape {
    frame_size: usize,
    model_channels: usize,
    source_channels: usize,
    frames_per_packet: usize,
    sample_rate_hz: f64,
    max_streams: usize,
    state: StateKept,
}

impl Shape {
    /// Frames of 4 samples of one channel.
    const SMALL: Self = Self {
        frame_size: 4,
        model_channels: 1,
        source_channels: 1,
        frames_per_packet: 1,
        sample_rate_hz: 1000.0,
        max_streams: 100,
        state: StateKept::Windows,
    };

    fn info(&self, key: &StreamKey) -> StreamInfo {
        StreamInfo {
            key: key.clone(),
            sample_rate_hz: self.sample_rate_hz,
            sample_type: SampleType::F64,
            stored_bits: 64,
            channels: (0..self.source_channels).map(|_| ChannelInfo::unscaled("")).collect(),
        }
    }

    fn stage(&self) -> EncodeStage {
        let encoder = Bare { frame_size: self.frame_size, channels: self.model_channels };
        let framer = FramerConfig {
            frame_size: self.frame_size,
            channels: self.model_channels,
            max_gap_ns: Some(duration_ns(self.sample_rate_hz, 10)),
            max_streams: self.max_streams,
        };
        let options = EncodeOptions {
            frames_per_packet: NonZeroUsize::new(self.frames_per_packet).unwrap(),
            batch_size: NonZeroUsize::new(4).unwrap(),
            state: self.state,
        };
        EncodeStage::new(Box::new(encoder), framer, options).unwrap()
    }
}

fn any_shape(state: StateKept) -> impl Strategy<Value = Shape> {
    let channels = prop::sample::select(vec![(1, 1), (1, 2), (2, 2)]);
    (1..12_usize, channels, 1..4_usize, prop::sample::select(vec![1000.0, 360.0])).prop_map(
        move |(frame_size, (model_channels, source_channels), frames_per_packet, sample_rate_hz)| Shape {
            frame_size,
            model_channels,
            source_channels,
            frames_per_packet,
            sample_rate_hz,
            state,
            ..Shape::SMALL
        },
    )
}

/// Packs frames without looking at their samples: what the tests compare are the frames themselves.
struct Bare {
    frame_size: usize,
    channels: usize,
}

impl Encoder for Bare {
    fn frame_size(&self) -> usize {
        self.frame_size
    }

    fn channels(&self) -> usize {
        self.channels
    }

    fn encode(&mut self, runs: &[FrameRun<'_>]) -> Result<Vec<Packet>, CodecError> {
        let packet = |run: &FrameRun<'_>| Packet {
            header: Header {
                model: ModelId([0; 8]),
                key_packet: true,
                after_gap: run.frames[0].after_gap,
                sample_type: run.stream.sample_type,
                channels: self.channels as u16,
                sample_rate_hz: run.stream.sample_rate_hz,
                frame_size: self.frame_size as u32,
                first_frame: run.frames[0].number,
                time_ns: run.frames[0].time_ns,
                frames: run.frames.len() as u32,
                last_valid: run.frames[run.frames.len() - 1].valid,
            },
            side: vec![ChannelSide::Constant(0.0); run.frames.len() * self.channels],
            layers: Vec::new(),
        };
        Ok(runs.iter().map(packet).collect())
    }
}

/// A message of a partition: rows of one stream in any number of chunks; one without chunks is passed over.
#[derive(Clone, Debug)]
struct Message {
    key: StreamKey,
    /// Time and samples of each.
    chunks: Vec<(Option<i64>, Vec<f64>)>,
}

/// Messages of the keys `{name}0`, `{name}1`, and so on: some after a gap in time, some that are broken, and a last
/// one for each key that is as long as a frame, so that nothing of what came before stays in an open frame.
fn messages(shape: Shape, name: &'static str, keys: usize) -> impl Strategy<Value = Vec<Message>> {
    let one =
        (0..keys, prop::collection::vec(0..14_usize, 0..4), prop::sample::select(vec![0, 0, 0, 0, 5, 50]));
    let one = (one, prop::bool::weighted(0.05), prop::bool::weighted(0.7));
    (prop::collection::vec(one, 0..40), any::<bool>()).prop_map(move |(mut all, timed)| {
        all.extend((0..keys).map(|key| ((key, vec![shape.frame_size], 0), false, true)));
        let mut written = vec![(0_u64, 0_u64); keys];
        all.into_iter()
            .map(|((key, sizes, late), broken, has_time)| {
                let (rows, missing) = &mut written[key];
                *missing += late;
                // Times that are counted on come out to the nanosecond only where a sample lasts whole ones.
                let has_time = if shape.sample_rate_hz == 1000.0 { has_time } else { timed };
                let chunks = sizes.into_iter().map(|size| {
                    let time_ns =
                        has_time.then(|| shape.info(&StreamKey::new("")).duration_ns(*rows + *missing));
                    let count =
                        size * shape.source_channels + usize::from(broken && shape.source_channels > 1);
                    let first = key as u64 * 1_000_000 + *rows * shape.source_channels as u64;
                    *rows += size as u64;
                    (time_ns, (first..).take(count).map(|sample| sample as f64).collect())
                });
                Message { chunks: chunks.collect(), key: StreamKey::new(format!("{name}{key}")) }
            })
            .collect()
    })
}

/// The frames of each stream, in order.
type Frames = BTreeMap<StreamKey, Vec<Frame>>;

/// What a group and a changelog keep of a partition.
#[derive(Clone, Debug, Default)]
struct Kept {
    next: i64,
    note: Option<String>,
    windows: BTreeMap<StreamKey, Vec<u8>>,
}

impl Kept {
    /// Keeps what a checkpoint of one origin says.
    fn keep(&mut self, checkpoint: Checkpoint) {
        for origin in checkpoint.origins {
            self.next = origin.next;
            self.note = origin.note;
            self.windows.extend(origin.windows);
        }
    }
}

/// A stage and the source's side of it: what a partition's streams are called, and where it is read next.
struct Reading {
    shape: Shape,
    stage: EncodeStage,
    opened: OriginIndex,
    partitions: BTreeMap<usize, Partition>,
    names: HashMap<StreamIndex, StreamKey>,
}

struct Partition {
    origin: OriginIndex,
    next: usize,
    keys: Vec<StreamKey>,
}

impl Reading {
    fn new(shape: Shape) -> Self {
        let (partitions, names) = (BTreeMap::new(), HashMap::new());
        Self { shape, stage: shape.stage(), opened: 0, partitions, names }
    }

    /// Takes up a partition where `kept` says, but reads it from `from`.
    fn open(&mut self, partition: usize, kept: &Kept, from: i64) -> Result<(), EncodeError> {
        self.opened += 1;
        self.stage.open(OpenOrigin {
            index: self.opened,
            origin: Origin::Partition { topic: "t".into(), partition: partition as i32 },
            next: from,
            note: kept.note.clone(),
            windows: kept.windows.values().cloned().collect(),
            after_gap: false,
        })?;
        let next = from as usize;
        self.partitions.insert(partition, Partition { origin: self.opened, next, keys: Vec::new() });
        Ok(())
    }

    fn close(&mut self, partition: usize) {
        if let Some(Partition { origin, .. }) = self.partitions.remove(&partition) {
            self.stage.close(&[origin]);
        }
    }

    fn close_all(&mut self) {
        self.partitions.clear();
        self.stage.close_all();
    }

    /// Reads the next message of a partition, if there is one.
    fn read(&mut self, partition: usize, log: &[Message]) -> Result<Vec<DeadLetter>, EncodeError> {
        let Some(Partition { origin, next, keys }) = self.partitions.get_mut(&partition) else {
            return Ok(Vec::new());
        };
        let Some(message) = log.get(*next) else { return Ok(Vec::new()) };
        let (origin, position) = (*origin, Position::Offset(*next as i64));
        *next += 1;
        if message.chunks.is_empty() {
            self.stage.pass(origin, position);
            return Ok(Vec::new());
        }
        let stream = match keys.iter().position(|key| *key == message.key) {
            Some(stream) => stream,
            None => {
                keys.push(message.key.clone());
                match self.stage.add_stream(origin, self.shape.info(&message.key)) {
                    Ok(added) => {
                        self.names.extend(added.into_iter().map(|(index, info)| (index, info.key.clone())));
                    }
                    Err(EncodeError::Window(_)) => {}
                    Err(error) => return Err(error),
                }
                keys.len() - 1
            }
        };
        let mut letters = Vec::new();
        for (time_ns, samples) in &message.chunks {
            let (time_ns, samples) = (*time_ns, samples.clone());
            let chunk =
                Chunk { origin, stream, position, arrival_ns: None, time_ns, after_gap: false, samples };
            letters.extend(self.stage.push(chunk, Instant::now())?);
        }
        Ok(letters)
    }

    fn read_to(&mut self, partition: usize, log: &[Message], end: usize) {
        while self.partitions[&partition].next < end {
            self.read(partition, log).unwrap();
        }
    }

    /// The frames of full packets, in the order in which they leave.
    fn encoded(&mut self) -> Vec<(StreamKey, Frame)> {
        let mut outgoing = Vec::new();
        self.stage.encode(&mut outgoing).unwrap();
        let frames = outgoing.into_iter().flat_map(|packet| {
            let key = self.names[&packet.stream].clone();
            packet.frames.into_iter().map(move |frame| (key.clone(), nameless(frame)))
        });
        frames.collect()
    }

    /// All frames so far, and the checkpoint behind them.
    fn checkpoint(&mut self) -> (Vec<(StreamKey, Frame)>, Checkpoint) {
        self.stage.flush();
        let frames = self.encoded();
        (frames, self.stage.checkpoint().unwrap())
    }
}

/// A frame without the number of its stream, which depends on the order in which keys come.
fn nameless(frame: Frame) -> Frame {
    Frame { stream: 0, ..frame }
}

fn by_key(frames: impl IntoIterator<Item = (StreamKey, Frame)>) -> Frames {
    let mut all = Frames::new();
    frames.into_iter().for_each(|(key, frame)| all.entry(key).or_default().push(frame));
    all
}

/// What a run gives that reads a partition to its end without being disturbed.
fn undisturbed(shape: Shape, log: &[Message]) -> Frames {
    let mut reading = Reading::new(shape);
    reading.open(0, &Kept::default(), 0).unwrap();
    reading.read_to(0, log, log.len());
    by_key(reading.checkpoint().0)
}

/// A message of whole rows.
fn message(key: &str, samples: impl IntoIterator<Item = u32>) -> Message {
    Message { key: StreamKey::new(key), chunks: vec![(None, samples.into_iter().map(f64::from).collect())] }
}
