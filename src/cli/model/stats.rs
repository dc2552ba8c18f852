//! `rivulet model stats`

use std::path::PathBuf;

use super::flags::ArchitectureFlags;
use super::{CliError, exit, load, print_json};
use crate::model::{Architecture, ModelStats, NetworkStats};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// A model directory; without one, the family's defaults and the flags.
    model: Option<PathBuf>,
    /// Bits of a sample before compression.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=64))]
    bit_depth: u32,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    architecture: ArchitectureFlags,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let base = match (&arguments.model, arguments.architecture.frame_size) {
        (Some(model), _) => load(model)?.architecture().clone(),
        (None, Some(frame_size)) => Architecture::new(frame_size),
        (None, None) => {
            return Err(CliError::new(exit::USAGE, "give a model directory or --frame-size"));
        }
    };
    let stats = ModelStats::new(&arguments.architecture.apply(base), arguments.bit_depth)
        .map_err(|error| CliError::new(exit::USAGE, error))?;
    if arguments.json { print_json(&stats) } else { crate::cli::print(&text(&stats)) }
}

fn text(stats: &ModelStats) -> String {
    let compression = &stats.compression;
    let rows = [
        ("frame_size", compression.frame_size.to_string()),
        ("num_channels", compression.num_channels.to_string()),
        ("latent_positions", compression.latent_positions.to_string()),
        ("bits_per_index", compression.bits_per_index.to_string()),
        ("compressed_bits_per_window", compression.compressed_bits_per_window.to_string()),
        ("raw_bits_per_window", compression.raw_bits_per_window.to_string()),
        ("compression_ratio", compression.compression_ratio.to_string()),
        ("bottleneck_type", compression.bottleneck_type.to_owned()),
        ("encoder", network(&stats.encoder)),
        ("decoder", network(&stats.decoder)),
        ("search_multiply_adds", stats.search_multiply_adds.to_string()),
    ];
    rows.iter().map(|(name, value)| format!("{name:<28} {value}\n")).collect()
}

fn network(stats: &NetworkStats) -> String {
    format!(
        "{} parameters ({} trainable), {} multiply-adds a frame",
        stats.parameters, stats.trainable_parameters, stats.multiply_adds
    )
}
