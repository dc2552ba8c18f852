//! The fast encoder: normalise, run the model's encoder in tract, search the codebooks; and its decoder.

use std::iter::repeat_n;
use std::num::NonZeroUsize;
use std::thread;

use super::engine::Engine;
use super::normalise::{normalise, restore, side};
use super::{CodecError, Decoder, Encoder, FrameRun};
use crate::model::{
    Architecture, DecoderModel, ModelDirectory, ModelId, Normalisation, ResidualVectorQuantizer,
};
use crate::packet::{ChannelSide, Header, Layer, LayerId, Packet, pack_codes, unpack_codes};

/// Encodes frames with an RVQ model.
pub struct RvqEncoder {
    model: ModelId,
    architecture: Architecture,
    normalisation: Normalisation,
    quantizer: ResidualVectorQuantizer,
    lanes: Vec<Lane>,
    normalised: Vec<f32>,
}

/// One thread's share of the work; buffers are reused between calls.
struct Lane {
    engine: Engine,
    latents: Vec<f32>,
    codes: Vec<u16>,
}

impl Lane {
    fn codes(&mut self, frames: &[f32], quantizer: &ResidualVectorQuantizer) -> Result<(), CodecError> {
        self.latents.clear();
        self.codes.clear();
        self.engine.run(frames, &mut self.latents)?;
        quantizer.codes(&self.latents, &mut self.codes);
        Ok(())
    }
}

impl RvqEncoder {
    /// An encoder that shares the frames of a call among `threads`; the packets do not depend on their number.
    ///
    /// # Errors
    /// The model's `encoder.onnx` cannot be run or does not fit its architecture.
    pub fn new(model: &ModelDirectory, threads: NonZeroUsize) -> Result<Self, CodecError> {
        let architecture = model.architecture().clone();
        let lane = |_| {
            let engine = Engine::encoder(model)?;
            Ok(Lane { engine, latents: Vec::new(), codes: Vec::new() })
        };
        Ok(Self {
            model: model.id(),
            normalisation: *model.normalisation(),
            quantizer: model.quantizer().clone(),
            architecture,
            lanes: (0..threads.get()).map(lane).collect::<Result<_, CodecError>>()?,
            normalised: Vec::new(),
        })
    }

    /// Codes of the normalised frames, in order.
    fn codes(&mut self) -> Result<Vec<u16>, CodecError> {
        let values = (self.architecture.frame_size * self.architecture.in_ch).max(1);
        let share = (self.normalised.len() / values).div_ceil(self.lanes.len()).max(1) * values;
        let (quantizer, normalised) = (&self.quantizer, self.normalised.as_slice());
        let busy = normalised.len().div_ceil(share);
        let shares = || self.normalised.chunks(share);
        if let ([lane, ..], true) = (self.lanes.as_mut_slice(), busy <= 1) {
            lane.codes(normalised, quantizer)?;
        } else {
            thread::scope(|scope| {
                let working: Vec<_> = self
                    .lanes
                    .iter_mut()
                    .zip(shares())
                    .map(|(lane, frames)| scope.spawn(move || lane.codes(frames, quantizer)))
                    .collect();
                working.into_iter().try_for_each(|lane| match lane.join() {
                    Ok(result) => result,
                    Err(panic) => std::panic::resume_unwind(panic),
                })
            })?;
        }
        Ok(self.lanes.iter().take(busy).flat_map(|lane| lane.codes.iter().copied()).collect())
    }

    fn check(&self, run: &FrameRun<'_>) -> Result<(), CodecError> {
        let channels = self.architecture.in_ch;
        let samples = self.architecture.frame_size * channels;
        if run.stream.channels.len() != channels {
            let found = run.stream.channels.len();
            return Err(CodecError::Frames(format!(
                "stream '{}' has {found} channels, the model takes {channels}",
                run.stream.key
            )));
        }
        match run.frames.iter().find(|frame| frame.samples.len() != samples) {
            Some(frame) => Err(CodecError::Frames(format!(
                "frame {} of stream '{}' has {} samples, the model takes {samples}",
                frame.number,
                run.stream.key,
                frame.samples.len()
            ))),
            None if run.frames.is_empty() => {
                Err(CodecError::Frames("a packet needs at least one frame".into()))
            }
            None => Ok(()),
        }
    }
}

impl Encoder for RvqEncoder {
    fn frame_size(&self) -> usize {
        self.architecture.frame_size
    }

    fn channels(&self) -> usize {
        self.architecture.in_ch
    }

    fn encode(&mut self, runs: &[FrameRun<'_>]) -> Result<Vec<Packet>, CodecError> {
        let channels = self.architecture.in_ch;
        let mut sides = Vec::with_capacity(runs.len());
        self.normalised.clear();
        for run in runs {
            self.check(run)?;
            let mut run_sides = Vec::with_capacity(run.frames.len() * channels);
            for frame in run.frames {
                let start = run_sides.len();
                run_sides.extend(
                    (0..channels).map(|channel| side(&self.normalisation, &frame.samples, channel, channels)),
                );
                if varies(&run_sides[start..]) {
                    normalise(&frame.samples, &run_sides[start..], &mut self.normalised);
                }
            }
            sides.push(run_sides);
        }

        let codes = self.codes()?;
        let mut codes = codes.as_slice();
        let mut packets = Vec::with_capacity(runs.len());
        for (run, side) in runs.iter().zip(sides) {
            let count = varying_frames(&side, channels) * codes_per_frame(&self.architecture);
            let (own, rest) = codes
                .split_at_checked(count)
                .ok_or(CodecError::Values { found: codes.len(), expected: count })?;
            codes = rest;
            let layers = if own.is_empty() {
                Vec::new()
            } else {
                let payload = pack_codes(own, self.architecture.index_bits());
                vec![Layer { id: LayerId::PackedCodes, payload }]
            };
            packets.push(Packet { header: header(self.model, &self.architecture, run), side, layers });
        }
        Ok(packets)
    }
}

fn header(model: ModelId, architecture: &Architecture, run: &FrameRun<'_>) -> Header {
    let first = run.frames.first();
    Header {
        model,
        key_packet: true,
        after_gap: first.is_some_and(|frame| frame.after_gap),
        sample_type: run.stream.sample_type,
        channels: run.stream.channels.len() as u16,
        sample_rate_hz: run.stream.sample_rate_hz,
        frame_size: architecture.frame_size as u32,
        first_frame: first.map_or(0, |frame| frame.number),
        time_ns: first.and_then(|frame| frame.time_ns),
        frames: run.frames.len() as u32,
        last_valid: run.frames.last().map_or(0, |frame| frame.valid),
    }
}

/// Decodes the packets of an RVQ model.
pub struct RvqDecoder {
    model: ModelId,
    architecture: Architecture,
    quantizer: ResidualVectorQuantizer,
    engine: Engine,
    latents: Vec<f32>,
    normalised: Vec<f32>,
}

impl RvqDecoder {
    /// # Errors
    /// The model's `decoder.onnx` cannot be run or does not fit its architecture.
    pub fn new(model: &ModelDirectory) -> Result<Self, CodecError> {
        Self::build(model.id(), model.architecture(), model.quantizer(), model.decoder_onnx())
    }

    /// As [`RvqDecoder::new`], from the part of a model that decodes.
    ///
    /// # Errors
    /// The same.
    pub fn of_part(model: &DecoderModel) -> Result<Self, CodecError> {
        Self::build(model.id(), model.architecture(), model.quantizer(), model.decoder_onnx())
    }

    fn build(
        model: ModelId,
        architecture: &Architecture,
        quantizer: &ResidualVectorQuantizer,
        decoder_onnx: &[u8],
    ) -> Result<Self, CodecError> {
        Ok(Self {
            model,
            engine: Engine::decoder(architecture, decoder_onnx)?,
            architecture: architecture.clone(),
            quantizer: quantizer.clone(),
            latents: Vec::new(),
            normalised: Vec::new(),
        })
    }

    fn misfit(&self, reason: String) -> CodecError {
        CodecError::Packet { model: self.model, reason }
    }

    fn check(&self, packet: &Packet) -> Result<(), CodecError> {
        let header = &packet.header;
        let channels = self.architecture.out_ch;
        if header.model != self.model {
            return Err(self.misfit(format!("it was made by model {}", header.model)));
        }
        let found = (header.frame_size as usize, usize::from(header.channels));
        if found != (self.architecture.frame_size, channels) {
            return Err(self.misfit(format!(
                "its frames are {} samples of {} channels, the model's {} of {channels}",
                found.0, found.1, self.architecture.frame_size
            )));
        }
        if packet.side.len() != header.frames as usize * channels {
            return Err(self.misfit(format!("{} scalings for {} frames", packet.side.len(), header.frames)));
        }
        Ok(())
    }
}

impl Decoder for RvqDecoder {
    fn decode(&mut self, packet: &Packet) -> Result<Vec<f64>, CodecError> {
        self.check(packet)?;
        let channels = self.architecture.out_ch;
        let count = varying_frames(&packet.side, channels) * codes_per_frame(&self.architecture);
        let payload = match packet.layers.as_slice() {
            [] => &[],
            [Layer { id: LayerId::PackedCodes, payload }] => payload.as_slice(),
            layers => return Err(self.misfit(format!("{} layers, an RVQ packet has one", layers.len()))),
        };
        let codes = unpack_codes(payload, self.architecture.index_bits(), count)
            .map_err(|error| self.misfit(error.to_string()))?;

        self.latents.clear();
        self.quantizer
            .lookup(&codes, &mut self.latents)
            .map_err(|error| CodecError::Packet { model: self.model, reason: error.to_string() })?;
        self.normalised.clear();
        self.engine.run(&self.latents, &mut self.normalised)?;

        let frame_samples = self.architecture.frame_size * channels;
        let mut samples = Vec::with_capacity(packet.header.frames as usize * frame_samples);
        let mut decoded = self.normalised.chunks_exact(frame_samples);
        for sides in packet.side.chunks_exact(channels) {
            if varies(sides) {
                let frame = decoded.next().ok_or(CodecError::Values { found: 0, expected: frame_samples })?;
                restore(frame, sides, &mut samples);
            } else {
                let values = sides.iter().map(|side| side.offset_and_scale().0);
                samples.extend(repeat_n(values, self.architecture.frame_size).flatten());
            }
        }
        samples.truncate(packet.header.valid_samples() as usize * channels);
        let sample_type = packet.header.sample_type;
        for sample in &mut samples {
            *sample = sample_type.nearest(*sample);
        }
        Ok(samples)
    }
}

fn codes_per_frame(architecture: &Architecture) -> usize {
    architecture.latent_positions() * architecture.num_levels
}

/// True if the frame with these scalings has codes.
fn varies(sides: &[ChannelSide]) -> bool {
    !sides.iter().all(|side| side.is_constant())
}

fn varying_frames(sides: &[ChannelSide], channels: usize) -> usize {
    sides.chunks_exact(channels).filter(|sides| varies(sides)).count()
}
