//! Networks as sequences of layers, with their shapes, weights and work.

/// Epsilon of batch and layer normalisation.
pub const NORM_EPSILON: f32 = 1e-5;

/// One layer. Weights are stored in Keras' shapes and order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layer {
    /// Convolution, `same` padding, with bias: kernel `[1, taps, in_ch, out_ch]`, bias `[out_ch]`.
    Conv {
        /// Kernel length.
        taps: usize,
        /// Step between outputs.
        stride: usize,
        /// Input channels.
        in_ch: usize,
        /// Output channels.
        out_ch: usize,
    },
    /// One filter per channel, `same` padding: kernel `[1, taps, channels, 1]`, bias `[channels]` if any.
    Depthwise {
        /// Kernel length.
        taps: usize,
        /// Step between outputs.
        stride: usize,
        /// Channels in and out.
        channels: usize,
        /// Whether a bias follows the kernel.
        bias: bool,
    },
    /// Batch normalisation: gamma, beta, moving mean, moving variance.
    BatchNorm {
        /// Channels.
        channels: usize,
    },
    /// Layer normalisation over channels: gamma, beta.
    LayerNorm {
        /// Channels.
        channels: usize,
    },
    /// `max(0, x)`.
    Relu,
    /// Each time step twice.
    Upsample2,
}

impl Layer {
    /// Shapes of the layer's weights in Keras' order.
    pub fn weight_shapes(&self) -> Vec<Vec<usize>> {
        match *self {
            Self::Conv { taps, in_ch, out_ch, .. } => vec![vec![1, taps, in_ch, out_ch], vec![out_ch]],
            Self::Depthwise { taps, channels, bias, .. } => {
                let mut shapes = vec![vec![1, taps, channels, 1]];
                if bias {
                    shapes.push(vec![channels]);
                }
                shapes
            }
            Self::BatchNorm { channels } => vec![vec![channels]; 4],
            Self::LayerNorm { channels } => vec![vec![channels]; 2],
            Self::Relu | Self::Upsample2 => Vec::new(),
        }
    }

    /// Length in time of the output for an input of `len`.
    pub fn output_len(&self, len: usize) -> usize {
        match *self {
            Self::Conv { stride, .. } | Self::Depthwise { stride, .. } => len.div_ceil(stride),
            Self::Upsample2 => 2 * len,
            Self::BatchNorm { .. } | Self::LayerNorm { .. } | Self::Relu => len,
        }
    }

    /// Multiply-adds of convolutions for an input of `len` time steps.
    pub fn multiply_adds(&self, len: usize) -> u64 {
        let per_step = match *self {
            Self::Conv { taps, in_ch, out_ch, .. } => taps * in_ch * out_ch,
            Self::Depthwise { taps, channels, .. } => taps * channels,
            _ => 0,
        };
        (self.output_len(len) * per_step) as u64
    }
}

/// Zero padding before and after the input of a `same` convolution (TensorFlow's rule): for an even
/// length, 7 taps and stride 2 it is 2 and 3.
pub fn same_padding(len: usize, taps: usize, stride: usize) -> (usize, usize) {
    let total = ((len.div_ceil(stride) - 1) * stride + taps).saturating_sub(len);
    (total / 2, total - total / 2)
}

/// A sequence of layers with the shapes of its ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Network {
    /// The layers, first to last.
    pub layers: Vec<Layer>,
    /// Time steps of the input.
    pub in_len: usize,
    /// Channels of the input.
    pub in_ch: usize,
    /// Time steps of the output.
    pub out_len: usize,
    /// Channels of the output.
    pub out_ch: usize,
}

impl Network {
    pub(super) fn new(layers: Vec<Layer>, in_len: usize, in_ch: usize, out_ch: usize) -> Self {
        let out_len = layers.iter().fold(in_len, |len, layer| layer.output_len(len));
        Self { layers, in_len, in_ch, out_len, out_ch }
    }

    /// Shapes of all weights in Keras' order.
    pub fn weight_shapes(&self) -> Vec<Vec<usize>> {
        self.layers.iter().flat_map(Layer::weight_shapes).collect()
    }

    /// All parameters, the moving statistics of batch normalisation included.
    pub fn parameters(&self) -> u64 {
        self.weight_shapes().iter().map(|shape| shape.iter().product::<usize>() as u64).sum()
    }

    /// Parameters that training changes by gradient.
    pub fn trainable_parameters(&self) -> u64 {
        let statistics: usize = self
            .layers
            .iter()
            .map(|layer| if let Layer::BatchNorm { channels } = layer { 2 * channels } else { 0 })
            .sum();
        self.parameters() - statistics as u64
    }

    /// Multiply-adds of the convolutions for one frame.
    pub fn multiply_adds(&self) -> u64 {
        let mut len = self.in_len;
        let mut sum = 0;
        for layer in &self.layers {
            sum += layer.multiply_adds(len);
            len = layer.output_len(len);
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_tensorflows() {
        assert_eq!(same_padding(512, 7, 2), (2, 3));
        assert_eq!(same_padding(511, 7, 2), (3, 3));
        assert_eq!(same_padding(512, 7, 1), (3, 3));
        assert_eq!(same_padding(512, 5, 1), (2, 2));
        assert_eq!(same_padding(2, 7, 2), (2, 3));
    }
}
