//! `rivulet model verify`

use std::path::PathBuf;

use serde::Serialize;

use super::{CliError, exit, load, print_json, read_npz};
use crate::codec::verify::{TOLERANCE, Verification, verify};
use crate::model::{GoldenVectors, ModelId};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The model directory.
    model: PathBuf,
    /// Vectors to replay instead of the model's own: an .npz with x and any of z, idx, y and yq.
    #[arg(long)]
    vectors: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    model: ModelId,
    #[serde(flatten)]
    verification: Verification,
    passed: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let model = load(&arguments.model)?;
    let given = match &arguments.vectors {
        Some(path) => Some(
            GoldenVectors::from_npz(&read_npz(path)?, model.architecture())
                .map_err(|error| CliError::new(exit::DATA, format_args!("{}: {error}", path.display())))?,
        ),
        None => None,
    };
    let verification = verify(&model, given.as_ref().unwrap_or(model.golden())).map_err(|error| {
        CliError::new(exit::DATA, format_args!("model {}: {error}", arguments.model.display()))
    })?;
    let passed = verification.passed();
    if arguments.json {
        print_json(&Report { model: model.id(), verification, passed })?;
    } else {
        crate::cli::print(&text(&verification))?;
    }
    if passed {
        Ok(())
    } else {
        Err(CliError::new(
            exit::CHECK_FAILED,
            format_args!(
                "model {} does not reproduce the vectors: errors up to {TOLERANCE:e} and no code mismatch are allowed",
                arguments.model.display()
            ),
        ))
    }
}

fn text(verification: &Verification) -> String {
    let number =
        |error: Option<f64>| error.map_or_else(|| "not given".to_owned(), |error| format!("{error:.2e}"));
    let mismatches = verification.code_mismatches;
    format!(
        "frames             {}\nmax_latent_error   {}\nmax_output_error   {}\ncode_mismatches    {}\n",
        verification.frames,
        number(verification.max_latent_error),
        number(verification.max_output_error),
        mismatches.map_or_else(|| "not given".to_owned(), |count| count.to_string()),
    )
}
