//! `rivulet train`

use std::ffi::OsString;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use indicatif::MultiProgress;
use tracing::Level;

use super::{CliError, exit, print};
use crate::model::Architecture;
use crate::telemetry::{LogFormat, init_logging};
use crate::train::{
    Augmentation, CheckpointError, Codebooks, Data, DataError, FindError, Loss, Options, Outcome, Recipe,
    RecipeError, TrainError, Training, stop_flag, train,
};

/// Arguments of `rivulet train`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Without a recipe, --name, --sample-rate-hz, --frame-size, --steps, --train and --valid describe the run; with \
one, flags override it.

Ctrl-C stops after the current step, writes a checkpoint and the best model so far; --resume goes on to the \
same model as an undisturbed run. A second Ctrl-C stops at once.

Exit codes: 0 done or stopped by Ctrl-C, 65 recordings that are damaged or leak between splits, or a loss that \
diverges, 66 an input that cannot be read, 73 a result that exists or cannot be written, 78 a wrong recipe.

Examples:
  rivulet train models/recipes/ecg-16x.toml --out models/ecg-16x
  rivulet train models/recipes/ecg-16x.toml --resume
  rivulet train --name pump --sample-rate-hz 100 --frame-size 512 --steps 5000 \\
      --train 'recordings/train-*.csv' --valid 'recordings/valid-*.csv'")]
pub(super) struct Arguments {
    /// The recipe: what to train, on what, and how.
    recipe: Option<PathBuf>,
    /// Model directory to write [default: models/NAME].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Folder of the checkpoint and the log, train.jsonl [default: out/train/NAME].
    #[arg(long, value_name = "DIR")]
    work: Option<PathBuf>,
    /// Go on from the checkpoint in the work folder.
    #[arg(long, conflicts_with = "overwrite")]
    resume: bool,
    /// Start over where a checkpoint or a model exists.
    #[arg(long)]
    overwrite: bool,
    /// Threads [default: all cores]. The result does not depend on their number.
    #[arg(long)]
    threads: Option<std::num::NonZeroUsize>,

    /// The model's name.
    #[arg(long, required_unless_present = "recipe")]
    name: Option<String>,
    /// Decides the initial weights and every draw.
    #[arg(long)]
    seed: Option<u64>,
    /// Optimiser steps.
    #[arg(long, required_unless_present = "recipe")]
    steps: Option<u64>,
    /// Frames a step.
    #[arg(long)]
    batch_size: Option<usize>,
    /// Highest learning rate.
    #[arg(long)]
    learning_rate: Option<f64>,
    /// Steps from one measurement on the validation recordings to the next.
    #[arg(long)]
    validate_every: Option<u64>,
    /// Samples per second of every recording.
    #[arg(long, required_unless_present = "recipe")]
    sample_rate_hz: Option<f64>,
    /// Samples per channel in a frame.
    #[arg(long, required_unless_present = "recipe")]
    frame_size: Option<usize>,
    /// Channels in a frame; 1 takes every channel of a recording by itself.
    #[arg(long)]
    channels: Option<usize>,
    /// Filters of the encoder's first stage.
    #[arg(long)]
    base_filters: Option<usize>,
    /// Stages, each halving the time resolution.
    #[arg(long)]
    num_stages: Option<usize>,
    /// Levels of residual quantisation.
    #[arg(long)]
    num_levels: Option<usize>,
    /// Vectors in each codebook.
    #[arg(long)]
    latent_width: Option<usize>,
    /// Folder of described recordings, in place of the recipe's.
    #[arg(long, value_name = "DIR", requires = "recipe")]
    recordings: Option<PathBuf>,
    /// Recordings to train on; '*' and '?' fit within the file name.
    #[arg(long, value_name = "FILE", num_args = 1.., required_unless_present = "recipe", conflicts_with = "recipe")]
    train: Vec<PathBuf>,
    /// Recordings that choose the best model.
    #[arg(long, value_name = "FILE", num_args = 1.., required_unless_present = "recipe", conflicts_with = "recipe")]
    valid: Vec<PathBuf>,
    /// Recordings that are measured once at the end.
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with = "recipe")]
    test: Vec<PathBuf>,
}

pub(super) fn run(arguments: Arguments) -> Result<(), CliError> {
    let recipe = arguments.recipe()?;
    let options = Options {
        out: arguments.out.clone().unwrap_or_else(|| PathBuf::from("models").join(&recipe.name)),
        work: arguments.work.clone().unwrap_or_else(|| PathBuf::from("out/train").join(&recipe.name)),
        threads: arguments
            .threads
            .or_else(|| std::thread::available_parallelism().ok())
            .map_or(1, std::num::NonZeroUsize::get),
        resume: arguments.resume,
        overwrite: arguments.overwrite,
        command: command_line(std::env::args_os().skip(1)),
    };
    // A subscriber that another part of the program set up stays.
    init_logging(Level::INFO, LogFormat::Text, &MultiProgress::new());
    let stop = stop_flag().map_err(|error| CliError::new(exit::INTERNAL, error))?;
    let outcome = train(&recipe, &options, |_| stop.load(Ordering::Relaxed)).map_err(failure)?;
    print(&summary(&outcome, &options))
}

impl Arguments {
    /// The recipe with the flags laid over it.
    fn recipe(&self) -> Result<Recipe, CliError> {
        let mut recipe = match &self.recipe {
            Some(path) => Recipe::read(path).map_err(|error| failure(error.into()))?,
            None => Recipe {
                name: String::new(),
                summary: String::new(),
                modality: String::new(),
                sample_rate_hz: 0.0,
                seed: 0,
                architecture: Architecture::new(0),
                normalisation: Default::default(),
                data: Data {
                    train: self.train.clone(),
                    valid: self.valid.clone(),
                    test: self.test.clone(),
                    ..Data::default()
                },
                training: Training::new(0),
                loss: Loss::default(),
                codebooks: Codebooks::default(),
                augmentation: Augmentation::default(),
            },
        };
        fn lay<T: Clone>(value: &mut T, flag: &Option<T>) {
            if let Some(flag) = flag {
                value.clone_from(flag);
            }
        }
        lay(&mut recipe.name, &self.name);
        lay(&mut recipe.seed, &self.seed);
        lay(&mut recipe.sample_rate_hz, &self.sample_rate_hz);
        let training = &mut recipe.training;
        lay(&mut training.steps, &self.steps);
        lay(&mut training.batch_size, &self.batch_size);
        lay(&mut training.learning_rate, &self.learning_rate);
        lay(&mut training.validate_every, &self.validate_every);
        let architecture = &mut recipe.architecture;
        lay(&mut architecture.frame_size, &self.frame_size);
        lay(&mut architecture.in_ch, &self.channels);
        lay(&mut architecture.out_ch, &self.channels);
        lay(&mut architecture.base_filters, &self.base_filters);
        lay(&mut architecture.num_stages, &self.num_stages);
        lay(&mut architecture.num_levels, &self.num_levels);
        lay(&mut architecture.latent_width, &self.latent_width);
        if self.recordings.is_some() {
            recipe.data.folder.clone_from(&self.recordings);
        }
        recipe.validate().map_err(|error| {
            let place = self.recipe.as_ref().map(|path| format!("{}:\n", path.display())).unwrap_or_default();
            CliError::new(exit::CONFIG, format_args!("{place}{error}"))
        })?;
        Ok(recipe)
    }
}

/// The command line as a shell would take it.
fn command_line(arguments: impl Iterator<Item = OsString>) -> String {
    arguments.fold("rivulet".to_owned(), |mut line, argument| {
        let argument = argument.to_string_lossy();
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
        line.push(' ');
        if !argument.is_empty() && argument.chars().all(plain) {
            line.push_str(&argument);
        } else {
            let _ = write!(line, "'{}'", argument.replace('\'', r"'\''"));
        }
        line
    })
}

fn summary(outcome: &Outcome, options: &Options) -> String {
    let mut text = String::new();
    if outcome.stopped {
        let _ = writeln!(text, "stopped after step {}; --resume goes on", outcome.steps);
    }
    match &outcome.model {
        None => text.push_str("no model yet: it was stopped before the first measurement\n"),
        Some(model) => {
            let _ = writeln!(
                text,
                "{}: the model of step {}, prd_percent {:.3} on the validation recordings",
                options.out.display(),
                model.step,
                model.valid_prd_percent
            );
            if let Some(prd) = model.test.as_ref().and_then(|test| test.prd_percent) {
                let _ = writeln!(text, "prd_percent {prd:.3} on the test recordings");
            }
        }
    }
    text
}

fn failure(error: TrainError) -> CliError {
    CliError::new(code(&error), error)
}

fn code(error: &TrainError) -> u8 {
    let io = |source: &std::io::Error| match source.kind() {
        std::io::ErrorKind::NotFound | std::io::ErrorKind::PermissionDenied => exit::NO_INPUT,
        _ => exit::IO,
    };
    match error {
        TrainError::Recipe(RecipeError::Io { .. }) => exit::NO_INPUT,
        TrainError::Recipe(_) => exit::CONFIG,
        TrainError::Data(error) => match error {
            DataError::Find(FindError::Io { .. } | FindError::Nothing { .. } | FindError::Empty { .. }) => {
                exit::NO_INPUT
            }
            DataError::Source(crate::source::SourceError::Io { source, .. }) => io(source),
            _ => exit::DATA,
        },
        TrainError::Flat { .. } | TrainError::Diverged { .. } | TrainError::Trainer(_) => exit::DATA,
        TrainError::Exists { .. }
        | TrainError::NotAModel { .. }
        | TrainError::Io { .. }
        | TrainError::Export(_) => exit::CANNOT_CREATE,
        TrainError::Checkpoint(CheckpointError::Io { source, .. }) => io(source),
        TrainError::Checkpoint(CheckpointError::OtherRecipe { .. }) => exit::CONFIG,
        TrainError::Checkpoint(_) => exit::DATA,
        TrainError::Model(_) => exit::CONFIG,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        let words = std::iter::once("train").chain(line.split_whitespace());
        Line::try_parse_from(words).map(|line| line.arguments)
    }

    const FLAGS: &str =
        "--name pump --sample-rate-hz 100 --frame-size 64 --steps 500 --train a.csv b.csv --valid c.csv";

    #[test]
    fn flags_alone_describe_a_run() {
        let recipe = parse(FLAGS).unwrap().recipe().unwrap();
        assert_eq!((recipe.name.as_str(), recipe.training.steps), ("pump", 500));
        assert_eq!(recipe.data.train, [PathBuf::from("a.csv"), PathBuf::from("b.csv")]);
        assert_eq!(recipe.architecture, Architecture::new(64));
        assert!(parse("--name pump").is_err(), "what only a recipe could tell is missing");
    }

    #[test]
    fn flags_override_the_recipe() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("recipe.toml");
        let recipe = parse(FLAGS).unwrap().recipe().unwrap();
        std::fs::write(&path, toml::to_string(&recipe).unwrap()).unwrap();
        let with = |flags: &str| parse(&format!("{} {flags}", path.display())).unwrap().recipe();
        assert_eq!(with("").unwrap(), recipe);
        let changed = with("--steps 900 --seed 3 --base-filters 8").unwrap();
        assert_eq!((changed.training.steps, changed.seed, changed.architecture.base_filters), (900, 3, 8));
        let error = with("--frame-size 60 --steps 5").unwrap_err();
        assert_eq!(error.code, exit::CONFIG);
        for part in ["recipe.toml", "frame_size (60)", "warmup_steps (100)"] {
            assert!(error.message.contains(part), "{}", error.message);
        }
        let error = parse("no/such/recipe.toml").unwrap().recipe().unwrap_err();
        assert_eq!(error.code, exit::NO_INPUT);
    }

    #[test]
    fn the_command_line_can_be_pasted_into_a_shell() {
        let words = ["train", "a b", "it's", "", "x.toml"].map(OsString::from);
        assert_eq!(command_line(words.into_iter()), r"rivulet train 'a b' 'it'\''s' '' x.toml");
    }
}
