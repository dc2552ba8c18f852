//! The backward pass.

use super::forward::folded_tap;
use super::{Folded, Op, Parameters, Plan, Statistics, Step, Workspace, inverse_deviations, padding};
use crate::train::kernel::{self, Matrix, multiply};

impl Plan {
    /// Runs one segment backward over one frame, down to the batch normalisation that it begins with. [`Workspace::current`] holds the gradient at the segment's
    /// end and then the one at its beginning, where `to_input` asks for it; gradients of the parameters are added to
    /// `gradient`.
    pub(in crate::train) fn backward(
        &self,
        segment: usize,
        (parameters, folded): (&Parameters, &Folded),
        workspace: &mut Workspace,
        slot: usize,
        gradient: &mut [f32],
        to_input: bool,
    ) {
        let range = self.segments[segment].clone();
        for index in range.clone().rev() {
            let step = &self.steps[index];
            let needs_input = to_input || index > range.start;
            let saved = &workspace.saved[index][slot * step.saved..][..step.saved];
            let weights = &parameters.trained[step.parameters..];
            let own = &mut gradient[step.parameters..];
            let in_size = step.in_len * step.in_ch;
            match step.op {
                Op::Conv { taps, stride, in_ch, out_ch, upsample } => {
                    let size = in_ch * out_ch;
                    let (kernel, bias) = own.split_at_mut(taps * size);
                    kernel::sum_rows(&workspace.current, &mut bias[..out_ch]);
                    workspace.next.clear();
                    workspace.next.resize(in_size, 0.0);
                    if upsample {
                        let kernels = &folded.kernels[index];
                        for phase in 0..2 {
                            self.backward_phase(
                                step,
                                phase,
                                kernels,
                                saved,
                                &workspace.current,
                                kernel,
                                &mut workspace.scratch,
                                needs_input.then_some(&mut workspace.next),
                            );
                        }
                    } else {
                        let depth = taps * in_ch;
                        let left = Matrix::transposed(saved, stride * in_ch);
                        let right = Matrix::rows(&workspace.current, out_ch);
                        multiply((depth, out_ch, step.out_len), kernel, out_ch, left, right, true);
                        if needs_input {
                            let [padded, _] = &mut workspace.scratch;
                            padded.clear();
                            padded.resize(step.saved, 0.0);
                            for tap in 0..taps {
                                multiply(
                                    (step.out_len, in_ch, out_ch),
                                    &mut padded[tap * in_ch..],
                                    stride * in_ch,
                                    Matrix::rows(&workspace.current, out_ch),
                                    Matrix::transposed(&weights[tap * size..][..size], out_ch),
                                    true,
                                );
                            }
                            let start = padding(step, taps, stride, false) * in_ch;
                            workspace.next.copy_from_slice(&padded[start..][..in_size]);
                        }
                    }
                    std::mem::swap(&mut workspace.current, &mut workspace.next);
                }
                Op::Depthwise { taps, stride, bias } => {
                    let channels = step.in_ch;
                    let [padded, _] = &mut workspace.scratch;
                    padded.clear();
                    padded.resize(step.saved, 0.0);
                    let (kernel, rest) = own.split_at_mut(taps * channels);
                    let bias = if bias { &mut rest[..channels] } else { &mut [] };
                    let weights = &weights[..taps * channels];
                    kernel::depthwise_backward(
                        saved,
                        weights,
                        stride,
                        &workspace.current,
                        channels,
                        kernel,
                        bias,
                        padded,
                    );
                    let start = padding(step, taps, stride, false) * channels;
                    workspace.next.clear();
                    workspace.next.extend_from_slice(&padded[start..][..in_size]);
                    std::mem::swap(&mut workspace.current, &mut workspace.next);
                }
                // Passed on its own once the gradients of all frames are known.
                Op::BatchNorm { .. } => {}
                Op::LayerNorm => {
                    let channels = step.in_ch;
                    let (gamma_gradient, beta_gradient) = own[..2 * channels].split_at_mut(channels);
                    let gamma = &weights[..channels];
                    let (normalised, inverses) = saved.split_at(step.in_len * channels);
                    for ((row, normalised), inverse) in workspace
                        .current
                        .chunks_exact_mut(channels)
                        .zip(normalised.chunks_exact(channels))
                        .zip(inverses)
                    {
                        let (mut mean, mut product) = (0.0, 0.0);
                        for c in 0..channels {
                            gamma_gradient[c] += row[c] * normalised[c];
                            beta_gradient[c] += row[c];
                            row[c] *= gamma[c];
                            mean += row[c];
                            product += row[c] * normalised[c];
                        }
                        mean /= channels as f32;
                        product /= channels as f32;
                        for c in 0..channels {
                            row[c] = inverse * (row[c] - mean - normalised[c] * product);
                        }
                    }
                }
                Op::Relu => kernel::relu_backward(saved, &mut workspace.current),
            }
        }
    }

    /// Backward over the batch normalisation that `segment` begins with, for one frame: `frame` holds the gradient at
    /// its output and then at its input.
    pub(in crate::train) fn backward_norm(
        &self,
        segment: usize,
        (parameters, statistics): (&Parameters, &Statistics),
        workspace: &Workspace,
        slot: usize,
        gradient: &mut [f32],
        frame: &mut [f32],
    ) {
        let Some((first, channels)) = self.batch_norm(segment) else { return };
        let index = self.segments[segment].start;
        let step = &self.steps[index];
        let saved = &workspace.saved[index][slot * step.saved..][..step.saved];
        let (gamma_gradient, beta_gradient) =
            gradient[step.parameters..][..2 * channels].split_at_mut(channels);
        let gamma = &parameters.trained[step.parameters..][..channels];
        let mean = &statistics.gradient_mean[first..][..channels];
        let product = &statistics.gradient_product[first..][..channels];
        let inverse = inverse_deviations(&statistics.variance[first..][..channels]);
        for (row, normalised) in frame.chunks_exact_mut(channels).zip(saved.chunks_exact(channels)) {
            for c in 0..channels {
                gamma_gradient[c] += row[c] * normalised[c];
                beta_gradient[c] += row[c];
                row[c] = gamma[c] * inverse[c] * (row[c] - mean[c] - normalised[c] * product[c]);
            }
        }
    }

    /// One phase of a folded upsampling convolution: adds to the kernel's gradient and to the input's.
    #[allow(clippy::too_many_arguments)]
    fn backward_phase(
        &self,
        step: &Step,
        phase: usize,
        kernels: &[Vec<f32>; 4],
        padded_input: &[f32],
        gradient: &[f32],
        kernel_gradient: &mut [f32],
        [padded, folded_gradient]: &mut [Vec<f32>; 2],
        input_gradient: Option<&mut Vec<f32>>,
    ) {
        let Op::Conv { taps, in_ch, out_ch, .. } = step.op else { return };
        let size = in_ch * out_ch;
        // The outputs of this phase, with two rows of zeros on both sides.
        padded.clear();
        padded.resize((step.in_len + 4) * out_ch, 0.0);
        for (row, target) in
            gradient[phase * out_ch..].chunks(2 * out_ch).zip(padded[2 * out_ch..].chunks_exact_mut(out_ch))
        {
            target.copy_from_slice(&row[..out_ch]);
        }
        folded_gradient.resize(4 * size, 0.0);
        multiply(
            (4 * in_ch, out_ch, step.in_len),
            folded_gradient,
            out_ch,
            Matrix::transposed(&padded_input[phase * in_ch..], in_ch),
            Matrix::rows(&padded[2 * out_ch..], out_ch),
            false,
        );
        for tap in 0..taps {
            let slot = folded_tap(phase, tap);
            let target = &mut kernel_gradient[tap * size..][..size];
            for (target, value) in target.iter_mut().zip(&folded_gradient[slot * size..][..size]) {
                *target += value;
            }
        }
        if let Some(input_gradient) = input_gradient {
            // Input i reaches the even outputs i - 1 to i + 2 and the odd ones i - 2 to i + 1.
            let first = if phase == 0 { 1 } else { 0 };
            multiply(
                (step.in_len, in_ch, 4 * out_ch),
                input_gradient,
                in_ch,
                Matrix::rows(&padded[first * out_ch..], out_ch),
                Matrix::rows(&kernels[2 + phase], in_ch),
                true,
            );
        }
    }
}
