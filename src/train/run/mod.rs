//! The training loop.

use std::path::{Path, PathBuf};
use std::time::Instant;

use super::card::Finished;
use super::checkpoint::{Best, Checkpoint, CheckpointError, Point};
use super::data::{DataError, Dataset};
use super::description::Split;
use super::export::{ExportError, export};
use super::fidelity::measure;
use super::log::{Line, Log};
use super::progress::Progress;
use super::recipe::{Recipe, RecipeError};
use super::sampler::{Batch, Sampler};
use super::step::{StepReport, StepSettings, Trainer, TrainerError};
use crate::fidelity::{Fidelity, StreamFidelity};
use crate::model::{AutoencoderError, DirectoryError, ModelDirectory, build_rvq_autoencoder};

/// Where a run works and how it starts.
#[derive(Clone, Debug)]
pub struct Options {
    /// The model directory to write.
    pub out: PathBuf,
    /// Folder of the run's checkpoint and log.
    pub work: PathBuf,
    /// Threads; the result does not depend on their number.
    pub threads: usize,
    /// Goes on from the checkpoint in the work folder.
    pub resume: bool,
    /// Starts over where a checkpoint or a model exists.
    pub overwrite: bool,
    /// The command line, for the card.
    pub command: String,
}

impl Options {
    fn checkpoint(&self) -> PathBuf {
        self.work.join("checkpoint.bin")
    }

    /// Refuses to take the place of what the caller may want to keep.
    fn check(&self, recipe: &Recipe) -> Result<(), TrainError> {
        let checkpoint = self.checkpoint();
        if checkpoint.exists() && !self.resume && !self.overwrite {
            return Err(TrainError::Exists { path: checkpoint });
        }
        if self.out.symlink_metadata().is_err() {
            return Ok(());
        }
        if !self.resume && !self.overwrite {
            return Err(TrainError::Exists { path: self.out.clone() });
        }
        match ModelDirectory::load(&self.out) {
            Ok(model) if self.overwrite || model.name() == recipe.name => Ok(()),
            Ok(_) => Err(TrainError::Exists { path: self.out.clone() }),
            Err(source) => Err(TrainError::NotAModel { path: self.out.clone(), source }),
        }
    }
}

/// What a run has given.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Steps done.
    pub steps: u64,
    /// True if it was stopped before its end; `resume` goes on.
    pub stopped: bool,
    /// The model that was written; none if the run was stopped before the first measurement.
    pub model: Option<Trained>,
}

/// The best model of a run.
#[derive(Clone, Debug)]
pub struct Trained {
    /// The step it stood at.
    pub step: u64,
    /// Its PRD on the validation recordings.
    pub valid_prd_percent: f64,
    /// Its fidelity on the test recordings, where there are any.
    pub test: Option<Fidelity>,
}

/// Why a run cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The recipe makes no sense.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// The recordings cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// No frame of a split varies.
    #[error("no {split} recording has a frame of {frame_size} samples that varies")]
    Flat {
        /// The split.
        split: Split,
        /// Samples per channel in a frame.
        frame_size: usize,
    },
    /// An earlier run's result is in the way.
    #[error("{} exists: --resume goes on with its run, --overwrite starts over", path.display())]
    Exists {
        /// The checkpoint or model directory.
        path: PathBuf,
    },
    /// The place of the model directory is taken by something else, which is not replaced.
    #[error("{} is there and is not a whole model, so it is not replaced: {source}; move it away or choose another --out", path.display())]
    NotAModel {
        /// The place.
        path: PathBuf,
        /// What it lacks.
        source: DirectoryError,
    },
    /// The work folder cannot be written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The checkpoint cannot be written or gone on from.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Parameters outside the family.
    #[error(transparent)]
    Model(#[from] AutoencoderError),
    /// The trainer refused.
    #[error(transparent)]
    Trainer(#[from] TrainerError),
    /// The loss is not a number any more.
    #[error("the loss diverged at step {step}: lower training.learning_rate, or raise training.warmup_steps")]
    Diverged {
        /// The step.
        step: u64,
    },
    /// The model directory cannot be written.
    #[error(transparent)]
    Export(#[from] ExportError),
}

/// Trains a model and writes its directory, until the recipe's last step or until `stop`, which is asked
/// before each step with the steps done, says so.
///
/// # Errors
/// A recipe or recordings that cannot be used, files that cannot be written, a loss that diverges. What the
/// last checkpoint holds is kept.
pub fn train(recipe: &Recipe, options: &Options, stop: impl Fn(u64) -> bool) -> Result<Outcome, TrainError> {
    recipe.validate()?;
    options.check(recipe)?;
    let dataset = Dataset::read(recipe)?;
    let mut run = Run::start(recipe, options, &dataset)?;
    run.go_on(stop)?;
    run.finish()
}

struct Run<'a> {
    recipe: &'a Recipe,
    options: &'a Options,
    dataset: &'a Dataset,
    sampler: Sampler<'a>,
    trainer: Trainer,
    /// Steps done.
    step: u64,
    best: Option<Best>,
    curve: Vec<Point>,
    /// Time spent before this start.
    earlier_seconds: f64,
    started: Instant,
    log: Log,
    progress: Progress,
}

impl<'a> Run<'a> {
    fn start(recipe: &'a Recipe, options: &'a Options, dataset: &'a Dataset) -> Result<Self, TrainError> {
        let architecture = &recipe.architecture;
        let flat = |split| TrainError::Flat { split, frame_size: architecture.frame_size };
        let sampler = Sampler::new(dataset, recipe).ok_or_else(|| flat(Split::Train))?;
        if !dataset.streams(Split::Valid).any(|stream| stream.varies(1)) {
            return Err(flat(Split::Valid));
        }
        let mut trainer =
            Trainer::new(&build_rvq_autoencoder(architecture, recipe.seed)?, settings(recipe, options))?;

        let io = |path: &Path, source| TrainError::Io { path: path.to_owned(), source };
        std::fs::create_dir_all(&options.work).map_err(|error| io(&options.work, error))?;
        let (mut step, mut best, mut curve, mut earlier_seconds) = (0, None, Vec::new(), 0.0);
        if options.resume {
            let checkpoint = Checkpoint::read(&options.checkpoint(), recipe, dataset.digest())?;
            trainer.restore(checkpoint.state)?;
            (step, best, curve) = (checkpoint.step, checkpoint.best, checkpoint.curve);
            earlier_seconds = checkpoint.elapsed_seconds;
        } else {
            let frames = sampler.initial_frames(recipe.codebooks.initial_frames);
            trainer.initialise_codebooks(&frames, recipe.seed)?;
        }
        let log_path = options.work.join("train.jsonl");
        let log = Log::open(&log_path, step).map_err(|error| io(&log_path, error))?;
        let progress =
            Progress::new(recipe.training.steps, step, architecture.latent_width, curve.last().copied());
        let started = Instant::now();
        Ok(Self {
            recipe,
            options,
            dataset,
            sampler,
            trainer,
            step,
            best,
            curve,
            earlier_seconds,
            started,
            log,
            progress,
        })
    }

    fn go_on(&mut self, stop: impl Fn(u64) -> bool) -> Result<(), TrainError> {
        let training = &self.recipe.training;
        let schedule = self.recipe.schedule();
        let mut batch = Batch::default();
        let mut means = Means::default();
        let mut saved = true;
        while self.step < training.steps && !stop(self.step) {
            let learning_rate = schedule.learning_rate(self.step);
            self.sampler.batch(self.step, training.batch_size, &mut batch);
            let report = self.trainer.step(&batch.inputs, &batch.targets, learning_rate)?;
            if !report.loss.is_finite() {
                return Err(TrainError::Diverged { step: self.step });
            }
            self.step += 1;
            means.add(&report);
            self.progress.step();
            let done = self.step;
            let due = |every: u64| done.is_multiple_of(every) || done == training.steps;

            let valid = if due(training.validate_every) { self.validate()? } else { None };
            if valid.is_some() || due(training.log_every) {
                let line = Line {
                    step: self.step,
                    loss: means.mean(means.loss),
                    mse: means.mean(means.mse),
                    commitment: means.mean(means.commitment),
                    learning_rate,
                    valid_prd_percent: valid,
                    codes_used: report.codes_used,
                    elapsed_seconds: self.elapsed_seconds(),
                };
                means = Means::default();
                self.progress.line(&line);
                let path = self.options.work.join("train.jsonl");
                self.log.write(&line).map_err(|source| TrainError::Io { path, source })?;
            }
            saved = due(training.checkpoint_every);
            if saved {
                self.save()?;
            }
        }
        if !saved {
            self.save()?;
        }
        Ok(())
    }

    fn elapsed_seconds(&self) -> f64 {
        self.earlier_seconds + self.started.elapsed().as_secs_f64()
    }

    /// Measures on the validation recordings and keeps the model if it is the best.
    fn validate(&mut self) -> Result<Option<f64>, TrainError> {
        let Some(prd_percent) = self.fidelity(Split::Valid)?.prd_percent else { return Ok(None) };
        if !prd_percent.is_finite() {
            return Err(TrainError::Diverged { step: self.step });
        }
        let point = Point { step: self.step, prd_percent };
        self.curve.push(point);
        if self.best.as_ref().is_none_or(|best| prd_percent < best.point.prd_percent) {
            self.best = Some(Best { point, state: self.trainer.snapshot() });
        }
        Ok(Some(prd_percent))
    }

    fn fidelity(&self, split: Split) -> Result<Fidelity, TrainerError> {
        let streams: Result<Vec<StreamFidelity>, _> =
            self.dataset.streams(split).map(|stream| measure(&self.trainer, self.recipe, stream)).collect();
        Ok(Fidelity::over(&streams?))
    }

    fn save(&self) -> Result<(), TrainError> {
        let checkpoint = Checkpoint::new(
            self.step,
            self.recipe,
            self.dataset.digest(),
            self.elapsed_seconds(),
            self.trainer.snapshot(),
            self.best.clone(),
            self.curve.clone(),
        );
        Ok(checkpoint.write(&self.options.checkpoint())?)
    }

    /// Writes the directory of the best model.
    fn finish(mut self) -> Result<Outcome, TrainError> {
        let steps = self.step;
        let stopped = steps < self.recipe.training.steps;
        let Some(best) = self.best.take() else { return Ok(Outcome { steps, stopped, model: None }) };
        self.trainer.restore(best.state)?;
        self.progress.say("measuring the best model");
        let valid = self.fidelity(Split::Valid)?;
        let test = if self.dataset.of(Split::Test).next().is_some() {
            Some(self.fidelity(Split::Test)?)
        } else {
            None
        };
        let finished = Finished {
            recipe: self.recipe,
            command: &self.options.command,
            dataset: self.dataset,
            trainer: &self.trainer,
            steps,
            best: best.point,
            curve: &self.curve,
            seconds: self.elapsed_seconds(),
            valid: &valid,
            test: test.as_ref(),
        };
        export(&finished, &self.options.out)?;
        let model = Trained { step: best.point.step, valid_prd_percent: best.point.prd_percent, test };
        Ok(Outcome { steps, stopped, model: Some(model) })
    }
}

fn settings(recipe: &Recipe, options: &Options) -> StepSettings {
    let cutoff = recipe.loss.lowpass_cutoff_hz.map_or(0.25, |cutoff| cutoff / recipe.sample_rate_hz);
    StepSettings {
        difference_weight: recipe.loss.difference_weight,
        lowpass_weight: recipe.loss.lowpass_weight,
        lowpass_cutoff: cutoff as f32,
        ema_decay: recipe.codebooks.ema_decay,
        revive_below: recipe.codebooks.revive_below,
        threads: options.threads,
    }
}

/// Means of what steps report.
#[derive(Default)]
struct Means {
    steps: u32,
    loss: f64,
    mse: f64,
    commitment: f64,
}

impl Means {
    fn add(&mut self, report: &StepReport) {
        self.steps += 1;
        self.loss += f64::from(report.loss);
        self.mse += f64::from(report.mse);
        self.commitment += f64::from(report.commitment);
    }

    fn mean(&self, sum: f64) -> f64 {
        sum / f64::from(self.steps.max(1))
    }
}

#[cfg(test)]
mod tests;
