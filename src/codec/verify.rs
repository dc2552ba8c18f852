//! Replays golden vectors through the engine and the quantiser.

use serde::Serialize;

use super::engine::{Engine, EngineError};
use crate::model::{GoldenVectors, ModelDirectory, QuantizerError};

/// Largest error that counts as agreement.
pub const TOLERANCE: f64 = 1e-4;

/// Why a replay did not come to an end.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// A network that does not load or run.
    #[error("{network}.onnx: {error}")]
    Engine {
        /// `encoder` or `decoder`.
        network: &'static str,
        /// Why.
        error: EngineError,
    },
    /// Codes and codebooks that do not fit.
    #[error(transparent)]
    Quantizer(#[from] QuantizerError),
}

/// How far a replay is from the vectors; `None` where the vectors do not say what should come out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verification {
    /// Frames replayed.
    pub frames: usize,
    /// Largest difference of a latent's value.
    pub max_latent_error: Option<f64>,
    /// Largest difference of a sample that the decoder made, of the latents or of their codes.
    pub max_output_error: Option<f64>,
    /// Codes that differ.
    pub code_mismatches: Option<usize>,
}

impl Verification {
    /// True if no error is above [`TOLERANCE`] and no code differs.
    pub fn passed(&self) -> bool {
        let within = |error: Option<f64>| error.is_none_or(|error| error <= TOLERANCE);
        within(self.max_latent_error)
            && within(self.max_output_error)
            && self.code_mismatches.unwrap_or(0) == 0
    }
}

/// Runs the inputs of `vectors` through a model, end to end, and compares what comes out at every stage.
///
/// # Errors
/// Networks that do not load, fit the architecture or run.
pub fn verify(model: &ModelDirectory, vectors: &GoldenVectors) -> Result<Verification, VerifyError> {
    let in_encoder = |error| VerifyError::Engine { network: "encoder", error };
    let in_decoder = |error| VerifyError::Engine { network: "decoder", error };
    let mut encoder = Engine::encoder(model).map_err(in_encoder)?;
    let mut decoder = Engine::decoder(model.architecture(), model.decoder_onnx()).map_err(in_decoder)?;
    let mut latent = Vec::new();
    encoder.run(vectors.input(), &mut latent).map_err(in_encoder)?;
    let mut codes = Vec::new();
    model.quantizer().codes(&latent, &mut codes);
    let mut decoded_error = |latent: &[f32], expected: Option<&[f32]>| match expected {
        Some(expected) => {
            let mut output = Vec::new();
            decoder.run(latent, &mut output).map_err(in_decoder)?;
            Ok::<_, VerifyError>(Some(max_error(&output, expected)))
        }
        None => Ok(None),
    };
    let output_error = decoded_error(&latent, vectors.output())?;
    let mut quantised = Vec::new();
    model.quantizer().lookup(&codes, &mut quantised)?;
    let quantised_error = decoded_error(&quantised, vectors.quantised_output())?;
    Ok(Verification {
        frames: vectors.frames(),
        max_latent_error: vectors.latent().map(|expected| max_error(&latent, expected)),
        max_output_error: [output_error, quantised_error].into_iter().flatten().reduce(f64::max),
        code_mismatches: vectors
            .codes()
            .map(|expected| codes.iter().zip(expected).filter(|(found, expected)| found != expected).count()),
    })
}

/// Largest difference; a value that is not a number is infinitely wrong.
fn max_error(found: &[f32], expected: &[f32]) -> f64 {
    found.iter().zip(expected).fold(0.0, |max, (&found, &expected)| {
        let error = (f64::from(found) - f64::from(expected)).abs();
        if error.is_nan() { f64::INFINITY } else { error.max(max) }
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ndarray::{ArrayD, IxDyn};

    use super::*;
    use crate::model::directory::Existing;
    use crate::model::formula::formula_model;
    use crate::model::import::read_architecture;
    use crate::model::npz::{Npz, NpzWriter};
    use crate::model::weights::read_weights;
    use crate::model::{Architecture, ModelMetadata, Normalisation, VQAutoencoder};

    fn written(model: &VQAutoencoder, golden: &GoldenVectors) -> (tempfile::TempDir, ModelDirectory) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model");
        let metadata = ModelMetadata {
            name: "test".to_owned(),
            modality: "none".to_owned(),
            sample_rate_hz: None,
            unit: None,
        };
        let normalisation = Normalisation::IMPORTED;
        ModelDirectory::write(&path, model, &normalisation, &metadata, golden, "", Existing::Keep).unwrap();
        let directory = ModelDirectory::load(&path).unwrap();
        (folder, directory)
    }

    #[test]
    fn models_of_many_kinds_reproduce_their_vectors() {
        for (base_filters, num_stages, frame_size, channels) in
            [(16, 1, 512, 1), (24, 2, 320, 1), (32, 3, 256, 3), (48, 4, 512, 1), (64, 5, 2048, 1)]
        {
            let architecture = Architecture {
                base_filters,
                num_stages,
                in_ch: channels,
                out_ch: channels,
                ..Architecture::new(frame_size)
            };
            let model = formula_model(&architecture);
            let golden = GoldenVectors::synthetic(&model).unwrap();
            let (_folder, directory) = written(&model, &golden);
            let found = verify(&directory, directory.golden()).unwrap();
            assert!(found.passed(), "{base_filters} {found:?}");
            assert_eq!((found.frames, found.code_mismatches), (2, Some(0)));
        }
    }

    #[test]
    fn what_differs_is_found() {
        let architecture = Architecture { base_filters: 8, ..Architecture::new(64) };
        let model = formula_model(&architecture);
        let golden = GoldenVectors::synthetic(&model).unwrap();
        let (_folder, directory) = written(&model, &golden);
        let original = Npz::read(&golden.to_npz(&architecture).unwrap()).unwrap();
        let with = |change: &str, by: f32| {
            let mut writer = NpzWriter::default();
            for key in ["x", "z", "y", "yq"] {
                let mut array = original.floats(key).unwrap();
                array.iter_mut().take(1).for_each(|value| *value += if key == change { by } else { 0.0 });
                writer.floats(key, array.view()).unwrap();
            }
            let mut codes = original.integers("idx").unwrap();
            codes.iter_mut().take(1).for_each(|code| *code = (*code + i64::from(change == "idx")) % 256);
            writer.integers("idx", codes.view()).unwrap();
            let npz = Npz::read(&writer.finish().unwrap()).unwrap();
            verify(&directory, &GoldenVectors::from_npz(&npz, &architecture).unwrap()).unwrap()
        };
        assert!(with("z", 5e-5).passed());
        assert!(with("z", 5e-4).max_latent_error.unwrap() > TOLERANCE);
        for key in ["z", "y", "yq"] {
            assert!(!with(key, 5e-4).passed(), "{key}");
        }
        assert_eq!(with("idx", 0.0).code_mismatches, Some(1));
        assert!(!with("idx", 0.0).passed());
    }

    #[test]
    fn vectors_may_say_less() {
        let architecture = Architecture { base_filters: 8, ..Architecture::new(64) };
        let model = formula_model(&architecture);
        let (_folder, directory) = written(&model, &GoldenVectors::synthetic(&model).unwrap());
        let mut writer = NpzWriter::default();
        writer.floats("x", ArrayD::zeros(IxDyn(&[3, 1, 64, 1])).view()).unwrap();
        writer.floats("y", ArrayD::from_elem(IxDyn(&[3, 64]), 1e9).view()).unwrap();
        let npz = Npz::read(&writer.finish().unwrap()).unwrap();
        let found = verify(&directory, &GoldenVectors::from_npz(&npz, &architecture).unwrap()).unwrap();
        assert_eq!((found.frames, found.max_latent_error, found.code_mismatches), (3, None, None));
        assert!(found.max_output_error.unwrap() > 1e8 && !found.passed());
    }

    #[test]
    fn no_number_is_infinitely_wrong() {
        assert_eq!(max_error(&[f32::NAN, 0.0], &[0.0, 0.0]), f64::INFINITY);
        assert_eq!(max_error(&[0.0, 2.0], &[0.0, -1.0]), 3.0);
    }

    #[test]
    fn the_recordings_vectors_are_reproduced() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/vectors");
        let Ok(entries) = std::fs::read_dir(&folder) else {
            println!("skipped: there are no vectors in the recordings beside the project");
            return;
        };
        for path in entries.map(|entry| entry.unwrap().path()) {
            let npz = Npz::read(&std::fs::read(&path).unwrap()).unwrap();
            let architecture = read_architecture(&npz, None).unwrap();
            let model = read_weights(&npz, &architecture).unwrap();
            let golden = GoldenVectors::from_npz(&npz, &architecture).unwrap();
            let (_folder, directory) = written(&model, &golden);
            let found = verify(&directory, &golden).unwrap();
            assert!(found.passed(), "{}: {found:?}", path.display());
            assert_eq!(found.code_mismatches, Some(0));
        }
    }
}
