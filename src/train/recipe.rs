//! Recipes: everything that decides what a training run gives, in one TOML file.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::schedule::Schedule;
use crate::model::{Architecture, Normalisation};

/// What to train, on what, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The model's name.
    pub name: String,
    /// What the model is for, in a sentence; it heads the card.
    #[serde(default)]
    pub summary: String,
    /// What was measured: `ecg`, `ppg`, ...
    #[serde(default)]
    pub modality: String,
    /// Samples per second of every recording.
    pub sample_rate_hz: f64,
    /// Decides the initial weights and every draw. The same seed gives the same model on the same machine.
    #[serde(default)]
    pub seed: u64,
    /// The builder's parameters.
    pub architecture: Architecture,
    /// How frames are scaled.
    #[serde(default)]
    pub normalisation: Normalisation,
    /// The recordings.
    pub data: Data,
    /// How long and how fast.
    pub training: Training,
    /// The loss beside the mean squared error and the commitment.
    #[serde(default)]
    pub loss: Loss,
    /// How codebooks follow the latents.
    #[serde(default)]
    pub codebooks: Codebooks,
    /// What is done to the encoder's input.
    #[serde(default)]
    pub augmentation: Augmentation,
}

/// The recordings: a folder of described ones, or lists of files.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// Folder of `NAME.json` descriptions, which say the split of each recording. Relative to the working
    /// directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
    /// Only recordings of these datasets; all where empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub datasets: Vec<String>,
    /// Only recordings of these modalities; all where empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub modalities: Vec<String>,
    /// Only recordings whose licence is of these classes; all where empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub licence_classes: Vec<String>,
    /// Files to train on, in place of a folder; `*` and `?` match within the file name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub train: Vec<PathBuf>,
    /// Files that choose the best model.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub valid: Vec<PathBuf>,
    /// Files that are measured once at the end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<PathBuf>,
}

/// How long and how fast to train.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Training {
    /// Optimiser steps.
    pub steps: u64,
    /// Frames a step.
    #[serde(default = "defaults::batch_size")]
    pub batch_size: usize,
    /// Highest learning rate.
    #[serde(default = "defaults::learning_rate")]
    pub learning_rate: f64,
    /// Where the learning rate ends, as a fraction of the highest.
    #[serde(default = "defaults::final_learning_rate_fraction")]
    pub final_learning_rate_fraction: f64,
    /// Steps over which the learning rate rises.
    #[serde(default = "defaults::warmup_steps")]
    pub warmup_steps: u64,
    /// Steps from one measurement on the validation recordings to the next.
    #[serde(default = "defaults::interval")]
    pub validate_every: u64,
    /// Steps from one checkpoint to the next.
    #[serde(default = "defaults::interval")]
    pub checkpoint_every: u64,
    /// Steps from one line of the log to the next.
    #[serde(default = "defaults::log_every")]
    pub log_every: u64,
}

/// The loss beside the mean squared error and the commitment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Loss {
    /// Weight of the mean squared error of first differences.
    pub difference_weight: f32,
    /// Weight of the mean squared error below the cutoff.
    pub lowpass_weight: f32,
    /// Cutoff of the low pass in Hz.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lowpass_cutoff_hz: Option<f64>,
}

impl Default for Loss {
    fn default() -> Self {
        Self { difference_weight: 0.1, lowpass_weight: 0.0, lowpass_cutoff_hz: None }
    }
}

/// How codebooks follow the latents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Codebooks {
    /// Decay of the moving averages of code counts and sums.
    pub ema_decay: f32,
    /// A code used less than this fraction of its even share is moved to a vector of the batch; 0 never
    /// moves one.
    pub revive_below: f32,
    /// Frames whose latents the codebooks start from.
    pub initial_frames: usize,
}

impl Default for Codebooks {
    fn default() -> Self {
        Self { ema_decay: 0.99, revive_below: 0.03, initial_frames: 512 }
    }
}

/// What is done to the encoder's input. Frames always start at random positions of a recording, and their
/// amplitude is normalised away.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Augmentation {
    /// Lowest and highest standard deviation of the Gaussian noise added to normalised inputs, drawn anew
    /// for each batch; the target stays clean.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub noise_std: Option<[f32; 2]>,
}

mod defaults {
    pub(super) fn batch_size() -> usize {
        64
    }
    pub(super) fn learning_rate() -> f64 {
        1e-3
    }
    pub(super) fn final_learning_rate_fraction() -> f64 {
        1e-3
    }
    pub(super) fn warmup_steps() -> u64 {
        100
    }
    pub(super) fn interval() -> u64 {
        1000
    }
    pub(super) fn log_every() -> u64 {
        100
    }
}

impl Training {
    /// The family's defaults for a run of `steps`.
    pub fn new(steps: u64) -> Self {
        Self {
            steps,
            batch_size: defaults::batch_size(),
            learning_rate: defaults::learning_rate(),
            final_learning_rate_fraction: defaults::final_learning_rate_fraction(),
            warmup_steps: defaults::warmup_steps(),
            validate_every: defaults::interval(),
            checkpoint_every: defaults::interval(),
            log_every: defaults::log_every(),
        }
    }
}

/// Why a recipe cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The recipe.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// Not TOML, an unknown key, a missing one or a wrong type.
    #[error("{}: {source}", path.display())]
    Syntax {
        /// The recipe.
        path: PathBuf,
        /// Line, key and what was expected.
        source: Box<toml::de::Error>,
    },
    /// Values that make no sense; all of them.
    #[error("{}", problems.join("\n"))]
    Values {
        /// One line a problem, each beginning with the key.
        problems: Vec<String>,
    },
}

impl Recipe {
    /// Reads a recipe; its values are not checked until [`Recipe::validate`], so that they can be overridden.
    ///
    /// # Errors
    /// A file that cannot be read, or is not a recipe.
    pub fn read(path: &Path) -> Result<Self, RecipeError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| RecipeError::Io { path: path.to_owned(), source })?;
        toml::from_str(&text)
            .map_err(|source| RecipeError::Syntax { path: path.to_owned(), source: Box::new(source) })
    }

    /// Refuses values that make no sense, all at once, naming key and value.
    ///
    /// # Errors
    /// [`RecipeError::Values`].
    pub fn validate(&self) -> Result<(), RecipeError> {
        let mut problems = Vec::new();
        let mut need = |ok: bool, key: &str, value: &dyn std::fmt::Display, allowed: &str| {
            if !ok {
                problems.push(format!("{key} ({value}) must be {allowed}"));
            }
        };
        let fraction = |value: f32| (0.0..1.0).contains(&value);
        let weight = |value: f32| value.is_finite() && value >= 0.0;
        let name_is_safe = !self.name.is_empty()
            && self.name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
        need(
            name_is_safe && !self.name.starts_with('.'),
            "name",
            &self.name,
            "letters, digits, '-', '_' and '.', not starting with a '.'",
        );
        let rate = self.sample_rate_hz;
        need(rate.is_finite() && rate > 0.0, "sample_rate_hz", &rate, "above 0");
        let epsilon = self.normalisation.epsilon;
        need(epsilon.is_finite() && epsilon > 0.0, "normalisation.epsilon", &epsilon, "above 0");

        let training = &self.training;
        need(training.steps >= 1, "training.steps", &training.steps, "at least 1");
        need(
            (1..=65_536).contains(&training.batch_size),
            "training.batch_size",
            &training.batch_size,
            "from 1 to 65536",
        );
        let peak = training.learning_rate;
        need(peak > 0.0 && peak <= 1.0, "training.learning_rate", &peak, "above 0 and at most 1");
        let last = training.final_learning_rate_fraction;
        need((0.0..=1.0).contains(&last), "training.final_learning_rate_fraction", &last, "from 0 to 1");
        need(
            training.warmup_steps < training.steps,
            "training.warmup_steps",
            &training.warmup_steps,
            &format!("less than training.steps ({})", training.steps),
        );
        for (key, interval) in [
            ("training.validate_every", training.validate_every),
            ("training.checkpoint_every", training.checkpoint_every),
            ("training.log_every", training.log_every),
        ] {
            need(interval >= 1, key, &interval, "at least 1");
        }

        let loss = &self.loss;
        need(weight(loss.difference_weight), "loss.difference_weight", &loss.difference_weight, "at least 0");
        need(weight(loss.lowpass_weight), "loss.lowpass_weight", &loss.lowpass_weight, "at least 0");
        match loss.lowpass_cutoff_hz {
            Some(cutoff) => need(
                cutoff > 0.0 && cutoff < rate / 2.0,
                "loss.lowpass_cutoff_hz",
                &cutoff,
                &format!("above 0 and below half the sample rate ({} Hz)", rate / 2.0),
            ),
            None => need(
                loss.lowpass_weight == 0.0,
                "loss.lowpass_cutoff_hz",
                &"not given",
                "given where loss.lowpass_weight is above 0",
            ),
        }
        let codebooks = &self.codebooks;
        need(
            fraction(codebooks.ema_decay),
            "codebooks.ema_decay",
            &codebooks.ema_decay,
            "at least 0 and below 1",
        );
        need(
            fraction(codebooks.revive_below),
            "codebooks.revive_below",
            &codebooks.revive_below,
            "at least 0 and below 1",
        );
        need(
            (1..=65_536).contains(&codebooks.initial_frames),
            "codebooks.initial_frames",
            &codebooks.initial_frames,
            "from 1 to 65536",
        );
        if let Some([low, high]) = self.augmentation.noise_std {
            need(
                weight(low) && low <= high && high.is_finite(),
                "augmentation.noise_std",
                &format_args!("[{low}, {high}]"),
                "a lowest and a highest value, both at least 0",
            );
        }
        let architecture = &self.architecture;
        need(
            architecture.in_ch == architecture.out_ch,
            "architecture.out_ch",
            &architecture.out_ch,
            &format!("architecture.in_ch ({}): the target of training is the input", architecture.in_ch),
        );
        if let Err(error) = architecture.validate() {
            problems.push(format!("architecture.{error}"));
        }
        self.data.validate(&mut problems);
        if problems.is_empty() { Ok(()) } else { Err(RecipeError::Values { problems }) }
    }

    /// The learning rate over the run.
    pub(super) fn schedule(&self) -> Schedule {
        Schedule {
            peak: self.training.learning_rate,
            final_fraction: self.training.final_learning_rate_fraction,
            warmup_steps: self.training.warmup_steps,
            steps: self.training.steps,
        }
    }
}

impl Data {
    fn validate(&self, problems: &mut Vec<String>) {
        let lists = [("data.train", &self.train), ("data.valid", &self.valid), ("data.test", &self.test)];
        match &self.folder {
            Some(_) => {
                for (key, list) in lists {
                    if !list.is_empty() {
                        problems.push(format!("{key} and data.folder exclude each other: a folder's descriptions name the splits"));
                    }
                }
            }
            None if lists.iter().all(|(_, list)| list.is_empty()) => {
                problems.push(
                    "data needs a folder of described recordings, or lists of files in train and valid"
                        .to_owned(),
                );
            }
            None => {
                for (key, list) in &lists[..2] {
                    if list.is_empty() {
                        problems.push(format!("{key} must name at least one recording"));
                    }
                }
                for (key, filter) in [
                    ("data.datasets", &self.datasets),
                    ("data.modalities", &self.modalities),
                    ("data.licence_classes", &self.licence_classes),
                ] {
                    if !filter.is_empty() {
                        problems.push(format!(
                            "{key} filters the descriptions of data.folder, which is not given"
                        ));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
        name = "tiny"
        sample_rate_hz = 100
        [architecture]
        frame_size = 64
        [data]
        train = ["a.csv"]
        valid = ["b.csv"]
        [training]
        steps = 500
    "#;

    fn read(text: &str) -> Result<Recipe, RecipeError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("recipe.toml");
        std::fs::write(&path, text).unwrap();
        Recipe::read(&path)
    }

    #[test]
    fn defaults_are_the_familys() {
        let recipe = read(GOOD).unwrap();
        recipe.validate().unwrap();
        assert_eq!(recipe.architecture, Architecture::new(64));
        assert_eq!(recipe.normalisation, Normalisation::default());
        assert_eq!(recipe.training, Training::new(500));
        assert_eq!(recipe.loss.difference_weight, 0.1);
    }

    #[test]
    fn a_recipe_survives_being_written() {
        let recipe = read(GOOD).unwrap();
        assert_eq!(toml::from_str::<Recipe>(&toml::to_string(&recipe).unwrap()).unwrap(), recipe);
    }

    #[test]
    fn unknown_keys_and_wrong_types_are_named_with_their_line() {
        for (from, to, expected) in [
            ("steps = 500", "stepz = 500", ["stepz", "line 10"]),
            ("frame_size = 64", "frame_size = 64\nbase_filter = 8", ["base_filter", "line 6"]),
            ("steps = 500", "steps = \"many\"", ["many", "line 10"]),
            ("sample_rate_hz = 100", "", ["sample_rate_hz", "missing"]),
        ] {
            let text = read(&GOOD.replace(from, to)).unwrap_err().to_string();
            assert!(expected.iter().all(|part| text.contains(part)), "{text}");
        }
        assert!(matches!(Recipe::read(Path::new("/no/such/recipe.toml")), Err(RecipeError::Io { .. })));
    }

    #[test]
    fn every_wrong_value_is_named_at_once() {
        let mut recipe = read(GOOD).unwrap();
        recipe.name = "../x".to_owned();
        recipe.sample_rate_hz = -1.0;
        recipe.architecture.frame_size = 60;
        recipe.architecture.out_ch = 2;
        recipe.training.steps = 50;
        recipe.training.learning_rate = f64::NAN;
        recipe.training.batch_size = 0;
        recipe.training.log_every = 0;
        recipe.loss.lowpass_weight = 1.0;
        recipe.codebooks.ema_decay = 1.0;
        recipe.augmentation.noise_std = Some([0.2, 0.1]);
        recipe.data.valid.clear();
        recipe.data.datasets.push("x".to_owned());
        let text = recipe.validate().unwrap_err().to_string();
        for key in [
            "name (../x)",
            "sample_rate_hz (-1)",
            "frame_size (60)",
            "out_ch (2)",
            "warmup_steps (100)",
            "learning_rate (NaN)",
            "batch_size (0)",
            "log_every (0)",
            "lowpass_cutoff_hz (not given)",
            "ema_decay (1)",
            "noise_std ([0.2, 0.1])",
            "data.valid",
            "data.datasets",
        ] {
            assert!(text.contains(key), "{key} in {text}");
        }
        assert_eq!(text.lines().count(), 13, "{text}");
    }

    #[test]
    fn a_folder_and_lists_exclude_each_other() {
        let mut recipe = read(GOOD).unwrap();
        recipe.data.folder = Some("recordings".into());
        assert_eq!(recipe.validate().unwrap_err().to_string().lines().count(), 2);
        recipe.data = Data::default();
        assert!(recipe.validate().unwrap_err().to_string().contains("data needs a folder"));
    }
}
