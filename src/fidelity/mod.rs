//! How faithful decoded samples are, as running sums.
//!
//! `prd_percent` = 100 sqrt(sum (x - y)^2 / sum (x - mean)^2) over a whole stream and channel, averaged over
//! channels and streams. `frame_prd_percent` is the same over one frame with the frame's own mean removed;
//! frames that do not vary have none and are counted apart.

mod percentiles;

pub use percentiles::FramePrd;

use serde::Serialize;

/// Running sums over the samples of one channel.
///
/// The mean is removed by Chan's pairwise update of the sum of squared deviations, which does not cancel
/// on large offsets (Chan, Golub and LeVeque, 1983).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct ChannelSums {
    count: f64,
    mean: f64,
    squared_deviation: f64,
    squared_error: f64,
    max_error: f64,
}

impl ChannelSums {
    fn merge(&mut self, other: Self) {
        if other.count == 0.0 {
            return;
        }
        let count = self.count + other.count;
        let shift = other.mean - self.mean;
        self.squared_deviation += other.squared_deviation + shift * shift * self.count * other.count / count;
        self.mean += shift * other.count / count;
        self.count = count;
        self.squared_error += other.squared_error;
        self.max_error = self.max_error.max(other.max_error);
    }

    fn of(pairs: impl Iterator<Item = (f64, f64)> + Clone) -> Self {
        let (count, sum) = pairs.clone().fold((0.0, 0.0), |(count, sum), (x, _)| (count + 1.0, sum + x));
        let mean = if count > 0.0 { sum / count } else { 0.0 };
        let mut sums = Self { count, mean, ..Self::default() };
        for (x, y) in pairs {
            let error = x - y;
            sums.squared_deviation += (x - mean) * (x - mean);
            sums.squared_error += error * error;
            sums.max_error = sums.max_error.max(error.abs());
        }
        sums
    }

    /// None where the channel does not vary.
    fn prd_percent(&self) -> Option<f64> {
        (self.squared_deviation > 0.0).then(|| 100.0 * (self.squared_error / self.squared_deviation).sqrt())
    }
}

/// Fidelity of one stream.
#[derive(Clone, Debug)]
pub struct StreamFidelity {
    channels: Vec<ChannelSums>,
    frames: FramePrd,
}

impl StreamFidelity {
    /// Nothing measured yet, for a stream of `channels`.
    pub fn new(channels: usize) -> Self {
        Self { channels: vec![ChannelSums::default(); channels], frames: FramePrd::default() }
    }

    /// Takes in one frame: what went in and what came out, channels interleaved. Returns the frame's PRD of
    /// each channel, none for a channel that does not vary.
    pub fn add_frame(&mut self, original: &[f64], decoded: &[f64]) -> impl Iterator<Item = Option<f64>> {
        let count = self.channels.len();
        let mut prds = Vec::with_capacity(count);
        for (channel, sums) in self.channels.iter_mut().enumerate() {
            let frame = ChannelSums::of(
                original.iter().copied().zip(decoded.iter().copied()).skip(channel).step_by(count),
            );
            sums.merge(frame);
            let prd = frame.prd_percent();
            self.frames.add(prd);
            prds.push(prd);
        }
        prds.into_iter()
    }

    /// Mean over the channels that vary.
    pub fn prd_percent(&self) -> Option<f64> {
        mean(self.channels.iter().filter_map(ChannelSums::prd_percent))
    }

    /// The distribution of its frames' PRDs.
    pub fn frames(&self) -> &FramePrd {
        &self.frames
    }

    /// The summary of this stream alone.
    pub fn summary(&self) -> Fidelity {
        Fidelity::over([self])
    }
}

/// Fidelity over streams. Fields are absent where nothing varied.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fidelity {
    /// PRD over whole channels, averaged over channels and streams.
    pub prd_percent: Option<f64>,
    /// PRD of single frames.
    pub frame_prd_percent: Option<FramePrdSummary>,
    /// Frames (of a channel) that do not vary and have no PRD.
    pub constant_frames: u64,
    /// 10 log10(sum (x - mean)^2 / sum (x - y)^2), averaged over channels and streams; absent where there is no error.
    pub snr_db: Option<f64>,
    /// Largest absolute difference of a sample, in sample units.
    pub max_error: f64,
}

/// Distribution of the PRD of single frames.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct FramePrdSummary {
    /// Mean.
    pub mean: f64,
    /// Median, to 1 %.
    pub median: f64,
    /// 90th percentile, to 1 %.
    pub p90: f64,
    /// Largest.
    pub max: f64,
}

impl Fidelity {
    /// Over several streams, each counting by its channels.
    pub fn over<'a>(streams: impl IntoIterator<Item = &'a StreamFidelity>) -> Self {
        let mut frames = FramePrd::default();
        let mut channels = Vec::new();
        for stream in streams {
            frames.merge(&stream.frames);
            channels.extend_from_slice(&stream.channels);
        }
        let snr = |sums: &ChannelSums| {
            (sums.squared_deviation > 0.0 && sums.squared_error > 0.0)
                .then(|| 10.0 * (sums.squared_deviation / sums.squared_error).log10())
        };
        Self {
            prd_percent: mean(channels.iter().filter_map(ChannelSums::prd_percent)),
            frame_prd_percent: frames.summary(),
            constant_frames: frames.constant(),
            snr_db: mean(channels.iter().filter_map(snr)),
            max_error: channels.iter().fold(0.0, |max, sums| max.max(sums.max_error)),
        }
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (count, sum) = values.fold((0_u32, 0.0), |(count, sum), value| (count + 1, sum + value));
    (count > 0).then(|| sum / f64::from(count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_frame_that_does_not_vary_has_no_prd() {
        let mut stream = StreamFidelity::new(1);
        assert_eq!(stream.add_frame(&[5.0; 4], &[5.0, 5.0, 5.0, 6.0]).next(), Some(None));
        let summary = stream.summary();
        assert_eq!(summary.prd_percent, None);
        assert_eq!(summary.constant_frames, 1);
        assert_eq!(summary.max_error, 1.0);
    }

    #[test]
    fn the_definition_by_hand() {
        let mut stream = StreamFidelity::new(1);
        // Mean 3; squared deviations 4 + 0 + 4 = 8; squared error 2.
        stream.add_frame(&[1.0, 3.0], &[2.0, 3.0]).for_each(drop);
        stream.add_frame(&[5.0], &[4.0]).for_each(drop);
        assert!((stream.prd_percent().unwrap() - 50.0).abs() < 1e-12);
        assert!((stream.summary().snr_db.unwrap() - 10.0 * 4.0_f64.log10()).abs() < 1e-12);
    }

    proptest! {
        #[test]
        fn cutting_into_frames_does_not_matter(
            samples in prop::collection::vec((-100.0_f64..100.0, -1.0_f64..1.0), 4..200), cut in 1_usize..50,
            offset in -1e6_f64..1e6,
        ) {
            let x: Vec<f64> = samples.iter().map(|s| s.0 + offset).collect();
            let y: Vec<f64> = samples.iter().map(|s| s.0 + s.1 + offset).collect();
            let mut stream = StreamFidelity::new(1);
            for (x, y) in x.chunks(cut).zip(y.chunks(cut)) {
                stream.add_frame(x, y).for_each(drop);
            }
            let mean = x.iter().sum::<f64>() / x.len() as f64;
            let deviation: f64 = x.iter().map(|x| (x - mean).powi(2)).sum();
            let error: f64 = x.iter().zip(&y).map(|(x, y)| (x - y).powi(2)).sum();
            let expected = 100.0 * (error / deviation).sqrt();
            prop_assert!((stream.prd_percent().unwrap() - expected).abs() <= 1e-6 * expected.max(1.0));
        }
    }
}
