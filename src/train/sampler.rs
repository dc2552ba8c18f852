//! Batches of frames: even over subjects, at random places.

use rand::{Rng, RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::data::Dataset;
use super::description::Split;
use super::recipe::Recipe;
use super::stream::{Stream, is_constant};
use crate::codec::normalise::{normalise, side};
use crate::model::Normalisation;

/// Random places tried in a stream before its places are tried in order: a stream may be flat for hours.
const RANDOM_TRIES: usize = 100;

/// Draws batches. A batch depends on the seed and its number alone, so that a run that was stopped goes on
/// with the batches it would have seen.
pub(super) struct Sampler<'a> {
    /// Streams of each recording of each subject.
    subjects: Vec<Vec<Vec<&'a Stream>>>,
    normalisation: Normalisation,
    frame_size: usize,
    channels: usize,
    noise_std: Option<[f32; 2]>,
    seed: u64,
}

/// Normalised frames, `[frames][frame_size][channels]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Batch {
    /// What the encoder sees.
    pub(super) inputs: Vec<f32>,
    /// What the decoder should give.
    pub(super) targets: Vec<f32>,
}

impl<'a> Sampler<'a> {
    /// A sampler over the recordings to train on; none if no frame of them varies.
    pub(super) fn new(dataset: &'a Dataset, recipe: &Recipe) -> Option<Self> {
        let (frame_size, channels) = (recipe.architecture.frame_size, recipe.architecture.in_ch);
        let mut subjects: Vec<(&str, Vec<Vec<&Stream>>)> = Vec::new();
        for recording in dataset.of(Split::Train) {
            let streams: Vec<&Stream> =
                recording.streams.iter().filter(|stream| stream.varies(frame_size)).collect();
            if streams.is_empty() {
                tracing::warn!(
                    "{} has no frame of {frame_size} samples that varies: left out",
                    recording.name
                );
                continue;
            }
            match subjects.iter_mut().find(|(subject, _)| *subject == recording.subject) {
                Some((_, recordings)) => recordings.push(streams),
                None => subjects.push((&recording.subject, vec![streams])),
            }
        }
        (!subjects.is_empty()).then(|| Self {
            subjects: subjects.into_iter().map(|(_, recordings)| recordings).collect(),
            normalisation: recipe.normalisation,
            frame_size,
            channels,
            noise_std: recipe.augmentation.noise_std,
            seed: recipe.seed,
        })
    }

    /// The batch of a step, with the noise that the recipe asks for.
    pub(super) fn batch(&self, step: u64, frames: usize, batch: &mut Batch) {
        let mut random = self.generator(step.wrapping_add(1));
        self.draw(&mut random, frames, &mut batch.targets);
        batch.inputs.clear();
        match self.noise_std {
            None => batch.inputs.extend_from_slice(&batch.targets),
            Some([low, high]) => {
                let std = low + (high - low) * random.random::<f32>();
                batch.inputs.extend(batch.targets.iter().map(|x| x + std * gaussian(&mut random)));
            }
        }
    }

    /// Clean frames that no step sees as its batch, to start the codebooks from.
    pub(super) fn initial_frames(&self, frames: usize) -> Vec<f32> {
        let mut targets = Vec::new();
        self.draw(&mut self.generator(0), frames, &mut targets);
        targets
    }

    fn generator(&self, number: u64) -> Xoshiro256PlusPlus {
        // An odd multiplier keeps the seeds of one run apart; seed_from_u64 hashes them.
        Xoshiro256PlusPlus::seed_from_u64(self.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// Subjects in a random order, again and again; of each a random recording, stream and place.
    fn draw(&self, random: &mut impl Rng, frames: usize, targets: &mut Vec<f32>) {
        targets.clear();
        let mut order: Vec<&Vec<Vec<&Stream>>> = Vec::new();
        let mut frame = Vec::new();
        let mut sides = Vec::new();
        for _ in 0..frames {
            if order.is_empty() {
                order.extend(&self.subjects);
                for last in (1..order.len()).rev() {
                    order.swap(last, random.random_range(0..=last));
                }
            }
            let stream = order.pop().and_then(|recordings| pick(recordings, random));
            let Some(&stream) = stream.and_then(|streams| pick(streams, random)) else { continue };
            self.crop(stream, random, &mut frame);
            sides.clear();
            sides.extend(
                (0..self.channels).map(|channel| side(&self.normalisation, &frame, channel, self.channels)),
            );
            normalise(&frame, &sides, targets);
        }
    }

    /// A frame of a stream that varies.
    fn crop(&self, stream: &Stream, random: &mut impl Rng, frame: &mut Vec<f64>) {
        let crops = stream.crops(self.frame_size);
        let mut start = 0;
        for _ in 0..RANDOM_TRIES {
            start = random.random_range(0..crops);
            if stream.crop(start, self.frame_size, frame) && !is_constant(frame, self.channels) {
                return;
            }
        }
        for crop in (start..crops).chain(0..start) {
            if stream.crop(crop, self.frame_size, frame) && !is_constant(frame, self.channels) {
                return;
            }
        }
    }
}

fn pick<'a, T>(items: &'a [T], random: &mut impl Rng) -> Option<&'a T> {
    if items.is_empty() { None } else { items.get(random.random_range(0..items.len())) }
}

/// A standard normal number (Box and Muller, 1958).
fn gaussian(random: &mut impl Rng) -> f32 {
    let radius = (-2.0 * (1.0 - random.random::<f32>()).ln()).sqrt();
    radius * (std::f32::consts::TAU * random.random::<f32>()).cos()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::SampleType;
    use crate::train::data::Recording;

    fn recording(subject: &str, samples: impl Iterator<Item = f64>) -> Recording {
        let stream = Stream::new(subject.to_owned(), SampleType::I16, 1, vec![samples.collect()]);
        Recording::synthetic(subject, Split::Train, vec![stream])
    }

    fn recipe() -> Recipe {
        crate::train::testing::recipe(std::path::Path::new(""))
    }

    /// Period of the square wave that tells a subject's frames from another's.
    fn wave(period: usize, length: usize) -> impl Iterator<Item = f64> {
        (0..length).map(move |i| if (i / period).is_multiple_of(2) { 10.0 } else { -10.0 })
    }

    fn changes(frame: &[f32]) -> usize {
        frame.windows(2).filter(|pair| pair[0] != pair[1]).count()
    }

    #[test]
    fn subjects_are_even_however_long_their_recordings() {
        let dataset = Dataset::synthetic(vec![
            recording("fast", wave(1, 40)),
            recording("slow", wave(8, 40_000)),
            recording("slow", wave(8, 20_000)),
            recording("flat", std::iter::repeat_n(3.0, 4000)),
        ]);
        let sampler = Sampler::new(&dataset, &recipe()).unwrap();
        let mut batch = Batch::default();
        for step in 0..50 {
            sampler.batch(step, 8, &mut batch);
            assert_eq!(batch.inputs.len(), 8 * 16);
            let fast = batch.targets.chunks_exact(16).filter(|frame| changes(frame) == 15).count();
            assert_eq!(fast, 4, "half the frames of each batch belong to each of the two subjects that vary");
        }
    }

    #[test]
    fn recordings_and_streams_of_a_subject_are_even_too() {
        let streams = |periods: [usize; 2]| {
            let stream = |period| {
                Stream::new("s".to_owned(), SampleType::I16, 1, vec![wave(period, 300 * period).collect()])
            };
            Recording::synthetic("one", Split::Train, periods.map(stream).to_vec())
        };
        let dataset = Dataset::synthetic(vec![streams([1, 2]), streams([4, 8])]);
        let sampler = Sampler::new(&dataset, &recipe()).unwrap();
        let mut batch = Batch::default();
        sampler.batch(0, 4000, &mut batch);
        let mut counts = [0; 4];
        for frame in batch.targets.chunks_exact(16) {
            counts[match changes(frame) {
                15 => 0,
                7..=8 => 1,
                3..=4 => 2,
                _ => 3,
            }] += 1;
        }
        assert!(counts.iter().all(|&count| (880..1120).contains(&count)), "{counts:?}");
    }

    #[test]
    fn a_flat_stream_is_searched_for_what_varies() {
        let mut samples = vec![5.0; 100_000];
        samples[77_777] = 6.0;
        let dataset = Dataset::synthetic(vec![recording("a", samples.into_iter())]);
        let sampler = Sampler::new(&dataset, &recipe()).unwrap();
        let mut batch = Batch::default();
        sampler.batch(3, 4, &mut batch);
        assert!(batch.targets.chunks_exact(16).all(|frame| changes(frame) > 0));
    }

    #[test]
    fn nothing_that_varies_gives_no_sampler() {
        let flat = recording("a", std::iter::repeat_n(3.0, 4000));
        let short = recording("b", wave(1, 15));
        assert!(Sampler::new(&Dataset::synthetic(vec![flat, short]), &recipe()).is_none());
    }

    #[test]
    fn a_batch_depends_on_seed_and_step_alone() {
        let dataset = Dataset::synthetic(vec![recording("a", (0..900).map(|i| f64::from(i * i % 97)))]);
        let draw = |seed, step| {
            let recipe = Recipe { seed, ..recipe() };
            let mut batch = Batch::default();
            Sampler::new(&dataset, &recipe).unwrap().batch(step, 5, &mut batch);
            batch
        };
        assert_eq!(draw(1, 9), draw(1, 9));
        assert_ne!(draw(1, 9), draw(1, 10));
        assert_ne!(draw(1, 9), draw(2, 9));
    }

    #[test]
    fn noise_is_on_the_input_only_and_as_strong_as_asked() {
        let dataset = Dataset::synthetic(vec![recording("a", (0..9000).map(|i| f64::from(i * i % 97)))]);
        let mut recipe = recipe();
        let mut clean = Batch::default();
        Sampler::new(&dataset, &recipe).unwrap().batch(0, 500, &mut clean);
        assert_eq!(clean.inputs, clean.targets);
        recipe.augmentation.noise_std = Some([0.1, 0.1]);
        let mut noisy = Batch::default();
        Sampler::new(&dataset, &recipe).unwrap().batch(0, 500, &mut noisy);
        assert_eq!(noisy.targets, clean.targets);
        let noise: Vec<f64> =
            noisy.inputs.iter().zip(&noisy.targets).map(|(x, y)| f64::from(x - y)).collect();
        let mean = noise.iter().sum::<f64>() / noise.len() as f64;
        let std = (noise.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / noise.len() as f64).sqrt();
        assert!(mean.abs() < 0.005 && (std - 0.1).abs() < 0.005, "{mean} {std}");
    }
}
