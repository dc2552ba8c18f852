//! Groups of frames: what threads share, and the order in which sums are taken.

use std::thread;

use super::Trainer;
use crate::train::codebooks::Quantised;
use crate::train::loss::FrameLoss;
use crate::train::network::Workspace;

/// Gradients are summed over this many groups of frames, each in order, whatever the number of threads: the
/// result does not depend on it.
const GROUPS: usize = 8;

/// The frames of a batch that are passed one after the other, with room for what their passes need.
pub(super) struct Group {
    pub(super) encoder: Workspace,
    pub(super) decoder: Workspace,
    /// Gradients of the encoder's and the decoder's parameters.
    pub(super) gradients: [Vec<f32>; 2],
    /// Values at the end of the segment that was passed last, frame by frame; going back, gradients.
    pub(super) boundary: Vec<f32>,
    pub(super) inputs: Vec<f32>,
    pub(super) targets: Vec<f32>,
    pub(super) loss: FrameLoss,
}

impl Trainer {
    /// Gives each group its frames: as many groups as frames allow, the first ones larger.
    pub(super) fn distribute(&mut self, inputs: &[f32], targets: &[f32], frames: usize) {
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
    pub(super) fn spread(&mut self, mut values: &[f32], size: usize) {
        for group in &mut self.groups {
            let (own, rest) = values.split_at(group.encoder.frames() * size);
            group.boundary.clear();
            group.boundary.extend_from_slice(own);
            values = rest;
        }
    }

    pub(super) fn add_to_boundary(&mut self, quantised: &Quantised, size: usize) {
        let mut gradient = quantised.gradient.as_slice();
        for group in &mut self.groups {
            let (own, rest) = gradient.split_at(group.encoder.frames() * size);
            group.boundary.iter_mut().zip(own).for_each(|(sum, value)| *sum += value);
            gradient = rest;
        }
    }
}

/// Applies `work` to every item, shared among `threads`; results in the items' order.
pub(super) fn in_parallel<T: Send, R: Send>(
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
pub(super) fn add(sums: Vec<Vec<f64>>) -> Vec<f64> {
    let mut sums = sums.into_iter();
    let mut total = sums.next().unwrap_or_default();
    for sum in sums {
        total.iter_mut().zip(sum).for_each(|(total, value)| *total += value);
    }
    total
}
