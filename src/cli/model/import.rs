//! `rivulet model import`

use std::path::{Path, PathBuf};

use super::flags::{ArchitectureFlags, DescriptionFlags};
use super::{CliError, exit, name_of, read_npz, unwritable};
use crate::model::directory::Existing;
use crate::model::import::read_architecture;
use crate::model::npz::Npz;
use crate::model::weights::read_weights;
use crate::model::{GoldenError, GoldenVectors, ModelDirectory, Normalisation, VQAutoencoder};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Weights in Keras' order: enc_0, ..., dec_0, ..., cb_0, ...; x, z, idx, y and yq become golden vectors.
    file: PathBuf,
    /// The model directory to make.
    #[arg(short, long)]
    output: PathBuf,
    /// Replace a model that is already there.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    description: DescriptionFlags,
    /// Read off the shapes where not given.
    #[command(flatten)]
    architecture: ArchitectureFlags,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let npz = read_npz(&arguments.file)?;
    let unusable = |error: &dyn std::fmt::Display| {
        CliError::new(exit::DATA, format_args!("{}: {error}", arguments.file.display()))
    };
    let architecture =
        read_architecture(&npz, arguments.architecture.frame_size).map_err(|error| unusable(&error))?;
    let architecture = arguments.architecture.apply(architecture);
    let model = read_weights(&npz, &architecture).map_err(|error| unusable(&error))?;
    let golden = golden(&npz, &model).map_err(|error| unusable(&error))?;
    let metadata = arguments.description.metadata(name_of(&arguments.output));
    let id = ModelDirectory::write(
        &arguments.output,
        &model,
        &arguments.description.normalisation(Normalisation::IMPORTED),
        &metadata,
        &golden,
        &card(&metadata.name, &arguments.file),
        if arguments.force { Existing::Replace } else { Existing::Keep },
    )
    .map_err(unwritable)?;
    crate::cli::print(&format!("{}  model {id}\n", arguments.output.display()))
}

/// The file's own vectors; computed in double precision where it has no outputs or no inputs.
fn golden(npz: &Npz, model: &VQAutoencoder) -> Result<GoldenVectors, GoldenError> {
    if !npz.contains("x") {
        return GoldenVectors::synthetic(model);
    }
    match GoldenVectors::from_npz(npz, model.architecture()) {
        Err(GoldenError::NothingExpected) => {
            GoldenVectors::compute(model, npz.floats("x")?.into_iter().collect())
        }
        vectors => vectors,
    }
}

fn card(name: &str, file: &Path) -> String {
    format!(
        "# {name}\n\nImported from `{}`, weights in Keras' order. Nothing is known of the recordings that it was \
         trained on, nor of its fidelity: `rivulet eval` measures it.\n",
        name_of(file)
    )
}
