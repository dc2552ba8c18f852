//! The binary range coder: 32 bits, without carry, as in lpaq (Mahoney 2007).

use super::tables::COST;

/// Takes bits under a probability: an encoder writes them, a decoder reads them, a cost counts them. A model that
/// codes through this trait is the same for all three.
pub trait BitCoder {
    /// Codes a bit of which a one has the probability `p1` / 65536, 1 to 65535. Returns the bit: an encoder the one
    /// that it was given, a decoder the one that it read, whatever it was given.
    fn code(&mut self, bit: bool, p1: u32) -> bool;

    /// Codes a bit of which nothing is known.
    fn code_even(&mut self, bit: bool) -> bool {
        self.code(bit, 1 << 15)
    }

    /// True where the bits come from what was written: what is handed to [`BitCoder::code`] does not matter.
    fn reads(&self) -> bool {
        false
    }

    /// True once more has been read than was ever written: what comes is noise, and the caller gives up.
    fn is_exhausted(&self) -> bool {
        false
    }
}

/// The part of the number line that the bits so far have left.
#[derive(Clone, Debug)]
struct Interval {
    low: u32,
    high: u32,
}

impl Interval {
    const WHOLE: Self = Self { low: 0, high: u32::MAX };

    /// The last number of the part that belongs to a one.
    #[inline(always)]
    fn split(&self, p1: u32) -> u32 {
        let range = self.high - self.low;
        self.low + ((u64::from(range) * u64::from(p1)) >> 16) as u32
    }

    #[inline(always)]
    fn narrow(&mut self, bit: bool, split: u32) {
        match bit {
            true => self.high = split,
            false => self.low = split + 1,
        }
    }

    /// The first byte, once nothing can change it any more.
    #[inline(always)]
    fn settled(&mut self) -> Option<u8> {
        if (self.low ^ self.high) >> 24 != 0 {
            return None;
        }
        let byte = (self.high >> 24) as u8;
        self.low <<= 8;
        self.high = (self.high << 8) | 255;
        Some(byte)
    }
}

/// Writes bits.
#[derive(Clone, Debug)]
pub struct RangeEncoder {
    interval: Interval,
    bytes: Vec<u8>,
}

impl Default for RangeEncoder {
    fn default() -> Self {
        Self::new()
    }
}

impl RangeEncoder {
    /// An encoder of nothing yet.
    pub fn new() -> Self {
        Self { interval: Interval::WHOLE, bytes: Vec::new() }
    }

    /// Bytes so far, short of the last few.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// True if no byte is settled yet.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The shortest bytes that read as the bits that were coded. A reader takes zeros behind their end, so zeros at the
    /// end, up to 16, are left out.
    pub fn finish(mut self) -> Vec<u8> {
        let Interval { low, high } = self.interval;
        let end = (0..=4_u32).find_map(|bytes| {
            let kept = u32::MAX.checked_shl(32 - 8 * bytes).unwrap_or(0);
            let value = low.checked_add(!kept).map_or(0, |raised| raised & kept);
            (value >= low && value <= high).then_some((bytes, value))
        });
        let (bytes, value) = end.unwrap_or((4, low));
        self.bytes.extend(value.to_be_bytes().into_iter().take(bytes as usize));
        let zeros = self.bytes.iter().rev().take(MAX_ZEROS).take_while(|byte| **byte == 0).count();
        self.bytes.truncate(self.bytes.len() - zeros);
        self.bytes
    }
}

impl BitCoder for RangeEncoder {
    #[inline(always)]
    fn code(&mut self, bit: bool, p1: u32) -> bool {
        let split = self.interval.split(p1);
        self.interval.narrow(bit, split);
        while let Some(byte) = self.interval.settled() {
            self.bytes.push(byte);
        }
        bit
    }
}

/// Reads bits back. Behind the end of the bytes are zeros.
#[derive(Clone, Debug)]
pub struct RangeDecoder<'a> {
    interval: Interval,
    value: u32,
    bytes: &'a [u8],
    /// Bytes taken, those behind the end included.
    taken: usize,
}

impl<'a> RangeDecoder<'a> {
    /// A reader of what a [`RangeEncoder`] wrote.
    pub fn new(bytes: &'a [u8]) -> Self {
        let mut decoder = Self { interval: Interval::WHOLE, value: 0, bytes, taken: 0 };
        for _ in 0..4 {
            decoder.shift();
        }
        decoder
    }

    #[inline(always)]
    fn shift(&mut self) {
        self.value = (self.value << 8) | u32::from(self.bytes.get(self.taken).copied().unwrap_or(0));
        self.taken += 1;
    }
}

impl BitCoder for RangeDecoder<'_> {
    #[inline(always)]
    fn code(&mut self, _: bool, p1: u32) -> bool {
        let split = self.interval.split(p1);
        let bit = self.value <= split;
        self.interval.narrow(bit, split);
        while self.interval.settled().is_some() {
            self.shift();
        }
        bit
    }

    fn reads(&self) -> bool {
        true
    }

    fn is_exhausted(&self) -> bool {
        self.taken > self.bytes.len() + 4 + MAX_ZEROS
    }
}

/// Zeros at the end that are left out, at most.
const MAX_ZEROS: usize = 16;

/// Counts what bits would cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct BitCost {
    /// In 1/256 bit.
    units: u64,
}

impl BitCost {
    /// Bits so far.
    pub fn bits(&self) -> f64 {
        self.units as f64 / 256.0
    }
}

impl BitCoder for BitCost {
    #[inline(always)]
    fn code(&mut self, bit: bool, p1: u32) -> bool {
        let p = if bit { p1 } else { (1 << 16) - p1 };
        self.units += u64::from(COST[(p >> 4) as usize & 4095]);
        bit
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bits_come_back(bits in prop::collection::vec((any::<bool>(), 1..65536_u32), 0..2000)) {
            let mut encoder = RangeEncoder::new();
            for (bit, p1) in &bits {
                encoder.code(*bit, *p1);
            }
            let bytes = encoder.finish();
            prop_assert_ne!(bytes.last(), Some(&0));
            let mut decoder = RangeDecoder::new(&bytes);
            for (bit, p1) in &bits {
                prop_assert_eq!(decoder.code(false, *p1), *bit);
            }
        }

        #[test]
        fn likely_bits_cost_little(skew in 1..2000_u32, flips in prop::collection::vec(0..1000_usize, 0..5)) {
            let mut encoder = RangeEncoder::new();
            let mut cost = BitCost::default();
            for at in 0..1000 {
                let bit = flips.contains(&at);
                encoder.code(bit, skew);
                cost.code(bit, skew);
            }
            let bytes = encoder.finish().len() as f64;
            prop_assert!((bytes * 8.0 - cost.bits()).abs() < 34.0 + 0.03 * cost.bits(), "{bytes} {}", cost.bits());
        }
    }

    #[test]
    fn a_reader_of_nothing_is_exhausted_in_the_end() {
        let mut decoder = RangeDecoder::new(&[]);
        let mut bits = 0;
        while !decoder.is_exhausted() {
            decoder.code_even(false);
            bits += 1;
        }
        assert_eq!(bits, 8 * (MAX_ZEROS + 1));
    }
}
