//! From a finished run to a model directory.

use std::path::Path;

use super::card::card;
use super::checkpoint::Point;
use super::data::Dataset;
use super::description::Split;
use super::recipe::Recipe;
use super::step::{Trainer, TrainerError};
use super::stream::is_constant;
use crate::codec::normalise::{normalise, side};
use crate::fidelity::Fidelity;
use crate::model::directory::Existing;
use crate::model::{
    ArchitectureError, DirectoryError, GoldenError, GoldenVectors, ModelDirectory, ModelMetadata,
};

/// Frames in the golden vectors.
const GOLDEN_FRAMES: usize = 4;

/// All that a model directory tells of its run.
pub(super) struct Finished<'a> {
    /// What was trained.
    pub(super) recipe: &'a Recipe,
    /// The command line.
    pub(super) command: &'a str,
    /// What it was trained on.
    pub(super) dataset: &'a Dataset,
    /// The trainer, at the best model.
    pub(super) trainer: &'a Trainer,
    /// Steps done.
    pub(super) steps: u64,
    /// Where the best model stood.
    pub(super) best: Point,
    /// Every measurement on the validation recordings.
    pub(super) curve: &'a [Point],
    /// Time spent.
    pub(super) seconds: f64,
    /// Fidelity on the validation recordings.
    pub(super) valid: &'a Fidelity,
    /// Fidelity on the test recordings, where there are any.
    pub(super) test: Option<&'a Fidelity>,
}

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
