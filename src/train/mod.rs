//! Training: from recordings and a recipe to a model directory. Layers with forward and backward passes of
//! their own, losses, codebooks and the optimiser make a step; the loop around it draws batches, measures
//! and keeps the best.

mod card;
mod checkpoint;
mod codebooks;
mod data;
mod description;
mod export;
mod fidelity;
#[cfg(test)]
mod gradients;
mod interrupt;
mod kernel;
mod log;
mod loss;
mod network;
mod progress;
mod recipe;
mod run;
mod sampler;
mod schedule;
mod step;
mod stream;
#[cfg(test)]
mod testing;

pub use checkpoint::CheckpointError;
pub use data::DataError;
pub use description::{FindError, Split};
pub use export::ExportError;
pub use interrupt::stop_flag;
pub use recipe::{Augmentation, Codebooks, Data, Loss, Recipe, RecipeError, Training};
pub use run::{Options, Outcome, TrainError, Trained, train};
pub use step::{Snapshot, StepReport, StepSettings, Trainer, TrainerError};
