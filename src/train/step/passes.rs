//! The passes of a step over both networks, and the optimiser.

use super::groups::{Group, add, in_parallel};
use super::{Snapshot, Trainer};
use crate::train::kernel;
use crate::train::network::{Folded, Parameters, Plan};

/// Which of the two networks a pass is over.
#[derive(Clone, Copy)]
pub(super) enum Side {
    Encoder = 0,
    Decoder = 1,
}

impl Trainer {
    pub(super) fn forward(&mut self, side: Side, frames: usize) {
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

    pub(super) fn backward(&mut self, side: Side, frames: usize, to_input: bool) {
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
    pub(super) fn decode_and_back(&mut self, frames: usize, out_size: usize) {
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
    pub(super) fn loss_gradients(&mut self, frames: usize, out_size: usize) {
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

    pub(super) fn update(&mut self, learning_rate: f32) {
        let Snapshot { encoder, decoder, moments, steps, .. } = &mut self.state;
        *steps += 1;
        let step = i32::try_from(*steps).unwrap_or(i32::MAX);
        let (first, second) = kernel::ADAM_DECAYS;
        let corrections = (1.0 - first.powi(step), 1.0 - second.powi(step));
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
    pub(super) fn latents_of_batch(&mut self, frames: &[f32]) -> Vec<f32> {
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
pub(super) fn infer(
    plan: &Plan,
    parameters: &Parameters,
    frames: &[f32],
    size: usize,
    threads: usize,
) -> Vec<f32> {
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
