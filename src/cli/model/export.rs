//! `rivulet model export`

use std::ffi::OsString;
use std::fmt::Display;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use super::{CliError, exit, load, unreadable};
use crate::model::npz::NpzWriter;
use crate::model::weights::add_weights;
use crate::model::{GoldenError, ModelDirectory, write_onnx};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The model directory.
    model: PathBuf,
    /// FILE.npz for all weights in Keras' order with golden vectors, FILE.onnx for one network.
    #[arg(short, long)]
    output: PathBuf,
    /// The network to write as .onnx.
    #[arg(long)]
    part: Option<Part>,
    /// Fix the batch of an .onnx instead of leaving it open.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024))]
    batch: Option<u16>,
    /// Replace a file that is already there.
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Part {
    Encoder,
    Decoder,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let extension = arguments.output.extension().and_then(|extension| extension.to_str());
    let usage = |text: &str| Err(CliError::new(exit::USAGE, text));
    let bytes = match (extension, arguments.part, arguments.batch) {
        (Some("npz"), None, None) => npz(&load(&arguments.model)?)?,
        (Some("npz"), ..) => return usage("--part and --batch are for .onnx"),
        (Some("onnx"), Some(part), None) => {
            let model = load(&arguments.model)?;
            match part {
                Part::Encoder => model.encoder_onnx().to_vec(),
                Part::Decoder => model.decoder_onnx().to_vec(),
            }
        }
        (Some("onnx"), Some(part), Some(batch)) => {
            let model = load(&arguments.model)?.autoencoder().map_err(unreadable)?;
            let network = match part {
                Part::Encoder => model.encoder(),
                Part::Decoder => model.decoder(),
            };
            write_onnx(network, Some(usize::from(batch)))
        }
        (Some("onnx"), None, _) => {
            return usage("an .onnx holds one network: give --part encoder or --part decoder");
        }
        _ => return usage("the output must end in .npz or .onnx"),
    };
    write(&arguments.output, &bytes, arguments.force)
}

fn npz(model: &ModelDirectory) -> Result<Vec<u8>, CliError> {
    let weights = model.autoencoder().map_err(unreadable)?;
    let mut writer = NpzWriter::default();
    add_weights(&mut writer, &weights)
        .map_err(GoldenError::from)
        .and_then(|()| model.golden().add_to(&mut writer, model.architecture()))
        .and_then(|()| Ok(writer.finish()?))
        .map_err(|error| CliError::new(exit::INTERNAL, error))
}

/// Writes a file beside `path`, which then gets its name: there is never half a file.
fn write(path: &Path, bytes: &[u8], force: bool) -> Result<(), CliError> {
    let failed = |code, error: &dyn Display| CliError::new(code, format_args!("{}: {error}", path.display()));
    if !force && fs::symlink_metadata(path).is_ok() {
        return Err(failed(exit::CANNOT_CREATE, &"it exists already"));
    }
    let mut name = path.file_name().map(OsString::from).unwrap_or_default();
    name.push(format!(".new-{}", std::process::id()));
    let new = path.with_file_name(name);
    let mut file = fs::File::create(&new).map_err(|error| failed(exit::CANNOT_CREATE, &error))?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&new, path));
    written.map_err(|error| {
        let _ = fs::remove_file(&new);
        failed(exit::IO, &error)
    })
}
