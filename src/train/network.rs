//! A network that can be trained: forward and backward over its flat parameters.
//!
//! Everything is channels-last, one frame at a time. Batch normalisation is the only layer that looks at more
//! than its frame; it cuts the network into segments, and between two segments its statistics are gathered.

use ndarray::{ArrayD, IxDyn};

use super::kernel::{self, Matrix, multiply};
use crate::model::architecture::{NORM_EPSILON, same_padding};
use crate::model::{Layer, Network, WeightedNetwork};

/// Weight of the old value in the moving statistics of batch normalisation.
const BATCH_NORM_MOMENTUM: f32 = 0.99;

/// What a layer does, with the place of its parameters.
#[derive(Clone, Debug)]
enum Op {
    /// `taps x in_ch` to `out_ch`; after nearest upsampling by two where `upsample` says so.
    Conv {
        taps: usize,
        stride: usize,
        in_ch: usize,
        out_ch: usize,
        upsample: bool,
    },
    Depthwise {
        taps: usize,
        stride: usize,
        bias: bool,
    },
    /// Place of its channels among all batch normalised channels.
    BatchNorm {
        statistics: usize,
    },
    LayerNorm,
    Relu,
}

/// A layer between its shapes.
#[derive(Clone, Debug)]
struct Step {
    op: Op,
    in_len: usize,
    in_ch: usize,
    out_len: usize,
    out_ch: usize,
    /// Where its parameters begin.
    parameters: usize,
    /// Values of a frame that its backward pass needs.
    saved: usize,
}

/// The plan of a network: its steps, and where each segment begins and ends.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    steps: Vec<Step>,
    /// Ranges of steps; every one but the first begins with a batch normalisation.
    segments: Vec<std::ops::Range<usize>>,
    network: Network,
    parameters: usize,
    /// Batch normalised channels in all.
    statistics: usize,
}

/// Trained numbers of a network.
#[derive(Clone, Debug, PartialEq, bincode::Encode, bincode::Decode)]
pub(super) struct Parameters {
    /// Kernels, biases, gammas and betas in Keras' order.
    pub(super) trained: Vec<f32>,
    /// Moving means, then moving variances, of all batch normalised channels.
    pub(super) moving_mean: Vec<f32>,
    pub(super) moving_variance: Vec<f32>,
}

/// Means and inverse deviations of the batch for all batch normalised channels.
#[derive(Clone, Debug, Default)]
pub(super) struct Statistics {
    mean: Vec<f32>,
    variance: Vec<f32>,
    /// Means of the gradient and of gradient times normalised value, for the backward pass.
    gradient_mean: Vec<f32>,
    gradient_product: Vec<f32>,
}

/// Kernels in the order in which the products need them, made anew from the parameters at each step.
#[derive(Clone, Debug, Default)]
pub(super) struct Folded {
    /// For each step, empty or (even forward, odd forward, even backward, odd backward).
    kernels: Vec<[Vec<f32>; 4]>,
}

/// What the passes over some frames need.
#[derive(Clone, Debug)]
pub(super) struct Workspace {
    frames: usize,
    /// For each step, `frames` times the values its backward pass needs.
    saved: Vec<Vec<f32>>,
    current: Vec<f32>,
    next: Vec<f32>,
    scratch: [Vec<f32>; 2],
}

impl Plan {
    pub(super) fn new(network: &Network) -> Self {
        let mut steps: Vec<Step> = Vec::new();
        let (mut len, mut channels, mut parameters, mut statistics) = (network.in_len, network.in_ch, 0, 0);
        let mut upsample = false;
        let mut segments = Vec::new();
        let mut segment = 0;
        for layer in &network.layers {
            let (in_len, in_ch) = (len, channels);
            let shapes = layer.weight_shapes();
            let mut count: usize = shapes.iter().map(|shape| shape.iter().product::<usize>()).sum();
            let (op, saved) = match *layer {
                Layer::Upsample2 => {
                    upsample = true;
                    continue;
                }
                Layer::Conv { taps, stride, in_ch, out_ch } => {
                    channels = out_ch;
                    let op = Op::Conv { taps, stride, in_ch, out_ch, upsample };
                    let padded = if upsample { in_len + 4 } else { padded_len(in_len, taps, stride) };
                    (op, padded * in_ch)
                }
                Layer::Depthwise { taps, stride, channels, bias } => {
                    (Op::Depthwise { taps, stride, bias }, padded_len(in_len, taps, stride) * channels)
                }
                Layer::BatchNorm { channels } => {
                    count -= 2 * channels;
                    statistics += channels;
                    segments.push(segment..steps.len());
                    segment = steps.len();
                    (Op::BatchNorm { statistics: statistics - channels }, in_len * channels)
                }
                Layer::LayerNorm { channels } => (Op::LayerNorm, in_len * (channels + 1)),
                Layer::Relu => (Op::Relu, in_len * channels),
            };
            len = layer.output_len(if upsample { 2 * in_len } else { in_len });
            upsample = false;
            steps.push(Step { op, in_len, in_ch, out_len: len, out_ch: channels, parameters, saved });
            parameters += count;
        }
        segments.push(segment..steps.len());
        Self { steps, segments, network: network.clone(), parameters, statistics }
    }

    /// Number of trained parameters.
    pub(super) fn parameters(&self) -> usize {
        self.parameters
    }

    /// Number of segments: one more than batch normalisations.
    pub(super) fn segments(&self) -> usize {
        self.segments.len()
    }

    /// Values of a frame at the end of a segment.
    pub(super) fn output_size(&self, segment: usize) -> usize {
        self.segments
            .get(segment)
            .and_then(|range| self.steps.get(range.end.wrapping_sub(1)))
            .map_or(0, |step| step.out_len * step.out_ch)
    }

    /// The flat parameters of a model's network.
    pub(super) fn read(&self, model: &WeightedNetwork) -> Parameters {
        let mut read =
            Parameters { trained: Vec::new(), moving_mean: Vec::new(), moving_variance: Vec::new() };
        for (layer, weights) in model.layers() {
            for (index, weight) in weights.iter().enumerate() {
                let target = match (layer, index) {
                    (Layer::BatchNorm { .. }, 2) => &mut read.moving_mean,
                    (Layer::BatchNorm { .. }, 3) => &mut read.moving_variance,
                    _ => &mut read.trained,
                };
                target.extend(weight.iter());
            }
        }
        read
    }

    /// The weights in Keras' order; the inverse of [`Plan::read`].
    pub(super) fn write(&self, parameters: &Parameters) -> Vec<ArrayD<f32>> {
        let mut trained = parameters.trained.as_slice();
        let mut mean = parameters.moving_mean.as_slice();
        let mut variance = parameters.moving_variance.as_slice();
        let mut weights = Vec::new();
        for layer in &self.network.layers {
            for (index, shape) in layer.weight_shapes().into_iter().enumerate() {
                let source = match (layer, index) {
                    (Layer::BatchNorm { .. }, 2) => &mut mean,
                    (Layer::BatchNorm { .. }, 3) => &mut variance,
                    _ => &mut trained,
                };
                let (own, rest) = source.split_at(shape.iter().product());
                *source = rest;
                let mut weight = ArrayD::zeros(IxDyn(&shape));
                weight.iter_mut().zip(own).for_each(|(target, value)| *target = *value);
                weights.push(weight);
            }
        }
        weights
    }

    /// Kernels of upsampling convolutions folded into an even and an odd product over the low-rate signal.
    ///
    /// With taps w0..w6 and nearest upsampling, even outputs see w0, w1+w2, w3+w4, w5+w6 of the inputs from two
    /// before to one after, odd ones w0+w1, w2+w3, w4+w5, w6 of the inputs from one before to two after.
    pub(super) fn fold(&self, parameters: &Parameters, folded: &mut Folded) {
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
    pub(super) fn forward(
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

    /// Runs one segment backward over one frame, down to the batch normalisation that it begins with. [`Workspace::current`] holds the gradient at the segment's
    /// end and then the one at its beginning, where `to_input` asks for it; gradients of the parameters are added to
    /// `gradient`.
    pub(super) fn backward(
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
    pub(super) fn backward_norm(
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

    /// The batch normalisation at a segment's beginning: (place among the statistics, channels).
    fn batch_norm(&self, segment: usize) -> Option<(usize, usize)> {
        let step = self.steps.get(self.segments.get(segment)?.start)?;
        if let Op::BatchNorm { statistics } = step.op { Some((statistics, step.in_ch)) } else { None }
    }

    /// Sums and sums of squares of each channel over frames at the beginning of `segment`.
    pub(super) fn sums(&self, segment: usize, values: &[f32]) -> Vec<f64> {
        let Some((_, channels)) = self.batch_norm(segment) else { return Vec::new() };
        let mut sums = vec![0.0; 2 * channels];
        let (sum, squares) = sums.split_at_mut(channels);
        for row in values.chunks_exact(channels) {
            for c in 0..channels {
                let value = f64::from(row[c]);
                sum[c] += value;
                squares[c] += value * value;
            }
        }
        sums
    }

    /// Sets the statistics that `segment` begins with from sums over `rows` time steps, and moves the moving ones.
    pub(super) fn set_statistics(
        &self,
        segment: usize,
        sums: &[f64],
        rows: usize,
        statistics: &mut Statistics,
        parameters: &mut Parameters,
    ) {
        let Some((first, channels)) = self.batch_norm(segment) else { return };
        statistics.resize(self.statistics);
        let count = rows as f64;
        for c in 0..channels {
            let mean = sums[c] / count;
            let variance = (sums[channels + c] / count - mean * mean).max(0.0);
            statistics.mean[first + c] = mean as f32;
            statistics.variance[first + c] = variance as f32;
            let moving = |old: &mut f32, new: f64| {
                *old = BATCH_NORM_MOMENTUM * *old + (1.0 - BATCH_NORM_MOMENTUM) * new as f32;
            };
            moving(&mut parameters.moving_mean[first + c], mean);
            moving(&mut parameters.moving_variance[first + c], variance);
        }
    }

    /// Sums of the gradient and of gradient times normalised value over the frames of a workspace, whose gradients at
    /// the output of the batch normalisation that `segment` begins with are `gradients`.
    pub(super) fn gradient_sums(&self, segment: usize, workspace: &Workspace, gradients: &[f32]) -> Vec<f64> {
        let Some((_, channels)) = self.batch_norm(segment) else { return Vec::new() };
        let saved = &workspace.saved[self.segments[segment].start];
        let mut sums = vec![0.0; 2 * channels];
        let (sum, products) = sums.split_at_mut(channels);
        for (row, normalised) in gradients.chunks_exact(channels).zip(saved.chunks_exact(channels)) {
            for c in 0..channels {
                sum[c] += f64::from(row[c]);
                products[c] += f64::from(row[c] * normalised[c]);
            }
        }
        sums
    }

    /// Sets what the backward pass of the batch normalisation that `segment` begins with needs.
    pub(super) fn set_gradient_statistics(
        &self,
        segment: usize,
        sums: &[f64],
        rows: usize,
        statistics: &mut Statistics,
    ) {
        let Some((first, channels)) = self.batch_norm(segment) else { return };
        for c in 0..channels {
            statistics.gradient_mean[first + c] = (sums[c] / rows as f64) as f32;
            statistics.gradient_product[first + c] = (sums[channels + c] / rows as f64) as f32;
        }
    }

    /// Time steps of a frame at the beginning of `segment`.
    pub(super) fn segment_len(&self, segment: usize) -> usize {
        self.segments.get(segment).and_then(|range| self.steps.get(range.start)).map_or(0, |step| step.in_len)
    }

    /// Room for the passes over `frames`.
    pub(super) fn workspace(&self, frames: usize) -> Workspace {
        Workspace {
            frames,
            saved: self.steps.iter().map(|step| vec![0.0; frames * step.saved]).collect(),
            current: Vec::new(),
            next: Vec::new(),
            scratch: Default::default(),
        }
    }

    /// The moving statistics in the place of a batch's: what inference uses.
    pub(super) fn inference(&self, parameters: &Parameters) -> Statistics {
        let mut statistics = Statistics::default();
        statistics.resize(self.statistics);
        statistics.mean.clone_from(&parameters.moving_mean);
        statistics.variance.clone_from(&parameters.moving_variance);
        statistics
    }
}

impl Statistics {
    fn resize(&mut self, channels: usize) {
        for values in
            [&mut self.mean, &mut self.variance, &mut self.gradient_mean, &mut self.gradient_product]
        {
            values.resize(channels, 0.0);
        }
    }
}

impl Workspace {
    /// Frames it has room for.
    pub(super) fn frames(&self) -> usize {
        self.frames
    }

    /// The values or gradients of the frame that was passed last.
    pub(super) fn current(&self) -> &[f32] {
        &self.current
    }

    /// Sets the gradient that a backward pass starts from.
    pub(super) fn set_current(&mut self, gradient: &[f32]) {
        self.current.clear();
        self.current.extend_from_slice(gradient);
    }
}

/// The slot of a folded kernel that a tap of the upsampled signal falls into.
fn folded_tap(phase: usize, tap: usize) -> usize {
    if phase == 0 { tap.div_ceil(2) } else { tap / 2 }
}

fn padded_len(len: usize, taps: usize, stride: usize) -> usize {
    let (left, right) = same_padding(len, taps, stride);
    left + len + right
}

/// Rows of zeros before the input of a step.
fn padding(step: &Step, taps: usize, stride: usize, upsample: bool) -> usize {
    if upsample { 2 } else { same_padding(step.in_len, taps, stride).0 }
}

/// Copies `input` into `padded` from `start` on, with zeros around it.
fn pad(input: &[f32], padded: &mut [f32], start: usize) {
    let (left, rest) = padded.split_at_mut(start);
    let (middle, right) = rest.split_at_mut(input.len());
    left.fill(0.0);
    middle.copy_from_slice(input);
    right.fill(0.0);
}

fn inverse_deviations(variances: &[f32]) -> Vec<f32> {
    variances.iter().map(|variance| 1.0 / (variance + NORM_EPSILON).sqrt()).collect()
}
