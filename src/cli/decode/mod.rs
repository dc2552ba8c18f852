//! `rivulet decode`: turns packets back into samples.

mod append;
mod file;
mod format;
mod names;
mod output;
mod topic;
mod troubles;

use std::path::PathBuf;

use self::format::Format;
use super::segments::{Bound, Range, parse_bound};
use super::{CliError, exit};
use crate::model::ModelLibrary;
use crate::pipeline::DecodersError;

/// Arguments of `rivulet decode`.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// .rvl files, or folders of them, which are read as one recording; or a topic of packets:
    /// kafka://HOST:PORT[,HOST:PORT...]/TOPIC, from its beginning to its end of now.
    #[arg(value_name = "FILE|DIR|URL", required = true)]
    inputs: Vec<PathBuf>,
    /// Where the samples go: FILE.csv, .raw, .wav, .edf, .bdf or .hea (WFDB), or a folder for one file a stream.
    #[arg(short, long)]
    output: PathBuf,
    /// How samples are written, whatever the output's extension is.
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Decode this stream only; may be repeated.
    #[arg(long = "stream", value_name = "KEY")]
    streams: Vec<String>,
    /// Leave out what was before: RFC 3339, seconds since 1970, or HH:MM:SS since each stream's start.
    #[arg(long, value_name = "TIME", value_parser = parse_bound)]
    from: Option<Bound>,
    /// Leave out what was at that time or later.
    #[arg(long, value_name = "TIME", value_parser = parse_bound)]
    to: Option<Bound>,
    /// A model directory, or a folder of them; may be repeated. The folder `models` is searched last.
    #[arg(long = "model", value_name = "DIR")]
    models: Vec<PathBuf>,
    /// Of a topic: another one of the same brokers, to which models are published, for those in no directory.
    #[arg(long, value_name = "TOPIC")]
    model_topic: Option<String>,
    /// Of a topic: a property of librdkafka, such as security.protocol=SSL; may be repeated.
    #[arg(long = "option", value_name = "NAME=VALUE")]
    options: Vec<String>,
    /// Write physical values, (sample - baseline) / gain, instead of samples.
    #[arg(long)]
    physical: bool,
}

impl Arguments {
    /// True if each stream gets a file of its own.
    fn wants_folder(&self) -> bool {
        self.output.is_dir() || self.output.as_os_str().to_string_lossy().ends_with('/')
    }

    fn range(&self) -> Range {
        Range { from: self.from, to: self.to }
    }

    fn library(&self) -> ModelLibrary {
        let mut folders = self.models.clone();
        folders.push(PathBuf::from("models"));
        ModelLibrary::new(folders)
    }
}

pub(super) fn run(arguments: Arguments) -> Result<(), CliError> {
    let format = match arguments.format {
        Some(format) => format,
        None => Format::of(&arguments.output)?,
    };
    let url = arguments.inputs.iter().find_map(|input| input.to_str()?.strip_prefix("kafka://"));
    match url {
        Some(_) if arguments.inputs.len() > 1 => {
            Err(usage("a topic is decoded by itself: give one kafka:// URL"))
        }
        Some(url) => topic::run(url, &arguments, format),
        None if arguments.model_topic.is_some() || !arguments.options.is_empty() => {
            Err(usage("--model-topic and --option are for packets of a topic: kafka://HOST:PORT/TOPIC"))
        }
        None => file::run(&arguments, format),
    }
}

/// A mistake of the caller's.
fn usage(message: impl std::fmt::Display) -> CliError {
    CliError::new(exit::USAGE, message)
}

fn decoders_error(error: &DecodersError) -> CliError {
    let code = match error {
        DecodersError::Unknown(_) | DecodersError::Library(_) | DecodersError::Codec { .. } => exit::CONFIG,
        DecodersError::Topic(_) => exit::UNAVAILABLE,
    };
    CliError::new(code, error)
}
