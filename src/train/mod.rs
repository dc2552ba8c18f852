//! Training: layers with forward and backward passes of their own, losses, codebooks, the optimiser.

mod codebooks;
#[cfg(test)]
mod gradients;
mod kernel;
mod loss;
mod network;
mod random;
mod step;

pub use step::{Snapshot, StepReport, StepSettings, Trainer, TrainerError};
