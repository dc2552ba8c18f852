//! `rivulet model new`

use std::path::PathBuf;

use super::flags::{ArchitectureFlags, DescriptionFlags};
use super::{CliError, exit, name_of, unwritable};
use crate::model::directory::Existing;
use crate::model::{Architecture, GoldenVectors, ModelDirectory, Normalisation, build_rvq_autoencoder};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The model directory to make.
    #[arg(short, long)]
    output: PathBuf,
    /// The same seed gives the same model.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Replace a model that is already there.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    description: DescriptionFlags,
    #[command(flatten)]
    architecture: ArchitectureFlags,
}

/// Frame size where none is given.
const FRAME_SIZE: usize = 512;

pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let architecture = arguments.architecture.apply(Architecture::new(FRAME_SIZE));
    let model = build_rvq_autoencoder(&architecture, arguments.seed)
        .map_err(|error| CliError::new(exit::USAGE, error))?;
    let golden = GoldenVectors::synthetic(&model).map_err(|error| CliError::new(exit::INTERNAL, error))?;
    let metadata = arguments.description.metadata(name_of(&arguments.output));
    let card = format!(
        "# {}\n\nUntrained: initial weights of seed {}. It compresses, but what comes back is noise until it is \
         trained.\n",
        metadata.name, arguments.seed
    );
    let id = ModelDirectory::write(
        &arguments.output,
        &model,
        &arguments.description.normalisation(Normalisation::default()),
        &metadata,
        &golden,
        &card,
        if arguments.force { Existing::Replace } else { Existing::Keep },
    )
    .map_err(unwritable)?;
    crate::cli::print(&format!("{}  model {id}, untrained\n", arguments.output.display()))
}
