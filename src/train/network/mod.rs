//! A network that can be trained: forward and backward over its flat parameters.
//!
//! Everything is channels-last, one frame at a time. Batch normalisation is the only layer that looks at more
//! than its frame; it cuts the network into segments, and between two segments its statistics are gathered.

mod backward;
mod forward;
mod statistics;

use ndarray::{ArrayD, IxDyn};

use crate::model::network::{NORM_EPSILON, same_padding};
use crate::model::{Layer, Network, WeightedNetwork};

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

    /// The batch normalisation at a segment's beginning: (place among the statistics, channels).
    fn batch_norm(&self, segment: usize) -> Option<(usize, usize)> {
        let step = self.steps.get(self.segments.get(segment)?.start)?;
        if let Op::BatchNorm { statistics } = step.op { Some((statistics, step.in_ch)) } else { None }
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

fn padded_len(len: usize, taps: usize, stride: usize) -> usize {
    let (left, right) = same_padding(len, taps, stride);
    left + len + right
}

/// Rows of zeros before the input of a step.
fn padding(step: &Step, taps: usize, stride: usize, upsample: bool) -> usize {
    if upsample { 2 } else { same_padding(step.in_len, taps, stride).0 }
}

fn inverse_deviations(variances: &[f32]) -> Vec<f32> {
    variances.iter().map(|variance| 1.0 / (variance + NORM_EPSILON).sqrt()).collect()
}
