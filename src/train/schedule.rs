//! The learning rate over a run.

/// Linear warm-up to a peak, then half a cosine down to a fraction of it (Loshchilov and Hutter, 2017,
/// without restarts).
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Schedule {
    /// Highest learning rate.
    pub(super) peak: f64,
    /// Where the cosine ends, as a fraction of the peak.
    pub(super) final_fraction: f64,
    /// Steps of the warm-up.
    pub(super) warmup_steps: u64,
    /// Steps in all.
    pub(super) steps: u64,
}

impl Schedule {
    /// The learning rate of a step, counted from 0.
    pub(super) fn learning_rate(&self, step: u64) -> f32 {
        if step < self.warmup_steps {
            return (self.peak * (step + 1) as f64 / self.warmup_steps as f64) as f32;
        }
        let span = self.steps.saturating_sub(self.warmup_steps).max(1);
        let done = ((step - self.warmup_steps) as f64 / span as f64).min(1.0);
        let cosine = 0.5 * (1.0 + (std::f64::consts::PI * done).cos());
        (self.peak * (self.final_fraction + (1.0 - self.final_fraction) * cosine)) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn corners_are_where_they_should_be() {
        let schedule = Schedule { peak: 1e-3, final_fraction: 0.01, warmup_steps: 10, steps: 110 };
        assert_eq!(schedule.learning_rate(0), 1e-4);
        assert_eq!(schedule.learning_rate(9), 1e-3);
        assert_eq!(schedule.learning_rate(10), 1e-3);
        assert!((schedule.learning_rate(60) - 0.505e-3).abs() < 1e-8);
        assert!((schedule.learning_rate(110) - 1e-5).abs() < 1e-10);
        assert_eq!(schedule.learning_rate(1000), schedule.learning_rate(110));
    }

    proptest! {
        #[test]
        fn it_rises_then_falls_and_stays_within_its_bounds(
            warmup_steps in 0_u64..50, steps in 1_u64..200, final_fraction in 0.0_f64..1.0,
        ) {
            let schedule = Schedule { peak: 1.0, final_fraction, warmup_steps, steps };
            for step in 1..steps {
                let (before, now) = (schedule.learning_rate(step - 1), schedule.learning_rate(step));
                prop_assert!(now <= 1.0 && now > 0.0 || final_fraction == 0.0);
                prop_assert!(if step < warmup_steps { now > before } else { now <= before }, "{step}: {before} {now}");
            }
        }
    }
}
