//! Random numbers that follow from a seed.

use std::io::Write;
use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// SplitMix64.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The numbers that follow from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A seed for `test`, printed: that of `RIVULET_TEST_SEED`, else a new one.
    pub fn seed(test: &str) -> u64 {
        let seed = match std::env::var("RIVULET_TEST_SEED") {
            Ok(text) => text.parse().expect("RIVULET_TEST_SEED is a whole number"),
            Err(_) => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time after 1970");
                Self(now.as_nanos() as u64).next() >> 32
            }
        };
        let _ = writeln!(std::io::stderr(), "{test}: RIVULET_TEST_SEED={seed}");
        seed
    }

    /// The next 64 bits.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `range`.
    pub fn within(&mut self, range: Range<u64>) -> u64 {
        range.start + self.next() % (range.end - range.start)
    }

    /// A duration below `limit`.
    pub fn below(&mut self, limit: Duration) -> Duration {
        Duration::from_micros(self.within(0..limit.as_micros() as u64))
    }

    /// `length` random bytes.
    pub fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}
