//! One training step: forward, loss, backward, codebooks, Adam.

use std::thread;

use serde::{Deserialize, Serialize};

use super::codebooks::{Codebooks, Quantised};
use super::kernel;
use super::loss::{FrameLoss, SignalLoss};
use super::network::{Folded, Parameters, Plan, Statistics, Workspace};
use crate::model::random::SplitMix;
use crate::model::{Architecture, AutoencoderError, QuantizerError, ResidualVectorQuantizer, VQAutoencoder};

/// Gradients are summed over this many groups of frames, each in order, whatever the number of threads: the
/// result does not depend on it.
const GROUPS: usize = 8;

/// What stays the same over all steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepSettings {
    /// Weight of the mean squared error of the first difference.
    pub difference_weight: f32,
    /// Weight of the mean squared error below the cutoff; 0 leaves it out.
    pub lowpass_weight: f32,
    /// Cutoff as a fraction of the sample rate.
    pub lowpass_cutoff: f32,
    /// Decay of the codebooks' moving averages.
    pub ema_decay: f32,
    /// Codes whose count falls below this fraction of the mean count are revived; 0 leaves them dead.
    pub revive_below: f32,
    /// Threads that share the frames of a batch.
    pub threads: usize,
}

/// What a step found.
#[derive(Clone, Debug, PartialEq)]
pub struct StepReport {
    /// The whole loss.
    pub loss: f32,
    /// Mean squared error of the normalised signal.
    pub mse: f32,
    /// The commitment loss, summed over levels, weighted.
    pub commitment: f32,
    /// Distinct codes in the batch, level by level.
    pub codes_used: Vec<usize>,
}

/// Everything that a step changes: restoring it goes on to the same bits.
#[derive(Clone, Debug, PartialEq, bincode::Encode, bincode::Decode)]
pub struct Snapshot {
    encoder: Parameters,
    decoder: Parameters,
    codebooks: Codebooks,
    /// First and second moments of the encoder's and the decoder's parameters.
    moments: [Vec<f32>; 4],
    steps: u64,
    random: SplitMix,
}

/// Why a trainer cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainerError {
    /// A snapshot of another model.
    #[error("the snapshot is of another architecture")]
    Snapshot,
    /// The weights no longer make a model: training has diverged.
    #[error("training has diverged: {0}; try a smaller learning rate")]
    Diverged(#[from] AutoencoderError),
    /// The codebooks no longer make a quantiser: training has diverged.
    #[error("training has diverged: {0}; try a smaller learning rate")]
    Codebooks(#[from] QuantizerError),
}

/// Trains one model.
pub struct Trainer {
    architecture: Architecture,
    settings: StepSettings,
    loss: SignalLoss,
    encoder: Plan,
    decoder: Plan,
    state: Snapshot,
    quantizer: ResidualVectorQuantizer,
    folded: [Folded; 2],
    statistics: [Statistics; 2],
    groups: Vec<Group>,
}

/// The frames of a batch that are passed one after the other, with room for what their passes need.
struct Group {
    encoder: Workspace,
    decoder: Workspace,
    /// Gradients of the encoder's and the decoder's parameters.
    gradients: [Vec<f32>; 2],
    /// Values at the end of the segment that was passed last, frame by frame; going back, gradients.
    boundary: Vec<f32>,
    inputs: Vec<f32>,
    targets: Vec<f32>,
    loss: FrameLoss,
}

/// Which of the two networks a pass is over.
#[derive(Clone, Copy)]
enum Side {
    Encoder = 0,
    Decoder = 1,
}

impl Trainer {
    /// Starts from the weights and codebooks of `model`.
    ///
    /// # Errors
    /// The codebooks are not finite.
    pub fn new(model: &VQAutoencoder, settings: StepSettings) -> Result<Self, TrainerError> {
        let architecture = model.architecture().clone();
        let encoder = Plan::new(model.encoder().network());
        let decoder = Plan::new(model.decoder().network());
        let zeros = |plan: &Plan| vec![0.0; plan.parameters()];
        let state = Snapshot {
            encoder: encoder.read(model.encoder()),
            decoder: decoder.read(model.decoder()),
            codebooks: Codebooks::new(model.quantizer()),
            moments: [zeros(&encoder), zeros(&encoder), zeros(&decoder), zeros(&decoder)],
            steps: 0,
            random: SplitMix::new(0),
        };
        let loss = SignalLoss::new(
            settings.difference_weight,
            settings.lowpass_weight,
            settings.lowpass_cutoff,
            architecture.out_ch,
        );
        Ok(Self {
            quantizer: state.codebooks.quantizer()?,
            architecture,
            settings,
            loss,
            encoder,
            decoder,
            state,
            folded: Default::default(),
            statistics: Default::default(),
            groups: Vec::new(),
        })
    }

    /// Steps done so far.
    pub fn steps(&self) -> u64 {
        self.state.steps
    }

    /// Replaces the codebooks by k-means over the latents of `frames`, `[batch][frame_size][in_ch]`, and seeds the
    /// random numbers that revive codes.
    ///
    /// # Errors
    /// The latents are not finite.
    pub fn initialise_codebooks(&mut self, frames: &[f32], seed: u64) -> Result<(), TrainerError> {
        self.state.random = SplitMix::new(seed);
        let latents = self.latents_of_batch(frames);
        self.state.codebooks.initialise(&latents, &mut self.state.random);
        self.quantizer = self.state.codebooks.quantizer()?;
        Ok(())
    }

    /// One optimiser step. `inputs` and `targets` are `[batch][frame_size][channels]`, normalised.
    ///
    /// # Errors
    /// Training has diverged.
    pub fn step(
        &mut self,
        inputs: &[f32],
        targets: &[f32],
        learning_rate: f32,
    ) -> Result<StepReport, TrainerError> {
        let in_size = self.architecture.frame_size * self.architecture.in_ch;
        let out_size = self.architecture.frame_size * self.architecture.out_ch;
        let latent_size = self.architecture.latent_positions() * self.architecture.embedding_dim;
        let frames = inputs.len() / in_size;
        self.distribute(inputs, targets, frames);

        self.encoder.fold(&self.state.encoder, &mut self.folded[0]);
        self.decoder.fold(&self.state.decoder, &mut self.folded[1]);
        self.forward(Side::Encoder, frames);
        let latents: Vec<f32> = self.groups.iter().flat_map(|group| group.boundary.iter().copied()).collect();
        let quantised = self.state.codebooks.quantise(&self.quantizer, &latents, self.architecture.beta);
        self.spread(&quantised.output, latent_size);
        if self.decoder.segments() == 1 {
            self.decode_and_back(frames, out_size);
        } else {
            self.forward(Side::Decoder, frames);
            self.loss_gradients(frames, out_size);
            self.backward(Side::Decoder, frames, true);
        }
        self.add_to_boundary(&quantised, latent_size);
        self.backward(Side::Encoder, frames, false);
        self.update(learning_rate);
        let StepSettings { ema_decay, revive_below, .. } = self.settings;
        self.state.codebooks.update(&quantised, ema_decay, revive_below, &mut self.state.random);
        self.quantizer = self.state.codebooks.quantizer()?;

        let mut sums = FrameLoss::default();
        self.groups.iter().for_each(|group| sums += group.loss);
        let signal = self.loss.total(sums, frames, out_size);
        Ok(StepReport {
            loss: signal + quantised.commitment,
            mse: (sums.squared_error / (frames * out_size) as f64) as f32,
            commitment: quantised.commitment,
            codes_used: quantised.used,
        })
    }

    /// Reconstructions in inference mode, `[batch][frame_size][out_ch]`, through quantisation.
    ///
    /// # Errors
    /// Never for codes of the trainer's own quantiser; the type is that of the lookup.
    pub fn reconstruct(&self, inputs: &[f32]) -> Result<Vec<f32>, TrainerError> {
        let in_size = self.architecture.frame_size * self.architecture.in_ch;
        let latent_size = self.architecture.latent_positions() * self.architecture.embedding_dim;
        let latents = infer(&self.encoder, &self.state.encoder, inputs, in_size, self.settings.threads);
        let mut codes = Vec::new();
        self.quantizer.codes(&latents, &mut codes);
        let mut quantised = Vec::with_capacity(latents.len());
        self.quantizer.lookup(&codes, &mut quantised)?;
        Ok(infer(&self.decoder, &self.state.decoder, &quantised, latent_size, self.settings.threads))
    }

    /// The trained weights as a model.
    ///
    /// # Errors
    /// Training has diverged.
    pub fn model(&self) -> Result<VQAutoencoder, TrainerError> {
        Ok(VQAutoencoder::new(
            self.architecture.clone(),
            self.encoder.write(&self.state.encoder),
            self.quantizer.codebooks().cloned().collect(),
            self.decoder.write(&self.state.decoder),
        )?)
    }

    /// Everything that steps change.
    pub fn snapshot(&self) -> Snapshot {
        self.state.clone()
    }

    /// Goes on from a snapshot of the same architecture.
    ///
    /// # Errors
    /// It is of another one.
    pub fn restore(&mut self, snapshot: Snapshot) -> Result<(), TrainerError> {
        let own = &self.state;
        let lengths = |state: &Snapshot| {
            let parameters = |p: &Parameters| [p.trained.len(), p.moving_mean.len(), p.moving_variance.len()];
            (parameters(&state.encoder), parameters(&state.decoder), state.moments.each_ref().map(Vec::len))
        };
        if lengths(own) != lengths(&snapshot) || !own.codebooks.fits(&snapshot.codebooks) {
            return Err(TrainerError::Snapshot);
        }
        self.quantizer = snapshot.codebooks.quantizer()?;
        self.state = snapshot;
        Ok(())
    }

    /// Gives each group its frames: as many groups as frames allow, the first ones larger.
    fn distribute(&mut self, inputs: &[f32], targets: &[f32], frames: usize) {
        let counts: Vec<usize> = (0..GROUPS.min(frames))
            .map(|group| frames / GROUPS + usize::from(group < frames % GROUPS))
            .collect();
        if self.groups.iter().map(|group| group.encoder.frames()).ne(counts.iter().copied()) {
            // A decoder without batch normalisation is passed frame by frame, forward and back.
            let decoder_frames = |count| if self.decoder.segments() == 1 { 1 } else { count };
            self.groups = counts
                .iter()
                .map(|count| Group {
                    encoder: self.encoder.workspace(*count),
                    decoder: self.decoder.workspace(decoder_frames(*count)),
                    gradients: [vec![0.0; self.encoder.parameters()], vec![0.0; self.decoder.parameters()]],
                    boundary: Vec::new(),
                    inputs: Vec::new(),
                    targets: Vec::new(),
                    loss: FrameLoss::default(),
                })
                .collect();
        }
        let (in_size, out_size) = (inputs.len() / frames.max(1), targets.len() / frames.max(1));
        let (mut inputs, mut targets) = (inputs, targets);
        for (group, count) in self.groups.iter_mut().zip(counts) {
            let (own, rest) = inputs.split_at(count * in_size);
            group.inputs = own.to_vec();
            group.boundary = own.to_vec();
            inputs = rest;
            let (own, rest) = targets.split_at(count * out_size);
            group.targets = own.to_vec();
            targets = rest;
            group.loss = FrameLoss::default();
            group.gradients.iter_mut().for_each(|gradient| gradient.fill(0.0));
        }
    }

    /// Sets each group's boundary to its part of `values`, `size` a frame.
    fn spread(&mut self, mut values: &[f32], size: usize) {
        for group in &mut self.groups {
            let (own, rest) = values.split_at(group.encoder.frames() * size);
            group.boundary.clear();
            group.boundary.extend_from_slice(own);
            values = rest;
        }
    }

    fn add_to_boundary(&mut self, quantised: &Quantised, size: usize) {
        let mut gradient = quantised.gradient.as_slice();
        for group in &mut self.groups {
            let (own, rest) = gradient.split_at(group.encoder.frames() * size);
            group.boundary.iter_mut().zip(own).for_each(|(sum, value)| *sum += value);
            gradient = rest;
        }
    }

    fn forward(&mut self, side: Side, frames: usize) {
        let threads = self.settings.threads;
        let (plan, parameters) = match side {
            Side::Encoder => (&self.encoder, &mut self.state.encoder),
            Side::Decoder => (&self.decoder, &mut self.state.decoder),
        };
        let (folded, statistics) = (&self.folded[side as usize], &mut self.statistics[side as usize]);
        for segment in 0..plan.segments() {
            if segment > 0 {
                let sums =
                    in_parallel(&mut self.groups, threads, |group| plan.sums(segment, &group.boundary));
                let rows = frames * plan.segment_len(segment);
                plan.set_statistics(segment, &add(sums), rows, statistics, parameters);
            }
            let context = (&*parameters, folded, &*statistics);
            in_parallel(&mut self.groups, threads, |group| {
                let count = group.encoder.frames();
                let input = std::mem::take(&mut group.boundary);
                let mut output = Vec::with_capacity(count * plan.output_size(segment));
                let workspace = match side {
                    Side::Encoder => &mut group.encoder,
                    Side::Decoder => &mut group.decoder,
                };
                for (slot, frame) in input.chunks_exact((input.len() / count).max(1)).enumerate() {
                    plan.forward(segment, context, workspace, slot, frame);
                    output.extend_from_slice(workspace.current());
                }
                group.boundary = output;
            });
        }
    }

    fn backward(&mut self, side: Side, frames: usize, to_input: bool) {
        let threads = self.settings.threads;
        let (plan, parameters) = match side {
            Side::Encoder => (&self.encoder, &self.state.encoder),
            Side::Decoder => (&self.decoder, &self.state.decoder),
        };
        let (folded, statistics) = (&self.folded[side as usize], &mut self.statistics[side as usize]);
        for segment in (0..plan.segments()).rev() {
            // The batch normalisation that a segment begins with needs the gradients of all frames: the segment is
            // passed down to it first, then the sums are taken, then it is passed itself.
            let context = (parameters, folded);
            let sums = in_parallel(&mut self.groups, threads, |group| {
                let count = group.encoder.frames();
                let gradient = std::mem::take(&mut group.boundary);
                let mut below = Vec::with_capacity(gradient.len());
                let Group { encoder, decoder, gradients, .. } = group;
                let workspace = match side {
                    Side::Encoder => encoder,
                    Side::Decoder => decoder,
                };
                for (slot, frame) in gradient.chunks_exact((gradient.len() / count).max(1)).enumerate() {
                    workspace.set_current(frame);
                    let own = &mut gradients[side as usize];
                    plan.backward(segment, context, workspace, slot, own, to_input || segment > 0);
                    below.extend_from_slice(workspace.current());
                }
                let sums = plan.gradient_sums(segment, workspace, &below);
                group.boundary = below;
                sums
            });
            if segment > 0 {
                plan.set_gradient_statistics(
                    segment,
                    &add(sums),
                    frames * plan.segment_len(segment),
                    statistics,
                );
                let context = (parameters, &*statistics);
                in_parallel(&mut self.groups, threads, |group| {
                    let count = group.encoder.frames();
                    let Group { encoder, decoder, gradients, boundary, .. } = group;
                    let workspace = match side {
                        Side::Encoder => encoder,
                        Side::Decoder => decoder,
                    };
                    let size = (boundary.len() / count).max(1);
                    for (slot, frame) in boundary.chunks_exact_mut(size).enumerate() {
                        plan.backward_norm(
                            segment,
                            context,
                            workspace,
                            slot,
                            &mut gradients[side as usize],
                            frame,
                        );
                    }
                });
            }
        }
    }

    /// Decoder, loss and back, a frame at a time: nothing leaves the cache.
    fn decode_and_back(&mut self, frames: usize, out_size: usize) {
        let (plan, loss) = (&self.decoder, &self.loss);
        let forward = (&self.state.decoder, &self.folded[1], &self.statistics[1]);
        let backward = (&self.state.decoder, &self.folded[1]);
        in_parallel(&mut self.groups, self.settings.threads, |group| {
            let count = group.encoder.frames();
            let latents = std::mem::take(&mut group.boundary);
            let mut below = Vec::with_capacity(latents.len());
            let mut gradient = Vec::new();
            let size = (latents.len() / count).max(1);
            for (latent, target) in latents.chunks_exact(size).zip(group.targets.chunks_exact(out_size)) {
                plan.forward(0, forward, &mut group.decoder, 0, latent);
                group.loss += loss.frame(group.decoder.current(), target, frames, &mut gradient);
                group.decoder.set_current(&gradient);
                plan.backward(0, backward, &mut group.decoder, 0, &mut group.gradients[1], true);
                below.extend_from_slice(group.decoder.current());
            }
            group.boundary = below;
        });
    }

    /// Replaces the outputs at the boundary by the gradients of the loss.
    fn loss_gradients(&mut self, frames: usize, out_size: usize) {
        let loss = &self.loss;
        in_parallel(&mut self.groups, self.settings.threads, |group| {
            let outputs = std::mem::take(&mut group.boundary);
            let mut gradient = Vec::new();
            for (output, target) in outputs.chunks_exact(out_size).zip(group.targets.chunks_exact(out_size)) {
                group.loss += loss.frame(output, target, frames, &mut gradient);
                group.boundary.extend_from_slice(&gradient);
            }
        });
    }

    fn update(&mut self, learning_rate: f32) {
        let Snapshot { encoder, decoder, moments, steps, .. } = &mut self.state;
        *steps += 1;
        let step = i32::try_from(*steps).unwrap_or(i32::MAX);
        let corrections = (1.0 - 0.9_f32.powi(step), 1.0 - 0.999_f32.powi(step));
        let [encoder_first, encoder_second, decoder_first, decoder_second] = moments;
        let networks = [
            (&mut encoder.trained, encoder_first, encoder_second),
            (&mut decoder.trained, decoder_first, decoder_second),
        ];
        for (index, (parameters, first, second)) in networks.into_iter().enumerate() {
            let (sum, others) = match self.groups.split_first_mut() {
                Some((group, others)) => (&mut group.gradients[index], others),
                None => return,
            };
            for other in others {
                sum.iter_mut().zip(&other.gradients[index]).for_each(|(sum, value)| *sum += value);
            }
            kernel::adam(parameters, sum, first, second, learning_rate, corrections);
        }
    }

    /// Latents under the frames' own statistics: the moving ones of an untrained model say nothing yet.
    fn latents_of_batch(&mut self, frames: &[f32]) -> Vec<f32> {
        let in_size = self.architecture.frame_size * self.architecture.in_ch;
        let count = frames.len() / in_size;
        self.distribute(frames, &[], count);
        self.encoder.fold(&self.state.encoder, &mut self.folded[0]);
        let moving = self.state.encoder.clone();
        self.forward(Side::Encoder, count);
        self.state.encoder = moving;
        self.groups.iter().flat_map(|group| group.boundary.iter().copied()).collect()
    }
}

/// Runs a network over frames of `size` values with its moving statistics.
fn infer(plan: &Plan, parameters: &Parameters, frames: &[f32], size: usize, threads: usize) -> Vec<f32> {
    let mut folded = Folded::default();
    plan.fold(parameters, &mut folded);
    let statistics = plan.inference(parameters);
    let count = frames.len() / size.max(1);
    let share = count.div_ceil(threads.max(1)).max(1) * size.max(1);
    let mut parts: Vec<(&[f32], Vec<f32>)> = frames.chunks(share).map(|part| (part, Vec::new())).collect();
    in_parallel(&mut parts, threads, |(part, output)| {
        let mut workspace = plan.workspace(1);
        for frame in part.chunks_exact(size) {
            let mut values = frame.to_vec();
            for segment in 0..plan.segments() {
                plan.forward(segment, (parameters, &folded, &statistics), &mut workspace, 0, &values);
                values.clear();
                values.extend_from_slice(workspace.current());
            }
            output.extend_from_slice(&values);
        }
    });
    parts.into_iter().flat_map(|(_, output)| output).collect()
}

/// Applies `work` to every item, shared among `threads`; results in the items' order.
fn in_parallel<T: Send, R: Send>(
    items: &mut [T],
    threads: usize,
    work: impl Fn(&mut T) -> R + Sync,
) -> Vec<R> {
    let share = items.len().div_ceil(threads.max(1)).max(1);
    if share >= items.len() {
        return items.iter_mut().map(work).collect();
    }
    let work = &work;
    thread::scope(|scope| {
        let threads: Vec<_> = items
            .chunks_mut(share)
            .map(|items| scope.spawn(move || items.iter_mut().map(work).collect::<Vec<R>>()))
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| match thread.join() {
                Ok(results) => results,
                Err(panic) => std::panic::resume_unwind(panic),
            })
            .collect()
    })
}

/// The sum of the groups' sums, in their order.
fn add(sums: Vec<Vec<f64>>) -> Vec<f64> {
    let mut sums = sums.into_iter();
    let mut total = sums.next().unwrap_or_default();
    for sum in sums {
        total.iter_mut().zip(sum).for_each(|(total, value)| *total += value);
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::npz::Npz;
    use crate::model::{Norm, build_rvq_autoencoder};

    fn settings(threads: usize) -> StepSettings {
        StepSettings {
            difference_weight: 0.1,
            lowpass_weight: 1.0,
            lowpass_cutoff: 0.03,
            ema_decay: 0.99,
            revive_below: 0.03,
            threads,
        }
    }

    fn architecture() -> Architecture {
        Architecture { base_filters: 8, latent_width: 16, num_stages: 2, ..Architecture::new(64) }
    }

    fn batch(frames: usize, phase: f32) -> Vec<f32> {
        (0..frames * 64).map(|i| (0.05 * (1 + i / 64 % 5) as f32 * i as f32 + phase).sin()).collect()
    }

    fn trainer(architecture: &Architecture, threads: usize) -> Trainer {
        let mut trainer =
            Trainer::new(&build_rvq_autoencoder(architecture, 3).unwrap(), settings(threads)).unwrap();
        trainer.initialise_codebooks(&batch(20, 0.0), 7).unwrap();
        trainer
    }

    #[test]
    fn the_loss_falls_and_inference_agrees() {
        let mut trainer = trainer(&architecture(), 2);
        let mut reports = Vec::new();
        for step in 0..400 {
            let frames = batch(16, step as f32);
            reports.push(trainer.step(&frames, &frames, 2e-3).unwrap());
        }
        let (first, last) = (reports[0].mse, reports[399].mse);
        assert!(last < 0.25 * first, "{first} {last}");
        let frames = batch(16, 1.0);
        let output = trainer.reconstruct(&frames).unwrap();
        let mse = frames.iter().zip(&output).map(|(x, y)| (x - y).powi(2)).sum::<f32>() / frames.len() as f32;
        assert!(mse < 2.0 * last + 0.02, "{mse} {last}");
    }

    #[test]
    fn the_result_does_not_depend_on_threads() {
        for decoder_block_norm in [Norm::None, Norm::Batch] {
            let architecture = Architecture { decoder_block_norm, ..architecture() };
            let run = |threads| {
                let mut trainer = trainer(&architecture, threads);
                for step in 0..4 {
                    let frames = batch(13, step as f32);
                    trainer.step(&frames, &frames, 1e-3).unwrap();
                }
                trainer.snapshot()
            };
            let one = run(1);
            assert!(one == run(2) && one == run(3) && one == run(20));
        }
    }

    #[test]
    fn a_snapshot_goes_on_to_the_same_bits() {
        let mut whole = trainer(&architecture(), 2);
        let mut halves = trainer(&architecture(), 2);
        let step = |trainer: &mut Trainer, step: usize| {
            let frames = batch(9, step as f32);
            trainer.step(&frames, &frames, 1e-3).unwrap();
        };
        (0..6).for_each(|i| step(&mut whole, i));
        (0..3).for_each(|i| step(&mut halves, i));
        let bytes = bincode::encode_to_vec(halves.snapshot(), bincode::config::standard()).unwrap();
        let (snapshot, _): (Snapshot, _) =
            bincode::decode_from_slice(&bytes, bincode::config::standard()).unwrap();
        let mut resumed =
            Trainer::new(&build_rvq_autoencoder(&architecture(), 99).unwrap(), settings(1)).unwrap();
        resumed.restore(snapshot).unwrap();
        (3..6).for_each(|i| step(&mut resumed, i));
        assert!(whole.snapshot() == resumed.snapshot());

        let other = Architecture { base_filters: 16, ..architecture() };
        let mut other = Trainer::new(&build_rvq_autoencoder(&other, 1).unwrap(), settings(1)).unwrap();
        assert!(matches!(other.restore(whole.snapshot()), Err(TrainerError::Snapshot)));
    }

    #[test]
    fn a_model_comes_out_as_it_went_in() {
        let model = build_rvq_autoencoder(&architecture(), 5).unwrap();
        let back = Trainer::new(&model, settings(1)).unwrap().model().unwrap();
        assert_eq!(model.encoder(), back.encoder());
        assert_eq!(model.decoder(), back.decoder());
    }

    /// One step of PyTorch in float64 (`benches/peers/reference_step.py`).
    #[test]
    fn a_step_equals_the_reference_step() {
        let npz = Npz::read(include_bytes!("testdata/reference_step.npz")).unwrap();
        let counted = |prefix: &str| -> Vec<String> {
            (0..).map(|index| format!("{prefix}_{index}")).take_while(|name| npz.contains(name)).collect()
        };
        let arrays =
            |names: &[String]| names.iter().map(|name| npz.floats(name).unwrap()).collect::<Vec<_>>();
        let (encoder, decoder, books) = (counted("enc"), counted("dec"), counted("cb"));
        let architecture = Architecture {
            base_filters: 8,
            num_stages: 3,
            in_ch: 2,
            out_ch: 2,
            embedding_dim: 4,
            latent_width: 16,
            ..Architecture::new(64)
        };
        let codebooks = arrays(&books).into_iter().map(|book| book.into_dimensionality().unwrap()).collect();
        let model = VQAutoencoder::new(architecture, arrays(&encoder), codebooks, arrays(&decoder)).unwrap();
        let settings =
            StepSettings { lowpass_cutoff: 10.0 / 360.0, ema_decay: 0.9, revive_below: 0.0, ..settings(1) };
        let mut trainer = Trainer::new(&model, settings).unwrap();
        let flat = |name: &str| npz.floats(name).unwrap().into_iter().collect::<Vec<f32>>();
        let report = trainer.step(&flat("inputs"), &flat("targets"), 1e-3).unwrap();

        // The whole loss, the mean squared error, and last the commitment before its weight.
        let losses = flat("losses");
        let expected = [losses[0], losses[1], 0.25 * losses[losses.len() - 1]];
        for (found, expected) in [report.loss, report.mse, report.commitment].iter().zip(expected) {
            assert!((found - expected).abs() < 1e-5 * expected, "{found}, expected {expected}");
        }
        let after = trainer.model().unwrap();
        let sides = [(&encoder, after.encoder(), 0), (&decoder, after.decoder(), 1)];
        for (names, network, side) in sides {
            // The first group holds the sum over all groups once a step is done.
            let mut gradients = trainer.groups[0].gradients[side].iter();
            for (name, weights) in names.iter().zip(network.weights()) {
                let expected = flat(&format!("{name}_after"));
                let moving = !npz.contains(&format!("{name}_gradient"));
                let gradient =
                    if moving { vec![0.0; expected.len()] } else { flat(&format!("{name}_gradient")) };
                let largest = gradient.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
                for ((found, expected), gradient) in weights.iter().zip(&expected).zip(&gradient) {
                    if !moving {
                        let own = gradients.next().unwrap();
                        assert!(
                            (own - gradient).abs() <= 2e-4 * largest + 1e-7,
                            "{name}: {own} for {gradient}"
                        );
                    }
                    // Adam's first step is as long as the learning rate, even where the gradient is rounding.
                    if moving || gradient.abs() > 1e-3 * largest + 1e-6 {
                        assert!((found - expected).abs() < 2e-6, "{name}: {found} for {expected}");
                    }
                }
            }
            assert_eq!(gradients.next(), None);
        }
        for (name, book) in books.iter().zip(after.quantizer().codebooks()) {
            for (found, expected) in book.iter().zip(flat(&format!("{name}_after"))) {
                assert!((found - expected).abs() < 1e-5, "{name}: {found} for {expected}");
            }
        }
    }
}
