//! The forward pass, and the folding of upsampling convolutions that it runs on.

use super::{Folded, Op, Parameters, Plan, Statistics, Workspace, inverse_deviations, padding};
use crate::model::network::NORM_EPSILON;
use crate::train::kernel::{self, Matrix, multiply};

impl Plan {
    /// Kernels of upsampling convolutions folded into an even and an odd product over the low-rate signal.
    ///
    /// With taps w0..w6 and nearest upsampling, even outputs see w0, w1+w2, w3+w4, w5+w6 of the inputs from two
    /// before to one after, odd ones w0+w1, w2+w3, w4+w5, w6 of the inputs from one before to two after.
    pub(in crate::train) fn fold(&self, parameters: &Parameters, folded: &mut Folded) {
        folded.kernels.resize(self.steps.len(), Default::default());
        for (step, kernels) in self.steps.iter().zip(&mut folded.kernels) {
            let Op::Conv { taps, in_ch, out_ch, upsample: true, .. } = step.op else { continue };
            let size = in_ch * out_ch;
            let weights = &parameters.trained[step.parameters..][..taps * size];
            let [even, odd, even_back, odd_back] = kernels;
            for (phase, (forward, backward)) in [(even, even_back), (odd, odd_back)].into_iter().enumerate() {
                forward.clear();
                forward.resize(4 * size, 0.0);
                backward.clear();
                backward.resize(4 * size, 0.0);
                for tap in 0..taps {
                    let slot = folded_tap(phase, tap);
                    let target = &mut forward[slot * size..][..size];
                    for (target, weight) in target.iter_mut().zip(&weights[tap * size..][..size]) {
                        *target += weight;
                    }
                }
                // Backward reads the taps from the last to the first, and from outputs to inputs.
                for slot in 0..4 {
                    for i in 0..in_ch {
                        for o in 0..out_ch {
                            backward[((3 - slot) * out_ch + o) * in_ch + i] =
                                forward[slot * size + i * out_ch + o];
                        }
                    }
                }
            }
        }
    }

    /// Runs one segment over one frame. `input` is the end of the segment before, or the frame itself.
    /// In `workspace`, `slot` is the frame's place. The result stands in [`Workspace::current`].
    pub(in crate::train) fn forward(
        &self,
        segment: usize,
        (parameters, folded, statistics): (&Parameters, &Folded, &Statistics),
        workspace: &mut Workspace,
        slot: usize,
        input: &[f32],
    ) {
        workspace.current.clear();
        workspace.current.extend_from_slice(input);
        for index in self.segments[segment].clone() {
            let step = &self.steps[index];
            let saved = &mut workspace.saved[index][slot * step.saved..][..step.saved];
            let weights = &parameters.trained[step.parameters..];
            let out_size = step.out_len * step.out_ch;
            match step.op {
                Op::Conv { taps, stride, in_ch, out_ch, upsample } => {
                    pad(&workspace.current, saved, padding(step, taps, stride, upsample) * in_ch);
                    workspace.next.resize(out_size, 0.0);
                    if upsample {
                        let [even, odd, ..] = &folded.kernels[index];
                        for (phase, kernel) in [even, odd].into_iter().enumerate() {
                            multiply(
                                (step.in_len, out_ch, 4 * in_ch),
                                &mut workspace.next[phase * out_ch..],
                                2 * out_ch,
                                Matrix::rows(&saved[phase * in_ch..], in_ch),
                                Matrix::rows(kernel, out_ch),
                                false,
                            );
                        }
                    } else {
                        let depth = taps * in_ch;
                        let left = Matrix::rows(saved, stride * in_ch);
                        let right = Matrix::rows(&weights[..depth * out_ch], out_ch);
                        multiply(
                            (step.out_len, out_ch, depth),
                            &mut workspace.next,
                            out_ch,
                            left,
                            right,
                            false,
                        );
                    }
                    kernel::add_bias(&mut workspace.next, &weights[taps * in_ch * out_ch..][..out_ch]);
                    std::mem::swap(&mut workspace.current, &mut workspace.next);
                }
                Op::Depthwise { taps, stride, bias } => {
                    pad(&workspace.current, saved, padding(step, taps, stride, false) * step.in_ch);
                    workspace.next.resize(out_size, 0.0);
                    let (kernel, rest) = weights.split_at(taps * step.in_ch);
                    let bias = if bias { &rest[..step.in_ch] } else { &[] };
                    kernel::depthwise(saved, kernel, bias, stride, &mut workspace.next, step.in_ch);
                    std::mem::swap(&mut workspace.current, &mut workspace.next);
                }
                Op::BatchNorm { statistics: first } => {
                    let channels = step.in_ch;
                    let (gamma, beta) = weights[..2 * channels].split_at(channels);
                    let mean = &statistics.mean[first..][..channels];
                    let inverse: Vec<f32> = inverse_deviations(&statistics.variance[first..][..channels]);
                    for (row, saved) in
                        workspace.current.chunks_exact_mut(channels).zip(saved.chunks_exact_mut(channels))
                    {
                        for c in 0..channels {
                            saved[c] = (row[c] - mean[c]) * inverse[c];
                            row[c] = saved[c] * gamma[c] + beta[c];
                        }
                    }
                }
                Op::LayerNorm => {
                    let channels = step.in_ch;
                    let (gamma, beta) = weights[..2 * channels].split_at(channels);
                    let (normalised, inverses) = saved.split_at_mut(step.in_len * channels);
                    for ((row, saved), inverse) in workspace
                        .current
                        .chunks_exact_mut(channels)
                        .zip(normalised.chunks_exact_mut(channels))
                        .zip(inverses)
                    {
                        let mean = row.iter().sum::<f32>() / channels as f32;
                        let variance =
                            row.iter().map(|x| (x - mean) * (x - mean)).sum::<f32>() / channels as f32;
                        *inverse = 1.0 / (variance + NORM_EPSILON).sqrt();
                        for c in 0..channels {
                            saved[c] = (row[c] - mean) * *inverse;
                            row[c] = saved[c] * gamma[c] + beta[c];
                        }
                    }
                }
                Op::Relu => {
                    kernel::relu(&mut workspace.current);
                    saved.copy_from_slice(&workspace.current);
                }
            }
        }
    }
}

/// The slot of a folded kernel that a tap of the upsampled signal falls into.
pub(super) fn folded_tap(phase: usize, tap: usize) -> usize {
    if phase == 0 { tap.div_ceil(2) } else { tap / 2 }
}

/// Copies `input` into `padded` from `start` on, with zeros around it.
fn pad(input: &[f32], padded: &mut [f32], start: usize) {
    let (left, rest) = padded.split_at_mut(start);
    let (middle, right) = rest.split_at_mut(input.len());
    left.fill(0.0);
    middle.copy_from_slice(input);
    right.fill(0.0);
}
