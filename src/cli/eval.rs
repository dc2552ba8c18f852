//! `rivulet eval`

use super::{CliError, exit};

/// Arguments of `rivulet eval`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {}

pub(super) fn run(_: Arguments) -> Result<(), CliError> {
    Err(CliError::new(exit::INTERNAL, "not built yet"))
}
