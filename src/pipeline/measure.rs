//! Measures a model on a recording: the pipeline's own stages, one after the other, with a look inside.

use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Instant;

use super::encode::{EncodeError, EncodeOptions, EncodeStage, StateKept};
use crate::codec::{CodecError, Decoder, RvqDecoder, RvqEncoder};
use crate::fidelity::StreamFidelity;
use crate::model::ModelDirectory;
use crate::packet::{Packet, PacketError, rvl};
use crate::signal::{DeadLetter, StreamInfo};
use crate::sink::Outgoing;
use crate::source::file::{self, FileOptions};
use crate::source::{SourceError, SourceEvent};
use crate::window::FramerConfig;

/// How recordings are cut and packed while they are measured.
#[derive(Clone, Debug)]
pub struct MeasureOptions {
    /// Frames of a packet.
    pub frames_per_packet: NonZeroUsize,
    /// Frames of an inference, about.
    pub batch_size: NonZeroUsize,
    /// How files are read.
    pub file: FileOptions,
}

/// What was measured on one recording.
#[derive(Clone, Debug)]
pub struct Measured {
    /// Each stream with its fidelity and two excerpts.
    pub streams: Vec<MeasuredStream>,
    /// Samples of all channels.
    pub samples: u64,
    /// Frames.
    pub frames: u64,
    /// Samples times the bits they are stored with.
    pub bits_in: u64,
    /// Bytes of the `.rvl` file that the recording makes.
    pub bytes_out: u64,
    /// Inputs that could not be used.
    pub dead_letters: Vec<DeadLetter>,
}

/// One stream of a measured recording.
#[derive(Clone, Debug)]
pub struct MeasuredStream {
    /// The stream.
    pub info: StreamInfo,
    /// Its fidelity.
    pub fidelity: StreamFidelity,
    /// Its first frames.
    pub beginning: Excerpt,
    /// The frame with the largest PRD.
    pub worst: Excerpt,
}

/// A run of samples of a stream's first channel before and after the codec.
#[derive(Clone, Debug, Default)]
pub struct Excerpt {
    /// Samples of the stream before it, without padding.
    pub first_sample: u64,
    /// What went in.
    pub original: Vec<f64>,
    /// What came out.
    pub decoded: Vec<f64>,
    /// The largest PRD of a frame in it.
    pub prd_percent: f64,
}

/// Why a recording cannot be measured.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// It cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// It does not fit the model, or encoding failed.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// The model's networks cannot be run, or decoding failed.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// A packet cannot be written or read back.
    #[error("a packet cannot be written or read back: {0}")]
    Packet(#[from] PacketError),
}

/// Frames of the excerpt from a stream's beginning.
const BEGINNING_FRAMES: usize = 2;

/// Encodes and decodes a whole recording with `model`.
///
/// # Errors
/// The recording cannot be read or does not fit the model.
pub fn measure(
    model: &ModelDirectory,
    recording: &Path,
    options: &MeasureOptions,
) -> Result<Measured, MeasureError> {
    let architecture = model.architecture();
    let framer = FramerConfig {
        frame_size: architecture.frame_size,
        channels: architecture.in_ch,
        max_gap_ns: None,
        max_streams: usize::MAX,
    };
    let encoder = RvqEncoder::new(model, NonZeroUsize::MIN)?;
    let encode = EncodeOptions {
        frames_per_packet: options.frames_per_packet,
        batch_size: options.batch_size,
        state: StateKept::Windows,
    };
    let mut stage = EncodeStage::new(Box::new(encoder), framer, encode)?;
    let mut receiver = Receiver::new(RvqDecoder::new(model)?)?;
    let mut source = file::open(recording, &options.file)?;
    let mut dead_letters = Vec::new();
    let mut outgoing = Vec::new();
    loop {
        let event = source.next_event()?;
        let end = matches!(event, SourceEvent::End);
        match event {
            SourceEvent::Stream { origin, info } => {
                for (_, info) in stage.add_stream(origin, info)? {
                    receiver.add_stream(StreamInfo::clone(&info))?;
                }
            }
            SourceEvent::Chunk(chunk) => dead_letters.extend(stage.push(chunk, Instant::now())?),
            SourceEvent::DeadLetter { letter, .. } => dead_letters.push(letter),
            SourceEvent::End => stage.finish(),
            // A recording has neither origins that come and go nor a live end.
            _ => {}
        }
        stage.encode(&mut outgoing)?;
        for outgoing in outgoing.drain(..) {
            receiver.take(&outgoing)?;
        }
        if end {
            return receiver.finish(dead_letters);
        }
    }
}

/// Writes packets as a file would hold them, decodes them and compares.
struct Receiver {
    decoder: RvqDecoder,
    writer: rvl::Writer<std::io::Sink>,
    numbers: Vec<u32>,
    streams: Vec<MeasuredStream>,
    samples_before: Vec<u64>,
    samples: u64,
    frames: u64,
    bits_in: u64,
}

impl Receiver {
    fn new(decoder: RvqDecoder) -> Result<Self, MeasureError> {
        let writer = rvl::Writer::new(std::io::sink())?;
        Ok(Self {
            decoder,
            writer,
            numbers: Vec::new(),
            streams: Vec::new(),
            samples_before: Vec::new(),
            samples: 0,
            frames: 0,
            bits_in: 0,
        })
    }

    fn add_stream(&mut self, info: StreamInfo) -> Result<(), MeasureError> {
        self.numbers.push(self.writer.add_stream(&info)?);
        let fidelity = StreamFidelity::new(info.channels.len());
        self.samples_before.push(0);
        self.streams.push(MeasuredStream {
            info,
            fidelity,
            beginning: Excerpt::default(),
            worst: Excerpt::default(),
        });
        Ok(())
    }

    fn take(&mut self, outgoing: &Outgoing) -> Result<(), MeasureError> {
        let Some(number) = self.numbers.get(outgoing.stream) else { return Ok(()) };
        self.writer.write_packet(*number, &outgoing.bytes)?;
        let decoded = self.decoder.decode(&Packet::from_bytes(&outgoing.bytes)?)?;
        let (Some(stream), Some(before)) =
            (self.streams.get_mut(outgoing.stream), self.samples_before.get_mut(outgoing.stream))
        else {
            return Ok(());
        };
        let channels = stream.info.channels.len();
        for (frame, original, own) in outgoing.with_decoded(&decoded) {
            let prd = stream.fidelity.add_frame(original, own).flatten().fold(0.0, f64::max);
            let first_channel =
                |samples: &[f64]| samples.iter().copied().step_by(channels).collect::<Vec<_>>();
            if stream.beginning.original.len() < BEGINNING_FRAMES * frame.valid as usize {
                stream.beginning.original.extend(first_channel(original));
                stream.beginning.decoded.extend(first_channel(own));
                stream.beginning.prd_percent = stream.beginning.prd_percent.max(prd);
            }
            if prd > stream.worst.prd_percent {
                stream.worst = Excerpt {
                    first_sample: *before,
                    original: first_channel(original),
                    decoded: first_channel(own),
                    prd_percent: prd,
                };
            }
            *before += u64::from(frame.valid);
            self.samples += original.len() as u64;
            self.bits_in += original.len() as u64 * u64::from(stream.info.stored_bits);
            self.frames += 1;
        }
        Ok(())
    }

    fn finish(self, dead_letters: Vec<DeadLetter>) -> Result<Measured, MeasureError> {
        let (_, parts) = self.writer.finish()?;
        Ok(Measured {
            streams: self.streams,
            samples: self.samples,
            frames: self.frames,
            bits_in: self.bits_in,
            bytes_out: parts.total(),
            dead_letters,
        })
    }
}
