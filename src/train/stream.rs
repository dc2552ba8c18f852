//! A whole stream in memory, and the frames that can be cut from it.

use crate::signal::SampleType;

/// Samples in the smallest type that holds them all exactly.
#[derive(Clone, Debug, PartialEq)]
enum Samples {
    I16(Vec<i16>),
    F32(Vec<f32>),
    F64(Vec<f64>),
}

impl Samples {
    fn compact(samples: Vec<f64>) -> Self {
        let all = |kind: SampleType| samples.iter().all(|&sample| kind.holds(sample));
        if all(SampleType::I16) {
            Self::I16(samples.into_iter().map(|sample| sample as i16).collect())
        } else if all(SampleType::F32) {
            Self::F32(samples.into_iter().map(|sample| sample as f32).collect())
        } else {
            Self::F64(samples)
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::I16(samples) => samples.len(),
            Self::F32(samples) => samples.len(),
            Self::F64(samples) => samples.len(),
        }
    }

    fn append(&self, range: std::ops::Range<usize>, frame: &mut Vec<f64>) {
        match self {
            Self::I16(samples) => frame.extend(samples[range].iter().map(|&sample| f64::from(sample))),
            Self::F32(samples) => frame.extend(samples[range].iter().map(|&sample| f64::from(sample))),
            Self::F64(samples) => frame.extend_from_slice(&samples[range]),
        }
    }
}

/// A stream as the model sees it: as many channels as the model has, in runs without gaps.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stream {
    /// The recording's name and the channel.
    pub(super) key: String,
    /// How the source stores samples.
    pub(super) sample_type: SampleType,
    channels: usize,
    runs: Vec<Samples>,
}

impl Stream {
    /// A stream from its runs, channels interleaved.
    pub(super) fn new(key: String, sample_type: SampleType, channels: usize, runs: Vec<Vec<f64>>) -> Self {
        Self { key, sample_type, channels, runs: runs.into_iter().map(Samples::compact).collect() }
    }

    fn time_steps(&self, run: &Samples) -> usize {
        run.len() / self.channels
    }

    fn crops_of(&self, run: &Samples, frame_size: usize) -> usize {
        (self.time_steps(run) + 1).saturating_sub(frame_size)
    }

    /// Number of places where a whole frame can start.
    pub(super) fn crops(&self, frame_size: usize) -> usize {
        self.runs.iter().map(|run| self.crops_of(run, frame_size)).sum()
    }

    /// True if a run of at least `steps` samples per channel varies.
    pub(super) fn varies(&self, steps: usize) -> bool {
        let mut samples = Vec::new();
        self.runs.iter().filter(|run| self.time_steps(run) >= steps).any(|run| {
            samples.clear();
            run.append(0..run.len(), &mut samples);
            !is_constant(&samples, self.channels)
        })
    }

    /// Replaces `frame` by the frame that starts at place `crop`, counted over the runs; false if there is
    /// no such place.
    pub(super) fn crop(&self, mut crop: usize, frame_size: usize, frame: &mut Vec<f64>) -> bool {
        frame.clear();
        for run in &self.runs {
            let crops = self.crops_of(run, frame_size);
            if crop < crops {
                let start = crop * self.channels;
                run.append(start..start + frame_size * self.channels, frame);
                return true;
            }
            crop -= crops;
        }
        false
    }

    /// Calls `visit` with each frame of `frame_size` as the pipeline cuts them, and its valid samples per
    /// channel: the last frame of a run is padded by repeating its last sample.
    pub(super) fn frames(&self, frame_size: usize, mut visit: impl FnMut(&[f64], usize)) {
        let mut frame = Vec::with_capacity(frame_size * self.channels);
        for run in &self.runs {
            let steps = self.time_steps(run);
            for start in (0..steps).step_by(frame_size) {
                let valid = frame_size.min(steps - start);
                frame.clear();
                run.append(start * self.channels..(start + valid) * self.channels, &mut frame);
                let last = frame.len() - self.channels;
                for _ in valid..frame_size {
                    frame.extend_from_within(last..last + self.channels);
                }
                visit(&frame, valid);
            }
        }
    }
}

/// True if no channel of an interleaved frame varies.
pub(super) fn is_constant(frame: &[f64], channels: usize) -> bool {
    frame.iter().zip(frame.iter().skip(channels)).all(|(before, after)| before == after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn samples_are_kept_exactly_in_little_room() {
        for (samples, expected) in [
            (vec![1.0, -32_768.0], "I16"),
            (vec![0.5, 70_000.0], "F32"),
            (vec![0.1, 1.0], "F64"),
            (vec![16_777_217.0], "F64"),
        ] {
            let kept = Samples::compact(samples.clone());
            assert!(format!("{kept:?}").starts_with(expected), "{kept:?}");
            let mut back = Vec::new();
            kept.append(0..samples.len(), &mut back);
            assert_eq!(back, samples);
        }
    }

    #[test]
    fn constant_means_every_channel() {
        assert!(is_constant(&[1.0, 2.0, 1.0, 2.0], 2));
        assert!(!is_constant(&[1.0, 2.0, 1.0, 3.0], 2));
        assert!(!is_constant(&[1.0, 2.0, 1.0, 2.0], 1));
    }

    #[test]
    fn a_short_run_that_varies_is_not_enough() {
        let stream = |runs| Stream::new("s".to_owned(), SampleType::I16, 1, runs);
        assert!(!stream(vec![vec![1.0; 9], vec![1.0, 2.0]]).varies(3));
        assert!(stream(vec![vec![1.0; 9], vec![1.0, 2.0]]).varies(2));
        assert!(!stream(Vec::new()).varies(1));
    }

    proptest! {
        #[test]
        fn crops_are_whole_and_stay_within_a_run(
            lengths in prop::collection::vec(0_usize..40, 1..4), channels in 1_usize..4, frame_size in 1_usize..20,
        ) {
            // Each sample tells its run, time and channel.
            let runs = lengths.iter().enumerate().map(|(run, &length)| {
                (0..length * channels).map(|i| (1000 * run + i) as f64).collect()
            });
            let stream = Stream::new("s".to_owned(), SampleType::I16, channels, runs.collect());
            let mut frame = Vec::new();
            let mut starts = std::collections::BTreeSet::new();
            for crop in 0..stream.crops(frame_size) {
                prop_assert!(stream.crop(crop, frame_size, &mut frame));
                prop_assert_eq!(frame.len(), frame_size * channels);
                prop_assert!(frame.windows(2).all(|pair| pair[1] == pair[0] + 1.0));
                prop_assert_eq!(frame[0] as usize % 1000 % channels, 0);
                starts.insert(frame[0] as usize);
            }
            let expected: usize = lengths.iter().map(|length| (length + 1).saturating_sub(frame_size)).sum();
            prop_assert_eq!(starts.len(), expected);
            prop_assert!(!stream.crop(expected, frame_size, &mut frame));
        }

        #[test]
        fn frames_hold_every_sample_once(
            lengths in prop::collection::vec(0_usize..40, 1..4), channels in 1_usize..4, frame_size in 1_usize..20,
        ) {
            let runs: Vec<Vec<f64>> =
                lengths.iter().map(|&length| (0..length * channels).map(|i| i as f64).collect()).collect();
            let stream = Stream::new("s".to_owned(), SampleType::I16, channels, runs.clone());
            let mut samples = Vec::new();
            stream.frames(frame_size, |frame, valid| {
                assert_eq!(frame.len(), frame_size * channels);
                assert!(is_constant(&frame[(valid - 1) * channels..], channels));
                samples.extend_from_slice(&frame[..valid * channels]);
            });
            prop_assert_eq!(samples, runs.concat());
        }
    }
}
