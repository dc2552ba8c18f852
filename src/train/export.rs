//! From a finished run to a model directory.

use std::path::Path;

use super::card::{Finished, card};
use super::description::Split;
use super::step::TrainerError;
use super::stream::is_constant;
use crate::codec::normalise::{normalise, side};
use crate::model::directory::Existing;
use crate::model::{
    ArchitectureError, DirectoryError, GoldenError, GoldenVectors, ModelDirectory, ModelMetadata,
};

/// Frames in the golden vectors.
const GOLDEN_FRAMES: usize = 4;

/// Why a model directory cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The trainer holds no model.
    #[error(transparent)]
    Trainer(#[from] TrainerError),
    /// Parameters outside the family.
    #[error(transparent)]
    Architecture(#[from] ArchitectureError),
    /// The golden vectors cannot be computed.
    #[error(transparent)]
    Golden(#[from] GoldenError),
    /// The directory cannot be written.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
}

/// Writes the directory of a model to `out`, in the place of one that stands there already.
pub(super) fn export(run: &Finished<'_>, out: &Path) -> Result<(), ExportError> {
    let model = run.trainer.model()?;
    let golden = GoldenVectors::compute(&model, golden_frames(run))?;
    let card = card(run)?;
    let metadata = ModelMetadata {
        name: run.recipe.name.clone(),
        modality: run.recipe.modality.clone(),
        sample_rate_hz: Some(run.recipe.sample_rate_hz),
        unit: None,
    };
    let normalisation = &run.recipe.normalisation;
    ModelDirectory::write(out, &model, normalisation, &metadata, &golden, &card, Existing::Replace)?;
    Ok(())
}

/// A frame that varies of each of the first validation streams, normalised.
fn golden_frames(run: &Finished<'_>) -> Vec<f32> {
    let (frame_size, channels) = (run.recipe.architecture.frame_size, run.recipe.architecture.in_ch);
    let mut frames = Vec::new();
    for stream in run.dataset.streams(Split::Valid).filter(|stream| stream.varies(1)).take(GOLDEN_FRAMES) {
        let mut found = false;
        stream.frames(frame_size, |frame, _| {
            if !found && !is_constant(frame, channels) {
                found = true;
                let sides: Vec<_> = (0..channels)
                    .map(|channel| side(&run.recipe.normalisation, frame, channel, channels))
                    .collect();
                normalise(frame, &sides, &mut frames);
            }
        });
    }
    frames
}
