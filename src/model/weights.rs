//! Weights of a whole model in one `.npz`, in Keras' order: `enc_0`, `enc_1`, ... for the encoder, `dec_i` for
//! the decoder, `cb_l` (or `cbl`) for the codebook of level `l`.

use ndarray::{Array2, ArrayD, Ix2};

use super::architecture::{Architecture, ArchitectureError, build_decoder_2d, build_encoder_2d};
use super::autoencoder::{AutoencoderError, VQAutoencoder};
use super::npz::{Npz, NpzError, NpzWriter};

/// Why the arrays of an `.npz` are not the weights of a model.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// An unreadable file or array, or one that is missing.
    #[error(transparent)]
    Npz(#[from] NpzError),
    /// An architecture that does not exist.
    #[error(transparent)]
    Architecture(#[from] ArchitectureError),
    /// A tensor of another shape.
    #[error("'{key}' has shape {found:?}, the architecture needs {expected:?}")]
    Shape {
        /// The array.
        key: String,
        /// Its shape.
        found: Vec<usize>,
        /// The shape it should have.
        expected: Vec<usize>,
    },
    /// Arrays beyond those that the architecture has.
    #[error("'{key}' is one too many: the architecture has {count} such tensors")]
    TooMany {
        /// The first of them.
        key: String,
        /// How many there should be.
        count: usize,
    },
    /// Tensors that fit one by one but not together.
    #[error(transparent)]
    Autoencoder(#[from] AutoencoderError),
}

/// The model that `npz` holds the weights of.
///
/// # Errors
/// Arrays that are missing, too many, not finite or of another shape, each by its name.
pub fn read_weights(npz: &Npz, architecture: &Architecture) -> Result<VQAutoencoder, WeightsError> {
    let network = |prefix: &str, shapes: Vec<Vec<usize>>| {
        let count = shapes.len();
        let weights = shapes
            .into_iter()
            .enumerate()
            .map(|(index, shape)| tensor(npz, format!("{prefix}{index}"), shape))
            .collect::<Result<Vec<_>, _>>()?;
        none_beyond(npz, format!("{prefix}{count}"), count)?;
        Ok::<_, WeightsError>(weights)
    };
    let encoder = network("enc_", build_encoder_2d(architecture)?.weight_shapes())?;
    let decoder = network("dec_", build_decoder_2d(architecture)?.weight_shapes())?;
    let shape = [architecture.latent_width, architecture.embedding_dim];
    let codebooks = (0..architecture.num_levels)
        .map(|level| {
            let codebook = tensor(npz, codebook_key(npz, level), shape.to_vec())?;
            Ok(codebook.into_dimensionality::<Ix2>().unwrap_or_default())
        })
        .collect::<Result<Vec<Array2<f32>>, WeightsError>>()?;
    none_beyond(npz, codebook_key(npz, architecture.num_levels), architecture.num_levels)?;
    Ok(VQAutoencoder::new(architecture.clone(), encoder, codebooks, decoder)?)
}

/// The bytes of an `.npz` from which [`read_weights`] makes the same model.
///
/// # Errors
/// More bytes than a zip can hold.
pub fn write_weights(model: &VQAutoencoder) -> Result<Vec<u8>, NpzError> {
    let mut writer = NpzWriter::default();
    add_weights(&mut writer, model)?;
    writer.finish()
}

/// Adds all weights of a model to an `.npz` that may hold other things too.
///
/// # Errors
/// A name that is already there.
pub fn add_weights(writer: &mut NpzWriter, model: &VQAutoencoder) -> Result<(), NpzError> {
    for (prefix, network) in [("enc", model.encoder()), ("dec", model.decoder())] {
        for (index, weight) in network.weights().iter().enumerate() {
            writer.floats(&format!("{prefix}_{index}"), weight.view())?;
        }
    }
    for (level, codebook) in model.quantizer().codebooks().enumerate() {
        writer.floats(&format!("cb_{level}"), codebook.view().into_dyn())?;
    }
    Ok(())
}

/// The name under which a file has the codebook of a level: `cb_0`, or `cb0` where that is the one it has.
pub(super) fn codebook_key(npz: &Npz, level: usize) -> String {
    let short = format!("cb{level}");
    if npz.contains(&short) { short } else { format!("cb_{level}") }
}

fn tensor(npz: &Npz, key: String, expected: Vec<usize>) -> Result<ArrayD<f32>, WeightsError> {
    let tensor = npz.floats(&key)?;
    if tensor.shape() != expected {
        return Err(WeightsError::Shape { key, found: tensor.shape().to_vec(), expected });
    }
    Ok(tensor)
}

fn none_beyond(npz: &Npz, key: String, count: usize) -> Result<(), WeightsError> {
    if npz.contains(&key) { Err(WeightsError::TooMany { key, count }) } else { Ok(()) }
}
