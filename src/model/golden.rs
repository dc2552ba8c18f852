//! Golden vectors: inputs of a model with what must come out, to check every engine against.

use std::f64::consts::TAU;

use ndarray::{ArrayD, ArrayView, IxDyn};

use super::architecture::Architecture;
use super::autoencoder::VQAutoencoder;
use super::forward::forward;
use super::npz::{Npz, NpzError, NpzWriter};
use super::quantizer::QuantizerError;

/// Why golden vectors cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GoldenError {
    /// An unreadable file or array.
    #[error(transparent)]
    Npz(#[from] NpzError),
    /// An array that does not fit the model.
    #[error("golden vector '{key}' has shape {found:?}, the model needs {expected}")]
    Shape {
        /// The array.
        key: &'static str,
        /// Its shape.
        found: Vec<usize>,
        /// Shapes that would fit.
        expected: String,
    },
    /// A code that the model's codebooks do not have.
    #[error("golden vector 'idx' holds {code}, the codebooks have {vectors} vectors")]
    Code {
        /// The code.
        code: i64,
        /// Vectors in each codebook.
        vectors: usize,
    },
    /// Inputs alone.
    #[error("golden vectors hold none of z, idx, y and yq: there is nothing to compare with")]
    NothingExpected,
    /// Codes and codebooks that do not fit.
    #[error(transparent)]
    Quantizer(#[from] QuantizerError),
}

/// Frames with the latents, codes and outputs that a model makes of them. In an `.npz` they are `x`, `z`,
/// `idx`, `y` and `yq`; all but the input may be missing.
#[derive(Clone, Debug, PartialEq)]
pub struct GoldenVectors {
    frames: usize,
    input: Vec<f32>,
    latent: Option<Vec<f32>>,
    codes: Option<Vec<u16>>,
    output: Option<Vec<f32>>,
    quantised_output: Option<Vec<f32>>,
}

impl GoldenVectors {
    /// Number of frames.
    pub fn frames(&self) -> usize {
        self.frames
    }

    /// Normalised samples, `[frames][frame_size][in_ch]`.
    pub fn input(&self) -> &[f32] {
        &self.input
    }

    /// What the encoder makes of the input, `[frames][latent positions][embedding_dim]`.
    pub fn latent(&self) -> Option<&[f32]> {
        self.latent.as_deref()
    }

    /// The codes of the latent, `[frames][latent positions][num_levels]`.
    pub fn codes(&self) -> Option<&[u16]> {
        self.codes.as_deref()
    }

    /// What the decoder makes of the latent itself, `[frames][frame_size][out_ch]`.
    pub fn output(&self) -> Option<&[f32]> {
        self.output.as_deref()
    }

    /// What the decoder makes of the codes, `[frames][frame_size][out_ch]`.
    pub fn quantised_output(&self) -> Option<&[f32]> {
        self.quantised_output.as_deref()
    }

    /// Vectors for normalised samples `[frames][frame_size][in_ch]`, computed in double precision.
    ///
    /// # Errors
    /// An input that is not at least one whole frame.
    pub fn compute(model: &VQAutoencoder, input: Vec<f32>) -> Result<Self, GoldenError> {
        let architecture = model.architecture();
        let values = architecture.frame_size * architecture.in_ch;
        if input.is_empty() || !input.len().is_multiple_of(values) {
            let expected = format!("a multiple of {values} values");
            return Err(GoldenError::Shape { key: "x", found: vec![input.len()], expected });
        }
        let latent = forward(model.encoder(), &input);
        let mut codes = Vec::new();
        model.quantizer().codes(&latent, &mut codes);
        let mut quantised = Vec::new();
        model.quantizer().lookup(&codes, &mut quantised)?;
        Ok(Self {
            frames: input.len() / values,
            output: Some(forward(model.decoder(), &latent)),
            quantised_output: Some(forward(model.decoder(), &quantised)),
            codes: Some(codes),
            latent: Some(latent),
            input,
        })
    }

    /// Vectors for two frames of tones and steps, the same for every model of an architecture.
    ///
    /// # Errors
    /// None for a model that was built: its frames are not empty.
    pub fn synthetic(model: &VQAutoencoder) -> Result<Self, GoldenError> {
        let Architecture { frame_size, in_ch, .. } = *model.architecture();
        let sample = |frame: usize, time: usize, channel: usize| {
            let phase = time as f64 / frame_size as f64 + 0.13 * channel as f64;
            let tones = (TAU * 3.0 * phase).sin() + 0.4 * (TAU * 17.0 * phase).cos();
            let step = if (time * 5 / frame_size).is_multiple_of(2) { 0.5 } else { -0.5 };
            (tones + frame as f64 * step) as f32
        };
        let input = (0..2 * frame_size * in_ch)
            .map(|index| {
                let (frame, within) = (index / (frame_size * in_ch), index % (frame_size * in_ch));
                sample(frame, within / in_ch, within % in_ch)
            })
            .collect();
        Self::compute(model, input)
    }

    /// The vectors of an `.npz`.
    ///
    /// `x`, `z`, `y` and `yq` may have one frame or a batch, with or without the 1 of `[N,1,T,C]` and, where it
    /// is 1, the channel axis; `idx` is level-major, `[L,T]` or `[N,L,T]`.
    ///
    /// # Errors
    /// A missing `x`, arrays that do not fit the model, no expected values at all.
    pub fn from_npz(npz: &Npz, architecture: &Architecture) -> Result<Self, GoldenError> {
        let Architecture { frame_size, in_ch, out_ch, embedding_dim, num_levels, .. } = *architecture;
        let positions = architecture.latent_positions();
        let x = npz.floats("x")?;
        let frames =
            frames_of(&x, [frame_size, in_ch]).ok_or_else(|| misfit("x", x.shape(), [frame_size, in_ch]))?;
        let floats = |key: &'static str, shape: [usize; 2]| {
            if !npz.contains(key) {
                return Ok(None);
            }
            let array = npz.floats(key)?;
            if frames_of(&array, shape) != Some(frames) {
                return Err(misfit(key, array.shape(), shape));
            }
            Ok(Some(array.into_iter().collect::<Vec<_>>()))
        };
        let vectors = Self {
            frames,
            latent: floats("z", [positions, embedding_dim])?,
            output: floats("y", [frame_size, out_ch])?,
            quantised_output: floats("yq", [frame_size, out_ch])?,
            codes: if npz.contains("idx") {
                let codes = npz.integers("idx")?;
                let shape = codes.shape();
                let fits = shape == [frames, num_levels, positions]
                    || (frames == 1 && shape == [num_levels, positions]);
                if !fits {
                    return Err(misfit("idx", shape, [num_levels, positions]));
                }
                Some(position_major(&codes, [frames, num_levels, positions], architecture.latent_width)?)
            } else {
                None
            },
            input: x.into_iter().collect(),
        };
        let nothing = vectors.latent.is_none()
            && vectors.codes.is_none()
            && vectors.output.is_none()
            && vectors.quantised_output.is_none();
        if nothing { Err(GoldenError::NothingExpected) } else { Ok(vectors) }
    }

    /// The bytes of an `.npz`, arrays `[N,T,C]` and `idx` `[N,L,T]`.
    ///
    /// # Errors
    /// None for vectors that fit `architecture`.
    pub fn to_npz(&self, architecture: &Architecture) -> Result<Vec<u8>, GoldenError> {
        let mut writer = NpzWriter::default();
        self.add_to(&mut writer, architecture)?;
        Ok(writer.finish()?)
    }

    /// Adds the arrays to an `.npz` that may hold other things too.
    ///
    /// # Errors
    /// A name that is already there.
    pub fn add_to(&self, writer: &mut NpzWriter, architecture: &Architecture) -> Result<(), GoldenError> {
        let Architecture { frame_size, in_ch, out_ch, embedding_dim, num_levels, .. } = *architecture;
        let positions = architecture.latent_positions();
        let latent = self.latent.as_deref();
        for (key, values, len, channels) in [
            ("x", Some(self.input.as_slice()), frame_size, in_ch),
            ("z", latent, positions, embedding_dim),
            ("y", self.output.as_deref(), frame_size, out_ch),
            ("yq", self.quantised_output.as_deref(), frame_size, out_ch),
        ] {
            let Some(values) = values else { continue };
            let shape = [self.frames, len, channels];
            let array = ArrayView::from_shape(IxDyn(&shape), values)
                .map_err(|_| misfit(key, &[values.len()], [len, channels]))?;
            writer.floats(key, array)?;
        }
        if let Some(codes) = &self.codes {
            let shape = [self.frames, positions, num_levels];
            let array = ArrayView::from_shape(IxDyn(&shape), codes)
                .map_err(|_| misfit("idx", &[codes.len()], [num_levels, positions]))?
                .mapv(i64::from)
                .permuted_axes(IxDyn(&[0, 2, 1]));
            writer.integers("idx", array.view())?;
        }
        Ok(())
    }
}

/// Number of frames of `[len, channels]` in an array, if it has a shape that says so.
fn frames_of(array: &ArrayD<f32>, [len, channels]: [usize; 2]) -> Option<usize> {
    let frame_shape_fits = |shape: &[usize]| match shape {
        [t, c] => [*t, *c] == [len, channels],
        [1, t, c] => [*t, *c] == [len, channels],
        [t] => channels == 1 && *t == len,
        _ => false,
    };
    let shape = array.shape();
    // A batch first: [N, T] of one channel must not be taken for one frame [T, C].
    if let Some((&frames, frame)) = shape.split_first()
        && frames > 0
        && frame_shape_fits(frame)
    {
        return Some(frames);
    }
    frame_shape_fits(shape).then_some(1)
}

fn misfit(key: &'static str, found: &[usize], [len, channels]: [usize; 2]) -> GoldenError {
    let expected = format!("[{len}, {channels}] or a batch [N, {len}, {channels}]");
    GoldenError::Shape { key, found: found.to_vec(), expected }
}

/// Level-major codes `[frames, levels, positions]` as the quantiser lays them out.
fn position_major(
    codes: &ArrayD<i64>,
    [frames, levels, positions]: [usize; 3],
    vectors: usize,
) -> Result<Vec<u16>, GoldenError> {
    let codes: Vec<i64> = codes.iter().copied().collect();
    let mut ordered = Vec::with_capacity(codes.len());
    for frame in 0..frames {
        for position in 0..positions {
            for level in 0..levels {
                let code = codes[(frame * levels + level) * positions + position];
                let valid = usize::try_from(code).is_ok_and(|code| code < vectors);
                if !valid {
                    return Err(GoldenError::Code { code, vectors });
                }
                ordered.push(code as u16);
            }
        }
    }
    Ok(ordered)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::build_rvq_autoencoder;

    fn model() -> VQAutoencoder {
        let architecture = Architecture {
            in_ch: 2,
            out_ch: 3,
            num_stages: 2,
            num_levels: 3,
            base_filters: 8,
            ..Architecture::new(32)
        };
        build_rvq_autoencoder(&architecture, 5).unwrap()
    }

    #[test]
    fn npz_holds_everything() {
        let model = model();
        let vectors = GoldenVectors::synthetic(&model).unwrap();
        assert_eq!((vectors.frames(), vectors.input().len()), (2, 2 * 32 * 2));
        assert_eq!(vectors.codes().unwrap().len(), 2 * 8 * 3);
        let npz = Npz::read(&vectors.to_npz(model.architecture()).unwrap()).unwrap();
        assert_eq!(npz.integers("idx").unwrap().shape(), [2, 3, 8]);
        assert_eq!(GoldenVectors::from_npz(&npz, model.architecture()).unwrap(), vectors);
    }

    #[test]
    fn inputs_come_in_several_shapes() {
        let one = |shape: &[usize], channels| frames_of(&ArrayD::zeros(IxDyn(shape)), [8, channels]);
        assert_eq!(one(&[8], 1), Some(1));
        assert_eq!(one(&[3, 8], 1), Some(3));
        assert_eq!(one(&[8, 1], 1), Some(1));
        assert_eq!(one(&[3, 8, 1], 1), Some(3));
        assert_eq!(one(&[3, 1, 8, 1], 1), Some(3));
        assert_eq!(one(&[8, 2], 2), Some(1));
        assert_eq!(one(&[3, 1, 8, 2], 2), Some(3));
        for misfit in [&[9][..], &[2, 9], &[8, 2], &[0, 8], &[]] {
            assert_eq!(one(misfit, 1), None, "{misfit:?}");
        }
    }

    #[test]
    fn misfits_are_named() {
        let model = model();
        let error = |change: &dyn Fn(&mut NpzWriter)| {
            let mut writer = NpzWriter::default();
            change(&mut writer);
            let npz = Npz::read(&writer.finish().unwrap()).unwrap();
            GoldenVectors::from_npz(&npz, model.architecture()).unwrap_err().to_string()
        };
        let x = ArrayD::zeros(IxDyn(&[32, 2]));
        assert!(error(&|_| ()).contains("'x'"));
        assert!(
            error(&|w| w.floats("x", ArrayD::zeros(IxDyn(&[31, 2])).view()).unwrap()).contains("[31, 2]")
        );
        assert!(error(&|w| w.floats("x", x.view()).unwrap()).contains("none of"));
        let with_codes = |shape: &[usize], code| {
            error(&|w| {
                w.floats("x", x.view()).unwrap();
                w.integers("idx", ArrayD::from_elem(IxDyn(shape), code).view()).unwrap();
            })
        };
        assert!(with_codes(&[8, 3], 0).contains("'idx' has shape [8, 3]"));
        assert!(with_codes(&[3, 8], 256).contains("256"));
        assert!(with_codes(&[3, 8], -1).contains("-1"));
    }
}
