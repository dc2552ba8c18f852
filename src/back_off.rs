//! How long to wait before the next try.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// The bounds of a [`BackOff`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackOffPolicy {
    /// The longest wait after the first failure; it doubles with every further one.
    pub first: Duration,
    /// The longest wait of all.
    pub longest: Duration,
    /// What has run this long counts as well, and the next failure as the first.
    pub steady_after: Duration,
}

impl Default for BackOffPolicy {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(100),
            longest: Duration::from_secs(30),
            steady_after: Duration::from_secs(10),
        }
    }
}

/// Exponential back-off with full jitter: each wait is drawn evenly from nothing to a bound that doubles, so
/// that many who failed together do not come back together.
#[derive(Clone, Debug)]
pub struct BackOff {
    policy: BackOffPolicy,
    failures: u32,
}

impl BackOff {
    /// Nothing has failed yet.
    pub fn new(policy: BackOffPolicy) -> Self {
        Self { policy, failures: 0 }
    }

    /// How long to wait after a failure of what had run for `ran`.
    pub fn after_failure(&mut self, ran: Duration) -> Duration {
        self.wait(ran, random_fraction())
    }

    /// True if something has failed since it last ran steadily.
    pub fn is_failing(&self) -> bool {
        self.failures > 0
    }

    fn wait(&mut self, ran: Duration, fraction: f64) -> Duration {
        if ran >= self.policy.steady_after {
            self.failures = 0;
        }
        let factor = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        let bound = self.policy.first.saturating_mul(factor).min(self.policy.longest);
        self.failures = self.failures.saturating_add(1);
        bound.mul_f64(fraction)
    }
}

/// Evenly from 0 to below 1. The hasher's keys are random, which is all the chance that a wait needs.
fn random_fraction() -> f64 {
    (RandomState::new().hash_one(0_u8) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FULL: f64 = 1.0;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn bounds_double_up_to_the_longest_and_stay_there() {
        let mut back_off = BackOff::new(BackOffPolicy::default());
        let waits: Vec<_> = (0..12).map(|_| back_off.wait(ms(5), FULL)).collect();
        assert_eq!(waits[..4], [ms(100), ms(200), ms(400), ms(800)]);
        assert_eq!(waits[8..], [ms(25_600), ms(30_000), ms(30_000), ms(30_000)]);
        (0..100).for_each(|_| assert_eq!(back_off.wait(ms(5), FULL), ms(30_000)));
    }

    #[test]
    fn running_well_for_a_while_starts_over() {
        let mut back_off = BackOff::new(BackOffPolicy::default());
        assert!(!back_off.is_failing());
        let before: Vec<_> = (0..6).map(|_| back_off.wait(ms(9_999), FULL)).collect();
        assert_eq!(before[5], ms(3_200));
        assert_eq!(back_off.wait(ms(9_999), FULL), ms(6_400));
        assert_eq!(back_off.wait(ms(10_000), FULL), ms(100));
        assert!(back_off.is_failing());
    }

    #[test]
    fn waits_are_spread() {
        let fractions: Vec<_> = (0..4_000).map(|_| random_fraction()).collect();
        assert!(fractions.iter().all(|fraction| (0.0..1.0).contains(fraction)));
        for tenth in 0..10 {
            let count = fractions.iter().filter(|fraction| (**fraction * 10.0) as u32 == tenth).count();
            assert!((250..550).contains(&count), "{count} of 4000 in tenth {tenth}");
        }
    }

    proptest! {
        #[test]
        fn no_wait_leaves_its_bounds(
            first in 0_u64..10_000, longest in 0_u64..100_000, ran in prop::collection::vec(0_u64..20_000, 1..80),
        ) {
            let policy = BackOffPolicy { first: ms(first), longest: ms(longest), ..BackOffPolicy::default() };
            let mut back_off = BackOff::new(policy);
            for ran in ran {
                prop_assert!(back_off.after_failure(ms(ran)) <= ms(longest));
            }
        }
    }
}
