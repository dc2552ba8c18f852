//! A model on disk: a directory whose id is the hash of its content.
//!
//! | file | holds |
//! |---|---|
//! | `model.toml` | name, id, architecture, normalisation, and the SHA-256 of every other file but the card |
//! | `encoder.onnx`, `decoder.onnx` | the networks as they run |
//! | `codebooks.npz` | `level_0`, `level_1`, ...: `[latent_width, embedding_dim]` |
//! | `golden.npz` | [`GoldenVectors`] |
//! | `weights.npz` | the weights in Keras' order, as [`super::weights`] lays them out, to train on |
//! | `README.md` | the card |

mod decoder;
mod description;
mod place;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use decoder::DecoderModel;
pub use description::ModelMetadata;
use description::{Description, EncoderType, sha256};

use super::npz::{Npz, NpzError, NpzWriter};
use super::weights::{WeightsError, read_weights, write_weights};
use super::{
    Architecture, GoldenVectors, ModelId, Normalisation, ResidualVectorQuantizer, VQAutoencoder, write_onnx,
};

/// The version of the format that this program writes, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 1;

const MODEL_TOML: &str = "model.toml";
const ENCODER: &str = "encoder.onnx";
const DECODER: &str = "decoder.onnx";
const CODEBOOKS: &str = "codebooks.npz";
const GOLDEN: &str = "golden.npz";
const WEIGHTS: &str = "weights.npz";
const CARD: &str = "README.md";

/// Files without which a model cannot run.
const REQUIRED: [&str; 4] = [ENCODER, DECODER, CODEBOOKS, GOLDEN];

/// Largest file of a model, so that a wrong path does not fill the memory.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// Why a model directory cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("model {}: {kind}", path.display())]
pub struct DirectoryError {
    /// The directory.
    pub path: PathBuf,
    /// What is wrong with it.
    pub kind: DirectoryErrorKind,
}

/// What is wrong with a model directory.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryErrorKind {
    /// There is nothing at this path, or it is not a directory.
    #[error("there is no such directory")]
    NoDirectory,
    /// A file that belongs to every model, or that `model.toml` lists, is not there.
    #[error("{file} is missing")]
    Missing {
        /// The file.
        file: String,
    },
    /// A file is not what it was when the model was written.
    #[error("{file} has been changed: its hash is not the one the model was written with")]
    Changed {
        /// The file.
        file: String,
    },
    /// Written by a later version.
    #[error(
        "it has format version {version}, this program reads up to {FORMAT_VERSION}: it needs a newer rivulet"
    )]
    NewerFormat {
        /// The version.
        version: i64,
    },
    /// A key that the format does not have.
    #[error("model.toml has an unknown key '{key}'")]
    UnknownKey {
        /// The key.
        key: String,
    },
    /// A file that cannot be understood.
    #[error("{file}: {reason}")]
    Malformed {
        /// The file.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The model was written without its weights.
    #[error("it holds no {WEIGHTS}: it can run, but not be trained on or exported")]
    NoWeights,
    /// There is already something at this path.
    #[error("it exists already")]
    Exists,
    /// What should be replaced is no model.
    #[error("it exists and has no {MODEL_TOML}: only a model is replaced by a model")]
    NotAModel,
    /// The operating system refused.
    #[error("{what}: {error}")]
    Io {
        /// The file or directory.
        what: String,
        /// Why.
        error: io::Error,
    },
}

/// What to do where a directory is already there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Refuse.
    Keep,
    /// Put the new model in its place, if it is a model.
    Replace,
}

/// A model as it was read from its directory, with every file checked against its hash.
#[derive(Clone, Debug)]
pub struct ModelDirectory {
    path: PathBuf,
    description: Description,
    /// What `description` was read from.
    text: String,
    files: BTreeMap<String, Vec<u8>>,
    quantizer: ResidualVectorQuantizer,
    golden: GoldenVectors,
    card: String,
}

impl ModelDirectory {
    /// Writes a model: to a directory beside `path` first, which then gets its name, so that there is never half
    /// a model at `path`.
    ///
    /// # Errors
    /// A path that is taken, a disk that is full or read-only, an epsilon or a rate that is no positive number;
    /// nothing is left behind.
    pub fn write(
        path: &Path,
        model: &VQAutoencoder,
        normalisation: &Normalisation,
        metadata: &ModelMetadata,
        golden: &GoldenVectors,
        card: &str,
        existing: Existing,
    ) -> Result<ModelId, DirectoryError> {
        let at = |kind| DirectoryError { path: path.to_owned(), kind };
        let files = contents(model, golden).map_err(at)?;
        let description = Description {
            format_version: FORMAT_VERSION,
            name: metadata.name.clone(),
            id: ModelId([0; 8]),
            encoder_type: EncoderType::Rvq,
            modality: metadata.modality.clone(),
            sample_rate_hz: metadata.sample_rate_hz,
            unit: metadata.unit.clone(),
            architecture: model.architecture().clone(),
            normalisation: *normalisation,
            files: files.iter().map(|(name, bytes)| (name.clone(), sha256(bytes))).collect(),
        };
        let (text, id) = description.to_text().map_err(|reason| at(malformed(MODEL_TOML, reason)))?;
        // What would not load is not written.
        Description::parse(&text).map_err(at)?;
        let mut all: Vec<(&str, &[u8])> =
            files.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
        all.extend([(MODEL_TOML, text.as_bytes()), (CARD, card.as_bytes())]);
        place::write(path, &all, existing).map_err(at)?;
        Ok(id)
    }

    /// Reads a model and checks every file that `model.toml` lists.
    ///
    /// # Errors
    /// A missing file, a changed byte, a newer format, a key that the format does not have, files that cannot be
    /// understood: each its own kind.
    pub fn load(path: &Path) -> Result<Self, DirectoryError> {
        Self::read(path).map_err(|kind| DirectoryError { path: path.to_owned(), kind })
    }

    /// The id that a directory's `model.toml` bears, without a look at the other files.
    ///
    /// # Errors
    /// There is no such file, or it cannot be understood.
    pub fn read_id(path: &Path) -> Result<ModelId, DirectoryError> {
        match read_description(path) {
            Ok((description, _)) => Ok(description.id),
            Err(kind) => Err(DirectoryError { path: path.to_owned(), kind }),
        }
    }

    fn read(path: &Path) -> Result<Self, DirectoryErrorKind> {
        let (description, text) = read_description(path)?;
        if let Some(file) = REQUIRED.into_iter().find(|file| !description.files.contains_key(*file)) {
            return Err(malformed(MODEL_TOML, format!("it does not list {file}")));
        }
        let mut files = BTreeMap::new();
        for (name, hash) in &description.files {
            if Path::new(name).file_name().is_none_or(|file| file != name.as_str()) {
                return Err(malformed(MODEL_TOML, format!("'{name}' is not a plain file name")));
            }
            let bytes = read_file(path, name)?;
            if sha256(&bytes) != *hash {
                return Err(DirectoryErrorKind::Changed { file: name.clone() });
            }
            files.insert(name.clone(), bytes);
        }
        let bytes = |file: &str| files.get(file).map(Vec::as_slice).unwrap_or_default();
        let architecture = &description.architecture;
        let quantizer = codebooks_of(bytes(CODEBOOKS), architecture)?;
        let golden = GoldenVectors::from_npz(&read_npz(GOLDEN, bytes(GOLDEN))?, architecture)
            .map_err(|error| malformed(GOLDEN, error.to_string()))?;
        // The card is for people: a model runs without it.
        let card = fs::read_to_string(path.join(CARD)).unwrap_or_default();
        Ok(Self { path: path.to_owned(), description, text, files, quantizer, golden, card })
    }

    /// Where it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its id.
    pub fn id(&self) -> ModelId {
        self.description.id
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.description.name
    }

    /// What its author says of it.
    pub fn metadata(&self) -> ModelMetadata {
        self.description.metadata()
    }

    /// The architecture of its networks.
    pub fn architecture(&self) -> &Architecture {
        &self.description.architecture
    }

    /// How frames are scaled for it.
    pub fn normalisation(&self) -> &Normalisation {
        &self.description.normalisation
    }

    /// Its codebooks.
    pub fn quantizer(&self) -> &ResidualVectorQuantizer {
        &self.quantizer
    }

    /// The encoder as ONNX: frames `[frame_size, in_ch]` to latents `[latent positions, embedding_dim]`.
    pub fn encoder_onnx(&self) -> &[u8] {
        self.file(ENCODER)
    }

    /// The decoder as ONNX: latents to frames `[frame_size, out_ch]`.
    pub fn decoder_onnx(&self) -> &[u8] {
        self.file(DECODER)
    }

    /// What must come out for given inputs.
    pub fn golden(&self) -> &GoldenVectors {
        &self.golden
    }

    /// The card, in Markdown; empty where there is none.
    pub fn card(&self) -> &str {
        &self.card
    }

    /// Every file that the id stands for, with its SHA-256 and size in bytes.
    pub fn files(&self) -> impl Iterator<Item = (&str, &str, usize)> {
        self.description
            .files
            .iter()
            .map(|(name, hash)| (name.as_str(), hash.as_str(), self.file(name).len()))
    }

    /// The model as it was trained, batch normalisation not folded.
    ///
    /// # Errors
    /// [`DirectoryErrorKind::NoWeights`], or weights that do not fit the architecture.
    pub fn autoencoder(&self) -> Result<VQAutoencoder, DirectoryError> {
        let at = |kind| DirectoryError { path: self.path.clone(), kind };
        let bytes = self.files.get(WEIGHTS).ok_or_else(|| at(DirectoryErrorKind::NoWeights))?;
        Npz::read(bytes)
            .map_err(WeightsError::from)
            .and_then(|npz| read_weights(&npz, self.architecture()))
            .map_err(|error| at(malformed(WEIGHTS, error.to_string())))
    }

    fn file(&self, name: &str) -> &[u8] {
        self.files.get(name).map(Vec::as_slice).unwrap_or_default()
    }
}

/// The files of a model but `model.toml` and the card.
/// What `model.toml` says, and its text.
fn read_description(path: &Path) -> Result<(Description, String), DirectoryErrorKind> {
    if !path.is_dir() {
        return Err(DirectoryErrorKind::NoDirectory);
    }
    let text = String::from_utf8(read_file(path, MODEL_TOML)?)
        .map_err(|_| malformed(MODEL_TOML, "it is not text".to_owned()))?;
    Ok((Description::parse(&text)?, text))
}

fn contents(
    model: &VQAutoencoder,
    golden: &GoldenVectors,
) -> Result<BTreeMap<String, Vec<u8>>, DirectoryErrorKind> {
    let npz = |file: &str, bytes: Result<Vec<u8>, NpzError>| {
        bytes.map_err(|error| malformed(file, error.to_string()))
    };
    let mut codebooks = NpzWriter::default();
    for (level, codebook) in model.quantizer().codebooks().enumerate() {
        npz(
            CODEBOOKS,
            codebooks.floats(&format!("level_{level}"), codebook.view().into_dyn()).map(|()| vec![]),
        )?;
    }
    let golden = golden.to_npz(model.architecture()).map_err(|error| malformed(GOLDEN, error.to_string()))?;
    let files = [
        (ENCODER, write_onnx(model.encoder(), None)),
        (DECODER, write_onnx(model.decoder(), None)),
        (CODEBOOKS, npz(CODEBOOKS, codebooks.finish())?),
        (GOLDEN, golden),
        (WEIGHTS, npz(WEIGHTS, write_weights(model))?),
    ];
    Ok(files.into_iter().map(|(name, bytes)| (name.to_owned(), bytes)).collect())
}

fn read_npz(file: &str, bytes: &[u8]) -> Result<Npz, DirectoryErrorKind> {
    Npz::read(bytes).map_err(|error| malformed(file, error.to_string()))
}

/// The quantiser that the bytes of `codebooks.npz` hold.
fn codebooks_of(
    bytes: &[u8],
    architecture: &Architecture,
) -> Result<ResidualVectorQuantizer, DirectoryErrorKind> {
    let npz = read_npz(CODEBOOKS, bytes)?;
    read_codebooks(&npz, architecture).map_err(|reason| malformed(CODEBOOKS, reason))
}

fn read_codebooks(npz: &Npz, architecture: &Architecture) -> Result<ResidualVectorQuantizer, String> {
    let expected = [architecture.latent_width, architecture.embedding_dim];
    let mut codebooks = Vec::new();
    for level in 0..architecture.num_levels {
        let key = format!("level_{level}");
        let codebook = npz.floats(&key).map_err(|error| error.to_string())?;
        if codebook.shape() != expected {
            return Err(format!(
                "'{key}' has shape {:?}, the architecture needs {expected:?}",
                codebook.shape()
            ));
        }
        codebooks.push(codebook.into_dimensionality().map_err(|error| error.to_string())?);
    }
    if npz.names().count() != architecture.num_levels {
        return Err(format!("it holds more than the {} levels of the architecture", architecture.num_levels));
    }
    ResidualVectorQuantizer::new(codebooks).map_err(|error| error.to_string())
}

fn read_file(directory: &Path, name: &str) -> Result<Vec<u8>, DirectoryErrorKind> {
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => DirectoryErrorKind::Missing { file: name.to_owned() },
        _ => DirectoryErrorKind::Io { what: name.to_owned(), error },
    };
    let path = directory.join(name);
    let metadata = fs::metadata(&path).map_err(failed)?;
    if !metadata.is_file() || metadata.len() > MAX_FILE_BYTES {
        return Err(malformed(name, "it is not a file that a model could have".to_owned()));
    }
    fs::read(path).map_err(failed)
}

fn malformed(file: &str, reason: String) -> DirectoryErrorKind {
    DirectoryErrorKind::Malformed { file: file.to_owned(), reason }
}

#[cfg(test)]
mod tests;
