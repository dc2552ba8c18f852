//! Runs one ONNX network on frames, in tract.
//!
//! Frames are channels-last, `[batch][len][channels]`, whatever layout the network itself has.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use prost::Message;
use tract_onnx::pb;
use tract_onnx::prelude::*;
use tract_onnx::tract_hir::internal::DimLike;

/// Batch sizes that plans are compiled for where a network leaves its batch open, largest first.
///
/// tract runs a plan two to four times faster when it knows the batch; a few sizes keep the number of
/// plans small.
const BATCH_SIZES: [usize; 3] = [16, 4, 1];

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

/// One network, compiled for the batches it is used with.
pub struct Engine {
    graph: InferenceModel,
    input: FrameShape,
    output: FrameShape,
    input_layout: Layout,
    output_layout: Layout,
    /// The batch that the network fixes, if it does.
    fixed_batch: Option<usize>,
    plans: BTreeMap<usize, Plan>,
    /// The frames of a short batch, filled up with zeros.
    padded: Vec<f32>,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("input", &self.input)
            .field("output", &self.output)
            .field("fixed_batch", &self.fixed_batch)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// A network from the bytes of an ONNX file, checked to take frames of `input` and to make frames of
    /// `output`.
    ///
    /// The shapes tell the layout: `[N,C,T]`, `[N,1,T,C]` or `[N,C,1,T]`. A network whose batch is fixed
    /// runs in batches of that size.
    ///
    /// # Errors
    /// Bytes that are no such network, shapes that do not fit, operators that tract does not have.
    pub fn load(onnx: &[u8], input: FrameShape, output: FrameShape) -> Result<Self, EngineError> {
        let model =
            pb::ModelProto::decode(onnx).map_err(|error| EngineError::Malformed(error.to_string()))?;
        let dims = input_dims(&model)?;
        let fixed_batch = match dims.first() {
            Some(&Some(batch)) if batch == 0 || batch > MAX_FIXED_BATCH => {
                return Err(EngineError::Malformed(format!(
                    "its batch is fixed at {batch}, more than 0 and at most {MAX_FIXED_BATCH} can be run"
                )));
            }
            first => first.copied().flatten(),
        };
        let graph = guarded(EngineError::Malformed, || {
            // Only the shape of the input is trusted: the others follow from it.
            tract_onnx::onnx().with_ignore_value_info(true).parse(&model, None).map(|parsed| parsed.model)
        })?;
        let mut refusal = EngineError::Shape { end: "input", found: shape_text(&dims), expected: input };
        let batch = fixed_batch.unwrap_or(1);
        for input_layout in Layout::fitting(&dims, input) {
            let plan = match compile(&graph, &input_layout.dims(batch, input)) {
                Ok(plan) => plan,
                Err(error) => {
                    refusal = error;
                    continue;
                }
            };
            let found: Vec<Option<usize>> = output_dims(&plan)?;
            let output_layout = Layout::fitting(&found, output).next();
            match output_layout {
                Some(output_layout) if found.iter().all(Option::is_some) && found[0] == Some(batch) => {
                    return Ok(Self {
                        graph,
                        input,
                        output,
                        input_layout,
                        output_layout,
                        fixed_batch,
                        plans: BTreeMap::from([(batch, plan)]),
                        padded: Vec::new(),
                    });
                }
                _ => {
                    refusal =
                        EngineError::Shape { end: "output", found: shape_text(&found), expected: output };
                }
            }
        }
        Err(refusal)
    }

    /// The frames it takes.
    pub fn input(&self) -> FrameShape {
        self.input
    }

    /// The frames it makes.
    pub fn output(&self) -> FrameShape {
        self.output
    }

    /// Appends the network's output for each of `frames` to `out`, in order.
    ///
    /// # Errors
    /// Values that are not whole frames; a failure of tract.
    pub fn run(&mut self, frames: &[f32], out: &mut Vec<f32>) -> Result<(), EngineError> {
        let values = self.input.values();
        if !frames.len().is_multiple_of(values) {
            return Err(EngineError::Frames { values: frames.len(), shape: self.input });
        }
        out.reserve(frames.len() / values * self.output.values());
        let mut rest = frames;
        while !rest.is_empty() {
            let waiting = rest.len() / values;
            let batch = self
                .fixed_batch
                .unwrap_or_else(|| BATCH_SIZES.into_iter().find(|&size| size <= waiting).unwrap_or(1));
            let used = batch.min(waiting);
            let (now, later) = rest.split_at(used * values);
            if used == batch {
                self.run_batch(batch, now, used, out)?;
            } else {
                let mut padded = std::mem::take(&mut self.padded);
                padded.clear();
                padded.extend_from_slice(now);
                padded.resize(batch * values, 0.0);
                self.run_batch(batch, &padded, used, out)?;
                self.padded = padded;
            }
            rest = later;
        }
        Ok(())
    }

    fn run_batch(
        &mut self,
        batch: usize,
        frames: &[f32],
        used: usize,
        out: &mut Vec<f32>,
    ) -> Result<(), EngineError> {
        let dims = self.input_layout.dims(batch, self.input);
        if !self.plans.contains_key(&batch) {
            let plan = compile(&self.graph, &dims)?;
            self.plans.insert(batch, plan);
        }
        let plan = self.plans.get(&batch).ok_or_else(|| EngineError::Run("no plan".to_owned()))?;
        let mut tensor = Tensor::zero::<f32>(&dims).map_err(run_error)?;
        {
            let mut view = tensor.to_plain_array_view_mut::<f32>().map_err(run_error)?;
            let target = view.as_slice_mut().ok_or_else(|| EngineError::Run("strided input".to_owned()))?;
            if self.input_layout.channels_first() {
                let FrameShape { len, channels } = self.input;
                for (to, from) in
                    target.chunks_exact_mut(len * channels).zip(frames.chunks_exact(len * channels))
                {
                    transpose(from, to, channels);
                }
            } else {
                target.copy_from_slice(frames);
            }
        }
        let made = guarded(EngineError::Run, || plan.run(tvec![tensor.into()]))?;
        let made = made.first().ok_or_else(|| EngineError::Run("no output".to_owned()))?;
        let view = made.to_plain_array_view::<f32>().map_err(run_error)?;
        let expected = self.output_layout.dims(batch, self.output);
        if view.shape() != expected.as_slice() {
            return Err(EngineError::Run(format!("output of shape {:?}", view.shape())));
        }
        let made = view.as_standard_layout();
        let source = made.as_slice().ok_or_else(|| EngineError::Run("strided output".to_owned()))?;
        let values = self.output.values();
        let start = out.len();
        out.extend_from_slice(&source[..used * values]);
        if self.output_layout.channels_first() {
            for (to, from) in out[start..].chunks_exact_mut(values).zip(source.chunks_exact(values)) {
                transpose(from, to, self.output.len);
            }
        }
        Ok(())
    }
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
