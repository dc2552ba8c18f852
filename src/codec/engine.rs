//! Runs one ONNX network on frames, in tract.
//!
//! Frames are channels-last, `[batch][len][channels]`, whatever layout the network itself has.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use prost::Message;
use tract_onnx::pb;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::DimLike;

use crate::model::{Architecture, ModelDirectory};

/// Largest batch that a network may fix.
const MAX_FIXED_BATCH: usize = 1024;

/// Time steps and channels of a frame as a network sees or makes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameShape {
    /// Time steps.
    pub len: usize,
    /// Channels.
    pub channels: usize,
}

impl FrameShape {
    /// Values in a frame.
    pub fn values(self) -> usize {
        self.len * self.channels
    }
}

impl fmt::Display for FrameShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} steps of {} channels", self.len, self.channels)
    }
}

/// Why a network cannot run.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Bytes that are not an ONNX model with one input and one output of `f32`.
    #[error("not a usable ONNX network: {0}")]
    Malformed(String),
    /// A network for other frames.
    #[error(
        "the network's {end} is {found}, which is none of [N,{c},{t}], [N,1,{t},{c}], [N,{c},1,{t}]: \
         the model needs {expected}",
        t = expected.len, c = expected.channels
    )]
    Shape {
        /// `input` or `output`.
        end: &'static str,
        /// The network's shape.
        found: String,
        /// The frames it should have taken or made.
        expected: FrameShape,
    },
    /// tract cannot compile the network.
    #[error("cannot compile the network: {0}")]
    Compile(String),
    /// tract failed while running the network.
    #[error("inference failed: {0}")]
    Run(String),
    /// Frames of another length.
    #[error("{values} values are not whole frames of {shape}")]
    Frames {
        /// Values given.
        values: usize,
        /// The network's input.
        shape: FrameShape,
    },
}

/// Where time and channels stand in a network's tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// `[N, C, T]`
    Nct,
    /// `[N, 1, T, C]`
    N1tc,
    /// `[N, C, 1, T]`
    Nc1t,
}

impl Layout {
    const ALL: [Self; 3] = [Self::Nct, Self::N1tc, Self::Nc1t];

    fn dims(self, batch: usize, frame: FrameShape) -> TVec<usize> {
        match self {
            Self::Nct => tvec![batch, frame.channels, frame.len],
            Self::N1tc => tvec![batch, 1, frame.len, frame.channels],
            Self::Nc1t => tvec![batch, frame.channels, 1, frame.len],
        }
    }

    fn channels_first(self) -> bool {
        !matches!(self, Self::N1tc)
    }

    /// Layouts in which a frame has the dimensions given; an open dimension fits anything.
    fn fitting(dims: &[Option<usize>], frame: FrameShape) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |layout| {
            let own = layout.dims(1, frame);
            own.len() == dims.len()
                && own.iter().zip(dims).skip(1).all(|(own, dim)| dim.is_none_or(|dim| dim == *own))
        })
    }
}

type Plan = Arc<TypedRunnableModel>;

/// One network, compiled.
///
/// Where a network leaves its batch open, it runs frame by frame: from 512 samples on, a frame's activations stay
/// in cache and larger batches are slower, and the result for a frame cannot depend on what is run with it.
pub struct Engine {
    plan: Plan,
    /// Frames in one run of the plan.
    batch: usize,
    input: FrameShape,
    output: FrameShape,
    input_layout: Layout,
    output_layout: Layout,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("batch", &self.batch)
            .field("input", &self.input)
            .field("output", &self.output)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// A network from the bytes of an ONNX file, checked to take frames of `input` and to make frames of
    /// `output`.
    ///
    /// The shapes tell the layout: `[N,C,T]`, `[N,1,T,C]` or `[N,C,1,T]`. A network whose batch is fixed
    /// runs in batches of that size, the last one filled up with zeros.
    ///
    /// # Errors
    /// Bytes that are no such network, shapes that do not fit, operators that tract does not have.
    pub fn load(onnx: &[u8], input: FrameShape, output: FrameShape) -> Result<Self, EngineError> {
        let model =
            pb::ModelProto::decode(onnx).map_err(|error| EngineError::Malformed(error.to_string()))?;
        let dims = input_dims(&model)?;
        let batch = dims.first().copied().flatten().unwrap_or(1);
        if batch == 0 || batch > MAX_FIXED_BATCH {
            return Err(EngineError::Malformed(format!(
                "its batch is fixed at {batch}: 1 to {MAX_FIXED_BATCH} can be run"
            )));
        }
        let graph = guarded(EngineError::Malformed, || {
            // Only the shape of the input is trusted: the others follow from it.
            tract_onnx::onnx().with_ignore_value_info(true).parse(&model, None).map(|parsed| parsed.model)
        })?;
        let mut refusal = EngineError::Shape { end: "input", found: shape_text(&dims), expected: input };
        // An open dimension may fit several layouts: the first in which the output fits, too, is right.
        for input_layout in Layout::fitting(&dims, input) {
            let plan = match compile(&graph, &input_layout.dims(batch, input)) {
                Ok(plan) => plan,
                Err(error) => {
                    refusal = error;
                    continue;
                }
            };
            let found = output_dims(&plan)?;
            let fitting = Layout::ALL.into_iter().find(|layout| {
                let dims = layout.dims(batch, output);
                dims.iter().copied().map(Some).eq(found.iter().copied())
            });
            if let Some(output_layout) = fitting {
                return Ok(Self { plan, batch, input, output, input_layout, output_layout });
            }
            refusal = EngineError::Shape { end: "output", found: shape_text(&found), expected: output };
        }
        Err(refusal)
    }

    /// The encoder of a model: frames `[frame_size, in_ch]` to latents `[latent positions, embedding_dim]`.
    ///
    /// # Errors
    /// As [`Engine::load`].
    pub fn encoder(model: &ModelDirectory) -> Result<Self, EngineError> {
        let (frame, latent) = shapes(model.architecture(), model.architecture().in_ch);
        Self::load(model.encoder_onnx(), frame, latent)
    }

    /// The decoder of a model, from its ONNX file: latents to frames `[frame_size, out_ch]`.
    ///
    /// # Errors
    /// As [`Engine::load`].
    pub fn decoder(architecture: &Architecture, onnx: &[u8]) -> Result<Self, EngineError> {
        let (frame, latent) = shapes(architecture, architecture.out_ch);
        Self::load(onnx, latent, frame)
    }

    /// Appends the network's output for each of `frames` to `out`, in order.
    ///
    /// # Errors
    /// Values that are not whole frames; a failure of tract.
    pub fn run(&mut self, frames: &[f32], out: &mut Vec<f32>) -> Result<(), EngineError> {
        let (input, output) = (self.input.values(), self.output.values());
        if !frames.len().is_multiple_of(input) {
            return Err(EngineError::Frames { values: frames.len(), shape: self.input });
        }
        out.reserve(frames.len() / input * output);
        for frames in frames.chunks(self.batch * input) {
            let made = self.run_batch(frames)?;
            let made = made.to_plain_array_view::<f32>().map_err(run_error)?;
            let made = made.as_standard_layout();
            let made = made.as_slice().unwrap_or_default();
            if made.len() != self.batch * output {
                return Err(EngineError::Run(format!("it made {} values", made.len())));
            }
            let start = out.len();
            out.extend_from_slice(&made[..frames.len() / input * output]);
            if self.output_layout.channels_first() {
                for (to, from) in out[start..].chunks_exact_mut(output).zip(made.chunks_exact(output)) {
                    transpose(from, to, self.output.len);
                }
            }
        }
        Ok(())
    }

    /// The plan's output for at most `batch` frames.
    fn run_batch(&self, frames: &[f32]) -> Result<TValue, EngineError> {
        let mut tensor =
            Tensor::zero::<f32>(&self.input_layout.dims(self.batch, self.input)).map_err(run_error)?;
        {
            let mut view = tensor.to_plain_array_view_mut::<f32>().map_err(run_error)?;
            let target = view.as_slice_mut().unwrap_or_default();
            let values = self.input.values();
            for (to, from) in target.chunks_exact_mut(values).zip(frames.chunks_exact(values)) {
                if self.input_layout.channels_first() {
                    transpose(from, to, self.input.channels);
                } else {
                    to.copy_from_slice(from);
                }
            }
        }
        let mut made = guarded(EngineError::Run, || self.plan.run(tvec![tensor.into()]))?;
        made.pop().ok_or_else(|| EngineError::Run("it made nothing".to_owned()))
    }
}

/// A frame of `channels` and its latent.
fn shapes(architecture: &Architecture, channels: usize) -> (FrameShape, FrameShape) {
    let latent = FrameShape { len: architecture.latent_positions(), channels: architecture.embedding_dim };
    (FrameShape { len: architecture.frame_size, channels }, latent)
}

/// Writes a matrix of rows of `columns` values column by column.
fn transpose(from: &[f32], to: &mut [f32], columns: usize) {
    if columns == 1 || columns == from.len() {
        to.copy_from_slice(from);
        return;
    }
    let rows = from.len() / columns;
    for (row, values) in from.chunks_exact(columns).enumerate() {
        for (column, value) in values.iter().enumerate() {
            to[column * rows + row] = *value;
        }
    }
}

fn run_error(error: TractError) -> EngineError {
    EngineError::Run(format!("{error:#}"))
}

/// Runs a piece of tract and turns its errors into `kind`. tract asserts in places what a foreign file
/// does not promise, so a panic counts as an error of the file.
fn guarded<T>(
    kind: impl Fn(String) -> EngineError,
    run: impl FnOnce() -> TractResult<T>,
) -> Result<T, EngineError> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(kind(format!("{error:#}"))),
        Err(_) => Err(kind("tract gave up on it".to_owned())),
    }
}

fn compile(graph: &InferenceModel, dims: &[usize]) -> Result<Plan, EngineError> {
    guarded(EngineError::Compile, || {
        graph.clone().with_input_fact(0, f32::fact(dims).into())?.into_optimized()?.into_runnable()
    })
}

/// Dimensions of a network's single input, none where they are open.
fn input_dims(model: &pb::ModelProto) -> Result<Vec<Option<usize>>, EngineError> {
    let malformed = |text: String| EngineError::Malformed(text);
    let graph = model.graph.as_ref().ok_or_else(|| malformed("it holds no graph".to_owned()))?;
    let is_weight = |name: &str| graph.initializer.iter().any(|tensor| tensor.name == name);
    let inputs: Vec<_> = graph.input.iter().filter(|input| !is_weight(&input.name)).collect();
    let ([input], [output]) = (inputs.as_slice(), graph.output.as_slice()) else {
        return Err(malformed(format!(
            "it has {} inputs and {} outputs, one of each is needed",
            inputs.len(),
            graph.output.len()
        )));
    };
    if !graph.node.iter().any(|node| node.output.contains(&output.name)) {
        return Err(malformed(format!("nothing makes its output '{}'", output.name)));
    }
    let tensor = match input.r#type.as_ref().and_then(|kind| kind.value.as_ref()) {
        Some(pb::type_proto::Value::TensorType(tensor)) => tensor,
        None => return Err(malformed(format!("its input '{}' has no type", input.name))),
    };
    if tensor.elem_type != pb::tensor_proto::DataType::Float as i32 {
        return Err(malformed(format!(
            "its input '{}' is not of 32-bit floats (ONNX element type {})",
            input.name, tensor.elem_type
        )));
    }
    let shape =
        tensor.shape.as_ref().ok_or_else(|| malformed(format!("its input '{}' has no shape", input.name)))?;
    Ok(shape
        .dim
        .iter()
        .map(|dim| match dim.value {
            Some(pb::tensor_shape_proto::dimension::Value::DimValue(value)) => usize::try_from(value).ok(),
            _ => None,
        })
        .collect())
}

fn output_dims(plan: &TypedRunnableModel) -> Result<Vec<Option<usize>>, EngineError> {
    let fact = plan.model().output_fact(0).map_err(|error| EngineError::Compile(format!("{error:#}")))?;
    if fact.datum_type != f32::datum_type() {
        return Err(EngineError::Malformed("its output is not of 32-bit floats".to_owned()));
    }
    Ok(fact.shape.iter().map(|dim| dim.to_usize().ok()).collect())
}

fn shape_text(dims: &[Option<usize>]) -> String {
    let dims: Vec<String> =
        dims.iter().map(|dim| dim.map_or_else(|| "?".to_owned(), |dim| dim.to_string())).collect();
    format!("[{}]", dims.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::formula::formula_model;
    use crate::model::write_onnx;
    use pb::tensor_shape_proto::{Dimension, dimension::Value};

    const FRAME: FrameShape = FrameShape { len: 4, channels: 3 };

    /// A network that adds 1 to a tensor of the dimensions given, `None` for an open one.
    fn add_one(dims: &[Option<i64>]) -> pb::ModelProto {
        let float = pb::tensor_proto::DataType::Float as i32;
        let dim = |(index, dim): (usize, &Option<i64>)| Dimension {
            value: Some(dim.map_or_else(|| Value::DimParam(format!("D{index}")), Value::DimValue)),
            ..Default::default()
        };
        let info = |name: &str| pb::ValueInfoProto {
            name: name.to_owned(),
            r#type: Some(pb::TypeProto {
                value: Some(pb::type_proto::Value::TensorType(pb::type_proto::Tensor {
                    elem_type: float,
                    shape: Some(pb::TensorShapeProto { dim: dims.iter().enumerate().map(dim).collect() }),
                })),
                ..Default::default()
            }),
            ..Default::default()
        };
        pb::ModelProto {
            ir_version: 8,
            opset_import: vec![pb::OperatorSetIdProto { version: 17, ..Default::default() }],
            graph: Some(pb::GraphProto {
                input: vec![info("x")],
                output: vec![info("y")],
                initializer: vec![pb::TensorProto {
                    name: "one".to_owned(),
                    data_type: float,
                    float_data: vec![1.0],
                    ..Default::default()
                }],
                node: vec![pb::NodeProto {
                    op_type: "Add".to_owned(),
                    input: vec!["x".to_owned(), "one".to_owned()],
                    output: vec!["y".to_owned()],
                    ..Default::default()
                }],
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    fn load(model: &pb::ModelProto) -> Result<Engine, EngineError> {
        Engine::load(&model.encode_to_vec(), FRAME, FRAME)
    }

    #[test]
    fn every_layout_and_batch_gives_the_same() {
        let frames: Vec<f32> = (0..5 * FRAME.values()).map(|value| value as f32).collect();
        let expected: Vec<f32> = frames.iter().map(|value| value + 1.0).collect();
        for batch in [None, Some(1), Some(2), Some(5), Some(8)] {
            let (t, c, one) = (Some(4), Some(3), Some(1));
            for dims in
                [vec![batch, c, t], vec![batch, one, t, c], vec![batch, c, one, t], vec![batch, None, None]]
            {
                let mut engine = load(&add_one(&dims)).unwrap();
                let mut out = vec![9.0];
                engine.run(&frames, &mut out).unwrap();
                assert_eq!(out[0], 9.0);
                assert_eq!(out[1..], expected, "{dims:?}");
            }
        }
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused_with_both() {
        let refused = |dims: &[Option<i64>]| load(&add_one(dims)).unwrap_err().to_string();
        let text = refused(&[None, Some(7), Some(4)]);
        assert!(text.contains("input is [?,7,4]") && text.contains("4 steps of 3 channels"), "{text}");
        assert!(refused(&[None, Some(12)]).contains("[?,12]"));
        let encoder = formula_model(&Architecture::new(64));
        let onnx = write_onnx(encoder.encoder(), None);
        let text =
            Engine::load(&onnx, FrameShape { len: 64, channels: 1 }, FrameShape { len: 4, channels: 8 })
                .unwrap_err()
                .to_string();
        assert!(text.contains("output is [1,16,4]") && text.contains("4 steps of 8 channels"), "{text}");
    }

    #[test]
    fn unusable_networks_are_refused() {
        let good = add_one(&[None, Some(3), Some(4)]);
        let refused = |change: &dyn Fn(&mut pb::GraphProto)| {
            let mut model = good.clone();
            change(model.graph.as_mut().unwrap());
            load(&model).unwrap_err().to_string()
        };
        assert!(refused(&|graph| graph.input.clear()).contains("0 inputs"));
        assert!(refused(&|graph| graph.node.clear()).contains("nothing makes"));
        assert!(refused(&|graph| graph.node[0].op_type = "Unheard".to_owned()).contains("Unheard"));
        assert!(refused(&|graph| graph.input[0].r#type = None).contains("no type"));
        assert!(load(&add_one(&[Some(0), Some(3), Some(4)])).unwrap_err().to_string().contains("fixed at 0"));
        assert!(matches!(Engine::load(b"\xff\xff", FRAME, FRAME), Err(EngineError::Malformed(_))));
        assert!(matches!(Engine::load(b"", FRAME, FRAME), Err(EngineError::Malformed(_))));
        let mut engine = load(&good).unwrap();
        assert!(matches!(engine.run(&[0.0; 13], &mut vec![]), Err(EngineError::Frames { values: 13, .. })));
    }

    #[test]
    fn damaged_networks_are_survived() {
        let onnx = write_onnx(formula_model(&Architecture::new(32)).encoder(), None);
        let (input, output) = (FrameShape { len: 32, channels: 1 }, FrameShape { len: 2, channels: 16 });
        for at in (0..onnx.len()).step_by(211) {
            assert!(Engine::load(&onnx[..at], input, output).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn codes_do_not_depend_on_what_runs_together() {
        let model = formula_model(&Architecture::new(128));
        let (input, output) = (FrameShape { len: 128, channels: 1 }, FrameShape { len: 8, channels: 16 });
        let frames: Vec<f32> =
            (0..7 * 128).map(|k| (0.05 * k as f32).sin() * (0.003 * k as f32).cos()).collect();
        let codes = |batch: Option<usize>, together: usize| {
            let mut engine = Engine::load(&write_onnx(model.encoder(), batch), input, output).unwrap();
            let mut latents = Vec::new();
            frames.chunks(together * 128).for_each(|frames| engine.run(frames, &mut latents).unwrap());
            let mut codes = Vec::new();
            model.quantizer().codes(&latents, &mut codes);
            codes
        };
        let expected = codes(None, 1);
        for (batch, together) in [(None, 7), (Some(1), 3), (Some(4), 7), (Some(16), 2)] {
            assert_eq!(codes(batch, together), expected);
        }
    }
}
