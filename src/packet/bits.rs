//! Bits, the most significant of each byte first, and exponential Golomb codes over them.

/// Collects bits into bytes.
#[derive(Debug, Default)]
pub(super) struct BitWriter {
    bytes: Vec<u8>,
    /// The lowest `pending` bits have not yet become bytes; at most 7 between calls.
    held: u64,
    pending: u32,
}

impl BitWriter {
    /// A writer that appends to `bytes`.
    pub(super) fn after(bytes: Vec<u8>) -> Self {
        Self { bytes, held: 0, pending: 0 }
    }

    /// The lowest `count` bits of `value`, at most 32.
    pub(super) fn put(&mut self, value: u32, count: u32) {
        debug_assert!(count <= 32);
        let value = u64::from(value) & ((1 << count) - 1);
        self.held = (self.held << count) | value;
        self.pending += count;
        while self.pending >= 8 {
            self.pending -= 8;
            self.bytes.push((self.held >> self.pending) as u8);
        }
    }

    /// The lowest `count` bits of `value`, at most 64.
    pub(super) fn put_long(&mut self, value: u64, count: u32) {
        if count > 32 {
            self.put((value >> 32) as u32, count - 32);
        }
        self.put(value as u32, count.min(32));
    }

    /// `value` in exponential Golomb code of order `order`: with q = value / 2^order + 1, as many zeros
    /// as q has bits after its first, then q, then the lowest `order` bits of the value.
    pub(super) fn put_golomb(&mut self, value: u64, order: u32) {
        let quotient = u128::from(value >> order) + 1;
        let zeros = quotient.ilog2();
        self.put_long(0, zeros);
        self.put(1, 1);
        self.put_long(quotient as u64, zeros);
        self.put_long(value, order);
    }

    /// The bytes; zeros fill up the last one.
    pub(super) fn finish(mut self) -> Vec<u8> {
        if self.pending > 0 {
            self.put(0, 8 - self.pending);
        }
        self.bytes
    }
}

/// Takes bits out of bytes.
#[derive(Debug)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    next: usize,
    held: u64,
    available: u32,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, next: 0, held: 0, available: 0 }
    }

    /// The next `count` bits, at most 32; `None` past the end.
    pub(super) fn take(&mut self, count: u32) -> Option<u32> {
        debug_assert!(count <= 32);
        while self.available < count {
            self.held = (self.held << 8) | u64::from(*self.bytes.get(self.next)?);
            self.next += 1;
            self.available += 8;
        }
        self.available -= count;
        Some(((self.held >> self.available) & ((1 << count) - 1)) as u32)
    }

    /// The next `count` bits, at most 64.
    pub(super) fn take_long(&mut self, count: u32) -> Option<u64> {
        let high = if count > 32 { u64::from(self.take(count - 32)?) << 32 } else { 0 };
        Some(high | u64::from(self.take(count.min(32))?))
    }

    /// A value that [`BitWriter::put_golomb`] wrote; `None` past the end or above 64 bits.
    pub(super) fn take_golomb(&mut self, order: u32) -> Option<u64> {
        let mut zeros = 0;
        while self.take(1)? == 0 {
            zeros += 1;
            if zeros > 64 {
                return None;
            }
        }
        let quotient = ((1_u128 << zeros) | u128::from(self.take_long(zeros)?)) - 1;
        let high = u64::try_from(quotient << order.min(64)).ok()?;
        Some(high | self.take_long(order)?)
    }

    /// Skips what is left of the current byte and gives the number of bytes used; `None` if what is
    /// skipped is not zero.
    pub(super) fn finish(mut self) -> Option<usize> {
        (self.take(self.available % 8)? == 0).then_some(self.next)
    }
}

/// Signed to unsigned, small magnitudes first: 0, -1, 1, -2 become 0, 1, 2, 3.
pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The inverse of [`zigzag`].
pub(super) fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn golomb_codes_come_back(
            values in prop::collection::vec((any::<u64>(), 0_u32..64, 0_u32..=40), 0..40)
        ) {
            let values: Vec<_> = values.into_iter().map(|(v, shift, order)| (v >> shift, order)).collect();
            let mut writer = BitWriter::default();
            for &(value, order) in &values {
                writer.put_golomb(value, order);
            }
            let bytes = writer.finish();
            let mut reader = BitReader::new(&bytes);
            for &(value, order) in &values {
                prop_assert_eq!(reader.take_golomb(order), Some(value));
            }
            prop_assert_eq!(reader.finish(), Some(bytes.len()));
        }

        #[test]
        fn zigzag_comes_back(value in any::<i64>()) {
            prop_assert_eq!(unzigzag(zigzag(value)), value);
        }
    }

    #[test]
    fn golomb_codes_are_those_of_the_specification() {
        let bits = |value, order| {
            let mut writer = BitWriter::default();
            writer.put_golomb(value, order);
            writer.put(1, 1);
            writer.finish()
        };
        assert_eq!(bits(0, 0), [0b1100_0000]);
        assert_eq!(bits(1, 0), [0b0101_0000]);
        assert_eq!(bits(5, 1), [0b0111_1000]);
        assert_eq!(bits(u64::MAX, 0).len(), 17);
    }

    #[test]
    fn bits_past_the_end_are_missing() {
        assert_eq!(BitReader::new(&[0]).take(9), None);
        assert_eq!(BitReader::new(&[0; 20]).take_golomb(0), None);
        assert_eq!(BitReader::new(&[]).take_golomb(3), None);
        let mut reader = BitReader::new(&[0b1000_0001]);
        assert_eq!(reader.take(1), Some(1));
        assert_eq!(reader.finish(), None);
    }
}
