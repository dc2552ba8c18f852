//! When samples were taken, told from when their records arrived.
//!
//! A record arrives late by a delay that is never negative and varies: USB bundles bytes into bursts, schedulers
//! stall. What varies little is the least delay within a second or so. A line through the least delayed records
//! gives the device's real sample rate; the time stamps follow that line at a rate that is bent a little towards it,
//! so that they neither leap nor go back.

use std::collections::VecDeque;

/// The least delayed record is looked for among those of so much time, and at least so many.
const BLOCK_NS: i64 = 1_000_000_000;
const BLOCK_RECORDS: u32 = 16;
/// Blocks that the line goes through, at most.
const BLOCKS: usize = 64;
/// The line is believed once it is this long.
const BELIEVED_NS: i64 = 10_000_000_000;
/// What a stamp is wrong by is made good within about this time.
const CORRECTED_WITHIN_NS: f64 = 4e9;
/// The most that the rate is bent for it.
const MAX_BEND: f64 = 0.25;

/// The clock of one stream. Times are nanoseconds since the Unix epoch.
#[derive(Clone, Debug)]
pub(super) struct SampleClock {
    /// Nanoseconds from sample to sample, as declared.
    declared_ns: f64,
    /// A silence that is longer is one of the device's.
    silence_ns: i64,
    /// Nanoseconds from sample to sample, as measured.
    period_ns: f64,
    /// The bend of the rate that makes good what the stamps are wrong by.
    bend: f64,
    /// The time that the stamps had come to before they began anew.
    not_before_ns: Option<i64>,
    state: Option<State>,
}

#[derive(Clone, Debug)]
struct State {
    /// The time of the next sample, its fraction apart.
    next_ns: i64,
    fraction_ns: f64,
    /// Samples since the anchor, those that are known to be missing among them.
    samples: u64,
    last_arrival_ns: i64,
    block: Block,
    /// The least delayed record of each block: the samples up to it and its arrival.
    points: VecDeque<(u64, i64)>,
}

#[derive(Clone, Debug)]
struct Block {
    since_ns: i64,
    records: u32,
    /// The least that a record has come after its stamp.
    least_ns: i64,
    point: (u64, i64),
}

/// What the clock says of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// The time of its first sample.
    pub(super) first_ns: i64,
    /// True if the device was silent before it, or the time of day has changed.
    pub(super) after_silence: bool,
}

impl SampleClock {
    pub(super) fn new(sample_rate_hz: f64, silence_ns: i64) -> Self {
        let declared_ns = 1e9 / sample_rate_hz;
        Self { declared_ns, silence_ns, period_ns: declared_ns, bend: 0.0, not_before_ns: None, state: None }
    }

    /// The next record begins anew: there is no telling how many samples are missing before it.
    pub(super) fn restart(&mut self) {
        self.not_before_ns = self.state.take().map(|state| state.next_ns).or(self.not_before_ns);
        self.bend = 0.0;
    }

    /// So many samples of a channel are missing before the next record.
    pub(super) fn skip(&mut self, samples: u64) {
        let step_ns = self.step_ns();
        if let Some(state) = &mut self.state {
            state.advance(samples, step_ns);
        }
    }

    /// The stamp of a record of so many samples of a channel that arrived at a time.
    pub(super) fn record(&mut self, samples: u64, arrival_ns: i64) -> Stamp {
        let mut is_set_back = false;
        let silent = self.state.as_ref().is_some_and(|state| {
            let waited_ns = arrival_ns.saturating_sub(state.last_arrival_ns);
            let lasts_ns = (samples as f64 * self.period_ns) as i64;
            is_set_back = waited_ns < -self.silence_ns;
            waited_ns.saturating_sub(lasts_ns) > self.silence_ns || is_set_back
        });
        if silent {
            self.restart();
        }
        // Of a burst the end is known better than the beginning; a time of day that was set back is.
        let not_before_ns = self.not_before_ns.take().filter(|not_before_ns| {
            !is_set_back && not_before_ns.saturating_sub(arrival_ns) <= self.silence_ns
        });
        let period_ns = self.period_ns;
        let state =
            self.state.get_or_insert_with(|| State::anchored(samples, arrival_ns, period_ns, not_before_ns));
        let step_ns = period_ns * (1.0 + self.bend);
        let first_ns = state.next_ns;
        state.advance(samples, step_ns);
        state.last_arrival_ns = arrival_ns;
        // The last sample's time is that of the arrival, less the delay.
        let late_ns = arrival_ns.saturating_sub(state.next_ns).saturating_add(step_ns as i64);
        if let Some(least_ns) = state.least_of_block(late_ns, arrival_ns) {
            if let Some(measured_ns) = state.slope() {
                self.period_ns = measured_ns;
            }
            self.bend = (least_ns as f64 / CORRECTED_WITHIN_NS).clamp(-MAX_BEND, MAX_BEND);
        }
        Stamp { first_ns, after_silence: silent }
    }

    /// How much faster the device's clock runs than declared, in parts per million; none before it is known.
    pub(super) fn drift_ppm(&self) -> Option<f64> {
        self.state.as_ref()?.slope().map(|measured_ns| (self.declared_ns / measured_ns - 1.0) * 1e6)
    }

    /// For how long the drift has been measured.
    pub(super) fn measured_ns(&self) -> i64 {
        self.state.as_ref().map_or(0, State::span_ns)
    }

    fn step_ns(&self) -> f64 {
        self.period_ns * (1.0 + self.bend)
    }
}

impl State {
    /// The first record, as if it had no delay.
    fn anchored(samples: u64, arrival_ns: i64, period_ns: f64, not_before_ns: Option<i64>) -> Self {
        let before_ns = samples.saturating_sub(1) as f64 * period_ns;
        Self {
            next_ns: arrival_ns.saturating_sub(before_ns as i64).max(not_before_ns.unwrap_or(i64::MIN)),
            fraction_ns: 0.0,
            samples: 0,
            last_arrival_ns: arrival_ns,
            block: Block::new(arrival_ns),
            points: VecDeque::new(),
        }
    }

    fn advance(&mut self, samples: u64, step_ns: f64) {
        let ns = samples as f64 * step_ns + self.fraction_ns;
        self.fraction_ns = ns.fract();
        self.next_ns = self.next_ns.saturating_add(ns.trunc() as i64);
        self.samples = self.samples.saturating_add(samples);
    }

    /// Takes a record into the block; at its end, by how much its least delayed record came late.
    fn least_of_block(&mut self, late_ns: i64, arrival_ns: i64) -> Option<i64> {
        let block = &mut self.block;
        block.records += 1;
        if late_ns < block.least_ns {
            block.least_ns = late_ns;
            block.point = (self.samples, arrival_ns);
        }
        if arrival_ns.saturating_sub(block.since_ns) < BLOCK_NS || block.records < BLOCK_RECORDS {
            return None;
        }
        let ended = std::mem::replace(block, Block::new(arrival_ns));
        if self.points.len() == BLOCKS {
            self.points.pop_front();
        }
        self.points.push_back(ended.point);
        Some(ended.least_ns)
    }

    fn span_ns(&self) -> i64 {
        match (self.points.front(), self.points.back()) {
            (Some((_, from_ns)), Some((_, to_ns))) => to_ns.saturating_sub(*from_ns),
            _ => 0,
        }
    }

    /// Nanoseconds from sample to sample by the line of least squares through the points, once it is long enough.
    fn slope(&self) -> Option<f64> {
        let (first_samples, first_ns) = *self.points.front()?;
        if self.span_ns() < BELIEVED_NS {
            return None;
        }
        let places = || {
            self.points.iter().map(|(samples, arrival_ns)| {
                let samples = samples.saturating_sub(first_samples) as f64;
                (samples, arrival_ns.saturating_sub(first_ns) as f64)
            })
        };
        let count = self.points.len() as f64;
        let (sum_x, sum_y) = places().fold((0.0, 0.0), |(x, y), place| (x + place.0, y + place.1));
        let (mean_x, mean_y) = (sum_x / count, sum_y / count);
        let (xy, xx) = places().fold((0.0, 0.0), |(xy, xx), (x, y)| {
            (xy + (x - mean_x) * (y - mean_y), xx + (x - mean_x) * (x - mean_x))
        });
        let slope = xy / xx;
        (slope.is_finite() && slope > 0.0).then_some(slope)
    }
}

impl Block {
    fn new(since_ns: i64) -> Self {
        Self { since_ns, records: 0, least_ns: i64::MAX, point: (0, since_ns) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: i64 = 1_000_000_000;
    const START: i64 = 1_700_000_000 * SECOND;

    /// A device and the way of its records.
    struct Scene {
        declared_hz: f64,
        real_hz: f64,
        record: u64,
        /// The delay of the record whose last sample was taken at a time.
        delay: Box<dyn FnMut(i64) -> i64>,
    }

    struct Seen {
        stamp: Stamp,
        /// When its first sample was taken.
        true_ns: i64,
    }

    impl Scene {
        fn run(&mut self, seconds: u64, clock: &mut SampleClock) -> Vec<Seen> {
            let period_ns = 1e9 / self.real_hz;
            let records = (seconds as f64 * self.real_hz) as u64 / self.record;
            let mut arrived_ns = i64::MIN;
            (0..records)
                .map(|number| {
                    let at = |sample: u64| START + (sample as f64 * period_ns) as i64;
                    let first = number * self.record;
                    let last_ns = at(first + self.record - 1);
                    arrived_ns = arrived_ns.max(last_ns + (self.delay)(last_ns));
                    Seen { stamp: clock.record(self.record, arrived_ns), true_ns: at(first) }
                })
                .collect()
        }

        fn clock(&self) -> SampleClock {
            SampleClock::new(self.declared_hz, SECOND)
        }
    }

    /// SplitMix64, for delays that repeat.
    fn random(state: &mut u64) -> u64 {
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 33
    }

    /// Waits for the end of a burst of 16 ms, up to 2 ms more, and now and then for a scheduler that stalls 200 ms.
    fn usb(seed: u64) -> Box<dyn FnMut(i64) -> i64> {
        let mut state = seed;
        let mut stalled_until = 0;
        Box::new(move |at| {
            if random(&mut state).is_multiple_of(2_000) {
                stalled_until = at + 200_000_000;
            }
            let burst = 16_000_000 - at.rem_euclid(16_000_000);
            (burst + (random(&mut state) % 2_000_000) as i64).max(stalled_until - at)
        })
    }

    #[track_caller]
    fn assert_smooth(seen: &[Seen], record_ns: i64, max_step_error: f64) {
        for pair in seen.windows(2) {
            let step = pair[1].stamp.first_ns - pair[0].stamp.first_ns;
            let error = (step - record_ns).abs() as f64 / record_ns as f64;
            assert!(error <= max_step_error, "a step of {step} ns for {record_ns} ns");
            assert!(!pair[1].stamp.after_silence);
        }
    }

    fn drift(clock: &SampleClock) -> f64 {
        clock.drift_ppm().unwrap()
    }

    #[test]
    fn bursts_and_stalls_do_not_show_in_the_stamps() {
        let mut scene = Scene { declared_hz: 500.0, real_hz: 500.0, record: 4, delay: usb(1) };
        let mut clock = scene.clock();
        let seen = scene.run(120, &mut clock);
        assert_smooth(&seen, 8_000_000, 0.06);
        for late in seen.iter().skip(seen.len() / 2) {
            let off = late.stamp.first_ns - late.true_ns;
            assert!((-5_000_000..25_000_000).contains(&off), "{off} ns off");
        }
        assert!(drift(&clock).abs() < 100.0, "{}", drift(&clock));
    }

    #[test]
    fn a_clock_that_runs_wrong_is_followed_and_measured() {
        for ppm in [-800.0, -60.0, 300.0, 5_600.0] {
            let real_hz = 360.0 * (1.0 + ppm * 1e-6);
            let mut scene = Scene { declared_hz: 360.0, real_hz, record: 8, delay: usb(7) };
            let mut clock = scene.clock();
            let seen = scene.run(600, &mut clock);
            assert_smooth(&seen, (8e9 / 360.0) as i64, 0.07);
            assert!((drift(&clock) - ppm).abs() < 100.0, "{} for {ppm}", drift(&clock));
            let off = seen.last().unwrap().stamp.first_ns - seen.last().unwrap().true_ns;
            assert!((-10_000_000..30_000_000).contains(&off), "{off} ns off at {ppm} ppm");
        }
    }

    #[test]
    fn a_rate_that_is_half_of_the_declared_one_is_found_out() {
        let mut scene = Scene { declared_hz: 500.0, real_hz: 250.0, record: 2, delay: usb(3) };
        let mut clock = scene.clock();
        let seen = scene.run(120, &mut clock);
        assert!(seen.windows(2).all(|pair| pair[0].stamp.first_ns < pair[1].stamp.first_ns));
        assert!((drift(&clock) + 500_000.0).abs() < 500.0, "{}", drift(&clock));
        let off = seen.last().unwrap().stamp.first_ns - seen.last().unwrap().true_ns;
        assert!(off.abs() < 50_000_000, "{off} ns off");
    }

    #[test]
    fn a_first_record_that_was_late_is_made_good() {
        let mut first = true;
        let delay = Box::new(move |_| if std::mem::take(&mut first) { 300_000_000 } else { 1_000_000 });
        let mut scene = Scene { declared_hz: 100.0, real_hz: 100.0, record: 1, delay };
        let mut clock = scene.clock();
        let seen = scene.run(30, &mut clock);
        assert_smooth(&seen, 10_000_000, 0.08);
        let off = seen.last().unwrap().stamp.first_ns - seen.last().unwrap().true_ns;
        assert!((0..4_000_000).contains(&off), "{off} ns off");
    }

    #[test]
    fn a_silence_sets_the_clock_anew() {
        let mut clock = SampleClock::new(100.0, SECOND);
        for number in 1..500 {
            clock.record(1, START + number * 10_000_000);
        }
        let after = START + 500 * 10_000_000 + 5 * SECOND;
        assert_eq!(clock.record(1, after), Stamp { first_ns: after, after_silence: true });
        assert!(!clock.record(1, after + 10_000_000).after_silence);
        let back = after - 3_600 * SECOND;
        assert_eq!(clock.record(1, back), Stamp { first_ns: back, after_silence: true }, "the time was set");
    }

    #[test]
    fn records_that_are_known_to_be_missing_take_their_time() {
        let mut clock = SampleClock::new(100.0, SECOND);
        let first = clock.record(10, START).first_ns;
        clock.skip(20);
        let next = clock.record(10, START + 300_000_000);
        assert_eq!(next, Stamp { first_ns: first + 300_000_000, after_silence: false });
    }

    #[test]
    fn a_record_every_ten_seconds_is_no_silence() {
        let mut clock = SampleClock::new(1.0, SECOND);
        for number in 0..100 {
            assert!(!clock.record(10, START + number * 10 * SECOND).after_silence);
        }
        let mut slow = SampleClock::new(0.1, SECOND);
        assert!((0..100).all(|number| !slow.record(1, START + number * 10 * SECOND).after_silence));
    }

    proptest! {
        #[test]
        fn stamps_never_go_back_and_never_leap(
            seed in any::<u64>(), ppm in -2_000.0..2_000.0_f64, record in 1_u64..40,
        ) {
            let real_hz = 250.0 * (1.0 + ppm * 1e-6);
            let mut scene = Scene { declared_hz: 250.0, real_hz, record, delay: usb(seed) };
            let mut clock = scene.clock();
            let seen = scene.run(60, &mut clock);
            assert_smooth(&seen, record as i64 * 4_000_000, 0.1);
        }

        #[test]
        fn any_arrivals_give_stamps(
            arrivals in prop::collection::vec((any::<i64>(), 0_u64..1_000), 1..60),
            rate in 1e-6..1e9_f64,
        ) {
            let mut clock = SampleClock::new(rate, SECOND);
            for (arrival_ns, samples) in arrivals {
                clock.record(samples, arrival_ns);
                clock.skip(samples);
            }
            let _ = (clock.drift_ppm(), clock.measured_ns());
        }
    }
}
