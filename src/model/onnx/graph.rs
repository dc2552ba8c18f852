//! A graph under construction: nodes, weights and the name of the tensor that was made last.

use tract_onnx::pb;

/// Collects the nodes and weights of a graph that is a chain.
#[derive(Default)]
pub(super) struct Chain {
    pub(super) nodes: Vec<pb::NodeProto>,
    pub(super) weights: Vec<pb::TensorProto>,
    /// The tensor that the next node reads.
    pub(super) head: String,
}

impl Chain {
    /// A chain that starts at the graph's input.
    pub(super) fn new(input: &str) -> Self {
        Self { head: input.to_owned(), ..Self::default() }
    }

    /// Adds a node of one output and gives the output's name.
    pub(super) fn node(&mut self, op: &str, inputs: &[&str], attributes: Vec<pb::AttributeProto>) -> String {
        let name = format!("{}_{}", op.to_lowercase(), self.nodes.len());
        self.nodes.push(pb::NodeProto {
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: vec![name.clone()],
            name: name.clone(),
            op_type: op.to_owned(),
            attribute: attributes,
            ..Default::default()
        });
        name
    }

    /// Adds a node that reads the head, then `more`, and makes it the head.
    pub(super) fn then(&mut self, op: &str, more: &[&str], attributes: Vec<pb::AttributeProto>) {
        let head = self.head.clone();
        let inputs: Vec<&str> = std::iter::once(head.as_str()).chain(more.iter().copied()).collect();
        self.head = self.node(op, &inputs, attributes);
    }

    /// Adds a tensor of weights and gives its name.
    pub(super) fn weight<'a>(
        &mut self,
        what: &str,
        shape: &[usize],
        values: impl IntoIterator<Item = &'a f32>,
    ) -> String {
        let data = values.into_iter().flat_map(|value| value.to_le_bytes()).collect();
        self.tensor(what, pb::tensor_proto::DataType::Float, shape, data)
    }

    /// Adds a tensor that holds a shape and gives its name.
    pub(super) fn shape(&mut self, dims: &[usize]) -> String {
        let data = dims.iter().flat_map(|&dim| (dim as i64).to_le_bytes()).collect();
        self.tensor("shape", pb::tensor_proto::DataType::Int64, &[dims.len()], data)
    }

    fn tensor(
        &mut self,
        what: &str,
        kind: pb::tensor_proto::DataType,
        shape: &[usize],
        data: Vec<u8>,
    ) -> String {
        let name = format!("{what}_{}", self.weights.len());
        self.weights.push(pb::TensorProto {
            name: name.clone(),
            dims: shape.iter().map(|&dim| dim as i64).collect(),
            data_type: kind as i32,
            raw_data: data,
            ..Default::default()
        });
        name
    }
}

/// An attribute that is a list of whole numbers.
pub(super) fn ints(name: &str, values: &[usize]) -> pb::AttributeProto {
    pb::AttributeProto {
        name: name.to_owned(),
        r#type: pb::attribute_proto::AttributeType::Ints as i32,
        ints: values.iter().map(|&value| value as i64).collect(),
        ..Default::default()
    }
}

/// An attribute that is a whole number.
pub(super) fn int(name: &str, value: usize) -> pb::AttributeProto {
    pb::AttributeProto {
        name: name.to_owned(),
        r#type: pb::attribute_proto::AttributeType::Int as i32,
        i: value as i64,
        ..Default::default()
    }
}
