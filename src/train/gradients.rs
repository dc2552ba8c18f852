//! Holds the gradients of every layer, and of whole networks, to finite differences of an independent
//! double-precision forward pass.

use proptest::prelude::*;

use super::network::{Folded, Parameters, Plan, Statistics};
use crate::model::network::{NORM_EPSILON, same_padding};
use crate::model::{Architecture, Layer, Network, Norm, build_decoder_2d, build_encoder_2d};

/// Layer by layer as the architecture is drawn, in the plainest way; batch statistics over all frames. Also how near
/// any value came to the corner of a ReLU.
fn reference(network: &Network, trained: &[f64], frames: &[Vec<f64>]) -> (Vec<f64>, f64) {
    let mut corner = f64::INFINITY;
    let mut values = frames.to_vec();
    let mut len = network.in_len;
    let mut parameters = trained;
    for layer in &network.layers {
        let sizes: Vec<usize> = layer.weight_shapes().iter().map(|shape| shape.iter().product()).collect();
        let take = |count: usize, parameters: &mut &[f64]| {
            let (own, rest) = parameters.split_at(count);
            *parameters = rest;
            own.to_vec()
        };
        match *layer {
            Layer::Conv { taps, stride, in_ch, out_ch } => {
                let kernel = take(sizes[0], &mut parameters);
                let bias = take(sizes[1], &mut parameters);
                let (left, _) = same_padding(len, taps, stride);
                for frame in &mut values {
                    let mut out = Vec::new();
                    for t in 0..len.div_ceil(stride) {
                        for (o, bias) in bias.iter().enumerate() {
                            let mut sum = *bias;
                            for k in 0..taps {
                                let Some(at) = (t * stride + k).checked_sub(left).filter(|at| *at < len)
                                else {
                                    continue;
                                };
                                for i in 0..in_ch {
                                    sum += frame[at * in_ch + i] * kernel[(k * in_ch + i) * out_ch + o];
                                }
                            }
                            out.push(sum);
                        }
                    }
                    *frame = out;
                }
            }
            Layer::Depthwise { taps, stride, channels, bias } => {
                let kernel = take(sizes[0], &mut parameters);
                let bias = if bias { take(sizes[1], &mut parameters) } else { vec![0.0; channels] };
                let (left, _) = same_padding(len, taps, stride);
                for frame in &mut values {
                    let mut out = Vec::new();
                    for t in 0..len.div_ceil(stride) {
                        for (c, bias) in bias.iter().enumerate() {
                            let mut sum = *bias;
                            for k in 0..taps {
                                let Some(at) = (t * stride + k).checked_sub(left).filter(|at| *at < len)
                                else {
                                    continue;
                                };
                                sum += frame[at * channels + c] * kernel[k * channels + c];
                            }
                            out.push(sum);
                        }
                    }
                    *frame = out;
                }
            }
            Layer::BatchNorm { channels } => {
                let gamma = take(channels, &mut parameters);
                let beta = take(channels, &mut parameters);
                for c in 0..channels {
                    let all: Vec<f64> = values
                        .iter()
                        .flat_map(|frame| frame.iter().skip(c).step_by(channels).copied())
                        .collect();
                    let mean = all.iter().sum::<f64>() / all.len() as f64;
                    let variance = all.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / all.len() as f64;
                    for value in
                        values.iter_mut().flat_map(|frame| frame.iter_mut().skip(c).step_by(channels))
                    {
                        *value = (*value - mean) / (variance + f64::from(NORM_EPSILON)).sqrt() * gamma[c]
                            + beta[c];
                    }
                }
            }
            Layer::LayerNorm { channels } => {
                let gamma = take(channels, &mut parameters);
                let beta = take(channels, &mut parameters);
                for row in values.iter_mut().flat_map(|frame| frame.chunks_exact_mut(channels)) {
                    let mean = row.iter().sum::<f64>() / channels as f64;
                    let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / channels as f64;
                    for (c, value) in row.iter_mut().enumerate() {
                        *value = (*value - mean) / (variance + f64::from(NORM_EPSILON)).sqrt() * gamma[c]
                            + beta[c];
                    }
                }
            }
            Layer::Relu => values.iter_mut().flatten().for_each(|value| {
                corner = corner.min(value.abs());
                *value = value.max(0.0);
            }),
            Layer::Upsample2 => {
                for frame in &mut values {
                    let channels = frame.len() / len;
                    *frame = frame.chunks_exact(channels).flat_map(|row| [row, row].concat()).collect();
                }
            }
        }
        len = layer.output_len(len);
    }
    (values.concat(), corner)
}

/// Forward and backward over all frames at once: outputs, gradient of the parameters, gradients of the inputs, for
/// the objective "sum of outputs times `weights`".
fn trained(
    network: &Network,
    parameters: &Parameters,
    frames: &[Vec<f32>],
    weights: &[Vec<f32>],
) -> (Vec<f32>, Vec<f32>, Vec<f32>) {
    let plan = Plan::new(network);
    let mut parameters = parameters.clone();
    let mut workspace = plan.workspace(frames.len());
    let mut folded = Folded::default();
    let mut statistics = Statistics::default();
    plan.fold(&parameters, &mut folded);
    let mut boundary = frames.concat();
    for segment in 0..plan.segments() {
        if segment > 0 {
            let rows = frames.len() * plan.segment_len(segment);
            let sums = plan.sums(segment, &boundary);
            plan.set_statistics(segment, &sums, rows, &mut statistics, &mut parameters);
        }
        let mut output = Vec::new();
        for (slot, frame) in boundary.chunks_exact(boundary.len() / frames.len()).enumerate() {
            plan.forward(segment, (&parameters, &folded, &statistics), &mut workspace, slot, frame);
            output.extend_from_slice(workspace.current());
        }
        boundary = output;
    }
    let outputs = boundary;
    let mut boundary = weights.concat();
    let mut gradient = vec![0.0; plan.parameters()];
    for segment in (0..plan.segments()).rev() {
        let mut below = Vec::new();
        for (slot, frame) in boundary.chunks_exact(boundary.len() / frames.len()).enumerate() {
            workspace.set_current(frame);
            plan.backward(segment, (&parameters, &folded), &mut workspace, slot, &mut gradient, true);
            below.extend_from_slice(workspace.current());
        }
        if segment > 0 {
            let rows = frames.len() * plan.segment_len(segment);
            let sums = plan.gradient_sums(segment, &workspace, &below);
            plan.set_gradient_statistics(segment, &sums, rows, &mut statistics);
            let size = below.len() / frames.len();
            for (slot, frame) in below.chunks_exact_mut(size).enumerate() {
                plan.backward_norm(
                    segment,
                    (&parameters, &statistics),
                    &workspace,
                    slot,
                    &mut gradient,
                    frame,
                );
            }
        }
        boundary = below;
    }
    (outputs, gradient, boundary)
}

fn wave(len: usize, seed: f64) -> Vec<f32> {
    (0..len).map(|i| (1.3 * i as f64 + 17.0 * seed).sin() as f32).collect()
}

/// Compares outputs and every gradient with the reference's central differences along random directions.
fn check(network: &Network, frames: usize, seed: f64) -> Result<(), TestCaseError> {
    let plan = Plan::new(network);
    let statistics: usize = network
        .layers
        .iter()
        .map(|layer| if let Layer::BatchNorm { channels } = layer { *channels } else { 0 })
        .sum();
    let values: Vec<f32> = wave(plan.parameters(), seed).iter().map(|v| 0.6 * v + 0.1).collect();
    let parameters = Parameters {
        trained: values.clone(),
        moving_mean: vec![0.0; statistics],
        moving_variance: vec![1.0; statistics],
    };
    let inputs: Vec<Vec<f32>> =
        (0..frames).map(|f| wave(network.in_len * network.in_ch, seed + 0.31 * (f + 1) as f64)).collect();
    let weights: Vec<Vec<f32>> =
        (0..frames).map(|f| wave(network.out_len * network.out_ch, seed + 0.77 * (f + 1) as f64)).collect();
    let (outputs, parameter_gradient, input_gradient) = trained(network, &parameters, &inputs, &weights);

    let double = |values: &[f32]| values.iter().copied().map(f64::from).collect::<Vec<f64>>();
    let (values, inputs) = (double(&values), inputs.iter().map(|frame| double(frame)).collect::<Vec<_>>());
    let (expected, corner) = reference(network, &values, &inputs);
    // Single precision may fall on the other side of a corner that near, and has another slope there.
    prop_assume!(corner > 1e-5);
    for (found, expected) in outputs.iter().zip(&expected) {
        prop_assert!(
            (f64::from(*found) - expected).abs() < 2e-4 * (1.0 + expected.abs()),
            "{found} {expected}"
        );
    }

    let objective = |values: &[f64], inputs: &[Vec<f64>]| -> f64 {
        let (outputs, _) = reference(network, values, inputs);
        outputs.iter().zip(weights.concat()).map(|(y, w)| y * f64::from(w)).sum()
    };
    // A step this small hardly ever crosses the corner of a ReLU.
    let step = 1e-8;
    let compare = |found: f64, plus: f64, minus: f64, norm: f64| {
        let slope = (plus - minus) / (2.0 * step);
        prop_assert!((found - slope).abs() < 2e-3 * (1.0 + norm), "{found} against {slope}");
        Ok(())
    };
    let moved = |values: &[f64], direction: &[f64], by: f64| -> Vec<f64> {
        values.iter().zip(direction).map(|(v, d)| v + by * d).collect()
    };
    let norm = |gradient: &[f32]| gradient.iter().map(|g| f64::from(*g).powi(2)).sum::<f64>().sqrt();
    let dot = |gradient: &[f32], direction: &[f64]| {
        gradient.iter().zip(direction).map(|(g, d)| f64::from(*g) * d).sum::<f64>()
    };
    for round in 0..4 {
        let direction = double(&wave(values.len(), seed + 3.3 * f64::from(round)));
        let (plus, minus) = (
            objective(&moved(&values, &direction, step), &inputs),
            objective(&moved(&values, &direction, -step), &inputs),
        );
        compare(dot(&parameter_gradient, &direction), plus, minus, norm(&parameter_gradient))?;

        let flat = inputs.concat();
        let direction = double(&wave(flat.len(), seed + 5.1 * f64::from(round)));
        let at = |by: f64| {
            let moved = moved(&flat, &direction, by);
            let frames: Vec<Vec<f64>> =
                moved.chunks_exact(flat.len() / frames).map(<[f64]>::to_vec).collect();
            objective(&values, &frames)
        };
        compare(dot(&input_gradient, &direction), at(step), at(-step), norm(&input_gradient))?;
    }
    Ok(())
}

fn alone(layers: Vec<Layer>, in_len: usize, in_ch: usize, out_ch: usize) -> Network {
    let out_len = layers.iter().fold(in_len, |len, layer| layer.output_len(len));
    Network { layers, in_len, in_ch, out_len, out_ch }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn convolutions(taps in 1_usize..8, stride in 1_usize..3, in_ch in 1_usize..6, out_ch in 1_usize..20, len in 2_usize..24, seed in 0.0..1.0) {
        check(&alone(vec![Layer::Conv { taps, stride, in_ch, out_ch }], len, in_ch, out_ch), 2, seed)?;
    }

    #[test]
    fn upsampling_convolutions(in_ch in 1_usize..6, out_ch in 1_usize..20, len in 1_usize..24, seed in 0.0..1.0) {
        let layers = vec![Layer::Upsample2, Layer::Conv { taps: 7, stride: 1, in_ch, out_ch }];
        check(&alone(layers, len, in_ch, out_ch), 2, seed)?;
    }

    #[test]
    fn depthwise_convolutions(taps in 1_usize..8, stride in 1_usize..3, channels in 1_usize..20, bias: bool, len in 2_usize..24, seed in 0.0..1.0) {
        check(&alone(vec![Layer::Depthwise { taps, stride, channels, bias }], len, channels, channels), 2, seed)?;
    }

    #[test]
    fn layer_normalisation(channels in 2_usize..20, len in 1_usize..16, seed in 0.0..1.0) {
        check(&alone(vec![Layer::LayerNorm { channels }], len, channels, channels), 2, seed)?;
    }

    #[test]
    fn batch_normalisation(channels in 1_usize..20, len in 4_usize..16, frames in 2_usize..5, seed in 0.0..1.0) {
        check(&alone(vec![Layer::BatchNorm { channels }], len, channels, channels), frames, seed)?;
    }

    #[test]
    fn rectified_units(channels in 1_usize..8, len in 1_usize..16, seed in 0.0..1.0) {
        check(&alone(vec![Layer::Relu], len, channels, channels), 1, seed)?;
    }

    #[test]
    fn whole_networks(num_stages in 1_usize..4, channels in 1_usize..3, norms in 0_usize..81, seed in 0.0..1.0) {
        let norm = |place: u32| [Norm::Batch, Norm::Layer, Norm::None][norms / 3_usize.pow(place) % 3];
        let architecture = Architecture {
            num_stages,
            in_ch: channels,
            out_ch: channels,
            base_filters: 8,
            embedding_dim: 4,
            encoder_block_norm: norm(0),
            encoder_head_norm: norm(1),
            decoder_block_norm: norm(2),
            decoder_head_norm: norm(3),
            ..Architecture::new(32)
        };
        check(&build_encoder_2d(&architecture).unwrap(), 3, seed)?;
        check(&build_decoder_2d(&architecture).unwrap(), 3, seed)?;
    }
}
