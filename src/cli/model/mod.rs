//! `rivulet model`: models as directories.

mod export;
mod flags;
mod import;
mod info;
mod new;
mod stats;
mod verify;

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use clap::Subcommand;
use serde::Serialize;

use super::{CliError, exit};
use crate::model::npz::Npz;
use crate::model::{DirectoryError, DirectoryErrorKind, ModelDirectory};

/// Arguments of `rivulet model`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make an untrained model.
    New(Box<new::Arguments>),
    /// Make a model from weights in Keras' order.
    Import(Box<import::Arguments>),
    /// Show what a model is.
    Info(info::Arguments),
    /// Count a model's parameters, multiply-adds and nominal compression.
    Stats(Box<stats::Arguments>),
    /// Replay golden vectors through a model.
    Verify(verify::Arguments),
    /// Write a model's weights as .npz or one of its networks as .onnx.
    Export(export::Arguments),
}

pub(super) fn run(arguments: Arguments) -> Result<(), CliError> {
    match arguments.verb {
        Verb::New(arguments) => new::run(&arguments),
        Verb::Import(arguments) => import::run(&arguments),
        Verb::Info(arguments) => info::run(&arguments),
        Verb::Stats(arguments) => stats::run(&arguments),
        Verb::Verify(arguments) => verify::run(&arguments),
        Verb::Export(arguments) => export::run(&arguments),
    }
}

fn load(path: &Path) -> Result<ModelDirectory, CliError> {
    ModelDirectory::load(path).map_err(unreadable)
}

/// The error of a model that cannot be read.
fn unreadable(error: DirectoryError) -> CliError {
    let code = match &error.kind {
        DirectoryErrorKind::NoDirectory
        | DirectoryErrorKind::Missing { .. }
        | DirectoryErrorKind::Io { .. } => exit::NO_INPUT,
        _ => exit::DATA,
    };
    CliError::new(code, error)
}

/// The error of a model that cannot be written.
fn unwritable(error: DirectoryError) -> CliError {
    let code = match &error.kind {
        DirectoryErrorKind::Malformed { .. } => exit::USAGE,
        DirectoryErrorKind::Io { error, .. } if error.kind() == ErrorKind::StorageFull => exit::IO,
        _ => exit::CANNOT_CREATE,
    };
    CliError::new(code, error)
}

fn read_npz(path: &Path) -> Result<Npz, CliError> {
    let bytes = fs::read(path)
        .map_err(|error| CliError::new(exit::NO_INPUT, format_args!("{}: {error}", path.display())))?;
    Npz::read(&bytes).map_err(|error| CliError::new(exit::DATA, format_args!("{}: {error}", path.display())))
}

/// The name of a model that is given none: that of its directory.
fn name_of(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn print_json(value: &impl Serialize) -> Result<(), CliError> {
    let text = serde_json::to_string_pretty(value).map_err(|error| CliError::new(exit::INTERNAL, error))?;
    super::print(&format!("{text}\n"))
}

#[cfg(test)]
mod tests;
