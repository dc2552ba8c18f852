//! `rivulet model info`

use std::fmt::Write;
use std::path::PathBuf;

use serde::Serialize;

use super::{CliError, load, print_json};
use crate::model::{Architecture, ModelId, Normalisation};

#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// The model directory.
    model: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Info {
    id: ModelId,
    name: String,
    modality: String,
    sample_rate_hz: Option<f64>,
    unit: Option<String>,
    architecture: Architecture,
    normalisation: Normalisation,
    files: Vec<File>,
    card: String,
}

#[derive(Serialize)]
struct File {
    name: String,
    bytes: usize,
    sha256: String,
}

/// Lines of the card that are shown.
const CARD_LINES: usize = 8;

pub(super) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let model = load(&arguments.model)?;
    let metadata = model.metadata();
    let files = model.files().map(|(name, sha256, bytes)| File {
        name: name.to_owned(),
        bytes,
        sha256: sha256.to_owned(),
    });
    let info = Info {
        id: model.id(),
        name: metadata.name,
        modality: metadata.modality,
        sample_rate_hz: metadata.sample_rate_hz,
        unit: metadata.unit,
        architecture: model.architecture().clone(),
        normalisation: *model.normalisation(),
        files: files.collect(),
        card: model.card().lines().take(CARD_LINES).collect::<Vec<_>>().join("\n"),
    };
    if arguments.json { print_json(&info) } else { crate::cli::print(&text(&info)) }
}

fn text(info: &Info) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: &dyn std::fmt::Display| {
        // Writing to a string does not fail.
        let _ = writeln!(text, "{name:<20} {value}");
    };
    line("name", &info.name);
    line("id", &info.id);
    line("modality", &info.modality);
    if let Some(rate) = info.sample_rate_hz {
        line("sample_rate_hz", &rate);
    }
    if let Some(unit) = &info.unit {
        line("unit", unit);
    }
    for section in [toml::Table::try_from(&info.architecture), toml::Table::try_from(info.normalisation)] {
        for (key, value) in section.unwrap_or_default() {
            match value {
                toml::Value::String(word) => line(if key == "kind" { "epsilon_kind" } else { &key }, &word),
                value => line(&key, &value),
            }
        }
    }
    for file in &info.files {
        line(&file.name, &format_args!("{} bytes", file.bytes));
    }
    if info.card.is_empty() { text } else { format!("{text}\n{}\n", info.card) }
}
