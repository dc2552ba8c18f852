//! Writes networks as ONNX, for tract and for any other tool that reads it.
//!
//! One-dimensional layout `[N, C, T]`, input `input`, output `output`, operator set 17.

mod fold;
mod graph;

use prost::Message;
use tract_onnx::pb;

use super::autoencoder::WeightedNetwork;
use super::network::NORM_EPSILON;
use fold::{Step, fold, polyphase};
use graph::{Chain, int, ints};

/// The newest operator set that needs no more than [`IR_VERSION`] and that every current reader has.
const OPSET: i64 = 17;
const IR_VERSION: i64 = 8;

/// The bytes of an ONNX file for `network`, with the batch open or fixed.
///
/// Batch normalisation is folded into convolutions, a convolution after upsampling works on the signal before
/// it and interleaves its outputs, and layer normalisation is spelled out in elementary operators.
pub fn write_onnx(network: &WeightedNetwork, batch: Option<usize>) -> Vec<u8> {
    let mut chain = Chain::new("input");
    for step in fold(network) {
        push(&mut chain, &step);
    }
    if let Some(last) = chain.nodes.last_mut() {
        last.output = vec!["output".to_owned()];
    }
    let shape = network.network();
    pb::ModelProto {
        ir_version: IR_VERSION,
        producer_name: "rivulet".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        opset_import: vec![pb::OperatorSetIdProto { domain: String::new(), version: OPSET }],
        graph: Some(pb::GraphProto {
            name: "network".to_owned(),
            node: chain.nodes,
            initializer: chain.weights,
            input: vec![value_info("input", batch, shape.in_ch, shape.in_len)],
            output: vec![value_info("output", batch, shape.out_ch, shape.out_len)],
            ..Default::default()
        }),
        ..Default::default()
    }
    .encode_to_vec()
}

fn push(chain: &mut Chain, step: &Step) {
    match step {
        Step::Conv { kernel, bias, stride, padding, groups } => {
            let weight = chain.weight("kernel", kernel.shape(), kernel);
            let bias = chain.weight("bias", bias.shape(), bias);
            let attributes = vec![
                ints("kernel_shape", &[kernel.dim().2]),
                ints("strides", &[*stride]),
                ints("pads", &[padding.0, padding.1]),
                int("group", *groups),
            ];
            chain.then("Conv", &[&weight, &bias], attributes);
        }
        Step::UpsampledConv { kernel, bias, padding, len } => {
            let outputs = bias.len();
            let (kernel, bias, padding) = polyphase(kernel, bias, padding.0);
            push(chain, &Step::Conv { kernel, bias, stride: 1, padding, groups: 1 });
            // A dimension of 0 is kept as it is: the batch.
            let phases = chain.shape(&[0, outputs, 2, *len]);
            chain.then("Reshape", &[&phases], vec![]);
            chain.then("Transpose", &[], vec![ints("perm", &[0, 1, 3, 2])]);
            let interleaved = chain.shape(&[0, outputs, 2 * len]);
            chain.then("Reshape", &[&interleaved], vec![]);
        }
        Step::Scale { scale, shift } => {
            let scale = chain.weight("scale", &[scale.len(), 1], scale);
            let shift = chain.weight("shift", &[shift.len(), 1], shift);
            chain.then("Mul", &[&scale], vec![]);
            chain.then("Add", &[&shift], vec![]);
        }
        Step::LayerNorm { gamma, beta } => {
            let gamma = chain.weight("gamma", &[gamma.len(), 1], gamma);
            let beta = chain.weight("beta", &[beta.len(), 1], beta);
            let epsilon = chain.weight("epsilon", &[], &[NORM_EPSILON]);
            let mean_over_channels = || vec![ints("axes", &[1]), int("keepdims", 1)];
            let input = chain.head.clone();
            let mean = chain.node("ReduceMean", &[&input], mean_over_channels());
            let centred = chain.node("Sub", &[&input, &mean], vec![]);
            let squares = chain.node("Mul", &[&centred, &centred], vec![]);
            let variance = chain.node("ReduceMean", &[&squares], mean_over_channels());
            let variance = chain.node("Add", &[&variance, &epsilon], vec![]);
            let deviation = chain.node("Sqrt", &[&variance], vec![]);
            chain.head = chain.node("Div", &[&centred, &deviation], vec![]);
            chain.then("Mul", &[&gamma], vec![]);
            chain.then("Add", &[&beta], vec![]);
        }
        Step::Relu => chain.then("Relu", &[], vec![]),
    }
}

fn value_info(name: &str, batch: Option<usize>, channels: usize, len: usize) -> pb::ValueInfoProto {
    use pb::tensor_shape_proto::Dimension;
    use pb::tensor_shape_proto::dimension::Value;
    let dim = |value| Dimension { value: Some(value), ..Default::default() };
    let fixed = |value: usize| dim(Value::DimValue(value as i64));
    let batch = batch.map_or_else(|| dim(Value::DimParam("N".to_owned())), fixed);
    pb::ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(pb::TypeProto {
            value: Some(pb::type_proto::Value::TensorType(pb::type_proto::Tensor {
                elem_type: pb::tensor_proto::DataType::Float as i32,
                shape: Some(pb::TensorShapeProto { dim: vec![batch, fixed(channels), fixed(len)] }),
            })),
            ..Default::default()
        }),
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::engine::{Engine, FrameShape};
    use crate::model::formula::formula_model;
    use crate::model::{Architecture, Norm, forward};

    /// Largest difference between tract on the written file and the plain computation.
    fn error(network: &WeightedNetwork, batch: Option<usize>) -> f32 {
        let shape = network.network();
        let input = FrameShape { len: shape.in_len, channels: shape.in_ch };
        let output = FrameShape { len: shape.out_len, channels: shape.out_ch };
        let frames: Vec<f32> =
            (0..3 * input.values()).map(|k| (0.11 * k as f32).sin() + (1.7 * k as f32).cos()).collect();
        let mut found = Vec::new();
        let mut engine = Engine::load(&write_onnx(network, batch), input, output).unwrap();
        engine.run(&frames, &mut found).unwrap();
        let expected = forward(network, &frames);
        assert_eq!(found.len(), expected.len());
        assert!(expected.iter().any(|value| value.abs() > 0.01), "nothing comes out");
        found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    }

    #[test]
    fn tract_computes_what_was_written() {
        for norm in [Norm::Batch, Norm::Layer, Norm::None] {
            for num_stages in 1..=5 {
                for (in_ch, out_ch) in [(1, 1), (3, 2)] {
                    let architecture = Architecture {
                        num_stages,
                        in_ch,
                        out_ch,
                        base_filters: 16,
                        encoder_block_norm: norm,
                        encoder_head_norm: norm,
                        decoder_block_norm: norm,
                        decoder_head_norm: norm,
                        ..Architecture::new(96)
                    };
                    let model = formula_model(&architecture);
                    for network in [model.encoder(), model.decoder()] {
                        let error = error(network, None);
                        assert!(error < 1e-4, "{norm} {num_stages} {in_ch}: {error}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_shortest_frame_and_a_fixed_batch_are_exact_too() {
        for frame_size in [16, 48] {
            let model = formula_model(&Architecture { base_filters: 8, ..Architecture::new(frame_size) });
            for batch in [None, Some(1), Some(2), Some(5)] {
                for network in [model.encoder(), model.decoder()] {
                    assert!(error(network, batch) < 1e-4, "{frame_size} {batch:?}");
                }
            }
        }
    }

    #[test]
    fn batch_norm_costs_nothing_and_upsampling_is_folded() {
        let architecture = Architecture {
            decoder_block_norm: Norm::Batch,
            encoder_head_norm: Norm::Batch,
            ..Architecture::new(64)
        };
        let model = formula_model(&architecture);
        let operators = |network| {
            let model = pb::ModelProto::decode(write_onnx(network, None).as_slice()).unwrap();
            let mut names: Vec<String> =
                model.graph.unwrap().node.into_iter().map(|node| node.op_type).collect();
            names.sort_unstable();
            names.dedup();
            names
        };
        assert_eq!(operators(model.encoder()), ["Conv", "Relu"]);
        assert!(!operators(model.decoder()).contains(&"Resize".to_owned()));
    }

    #[test]
    fn polyphase_pairs_the_taps() {
        let kernel = ndarray::Array3::from_shape_vec((1, 1, 7), vec![1., 2., 4., 8., 16., 32., 64.]).unwrap();
        let (folded, bias, padding) = polyphase(&kernel, &ndarray::arr1(&[0.5]), 3);
        assert_eq!(folded.as_slice().unwrap(), [1., 6., 24., 96., 0., 0., 3., 12., 48., 64.]);
        assert_eq!((bias.as_slice().unwrap(), padding), ([0.5, 0.5].as_slice(), (2, 2)));
    }
}
