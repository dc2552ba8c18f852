//! Side information as bits: each frame's scaling as its difference to the frame before.
//!
//! Channels follow each other whole, so that a reader needs no state per channel.

use super::bits::{BitReader, BitWriter, unzigzag, zigzag};
use super::error::PacketError;
use super::side::{ChannelSide, steps_in_scale};
use crate::signal::SampleType;

/// What scale steps are predicted to be where there is no frame before: a scale of 32.
const FIRST_SCALE_STEPS: i32 = 80;
/// Order of the codes of a channel's first scale and offset; both were fitted to ECG recordings.
const FIRST_SCALE_ORDER: u32 = 5;
const FIRST_OFFSET_ORDER: u32 = 11;
/// Order of the code of a channel's first constant count, and of those after it.
const FIRST_CONSTANT_ORDER: u32 = 8;
const NEXT_CONSTANT_ORDER: u32 = 0;

/// An entry never takes less than this.
pub(super) const MIN_ENTRY_BITS: usize = 2;

/// What the side information of a packet looks like besides its values.
#[derive(Clone, Copy, Debug)]
pub(super) struct SideShape {
    pub(super) channels: usize,
    pub(super) sample_type: SampleType,
    /// True if entries say whether they are constants; else none is.
    pub(super) constants: bool,
}

/// Writes `side`, all channels of the first frame first, whose length is a multiple of `shape.channels`.
pub(super) fn encode(writer: &mut BitWriter, side: &[ChannelSide], shape: SideShape) {
    let mut rates = Rates::default();
    for channel in 0..shape.channels {
        let mut before = Before::default();
        for &entry in side.iter().skip(channel).step_by(shape.channels.max(1)) {
            if shape.constants {
                writer.put(u32::from(entry.is_constant()), 1);
            }
            match entry {
                ChannelSide::Constant(value) => before.put_constant(writer, value, shape.sample_type),
                ChannelSide::Scaled { scale_steps, offset_steps } => {
                    before.put_scaled(writer, &mut rates, scale_steps, offset_steps);
                }
            }
        }
    }
}

/// Reads what [`encode`] wrote for `frames` frames from the start of `bytes`, and how many bytes it took.
///
/// # Errors
/// The bytes end too early or hold a number that nothing writes.
pub(super) fn decode(
    bytes: &[u8],
    frames: usize,
    shape: SideShape,
) -> Result<(Vec<ChannelSide>, usize), PacketError> {
    let entries = frames.saturating_mul(shape.channels);
    if entries.saturating_mul(MIN_ENTRY_BITS) > bytes.len().saturating_mul(8) {
        return Err(PacketError::insufficient(format!(
            "side information: {frames} frames of {} channels cannot be in {} bytes",
            shape.channels,
            bytes.len()
        )));
    }
    let mut reader = BitReader::new(bytes);
    let mut side = vec![ChannelSide::Constant(0.0); entries];
    let mut rates = Rates::default();
    for channel in 0..shape.channels {
        let mut before = Before::default();
        for (frame, entry) in side.iter_mut().skip(channel).step_by(shape.channels.max(1)).enumerate() {
            let read = before.take(&mut reader, &mut rates, shape);
            *entry = read.ok_or_else(|| {
                PacketError::corruption(format!(
                    "side information of frame {frame}, channel {channel}: it ends early or holds an impossible number"
                ))
            })?;
        }
    }
    let used = reader.finish().ok_or_else(|| {
        PacketError::corruption("side information: the unused bits of its last byte are not zero")
    })?;
    Ok((side, used))
}

/// The last entries of a channel.
#[derive(Debug, Default)]
struct Before {
    scaled: Option<(i32, i64)>,
    constant: Option<f64>,
}

impl Before {
    fn put_scaled(&mut self, writer: &mut BitWriter, rates: &mut Rates, scale_steps: i32, offset_steps: i64) {
        match self.scaled {
            None => {
                let scale = scale_steps.wrapping_sub(FIRST_SCALE_STEPS);
                writer.put_golomb(zigzag(i64::from(scale)), FIRST_SCALE_ORDER);
                writer.put_golomb(zigzag(offset_steps), FIRST_OFFSET_ORDER);
            }
            Some((last_scale, last_offset)) => {
                let scale = zigzag(i64::from(scale_steps.wrapping_sub(last_scale)));
                writer.put_golomb(scale, rates.scale.order());
                rates.scale.learn(scale);
                let expected = steps_in_scale(last_offset, last_scale, scale_steps);
                let offset = zigzag(offset_steps.wrapping_sub(expected));
                writer.put_golomb(offset, rates.offset.order());
                rates.offset.learn(offset);
            }
        }
        self.scaled = Some((scale_steps, offset_steps));
    }

    fn put_constant(&mut self, writer: &mut BitWriter, value: f64, sample_type: SampleType) {
        if sample_type.is_integer() {
            let difference = (value as i64).wrapping_sub(self.constant_count());
            writer.put_golomb(zigzag(difference), self.constant_order());
        } else {
            let same = self.constant.is_some_and(|last| last.to_bits() == value.to_bits());
            writer.put(u32::from(same), 1);
            match sample_type {
                _ if same => {}
                SampleType::F32 => writer.put((value as f32).to_bits(), 32),
                _ => writer.put_long(value.to_bits(), 64),
            }
        }
        self.constant = Some(value);
    }

    fn take(
        &mut self,
        reader: &mut BitReader<'_>,
        rates: &mut Rates,
        shape: SideShape,
    ) -> Option<ChannelSide> {
        if shape.constants && reader.take(1)? == 1 {
            let value = self.take_constant(reader, shape.sample_type)?;
            self.constant = Some(value);
            return Some(ChannelSide::Constant(value));
        }
        let (scale_steps, offset_steps) = match self.scaled {
            None => {
                let scale = i32::try_from(unzigzag(reader.take_golomb(FIRST_SCALE_ORDER)?)).ok()?;
                let offset = unzigzag(reader.take_golomb(FIRST_OFFSET_ORDER)?);
                (scale.wrapping_add(FIRST_SCALE_STEPS), offset)
            }
            Some((last_scale, last_offset)) => {
                let scale = reader.take_golomb(rates.scale.order())?;
                rates.scale.learn(scale);
                let scale_steps = last_scale.wrapping_add(i32::try_from(unzigzag(scale)).ok()?);
                let offset = reader.take_golomb(rates.offset.order())?;
                rates.offset.learn(offset);
                let expected = steps_in_scale(last_offset, last_scale, scale_steps);
                (scale_steps, expected.wrapping_add(unzigzag(offset)))
            }
        };
        self.scaled = Some((scale_steps, offset_steps));
        Some(ChannelSide::Scaled { scale_steps, offset_steps })
    }

    fn take_constant(&self, reader: &mut BitReader<'_>, sample_type: SampleType) -> Option<f64> {
        if sample_type.is_integer() {
            let difference = unzigzag(reader.take_golomb(self.constant_order())?);
            return Some(self.constant_count().wrapping_add(difference) as f64);
        }
        if reader.take(1)? == 1 {
            return self.constant;
        }
        match sample_type {
            SampleType::F32 => Some(f64::from(f32::from_bits(reader.take(32)?))),
            _ => Some(f64::from_bits(reader.take_long(64)?)),
        }
    }

    fn constant_count(&self) -> i64 {
        self.constant.unwrap_or(0.0) as i64
    }

    fn constant_order(&self) -> u32 {
        if self.constant.is_some() { NEXT_CONSTANT_ORDER } else { FIRST_CONSTANT_ORDER }
    }
}

/// How large differences have been in this packet.
#[derive(Debug)]
struct Rates {
    scale: Rate,
    offset: Rate,
}

impl Default for Rates {
    /// As if two differences had come before, of the size that ECG recordings have.
    fn default() -> Self {
        Self { scale: Rate { sum: 16, count: 2 }, offset: Rate { sum: 48, count: 2 } }
    }
}

/// A fading mean of magnitudes.
#[derive(Debug)]
struct Rate {
    sum: u64,
    count: u64,
}

impl Rate {
    /// When as many have been counted, both sum and count are halved.
    const WINDOW: u64 = 16;
    /// Larger magnitudes count as this one, so that the sum cannot overflow.
    const CAP: u64 = 1 << 40;

    /// The order of the code that suits magnitudes of this mean: the least with 2^(order + 1) >= mean.
    fn order(&self) -> u32 {
        let mut order = 0;
        while self.count << (order + 1) < self.sum {
            order += 1;
        }
        order
    }

    fn learn(&mut self, magnitude: u64) {
        self.sum += magnitude.min(Self::CAP);
        self.count += 1;
        if self.count == Self::WINDOW {
            self.sum /= 2;
            self.count /= 2;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn entry(sample_type: SampleType) -> impl Strategy<Value = ChannelSide> {
        let scale = prop_oneof![any::<i32>(), 60..100_i32];
        let offset = prop_oneof![any::<i64>(), -2000..2000_i64];
        let constant = prop_oneof![any::<f64>(), -3.0..3.0].prop_map(move |value| {
            ChannelSide::Constant(sample_type.nearest(if value.is_nan() { 0.0 } else { value }))
        });
        prop_oneof![
            3 => (scale, offset)
                .prop_map(|(scale_steps, offset_steps)| ChannelSide::Scaled { scale_steps, offset_steps }),
            1 => constant,
        ]
    }

    fn any_side() -> impl Strategy<Value = (Vec<ChannelSide>, SampleType, usize)> {
        (prop::sample::select(SampleType::ALL.to_vec()), 1..4_usize, 1..20_usize).prop_flat_map(
            |(sample_type, channels, frames)| {
                let side = prop::collection::vec(entry(sample_type), channels * frames);
                (side, Just(sample_type), Just(channels))
            },
        )
    }

    proptest! {
        #[test]
        fn every_value_comes_back((side, sample_type, channels) in any_side()) {
            let shape = SideShape { channels, sample_type, constants: true };
            let mut writer = BitWriter::default();
            encode(&mut writer, &side, shape);
            let bytes = writer.finish();
            let (found, used) = decode(&bytes, side.len() / channels, shape).unwrap();
            prop_assert_eq!(used, bytes.len());
            prop_assert_eq!(found, side);
        }

        #[test]
        fn any_bits_are_safe(
            bytes in prop::collection::vec(any::<u8>(), 0..60),
            sample_type in prop::sample::select(SampleType::ALL.to_vec()),
            channels in 0..5_usize,
            frames in 0..50_usize,
            constants in any::<bool>(),
        ) {
            if let Ok((side, used)) = decode(&bytes, frames, SideShape { channels, sample_type, constants }) {
                prop_assert_eq!(side.len(), frames * channels);
                prop_assert!(side.len() * MIN_ENTRY_BITS <= used * 8);
            }
        }
    }

    #[test]
    fn repeated_constants_take_two_bits() {
        let shape = SideShape { channels: 1, sample_type: SampleType::I16, constants: true };
        let mut writer = BitWriter::default();
        encode(&mut writer, &[ChannelSide::Constant(1024.0); 101], shape);
        assert_eq!(writer.finish().len(), (16 + 100 * 2_usize).div_ceil(8));
    }

    #[test]
    fn claims_beyond_the_bytes_are_refused_before_allocating() {
        let shape = SideShape { channels: usize::MAX, sample_type: SampleType::F64, constants: true };
        assert!(decode(&[0; 8], usize::MAX, shape).is_err());
    }
}
